//! The KATCP codec against recorded conversations, tables of good and bad lines, and chance.

// The exemption of tests in clippy.toml does not reach their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "../../tests/golden/transcript.rs"]
mod transcript;

use proptest::prelude::*;
use proximity_proto::katcp::{
    self, Kind, LineError, MAX_MID, Message, Parser, WriteError, Writer, escape, unescape_in_place,
};
use std::path::Path;
use transcript::Line;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Owned {
    kind: Kind,
    name: String,
    mid: Option<u32>,
    args: Vec<Vec<u8>>,
}

impl Owned {
    fn new(kind: Kind, name: &str, mid: Option<u32>, args: &[&[u8]]) -> Self {
        let args = args.iter().map(|arg| arg.to_vec()).collect();
        Self { kind, name: name.to_owned(), mid, args }
    }

    fn written(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, self.kind, &self.name, self.mid).unwrap();
        for arg in &self.args {
            writer = writer.arg(arg);
        }
        writer.finish();
        out
    }
}

impl From<Message<'_>> for Owned {
    fn from(mut message: Message<'_>) -> Self {
        let (kind, name, mid) = (message.kind(), message.name().to_owned(), message.mid());
        let args = std::iter::from_fn(|| message.next_arg().map(|arg| arg.to_vec())).collect();
        Self { kind, name, mid, args }
    }
}

type Parsed = Vec<Result<Owned, LineError>>;

fn parse_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, max_line: usize) -> Parsed {
    let mut parser = Parser::new(max_line);
    let mut parsed = Vec::new();
    for piece in pieces {
        parser.feed(piece);
        while let Some(result) = parser.next().transpose() {
            parsed.push(result.map(Owned::from));
        }
    }
    parsed
}

fn parse(bytes: &[u8]) -> Parsed {
    parse_pieces([bytes], 1 << 20)
}

fn parse_one(line: &[u8]) -> Result<Owned, LineError> {
    parse(&[line, b"\n"].concat()).remove(0)
}

/// What client and server said in each transcript, each side a stream.
fn streams() -> Vec<(String, Vec<u8>, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/transcripts");
    let transcripts = transcript::all(&folder);
    assert_eq!(transcripts.len(), 39);
    transcripts
        .into_iter()
        .map(|transcript| {
            let (mut sent, mut received) = (Vec::new(), Vec::new());
            for line in transcript.lines {
                match line {
                    Line::Sent(bytes) => sent.extend(bytes),
                    Line::Received(bytes) => received.extend(bytes),
                    Line::Other(literals) => received.extend(literals.concat()),
                    Line::Eof | Line::Nothing | Line::Comment(_) => {}
                }
            }
            (transcript.name, sent, received)
        })
        .collect()
}

#[test]
fn every_transcript_split_at_every_byte_parses_the_same() {
    let mut messages = 0;
    for (name, sent, received) in streams() {
        for stream in [sent, received] {
            let whole = parse(&stream);
            messages += whole.len();
            for at in 0..=stream.len() {
                let (first, second) = stream.split_at(at);
                assert_eq!(parse_pieces([first, second], 1 << 20), whole, "{name} split at {at}");
            }
            assert_eq!(parse_pieces(stream.chunks(1), 1 << 20), whole, "{name} byte by byte");
        }
    }
    assert_eq!(messages, 1272);
}

#[test]
fn what_real_servers_send_is_written_back_the_same() {
    let mut bad = Vec::new();
    for (name, _, received) in streams() {
        for line in received.split_inclusive(|&byte| byte == b'\n') {
            match &parse(line)[..] {
                [Ok(message)] => assert_eq!(message.written(), line, "{name}"),
                other => bad.push((name.clone(), other.to_vec())),
            }
        }
    }
    // A server that was sent a request called "?", a recording that begins in mid-line, and one sent the id 0.
    let expected = [
        ("17-malformed.txt".to_owned(), vec![Err(LineError::Name { position: 1 })]),
        ("24-many-clients.txt".to_owned(), vec![Err(LineError::Kind { found: b'5' })]),
        ("40-v5-with-ids.txt".to_owned(), vec![Err(LineError::Mid { position: 9 })]),
    ];
    assert_eq!(bad, expected);
}

#[test]
fn good_lines() {
    let request = |name, mid, args: &[&[u8]]| Owned::new(Kind::Request, name, mid, args);
    let table: &[(&[u8], Owned)] = &[
        (b"?a", request("a", None, &[])),
        (b"?watchdog", request("watchdog", None, &[])),
        (b"?Read-2-x", request("Read-2-x", None, &[])),
        (b"?a[1]", request("a", Some(1), &[])),
        (b"?a[2147483647] b", request("a", Some(MAX_MID), &[b"b"])),
        (b"?a  \t b\t c  ", request("a", None, &[b"b", b"c"])),
        (b"?a \\@", request("a", None, &[b""])),
        (b"?a x\\@y\\@", request("a", None, &[b"xy"])),
        (b"?a \\\\_ \\\\n", request("a", None, &[b"\\_", b"\\n"])),
        (br"?a \\\_\0\n\r\e\t", request("a", None, &[b"\\ \0\n\r\x1b\t"])),
        (b"?a \\q \\Z", request("a", None, &[b"q", b"Z"])),
        (b"?a x\\", request("a", None, &[b"x\\"])),
        (b"?a \\ b", request("a", None, &[b"\\", b"b"])),
        (b"?a \x00\x1b\x01\x80\xff", request("a", None, &[b"\x00\x1b\x01\x80\xff"])),
        (b"?a ?b [3]", request("a", None, &[b"?b", b"[3]"])),
        (b"!a ok", Owned::new(Kind::Reply, "a", None, &[b"ok"])),
        (b"#a[9]", Owned::new(Kind::Inform, "a", Some(9), &[])),
    ];
    for (line, message) in table {
        assert_eq!(parse_one(line).as_ref(), Ok(message), "{}", line.escape_ascii());
    }
}

#[test]
fn bad_lines_and_the_good_one_after_each() {
    let kind = |found| LineError::Kind { found };
    let name = |position| LineError::Name { position };
    let mid = |position| LineError::Mid { position };
    let table: &[(&[u8], LineError)] = &[
        (b"watchdog", kind(b'w')),
        (b" ?watchdog", kind(b' ')),
        (b"xx?watchdog", kind(b'x')),
        (b"\xff", kind(0xff)),
        (b"?", name(1)),
        (b"??", name(1)),
        (b"? a", name(1)),
        (b"?-a", name(1)),
        (b"?1", name(1)),
        (b"?[1]", name(1)),
        (b"?watch_dog", name(6)),
        (b"?watch\0dog", name(6)),
        (b"?a.b", name(2)),
        (b"?a\\_", name(2)),
        (b"?a[", mid(2)),
        (b"?a[]", mid(2)),
        (b"?a[0]", mid(2)),
        (b"?a[01]", mid(2)),
        (b"?a[-1]", mid(2)),
        (b"?a[+1]", mid(2)),
        (b"?a[x]", mid(2)),
        (b"?a[1", mid(2)),
        (b"?a[1 ]", mid(2)),
        (b"?a[1]b", mid(2)),
        (b"?a[1][2]", mid(2)),
        (b"?a[2147483648]", mid(2)),
        (b"?a[99999999999999999999]", mid(2)),
    ];
    let next = Ok(Owned::new(Kind::Request, "a", None, &[]));
    for (line, error) in table {
        let parsed = parse(&[line, &b"\n?a\n"[..]].concat());
        assert_eq!(parsed, [Err(*error), next.clone()], "{}", line.escape_ascii());
    }
}

#[test]
fn blank_lines_are_skipped_and_cr_and_lf_both_end_one() {
    let watchdog = Ok(Owned::new(Kind::Request, "watchdog", None, &[]));
    assert_eq!(parse(b"\n\r\n \t \n"), []);
    assert_eq!(parse(b"\n?watchdog\r\n\r?watchdog\r  \n?watchdog\n"), vec![watchdog; 3]);
}

#[test]
fn a_line_over_the_cap_is_one_error_and_the_next_line_is_read() {
    let exact = b"?a 3456789\n";
    let long = b"?a 34567890\n";
    let limit = 10;
    let error = Err(LineError::TooLong { limit });
    let ok = Ok(Owned::new(Kind::Request, "a", None, &[b"3456789"]));
    let stream = [&exact[..], long, exact, &[b'x'; 100], b"\r", exact].concat();
    let expected = vec![ok.clone(), error.clone(), ok.clone(), error, ok];
    assert_eq!(parse_pieces([&stream[..]], limit), expected);
    for size in 1..stream.len() {
        assert_eq!(parse_pieces(stream.chunks(size), limit), expected, "in pieces of {size}");
    }
}

#[test]
fn an_endless_line_takes_no_more_memory_than_the_cap() {
    let mut parser = Parser::new(1000);
    let mut errors = 0;
    for _ in 0..1000 {
        let space = parser.space(100);
        // What was asked for, and at most what the cap and one growth of the buffer leave over.
        assert!((100..=2300).contains(&space.len()), "{}", space.len());
        space[..100].fill(b'x');
        parser.filled(100);
        errors += usize::from(parser.next().is_err());
    }
    assert_eq!(errors, 1);
}

#[test]
fn a_long_line_in_small_pieces_is_decoded_where_it_was_received() {
    let data: Vec<u8> =
        (0..1_u32 << 20).map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let line = Owned::new(Kind::Reply, "read", None, &[b"ok", &data]).written();
    let mut parser = Parser::new(4 << 20);
    for round in 0..3 {
        for piece in line.chunks(4096) {
            assert!(parser.next().unwrap().is_none(), "round {round}");
            parser.space(piece.len())[..piece.len()].copy_from_slice(piece);
            parser.filled(piece.len());
        }
        let mut reply = parser.next().unwrap().unwrap();
        assert_eq!(reply.raw_arg(0), Some(&b"ok"[..]));
        assert_eq!(reply.next_arg().unwrap(), b"ok");
        assert!(reply.next_arg().unwrap() == data, "round {round}");
        assert_eq!(reply.next_arg(), None);
    }
}

#[test]
fn a_message_can_be_looked_at_again_until_more_is_received() {
    let mut parser = Parser::new(100);
    parser.feed(b"#log a\n!read[4] ok 7\n!x");
    while !parser.next().unwrap().unwrap().is(Kind::Reply, "read") {}
    let reply = parser.current().unwrap();
    assert_eq!((reply.mid(), reply.raw_arg(1)), (Some(4), Some(&b"7"[..])));
    parser.feed(b"y\n");
    assert!(parser.current().is_none());
    assert!(parser.next().unwrap().unwrap().is(Kind::Reply, "xy"));
    parser.clear();
    assert!(parser.current().is_none() && parser.next().unwrap().is_none());
}

#[test]
fn a_message_is_written_only_by_the_rules() {
    let mut out = Vec::new();
    for name in ["", "fpga_status", "x.y", "1st", "-a", "a b", "a\n", "é"] {
        assert_eq!(Writer::request(&mut out, name, None).unwrap_err(), WriteError::Name, "{name}");
    }
    for mid in [0, MAX_MID + 1, u32::MAX] {
        let error = Writer::request(&mut out, "a", Some(mid)).unwrap_err();
        assert_eq!(error, WriteError::Mid(mid));
    }
    assert_eq!(out, b"");
    let writer = Writer::new(&mut out, Kind::Inform, "a", Some(MAX_MID)).unwrap();
    writer.arg(b"").arg(b" \0").uint(0).uint(u64::MAX).finish();
    assert_eq!(out, b"#a[2147483647] \\@ \\_\\0 0 18446744073709551615\n");
}

#[test]
fn the_texts_of_the_errors() {
    let texts: Vec<String> = [
        parse_pieces([&b"?aaa"[..]], 3)[0].clone().unwrap_err(),
        parse_one(b"xyz").unwrap_err(),
        parse_one(b"?a_b").unwrap_err(),
        parse_one(b"?a[0]").unwrap_err(),
    ]
    .iter()
    .map(ToString::to_string)
    .chain([WriteError::Name, WriteError::Mid(0)].iter().map(ToString::to_string))
    .collect();
    let expected = [
        "KATCP line is longer than 3 bytes",
        "KATCP line begins with byte 0x78; a message begins with '?', '!' or '#'",
        "bad KATCP message name at byte 2; a name is a letter, then letters, digits or '-'",
        "bad KATCP message id at byte 2; an id is 1 to 2147483647, in brackets behind the name",
        "not a KATCP message name; a name is a letter, then letters, digits or '-'",
        "KATCP message id is 0; it must be 1 to 2147483647",
    ];
    assert_eq!(texts, expected);
}

/// The escape rules again, one byte at a time: what the fast code must agree with.
fn unescape_slowly(wire: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = wire.iter();
    while let Some(&byte) = bytes.next() {
        match (byte, if byte == b'\\' { bytes.next() } else { None }) {
            (b'\\', Some(b'@')) => {}
            (b'\\', Some(b'0')) => out.push(0),
            (b'\\', Some(b'n')) => out.push(b'\n'),
            (b'\\', Some(b'r')) => out.push(b'\r'),
            (b'\\', Some(b't')) => out.push(b'\t'),
            (b'\\', Some(b'_')) => out.push(b' '),
            (b'\\', Some(b'e')) => out.push(0x1b),
            (b'\\', Some(&other)) => out.push(other),
            (byte, _) => out.push(byte),
        }
    }
    out
}

/// What both ways to decode agree on.
fn unescape(wire: &[u8]) -> Vec<u8> {
    let mut onto = b"before".to_vec();
    katcp::unescape(wire, &mut onto);
    let mut wire = wire.to_vec();
    let len = unescape_in_place(&mut wire);
    wire.truncate(len);
    assert_eq!([b"before", &wire[..]].concat(), onto);
    wire
}

/// Bytes of which many need an escape, and many stand in a row.
fn register_bytes() -> impl Strategy<Value = Vec<u8>> {
    let run = prop_oneof![
        (Just(0_u8), 0..40_usize),
        (prop::sample::select(b"\0\n\r\t \x1b\\@_0nrte".to_vec()), 0..10_usize),
        (any::<u8>(), 0..10_usize),
    ];
    prop::collection::vec(run, 0..40).prop_map(|runs| {
        runs.into_iter().flat_map(|(byte, count)| std::iter::repeat_n(byte, count)).collect()
    })
}

fn messages() -> impl Strategy<Value = Owned> {
    let kind = prop::sample::select(vec![Kind::Request, Kind::Reply, Kind::Inform]);
    // Proptest's regular expressions are a feature we do not otherwise need.
    let name = (
        prop::sample::select(('a'..='z').chain('A'..='Z').collect::<Vec<_>>()),
        prop::collection::vec(prop::sample::select(b"azAZ09-".to_vec()), 0..20),
    )
        .prop_map(|(first, rest)| format!("{first}{}", String::from_utf8(rest).unwrap()));
    let args = prop::collection::vec(register_bytes(), 0..5);
    (kind, name, prop::option::of(1..=MAX_MID), args).prop_map(|(kind, name, mid, args)| Owned {
        kind,
        name,
        mid,
        args,
    })
}

proptest! {
    #[test]
    fn any_bytes_survive_escape_and_unescape(data in register_bytes()) {
        let mut wire = Vec::new();
        escape(&data, &mut wire);
        prop_assert!(!wire.is_empty());
        prop_assert!(!wire.iter().any(|byte| b"\0\n\r\t \x1b".contains(byte)));
        prop_assert_eq!(unescape(&wire), data);
    }

    #[test]
    fn unescape_agrees_with_the_rules_on_any_input(wire in register_bytes()) {
        prop_assert_eq!(unescape(&wire), unescape_slowly(&wire));
    }

    #[test]
    fn an_argument_is_decoded_alike_in_its_place_and_elsewhere(data in register_bytes()) {
        let mut parser = Parser::new(1 << 20);
        let mut line = Vec::new();
        Writer::new(&mut line, Kind::Reply, "read", None).unwrap().arg(b"ok").arg(&data).finish();
        let mut taken = Vec::new();
        parser.space(line.len())[..line.len()].copy_from_slice(&line);
        parser.filled(line.len());
        let mut reply = parser.next().unwrap().unwrap();
        prop_assert_eq!(reply.next_arg_onto(&mut taken), Some(2));
        prop_assert_eq!(reply.next_arg_onto(&mut taken), Some(data.len()));
        prop_assert_eq!(reply.next_arg_onto(&mut taken), None);
        prop_assert_eq!(taken, [b"ok", &data[..]].concat());
    }

    #[test]
    fn messages_survive_any_split(
        messages in prop::collection::vec(messages(), 1..6),
        sizes in prop::collection::vec(1..50_usize, 1..20),
    ) {
        let stream: Vec<u8> = messages.iter().flat_map(Owned::written).collect();
        let mut rest = &stream[..];
        let mut sizes = sizes.iter().cycle();
        let pieces = std::iter::from_fn(|| {
            let (piece, tail) = rest.split_at(rest.len().min(*sizes.next()?));
            rest = tail;
            (!piece.is_empty()).then_some(piece)
        });
        let expected: Parsed = messages.into_iter().map(Ok).collect();
        prop_assert_eq!(parse_pieces(pieces, 1 << 20), expected);
    }

    #[test]
    fn random_input_never_panics_and_splits_alike(
        stream in prop::collection::vec(
            prop_oneof![any::<u8>(), prop::sample::select(b"?!#[]\\@ \t\r\na1-".to_vec())],
            0..300,
        ),
        size in 1..40_usize,
        max_line in 0..60_usize,
    ) {
        let whole = parse_pieces([&stream[..]], max_line);
        prop_assert_eq!(parse_pieces(stream.chunks(size), max_line), whole);
    }
}
