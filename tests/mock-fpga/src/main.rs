//! `mock-fpga`: mock boards as a process, until it is killed.

mod cli;

use cli::Command;
use mock_fpga::{Config, Mock};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{self, Write};
use std::process::ExitCode;

/// Exit statuses, as in `sysexits.h`.
const USAGE: u8 = 64;
const UNAVAILABLE: u8 = 69;

fn main() -> ExitCode {
    match cli::parse(lexopt::Parser::from_env()) {
        Ok(Command::Print(text)) => {
            // A reader that has gone wants no more text.
            let _ = io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Ok(Command::Serve { config, boards }) => match serve(&config, boards) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain(&error, UNAVAILABLE),
        },
        Err(error) => complain(&format!("{error}; mock-fpga --help tells more"), USAGE),
    }
}

fn complain(what: &dyn std::fmt::Display, status: u8) -> ExitCode {
    let _ = writeln!(io::stderr(), "mock-fpga: {what}");
    ExitCode::from(status)
}

/// Asks for as many open files as are to be had: a board and its client take four, and 1024 is a common limit.
fn allow_many_files() {
    let most = getrlimit(Resource::Nofile).maximum;
    // Without them it serves as many boards as it can.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most });
}

/// Starts the boards, tells where they are, and stays.
fn serve(config: &Config, boards: u16) -> Result<(), String> {
    allow_many_files();
    let mut mocks = Vec::new();
    for n in 0..boards {
        let mut config = config.clone();
        // A fixed port is the first of as many as there are boards; port 0 is a free one each time.
        if config.listen.port() != 0 {
            let port = config.listen.port().checked_add(n);
            config.listen.set_port(port.ok_or("not so many ports follow the one of --listen")?);
        }
        config.seed += u64::from(n);
        let listen = config.listen;
        let mock =
            Mock::start(config).map_err(|error| format!("cannot listen on {listen}: {error}"))?;
        mocks.push(mock);
    }
    let mut out = io::stdout().lock();
    let told = mocks
        .iter()
        .try_for_each(|mock| writeln!(out, "listening {}", mock.addr()))
        .and_then(|()| out.flush());
    told.map_err(|error| format!("cannot tell where the boards listen: {error}"))?;
    loop {
        std::thread::park();
    }
}
