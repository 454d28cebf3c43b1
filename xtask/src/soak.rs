//! `cargo xtask soak`: the long measurements, each once a revision, with its figures kept.
//!
//! A part is a command that prints, as the last line of its standard output, one JSON object with its
//! figures, and exits 0 if every promise that it looks at was kept. What is printed before, and on
//! standard error, is for people.

use crate::process::{self, Guarded};
use crate::{build, python};
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// One long measurement.
struct Part {
    name: &'static str,
    /// What it does, in the table.
    about: &'static str,
    /// The program of the release build, and its arguments.
    program: &'static str,
    args: &'static [&'static str],
}

/// A part that the rig in `tests` has: `soak NAME COUNT`.
const fn rig(name: &'static str, about: &'static str, args: &'static [&'static str]) -> Part {
    Part { name, about, program: "soak", args }
}

/// A part with many peers, or bad ones: `crowd NAME COUNT`.
const fn crowd(name: &'static str, about: &'static str, args: &'static [&'static str]) -> Part {
    Part { name, about, program: "crowd", args }
}

/// All parts, in the order in which they run.
const PARTS: &[Part] = &[
    rig("kill", "10,000 times kill -9 and restart under 8 clients", &["kill", "10000"]),
    rig("brief", "agents away for up to 0.1 s: when the first call succeeds", &["brief", "1000"]),
    rig("outage", "agents away for up to 3 s: when the first call succeeds", &["outage", "200"]),
    rig("stop", "500 times SIGSTOP at random points", &["stop", "500"]),
    rig("increments", "20,000 increments, 30 % of replies dropped", &["increments", "20000"]),
    rig("terminate", "200 times SIGTERM under load", &["terminate", "200"]),
    rig("storm", "1,000 clients of an agent that goes away for 5 s, 3 times", &["storm", "1000"]),
    rig("reload", "600 times SIGHUP under load: changed, broken, unchanged", &["reload", "600"]),
    rig("garble", "500 blocks garbled before the agent", &["garble", "500"]),
    rig("garble-board", "500 blocks garbled before the board", &["garble-board", "500"]),
    crowd("slow-readers", "64 peers that never read 16 MiB", &["slow-readers", "64"]),
    crowd("idle", "10,000 idle connections", &["idle", "10000"]),
    crowd("churn", "100,000 connections that come and go", &["churn", "100000"]),
    crowd("descriptors", "200 silent peers, 64 descriptors", &["descriptors", "200"]),
    crowd("bad-peers", "2,000 peers that speak no ZMTP", &["bad-peers", "100"]),
    crowd("panics", "10,000 panics in a driver", &["panics", "10000"]),
    crowd("log-broken", "10,000 calls while the log cannot be written", &["log-broken", "10000"]),
    crowd("flood", "more calls than an object takes", &["flood", "30"]),
];

/// What was asked for.
#[derive(Default)]
struct Options {
    only: Vec<String>,
    fresh: bool,
    /// Whether the figures go to docs/soak too.
    commit: bool,
    hours: Option<f64>,
}

/// Runs the parts that have not been run yet.
pub(crate) fn run(args: &[&str]) -> ExitCode {
    let ended = options(args).and_then(|options| soak(&options));
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(text) => {
            eprintln!("xtask: {text}");
            ExitCode::from(2)
        }
    }
}

fn options(args: &[&str]) -> Result<Options, String> {
    let mut options = Options::default();
    let mut args = args.iter();
    while let Some(&arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        match arg {
            "--fresh" => options.fresh = true,
            "--commit" => options.commit = true,
            "--only" => options.only.extend(value()?.split(',').map(str::to_owned)),
            "--hours" => {
                let hours = value()?;
                let number = hours.parse().ok().filter(|hours: &f64| *hours > 0.0);
                let number = number.ok_or_else(|| format!("'{hours}' is no number of hours"))?;
                options.hours = Some(number);
            }
            _ => return Err(format!("cannot make sense of '{arg}'; see cargo xtask soak --help")),
        }
    }
    let names: Vec<&str> = PARTS.iter().map(|part| part.name).collect();
    for name in &options.only {
        if !names.contains(&name.as_str()) {
            return Err(format!("there is no part '{name}'; there are {}", names.join(", ")));
        }
    }
    Ok(options)
}

fn kept() -> PathBuf {
    process::target_dir().join("soak")
}

fn soak(options: &Options) -> Result<bool, String> {
    fs::create_dir_all(kept()).map_err(|e| format!("cannot make {}: {e}", kept().display()))?;
    let built = build::release().status();
    if !built.is_ok_and(|status| status.success()) {
        return Err("the release binaries cannot be built".to_owned());
    }
    let python = python::environment(&python::OURS, &process::work_dir().join("soak.log"))?;
    let revision = revision();
    let begun = Instant::now();
    let end = options.hours.map(|hours| begun + Duration::from_secs_f64(hours * 3600.0));
    let wanted =
        |part: &&Part| options.only.is_empty() || options.only.iter().any(|n| n == part.name);
    let parts: Vec<&Part> = PARTS.iter().filter(wanted).collect();
    let mut round = 1;
    let mut rows = Vec::new();
    loop {
        for (number, part) in (1..).zip(&parts) {
            let file = kept().join(format!("{}.json", part.name));
            let done = if options.fresh || round > 1 { None } else { finished(&file, &revision) };
            println!("[{number}/{}] {}: {}", parts.len(), part.name, part.about);
            let row = match done {
                Some(row) => {
                    println!("  kept from before; --fresh measures it again");
                    row
                }
                None => measure(part, &revision, &python, &file)?,
            };
            if options.commit && row.held {
                publish(&file, part.name)?;
            }
            rows.push((part.name, row));
        }
        // More hours are more rounds of the same, with other seeds.
        if end.is_none_or(|end| Instant::now() >= end) || failed(&rows) {
            break;
        }
        round += 1;
        println!("round {round}, {:.1} hours in", begun.elapsed().as_secs_f64() / 3600.0);
    }
    table(&rows);
    Ok(!failed(&rows))
}

/// What a part gave.
struct Row {
    held: bool,
    seconds: f64,
    figures: String,
}

fn failed(rows: &[(&str, Row)]) -> bool {
    rows.iter().any(|(_, row)| !row.held)
}

/// Runs a part to its end, shows its progress, and keeps its figures.
fn measure(part: &Part, revision: &str, python: &Path, file: &Path) -> Result<Row, String> {
    let load = load();
    let begun = Instant::now();
    let mut command = Command::new(build::binary(part.program));
    command.args(part.args).current_dir(process::root()).env("PROXIMITY_PYTHON", python);
    // Each start of an agent would be told otherwise.
    command.env("RUST_LOG", "warn");
    build::tell_binaries(&mut command).stdout(std::process::Stdio::piped());
    let child = command.spawn();
    let mut child = Guarded(
        child.map_err(|error| format!("cannot run {}: {error}", process::shown(&command)))?,
    );
    let mut figures = "{}".to_owned();
    if let Some(output) = child.0.stdout.take() {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if line.starts_with('{') && line.ends_with('}') {
                figures = line;
            } else {
                println!("  {line}");
                let _ = std::io::stdout().flush();
            }
        }
    }
    let status = child.0.wait().map_err(|error| format!("{}: {error}", part.name))?;
    let held = status.success() && figures != "{}";
    let seconds = begun.elapsed().as_secs_f64();
    // Every text in it is ours, and needs no escapes.
    let text = format!(
        "{{\n  \"part\": \"{}\",\n  \"about\": \"{}\",\n  \"revision\": \"{revision}\",\n  \
         \"command\": \"{}\",\n  \"seconds\": {seconds:.1},\n  \"load_before\": {load},\n  \
         \"held\": {held},\n  \"figures\": {figures}\n}}\n",
        part.name,
        part.about,
        process::shown(&command),
    );
    fs::write(file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    println!("  {} in {seconds:.1} s: {figures}", if held { "held" } else { "FAILED" });
    Ok(Row { held, seconds, figures })
}

/// What was measured before at the same revision, if it held: what failed is measured again.
fn finished(file: &Path, revision: &str) -> Option<Row> {
    let text = fs::read_to_string(file).ok()?;
    let value = |key: &str| {
        let start = format!("  \"{key}\": ");
        let line = text.lines().find_map(|line| line.strip_prefix(&start))?;
        Some(line.trim_end_matches(',').trim_matches('"').to_owned())
    };
    if value("held")? != "true" || value("revision")? != revision {
        return None;
    }
    Some(Row { held: true, seconds: value("seconds")?.parse().ok()?, figures: value("figures")? })
}

/// Puts a part's figures where they are committed.
fn publish(file: &Path, name: &str) -> Result<(), String> {
    let to = process::root().join("docs/soak").join(format!("{name}.json"));
    fs::copy(file, &to).map_err(|error| format!("cannot write {}: {error}", to.display()))?;
    Ok(())
}

/// What is not measured: a commit that changes nothing else leaves figures as they are.
const DOCUMENTS: [&str; 3] = [".", ":!docs", ":!*.md"];

/// The commit that is measured; with a plus sign if files differ from it.
fn revision() -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).current_dir(process::root()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let on = |args: &[&'static str]| git(&[args, &["--"], &DOCUMENTS].concat());
    let commit = on(&["log", "-1", "--format=%h", "--abbrev=12"]);
    let commit = commit.filter(|text| !text.is_empty()).unwrap_or_else(|| "unknown".to_owned());
    let changed = on(&["status", "--porcelain"]).is_none_or(|text| !text.is_empty());
    if changed { commit + "+" } else { commit }
}

/// How busy the machine was in the last minute, as a JSON number.
fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let number = text.split(' ').next().and_then(|word| word.parse::<f64>().ok());
    number.map_or_else(|| "null".to_owned(), |load| load.to_string())
}

/// Prints all figures, and keeps them as one table beside the files.
fn table(rows: &[(&str, Row)]) {
    let mut text = String::from("| part | held | seconds | figures |\n|---|---|---|---|\n");
    for (name, Row { held, seconds, figures }) in rows {
        let held = if *held { "yes" } else { "NO" };
        let figures = figures.trim_matches(['{', '}']).replace('"', "");
        let _ = writeln!(text, "| {name} | {held} | {seconds:.1} | {figures} |");
    }
    println!("\n{text}\nalso in {}", kept().display());
    if let Err(error) = fs::write(kept().join("table.md"), text) {
        eprintln!("xtask: cannot keep the table: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::{finished, options};

    #[test]
    fn options_are_read_and_unknown_parts_named() {
        let given = ["--only", "kill,stop", "--fresh", "--commit", "--hours", "0.5"];
        let given = options(&given).unwrap();
        assert_eq!((given.only.len(), given.fresh, given.commit), (2, true, true));
        assert_eq!(given.hours, Some(0.5));
        let wrong = options(&["--only", "kil"]).err().unwrap();
        assert!(wrong.starts_with("there is no part 'kil'; there are kill, "), "{wrong}");
        assert!(options(&["--hours", "-1"]).is_err());
    }

    #[test]
    fn only_what_held_at_the_same_revision_is_kept() {
        let file = std::env::temp_dir().join(format!("soak-kept-{}.json", std::process::id()));
        let text = |held| {
            format!(
                "{{\n  \"revision\": \"abc\",\n  \"seconds\": 2.5,\n  \"held\": {held},\n  \
                 \"figures\": {{\"cycles\": 3}}\n}}\n"
            )
        };
        std::fs::write(&file, text(true)).unwrap();
        let row = finished(&file, "abc").unwrap();
        assert_eq!((row.seconds, row.figures.as_str()), (2.5, "{\"cycles\": 3}"));
        assert!(finished(&file, "abd").is_none());
        std::fs::write(&file, text(false)).unwrap();
        assert!(finished(&file, "abc").is_none());
        std::fs::remove_file(&file).unwrap();
    }
}
