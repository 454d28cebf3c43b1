//! A part of the soak: `crowd NAME COUNT` prints its figures as a line of JSON.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line talks to its user")]

use proximity_tests::crowd::{
    Outcome, bad_peers, churn, descriptors_run_out, flood, idle, log_broken, panics, slow_readers,
};
use std::process::ExitCode;

type Part = fn(usize) -> Outcome;

const PARTS: [(&str, Part); 8] = [
    ("slow-readers", slow_readers),
    ("idle", idle),
    ("churn", churn),
    ("descriptors", descriptors_run_out),
    ("bad-peers", bad_peers),
    ("panics", panics),
    ("log-broken", log_broken),
    ("flood", flood),
];

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let name = args.next().unwrap_or_default();
    let count = args.next().and_then(|count| count.parse().ok());
    let part = PARTS.iter().find(|(part, _)| *part == name);
    let (Some((_, part)), Some(count)) = (part, count) else {
        eprintln!(
            "usage: crowd NAME COUNT, NAME one of {}",
            PARTS.map(|(name, _)| name).join(", ")
        );
        return ExitCode::from(2);
    };
    // The agent has one for each connection, and so have we.
    if matches!(name.as_str(), "idle" | "slow-readers" | "descriptors")
        && let Err(text) = proximity_tests::raise_descriptors(count as u64 + 200)
    {
        eprintln!("crowd: {text}");
        return ExitCode::FAILURE;
    }
    let outcome = part(count);
    let broken = outcome.broken(true);
    for promise in &broken {
        println!("not so: {promise}");
    }
    println!("{}", outcome.figures);
    if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
