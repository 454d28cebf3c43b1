//! What a client sent, taken apart as the C server does it.
//!
//! It is kinder than the specification: bytes in front of `?`, `!` or `#` are skipped, an escaped line end goes on with
//! the line, a NUL ends a name. Only a message id that is no number ends the connection.

use proximity_proto::katcp::{Kind, unescape_in_place};
use std::io::{self, Read};

/// Bytes asked for in one receive.
const RECEIVE: usize = 64 << 10;

/// The bytes received and not yet handled.
#[derive(Debug, Default)]
pub(crate) struct Input {
    buffer: Vec<u8>,
    head: usize,
    scanned: usize,
    end: usize,
}

/// One line, decoded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request<'a> {
    pub(crate) kind: Kind,
    pub(crate) name: &'a [u8],
    pub(crate) mid: Option<u32>,
    pub(crate) args: Vec<&'a [u8]>,
}

/// A message id that is no number.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadMid;

impl Input {
    /// Receives once; 0 at the end of the stream.
    pub(crate) fn receive(&mut self, mut stream: impl Read) -> io::Result<usize> {
        if self.head == self.end {
            (self.head, self.scanned, self.end) = (0, 0, 0);
        } else if self.head > 0 && self.buffer.len() - self.end < RECEIVE {
            self.buffer.copy_within(self.head..self.end, 0);
            self.scanned -= self.head;
            self.end -= self.head;
            self.head = 0;
        }
        if self.buffer.len() - self.end < RECEIVE {
            self.buffer.resize(self.end + RECEIVE, 0);
        }
        let len = stream.read(self.buffer.get_mut(self.end..).unwrap_or_default())?;
        self.end += len;
        Ok(len)
    }

    /// The next whole line from its type byte on, without its end.
    pub(crate) fn next_line(&mut self) -> Option<&mut [u8]> {
        let received = self.buffer.get(..self.end)?;
        let junk = received.get(self.head..)?.iter().take_while(|b| !b"?!#".contains(b)).count();
        self.head += junk;
        self.scanned = self.scanned.max(self.head);
        loop {
            let fresh = received.get(self.scanned..)?;
            let Some(found) = memchr::memchr2(b'\n', b'\r', fresh) else {
                self.scanned = self.end;
                return None;
            };
            let eol = self.scanned + found;
            self.scanned = eol + 1;
            let line = received.get(self.head..eol)?;
            if !ends_in_escape(line) {
                let line = self.head..eol;
                self.head = eol + 1;
                return self.buffer.get_mut(line);
            }
        }
    }
}

/// Whether the byte behind `bytes` is the second of an escape.
fn ends_in_escape(bytes: &[u8]) -> bool {
    bytes.iter().rev().take_while(|&&byte| byte == b'\\').count() % 2 == 1
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

impl<'a> Request<'a> {
    /// Decodes a line in its own place. `Ok(None)` if it has no name.
    pub(crate) fn parse(line: &'a mut [u8]) -> Result<Option<Self>, BadMid> {
        let Some((first, rest)) = line.split_first_mut() else { return Ok(None) };
        let Some(kind) = Kind::from_byte(*first) else { return Ok(None) };
        let end = rest.iter().position(|&b| is_blank(b) || b == b'[').unwrap_or(rest.len());
        let (name, rest) = rest.split_at_mut(end);
        let name: &[u8] = name;
        let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
        let (mid, taken) = parse_mid(rest)?;
        let (_, rest) = rest.split_at_mut(taken);
        if name.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self { kind, name, mid, args: split_args(rest) }))
    }
}

/// The id at the start of `bytes`, and the length of everything up to the next blank.
fn parse_mid(bytes: &[u8]) -> Result<(Option<u32>, usize), BadMid> {
    let Some(inside) = bytes.strip_prefix(b"[") else { return Ok((None, 0)) };
    let len = inside.iter().position(|&byte| byte == b']').ok_or(BadMid)?;
    let digits = inside.get(..len).unwrap_or_default();
    let mut mid: Option<u32> = None;
    for digit in digits {
        let value = char::from(*digit).to_digit(10).ok_or(BadMid)?;
        mid = Some(mid.unwrap_or(0).wrapping_mul(10).wrapping_add(value));
    }
    let taken = bytes.iter().position(|&byte| is_blank(byte)).unwrap_or(bytes.len());
    Ok((mid, taken))
}

fn split_args(mut rest: &mut [u8]) -> Vec<&[u8]> {
    let mut args: Vec<&[u8]> = Vec::new();
    loop {
        let start = rest.iter().take_while(|&&byte| is_blank(byte)).count();
        rest = rest.split_at_mut(start).1;
        if rest.is_empty() {
            return args;
        }
        let mut end = 0;
        loop {
            let more = rest.get(end..).unwrap_or_default();
            end += memchr::memchr2(b' ', b'\t', more).unwrap_or(more.len());
            // An escaped blank is part of the argument.
            if end >= rest.len() || !ends_in_escape(rest.get(..end).unwrap_or_default()) {
                break;
            }
            end += 1;
        }
        let (arg, tail) = rest.split_at_mut(end);
        let len = unescape_in_place(arg);
        args.push(arg.get(..len).unwrap_or_default());
        rest = tail;
    }
}

#[cfg(test)]
mod tests {
    use super::{BadMid, Input, Kind, Request};

    fn lines(bytes: &[u8], piece: usize) -> Vec<Vec<u8>> {
        let mut input = Input::default();
        let mut lines = Vec::new();
        for piece in bytes.chunks(piece) {
            input.receive(piece).unwrap();
            while let Some(line) = input.next_line() {
                lines.push(line.to_vec());
            }
        }
        lines
    }

    #[test]
    fn lines_are_split_as_the_server_splits_them() {
        let stream = b"hello\n\r\nxx?a 1\r\n ?b x\\\n?c\n#d\n?e \\\\\n?f";
        for piece in 1..stream.len() {
            let expected: [&[u8]; 4] = [b"?a 1", b"?b x\\\n?c", b"#d", b"?e \\\\"];
            assert_eq!(lines(stream, piece), expected, "in pieces of {piece}");
        }
    }

    type Expected = Option<(&'static [u8], Option<u32>, &'static [&'static [u8]])>;

    #[test]
    fn names_ids_and_arguments() {
        let table: [(&[u8], Expected); 11] = [
            (b"?watchdog", Some((b"watchdog", None, &[]))),
            (b"??", Some((b"?", None, &[]))),
            (b"?", None),
            (b"?  x", None),
            (b"?watch\0dog x", Some((b"watch", None, &[b"x"]))),
            (b"?a[0] \t b  c", Some((b"a", Some(0), &[b"b", b"c"]))),
            (b"?a[]", Some((b"a", None, &[]))),
            (b"?a[5]extra b", Some((b"a", Some(5), &[b"b"]))),
            (b"?a[99999999999]", Some((b"a", Some(1_215_752_191), &[]))),
            (b"?a sys\\qscratch \\@ x\\ y", Some((b"a", None, &[b"sysqscratch", b"", b"x y"]))),
            (b"?a x\\\n?b z", Some((b"a", None, &[b"x\n?b", b"z"]))),
        ];
        for (line, expected) in table {
            let mut bytes = line.to_vec();
            let request = Request::parse(&mut bytes).unwrap();
            let expected = expected.map(|(name, mid, args)| Request {
                kind: Kind::Request,
                name,
                mid,
                args: args.to_vec(),
            });
            assert_eq!(request, expected, "{}", line.escape_ascii());
        }
        assert_eq!(Request::parse(&mut b"?a[x]".to_vec()), Err(BadMid));
        assert_eq!(Request::parse(&mut b"?a[1".to_vec()), Err(BadMid));
    }
}
