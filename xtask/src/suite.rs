//! `cargo xtask test` and `cargo xtask lint`: the steps, in order.

use crate::process::{self, cargo};
use crate::steps::{Counts, Failure, Outcome, Steps};
use crate::{build, dist, floors, python, skips};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

/// Steps of `lint`, and those that `test` adds.
const LINT_STEPS: usize = 6;
const TEST_STEPS: usize = 7;

/// Runs the checks that need no test built.
pub(crate) fn lint() -> ExitCode {
    run("lint", LINT_STEPS, lint_steps)
}

/// Runs everything.
pub(crate) fn test() -> ExitCode {
    run("all checks and tests", LINT_STEPS + TEST_STEPS, |steps| {
        lint_steps(steps);
        test_steps(steps);
    })
}

/// Runs a list of `total` steps, and ends with its table.
pub(crate) fn run(title: &str, total: usize, list: impl FnOnce(&mut Steps)) -> ExitCode {
    match Steps::new(title, total) {
        Ok(mut steps) => {
            list(&mut steps);
            steps.finish()
        }
        Err(text) => {
            eprintln!("xtask: {text}");
            ExitCode::FAILURE
        }
    }
}

fn lint_steps(steps: &mut Steps) {
    steps.step("format", formatted);
    steps.step("floors", floors_hold);
    steps.step("checksums", checksums_agree);
    steps.step("no_std", proto_needs_no_std);
    steps.step("clippy", |log| {
        let args = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-Dwarnings"];
        passes(&mut cargo(&args), log)
    });
    steps.step("docs", |log| {
        let mut doc = cargo(&["doc", "--workspace", "--no-deps", "--locked"]);
        passes(doc.env("RUSTDOCFLAGS", "-Dwarnings"), log)
    });
}

fn test_steps(steps: &mut Steps) {
    let mut pythons = None;
    steps.step("python packages", |log| {
        let ours = python::environment(&python::OURS, log)?;
        pythons = Some((ours, python::environment(&python::CLIENTS, log)?));
        Ok(Counts::one())
    });
    let built = steps.step("release binaries", |log| passes(&mut build::release(), log));
    let mut static_agent = None;
    steps.step("static agent", |log| {
        static_agent = Some(dist::static_agent(log)?);
        Ok(Counts::one())
    });
    let ready = || {
        let missing = || "not run: the binaries or the Python packages are missing".to_owned();
        pythons.as_ref().filter(|_| built).ok_or_else(missing)
    };
    steps.step("rust tests", |log| {
        let mut test = cargo(&["test", "--workspace", "--locked", "--no-fail-fast"]);
        let (ours, clients) = ready()?;
        test.envs(static_agent.iter().map(|path| ("PROXIMITY_STATIC_AGENT", path)));
        build::tell_binaries(&mut test)
            .env("PROXIMITY_PYTHON", ours)
            .env("PROXIMITY_CLIENTS_PYTHON", clients);
        counted(test.args(["--lib", "--bins", "--tests", "--", "--show-output"]), log)
    });
    steps.step("doc tests", |log| {
        let mut test = cargo(&["test", "--workspace", "--locked", "--no-fail-fast", "--doc"]);
        counted(test.args(["--", "--show-output"]), log)
    });
    steps.step("python lint", |log| python_lint(&ready()?.0, log));
    steps.step("python tests", |log| python_tests(&ready()?.0, log));
}

/// A step that is one command.
fn passes(command: &mut Command, log: &Path) -> Outcome {
    process::run(command, log)?;
    Ok(Counts::one())
}

fn formatted(log: &Path) -> Outcome {
    process::run(&mut cargo(&["fmt", "--all", "--check"]), log)?;
    for apart in ["tests/no_std", "vendor/zeromq-src"] {
        let dir = process::root().join(apart);
        process::run(cargo(&["fmt", "--check"]).current_dir(dir), log)?;
    }
    Ok(Counts::one())
}

fn floors_hold(log: &Path) -> Outcome {
    let mut counts = Counts::default();
    let mut text = String::new();
    for (fact, broken) in floors::check(log)? {
        if broken.is_empty() {
            counts.passed += 1;
        } else {
            counts.failed += 1;
            let places = broken.join("\n  ");
            let _ = writeln!(text, "not so: {fact}\n  {places}");
        }
    }
    if counts.failed == 0 { Ok(counts) } else { Err(Failure { counts, text }) }
}

fn checksums_agree(log: &Path) -> Outcome {
    let mut check = Command::new("sha256sum");
    check.args(["--check", "--quiet", "--strict", "SHA256SUMS"]);
    passes(check.current_dir(floors::golden()), log)
}

/// Compiles `tests/no_std`, with the versions of the workspace's own Cargo.lock.
fn proto_needs_no_std(log: &Path) -> Outcome {
    let crate_dir = process::root().join("tests/no_std");
    fs::copy(process::root().join("Cargo.lock"), crate_dir.join("Cargo.lock"))
        .map_err(|error| format!("cannot copy Cargo.lock to {}: {error}", crate_dir.display()))?;
    let mut check = cargo(&["check", "--target-dir"]);
    passes(check.arg(process::work_dir().join("no_std")).current_dir(crate_dir), log)
}

/// Runs `cargo test` and counts what it says.
fn counted(test: &mut Command, log: &Path) -> Outcome {
    let (succeeded, output) = process::run_any(test, log)?;
    let mut counts = skips::of_cargo_test(&output);
    if succeeded && counts.failed == 0 && counts.passed > 0 {
        return Ok(counts);
    }
    counts.failed = counts.failed.max(1);
    Err(Failure {
        counts,
        text: format!("{}\n{}", skips::failures(&output), process::tail(&output)),
    })
}

fn python_lint(python: &Path, log: &Path) -> Outcome {
    let client = process::root().join("clients/python");
    let lints: [&[&str]; 3] = [
        &["-m", "ruff", "check", ".", "../../tests/python"],
        &["-m", "ruff", "format", "--check", "."],
        &["-m", "mypy", "--no-error-summary", "src"],
    ];
    for args in lints {
        process::run(Command::new(python).args(args).current_dir(&client), log)?;
    }
    Ok(Counts { passed: 3, ..Counts::default() })
}

fn python_tests(python: &Path, log: &Path) -> Outcome {
    let mut pytest = Command::new(python);
    pytest.args(["-m", "pytest", "-v", "-p", "no:cacheprovider", "clients/python/tests"]);
    pytest.env("PYTHONPATH", process::root().join("clients/python/src"));
    build::tell_binaries(pytest.env("PYTHONDONTWRITEBYTECODE", "1").current_dir(process::root()));
    let (succeeded, output) = process::run_any(&mut pytest, log)?;
    let mut counts = skips::of_pytest(&output);
    if succeeded && counts.failed == 0 {
        return Ok(counts);
    }
    counts.failed = counts.failed.max(1);
    Err(Failure { counts, text: process::tail(&output) })
}
