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
mod options;
mod peers;
mod registers;
mod report;
mod requests;
mod serial;
mod servers;
mod throughput;

use options::{Options, USAGE};
use report::Report;
use std::error::Error;
use std::process::ExitCode;

/// How often each pair of measurements is taken.
const ROUNDS: usize = 5;

type Failure = Box<dyn Error + Send + Sync>;

/// What can be measured, by its name.
type Part = (&'static str, fn(&mut Report) -> Result<(), Failure>);

const PARTS: [Part; 9] = [
    ("latency", latency::measure),
    ("clients", throughput::measure),
    ("codec", codec::measure),
    ("registers", registers::measure),
    ("bulk", bulk::measure),
    ("boards", boards::measure),
    ("serial", serial::measure),
    ("python", peers::measure),
    ("footprint", footprint::measure),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match *args {
        ["--serve", floor] => floors::serve(floor).map(|()| true),
        ref options => {
            let Some(options) = Options::parse(options) else {
                eprintln!("{USAGE}{}", PARTS.map(|(name, _)| name).join(", "));
                return ExitCode::from(2);
            };
            options.measure()
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
