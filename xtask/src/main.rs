//! The project's own commands: `cargo xtask test | lint | demo | bench | soak | fuzz | dist`.
//!
//! Plain std, so that it compiles in a second or two: `cargo demo` and CI both start here.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line talks to its user")]

mod bench;
mod build;
mod demo;
mod dist;
mod floors;
mod fuzz;
mod process;
mod python;
mod skips;
mod soak;
mod steps;
mod suite;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND [OPTION]

commands:
  test            everything CI runs: lint, then every test, Rust and Python
  lint            format, clippy, docs, floors; builds no test
  demo [--once]   a mock board, an agent and a client at work on this machine
  bench           the benchmarks, each beside its floor in the same run
  soak [OPTION]   the long measurements: kills, stops, outages, storms, by the thousand
  fuzz [TARGET]   any bytes whatever into whatever reads bytes from outside
  dist [--check]  packages to hand out; with --check, installed and used

`cargo xtask COMMAND --help` says more.";

const TEST: &str = "\
usage: cargo xtask test

Runs all that CI runs, in order, and goes on after a failure. The output of each step is kept
in target/xtask/. Ends with a table, the skipped tests, and a line of totals; exits 1 if
anything failed, or if a test was skipped that docs/testing.md does not list.";

const LINT: &str = "\
usage: cargo xtask lint

Runs the checks of `cargo xtask test` that need no test built: format, clippy, docs, floors, the
no_std check of proto, checksums of recorded bytes.";

const DEMO: &str = "\
usage: cargo xtask demo [--once]      (or: cargo demo)

Builds and starts mock-fpga and proximity-agent on free loopback ports and walks through them
with the proximity command. Then says how to connect from another terminal, and stays up until
Ctrl-C. With --once it ends after the walk: status 0 if every step gave the right value, else 1.";

const BENCH: &str = "\
usage: cargo xtask bench [--check] [--json] [--only PART,PART...]

Builds the release binaries and runs the benchmarks: pinned, interleaved, the median of five,
each beside a floor measured in the same run. With --check it exits 1 if a gate fails. With --json
the figures are printed as JSON. With --only, some parts alone are measured: latency, clients, codec,
registers, bulk, boards, serial, python, footprint.";

const SOAK: &str = "\
usage: cargo xtask soak [--only NAME[,NAME]] [--hours H] [--fresh] [--commit]

Builds the release binaries and runs the long measurements, one after the other. The figures of
each are kept in target/soak/NAME.json; a part that held at this revision is not run again unless
--fresh is given, so that an interrupted soak goes on where it was. With --hours all parts are run
again, with other seeds, until the time is over. With --commit the figures of what held are put
into docs/soak too. Ends with a table; exits 1 if a promise was broken.";

const FUZZ: &str = "\
usage: cargo xtask fuzz [TARGET...] [--runs N] [--seed N] [--plain]
       cargo xtask fuzz TARGET --replay FILE

Targets: request, json, message, katcp, gateware, config; all of them if none is named. Runs them
under cargo-fuzz where a nightly compiler and cargo-fuzz are there, else, or with --plain, with a
loop of our own. An input that breaks something is kept, and told how to try it again.";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match *args {
        ["test"] => suite::test(),
        ["lint"] => suite::lint(),
        ["dist"] => dist::run(false),
        ["dist", "--check"] => dist::run(true),
        ["dist", "--help" | "-h"] => help(dist::HELP),
        ["demo"] => demo::run(demo::After::Stay),
        ["demo", "--once"] => demo::run(demo::After::End),
        ["soak", "--help" | "-h"] => help(SOAK),
        ["soak", ref options @ ..] => soak::run(options),
        ["fuzz", "--help" | "-h"] => help(FUZZ),
        ["fuzz", ref options @ ..] => fuzz::run(options),
        ["test", "--help" | "-h"] => help(TEST),
        ["lint", "--help" | "-h"] => help(LINT),
        ["demo", "--help" | "-h"] => help(DEMO),
        ["bench", "--help" | "-h"] => help(BENCH),
        ["bench", ref options @ ..] => bench::run(options),
        [] | ["--help" | "-h" | "help"] => help(USAGE),
        _ => {
            eprintln!("xtask: cannot make sense of '{}'\n\n{USAGE}", args.join(" "));
            ExitCode::from(2)
        }
    }
}

fn help(text: &str) -> ExitCode {
    println!("{text}");
    ExitCode::SUCCESS
}
