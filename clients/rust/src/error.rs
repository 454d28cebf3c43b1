//! How a call can end other than with its value.
//!
//! Three names say what is known of the call: [`RemoteError`]: the object answered with an error of
//! its own. [`CallError::NotExecuted`] and its special case [`CallError::NotSent`]: nothing ran, and
//! nothing will. [`CallError::OutcomeUnknown`]: it may have run; only the caller can tell whether it
//! may be repeated.

use proximity_proto::{
    Fault,
    arg::Mismatch,
    fault::{Executed, Locked, Reason},
};
use std::time::Duration;

/// Any way for a call to end but with its value.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The object's own error.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The call did not come so far, or nobody knows how far.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The call succeeded, with a result of another type than asked for.
    #[error(transparent)]
    Result(#[from] ResultError),
}

/// An object's own error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}", fault.class, fault.message)]
pub struct RemoteError {
    /// Class, message, detail and hint.
    pub fault: Box<Fault>,
    /// Whether the method ran: not where the arguments did not fit.
    pub executed: Executed,
}

/// A call whose method did not run, or of which nobody knows whether it did.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The agent refused it: nothing ran, and nothing will.
    #[error("{call} was not executed: {}", fault.message)]
    NotExecuted {
        /// What was called.
        call: String,
        /// Why; `None` for a reason that this client does not know yet.
        reason: Option<Reason>,
        /// In the agent's words.
        fault: Box<Fault>,
    },
    /// It never left this process.
    #[error("{call} was not sent: {why}")]
    NotSent {
        /// What was called.
        call: String,
        /// Why not.
        why: NotSent,
    },
    /// It left, and how it ended is not known: it may have run, may be running, or may not.
    #[error("{call} may have been executed or not: {why}")]
    OutcomeUnknown {
        /// What was called.
        call: String,
        /// Why that is not known.
        why: Unknown,
    },
}

/// Why a call was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// There was no connection in time.
    #[error("no connection to {address} within {waited:?}")]
    NoConnection {
        /// Where the agent should be.
        address: String,
        /// For how long.
        waited: Duration,
    },
    /// There was a connection, and no agent said hello in time.
    #[error("{address} took the connection and did not answer within {waited:?}")]
    NoHello {
        /// Where the agent should be.
        address: String,
        /// For how long.
        waited: Duration,
    },
    /// What listens there closes every connection: it is no agent, or wants none of this client.
    #[error("{address} takes connections and closes them")]
    TurnedAway {
        /// Where the agent should be.
        address: String,
    },
    /// What listens there is an original server.
    #[error("{address} is a server of version 1; this client needs version 2")]
    Version1 {
        /// Where it is.
        address: String,
    },
    /// The agent takes no request of that size.
    #[error("the request has {len} bytes; the agent takes at most {max}")]
    TooLarge {
        /// Bytes of the request.
        len: usize,
        /// Bytes that the agent takes.
        max: u64,
    },
    /// The caller stopped it.
    #[error("interrupted")]
    Interrupted,
}

/// Why the outcome of a call is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// No answer came in time.
    #[error("no answer from {address} within {waited:?}")]
    NoAnswer {
        /// Where the agent is.
        address: String,
        /// For how long.
        waited: Duration,
    },
    /// The connection was lost before the answer came, and what may not run twice is not sent again.
    #[error("the connection to {address} was lost")]
    ConnectionLost {
        /// Where the agent is, or was.
        address: String,
    },
    /// The connection was lost before the answer came, and there was no other in time.
    #[error("the connection to {address} was lost, and there was no other within {waited:?}")]
    NotBack {
        /// Where the agent was.
        address: String,
        /// How long the call took in all.
        waited: Duration,
    },
    /// The agent was restarted before its answer came.
    #[error("the agent at {address} was restarted before it answered")]
    Restarted {
        /// Where it is.
        address: String,
    },
    /// The caller stopped waiting.
    #[error("interrupted")]
    Interrupted,
    /// The agent answered, and does not know either.
    #[error("{}", .0.message)]
    Agent(Box<Fault>),
}

/// A result of another type than asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.fault("the result").message)]
pub struct ResultError(pub Mismatch);

impl Error {
    /// A word for what happened: a Python exception's name for the object's own errors.
    pub fn class(&self) -> &str {
        match self {
            Error::Remote(error) => &error.fault.class,
            Error::Call(error) => error.class(),
            Error::Result(_) => "TypeError",
        }
    }

    /// The line of fact, without the class.
    pub fn message(&self) -> String {
        match self {
            Error::Remote(error) => error.fault.message.clone(),
            Error::Call(error) => error.to_string(),
            Error::Result(error) => error.to_string(),
        }
    }

    /// What lies behind it, outermost first.
    pub fn detail(&self) -> &[String] {
        self.fault().map_or(&[], |fault| &fault.detail)
    }

    /// Advice, where there is some.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Error::Call(error) => error.hint(),
            _ => self.fault()?.hint.as_deref(),
        }
    }

    /// Whether it ended so because the time was over.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Error::Call(error) if error.is_timeout())
    }

    /// Whether the method ran.
    pub fn executed(&self) -> Executed {
        match self {
            Error::Remote(error) => error.executed,
            Error::Call(CallError::OutcomeUnknown { .. }) => Executed::Unknown,
            Error::Call(_) => Executed::No,
            Error::Result(_) => Executed::Yes,
        }
    }

    /// Why the agent refused the call, where it did, for a reason that this client knows.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Error::Call(CallError::NotExecuted { reason, .. }) => *reason,
            _ => None,
        }
    }

    /// Who has the object for himself, where that is why the call was not executed.
    pub fn locked(&self) -> Option<&Locked> {
        match self {
            Error::Call(error) => error.locked(),
            _ => None,
        }
    }

    /// Whether it was not executed because the lease that it was made under has ended.
    pub fn is_lease_lost(&self) -> bool {
        matches!(self, Error::Call(error) if error.is_lease_lost())
    }

    fn fault(&self) -> Option<&Fault> {
        match self {
            Error::Remote(RemoteError { fault, .. })
            | Error::Call(
                CallError::NotExecuted { fault, .. }
                | CallError::OutcomeUnknown { why: Unknown::Agent(fault), .. },
            ) => Some(fault),
            _ => None,
        }
    }
}

impl CallError {
    /// The outcome's name, the same as in Python and in docs/wire.md.
    pub fn class(&self) -> &'static str {
        match self {
            CallError::NotExecuted { .. } => "NotExecuted",
            CallError::NotSent { .. } => "NotSent",
            CallError::OutcomeUnknown { .. } => "OutcomeUnknown",
        }
    }

    /// Advice, where there is some.
    pub fn hint(&self) -> Option<&str> {
        match self {
            CallError::NotExecuted { fault, .. }
            | CallError::OutcomeUnknown { why: Unknown::Agent(fault), .. } => fault.hint.as_deref(),
            CallError::NotSent { why, .. } => match why {
                NotSent::NoConnection { .. } | NotSent::NoHello { .. } => {
                    Some("is an agent running there, and is the address right?")
                }
                NotSent::TurnedAway { .. } => Some("is it an agent that listens there?"),
                NotSent::Version1 { .. } => Some("call it with a PyProximity client"),
                NotSent::TooLarge { .. } => Some("send the data in pieces"),
                NotSent::Interrupted => None,
            },
            CallError::OutcomeUnknown { .. } => Some(
                "look at the device before you repeat it: read back what it should have changed",
            ),
        }
    }

    /// Who has the object for himself, where that is why the call was not executed.
    pub fn locked(&self) -> Option<&Locked> {
        match self {
            CallError::NotExecuted { reason: Some(Reason::Locked), fault, .. } => {
                fault.locked.as_ref()
            }
            _ => None,
        }
    }

    /// Whether it was not executed because the lease that it was made under has ended.
    pub fn is_lease_lost(&self) -> bool {
        matches!(self, CallError::NotExecuted { reason: Some(Reason::LeaseLost), .. })
    }

    /// Whether it ended so because the time was over.
    pub fn is_timeout(&self) -> bool {
        match self {
            CallError::NotExecuted { reason, .. } => *reason == Some(Reason::Expired),
            CallError::NotSent { why, .. } => {
                !matches!(why, NotSent::TooLarge { .. } | NotSent::Interrupted)
            }
            CallError::OutcomeUnknown { why, .. } => match why {
                Unknown::NoAnswer { .. } | Unknown::NotBack { .. } => true,
                Unknown::Agent(fault) => fault.class == "TimeoutError",
                Unknown::ConnectionLost { .. }
                | Unknown::Restarted { .. }
                | Unknown::Interrupted => false,
            },
        }
    }
}
