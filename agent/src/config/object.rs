//! The tables `[objects.NAME]`.

use super::{
    ObjectConfig, bounds,
    read::{Placed, Reader, value_span},
};
use crate::access::{Filter, Pattern};
use proximity_drivers::{KINDS, Kind, settings::Settings};
use proximity_proto::{fault::did_you_mean, limits::MAX_NAME};
use proximity_session::Legacy;
use std::ops::Range;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// The keys of an object that its driver does not see.
pub(super) const KEYS: [&str; 4] = ["driver", "expose", "hide", "legacy"];

/// The keys that stand above all tables: below a header they would be that table's.
const FILE_KEYS: [&str; 10] = [
    "listen",
    "plaintext",
    "max_frame",
    "queue",
    "max_inflight",
    "max_unread",
    "max_unread_all",
    "connections",
    "log",
    "audit",
];

/// Told with a pattern that is wrong.
const PATTERN_HINT: &str =
    "a pattern is a regular expression for whole names: read.* is read, read_uint and so on";

/// A table of the file that describes an object.
struct Entry<'t, 'i> {
    name: String,
    /// Where its name stands.
    span: Range<usize>,
    table: &'t DeTable<'i>,
}

/// Reads all objects in the order in which they stand in the file.
///
/// `legacy` is for those that say nothing of it.
pub(super) fn read_all(
    reader: &mut Reader<'_>,
    tables: &DeTable<'_>,
    legacy: Legacy,
) -> Vec<ObjectConfig> {
    let mut entries = Vec::new();
    gather(reader, "", tables, &mut entries);
    entries.sort_by_key(|entry| entry.span.start);
    for (index, entry) in entries.iter().enumerate() {
        if let Some(first) = entries.iter().take(index).find(|first| first.name == entry.name) {
            let (line, _) = reader.source.place(first.span.start);
            let message = format!(
                "two objects are called '{}'; one stands in line {line} already",
                entry.name
            );
            reader.mistake(entry.span.clone(), message, None);
        }
    }
    entries.iter().filter_map(|entry| read(reader, entry, legacy)).collect()
}

/// Finds the objects in `tables`, whose names all start with `prefix`.
///
/// A table without a driver that holds nothing but tables is no object but the first part of names:
/// `[objects.animals.angry]` is the same object as `[objects."animals.angry"]`.
fn gather<'t, 'i>(
    reader: &mut Reader<'_>,
    prefix: &str,
    tables: &'t DeTable<'i>,
    entries: &mut Vec<Entry<'t, 'i>>,
) {
    for (key, value) in tables {
        let name = format!("{prefix}{}", key.get_ref());
        let DeValue::Table(table) = value.get_ref() else {
            let message = format!("the object '{name}' must be a table");
            let hint = format!("write [objects.{name}], and its keys below");
            reader.mistake(key.span(), message, Some(&hint));
            continue;
        };
        let group = !table.is_empty() && table.values().all(|value| value.get_ref().is_table());
        if group {
            gather(reader, &format!("{name}."), table, entries);
        } else {
            entries.push(Entry { name, span: key.span(), table });
        }
    }
}

/// Reads one object; `None` if it is wrong, which is noted.
fn read(reader: &mut Reader<'_>, entry: &Entry<'_, '_>, legacy: Legacy) -> Option<ObjectConfig> {
    let Entry { name, span, table } = entry;
    if let Some(message) = wrong_name(name) {
        reader.mistake(span.clone(), message, None);
    }
    let mut own = reader.plain_table(table, "");
    let mut fingerprinted = own.clone();
    // It changes nothing for whoever goes on.
    fingerprinted.remove("legacy");
    // Not as TOML: what was read of a wrong date cannot be written, and panics.
    let fingerprint = format!("{fingerprinted:?}");
    reader.refuse_keys_and_roles(&mut own, table);
    let mut settings = Settings::new(&own, &KEYS).of(name);
    let expose = reader.list::<Pattern>(&mut settings, table, "expose", Some(PATTERN_HINT));
    let hide = reader.list::<Pattern>(&mut settings, table, "hide", Some(PATTERN_HINT));
    let legacy = bounds::legacy(&mut settings).unwrap_or(legacy);
    let kind = kind(reader, &mut settings, entry);
    let opener = kind.map(|kind| (kind.configure)(&mut settings));
    let mut mistakes = settings.finish();
    if kind.is_none() {
        // Which keys there are is the driver's to say.
        mistakes.retain(|mistake| !mistake.unknown);
    }
    let sound = mistakes.is_empty();
    reader.mistakes(mistakes, table, span.clone(), |key| misplaced(name, table, key));
    let (Some(kind), Some(opener), Ok(expose), Ok(hide), true) =
        (kind, opener, expose, hide, sound)
    else {
        return None;
    };
    let placed = expose.iter().chain(&hide).flatten().cloned().collect::<Vec<_>>();
    let bare = |list: Vec<Placed<Pattern>>| list.into_iter().map(|(_, pattern)| pattern).collect();
    let filter = Filter::new(expose.map(bare), hide.map(bare).unwrap_or_default());
    let (name, kind_name) = (name.clone(), kind.name);
    let object = ObjectConfig { name, kind: kind_name, opener, filter, legacy, fingerprint };
    if reader.open
        && kind.tried_by_check
        && (table.contains_key("expose") || table.contains_key("hide"))
    {
        try_patterns(reader, &object, &placed, span);
    }
    Some(object)
}

/// The object's driver.
fn kind(
    reader: &mut Reader<'_>,
    settings: &mut Settings<'_>,
    entry: &Entry<'_, '_>,
) -> Option<&'static Kind> {
    let there_are = || KINDS.iter().map(|kind| kind.name).collect::<Vec<_>>().join(", ");
    if !entry.table.contains_key("driver") {
        let keys = entry.table.keys().map(|key| key.get_ref().as_ref());
        let hint = match did_you_mean("driver", keys) {
            Some(key) => format!("did you mean driver where you wrote '{key}'?"),
            None => format!("write driver = \"...\" with one of: {}", there_are()),
        };
        let message = format!("the object '{}' has no driver", entry.name);
        reader.mistake(entry.span.clone(), message, Some(&hint));
        return None;
    }
    let name = settings.text("driver")?;
    let kind = proximity_drivers::kind(name);
    if kind.is_none() {
        let meant = did_you_mean(name, KINDS.iter().map(|kind| kind.name))
            .map_or_else(String::new, |meant| format!("; did you mean '{meant}'?"));
        let hint = format!("there are: {}", there_are());
        let message = format!("there is no driver '{name}'{meant}");
        reader.mistake(value_span(entry.table, "driver"), message, Some(&hint));
    }
    kind
}

/// Warns of patterns that match nothing that the object has.
///
/// Only for `check`: it opens the object. An opener touches no device; the first call does.
fn try_patterns(
    reader: &mut Reader<'_>,
    object: &ObjectConfig,
    patterns: &[Placed<Pattern>],
    span: &Range<usize>,
) {
    let name = &object.name;
    let interface = match (object.opener)() {
        Ok(opened) => opened.interface(),
        Err(fault) => {
            let message = format!("the patterns of '{name}' could not be tried: {fault}");
            return reader.warning(span.clone(), message, None);
        }
    };
    let methods = interface.methods.iter().map(|method| method.name.as_str());
    let attributes = interface.attributes.iter().map(|attribute| attribute.name.as_str());
    let names: Vec<&str> = methods.chain(attributes).collect();
    for (span, pattern) in patterns {
        if !names.iter().any(|name| pattern.matches(name)) {
            let message = format!("'{}' matches nothing that '{name}' has", pattern.as_str());
            let hint = format!("it has: {}", names.join(", "));
            reader.warning(span.clone(), message, Some(&hint));
        }
    }
    if !names.iter().any(|name| object.filter.allows(name)) {
        let message = format!("'expose' and 'hide' leave nothing of '{name}' to be used");
        reader.warning(span.clone(), message, None);
    }
}

/// What a key that the driver of the object `name` does not know was most likely meant for.
fn misplaced(name: &str, table: &DeTable<'_>, key: &str) -> Option<String> {
    if FILE_KEYS.contains(&key) {
        return Some(format!("'{key}' is the agent's: it stands above the first [table]"));
    }
    match table.get(key).map(Spanned::get_ref) {
        Some(DeValue::Table(inner)) if inner.contains_key("driver") => {
            Some(format!("for another object write [objects.\"{name}.{key}\"]"))
        }
        _ => None,
    }
}

/// What is wrong with an object's name.
fn wrong_name(name: &str) -> Option<String> {
    if name.len() > MAX_NAME {
        let given = name.len();
        return Some(format!("the name of an object has {given} bytes; it may have {MAX_NAME}"));
    }
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
    };
    if name.split('.').all(part) {
        return None;
    }
    Some(format!(
        "'{name}' is no name for an object; its parts between dots start with a letter or digit \
         and have letters, digits, _ and - only"
    ))
}
