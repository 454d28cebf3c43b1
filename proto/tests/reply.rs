//! Replies: the one form that every client decodes, and errors as both versions have them.

#![allow(clippy::expect_used, reason = "a failing test panics")]

use proximity_proto::{
    Bytes, Fault, ToReply, Value,
    call::{CallId, Codec, ReplyTo},
    fault::{Executed, Reason},
    reply,
    time::{DateTime, TimeDelta},
};
use std::{borrow::Cow, collections::BTreeMap};

fn written<T: ToReply + ?Sized>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    value.to_reply(&mut out);
    out
}

#[test]
fn text_is_never_str8() {
    assert_eq!(written(""), [0xa0]);
    assert_eq!(written("hi"), *b"\xa2hi");
    for (len, head) in [
        (31, &[0xbf][..]),
        (32, &[0xda, 0, 32]),
        (255, &[0xda, 0, 255]),
        (65_535, &[0xda, 0xff, 0xff]),
        (65_536, &[0xdb, 0, 1, 0, 0]),
    ] {
        let bytes = written(&"x".repeat(len));
        assert_eq!(bytes.get(..head.len()), Some(head), "{len} letters");
        assert_eq!(bytes.len(), head.len() + len);
    }
    let key = written(&BTreeMap::from([("k".repeat(40), 1)]));
    assert_eq!(key.get(..4), Some(&[0x81, 0xda, 0, 40][..]));
}

#[test]
fn bytes_are_bin() {
    assert_eq!(written(&b"\0\xff"[..]), *b"\xc4\x02\0\xff");
    assert_eq!(written(&Bytes(vec![0; 256])).get(..3), Some(&[0xc5, 1, 0][..]));
    assert_eq!(written(&Bytes(vec![0; 65_536])).get(..5), Some(&[0xc6, 0, 1, 0, 0][..]));
    assert_eq!(written(&vec![1u8, 2]), [0x92, 1, 2], "a Vec is a list");
}

#[test]
fn whole_numbers_take_their_smallest_form() {
    let cases: &[(i64, &[u8])] = &[
        (0, &[0]),
        (127, &[0x7f]),
        (128, &[0xcc, 0x80]),
        (255, &[0xcc, 0xff]),
        (256, &[0xcd, 1, 0]),
        (65_536, &[0xce, 0, 1, 0, 0]),
        (1 << 32, &[0xcf, 0, 0, 0, 1, 0, 0, 0, 0]),
        (-1, &[0xff]),
        (-32, &[0xe0]),
        (-33, &[0xd0, 0xdf]),
        (-129, &[0xd1, 0xff, 0x7f]),
        (-32_769, &[0xd2, 0xff, 0xff, 0x7f, 0xff]),
        (-2_147_483_649, &[0xd3, 0xff, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]),
    ];
    for (number, bytes) in cases {
        assert_eq!(written(number), *bytes, "{number}");
    }
    assert_eq!(written(&u64::MAX), [0xcf, 255, 255, 255, 255, 255, 255, 255, 255]);
    assert_eq!(written(&5u8), written(&5i64));
}

#[test]
fn the_rest_of_the_forms() {
    assert_eq!(written(&1.5), [0xcb, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0]);
    assert_eq!(written(&()), [0xc0]);
    assert_eq!(written(&(true, Some(1), None::<i64>)), [0x93, 0xc3, 1, 0xc0]);
    assert_eq!(written(&Cow::Borrowed("x")), *b"\xa1x");
    assert_eq!(written(&Box::new(&7u16)), [7]);
    let when =
        DateTime { year: 2014, month: 7, day: 2, hour: 12, minute: 0, second: 0, microsecond: 1 };
    let expected = b"\x82\xac__datetime__\xc3\xa6as_str\xb820140702T12:00:00.000001";
    assert_eq!(written(&when), *expected);
    let expected = b"\x82\xad__timedelta__\xc3\xadtotal_seconds\xcb\x3f\xf8\0\0\0\0\0\0";
    assert_eq!(written(&TimeDelta { seconds: 1.5 }), *expected);
}

#[test]
fn keys_leave_as_text_however_they_came() {
    let value = Value::first(b"\x81\xc4\x01k\xd9\x02hi").expect("a map");
    assert_eq!(written(&value), *b"\x81\xa1k\xa2hi");
}

#[test]
fn types_are_named_as_python_names_them() {
    fn name<T: ToReply>() -> String {
        T::ty().name.into_owned()
    }
    assert_eq!(name::<Option<u32>>(), "int|None");
    assert_eq!(name::<Vec<&str>>(), "list[str]");
    assert_eq!(name::<BTreeMap<String, f64>>(), "dict[str, float]");
    assert_eq!(name::<&[u8]>(), "bytes");
    assert_eq!(name::<(i64, bool)>(), "list");
}

const TO: ReplyTo = ReplyTo {
    version: 2,
    codec: Codec::Json,
    id: Some(CallId { client: [0; 16], seq: 1 }),
    epoch: 9,
};

fn json(to: ReplyTo, fault: &Fault, executed: Executed, refused: Option<Reason>) -> String {
    let mut out = b"left over".to_vec();
    reply::fault(&mut out, &to, fault, executed, refused);
    String::from_utf8(out).expect("JSON is text")
}

#[test]
fn an_old_client_gets_class_message_and_lines() {
    let to = ReplyTo { version: 1, ..TO };
    let old = |fault: &Fault| json(to, fault, Executed::Yes, None);
    let plain = Fault::value_error("offset 3 is not a multiple of 4");
    assert_eq!(
        old(&plain),
        r#"{"EXCEPTION":["ValueError","offset 3 is not a multiple of 4",["ValueError: offset 3 is not a multiple of 4"]]}"#
    );
    let full = Fault::connection_error("srbs: no link").detail("refused").hint("is it powered?");
    assert_eq!(
        old(&full),
        r#"{"EXCEPTION":["ConnectionError","srbs: no link",["refused","hint: is it powered?"]]}"#
    );
    let unknown = Fault::attribute_error("no method 'nope'").unknown("nope").hint("there are: add");
    assert_eq!(
        old(&unknown),
        r#"{"EXCEPTION":["KeyError","'nope'",["no method 'nope'","hint: there are: add"]]}"#
    );
}

#[test]
fn a_new_client_gets_the_whole_fault() {
    let fault = Fault::attribute_error("no method 'nope'").unknown("nope").hint("there are: add");
    assert_eq!(
        json(TO, &fault, Executed::No, Some(Reason::Draining)),
        r#"{"epoch":9,"error":{"class":"AttributeError","detail":[],"executed":"no","hint":"there are: add","message":"no method 'nope'","reason":"Draining"},"id":[{"__bytes__":"AAAAAAAAAAAAAAAAAAAAAA=="},1],"v":2}"#
    );
}

#[test]
fn an_old_clients_value_stands_alone() {
    let to = ReplyTo { version: 1, codec: Codec::MessagePack, id: None, epoch: 9 };
    let mut out = b"left over".to_vec();
    reply::begin(&mut out, &to);
    5.to_reply(&mut out);
    reply::finish(&mut out, &to).expect("a value");
    assert_eq!(out, [5]);
}

#[test]
fn words_on_the_wire_have_one_meaning_each() {
    for reason in Reason::ALL {
        assert_eq!(Reason::from_word(reason.as_str()), Some(reason));
    }
    for executed in [Executed::Yes, Executed::No, Executed::Unknown] {
        assert_eq!(Executed::from_word(executed.as_str()), Some(executed));
    }
    assert_eq!(Reason::from_word("busy"), None);
}

#[test]
fn a_fault_keeps_its_sources_as_detail() {
    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] Inner);
    #[derive(Debug, thiserror::Error)]
    #[error("inner")]
    struct Inner(#[from] std::num::ParseIntError);

    let source = "x".parse::<i32>().expect_err("no number");
    let fault = Fault::from_error("ValueError", &Outer(Inner(source)));
    assert_eq!(fault.to_string(), "ValueError: outer");
    assert_eq!(fault.detail, ["inner", "invalid digit found in string"]);
}
