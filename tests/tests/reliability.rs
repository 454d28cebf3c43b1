//! The call contract, held by real processes under real faults: the quick form of `cargo xtask soak`.

#![allow(clippy::expect_used, clippy::panic, reason = "a failing test panics")]

use proximity_tests::{
    faulty::Mistake,
    proxy::Fault,
    rig::{
        Tolerance, garbling,
        parts::{self, End, Run},
        reload, storm,
        verdict::Verdict,
    },
};
use std::time::Duration;

fn run(count: u64) -> Run {
    Run {
        count,
        seed: u64::from(std::process::id()),
        tolerance: Tolerance::BUSY,
        worlds: 1,
        mistake: None,
    }
}

#[test]
fn nothing_runs_twice_or_is_lost_when_the_agent_is_killed() {
    let run = run(100);
    println!("{run:?}");
    parts::restarts(&run, End::Kill).assert();
}

#[test]
fn the_way_back_is_short_after_an_agent_was_away_for_a_moment() {
    let run = run(20);
    println!("{run:?}");
    parts::restarts(&run, End::Brief).assert();
}

#[test]
fn many_clients_come_back_and_storm_nobody() {
    let run = run(40);
    println!("{run:?}");
    storm::storm(&run, 1, Duration::from_secs(1)).assert();
}

#[test]
fn a_stopping_agent_answers_every_call_and_ends_within_a_second() {
    let run = run(20);
    println!("{run:?}");
    parts::restarts(&run, End::Terminate).assert();
}

#[test]
fn no_call_is_lost_when_the_file_is_read_again() {
    let run = run(15);
    println!("{run:?}");
    reload::reloads(&run).assert();
}

#[test]
fn nothing_runs_late_when_the_agent_was_stopped() {
    let run = run(20);
    println!("{run:?}");
    parts::stops(&run, Duration::from_millis(100), Duration::from_millis(800)).assert();
}

#[test]
fn lost_replies_make_nothing_run_twice() {
    let run = run(1000);
    println!("{run:?}");
    parts::increments(&run).assert();
}

/// How a mistake is looked for, and what it breaks.
fn looked_for(mistake: Mistake, seed: u64) -> (Verdict, &'static [&'static str]) {
    let of = |count| Run { mistake: Some(mistake), seed, ..run(count) };
    match mistake {
        Mistake::NoDeduplication => {
            (parts::bad_link(&of(30), Fault::CutAfter(600), false), &["double"])
        }
        Mistake::NoEpoch => (parts::restarts(&of(20), End::Kill), &["double"]),
        Mistake::NoDeadline => {
            let (shortest, longest) = (Duration::from_millis(500), Duration::from_millis(600));
            (parts::stops(&of(3), shortest, longest), &["late_start"])
        }
        Mistake::SequenceOnly => {
            (parts::bad_link(&of(15), Fault::None, false), &["lost", "not_linearizable"])
        }
        Mistake::LeaseWithoutEpoch => unreachable!("tests/contract.rs looks for it"),
    }
}

#[test]
fn every_mistake_of_a_real_agent_is_found() {
    for mistake in Mistake::OF_CALLS {
        // Where the mistake shows is left to chance; twenty runs without it would be no chance.
        let found = (1..=20).find_map(|seed| {
            let (verdict, kinds) = looked_for(mistake, seed);
            let first = verdict
                .broken
                .iter()
                .find(|text| kinds.iter().any(|kind| text.split(':').next() == Some(*kind)));
            first.map(|text| (seed, text.clone()))
        });
        let Some((seed, text)) = found else { panic!("{mistake:?} was not found") };
        println!("{mistake:?}: in run {seed}: {text}");
    }
}

#[test]
fn a_bad_link_gives_no_wrong_answer() {
    let run = run(15);
    println!("{run:?}");
    let faults = [
        Fault::None,
        Fault::Delay(Duration::from_millis(20)),
        Fault::Rate(20_000),
        Fault::CutAfter(600),
        Fault::Blackhole,
        Fault::HalfOpen,
    ];
    for fault in faults {
        for before_board in [false, true] {
            println!("{fault:?}, before the board: {before_board}");
            parts::bad_link(&run, fault, before_board).assert();
        }
    }
}

#[test]
fn a_garbled_link_to_the_agent_hangs_and_kills_nothing() {
    let run = run(60);
    println!("{run:?}");
    garbling::garbling(&run, false).assert();
}

#[test]
fn a_garbled_link_to_the_board_hangs_and_kills_nothing() {
    let run = run(60);
    println!("{run:?}");
    garbling::garbling(&run, true).assert();
}

/// Adds the names of all test functions under `folder`.
fn tests_under(folder: &std::path::Path, names: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder of the checkout").flatten() {
        let path = entry.path();
        if path.is_dir() {
            tests_under(&path, names);
            continue;
        }
        let begin = match path.extension().and_then(|end| end.to_str()) {
            Some("rs") => ("#[test]", "fn "),
            Some("py") => ("\n", "def test_"),
            _ => continue,
        };
        let text = std::fs::read_to_string(&path).expect("a source file");
        let after = text.split(begin.0).skip(1);
        let found = after.filter_map(|rest| rest.split_once(begin.1)?.1.split_once('('));
        let prefix = begin.1.trim_start_matches("fn ").trim_start_matches("def ");
        names.extend(found.map(|(name, _)| format!("{prefix}{name}")));
    }
}

#[test]
fn every_test_that_the_documents_name_exists() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the checkout");
    let mut names = Vec::new();
    for folder in ["tests", "proto", "agent", "drivers", "clients/rust", "clients/python/tests"] {
        tests_under(&root.join(folder), &mut names);
    }
    for document in ["docs/reliability.md", "docs/wire.md"] {
        let text = std::fs::read_to_string(root.join(document)).expect("a document");
        let cited: Vec<&str> = text
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|word| word.matches('_').count() > 2 && !word.contains(['/', ':', ' ']))
            .collect();
        assert!(cited.len() > 5, "{document}: {cited:?}");
        for name in cited {
            let is_known = names.iter().any(|known| known == name);
            assert!(is_known, "{document} names '{name}', and there is no such test");
        }
    }
}
