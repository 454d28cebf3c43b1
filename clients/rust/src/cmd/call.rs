//! `proximity call`: calls a method.

use crate::{
    argument,
    cmd::App,
    failure::Failure,
    interrupt::{Interrupt, WhenIdle},
};
use clap::Args;

/// Call a method and print its result
#[derive(Args)]
#[command(after_help = HELP)]
pub(crate) struct Call {
    /// The method
    #[arg(value_name = "OBJECT.METHOD")]
    target: String,

    /// Arguments by position, and name=value
    #[arg(value_name = "ARG", value_parser = argument::written)]
    args: Vec<String>,

    /// Write the bytes of the result as they are
    #[arg(long, conflicts_with = "json")]
    raw: bool,

    /// Lock the object for the time of the call; fails where somebody else has it
    #[arg(long)]
    lock: bool,
}

const HELP: &str = "\
Arguments are read as the parameter's type, where the object tells it:
  5  -0x1f  1.5  1e6    numbers; 5 is text for a parameter that is text
  true  false  none     truth, and nothing
  sys_scratchpad        text
  '\"5\"'                 text in quotes is always text
  '[1, 2]'  '{\"a\": 1}'  lists and maps, in JSON
  @design.bof  @-       the bytes of a file, of standard input
  'b\"\\x00abc\"'          bytes, as in Python
  offset=4              an argument by name
  -- -name              after --, what begins with a dash is an argument
A parameter of bytes takes @FILE, 'b\"..\"', and a word as its letters. A word that is a number or names
a file is refused there: '\"1234\"' is the text. Numbers are written with srbs.write_int.

Examples:
  proximity call srbs.read_uint sys_clkcounter
  proximity call srbs.write big_bram @data.bin offset=1024
  proximity call srbs.read big_bram 65536 --raw > data.bin";

impl Call {
    pub(crate) fn run(&self, app: &App<'_>) -> Result<(), Failure> {
        let interrupt = Interrupt::new(&app.client, WhenIdle::Exit);
        let reply = interrupt.run(app, |app| {
            let (object, method) = app.member(&self.target, "METHOD")?;
            let description = app.client.describe(object)?;
            let words = self.args.iter().map(String::as_str);
            let arguments = argument::arguments(words, description.method(method), &|| app.most())?;
            if self.lock {
                app.held.lock(app, object)?;
            }
            let object = app.object(object);
            interrupt.call(app, |options| object.call_with(method, arguments, options))
        })?;
        if self.raw { app.print_raw(&reply) } else { app.print(&reply) }
    }
}
