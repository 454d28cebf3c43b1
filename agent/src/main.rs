//! The daemon `proximity-agent`.

mod check;
mod cli;
mod output;
mod signals;
mod sink;

use cli::Command;
use log::LevelFilter;
use output::{complain, say};
use proximity_agent::{
    Control, Notifier, RunError,
    config::{self, Outline},
    transport,
};
use std::{
    env,
    error::Error,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

const SUCCESS: u8 = 0;
const FAILED: u8 = 1;
const USAGE: u8 = 2;
/// `EX_UNAVAILABLE`: an address is in use.
const UNAVAILABLE: u8 = 69;
/// `EX_CONFIG`: no use in trying again before somebody has mended the file.
const CONFIG: u8 = 78;

fn main() -> ExitCode {
    let code = match Command::parse(env::args_os().skip(1)) {
        Ok(Command::Serve(file)) => serve(file).unwrap_or_else(|error| {
            complain(&format!("proximity-agent: {error}\n"));
            FAILED
        }),
        Ok(Command::Check { file, json }) => {
            let loaded = config::check(&file);
            let name = file.display().to_string();
            match &loaded {
                _ if json => say(&check::json(&name, &loaded)),
                Ok((config, warnings)) => say(&check::text(&name, config, warnings)),
                Err(found) => complain(&check::mistakes(&name, found)),
            }
            if loaded.is_ok() { SUCCESS } else { CONFIG }
        }
        Ok(Command::Version) => {
            let library = transport::zmq::library();
            say(&format!("proximity-agent {}\n{library}\n", env!("CARGO_PKG_VERSION")));
            SUCCESS
        }
        Ok(Command::Help) => {
            say(cli::HELP);
            SUCCESS
        }
        Err(error) => {
            complain(&format!("proximity-agent: {error}\ntry: proximity-agent --help\n"));
            USAGE
        }
    };
    sink::flush();
    code.into()
}

/// Runs an agent until a signal ends it.
fn serve(file: PathBuf) -> io::Result<u8> {
    let signals = signals::take()?;
    let (config, warnings) = match config::load(&file) {
        Ok(loaded) => loaded,
        Err(found) => {
            complain(&check::mistakes(&file.display().to_string(), &found));
            return Ok(CONFIG);
        }
    };
    let set_level = start_logging(sink::Sink::start()?);
    set_level(config.log);
    proximity_agent::log_panics();
    for warning in warnings {
        log::warn!("{warning}");
    }
    let control = Control::new()?.telling(Notifier::from_environment());
    signals::obey(signals, control.clone(), file, Outline::of(&config), set_level)?;
    let ready = |addresses: &[String]| {
        let lines = addresses.iter().map(|address| format!("listening {address}\n"));
        say(&(lines.collect::<String>() + "ready\n"));
    };
    let Err(error) = proximity_agent::run(config, &control, ready) else { return Ok(SUCCESS) };
    let why = error.source().map_or_else(String::new, |source| format!(": {source}"));
    log::error!("{error}{why}");
    Ok(match error {
        RunError::Listen(error) if error.source.kind() == io::ErrorKind::AddrInUse => UNAVAILABLE,
        _ => FAILED,
    })
}

/// Logs to standard error; returns what sets the level, which the environment's `RUST_LOG` overrides.
fn start_logging(sink: sink::Sink) -> impl Fn(LevelFilter) + Send + Copy {
    let told = env::var_os("RUST_LOG").is_some_and(|filter| !filter.is_empty());
    let mut builder = env_logger::Builder::new();
    builder.target(env_logger::Target::Pipe(Box::new(sink)));
    if told {
        builder.parse_default_env();
    } else {
        builder.filter_level(LevelFilter::Trace);
    }
    if output::is_journal() {
        builder.format(|out, record| {
            let lines = output::prefixed(record.level(), &record.args().to_string());
            out.write_all(lines.as_bytes())
        });
    }
    builder.init();
    move |level| {
        if !told {
            log::set_max_level(level);
        }
    }
}
