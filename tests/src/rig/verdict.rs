//! What must be true of all calls and all writes that ran.

use super::{
    Tolerance,
    callers::{Call, Outcome},
    figures::Figures,
    world::Execution,
};
use crate::linear::{self, Access};
use proximity_client::Executed;
use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

/// While the agent was stopped: from SIGSTOP to SIGCONT.
pub type Stop = (Instant, Instant);

/// What was found.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Counts of calls, of outcomes, and of each kind of broken promise.
    pub figures: Figures,
    /// The broken promises in words, at most a few of each kind.
    pub broken: Vec<String>,
}

impl Verdict {
    /// Adds what was found in another world.
    pub fn merge(&mut self, other: Self) {
        self.figures.merge(other.figures);
        self.broken.extend(other.broken);
    }

    /// Fails if a promise was broken.
    ///
    /// # Panics
    ///
    /// With what was broken.
    pub fn assert(&self) {
        assert!(self.broken.is_empty(), "{}\n{}", self.broken.join("\n"), self.figures);
    }
}

/// Kinds of broken promises, in the figures under these names.
const KINDS: [&str; 6] = ["double", "lie", "lost", "late_start", "late_answer", "not_linearizable"];
/// So many of a kind are told in words.
const TOLD: u64 = 3;

struct Judge {
    counts: BTreeMap<&'static str, u64>,
    broken: Vec<String>,
}

impl Judge {
    fn breaks(&mut self, kind: &'static str, what: impl FnOnce() -> String) {
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        if *count <= TOLD {
            self.broken.push(format!("{kind}: {}", what()));
        }
    }
}

/// Holds what clients were told against what the board did.
pub fn judge(
    calls: &[Call],
    executions: &[Execution],
    stops: &[Stop],
    tolerance: Tolerance,
) -> Verdict {
    let mut judge = Judge { counts: BTreeMap::new(), broken: Vec::new() };
    let mut runs: HashMap<u32, Vec<&Execution>> = HashMap::new();
    for execution in executions {
        runs.entry(execution.value).or_default().push(execution);
    }
    let mut residual: BTreeMap<Option<Instant>, u64> = BTreeMap::new();
    let mut latest_start = Duration::ZERO;
    let mut latest_answer = Duration::ZERO;
    for call in calls {
        let over = call.to.saturating_duration_since(call.deadline);
        latest_answer = latest_answer.max(over);
        if over > tolerance.answer {
            judge.breaks("late_answer", || format!("{over:?} after its deadline: {call:?}"));
        }
        let Some(value) = call.written else { continue };
        let ran = runs.get(&value).map_or(&[][..], Vec::as_slice);
        if ran.len() > 1 {
            judge.breaks("double", || format!("ran {} times: {call:?}", ran.len()));
        }
        let nothing = match &call.outcome {
            Outcome::NotExecuted | Outcome::NotSent => true,
            Outcome::Remote(_, executed) => *executed == Executed::No,
            Outcome::Value(_) | Outcome::Unknown => false,
        };
        if nothing && !ran.is_empty() {
            judge.breaks("lie", || format!("was told that it did not run, and it did: {call:?}"));
        }
        if matches!(call.outcome, Outcome::Value(_)) {
            let in_time = |run: &&&Execution| run.at >= call.from && run.at <= call.to;
            let right = ran.iter().filter(in_time).any(|run| run.register == call.register);
            if !right {
                judge.breaks("lost", || format!("was told that it ran, and it did not: {call:?}"));
            }
        }
        for run in ran.iter().filter(|run| run.at > call.deadline) {
            let late = running(call.deadline, run.at, stops);
            latest_start = latest_start.max(late);
            if late > tolerance.start {
                judge.breaks("late_start", || format!("started {late:?} late: {call:?}"));
            } else if run.at > call.deadline + tolerance.start {
                // Stopped between its last check and the board: what no design removes.
                let stop = stops.iter().rev().find(|(begin, _)| *begin <= run.at);
                *residual.entry(stop.map(|(begin, _)| *begin)).or_default() += 1;
            }
        }
    }
    // A board does one thing at a time: no more than one call of it can be so far.
    for count in residual.values().filter(|count| **count > 1) {
        judge
            .breaks("late_start", || format!("{count} writes after one stop, past their deadline"));
    }
    check_registers(calls, &mut judge);
    let mut figures = Figures::default();
    count_outcomes(calls, &mut figures);
    figures.count("executions", executions.len() as u64);
    figures.count("distinct_executions", runs.len() as u64);
    figures.count("residual", residual.values().sum());
    figures.time("latest_start", latest_start);
    figures.time("latest_answer", latest_answer);
    for kind in KINDS {
        figures.count(kind, judge.counts.get(kind).copied().unwrap_or(0));
    }
    Verdict { figures, broken: judge.broken }
}

/// The time from one moment to another without the times that the agent was stopped.
fn running(from: Instant, to: Instant, stops: &[Stop]) -> Duration {
    let stopped: Duration = stops
        .iter()
        .map(|(begin, end)| (*end).min(to).saturating_duration_since((*begin).max(from)))
        .sum();
    to.saturating_duration_since(from).saturating_sub(stopped)
}

fn count_outcomes(calls: &[Call], figures: &mut Figures) {
    let count =
        |is: fn(&Outcome) -> bool| calls.iter().filter(|call| is(&call.outcome)).count() as u64;
    figures.count("calls", calls.len() as u64);
    figures.count("values", count(|outcome| matches!(outcome, Outcome::Value(_))));
    figures.count("not_executed", count(|outcome| matches!(outcome, Outcome::NotExecuted)));
    figures.count("not_sent", count(|outcome| matches!(outcome, Outcome::NotSent)));
    figures.count("unknown", count(|outcome| matches!(outcome, Outcome::Unknown)));
    figures.count("remote_errors", count(|outcome| matches!(outcome, Outcome::Remote(..))));
}

/// Each register must have had what its clients saw.
fn check_registers(calls: &[Call], judge: &mut Judge) {
    let Some(first) = calls.iter().map(|call| call.from).min() else { return };
    let time = |at: Instant| i64::try_from((at - first).as_nanos()).unwrap_or(i64::MAX - 1);
    let mut histories: BTreeMap<u32, Vec<Access>> = BTreeMap::new();
    for call in calls {
        let (from, to) = (time(call.from), time(call.to));
        let access = match (call.written, &call.outcome) {
            (Some(value), Outcome::Value(_)) => {
                Access { writes: true, value: value.into(), from, to }
            }
            // It may run, and may have run, at any time since.
            (
                Some(value),
                Outcome::Unknown | Outcome::Remote(_, Executed::Unknown | Executed::Yes),
            ) => Access { writes: true, value: value.into(), from, to: i64::MAX },
            (None, Outcome::Value(value)) => {
                Access { writes: false, value: (*value).into(), from, to }
            }
            _ => continue,
        };
        histories.entry(call.register).or_default().push(access);
    }
    for (register, history) in histories {
        if let Err(wrong) = linear::check(&history) {
            judge.breaks("not_linearizable", || format!("register {register}: {wrong}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Stop, judge};
    use crate::rig::{
        Tolerance,
        callers::{Call, Outcome},
        world::Execution,
    };
    use std::time::{Duration, Instant};

    const MS: Duration = Duration::from_millis(1);

    /// A call from 10 to 20 ms with the deadline at 30 ms.
    fn call(start: Instant, written: Option<u32>, outcome: Outcome) -> Call {
        let (from, to, deadline) = (start + 10 * MS, start + 20 * MS, start + 30 * MS);
        Call { client: 0, register: 0, written, from, to, deadline, outcome }
    }

    fn run(start: Instant, at: u32, value: u32) -> Execution {
        Execution { at: start + at * MS, register: 0, value }
    }

    fn found(calls: &[Call], runs: &[Execution], stops: &[Stop]) -> Vec<String> {
        let broken = judge(calls, runs, stops, Tolerance::PROMISED).broken;
        broken.iter().filter_map(|text| text.split(':').next().map(str::to_owned)).collect()
    }

    #[test]
    fn every_planted_mistake_of_an_agent_is_found() {
        let now = Instant::now();
        let written = call(now, Some(1), Outcome::Value(0));
        let right = [run(now, 15, 1)];
        let nothing: [&str; 0] = [];
        assert_eq!(found(std::slice::from_ref(&written), &right, &[]), nothing);
        // Without de-duplication a retry runs again.
        let twice = [run(now, 12, 1), run(now, 15, 1)];
        assert_eq!(found(std::slice::from_ref(&written), &twice, &[]), ["double"]);
        // Without an epoch, or with a reply made up, what was said is not what was done.
        assert_eq!(found(std::slice::from_ref(&written), &[], &[]), ["lost"]);
        for outcome in [Outcome::NotExecuted, Outcome::NotSent] {
            assert_eq!(found(&[call(now, Some(1), outcome)], &right, &[]), ["lie"]);
        }
        // Without a deadline what was given up runs.
        let unknown = call(now, Some(1), Outcome::Unknown);
        let late = [run(now, 40, 1)];
        assert_eq!(found(std::slice::from_ref(&unknown), &late, &[]), ["late_start"]);
        let stop = (now + 29 * MS, now + 39 * MS);
        let verdict = judge(std::slice::from_ref(&unknown), &late, &[stop], Tolerance::PROMISED);
        assert_eq!((verdict.broken, verdict.figures.get("residual")), (vec![], 1.0));
        // A reply paired with another request.
        let read = |value, from, to| {
            let call = call(now, None, Outcome::Value(value));
            Call { from: now + from * MS, to: now + to * MS, ..call }
        };
        assert_eq!(found(&[written.clone(), read(1, 21, 22)], &right, &[]), nothing);
        assert_eq!(found(&[written.clone(), read(0, 21, 22)], &right, &[]), ["not_linearizable"]);
        assert_eq!(found(&[written, read(7, 21, 22)], &right, &[]), ["not_linearizable"]);
        // A call that hangs.
        let hung = Call { to: now + 200 * MS, ..call(now, None, Outcome::Unknown) };
        assert_eq!(found(&[hung], &[], &[]), ["late_answer"]);
    }
}
