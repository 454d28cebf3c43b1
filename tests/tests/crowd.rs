//! Many peers, and bad ones, with numbers that a test can have; `cargo xtask soak` has the large ones.

#![allow(clippy::panic, reason = "a failing test panics")]

use proximity_tests::crowd::{self, Outcome};
use std::sync::{Mutex, PoisonError};

/// Each of them measures an agent, and would be what the other measures.
static ALONE: Mutex<()> = Mutex::new(());

fn held(part: fn(usize) -> Outcome, count: usize) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let outcome = part(count);
    let broken = outcome.broken(false);
    assert!(broken.is_empty(), "not so: {broken:?}; {}", outcome.figures);
}

#[test]
fn peers_that_never_read_cost_no_more_than_their_share() {
    held(crowd::slow_readers, 8);
}

#[test]
fn idle_connections_cost_little_and_are_served_still() {
    held(crowd::idle, 400);
}

#[test]
fn connections_that_come_and_go_leave_nothing() {
    held(crowd::churn, 2000);
}

#[test]
fn those_that_are_there_are_served_when_descriptors_run_out() {
    held(crowd::descriptors_run_out, 200);
}

#[test]
fn peers_that_speak_no_zmtp_hurt_nobody() {
    held(crowd::bad_peers, 5);
}

#[test]
fn panics_leave_nothing() {
    held(crowd::panics, 500);
}

#[test]
fn a_log_that_cannot_be_written_stops_no_call() {
    held(crowd::log_broken, 2000);
}

#[test]
fn a_flood_of_calls_is_refused_at_once_and_each_answered() {
    held(crowd::flood, 10);
}
