//! What goes wrong between the agent and an instrument on a line.

use proximity_proto::Fault;
use std::{fmt, io, sync::Arc, time::Duration};

/// Why an instrument has no good answer.
#[derive(Debug, thiserror::Error)]
pub enum SerialError {
    /// The port is away, and it is too early for the next try.
    #[error("{port} is away; the next try is due in {}", Seconds(*retry_in))]
    Away {
        /// The port, as configured.
        port: Arc<str>,
        /// When.
        retry_in: Duration,
        /// What the last try came to.
        source: Option<Arc<io::Error>>,
    },
    /// There is no connection yet, and the caller's time is over.
    #[error("no connection to {port} yet; it is being tried")]
    Connecting {
        /// The address, as configured.
        port: Arc<str>,
        /// What the try before came to.
        source: Option<Arc<io::Error>>,
    },
    /// `close()` was called.
    #[error("{port} was closed")]
    Closed {
        /// The port, as configured.
        port: Arc<str>,
    },
    /// The port went away with something under way.
    #[error("{port} went away during {doing}")]
    Lost {
        /// The port, as configured.
        port: Arc<str>,
        /// What was under way.
        doing: String,
        /// How it went.
        source: Arc<io::Error>,
    },
    /// No answer in time.
    #[error("{port} did not answer {doing} within {}; {got} bytes came", Seconds(*waited))]
    NoAnswer {
        /// The port, as configured.
        port: Arc<str>,
        /// What was asked.
        doing: String,
        /// For how long it was waited.
        waited: Duration,
        /// How much of an answer came.
        got: usize,
    },
    /// The line takes no more bytes.
    #[error("{port} took {written} of {total} bytes of {doing}, and then none for {}", Seconds(*waited))]
    Stalled {
        /// The port, as configured.
        port: Arc<str>,
        /// What was to be sent.
        doing: String,
        /// Bytes that were taken.
        written: usize,
        /// All bytes of it.
        total: usize,
        /// For how long none was taken.
        waited: Duration,
    },
    /// The line does not become silent, so that an answer could not be told from what else comes.
    #[error("{port} is out of step, and was not silent for {}; {doing} was not sent", Seconds(*settle))]
    OutOfStep {
        /// The port, as configured.
        port: Arc<str>,
        /// What was to be sent.
        doing: String,
        /// The silence that is waited for.
        settle: Duration,
    },
    /// The caller took its call back.
    #[error("{doing} to {port} was called off by its caller")]
    Cancelled {
        /// The port, as configured.
        port: Arc<str>,
        /// What was under way.
        doing: String,
    },
    /// The echo is not what was sent.
    #[error("{port} echoed '{echo}' where {doing} was sent")]
    Echo {
        /// The port, as configured.
        port: Arc<str>,
        /// What was sent.
        doing: String,
        /// What came back.
        echo: String,
    },
    /// An answer without an end.
    #[error("{port} answered {doing} with more than {limit} bytes")]
    TooLong {
        /// The port, as configured.
        port: Arc<str>,
        /// What was asked.
        doing: String,
        /// The most that is taken.
        limit: usize,
    },
    /// An answer that cannot be one.
    #[error("{port} answered {doing} with '{found}'; it must be {must_be}")]
    BadAnswer {
        /// The port, as configured.
        port: Arc<str>,
        /// What was asked.
        doing: String,
        /// What came.
        found: String,
        /// What it must be.
        must_be: &'static str,
    },
    /// The instrument said no.
    #[error("{port} refused {doing}: {said}")]
    Refused {
        /// The port, as configured.
        port: Arc<str>,
        /// What was asked.
        doing: String,
        /// The instrument's own text.
        said: String,
        /// What else it said.
        more: Vec<String>,
    },
    /// The port cannot do that, as a USB adapter without modem lines cannot.
    #[error("{port} has no {what}")]
    Unsupported {
        /// The port, as configured.
        port: Arc<str>,
        /// What it was asked for.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A value that will not do.
    #[error("{what} is {value}; it must be {must_be}")]
    BadValue {
        /// What it was given for.
        what: &'static str,
        /// What was given.
        value: String,
        /// What is allowed.
        must_be: &'static str,
    },
}

impl SerialError {
    /// The Python exception that fits.
    fn class(&self) -> &'static str {
        match self {
            Self::Away { .. }
            | Self::Connecting { .. }
            | Self::Closed { .. }
            | Self::Lost { .. } => "ConnectionError",
            Self::NoAnswer { .. } | Self::Stalled { .. } | Self::OutOfStep { .. } => "TimeoutError",
            Self::BadValue { .. } => "ValueError",
            Self::Cancelled { .. }
            | Self::Echo { .. }
            | Self::TooLong { .. }
            | Self::BadAnswer { .. }
            | Self::Refused { .. }
            | Self::Unsupported { .. } => "RuntimeError",
        }
    }

    /// What to do about it.
    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Away { source: Some(source), .. } => Some(match source.kind() {
                io::ErrorKind::PermissionDenied => {
                    "is the agent's user in the group of serial ports, mostly 'dialout'?"
                }
                io::ErrorKind::ResourceBusy => "another program has it open",
                // Only a connection over the network fails so.
                io::ErrorKind::ConnectionRefused => {
                    "is this its port? some instruments take one client at a time"
                }
                io::ErrorKind::TimedOut
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable => "is it powered, and on this network?",
                _ => "is it plugged in and powered? list_ports() tells which ports there are",
            }),
            Self::Away { .. } | Self::Connecting { .. } => Some("is it plugged in and powered?"),
            Self::Closed { .. } => Some("open() opens it again"),
            Self::Lost { .. } => Some("whether the instrument has done it is not known"),
            // The name of a port begins with / or usb; that of a connection is HOST:PORT.
            Self::NoAnswer { got: 0, port, .. }
                if !port.starts_with('/') && !port.starts_with("usb ") =>
            {
                Some("is the command one of its own? does the line ending fit the instrument?")
            }
            Self::NoAnswer { got: 0, .. } => {
                Some("do baud, parity and the line ending fit the instrument?")
            }
            Self::NoAnswer { .. } => Some("does the line ending fit the instrument?"),
            Self::Stalled { .. } => Some("does the flow control fit the instrument?"),
            Self::OutOfStep { .. } => Some("a shorter settle, or a quieter instrument"),
            Self::Echo { .. } => Some("echo = false, if the instrument does not echo"),
            _ => None,
        }
    }
}

impl From<SerialError> for Fault {
    fn from(error: SerialError) -> Self {
        let mut fault = Fault::from_error(error.class(), &error);
        fault.hint = error.hint().map(String::from);
        if let SerialError::Refused { more, .. } = error {
            fault.detail.extend(more);
        }
        fault
    }
}

/// A span of time for a person: milliseconds below a second.
pub(crate) struct Seconds(pub(crate) Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_millis() {
            millis @ 0..1000 => write!(f, "{millis} ms"),
            millis if millis % 1000 == 0 => write!(f, "{} s", millis / 1000),
            millis => write!(f, "{}.{} s", millis / 1000, millis % 1000 / 100),
        }
    }
}

/// How much an error tells of a command or an answer, in bytes.
const SHOWN: usize = 60;

/// A command or an answer for the text of an error: the ends of lines as escapes, and cut.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let start = bytes.get(..SHOWN).unwrap_or(bytes);
    let text = start.escape_ascii().to_string();
    if start.len() < bytes.len() { text + "..." } else { text }
}
