//! A MessagePack value, borrowed from the bytes it arrived in.
//!
//! [`check`] walks a message once, with a fixed stack and no heap, and refuses what is too deep, too
//! long or cut short. After that a [`Value`] is read where it lies: text and bytes are slices of the
//! message, arrays and maps are iterators over it. Nothing is ever built from a declared length.
//!
//! Every dialect of the original is understood: Python 2 sends text and register data alike as raw
//! strings, newer packers as `bin`, and map keys come as either. A string that is not UTF-8 is
//! therefore [`Value::Bytes`].

use crate::limits::{Limits, MAX_DEPTH, MAX_NAME};
use core::fmt;
use rmp::Marker;

/// One value of a checked message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// Nothing; Python's `None`.
    Nil,
    /// True or false.
    Bool(bool),
    /// A whole number from 0 to 2^64 - 1.
    Uint(u64),
    /// A whole number below zero, from -2^63.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// Text.
    Text(&'a str),
    /// Bytes: `bin`, or a raw string that is not UTF-8.
    Bytes(&'a [u8]),
    /// A list or tuple.
    Array(Array<'a>),
    /// A dictionary.
    Map(Map<'a>),
}

impl<'a> Value<'a> {
    /// Reads the value at the head of `bytes`, which [`check`] has passed.
    ///
    /// Returns `None` where the bytes are not a value after all.
    pub fn first(bytes: &'a [u8]) -> Option<Self> {
        take(bytes).map(|(value, _)| value)
    }

    /// Reads as much of the value at the head of `bytes` as there is: an array or a map may turn out
    /// to end early. For bytes that [`check`] has refused.
    pub(crate) fn head(bytes: &'a [u8]) -> Option<Self> {
        match Head::read(bytes).ok()? {
            (Head::Array(len), rest) => Some(Value::Array(Array { len, bytes: rest })),
            (Head::Map(len), rest) => Some(Value::Map(Map { len, bytes: rest })),
            _ => Self::first(bytes),
        }
    }

    /// What a person at a Python prompt calls this kind of value.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Nil => "None",
            Value::Bool(_) => "bool",
            Value::Uint(_) | Value::Int(_) => "int",
            Value::Float(_) => "float",
            Value::Text(_) => "str",
            Value::Bytes(_) => "bytes",
            Value::Array(_) => "list",
            Value::Map(_) => "dict",
        }
    }

    /// The text, also where it came as bytes that are UTF-8.
    pub fn as_text(&self) -> Option<&'a str> {
        match *self {
            Value::Text(text) => Some(text),
            Value::Bytes(bytes) => core::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The bytes, also where they came as text.
    pub fn as_bytes(&self) -> Option<&'a [u8]> {
        match *self {
            Value::Text(text) => Some(text.as_bytes()),
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The number, where it is whole and not below zero.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Value::Uint(number) => Some(number),
            _ => None,
        }
    }
}

/// A list in a checked message.
#[derive(Clone, Copy, PartialEq)]
pub struct Array<'a> {
    len: u32,
    /// The elements, one behind the other; may go on past the last.
    bytes: &'a [u8],
}

impl<'a> Array<'a> {
    /// The list of no values.
    pub const EMPTY: Array<'static> = Array { len: 0, bytes: &[] };

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many values there are, and how many bytes there are from the first of them to the end of
    /// the message: with these [`Array::again`] finds the list again.
    pub(crate) fn tail(&self) -> (u32, usize) {
        (self.len, self.bytes.len())
    }

    /// The list whose [`Array::tail`] in `message` is `tail`.
    pub(crate) fn again(message: &'a [u8], tail: (u32, usize)) -> Option<Self> {
        let (len, size) = tail;
        Some(Self { len, bytes: last(message, size)? })
    }

    /// The values in order.
    pub fn iter(&self) -> impl Iterator<Item = Value<'a>> + Clone + use<'a> {
        let (mut left, mut bytes) = (self.len, self.bytes);
        core::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let (value, rest) = take(bytes)?;
            bytes = rest;
            Some(value)
        })
    }

    /// The value at `index`, counted from 0.
    pub fn get(&self, index: usize) -> Option<Value<'a>> {
        self.iter().nth(index)
    }

    /// The bytes of the values as they were sent, one behind the other: what follows the list's head.
    pub fn contents(&self) -> &'a [u8] {
        contents(self.bytes, u64::from(self.len))
    }

    /// The same list without its first `count` values.
    #[must_use]
    pub fn skip(&self, count: usize) -> Array<'a> {
        let (mut len, mut bytes) = (self.len, self.bytes);
        for _ in 0..count {
            match (len.checked_sub(1), after(bytes)) {
                (Some(left), Some(rest)) => (len, bytes) = (left, rest),
                _ => return Array::EMPTY,
            }
        }
        Array { len, bytes }
    }
}

impl fmt::Debug for Array<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// A dictionary in a checked message, in the order in which it was sent.
#[derive(Clone, Copy, PartialEq)]
pub struct Map<'a> {
    len: u32,
    bytes: &'a [u8],
}

impl<'a> Map<'a> {
    /// The dictionary of no entries.
    pub const EMPTY: Map<'static> = Map { len: 0, bytes: &[] };

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// As [`Array::tail`].
    pub(crate) fn tail(&self) -> (u32, usize) {
        (self.len, self.bytes.len())
    }

    /// As [`Array::again`].
    pub(crate) fn again(message: &'a [u8], tail: (u32, usize)) -> Option<Self> {
        let (len, size) = tail;
        Some(Self { len, bytes: last(message, size)? })
    }

    /// The keys and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (Value<'a>, Value<'a>)> + Clone + use<'a> {
        let (mut left, mut bytes) = (self.len, self.bytes);
        core::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let (key, rest) = take(bytes)?;
            let (value, rest) = take(rest)?;
            bytes = rest;
            Some((key, value))
        })
    }

    /// As [`Map::iter`], with the bytes of each key; `None` for one that has none.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (Option<&'a [u8]>, Value<'a>)> + use<'a> {
        let (mut left, mut bytes) = (self.len, self.bytes);
        core::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let (key, rest) = match Head::read(bytes).ok()? {
                (Head::Raw(key) | Head::Bin(key), rest) => (Some(key), rest),
                _ => (None, after(bytes)?),
            };
            let (value, rest) = take(rest)?;
            bytes = rest;
            Some((key, value))
        })
    }

    /// The bytes of the keys and values as they were sent: what follows the dictionary's head.
    pub fn contents(&self) -> &'a [u8] {
        contents(self.bytes, 2 * u64::from(self.len))
    }

    /// The value of the first entry whose key is `name`, sent as text or as bytes.
    pub fn get(&self, name: &str) -> Option<Value<'a>> {
        self.iter().find(|(key, _)| key.as_bytes() == Some(name.as_bytes())).map(|(_, value)| value)
    }
}

impl fmt::Debug for Map<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// What is wrong with a message, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} (at byte {position})")]
pub struct DecodeError {
    /// What is wrong.
    pub kind: DecodeErrorKind,
    /// Bytes before the value that is wrong.
    pub position: usize,
}

/// The ways in which bytes fail to be a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeErrorKind {
    /// There is not one byte.
    #[error("the message is empty")]
    Empty,
    /// The bytes end inside a value.
    #[error("the message ends in the middle of a value")]
    CutShort,
    /// Bytes follow the value.
    #[error("the message goes on after its value")]
    Trailing,
    /// Arrays and maps nest deeper than [`MAX_DEPTH`].
    #[error("arrays and maps nest deeper than {MAX_DEPTH}")]
    TooDeep,
    /// There are more values than [`Limits::max_items`].
    #[error("the message has more than {max} values")]
    TooMany {
        /// The limit.
        max: u32,
    },
    /// The message is longer than [`Limits::max_frame`].
    #[error("the message has {len} bytes; at most {max} are taken")]
    TooLong {
        /// Bytes of the message.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// A map key is longer than [`MAX_NAME`].
    #[error("a map key has more than {MAX_NAME} bytes")]
    LongKey,
    /// An extension type, for which no meaning is agreed.
    #[error("MessagePack extension type {0} has no meaning here")]
    Extension(i8),
    /// The byte 0xc1, which MessagePack never uses.
    #[error("byte 0xc1 starts no MessagePack value")]
    Reserved,
}

/// What [`check`] found beside the message being sound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Where a map key is neither text nor bytes: sound MessagePack, but nothing that is taken. Told
    /// apart from an error because the request can still be answered by its id.
    pub odd_key: Option<usize>,
}

/// Walks one message and holds it to the limits.
///
/// Runs in time proportional to `bytes`, on a fixed stack, without the heap. After `Ok` every
/// [`Value`] read from `bytes` is whole.
///
/// # Errors
///
/// [`DecodeError`] with the position of the first byte that is wrong.
///
/// # Examples
///
/// ```
/// use proximity_proto::{limits::Limits, value::{Value, check}};
///
/// let bytes = [0x92, 0x01, 0xa2, b'h', b'i'];
/// check(&bytes, &Limits::default())?;
/// let Some(Value::Array(list)) = Value::first(&bytes) else { panic!("an array") };
/// assert_eq!(list.get(1), Some(Value::Text("hi")));
/// # Ok::<(), proximity_proto::value::DecodeError>(())
/// ```
pub fn check(bytes: &[u8], limits: &Limits) -> Result<Checked, DecodeError> {
    let mut walk = Walk::new(bytes, limits)?;
    walk.pass(0)?;
    walk.end()
}

/// A walk through one message, value by value, in their order.
pub(crate) struct Walk<'a> {
    len: usize,
    rest: &'a [u8],
    items: u32,
    max_items: u32,
    checked: Checked,
}

impl<'a> Walk<'a> {
    /// At the start of `bytes`.
    pub(crate) fn new(bytes: &'a [u8], limits: &Limits) -> Result<Self, DecodeError> {
        let (len, max) = (bytes.len(), limits.max_frame);
        if bytes.is_empty() {
            return Err(DecodeError { kind: DecodeErrorKind::Empty, position: 0 });
        }
        if len > max {
            let kind = DecodeErrorKind::TooLong { len, max };
            return Err(DecodeError { kind, position: max });
        }
        let (max_items, checked) = (limits.max_items, Checked::default());
        Ok(Self { len, rest: bytes, items: 0, max_items, checked })
    }

    fn position(&self) -> usize {
        self.len - self.rest.len()
    }

    /// Passes a head.
    #[inline]
    fn head(&mut self) -> Result<Head<'a>, DecodeError> {
        let fail = |kind| DecodeError { kind, position: self.position() };
        let (head, behind) = Head::read(self.rest).map_err(fail)?;
        if self.items >= self.max_items {
            return Err(fail(DecodeErrorKind::TooMany { max: self.max_items }));
        }
        self.items += 1;
        self.rest = behind;
        Ok(head)
    }

    /// Passes a value that lies in so many arrays and maps.
    fn pass(&mut self, depth: usize) -> Result<(), DecodeError> {
        let position = self.position();
        let head = self.head()?;
        self.pass_inside(&head, depth, position)
    }

    /// The same, and tells it.
    #[inline]
    pub(crate) fn value(&mut self, depth: usize) -> Result<Value<'a>, DecodeError> {
        let position = self.position();
        let head = self.head()?;
        let inside = self.rest;
        self.pass_inside(&head, depth, position)?;
        Ok(head.value(inside))
    }

    /// Passes the key of a map that lies in so many arrays and maps, itself counted; `None` for one without bytes.
    #[inline]
    pub(crate) fn key(&mut self, depth: usize) -> Result<Option<&'a [u8]>, DecodeError> {
        // Nearly all are short texts.
        if let Some((key, behind)) = short_text(self.rest)
            && self.items < self.max_items
        {
            self.items += 1;
            self.rest = behind;
            return Ok(Some(key));
        }
        self.other_key(depth)
    }

    fn other_key(&mut self, depth: usize) -> Result<Option<&'a [u8]>, DecodeError> {
        let position = self.position();
        match self.head()? {
            Head::Raw(key) | Head::Bin(key) if key.len() > MAX_NAME => {
                Err(DecodeError { kind: DecodeErrorKind::LongKey, position })
            }
            Head::Raw(key) | Head::Bin(key) => Ok(Some(key)),
            head => {
                self.checked.odd_key = self.checked.odd_key.or(Some(position));
                self.pass_inside(&head, depth, position)?;
                Ok(None)
            }
        }
    }

    /// Passes what belongs to `head`.
    #[inline]
    fn pass_inside(
        &mut self,
        head: &Head<'_>,
        depth: usize,
        position: usize,
    ) -> Result<(), DecodeError> {
        match *head {
            Head::Array(len) => self.pass_all(len, false, depth, position),
            Head::Map(len) => self.pass_all(len, true, depth, position),
            _ => Ok(()),
        }
    }

    /// Passes so many values, or keys with their values. Goes no deeper than [`MAX_DEPTH`], and so does its recursion.
    fn pass_all(
        &mut self,
        len: u32,
        keys: bool,
        depth: usize,
        position: usize,
    ) -> Result<(), DecodeError> {
        if depth >= MAX_DEPTH {
            return Err(DecodeError { kind: DecodeErrorKind::TooDeep, position });
        }
        for _ in 0..len {
            if keys {
                self.key(depth + 1)?;
            }
            self.pass(depth + 1)?;
        }
        Ok(())
    }

    /// Passes the head of the message where it is a map, and tells how many keys and values follow; passes all of
    /// anything else.
    pub(crate) fn map(&mut self) -> Result<Option<u32>, DecodeError> {
        let position = self.position();
        match self.head()? {
            Head::Map(len) => Ok(Some(len)),
            head => self.pass_inside(&head, 0, position).map(|()| None),
        }
    }

    /// At the end of the message, if nothing follows.
    pub(crate) fn end(self) -> Result<Checked, DecodeError> {
        if self.rest.is_empty() {
            return Ok(self.checked);
        }
        Err(DecodeError { kind: DecodeErrorKind::Trailing, position: self.position() })
    }
}

/// The text at the head of `bytes`, where its first byte tells its length, and what follows.
#[inline]
fn short_text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (first, rest) = bytes.split_first()?;
    if *first & 0xe0 != 0xa0 {
        return None;
    }
    rest.split_at_checked(usize::from(first & 0x1f))
}

/// Takes one value off `bytes`, and tells what follows it.
fn take(bytes: &[u8]) -> Option<(Value<'_>, &[u8])> {
    let (head, inside) = Head::read(bytes).ok()?;
    let rest = behind(inside, head.children())?;
    Some((head.value(inside), rest))
}

/// The first `count` values of `bytes`.
fn contents(bytes: &[u8], count: u64) -> &[u8] {
    let rest = behind(bytes, count).map_or(0, <[u8]>::len);
    bytes.get(..bytes.len() - rest).unwrap_or_default()
}

/// The last `size` bytes of `message`.
fn last(message: &[u8], size: usize) -> Option<&[u8]> {
    message.get(message.len().checked_sub(size)?..)
}

/// What follows the first value of `bytes`.
fn after(bytes: &[u8]) -> Option<&[u8]> {
    behind(bytes, 1)
}

/// What follows the first `count` values of `bytes`.
fn behind(bytes: &[u8], count: u64) -> Option<&[u8]> {
    let (mut pending, mut rest) = (count, bytes);
    while pending > 0 {
        let (head, behind) = Head::read(rest).ok()?;
        rest = behind;
        pending = pending - 1 + head.children();
    }
    Some(rest)
}

/// A value's first bytes: all of a scalar, only the count of an array or a map.
enum Head<'a> {
    Nil,
    Bool(bool),
    Uint(u64),
    Int(i64),
    Float(f64),
    Raw(&'a [u8]),
    Bin(&'a [u8]),
    Array(u32),
    Map(u32),
}

impl<'a> Head<'a> {
    /// How many values belong to this one.
    fn children(&self) -> u64 {
        match *self {
            Head::Array(len) => u64::from(len),
            Head::Map(len) => 2 * u64::from(len),
            _ => 0,
        }
    }

    /// The value that begins with this, if `inside` is what follows.
    #[inline]
    fn value(self, inside: &'a [u8]) -> Value<'a> {
        match self {
            Head::Nil => Value::Nil,
            Head::Bool(truth) => Value::Bool(truth),
            Head::Uint(number) => Value::Uint(number),
            Head::Int(number) => u64::try_from(number).map_or(Value::Int(number), Value::Uint),
            Head::Float(number) => Value::Float(number),
            Head::Raw(raw) => core::str::from_utf8(raw).map_or(Value::Bytes(raw), Value::Text),
            Head::Bin(raw) => Value::Bytes(raw),
            Head::Array(len) => Value::Array(Array { len, bytes: inside }),
            Head::Map(len) => Value::Map(Map { len, bytes: inside }),
        }
    }

    /// Reads one head.
    #[inline]
    fn read(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), DecodeErrorKind> {
        let (&first, rest) = bytes.split_first().ok_or(DecodeErrorKind::CutShort)?;
        // What most of a request is made of, told by the first byte alone.
        match first {
            0x00..=0x7f => Ok((Head::Uint(u64::from(first)), rest)),
            0x80..=0x8f => Ok((Head::Map(u32::from(first & 0x0f)), rest)),
            0x90..=0x9f => Ok((Head::Array(u32::from(first & 0x0f)), rest)),
            0xa0..=0xbf => {
                let split = rest.split_at_checked(usize::from(first & 0x1f));
                split.map(|(raw, rest)| (Head::Raw(raw), rest)).ok_or(DecodeErrorKind::CutShort)
            }
            _ => Self::read_longer(first, rest),
        }
    }

    /// Reads one head whose `first` byte does not tell all.
    fn read_longer(first: u8, rest: &'a [u8]) -> Result<(Self, &'a [u8]), DecodeErrorKind> {
        let mut cursor = Cursor(rest);
        let head = match Marker::from_u8(first) {
            Marker::Null => Head::Nil,
            Marker::True => Head::Bool(true),
            Marker::False => Head::Bool(false),
            Marker::FixPos(number) => Head::Uint(u64::from(number)),
            Marker::FixNeg(number) => Head::Int(i64::from(number)),
            Marker::U8 => Head::Uint(u64::from(u8::from_be_bytes(cursor.array()?))),
            Marker::U16 => Head::Uint(u64::from(u16::from_be_bytes(cursor.array()?))),
            Marker::U32 => Head::Uint(u64::from(u32::from_be_bytes(cursor.array()?))),
            Marker::U64 => Head::Uint(u64::from_be_bytes(cursor.array()?)),
            Marker::I8 => Head::Int(i64::from(i8::from_be_bytes(cursor.array()?))),
            Marker::I16 => Head::Int(i64::from(i16::from_be_bytes(cursor.array()?))),
            Marker::I32 => Head::Int(i64::from(i32::from_be_bytes(cursor.array()?))),
            Marker::I64 => Head::Int(i64::from_be_bytes(cursor.array()?)),
            Marker::F32 => Head::Float(f64::from(f32::from_be_bytes(cursor.array()?))),
            Marker::F64 => Head::Float(f64::from_be_bytes(cursor.array()?)),
            Marker::FixStr(len) => Head::Raw(cursor.slice(u32::from(len))?),
            Marker::Str8 => Head::Raw(cursor.sized8()?),
            Marker::Str16 => Head::Raw(cursor.sized16()?),
            Marker::Str32 => Head::Raw(cursor.sized32()?),
            Marker::Bin8 => Head::Bin(cursor.sized8()?),
            Marker::Bin16 => Head::Bin(cursor.sized16()?),
            Marker::Bin32 => Head::Bin(cursor.sized32()?),
            Marker::FixArray(len) => Head::Array(u32::from(len)),
            Marker::Array16 => Head::Array(u32::from(u16::from_be_bytes(cursor.array()?))),
            Marker::Array32 => Head::Array(u32::from_be_bytes(cursor.array()?)),
            Marker::FixMap(len) => Head::Map(u32::from(len)),
            Marker::Map16 => Head::Map(u32::from(u16::from_be_bytes(cursor.array()?))),
            Marker::Map32 => Head::Map(u32::from_be_bytes(cursor.array()?)),
            Marker::FixExt1
            | Marker::FixExt2
            | Marker::FixExt4
            | Marker::FixExt8
            | Marker::FixExt16 => {
                return Err(DecodeErrorKind::Extension(i8::from_be_bytes(cursor.array()?)));
            }
            Marker::Ext8 | Marker::Ext16 | Marker::Ext32 => {
                let width = match first {
                    0xc7 => 1,
                    0xc8 => 2,
                    _ => 4,
                };
                cursor.slice(width)?;
                return Err(DecodeErrorKind::Extension(i8::from_be_bytes(cursor.array()?)));
            }
            Marker::Reserved => return Err(DecodeErrorKind::Reserved),
        };
        Ok((head, cursor.0))
    }
}

/// The bytes still to be read.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeErrorKind> {
        let (array, rest) = self.0.split_first_chunk().ok_or(DecodeErrorKind::CutShort)?;
        self.0 = rest;
        Ok(*array)
    }

    fn slice(&mut self, len: u32) -> Result<&'a [u8], DecodeErrorKind> {
        let (slice, rest) =
            self.0.split_at_checked(len as usize).ok_or(DecodeErrorKind::CutShort)?;
        self.0 = rest;
        Ok(slice)
    }

    fn sized8(&mut self) -> Result<&'a [u8], DecodeErrorKind> {
        let len = u8::from_be_bytes(self.array()?);
        self.slice(u32::from(len))
    }

    fn sized16(&mut self) -> Result<&'a [u8], DecodeErrorKind> {
        let len = u16::from_be_bytes(self.array()?);
        self.slice(u32::from(len))
    }

    fn sized32(&mut self) -> Result<&'a [u8], DecodeErrorKind> {
        let len = u32::from_be_bytes(self.array()?);
        self.slice(len)
    }
}
