//! What the end-to-end tests stand on: real processes, raw sockets, the recorded messages.
//!
//! Nothing here sleeps to wait: every wait is for a line, a message or an exit, with a deadline whose
//! end is a failure that says what was missing.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a failing test panics")]

pub mod crowd;
pub mod faulty;
pub mod foo;
pub mod odd;
pub mod process;
pub mod proxy;
pub mod raw;
pub mod recorded;
pub mod rig;
pub mod zmtp;

// The simulation's checker and random numbers: what is true of simulated agents must be true of real ones.
#[path = "../../agent/session/tests/simulation/linear.rs"]
mod linear;
#[path = "../../agent/session/tests/simulation/rng.rs"]
mod rng;

use std::time::Duration;

/// Longer than anything that is waited for can take on a busy two-core machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Lets this process, and what it starts, have `wanted` open files, up to the limit that only root can
/// raise.
///
/// # Errors
///
/// A text that says so where that limit is too low.
pub fn raise_descriptors(wanted: u64) -> Result<(), String> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    let raised =
        Rlimit { current: Some(wanted), maximum: limit.maximum.map(|most| most.max(wanted)) };
    setrlimit(Resource::Nofile, raised).map_err(|error| {
        let most = limit.maximum.map_or_else(|| "no limit".to_owned(), |most| most.to_string());
        format!("{wanted} open files are needed, the hard limit is {most} (ulimit -Hn): {error}")
    })
}

/// The examples in the documents compile and run.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../../README.md")]
    struct Readme;

    #[doc = include_str!("../../docs/writing-a-driver.md")]
    struct WritingADriver;
}
