//! What reading registers costs: one, beside Python's own KATCP clients without an agent; and a thousand in one call,
//! beside a thousand calls.

use crate::cores::{Client, Cores};
use crate::report::{Gate, Report, median};
use crate::requests::{Line, Question};
use crate::servers::{Config, Server, clients_python};
use crate::{Failure, ROUNDS};
use proximity_proto::Value;
use proximity_proto::call::Op;
use proximity_proto::request::Arguments;
use std::process::Command;
use std::time::Instant;

/// Registers in a call.
const MANY: u32 = 1000;

/// Measures both.
pub(crate) fn measure(report: &mut Report) -> Result<(), Failure> {
    let cores = Cores::find()?;
    let mock = cores.as_server(Server::mock)??;
    let config = Config::new(&mock)?;
    let agent = cores.as_server(|| Server::agent(&config))??;

    let peers = [
        ("one register, Python, through the agent (pyzmq)", "agent", &agent.address),
        ("one register, Python, direct by katcp", "katcp", &mock.address),
        ("one register, Python, direct by aiokatcp", "aiokatcp", &mock.address),
    ];
    // aiokatcp speaks to servers of version 5 only.
    let new = cores.as_server(|| Server::mock_with(&["--personality", "v5"], 1))??;
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        for ((_, kind, address), times) in peers.iter().zip(&mut times) {
            let address = if *kind == "aiokatcp" { &new.address } else { *address };
            times.push(cores.as_client(Client::Cross, || python(kind, address))??);
        }
    }
    for ((what, ..), times) in peers.iter().zip(&mut times) {
        report.note((*what).to_owned(), "us", median(times));
    }

    let mut line = Line::connect(&zmq::Context::new(), &agent.address)?;
    let mut pairs = Vec::new();
    for _ in 0..ROUNDS {
        let single = cores.as_client(Client::Cross, || one_by_one(&mut line))??;
        let together = cores.as_client(Client::Cross, || in_one_call(&mut line))??;
        pairs.push((single, together));
    }
    let what = "1,000 registers by read_many".to_owned();
    report.compare(what, "per s", "1,000 calls", &pairs, Gate::AtLeast(10.0));
    Ok(())
}

/// Returns the median time of a read by a client in Python, in microseconds.
fn python(kind: &str, address: &str) -> Result<f64, Failure> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/one_register.py");
    let output = Command::new(clients_python()).args([script, kind, address]).output()?;
    let told = String::from_utf8_lossy(&output.stdout);
    told.trim().parse().map_err(|_| {
        let errors = String::from_utf8_lossy(&output.stderr);
        format!("{kind}, with the packages of tests/requirements-clients.txt: {errors}").into()
    })
}

/// Returns the registers a second that are read a call each.
fn one_by_one(line: &mut Line) -> Result<f64, Failure> {
    let mut args = Arguments::default();
    args.push("sys_board_id");
    let mut question = Question::new(Op::Call, "srbs", "read_uint", args).by_another();
    let begun = Instant::now();
    for _ in 0..MANY {
        if line.value(&mut question)? != Value::Uint(0xb00b) {
            return Err("the register has another value".into());
        }
    }
    Ok(f64::from(MANY) / begun.elapsed().as_secs_f64())
}

/// Returns the registers a second that are read in one call.
fn in_one_call(line: &mut Line) -> Result<f64, Failure> {
    let mut args = Arguments::default();
    args.push(&(0..MANY).map(|n| ("big_bram", n)).collect::<Vec<_>>());
    let mut question = Question::new(Op::Call, "srbs", "read_many", args).by_another();
    let mut times = Vec::new();
    for _ in 0..21 {
        let begun = Instant::now();
        match line.value(&mut question)? {
            Value::Array(words) if words.len() == MANY as usize => {}
            other => return Err(format!("not {MANY} words but {other:?}").into()),
        }
        times.push(begun.elapsed().as_secs_f64());
    }
    Ok(f64::from(MANY) / median(&mut times))
}
