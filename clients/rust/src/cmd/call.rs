//! `proximity call OBJECT.METHOD [ARG..] [name=value..]`

use super::member;
use crate::{failure::Failure, show, words};
use clap::Args;
use proximity_client::{CallOptions, Client, Progress, Reply, Value};
use proximity_proto::json;
use std::io::{self, IsTerminal, Write};

/// What to call, with what.
#[derive(Args)]
pub(crate) struct Call {
    /// OBJECT.METHOD
    target: String,

    /// Arguments: numbers (also 0x..), text, true, false, none, JSON lists and maps, @FILE for a file's
    /// bytes; name=value for one by name. What the method takes decides: 5 is text where text is taken.
    #[arg(allow_hyphen_values = true)]
    arguments: Vec<String>,

    /// Writes the bytes that come back to standard output as they are.
    #[arg(long)]
    raw: bool,
}

/// Calls, and prints the result.
pub(crate) fn run(client: &Client, call: &Call, json: bool) -> Result<(), Failure> {
    let (object, method) = member(client, &call.target, "method")?;
    let description = client.describe(&object)?;
    let arguments = words::arguments(&call.arguments, description.method(&method))?;
    let mut bar = Bar::new();
    let mut tell = |progress: Progress<'_>| bar.tell(progress);
    let options = CallOptions { progress: Some(&mut tell), ..CallOptions::default() };
    let outcome = client.object(&object).call_with(&method, arguments, options);
    bar.end();
    print(&outcome?, json, call.raw)
}

/// Prints a result as it was asked for.
pub(crate) fn print(reply: &Reply, json: bool, raw: bool) -> Result<(), Failure> {
    match reply.value() {
        Value::Bytes(bytes) if raw => {
            let mut out = io::stdout().lock();
            out.write_all(bytes)?;
            out.flush()?;
        }
        value if raw => {
            let kind = value.kind();
            return Err(Failure::usage(format!("--raw is for bytes; the result is {kind}"), None));
        }
        value if json => show::say(&json::value(value).to_string())?,
        value => show::say(&show::result(value))?,
    }
    Ok(())
}

/// A line on the terminal that tells how far a call is.
pub(crate) struct Bar {
    /// Nobody looks where standard error is no terminal.
    shown: bool,
    begun: bool,
}

impl Bar {
    pub(crate) fn new() -> Self {
        Self { shown: io::stderr().is_terminal(), begun: false }
    }

    #[allow(clippy::print_stderr, reason = "progress goes there")]
    pub(crate) fn tell(&mut self, progress: Progress<'_>) {
        if self.shown {
            let Progress { done, total, text } = progress;
            // Without a total nobody knows the share.
            let share = (done * 100).checked_div(total);
            let share = share.map(|share| format!("{share:3} % ")).unwrap_or_default();
            eprint!("\r\x1b[K{share}{text}");
            self.begun = true;
        }
    }

    #[allow(clippy::print_stderr, reason = "progress goes there")]
    pub(crate) fn end(&mut self) {
        if std::mem::take(&mut self.begun) {
            eprint!("\r\x1b[K");
        }
    }
}
