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
mod exchange;
mod inbox;
mod link;
mod push;

pub use crate::reach::Limit;
pub use error::KatcpError;
pub use inbox::{FpgaState, Version};
pub use push::PushError;

pub(crate) use inbox::log_level;

use exchange::Arrived;
use inbox::{Inbox, Sent, legible};
use link::Link;
use proximity_proto::{
    katcp::{Message, Parser, Writer},
    object::Way,
};
use std::{sync::Arc, time::Duration};

/// The longest line taken: a reply of 16 MiB whose every byte is escaped, and its name.
const MAX_LINE: usize = (32 << 20) + 1024;
/// What one receive takes at least. It takes more once the buffer has grown with long lines.
const RECEIVE: usize = 16 << 10;
/// The most receives in a row that are not for a request under way: a server may talk without end.
const CATCH_UP: usize = 64;
/// The most informs that one request may have.
const INFORMS: usize = 100_000;
/// How many bytes of requests are gathered for one send.
const SEND: usize = 64 << 10;
/// How long a new server may keep silent before it is taken for one that does not introduce itself.
const GREETING: Duration = Duration::from_millis(200);
/// How much an error tells of a request or reply, in bytes.
const SHOWN: usize = 80;

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

    /// The way to the board, for those who want to know how that is.
    pub fn way(&self) -> Arc<dyn Way> {
        self.link.telltale().clone()
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

    /// Whether the server speaks version 4 of KATCP, as those on boards do, or an earlier one.
    pub fn is_version_4(&self) -> bool {
        !self.inbox.version_5
    }

    /// How many connections there have been.
    pub fn connections(&self) -> u64 {
        self.inbox.connections
    }

    /// What the server told of itself when it was connected to.
    pub fn versions(&self) -> &[Version] {
        &self.inbox.versions
    }

    /// The last messages that nobody asked for: lines without their ends, oldest first.
    pub fn unhandled(&self) -> impl Iterator<Item = &[u8]> {
        self.inbox.unhandled.iter().map(Vec::as_slice)
    }

    /// Deals with a message as if the server had sent it, except that no reply finds its request so.
    pub fn inject(&mut self, message: Message<'_>) {
        self.inbox.inject(self.link.board(), message);
    }

    /// Keeps what the server logs from now on, of level info and above if `all`, for [`logs`](Self::logs).
    pub fn listen(&mut self, all: bool) {
        self.inbox.listen(all);
    }

    /// What the server logged since [`listen`](Self::listen), up to a bound; and ends the listening.
    pub fn logs(&mut self) -> Vec<String> {
        self.inbox.take_logs()
    }

    /// Whether the server has logged an error since [`listen`](Self::listen).
    pub fn has_logged(&self) -> bool {
        !self.inbox.logs.is_empty()
    }

    /// Waits until something comes that nobody asked for, and deals with it, or until `limit` is over.
    ///
    /// # Errors
    ///
    /// The connection is gone.
    pub fn wait_for_news(&mut self, limit: &Limit<'_>) -> Result<(), KatcpError> {
        self.await_news(limit)
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
        self.exchange(limit, &name.into(), args, on_inform)?;
        if !self.is_ok() {
            return Err(self.refused(shown(name, args)));
        }
        let mut reply = self.parser.current().ok_or_else(|| no_reply(&self.link))?;
        reply.next_arg();
        Ok(reply)
    }

    /// Makes a request whose reply comes only after something else was done: see [`replied`](Self::replied).
    ///
    /// # Errors
    ///
    /// [`KatcpError`].
    pub fn send(
        &mut self,
        limit: &Limit<'_>,
        name: &'static str,
        args: &[Arg<'_>],
    ) -> Result<(), KatcpError> {
        self.request(limit, &name.into(), args)
    }

    /// Whether the reply to the request [sent](Self::send) last is here, which was `ok`. Waits for it up to
    /// `limit`, where one is given.
    ///
    /// # Errors
    ///
    /// [`KatcpError`]; without a reply within `limit` too.
    pub fn replied(
        &mut self,
        limit: Option<&Limit<'_>>,
        name: &'static str,
    ) -> Result<bool, KatcpError> {
        loop {
            let arrived = match limit {
                Some(limit) => self.receive(limit).map(Some),
                None => self.glance(),
            };
            match arrived.map_err(|error| error.during(name.to_owned()))? {
                None => return Ok(false),
                Some(Arrived::Inform) => {}
                Some(Arrived::Reply(_)) if self.is_ok() => return Ok(true),
                Some(Arrived::Reply(_)) => return Err(self.refused(name.to_owned())),
            }
        }
    }

    /// Waits no more for replies that are to come: the connection goes, unless ids tell late replies.
    pub fn give_up(&mut self) {
        self.abandon(Duration::MAX);
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
        self.exchange(limit, &name.to_owned().into(), args, on_inform)?;
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
            // Refilled by halves: one send for many small requests, and the server always has some at hand.
            let full = if made - done > depth / 2 { made } else { count.min(done + depth) };
            while made < full && refused.is_none() {
                let sent =
                    Sent { name: name.into(), mid: self.mid(), index: made, detached: false };
                self.write(sent, |writer| request(made, writer)).map_err(|error| (made, error))?;
                made += 1;
                if self.out.len() >= SEND {
                    self.flush(limit).map_err(|error| (done, error.during(shown(done))))?;
                }
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
            self.inbox.clear_logs();
            let Some(mut reply) = self.parser.current() else { continue };
            reply.next_arg();
            if let Err(found) = on_reply(index, reply) {
                return Err((index, self.out_of_step(found, &shown(index))));
            }
        }
        refused.map_or(Ok(()), Err)
    }
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
        Some(start) if line.len() > SHOWN => legible(start) + "...",
        _ => legible(line),
    }
}
