//! What `value::check` lets through, and how fast it refuses the rest.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a failing test panics"
)]

use proptest::prelude::*;
use proximity_proto::{
    Array, Value,
    call::Call,
    limits::{Limits, MAX_DEPTH, MAX_NAME},
    message::Message,
    reply,
    value::{DecodeError, DecodeErrorKind, check},
};
use std::time::{Duration, Instant};

fn refused(bytes: &[u8]) -> DecodeError {
    check(bytes, &Limits::default()).expect_err("to be refused")
}

fn nested(depth: usize) -> Vec<u8> {
    let mut bytes = vec![0x91; depth];
    bytes.push(0xc0);
    bytes
}

#[test]
fn lists_nest_to_the_limit_and_no_deeper() {
    assert!(check(&nested(MAX_DEPTH), &Limits::default()).is_ok());
    let error = refused(&nested(MAX_DEPTH + 1));
    assert_eq!((error.kind, error.position), (DecodeErrorKind::TooDeep, MAX_DEPTH));
    let maps = [b"\x81\xa1k".repeat(MAX_DEPTH + 1), vec![0xc0]].concat();
    assert_eq!(refused(&maps).kind, DecodeErrorKind::TooDeep);
}

#[test]
fn values_are_counted_through_all_lists_and_maps() {
    let limits = Limits { max_items: 5, ..Limits::default() };
    assert!(check(b"\x92\x01\x81\xa1k\x02", &limits).is_ok());
    let error = check(b"\x92\x01\x81\xa1k\x92\x02\x03", &limits).unwrap_err();
    assert_eq!((error.kind, error.position), (DecodeErrorKind::TooMany { max: 5 }, 6));

    let mut list = vec![0xdd, 0, 0, 0xff, 0xff];
    list.resize(5 + 65_535, 0xc0);
    assert!(check(&list, &Limits::default()).is_ok(), "65,535 values and their list");
    let mut list = vec![0xdd, 0, 1, 0, 0];
    list.resize(5 + 65_536, 0xc0);
    assert_eq!(refused(&list).kind, DecodeErrorKind::TooMany { max: 65_536 });
}

#[test]
fn keys_have_at_most_256_bytes() {
    let map = |len: usize| {
        let mut bytes = vec![0x81];
        reply::text(&mut bytes, &"k".repeat(len));
        bytes.push(0xc0);
        bytes
    };
    assert!(check(&map(MAX_NAME), &Limits::default()).is_ok());
    assert_eq!(refused(&map(MAX_NAME + 1)).kind, DecodeErrorKind::LongKey);
    let mut value = vec![0x81, 0xa1, b'k'];
    reply::text(&mut value, &"v".repeat(100_000));
    assert!(check(&value, &Limits::default()).is_ok(), "values may be longer");
}

#[test]
fn every_refusal_tells_where() {
    use DecodeErrorKind as Kind;
    let cases: &[(&[u8], Kind, usize)] = &[
        (b"", Kind::Empty, 0),
        (b"\x01\x02", Kind::Trailing, 1),
        (b"\x92\x01", Kind::CutShort, 2),
        (b"\x91\xcd\x01", Kind::CutShort, 1),
        (b"\xa5abc", Kind::CutShort, 0),
        (b"\x91\xc1", Kind::Reserved, 1),
        (b"\xd6\xff\0\0\0\0", Kind::Extension(-1), 0),
        (b"\x91\xd4\x05\0", Kind::Extension(5), 1),
        (b"\xc7\x01\x07\0", Kind::Extension(7), 0),
        (b"\xc8\0\x01\x08\0", Kind::Extension(8), 0),
        (b"\xc9\0\0\0\x01\x09\0", Kind::Extension(9), 0),
    ];
    for &(bytes, kind, position) in cases {
        assert_eq!(refused(bytes), DecodeError { kind, position }, "{bytes:02x?}");
    }
    let small = Limits { max_frame: 3, ..Limits::default() };
    let error = check(b"\xa3abc", &small).unwrap_err();
    assert_eq!(error.kind, Kind::TooLong { len: 4, max: 3 });
}

#[test]
fn the_sentences_of_refusals() {
    let mut sentences: Vec<String> = [
        &b""[..],
        b"\x01\x02",
        b"\x92\x01",
        b"\xc1",
        b"\xd4\x05\0",
        &nested(33),
        &[&b"\x81\xda\x01\x01"[..], &[b'k'; 257], &[0xc0]].concat(),
    ]
    .iter()
    .map(|bytes| refused(bytes).to_string())
    .collect();
    let few = Limits { max_items: 1, max_frame: 2 };
    sentences.push(check(b"\x91\xc0", &few).unwrap_err().to_string());
    sentences.push(check(b"\x92\xc0\xc0", &few).unwrap_err().to_string());
    assert_eq!(
        sentences,
        [
            "the message is empty (at byte 0)",
            "the message goes on after its value (at byte 1)",
            "the message ends in the middle of a value (at byte 2)",
            "byte 0xc1 starts no MessagePack value (at byte 0)",
            "MessagePack extension type 5 has no meaning here (at byte 0)",
            "arrays and maps nest deeper than 32 (at byte 32)",
            "a map key has more than 256 bytes (at byte 1)",
            "the message has more than 1 values (at byte 1)",
            "the message has 3 bytes; at most 2 are taken (at byte 2)",
        ]
    );
}

#[test]
fn declared_lengths_cost_nothing() {
    let begun = Instant::now();
    for marker in [0xc6u8, 0xdb, 0xdd, 0xdf] {
        let bytes = [marker, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(refused(&bytes).kind, DecodeErrorKind::CutShort, "{marker:02x}");
        let inside = [0x91, marker, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(refused(&inside).kind, DecodeErrorKind::CutShort, "{marker:02x}");
    }
    for _ in 0..100 {
        assert_eq!(refused(&nested(100_000)).kind, DecodeErrorKind::TooDeep);
        assert_eq!(refused(&vec![0xdf; 100_000]).kind, DecodeErrorKind::TooDeep);
    }
    // Microseconds each; the bound leaves room for a busy machine.
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[test]
fn odd_keys_are_told_apart_from_unsound_bytes() {
    let odd = |bytes| check(bytes, &Limits::default()).unwrap().odd_key;
    assert_eq!(odd(b"\x81\x01\x02"), Some(1));
    assert_eq!(odd(b"\x82\xa1a\x01\xc0\x02"), Some(4));
    assert_eq!(odd(b"\x81\x90\x02"), Some(1), "a list for a key");
    assert_eq!(odd(b"\x81\xc4\x01a\x02"), None, "bytes for a key");
    assert_eq!(odd(b"\x81\xa1a\x81\xa1b\x01"), None);
}

#[test]
fn every_dialect_reads_alike() {
    let first = |bytes: &'static [u8]| {
        check(bytes, &Limits::default()).unwrap();
        Value::first(bytes).unwrap()
    };
    let texts: [&'static [u8]; 4] =
        [b"\xa2hi", b"\xd9\x02hi", b"\xda\0\x02hi", b"\xdb\0\0\0\x02hi"];
    for bytes in texts {
        assert_eq!(first(bytes), Value::Text("hi"));
    }
    for bytes in [&b"\xc4\x02hi"[..], b"\xc5\0\x02hi", b"\xc6\0\0\0\x02hi"] {
        assert_eq!(first(bytes), Value::Bytes(b"hi"));
        assert_eq!(first(bytes).as_text(), Some("hi"));
    }
    assert_eq!(first(b"\xa2\xff\0"), Value::Bytes(b"\xff\0"), "Python 2 sends register data so");
    for bytes in [&b"\x05"[..], b"\xcc\x05", b"\xd0\x05", b"\xd3\0\0\0\0\0\0\0\x05"] {
        assert_eq!(first(bytes), Value::Uint(5));
    }
    for bytes in [&b"\xfb"[..], b"\xd0\xfb", b"\xd1\xff\xfb", b"\xd2\xff\xff\xff\xfb"] {
        assert_eq!(first(bytes), Value::Int(-5));
    }
    assert_eq!(first(b"\xca\x3f\xc0\0\0"), Value::Float(1.5));
    assert_eq!(first(b"\xcb\x3f\xf8\0\0\0\0\0\0"), Value::Float(1.5));
    let Value::Map(map) = first(b"\x82\xc4\x01a\x01\xa1b\x92\x02\x03") else { panic!("a map") };
    assert_eq!(map.get("a"), Some(Value::Uint(1)));
    assert_eq!(
        format!("{map:?}"),
        r#"{Bytes([97]): Uint(1), Text("b"): Array([Uint(2), Uint(3)])}"#
    );
}

#[test]
fn what_is_skipped_of_a_list_is_gone() {
    let bytes = b"\x94\x01\x92\x02\x03\x81\xa1k\x04\x05";
    let Some(Value::Array(list)) = Value::first(bytes) else { panic!("a list") };
    assert_eq!(list.skip(0).len(), 4);
    assert_eq!(list.skip(2).get(1), Some(Value::Uint(5)));
    assert_eq!(list.skip(3).iter().collect::<Vec<_>>(), [Value::Uint(5)]);
    assert!(list.skip(4).is_empty() && list.skip(9).is_empty());
}

/// Any value, nested up to a few levels, as its MessagePack.
fn sound() -> impl Strategy<Value = Vec<u8>> {
    fn made(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out);
        out
    }
    let leaf = prop_oneof![
        Just(vec![0xc0]),
        any::<bool>().prop_map(|truth| made(|out| reply::value(out, Value::Bool(truth)))),
        any::<u64>().prop_map(|number| made(|out| reply::uint(out, number))),
        any::<i64>().prop_map(|number| made(|out| reply::int(out, number))),
        any::<f64>().prop_map(|number| made(|out| reply::value(out, Value::Float(number)))),
        ".{0,300}".prop_map(|text| made(|out| reply::text(out, &text))),
        prop::collection::vec(any::<u8>(), 0..300)
            .prop_map(|bytes| made(|out| reply::bytes(out, &bytes))),
    ];
    leaf.prop_recursive(5, 60, 8, |inner| {
        let list = prop::collection::vec(inner.clone(), 0..20).prop_map(|items| {
            made(|out| {
                reply::list_head(out, items.len());
                out.extend(items.concat());
            })
        });
        let map = prop::collection::vec((".{0,40}", inner), 0..20).prop_map(|entries| {
            made(|out| {
                reply::map_head(out, entries.len());
                for (key, value) in entries {
                    reply::text(out, &key);
                    out.extend(value);
                }
            })
        });
        prop_oneof![list, map]
    })
}

proptest! {
    #[test]
    fn what_is_written_reads_back_the_same(bytes in sound()) {
        prop_assert!(check(&bytes, &Limits::default()).unwrap().odd_key.is_none());
        let mut again = Vec::new();
        reply::value(&mut again, Value::first(&bytes).unwrap());
        prop_assert_eq!(again, bytes);
    }

    #[test]
    fn a_message_cut_anywhere_is_refused(bytes in sound(), at in any::<prop::sample::Index>()) {
        let cut = &bytes[..at.index(bytes.len())];
        prop_assert!(check(cut, &Limits::default()).is_err());
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        read_every_way(&bytes);
    }

    #[test]
    fn sound_bytes_with_one_of_them_changed_never_panic(
        mut bytes in sound(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let at = at.index(bytes.len());
        bytes[at] = byte;
        read_every_way(&bytes);
    }
}

fn read_every_way(bytes: &[u8]) {
    let limits = Limits::default();
    let _ = Call::parse(bytes, &limits);
    let _ = Message::parse(bytes);
    let sound = check(bytes, &limits).is_ok();
    // Also what was refused is looked at, for the request's id.
    let value = Value::first(bytes);
    assert!(value.is_some() || !sound);
    if let Some(value) = value {
        let _ = format!("{value:?}");
    }
}

#[test]
fn the_contents_of_lists_and_maps_are_their_bytes_and_no_others() {
    // {a: [1, [2]], b: {}} in forms that nobody of ours writes, and a list behind it.
    let bytes = b"\x92\xde\0\x02\xd9\x01a\x92\xcd\0\x01\x91\x02\xc4\x01b\x80\x90";
    let Some(Value::Array(list)) = Value::first(bytes) else { panic!("a list") };
    assert_eq!(list.contents(), &bytes[1..]);
    let Some(Value::Map(map)) = list.get(0) else { panic!("a map") };
    assert_eq!(map.contents(), &bytes[4..bytes.len() - 1]);
    let Some(Value::Array(inner)) = map.get("a") else { panic!("a list") };
    assert_eq!(inner.contents(), b"\xcd\0\x01\x91\x02");
    assert_eq!(inner.skip(1).contents(), b"\x91\x02");
    let Some(Value::Map(empty)) = map.get("b") else { panic!("a map") };
    assert_eq!((empty.contents(), Array::EMPTY.contents()), (&b""[..], &b""[..]));
}
