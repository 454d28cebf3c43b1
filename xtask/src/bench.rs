//! `cargo xtask bench`: builds what is measured, then lets `proximity-benches` measure.

use crate::python::Environment;
use crate::{build, process, python};
use std::process::{Command, ExitCode};

/// The parts that run scripts in Python, and where the scripts find which packages.
const SCRIPTS: [(&str, &str, &Environment); 2] = [
    ("serial", "PROXIMITY_CLIENTS_PYTHON", &python::CLIENTS),
    ("python", "PROXIMITY_PEERS_PYTHON", &python::PEERS),
];

/// Runs the benchmarks with the options given.
pub(crate) fn run(options: &[&str]) -> ExitCode {
    let built = build::release().status();
    if !built.is_ok_and(|status| status.success()) {
        return ExitCode::FAILURE;
    }
    let mut bench = Command::new(build::binary("proximity-benches"));
    for (part, variable, packages) in SCRIPTS {
        if !is_asked_for(part, options) {
            continue;
        }
        match python::environment(packages, &process::work_dir().join("bench.log")) {
            Ok(interpreter) => bench.env(variable, interpreter),
            Err(text) => {
                eprintln!("xtask: {text}");
                return ExitCode::FAILURE;
            }
        };
    }
    match build::tell_binaries(bench.args(options)).current_dir(process::root()).status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: cannot run {}: {error}", process::shown(&bench));
            ExitCode::FAILURE
        }
    }
}

/// Whether `options` have a part measured: all are, unless some are named.
fn is_asked_for(part: &str, options: &[&str]) -> bool {
    let mut after = options.iter().skip_while(|option| **option != "--only").skip(1);
    after.next().is_none_or(|parts| parts.split(',').any(|named| named == part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_fetched_for_what_is_measured_only() {
        assert!(is_asked_for("python", &[]));
        assert!(is_asked_for("python", &["--check", "--only", "latency,python"]));
        assert!(!is_asked_for("python", &["--only", "latency", "--check"]));
    }
}
