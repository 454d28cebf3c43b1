//! The JSON dialect: the same requests and replies for clients without MessagePack.
//!
//! A request in JSON is turned into MessagePack as it is read, and its reply back, so that everything
//! behind the socket knows one codec. Bytes are `{"__bytes__": "base64"}`, numbers that JSON lacks
//! `{"__float__": "nan"}`, `"inf"` and `"-inf"`.

use crate::{
    call::BadCall,
    fault::Fault,
    limits::{Limits, MAX_DEPTH, MAX_NAME},
    reply,
    value::{DecodeError, DecodeErrorKind, Value, check},
};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use core::fmt;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// The key of bytes.
const BYTES: &str = "__bytes__";
/// The key of a number that JSON has no form for.
const FLOAT: &str = "__float__";

/// Text that is no request in the JSON dialect, or a reply that has no form in it.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// It is no JSON, or beyond the limits.
    #[error("not a request in JSON: {0}")]
    Syntax(String),
    /// The reply is no MessagePack.
    #[error("the reply cannot be told in JSON")]
    NoForm(#[source] crate::value::DecodeError),
}

/// Turns a request in JSON into MessagePack, for [`Call::parse`](crate::call::Call::parse) to read; `out` is cleared before.
///
/// # Errors
///
/// [`BadCall`]: `ValueError` for text that is no JSON, or beyond `limits`. It has the version and the id that
/// stand before the offence, as if the request had come in MessagePack.
pub fn request(text: &[u8], limits: &Limits, out: &mut Vec<u8>) -> Result<(), BadCall> {
    out.clear();
    let read = to_messagepack(text, limits, out);
    let (len, max) = (text.len(), limits.max_frame);
    if len > max {
        // Told so even if it is no longer in MessagePack: its sender knows it as it was sent.
        let error = DecodeError { kind: DecodeErrorKind::TooLong { len, max }, position: max };
        return Err(BadCall::no_message(out, &error));
    }
    read.map_err(|error| BadCall::broken(out, Fault::from_error("ValueError", &error)))
}

/// Turns JSON text into MessagePack, appended to `out`.
///
/// Builds nothing in between, so that memory stays in proportion to the text; depth and number of
/// values are bounded as everywhere. Where the text breaks off, or is refused, `out` holds what came before: of
/// a map those keys whose values were whole.
///
/// # Errors
///
/// [`JsonError::Syntax`] with line and column.
pub fn to_messagepack(text: &[u8], limits: &Limits, out: &mut Vec<u8>) -> Result<(), JsonError> {
    let mut items = limits.max_items;
    // A buffer that doubled would be there one and a half times while it is copied.
    out.reserve(room(text)?);
    let mut parser = serde_json::Deserializer::from_slice(text);
    Writer { out, items: &mut items, depth: 0 }
        .deserialize(&mut parser)
        .and_then(|()| parser.end())
        .map_err(|error| JsonError::Syntax(error.to_string()))
}

/// Digits in a row that a number may have. `serde_json` keeps the text of a long one while it reads it, beside all
/// else; a float's exact value has 767 at most.
const MAX_DIGITS: usize = 1000;

/// How many bytes the MessagePack of `text` has at most.
///
/// Text in quotes gets no longer. Of the rest `[]` and `1e1` grow most, to 5 and 9 bytes. Brackets that nothing
/// closes are as deep as is taken, at most.
fn room(text: &[u8]) -> Result<usize, JsonError> {
    let (mut quoted, mut escaped, mut count) = (false, false, 0);
    let mut digits = 0;
    for (place, &byte) in text.iter().enumerate() {
        count += usize::from(quoted);
        digits = if byte.is_ascii_digit() && !quoted { digits + 1 } else { 0 };
        if digits > MAX_DIGITS {
            return Err(JsonError::Syntax(format!(
                "a number of more than {MAX_DIGITS} digits (at byte {place})"
            )));
        }
        if escaped {
            escaped = false;
        } else if byte == b'"' {
            quoted = !quoted;
        } else {
            escaped = quoted && byte == b'\\';
        }
    }
    Ok(count + 3 * (text.len() - count) + 5 * MAX_DEPTH)
}

/// Turns a whole MessagePack value into JSON text.
///
/// # Errors
///
/// [`JsonError::NoForm`] where the bytes are no sound value.
pub fn from_messagepack(bytes: &[u8]) -> Result<Vec<u8>, JsonError> {
    // What goes out is bounded by its sender, not by what is taken in; only depth must hold.
    let limits = Limits { max_frame: usize::MAX, max_items: u32::MAX };
    check(bytes, &limits).map_err(JsonError::NoForm)?;
    let value = Value::first(bytes).unwrap_or(Value::Nil);
    Ok(self::value(value).to_string().into_bytes())
}

/// A value in the JSON dialect.
pub fn value(value: Value<'_>) -> serde_json::Value {
    use serde_json::{Value as Json, json};
    match value {
        Value::Nil => Json::Null,
        Value::Bool(truth) => Json::Bool(truth),
        Value::Uint(number) => number.into(),
        Value::Int(number) => number.into(),
        Value::Float(number) => serde_json::Number::from_f64(number)
            .map_or_else(|| json!({ FLOAT: odd_float(number) }), Json::Number),
        Value::Text(text) => text.into(),
        Value::Bytes(bytes) => json!({ BYTES: STANDARD.encode(bytes) }),
        Value::Array(array) => array.iter().map(self::value).collect(),
        Value::Map(map) => {
            map.iter().map(|(key, item)| (key_text(key), self::value(item))).collect()
        }
    }
}

fn odd_float(number: f64) -> &'static str {
    if number.is_nan() {
        "nan"
    } else if number > 0.0 {
        "inf"
    } else {
        "-inf"
    }
}

fn key_text(key: Value<'_>) -> String {
    key.as_text().map_or_else(|| format!("{key:?}"), String::from)
}

/// Writes what a JSON parser tells as MessagePack.
struct Writer<'w> {
    out: &'w mut Vec<u8>,
    /// Values that may still come.
    items: &'w mut u32,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Writer<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        *self.items = self
            .items
            .checked_sub(1)
            .ok_or_else(|| D::Error::custom("the message has too many values"))?;
        deserializer.deserialize_any(self)
    }
}

impl Writer<'_> {
    /// The same, for a value inside this one.
    fn inner(&mut self) -> Writer<'_> {
        Writer { out: self.out, items: self.items, depth: self.depth + 1 }
    }

    fn descend<E: serde::de::Error>(&self) -> Result<(), E> {
        if self.depth < MAX_DEPTH {
            Ok(())
        } else {
            Err(E::custom(format_args!("arrays and maps nest deeper than {MAX_DEPTH}")))
        }
    }

    /// Writes a head whose count is not known yet; returns where [`Writer::count`] puts it.
    fn open(&mut self, marker: u8) -> usize {
        self.out.push(marker);
        self.out.extend_from_slice(&[0; 4]);
        self.out.len()
    }

    fn count(&mut self, end: usize, count: u32) {
        if let Some(place) = self.out.get_mut(end - 4..end) {
            place.copy_from_slice(&count.to_be_bytes());
        }
    }
}

/// Writes what a map with the single key `mark` stands for, from its text.
struct Marked<'w> {
    out: &'w mut Vec<u8>,
    mark: &'static str,
}

impl<'de> DeserializeSeed<'de> for Marked<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Marked<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        if self.mark == BYTES {
            let bytes = STANDARD
                .decode(text)
                .map_err(|error| E::custom(format_args!("'{BYTES}' is no base64: {error}")))?;
            reply::bytes(self.out, &bytes);
            return Ok(());
        }
        let number = match text {
            "nan" => f64::NAN,
            "inf" => f64::INFINITY,
            "-inf" => f64::NEG_INFINITY,
            _ if text.len() <= MAX_NAME => {
                return Err(E::custom(format_args!(
                    "'{FLOAT}' is '{text}'; it must be nan, inf or -inf"
                )));
            }
            // As long as the request: no sender is to have that told back.
            _ => return Err(E::custom(format_args!("'{FLOAT}' must be nan, inf or -inf"))),
        };
        reply::value(self.out, Value::Float(number));
        Ok(())
    }
}

impl<'de> Visitor<'de> for Writer<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        reply::value(self.out, Value::Nil);
        Ok(())
    }

    fn visit_bool<E>(self, truth: bool) -> Result<(), E> {
        reply::value(self.out, Value::Bool(truth));
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        reply::uint(self.out, number);
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        reply::int(self.out, number);
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        reply::value(self.out, Value::Float(number));
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        reply::text(self.out, text);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        self.descend()?;
        let end = self.open(0xdd);
        let mut count = 0;
        while list.next_element_seed(self.inner())?.is_some() {
            count += 1;
        }
        self.count(end, count);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        self.descend()?;
        let end = self.open(0xdf);
        let mut count = 0;
        while let Some(key) = map.next_key::<alloc::borrow::Cow<'_, str>>()? {
            let mark = [BYTES, FLOAT].into_iter().find(|&mark| count == 0 && key == mark);
            if let Some(mark) = mark {
                self.out.truncate(end - 5);
                map.next_value_seed(Marked { out: self.out, mark })?;
                if map.next_key::<alloc::borrow::Cow<'_, str>>()?.is_some() {
                    return Err(A::Error::custom(format_args!("'{key}' must be the only key")));
                }
                return Ok(());
            }
            *self.items = self
                .items
                .checked_sub(1)
                .ok_or_else(|| A::Error::custom("the message has too many values"))?;
            reply::text(self.out, &key);
            map.next_value_seed(self.inner())?;
            count += 1;
            // Each time, for the next one may break off.
            self.count(end, count);
        }
        Ok(())
    }
}
