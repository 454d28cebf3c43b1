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
mod serial;
mod servers;
mod throughput;

use report::Report;
use std::error::Error;
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask bench [--check] [--json] [--only PART,PART...]

  --check   exit with 1 if a gate is missed
  --json    print JSON instead of a table: a list of measurements
  --only    measure these parts only: ";

/// How often each pair of measurements is taken.
const ROUNDS: usize = 5;

type Failure = Box<dyn Error + Send + Sync>;

/// What can be measured, by its name.
type Part = (&'static str, fn(&mut Report) -> Result<(), Failure>);

const PARTS: [Part; 8] = [
    ("latency", latency::measure),
    ("clients", throughput::measure),
    ("codec", codec::measure),
    ("registers", registers::measure),
    ("bulk", bulk::measure),
    ("boards", boards::measure),
    ("serial", serial::measure),
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

struct Options {
    check: bool,
    json: bool,
    parts: Vec<Part>,
}

impl Options {
    /// Reads a command line; `None` if it is none.
    fn parse(args: &[&str]) -> Option<Self> {
        let mut options = Self { check: false, json: false, parts: PARTS.to_vec() };
        let mut args = args.iter();
        while let Some(&arg) = args.next() {
            match arg {
                "--check" => options.check = true,
                "--json" => options.json = true,
                "--only" => {
                    let find = |wanted: &str| PARTS.into_iter().find(|(name, _)| *name == wanted);
                    options.parts = args.next()?.split(',').map(find).collect::<Option<_>>()?;
                }
                _ => return None,
            }
        }
        Some(options)
    }

    /// Measures and prints; whether that is a success.
    fn measure(&self) -> Result<bool, Failure> {
        let mut report = Report::default();
        for (name, part) in &self.parts {
            eprintln!("measuring {name} ...");
            part(&mut report)?;
        }
        if self.json {
            println!("{}", report.to_json());
        } else {
            report.print();
        }
        Ok(!self.check || report.gates_hold())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_taken_in_any_order_and_nothing_else_is() {
        let options = Options::parse(&["--only", "bulk,codec", "--check"]).expect("good options");
        assert!(options.check && !options.json);
        assert_eq!(options.parts.iter().map(|part| part.0).collect::<Vec<_>>(), ["bulk", "codec"]);
        assert_eq!(Options::parse(&[]).map(|options| options.parts.len()), Some(PARTS.len()));
        for bad in [&["--only"][..], &["--only", "hulk"], &["--chekc"], &["bulk"]] {
            assert!(Options::parse(bad).is_none(), "{bad:?}");
        }
    }
}
