//! The router, the session and the workers together, over the transport in memory.

// A test that fails by a panic is a test that works.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![allow(unreachable_pub, reason = "#[expose] takes what is pub")]

mod bulk;
mod calls;
mod codecs;
mod contract;
mod harness;
mod health;
mod leases;
mod objects;
mod peers;
mod refusals;
mod status;
