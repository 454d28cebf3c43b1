//! The socket, and the only file that knows ZeroMQ.
//!
//! One DEALER socket, with a monitor that tells when its connection is lost and a pair of inproc
//! sockets by which another thread ends [`Link::wait`].

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    io,
    ops::{Deref, RangeInclusive},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use zmq::{Context, DONTWAIT, Message, PollItem, SNDMORE, Socket, SocketEvent, SocketType};

/// Pause before the first attempt to connect again, in milliseconds; libzmq doubles it each time, and begins
/// with it again where a connection is taken and closed. Each link has its own, as libzmq has no jitter in
/// this: or else all clients of an agent that was killed would come in the same instants.
const FIRST_RETRY: RangeInclusive<u16> = 200..=300;
/// The same for [`Pace::Hurried`].
const FIRST_HURRIED_RETRY: RangeInclusive<u16> = 7..=13;
/// The longest such pause.
const LAST_RETRY: RangeInclusive<u16> = 750..=1_000;

/// How long an attempt to connect may take, and then the handshake, before the next attempt.
const PATIENCE: Duration = Duration::from_secs(3);

/// An idle connection to a machine that was switched off is noticed after 10 + 3 * 3 seconds.
const KEEPALIVE_IDLE_S: i32 = 10;
const KEEPALIVE_INTERVAL_S: i32 = 3;
const KEEPALIVE_PROBES: i32 = 3;

/// Numbers the inproc endpoints.
static LINKS: AtomicU64 = AtomicU64::new(0);

/// The connection to an agent: made and made again in the background.
///
/// Has an I/O thread of its own, for that also looks names up, and would let all others wait.
/// To be closed with [`Link::close`].
pub(crate) struct Link {
    context: Context,
    dealer: Socket,
    woken: Socket,
    monitor: Socket,
    /// Monitors of earlier sockets, until these have gone: see [`Link::close`].
    retired: Vec<Socket>,
}

fn event_number(parts: &[Vec<u8>]) -> Option<u16> {
    parts.first()?.first_chunk().copied().map(u16::from_ne_bytes)
}

/// Ends a [`Link::wait`] from another thread.
pub(crate) struct Waker(Socket);

/// A message as it arrived.
pub(crate) struct Frame(Message);

impl Deref for Frame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// How soon a connection that cannot be made is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Some times a second: as good for an agent that is not there yet, and for a tunnel that takes each
    /// connection and closes it, because its far end is away.
    Calm,
    /// After some milliseconds first: for an agent that was there a moment ago.
    Hurried,
}

/// What has happened to the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkEvent {
    /// Whoever listens there has taken it, and the handshake begins.
    Taken,
    /// It stands: both ends have shaken hands.
    Up,
    /// It is closed: no reply to what was sent over it will come any more.
    Down,
}

impl Link {
    /// A link to the ZeroMQ endpoint `address`. Does not wait for the connection.
    ///
    /// # Errors
    ///
    /// The endpoint is none that libzmq understands, or a socket cannot be made.
    pub(crate) fn new(address: &str) -> io::Result<(Self, Waker)> {
        let context = Context::new();
        let endpoint = format!("inproc://proximity-wake-{}", LINKS.fetch_add(1, Ordering::Relaxed));
        let woken = context.socket(SocketType::PAIR)?;
        woken.bind(&endpoint)?;
        let waker = context.socket(SocketType::PAIR)?;
        waker.connect(&endpoint)?;
        let (dealer, monitor) = connect(&context, address, Pace::Calm)?;
        Ok((Self { context, dealer, woken, monitor, retired: Vec::new() }, Waker(waker)))
    }

    /// Drops the connection, or the pause before the next attempt to make one, and makes that now.
    ///
    /// # Errors
    ///
    /// A socket cannot be made; then nothing has changed.
    pub(crate) fn renew(&mut self, address: &str, pace: Pace) -> io::Result<()> {
        // Another socket, for this one could still hand what is sent to the connection that goes.
        let (dealer, monitor) = connect(&self.context, address, pace)?;
        self.dealer = dealer;
        self.retired.retain(|retired| !has_stopped(retired, DONTWAIT));
        self.retired.push(std::mem::replace(&mut self.monitor, monitor));
        Ok(())
    }

    /// Closes the sockets, in the background.
    ///
    /// The I/O thread writes to the monitor, and would wait for ever once nobody can read there any
    /// more: so that end is closed last, when the monitor has stopped. That may take as long as looking
    /// a name up.
    pub(crate) fn close(self) {
        let Self { context, dealer, woken, monitor, retired } = self;
        let closing = std::thread::Builder::new().name("proximity close".into()).spawn(move || {
            drop((dealer, woken));
            for monitor in retired.iter().chain([&monitor]) {
                has_stopped(monitor, 0);
            }
            drop(context);
        });
        if let Err(error) = closing {
            log::error!("cannot close a connection: {error}");
        }
    }

    /// Waits until there is something to receive, until something may be sent if `to_send`, until
    /// it is woken, or for `timeout`.
    pub(crate) fn wait(&self, to_send: bool, timeout: Duration) {
        let events = if to_send { zmq::POLLIN | zmq::POLLOUT } else { zmq::POLLIN };
        let mut items: [PollItem<'_>; 3] = [
            self.dealer.as_poll_item(events),
            self.woken.as_poll_item(zmq::POLLIN),
            self.monitor.as_poll_item(zmq::POLLIN),
        ];
        // Rounded up, or the last millisecond would be spent in a loop. A signal ends the wait early,
        // which is as good as being woken.
        let timeout = timeout.as_micros().div_ceil(1_000);
        let _ = zmq::poll(&mut items, i64::try_from(timeout).unwrap_or(i64::MAX));
        while self.woken.recv_bytes(DONTWAIT).is_ok() {}
    }

    /// Sends `payload` now; false if that is not possible now.
    ///
    /// Between a loss and [`LinkEvent::Down`], and for a moment after it, what is sent is lost without
    /// a word: only the event tells.
    ///
    /// With `delimited` an empty frame goes before it, as a REQ socket would send it, which original servers
    /// need; and the reply has one too. To be left out where that is not needed: libzmq ends the program where a
    /// connection is lost just when the first of a reply's frames is read and the second is not.
    pub(crate) fn send(&self, payload: &[u8], delimited: bool) -> bool {
        // libzmq takes both parts or none.
        (!delimited || self.dealer.send("", DONTWAIT | SNDMORE).is_ok())
            && self.dealer.send(payload, DONTWAIT).is_ok()
    }

    /// The next message that has arrived.
    pub(crate) fn receive(&self) -> Option<Frame> {
        loop {
            let mut payload = self.part()?;
            if payload.is_empty() && payload.get_more() {
                payload = self.part()?;
            }
            let mut more = payload.get_more();
            if !more {
                return Some(Frame(payload));
            }
            // Not in the form that an agent answers: skip all of it.
            while more {
                more = self.part()?.get_more();
            }
        }
    }

    fn part(&self) -> Option<Message> {
        let mut message = Message::new();
        self.dealer.recv(&mut message, DONTWAIT).ok().map(|()| message)
    }

    /// What has happened to the connection since the last time.
    pub(crate) fn event(&self) -> Option<LinkEvent> {
        let parts = self.monitor.recv_multipart(DONTWAIT).ok()?;
        let number = event_number(&parts);
        let is = |event: SocketEvent| number == Some(event.to_raw());
        Some(if is(SocketEvent::HANDSHAKE_SUCCEEDED) {
            LinkEvent::Up
        } else if is(SocketEvent::CONNECTED) {
            LinkEvent::Taken
        } else {
            LinkEvent::Down
        })
    }
}

impl Waker {
    /// Ends the wait that is going on, or else the next one.
    pub(crate) fn wake(&self) {
        // Full means that a wake is on its way already.
        let _ = self.0.send("", DONTWAIT);
    }
}

/// A socket that connects to `address`, and its monitor.
fn connect(context: &Context, address: &str, pace: Pace) -> io::Result<(Socket, Socket)> {
    let dealer = context.socket(SocketType::DEALER)?;
    // Nothing is queued for a connection that does not stand, so that what was refused by `send`
    // provably never leaves; and nothing lingers behind a closed socket.
    dealer.set_immediate(true)?;
    dealer.set_linger(0)?;
    let first = match pace {
        Pace::Calm => FIRST_RETRY,
        Pace::Hurried => FIRST_HURRIED_RETRY,
    };
    dealer.set_reconnect_ivl(one_of(first))?;
    dealer.set_reconnect_ivl_max(one_of(LAST_RETRY))?;
    dealer.set_connect_timeout(milliseconds(PATIENCE))?;
    dealer.set_handshake_ivl(milliseconds(PATIENCE))?;
    dealer.set_tcp_keepalive(1)?;
    dealer.set_tcp_keepalive_idle(KEEPALIVE_IDLE_S)?;
    dealer.set_tcp_keepalive_intvl(KEEPALIVE_INTERVAL_S)?;
    dealer.set_tcp_keepalive_cnt(KEEPALIVE_PROBES)?;
    // A name may resolve to IPv6 first where the agent listens on IPv4: only if asked for.
    dealer.set_ipv6(address.contains('['))?;
    let events = [
        SocketEvent::CONNECTED,
        SocketEvent::HANDSHAKE_SUCCEEDED,
        SocketEvent::DISCONNECTED,
        SocketEvent::MONITOR_STOPPED,
    ];
    let events = events.iter().fold(0, |all, event| all | i32::from(event.to_raw()));
    let number = LINKS.fetch_add(1, Ordering::Relaxed);
    let endpoint = format!("inproc://proximity-monitor-{number}");
    dealer.monitor(&endpoint, events)?;
    let monitor = context.socket(SocketType::PAIR)?;
    // libzmq's I/O thread would wait for a place in a full queue.
    monitor.set_rcvhwm(0)?;
    monitor.connect(&endpoint)?;
    dealer.connect(address)?;
    Ok((dealer, monitor))
}

/// Reads what a monitor tells; true once that is its last word.
fn has_stopped(monitor: &Socket, flags: i32) -> bool {
    while let Ok(parts) = monitor.recv_multipart(flags) {
        if event_number(&parts) == Some(SocketEvent::MONITOR_STOPPED.to_raw()) {
            return true;
        }
    }
    false
}

/// A number of the range, another for each link.
pub(crate) fn one_of<N: From<u16>>(range: RangeInclusive<u16>) -> N {
    let (first, last) = range.into_inner();
    let random = RandomState::new().hash_one(first);
    let size = u64::from(last.saturating_sub(first)) + 1;
    N::from(first.saturating_add(u16::try_from(random % size).unwrap_or_default()))
}

fn milliseconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
