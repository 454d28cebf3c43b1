//! The audit: one line of JSON for each thing that one client does to the others.
//!
//! It goes where the log goes, under the target `audit`, whatever the log's level is. A log that is
//! gone or full loses lines, and never a call.
//!
//! Where the configuration names a file, it goes there too, and first: a line `asked` before anything is done, without
//! which nothing is done, and one with what came of it. The file is opened for each, for it may be moved away at any
//! time.

use crate::transport::Peer;
use log::{Level, Record};
use proximity_proto::{object::PrincipalKind, reply::millis};
use proximity_session::{Holder, Uptime};
use serde_json::json;
use std::{
    fs::OpenOptions,
    io::{self, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

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

/// Where it is kept, but for the log.
pub(crate) struct Audit {
    pub(crate) file: Option<PathBuf>,
}

impl Audit {
    /// Writes down that something is asked for, where that must be before it is done.
    ///
    /// # Errors
    ///
    /// The file, and why it does not take a line.
    pub(crate) fn ask(
        &self,
        entry: &Entry<'_>,
        peer: &Peer,
        now: Uptime,
    ) -> Result<(), (&Path, io::Error)> {
        let Some(file) = &self.file else { return Ok(()) };
        append(file, &line(entry, peer, wall(), now, "asked")).map_err(|error| (&**file, error))
    }

    /// Writes down who did it, when, and what came of it, which is the reason where it was refused.
    pub(crate) fn write(
        &self,
        entry: &Entry<'_>,
        peer: &Peer,
        now: Uptime,
        outcome: Result<(), &str>,
    ) {
        let line = line(entry, peer, wall(), now, outcome.err().unwrap_or("ok"));
        if let Some(file) = &self.file
            && let Err(error) = append(file, &line)
        {
            log::error!("the audit in {} lacks a line: {error}", file.display());
        }
        log_line(&line);
    }
}

/// One write, so that no line of another program gets between.
fn append(file: &Path, line: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(file)?;
    file.write_all(format!("{line}\n").as_bytes())
}

/// Wall time, for people: nothing is decided by it.
fn wall() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn log_line(line: &str) {
    // Past log::info!, which asks for the level.
    let record = format_args!("{line}");
    log::logger().log(&Record::builder().level(Level::Info).target(TARGET).args(record).build());
}

fn line(entry: &Entry<'_>, peer: &Peer, wall: f64, now: Uptime, outcome: &str) -> String {
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
        "outcome": outcome,
    });
    line.to_string()
}
