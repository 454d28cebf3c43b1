//! The rig: clients that keep calling while an agent is killed, stopped, cut off; and what must be true
//! of all that they were told, held against what the board did.
//!
//! The board is a mock in the rig's own process, so that its journal outlives every agent.

pub mod callers;
pub mod figures;
pub mod garbling;
pub mod parts;
pub mod reload;
pub mod storm;
pub mod verdict;
pub mod world;

use std::time::Duration;

/// How late what is in time may be. Promises are made for a machine that has a processor to spare; the
/// quick tests run beside others.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    /// A call's end after its deadline.
    pub answer: Duration,
    /// A write's start at the board, in running time of the agent after the deadline.
    pub start: Duration,
}

impl Tolerance {
    /// What is promised.
    pub const PROMISED: Self =
        Self { answer: Duration::from_millis(100), start: Duration::from_millis(5) };
    /// On a machine that does other things too.
    pub const BUSY: Self =
        Self { answer: Duration::from_secs(1), start: Duration::from_millis(100) };
}
