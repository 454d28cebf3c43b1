//! Clients that keep calling, and note what they were told.

use super::world::{BOARD, REGISTERS};
use crate::{PATIENCE, rng::Rng};
use proximity_client::{CallError, CallOptions, Client, Error, Executed};
use std::{
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How a call ended for its caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The value, 0 for a write.
    Value(u32),
    /// Nothing ran, and nothing will.
    NotExecuted,
    /// It never left.
    NotSent,
    /// Nobody knows.
    Unknown,
    /// The object's own error, and whether the method ran.
    Remote(String, Executed),
}

/// A call as its client saw it.
#[derive(Clone, Debug)]
pub struct Call {
    /// Which client made it.
    pub client: usize,
    /// The register, a word in `big_bram`.
    pub register: u32,
    /// What was written, each value once in a run; `None` for a read.
    pub written: Option<u32>,
    /// When it was made.
    pub from: Instant,
    /// When it ended.
    pub to: Instant,
    /// When it had to end.
    pub deadline: Instant,
    /// How it ended.
    pub outcome: Outcome,
}

/// How the callers behave.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// Writes in 1,000 calls.
    pub writes: u64,
    /// Timeouts are between these many milliseconds.
    pub timeout_ms: (u64, u64),
    /// Calls that each makes; `u64::MAX` for as many as it can until it is stopped.
    pub calls: u64,
}

impl Habits {
    /// Reads and writes until stopped.
    pub const MIXED: Self = Self { writes: 500, timeout_ms: (50, 400), calls: u64::MAX };
}

struct Shared {
    stopped: AtomicBool,
    /// The start of each client's last successful call.
    successes: Mutex<Vec<Option<Instant>>>,
    changed: Condvar,
}

/// Threads with a client each.
pub struct Callers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Vec<Call>>>,
}

/// Values to write, never the same twice in this process.
static NEXT: AtomicU32 = AtomicU32::new(1);

/// A value that nothing has written yet.
pub fn fresh_value() -> u32 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Callers {
    /// Starts `count` clients of `endpoint`.
    ///
    /// # Panics
    ///
    /// If there can be none.
    pub fn start(endpoint: &str, count: usize, seed: u64, habits: Habits) -> Self {
        let shared = Arc::new(Shared {
            stopped: AtomicBool::new(false),
            successes: Mutex::new(vec![None; count]),
            changed: Condvar::new(),
        });
        let threads = (0..count)
            .map(|number| {
                let client = Client::new(endpoint).expect("an address");
                let shared = Arc::clone(&shared);
                let rng = Rng::new(seed.wrapping_mul(1000).wrapping_add(number as u64));
                thread::spawn(move || keep_calling(&shared, number, &client, rng, habits))
            })
            .collect();
        Self { shared, threads }
    }

    /// Waits until each client has made a call after `moment` that succeeded.
    ///
    /// # Panics
    ///
    /// If one does not in time.
    pub fn wait_for_success_after(&self, moment: Instant) {
        let successes = self.shared.successes.lock().unwrap_or_else(PoisonError::into_inner);
        let (successes, waited) = self
            .shared
            .changed
            .wait_timeout_while(successes, PATIENCE, |successes| {
                successes.iter().any(|success| success.is_none_or(|at| at < moment))
            })
            .unwrap_or_else(PoisonError::into_inner);
        let late = successes.iter().filter(|success| success.is_none_or(|at| at < moment)).count();
        drop(successes);
        assert!(!waited.timed_out(), "{late} clients have no success since {:?}", moment.elapsed());
    }

    /// Has them stop, and returns all calls in the order in which they ended.
    pub fn stop(self) -> Vec<Call> {
        self.shared.stopped.store(true, Ordering::Release);
        self.finish()
    }

    /// Waits until they have made their calls.
    ///
    /// # Panics
    ///
    /// If one of them has panicked.
    pub fn finish(self) -> Vec<Call> {
        let ended = self.threads.into_iter().map(|thread| thread.join().expect("a caller's end"));
        let mut calls: Vec<Call> = ended.flatten().collect();
        calls.sort_by_key(|call| call.to);
        calls
    }
}

fn keep_calling(
    shared: &Shared,
    number: usize,
    client: &Client,
    mut rng: Rng,
    habits: Habits,
) -> Vec<Call> {
    let board = client.object(BOARD);
    let mut calls = Vec::new();
    while !shared.stopped.load(Ordering::Acquire) && (calls.len() as u64) < habits.calls {
        let register = u32::try_from(rng.pick(REGISTERS)).unwrap_or(0);
        let written = rng.chance(habits.writes).then(fresh_value);
        let (shortest, longest) = habits.timeout_ms;
        let timeout = Duration::from_millis(rng.between(shortest, longest));
        let options = CallOptions { timeout: Some(timeout), ..CallOptions::default() };
        let from = Instant::now();
        let answer = match written {
            Some(value) => {
                board.call_with("write_int", ("big_bram", value, true, register), options)
            }
            None => board.call_with("read_uint", ("big_bram", register), options),
        };
        let to = Instant::now();
        let outcome = match answer {
            Ok(_) if written.is_some() => Outcome::Value(0),
            Ok(reply) => reply.get().map_or_else(
                |error| Outcome::Remote(error.to_string(), Executed::Unknown),
                Outcome::Value,
            ),
            Err(error) => outcome(&error),
        };
        if matches!(outcome, Outcome::Value(_)) {
            let mut successes = shared.successes.lock().unwrap_or_else(PoisonError::into_inner);
            successes[number] = Some(from);
            shared.changed.notify_all();
        }
        let deadline = from + timeout;
        calls.push(Call { client: number, register, written, from, to, deadline, outcome });
    }
    calls
}

/// The outcome that an error tells.
pub fn outcome(error: &Error) -> Outcome {
    match error {
        Error::Call(CallError::NotExecuted { .. }) => Outcome::NotExecuted,
        Error::Call(CallError::NotSent { .. }) => Outcome::NotSent,
        Error::Call(CallError::OutcomeUnknown { .. }) => Outcome::Unknown,
        other => Outcome::Remote(other.to_string(), other.executed()),
    }
}
