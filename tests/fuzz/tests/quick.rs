//! Each body on the inputs that are saved, and on some that are new.

#![allow(clippy::panic, clippy::expect_used, reason = "a failing test panics")]

use proximity_fuzz::{TARGETS, corpus, drive, measure, nil};

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// Tries `runs` new inputs, few enough for a build that is not optimised: `cargo xtask fuzz` has the many.
///
/// `RUNS` in the environment asks for another number, `SEED` for other inputs.
fn quick(name: &str, runs: u64) {
    let target = proximity_fuzz::target(name).expect("a target");
    let seed = number("SEED").unwrap_or(1);
    drive::run(target, number("RUNS").unwrap_or(runs), seed).unwrap_or_else(|broken| {
        let (input, why) = (broken.input.escape_ascii(), broken.why);
        panic!("SEED={seed}, input {}: {why}\nb\"{input}\"", broken.after)
    });
}

#[test]
fn any_bytes_as_a_request() {
    quick("request", 20_000);
}

#[test]
fn any_text_as_a_request() {
    quick("json", 20_000);
}

#[test]
fn any_bytes_from_an_agent() {
    quick("message", 100_000);
}

#[test]
fn any_bytes_from_a_board() {
    quick("katcp", 5_000);
}

#[test]
fn any_bytes_as_gateware() {
    quick("gateware", 20_000);
}

#[test]
fn any_text_as_a_configuration() {
    quick("config", 10_000);
}

#[test]
fn sixteen_mebibytes_of_nothing_are_refused_without_memory() {
    let nils = nil::bytes();
    let error = measure::within(0, 0, || nil::refuse(&nils));
    assert_eq!(error, "the message has more than 65536 values (at byte 65540)");
}

#[test]
fn every_target_has_seeds_and_each_saved_input_a_target() {
    for target in &TARGETS {
        assert!(!(target.seeds)().is_empty(), "{} has nothing to start from", target.name);
    }
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for entry in std::fs::read_dir(folder).expect("the corpus is there").flatten() {
        let name = entry.file_name().into_string().expect("a name");
        assert!(proximity_fuzz::target(&name).is_some(), "no target is called {name}");
        assert!(!corpus::saved(&name).is_empty(), "{name} has saved inputs");
    }
}
