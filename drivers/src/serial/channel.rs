//! Commands out, and the right answers back, whatever happens to the line in between.
//!
//! Bytes on a line do not tell what they answer. So an exchange that was cut short (by a deadline, by a
//! caller, by a plug that was pulled) leaves the channel out of step: the rest of the command may still sit
//! in the instrument, and the answer may still come. Before the next command the channel then waits until
//! the time is over that the instrument had for its answer, sends what ends a command that was begun, throws
//! away all that comes, and goes on once the line was silent for a while, and, where there is a query that is
//! always answered alike, once that was answered so. A TCP connection is dropped instead.
//!
//! What was not asked for is thrown away before each command, which then waits for silence too. Nothing here waits past the caller's deadline.

mod step;

use super::{
    SerialError,
    error::shown,
    link::{Link, Target},
    port::{LineSettings, Port, SENT_LOOK, io_error},
};
use crate::reach::Limit;
use proximity_proto::{Context, object::Way};
use serialport::SerialPort;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// What one receive takes at most.
const RECEIVE: usize = 16 << 10;
/// The longest line taken.
const MAX_LINE: usize = 1 << 20;
/// How many bytes may lie here unread; the kernel and the line's flow control keep the rest.
const MAX_UNREAD: usize = 4 << 20;
/// How often a wait looks whether its caller has called it off.
const CANCEL_LOOK: Duration = Duration::from_millis(100);
/// How many bytes of a long answer come between one word of progress and the next.
const PROGRESS: usize = 64 << 10;
/// What a byte takes on the line at most: a start bit, eight, a parity bit, two stop bits.
const BITS: u32 = 12;
/// For how many timeouts a line may trickle in, however often a byte of it comes.
const TRICKLE: u32 = 20;

/// How an instrument wants to be talked to.
#[derive(Clone, Debug)]
pub(crate) struct Manners {
    /// How long it may be silent before and within an answer.
    pub(crate) timeout: Duration,
    /// How long the line may take no byte.
    pub(crate) write_timeout: Duration,
    /// Whether it sends back what it gets.
    pub(crate) echo: bool,
    /// The pause behind each byte.
    pub(crate) char_delay: Duration,
    /// The pause between the last byte of one exchange and the first of the next.
    pub(crate) command_delay: Duration,
    /// The silence that tells that nothing more comes.
    pub(crate) settle: Duration,
    /// What ends a command that was cut short.
    pub(crate) resync: Vec<u8>,
    /// What is asked to see whether answers are in step: a query that is always answered alike.
    pub(crate) sync: Option<Probe>,
    /// What is sent when the port was opened.
    pub(crate) on_open: Vec<Vec<u8>>,
}

/// A query that is always answered alike.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    /// The query, with its end.
    pub(crate) query: Vec<u8>,
    /// What ends the answer.
    pub(crate) end: Vec<u8>,
}

/// A conversation with an instrument.
pub(crate) struct Channel {
    link: Link,
    pub(crate) manners: Manners,
    /// What came and was not taken yet, from `start` to `end`; the room behind is kept.
    input: Vec<u8>,
    start: usize,
    end: usize,
    /// Whether what comes next is the answer to what is sent next.
    in_step: bool,
    /// Whether what is sent on opening was sent.
    greeted: bool,
    /// Until when an answer that nobody waits for any more may come.
    owed: Option<Instant>,
    /// When something was last sent or came.
    last: Option<Instant>,
    /// How long what was sent last is on the line: the kernel takes it at once.
    flight: Duration,
    /// How long the instrument may be silent before and within the answer to it.
    allowed: Duration,
    /// The answer to [`Manners::sync`], once it is known.
    probe_answer: Option<Vec<u8>>,
    /// How many answers to it are to come on the open port.
    probes: u32,
    /// How many may come that were asked for before the port was opened last; mostly they are lost.
    old_probes: u32,
}

impl Channel {
    pub(crate) fn new(target: Target, line: LineSettings, manners: Manners) -> Self {
        Self {
            link: Link::new(target, line),
            allowed: manners.timeout,
            probe_answer: None,
            probes: 0,
            old_probes: 0,
            manners,
            input: Vec::new(),
            start: 0,
            end: 0,
            in_step: false,
            greeted: false,
            owed: None,
            last: None,
            flight: Duration::ZERO,
        }
    }

    /// The port, for errors.
    pub(crate) fn name(&self) -> &Arc<str> {
        self.link.name()
    }

    /// The way to the instrument, for those who want to know how that is.
    pub(crate) fn way(&self) -> Arc<dyn Way> {
        self.link.telltale().clone()
    }

    pub(crate) fn is_up(&mut self) -> bool {
        self.link.is_up()
    }

    /// The line's settings, as they were set last.
    pub(crate) fn line(&mut self) -> &mut LineSettings {
        &mut self.link.line
    }

    /// The serial port, if it is open.
    pub(crate) fn port(&mut self) -> Option<&mut Port> {
        self.link.port()
    }

    pub(crate) fn close(&mut self) {
        self.link.close();
        self.forget();
    }

    pub(crate) fn reopen(&mut self) {
        self.link.reopen();
    }

    /// Opens the port if it is not, and does not talk to the instrument.
    pub(crate) fn open(&mut self, cx: &Context<'_>) -> Result<(), SerialError> {
        let limit = Limit::new(cx, self.manners.timeout);
        if self.link.open(&limit)? {
            self.forget();
            (self.greeted, self.in_step) = (false, self.link.forgets());
            self.old_probes += std::mem::take(&mut self.probes);
        }
        Ok(())
    }

    /// Opens the port if it is not, and gets into step.
    pub(crate) fn begin(&mut self, cx: &Context<'_>, doing: &[u8]) -> Result<(), SerialError> {
        self.open(cx)?;
        if !self.in_step {
            self.resynchronise(cx, doing)?;
        }
        if !self.greeted {
            self.greet(cx)?;
        }
        if let Some(last) = self.last {
            self.receive_until(cx, last + self.manners.command_delay, doing)?;
        }
        Ok(())
    }

    /// Sends a command that the instrument has `timeout` to answer: throws away what came before, and takes
    /// the echo back.
    pub(crate) fn send(
        &mut self,
        cx: &Context<'_>,
        bytes: &[u8],
        timeout: Duration,
    ) -> Result<(), SerialError> {
        self.begin(cx, bytes)?;
        if self.discard_input(bytes)? {
            // There may be more of it on its way.
            self.listen_for_silence(cx, bytes)?;
        }
        self.allowed = timeout;
        self.put(cx, bytes)
    }

    /// Sends bytes and takes their echo back.
    fn put(&mut self, cx: &Context<'_>, bytes: &[u8]) -> Result<(), SerialError> {
        self.transmit(cx, bytes, bytes)?;
        if self.manners.echo {
            let name = self.name().clone();
            let echo = self.exactly(cx, bytes.len(), bytes)?;
            if echo != bytes {
                let (doing, echo) = (quoted(bytes), shown(echo));
                self.out_of_step();
                self.link.rests();
                return Err(SerialError::Echo { port: name, doing, echo });
            }
        }
        Ok(())
    }

    /// The next line, without its end; strictly one.
    pub(crate) fn line_behind(
        &mut self,
        cx: &Context<'_>,
        end: &[u8],
        doing: &[u8],
    ) -> Result<&[u8], SerialError> {
        let begun = Instant::now();
        let patience = self.patience();
        let trickle = begun + patience * TRICKLE;
        let mut seen = 0;
        let at = loop {
            // An end that came in two parts is found, and nothing is looked through twice.
            let from = seen;
            let waiting = self.waiting();
            if let Some(at) = find(waiting.get(from..).unwrap_or_default(), end) {
                break from + at;
            }
            seen = waiting.len().saturating_sub(end.len().saturating_sub(1));
            if waiting.len() > MAX_LINE {
                return Err(self.too_long(doing, MAX_LINE));
            }
            if Instant::now() >= trickle || !self.receive(cx, patience, doing)? {
                return Err(self.no_answer(cx, begun, doing));
            }
        };
        let start = self.start;
        self.start += at + end.len();
        Ok(self.input.get(start..start + at).unwrap_or_default())
    }

    /// The next `count` bytes; strictly so many.
    pub(crate) fn exactly(
        &mut self,
        cx: &Context<'_>,
        count: usize,
        doing: &[u8],
    ) -> Result<&[u8], SerialError> {
        let (begun, patience) = (Instant::now(), self.patience());
        let mut told = 0;
        while self.waiting().len() < count {
            if !self.receive(cx, patience, doing)? {
                return Err(self.no_answer(cx, begun, doing));
            }
            let done = self.waiting().len().min(count);
            if done - told >= PROGRESS {
                cx.progress(done as u64, count as u64, "bytes");
                told = done;
            }
        }
        Ok(self.take(count))
    }

    /// The bytes up to the first `end` and with it, or up to `size` of them, or what came until `timeout` was
    /// over: as pyserial reads.
    pub(crate) fn read(
        &mut self,
        cx: &Context<'_>,
        end: &[u8],
        size: usize,
        timeout: Duration,
    ) -> Result<&[u8], SerialError> {
        const DOING: &[u8] = b"read";
        self.open(cx)?;
        let until = Instant::now() + cx.remaining().unwrap_or(timeout).min(timeout);
        let mut seen = 0;
        let count = loop {
            let waiting = self.waiting();
            let found = if end.is_empty() {
                None
            } else {
                find(waiting.get(seen..).unwrap_or_default(), end).map(|at| seen + at + end.len())
            };
            let size = size.min(MAX_UNREAD);
            if let Some(count) = found.filter(|count| *count <= size) {
                break count;
            }
            if waiting.len() >= size {
                break size;
            }
            seen = waiting.len().saturating_sub(end.len().saturating_sub(1));
            let left = until.saturating_duration_since(Instant::now());
            if !self.receive(cx, left, DOING)? {
                break self.waiting().len();
            }
        };
        Ok(self.take(count))
    }

    /// Sends bytes as they are.
    pub(crate) fn write(&mut self, cx: &Context<'_>, bytes: &[u8]) -> Result<(), SerialError> {
        self.begin(cx, bytes)?;
        self.allowed = self.manners.timeout;
        self.transmit(cx, bytes, bytes)?;
        if self.manners.echo {
            self.exactly(cx, bytes.len(), bytes)?;
        }
        Ok(())
    }

    /// Waits until all that was written is sent.
    pub(crate) fn flush(&mut self, cx: &Context<'_>) -> Result<(), SerialError> {
        const DOING: &[u8] = b"flush";
        let mut left = u32::MAX;
        let mut limit = Limit::new(cx, self.manners.write_timeout);
        loop {
            // A connection is flushed by the kernel.
            let Some(port) = self.link.port() else { return Ok(()) };
            let now = port.tty().bytes_to_write().map_err(io_error);
            let now = now.map_err(|error| self.broken(error, DOING))?;
            if now == 0 {
                return Ok(());
            }
            if now < left {
                (left, limit) = (now, Limit::new(cx, self.manners.write_timeout));
            } else if limit.is_over() {
                let (port, waited) = (self.name().clone(), self.manners.write_timeout);
                let (total, doing) = (usize::try_from(now).unwrap_or(usize::MAX), quoted(DOING));
                return Err(SerialError::Stalled { port, doing, written: 0, total, waited });
            }
            self.pause(cx, SENT_LOOK)?;
        }
    }

    /// Waits, and keeps what comes meanwhile.
    pub(crate) fn pause(&mut self, cx: &Context<'_>, time: Duration) -> Result<(), SerialError> {
        self.receive_until(cx, Instant::now() + time, b"pause")
    }

    /// How many bytes came and were not taken.
    pub(crate) fn unread(&mut self, cx: &Context<'_>) -> Result<usize, SerialError> {
        self.open(cx)?;
        while self.waiting().len() < MAX_UNREAD && self.grab(b"in_waiting")? {}
        Ok(self.waiting().len())
    }

    /// Throws away what came. Returns whether anything did.
    pub(crate) fn discard_input(&mut self, doing: &[u8]) -> Result<bool, SerialError> {
        let mut count = self.waiting().len();
        self.forget();
        while self.grab(doing)? {
            count += self.waiting().len();
            self.forget();
        }
        if count > 0 {
            log::debug!("{} sent {count} bytes that nobody asked for", self.name());
        }
        Ok(count > 0)
    }

    /// Sends bytes, and receives meanwhile: an echo must not fill up the line.
    fn transmit(
        &mut self,
        cx: &Context<'_>,
        bytes: &[u8],
        doing: &[u8],
    ) -> Result<(), SerialError> {
        let Manners { char_delay, write_timeout, .. } = self.manners;
        let mut written = 0;
        let mut limit = Limit::new(cx, write_timeout);
        self.flight = if self.link.forgets() {
            Duration::ZERO
        } else {
            let count = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            Duration::from_secs(1) * BITS / self.link.line.baud.max(1) * count
        };
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            let chunk = if char_delay.is_zero() { rest } else { rest.get(..1).unwrap_or(rest) };
            let wrote = self.link.medium().and_then(|medium| medium.write(chunk));
            match wrote.map_err(|error| self.broken(error, doing))? {
                Some(count) => {
                    written += count;
                    self.last = Some(Instant::now());
                    limit = Limit::new(cx, write_timeout);
                    if !char_delay.is_zero() {
                        self.receive_until(cx, Instant::now() + char_delay, doing)?;
                    }
                }
                None if limit.is_over() => {
                    let (port, total) = (self.name().clone(), bytes.len());
                    if written > 0 {
                        self.out_of_step();
                    }
                    let (doing, waited) = (quoted(doing), write_timeout);
                    return Err(SerialError::Stalled { port, doing, written, total, waited });
                }
                None => {
                    let time = limit.remaining().min(CANCEL_LOOK);
                    let ready = self.link.medium().and_then(|medium| medium.wait(true, time));
                    ready.map_err(|error| self.broken(error, doing))?;
                    if self.waiting().len() < MAX_UNREAD {
                        self.grab(doing)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Keeps what comes until a time.
    fn receive_until(
        &mut self,
        cx: &Context<'_>,
        at: Instant,
        doing: &[u8],
    ) -> Result<(), SerialError> {
        loop {
            let left = at.saturating_duration_since(Instant::now());
            if left.is_zero() || cx.is_cancelled() {
                return Ok(());
            }
            self.receive(cx, left, doing)?;
        }
    }

    /// Waits for bytes and takes them in. Returns whether some came within `time`.
    fn receive(
        &mut self,
        cx: &Context<'_>,
        time: Duration,
        doing: &[u8],
    ) -> Result<bool, SerialError> {
        let limit = Limit::new(cx, time);
        loop {
            if self.grab(doing)? {
                return Ok(true);
            }
            if limit.is_over() {
                return Ok(false);
            }
            let time = limit.remaining().min(CANCEL_LOOK);
            let ready = self.link.medium().and_then(|medium| medium.wait(false, time));
            ready.map_err(|error| self.broken(error, doing))?;
        }
    }

    /// Takes in what came. Returns whether something did.
    fn grab(&mut self, doing: &[u8]) -> Result<bool, SerialError> {
        if self.start > 0 {
            self.input.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.input.len() < self.end + RECEIVE {
            // Doubled, so that a long answer is not copied at every step.
            self.input.resize(self.end * 2 + RECEIVE, 0);
        }
        let space = self.input.get_mut(self.end..).unwrap_or_default();
        let taken = self.link.medium().and_then(|medium| medium.read(space));
        let count = taken.as_ref().ok().copied().flatten().unwrap_or(0);
        self.end += count;
        taken.map_err(|error| self.broken(error, doing))?;
        if count > 0 {
            self.last = Some(Instant::now());
            self.link.answered();
        }
        Ok(count > 0)
    }

    /// How long the instrument may be silent, counted from when its command was handed to the kernel.
    fn patience(&self) -> Duration {
        self.allowed + self.flight
    }

    /// What came and was not taken.
    fn waiting(&self) -> &[u8] {
        self.input.get(self.start..self.end).unwrap_or_default()
    }

    fn take(&mut self, count: usize) -> &[u8] {
        let start = self.start;
        self.start = (start + count).min(self.end);
        self.input.get(start..self.start).unwrap_or_default()
    }

    /// The last `count` bytes that were taken, for who had to look at them first.
    pub(crate) fn taken(&self, count: usize) -> &[u8] {
        self.input.get(self.start.saturating_sub(count)..self.start).unwrap_or_default()
    }

    /// Holds an answer that was taken, for who had to ask something else before passing it on.
    pub(crate) fn keep(&mut self, answer: Vec<u8>) -> &[u8] {
        (self.start, self.end) = (answer.len(), answer.len());
        self.input = answer;
        &self.input
    }

    fn forget(&mut self) {
        (self.start, self.end) = (0, 0);
        if self.input.len() > MAX_UNREAD {
            self.input = Vec::new();
        }
    }

    fn broken(&mut self, error: std::io::Error, doing: &[u8]) -> SerialError {
        let error = self.link.broken(error, doing);
        self.out_of_step();
        self.forget();
        error
    }

    /// The answer was read and cannot be one: what else comes may belong to it.
    pub(crate) fn bad_answer(
        &mut self,
        doing: &[u8],
        found: &[u8],
        must_be: &'static str,
    ) -> SerialError {
        self.out_of_step();
        self.link.rests();
        let (port, doing, found) = (self.name().clone(), quoted(doing), shown(found));
        SerialError::BadAnswer { port, doing, found, must_be }
    }

    pub(crate) fn too_long(&mut self, doing: &[u8], limit: usize) -> SerialError {
        self.out_of_step();
        self.link.rests();
        SerialError::TooLong { port: self.name().clone(), doing: quoted(doing), limit }
    }

    fn no_answer(&mut self, cx: &Context<'_>, begun: Instant, doing: &[u8]) -> SerialError {
        let (got, waited) = (self.waiting().len(), begun.elapsed());
        self.out_of_step();
        let (port, doing) = (self.name().clone(), quoted(doing));
        let over = cx.remaining().is_some_and(|left| left.is_zero());
        if cx.is_cancelled() && !over {
            self.link.rests();
            return SerialError::Cancelled { port, doing };
        }
        SerialError::NoAnswer { port, doing, waited, got }
    }
}

/// A command as errors tell it.
pub(crate) fn quoted(bytes: &[u8]) -> String {
    format!("'{}'", shown(bytes))
}

/// Where `end` is first in `bytes`.
fn find(bytes: &[u8], end: &[u8]) -> Option<usize> {
    bytes.windows(end.len().max(1)).position(|window| window == end)
}
