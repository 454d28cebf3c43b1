//! What people and programs see.

use crate::failure::Failure;
use proximity_client::{Error, Locked, Progress};
use serde_json::json;
use std::{
    cell::RefCell,
    io::{self, BufWriter, IsTerminal, Stdout, Write},
};

/// Standard output and standard error.
pub(crate) struct Output {
    out: RefCell<BufWriter<Stdout>>,
    /// Whether to write JSON.
    pub(crate) json: bool,
    /// Whether text on standard output, and on standard error, may be coloured.
    colour: (bool, bool),
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let colour = !json && !set("NO_COLOR") && !dumb;
        Self {
            out: RefCell::new(BufWriter::new(io::stdout())),
            json,
            colour: (colour && io::stdout().is_terminal(), colour && io::stderr().is_terminal()),
        }
    }

    /// Writes text as it is, with a line end behind.
    pub(crate) fn line(&self, text: impl AsRef<str>) -> io::Result<()> {
        let mut out = self.out.borrow_mut();
        out.write_all(text.as_ref().as_bytes())?;
        out.write_all(b"\n")
    }

    /// Writes bytes as they are.
    pub(crate) fn raw(&self, bytes: &[u8]) -> io::Result<()> {
        self.out.borrow_mut().write_all(bytes)
    }

    /// Hands on what was written.
    pub(crate) fn flush(&self) -> io::Result<()> {
        self.out.borrow_mut().flush()
    }

    /// `text` so that it stands out.
    pub(crate) fn bold(&self, text: &str) -> String {
        if self.colour.0 { format!("\x1b[1m{text}\x1b[0m") } else { text.into() }
    }

    /// Whether anybody looks on while a call runs.
    pub(crate) fn shows_progress(&self) -> bool {
        !self.json && io::stderr().is_terminal()
    }

    /// Shows how far a call has come, in place of what was shown before.
    #[allow(clippy::unused_self)] // only with an output that shows progress
    pub(crate) fn progress(&self, progress: Progress<'_>) {
        let Progress { done, total, text } = progress;
        let done = match (done * 100).checked_div(total) {
            Some(percent) => format!("{percent:3} %"),
            None => done.to_string(),
        };
        let _ = write!(io::stderr(), "\r\x1b[K{done}  {text}");
    }

    /// Takes away what [`Output::progress`] has shown last.
    #[allow(clippy::unused_self)] // as above
    pub(crate) fn end_progress(&self) {
        let _ = write!(io::stderr(), "\r\x1b[K");
    }

    /// Tells what went wrong: one line of fact, then what lies behind it, then advice.
    pub(crate) fn failure(&self, failure: &Failure) {
        // What was written before comes first; if nobody reads it there is nothing to say either.
        if self.flush().is_err() || failure.is_told() {
            return;
        }
        let text = if self.json { json_of(failure) + "\n" } else { self.text_of(failure) };
        let _ = io::stderr().write_all(text.as_bytes());
    }

    fn text_of(&self, failure: &Failure) -> String {
        use std::fmt::Write;
        let (on, off) = if self.colour.1 { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
        let Some(error) = call_error(failure) else {
            let hint = match failure {
                Failure::Usage { hint, .. } => format!("hint: {hint}\n"),
                _ => String::new(),
            };
            return format!("{on}error{off}: {failure}\n{hint}");
        };
        let mut text = format!("{on}{}{off}: {}\n", error.class(), error.message());
        for line in error.detail() {
            let _ = writeln!(text, "  {line}");
        }
        if let Some(hint) = error.hint() {
            let _ = writeln!(text, "hint: {hint}");
        }
        text
    }
}

/// The error of the call that failed, if it was one.
fn call_error(failure: &Failure) -> Option<&Error> {
    match failure {
        Failure::Call(error) | Failure::Interrupted(error) => Some(error),
        _ => None,
    }
}

fn json_of(failure: &Failure) -> String {
    let error = match (call_error(failure), failure) {
        (Some(error), _) => error_as_json(error),
        (None, Failure::Usage { message, hint }) => {
            json!({"class": "UsageError", "message": message, "hint": hint})
        }
        (None, other) => json!({"class": "OSError", "message": other.to_string()}),
    };
    json!({ "error": error }).to_string()
}

/// A call's error, for programs.
pub(crate) fn error_as_json(error: &Error) -> serde_json::Value {
    let mut told = serde_json::Map::new();
    let mut tell = |key: &str, value| told.insert(key.into(), value);
    tell("class", json!(error.class()));
    tell("message", json!(error.message()));
    tell("detail", json!(error.detail()));
    tell("hint", json!(error.hint()));
    tell("executed", json!(error.executed().as_str()));
    tell("timeout", json!(error.is_timeout()));
    if let Some(reason) = error.reason() {
        tell("reason", json!(reason.as_str()));
    }
    if let Some(Locked { holder, expires_in }) = error.locked() {
        tell("holder", json!(holder));
        tell("expires_in", json!(expires_in.as_secs_f64()));
    }
    told.into()
}
