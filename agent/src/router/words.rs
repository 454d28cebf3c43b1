//! What the agent says when it refuses a call.

use crate::{job::Job, transport::Peer};
use proximity_proto::{
    Fault,
    fault::{Reason, did_you_mean},
    limits::MAX_AHEAD,
};
use proximity_session::Refusal;
use std::{borrow::Cow, io, path::Path, time::Duration};

/// Objects that are named in an error: a list of hundreds helps nobody.
const LISTED: usize = 12;

fn expired(job: &Job) -> Fault {
    let what = job.what();
    if job.resume.is_some() {
        Fault::timeout_error(format!("the time for {what} was over while it waited"))
            .hint("what it waits for has not come; a longer timeout waits for longer")
    } else {
        Fault::timeout_error(format!("the time for {what} was over before it ran"))
            .hint("the object was busy, or the call was long on its way")
    }
}

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
        Refusal::Expired => (expired(job), Some(Reason::Expired)),
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
        Refusal::Panicked { class, reason } => {
            let again = || broken_again(class.clone(), object, method);
            (job.lost.as_ref().map_or_else(again, |lost| lost.fault.clone()), *reason)
        }
        Refusal::Failed => (not_open(object, away), Some(Reason::Failed)),
        Refusal::Locked { holder, expires_in } => {
            let seconds = expires_in.as_secs_f64();
            let message =
                format!("object '{object}' is locked by {holder} for another {seconds:.1} s");
            let fault = Fault::runtime_error(message)
                .hint("reads are free; wait, or ask the holder to release it")
                .locked(holder.to_string(), *expires_in);
            (fault, Some(Reason::Locked))
        }
        Refusal::LeaseLost => (
            Fault::runtime_error(format!("the lease of object '{object}' has ended"))
                .hint("somebody else may have had the object since; lock it anew"),
            Some(Reason::LeaseLost),
        ),
        Refusal::TooOld => (
            Fault::runtime_error("the call's number lies before all that the agent remembers"),
            Some(Reason::TooOld),
        ),
        Refusal::ReplyNotKept => (
            Fault::runtime_error(format!(
                "{object}.{method} has run, and its result was too large to be kept"
            )),
            Some(Reason::ReplyNotKept),
        ),
        Refusal::TooManyInFlight { limit } => (
            Fault::runtime_error(format!(
                "this connection has {limit} calls in progress, the most that it may have"
            ))
            .hint("wait for one of them to end"),
            Some(Reason::TooManyInFlight),
        ),
        Refusal::RepliesUnread { limit } => (
            Fault::runtime_error(format!(
                "this connection has {limit} bytes of replies or more that it has not read"
            ))
            .hint("read them first"),
            Some(Reason::RepliesUnread),
        ),
        Refusal::NoRoom { limit } => (
            Fault::runtime_error(format!(
                "the agent has no room for the reply of {object}.{method}: its clients have not read \
                 {limit} bytes of replies"
            ))
            .hint("try again later, or ask for less at a time"),
            Some(Reason::Busy),
        ),
        Refusal::TooManyClients => (
            Fault::runtime_error("the agent has too many clients of late to remember another").hint(
                "try again later; deadlines of at most 5 minutes find room before longer ones",
            ),
            Some(Reason::TooManyClients),
        ),
        Refusal::ExpiresTooFar { ahead } => (too_far(*ahead), Some(Reason::ExpiresTooFar)),
        Refusal::LegacyReadOnly => (
            Fault::new(
                "PermissionError",
                format!("{object}.{method} writes; clients of version 1 may only read '{object}'"),
            )
            .hint("'legacy' in the agent's configuration is \"ro\"; use a client of version 2"),
            None,
        ),
        Refusal::LegacyOff => {
            let message = format!("clients of version 1 may not use '{object}'");
            let hint = "'legacy' in the agent's configuration is \"off\"; use a client of version 2";
            (Fault::new("PermissionError", message).hint(hint), None)
        }
    }
}

/// A copy of a call that broke its object. The words of the first answer were not kept.
fn broken_again(class: Cow<'static, str>, object: &str, method: &str) -> Fault {
    Fault::new(class, format!("object '{object}' broke in {method}()"))
        .hint("this is a repeated answer; the first one said more")
}

/// A call whose deadline lies that far ahead.
fn too_far(ahead: Duration) -> Fault {
    let message = format!(
        "'expires' lies {} ms ahead of the agent's clock; it may be at most {} ms, 24 hours",
        ahead.as_millis(),
        MAX_AHEAD.as_millis()
    );
    Fault::value_error(message)
        .hint("it counts from the agent's start, not from 1970; 'now' in hello is its clock")
}

/// A call over a connection beyond those that are served.
pub(super) fn too_many_peers(limit: usize) -> (Fault, Reason) {
    let message = format!("the agent has {limit} connections, the most that it serves");
    let fault = Fault::runtime_error(message)
        .hint("wait for one of them to end, or raise 'connections' in the agent's configuration");
    (fault, Reason::TooManyPeers)
}

/// What must be written down first, and cannot be.
pub(super) fn no_audit(file: &Path, error: &io::Error) -> (Fault, Option<Reason>) {
    log::error!("the audit cannot be written to {}: {error}", file.display());
    let message = "the agent must write down who has an object, and cannot; its log says why";
    let hint = "'audit' in the agent's configuration names the file";
    (Fault::runtime_error(message).hint(hint), Some(Reason::AuditUnavailable))
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

/// An attempt to take a lease from another machine.
pub(super) fn no_theft(object: &str, peer: Option<&Peer>) -> Fault {
    let message = format!(
        "the lease of '{object}' can be stolen from the agent's own machine only, not from {}",
        peer.map_or("an unknown address", address)
    );
    Fault::new("PermissionError", message).hint("leases() tells who has it; ask him, or wait")
}

/// Others' logs are not for everybody.
pub(super) fn no_other_log(peer: Option<&Peer>) -> Fault {
    let message = format!(
        "what is logged can be changed from the agent's own machine only, not from {}",
        peer.map_or("an unknown address", address)
    );
    Fault::new("PermissionError", message)
        .hint("the key 'log' of its configuration says what is logged; SIGHUP reads it again")
}

/// Where a peer calls from, for people.
fn address(peer: &Peer) -> &str {
    match peer.principal.address.as_str() {
        "" => "an unknown address",
        address => address,
    }
}

/// A call from where none may come unencrypted.
pub(super) fn not_allowed(peer: &Peer) -> Fault {
    let from = address(peer);
    Fault::new("PermissionError", format!("this agent takes no unencrypted calls from {from}"))
        .hint("the key 'plaintext' of its configuration names the networks that may call")
}
