//! Static programs for other processors, and how they run here: under qemu.

use super::AGENT;
use crate::process::{self, cargo};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A kind of machine that an agent may be put into.
pub(crate) struct Machine {
    /// As people and Debian call it.
    pub(crate) name: &'static str,
    /// As Rust calls it, the C compiler, and qemu.
    target: &'static str,
    triple: &'static str,
    qemu: &'static str,
    /// Where the test finds the agent.
    pub(crate) variable: &'static str,
}

/// A Raspberry Pi with 64 bits, an `RFSoC`; an older Raspberry Pi such as a SNAP's, a Zynq.
pub(crate) const MACHINES: [Machine; 2] = [
    Machine {
        name: "arm64",
        target: "aarch64-unknown-linux-gnu",
        triple: "aarch64-linux-gnu",
        qemu: "qemu-aarch64-static",
        variable: "PROXIMITY_ARM64_AGENT",
    },
    Machine {
        name: "armhf",
        target: "armv7-unknown-linux-gnueabihf",
        triple: "arm-linux-gnueabihf",
        qemu: "qemu-arm-static",
        variable: "PROXIMITY_ARMHF_AGENT",
    },
];

/// Fetches what it takes to build for [`MACHINES`], and returns where it is.
///
/// # Errors
///
/// A text, where this is no Debian of the right kind, or its mirror cannot be reached.
pub(crate) fn toolchain(log: &Path) -> Result<PathBuf, String> {
    let home = process::target_dir().join("cross");
    let script = process::root().join("deploy/cross.sh");
    process::run(Command::new("sh").arg(script).arg(&home), log)?;
    Ok(home)
}

/// Builds the agent for `machine`, and returns a script that runs it here.
///
/// # Errors
///
/// A text, if it cannot be built.
pub(crate) fn agent(machine: &Machine, home: &Path, log: &Path) -> Result<PathBuf, String> {
    let root = home.join("root/usr");
    let Machine { target, triple, .. } = machine;
    let of_target = |name: &str| format!("{name}_{}", target.replace('-', "_"));
    let path = std::env::var("PATH").unwrap_or_default();
    let mut build = cargo(&["build", "--release", "--locked", "--bin", AGENT, "--target", target]);
    // A folder of its own: another compiler made it. Host programs come first: Debian's own C compiler is in root too.
    build.arg("--target-dir").arg(home.join("target"));
    build
        .env("RUSTC", home.join("rustc"))
        .env("RUSTFLAGS", "-Ctarget-feature=+crt-static")
        .env("PATH", format!("{path}:{}", root.join("bin").display()))
        .env("LD_LIBRARY_PATH", root.join("lib/x86_64-linux-gnu"))
        .env(of_target("CARGO_TARGET").to_uppercase() + "_LINKER", format!("{triple}-gcc"))
        .env(of_target("CC"), format!("{triple}-gcc"))
        .env(of_target("CXX"), format!("{triple}-g++"))
        .env(of_target("AR"), format!("{triple}-ar"))
        .env("SODIUM_LIB_DIR", root.join("lib").join(triple))
        .env("SODIUM_INCLUDE_DIR", root.join("include"));
    process::run(&mut build, log)?;
    let script = home.join(format!("{AGENT}-{}", machine.name));
    let text = format!(
        "#!/bin/sh\nexec '{}' '{}' \"$@\"\n",
        root.join("bin").join(machine.qemu).display(),
        binary(machine, home).display()
    );
    let written = fs::write(&script, text);
    written.map_err(|error| format!("cannot write {}: {error}", script.display()))?;
    process::run(Command::new("chmod").arg("755").arg(&script), log)?;
    Ok(script)
}

/// Returns where the agent for `machine` is.
pub(crate) fn binary(machine: &Machine, home: &Path) -> PathBuf {
    home.join("target").join(machine.target).join("release").join(AGENT)
}
