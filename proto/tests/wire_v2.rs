//! The bytes of version 2, as released: if this fails, the change is wrong, not the file.
//!
//! `tests/golden/wire-v2/messages.txt` may only grow. Each form is written and compared, and read
//! back and compared with what was written.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failing test panics")]

use proximity_proto::{
    Bytes, Fault, ToReply, Value,
    arg::FromArg,
    call::{Call, CallId, Codec, Op, ReplyTo},
    fault::{Executed, Reason},
    hello::{AgentLimits, Hello},
    json,
    lease::{Held, Lease, Stolen},
    limits::Limits,
    message::{Content, Message},
    reply,
    request::{Arguments, Request},
};
use std::{collections::BTreeMap, time::Duration};

const ID: CallId = CallId { client: *b"0123456789abcdef", seq: 258 };
const EPOCH: u64 = 0x1122_3344_5566_7788;
const TO: ReplyTo = ReplyTo { version: 2, codec: Codec::MessagePack, id: Some(ID), epoch: EPOCH };

/// The forms in the file, in order: name and bytes.
fn golden() -> Vec<(String, Vec<u8>)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/wire-v2/messages.txt");
    let text = std::fs::read_to_string(path).expect("the golden file is in the checkout");
    let mut lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut forms = Vec::new();
    while let (Some(name), Some(hex)) = (lines.next(), lines.next()) {
        let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
        forms.push((name.to_owned(), (0..hex.len()).step_by(2).map(digit).collect()));
    }
    forms
}

/// One form of the file.
fn golden_bytes(name: &str) -> Vec<u8> {
    let found = golden().into_iter().find(|(known, _)| known == name);
    found.unwrap_or_else(|| panic!("no form '{name}' in the file")).1
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn request(op: Op, name: &str, proc: &str, args: &Arguments) -> Vec<u8> {
    let known = !matches!(op, Op::Hello | Op::Describe);
    let mut out = Vec::new();
    Request {
        op,
        id: ID,
        epoch: known.then_some(EPOCH),
        expires: known.then_some(Duration::from_secs(70)),
        lease: None,
        credit: None,
        progress: false,
        name,
        proc,
        args,
    }
    .write(&mut out);
    out
}

fn ok(value: &impl ToReply) -> Vec<u8> {
    let mut out = Vec::new();
    reply::begin(&mut out, &TO);
    value.to_reply(&mut out);
    reply::finish(&mut out, &TO).expect("a value");
    out
}

fn error(fault: &Fault, executed: Executed, refused: Option<Reason>) -> Vec<u8> {
    let mut out = Vec::new();
    reply::fault(&mut out, &TO, fault, executed, refused);
    out
}

fn hello() -> Hello {
    Hello {
        epoch: EPOCH,
        now: Duration::from_mins(1),
        agent: "proximity-agent".into(),
        version: "0.1.0".into(),
        limits: AgentLimits::new(&Limits::default(), 32),
        features: vec![],
        objects: BTreeMap::from([
            ("animals.angry".into(), 7),
            ("foo".into(), 0xffff_ffff_ffff_ffff),
        ]),
    }
}

fn not_found() -> Fault {
    Fault::key_error("no register 'sys' on srbs")
        .detail("?read fail unknown_register")
        .hint("listdev() tells which there are")
}

fn busy() -> Fault {
    Fault::runtime_error("object 'slow' is busy: its queue of 32 calls is full")
}

/// Everything that is in the file, written anew.
fn written() -> Vec<(&'static str, Vec<u8>)> {
    let none = Arguments::default();
    let mut add = Arguments::default();
    add.push(&2);
    add.push(&3);
    let mut read = Arguments::default();
    read.push("big_bram");
    read.push_named("offset", &4);
    let mut value = Arguments::default();
    value.push(&-5);
    let mut id = Arguments::default();
    id.push(&(Bytes(ID.client.to_vec()), 257));
    let mut all_keys = Vec::new();
    Request {
        op: Op::Call,
        id: ID,
        epoch: Some(EPOCH),
        expires: Some(Duration::from_secs(70)),
        lease: Some(b"lease"),
        progress: true,
        credit: None,
        name: "srbs",
        proc: "read",
        args: &read,
    }
    .write(&mut all_keys);
    let mut progress = Vec::new();
    reply::progress(&mut progress, &TO, 1_024, 65_536, "uploading");
    let nameless = ReplyTo { id: None, ..TO };
    let mut unnamed = Vec::new();
    let fault = Fault::value_error("no value at all");
    reply::fault(&mut unnamed, &nameless, &fault, Executed::No, None);
    let panicked = Fault::runtime_error("srbs.read() failed in the agent itself: it was reopened");
    let mut forms = vec![
        ("request hello", request(Op::Hello, "", "", &none)),
        ("request describe", request(Op::Describe, "foo", "", &none)),
        ("request call", request(Op::Call, "foo", "add_two", &add)),
        ("request call with every key", all_keys),
        ("request get", request(Op::Get, "counter", "value", &none)),
        ("request set", request(Op::Set, "counter", "value", &value)),
        ("request cancel", request(Op::Cancel, "", "", &id)),
        ("message ok int", ok(&5)),
        ("message ok none", ok(&())),
        ("message ok bytes", ok(&Bytes(vec![0, 0xff]))),
        ("message ok hello", ok(&hello())),
        (
            "message ok describe",
            ok(&r#"{"name":"foo","doc":"","methods":[],"attributes":[],"hash":1}"#),
        ),
        ("message ok cancel", ok(&"queued")),
        ("message error of the object", error(&not_found(), Executed::Yes, None)),
        ("message error before the method ran", {
            let fault = Fault::type_error("add_two() missing required argument: 'y'");
            error(&fault, Executed::No, None)
        }),
        ("message refused", error(&busy(), Executed::No, Some(Reason::Busy))),
        ("message perhaps executed", error(&panicked, Executed::Unknown, None)),
        ("message without id", unnamed),
        ("message progress", progress),
    ];
    forms.extend(of_leases());
    forms.extend(of_chunks());
    forms.extend(of_the_log());
    forms
}

/// What came with leases.
fn of_leases() -> Vec<(&'static str, Vec<u8>)> {
    let none = Arguments::default();
    let mut lock = Arguments::from((10_000,));
    lock.push_named("holder", "ana@laptop");
    let leased = |op, name, proc, args: &Arguments| {
        let lease = (op != Op::Leases).then_some(&b"fedcba9876543210"[..]);
        let expires = Some(Duration::from_secs(70));
        let epoch = Some(EPOCH);
        let (progress, credit) = (false, None);
        let mut out = Vec::new();
        Request { op, id: ID, epoch, expires, lease, progress, credit, name, proc, args }
            .write(&mut out);
        out
    };
    vec![
        ("request lock", leased(Op::Lock, "srbs", "", &lock)),
        ("request renew", leased(Op::Renew, "srbs", "", &Arguments::from((10_000,)))),
        ("request release", leased(Op::Release, "srbs", "", &none)),
        ("request leases", leased(Op::Leases, "", "", &none)),
        ("request steal", leased(Op::Steal, "srbs", "", &lock)),
        ("request call under a lease", leased(Op::Call, "srbs", "progdev", &none)),
        (
            "message ok lease",
            ok(&Held { expires: Duration::from_secs(70), ttl: Duration::from_secs(10) }),
        ),
        ("message ok steal", {
            let held = Held { expires: Duration::from_secs(70), ttl: Duration::from_secs(10) };
            ok(&Stolen { held, from: Some("ben@desk".into()) })
        }),
        ("message ok leases", ok(&vec![lease()])),
        ("message refused locked", error(&locked(), Executed::No, Some(Reason::Locked))),
        ("message refused lease lost", {
            let fault = Fault::runtime_error("the lease of object 'srbs' has ended")
                .hint("somebody else may have had the object since; lock it anew");
            error(&fault, Executed::No, Some(Reason::LeaseLost))
        }),
    ]
}

/// What came with large results in chunks.
fn of_chunks() -> Vec<(&'static str, Vec<u8>)> {
    let mut chunk = Vec::new();
    reply::chunk(&mut chunk, &TO, 2, 65, &[0, 0xff]);
    let mut chunked = Vec::new();
    reply::chunked(&mut chunked, &TO, 65, 17_039_360);
    let mut call = Vec::new();
    let args = Arguments::from(("big_bram",));
    Request {
        op: Op::Call,
        id: ID,
        epoch: Some(EPOCH),
        expires: Some(Duration::from_secs(70)),
        lease: None,
        progress: false,
        credit: Some(8),
        name: "srbs",
        proc: "read",
        args: &args,
    }
    .write(&mut call);
    vec![
        ("request call with credit", call),
        ("request credit", request(Op::Credit, "", "", &Arguments::from((4,)))),
        ("message chunk", chunk),
        ("message ok in chunks", chunked),
    ]
}

/// What came with the level of the log.
fn of_the_log() -> Vec<(&'static str, Vec<u8>)> {
    let none = Arguments::default();
    vec![
        ("request log", request(Op::Log, "", "", &none)),
        ("request log at a level", request(Op::Log, "", "", &Arguments::from(("debug",)))),
        ("message ok log", ok(&"debug")),
    ]
}

fn locked() -> Fault {
    let message = "object 'srbs' is locked by ana@laptop (10.1.0.7) for another 12.3 s";
    let fault = Fault::runtime_error(message).hint("reads are free; leases() tells who has what");
    fault.locked("ana@laptop (10.1.0.7)", Duration::from_millis(12_340))
}

fn lease() -> Lease {
    Lease {
        object: "srbs".into(),
        holder: "ana@laptop".into(),
        address: "10.1.0.7".into(),
        expires_in: Duration::from_millis(12_340),
    }
}

#[test]
fn every_form_is_written_as_released() {
    let golden = golden();
    let written = written();
    let names: Vec<_> = golden.iter().map(|(name, _)| name.as_str()).collect();
    let ours: Vec<_> = written.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ours, "the file and the test know the same forms");
    for ((name, released), (_, now)) in golden.iter().zip(&written) {
        assert_eq!(hex(released), hex(now), "{name}");
    }
}

#[test]
fn every_final_message_is_told_again_in_the_other_codec_and_back() {
    let mut final_ones = 0;
    for (name, released) in golden() {
        let Ok(message) = Message::parse(&released) else { continue };
        let to = |codec| ReplyTo { codec, id: message.id, ..TO };
        let mut text = Vec::new();
        let told = reply::retell(&mut text, &released, &to(Codec::Json));
        if !matches!(message.content, Content::Ok(_) | Content::Error { .. }) {
            assert_eq!(told.unwrap_err().to_string(), "ValueError: the message is not final");
            continue;
        }
        final_ones += 1;
        told.unwrap();
        let first = json::from_messagepack(&released).unwrap();
        assert_eq!(String::from_utf8_lossy(&text), String::from_utf8_lossy(&first), "{name}");
        let mut back = b"rest".to_vec();
        reply::retell(&mut back, &text, &to(Codec::MessagePack)).unwrap();
        // JSON has no order of keys: what is a dictionary to a method comes back in another.
        if ["message ok hello", "message ok leases", "message ok steal"].contains(&name.as_str()) {
            assert_eq!(json::from_messagepack(&back).unwrap(), first, "{name}");
            assert_eq!(back.len(), released.len(), "{name}");
        } else {
            assert_eq!(hex(&back), hex(&released), "{name}");
        }
    }
    assert_eq!(final_ones, 17);
}

#[test]
fn what_has_no_form_in_the_other_codec_is_not_told_in_it() {
    // What a method calls bytes itself is none; and 32 levels are one too many in the envelope.
    let odd = ok(&BTreeMap::from([("__bytes__", "*")]));
    let deep = ok(&Value::first(&[vec![0x91; 32], vec![5]].concat()).unwrap());
    let mut out = Vec::new();
    let json = ReplyTo { codec: Codec::Json, ..TO };
    reply::retell(&mut out, &odd, &json).unwrap();
    let why = reply::retell(&mut Vec::new(), &out, &TO).unwrap_err().to_string();
    let expected = "ValueError: no MessagePack's JSON: '__bytes__' is no base64: ";
    assert!(why.starts_with(expected), "{why}");
    let why = reply::retell(&mut out, &deep, &json).unwrap_err();
    assert_eq!(why.to_string(), "ValueError: the message is no MessagePack");
    assert_eq!(why.detail, ["arrays and maps nest deeper than 32 (at byte 78)"]);
}

#[test]
fn every_request_is_read_as_it_was_meant() {
    let limits = Limits::default();
    let read = |name: &str, check: &dyn Fn(Call<'_>)| {
        let bytes = golden_bytes(name);
        let call = Call::parse(&bytes, &limits).unwrap_or_else(|bad| panic!("{name}: {bad:?}"));
        assert_eq!((call.version, call.id), (2, Some(ID)), "{name}");
        check(call);
    };
    read("request hello", &|call| {
        assert_eq!((call.op, call.epoch, call.expires), (Op::Hello, None, None));
    });
    read("request describe", &|call| {
        assert_eq!((call.op, call.name, call.epoch), (Op::Describe, "foo", None));
    });
    read("request call", &|call| {
        assert_eq!((call.op, call.name, call.proc), (Op::Call, "foo", "add_two"));
        assert_eq!((call.epoch, call.expires), (Some(EPOCH), Some(Duration::from_secs(70))));
        assert_eq!(call.args.positional.iter().collect::<Vec<_>>(), [2, 3].map(Value::Uint));
        assert!(call.args.named.is_empty() && !call.progress && call.lease.is_none());
    });
    read("request call with every key", &|call| {
        assert_eq!((call.op, call.name, call.proc), (Op::Call, "srbs", "read"));
        assert_eq!((call.lease, call.progress), (Some(&b"lease"[..]), true));
        assert_eq!(call.args.positional.get(0), Some(Value::Text("big_bram")));
        assert_eq!(call.args.named.get("offset"), Some(Value::Uint(4)));
    });
    read("request get", &|call| {
        assert_eq!((call.op, call.name, call.proc), (Op::Get, "counter", "value"));
    });
    read("request set", &|call| {
        assert_eq!((call.op, call.name, call.proc), (Op::Set, "counter", "value"));
        assert_eq!(call.args.positional.get(0), Some(Value::Int(-5)));
    });
    read("request cancel", &|call| {
        assert_eq!(call.op, Op::Cancel);
        let cancelled = call.args.positional.get(0).and_then(CallId::from_value);
        assert_eq!(cancelled, Some(CallId { seq: 257, ..ID }));
    });
    let token = Some(&b"fedcba9876543210"[..]);
    for (name, op) in [("request lock", Op::Lock), ("request steal", Op::Steal)] {
        read(name, &|call| {
            assert_eq!((call.op, call.name, call.lease), (op, "srbs", token), "{name}");
            assert_eq!(call.args.positional.get(0), Some(Value::Uint(10_000)), "{name}");
            assert_eq!(call.args.named.get("holder"), Some(Value::Text("ana@laptop")), "{name}");
        });
    }
    read("request renew", &|call| assert_eq!((call.op, call.lease), (Op::Renew, token)));
    read("request release", &|call| assert_eq!((call.op, call.lease), (Op::Release, token)));
    read("request leases", &|call| assert_eq!((call.op, call.lease), (Op::Leases, None)));
    read("request call under a lease", &|call| {
        assert_eq!((call.op, call.proc, call.lease), (Op::Call, "progdev", token));
    });
    read("request call with credit", &|call| assert_eq!(call.credit, Some(8)));
    read("request credit", &|call| {
        assert_eq!((call.op, call.credit), (Op::Credit, None));
        assert_eq!(call.args.positional.get(0), Some(Value::Uint(4)));
    });
    read("request log", &|call| assert_eq!((call.op, call.args.positional.len()), (Op::Log, 0)));
    read("request log at a level", &|call| {
        assert_eq!(call.args.positional.get(0), Some(Value::Text("debug")));
    });
}

#[test]
fn every_message_is_read_as_it_was_meant() {
    let read = |name: &str, check: &dyn Fn(Message<'_>)| {
        let bytes = golden_bytes(name);
        let message = Message::parse(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(message.epoch, EPOCH, "{name}");
        assert_eq!(Message::id_of(&bytes), message.id, "{name}");
        if let Content::Ok(value) = message.content {
            assert_eq!(Message::result(&bytes), Some(value), "{name}");
        }
        check(message);
    };
    let is_ok = |value: Value<'static>| {
        move |message: Message<'_>| {
            assert_eq!((message.id, message.content), (Some(ID), Content::Ok(value)));
        }
    };
    read("message ok int", &is_ok(Value::Uint(5)));
    read("message ok none", &is_ok(Value::Nil));
    read("message ok bytes", &is_ok(Value::Bytes(&[0, 0xff])));
    read("message ok cancel", &is_ok(Value::Text("queued")));
    read("message ok hello", &|message| {
        let Content::Ok(value) = message.content else { panic!("{message:?}") };
        assert_eq!(Hello::from_arg(value), Ok(hello()));
    });
    read("message ok lease", &|message| {
        let Content::Ok(value) = message.content else { panic!("{message:?}") };
        let held = Held { expires: Duration::from_secs(70), ttl: Duration::from_secs(10) };
        assert_eq!(Held::from_arg(value), Ok(held));
    });
    read("message ok leases", &|message| {
        let Content::Ok(value) = message.content else { panic!("{message:?}") };
        assert_eq!(Vec::<Lease>::from_arg(value), Ok(vec![lease()]));
    });
    read("message chunk", &|message| {
        let content = Content::Chunk { index: 2, count: 65, data: &[0, 0xff] };
        assert_eq!(message.content, content);
    });
    read("message ok in chunks", &|message| {
        let content = Content::Chunked { count: 65, bytes: 17_039_360 };
        assert_eq!(message.content, content);
    });
    let is_error = |fault: Fault, executed, reason: Option<Reason>| {
        move |message: Message<'_>| {
            let reason = reason.map(Reason::as_str);
            assert_eq!(message.content, Content::Error { fault: fault.clone(), executed, reason });
        }
    };
    read("message error of the object", &is_error(not_found(), Executed::Yes, None));
    read("message refused", &is_error(busy(), Executed::No, Some(Reason::Busy)));
    let is_locked = is_error(locked(), Executed::No, Some(Reason::Locked));
    read("message refused locked", &is_locked);
    read("message without id", &|message| assert_eq!(message.id, None));
    read("message progress", &|message| {
        let content = Content::Progress { done: 1_024, total: 65_536, text: "uploading" };
        assert_eq!(message.content, content);
    });
}

#[test]
fn json_carries_the_same_requests_and_messages() {
    let request = br#"{"v": 2, "id": [{"__bytes__": "MDEyMzQ1Njc4OWFiY2RlZg=="}, 258],
        "op": "call", "epoch": 1234605616436508552, "expires": 70000,
        "name": "foo", "proc": "add_two", "args": [2, 3], "kwargs": {}}"#;
    let mut bytes = Vec::new();
    json::to_messagepack(request, &Limits::default(), &mut bytes).unwrap();
    let golden = golden_bytes("request call");
    let limits = Limits::default();
    let (ours, theirs) =
        (Call::parse(&bytes, &limits).unwrap(), Call::parse(&golden, &limits).unwrap());
    assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));

    let to = ReplyTo { codec: Codec::Json, ..TO };
    let mut out = Vec::new();
    reply::begin(&mut out, &to);
    Bytes(vec![0, 0xff]).to_reply(&mut out);
    reply::finish(&mut out, &to).unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        r#"{"epoch":1234605616436508552,"id":[{"__bytes__":"MDEyMzQ1Njc4OWFiY2RlZg=="},258],"ok":{"__bytes__":"AP8="},"v":2}"#
    );
}

#[test]
fn keys_that_a_later_version_adds_are_ignored() {
    let mut bytes = golden_bytes("request call");
    bytes[0] += 1;
    bytes.extend_from_slice(b"\xa5later\x93\x01\x02\x03");
    let golden = golden_bytes("request call");
    let limits = Limits::default();
    let (grown, plain) =
        (Call::parse(&bytes, &limits).unwrap(), Call::parse(&golden, &limits).unwrap());
    assert_eq!(format!("{grown:?}"), format!("{plain:?}"));
    let event = b"\x85\xa1v\x02\xa2id\xc0\xa5epoch\x07\xa5event\x92\x00\x02\xa4data\xc4\x01\x00";
    assert_eq!(Message::parse(event).unwrap().content, Content::Other);
}
