//! What a query of a serial instrument costs through the agent, beside pyserial with the port to itself.

use crate::cores::{Client, Cores};
use crate::report::{Report, median};
use crate::servers::{Config, Server, clients_python};
use crate::{Failure, ROUNDS};
use std::process::Command;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/serial_query.py");

/// Measures both by turns, on the same pseudo-terminal.
pub(crate) fn measure(report: &mut Report) -> Result<(), Failure> {
    let cores = Cores::find()?;
    let instrument = cores.as_server(|| Server::script(SCRIPT, &["instrument"]))??;
    let config = Config::serial(&instrument)?;
    let agent = cores.as_server(|| Server::agent(&config))??;
    let (mut direct, mut through, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let alone = cores.as_client(Client::Cross, || query("direct", &instrument.address))??;
        let ours = cores.as_client(Client::Cross, || query("agent", &agent.address))??;
        direct.push(alone);
        through.push(ours);
        ratios.push(ours / alone);
    }
    report.note(
        "query of a serial line, Python, direct by pyserial".into(),
        "us",
        median(&mut direct),
    );
    let what = "query of a serial line, Python, through the agent (pyzmq)";
    report.note(what.into(), "us", median(&mut through));
    report.note("the same, times pyserial's".into(), "x", median(&mut ratios));
    Ok(())
}

/// Returns the median time of a query, in microseconds.
fn query(kind: &str, address: &str) -> Result<f64, Failure> {
    let output = Command::new(clients_python()).args([SCRIPT, kind, address]).output()?;
    let told = String::from_utf8_lossy(&output.stdout);
    told.trim().parse().map_err(|_| {
        let errors = String::from_utf8_lossy(&output.stderr);
        format!("{kind}, with the packages of tests/requirements-clients.txt: {errors}").into()
    })
}
