//! `cargo xtask dist`: what is handed out, and whether it works where it is installed.

mod cross;
mod manual;
mod package;
mod stage;

use crate::process::{self, cargo};
use crate::steps::{Counts, Outcome, Steps};
use crate::{build, python, skips, suite};
use manual::Pages;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// How it is used.
pub(crate) const HELP: &str = "\
usage: cargo xtask dist [--check]

Builds target/dist: the Debian package, an archive of static programs with install.sh, the Python
client, SHA256SUMS; and prints the sizes. With --check it also installs them into throw-away roots and
reads a register there, and by agents for other processors under qemu, for which deploy/cross.sh
fetches 500 MB once; what this machine lacks for that is printed as skipped.";

/// The program that matters.
const AGENT: &str = stage::PROGRAMS[0];

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Where static programs for this machine's kind are built: a target that is named has a folder of its own.
const HOST: &str = "x86_64-unknown-linux-gnu";

/// Builds everything; with `check`, also installs it into throw-away roots and uses it there.
pub(crate) fn run(check: bool) -> ExitCode {
    let list = |steps: &mut Steps| {
        let mut ours = None;
        steps.step("python packages", |log| {
            ours = Some(python::environment(&python::OURS, log)?);
            Ok(Counts::one())
        });
        let built = steps.step("release binaries", |log| {
            process::run(&mut build::release(), log)?;
            Ok(Counts::one())
        });
        let Some(ours) = ours.filter(|_| built) else { return };
        if !steps.step("packages", |log| packages(&ours, log)) {
            return;
        }
        println!("{}", sizes());
        if check {
            let mut others = Vec::new();
            steps.step("other processors", |log| for_others(&mut others, log));
            steps.step("installed and used", |log| tests(&ours, &others, log));
        }
    };
    suite::run("what is handed out", if check { 5 } else { 3 }, list)
}

/// Returns the folder of what is handed out.
pub(crate) fn folder() -> PathBuf {
    process::target_dir().join("dist")
}

/// Builds what is handed out from the release binaries, with static programs in the archive.
///
/// # Errors
///
/// A text, if a tool is missing or fails.
pub(crate) fn packages(python: &Path, log: &Path) -> Outcome {
    process::run(&mut static_build(&stage::PROGRAMS), log)?;
    let out = folder();
    let _ = fs::remove_dir_all(&out);
    fs::create_dir_all(&out).map_err(|error| format!("cannot make {}: {error}", out.display()))?;
    let mut day = Command::new("git");
    day.args(["log", "-1", "--format=%cs"]).current_dir(process::root());
    // An archive of the sources has no history, and a page without a day is as good.
    let day = process::run(&mut day, log).unwrap_or_default();
    let bin = process::target_dir().join("release");
    let pages = Pages { bin: &bin, version: VERSION, date: day.trim() };
    let tree = out.join("tree");

    stage::make(&tree, &bin, &pages, log)?;
    package::debian(&tree, VERSION, &out, log)?;
    stage::make(&tree, &static_dir(), &pages, log)?;
    package::archive(&tree, &format!("proximity-{VERSION}-linux-x86_64"), &out, log)?;
    let _ = fs::remove_dir_all(&tree);
    package::python(python, &out, log)?;
    package::checksums(&out, log)?;
    Ok(Counts::one())
}

/// Builds the agent that needs nothing of the machine it runs on, and returns where it is.
///
/// # Errors
///
/// A text, if it cannot be built.
pub(crate) fn static_agent(log: &Path) -> Result<PathBuf, String> {
    process::run(&mut static_build(&[AGENT]), log)?;
    Ok(static_dir().join(AGENT))
}

/// Programs that need nothing of the machine they run on, not even its C library.
fn static_build(programs: &[&str]) -> Command {
    let mut command = cargo(&["build", "--release", "--locked", "--target", HOST]);
    // By their names: what else is in their packages would be built with each.
    command.args(programs.iter().flat_map(|name| ["--bin", name]));
    command.env("RUSTFLAGS", "-Ctarget-feature=+crt-static");
    command
}

fn static_dir() -> PathBuf {
    process::target_dir().join(HOST).join("release")
}

/// An agent for another processor: the variable by which its test finds it, and the script that runs it.
type Other = (&'static str, PathBuf);

/// Builds the agent for other processors, as far as this machine can.
fn for_others(others: &mut Vec<Other>, log: &Path) -> Outcome {
    let home = match cross::toolchain(log) {
        Ok(home) => home,
        // Their tests are skipped by name. Why is in the log, and here in a line.
        Err(text) => {
            println!("deploy/cross.sh: {}", text.lines().next_back().unwrap_or_default());
            return Ok(Counts::default());
        }
    };
    let mut sizes = String::new();
    for machine in &cross::MACHINES {
        others.push((machine.variable, cross::agent(machine, &home, log)?));
        let kilobytes = kilobytes(&cross::binary(machine, &home));
        let _ = write!(sizes, " {AGENT} for {}, static: {kilobytes} kB;", machine.name);
    }
    print!("{} ", sizes.trim());
    Ok(Counts { passed: 2, ..Counts::default() })
}

fn kilobytes(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |m| m.len().div_ceil(1000))
}

/// The sizes of all that was built.
fn sizes() -> String {
    let mut text = String::from("\nsizes in kB:\n");
    for name in stage::PROGRAMS {
        let shared = kilobytes(&build::binary(name));
        let whole = kilobytes(&static_dir().join(name));
        let _ = writeln!(text, "  {name:<45} {shared:>6}, static {whole:>6}");
    }
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder()).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let _ = writeln!(text, "  {name:<45} {:>6}", kilobytes(&file));
    }
    text
}

/// Runs the tests of what is handed out, with those that are too long for every day.
fn tests(python: &Path, others: &[Other], log: &Path) -> Outcome {
    let mut test = cargo(&["test", "--locked", "--package=proximity-tests", "--test=deploy"]);
    test.args(["--", "--show-output", "--include-ignored", "--test-threads=1"]);
    build::tell_binaries(&mut test)
        .env("PROXIMITY_PYTHON", python)
        .env("PROXIMITY_DIST", folder())
        .env("PROXIMITY_STATIC_AGENT", static_dir().join(AGENT))
        .envs(others.iter().map(|(variable, path)| (variable, path)));
    let (succeeded, output) = process::run_any(&mut test, log)?;
    let counts = skips::of_cargo_test(&output);
    if succeeded { Ok(counts) } else { Err(skips::failures(&output).into()) }
}
