//! SIGHUP under load: a changed, a broken and an unchanged file, again and again.

use super::{
    callers::{self, Callers, Habits, Outcome},
    parts::{CLIENTS, Run, progress, signal},
    verdict::{Verdict, judge},
    world::{COUNTER, World, objects},
};
use crate::{PATIENCE, rng::Rng};
use proximity_client::Client;
use rustix::process::Signal;
use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Nothing is late: what is shown is that nothing is lost.
const HABITS: Habits = Habits { writes: 500, timeout_ms: (10_000, 20_000), calls: u64::MAX };

/// What the file holds when it is read again, in turn.
const TURNS: [File; 3] = [File::Changed, File::Broken, File::Unchanged];

#[derive(Clone, Copy, PartialEq, Eq)]
enum File {
    Changed,
    Broken,
    Unchanged,
}

impl File {
    /// What the agent says of it.
    fn line(self) -> &'static str {
        if self == File::Broken { "cannot be used; all stays as it was" } else { "was read again" }
    }
}

/// Has an agent read its file again under clients of a board that does not change, and of a counter
/// that does.
///
/// # Panics
///
/// If the agent does not say that it has, or its clients find no way to it.
pub fn reloads(run: &Run) -> Verdict {
    let (world, log) = World::logged();
    let file = world.agent.configuration();
    let head = "listen = [\"tcp://127.0.0.1:0\"]\n";
    let good = |start: u32| format!("{head}{}", objects(world.board.addr(), start));
    let mut rng = Rng::new(run.seed);
    let callers = Callers::start(&world.agent.endpoint, CLIENTS, run.seed, HABITS);
    callers.wait_for_success_after(Instant::now());
    let stopped = AtomicBool::new(false);
    let mut start = 0;
    let (calls, seen) = thread::scope(|scope| {
        let watch = scope.spawn(|| watch(&world.agent.endpoint, &stopped));
        for number in 0..run.count {
            thread::sleep(Duration::from_micros(rng.between(0, 10_000)));
            let place = usize::try_from(number).unwrap_or(0) % TURNS.len();
            let turn = TURNS[place];
            let text = match turn {
                File::Changed => {
                    start += 1;
                    good(start)
                }
                File::Broken => good(start) + "\n[objects.counter]\nstart = 'twice'\n",
                File::Unchanged => good(start),
            };
            let said = told(&log, turn.line());
            fs::write(&file, text).expect("the configuration can be written");
            signal(&world, Signal::HUP);
            let until = Instant::now() + PATIENCE;
            while told(&log, turn.line()) == said {
                assert!(Instant::now() < until, "the agent does not say '{}'", turn.line());
                thread::park_timeout(Duration::from_millis(1));
            }
            callers.wait_for_success_after(Instant::now());
            progress(run, number);
        }
        let calls = callers.stop();
        // The last change has arrived once it is seen.
        let counter = Client::new(&world.agent.endpoint).expect("an address").object(COUNTER);
        let until = Instant::now() + PATIENCE;
        while counter.get("value").ok().and_then(|reply| reply.get::<u32>().ok()) != Some(start) {
            assert!(Instant::now() < until, "the last change is not seen");
        }
        stopped.store(true, Ordering::Release);
        (calls, watch.join().expect("the watcher's end"))
    });
    let mut verdict = judge(&calls, &world.executions(), &[], run.tolerance);
    let of_board = calls.iter().filter(|call| !matches!(call.outcome, Outcome::Value(_)));
    for call in of_board.clone().take(3) {
        verdict.broken.push(format!("reload: a call of an object that did not change: {call:?}"));
    }
    // The counter's file is newer each time it changes: an answer by an older one than was seen is wrong.
    let (mut newest, mut refused) = (0, 0);
    for outcome in &seen {
        match outcome {
            Outcome::Value(value) if (newest..=start).contains(value) => newest = *value,
            Outcome::NotExecuted => refused += 1,
            other => verdict.broken.push(format!("reload: {other:?} behind {newest}")),
        }
    }
    let figures = &mut verdict.figures;
    figures.count("reloads", run.count);
    figures.count("changes", start.into());
    figures.count("of_the_unchanged_not_answered", of_board.count() as u64);
    figures.count("reads_of_the_changed", seen.len() as u64);
    figures.count("refused_of_the_changed", refused);
    verdict
}

/// Reads the counter until it is told to stop.
fn watch(endpoint: &str, stopped: &AtomicBool) -> Vec<Outcome> {
    let counter = Client::new(endpoint).expect("an address").object(COUNTER);
    let mut seen = Vec::new();
    while !stopped.load(Ordering::Acquire) {
        seen.push(match counter.get("value") {
            Ok(reply) => Outcome::Value(reply.get().unwrap_or(u32::MAX)),
            Err(error) => callers::outcome(&error),
        });
    }
    seen
}

/// How often the agent has said `line`.
fn told(log: &Path, line: &str) -> usize {
    fs::read_to_string(log).unwrap_or_default().matches(line).count()
}
