//! What `proximity-agent check` prints.

use crate::output::{complain, say};
use proximity_agent::config::{self, Bounds, Config, Finding, Findings, Loaded, legacy_word};
use serde_json::{Value, json};
use std::{fmt::Write, path::Path};

/// Prints what is in `file`, or what is wrong with it. Returns whether it can be used.
pub(crate) fn run(file: &Path, for_programs: bool) -> bool {
    let loaded = config::check(file);
    let name = file.display().to_string();
    match &loaded {
        _ if for_programs => say(&json(&name, &loaded)),
        Ok((config, warnings)) => say(&text(&name, config, warnings)),
        Err(found) => complain(&mistakes(&name, found)),
    }
    loaded.is_ok()
}

/// The configuration in lines for a person, with what is most likely not meant.
fn text(file: &str, config: &Config, warnings: &[Finding]) -> String {
    let objects = count(config.objects.len(), "object");
    let mut out = format!("{file}: {objects}, {}\n\n", count(warnings.len(), "warning"));
    // Writing to a String does not fail.
    let _ = settings(&mut out, config).and_then(|()| objects_of(&mut out, config));
    for warning in warnings {
        let _ = writeln!(out, "\nwarning: {warning}");
    }
    out
}

/// All that keeps a file from being used, in lines for a person.
pub(crate) fn mistakes(file: &str, found: &Findings) -> String {
    let mut out = String::new();
    for mistake in &found.mistakes {
        let _ = writeln!(out, "{mistake}\n");
    }
    for warning in &found.warnings {
        let _ = writeln!(out, "warning: {warning}\n");
    }
    let _ = writeln!(out, "{file}: {}", count(found.mistakes.len(), "mistake"));
    out
}

/// The same for programs.
fn json(file: &str, loaded: &Loaded) -> String {
    let answer = match loaded {
        Ok((config, warnings)) => json!({
            "file": file,
            "ok": true,
            "listen": config.listen.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "plaintext": config.plaintext.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "max_frame": config.limits.max_frame,
            "queue": config.queue,
            "max_inflight": config.bounds.max_inflight,
            "max_unread": config.bounds.max_unread,
            "max_unread_all": config.bounds.max_unread_all,
            "connections": config.bounds.connections,
            "legacy": legacy_word(config.legacy),
            "log": level(config),
            "audit": config.audit,
            "objects": config.objects.iter().map(|object| json!({
                "name": object.name,
                "driver": object.kind,
                "legacy": legacy_word(object.legacy),
            })).collect::<Vec<_>>(),
            "mistakes": [],
            "warnings": findings(warnings),
        }),
        Err(found) => json!({
            "file": file,
            "ok": false,
            "mistakes": findings(&found.mistakes),
            "warnings": findings(&found.warnings),
        }),
    };
    format!("{answer}\n")
}

fn findings(list: &[Finding]) -> Vec<Value> {
    let value = |finding: &Finding| {
        let (line, column) = finding.place.unzip();
        json!({
            "line": line,
            "column": column,
            "message": finding.message,
            "hint": finding.hint,
        })
    };
    list.iter().map(value).collect()
}

fn settings(out: &mut String, config: &Config) -> std::fmt::Result {
    let width = config.listen.iter().map(|endpoint| endpoint.to_string().len()).max();
    let width = width.unwrap_or_default();
    for (index, endpoint) in config.listen.iter().enumerate() {
        let key = if index == 0 { "listen" } else { "" };
        let who = if endpoint.is_local() { "this machine only" } else { "other machines too" };
        writeln!(out, "{key:<10} {:<width$}  {who}", endpoint.to_string())?;
    }
    for (index, network) in config.plaintext.iter().enumerate() {
        let key = if index == 0 { "plaintext" } else { "" };
        writeln!(out, "{key:<10} {network}")?;
    }
    writeln!(out, "{:<10} {}", "max_frame", size(config.limits.max_frame))?;
    writeln!(out, "{:<10} {} an object", "queue", count(config.queue, "call"))?;
    let Bounds { max_inflight, max_unread, max_unread_all, connections } = config.bounds;
    let (inflight, unread) = (count(max_inflight, "call"), size(max_unread));
    writeln!(out, "{:<10} {inflight} and {unread} unread for each client", "limits")?;
    let (clients, unread) = (count(connections, "connection"), size(max_unread_all));
    writeln!(out, "{:<10} {clients}, {unread} unread in all", "")?;
    writeln!(out, "{:<10} {}", "legacy", legacy_word(config.legacy))?;
    writeln!(out, "{:<10} {}", "log", level(config))?;
    match &config.audit {
        Some(path) => writeln!(out, "{:<10} {}", "audit", path.display()),
        None => Ok(()),
    }
}

fn objects_of(out: &mut String, config: &Config) -> std::fmt::Result {
    let names = config.objects.iter().map(|object| object.name.len()).max().unwrap_or_default();
    let kinds = config.objects.iter().map(|object| object.kind.len()).max().unwrap_or_default();
    if !config.objects.is_empty() {
        writeln!(out, "\nobjects")?;
    }
    for object in &config.objects {
        let summary = proximity_drivers::kind(object.kind).map(|kind| kind.summary);
        let summary = summary.unwrap_or_default();
        write!(out, "  {:<names$}  {:<kinds$}  {summary}", object.name, object.kind)?;
        if object.legacy != config.legacy {
            write!(out, " (legacy: {})", legacy_word(object.legacy))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// The word of `log`.
fn level(config: &Config) -> String {
    config.log.as_str().to_ascii_lowercase()
}

/// Bytes in the largest unit that needs no fraction.
fn size(bytes: usize) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let fits = units.into_iter().find(|(unit, _)| bytes.is_multiple_of(*unit));
    fits.map_or_else(|| format!("{bytes} B"), |(unit, name)| format!("{} {name}", bytes / unit))
}

fn count(number: usize, noun: &str) -> String {
    match number {
        0 => format!("no {noun}s"),
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}
