//! The daemon `proximity-agent`.

mod check;
mod cli;

use cli::Command;
use proximity_agent::config;
use std::{
    io::{self, Write},
    process::ExitCode,
};

/// The arguments are wrong; `EX_USAGE` of older programs is 64, that of shells and clap is this.
const USAGE: u8 = 2;
/// The configuration is wrong: `EX_CONFIG`, at which systemd does not try again.
const CONFIG: u8 = 78;

fn main() -> ExitCode {
    match Command::parse(std::env::args_os().skip(1)) {
        Ok(Command::Help) => say(io::stdout(), cli::HELP),
        Ok(Command::Version) => say(io::stdout(), concat!(env!("CARGO_PKG_VERSION"), "\n")),
        Ok(Command::Check { file, json }) => {
            let loaded = config::check(&file);
            let name = file.display().to_string();
            match &loaded {
                _ if json => say(io::stdout(), &check::json(&name, &loaded)),
                Ok((config, warnings)) => say(io::stdout(), &check::text(&name, config, warnings)),
                Err(found) => say(io::stderr(), &check::mistakes(&name, found)),
            }
            if loaded.is_err() {
                return CONFIG.into();
            }
        }
        Ok(Command::Serve(_)) => {}
        Err(error) => {
            say(io::stderr(), &format!("proximity-agent: {error}\ntry: proximity-agent --help\n"));
            return USAGE.into();
        }
    }
    ExitCode::SUCCESS
}

/// Writes `text`. That nobody reads it, because a pipe was closed, is no failure.
fn say(mut to: impl Write, text: &str) {
    let _ = to.write_all(text.as_bytes()).and_then(|()| to.flush());
}
