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
    let filter = env::var_os("RUST_LOG").unwrap_or_default();
    let unknown = no_filter(&filter.to_string_lossy());
    if let Some(word) = &unknown {
        complain(&format!(
            "proximity-agent: RUST_LOG has '{word}', and is not looked at; it must be off, error, warn, info, debug or trace\n"
        ));
    }
    let told = !filter.is_empty() && unknown.is_none();
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

/// What in `filter` is neither a level nor a part of the agent: with a slip of the pen nothing at all would be logged.
fn no_filter(filter: &str) -> Option<String> {
    let is_level = |word: &str| word.parse::<LevelFilter>().is_ok();
    let known = |word: &&str| match word.split_once('=') {
        Some((_, level)) => is_level(level),
        None => is_level(word) || word.starts_with("proximity") || *word == "audit",
    };
    // Behind a slash stands what the text of a line must have in it.
    let words = filter.split_once('/').map_or(filter, |(words, _)| words);
    let mut words = words.split(',').map(str::trim);
    words.find(|word| !word.is_empty() && !known(word)).map(|word| word.escape_debug().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_in_the_filter_of_the_log_is_found() {
        let sound = "info WARN off proximity_agent=debug,warn proximity_agent zmq=trace warn/x";
        for sound in sound.split(' ') {
            assert_eq!(no_filter(sound), None, "{sound}");
        }
        for wrong in ["inof", "warn,inof", "proximity_agent=dbug", "zmq"] {
            assert!(no_filter(wrong).is_some_and(|word| wrong.contains(&word)), "{wrong}");
        }
    }
}
