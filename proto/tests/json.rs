//! The JSON dialect, both ways.

#![allow(clippy::unwrap_used, reason = "a failing test panics")]

use proptest::prelude::*;
use proximity_proto::{
    Value,
    call::{BadCall, Call, CallId, Codec},
    json,
    limits::Limits,
    reply,
    value::check,
};

fn read(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    json::to_messagepack(text.as_bytes(), &Limits::default(), &mut out)
        .map(|()| out)
        .map_err(|error| error.to_string())
}

fn round(text: &str) -> String {
    let bytes = read(text).unwrap();
    String::from_utf8(json::from_messagepack(&bytes).unwrap()).unwrap()
}

#[test]
fn the_first_byte_tells_the_codec() {
    for text in ["{}", " {}", "\n{}", "\t{}", "\r\n{}"] {
        assert_eq!(Codec::of(text.as_bytes()), Codec::Json, "{text:?}");
    }
    for bytes in [&b"\x84\xa4name"[..], b"\xde\0\x04", b"\xdf", b"\x05", b"[]", b""] {
        assert_eq!(Codec::of(bytes), Codec::MessagePack, "{bytes:02x?}");
    }
}

#[test]
fn values_survive_the_way_there_and_back() {
    for text in [
        "null",
        "true",
        "0",
        "-5",
        "18446744073709551615",
        "-9223372036854775808",
        "1.5",
        r#""text with \" and \u00e9""#.replace("\\u00e9", "é").as_str(),
        r#"[1,[2,{"a":null}]]"#,
        r#"{"__bytes__":"AP8="}"#,
        r#"{"__float__":"nan"}"#,
        r#"{"__float__":"inf"}"#,
        r#"{"__float__":"-inf"}"#,
        r#"{"__datetime__":true,"as_str":"20140702T12:00:00.000001"}"#,
    ] {
        assert_eq!(round(text), text);
    }
    assert_eq!(
        Value::first(&read(r#"{"__bytes__": "AP8="}"#).unwrap()),
        Some(Value::Bytes(&[0, 255]))
    );
    assert_eq!(round(r#"{"__bytes__":""}"#), r#"{"__bytes__":""}"#);
    assert_eq!(round("1e2"), "100.0", "a float stays one");
}

#[test]
fn a_request_in_json_is_a_request() {
    let bytes =
        read(r#" {"name": "foo", "proc": "add_two", "args": [2, 3], "kwargs": {"x": 1.5}} "#)
            .unwrap();
    let call = Call::parse(&bytes, &Limits::default()).unwrap();
    assert_eq!((call.name, call.proc, call.version), ("foo", "add_two", 1));
    assert_eq!(call.args.positional.get(1), Some(Value::Uint(3)));
    assert_eq!(call.args.named.get("x"), Some(Value::Float(1.5)));
}

#[test]
fn the_sentences_of_refused_json() {
    let sentence = |text: &str| read(text).unwrap_err();
    assert_eq!(
        sentence("{\"name\": \n foo}"),
        "not a request in JSON: expected ident at line 2 column 3"
    );
    assert_eq!(
        sentence(" "),
        "not a request in JSON: EOF while parsing a value at line 1 column 1"
    );
    assert_eq!(sentence("{} x"), "not a request in JSON: trailing characters at line 1 column 4");
    assert_eq!(
        sentence(r#"{"__bytes__": "*"}"#),
        "not a request in JSON: '__bytes__' is no base64: Invalid symbol 42, offset 0. at line 1 column 17"
    );
    assert_eq!(
        sentence(r#"{"__bytes__": "AA==", "more": 1}"#),
        "not a request in JSON: '__bytes__' must be the only key at line 1 column 28"
    );
    assert_eq!(
        sentence(r#"{"__float__": "big"}"#),
        "not a request in JSON: '__float__' is 'big'; it must be nan, inf or -inf at line 1 column 19"
    );
}

#[test]
fn the_limits_hold_in_json_too() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert!(read(&nested(32)).is_ok());
    assert_eq!(
        read(&nested(33)).unwrap_err(),
        "not a request in JSON: arrays and maps nest deeper than 32 at line 1 column 34"
    );
    assert!(read(&nested(1_000_000)).is_err(), "and the stack holds");
    let list = |len: usize| format!("[{}]", vec!["0"; len].join(","));
    assert!(read(&list(65_535)).is_ok());
    assert!(read(&list(65_536)).unwrap_err().contains("too many values"));
    let keys: Vec<String> = (0..32_768).map(|key| format!("\"{key}\":0")).collect();
    assert!(read(&format!("{{{}}}", keys.join(","))).is_err(), "keys count");
}

const HEAD: &str = r#"{"v": 2, "id": [{"__bytes__": "BwcHBwcHBwcHBwcHBwcHBw=="}, 258]"#;
const ID: CallId = CallId { client: [7; 16], seq: 258 };

/// Reads a request that will be refused, as the agent does.
fn refused(text: &str, limits: &Limits) -> BadCall {
    let mut out = b"rest".to_vec();
    let read = json::request(text.as_bytes(), limits, &mut out);
    read.and_then(|()| Call::parse(&out, limits).map(|_| ())).unwrap_err()
}

#[test]
fn what_cannot_be_taken_in_json_is_answered_by_its_id_too() {
    let limits = Limits::default();
    let deep = "[".repeat(40) + &"]".repeat(40);
    let many = format!("[{}0]", "0,".repeat(65_536));
    let long = format!("\"{}\"", "x".repeat(300));
    for rest in [
        format!(r#", "name": "a", "args": {deep}}}"#),
        format!(r#", "name": "a", "args": {many}}}"#),
        format!(r#", "name": "a", "kwargs": {{"a": [1, {{"b": {deep}}}]}}}}"#),
        format!(", {long}: 1}}"),
        r#", "name": foo}"#.into(),
        r#", "name": "#.into(),
        r#", "name": {"__bytes__": "*"}}"#.into(),
        r#", "name": {"__bytes__": "AA==", "more": 1}}"#.into(),
        r#", "na"#.into(),
        String::new(),
        "} x".into(),
        r#", "id": [{"__bytes__": "CAgICAgICAgICAgICAgICA=="}, 1]}"#.into(),
        r#", "op": "subscribe"}"#.into(),
        r#", "x": 1, "x": 2}"#.into(),
    ] {
        let bad = refused(&format!("{HEAD}{rest}"), &limits);
        assert_eq!((bad.version, bad.id), (2, Some(ID)), "{rest:.60}: {:?}", bad.fault);
    }
    let odd = HEAD.replace("2, ", "\"2\", ");
    let bad = refused(&format!("{odd}}}"), &limits);
    assert_eq!((bad.version, bad.id), (2, Some(ID)), "{:?}", bad.fault);
    // What stands behind the offence is not known.
    let bad = refused(&format!(r#"{{"args": {deep}, "v": 2}}"#), &limits);
    assert_eq!((bad.version, bad.id), (1, None));
    for text in ["[1, ", r#"{"__bytes__": "AA==", "v": 2}"#, r#"{"__bytes__": "*"}"#, " "] {
        let bad = refused(text, &limits);
        assert_eq!((bad.version, bad.id), (1, None), "{text}: {:?}", bad.fault);
    }
}

#[test]
fn a_request_in_json_may_have_max_frame_bytes_as_it_is_sent() {
    let text = format!("{HEAD}, \"op\": \"hello\"{}}}", " ".repeat(1000));
    let mut out = Vec::new();
    let just = Limits { max_frame: text.len(), ..Limits::default() };
    json::request(text.as_bytes(), &just, &mut out).map_err(|bad| bad.fault).unwrap();
    let small = Limits { max_frame: text.len() - 1, ..Limits::default() };
    let BadCall { fault, version, id } = refused(&text, &small);
    assert_eq!((version, id), (2, Some(ID)));
    let (len, max) = (text.len(), text.len() - 1);
    assert_eq!(
        fault.to_string(),
        format!("ValueError: the message has {len} bytes; at most {max} are taken (at byte {max})")
    );
    let hint = "hello() tells the agent's limits; send large data in pieces";
    assert_eq!(fault.hint.as_deref(), Some(hint));
    // Numbers get longer: it is too long only when it is MessagePack.
    let text = format!("{HEAD}, \"args\": [{}0]}}", "1e1,".repeat(1000));
    let small = Limits { max_frame: text.len(), ..Limits::default() };
    let bad = refused(&text, &small);
    assert_eq!((bad.version, bad.id), (2, Some(ID)), "{:?}", bad.fault);
    assert!(bad.fault.message.contains("at most"), "{:?}", bad.fault);
}

#[test]
fn a_reply_that_is_no_value_is_told_so() {
    assert_eq!(
        json::from_messagepack(b"\x92\x01").unwrap_err().to_string(),
        "the reply cannot be told in JSON"
    );
}

proptest! {
    #[test]
    fn text_in_json_never_panics(text in r#"[\[\]{}",:0-9a-z\\ _.-]{0,80}"#) {
        if let Ok(bytes) = read(&text) {
            prop_assert!(check(&bytes, &Limits::default()).is_ok());
        }
    }

    #[test]
    fn any_bytes_survive(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut packed = Vec::new();
        reply::bytes(&mut packed, &bytes);
        let text = String::from_utf8(json::from_messagepack(&packed).unwrap()).unwrap();
        prop_assert_eq!(read(&text).unwrap(), packed);
    }

    #[test]
    fn any_float_survives(number in any::<f64>()) {
        let mut packed = Vec::new();
        reply::value(&mut packed, Value::Float(number));
        let text = String::from_utf8(json::from_messagepack(&packed).unwrap()).unwrap();
        let again = read(&text).unwrap();
        let same = matches!(
            Value::first(&again),
            Some(Value::Float(float)) if float.to_bits() == number.to_bits() || float.is_nan() && number.is_nan()
        );
        prop_assert!(same, "{} {}", number, text);
    }
}

#[test]
fn a_number_of_thousands_of_digits_is_refused_before_it_is_read() {
    let read = |text: String| {
        let mut out = Vec::new();
        json::to_messagepack(text.as_bytes(), &Limits::default(), &mut out).map(|()| out)
    };
    let zeros = |count| "0".repeat(count);
    assert_eq!(
        read(format!("[1, 2{}]", zeros(1000))).unwrap_err().to_string(),
        "not a request in JSON: a number of more than 1000 digits (at byte 1004)"
    );
    // What is quoted is no number, and a long float is one.
    assert!(read(format!("\"{}\"", zeros(2000))).is_ok());
    assert_eq!(read(format!("1.{}", zeros(1000))).unwrap()[0], 0xcb);
}
