//! `proximity shell`: a prompt with history and completion.

use crate::{
    argument,
    cmd::{App, complete::Known, describe::Describe, leases::Leases, list::List, set::Set, steal},
    failure::Failure,
    interrupt::{Interrupt, WhenIdle},
    target::Target,
    words,
};
use clap::Args;
use proximity_client::Client;
use rustyline::{
    CompletionType, Config, Context, Editor, Helper, completion::Completer, error::ReadlineError,
    highlight::Highlighter, hint::Hinter, history::FileHistory, validate::Validator,
};
use std::{
    cell::RefCell,
    io::{ErrorKind, IsTerminal},
    path::PathBuf,
    time::Duration,
};

/// Open a prompt with completion and history
#[derive(Args)]
#[command(after_help = HELP)]
pub(crate) struct Shell {
    /// Lock this object until the shell ends; may be given several times
    #[arg(long, value_name = "OBJECT")]
    lock: Vec<String>,
}

const HELP: &str = "\
At the prompt:
  srbs.read_uint sys_clkcounter      call a method; or as in Python:
  srbs.read_uint(\"sys_clkcounter\")
  srbs.write(\"big_bram\", b\"\\x00a\")   with bytes
  counter.value                      read an attribute
  counter.value = 5                  set it
  srbs.read_uint?                    its documentation
  srbs                               what it can do
  list, describe OBJECT, leases      as the commands; call, get and set may be written too
  lock OBJECT, release OBJECT        keep others from writing to it, until then or the end
  steal OBJECT                       the same, whoever has it
  ?, help                            this text
  # ...                              nothing: a comment
  exit, quit, Ctrl-D                 leave
Tab completes objects, methods, parameters and registers. Ctrl-C ends a call, not the shell.
Arguments are written as for `proximity call`.
Lines that come from a pipe or a file are a script: it ends at the first that fails, with its status.";

/// What ends the shell.
const LEAVE: [&str; 4] = ["exit", "quit", "exit()", "quit()"];

/// Commands of `proximity` that make no sense at the prompt, or not there yet.
const OUTSIDE: [&str; 5] = ["completions", "gateware", "log", "shell", "status"];

/// How long Tab may keep a person waiting.
const TAB_PATIENCE: Duration = Duration::from_secs(1);

impl Shell {
    pub(crate) fn run(&self, app: &App<'_>) -> Result<(), Failure> {
        for object in &self.lock {
            app.held.lock(app, object)?;
        }
        let config = Config::builder().completion_type(CompletionType::List).build();
        let mut editor = Editor::<Tab, FileHistory>::with_config(config).map_err(no_terminal)?;
        editor.set_helper(Some(Tab::new(&app.client)));
        let history = history_file();
        if let Some(path) = &history
            && let Err(error) = editor.load_history(path)
        {
            log::debug!("no history from {}: {error}", path.display());
        }
        let is_person = std::io::stdin().is_terminal();
        if is_person && !app.output.json {
            greet(app)?;
        }
        let interrupt = Interrupt::new(&app.client, WhenIdle::Ignore);
        let prompt = if is_person { "proximity> " } else { "" };
        let mut last = Ok(());
        loop {
            app.output.flush()?;
            last = match editor.readline(prompt) {
                Ok(line) if LEAVE.contains(&line.trim()) => break,
                Ok(line) => {
                    if !line.trim().is_empty() {
                        let _ = editor.add_history_entry(line.trim());
                    }
                    interrupt.run(app, |app| run_line(app, &interrupt, &line))
                }
                Err(ReadlineError::Interrupted) => continue,
                Err(ReadlineError::Eof) => break,
                Err(ReadlineError::Io(error)) if error.kind() == ErrorKind::InvalidData => {
                    Err(Failure::usage("this line is not UTF-8", "write it in UTF-8"))
                }
                Err(error) => return Err(no_terminal(error)),
            };
            if let Err(failure) = &last {
                if matches!(failure, Failure::Output(_)) {
                    break;
                }
                app.output.failure(failure);
                if !is_person {
                    break;
                }
            }
            if let Some(tab) = editor.helper() {
                tab.known.borrow_mut().forget_registers();
            }
        }
        if let Some(path) = &history
            && is_person
        {
            save(&mut editor, path);
        }
        // A script ends as its failed line does, which is told already; a person has seen it.
        match last {
            Err(Failure::Output(error)) => Err(error.into()),
            Err(failure) if !is_person => Err(Failure::Told(failure.exit_code())),
            _ => Ok(()),
        }
    }
}

fn greet(app: &App<'_>) -> Result<(), Failure> {
    let quick = app.client.clone().with_timeout(TAB_PATIENCE);
    let line = match quick.hello() {
        Ok(hello) => {
            let objects: Vec<&str> = hello.objects.keys().map(String::as_str).collect();
            format!(
                "{} {} at {}: {}",
                hello.agent,
                hello.version,
                app.client.address(),
                objects.join(", ")
            )
        }
        Err(error) => format!("no agent yet: {}", error.message()),
    };
    app.output.line(line)?;
    Ok(app.output.line("? for help, Tab completes, Ctrl-D leaves")?)
}

/// Does what a line says.
fn run_line(app: &App<'_>, interrupt: &Interrupt, line: &str) -> Result<(), Failure> {
    let line = line.trim();
    if line.starts_with('#') {
        return Ok(());
    }
    // As the commands are called outside.
    let line = ["call ", "get "].iter().find_map(|word| line.strip_prefix(word)).unwrap_or(line);
    let line = call_alone(line)?;
    // One question mark or, out of habit, two.
    if line.starts_with('?') || line.ends_with('?') {
        let asked = line.trim_matches('?').trim();
        return if asked.is_empty() { help(app) } else { Describe::new(asked).run(app) };
    }
    if let Some(missing) = words::unclosed(line) {
        let hint = "a blank, bracket or quote that belongs to a text stands in quotes: \"it's\"";
        return Err(Failure::usage(format!("a {missing} is missing"), hint));
    }
    if let Some((target, value)) = assignment(line) {
        if value.starts_with('=') {
            let hint = format!("`{target}` reads it, and `{target} = ..` sets it");
            return Err(Failure::usage("`==` is not taken here", hint));
        }
        return Set::new(target, value).run(app);
    }
    let (name, arguments) = words::command(line);
    match (name, &arguments[..]) {
        ("", _) => Ok(()),
        ("help", _) => help(app),
        ("list", []) => List::new(None).run(app),
        ("list", [object]) => List::new(Some(object)).run(app),
        ("describe", [target]) => Describe::new(target).run(app),
        ("set", [target, value]) => Set::new(target, value).run(app),
        ("leases", []) => Leases {}.run(app),
        ("lock", [object]) => app.held.lock(app, object),
        ("release", [object]) => app.held.release(object),
        ("steal", [object]) => {
            let from = app.held.steal(app, object)?;
            steal::tell(app, object, from, "it is locked by this shell now")
        }
        ("leases", _) => Err(Failure::usage("leases takes no name", "? shows what can be typed")),
        ("list" | "describe" | "lock" | "release" | "steal", _) => {
            Err(Failure::usage(format!("{name} takes one name"), "? shows what can be typed"))
        }
        ("call", _) => Err(usage("call OBJECT.METHOD ARG ..")),
        ("get", _) => Err(usage("get OBJECT.ATTRIBUTE")),
        ("set", _) => Err(usage("set OBJECT.ATTRIBUTE VALUE")),
        _ => call_or_get(app, interrupt, name, arguments, line.ends_with(')')),
    }
}

/// How a command is written at the prompt.
fn usage(how: &str) -> Failure {
    Failure::usage(format!("here it is `{how}`"), "? shows what can be typed")
}

/// `line` without the semicolon or comment that stands behind a call as in Python.
fn call_alone(line: &str) -> Result<&str, Failure> {
    let Some((call, behind)) = words::behind_call(line) else { return Ok(line) };
    let behind = behind.trim();
    if matches!(behind, "" | ";") || behind.starts_with('#') {
        return Ok(call);
    }
    let hint = "a line is one call; blanks, brackets and quotes of a text stand in quotes";
    Err(Failure::usage(format!("`{behind}` stands behind the `)` of the call"), hint))
}

/// Calls a method, reads an attribute, or shows an object.
fn call_or_get(
    app: &App<'_>,
    interrupt: &Interrupt,
    name: &str,
    arguments: Vec<&str>,
    in_brackets: bool,
) -> Result<(), Failure> {
    let Target { object, member } = app.target(name)?;
    if member.is_none() && OUTSIDE.contains(&name) && !app.client.list()?.contains(&name.into()) {
        let hint = format!("leave the shell, and type `proximity {name}`");
        let message = format!("{name} is a command of `proximity`, not of its shell");
        return Err(Failure::usage(message, hint));
    }
    let description = app.client.describe(object)?;
    let Some(member) = member else {
        return super::list::list_object(app, &description);
    };
    let proxy = app.object(object);
    let is_attribute =
        description.attribute(member).is_some() && arguments.is_empty() && !in_brackets;
    if is_attribute {
        return app.print(&proxy.get(member)?);
    }
    let arguments = argument::arguments(arguments, description.method(member), &|| app.most())?;
    let reply = interrupt.call(app, |options| proxy.call_with(member, arguments, options))?;
    app.print(&reply)
}

/// `OBJECT.ATTRIBUTE = VALUE`.
fn assignment(line: &str) -> Option<(&str, &str)> {
    let (target, value) = line.split_once('=')?;
    let target = target.trim_end();
    let is_name = target.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '.');
    (is_name && target.contains('.')).then_some((target, value.trim()))
}

fn help(app: &App<'_>) -> Result<(), Failure> {
    Ok(app.output.line(HELP)?)
}

fn no_terminal(error: ReadlineError) -> Failure {
    match error {
        ReadlineError::Io(error) => error.into(),
        other => std::io::Error::other(other).into(),
    }
}

/// Where lines are kept from one shell to the next.
fn history_file() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")))?;
    Some(state.join("proximity/history"))
}

fn save(editor: &mut Editor<Tab, FileHistory>, path: &PathBuf) {
    let saved = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    let saved = saved.map_err(ReadlineError::from).and_then(|()| editor.save_history(path));
    if let Err(error) = saved {
        log::warn!("the history is not kept in {}: {error}", path.display());
    }
}

/// Completes at the prompt.
struct Tab {
    client: Client,
    known: RefCell<Known>,
}

impl Tab {
    fn new(client: &Client) -> Self {
        Self { client: client.clone().with_timeout(TAB_PATIENCE), known: RefCell::default() }
    }
}

impl Helper for Tab {}
impl Highlighter for Tab {}
impl Hinter for Tab {
    type Hint = String;
}
impl Validator for Tab {}

impl Completer for Tab {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let line = line.get(..pos).unwrap_or(line);
        let mut known = self.known.borrow_mut();
        known.learn(line, &self.client);
        let completion = known.complete(line);
        Ok((completion.start, completion.words))
    }
}
