//! Results.

use crate::{ResultError, transport::Frame};
use proximity_proto::{FromArg, Value, message::Message};
use std::fmt;

/// The result of a call, kept in the bytes in which it arrived.
///
/// # Examples
///
/// ```no_run
/// # let srbs = proximity_client::Client::new("colossus")?.object("srbs");
/// let size: u64 = srbs.call("size", ("big_bram",))?.get()?;
/// let memory = srbs.call("read", ("big_bram", size))?;
/// let words: &[u8] = memory.get()?;        // nothing is copied
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Reply(Kept);

enum Kept {
    /// The message with the value in it.
    Message(Frame),
    /// The value, which came in chunks.
    Value(Vec<u8>),
}

impl Reply {
    /// A reply in a frame that [`Message::parse`] has found to be one.
    pub(crate) fn new(frame: Frame) -> Self {
        Self(Kept::Message(frame))
    }

    /// A value that came in chunks, and is known to be sound.
    pub(crate) fn of_value(bytes: Vec<u8>) -> Self {
        Self(Kept::Value(bytes))
    }

    /// The value, whatever it is.
    pub fn value(&self) -> Value<'_> {
        let value = match &self.0 {
            Kept::Message(frame) => Message::result(frame),
            Kept::Value(bytes) => Value::first(bytes),
        };
        value.unwrap_or(Value::Nil)
    }

    /// The value as a type: whole numbers (range checked), `f64`, `bool`, `&str`, `String`, `&[u8]`,
    /// `Option`, `Vec`, maps, [`DateTime`](proximity_proto::time::DateTime), or one with its own
    /// [`FromArg`].
    ///
    /// # Errors
    ///
    /// The value is of another type, or out of range.
    pub fn get<'a, T: FromArg<'a>>(&'a self) -> Result<T, ResultError> {
        T::from_arg(self.value()).map_err(ResultError)
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reply").field(&self.value()).finish()
    }
}
