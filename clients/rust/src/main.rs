//! The `proximity` command: calls the objects of an agent from a shell.

mod argument;
mod cmd;
mod environment;
mod failure;
mod interrupt;
mod literal;
mod output;
mod show;
mod target;
mod words;

use clap::{Parser, Subcommand};
use cmd::{App, leases::Held};
use failure::Failure;
use output::Output;
use proximity_client::Client;
use std::{process::ExitCode, time::Duration};

/// Calls the objects that a Proximity agent exposes.
#[derive(Parser)]
#[command(version, after_help = EXAMPLES, disable_help_subcommand = true, args_override_self = true)]
struct Cli {
    #[arg(short, long, global = true, value_name = "ADDRESS", help = AGENT)]
    agent: Option<String>,

    /// Seconds that a call may take
    #[arg(long, global = true, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    timeout: Duration,

    /// Print JSON, for programs; errors too
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: Command,
}

const AGENT: &str = "Where the agent is: HOST, HOST:PORT, tcp://HOST:PORT or ipc:///PATH \
    [default: $PROXIMITY_AGENT, else tcp://127.0.0.1:5555]";

const EXAMPLES: &str = "\
Examples:
  proximity list                                      the agent's objects
  proximity list srbs                                 what one of them can do
  proximity describe srbs.read                        one method's documentation
  proximity call srbs.write_int sys_scratchpad 0xcafe
  proximity call srbs.read big_bram 4096 --raw > big_bram.bin
  proximity call --lock srbs.progdev design.bof       nobody else writes to srbs meanwhile
  proximity -a colossus shell                         a prompt with completion and history

Exit status: 0 well; 1 an error answer, --json tells whether it was executed; 2 wrong usage;
3 not executed; 4 not sent; 5 not known whether executed.";

#[derive(Subcommand)]
enum Command {
    List(cmd::list::List),
    Describe(cmd::describe::Describe),
    Call(cmd::call::Call),
    Get(cmd::get::Get),
    Set(cmd::set::Set),
    Shell(cmd::shell::Shell),
    Status(cmd::status::Status),
    Log(cmd::log::Log),
    Leases(cmd::leases::Leases),
    Steal(cmd::steal::Steal),
    Gateware(cmd::gateware::Gateware),
    Completions(cmd::completions::Completions),
}

fn main() -> ExitCode {
    env_logger::init();
    let words = argument::shielded(std::env::args_os());
    let cli = Cli::try_parse_from(words).unwrap_or_else(|error| argument::told(error).exit());
    let output = Output::new(cli.json);
    match run(cli, &output).and_then(|()| Ok(output.flush()?)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.failure(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(cli: Cli, output: &Output) -> Result<(), Failure> {
    let address = cli.agent.map_or_else(environment::address, Ok)?;
    let client = Client::new(&address)?.with_timeout(cli.timeout);
    let held = Held::default();
    let app = App { client, output, held: &held };
    match cli.command {
        Command::List(list) => list.run(&app),
        Command::Describe(describe) => describe.run(&app),
        Command::Call(call) => call.run(&app),
        Command::Get(get) => get.run(&app),
        Command::Set(set) => set.run(&app),
        Command::Shell(shell) => shell.run(&app),
        Command::Status(status) => status.run(&app),
        Command::Log(log) => log.run(&app),
        Command::Leases(leases) => leases.run(&app),
        Command::Steal(steal) => steal.run(&app),
        Command::Gateware(gateware) => gateware.run(output),
        Command::Completions(shell) => shell.run(<Cli as clap::CommandFactory>::command(), output),
    }
}

/// A time as an option has it.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.001..=1e6).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or("a timeout is 0.001 to 1000000 seconds".into())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_sound() {
        <super::Cli as clap::CommandFactory>::command().debug_assert();
    }
}
