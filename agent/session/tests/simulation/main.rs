//! The session core in simulated worlds that go wrong: messages are lost and late, agents are killed,
//! stopped, drained and reloaded, drivers panic, boards are slow.
//!
//! `SEEDS=1000000 cargo test --release -p proximity-session --test simulation` runs more worlds than
//! usual, `FIRST=500000` has them begin there, and `SEED=n` runs the one that failed.

#![allow(clippy::indexing_slicing, reason = "a test may")]

mod agent;
mod board;
mod client;
mod line;
mod linear;
mod plan;
mod record;
mod rng;
mod world;

use plan::{Mutation, Plan};
use record::Met;
use world::World;

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn nothing_runs_twice_or_late_or_without_an_answer_in_a_thousand_worlds() {
    let first = number("SEED").or(number("FIRST")).unwrap_or(0);
    let count = number("SEED").map_or_else(|| number("SEEDS").unwrap_or(1000), |_| 1);
    let seeds = first..first + count;
    let (mut calls, mut residual) = (0, 0);
    let mut outcomes = [0; 3];
    let mut met = [0; 5];
    for seed in seeds {
        let record = World::run(seed, Plan::of(seed));
        if let Some(violation) = record.violation {
            panic!("seed {seed}: {violation}");
        }
        calls += record.seen.len();
        residual += record.residual;
        let Met { in_flight, unread, no_room, in_parts, stalled } = record.met;
        for (sum, count) in met.iter_mut().zip([in_flight, unread, no_room, in_parts, stalled]) {
            *sum += count;
        }
        for seen in record.seen.values() {
            outcomes[match seen.outcome {
                client::Outcome::Value(_) => 0,
                client::Outcome::NotExecuted => 1,
                client::Outcome::Unknown => 2,
            }] += 1;
        }
    }
    let [values, not_executed, unknown] = outcomes;
    println!(
        "{calls} calls: {values} values, {not_executed} not executed, {unknown} unknown; \
         {residual} late by a stop before the board"
    );
    let [in_flight, unread, no_room, in_parts, stalled] = met;
    println!(
        "refused: {in_flight} for too many calls in flight, {unread} for what was not read, {no_room} for \
         what nobody read; large results: {in_parts} in parts, {stalled} that stood still"
    );
    assert!(calls < 20_000 || !met.contains(&0), "nothing is shown of some bound");
    let shows_enough = calls < 1000 || 3 * values > not_executed + unknown;
    assert!(shows_enough, "the worlds are so bad that they show little");
}

#[test]
fn every_planted_mistake_is_found_within_a_hundred_worlds() {
    for mutation in Mutation::ALL {
        let found = (0..100).find_map(|seed| {
            let plan = Plan { mutation: Some(mutation), ..Plan::of(seed) };
            Some((seed, World::run(seed, plan).violation?))
        });
        let Some((seed, violation)) = found else { panic!("{mutation:?} was not found") };
        println!("{mutation:?}: found at seed {seed}: {violation}");
    }
}
