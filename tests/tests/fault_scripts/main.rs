//! Random faults between a board and its client: no wrong value, no call past its deadline, no panic, and no failure
//! but of a kind that the faults explain.
//!
//! A script is a board, a client, and eight calls, half of them with another fault on the way. It is known by its
//! seed: `SEED=17 cargo test -p proximity-tests --test fault_scripts` plays that one again, and `SCRIPTS=1000000` plays
//! so many.
//!
//! Among the faults all but one come and go at any time. Words with their bytes swapped are how some boards are, which
//! a client told to detect that finds out by the board's id: one script in eight plays on such a board, and its values
//! have to be right. A board that began to swap in between could not be told from one whose values changed, by any
//! client, for KATCP has no checksums: that is not played.

// The exemption of tests in clippy.toml does not reach their helpers.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod script;
mod shadow;

use script::{Tally, Wrong, play};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

const SCRIPTS: u64 = 10_000;
/// Scripts at a time: they mostly wait.
const THREADS: usize = 64;
/// How much later than its deadline a call may end.
const MARGIN: Duration = Duration::from_millis(100);

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// Plays a script; what is wrong, if something is.
fn verdict(seed: u64, tally: &mut Tally) -> Option<Wrong> {
    match catch_unwind(AssertUnwindSafe(|| play(seed, tally))) {
        Ok(result) => result.err(),
        Err(_) => Some("it panicked, as told above".into()),
    }
}

#[test]
fn ten_thousand_scripts_of_faults_give_no_wrong_value_and_no_late_answer() {
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SCRIPTS").unwrap_or(SCRIPTS),
    };
    let (next, end) = (AtomicU64::new(seeds.start), seeds.end);
    let (mut tally, mut late, mut wrong) = (Tally::default(), Vec::new(), Vec::new());
    let play_some = || {
        let (mut tally, mut found) = (Tally::default(), Vec::new());
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return (tally, found);
            }
            found.extend(verdict(seed, &mut tally).map(|what| (seed, what)));
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(play_some)).collect();
        for thread in threads {
            let (part, found) = thread.join().expect("panics are caught");
            tally.add(part);
            for (seed, what) in found {
                match what {
                    Wrong::Late(what) => late.push((seed, what)),
                    Wrong::Else(what) => wrong.push(format!("SEED={seed}: {what}")),
                }
            }
        }
    });
    println!("{tally:?}, {} late in company", late.len());
    // Who was late among many on a busy machine has to be in time alone.
    for (seed, first) in late {
        if let Some(Wrong::Late(what) | Wrong::Else(what)) = verdict(seed, &mut Tally::default()) {
            wrong.push(format!("SEED={seed}: {first}\nand alone: {what}"));
        }
    }
    assert!(wrong.is_empty(), "{} scripts went wrong:\n{}", wrong.len(), wrong.join("\n\n"));
}
