//! The release binaries that the demo, the benchmarks and the end-to-end tests run.

use crate::process::{self, cargo};
use std::path::PathBuf;
use std::process::Command;

/// Returns the one command that builds them all: another choice of packages would be another choice of
/// features, and build everything again.
pub(crate) fn release() -> Command {
    cargo(&[
        "build",
        "--release",
        "--bins",
        "--package=proximity-agent",
        "--package=proximity-client",
        "--package=mock-fpga",
        "--package=proximity-benches",
        "--package=proximity-tests",
    ])
}

/// Returns the path of a release binary.
pub(crate) fn binary(name: &str) -> PathBuf {
    process::target_dir().join("release").join(name)
}

/// Tells the tests, Rust and Python, which binaries to run, by environment variables.
pub(crate) fn tell_binaries(command: &mut Command) -> &mut Command {
    command
        .env("PROXIMITY_AGENT_BIN", binary("proximity-agent"))
        .env("PROXIMITY_BIN", binary("proximity"))
        .env("MOCK_FPGA_BIN", binary("mock-fpga"))
        .env("TEST_AGENT_BIN", binary("test-agent"))
}
