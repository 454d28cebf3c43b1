//! The connections of a board, and what is said to all of them.

use crate::input::Input;
use crate::output::Output;
use crate::sensors::Sampling;
use proximity_proto::katcp::escape;
use std::net::{SocketAddr, TcpStream};
use std::time::{SystemTime, UNIX_EPOCH};

/// How bad a log message is, or how bad one must be to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Fatal,
    Off,
}

impl Level {
    const NAMES: [(&str, Self); 8] = [
        ("trace", Self::Trace),
        ("debug", Self::Debug),
        ("info", Self::Info),
        ("warn", Self::Warn),
        ("error", Self::Error),
        ("fatal", Self::Fatal),
        ("off", Self::Off),
        ("all", Self::Trace),
    ];

    pub(crate) fn from_name(name: &[u8]) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| known.as_bytes() == name).map(|&(_, level)| level)
    }

    pub(crate) fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, level)| *level == self).map_or("off", |(name, _)| name)
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) id: u64,
    pub(crate) stream: TcpStream,
    pub(crate) addr: SocketAddr,
    pub(crate) input: Input,
    pub(crate) output: Output,
    pub(crate) log_limit: Level,
    /// A request whose reply comes later holds back those behind it.
    pub(crate) waiting: bool,
    pub(crate) nodelay: bool,
    /// It has ended, which a half-open board does not notice.
    pub(crate) deaf_end: bool,
    pub(crate) samplings: Vec<Sampling>,
}

/// All connections, oldest first.
#[derive(Debug)]
pub(crate) struct Clients {
    pub(crate) list: Vec<Client>,
    /// Times are in seconds.
    pub(crate) v5: bool,
    pub(crate) log_default: Level,
}

impl Clients {
    pub(crate) fn new(v5: bool) -> Self {
        Self { list: Vec::new(), v5, log_default: Level::Info }
    }

    pub(crate) fn by_id(&mut self, id: u64) -> Option<&mut Client> {
        self.list.iter_mut().find(|client| client.id == id)
    }

    /// Sends a line to every client.
    pub(crate) fn inform(&mut self, args: &[&[u8]]) {
        let mut line = Vec::new();
        message(&mut line, b"#", None, args);
        for client in &mut self.list {
            client.output.tail().extend_from_slice(&line);
        }
    }

    /// Sends a `#log` line to every client that wants it.
    pub(crate) fn log(&mut self, level: Level, source: &str, text: impl AsRef<[u8]>) {
        let mut line = Vec::new();
        let time = self.timestamp();
        let args =
            [b"log", level.name().as_bytes(), time.as_bytes(), source.as_bytes(), text.as_ref()];
        message(&mut line, b"#", None, &args);
        for client in &mut self.list {
            if level >= client.log_limit {
                client.output.tail().extend_from_slice(&line);
            }
        }
    }

    /// The time of day as this version of KATCP writes it.
    pub(crate) fn timestamp(&self) -> String {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let ms = since.as_millis();
        if self.v5 { format!("{}.{:03}", ms / 1000, ms % 1000) } else { ms.to_string() }
    }
}

/// Appends a message whose name is the first of `args`. Names are not checked: a server repeats what it was sent.
pub(crate) fn message(out: &mut Vec<u8>, kind: &[u8], mid: Option<u32>, args: &[&[u8]]) {
    out.extend_from_slice(kind);
    if let Some((name, args)) = args.split_first() {
        out.extend_from_slice(name);
        if let Some(mid) = mid {
            out.extend(format!("[{mid}]").bytes());
        }
        for arg in args {
            out.push(b' ');
            escape(arg, out);
        }
    }
    out.push(b'\n');
}
