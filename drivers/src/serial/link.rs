//! Whether there is a way to the instrument, and when to try for one.

use super::{
    SerialError,
    error::shown,
    find::{self, UsbId},
    port::{LineSettings, Medium, Port},
};
use crate::{
    reach::{Dial, Limit, Pauses, random},
    telltale::{Telltale, is_gone},
};
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

/// The longest pause between two tries.
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// Where an instrument is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// At a device file, or a link to one.
    Path(PathBuf),
    /// At whatever port a USB device has.
    Usb(UsbId),
    /// At a TCP port.
    Tcp {
        /// Its name or address.
        host: String,
        /// The port.
        port: u16,
    },
}

/// The way to an instrument, or the plan for one.
///
/// There is no thread that tries: whoever needs the instrument does, no sooner than the pause is over. So a
/// port that is away costs nothing.
pub(crate) struct Link {
    name: Arc<str>,
    target: Target,
    pub(crate) line: LineSettings,
    state: State,
    /// Those to make between tries.
    pauses: Pauses,
    /// Whether the instrument has said anything since the port was opened.
    answered: bool,
    /// What the last try came to.
    failure: Option<Arc<io::Error>>,
    telltale: Arc<Telltale>,
}

enum State {
    /// Not open; not to be tried before the time.
    Down(Option<Instant>),
    Dialling(Dial),
    Up(Medium),
    /// Not open, and not to be.
    Closed,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.telltale.unused();
    }
}

impl Link {
    pub(super) fn new(target: Target, line: LineSettings) -> Self {
        let name = match &target {
            Target::Path(path) => path.display().to_string(),
            Target::Usb(id) => id.to_string(),
            Target::Tcp { host, port } => format!("{host}:{port}"),
        };
        let (state, pauses) = (State::Down(None), Pauses::up_to(LAST_PAUSE));
        Self {
            name: name.into(),
            target,
            line,
            state,
            pauses,
            answered: false,
            failure: None,
            telltale: Arc::new(Telltale::new()),
        }
    }

    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What others may know of the link.
    pub(super) fn telltale(&self) -> &Arc<Telltale> {
        &self.telltale
    }

    /// Whether late bytes find nobody once the link is dropped: those of a connection do, an instrument on a
    /// line goes on sending to whoever opens it next.
    pub(super) fn forgets(&self) -> bool {
        matches!(self.target, Target::Tcp { .. })
    }

    /// Whether the link is open. A port that was pulled out is noticed here.
    pub(super) fn is_up(&mut self) -> bool {
        let State::Up(medium) = &self.state else { return false };
        if is_gone(&medium.fd()) {
            self.lost(&io::ErrorKind::BrokenPipe.into());
        }
        matches!(self.state, State::Up(_))
    }

    /// Closes the link, and keeps it so until [`reopen`](Self::reopen).
    pub(super) fn close(&mut self) {
        self.telltale.unused();
        self.state = State::Closed;
    }

    /// Undoes [`close`](Self::close), and has the next try made at once.
    pub(super) fn reopen(&mut self) {
        // A port that was pulled out since is not open.
        if !self.is_up() && !matches!(self.state, State::Dialling(_)) {
            self.state = State::Down(None);
            self.pauses.reset();
        }
    }

    /// The instrument said something: the next outage starts with short pauses again.
    pub(super) fn answered(&mut self) {
        self.answered = true;
        self.pauses.reset();
    }

    /// Takes the link down because of `error`.
    ///
    /// The first try for another is made at once, unless nothing ever came on this one: a port that can be
    /// opened and fails is not to be asked in a tight loop.
    pub(super) fn lost(&mut self, error: &io::Error) {
        if self.went(error) && !self.answered {
            self.state = self.pause();
        }
    }

    /// Takes the link down because a late answer would find a wrong caller. It is no sign that the instrument is
    /// away: whoever comes next may try at once, for the one before has waited.
    pub(super) fn drop_late(&mut self) {
        self.went(&io::Error::other("dropped, for a late answer would find a wrong caller"));
    }

    /// Notes that an open link is open no longer; tells whether it was.
    fn went(&mut self, error: &io::Error) -> bool {
        let was_up = matches!(self.state, State::Up(_));
        if was_up {
            log::warn!("{} went away: {error}", self.name);
            self.telltale.disconnected(error);
            self.state = State::Down(None);
        }
        was_up
    }

    /// The link went, if it did, for reasons that are not the instrument's.
    pub(super) fn rests(&self) {
        if !matches!(self.state, State::Up(_)) {
            self.telltale.unused();
        }
    }

    /// Opens the link where it is not. Returns whether it was not.
    pub(super) fn open(&mut self, limit: &Limit<'_>) -> Result<bool, SerialError> {
        match &self.state {
            State::Up(_) => return Ok(false),
            State::Closed => return Err(SerialError::Closed { port: self.name.clone() }),
            State::Dialling(_) => {}
            State::Down(at) => {
                let retry_in = at.map(|at| at.saturating_duration_since(Instant::now()));
                if let Some(retry_in) = retry_in.filter(|left| !left.is_zero()) {
                    return Err(self.away(retry_in));
                }
                self.state = match self.start() {
                    Ok(state) => state,
                    Err(error) => return Err(self.failed(error)),
                };
            }
        }
        if let State::Dialling(dial) = &self.state {
            match dial.wait(limit) {
                None => {
                    let (port, source) = (self.name.clone(), self.failure.clone());
                    return Err(SerialError::Connecting { port, source });
                }
                Some(Err(error)) => return Err(self.failed(error)),
                Some(Ok(stream)) => match Medium::tcp(stream) {
                    Err(error) => return Err(self.failed(error)),
                    Ok(medium) => self.state = State::Up(medium),
                },
            }
        }
        log::info!("opened {}", self.name);
        if let State::Up(medium) = &self.state {
            self.telltale.connected(medium.fd());
        }
        (self.answered, self.failure) = (false, None);
        Ok(true)
    }

    fn start(&self) -> io::Result<State> {
        let open = |path: &Path| Ok(State::Up(Medium::Port(Port::open(path, &self.line)?)));
        match &self.target {
            Target::Tcp { host, port } => Ok(State::Dialling(Dial::start(host, *port)?)),
            Target::Path(path) => open(path),
            Target::Usb(id) => open(&id.find(Path::new(find::SYSFS))?),
        }
    }

    /// What bytes travel on.
    pub(super) fn medium(&mut self) -> io::Result<&mut Medium> {
        match &mut self.state {
            State::Up(medium) => Ok(medium),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// The serial port, where it is one and is open.
    pub(super) fn port(&mut self) -> Option<&mut Port> {
        match &mut self.state {
            State::Up(Medium::Port(port)) => Some(port),
            _ => None,
        }
    }

    /// The error of something that `error` hit.
    pub(super) fn broken(&mut self, error: io::Error, doing: &[u8]) -> SerialError {
        self.lost(&error);
        let (port, doing) = (self.name.clone(), format!("'{}'", shown(doing)));
        SerialError::Lost { port, doing, source: Arc::new(error) }
    }

    fn failed(&mut self, error: io::Error) -> SerialError {
        if self.failure.is_none() {
            log::warn!("cannot open {}: {error}; the next calls try again", self.name);
        }
        self.telltale.disconnected(&error);
        self.failure = Some(Arc::new(error));
        self.state = self.pause();
        let State::Down(Some(at)) = self.state else { return self.away(Duration::ZERO) };
        self.away(at.saturating_duration_since(Instant::now()))
    }

    fn away(&self, retry_in: Duration) -> SerialError {
        SerialError::Away { port: self.name.clone(), retry_in, source: self.failure.clone() }
    }

    /// A pause of a random length, so that several objects behind one hub do not knock in step.
    fn pause(&mut self) -> State {
        let pause = (self.pauses.take() * (1000 + random(250)) / 1000).min(LAST_PAUSE);
        State::Down(Some(Instant::now() + pause))
    }
}
