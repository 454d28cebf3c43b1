//! What a board sends.

use super::{magnitude, outcome};
use crate::{Target, corpus, measure};
use proximity_proto::katcp::{Kind, LineError, Parser, Writer};

pub(crate) const TARGET: Target = Target {
    name: "katcp",
    body,
    seeds: corpus::katcp,
    words: &[
        b"\n",
        b"\r\n",
        b"\\@",
        b"\\_\\0\\n\\r\\t\\e\\\\",
        b"\\q",
        b"[1]",
        b"[2147483647]",
        b"[2147483648]",
        b"[01]",
        b"!read ok ",
        b"#log ",
        b"?a",
        b" \t ",
        b"\x00\x1b",
    ],
};

/// The longest line that is taken: short, so that longer ones are common.
const LINE: usize = 256;

/// What is fed at a time where the parser's own memory is measured.
const PIECE: usize = 64;

/// A transcript up to this is cut at every place; a longer one at some places only.
const CUTS: usize = 12;

/// One thing that came out of the parser.
#[derive(Debug, PartialEq)]
enum Event {
    Message(Kind, String, Option<u32>, Vec<Vec<u8>>),
    Bad(LineError),
}

fn body(bytes: &[u8]) -> u64 {
    let events = read(&[bytes]);
    let step = (bytes.len() / CUTS).max(1);
    for cut in (0..=bytes.len()).step_by(step) {
        let (left, right) = bytes.split_at(cut);
        assert_eq!(read(&[left, right]), events, "cut at byte {cut}");
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(read(&single), events, "byte by byte");
    memory(bytes);
    for event in &events {
        if let Event::Message(kind, name, mid, args) = event {
            let mut line = Vec::new();
            let mut writer = Writer::new(&mut line, *kind, name, *mid).expect("a name and an id");
            for arg in args {
                writer = writer.arg(arg);
            }
            writer.finish();
            // Escaping makes it longer; that is no fault.
            let again = read_with(&[&line], usize::MAX);
            assert_eq!(again.first(), Some(event), "a message is what was written");
            assert_eq!(again.len(), 1);
        }
    }
    let kinds = events.iter().take(3).map(|event| match event {
        Event::Message(kind, name, mid, args) => {
            (u32::from(kind.as_byte()), mid.is_some(), magnitude(name.len()), magnitude(args.len()))
        }
        Event::Bad(error) => (0, false, magnitude(error.position()), 0),
    });
    outcome(kinds.collect::<Vec<_>>())
}

fn read(pieces: &[&[u8]]) -> Vec<Event> {
    read_with(pieces, LINE)
}

fn read_with(pieces: &[&[u8]], max_line: usize) -> Vec<Event> {
    let mut parser = Parser::new(max_line);
    let mut events = Vec::new();
    for piece in pieces {
        parser.feed(piece);
        loop {
            match parser.next() {
                Ok(None) => break,
                Ok(Some(mut message)) => {
                    let (kind, name, mid) =
                        (message.kind(), message.name().to_owned(), message.mid());
                    let count = message.raw_args().count();
                    let mut args = Vec::new();
                    while let Some(arg) = message.next_arg() {
                        args.push(arg.to_vec());
                    }
                    assert_eq!(args.len(), count, "as many arguments, decoded or not");
                    events.push(Event::Message(kind, name, mid, args));
                }
                Err(error) => events.push(Event::Bad(error)),
            }
        }
    }
    events
}

/// The parser holds a line, and no more than twice what it was last given.
fn memory(bytes: &[u8]) {
    measure::within(LINE + PIECE, 4, || {
        let mut parser = Parser::new(LINE);
        for piece in bytes.chunks(PIECE) {
            parser.feed(piece);
            while !matches!(parser.next(), Ok(None)) {}
        }
    });
}
