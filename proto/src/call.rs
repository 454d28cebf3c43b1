//! One request, read where it lies.
//!
//! ```text
//! version 1   {name, proc, args, kwargs}                                       any order
//! version 2   the same, and {v: 2, op, id: [bin16, uint], epoch, expires, lease, progress, credit}
//! ```
//!
//! Unknown keys are ignored, so that later versions can add some.

use crate::{
    fault::Fault,
    limits::{Limits, MAX_NAME},
    object::Args,
    value::{Array, Checked, DecodeError, DecodeErrorKind, Map, Value, Walk},
};
use alloc::{boxed::Box, format, string::String};
use core::{fmt, time::Duration};

/// A request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Call<'a> {
    /// What is asked for.
    pub op: Op,
    /// 1 for the original's clients, 2 for ours.
    pub version: u8,
    /// The call's id; `None` for an old client.
    pub id: Option<CallId>,
    /// The run of the agent that the call is meant for.
    pub epoch: Option<u64>,
    /// When the caller stops waiting, on the agent's monotonic clock.
    pub expires: Option<Duration>,
    /// The lease under which the caller writes.
    pub lease: Option<&'a [u8]>,
    /// Whether the caller wants to be told of progress.
    pub progress: bool,
    /// How many chunks of a large result the caller takes at first; `None`: it wants it whole.
    pub credit: Option<u64>,
    /// The object; empty for requests that concern none.
    pub name: &'a str,
    /// The method or attribute; empty for requests that concern none.
    pub proc: &'a str,
    /// The arguments; for [`Op::Set`] the value, for [`Op::Cancel`] the id, for [`Op::Credit`] how many
    /// more chunks, for leases their time in milliseconds, for [`Op::Log`] the level if it is to change.
    pub args: Args<'a>,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Op {
    /// Run a method.
    Call,
    /// Read an attribute.
    Get,
    /// Set an attribute.
    Set,
    /// Take a call back that has not started.
    Cancel,
    /// An object's interface definition.
    Describe,
    /// The agent's epoch, clock, limits and objects.
    Hello,
    /// How the agent and its objects are.
    Status,
    /// Have an object's writes for oneself.
    Lock,
    /// Keep them for longer.
    Renew,
    /// Let others write again.
    Release,
    /// Who has what for himself.
    Leases,
    /// Take an object's writes from whoever has them.
    Steal,
    /// Take more chunks of a large result.
    Credit,
    /// What the agent logs: tell it, or change it.
    Log,
    /// The original's list of methods and their documentation.
    ListMethods,
}

impl Op {
    /// Those that a version 2 request can ask for.
    pub const ALL: [Op; 14] = [
        Op::Call,
        Op::Get,
        Op::Set,
        Op::Cancel,
        Op::Describe,
        Op::Hello,
        Op::Status,
        Op::Lock,
        Op::Renew,
        Op::Release,
        Op::Leases,
        Op::Steal,
        Op::Credit,
        Op::Log,
    ];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Op::Call => "call",
            Op::Get => "get",
            Op::Set => "set",
            Op::Cancel => "cancel",
            Op::Describe => "describe",
            Op::Hello => "hello",
            Op::Status => "status",
            Op::Lock => "lock",
            Op::Renew => "renew",
            Op::Release => "release",
            Op::Leases => "leases",
            Op::Steal => "steal",
            Op::Credit => "credit",
            Op::Log => "log",
            // An old client asks for it by `proc`.
            Op::ListMethods => "list_methods",
        }
    }

    /// Whether it concerns the lease of one object.
    pub fn is_about_a_lease(self) -> bool {
        matches!(self, Op::Lock | Op::Renew | Op::Release | Op::Steal)
    }

    /// Whether it is for a method or an attribute of an object.
    pub fn runs_something(self) -> bool {
        matches!(self, Op::Call | Op::Get | Op::Set)
    }

    /// The meaning of the word on the wire.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|op| op.as_str() == word)
    }
}

/// The name of one call among all calls to an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId {
    /// A random number that the client chose when it started.
    pub client: [u8; 16],
    /// Counts the client's calls.
    pub seq: u64,
}

/// In which codec a request came, and its reply goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// The wire's own.
    MessagePack,
    /// For clients without MessagePack; see [`crate::json`].
    Json,
}

impl Codec {
    /// Tells by the first byte: `{` or a blank is JSON, for no MessagePack map starts so.
    pub fn of(payload: &[u8]) -> Self {
        match payload.first() {
            Some(b'{' | b' ' | b'\t' | b'\r' | b'\n') => Codec::Json,
            _ => Codec::MessagePack,
        }
    }
}

/// How a request wants to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyTo {
    /// 1: the bare value; 2: an envelope.
    pub version: u8,
    /// The codec of the request.
    pub codec: Codec,
    /// The request's id, for the envelope.
    pub id: Option<CallId>,
    /// The agent's epoch, for the envelope.
    pub epoch: u64,
}

/// A request that cannot be read, with enough to answer it.
#[derive(Debug, PartialEq)]
pub struct BadCall {
    /// What is wrong with it.
    pub fault: Fault,
    /// Its version, as far as that could be told.
    pub version: u8,
    /// Its id, as far as that could be told.
    pub id: Option<CallId>,
}

impl<'a> Call<'a> {
    /// Reads a request from MessagePack.
    ///
    /// # Errors
    ///
    /// [`BadCall`]: `ValueError` for bytes that are no request or beyond `limits`; `TypeError` for a
    /// map with a key that is no text; `KeyError` for a request without a key that it needs, in the
    /// original's words.
    ///
    /// # Examples
    ///
    /// ```
    /// use proximity_proto::{call::{Call, Op}, limits::Limits};
    ///
    /// let bytes = b"\x84\xa4name\xa3foo\xa4proc\xa7add_two\xa4args\x92\x02\x03\xa6kwargs\x80";
    /// let call = Call::parse(bytes, &Limits::default()).map_err(|bad| bad.fault)?;
    /// assert_eq!((call.op, call.name, call.proc), (Op::Call, "foo", "add_two"));
    /// # Ok::<(), proximity_proto::Fault>(())
    /// ```
    #[allow(clippy::result_large_err)] // a call is larger still
    pub fn parse(bytes: &'a [u8], limits: &Limits) -> Result<Self, BadCall> {
        let mut fields = Fields::default();
        let read =
            fields.walk(bytes, limits).map_err(|error| BadCall::no_message(bytes, &error))?;
        let Some(checked) = read else {
            let kind = Value::first(bytes).map_or("nothing", |value| value.kind());
            let fault = Fault::type_error(format!("a request must be a map, not {kind}"));
            return Err(BadCall { fault, version: 1, id: None });
        };
        if fields.unknown > 1 {
            fields.look_for_twins(bytes);
        }
        let (version, id) = (fields.version(), fields.id);
        fields.finish(checked).map_err(|fault| BadCall { fault, version, id })
    }
}

impl BadCall {
    /// A request of which there is no more in MessagePack than `bytes`, for the reason that `fault` tells.
    pub(crate) fn broken(bytes: &[u8], fault: Fault) -> Self {
        let (version, id) = salvage(bytes);
        Self { fault, version, id }
    }

    /// A request that is no message, or beyond the limits.
    pub(crate) fn no_message(bytes: &[u8], error: &DecodeError) -> Self {
        let mut fault = Fault::from_error("ValueError", error);
        if let DecodeErrorKind::TooLong { .. } = error.kind {
            fault = fault.hint("hello() tells the agent's limits; send large data in pieces");
        }
        Self::broken(bytes, fault)
    }
}

/// Where the parts of a call lie in its request: for one who keeps the bytes, passes them on, and reads
/// the call there without going through them again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// What is asked for.
    pub op: Op,
    /// From the request's start, and in bytes.
    proc: (usize, usize),
    positional: (u32, usize),
    named: (u32, usize),
}

impl Place {
    /// No place in any request.
    pub const NONE: Place = Place { op: Op::Call, proc: (0, 0), positional: (0, 0), named: (0, 0) };

    /// The place of `call`, which was read from `request`.
    pub fn of(call: &Call<'_>, request: &[u8]) -> Self {
        let start = (call.proc.as_ptr() as usize).saturating_sub(request.as_ptr() as usize);
        Self {
            op: call.op,
            proc: (start, call.proc.len()),
            positional: call.args.positional.tail(),
            named: call.args.named.tail(),
        }
    }

    /// The method or attribute, and the arguments; `None` if `request` is another.
    pub fn read<'a>(&self, request: &'a [u8]) -> Option<(&'a str, Args<'a>)> {
        let (start, len) = self.proc;
        let proc = request.get(start..start.checked_add(len)?)?;
        let proc = core::str::from_utf8(proc).ok()?;
        let positional = Array::again(request, self.positional)?;
        let named = Map::again(request, self.named)?;
        Some((proc, Args { positional, named }))
    }
}

/// Keys of later versions that a request may have: more are none, and would take memory to be compared.
const MAX_UNKNOWN: usize = 64;

/// The keys of a request, as far as they were found.
#[derive(Default)]
struct Fields<'a> {
    v: Option<u64>,
    op: Option<&'a str>,
    id: Option<CallId>,
    epoch: Option<u64>,
    expires: Option<u64>,
    lease: Option<&'a [u8]>,
    progress: bool,
    credit: Option<u64>,
    name: Option<Value<'a>>,
    proc: Option<Value<'a>>,
    args: Option<Value<'a>>,
    kwargs: Option<Value<'a>>,
    /// A bit for each of [`KEYS`].
    seen: u16,
    /// How many others there were.
    unknown: u32,
    /// What is wrong with the first that is.
    wrong: Option<Box<Fault>>,
}

impl<'a> Fields<'a> {
    /// An old client has no `v`, not even one that makes no sense.
    fn version(&self) -> u8 {
        if self.seen & 1 != 0 { 2 } else { 1 }
    }

    /// Collects the keys of a request as it is checked; `None` if it is no map.
    fn walk(&mut self, bytes: &'a [u8], limits: &Limits) -> Result<Option<Checked>, DecodeError> {
        let mut walk = Walk::new(bytes, limits)?;
        let len = walk.map()?;
        for _ in 0..len.unwrap_or(0) {
            let key = walk.key(1)?;
            self.note(key, walk.value(1)?);
        }
        let checked = walk.end()?;
        Ok(len.map(|_| checked))
    }

    /// Takes a key in. One that is wrong does not keep those behind it from being read: the id may be there.
    fn note(&mut self, key: Option<&[u8]>, value: Value<'a>) {
        let Some(place) = key.and_then(place_of) else {
            self.unknown += 1;
            return;
        };
        if self.seen & (1 << place) != 0 {
            // The first one stays: it stands before the offence, and may be the id.
            let name = KEYS.get(place).copied().unwrap_or_default();
            self.wrong.get_or_insert_with(|| Box::new(two_keys(name)));
            return;
        }
        self.seen |= 1 << place;
        if self.take(place, value).is_none() {
            self.wrong.get_or_insert_with(|| Box::new(not_taken(place, value)));
        }
    }

    /// Looks whether a key that we do not know is there twice. Apart from [`Fields::note`], so that only who sends
    /// several of them waits for it.
    fn look_for_twins(&mut self, bytes: &'a [u8]) {
        let Some(Value::Map(map)) = Value::head(bytes) else { return };
        // Not by `place_of`, which is built into its one place in `note`.
        let is_unknown = |key: &&[u8]| !KEYS.iter().any(|known| known.as_bytes() == *key);
        let mut keys = [&b""[..]; MAX_UNKNOWN];
        let unknown = map.fields().filter_map(|(key, _)| key.filter(is_unknown));
        let count = keys.iter_mut().zip(unknown).map(|(place, key)| *place = key).count();
        let keys = keys.get_mut(..count).unwrap_or_default();
        keys.sort_unstable();
        let twins = keys.windows(2).find(|pair| pair.first() == pair.last());
        if let Some(key) = twins.and_then(|pair| pair.first()) {
            let key = String::from_utf8_lossy(key);
            self.wrong.get_or_insert_with(|| Box::new(two_keys(key.escape_debug())));
        } else if self.unknown as usize > MAX_UNKNOWN {
            let unknown = self.unknown;
            let message = format!(
                "the request has {unknown} keys that version 2 does not know; at most {MAX_UNKNOWN} are ignored"
            );
            self.wrong.get_or_insert_with(|| Box::new(Fault::value_error(message)));
        }
    }

    /// Keeps a key's value, where it is of the right kind.
    fn take(&mut self, place: usize, value: Value<'a>) -> Option<()> {
        match place {
            0 => self.v = Some(value.as_u64()?),
            1 => self.op = Some(value.as_text()?),
            2 => self.id = Some(CallId::from_value(value)?),
            3 => self.epoch = Some(value.as_u64()?),
            4 => self.expires = Some(value.as_u64()?),
            5 => self.lease = Some(value.as_bytes()?),
            6 => self.progress = value == Value::Bool(true),
            7 => self.name = Some(value),
            8 => self.proc = Some(value),
            9 => self.args = Some(value),
            10 => self.kwargs = Some(value),
            _ => self.credit = Some(value.as_u64()?),
        }
        Some(())
    }

    fn finish(mut self, checked: Checked) -> Result<Call<'a>, Fault> {
        if let Some(fault) = self.wrong.take() {
            return Err(*fault);
        }
        if let Some(position) = checked.odd_key {
            return Err(Fault::type_error(format!(
                "a dict in the request has a key that is no text (at byte {position})"
            ))
            .hint("MessagePack maps of this wire have text keys; send str(key)"));
        }
        let version = self.version();
        if let Some(v @ (0 | 1 | 3..)) = self.v {
            return Err(not_spoken(v));
        }
        let old = version == 1;
        if old {
            // Whatever an old client sends under other names than its four is not for us.
            let Self { name, proc, args, kwargs, .. } = self;
            self = Self { name, proc, args, kwargs, ..Self::default() };
        }
        let op = self.op()?;
        // The original indexes its four keys, so each that is missing is a KeyError. Ours are lenient
        // about those that a request can do without.
        let needs_name = old
            || !matches!(
                op,
                Op::Hello | Op::Cancel | Op::Leases | Op::Credit | Op::Status | Op::Log
            );
        let needs_proc = old || matches!(op, Op::Call | Op::Get | Op::Set);
        let name = name_of("name", self.name, needs_name)?;
        let proc = name_of("proc", self.proc, needs_proc)?;
        let op = if old && proc == "list_methods" { Op::ListMethods } else { op };
        let positional = match self.args {
            Some(Value::Array(array)) => array,
            Some(Value::Nil) | None if !old => Array::EMPTY,
            None => return Err(missing("args")),
            Some(other) => return Err(wrong_kind("args", "a list", other)),
        };
        let named = match self.kwargs {
            Some(Value::Map(map)) => map,
            Some(Value::Nil) | None if !old => Map::EMPTY,
            None => return Err(missing("kwargs")),
            Some(other) => return Err(wrong_kind("kwargs", "a dict", other)),
        };
        if !old && self.id.is_none() {
            return Err(Fault::value_error("a version 2 request needs an 'id'"));
        }
        Ok(Call {
            op,
            version,
            id: self.id,
            epoch: self.epoch,
            expires: self.expires.map(Duration::from_millis),
            lease: self.lease,
            progress: self.progress,
            credit: self.credit.filter(|&credit| credit > 0),
            name,
            proc,
            args: Args { positional, named },
        })
    }

    fn op(&self) -> Result<Op, Fault> {
        let Some(word) = self.op else { return Ok(Op::Call) };
        Op::from_word(word).ok_or_else(|| {
            let words = Op::ALL.map(Op::as_str).join(", ");
            // Escaped it may be five times as long: no sender is to have that much told back.
            let told = match word.len() {
                ..=MAX_NAME => format!("'{}'", word.escape_debug()),
                len => format!("a text of {len} bytes"),
            };
            Fault::value_error(format!("'op' is {told}; this agent knows {words}"))
        })
    }
}

/// The keys that a request may have, in the order that [`place_of`] and [`Fields::take`] know.
const KEYS: [&str; 12] = [
    "v", "op", "id", "epoch", "expires", "lease", "progress", "name", "proc", "args", "kwargs",
    "credit",
];

/// Where in [`KEYS`] a key stands.
fn place_of(key: &[u8]) -> Option<usize> {
    // Spelled out, for the compiler then looks at the length first; it is done for each key of a call.
    Some(match key {
        b"v" => 0,
        b"op" => 1,
        b"id" => 2,
        b"epoch" => 3,
        b"expires" => 4,
        b"lease" => 5,
        b"progress" => 6,
        b"name" => 7,
        b"proc" => 8,
        b"args" => 9,
        b"kwargs" => 10,
        b"credit" => 11,
        _ => return None,
    })
}

fn missing(key: &str) -> Fault {
    Fault::key_error(format!("the request has no '{key}'")).unknown(key)
}

fn wrong_kind(key: &str, what: &str, value: Value<'_>) -> Fault {
    Fault::type_error(format!("the request's '{key}' must be {what}, not {}", value.kind()))
}

/// Why [`Fields::take`] did not take a value.
#[cold]
fn not_taken(place: usize, value: Value<'_>) -> Fault {
    let key = KEYS.get(place).copied().unwrap_or_default();
    match key {
        "op" => wrong_kind(key, "text", value),
        "id" => no_id(value),
        "lease" => wrong_kind(key, "bytes", value),
        _ => no_uint(key, value),
    }
}

fn two_keys(key: impl fmt::Display) -> Fault {
    Fault::value_error(format!("the request has two keys '{key}'"))
}

fn not_spoken(v: impl fmt::Display) -> Fault {
    Fault::value_error(format!("'v' is {v}; this agent speaks version 2"))
}

fn below_zero(what: impl fmt::Display, number: i64) -> Fault {
    Fault::value_error(format!("{what} is {number}; it must be 0 to {}", u64::MAX))
}

fn no_uint(key: &str, value: Value<'_>) -> Fault {
    match (key, value) {
        ("v", Value::Int(v)) => not_spoken(v),
        (_, Value::Int(number)) => below_zero(format_args!("the request's '{key}'"), number),
        _ => wrong_kind(key, "an int", value),
    }
}

fn no_id(value: Value<'_>) -> Fault {
    let number = if let Value::Array(parts) = value { parts.get(1) } else { None };
    match number {
        Some(Value::Int(number)) => below_zero("the number in the request's 'id'", number),
        _ => wrong_kind("id", "[bytes(16), int]", value),
    }
}

fn name_of<'a>(key: &str, value: Option<Value<'a>>, needed: bool) -> Result<&'a str, Fault> {
    match value {
        None | Some(Value::Nil) if !needed => Ok(""),
        None => Err(missing(key)),
        Some(value) => {
            let name = value.as_text().ok_or_else(|| wrong_kind(key, "text", value))?;
            if name.len() > MAX_NAME {
                return Err(Fault::value_error(format!(
                    "the request's '{key}' has {} bytes; names have at most {MAX_NAME}",
                    name.len()
                )));
            }
            Ok(name)
        }
    }
}

impl CallId {
    /// Reads an id as it stands in a message.
    pub fn from_value(value: Value<'_>) -> Option<Self> {
        let Value::Array(array) = value else { return None };
        let mut parts = array.iter();
        let client = parts.next()?.as_bytes()?.try_into().ok()?;
        let seq = parts.next()?.as_u64()?;
        parts.next().is_none().then_some(Self { client, seq })
    }
}

/// What can be told of a request that is not sound: our clients write `v` and `id` first, so that
/// even a request beyond the limits is answered by its id.
fn salvage(bytes: &[u8]) -> (u8, Option<CallId>) {
    // Not by `Fields::note`, which is built into its one place in the walk.
    let (mut version, mut id) = (1, None);
    if let Some(Value::Map(map)) = Value::head(bytes) {
        for (key, value) in map.fields() {
            match key {
                Some(b"v") => version = 2,
                Some(b"id") => id = id.or(Some(CallId::from_value(value))),
                _ => {}
            }
        }
    }
    (version, id.flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_found_where_it_stands() {
        for (place, key) in KEYS.into_iter().enumerate() {
            assert_eq!(place_of(key.as_bytes()), Some(place), "{key}");
        }
    }
}
