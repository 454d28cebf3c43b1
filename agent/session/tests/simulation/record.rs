//! What happened in a run, and what must not have.

use crate::{
    board::Op,
    client::Outcome,
    linear::{self, Access},
    world::{MS, Time},
};
use proximity_session::CallId;
use std::collections::BTreeMap;

/// A call ran at its board.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Execution {
    pub(crate) at: Time,
    pub(crate) board: usize,
    pub(crate) result: u64,
    /// The agent was stopped right before.
    pub(crate) stopped: bool,
}

/// A call as its client saw it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) board: usize,
    pub(crate) op: Op,
    pub(crate) from: Time,
    pub(crate) to: Time,
    pub(crate) outcome: Outcome,
    /// An old client's: nothing is promised about when and how often it runs.
    pub(crate) old: bool,
}

/// How often something happened that is to happen, or the worlds show nothing of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Met {
    /// Calls refused for what their connection had in progress.
    pub(crate) in_flight: u64,
    /// Calls refused for what it had not read.
    pub(crate) unread: u64,
    /// Calls refused, or results dropped, for what all had not read.
    pub(crate) no_room: u64,
    /// Large results that went out in parts, to the last.
    pub(crate) in_parts: u64,
    /// Large results of which nothing moved for too long.
    pub(crate) stalled: u64,
}

/// All that is checked at the end, and the first thing that was wrong on the way.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) violation: Option<String>,
    pub(crate) executions: BTreeMap<CallId, Vec<Execution>>,
    pub(crate) seen: BTreeMap<CallId, Seen>,
    /// Calls that ran too late because the agent was stopped between its last check and the board:
    /// what no design removes.
    pub(crate) residual: u64,
    pub(crate) met: Met,
}

impl Record {
    /// Notes a broken promise.
    pub(crate) fn violate(&mut self, what: impl Into<String>) {
        self.violation.get_or_insert(what.into());
    }

    /// Holds what clients were told against what the boards did.
    pub(crate) fn check(&mut self) {
        let mut wrong = None;
        for (id, seen) in &self.seen {
            let runs = self.executions.get(id).map_or(&[][..], Vec::as_slice);
            if seen.old {
                continue;
            }
            let lie = match seen.outcome {
                Outcome::Value(value) if runs.iter().all(|run| run.result != value) => {
                    Some("its value is not what the board gave")
                }
                Outcome::NotExecuted if !runs.is_empty() && seen.op.writes() => {
                    Some("its client was told that it did not run, and it did")
                }
                _ if runs.iter().any(|run| run.board != seen.board || run.at < seen.from) => {
                    Some("it ran elsewhere, or before it was made")
                }
                // Copies of reads run as they come.
                _ if !seen.op.writes() => None,
                _ if runs.len() > 1 => Some("it ran more than once"),
                _ if runs.iter().any(|run| run.at > seen.to + 5 * MS && !run.stopped) => {
                    Some("it ran after its client had given up")
                }
                _ => None,
            };
            if let Some(lie) = lie {
                wrong = Some(format!("call {}: {lie}: {seen:?}, {runs:?}", id.seq));
            }
        }
        if let Some(wrong) = wrong {
            self.violate(wrong);
        }
        self.check_histories();
    }

    /// Each board's register must have had what its clients saw.
    fn check_histories(&mut self) {
        let mut histories: BTreeMap<usize, Vec<Access>> = BTreeMap::new();
        for seen in self.seen.values() {
            let (from, to) = (i64::try_from(seen.from), i64::try_from(seen.to));
            let (Ok(from), Ok(to)) = (from, to) else { continue };
            let access = match (seen.op.written(), seen.outcome) {
                (Some(value), Outcome::Value(_)) => Access { writes: true, value, from, to },
                (Some(value), Outcome::Unknown) => {
                    Access { writes: true, value, from, to: i64::MAX }
                }
                (None, Outcome::Value(value)) => Access { writes: false, value, from, to },
                (_, Outcome::NotExecuted) | (None, Outcome::Unknown) => continue,
            };
            histories.entry(seen.board).or_default().push(access);
        }
        for (board, history) in histories {
            if let Err(wrong) = linear::check(&history) {
                self.violate(format!("board {board}: {wrong}"));
            }
        }
    }
}
