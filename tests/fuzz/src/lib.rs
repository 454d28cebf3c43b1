//! What must hold for any bytes whatever: a body for each way in, and what feeds them.
//!
//! ```text
//! target/*.rs   bodies: bytes in; they panic where something does not hold
//! corpus.rs     bytes to start from       mutate.rs  what becomes of them
//! drive.rs      runs a body a number of times, keeps what breaks it
//! ```
//!
//! The bodies run under cargo-fuzz too (`cargo-fuzz/`): `cargo xtask fuzz` takes it where it is there.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "a body that finds something panics"
)]

pub mod corpus;
pub mod drive;
pub mod measure;
pub mod mutate;
pub mod nil;
mod target;

/// A way in, and what must hold there.
pub struct Target {
    /// What it is called on the command line.
    pub name: &'static str,
    /// Tries one input. What it returns stands for what became of it: an input with a new one is kept to
    /// be mutated further.
    pub body: fn(&[u8]) -> u64,
    /// Bytes to start from.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Bytes that mean something there.
    pub words: &'static [&'static [u8]],
}

/// All of them.
pub const TARGETS: [Target; 6] = [
    target::request::TARGET,
    target::json::TARGET,
    target::message::TARGET,
    target::katcp::TARGET,
    target::gateware::TARGET,
    target::config::TARGET,
];

/// The target called `name`.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Tries `bytes` on the target called `name`: for cargo-fuzz.
pub fn run_body(name: &str, bytes: &[u8]) {
    let target = target(name).expect("a target");
    (target.body)(bytes);
}
