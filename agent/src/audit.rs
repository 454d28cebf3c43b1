//! The audit: one line of JSON for each thing that one client does to the others.
//!
//! It goes where the log goes, under the target `audit`, whatever the log's level is. A log that is
//! gone or full loses lines, and never a call.

use crate::transport::Peer;
use log::{Level, Record};
use proximity_proto::{object::PrincipalKind, reply::millis};
use proximity_session::{Holder, Uptime};
use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};

/// The log's target.
pub(crate) const TARGET: &str = "audit";

/// What was done, or tried.
pub(crate) struct Entry<'a> {
    /// The request's `op`.
    pub(crate) what: &'a str,
    /// To which object.
    pub(crate) object: &'a str,
    /// For whom.
    pub(crate) holder: &'a Holder,
    /// At whose expense.
    pub(crate) from: Option<&'a Holder>,
}

/// Writes a line: who did it, when, and what came of it, which is the reason where it was refused.
pub(crate) fn write(entry: &Entry<'_>, peer: &Peer, now: Uptime, outcome: Result<(), &str>) {
    // Wall time, for people: nothing is decided by it.
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let line = line(entry, peer, wall.as_secs_f64(), now, outcome);
    // Past log::info!, which asks for the level.
    let record = format_args!("{line}");
    log::logger().log(&Record::builder().level(Level::Info).target(TARGET).args(record).build());
}

fn line(
    entry: &Entry<'_>,
    peer: &Peer,
    wall: f64,
    now: Uptime,
    outcome: Result<(), &str>,
) -> String {
    let principal = match peer.principal.kind {
        PrincipalKind::Local => "local",
        PrincipalKind::Address => "address",
    };
    let line = json!({
        "wall": wall,
        "uptime_ms": millis(now),
        "principal": principal,
        "name": peer.principal.name,
        "address": peer.principal.address,
        "what": entry.what,
        "object": entry.object,
        "holder": &*entry.holder.name,
        "from": entry.from.map(ToString::to_string),
        "outcome": outcome.err().unwrap_or("ok"),
    });
    line.to_string()
}
