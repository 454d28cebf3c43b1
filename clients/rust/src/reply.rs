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
pub struct Reply(Frame);

impl Reply {
    /// A reply in a frame that [`Message::parse`] has found to be one.
    pub(crate) fn new(frame: Frame) -> Self {
        Self(frame)
    }

    /// The value, whatever it is.
    pub fn value(&self) -> Value<'_> {
        Message::result(&self.0).unwrap_or(Value::Nil)
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
