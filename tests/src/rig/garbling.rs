//! A link that garbles what it carries.
//!
//! Neither ZMTP over TCP nor KATCP has a checksum, so a bit turned within a value is another value, and
//! nobody can tell. What is promised is that nothing hangs, nothing dies, and all is well again after.

use super::{
    callers::{Call, Callers, Habits, Outcome},
    parts::{CLIENTS, Run, signal},
    verdict::{Verdict, judge},
    world::{World, journalled},
};
use crate::proxy::{Fault, Proxy};
use std::time::Instant;

/// Blocks of 1,000 that are garbled.
const SHARE: u64 = 20;

/// Clients whose link to the agent, or whose agent's link to the board, garbles at least `count` blocks;
/// then it stops to, and the same clients, and others, are served by the same agent.
///
/// # Panics
///
/// If a client finds no way back, or the agent is gone.
pub fn garbling(run: &Run, before_board: bool) -> Verdict {
    let board = journalled();
    let to_board = Proxy::start(board.addr(), Fault::None, run.seed);
    let (mut world, log) = World::logged_before(board, to_board.address());
    let address = world.agent.endpoint.trim_start_matches("tcp://").parse().expect("an address");
    let to_agent = Proxy::start(address, Fault::None, run.seed);
    let link = if before_board { &to_board } else { &to_agent };
    let callers = Callers::start(&to_agent.endpoint(), CLIENTS, run.seed, Habits::MIXED);
    link.set(Fault::Garble(SHARE));
    while link.garbled() < run.count {
        callers.wait_for_success_after(Instant::now());
    }
    link.set(Fault::None);
    callers.wait_for_success_after(Instant::now());
    let calls = callers.stop();
    // What ran is what arrived, and that was not what was sent: only how each call ended is judged.
    let reads: Vec<_> = calls
        .iter()
        .map(|call| Call { written: None, outcome: Outcome::Unknown, ..call.clone() })
        .collect();
    let mut verdict = judge(&reads, &[], &[], run.tolerance);
    verdict.figures.count("garbled", link.garbled());

    let begun = Instant::now();
    let habits = Habits { writes: 1000, timeout_ms: (1000, 2000), calls: 20 };
    let calls = Callers::start(&to_agent.endpoint(), CLIENTS, run.seed + 1, habits).finish();
    let since: Vec<_> = world.executions().into_iter().filter(|run| run.at >= begun).collect();
    let after = judge(&calls, &since, &[], run.tolerance);
    if after.figures.get("values") < 1.0 {
        verdict.broken.push("nobody is served after it".to_owned());
    }
    verdict.broken.extend(after.broken);
    let log = std::fs::read_to_string(log).expect("the agent has a log");
    if let Some(line) = log.lines().find(|line| line.contains("panicked")) {
        verdict.broken.push(format!("died: {line}"));
    }
    // It is the agent that was started, and still ends as it should.
    signal(&world, rustix::process::Signal::TERM);
    let status = world.agent.process.wait();
    if !status.success() {
        verdict.broken.push(format!("died: the agent ended with {status}"));
    }
    verdict
}
