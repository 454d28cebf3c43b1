//! What bytes travel on: a serial port, or a TCP connection to an instrument.

use crate::reach::retry;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{Mode, OFlags},
};
use serialport::{ClearBuffer, DataBits, FlowControl, Parity, SerialPort, StopBits, TTYPort};
use std::{
    fs::File,
    io::{self, Read, Write},
    net::TcpStream,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// How long closing waits for what is still to be sent. The kernel would wait for 30 s where flow control
/// holds it up.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// How often it is looked whether everything is sent: the kernel has no event for that.
pub(super) const SENT_LOOK: Duration = Duration::from_millis(2);

/// The settings of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LineSettings {
    pub(crate) baud: u32,
    pub(crate) data_bits: DataBits,
    pub(crate) parity: Parity,
    pub(crate) stop_bits: StopBits,
    pub(crate) flow: FlowControl,
    pub(crate) exclusive: bool,
    pub(crate) dtr: Option<bool>,
    pub(crate) rts: Option<bool>,
}

/// An open serial port.
///
/// `serialport` opens, locks and configures it. Bytes go through a descriptor of our own, because that one
/// blocks in the middle of a write when the line takes no more, and this one does not.
pub(crate) struct Port {
    tty: TTYPort,
    file: File,
}

impl Port {
    pub(super) fn open(path: &Path, line: &LineSettings) -> io::Result<Self> {
        // A link of udev's may point elsewhere a moment later.
        let path = path.canonicalize()?;
        let mut builder = serialport::new(path.to_string_lossy(), line.baud)
            .data_bits(line.data_bits)
            .parity(line.parity)
            .stop_bits(line.stop_bits)
            .flow_control(line.flow)
            // Locked below: a locked port could not be opened a second time.
            .exclusive(false);
        if let Some(dtr) = line.dtr {
            builder = builder.dtr_on_open(dtr);
        }
        let mut tty = builder.open_native().map_err(io_error)?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(&path, flags, Mode::empty())?);
        if line.exclusive {
            tty.set_exclusive(true).map_err(io_error)?;
        }
        if let Some(rts) = line.rts {
            // A port without the line is of use all the same.
            let _ = tty.write_request_to_send(rts);
        }
        Ok(Self { tty, file })
    }

    /// The port's settings and modem lines.
    pub(crate) fn tty(&mut self) -> &mut TTYPort {
        &mut self.tty
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        let end = Instant::now() + LAST_WORDS;
        while matches!(self.tty.bytes_to_write(), Ok(1..)) && Instant::now() < end {
            thread::sleep(SENT_LOOK);
        }
        let _ = self.tty.clear(ClearBuffer::Output);
    }
}

/// The error of a port, with a kind that tells a port in use from one that is not there.
pub(crate) fn io_error(error: serialport::Error) -> io::Error {
    match error.kind {
        serialport::ErrorKind::NoDevice => {
            io::Error::new(io::ErrorKind::ResourceBusy, error.description)
        }
        _ => error.into(),
    }
}

/// What bytes travel on.
pub(crate) enum Medium {
    /// A serial port.
    Port(Port),
    /// A connection.
    Tcp(TcpStream),
}

impl Medium {
    pub(super) fn tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Self::Tcp(stream))
    }

    /// Takes what has arrived, without waiting; `None` if nothing has.
    pub(super) fn read(&mut self, space: &mut [u8]) -> io::Result<Option<usize>> {
        let taken = match self {
            Self::Port(port) => retry(|| port.file.read(space)),
            Self::Tcp(stream) => retry(|| stream.read(space)),
        };
        match taken? {
            Some(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it was closed")),
            taken => Ok(taken),
        }
    }

    /// Sends what fits, without waiting; `None` if nothing does.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        match self {
            Self::Port(port) => retry(|| port.file.write(bytes)),
            Self::Tcp(stream) => retry(|| stream.write(bytes)),
        }
    }

    /// Waits until there is something to read, or room to write if `to_write`, for `time` at most. Returns
    /// whether there is.
    pub(super) fn wait(&self, to_write: bool, time: Duration) -> io::Result<bool> {
        let flags = if to_write { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        Ok(!self.poll(flags, time)?.is_empty())
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Port(port) => port.file.as_fd(),
            Self::Tcp(stream) => stream.as_fd(),
        }
    }

    fn poll(&self, flags: PollFlags, time: Duration) -> io::Result<PollFlags> {
        let time = Timespec::try_from(time).map_err(io::Error::other)?;
        let fd = self.fd();
        let mut fds = [PollFd::new(&fd, flags)];
        match poll(&mut fds, Some(&time)) {
            Err(rustix::io::Errno::INTR) => Ok(PollFlags::empty()),
            Err(error) => Err(error.into()),
            Ok(_) => {
                let [fd] = &fds;
                Ok(fd.revents())
            }
        }
    }
}
