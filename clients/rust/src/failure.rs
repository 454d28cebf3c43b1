//! How a command can fail, and with what exit status.

use proximity_client::{AddressError, CallError, Error, Executed};
use std::io;

/// The status of a command that Ctrl-C ended, as shells have it: 128 and the number of SIGINT.
pub(crate) const INTERRUPTED: u8 = 130;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A call did not give its value.
    #[error(transparent)]
    Call(#[from] Error),
    /// What was asked for makes no sense.
    #[error("{message}")]
    Usage {
        /// What is wrong with it.
        message: String,
        /// What to do about it.
        hint: String,
    },
    /// The result could not be written.
    #[error("cannot write the result: {0}")]
    Output(#[from] io::Error),
    /// Told already; only the exit status is left.
    #[error("status {0}")]
    Told(u8),
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted(#[source] Error),
}

impl Failure {
    /// A mistake in the command line.
    pub(crate) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Failure::Usage { message: message.into(), hint: hint.into() }
    }

    /// Whether nobody reads what is written any more.
    fn is_closed_pipe(&self) -> bool {
        matches!(self, Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// Whether there is nothing more to say.
    pub(crate) fn is_told(&self) -> bool {
        matches!(self, Failure::Told(_)) || self.is_closed_pipe()
    }

    /// The status with which the command ends.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Failure::Call(Error::Call(CallError::NotExecuted { .. })) => 3,
            Failure::Call(Error::Call(CallError::NotSent { .. })) => 4,
            Failure::Call(error) if error.executed() == Executed::Unknown => 5,
            Failure::Usage { .. } => 2,
            Failure::Told(code) => *code,
            Failure::Interrupted(_) => INTERRUPTED,
            Failure::Output(_) if self.is_closed_pipe() => 0,
            Failure::Call(_) | Failure::Output(_) => 1,
        }
    }
}

impl From<AddressError> for Failure {
    fn from(error: AddressError) -> Self {
        Failure::usage(error.to_string(), format!("write {}", error.hint()))
    }
}
