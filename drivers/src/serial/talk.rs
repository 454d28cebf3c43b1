//! Writing to an instrument, and reading what it says.

use super::{Serial, SerialError, bad, block};
use proximity_proto::{
    Context, FromArg, ToReply, Value,
    arg::{Mismatch, Type},
    expose, reply,
};
use std::{borrow::Cow, ops::RangeInclusive, time::Duration};

/// The most that one read returns.
const MAX_READ: u32 = 4 << 20;

/// What is written: bytes, or text in the port's encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data<'a> {
    /// Text.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
}

impl<'a> FromArg<'a> for Data<'a> {
    fn from_arg(value: Value<'a>) -> Result<Self, Mismatch> {
        match value {
            Value::Text(text) => Ok(Self::Text(text)),
            Value::Bytes(bytes) => Ok(Self::Bytes(bytes)),
            other => Err(Mismatch::wrong("bytes or a str", &other)),
        }
    }

    fn ty() -> Type {
        Type::named("bytes|str")
    }
}

impl ToReply for Data<'_> {
    fn to_reply(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => reply::text(out, text),
            Self::Bytes(bytes) => reply::bytes(out, bytes),
        }
    }

    fn ty() -> Type {
        <Self as FromArg<'_>>::ty()
    }
}

#[expose(part = Talk)]
impl Serial {
    /// Writes bytes, or text in the port's encoding, as they are: no line ending is added.
    ///
    /// An answer to it is there for read(), read_until() and readline(), until the next query() throws it
    /// away. Not to be repeated blindly: the instrument may have taken it though the call failed.
    ///
    /// data: bytes or text
    /// returns: how many bytes were written
    ///
    /// raises TimeoutError: the line takes no more bytes
    /// raises ConnectionError: the port is away
    #[effect(write)]
    pub fn write(&mut self, cx: &Context<'_>, data: Data<'_>) -> Result<usize, SerialError> {
        let bytes = self.bytes(data)?.into_owned();
        self.channel.write(cx, &bytes)?;
        Ok(bytes.len())
    }

    /// Reads up to `size` bytes; fewer, perhaps none, where no more came before the timeout.
    ///
    /// size: how many, 1 to 4194304
    /// returns: bytes
    ///
    /// raises ConnectionError: the port is away
    #[effect(write)]
    pub fn read(
        &mut self,
        cx: &Context<'_>,
        #[default(1)] size: u32,
    ) -> Result<&[u8], SerialError> {
        let (size, timeout) = (self::size(size)?, self.channel.manners.timeout);
        self.channel.read(cx, b"", size, timeout)
    }

    /// Reads up to and with `expected`; less, where it did not come before the timeout or within `size` bytes.
    ///
    /// expected: bytes or text; the line ending if none
    /// size: how many bytes at most
    /// returns: bytes
    ///
    /// raises ConnectionError: the port is away
    #[effect(write)]
    pub fn read_until(
        &mut self,
        cx: &Context<'_>,
        #[default(None)] expected: Option<Data<'_>>,
        #[default(None)] size: Option<u32>,
    ) -> Result<&[u8], SerialError> {
        let size = self::size(size.unwrap_or(MAX_READ))?;
        let expected = match expected {
            None => self.lines.read_end.clone(),
            Some(data) => self.bytes(data)?.into_owned(),
        };
        if expected.is_empty() {
            return Err(bad("expected", &"empty", "a byte or more"));
        }
        let timeout = self.channel.manners.timeout;
        self.channel.read(cx, &expected, size, timeout)
    }

    /// Reads a line with its end; less, where it did not end before the timeout.
    ///
    /// returns: bytes
    ///
    /// raises ConnectionError: the port is away
    #[effect(write)]
    pub fn readline(&mut self, cx: &Context<'_>) -> Result<&[u8], SerialError> {
        let (size, timeout) = (self::size(MAX_READ)?, self.channel.manners.timeout);
        let end = self.lines.read_end.clone();
        self.channel.read(cx, &end, size, timeout)
    }

    /// Sends a line and returns the line that answers it: one transaction, nobody comes between.
    ///
    /// What the instrument sent before is thrown away, and an answer that comes too late is never taken for
    /// another's.
    ///
    /// line: the command, without line ending
    /// timeout: seconds that the instrument may be silent, if not the port's
    /// returns: the answer without line ending; bytes that are no text in the port's encoding as Latin-1
    ///
    /// raises TimeoutError: no answer came, or none that ended
    /// raises ConnectionError: the port is away
    #[effect(write)]
    pub fn query(
        &mut self,
        cx: &Context<'_>,
        line: Data<'_>,
        #[default(None)] timeout: Option<f64>,
    ) -> Result<Cow<'_, str>, SerialError> {
        let command = [&self.bytes(line)?, self.lines.write_end.as_slice()].concat();
        let usual = self.channel.manners.timeout;
        let timeout = timeout.map_or(Ok(usual), self::timeout)?;
        self.channel.send(cx, &command, timeout)?;
        let answer = self.channel.line_behind(cx, &self.lines.read_end, &command)?;
        Ok(self.lines.encoding.decode(answer))
    }

    /// Sends a line and returns the block of bytes that answers it, as SCPI sends waveforms: `#42048`, then
    /// 2048 bytes, or `#0` and bytes up to the line ending.
    ///
    /// line: the command, without line ending
    /// returns: the bytes
    ///
    /// raises RuntimeError: the answer is no block
    /// raises TimeoutError: no answer came, or not all of it
    /// raises ConnectionError: the port is away
    #[effect(write)]
    pub fn query_binary(&mut self, cx: &Context<'_>, line: Data<'_>) -> Result<&[u8], SerialError> {
        let command = [&self.bytes(line)?, self.lines.write_end.as_slice()].concat();
        self.channel.send(cx, &command, self.channel.manners.timeout)?;
        block::read(&mut self.channel, cx, &self.lines.read_end, &command)
    }

    /// The bytes of what is to be written.
    fn bytes<'a>(&self, data: Data<'a>) -> Result<Cow<'a, [u8]>, SerialError> {
        match data {
            Data::Bytes(bytes) => Ok(Cow::Borrowed(bytes)),
            Data::Text(text) => self.lines.encoding.encode(text).map_err(|c| {
                bad(
                    "a character of the text",
                    &format_args!("'{c}'"),
                    "one that the port's encoding has",
                )
            }),
        }
    }
}

/// How many bytes to read.
fn size(size: u32) -> Result<usize, SerialError> {
    if (1..=MAX_READ).contains(&size) {
        Ok(usize::try_from(size).unwrap_or(usize::MAX))
    } else {
        Err(bad("size", &size, "1 to 4194304"))
    }
}

/// A timeout from so many seconds.
pub(crate) fn timeout(seconds: f64) -> Result<Duration, SerialError> {
    self::seconds("timeout", seconds, 0.001..=3600.0, "0.001 to 3600 seconds")
}

/// A duration from so many seconds.
pub(crate) fn seconds(
    what: &'static str,
    seconds: f64,
    range: RangeInclusive<f64>,
    must_be: &'static str,
) -> Result<Duration, SerialError> {
    if range.contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(bad(what, &seconds, must_be))
    }
}
