//! What a call costs, beside what libzmq or the board alone would cost in the same run.
//!
//! Absolute figures differ from machine to machine and from hour to hour, so only ratios are gated, and
//! each is the median of five, every one of them of two measurements taken right after each other. Servers are processes of
//! their own on one core; a client is on another ("cross", the deployed shape: wake-ups) or on the
//! same ("same": the length of the path). All clients here are raw sockets.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line talks to its user")]

mod boards;
mod bulk;
mod codec;
mod cores;
mod floors;
mod footprint;
mod latency;
mod registers;
mod report;
mod requests;
mod servers;
mod throughput;

use report::Report;
use std::error::Error;
use std::process::ExitCode;

/// How often each pair of measurements is taken.
const ROUNDS: usize = 5;

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match *args {
        [] => measure().map(|_| true),
        ["--check"] => measure().map(|report| report.gates_hold()),
        ["--serve", floor] => floors::serve(floor).map(|()| true),
        _ => {
            eprintln!("usage: proximity-benches [--check]     (by way of: cargo xtask bench)");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("proximity-benches: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<Report, Failure> {
    let mut report = Report::default();
    latency::measure(&mut report)?;
    throughput::measure(&mut report)?;
    codec::measure(&mut report);
    registers::measure(&mut report)?;
    bulk::measure(&mut report)?;
    boards::measure(&mut report)?;
    footprint::measure(&mut report)?;
    report.print();
    Ok(report)
}
