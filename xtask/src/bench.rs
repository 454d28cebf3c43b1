//! `cargo xtask bench`: builds what is measured, then lets `proximity-benches` measure.

use crate::{build, process, python};
use std::process::{Command, ExitCode};

/// Runs the benchmarks with the options given.
pub(crate) fn run(options: &[&str]) -> ExitCode {
    let built = build::release().status();
    if !built.is_ok_and(|status| status.success()) {
        return ExitCode::FAILURE;
    }
    let clients =
        match python::environment(&python::CLIENTS, &process::work_dir().join("bench.log")) {
            Ok(clients) => clients,
            Err(text) => {
                eprintln!("xtask: {text}");
                return ExitCode::FAILURE;
            }
        };
    let mut bench = Command::new(build::binary("proximity-benches"));
    bench.env("PROXIMITY_CLIENTS_PYTHON", clients);
    match build::tell_binaries(bench.args(options)).current_dir(process::root()).status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: cannot run {}: {error}", process::shown(&bench));
            ExitCode::FAILURE
        }
    }
}
