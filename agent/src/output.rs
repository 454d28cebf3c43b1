//! Lines for people, for scripts and for journald.

use log::{Level, Record};
use serde_json::json;
use std::{
    env,
    fmt::Write as _,
    fs::File,
    io::{self, Write},
    os::{fd::AsFd, unix::fs::MetadataExt},
    time::SystemTime,
};

/// Writes to standard output. That nobody reads it, because a pipe was closed, is no failure.
pub(crate) fn say(text: &str) {
    let mut out = io::stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes to standard error what has to be told before there is a log.
pub(crate) fn complain(text: &str) {
    let text = if is_journal() { prefixed(Level::Error, text) } else { text.to_owned() };
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Whether standard error goes to journald.
///
/// systemd tells the device and inode of what it made of it; the variable alone would be inherited by
/// whatever a service starts with its output sent elsewhere.
pub(crate) fn is_journal() -> bool {
    let stderr = || File::from(io::stderr().as_fd().try_clone_to_owned()?).metadata();
    let stream = stderr().map(|file| format!("{}:{}", file.dev(), file.ino()));
    stream.is_ok_and(|stream| env::var("JOURNAL_STREAM").is_ok_and(|told| told == stream))
}

/// The lines for a record of the log: an object of JSON, or its text; each behind the priority that
/// journald reads there, if it does.
pub(crate) fn line(record: &Record<'_>, json: bool, journal: bool) -> String {
    let message = record.args().to_string();
    let text = if json {
        let line = json!({
            "time": humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            "level": record.level().as_str().to_ascii_lowercase(),
            "target": record.target(),
            "message": message,
        });
        line.to_string()
    } else {
        message
    };
    if journal { prefixed(record.level(), &text) } else { text + "\n" }
}

/// The lines of `text`, each behind the priority that journald reads there.
pub(crate) fn prefixed(level: Level, text: &str) -> String {
    let priority = match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    };
    let mut lines = String::new();
    for line in text.lines() {
        // Writing to a String does not fail.
        let _ = writeln!(lines, "<{priority}>{line}");
    }
    lines
}
