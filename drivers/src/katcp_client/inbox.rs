//! Whose a message is: a waiting request's, the board's state, or nobody's.

use proximity_proto::katcp::{Kind, Message, Writer};
use std::{borrow::Cow, collections::VecDeque};

/// How many of the server's warnings and errors are kept for the error of a request.
const LOGS: usize = 8;
/// How many log lines are kept for somebody who listens: a report is about thirty lines.
const LISTENED: usize = 256;
/// How many messages that nobody asked for are kept, and how long each may be.
const UNHANDLED: usize = 32;
const UNHANDLED_LEN: usize = 4096;
/// How much of the server's version is kept: it has three or four parts.
const VERSIONS: usize = 16;

/// What the server last told of its FPGA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FpgaState {
    /// Nothing yet.
    #[default]
    Unknown,
    /// No gateware.
    Down,
    /// The bitstream is loaded.
    Loaded,
    /// Its registers are mapped, but not yet to be used.
    Mapped,
    /// Running.
    Ready,
}

impl FpgaState {
    /// The word in `#fpga` informs; `unknown` before the first.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Down => "down",
            Self::Loaded => "loaded",
            Self::Mapped => "mapped",
            Self::Ready => "ready",
        }
    }

    fn from_word(word: &[u8]) -> Self {
        [Self::Down, Self::Loaded, Self::Mapped, Self::Ready]
            .into_iter()
            .find(|state| state.as_str().as_bytes() == word)
            .unwrap_or_default()
    }
}

/// One part of the server, and its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// What it is the version of: `katcp-protocol`, `kernel`; `version` and `build-state` from old servers.
    pub name: String,
    /// The version.
    pub version: String,
    /// When or from what it was built, where that is told.
    pub build: Option<String>,
}

/// A request whose reply is to come.
pub(super) struct Sent {
    pub(super) name: Cow<'static, str>,
    pub(super) mid: Option<u32>,
    /// Which of its caller's requests it is.
    pub(super) index: usize,
    /// Nobody waits for the reply.
    pub(super) detached: bool,
}

/// Whose a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sorted {
    /// Nobody's who waits; dealt with.
    Unasked,
    /// An inform of the first request that waits.
    Inform,
    /// The reply to the request with this index, which waits no more.
    Reply(usize),
}

/// What is waited for, and what came unasked.
#[derive(Default)]
pub(super) struct Inbox {
    /// Requests whose replies are to come, in the order in which they were made.
    pub(super) waiting: VecDeque<Sent>,
    /// The server's last warnings and errors since the last reply; more where somebody listens.
    pub(super) logs: VecDeque<String>,
    /// The least serious level that is kept for somebody who listens.
    listening: Option<log::Level>,
    pub(super) unhandled: VecDeque<Vec<u8>>,
    pub(super) versions: Vec<Version>,
    /// Whether the server has told which protocol it speaks.
    pub(super) introduced: bool,
    /// Whether that is version 5 or a later one.
    pub(super) version_5: bool,
    /// Whether it takes message ids.
    pub(super) ids: bool,
    pub(super) fpga: FpgaState,
    /// Counts what may have changed the registers.
    pub(super) changes: u64,
    /// Counts connections.
    pub(super) connections: u64,
}

impl Inbox {
    /// Forgets what belonged to the last connection: for a new one, or for none.
    pub(super) fn reset(&mut self) {
        self.waiting.clear();
        self.logs.clear();
        self.versions.clear();
        (self.introduced, self.version_5, self.ids) = (false, false, false);
        self.fpga = FpgaState::Unknown;
        // Whatever was said to other clients meanwhile was not heard.
        self.changes += 1;
    }

    /// Keeps what the server logs, informs too if `all`, until it is taken.
    pub(super) fn listen(&mut self, all: bool) {
        self.logs.clear();
        self.listening = Some(if all { log::Level::Info } else { log::Level::Error });
    }

    /// What the server logged, and an end to the listening.
    pub(super) fn take_logs(&mut self) -> Vec<String> {
        self.listening = None;
        self.logs.drain(..).collect()
    }

    /// Forgets what was logged, unless somebody listens.
    pub(super) fn clear_logs(&mut self) {
        if self.listening.is_none() {
            self.logs.clear();
        }
    }

    /// Deals with a message that came from elsewhere: it answers no request.
    pub(super) fn inject(&mut self, board: &str, message: Message<'_>) {
        match message.kind() {
            Kind::Inform => self.unasked(board, message),
            Kind::Request | Kind::Reply => self.keep(&message),
        }
    }

    /// Deals with a message from `board`.
    ///
    /// # Errors
    ///
    /// What it is, where it cannot be: replies come in the order of the requests, or bear their ids.
    pub(super) fn sort(&mut self, board: &str, message: Message<'_>) -> Result<Sorted, String> {
        match message.kind() {
            Kind::Reply => self.reply(&message),
            Kind::Inform => Ok(self.inform(board, message)),
            Kind::Request => {
                self.keep(&message);
                Ok(Sorted::Unasked)
            }
        }
    }

    fn reply(&mut self, message: &Message<'_>) -> Result<Sorted, String> {
        let place = match message.mid() {
            // A late reply to a request that was given up has an id that is waited for no more.
            Some(mid) => self.waiting.iter().position(|sent| sent.mid == Some(mid)),
            None if self.ids || self.waiting.is_empty() => None,
            None => Some(0),
        };
        let Some(sent) = place.and_then(|place| self.waiting.get(place)) else {
            self.keep(message);
            return Ok(Sorted::Unasked);
        };
        if sent.name != message.name() {
            return Err(format!("!{}", message.name()));
        }
        let (index, detached) = (sent.index, sent.detached);
        self.waiting.remove(place.unwrap_or_default());
        if detached {
            self.keep(message);
            return Ok(Sorted::Unasked);
        }
        Ok(Sorted::Reply(index))
    }

    fn inform(&mut self, board: &str, message: Message<'_>) -> Sorted {
        if let Some(sent) = self.waiting.front()
            && sent.name == message.name()
            // Some servers leave the id out of some informs, though not out of the reply.
            && (message.mid().is_none() || message.mid() == sent.mid)
        {
            if sent.detached {
                self.keep(&message);
                return Sorted::Unasked;
            }
            return Sorted::Inform;
        }
        self.unasked(board, message);
        Sorted::Unasked
    }

    fn unasked(&mut self, board: &str, mut message: Message<'_>) {
        match message.name() {
            "log" => self.log(board, message),
            "fpga" => {
                self.fpga = FpgaState::from_word(message.next_arg().unwrap_or_default());
                self.changes += 1;
            }
            "version" | "build-state" | "version-connect" => self.version(message),
            _ => self.keep(&message),
        }
    }

    /// `#log LEVEL TIME NAME TEXT`: into the agent's log, and kept for the request under way.
    fn log(&mut self, board: &str, mut message: Message<'_>) {
        let Some((level, serious)) = message.next_arg().map(|level| log_level(level)) else {
            return;
        };
        let keep = match self.listening {
            Some(least) => level <= least,
            None => serious && self.waiting.iter().any(|sent| !sent.detached),
        };
        if !keep && !log::log_enabled!(level) {
            return;
        }
        let _time = message.next_arg();
        let name = message.next_arg().map(|name| legible(name)).unwrap_or_default();
        let text = message.next_arg().map(|text| legible(text)).unwrap_or_default();
        log::log!(level, "{board} {name}: {text}");
        if keep {
            let most = if self.listening.is_some() { LISTENED } else { LOGS };
            if self.logs.len() >= most {
                self.logs.pop_front();
            }
            self.logs.push_back(text);
        }
    }

    fn version(&mut self, mut message: Message<'_>) {
        let name = match message.name() {
            "version-connect" => message.next_arg().map(|name| legible(name)).unwrap_or_default(),
            name => name.to_owned(),
        };
        let version = message.next_arg().map(|version| legible(version)).unwrap_or_default();
        let build = message.next_arg().map(|build| legible(build));
        match name.as_str() {
            // "5.0-MI": the flags stand behind the dash, I for ids, which version 5 brought.
            "katcp-protocol" => {
                let (number, flags) = version.split_once('-').unwrap_or((version.as_str(), ""));
                let major = number.split('.').next().and_then(|major| major.parse().ok());
                self.version_5 = major.unwrap_or(4) >= 5;
                self.ids = self.version_5 && flags.contains('I');
                self.introduced = true;
            }
            "version" | "build-state" => self.introduced = true,
            _ => {}
        }
        if self.versions.len() < VERSIONS {
            self.versions.push(Version { name, version, build });
        }
    }

    /// Keeps a message that nobody asked for.
    fn keep(&mut self, message: &Message<'_>) {
        if self.unhandled.len() == UNHANDLED {
            self.unhandled.pop_front();
        }
        let mut line = line(message);
        line.truncate(UNHANDLED_LEN);
        self.unhandled.push_back(line);
    }
}

/// A message as the line that it came in, without its end.
fn line(message: &Message<'_>) -> Vec<u8> {
    let mut line = Vec::new();
    // The name and id were parsed from a line, so they can be written.
    let _ = Writer::new(&mut line, message.kind(), message.name(), message.mid());
    for arg in message.raw_args() {
        line.push(b' ');
        line.extend_from_slice(arg);
    }
    line
}

/// Text for a person from a server that promises no encoding: one line, that does nothing to the terminal on which it
/// is shown.
pub(super) fn legible(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    if !text.contains(char::is_control) {
        return text.into_owned();
    }
    let shown = |letter: char| {
        let code = letter.is_control().then(|| format!("\\x{:02x}", u32::from(letter)));
        code.unwrap_or_else(|| letter.into())
    };
    text.chars().map(shown).collect()
}

/// The level of our log for a level of KATCP's, and whether it tells of trouble.
pub(crate) fn log_level(word: &[u8]) -> (log::Level, bool) {
    match word {
        b"fatal" | b"error" => (log::Level::Error, true),
        b"warn" => (log::Level::Warn, true),
        b"info" => (log::Level::Info, false),
        b"debug" => (log::Level::Debug, false),
        _ => (log::Level::Trace, false),
    }
}
