//! How many calls a second many clients get in all.

use crate::cores::{Client, Cores};
use crate::report::{Gate, Report};
use crate::requests::{Line, Question, epoch_of};
use crate::servers::{Config, Server};
use crate::{Failure, ROUNDS};
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// How long calls are counted in one measurement: so many turns of so long, the floor's and ours by turns. The scheduler
/// places the threads of each turn anew, for better or worse by a sixth, and mostly leaves them there: many short turns
/// tell more than few long ones.
const TURNS: u32 = 150;
const TURN: Duration = Duration::from_millis(25);

/// Measures many clients' calls beside a bare ROUTER that sends everything back.
pub(crate) fn measure(report: &mut Report) -> Result<(), Failure> {
    let cores = Cores::find()?;
    let mock = Server::mock()?;
    let config = Config::new(&mock)?;
    for clients in [8, 64] {
        let mut pairs = Vec::new();
        for _ in 0..ROUNDS {
            // Where a process lies in memory is its luck for as long as it lives: each round has new ones.
            // Pinned apart, the clients' core would be full first and the servers' never.
            let floor = cores.as_client(Client::Free, || Server::floor("router"))??;
            let agent = Server::agent(&config)?;
            let question = Question::sum().in_epoch(epoch_of(&agent.address)?);
            let mut first = Line::connect(&zmq::Context::new(), &agent.address)?;
            first.value(&mut question.by_another())?;
            pairs.push(by_turns(&floor, &agent, &question, clients)?);
        }
        let what = format!("{clients} clients");
        report.compare(what, "calls/s", "ROUTER echo", &pairs, Gate::AtLeast(0.95));
    }
    Ok(())
}

/// Measures the floor's calls a second and ours, by turns.
fn by_turns(
    floor: &Server,
    agent: &Server,
    question: &Question,
    clients: usize,
) -> Result<(f64, f64), Failure> {
    let (mut under, mut ours) = (0.0, 0.0);
    for turn in 0..TURNS {
        // Who is second has the other's connections closed meanwhile.
        let floor_first = turn % 2 == 0;
        for is_floor in [floor_first, !floor_first] {
            let (server, sum) = if is_floor { (floor, &mut under) } else { (agent, &mut ours) };
            *sum += calls_per_second(&server.address, question, clients)?;
        }
    }
    Ok((under / f64::from(TURNS), ours / f64::from(TURNS)))
}

/// Counts the calls of `clients` threads over a [`TURN`], each waiting for its reply before the next.
fn calls_per_second(address: &str, question: &Question, clients: usize) -> Result<f64, Failure> {
    let context = zmq::Context::new();
    let start = Barrier::new(clients);
    let client = || {
        let mut question = question.by_another();
        let line = Line::connect(&context, address).and_then(|mut line| {
            let expected = line.ask(&mut question)?.len();
            Ok((line, expected))
        });
        // Whoever failed waits too, or the others would wait for ever.
        start.wait();
        let (mut line, expected) = line?;
        let begun = Instant::now();
        let mut count = 0;
        while begun.elapsed() < TURN {
            // An error would have another length.
            if line.ask(&mut question)?.len() != expected {
                return Err("a reply of another length than the first".into());
            }
            count += 1;
        }
        Ok(count)
    };
    let counts: Vec<Result<u64, Failure>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
        threads
            .into_iter()
            .map(|t| t.join().unwrap_or_else(|_| Err("a client panicked".into())))
            .collect()
    });
    let mut all = 0.0;
    for count in counts {
        all += f64::from(u32::try_from(count?)?);
    }
    Ok(all / TURN.as_secs_f64())
}
