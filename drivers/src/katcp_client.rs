//! A link to a KATCP server: requests out, the right replies back, by a deadline.
//!
//! ```text
//! ?read[7] snap 0 65536  ->  #fpga ready              anybody's: kept as the board's state
//!                            #log error .. raw text   kept for the error of the request under way
//!                            !read[7] ok ...          ours
//! ```
//!
//! Guarantees, for driver authors:
//!
//! * Nothing here waits past its [`Limit`], and opening a client does no I/O at all.
//! * A reply is never taken for another request's. Servers of FPGA boards offer no message ids, so replies
//!   are matched strictly in order, and after a timeout or a line that cannot be read the connection is
//!   dropped: a late reply finds nobody. Ids are used where the server offers them.
//! * A lost connection is made anew by the next request; while the board is away requests fail at once, and
//!   tries are made 0.25 to 10 s apart.
//! * In steady state requests and replies cost no heap allocation: there is one receive buffer, in which
//!   replies are decoded, and one send buffer.

mod connection;
mod error;
mod inbox;
mod link;

pub use error::KatcpError;
pub use inbox::{FpgaState, Version};

use connection::Wait;
use inbox::{Inbox, Sent, Sorted, lossy};
use link::Link;
use proximity_proto::{
    Context,
    katcp::{LineError, MAX_MID, Message, Parser, Writer},
};
use std::{
    borrow::Cow,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

/// The longest line taken: a reply of 16 MiB whose every byte is escaped, and its name.
const MAX_LINE: usize = (32 << 20) + 1024;
/// What one receive takes at most.
const RECEIVE: usize = 128 << 10;
/// How many bytes of requests are gathered for one send.
const SEND: usize = 64 << 10;
/// How long a new server may keep silent before it is taken for one that does not introduce itself.
const GREETING: Duration = Duration::from_millis(200);
/// How much an error tells of a request or reply, in bytes.
const SHOWN: usize = 80;

/// Until when something may take, and for whom it is done.
pub struct Limit<'a> {
    at: Instant,
    /// How long that was at first.
    allowed: Duration,
    cx: &'a Context<'a>,
}

impl<'a> Limit<'a> {
    /// The nearer of the caller's deadline and `timeout` from now.
    pub fn new(cx: &'a Context<'a>, timeout: Duration) -> Self {
        let allowed = cx.remaining().map_or(timeout, |remaining| remaining.min(timeout));
        Self { at: Instant::now() + allowed, allowed, cx }
    }

    /// Whether the time is over, or the caller has called it off.
    pub fn is_over(&self) -> bool {
        Instant::now() >= self.at || self.cx.is_cancelled()
    }

    /// The time that is left.
    pub fn remaining(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// For whom it is done.
    pub fn context(&self) -> &'a Context<'a> {
        self.cx
    }

    /// The same, but over after `timeout` at the latest.
    #[must_use]
    pub fn at_most(&self, timeout: Duration) -> Self {
        let at = self.at.min(Instant::now() + timeout);
        Self { at, allowed: self.allowed, cx: self.cx }
    }
}

/// An argument of a request.
#[derive(Clone, Copy, Debug)]
pub enum Arg<'a> {
    /// Text or bytes.
    Bytes(&'a [u8]),
    /// A number, sent in decimal digits.
    Uint(u64),
}

impl Arg<'_> {
    fn write<'w>(&self, writer: Writer<'w>) -> Writer<'w> {
        match *self {
            Arg::Bytes(bytes) => writer.arg(bytes),
            Arg::Uint(number) => writer.uint(number),
        }
    }
}

impl<'a> From<&'a str> for Arg<'a> {
    fn from(text: &'a str) -> Self {
        Arg::Bytes(text.as_bytes())
    }
}

impl From<u32> for Arg<'_> {
    fn from(number: u32) -> Self {
        Arg::Uint(number.into())
    }
}

/// A client of one KATCP server.
pub struct KatcpClient {
    link: Link,
    parser: Parser,
    inbox: Inbox,
    /// Requests that are not sent yet.
    out: Vec<u8>,
    next_mid: u32,
}

impl KatcpClient {
    /// A client of the server at `host` and `port`. It connects when it is first needed.
    pub fn new(host: &str, port: u16) -> Self {
        Self {
            link: Link::new(host, port),
            parser: Parser::new(MAX_LINE),
            inbox: Inbox::default(),
            out: Vec::new(),
            next_mid: 0,
        }
    }

    /// Host and port, for errors and logs.
    pub fn board(&self) -> &Arc<str> {
        self.link.board()
    }

    /// The host alone.
    pub fn host(&self) -> &str {
        self.link.host()
    }

    /// What the server last told of its FPGA.
    pub fn fpga(&self) -> FpgaState {
        self.inbox.fpga
    }

    /// A number that grows whenever the registers may have changed: by `#fpga` informs, by a new connection.
    pub fn changes(&self) -> u64 {
        self.inbox.changes
    }

    /// What the server told of itself when it was connected to.
    pub fn versions(&self) -> &[Version] {
        &self.inbox.versions
    }

    /// Takes the last messages that nobody asked for: lines without their ends, oldest first.
    pub fn take_unhandled(&mut self) -> impl Iterator<Item = Vec<u8>> {
        self.inbox.unhandled.drain(..)
    }

    /// Whether connections are made at all; see [`stop`](Self::stop).
    pub fn is_running(&self) -> bool {
        !self.link.is_stopped()
    }

    /// Whether there is a connection, as far as is known without looking.
    pub fn is_up(&self) -> bool {
        self.link.is_up()
    }

    /// Takes the connection down, and makes none until [`start`](Self::start).
    pub fn stop(&mut self) {
        self.link.stop();
        self.forget();
    }

    /// Undoes [`stop`](Self::stop).
    pub fn start(&mut self) {
        self.link.start();
    }

    /// Whether there is a connection. Starts to make one if it is time to, and waits for it up to `limit`.
    pub fn is_connected(&mut self, limit: Option<&Limit<'_>>) -> bool {
        if self.link.is_up() {
            // An error here is the news that the connection is gone, which is logged already.
            return self.catch_up().is_ok();
        }
        self.link.dial().is_ok() && self.dialled(limit).unwrap_or(false)
    }

    /// Sees to it that there is a connection, and deals with all that has come on it, without waiting for
    /// more: what [`fpga`](Self::fpga) and [`changes`](Self::changes) tell is news then.
    ///
    /// # Errors
    ///
    /// There is no connection.
    pub fn connect(&mut self, limit: &Limit<'_>) -> Result<(), KatcpError> {
        self.begin(limit).map_err(|error| error.during("nothing".to_owned()))
    }

    /// Makes a request and returns its reply, whose first argument was `ok` and is taken.
    ///
    /// `on_inform` gets the informs that belong to the request.
    ///
    /// # Errors
    ///
    /// [`KatcpError`].
    pub fn ask(
        &mut self,
        limit: &Limit<'_>,
        name: &'static str,
        args: &[Arg<'_>],
        on_inform: impl FnMut(Message<'_>),
    ) -> Result<Message<'_>, KatcpError> {
        self.exchange(limit, name.into(), args, on_inform)?;
        if !self.is_ok() {
            return Err(self.refused(shown(name, args)));
        }
        let mut reply = self.parser.current().ok_or_else(|| no_reply(&self.link))?;
        reply.next_arg();
        Ok(reply)
    }

    /// Makes a request and returns its reply, whatever it says.
    ///
    /// # Errors
    ///
    /// [`KatcpError`], but never [`KatcpError::Refused`].
    pub fn ask_anything(
        &mut self,
        limit: &Limit<'_>,
        name: &str,
        args: &[Arg<'_>],
        on_inform: impl FnMut(Message<'_>),
    ) -> Result<Message<'_>, KatcpError> {
        self.exchange(limit, name.to_owned().into(), args, on_inform)?;
        self.parser.current().ok_or_else(|| no_reply(&self.link))
    }

    /// Sends a request and waits for nothing: its reply, when it comes, is kept among the unhandled.
    ///
    /// # Errors
    ///
    /// As [`ask_anything`](Self::ask_anything).
    pub fn tell(
        &mut self,
        limit: &Limit<'_>,
        name: &str,
        args: &[Arg<'_>],
    ) -> Result<(), KatcpError> {
        self.begin(limit).map_err(|error| error.during(shown(name, args)))?;
        let sent = Sent { name: name.to_owned().into(), mid: self.mid(), index: 0, detached: true };
        self.write(sent, |writer| args.iter().fold(writer, |writer, arg| arg.write(writer)))?;
        self.flush(limit).map_err(|error| error.during(shown(name, args)))
    }

    /// Sends `line`, which is no request and has no end, and waits for nothing.
    ///
    /// # Errors
    ///
    /// As [`ask_anything`](Self::ask_anything).
    pub fn tell_line(&mut self, limit: &Limit<'_>, line: &[u8]) -> Result<(), KatcpError> {
        self.begin(limit).map_err(|error| error.during(cut(line)))?;
        self.out.extend_from_slice(line);
        self.out.push(b'\n');
        self.flush(limit).map_err(|error| error.during(cut(line)))
    }

    /// Makes `count` requests called `name`, up to `depth` of them under way at a time.
    ///
    /// `request` writes the arguments of the request at an index. `on_reply` gets the arguments behind the
    /// `ok` of the reply to it, and tells what is wrong with them if something is.
    ///
    /// # Errors
    ///
    /// The first request that failed, by its index. Once one is refused no more are made, and the replies
    /// to those under way are awaited.
    pub fn ask_many(
        &mut self,
        limit: &Limit<'_>,
        name: &'static str,
        (count, depth): (usize, usize),
        request: impl for<'w> Fn(usize, Writer<'w>) -> Writer<'w>,
        mut on_reply: impl FnMut(usize, Message<'_>) -> Result<(), String>,
    ) -> Result<(), (usize, KatcpError)> {
        let shown = |index: usize| {
            let mut line = Vec::new();
            if let Ok(writer) = Writer::request(&mut line, name, None) {
                request(index, writer).finish();
            }
            cut(line.get(1..).unwrap_or_default())
        };
        self.begin(limit).map_err(|error| (0, error.during(shown(0))))?;
        let (mut made, mut done, mut refused) = (0, 0, None);
        while done < made || (made < count && refused.is_none()) {
            while made < count && made - done < depth && refused.is_none() && self.out.len() < SEND
            {
                let sent =
                    Sent { name: name.into(), mid: self.mid(), index: made, detached: false };
                self.write(sent, |writer| request(made, writer)).map_err(|error| (made, error))?;
                made += 1;
            }
            let arrived = self.flush(limit).and_then(|()| self.receive(limit));
            let index = match arrived.map_err(|error| (done, error.during(shown(done))))? {
                Arrived::Inform => continue,
                Arrived::Reply(index) => index,
            };
            done += 1;
            if !self.is_ok() {
                let error = self.refused(shown(index));
                refused.get_or_insert((index, error));
                continue;
            }
            self.inbox.logs.clear();
            let Some(mut reply) = self.parser.current() else { continue };
            reply.next_arg();
            if let Err(found) = on_reply(index, reply) {
                let request = shown(index);
                return Err((index, self.out_of_step(found).during(request)));
            }
        }
        refused.map_or(Ok(()), Err)
    }

    /// Takes the connection down because the server sent what it cannot have meant.
    pub(crate) fn out_of_step(&mut self, found: String) -> KatcpError {
        let error = io::Error::new(io::ErrorKind::InvalidData, found.clone());
        self.link.lost(&error);
        self.forget();
        KatcpError::OutOfStep { board: self.link.board().clone(), request: String::new(), found }
    }

    /// Makes one request and receives up to its reply, which is the parser's current message then.
    fn exchange(
        &mut self,
        limit: &Limit<'_>,
        name: Cow<'static, str>,
        args: &[Arg<'_>],
        mut on_inform: impl FnMut(Message<'_>),
    ) -> Result<(), KatcpError> {
        let request = name.clone();
        let during = |error: KatcpError| error.during(shown(&request, args));
        self.begin(limit).map_err(during)?;
        let sent = Sent { name, mid: self.mid(), index: 0, detached: false };
        self.write(sent, |writer| args.iter().fold(writer, |writer, arg| arg.write(writer)))?;
        self.flush(limit).map_err(during)?;
        while let Arrived::Inform = self.receive(limit).map_err(during)? {
            if let Some(inform) = self.parser.current() {
                on_inform(inform);
            }
        }
        Ok(())
    }

    /// Sees to it that there is a connection, and that all that came on it so far is dealt with.
    fn begin(&mut self, limit: &Limit<'_>) -> Result<(), KatcpError> {
        // A connection that died while nobody looked shows here, before anything is sent.
        if self.link.is_up() {
            match self.catch_up() {
                Err(KatcpError::Lost { .. }) => {}
                result => result?,
            }
        }
        if !self.link.is_up() {
            self.link.dial()?;
            if !self.dialled(Some(limit))? {
                return Err(self.link.connecting());
            }
        }
        if !self.inbox.introduced {
            self.await_greeting(&limit.at_most(GREETING))?;
        }
        self.inbox.logs.clear();
        Ok(())
    }

    /// Looks how a try to connect gets on; see [`Link::dialled`].
    fn dialled(&mut self, limit: Option<&Limit<'_>>) -> Result<bool, KatcpError> {
        let up = self.link.dialled(limit)?;
        if up {
            self.forget();
        }
        Ok(up)
    }

    /// Waits until the server has told which protocol it speaks, for a while.
    fn await_greeting(&mut self, limit: &Limit<'_>) -> Result<(), KatcpError> {
        while !self.inbox.introduced {
            if self.link.wait(false, limit).map_err(|error| self.lost(error))? == Wait::Over {
                break;
            }
            self.catch_up()?;
        }
        self.inbox.introduced = true;
        Ok(())
    }

    /// Deals with all that has come, without waiting.
    fn catch_up(&mut self) -> Result<(), KatcpError> {
        loop {
            while self.sort()?.is_some() {}
            if !self.fill(false)? {
                return Ok(());
            }
        }
    }

    fn mid(&mut self) -> Option<u32> {
        self.next_mid = if self.next_mid >= MAX_MID { 1 } else { self.next_mid + 1 };
        self.inbox.ids.then_some(self.next_mid)
    }

    /// Writes a request into the send buffer.
    fn write(
        &mut self,
        sent: Sent,
        args: impl for<'w> FnOnce(Writer<'w>) -> Writer<'w>,
    ) -> Result<(), KatcpError> {
        let writer = Writer::request(&mut self.out, &sent.name, sent.mid)
            .map_err(|source| KatcpError::NoRequest { request: sent.name.to_string(), source })?;
        args(writer).finish();
        self.inbox.waiting.push_back(sent);
        Ok(())
    }

    /// Sends what is in the send buffer.
    fn flush(&mut self, limit: &Limit<'_>) -> Result<(), KatcpError> {
        let mut sent = 0;
        while let Some(rest) = self.out.get(sent..).filter(|rest| !rest.is_empty()) {
            match self.link.write(rest) {
                Ok(Some(count)) => sent += count,
                Ok(None) => match self.link.wait(true, limit) {
                    Ok(Wait::Ready) => {}
                    Ok(Wait::Over) => return Err(self.over(limit)),
                    Err(error) => return Err(self.lost(error)),
                },
                Err(error) => return Err(self.lost(error)),
            }
        }
        self.out.clear();
        Ok(())
    }

    /// Receives until there is something for a request that waits.
    fn receive(&mut self, limit: &Limit<'_>) -> Result<Arrived, KatcpError> {
        loop {
            if let Some(arrived) = self.sort()? {
                if let Arrived::Reply(_) = arrived {
                    self.link.answered();
                }
                return Ok(arrived);
            }
            match self.link.wait(false, limit) {
                Ok(Wait::Ready) => self.fill(true)?,
                Ok(Wait::Over) => return Err(self.over(limit)),
                Err(error) => return Err(self.lost(error)),
            };
        }
    }

    /// Takes what has arrived into the parser; whether anything has.
    fn fill(&mut self, acknowledge: bool) -> Result<bool, KatcpError> {
        match self.link.read(self.parser.space(RECEIVE), acknowledge) {
            Ok(Some(count)) => {
                self.parser.filled(count);
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(error) => Err(self.lost(error)),
        }
    }

    /// Deals with the messages received so far, up to one for a request that waits.
    fn sort(&mut self) -> Result<Option<Arrived>, KatcpError> {
        loop {
            let sorted = match self.parser.next() {
                Ok(Some(message)) => self.inbox.sort(self.link.board(), message),
                Ok(None) => return Ok(None),
                Err(error) => {
                    self.unreadable(error)?;
                    continue;
                }
            };
            match sorted {
                Ok(Sorted::Unasked) => {}
                Ok(Sorted::Inform) => return Ok(Some(Arrived::Inform)),
                Ok(Sorted::Reply(index)) => return Ok(Some(Arrived::Reply(index))),
                Err(found) => return Err(self.out_of_step(found)),
            }
        }
    }

    /// A line came that is no message. Where only the order of replies tells whose they are it may have been
    /// one, and all that follow would be taken for the replies before them.
    fn unreadable(&mut self, source: LineError) -> Result<(), KatcpError> {
        let board = self.link.board().clone();
        log::debug!("{board} sent an unreadable line: {source}");
        if self.inbox.ids || self.inbox.waiting.is_empty() {
            return Ok(());
        }
        self.link.lost(&io::Error::new(io::ErrorKind::InvalidData, source));
        self.forget();
        Err(KatcpError::Garbled { board, request: String::new(), source })
    }

    /// The time is over, or the caller has called it off. Where replies have no ids the connection has to go.
    fn over(&mut self, limit: &Limit<'_>) -> KatcpError {
        let (board, request) = (self.link.board().clone(), String::new());
        // What was sent in part would spoil the next request.
        if self.inbox.ids && self.out.is_empty() {
            self.inbox.waiting.clear();
        } else {
            let error = io::Error::new(io::ErrorKind::TimedOut, "a reply is overdue");
            self.link.lost(&error);
            self.forget();
        }
        if limit.cx.is_cancelled() && !limit.remaining().is_zero() {
            return KatcpError::Cancelled { board, request };
        }
        KatcpError::NoAnswer { board, request, waited: limit.allowed }
    }

    /// The connection is gone.
    fn lost(&mut self, source: io::Error) -> KatcpError {
        self.link.lost(&source);
        self.forget();
        KatcpError::Lost { board: self.link.board().clone(), request: String::new(), source }
    }

    /// Forgets what belonged to the last connection.
    fn forget(&mut self) {
        self.parser.clear();
        self.out.clear();
        self.inbox.reset();
    }

    /// Whether the reply that is the parser's current message begins with `ok`.
    fn is_ok(&mut self) -> bool {
        self.parser.current().is_some_and(|reply| reply.raw_arg(0) == Some(b"ok"))
    }

    /// The error that the parser's current message, a reply, is.
    fn refused(&mut self, request: String) -> KatcpError {
        let mut words = Vec::new();
        if let Some(mut reply) = self.parser.current() {
            while let Some(arg) = reply.next_arg() {
                words.push(lossy(arg));
            }
        }
        KatcpError::Refused {
            board: self.link.board().clone(),
            request,
            reply: if words.is_empty() { "no word".into() } else { words.join(" ") },
            logs: self.inbox.logs.drain(..).collect(),
        }
    }
}

/// What came for a request that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrived {
    /// An inform.
    Inform,
    /// The reply to the request with this index.
    Reply(usize),
}

/// A reply was there and is not any more. It cannot be: nothing is received in between.
fn no_reply(link: &Link) -> KatcpError {
    let (board, found) = (link.board().clone(), "nothing".to_owned());
    KatcpError::OutOfStep { board, request: String::new(), found }
}

/// A request for the text of an error.
fn shown(name: &str, args: &[Arg<'_>]) -> String {
    let mut line = Vec::new();
    match Writer::request(&mut line, name, None) {
        Ok(writer) => args.iter().fold(writer, |writer, arg| arg.write(writer)).finish(),
        Err(_) => return name.to_owned(),
    }
    cut(line.get(1..).unwrap_or_default())
}

/// The start of a line for the text of an error.
fn cut(line: &[u8]) -> String {
    let line = line.trim_ascii_end();
    match line.get(..SHOWN) {
        Some(start) if line.len() > SHOWN => lossy(start) + "...",
        _ => lossy(line),
    }
}
