//! What the agent says when it refuses a call.

use crate::{job::Job, transport::Peer};
use proximity_proto::{
    Fault,
    fault::{Reason, did_you_mean},
};
use proximity_session::Refusal;

/// Objects that are named in an error: a list of hundreds helps nobody.
const LISTED: usize = 12;

/// The fault and the reason for a call that the session ended. `away` tells why the object is not
/// open, if it is not.
pub(super) fn refusal(why: &Refusal, job: &Job, away: Option<&Fault>) -> (Fault, Option<Reason>) {
    let (object, method) = (job.object(), job.method());
    let busy = |message: String| (Fault::runtime_error(message), Some(Reason::Busy));
    match why {
        Refusal::Busy { limit } => {
            busy(format!("object '{object}' is busy: its queue of {limit} calls is full"))
        }
        Refusal::StaleEpoch => stale_epoch(),
        Refusal::Expired => (
            Fault::timeout_error(format!("the time for {object}.{method} was over before it ran"))
                .hint("the object was busy, or the call was long on its way"),
            Some(Reason::Expired),
        ),
        Refusal::Cancelled => (
            Fault::runtime_error(format!("{object}.{method} was cancelled")),
            Some(Reason::Cancelled),
        ),
        Refusal::Draining => {
            (Fault::runtime_error("the agent is stopping"), Some(Reason::Draining))
        }
        Refusal::Removed => (
            Fault::key_error(format!("object '{object}' was taken out of the configuration"))
                .unknown(object),
            Some(Reason::Removed),
        ),
        Refusal::Panicked => match &job.lost {
            Some(lost) => (lost.fault.clone(), lost.reason),
            // A copy of the call, which does not know how the call itself ended.
            None => (
                Fault::runtime_error(format!("object '{object}' broke in {method}()")),
                Some(Reason::Failed),
            ),
        },
        Refusal::Failed => (not_open(object, away), Some(Reason::Failed)),
        Refusal::Locked { holder, expires_in } => {
            let seconds = expires_in.as_secs_f64();
            let message = format!("object '{object}' is locked by {holder} for {seconds:.1} s");
            (Fault::runtime_error(message), Some(Reason::Locked))
        }
        Refusal::LeaseLost => (
            Fault::runtime_error(format!("the lease of object '{object}' has ended")),
            Some(Reason::Locked),
        ),
        Refusal::TooOld => (
            Fault::runtime_error("the call's number lies before all that the agent remembers"),
            Some(Reason::TooOld),
        ),
        Refusal::ReplyNotKept => (
            Fault::runtime_error(format!(
                "{object}.{method} has run, and its result was too large to be kept"
            )),
            None,
        ),
        Refusal::TooManyInFlight { limit } => {
            busy(format!("the connection has {limit} calls in progress, the most there may be"))
        }
        Refusal::RepliesUnread { limit } => {
            busy(format!("the connection has not read {limit} bytes of replies"))
        }
        Refusal::TooManyClients => busy("the agent has too many clients to remember".to_owned()),
        Refusal::LegacyReadOnly => (
            Fault::new(
                "PermissionError",
                format!("{object}.{method} writes; old clients may only read here"),
            ),
            None,
        ),
        Refusal::LegacyOff => {
            (Fault::new("PermissionError", "old clients are not served here"), None)
        }
    }
}

/// A call for an earlier run of the agent.
pub(super) fn stale_epoch() -> (Fault, Option<Reason>) {
    let fault = Fault::runtime_error("the call was made for an earlier run of the agent");
    (fault.hint("say hello again"), Some(Reason::StaleEpoch))
}

/// An object that is not open. `away` tells why, as far as that is known.
pub(super) fn not_open(object: &str, away: Option<&Fault>) -> Fault {
    let Some(why) = away else {
        return Fault::connection_error(format!("object '{object}' is being opened"));
    };
    let mut fault =
        Fault::connection_error(format!("object '{object}' cannot be opened: {}", why.message));
    fault.detail.clone_from(&why.detail);
    fault.hint.clone_from(&why.hint);
    fault
}

/// A call of an object that the agent does not have. `known` are those it has.
pub(super) fn no_object<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Fault {
    let mut known: Vec<&str> = known.collect();
    known.sort_unstable();
    let others = match known.len() {
        0 => "; this agent has none".to_owned(),
        1..=LISTED => format!("; this agent has: {}", known.join(", ")),
        many => format!("; this agent has {many} others"),
    };
    let message = format!("no object '{}'{others}", name.escape_debug());
    let fault = Fault::key_error(message).unknown(name);
    match did_you_mean(name, known.into_iter()) {
        Some(meant) => fault.hint(format!("did you mean '{meant}'?")),
        None => fault,
    }
}

/// A call from where none may come unencrypted.
pub(super) fn not_allowed(peer: &Peer) -> Fault {
    let from = match peer.principal.address.as_str() {
        "" => "an unknown address",
        address => address,
    };
    Fault::new("PermissionError", format!("this agent takes no unencrypted calls from {from}"))
        .hint("the key 'plaintext' of its configuration names the networks that may call")
}
