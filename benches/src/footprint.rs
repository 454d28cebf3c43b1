//! What the agent takes: memory, disk, and time to start.

use crate::report::{Report, median};
use crate::requests::{Line, Question};
use crate::servers::{Config, Server, agent_binary};
use crate::{Failure, ROUNDS};
use std::fs;
use std::time::Instant;

/// Measures one agent with a board, a calculator and a counter.
pub(crate) fn measure(report: &mut Report) -> Result<(), Failure> {
    let mock = Server::mock()?;
    let config = Config::new(&mock)?;
    let mut starts = Vec::new();
    let mut resident = Vec::new();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let agent = Server::agent(&config)?;
        Line::connect(&zmq::Context::new(), &agent.address)?.value(&mut Question::sum())?;
        starts.push(begun.elapsed().as_secs_f64() * 1e3);
        resident.push(resident_mb(agent.pid())?);
    }
    let size = fs::metadata(agent_binary()?)?.len();
    report.note("start to first reply".to_owned(), "ms", median(&mut starts));
    report.note("idle resident memory".to_owned(), "MB", median(&mut resident));
    report.note("agent's binary, stripped".to_owned(), "kB", f64::from(u32::try_from(size)?) / 1e3);
    Ok(())
}

/// Returns a process' resident memory in megabytes.
fn resident_mb(pid: u32) -> Result<f64, Failure> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).ok_or("no VmRSS in /proc")?;
    Ok(kib.parse::<f64>()? * 1024.0 / 1e6)
}
