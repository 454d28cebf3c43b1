//! The bodies.

pub(crate) mod config;
pub(crate) mod gateware;
pub(crate) mod json;
pub(crate) mod katcp;
pub(crate) mod message;
pub(crate) mod request;

use proximity_proto::Value;
use std::hash::{DefaultHasher, Hash, Hasher};

/// A number for what became of an input.
fn outcome(of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// A number that stays the same while a count about doubles.
fn magnitude(count: usize) -> u32 {
    count.checked_ilog2().map_or(0, |log| log + 1)
}

/// Goes through a whole value. Returns how many there are in it.
fn walk(value: Value<'_>) -> usize {
    match value {
        Value::Array(array) => {
            let items: Vec<_> = array.iter().collect();
            assert_eq!(items.len(), array.len(), "an array has as many values as it says");
            1 + items.into_iter().map(walk).sum::<usize>()
        }
        Value::Map(map) => {
            let entries: Vec<_> = map.iter().collect();
            assert_eq!(entries.len(), map.len(), "a map has as many entries as it says");
            1 + entries.into_iter().map(|(key, item)| walk(key) + walk(item)).sum::<usize>()
        }
        _ => 1,
    }
}

/// Whether two values are the same: text and bytes are one, and a NaN is itself.
fn alike(left: Value<'_>, right: Value<'_>) -> bool {
    match (left, right) {
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right.iter()).all(|(l, r)| alike(l, r))
        }
        (Value::Map(left), Value::Map(right)) => {
            let entries = left.iter().zip(right.iter());
            left.len() == right.len()
                && entries
                    .into_iter()
                    .all(|((k, v), (key, value))| alike(k, key) && alike(v, value))
        }
        (Value::Float(left), Value::Float(right)) => {
            left.to_bits() == right.to_bits() || (left.is_nan() && right.is_nan())
        }
        _ => match (left.as_bytes(), right.as_bytes()) {
            (Some(left), Some(right)) => left == right,
            _ => left == right,
        },
    }
}
