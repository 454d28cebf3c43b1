//! `cargo xtask fuzz`: the bodies of `tests/fuzz`, under cargo-fuzz where that is there.

use crate::process::{self, cargo};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// The targets; `proximity-fuzz` has the same.
const TARGETS: [&str; 6] = ["request", "json", "message", "katcp", "gateware", "config"];

/// Inputs a target, unless another number is asked for.
const RUNS: &str = "1000000";

/// What was asked for.
struct Asked<'a> {
    targets: Vec<&'a str>,
    runs: &'a str,
    seed: Option<&'a str>,
    replay: Option<&'a str>,
    /// Our own loop, whatever is there.
    plain: bool,
}

/// Runs it with the arguments given.
pub(crate) fn run(args: &[&str]) -> ExitCode {
    match parse(args).and_then(|asked| work(&asked)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(text) => {
            eprintln!("xtask: {text}");
            ExitCode::from(2)
        }
    }
}

fn parse<'a>(args: &[&'a str]) -> Result<Asked<'a>, String> {
    let mut asked =
        Asked { targets: Vec::new(), runs: RUNS, seed: None, replay: None, plain: false };
    let mut args = args.iter().copied();
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg {
            "--runs" => asked.runs = value()?,
            "--seed" => asked.seed = Some(value()?),
            "--replay" => asked.replay = Some(value()?),
            "--plain" => asked.plain = true,
            name if TARGETS.contains(&name) => asked.targets.push(name),
            other => {
                return Err(format!("no target '{other}'; there are {}", TARGETS.join(", ")));
            }
        }
    }
    for number in [Some(asked.runs), asked.seed].into_iter().flatten() {
        number.parse::<u64>().map_err(|_| format!("'{number}' is no number"))?;
    }
    if asked.targets.is_empty() {
        asked.targets = TARGETS.to_vec();
    }
    Ok(asked)
}

fn work(asked: &Asked) -> Result<bool, String> {
    if !asked.plain && has_cargo_fuzz() { under_cargo_fuzz(asked) } else { plain(asked) }
}

/// Whether `cargo +nightly fuzz` works.
fn has_cargo_fuzz() -> bool {
    let mut version = nightly(&["--version"]);
    let status = version.stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// `cargo +nightly fuzz`: by rustup's cargo, not by that of the toolchain we are run with.
fn nightly(args: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.args(["+nightly", "fuzz"]).args(args).current_dir(folder());
    // A rustup proxy that is started by another takes its toolchain from there.
    command.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO").env_remove("RUSTC");
    command
}

fn folder() -> PathBuf {
    process::root().join("tests/fuzz/cargo-fuzz")
}

fn under_cargo_fuzz(asked: &Asked) -> Result<bool, String> {
    let lock = folder().join("Cargo.lock");
    fs::copy(process::root().join("Cargo.lock"), &lock)
        .map_err(|error| format!("cannot copy Cargo.lock to {}: {error}", lock.display()))?;
    let mut whole = true;
    for target in &asked.targets {
        let found = process::work_dir().join("fuzz").join(target);
        make(&found)?;
        let saved = process::root().join("tests/fuzz/corpus").join(target);
        let mut args = vec!["run".to_owned(), "--fuzz-dir=.".to_owned(), (*target).to_owned()];
        if let Some(file) = asked.replay {
            args.push(absolute(file));
        } else {
            args.push(found.display().to_string());
            args.push(saved.display().to_string());
            args.push("--".to_owned());
            args.push(format!("-runs={}", asked.runs));
            args.extend(asked.seed.map(|seed| format!("-seed={seed}")));
        }
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        whole &= succeeded(&mut nightly(&args))?;
    }
    Ok(whole)
}

/// Our own loop: nothing tells it which code an input reaches, so it goes by what became of the input.
fn plain(asked: &Asked) -> Result<bool, String> {
    let build = ["build", "--profile=fuzz", "--package=proximity-fuzz", "--bin=fuzz"];
    if !succeeded(&mut cargo(&build))? {
        return Ok(false);
    }
    let mut fuzz = Command::new(process::target_dir().join("fuzz/fuzz"));
    fuzz.args(&asked.targets).args(["--runs", asked.runs]);
    fuzz.arg("--crashes").arg(process::work_dir().join("fuzz/crashes"));
    if let Some(seed) = asked.seed {
        fuzz.args(["--seed", seed]);
    }
    if let Some(file) = asked.replay {
        fuzz.args(["--replay", file]);
    }
    succeeded(&mut fuzz)
}

fn make(folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))
}

fn absolute(file: &str) -> String {
    fs::canonicalize(file).map_or_else(|_| file.to_owned(), |path| path.display().to_string())
}

fn succeeded(command: &mut Command) -> Result<bool, String> {
    let status = command.status();
    let status =
        status.map_err(|error| format!("could not run {}: {error}", process::shown(command)))?;
    Ok(status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_and_options_go_in_any_order() {
        let asked = parse(&["--runs", "10", "json", "--plain", "katcp", "--seed", "7"]).unwrap();
        assert_eq!(asked.targets, ["json", "katcp"]);
        assert_eq!((asked.runs, asked.seed, asked.plain), ("10", Some("7"), true));
        assert_eq!(parse(&[]).unwrap().targets, TARGETS);
    }

    #[test]
    fn what_cannot_be_meant_is_told() {
        let told = |args: &[&str]| parse(args).err().unwrap_or_default();
        assert!(told(&["jason"]).starts_with("no target 'jason'; there are request, json,"));
        assert_eq!(told(&["--runs", "many"]), "'many' is no number");
        assert_eq!(told(&["--seed"]), "--seed needs a value");
    }
}
