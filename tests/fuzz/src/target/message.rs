//! A message from an agent, as a client reads it.

use super::{alike, outcome};
use crate::{Target, corpus, measure};
use proximity_proto::{
    FromArg, ToReply, Value,
    call::{Codec, ReplyTo},
    hello::Hello,
    message::{Content, Message, MessageError},
    reply,
};
use std::mem::discriminant;

pub(crate) const TARGET: Target = Target {
    name: "message",
    body,
    seeds: corpus::messages,
    words: &[
        b"\xa1v\x02",
        b"\xa2id\xc0",
        b"\xa5epoch\x01",
        b"\xa2ok",
        b"\xa5error",
        b"\xa8progress\x93\x01\x02\xa0",
        b"\xa5class",
        b"\xa7message",
        b"\xa6detail",
        b"\xa4hint",
        b"\xa8executed\xa7unknown",
        b"\xa6limits",
        b"\xa7objects",
        b"\xdd\x00\x01\x00\x00",
    ],
};

/// A detail of one letter is two bytes, and 25 here, in a list that is there one and a half times while it doubles.
const TIMES: usize = 40;

fn body(bytes: &[u8]) -> u64 {
    let message = match measure::within(bytes.len(), TIMES, || Message::parse(bytes)) {
        Ok(message) => message,
        Err(MessageError::Decode(error)) => return outcome(discriminant(&error.kind)),
        Err(error) => return outcome(error.to_string()),
    };
    assert_eq!(Message::id_of(bytes), message.id, "the id is the same without a look at the rest");
    let to =
        ReplyTo { version: 2, codec: Codec::MessagePack, id: message.id, epoch: message.epoch };
    let mut out = Vec::new();
    match &message.content {
        Content::Ok(value) => {
            let result = Message::result(bytes).expect("a result");
            assert!(alike(result, *value), "the result is the same without a check");
            reply::begin(&mut out, &to);
            reply::value(&mut out, *value);
            hello(*value);
        }
        Content::Error { fault, executed, .. } => {
            reply::fault(&mut out, &to, fault, *executed, None);
        }
        Content::Progress { done, total, text } => {
            reply::progress(&mut out, &to, *done, *total, text);
        }
        _ => return outcome("other"),
    }
    let again = Message::parse(&out).expect("what we write is a message");
    assert_eq!((again.id, again.epoch), (message.id, message.epoch));
    let same = match (&message.content, &again.content) {
        (Content::Ok(left), Content::Ok(right)) => alike(*left, *right),
        (
            Content::Error { fault, executed, .. },
            Content::Error { fault: same, executed: too, .. },
        ) => (fault, executed) == (same, too),
        (left, right) => left == right,
    };
    assert!(same, "{:?} became {:?}", message.content, again.content);
    outcome((discriminant(&message.content), message.id.is_some()))
}

/// What an agent tells of itself, if it is that.
fn hello(value: Value<'_>) {
    let Ok(hello) = Hello::from_arg(value) else { return };
    let mut out = Vec::new();
    hello.to_reply(&mut out);
    let again = Value::first(&out).expect("what we write is a value");
    assert_eq!(Hello::from_arg(again).ok(), Some(hello));
}
