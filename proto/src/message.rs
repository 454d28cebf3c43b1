//! Version 2 messages from the agent, as a client reads them.
//!
//! [`crate::reply`] writes what is read here; docs/wire.md has the bytes.

use crate::{
    call::CallId,
    fault::{Executed, Fault},
    limits::Limits,
    value::{DecodeError, Map, Value, check},
};
use alloc::{string::String, vec::Vec};
use core::time::Duration;

/// A message from the agent.
#[derive(Clone, Debug, PartialEq)]
pub struct Message<'a> {
    /// The call that it belongs to; `None` where the agent could not tell.
    pub id: Option<CallId>,
    /// The agent's epoch.
    pub epoch: u64,
    /// What it says.
    pub content: Content<'a>,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Content<'a> {
    /// Final: the result.
    Ok(Value<'a>),
    /// Final: an error.
    Error {
        /// Its class, text, detail and hint.
        fault: Fault,
        /// Whether the method ran.
        executed: Executed,
        /// Why the agent itself refused the call, as a [`crate::fault::Reason`]'s word; `None` where
        /// the error is the object's own.
        reason: Option<&'a str>,
    },
    /// Not final: how far the call has come.
    Progress {
        /// How much is done.
        done: u64,
        /// Of how much; 0 where that is not known.
        total: u64,
        /// What is being done.
        text: &'a str,
    },
    /// Not final: a part of the result, as many as the call's credit allows.
    Chunk {
        /// Which part, from 0.
        index: u64,
        /// How many there are.
        count: u64,
        /// The next bytes of the result in MessagePack.
        data: &'a [u8],
    },
    /// Final: the result came in chunks before.
    Chunked {
        /// How many.
        count: u64,
        /// How many bytes together.
        bytes: u64,
    },
    /// Something that a later version sends: to be ignored.
    Other,
}

/// Bytes that are no version 2 message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// They are no MessagePack.
    #[error("the message is no MessagePack")]
    Decode(#[from] DecodeError),
    /// They are MessagePack, but not an envelope of version 2: an original server answers so.
    #[error("the message is not of version 2")]
    NotVersion2,
    /// A key of the envelope is missing or of the wrong kind.
    #[error("the message's '{0}' is missing or of the wrong kind")]
    Key(&'static str),
}

impl<'a> Message<'a> {
    /// Reads a message.
    ///
    /// # Errors
    ///
    /// [`MessageError`]: the bytes are no version 2 message.
    ///
    /// # Examples
    ///
    /// ```
    /// use proximity_proto::{message::{Content, Message}, value::Value};
    ///
    /// let message = Message::parse(b"\x84\xa1v\x02\xa2id\xc0\xa5epoch\x07\xa2ok\x05")?;
    /// assert_eq!(message.epoch, 7);
    /// assert_eq!(message.content, Content::Ok(Value::Uint(5)));
    /// # Ok::<(), proximity_proto::message::MessageError>(())
    /// ```
    pub fn parse(bytes: &'a [u8]) -> Result<Self, MessageError> {
        // A client takes what its agent sends: nothing is allocated for it, so only depth must hold.
        check(bytes, &Limits { max_frame: usize::MAX, max_items: u32::MAX })?;
        let Some(Value::Map(map)) = Value::first(bytes) else {
            return Err(MessageError::NotVersion2);
        };
        if map.get("v") != Some(Value::Uint(2)) {
            return Err(MessageError::NotVersion2);
        }
        let id = match map.get("id") {
            None | Some(Value::Nil) => None,
            Some(id) => Some(CallId::from_value(id).ok_or(MessageError::Key("id"))?),
        };
        let epoch = map.get("epoch").and_then(|epoch| epoch.as_u64());
        let epoch = epoch.ok_or(MessageError::Key("epoch"))?;
        let content = if let Some(chunks) = map.get("chunks") {
            let (count, bytes) = pair(chunks).ok_or(MessageError::Key("chunks"))?;
            Content::Chunked { count, bytes }
        } else if let Some(value) = map.get("ok") {
            Content::Ok(value)
        } else if let Some(error) = map.get("error") {
            error_of(error).ok_or(MessageError::Key("error"))?
        } else if let Some(progress) = map.get("progress") {
            progress_of(progress).ok_or(MessageError::Key("progress"))?
        } else if let Some(chunk) = map.get("chunk") {
            let (index, count) = pair(chunk).ok_or(MessageError::Key("chunk"))?;
            let data = map.get("data").and_then(|data| data.as_bytes());
            Content::Chunk { index, count, data: data.ok_or(MessageError::Key("data"))? }
        } else {
            Content::Other
        };
        Ok(Self { id, epoch, content })
    }

    /// The id in a message, without checking the message: `None` where there is none.
    pub fn id_of(bytes: &[u8]) -> Option<CallId> {
        let Some(Value::Map(map)) = Value::head(bytes) else { return None };
        map.get("id").and_then(CallId::from_value)
    }

    /// The result in a message that [`Message::parse`] has read as [`Content::Ok`], without checking
    /// it again.
    pub fn result(bytes: &'a [u8]) -> Option<Value<'a>> {
        let Some(Value::Map(map)) = Value::head(bytes) else { return None };
        map.get("ok")
    }
}

fn error_of(value: Value<'_>) -> Option<Content<'_>> {
    let Value::Map(map) = value else { return None };
    let required = |key| map.get(key).and_then(|value| value.as_text());
    let mut fault = Fault::new(String::from(required("class")?), required("message")?);
    fault.detail = lines(map);
    fault.hint = required("hint").map(String::from);
    let expires_in = map.get("expires_in").and_then(|value| value.as_u64());
    if let (Some(holder), Some(expires_in)) = (required("holder"), expires_in) {
        fault = fault.locked(holder, Duration::from_millis(expires_in));
    }
    // Without the agent's word that nothing ran, anything may have.
    let executed = required("executed").and_then(Executed::from_word).unwrap_or(Executed::Unknown);
    Some(Content::Error { fault, executed, reason: required("reason") })
}

fn lines(error: Map<'_>) -> Vec<String> {
    match error.get("detail") {
        Some(Value::Array(lines)) => {
            lines.iter().filter_map(|line| line.as_text().map(String::from)).collect()
        }
        _ => Vec::new(),
    }
}

fn pair(value: Value<'_>) -> Option<(u64, u64)> {
    let Value::Array(parts) = value else { return None };
    Some((parts.get(0)?.as_u64()?, parts.get(1)?.as_u64()?))
}

fn progress_of(value: Value<'_>) -> Option<Content<'_>> {
    let Value::Array(parts) = value else { return None };
    let (done, total) = (parts.get(0)?.as_u64()?, parts.get(1)?.as_u64()?);
    Some(Content::Progress { done, total, text: parts.get(2)?.as_text()? })
}
