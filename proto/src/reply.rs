//! Replies: values and envelopes, written in the one form that every client decodes.
//!
//! The form (docs/wire.md tells why): text as fixstr, str16 or str32 and never str8; bytes as bin;
//! whole numbers in their smallest form, unsigned where not negative; floats as f64; map keys are text.

use crate::{
    arg::Type,
    call::{CallId, Codec, ReplyTo},
    fault::{Executed, Fault, Locked, Reason},
    json::{self, JsonError},
    limits::Limits,
    message::{Content, Message},
    time::{self, DateTime, TimeDelta},
    value::{Array, Map, Value},
};
use alloc::{
    borrow::Cow,
    boxed::Box,
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::time::Duration;
use rmp::encode;

/// A value that can be a result, or part of one.
///
/// Implemented for whole numbers, `f64`, `bool`, `()` (None), text, byte slices, [`Bytes`], `Option`,
/// `Vec`, tuples of up to six, [`BTreeMap`], [`DateTime`], [`TimeDelta`] and [`Value`]; by derive for
/// structs, which arrive as dictionaries.
#[diagnostic::on_unimplemented(
    message = "a result cannot be of type `{Self}`",
    label = "not a type that can be returned",
    note = "derive or implement `ToReply` for it"
)]
pub trait ToReply {
    /// Appends the value to `out` as MessagePack.
    fn to_reply(&self, out: &mut Vec<u8>);

    /// The kind of value, for the interface definition.
    fn ty() -> Type;
}

/// Owned bytes as a result. (`Vec<u8>` is a list of numbers, as any `Vec` is a list.)
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

/// Appends text, never as str8, which Python 2's oldest msgpack does not know.
pub fn text(out: &mut Vec<u8>, text: &str) {
    let len = text.len();
    // A u32 holds the length of any frame that is sent.
    #[allow(clippy::cast_possible_truncation)]
    match len {
        0..=31 => out.push(0xa0 | len as u8),
        32..=0xffff => {
            out.push(0xda);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            out.push(0xdb);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(text.as_bytes());
}

/// Appends bytes.
pub fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    bytes_head(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// Appends the head of `len` bytes, which must follow.
pub fn bytes_head(out: &mut Vec<u8>, len: usize) {
    #[allow(clippy::cast_possible_truncation)] // no frame is that long
    infallible(encode::write_bin_len(out, len as u32));
}

/// Appends the head of a list of `len` values, which must follow.
pub fn list_head(out: &mut Vec<u8>, len: usize) {
    #[allow(clippy::cast_possible_truncation)] // no list is that long
    infallible(encode::write_array_len(out, len as u32));
}

/// Appends the head of a dictionary of `len` keys and values, which must follow.
pub fn map_head(out: &mut Vec<u8>, len: usize) {
    #[allow(clippy::cast_possible_truncation)] // no map is that long
    infallible(encode::write_map_len(out, len as u32));
}

/// Appends a whole number that is not negative.
pub fn uint(out: &mut Vec<u8>, number: u64) {
    infallible(encode::write_uint(out, number));
}

/// Appends a whole number.
pub fn int(out: &mut Vec<u8>, number: i64) {
    infallible(encode::write_sint(out, number));
}

/// Writing to a `Vec` cannot fail.
#[allow(clippy::needless_pass_by_value)] // a result is to be used up
fn infallible<T, E>(result: Result<T, E>) {
    debug_assert!(result.is_ok(), "a Vec takes every byte");
}

/// Appends any value.
///
/// Recurses as deep as the value nests, which [`crate::value::check`] has bounded.
pub fn value(out: &mut Vec<u8>, value: Value<'_>) {
    match value {
        Value::Nil => out.push(0xc0),
        Value::Bool(truth) => out.push(if truth { 0xc3 } else { 0xc2 }),
        Value::Uint(number) => uint(out, number),
        Value::Int(number) => int(out, number),
        Value::Float(number) => infallible(encode::write_f64(out, number)),
        Value::Text(words) => text(out, words),
        Value::Bytes(raw) => bytes(out, raw),
        Value::Array(array) => {
            list_head(out, array.len());
            for item in array.iter() {
                self::value(out, item);
            }
        }
        Value::Map(map) => {
            map_head(out, map.len());
            for (key, item) in map.iter() {
                // Keys leave as text: a bin key is read by no client of ours.
                match key.as_text() {
                    Some(key) => text(out, key),
                    None => self::value(out, key),
                }
                self::value(out, item);
            }
        }
    }
}

macro_rules! to_reply {
    ($($type:ty, $name:expr, |$this:ident, $out:ident| $write:expr;)*) => { $(
        impl ToReply for $type {
            fn to_reply(&self, $out: &mut Vec<u8>) {
                let $this = self;
                $write;
            }

            fn ty() -> Type {
                Type::named($name)
            }
        }
    )* };
}
to_reply! {
    (), "None", |_this, out| out.push(0xc0);
    bool, "bool", |this, out| value(out, Value::Bool(*this));
    u8, "int", |this, out| uint(out, u64::from(*this));
    u16, "int", |this, out| uint(out, u64::from(*this));
    u32, "int", |this, out| uint(out, u64::from(*this));
    u64, "int", |this, out| uint(out, *this);
    usize, "int", |this, out| uint(out, *this as u64);
    i8, "int", |this, out| int(out, i64::from(*this));
    i16, "int", |this, out| int(out, i64::from(*this));
    i32, "int", |this, out| int(out, i64::from(*this));
    i64, "int", |this, out| int(out, *this);
    f64, "float", |this, out| value(out, Value::Float(*this));
    str, "str", |this, out| text(out, this);
    String, "str", |this, out| text(out, this);
    Cow<'_, str>, "str", |this, out| text(out, this);
    [u8], "bytes", |this, out| bytes(out, this);
    Bytes, "bytes", |this, out| bytes(out, &this.0);
    Value<'_>, "any", |this, out| value(out, *this);
    Array<'_>, "list", |this, out| value(out, Value::Array(*this));
    Map<'_>, "dict", |this, out| value(out, Value::Map(*this));
    DateTime, "datetime", |this, out| {
        map_head(out, 2);
        text(out, time::DATETIME);
        out.push(0xc3);
        text(out, time::AS_STR);
        text(out, &this.to_string());
    };
    TimeDelta, "timedelta", |this, out| {
        map_head(out, 2);
        text(out, time::TIMEDELTA);
        out.push(0xc3);
        text(out, time::TOTAL_SECONDS);
        value(out, Value::Float(this.seconds));
    };
}

impl<T: ToReply + ?Sized> ToReply for &T {
    fn to_reply(&self, out: &mut Vec<u8>) {
        (**self).to_reply(out);
    }

    fn ty() -> Type {
        T::ty()
    }
}

impl<T: ToReply + ?Sized> ToReply for Box<T> {
    fn to_reply(&self, out: &mut Vec<u8>) {
        (**self).to_reply(out);
    }

    fn ty() -> Type {
        T::ty()
    }
}

impl<T: ToReply> ToReply for Option<T> {
    fn to_reply(&self, out: &mut Vec<u8>) {
        match self {
            Some(value) => value.to_reply(out),
            None => out.push(0xc0),
        }
    }

    fn ty() -> Type {
        Type { name: format!("{}|None", T::ty().name).into(), range: None }
    }
}

impl<T: ToReply> ToReply for Vec<T> {
    fn to_reply(&self, out: &mut Vec<u8>) {
        list_head(out, self.len());
        for item in self {
            item.to_reply(out);
        }
    }

    fn ty() -> Type {
        Type { name: format!("list[{}]", T::ty().name).into(), range: None }
    }
}

impl<K: AsRef<str>, T: ToReply> ToReply for BTreeMap<K, T> {
    fn to_reply(&self, out: &mut Vec<u8>) {
        map_head(out, self.len());
        for (key, item) in self {
            text(out, key.as_ref());
            item.to_reply(out);
        }
    }

    fn ty() -> Type {
        Type { name: format!("dict[str, {}]", T::ty().name).into(), range: None }
    }
}

macro_rules! tuples {
    ($($count:literal: $($type:ident)*;)*) => { $(
        impl<$($type: ToReply),*> ToReply for ($($type,)*) {
            fn to_reply(&self, out: &mut Vec<u8>) {
                #[allow(non_snake_case)]
                let ($($type,)*) = self;
                list_head(out, $count);
                $($type.to_reply(out);)*
            }

            fn ty() -> Type {
                Type::named("list")
            }
        }
    )* };
}
tuples! {
    1: A;
    2: A B;
    3: A B C;
    4: A B C D;
    5: A B C D E;
    6: A B C D E F;
}

/// Starts a reply: what is then appended is the value, and [`finish`] closes it.
///
/// For an old client that is nothing at all: its reply is the bare value.
pub fn begin(out: &mut Vec<u8>, to: &ReplyTo) {
    out.clear();
    if let ReplyTo { version: 2, .. } = to {
        envelope(out, to, "ok");
    }
}

/// Where in a reply that [`begin`] started the value stands.
pub fn value_at(to: &ReplyTo) -> usize {
    let mut head = Vec::new();
    begin(&mut head, to);
    head.len()
}

/// Ends a reply whose value was written: in the caller's codec.
///
/// # Errors
///
/// The fault to answer with where the value has no form in that codec.
pub fn finish(out: &mut Vec<u8>, to: &ReplyTo) -> Result<(), Fault> {
    match to.codec {
        Codec::MessagePack => Ok(()),
        Codec::Json => {
            *out = json::from_messagepack(out)
                .map_err(|error| Fault::from_error("ValueError", &error))?;
            Ok(())
        }
    }
}

/// Writes a final message of version 2 that was written before, in whatever codec, as `to` asks for it: the
/// bytes are those that it would have had at first.
///
/// # Errors
///
/// Why the message has no form in that codec; `out` then holds nothing of use.
pub fn retell(out: &mut Vec<u8>, told: &[u8], to: &ReplyTo) -> Result<(), Fault> {
    let mut packed = Vec::new();
    let mut bytes = told;
    if Codec::of(told) == Codec::Json {
        // It is one of our own: what bounds a request does not bound it.
        let limits = Limits { max_frame: usize::MAX, max_items: u32::MAX };
        json::to_messagepack(told, &limits, &mut packed).map_err(|error| match error {
            JsonError::Syntax(why) => Fault::value_error(format!("no MessagePack's JSON: {why}")),
            error @ JsonError::NoForm(_) => Fault::from_error("ValueError", &error),
        })?;
        bytes = &packed;
    }
    let message = Message::parse(bytes).map_err(|error| Fault::from_error("ValueError", &error))?;
    match message.content {
        Content::Ok(value) => {
            begin(out, to);
            self::value(out, value);
            finish(out, to)
        }
        Content::Error { fault, executed, reason } => {
            self::fault(out, to, &fault, executed, reason.and_then(Reason::from_word));
            Ok(())
        }
        _ => Err(Fault::value_error("the message is not final")),
    }
}

/// Replaces whatever `out` holds by a fault.
///
/// `refused` says that the agent itself refused the call, and why; without it the fault is the
/// object's own.
pub fn fault(
    out: &mut Vec<u8>,
    to: &ReplyTo,
    fault: &Fault,
    executed: Executed,
    refused: Option<Reason>,
) {
    out.clear();
    if to.version == 2 {
        envelope(out, to, "error");
        map_head(out, if fault.locked.is_some() { 8 } else { 6 });
        text(out, "class");
        text(out, &fault.class);
        text(out, "message");
        text(out, &fault.message);
        text(out, "detail");
        fault.detail.to_reply(out);
        text(out, "hint");
        fault.hint.to_reply(out);
        text(out, "executed");
        text(out, executed.as_str());
        text(out, "reason");
        refused.map(Reason::as_str).to_reply(out);
        if let Some(Locked { holder, expires_in }) = &fault.locked {
            text(out, "holder");
            text(out, holder);
            text(out, "expires_in");
            uint(out, millis(*expires_in));
        }
    } else {
        map_head(out, 1);
        text(out, "EXCEPTION");
        list_head(out, 3);
        old_fault(out, fault);
    }
    // A fault is text throughout, which JSON can always carry.
    let finished = finish(out, to);
    debug_assert!(finished.is_ok(), "a fault has a form in every codec");
}

/// The original's triple: class, message, and the lines that its clients print.
fn old_fault(out: &mut Vec<u8>, fault: &Fault) {
    let mut lines = fault.detail.clone();
    if let Some(name) = &fault.unknown {
        // The original answers with the KeyError of its own dictionary, message in quotes.
        text(out, "KeyError");
        text(out, &format!("'{}'", name.escape_debug()));
        lines.insert(0, fault.message.clone());
    } else {
        text(out, &fault.class);
        text(out, &fault.message);
    }
    lines.extend(fault.hint.as_ref().map(|hint| format!("hint: {hint}")));
    if lines.is_empty() {
        lines.push(fault.to_string());
    }
    lines.to_reply(out);
}

/// Writes a message that tells how far a call has come. Not final: the reply still follows.
pub fn progress(out: &mut Vec<u8>, to: &ReplyTo, done: u64, total: u64, words: &str) {
    out.clear();
    envelope(out, to, "progress");
    (done, total, words).to_reply(out);
    // Numbers and text have a form in JSON.
    let finished = finish(out, to);
    debug_assert!(finished.is_ok(), "progress has a form in every codec");
}

/// Writes the message with part `index` of `count` of a large result. Not final.
pub fn chunk(out: &mut Vec<u8>, to: &ReplyTo, index: u64, count: u64, data: &[u8]) {
    out.clear();
    envelope_of(out, to, 5);
    text(out, "chunk");
    (index, count).to_reply(out);
    text(out, "data");
    bytes(out, data);
}

/// Writes the final message of a result that went before it in `count` chunks of `size` bytes together.
pub fn chunked(out: &mut Vec<u8>, to: &ReplyTo, count: u64, size: u64) {
    out.clear();
    envelope_of(out, to, 5);
    text(out, "ok");
    out.push(0xc0);
    text(out, "chunks");
    (count, size).to_reply(out);
}

/// The head of a version 2 message: what follows is the value of `key`.
fn envelope(out: &mut Vec<u8>, to: &ReplyTo, key: &str) {
    envelope_of(out, to, 4);
    text(out, key);
}

/// The keys that every version 2 message has; there are `keys` together.
fn envelope_of(out: &mut Vec<u8>, to: &ReplyTo, keys: usize) {
    map_head(out, keys);
    text(out, "v");
    uint(out, 2);
    text(out, "id");
    match &to.id {
        Some(id) => call_id(out, id),
        None => out.push(0xc0),
    }
    text(out, "epoch");
    uint(out, to.epoch);
}

/// Whole milliseconds, as times are told.
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Appends a call's id.
pub fn call_id(out: &mut Vec<u8>, id: &CallId) {
    list_head(out, 2);
    bytes(out, &id.client);
    uint(out, id.seq);
}
