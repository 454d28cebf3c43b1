//! How long one call takes: the median of many, one at a time.

use crate::cores::{Client, Cores};
use crate::report::{Gate, Report, median};
use crate::requests::{Line, attribute, call};
use crate::servers::{Config, Server};
use crate::{Failure, ROUNDS};
use std::time::{Duration, Instant};

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
    let epoch = Line::connect(&zmq::Context::new(), &agent.address)?.epoch()?;
    let quick = call("foo", "add_two", &[2, 3]);
    // Setting is never quick: it always takes the way through the object's thread.
    let through_worker = attribute(epoch, "counter", "value", &[5]);
    let get = attribute(epoch, "counter", "value", &[]);
    let requests = [&through_worker, &quick, &get];

    for (client, name) in [(Client::Cross, "across cores"), (Client::Same, "on one core")] {
        let mut pairs = [const { Vec::new() }; SUBJECTS.len()];
        for _ in 0..ROUNDS {
            for (request, pairs) in requests.iter().zip(&mut pairs) {
                let under = cores.as_client(client, || p50(&floor.address, request, false))??;
                let ours = cores.as_client(client, || p50(&agent.address, request, true))??;
                pairs.push((under.as_secs_f64() * 1e6, ours.as_secs_f64() * 1e6));
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

/// Returns the median time of a call to `address`.
fn p50(address: &str, request: &[u8], checked: bool) -> Result<Duration, Failure> {
    let mut line = Line::connect(&zmq::Context::new(), address)?;
    if checked {
        line.ask_checked(request)?;
    }
    let mut times = Vec::with_capacity(CALLS);
    for number in 0..WARM_UP + CALLS {
        let begun = Instant::now();
        line.ask(request)?;
        if number >= WARM_UP {
            times.push(begun.elapsed().as_secs_f64());
        }
    }
    Ok(Duration::from_secs_f64(median(&mut times)))
}
