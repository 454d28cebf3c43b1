//! The TCP connection to a board: made beside the caller, read and written up to a deadline.

use super::Limit;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::sockopt,
};
use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream, ToSocketAddrs},
    sync::mpsc::{self, Receiver, RecvTimeoutError, TryRecvError},
    thread,
    time::{Duration, Instant},
};

/// How long one address may take to accept. A board in the same building takes a millisecond.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A board whose power was cut sends nothing, not even an end: the kernel gives up after this much
/// silence to data sent, and after [`KEEPALIVE_IDLE`] plus two probes on an idle connection.
const USER_TIMEOUT: Duration = Duration::from_secs(3);
const KEEPALIVE_IDLE: Duration = Duration::from_secs(2);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
const KEEPALIVE_PROBES: u32 = 2;
/// How often a wait looks whether its caller has called it off.
const CANCEL_LOOK: Duration = Duration::from_millis(100);

/// A connection being made.
///
/// Resolving a name may block for many seconds, and no system call bounds it. So a thread of its own
/// resolves and connects, at most one a board, and whoever needs the board waits for it only as long as
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
    pub(super) fn result(&self) -> Option<io::Result<TcpStream>> {
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

/// An open connection.
pub(super) struct Connection {
    stream: TcpStream,
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        sockopt::set_socket_keepalive(&stream, true)?;
        sockopt::set_tcp_keepidle(&stream, KEEPALIVE_IDLE)?;
        sockopt::set_tcp_keepintvl(&stream, KEEPALIVE_INTERVAL)?;
        sockopt::set_tcp_keepcnt(&stream, KEEPALIVE_PROBES)?;
        #[cfg(target_os = "linux")]
        {
            let milliseconds = u32::try_from(USER_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
            sockopt::set_tcp_user_timeout(&stream, milliseconds)?;
        }
        Ok(Self { stream })
    }

    /// Takes what has arrived, without waiting; `None` if nothing has. What arrives next is acknowledged at
    /// once if `acknowledge`.
    ///
    /// # Errors
    ///
    /// The connection is gone; `UnexpectedEof` if the board closed it.
    pub(super) fn read(
        &mut self,
        space: &mut [u8],
        acknowledge: bool,
    ) -> io::Result<Option<usize>> {
        // The board's server writes blocks of 4 KiB with Nagle's algorithm on: without an acknowledgement
        // at once every larger reply costs 40 ms. The option does not stick, hence before each receive.
        #[cfg(target_os = "linux")]
        if acknowledge {
            sockopt::set_tcp_quickack(&self.stream, true)?;
        }
        #[cfg(not(target_os = "linux"))]
        let _ = acknowledge;
        match retry(|| self.stream.read(space))? {
            Some(0) => {
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the board closed the connection"))
            }
            taken => Ok(taken),
        }
    }

    /// Sends what fits, without waiting; `None` if nothing does.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        retry(|| self.stream.write(bytes))
    }

    /// A connection that only sends: a board that writes into flash memory meanwhile may keep it waiting, so
    /// nothing but the deadline ends it.
    pub(super) fn to_send(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream })
    }

    /// Tells the board that no more is to come.
    pub(super) fn end(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// Waits until the connection can be read, or written if `to_write`, or `limit` is over.
    pub(super) fn wait(&self, to_write: bool, limit: &Limit<'_>) -> io::Result<Wait> {
        let flags = if to_write { PollFlags::OUT } else { PollFlags::IN };
        loop {
            let timeout = Timespec::try_from(limit.slice()).map_err(io::Error::other)?;
            match poll(&mut [PollFd::new(&self.stream, flags)], Some(&timeout)) {
                Ok(0) if limit.is_over() => return Ok(Wait::Over),
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(Wait::Ready),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// There is something to do.
    Ready,
    /// The time is over, or the caller has called it off.
    Over,
}

/// `None` where the call would block.
fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<Option<usize>> {
    loop {
        match call() {
            Ok(count) => return Ok(Some(count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

impl Limit<'_> {
    /// How long to wait before looking again.
    fn slice(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now()).min(CANCEL_LOOK)
    }
}
