//! The command `proximity`: what an agent has, from a shell.

mod cmd;
mod failure;
mod show;
mod words;

use clap::{Parser, Subcommand};
use failure::Failure;
use proximity_client::{Client, DEFAULT_ADDRESS};
use std::{path::PathBuf, process::ExitCode, time::Duration};

/// Discovers, documents and calls the objects of a Proximity agent.
#[derive(Parser)]
#[command(name = "proximity", version, after_help = EXAMPLES, max_term_width = 100)]
struct Command {
    /// The agent: `HOST`, `HOST:PORT`, `tcp://HOST:PORT` or `ipc:///PATH`.
    #[arg(short, long, global = true, env = "PROXIMITY_AGENT", default_value = DEFAULT_ADDRESS)]
    agent: String,

    /// How long a call may take, in seconds.
    #[arg(short, long, global = true, default_value_t = 10.0, value_parser = seconds)]
    timeout: f64,

    /// Prints JSON, for programs; bytes are {"__bytes__": "base64"}.
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Lists the agent's objects.
    List,
    /// Tells what an object, or one method of it, is and does.
    Describe {
        /// OBJECT or OBJECT.METHOD
        target: String,
    },
    /// Calls a method.
    Call(cmd::call::Call),
    /// Reads an attribute.
    Get {
        /// OBJECT.ATTRIBUTE
        target: String,
    },
    /// Sets an attribute.
    Set {
        /// OBJECT.ATTRIBUTE
        target: String,
        /// The new value
        #[arg(allow_hyphen_values = true)]
        value: String,
    },
    /// Opens a prompt: completion with Tab, documentation with `?`, history.
    Shell,
    /// Prints what is in a gateware file (.fpg or .bof, also gzipped). Needs no agent.
    Gateware {
        /// The file
        file: PathBuf,
    },
}

const EXAMPLES: &str = "\
Examples:
  proximity -a control-host list
  proximity describe srbs.read
  proximity call srbs.write_int sys_scratchpad 0xcafe
  proximity call srbs.read sys_scratchpad 4 offset=0
  proximity --json call srbs.listdev

Exit status: 0 done, 1 the object's own error, 2 wrong usage, 3 not executed, 4 not sent,
5 the outcome is not known.";

fn main() -> ExitCode {
    match run(Command::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err((failure, json)) => failure.tell(json),
    }
}

fn run(command: Command) -> Result<(), (Failure, bool)> {
    let json = command.json;
    let fail = |failure| (failure, json);
    let client = Client::new(&command.agent).map_err(|error| fail(error.into()))?;
    let client = client.with_timeout(Duration::from_secs_f64(command.timeout));
    match command.what {
        What::List => cmd::list::run(&client, json),
        What::Describe { target } => cmd::describe::run(&client, &target, json),
        What::Call(call) => cmd::call::run(&client, &call, json),
        What::Get { target } => cmd::attribute::get(&client, &target, json),
        What::Set { target, value } => cmd::attribute::set(&client, &target, &value),
        What::Shell => cmd::shell::run(&client, json),
        What::Gateware { file } => cmd::gateware::run(&file, json),
    }
    .map_err(fail)
}

fn seconds(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|seconds| (0.001..=86_400.0).contains(seconds))
        .ok_or_else(|| "a timeout is 0.001 to 86400 seconds".to_owned())
}
