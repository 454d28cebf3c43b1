//! A request in MessagePack.

use super::{alike, magnitude, outcome, walk};
use crate::{Target, corpus, measure};
use proximity_proto::{
    Value,
    call::{Call, Codec, Place, ReplyTo},
    fault::Executed,
    limits::Limits,
    reply,
    value::check,
};
use std::mem::discriminant;

pub(crate) const TARGET: Target = Target {
    name: "request",
    body,
    seeds: corpus::requests,
    words: &[
        b"\xa1v\x02",
        b"\xa2id\x92\xc4\x10",
        b"\xa2op",
        b"\xa5epoch",
        b"\xa7expires",
        b"\xa4name",
        b"\xa4proc",
        b"\xa4args",
        b"\xa6kwargs",
        b"\xc4\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\x80\x00\x00\x00",
        b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00",
        b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00",
        b"\xc1",
        b"\xc7\x01\x05",
        b"\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91",
    ],
};

fn body(bytes: &[u8]) -> u64 {
    let limits = Limits::default();
    let checked = measure::within(0, 0, || check(bytes, &limits));
    let call = measure::within(bytes.len(), 4, || {
        Call::parse(bytes, &limits).map_err(|bad| {
            let to =
                ReplyTo { version: bad.version, codec: Codec::MessagePack, id: bad.id, epoch: 0 };
            let mut out = Vec::new();
            reply::fault(&mut out, &to, &bad.fault, Executed::No, None);
            (bad, out)
        })
    });
    let Ok(sound) = checked else {
        let error = checked.expect_err("it is one");
        assert!(error.position <= bytes.len(), "{error:?} lies in the message");
        assert!(call.is_err(), "what is no message is no request");
        return outcome((discriminant(&error.kind), magnitude(error.position)));
    };
    let value = Value::first(bytes).expect("a checked message is a value");
    let count = walk(value);

    let mut again = Vec::new();
    reply::value(&mut again, value);
    let unlimited = Limits { max_frame: usize::MAX, max_items: u32::MAX };
    check(&again, &unlimited).expect("what we write is sound");
    let second = Value::first(&again).expect("a checked message is a value");
    assert!(alike(value, second), "{value:?} became {second:?}");
    let mut third = Vec::new();
    reply::value(&mut third, second);
    assert_eq!(again, third, "what we write has one form");

    match call {
        Ok(call) => {
            assert!(sound.odd_key.is_none(), "keys are text");
            let place = Place::of(&call, bytes);
            assert_eq!(place.read(bytes), Some((call.proc, call.args)), "a call is where it lies");
            let same = Call::parse(&again, &limits).expect("what we write is a request too");
            assert_eq!((call.op, call.version, call.id), (same.op, same.version, same.id));
            assert_eq!((call.name, call.proc), (same.name, same.proc));
            assert_eq!((call.epoch, call.expires), (same.epoch, same.expires));
            assert_eq!((call.lease, call.progress), (same.lease, same.progress));
            outcome((call.version, discriminant(&call.op), magnitude(count)))
        }
        Err((bad, reply)) => {
            check(&reply, &limits).expect("a refusal is sound");
            outcome((bad.version, bad.id.is_some(), bad.fault.message.split(' ').nth(2)))
        }
    }
}
