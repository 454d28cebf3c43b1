//! KATCP on bytes: a streaming parser, a writer, the escapes.
//!
//! A message is one line: `?` request, `!` reply or `#` inform, a name, perhaps a message id in brackets, arguments.
//!
//! ```text
//! ?read[7] snap_bram 0 4 LF           !read[7] ok \0\0\_A LF           #log warn 1795454104852 raw text LF
//! ```
//!
//! * Arguments are bytes, never text: a register's contents travel raw but for the eight [escapes](escape).
//! * [`Parser`] owns the one buffer a link needs. Bytes are received into it, messages are views of it, and an
//!   argument is decoded in its own place: in steady state a bulk read costs no allocation and no further copy.
//! * A bad line is an error of its own and never the end of the stream; parsing goes on with the next line.
//! * Reading is lenient where real servers are (see [`unescape_in_place`]), writing is strict.
//!
//! KATCP guidelines, NRF-KAT7-6.0-IFCE-002 Rev 5, message format section.

mod escape;

pub use escape::{escape, unescape, unescape_in_place};

use alloc::vec::Vec;
use core::ops::Range;

/// The line cap to use where nothing better is known: a read of 16 MiB whose every byte is escaped.
pub const DEFAULT_MAX_LINE: usize = 32 << 20;

/// The largest message id: 2^31 - 1.
pub const MAX_MID: u32 = i32::MAX as u32;

/// How much room is made in the midst of a long line: where several of them follow each other, few of their bytes
/// have to be moved to the front of the buffer.
const LONG: usize = 256 << 10;

/// What a message is for; its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `?`: wants one reply.
    Request,
    /// `!`: ends a request.
    Reply,
    /// `#`: belongs to a request of its name, or comes unasked.
    Inform,
}

impl Kind {
    /// The byte a line of this kind begins with.
    pub fn as_byte(self) -> u8 {
        match self {
            Self::Request => b'?',
            Self::Reply => b'!',
            Self::Inform => b'#',
        }
    }

    /// The kind of line that begins with `byte`.
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            b'?' => Some(Self::Request),
            b'!' => Some(Self::Reply),
            b'#' => Some(Self::Inform),
            _ => None,
        }
    }
}

/// Why a line was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// No end of line came within the cap; everything up to the next one is thrown away.
    #[error("KATCP line is longer than {limit} bytes")]
    TooLong {
        /// The cap the parser was made with.
        limit: usize,
    },
    /// The line does not begin as a message does.
    #[error("KATCP line begins with byte {found:#04x}; a message begins with '?', '!' or '#'")]
    Kind {
        /// The line's first byte.
        found: u8,
    },
    /// The name is empty, does not begin with a letter, or holds something else than letters, digits and `-`.
    #[error(
        "bad KATCP message name at byte {position}; a name is a letter, then letters, digits or '-'"
    )]
    Name {
        /// Bytes from the start of the line.
        position: usize,
    },
    /// The message id is not a number from 1 to 2^31 - 1 in brackets.
    #[error(
        "bad KATCP message id at byte {position}; an id is 1 to 2147483647, in brackets behind the name"
    )]
    Mid {
        /// Bytes from the start of the line.
        position: usize,
    },
}

impl LineError {
    /// Where in its line the error is, in bytes from the line's start.
    pub fn position(&self) -> usize {
        match *self {
            Self::TooLong { limit } => limit,
            Self::Kind { .. } => 0,
            Self::Name { position } | Self::Mid { position } => position,
        }
    }
}

/// One message, a view of the line it came in.
///
/// The arguments are walked once, front to back, by [`next_arg`](Self::next_arg); the raw ones still ahead can be
/// looked at any number of times.
#[derive(Debug)]
pub struct Message<'a> {
    kind: Kind,
    name: &'a str,
    mid: Option<u32>,
    args: &'a mut [u8],
}

impl<'a> Message<'a> {
    /// Takes `line`, without its end, as a message. `Ok(None)` if it is blank.
    ///
    /// # Errors
    ///
    /// [`LineError`] if it is not a message.
    pub fn parse(line: &'a mut [u8]) -> Result<Option<Self>, LineError> {
        match Header::parse(line)? {
            Some(header) => Ok(header.message(line)),
            None => Ok(None),
        }
    }

    /// Request, reply or inform.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The name, as in `?name`.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// The message id; `None` from a server that has no ids.
    pub fn mid(&self) -> Option<u32> {
        self.mid
    }

    /// Whether this is a `kind` called `name`.
    pub fn is(&self, kind: Kind, name: &str) -> bool {
        self.kind == kind && self.name == name
    }

    /// The arguments not yet taken, still escaped.
    pub fn raw_args(&self) -> impl Iterator<Item = &[u8]> {
        self.args.split(|&byte| is_blank(byte)).filter(|arg| !arg.is_empty())
    }

    /// The `index`th of the arguments not yet taken, still escaped.
    ///
    /// Escapes do not matter in `ok`, numbers and names, so a look at these needs no decoding.
    pub fn raw_arg(&self, index: usize) -> Option<&[u8]> {
        self.raw_args().nth(index)
    }

    /// Takes the next argument, decoded in its own place in the receive buffer.
    pub fn next_arg(&mut self) -> Option<&'a mut [u8]> {
        let arg = self.take_arg()?;
        let len = unescape_in_place(arg);
        arg.get_mut(..len)
    }

    /// Takes the next argument and appends it, decoded, to `out`: for one of many bytes that are wanted elsewhere than
    /// in the receive buffer. Returns how many bytes it was; `None` if there is no argument.
    pub fn next_arg_onto(&mut self, out: &mut Vec<u8>) -> Option<usize> {
        let before = out.len();
        unescape(self.take_arg()?, out);
        Some(out.len() - before)
    }

    /// Takes the next argument as it is.
    fn take_arg(&mut self) -> Option<&'a mut [u8]> {
        let args = core::mem::take(&mut self.args);
        let start = args.iter().position(|&byte| !is_blank(byte))?;
        let (_, args) = args.split_at_mut_checked(start)?;
        let end = memchr::memchr2(b' ', b'\t', args).unwrap_or(args.len());
        let (arg, rest) = args.split_at_mut_checked(end)?;
        self.args = rest;
        Some(arg)
    }
}

/// Where the parts of a message are in its line. Lines live in a buffer that moves; this does not borrow it.
#[derive(Debug, Clone, Copy)]
struct Header {
    kind: Kind,
    name_end: usize,
    mid: Option<u32>,
    args: usize,
}

impl Header {
    fn parse(line: &[u8]) -> Result<Option<Self>, LineError> {
        let Some((&first, rest)) = line.split_first() else { return Ok(None) };
        let Some(kind) = Kind::from_byte(first) else {
            let blank = line.iter().all(|&byte| is_blank(byte));
            return if blank { Ok(None) } else { Err(LineError::Kind { found: first }) };
        };
        let len = name_len(rest);
        let name_end = 1 + len;
        let (mid, args) = match rest.get(len..).unwrap_or_default() {
            _ if len == 0 => return Err(LineError::Name { position: 1 }),
            [] | [b' ' | b'\t', ..] => (None, name_end),
            [b'[', tail @ ..] => {
                let (mid, len) = parse_mid(tail).ok_or(LineError::Mid { position: name_end })?;
                (Some(mid), name_end + 1 + len)
            }
            _ => return Err(LineError::Name { position: name_end }),
        };
        Ok(Some(Self { kind, name_end, mid, args }))
    }

    /// The message of this header. `None` only if `line` is not the line this was parsed from.
    fn message(self, line: &mut [u8]) -> Option<Message<'_>> {
        let (head, args) = line.split_at_mut_checked(self.args)?;
        let name = core::str::from_utf8(head.get(1..self.name_end)?).ok()?;
        Some(Message { kind: self.kind, name, mid: self.mid, args })
    }
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// How many of the first bytes make a name.
fn name_len(bytes: &[u8]) -> usize {
    if !bytes.first().is_some_and(u8::is_ascii_alphabetic) {
        return 0;
    }
    bytes.iter().take_while(|&&byte| byte.is_ascii_alphanumeric() || byte == b'-').count()
}

/// Reads `7]`, up to a blank or the end; returns the id and the bytes it took.
fn parse_mid(bytes: &[u8]) -> Option<(u32, usize)> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = bytes.split_at_checked(digits)?;
    let ([b']'] | [b']', b' ' | b'\t', ..]) = rest else { return None };
    if number.first() == Some(&b'0') {
        return None;
    }
    let mid: u32 = core::str::from_utf8(number).ok()?.parse().ok()?;
    (mid <= MAX_MID).then_some((mid, digits + 1))
}

/// Splits a byte stream into messages.
///
/// Bytes go in by [`space`](Self::space) and [`filled`](Self::filled), or by [`feed`](Self::feed), in pieces of any
/// size; messages come out of [`next`](Self::next) until it returns `Ok(None)`. Each byte is looked at once however
/// many pieces a line comes in, and the buffer grows only with what was really received, to little more than the longest
/// line; it never shrinks.
///
/// # Examples
///
/// ```
/// use proximity_proto::katcp::{Kind, Parser};
///
/// let mut parser = Parser::new(1 << 20);
/// parser.feed(b"!read ok a\\_");
/// assert!(parser.next()?.is_none());
/// parser.feed(b"b\n");
/// let mut reply = parser.next()?.unwrap();
/// assert!(reply.is(Kind::Reply, "read"));
/// assert_eq!(reply.next_arg().unwrap(), b"ok");
/// assert_eq!(reply.next_arg().unwrap(), b"a b");
/// # Ok::<(), proximity_proto::katcp::LineError>(())
/// ```
#[derive(Debug)]
pub struct Parser {
    buffer: Vec<u8>,
    /// Start of the line in progress.
    head: usize,
    /// No end of line lies between `head` and here.
    scanned: usize,
    /// End of the bytes received.
    end: usize,
    max_line: usize,
    /// The line in progress was too long; its end is still to come.
    skipping: bool,
    current: Option<(Header, Range<usize>)>,
}

impl Parser {
    /// A parser that refuses lines of more than `max_line` bytes, their end not counted.
    pub fn new(max_line: usize) -> Self {
        Self {
            buffer: Vec::new(),
            head: 0,
            scanned: 0,
            end: 0,
            max_line,
            skipping: false,
            current: None,
        }
    }

    /// Room for at least `len` more bytes, to receive into. The messages handed out so far are gone.
    ///
    /// Ask for as many bytes as one receive should take; call [`next`](Self::next) until `Ok(None)` in between, or
    /// the buffer holds everything that ever came.
    pub fn space(&mut self, len: usize) -> &mut [u8] {
        self.current = None;
        let pending = self.end - self.head;
        // Moving no more bytes than were consumed keeps the cost of moving below that of receiving.
        if self.buffer.len() - self.end < len && pending <= self.head {
            self.buffer.copy_within(self.head..self.end, 0);
            self.scanned -= self.head;
            self.head = 0;
            self.end = pending;
        }
        if self.buffer.len() - self.end < len {
            let room = if pending < LONG / 8 { len } else { len.max(LONG) };
            self.buffer.resize(self.end + room, 0);
        }
        self.buffer.get_mut(self.end..).unwrap_or_default()
    }

    /// Tells that the first `len` bytes of the last [`space`](Self::space) now hold received bytes.
    pub fn filled(&mut self, len: usize) {
        self.end = self.buffer.len().min(self.end + len);
    }

    /// Appends `bytes`, for those who have them already.
    pub fn feed(&mut self, bytes: &[u8]) {
        if let Some(space) = self.space(bytes.len()).get_mut(..bytes.len()) {
            space.copy_from_slice(bytes);
        }
        self.filled(bytes.len());
    }

    /// Forgets everything received: for a new connection.
    pub fn clear(&mut self) {
        (self.head, self.scanned, self.end) = (0, 0, 0);
        self.skipping = false;
        self.current = None;
    }

    /// The next message; `Ok(None)` until a whole line has arrived. Blank lines are skipped.
    ///
    /// # Errors
    ///
    /// [`LineError`] for a line that is no message; the next call goes on with the line after it.
    #[allow(clippy::should_implement_trait)] // a message borrows the parser, as an iterator's item cannot
    pub fn next(&mut self) -> Result<Option<Message<'_>>, LineError> {
        self.current = None;
        while let Some(line) = self.next_line()? {
            let bytes = self.buffer.get(line.clone()).unwrap_or_default();
            if let Some(header) = Header::parse(bytes)? {
                self.current = Some((header, line));
                break;
            }
        }
        Ok(self.current())
    }

    /// The message last returned by [`next`](Self::next), once more, until more bytes are received.
    ///
    /// For loops that look for a certain message and hand out a borrow of it, which the borrow checker cannot follow
    /// through the loop. Arguments taken from the first view are gone from this one: only look at them there.
    pub fn current(&mut self) -> Option<Message<'_>> {
        let (header, line) = self.current.clone()?;
        header.message(self.buffer.get_mut(line)?)
    }

    /// The next whole line that is within the cap, without its end.
    fn next_line(&mut self) -> Result<Option<Range<usize>>, LineError> {
        loop {
            let fresh = self.buffer.get(self.scanned..self.end).unwrap_or_default();
            let Some(found) = memchr::memchr2(b'\n', b'\r', fresh) else {
                self.scanned = self.end;
                return self.wait_for_eol();
            };
            let line = self.head..self.scanned + found;
            self.head = line.end + 1;
            self.scanned = self.head;
            if self.skipping {
                self.skipping = false;
            } else if line.len() > self.max_line {
                return Err(LineError::TooLong { limit: self.max_line });
            } else {
                return Ok(Some(line));
            }
        }
    }

    /// Everything received is scanned: drops what need not be kept until more comes.
    fn wait_for_eol<T>(&mut self) -> Result<Option<T>, LineError> {
        let too_long = self.end - self.head > self.max_line;
        if too_long || self.skipping || self.head == self.end {
            (self.head, self.scanned, self.end) = (0, 0, 0);
        }
        if too_long && !self.skipping {
            self.skipping = true;
            return Err(LineError::TooLong { limit: self.max_line });
        }
        Ok(None)
    }
}

/// Why a message could not be begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The name is not a letter followed by letters, digits and `-`.
    #[error("not a KATCP message name; a name is a letter, then letters, digits or '-'")]
    Name,
    /// The id is 0 or above [`MAX_MID`].
    #[error("KATCP message id is {0}; it must be 1 to {MAX_MID}")]
    Mid(u32),
}

/// Appends one message to a buffer its owner keeps.
///
/// # Examples
///
/// ```
/// use proximity_proto::katcp::Writer;
///
/// let mut out = Vec::new();
/// Writer::request(&mut out, "read", None)?.arg(b"snap_bram").uint(0).uint(65_536).finish();
/// assert_eq!(out, b"?read snap_bram 0 65536\n");
/// # Ok::<(), proximity_proto::katcp::WriteError>(())
/// ```
#[derive(Debug)]
#[must_use = "the line has no end before finish()"]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    /// Begins a request.
    ///
    /// # Errors
    ///
    /// [`WriteError`] if name or id break the rules; nothing is appended then.
    pub fn request(out: &'a mut Vec<u8>, name: &str, mid: Option<u32>) -> Result<Self, WriteError> {
        Self::new(out, Kind::Request, name, mid)
    }

    /// Begins a message of any kind.
    ///
    /// # Errors
    ///
    /// As [`request`](Self::request).
    pub fn new(
        out: &'a mut Vec<u8>,
        kind: Kind,
        name: &str,
        mid: Option<u32>,
    ) -> Result<Self, WriteError> {
        if name.is_empty() || name_len(name.as_bytes()) != name.len() {
            return Err(WriteError::Name);
        }
        if let Some(mid) = mid.filter(|mid| !(1..=MAX_MID).contains(mid)) {
            return Err(WriteError::Mid(mid));
        }
        out.push(kind.as_byte());
        out.extend_from_slice(name.as_bytes());
        if let Some(mid) = mid {
            out.push(b'[');
            push_uint(out, mid.into());
            out.push(b']');
        }
        Ok(Self { out })
    }

    /// Adds an argument, escaped.
    pub fn arg(self, bytes: &[u8]) -> Self {
        self.out.push(b' ');
        escape(bytes, self.out);
        self
    }

    /// Adds a number in decimal digits.
    pub fn uint(self, number: u64) -> Self {
        self.out.push(b' ');
        push_uint(self.out, number);
        self
    }

    /// Ends the line.
    pub fn finish(self) {
        self.out.push(b'\n');
    }
}

fn push_uint(out: &mut Vec<u8>, number: u64) {
    let start = out.len();
    let mut rest = number;
    loop {
        #[allow(clippy::cast_possible_truncation)] // one digit
        out.push(b'0' + (rest % 10) as u8);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if let Some(digits) = out.get_mut(start..) {
        digits.reverse();
    }
}
