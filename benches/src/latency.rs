//! How long one call takes: the median of many, one at a time.

use crate::cores::{Client, Cores};
use crate::report::{Gate, Report, median};
use crate::requests::{Line, Question, epoch_of};
use crate::servers::{Config, Server};
use crate::{Failure, ROUNDS};
use std::time::Instant;

/// Calls in a measurement: turns of so many, the floor's and ours by turns, so that whatever else the machine
/// does meanwhile falls on both alike.
const TURNS: usize = 40;
const CALLS: usize = 200;
/// The first calls of a turn are not counted: caches still hold what the other needed.
const WARM_UP: usize = 20;

/// A kind of call, and the most it may cost as a multiple of libzmq's REQ/REP.
struct Subject {
    what: &'static str,
    cross: f64,
    same: f64,
}

const SUBJECTS: [Subject; 3] = [
    Subject { what: "call through a worker", cross: 1.30, same: 1.60 },
    Subject { what: "quick method", cross: 1.10, same: 1.10 },
    Subject { what: "attribute", cross: 1.10, same: 1.10 },
];

/// Measures null calls beside libzmq's REQ/REP.
pub(crate) fn measure(report: &mut Report) -> Result<(), Failure> {
    let cores = Cores::find()?;
    let floor = cores.as_server(|| Server::floor("rep"))??;
    let mock = cores.as_server(Server::mock)??;
    let config = Config::new(&mock)?;
    let agent = cores.as_server(|| Server::agent(&config))??;
    let epoch = epoch_of(&agent.address)?;
    let questions = [Question::set(), Question::sum(), Question::get()].map(|q| q.in_epoch(epoch));

    for (client, name) in [(Client::Cross, "across cores"), (Client::Same, "on one core")] {
        let mut pairs = [const { Vec::new() }; SUBJECTS.len()];
        for _ in 0..ROUNDS {
            for (question, pairs) in questions.iter().zip(&mut pairs) {
                let pair = || by_turns(&floor.address, &agent.address, question);
                pairs.push(cores.as_client(client, pair)??);
            }
        }
        for (subject, pairs) in SUBJECTS.iter().zip(&pairs) {
            let most = if client == Client::Cross { subject.cross } else { subject.same };
            let what = format!("{}, {name}", subject.what);
            report.compare(what, "us", "libzmq REQ/REP", pairs, Gate::AtMost(most));
        }
    }
    Ok(())
}

/// Returns the median times of a call to `floor` and to `agent`, in microseconds.
fn by_turns(floor: &str, agent: &str, question: &Question) -> Result<(f64, f64), Failure> {
    let context = zmq::Context::new();
    let mut under = Caller::connect(&context, floor, question)?;
    let mut ours = Caller::connect(&context, agent, question)?;
    // Later replies are told by their length alone; this one says that it is that of a value.
    ours.line.value(&mut ours.question)?;
    for _ in 0..TURNS {
        under.call()?;
        ours.call()?;
    }
    Ok((median(&mut under.times), median(&mut ours.times)))
}

/// A client of one server, and how long its calls took.
struct Caller {
    line: Line,
    question: Question,
    expected: usize,
    times: Vec<f64>,
}

impl Caller {
    fn connect(
        context: &zmq::Context,
        address: &str,
        question: &Question,
    ) -> Result<Self, Failure> {
        let mut question = question.by_another();
        let mut line = Line::connect(context, address)?;
        let expected = line.ask(&mut question)?.len();
        Ok(Self { line, question, expected, times: Vec::with_capacity(TURNS * CALLS) })
    }

    /// Calls for one turn.
    fn call(&mut self) -> Result<(), Failure> {
        for number in 0..WARM_UP + CALLS {
            let begun = Instant::now();
            let reply = self.line.ask(&mut self.question)?;
            if number >= WARM_UP {
                self.times.push(begun.elapsed().as_secs_f64() * 1e6);
            }
            if reply.len() != self.expected {
                let (len, expected) = (reply.len(), self.expected);
                return Err(format!("a reply of {len} bytes after one of {expected}").into());
            }
        }
        Ok(())
    }
}
