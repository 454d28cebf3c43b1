//! What goes wrong between the agent and a board.

use proximity_proto::{Fault, katcp::LineError, katcp::WriteError};
use std::{fmt, io, sync::Arc, time::Duration};

/// Why a request has no good reply.
#[derive(Debug, thiserror::Error)]
pub enum KatcpError {
    /// There is no connection, and it is too early for the next try.
    #[error("no connection to {board}; the next try is due in {}", Seconds(*retry_in))]
    Away {
        /// Host and port.
        board: Arc<str>,
        /// When.
        retry_in: Duration,
        /// What the last try came to.
        source: Option<Arc<io::Error>>,
    },
    /// There is no connection yet, and the caller's time is over.
    #[error("no connection to {board} yet; it is being tried")]
    Connecting {
        /// Host and port.
        board: Arc<str>,
        /// What the try before came to.
        source: Option<Arc<io::Error>>,
    },
    /// `stop()` was called.
    #[error("the connection to {board} was stopped")]
    Stopped {
        /// Host and port.
        board: Arc<str>,
    },
    /// The connection went down with a request under way.
    #[error("lost the connection to {board} during ?{request}")]
    Lost {
        /// Host and port.
        board: Arc<str>,
        /// The request, cut to a readable length.
        request: String,
        /// How it went down.
        source: io::Error,
    },
    /// No reply by the deadline.
    #[error("{board} did not answer ?{request} within {}", Seconds(*waited))]
    NoAnswer {
        /// Host and port.
        board: Arc<str>,
        /// The request, cut to a readable length.
        request: String,
        /// For how long it was waited.
        waited: Duration,
    },
    /// The caller took its call back.
    #[error("?{request} to {board} was called off by its caller")]
    Cancelled {
        /// Host and port.
        board: Arc<str>,
        /// The request, cut to a readable length.
        request: String,
    },
    /// The board said fail or invalid.
    #[error("{board} refused ?{request}: {reply}")]
    Refused {
        /// Host and port.
        board: Arc<str>,
        /// The request, cut to a readable length.
        request: String,
        /// The reply's arguments.
        reply: String,
        /// The board's last warnings and errors between request and reply.
        logs: Vec<String>,
    },
    /// What came cannot be the reply. The connection was dropped: its next reply could be anybody's.
    #[error("{board} answered ?{request} with {found}")]
    OutOfStep {
        /// Host and port.
        board: Arc<str>,
        /// The request, cut to a readable length.
        request: String,
        /// What came.
        found: String,
    },
    /// A line came that is no message, where only replies in order tell whose they are.
    #[error("{board} sent an unreadable line during ?{request}")]
    Garbled {
        /// Host and port.
        board: Arc<str>,
        /// The request, cut to a readable length.
        request: String,
        /// What is wrong with it.
        source: LineError,
    },
    /// The request cannot be written as KATCP.
    #[error("'{request}' is no KATCP request")]
    NoRequest {
        /// The name it was to have.
        request: String,
        /// Why not.
        source: WriteError,
    },
}

impl KatcpError {
    /// The same error, once it is known which request it hit.
    pub(super) fn during(mut self, shown: String) -> Self {
        match &mut self {
            Self::Lost { request, .. }
            | Self::NoAnswer { request, .. }
            | Self::Cancelled { request, .. }
            | Self::Refused { request, .. }
            | Self::OutOfStep { request, .. }
            | Self::Garbled { request, .. } => *request = shown,
            Self::Away { .. }
            | Self::Connecting { .. }
            | Self::Stopped { .. }
            | Self::NoRequest { .. } => {}
        }
        self
    }
}

impl From<KatcpError> for Fault {
    fn from(error: KatcpError) -> Self {
        let class = match &error {
            KatcpError::Away { .. }
            | KatcpError::Connecting { .. }
            | KatcpError::Stopped { .. }
            | KatcpError::Lost { .. } => "ConnectionError",
            KatcpError::NoAnswer { .. } => "TimeoutError",
            KatcpError::NoRequest { .. } => "ValueError",
            KatcpError::Cancelled { .. }
            | KatcpError::Refused { .. }
            | KatcpError::OutOfStep { .. }
            | KatcpError::Garbled { .. } => "RuntimeError",
        };
        let mut fault = Fault::from_error(class, &error);
        match error {
            KatcpError::Refused { logs, .. } => {
                fault
                    .detail
                    .extend(logs.into_iter().map(|line| format!("the board's log: {line}")));
                fault
            }
            KatcpError::Away { .. } | KatcpError::Connecting { .. } => {
                fault.hint("is the board powered, and is its KATCP server running?")
            }
            KatcpError::Stopped { .. } => fault.hint("start() connects again"),
            KatcpError::Lost { request, .. } | KatcpError::NoAnswer { request, .. } => {
                fault.hint(if changes_nothing(&request) {
                    "the next call connects anew where that is needed"
                } else {
                    "whether the board has done it is not known"
                })
            }
            _ => fault,
        }
    }
}

/// Whether a request only asks: then nobody need wonder whether it was done.
fn changes_nothing(request: &str) -> bool {
    let name = request.split([' ', '[']).next().unwrap_or_default();
    matches!(
        name,
        "read"
            | "bulkread"
            | "wordread"
            | "listdev"
            | "listbof"
            | "listcmd"
            | "status"
            | "fpgastatus"
            | "watchdog"
            | "help"
            | "sensor-list"
            | "sensor-value"
            | "tap-info"
            | "version-list"
    )
}

/// A span of time for a person: tenths of a second where they matter.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = self.0.as_millis().div_ceil(100);
        match (tenths / 10, tenths % 10) {
            (whole, 0) => write!(f, "{whole} s"),
            (whole, tenths) => write!(f, "{whole}.{tenths} s"),
        }
    }
}
