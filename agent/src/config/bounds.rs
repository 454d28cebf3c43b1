//! What one client may have of the agent, and all of them together.

use crate::transport;
use proximity_drivers::settings::{Settings, kind_of};
use proximity_proto::limits::{Limits, MAX_FRAME, MIN_FRAME};
use proximity_session::{Budget, Legacy};
use std::ops::RangeInclusive;
use toml::Value;

/// What an agent may be loaded with; beyond it a call is refused, with a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Calls of a connection that have come and not been answered.
    pub max_inflight: usize,
    /// Bytes of large replies that a connection may leave unread.
    pub max_unread: usize,
    /// The same for all connections together.
    pub max_unread_all: usize,
    /// Connections that are served.
    pub connections: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { max_inflight: 64, max_unread: 32 << 20, max_unread_all: 64 << 20, connections: 512 }
    }
}

impl Bounds {
    /// Those that the session holds.
    pub(crate) fn budget(&self) -> Budget {
        Budget {
            in_flight: self.max_inflight,
            unread_bytes: self.max_unread,
            all_unread_bytes: self.max_unread_all,
            counted_from: transport::LENT,
        }
    }

    /// The file's.
    pub(super) fn read(settings: &mut Settings<'_>) -> Self {
        let default = Self::default();
        let sizes = MIN_FRAME..=MAX_FRAME;
        Self {
            max_inflight: number(settings, "max_inflight", 1..=4096, default.max_inflight),
            max_unread: size(settings, "max_unread", sizes.clone(), default.max_unread),
            max_unread_all: size(settings, "max_unread_all", sizes, default.max_unread_all),
            connections: number(settings, "connections", 1..=100_000, default.connections),
        }
    }
}

/// Bytes of the largest request and reply.
pub(super) fn max_frame(settings: &mut Settings<'_>) -> usize {
    size(settings, "max_frame", MIN_FRAME..=MAX_FRAME, Limits::default().max_frame)
}

/// What old clients may do, if it is told.
pub(super) fn legacy(settings: &mut Settings<'_>) -> Option<Legacy> {
    let word = settings.text("legacy")?;
    let known = [Legacy::ReadWrite, Legacy::ReadOnly, Legacy::Off];
    let legacy = known.into_iter().find(|&legacy| legacy_word(legacy) == word);
    if legacy.is_none() {
        settings.refuse("legacy", format!("'legacy' is \"{word}\"; it must be rw, ro or off"));
    }
    legacy
}

/// The word in the file.
pub fn legacy_word(legacy: Legacy) -> &'static str {
    match legacy {
        Legacy::ReadWrite => "rw",
        Legacy::ReadOnly => "ro",
        Legacy::Off => "off",
    }
}

/// A whole number.
pub(super) fn number(
    settings: &mut Settings<'_>,
    key: &'static str,
    range: RangeInclusive<i64>,
    default: usize,
) -> usize {
    let given = settings.int_in(key, range);
    given.and_then(|number| usize::try_from(number).ok()).unwrap_or(default)
}

/// Bytes: a number, or a text with a unit.
fn size(
    settings: &mut Settings<'_>,
    key: &'static str,
    range: RangeInclusive<usize>,
    default: usize,
) -> usize {
    let Some(given) = settings.any(key) else { return default };
    let bytes = match given {
        Value::Integer(bytes) => usize::try_from(*bytes).ok(),
        Value::String(text) => parse_size(text),
        _ => None,
    };
    let message = match (bytes, given) {
        (Some(bytes), _) if range.contains(&bytes) => return bytes,
        (Some(_), _) | (None, Value::Integer(_)) => {
            format!("'{key}' is {given}; it must be 64 KiB to 1 GiB")
        }
        _ => {
            let given = match given {
                Value::String(text) => format!("\"{text}\""),
                other => kind_of(other).to_owned(),
            };
            format!("'{key}' must be a number of bytes, or a text like \"32 MiB\", not {given}")
        }
    };
    settings.refuse(key, message);
    default
}

/// The bytes in a text like `32 MiB`.
fn parse_size(text: &str) -> Option<usize> {
    let (number, unit) = text.trim().split_at_checked(text.find(|c: char| !c.is_ascii_digit())?)?;
    let factor = match unit.trim() {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(factor)
}
