//! The daemon `proximity-agent`.

mod check;
mod cli;
mod output;
mod serve;
mod signals;
mod sink;

use cli::{Command, Form};
use log::LevelFilter;
use output::{complain, say};
use proximity_agent::transport;
use serve::{CONFIG, FAILED, SUCCESS, USAGE};
use std::{env, io::Write, process::ExitCode};

fn main() -> ExitCode {
    let code = match Command::parse(env::args_os().skip(1)) {
        Ok(Command::Serve { file, form, metrics }) => {
            let start_logging = || Ok(start_logging(form, sink::Sink::start()?));
            serve::serve(&file, metrics, start_logging).unwrap_or_else(|error| {
                complain(&format!("proximity-agent: {error}\n"));
                FAILED
            })
        }
        Ok(Command::Check { file, json }) => {
            if check::run(&file, json) {
                SUCCESS
            } else {
                CONFIG
            }
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

/// Logs to `sink`; returns what sets the level, and tells whether it could: the environment's `RUST_LOG`
/// overrides it.
fn start_logging(
    form: Form,
    sink: sink::Sink,
) -> impl Fn(LevelFilter) -> bool + Send + Sync + Copy {
    let told = env::var_os("RUST_LOG").is_some_and(|filter| !filter.is_empty());
    let mut builder = env_logger::Builder::new();
    builder.target(env_logger::Target::Pipe(Box::new(sink)));
    if told {
        builder.parse_default_env();
    } else {
        builder.filter_level(LevelFilter::Trace);
    }
    let journal = output::is_journal();
    if journal || form == Form::Json {
        builder.format(move |out, record| {
            out.write_all(output::line(record, form == Form::Json, journal).as_bytes())
        });
    }
    builder.init();
    move |level| {
        if !told {
            log::set_max_level(level);
        }
        !told
    }
}
