//! The measurements: the quick tests and the long soak run the same code with other counts.

use super::{
    Tolerance,
    callers::{Callers, Habits},
    figures::{Figures, percentile},
    verdict::{Stop, Verdict, judge},
    world::{World, journalled},
};
use crate::{
    faulty::Mistake,
    proxy::{Fault, Proxy},
    rng::Rng,
};
use proximity_client::Client;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    thread,
    time::{Duration, Instant},
};

/// Clients of an agent at once.
pub(super) const CLIENTS: usize = 8;

/// After an outage of less than 0.1 s, and of up to 3 s, each client's next success.
const SOON: Duration = Duration::from_millis(50);
const LATER: Duration = Duration::from_millis(1200);
const BRIEF: Duration = Duration::from_millis(100);
const LONG: Duration = Duration::from_mins(1);
/// A stopping agent without a long job is gone after this.
const EXIT: Duration = Duration::from_secs(1);

/// How an agent ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// SIGKILL, and started again at once.
    Kill,
    /// SIGKILL, and started again after up to 0.1 s.
    Brief,
    /// SIGKILL, and started again after up to 3 s.
    Outage,
    /// SIGTERM.
    Terminate,
}

/// What a measurement is told.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// How many times.
    pub count: u64,
    /// For all that is random.
    pub seed: u64,
    /// How late is late.
    pub tolerance: Tolerance,
    /// Agents at once, each with a board and clients of its own, that share the count.
    pub worlds: u64,
    /// What the agents do wrong, where the rig is tried itself.
    pub mistake: Option<Mistake>,
}

/// Tells on standard output how far it is, about 20 times.
#[allow(clippy::print_stdout, reason = "xtask and people read it")]
pub(super) fn progress(run: &Run, done: u64) {
    if (done + 1).is_multiple_of((run.count / 20).max(1)) {
        println!("{} of {}", done + 1, run.count);
    }
}

pub(super) fn signal(world: &World, signal: Signal) {
    let id = i32::try_from(world.agent.process.id()).ok().and_then(Pid::from_raw);
    kill_process(id.expect("a process has a number"), signal).expect("the agent can be signalled");
}

/// Plays `part` in each of the worlds, and gives what came of it.
fn in_worlds<T: Send>(run: &Run, part: impl Fn(&Run) -> T + Sync) -> Vec<T> {
    let worlds = run.worlds.min(run.count).max(1);
    thread::scope(|scope| {
        let started: Vec<_> = (0..worlds)
            .map(|world| {
                let more = u64::from(world < run.count % worlds);
                let own = Run {
                    count: run.count / worlds + more,
                    seed: run.seed.wrapping_add(world),
                    ..*run
                };
                let part = &part;
                scope.spawn(move || part(&own))
            })
            .collect();
        started.into_iter().map(|world| world.join().expect("a world's end")).collect()
    })
}

/// Ends and starts an agent, again and again, under clients that keep calling.
///
/// # Panics
///
/// If an agent does not come up, or its clients find no way back to it.
pub fn restarts(run: &Run, end: End) -> Verdict {
    let mut verdict = Verdict::default();
    let (mut firsts, mut exits, mut failed_exits) = (Vec::new(), Vec::new(), 0);
    let late = run.tolerance.answer.saturating_sub(Tolerance::PROMISED.answer);
    for cycles in in_worlds(run, |run| cycles(run, end)) {
        verdict.merge(cycles.verdict);
        firsts.extend(cycles.firsts);
        exits.extend(cycles.exits);
        failed_exits += cycles.failed_exits;
    }
    let figures = &mut verdict.figures;
    figures.count("restarts", run.count);
    // On a busy machine what was meant to be brief may have been long.
    let outages = [("brief", Duration::ZERO..BRIEF, 99, SOON), ("long", BRIEF..LONG, 100, LATER)];
    for (name, lengths, share, promised) in outages {
        let of = firsts.iter().filter(|(outage, _)| lengths.contains(outage));
        let mut times: Vec<Duration> = of.map(|(_, first)| *first).collect();
        if times.is_empty() {
            continue;
        }
        figures.count(&format!("{name}_returns"), times.len() as u64);
        figures.times(&format!("first_success_{name}"), &mut times);
        let first = percentile(&times, share);
        if first > promised + late {
            verdict.broken.push(format!("slow_return: {first:?} after the agent was ready"));
        }
    }
    if end == End::Terminate {
        figures.times("exit", &mut exits);
        figures.count("failed_exits", failed_exits);
        let longest = percentile(&exits, 100);
        if failed_exits > 0 || longest > EXIT + run.tolerance.answer {
            verdict
                .broken
                .push(format!("exit: {failed_exits} failed, the longest took {longest:?}"));
        }
    }
    verdict
}

/// What came of one world's restarts.
struct Cycles {
    verdict: Verdict,
    /// How long the agent was away, and from its being ready to a client's next success.
    firsts: Vec<(Duration, Duration)>,
    exits: Vec<Duration>,
    failed_exits: u64,
}

fn cycles(run: &Run, end: End) -> Cycles {
    let mut world = World::start(run.mistake);
    let mut rng = Rng::new(run.seed);
    let callers = Callers::start(&world.agent.endpoint, CLIENTS, run.seed, Habits::MIXED);
    let mut ready = Vec::new();
    let mut exits = Vec::new();
    let mut failed_exits = 0;
    callers.wait_for_success_after(Instant::now());
    for number in 0..run.count {
        // Where in the agent's work it is hit is left to chance.
        thread::sleep(Duration::from_micros(rng.between(0, 10_000)));
        let gone = Instant::now();
        match end {
            End::Kill => {}
            End::Brief | End::Outage => {
                let (shortest, longest) = if end == End::Brief { (0, 90) } else { (100, 3000) };
                world.agent.process.kill();
                thread::sleep(Duration::from_millis(rng.between(shortest, longest)));
            }
            End::Terminate => {
                let begun = Instant::now();
                signal(&world, Signal::TERM);
                let status = world.agent.process.wait();
                exits.push(begun.elapsed());
                failed_exits += u64::from(!status.success());
            }
        }
        world.restart();
        let now = Instant::now();
        callers.wait_for_success_after(now);
        ready.push((now - gone, now));
        progress(run, number);
    }
    let calls = callers.stop();
    let verdict = judge(&calls, &world.executions(), &[], run.tolerance);
    let mut firsts = Vec::new();
    for client in 0..CLIENTS {
        let mut ends = calls
            .iter()
            .filter(|call| call.client == client)
            .filter(|call| matches!(call.outcome, super::callers::Outcome::Value(_)))
            .map(|call| call.to)
            .peekable();
        for &(outage, ready) in &ready {
            while ends.next_if(|at| *at < ready).is_some() {}
            firsts.extend(ends.peek().map(|at| (outage, *at - ready)));
        }
    }
    Cycles { verdict, firsts, exits, failed_exits }
}

/// Stops agents for `shortest` to `longest` at random points, and lets them go on.
///
/// # Panics
///
/// If an agent's clients find no way back to it.
pub fn stops(run: &Run, shortest: Duration, longest: Duration) -> Verdict {
    let mut verdict = Verdict::default();
    for world in in_worlds(run, |run| stops_of_one(run, shortest, longest)) {
        verdict.merge(world);
    }
    verdict.figures.count("stops", run.count);
    verdict
}

fn stops_of_one(run: &Run, shortest: Duration, longest: Duration) -> Verdict {
    let world = World::start(run.mistake);
    let mut rng = Rng::new(run.seed);
    let callers = Callers::start(&world.agent.endpoint, CLIENTS, run.seed, Habits::MIXED);
    callers.wait_for_success_after(Instant::now());
    let mut stops: Vec<Stop> = Vec::new();
    for number in 0..run.count {
        thread::sleep(Duration::from_micros(rng.between(0, 20_000)));
        let span = u64::try_from(longest.saturating_sub(shortest).as_millis()).unwrap_or(0);
        let time = shortest + Duration::from_millis(rng.between(0, span));
        let begun = Instant::now();
        signal(&world, Signal::STOP);
        thread::sleep(time);
        signal(&world, Signal::CONT);
        let ended = Instant::now();
        stops.push((begun, ended));
        callers.wait_for_success_after(ended);
        progress(run, number);
    }
    let calls = callers.stop();
    judge(&calls, &world.executions(), &stops, run.tolerance)
}

/// Writes through a link that loses 30 % of all replies.
///
/// # Panics
///
/// If the agent does not come up.
pub fn increments(run: &Run) -> Verdict {
    let world = World::start(run.mistake);
    let address = world.agent.endpoint.trim_start_matches("tcp://").parse().expect("an address");
    let link = Proxy::start(address, Fault::DropReplies(300), run.seed);
    let calls = run.count / CLIENTS as u64;
    let habits = Habits { writes: 1000, timeout_ms: (100, 200), calls };
    let calls = Callers::start(&link.endpoint(), CLIENTS, run.seed, habits).finish();
    // What was given up may still run; one more call on the board is behind all of it.
    let client = Client::new(&world.agent.endpoint).expect("an address");
    client.object(super::world::BOARD).call("ping", ()).expect("the board is well");
    let mut verdict = judge(&calls, &world.executions(), &[], run.tolerance);
    let figures: &mut Figures = &mut verdict.figures;
    figures.count("dropped_replies", link.dropped());
    if figures.get("executions") > figures.get("distinct_executions") {
        verdict.broken.push("the board counts more writes than ids were executed".to_owned());
    }
    if link.dropped() == 0 {
        verdict.broken.push("no reply was dropped: nothing was shown".to_owned());
    }
    verdict
}

/// Clients behind a link with `fault`, before the agent or before the board.
///
/// # Panics
///
/// If the agent does not come up.
pub fn bad_link(run: &Run, fault: Fault, before_board: bool) -> Verdict {
    let habits = Habits { writes: 500, timeout_ms: (50, 400), calls: run.count };
    let board = journalled();
    let behind = board.addr();
    if before_board {
        let link = Proxy::start(behind, fault, run.seed);
        let world = World::before(board, link.address(), run.mistake);
        let calls = Callers::start(&world.agent.endpoint, CLIENTS, run.seed, habits).finish();
        return judge(&calls, &world.executions(), &[], run.tolerance);
    }
    let world = World::before(board, behind, run.mistake);
    let address = world.agent.endpoint.trim_start_matches("tcp://").parse().expect("an address");
    let link = Proxy::start(address, fault, run.seed);
    let calls = Callers::start(&link.endpoint(), CLIENTS, run.seed, habits).finish();
    judge(&calls, &world.executions(), &[], run.tolerance)
}
