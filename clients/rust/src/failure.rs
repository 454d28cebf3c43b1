//! How the command ends when something went wrong: one line of fact, what lies behind it, a hint.

use proximity_client::{AddressError, CallError, Error};
use serde_json::json;
use std::{io, process::ExitCode};

/// Why a command did not do what it was asked for.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The call ended with something else than its value.
    Call(Error),
    /// The command makes no sense as it was written.
    Usage { message: String, hint: Option<String> },
    /// The output could not be written, or a file not be read.
    Io { message: String, error: io::Error },
}

impl Failure {
    pub(crate) fn usage(message: impl Into<String>, hint: Option<String>) -> Self {
        Failure::Usage { message: message.into(), hint }
    }

    pub(crate) fn file(path: &std::path::Path, error: io::Error) -> Self {
        Failure::Io { message: format!("cannot read {}", path.display()), error }
    }

    /// The status that docs/wire.md gives to each outcome.
    fn status(&self) -> u8 {
        match self {
            Failure::Call(Error::Call(CallError::NotExecuted { .. })) => 3,
            Failure::Call(Error::Call(CallError::NotSent { .. })) => 4,
            Failure::Call(Error::Call(CallError::OutcomeUnknown { .. })) => 5,
            Failure::Call(_) | Failure::Io { .. } => 1,
            Failure::Usage { .. } => 2,
        }
    }

    /// The lines for a person.
    pub(crate) fn lines(&self) -> Vec<String> {
        let (fact, detail, hint) = match self {
            Failure::Call(error) => (
                format!("{}: {}", error.class(), error.message()),
                error.detail().to_vec(),
                error.hint().map(str::to_owned),
            ),
            Failure::Usage { message, hint } => {
                (format!("proximity: {message}"), Vec::new(), hint.clone())
            }
            Failure::Io { message, error } => {
                (format!("proximity: {message}: {error}"), Vec::new(), None)
            }
        };
        let detail = detail.into_iter().map(|line| format!("  {line}"));
        let hint = hint.into_iter().map(|hint| format!("hint: {hint}"));
        std::iter::once(fact).chain(detail).chain(hint).collect()
    }

    /// Tells it on standard error, and gives the exit status.
    #[allow(clippy::print_stderr, reason = "errors of a command go there")]
    pub(crate) fn tell(&self, json: bool) -> ExitCode {
        // Whoever closed our output has seen enough.
        if matches!(self, Failure::Io { error, .. } if error.kind() == io::ErrorKind::BrokenPipe) {
            return ExitCode::SUCCESS;
        }
        let text = match self {
            Failure::Call(error) if json => json!({"error": {
                "class": error.class(),
                "message": error.message(),
                "detail": error.detail(),
                "hint": error.hint(),
                "executed": error.executed().as_str(),
            }})
            .to_string(),
            _ => self.lines().join("\n"),
        };
        eprintln!("{text}");
        self.status().into()
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Call(error)
    }
}

impl From<AddressError> for Failure {
    fn from(error: AddressError) -> Self {
        Failure::usage(error.to_string(), Some(format!("an address is {}", error.hint())))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Io { message: "cannot write the output".to_owned(), error }
    }
}
