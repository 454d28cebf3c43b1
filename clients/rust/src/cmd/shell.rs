//! `proximity shell`: the commands at a prompt of their own.

mod complete;

use super::{call, describe};
use crate::{failure::Failure, show, words};
use complete::Completion;
use proximity_client::{CallOptions, Client, Description, Error, Progress, Stop, ToReply};
use rustyline::{
    Config, Editor, config::CompletionType, error::ReadlineError, history::FileHistory,
};
use signal_hook::{consts::SIGINT, iterator::Signals};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

const HELP: &str = "\
OBJECT.METHOD [ARG..] [name=value..]   call a method
OBJECT.ATTRIBUTE                       read an attribute
OBJECT.ATTRIBUTE = VALUE               set it
OBJECT?   OBJECT.METHOD?               documentation
list                                   the agent's objects
exit, Ctrl-D                           leave

Tab completes objects, methods, parameters and registers. Ctrl-C ends the wait for a call.
";

/// Lines that are remembered.
const HISTORY: usize = 1000;

/// Reads lines and does what they say, until there are no more.
pub(crate) fn run(client: &Client, json: bool) -> Result<(), Failure> {
    let agent = Arc::new(Agent::new(client.clone()));
    let waiting = watch_interrupts();
    let config = Config::builder()
        .completion_type(CompletionType::List)
        .max_history_size(HISTORY)
        .map_err(failure)?
        .build();
    let mut editor: Editor<Completion, FileHistory> =
        Editor::with_config(config).map_err(failure)?;
    editor.set_helper(Some(Completion::new(Arc::clone(&agent))));
    let history = history();
    if let Some(history) = &history {
        // The first time there is none.
        let _ = editor.load_history(history);
    }
    loop {
        match editor.readline("proximity> ") {
            Ok(line) => {
                // What is not remembered can be typed again.
                let _ = editor.add_history_entry(&line);
                let line = line.trim();
                if matches!(line, "exit" | "quit") {
                    break;
                }
                match execute(&agent, line, json, &waiting) {
                    Ok(()) => {}
                    Err(failure @ Failure::Io { .. }) => return Err(failure),
                    Err(failure) => show::say(&failure.lines().join("\n"))?,
                }
            }
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(failure(error)),
        }
    }
    if let Some(history) = &history {
        let _ = editor.save_history(history);
    }
    Ok(())
}

/// What is known of the agent's objects, asked for once.
pub(crate) struct Agent {
    client: Client,
    known: Mutex<BTreeMap<String, Arc<Description>>>,
    registers: Mutex<BTreeMap<String, Vec<String>>>,
}

impl Agent {
    fn new(client: Client) -> Self {
        Self { client, known: Mutex::default(), registers: Mutex::default() }
    }

    fn describe(&self, name: &str) -> Result<Arc<Description>, Error> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        if let Some(description) = known {
            return Ok(description);
        }
        let description = Arc::new(self.client.describe(name)?);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(name.to_owned(), Arc::clone(&description));
        Ok(description)
    }

    /// The object that `target` begins with, and the rest behind the dot.
    fn split(&self, target: &str) -> Result<(String, Option<String>), Failure> {
        super::split(&self.client, target)
    }

    /// The devices of an object that has `listdev()`; none where it cannot be asked now.
    fn registers(&self, name: &str) -> Vec<String> {
        let mut registers = self.registers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = registers.get(name) {
            return known.clone();
        }
        let has =
            self.describe(name).is_ok_and(|description| description.method("listdev").is_some());
        let listed = has.then(|| self.client.object(name).call("listdev", ()).ok()).flatten();
        let names: Vec<String> = listed.and_then(|reply| reply.get().ok()).unwrap_or_default();
        if !names.is_empty() {
            registers.insert(name.to_owned(), names.clone());
        }
        names
    }

    /// The interface may have changed: it is asked for again when it is needed.
    fn forget(&self) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.registers.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// What Ctrl-C ends, while there is something.
type Waiting = Arc<Mutex<Option<Stop>>>;

/// Turns Ctrl-C during a call into the end of the wait for it, and not of the shell.
fn watch_interrupts() -> Waiting {
    let waiting = Waiting::default();
    let shared = Arc::clone(&waiting);
    // Without it Ctrl-C ends the shell, as it ends any program.
    if let Ok(mut signals) = Signals::new([SIGINT]) {
        thread::spawn(move || {
            for _ in signals.forever() {
                if let Some(stop) = &*shared.lock().unwrap_or_else(PoisonError::into_inner) {
                    stop.stop();
                }
            }
        });
    }
    waiting
}

fn execute(agent: &Agent, line: &str, json: bool, waiting: &Waiting) -> Result<(), Failure> {
    if line.is_empty() {
        return Ok(());
    }
    if matches!(line, "?" | "help") {
        return Ok(show::say(HELP)?);
    }
    if line == "list" {
        agent.forget();
        return super::list::run(&agent.client, json);
    }
    if let Some(target) = line.strip_suffix('?').or_else(|| line.strip_prefix('?')) {
        return document(agent, target.trim());
    }
    let words = split_words(line);
    let (target, arguments) = match words.split_first() {
        Some((target, arguments)) => (target.as_str(), arguments),
        None => return Ok(()),
    };
    let (object, member) = agent.split(target)?;
    let description = agent.describe(&object)?;
    let Some(member) = member else {
        return Ok(show::say(&describe::object(&description))?);
    };
    let attribute = description.attribute(&member);
    match (attribute, arguments) {
        (Some(_), []) => call::print(&agent.client.object(&object).get(&member)?, json, false),
        (Some(attribute), [sign, value]) if sign == "=" => {
            let value = words::Word::read(value, &attribute.ty)?;
            set(agent, &object, &member, &value)
        }
        _ => {
            let arguments = words::arguments(arguments, description.method(&member))?;
            let stop = agent.client.stop();
            *waiting.lock().unwrap_or_else(PoisonError::into_inner) = Some(stop.clone());
            let mut bar = call::Bar::new();
            let mut tell = |progress: Progress<'_>| bar.tell(progress);
            let options = CallOptions {
                progress: Some(&mut tell),
                stop: Some(&stop),
                ..CallOptions::default()
            };
            let outcome = agent.client.object(&object).call_with(&member, arguments, options);
            *waiting.lock().unwrap_or_else(PoisonError::into_inner) = None;
            bar.end();
            if outcome.is_err() {
                agent.forget();
            }
            call::print(&outcome?, json, false)
        }
    }
}

fn set(agent: &Agent, object: &str, attribute: &str, value: &impl ToReply) -> Result<(), Failure> {
    Ok(agent.client.object(object).set(attribute, value)?)
}

fn document(agent: &Agent, target: &str) -> Result<(), Failure> {
    let (object, member) = agent.split(target)?;
    let description = agent.describe(&object)?;
    let text = match &member {
        None => describe::object(&description),
        Some(member) => describe::documentation(&description, member).ok_or_else(|| {
            let message = format!("object '{object}' has no method or attribute '{member}'");
            Failure::usage(message, Some(format!("{object}? lists what it has")))
        })?,
    };
    Ok(show::say(&text)?)
}

/// The words of a line: parted by blanks, but not inside quotes, brackets or braces.
fn split_words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut depth = 0u32;
    for char in line.chars() {
        match (quote, char) {
            (Some(open), _) if char == open => quote = None,
            (None, '"' | '\'') => quote = Some(char),
            (None, '[' | '{') => depth += 1,
            (None, ']' | '}') => depth = depth.saturating_sub(1),
            (None, _) if char.is_whitespace() && depth == 0 => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            _ => {}
        }
        word.push(char);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Where lines are remembered, if there is a place for that.
fn history() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let state =
        state.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state")));
    let directory = state?.join("proximity");
    std::fs::create_dir_all(&directory).ok()?;
    Some(directory.join("history"))
}

fn failure(error: ReadlineError) -> Failure {
    let error = match error {
        ReadlineError::Io(error) => error,
        other => std::io::Error::other(other),
    };
    Failure::Io { message: "cannot read from the terminal".to_owned(), error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_end_at_blanks_outside_quotes_and_brackets() {
        assert_eq!(
            split_words(r#"srbs.write  x [1, 2] "a b" off={"k": 1}"#),
            ["srbs.write", "x", "[1, 2]", "\"a b\"", "off={\"k\": 1}"]
        );
        assert_eq!(split_words("  "), Vec::<String>::new());
        assert_eq!(split_words("a ]b"), ["a", "]b"]);
    }
}
