//! What the links to all devices have in common: a time to keep to, a connection to be made, pauses
//! between tries.

use proximity_proto::Context;
use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
    io,
    net::{TcpStream, ToSocketAddrs},
    sync::mpsc::{self, Receiver, RecvTimeoutError, TryRecvError},
    thread,
    time::{Duration, Instant},
};

/// How long one address may take to accept. A board in the same building takes a millisecond.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How often a wait looks whether its caller has called it off.
const CANCEL_LOOK: Duration = Duration::from_millis(100);
/// The pause after the first try in vain.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

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

    /// Whether the caller took the call back, while there was time left for it.
    ///
    /// The caller's own deadline is asked too: a thread that is held up while it makes a limit has one
    /// that ends a little later.
    pub(crate) fn is_called_off(&self) -> bool {
        // In this order: a deadline that passes in between has passed in the second look.
        self.cx.is_cancelled()
            && self.cx.remaining() != Some(Duration::ZERO)
            && !self.remaining().is_zero()
    }

    /// How long that was at first.
    pub(crate) fn allowed(&self) -> Duration {
        self.allowed
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

    /// How long to wait before looking again.
    pub(crate) fn slice(&self) -> Duration {
        self.remaining().min(CANCEL_LOOK)
    }
}

/// A connection being made.
///
/// Resolving a name may block for many seconds, and no system call bounds it. So a thread of its own
/// resolves and connects, at most one a device, and whoever needs the device waits for it only as long as
/// its own deadline allows; the next call finds the same attempt under way.
pub(crate) struct Dial {
    result: Receiver<io::Result<TcpStream>>,
}

impl Dial {
    pub(crate) fn start(host: &str, port: u16) -> io::Result<Self> {
        let host = host.to_owned();
        let (sender, result) = mpsc::sync_channel(1);
        thread::Builder::new().name(format!("dial {host}")).spawn(move || {
            // Nobody waits any more if the object was closed meanwhile.
            let _ = sender.send(connect(&host, port));
        })?;
        Ok(Self { result })
    }

    /// What came of it; `None` while it goes on.
    pub(crate) fn result(&self) -> Option<io::Result<TcpStream>> {
        match self.result.try_recv() {
            Ok(result) => Some(result),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(ended())),
        }
    }

    /// What came of it by the end of `limit`; `None` if it still goes on.
    pub(crate) fn wait(&self, limit: &Limit<'_>) -> Option<io::Result<TcpStream>> {
        loop {
            match self.result.recv_timeout(limit.slice()) {
                Ok(result) => return Some(result),
                Err(RecvTimeoutError::Disconnected) => return Some(Err(ended())),
                Err(RecvTimeoutError::Timeout) if limit.is_over() => return None,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

fn ended() -> io::Error {
    io::Error::other("the thread that connects ended without a result")
}

fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The pauses between tries to reach a device that is away. Each is twice the one before, up to the last.
pub(crate) struct Pauses {
    next: Duration,
    last: Duration,
}

impl Pauses {
    /// None made yet; none will be longer than `last`.
    pub(crate) fn up_to(last: Duration) -> Self {
        Self { next: FIRST_PAUSE, last }
    }

    /// The pause to make now. Whoever makes it adds chance, so that not all of a site knock in step.
    pub(crate) fn take(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.last);
        pause
    }

    /// The device is well: the next outage starts with short pauses again.
    pub(crate) fn reset(&mut self) {
        self.next = FIRST_PAUSE;
    }
}

/// A random number below `end`.
pub(crate) fn random(end: u32) -> u32 {
    // A new RandomState is seeded by the system, and that is all the randomness that is needed.
    u32::try_from(RandomState::new().build_hasher().finish() % u64::from(end)).unwrap_or(0)
}

/// `None` where the call would block.
pub(crate) fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<Option<usize>> {
    loop {
        match call() {
            Ok(count) => return Ok(Some(count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proximity_proto::{Principal, object::Host};
    use std::cell::Cell;

    struct Caller {
        now: Cell<Duration>,
        took_it_back: bool,
    }

    impl Host for Caller {
        fn now(&self) -> Duration {
            self.now.get()
        }

        fn is_cancelled(&self) -> bool {
            self.took_it_back
        }

        fn progress(&self, _done: u64, _total: u64, _text: &str) {}
    }

    #[test]
    fn a_deadline_that_passes_before_its_limit_is_no_taking_back() {
        let principal = Principal::local();
        let minute = Duration::from_mins(1);
        for (took_it_back, now, called_off) in
            [(false, minute, false), (true, minute, false), (true, Duration::ZERO, true)]
        {
            let caller = Caller { now: Cell::new(Duration::ZERO), took_it_back };
            let cx = Context::new(&caller, Some(minute), &principal);
            let limit = Limit::new(&cx, minute * 2);
            caller.now.set(now);
            assert!(limit.is_over());
            assert_eq!(limit.is_called_off(), called_off, "{took_it_back} {now:?}");
        }
    }
}
