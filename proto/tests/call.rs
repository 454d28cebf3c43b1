//! Requests as clients send them, and what is said of those that will not do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a failing test panics"
)]

use proximity_proto::{
    Fault, Value,
    arg::{Bound, FromArg, Type},
    call::{BadCall, Call, CallId, Op, Place},
    limits::Limits,
    object::{Args, Param, ParamKind},
    reply,
};
use std::collections::BTreeMap;

/// What the four keys of a request may be: `None` leaves the key out.
struct Sent<'a> {
    keys: Vec<(&'a str, Vec<u8>)>,
}

fn text(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    reply::text(&mut out, text);
    out
}

impl Sent<'_> {
    fn old() -> Self {
        let keys = vec![
            ("name", text("foo")),
            ("proc", text("add_two")),
            ("args", vec![0x92, 2, 3]),
            ("kwargs", vec![0x80]),
        ];
        Self { keys }
    }

    fn new() -> Self {
        let mut sent = Self::old();
        let id = [&[0x92, 0xc4, 16][..], &[7; 16], &[0xcd, 1, 2]].concat();
        sent.keys.insert(0, ("v", vec![2]));
        sent.keys.insert(1, ("id", id));
        sent
    }

    fn with(mut self, key: &'static str, value: impl Into<Vec<u8>>) -> Self {
        self.keys.retain(|(name, _)| *name != key);
        self.keys.push((key, value.into()));
        self
    }

    fn without(mut self, key: &str) -> Self {
        self.keys.retain(|(name, _)| *name != key);
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        reply::map_head(&mut out, self.keys.len());
        for (key, value) in &self.keys {
            reply::text(&mut out, key);
            out.extend_from_slice(value);
        }
        out
    }

    fn refused(&self) -> BadCall {
        let bytes = self.bytes();
        Call::parse(&bytes, &Limits::default()).expect_err("to be refused")
    }
}

const ID: CallId = CallId { client: [7; 16], seq: 258 };

#[test]
fn each_missing_key_is_the_originals_key_error() {
    for key in ["name", "proc", "args", "kwargs"] {
        let bad = Sent::old().without(key).refused();
        assert_eq!(bad.version, 1);
        assert_eq!(bad.fault.to_string(), format!("KeyError: the request has no '{key}'"));
        let mut out = Vec::new();
        let to = reply_to(1);
        reply::fault(&mut out, &to, &bad.fault, proximity_proto::fault::Executed::No, None);
        let shown = format!("{:?}", Value::first(&out).unwrap());
        assert_eq!(
            shown,
            format!(
                "Map({{Text(\"EXCEPTION\"): Array([Text(\"KeyError\"), Text(\"'{key}'\"), \
                 Array([Text(\"the request has no '{key}'\")])])}})"
            )
        );
    }
}

fn reply_to(version: u8) -> proximity_proto::call::ReplyTo {
    let codec = proximity_proto::call::Codec::MessagePack;
    proximity_proto::call::ReplyTo { version, codec, id: None, epoch: 1 }
}

#[test]
fn keys_come_in_any_order_and_as_bytes() {
    let sent = Sent::old();
    let expected = sent.bytes();
    let expected = Call::parse(&expected, &Limits::default()).unwrap();
    // All 24 orders.
    for order in 0..24 {
        let mut rest = sent.keys.clone();
        let mut keys = Vec::new();
        let mut order = order;
        while !rest.is_empty() {
            let place = order % rest.len();
            order /= rest.len();
            keys.push(rest.remove(place));
        }
        let bytes = Sent { keys }.bytes();
        let call = Call::parse(&bytes, &Limits::default()).unwrap();
        assert_eq!(format!("{call:?}"), format!("{expected:?}"));
    }
    // Python 2 with msgpack 1.0 sends every text as bin.
    let binary = b"\x84\xc4\x04args\x92\x02\x03\xc4\x04proc\xc4\x07add_two\xc4\x04name\xc4\x03foo\xc4\x06kwargs\x80";
    let call = Call::parse(binary, &Limits::default()).unwrap();
    assert_eq!((call.name, call.proc, call.args.positional.len()), ("foo", "add_two", 2));
}

#[test]
fn a_call_is_found_again_by_its_place() {
    let plain = Sent::old().bytes();
    let mut named = Sent::new();
    named = named.with("proc", text("read")).with("args", vec![0x91, 0x92, 1, 2]);
    let named = named.with("kwargs", [&[0x81][..], &text("offset"), &[4]].concat()).bytes();
    let bare = Sent::new().without("args").without("kwargs").bytes();
    for request in [plain, named, bare] {
        let call = Call::parse(&request, &Limits::default()).map_err(|bad| bad.fault).unwrap();
        let place = Place::of(&call, &request);
        // The bytes move, as they do when they are passed on.
        let moved = request.clone();
        assert_eq!(place.op, call.op);
        let (proc, args) = place.read(&moved).unwrap();
        assert_eq!(proc, call.proc);
        assert!(args.positional.iter().eq(call.args.positional.iter()));
        assert!(args.named.iter().eq(call.args.named.iter()));
        assert_eq!(place.read(&moved[..3]), None, "another request");
    }
}

#[test]
fn the_original_requests_are_read() {
    // As captured: Python 2 with msgpack 0.4, Python 3.
    for bytes in [
        &b"\x84\xa4args\x92\x02\x03\xa4proc\xa7add_two\xa4name\xa3foo\xa6kwargs\x80"[..],
        b"\x84\xa4name\xa3foo\xa4proc\xa7add_two\xa4args\x92\x02\x03\xa6kwargs\x80",
    ] {
        let call = Call::parse(bytes, &Limits::default()).unwrap();
        assert_eq!((call.op, call.version, call.id), (Op::Call, 1, None));
        assert_eq!((call.name, call.proc), ("foo", "add_two"));
        assert_eq!(call.args.positional.iter().collect::<Vec<_>>(), [2, 3].map(Value::Uint));
    }
    let list = Sent::old().with("proc", text("list_methods")).bytes();
    assert_eq!(Call::parse(&list, &Limits::default()).unwrap().op, Op::ListMethods);
    let list = Sent::new().with("proc", text("list_methods")).bytes();
    let call = Call::parse(&list, &Limits::default()).unwrap();
    assert_eq!((call.op, call.version), (Op::Call, 2), "taken in version 1 only");
}

#[test]
fn version_2_does_without_what_a_request_does_not_need() {
    let parsed = |sent: Sent<'_>, check: &dyn Fn(Call<'_>)| {
        let bytes = sent.bytes();
        check(Call::parse(&bytes, &Limits::default()).unwrap());
    };
    parsed(Sent::new().without("args").without("kwargs"), &|call| {
        assert!(call.args == Args::NONE && call.op == Op::Call && call.epoch.is_none());
    });
    parsed(Sent::new().with("args", [0xc0]).with("kwargs", [0xc0]), &|call| {
        assert!(call.args == Args::NONE);
    });
    let hello = Sent::new().with("op", text("hello")).without("name").without("proc");
    parsed(hello, &|call| assert_eq!((call.op, call.name, call.proc), (Op::Hello, "", "")));
    for op in ["cancel", "leases", "credit", "status", "log"] {
        let asked = Sent::new().with("op", text(op)).without("name").without("proc");
        parsed(asked, &|call| assert_eq!((call.op.as_str(), call.name), (op, "")));
    }
    let describe = Sent::new().with("op", text("describe")).without("proc");
    parsed(describe, &|call| assert_eq!((call.op, call.name), (Op::Describe, "foo")));
    parsed(Sent::old().with("op", text("hello")), &|call| {
        assert_eq!((call.op, call.version), (Op::Call, 1), "an old client's own key");
    });
}

#[test]
fn the_sentences_of_refused_requests() {
    let cases = [
        (Sent::new().without("name"), "KeyError: the request has no 'name'"),
        (Sent::new().without("proc"), "KeyError: the request has no 'proc'"),
        (Sent::new().without("id"), "ValueError: a version 2 request needs an 'id'"),
        (Sent::new().with("v", [3]), "ValueError: 'v' is 3; this agent speaks version 2"),
        (
            Sent::new().with("op", text("subscribe")),
            "ValueError: 'op' is 'subscribe'; this agent knows call, get, set, cancel, describe, \
             hello, status, lock, renew, release, leases, steal, credit, log",
        ),
        (
            Sent::new().with("op", text(&"\u{1}".repeat(257))),
            "ValueError: 'op' is a text of 257 bytes; this agent knows call, get, set, cancel, \
             describe, hello, status, lock, renew, release, leases, steal, credit, log",
        ),
        (Sent::old().with("name", [7]), "TypeError: the request's 'name' must be text, not int"),
        (
            Sent::old().with("name", text(&"n".repeat(257))),
            "ValueError: the request's 'name' has 257 bytes; names have at most 256",
        ),
        (
            Sent::old().with("args", [0x80]),
            "TypeError: the request's 'args' must be a list, not dict",
        ),
        (
            Sent::old().with("kwargs", [0x90]),
            "TypeError: the request's 'kwargs' must be a dict, not list",
        ),
        (
            Sent::new().with("id", [0x90]),
            "TypeError: the request's 'id' must be [bytes(16), int], not list",
        ),
        (
            Sent::new().with("epoch", text("now")),
            "TypeError: the request's 'epoch' must be an int, not str",
        ),
        (
            Sent::new().with("epoch", [0xff]),
            "ValueError: the request's 'epoch' is -1; it must be 0 to 18446744073709551615",
        ),
        (
            Sent::new().with("credit", [0xd0, 0x80]),
            "ValueError: the request's 'credit' is -128; it must be 0 to 18446744073709551615",
        ),
        (
            Sent::new().with("id", [&[0x92, 0xc4, 16][..], &[7; 16], &[0xff]].concat()),
            "ValueError: the number in the request's 'id' is -1; it must be 0 to \
             18446744073709551615",
        ),
        (Sent::new().with("v", [0xff]), "ValueError: 'v' is -1; this agent speaks version 2"),
        (Sent::new().with("v", text("2")), "TypeError: the request's 'v' must be an int, not str"),
        (
            Sent::old().with("args", [0x91, 0x81, 1, 2]),
            "TypeError: a dict in the request has a key that is no text (at byte 38)",
        ),
        (
            Sent { keys: vec![("name", text("a")), ("name", text("b"))] },
            "ValueError: the request has two keys 'name'",
        ),
        (
            Sent { keys: [Sent::new().keys, unknown(&["b", "a", "c", "\u{1}", "b"])].concat() },
            "ValueError: the request has two keys 'b'",
        ),
        (
            Sent { keys: [Sent::old().keys, unknown(&["\u{1}", "\u{1}"])].concat() },
            "ValueError: the request has two keys '\\u{1}'",
        ),
    ];
    for (sent, sentence) in cases {
        assert_eq!(sent.refused().fault.to_string(), sentence);
    }
    let parse = |bytes| Call::parse(bytes, &Limits::default()).unwrap_err().fault.to_string();
    assert_eq!(parse(b"\x05"), "TypeError: a request must be a map, not int");
    assert_eq!(parse(b""), "ValueError: the message is empty (at byte 0)");
    assert_eq!(parse(b"\xc1"), "ValueError: byte 0xc1 starts no MessagePack value (at byte 0)");
}

/// Keys that nobody knows.
fn unknown<'a>(keys: &[&'a str]) -> Vec<(&'a str, Vec<u8>)> {
    keys.iter().map(|key| (*key, vec![0xc0])).collect()
}

#[test]
fn keys_of_later_versions_are_ignored() {
    let names: Vec<String> = (0..65).map(|at| format!("x{at}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let sent = |count| Sent { keys: [unknown(&names[..count]), Sent::new().keys].concat() };
    assert_eq!(
        sent(65).refused().fault.to_string(),
        "ValueError: the request has 65 keys that version 2 does not know; at most 64 are ignored"
    );
    let bytes = sent(64).bytes();
    let call = Call::parse(&bytes, &Limits::default()).map_err(|bad| bad.fault).unwrap();
    assert_eq!((call.id, call.proc), (Some(ID), "add_two"));
}

#[test]
fn a_refusal_bears_the_id_before_the_offence() {
    let other = [&[0x92, 0xc4, 16][..], &[8; 16], &[1]].concat();
    let twice = Sent { keys: [Sent::new().keys, vec![("id", other)]].concat() };
    let bad = twice.refused();
    assert_eq!((bad.version, bad.id), (2, Some(ID)), "{:?}", bad.fault);
    assert_eq!(bad.fault.to_string(), "ValueError: the request has two keys 'id'");
    // Cut short behind both: what is left is read by the same rule.
    let bytes = twice.bytes();
    let bad = Call::parse(&bytes[..bytes.len() - 1], &Limits::default()).unwrap_err();
    assert_eq!((bad.version, bad.id), (2, Some(ID)), "{:?}", bad.fault);
}

#[test]
fn what_cannot_be_taken_is_answered_by_its_id() {
    let answered = |bytes: &[u8], limits: Limits| {
        let bad = Call::parse(bytes, &limits).unwrap_err();
        assert_eq!((bad.version, bad.id), (2, Some(ID)), "{:?}", bad.fault);
        bad.fault
    };
    let sent = Sent::new().bytes();
    let small = Limits { max_frame: sent.len() - 1, ..Limits::default() };
    let hint = answered(&sent, small).hint.unwrap();
    assert_eq!(hint, "hello() tells the agent's limits; send large data in pieces");
    let few = Limits { max_items: 10, ..Limits::default() };
    answered(&sent, few);
    answered(&sent[..sent.len() - 1], Limits::default());
    let deep = [vec![0x91; 40], vec![0xc0]].concat();
    answered(&Sent::new().with("args", deep).bytes(), Limits::default());
    answered(&Sent::new().with("args", [0x91, 0x81, 1, 2]).bytes(), Limits::default());
    answered(&Sent::new().with("op", text("subscribe")).bytes(), Limits::default());
    answered(&Sent::new().with("name", [1]).bytes(), Limits::default());
    answered(&Sent::new().with("v", text("2")).bytes(), Limits::default());
    answered(&Sent::new().with("v", [0xff]).bytes(), Limits::default());
}

fn plain(name: &str, default: Option<Vec<u8>>) -> Param {
    Param { name: name.into(), ty: Type::named("any"), default, kind: ParamKind::Plain }
}

/// `read(device_name, size, offset=0)`
fn read_params() -> [Param; 3] {
    [plain("device_name", None), plain("size", None), plain("offset", Some(vec![0]))]
}

fn bound(args: &[u8], kwargs: &[u8]) -> Result<(), Fault> {
    let (Some(Value::Array(positional)), Some(Value::Map(named))) =
        (Value::first(args), Value::first(kwargs))
    else {
        panic!("a list and a map");
    };
    Bound::<3>::new("read", &read_params(), Args { positional, named }).map(|_| ())
}

#[test]
fn the_sentences_of_arguments_that_do_not_fit_the_signature() {
    let sentence = |args: &[u8], kwargs: &[u8]| bound(args, kwargs).unwrap_err().to_string();
    assert_eq!(
        sentence(b"\x90", b"\x80"),
        "TypeError: read() missing required arguments: 'device_name', 'size'"
    );
    assert_eq!(
        sentence(b"\x91\xa1d", b"\x80"),
        "TypeError: read() missing required argument: 'size'"
    );
    assert_eq!(
        sentence(b"\x94\xa1d\x01\x02\x03", b"\x80"),
        "TypeError: read() takes 2 to 3 arguments but 4 were given"
    );
    assert_eq!(
        sentence(b"\x91\xa1d", b"\x81\xabdevice_name\xa1e"),
        "TypeError: read() got multiple values for argument 'device_name'"
    );
    let unknown = bound(b"\x91\xa1d", b"\x81\xa3siz\x04").unwrap_err();
    assert_eq!(unknown.to_string(), "TypeError: read() got an unexpected keyword argument 'siz'");
    assert_eq!(unknown.hint.as_deref(), Some("did you mean 'size'?"));
    assert!(bound(b"\x91\xa1d", b"\x82\xa4size\x04\xa6offset\x08").is_ok());

    let one = [plain("x", None)];
    let args = Args { positional: list(b"\x92\x01\x02"), ..Args::NONE };
    let fault = Bound::<1>::new("f", &one, args).unwrap_err();
    assert_eq!(fault.to_string(), "TypeError: f() takes 1 argument but 2 were given");
    let args = Args { positional: list(b"\x91\x01"), ..Args::NONE };
    let fault = Bound::<0>::new("f", &[], args).unwrap_err();
    assert_eq!(fault.to_string(), "TypeError: f() takes 0 arguments but 1 was given");
}

fn list(bytes: &[u8]) -> proximity_proto::Array<'_> {
    let Some(Value::Array(list)) = Value::first(bytes) else { panic!("a list") };
    list
}

#[test]
fn the_sentences_of_values_that_do_not_fit_the_parameter() {
    fn sentence<'a, T: FromArg<'a>>(value: Value<'a>) -> String {
        let mismatch = T::from_arg(value).map(|_| ()).unwrap_err();
        mismatch.fault("argument 'size'").to_string()
    }
    let size = "argument 'size'";
    assert_eq!(
        sentence::<u32>(Value::Int(-1)),
        format!("ValueError: {size} is -1; it must be 0 to 4294967295")
    );
    assert_eq!(
        sentence::<i8>(Value::Uint(u64::MAX)),
        format!("ValueError: {size} is 18446744073709551615; it must be -128 to 127")
    );
    assert_eq!(
        sentence::<u32>(Value::Float(1.0)),
        format!("TypeError: {size} must be an int, not float")
    );
    assert_eq!(
        sentence::<i64>(Value::Bool(true)),
        format!("TypeError: {size} must be an int, not bool")
    );
    assert_eq!(
        sentence::<f64>(Value::Text("1")),
        format!("TypeError: {size} must be a float, not str")
    );
    assert_eq!(
        sentence::<&str>(Value::Uint(1)),
        format!("TypeError: {size} must be a str, not int")
    );
    assert_eq!(
        sentence::<&str>(Value::Bytes(b"\xff")),
        format!("TypeError: {size} must be a str, not bytes")
    );
    assert_eq!(sentence::<&[u8]>(Value::Nil), format!("TypeError: {size} must be bytes, not None"));
    assert_eq!(
        sentence::<bool>(Value::Uint(1)),
        format!("TypeError: {size} must be a bool, not int")
    );
    assert_eq!(
        sentence::<Vec<u8>>(Value::Text("x")),
        format!("TypeError: {size} must be a list, not str")
    );
}

#[test]
fn values_that_fit_are_taken() {
    assert_eq!(f64::from_arg(Value::Int(-2)), Ok(-2.0), "as Python does");
    assert_eq!(<&str>::from_arg(Value::Bytes(b"text")), Ok("text"), "Python 2 with msgpack 1.0");
    assert_eq!(<&[u8]>::from_arg(Value::Text("raw")), Ok(&b"raw"[..]), "Python 2 before that");
    assert_eq!(Option::<u8>::from_arg(Value::Nil), Ok(None));
    assert_eq!(Option::<u8>::from_arg(Value::Uint(3)), Ok(Some(3)));
    assert_eq!(Vec::<u16>::from_arg(Value::Array(list(b"\x92\x01\xcd\x01\0"))), Ok(vec![1, 256]));
    let Some(map @ Value::Map(_)) = Value::first(b"\x81\xa1a\x01") else { panic!("a map") };
    assert_eq!(BTreeMap::from_arg(map), Ok(BTreeMap::from([("a", 1u8)])));
}
