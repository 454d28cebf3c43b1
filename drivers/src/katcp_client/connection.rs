//! The TCP connection to a board: made beside the caller, read and written up to a deadline.

use super::Limit;
use crate::reach::retry;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::sockopt,
};
use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

/// A board whose power was cut sends nothing, not even an end: the kernel gives up after this much
/// silence to data sent, and after [`KEEPALIVE_IDLE`] plus two probes on an idle connection.
const USER_TIMEOUT: Duration = Duration::from_secs(3);
const KEEPALIVE_IDLE: Duration = Duration::from_secs(2);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
const KEEPALIVE_PROBES: u32 = 2;

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

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
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
