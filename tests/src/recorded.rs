//! The original's recorded messages, `tests/golden/wire.json`.

use proximity_proto::{
    limits::Limits,
    value::{Value, check},
};
use serde_json::Value as Json;
use std::path::PathBuf;

/// A request that an original client sent, and what its server answered.
pub struct Pair {
    /// What it shows.
    pub case: String,
    /// Which Python and which msgpack.
    pub dialect: String,
    /// The request's bytes.
    pub request: Vec<u8>,
    /// The answer.
    pub answer: Answer,
}

/// A recorded answer.
pub enum Answer {
    /// The reply's bytes.
    Reply(Vec<u8>),
    /// An exception's class and message.
    Exception(String, String),
}

/// The directory of recorded and agreed bytes.
pub fn golden() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// All recorded pairs.
///
/// # Panics
///
/// If the file is not what it was.
pub fn pairs() -> Vec<Pair> {
    let text = std::fs::read_to_string(golden().join("wire.json")).expect("the file is there");
    // Python writes bytes that are no text as lone surrogates, which are no JSON; nothing here needs them.
    let json: Json =
        serde_json::from_str(&text.replace("\\udc", "?udc")).expect("the file is JSON");
    let pairs = json["pairs"].as_array().expect("pairs");
    pairs.iter().map(pair).collect()
}

fn pair(pair: &Json) -> Pair {
    let text = |json: &Json| {
        json.as_str()
            .or_else(|| json.as_object()?.values().next()?.as_str())
            .map(String::from)
            .expect("text")
    };
    let answer = match pair.get("reply_hex") {
        Some(reply) => Answer::Reply(hex(&text(reply))),
        None => Answer::Exception(
            text(&pair["reply"]["exception_class"]),
            text(&pair["reply"]["exception_message"]),
        ),
    };
    Pair {
        case: text(&pair["case"]),
        dialect: text(&pair["dialect"]),
        request: hex(&text(&pair["request_hex"])),
        answer,
    }
}

/// The bytes that hexadecimal digits stand for.
///
/// # Panics
///
/// If they are none.
pub fn hex(digits: &str) -> Vec<u8> {
    (0..digits.len())
        .step_by(2)
        .map(|place| u8::from_str_radix(&digits[place..place + 2], 16).expect("two digits"))
        .collect()
}

/// Whether two values are the same to every client: text and bytes are one, numbers go by value, the
/// entries of a map by key.
pub fn same(left: Value<'_>, right: Value<'_>) -> bool {
    match (left, right) {
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right.iter()).all(|(l, r)| same(l, r))
        }
        (Value::Map(left), Value::Map(right)) => {
            let found = |key: Value<'_>, value: Value<'_>| {
                right.iter().any(|(k, v)| same(k, key) && same(v, value))
            };
            left.len() == right.len() && left.iter().all(|(key, value)| found(key, value))
        }
        (Value::Float(left), Value::Float(right)) => left.to_bits() == right.to_bits(),
        _ => match (left.as_bytes(), right.as_bytes()) {
            (Some(left), Some(right)) => left == right,
            _ => left == right,
        },
    }
}

/// Why `bytes` is not in the one form that every client decodes, if it is not.
///
/// Checked byte by byte, apart from the code that writes replies.
#[allow(
    clippy::match_same_arms,
    reason = "a line for each form, in the order of the specification"
)]
pub fn odd_form(bytes: &[u8]) -> Option<String> {
    if let Err(error) = check(bytes, &Limits::default()) {
        return Some(error.to_string());
    }
    let mut rest = bytes;
    while let Some((&head, behind)) = rest.split_first() {
        let number = |width: usize| {
            behind.iter().take(width).fold(0u64, |number, byte| number << 8 | u64::from(*byte))
        };
        // Bytes that follow the head, and the least number or length that needs this form.
        let (skip, least, value) = match head {
            0x00..=0x9f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => (0, 0, 0),
            0xa0..=0xbf => (usize::from(head & 0x1f), 0, 0),
            0xcb => (8, 0, 0),
            0xc4 => (1 + len(number(1)), 0, number(1)),
            0xc5 => (2 + len(number(2)), 1 << 8, number(2)),
            0xc6 => (4 + len(number(4)), 1 << 16, number(4)),
            0xda => (2 + len(number(2)), 32, number(2)),
            0xdb => (4 + len(number(4)), 1 << 16, number(4)),
            0xcc => (1, 1 << 7, number(1)),
            0xcd => (2, 1 << 8, number(2)),
            0xce => (4, 1 << 16, number(4)),
            0xcf => (8, 1 << 32, number(8)),
            0xdc => (2, 16, number(2)),
            0xdd => (4, 1 << 16, number(4)),
            0xde => (2, 16, number(2)),
            0xdf => (4, 1 << 16, number(4)),
            // Signed forms carry negative numbers only, and the smallest form that holds them.
            0xd0..=0xd3 => {
                let width = 1 << (head - 0xd0);
                let value = signed(number(width), width);
                let narrower = [
                    i64::from(-32i8),
                    i64::from(i8::MIN),
                    i64::from(i16::MIN),
                    i64::from(i32::MIN),
                ][usize::from(head - 0xd0)];
                if value >= narrower {
                    return Some(format!("{value} in the form {head:#04x}"));
                }
                (width, 0, 0)
            }
            _ => return Some(format!("the form {head:#04x}, which not every client knows")),
        };
        if value < least {
            return Some(format!("{value} in the form {head:#04x}"));
        }
        rest = behind.get(skip..)?;
    }
    None
}

fn len(number: u64) -> usize {
    usize::try_from(number).expect("a length fits")
}

fn signed(number: u64, width: usize) -> i64 {
    let shift = 64 - 8 * width;
    (number << shift).cast_signed() >> shift
}
