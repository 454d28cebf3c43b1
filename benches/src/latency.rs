//! How long one call takes: the median of many, one at a time.

use crate::cores::{Client, Cores};
use crate::report::{Gate, Report, median};
use crate::requests::{Line, Question, epoch_of};
use crate::servers::{Config, Server};
use crate::{Failure, ROUNDS};
use std::time::Instant;

/// Calls in a measurement, and those before it that are not counted.
const CALLS: usize = 8_000;
const WARM_UP: usize = 1_000;

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
                let under =
                    cores.as_client(client, || p50(&floor.address, question, Answer::Any))??;
                let ours =
                    cores.as_client(client, || p50(&agent.address, question, Answer::Value))??;
                pairs.push((under, ours));
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

/// What must come back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Any,
    Value,
}

/// Returns the median time of a call to `address`, in microseconds.
fn p50(address: &str, question: &Question, answer: Answer) -> Result<f64, Failure> {
    let mut question = question.by_another();
    let mut line = Line::connect(&zmq::Context::new(), address)?;
    if answer == Answer::Value {
        line.value(&mut question)?;
    }
    let expected = line.ask(&mut question)?.len();
    let mut times = Vec::with_capacity(CALLS);
    for number in 0..WARM_UP + CALLS {
        let begun = Instant::now();
        let reply = line.ask(&mut question)?;
        if number >= WARM_UP {
            times.push(begun.elapsed().as_secs_f64() * 1e6);
        }
        // An error would have another length.
        if reply.len() != expected {
            return Err(format!("a reply of {} bytes after one of {expected}", reply.len()).into());
        }
    }
    Ok(median(&mut times))
}
