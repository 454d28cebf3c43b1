//! Our KATCP codec against the `katcp` crate, on the plain-text lines where that crate is right.

// The exemption of tests in clippy.toml does not reach their helpers.
#![allow(clippy::unwrap_used)]

use katcp::prelude::{FromKatcpArgument, MessageKind, ToKatcpArgument};
use katcp::protocol::Message as TheirMessage;
use proximity_proto::katcp::{Kind, Message, Writer, escape};

type Parts = (Kind, String, Option<u32>, Vec<String>);

/// `None` if the line is refused.
fn ours(line: &str) -> Option<Parts> {
    let mut line = line.as_bytes().to_vec();
    let message = Message::parse(&mut line).ok()??;
    let args = message.raw_args().map(|arg| String::from_utf8(arg.to_vec()).unwrap()).collect();
    Some((message.kind(), message.name().to_owned(), message.mid(), args))
}

fn theirs(line: &str) -> Option<Parts> {
    let message: TheirMessage = line.parse().ok()?;
    let kind = match message.kind() {
        MessageKind::Request => Kind::Request,
        MessageKind::Reply => Kind::Reply,
        MessageKind::Inform => Kind::Inform,
    };
    Some((kind, message.name(), message.id(), message.arguments()))
}

fn our_argument(wire: &str) -> String {
    let mut line = format!("?a {wire}").into_bytes();
    let mut message = Message::parse(&mut line).unwrap().unwrap();
    String::from_utf8(message.next_arg().unwrap().to_vec()).unwrap()
}

#[test]
fn both_read_plain_lines_alike() {
    let lines = [
        "?watchdog",
        "?watchdog[1]",
        "?help read",
        "!help ok 59",
        "?read snap_bram 0 4",
        "!read ok \\0\\0\\_A",
        "!read[7] fail",
        "#version-connect katcp-protocol 5.0-MI",
        "#build-state 2018-07-30T12:00:00",
        "#log info 1795454114870 raw fpga\\_programmed,\\_mapped\\_with\\_test.bof\\_and\\_meta\\_ready",
        "#sensor-value 1795454139865 1 mode unknown raw",
        "!wordread ok 0x61626364 0x65440000",
        "?set-rate[2147483647] 5.1",
        "?a \\@ \\@",
        "?a b  c\td",
    ];
    for line in lines {
        assert!(ours(line).is_some(), "{line}");
        assert_eq!(ours(line), theirs(line), "{line}");
    }
}

#[test]
fn both_refuse_the_same_lines() {
    for line in
        ["watchdog", "?", "? a", "?1", "?-a", "?a[", "?a[]", "?a[x]", "?a[-1]", "?a_b", " ?a"]
    {
        assert_eq!((ours(line), theirs(line)), (None, None), "{line}");
    }
}

#[test]
fn the_known_differences() {
    let ok = |line: &str| (ours(line).is_some(), theirs(line).is_some());
    // A blank line is no message; to the crate it is an error.
    assert_eq!(Message::parse(&mut []).map(|message| message.is_none()), Ok(true));
    assert!(theirs("").is_none());
    // Ids end at 2^31 - 1 for us, at 2^32 - 1 there.
    assert_eq!(ok("?a[2147483648]"), (false, true));
    // An unknown escape stands for its second character here, and is an error there.
    assert_eq!(ok("?a \\q"), (true, false));
    // A raw ESC or NUL is read here, since servers that send it exist.
    assert_eq!(ours("?a \x1b").unwrap().3, ["\x1b"]);
}

#[test]
fn escapes_agree_but_for_a_backslash_before_a_letter() {
    let texts = ["plain", "two words", "a\tb\nc\rd", "\0", "\x1b[0m", "", "back\\slash", "ünïcödé"];
    for text in texts {
        let mut wire = Vec::new();
        escape(text.as_bytes(), &mut wire);
        let wire = String::from_utf8(wire).unwrap();
        assert_eq!(wire, text.to_owned().to_argument(), "{text:?}");
        assert_eq!(our_argument(&wire), text, "{wire}");
        assert_eq!(String::from_argument(&wire).unwrap(), text, "{wire}");
    }
    // The crate replaces one escape after the other, so it takes `\\_` for `\ ` and `\\n` for a line feed.
    for (wire, right, wrong) in [("\\\\_", "\\_", "\\ "), ("\\\\n", "\\n", "\\\n")] {
        assert_eq!(our_argument(wire), right);
        assert_eq!(String::from_argument(wire).unwrap(), wrong);
    }
}

#[test]
fn both_write_plain_messages_alike() {
    let table: [(&str, Option<u32>, &[&str]); 3] =
        [("watchdog", None, &[]), ("read", Some(7), &["snap_bram", "0", "4"]), ("a", None, &["b"])];
    for (name, mid, args) in table {
        let mut out = Vec::new();
        let mut writer = Writer::request(&mut out, name, mid).unwrap();
        for arg in args {
            writer = writer.arg(arg.as_bytes());
        }
        writer.finish();
        let message = TheirMessage::new(MessageKind::Request, name, mid, args.to_vec()).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), message.to_string());
    }
}
