//! Whether there is a connection to the board, and when to try for one.

use super::{
    KatcpError, Limit,
    connection::{Connection, Wait},
};
use crate::{
    reach::{Dial, Pauses, random},
    telltale::Telltale,
};
use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

/// The shortest pause between two tries, where nobody gave the server more time than that.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);

/// The longest pause between two tries.
const LAST_PAUSE: Duration = Duration::from_secs(10);

/// The connection to a board, or the plan for one.
pub(super) struct Link {
    board: Arc<str>,
    host: String,
    port: u16,
    state: State,
    /// Those to make between tries.
    pauses: Pauses,
    /// Whether the server has replied to anything on this connection.
    answered: bool,
    /// What the last try came to.
    failure: Option<Arc<io::Error>>,
    telltale: Arc<Telltale>,
}

enum State {
    /// No connection; not to be tried before the time.
    Down(Option<Instant>),
    Dialling(Dial),
    Up(Connection),
    /// No connection, and none wanted.
    Stopped,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.telltale.unused();
    }
}

impl Link {
    pub(super) fn new(host: &str, port: u16) -> Self {
        Self {
            board: format!("{host}:{port}").into(),
            host: host.to_owned(),
            port,
            state: State::Down(None),
            pauses: Pauses::up_to(LAST_PAUSE),
            answered: false,
            failure: None,
            telltale: Arc::new(Telltale::new()),
        }
    }

    pub(super) fn board(&self) -> &Arc<str> {
        &self.board
    }

    /// What others may know of the link.
    pub(super) fn telltale(&self) -> &Arc<Telltale> {
        &self.telltale
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.state, State::Up(_))
    }

    pub(super) fn is_stopped(&self) -> bool {
        matches!(self.state, State::Stopped)
    }

    pub(super) fn stop(&mut self) {
        self.telltale.unused();
        self.state = State::Stopped;
    }

    /// The connection went, if it did, for reasons that are not the board's.
    pub(super) fn rests(&self) {
        if !self.is_up() {
            self.telltale.unused();
        }
    }

    pub(super) fn start(&mut self) {
        if self.is_stopped() {
            self.state = State::Down(None);
            self.pauses.reset();
        }
    }

    /// The server replied: it is well, and the next outage starts with short pauses again.
    pub(super) fn answered(&mut self) {
        self.answered = true;
        self.pauses.reset();
    }

    /// Takes the connection down because of `error`.
    ///
    /// The first try for another is made at once, unless the server never replied on this one: a server that
    /// accepts and closes is not to be asked in a tight loop.
    pub(super) fn lost(&mut self, error: &io::Error) {
        self.lost_after(Duration::MAX, error);
    }

    /// The same because a reply is overdue that was waited for as long as this: a caller with little time is no reason
    /// for all others to wait for longer.
    pub(super) fn overdue(&mut self, waited: Duration) {
        let error = io::Error::new(io::ErrorKind::TimedOut, "a reply is overdue");
        self.lost_after(waited.max(SHORTEST_PAUSE), &error);
    }

    fn lost_after(&mut self, longest: Duration, error: &io::Error) {
        if self.is_up() {
            log::warn!("lost the connection to {}: {error}", self.board);
            self.telltale.disconnected(error);
            self.state = if self.answered { State::Down(None) } else { self.pause(longest) };
        }
    }

    /// Starts a try if it is time for one.
    ///
    /// # Errors
    ///
    /// It is not, or the connection was stopped.
    pub(super) fn dial(&mut self) -> Result<(), KatcpError> {
        match self.state {
            State::Up(_) | State::Dialling(_) => return Ok(()),
            State::Stopped => return Err(KatcpError::Stopped { board: self.board.clone() }),
            State::Down(at) => {
                let retry_in = at.map(|at| at.saturating_duration_since(Instant::now()));
                if let Some(retry_in) = retry_in.filter(|left| !left.is_zero()) {
                    return Err(self.away(retry_in));
                }
            }
        }
        match Dial::start(&self.host, self.port) {
            Ok(dial) => {
                self.state = State::Dialling(dial);
                Ok(())
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Looks how the try gets on, and waits for it if there is a `limit` to wait for. Returns whether there is
    /// a connection now.
    ///
    /// # Errors
    ///
    /// The try failed.
    pub(super) fn dialled(&mut self, limit: Option<&Limit<'_>>) -> Result<bool, KatcpError> {
        let State::Dialling(dial) = &self.state else { return Ok(self.is_up()) };
        let result = limit.map_or_else(|| dial.result(), |limit| dial.wait(limit));
        match result {
            None => Ok(false),
            Some(stream) => match stream.and_then(Connection::new) {
                Ok(connection) => {
                    log::info!("connected to {}", self.board);
                    self.telltale.connected(connection.fd());
                    self.state = State::Up(connection);
                    (self.answered, self.failure) = (false, None);
                    Ok(true)
                }
                Err(error) => Err(self.failed(error)),
            },
        }
    }

    /// There is no connection yet, and nobody waits for it any more.
    pub(super) fn connecting(&self) -> KatcpError {
        KatcpError::Connecting { board: self.board.clone(), source: self.failure.clone() }
    }

    pub(super) fn read(
        &mut self,
        space: &mut [u8],
        acknowledge: bool,
    ) -> io::Result<Option<usize>> {
        self.connection()?.read(space, acknowledge)
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        self.connection()?.write(bytes)
    }

    pub(super) fn wait(&mut self, to_write: bool, limit: &Limit<'_>) -> io::Result<Wait> {
        self.connection()?.wait(to_write, limit)
    }

    fn connection(&mut self) -> io::Result<&mut Connection> {
        match &mut self.state {
            State::Up(connection) => Ok(connection),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn failed(&mut self, error: io::Error) -> KatcpError {
        if self.failure.is_none() {
            log::warn!("no connection to {}: {error}; the next calls try again", self.board);
        }
        self.telltale.disconnected(&error);
        self.failure = Some(Arc::new(error));
        self.state = self.pause(Duration::MAX);
        let State::Down(Some(at)) = self.state else { return self.away(Duration::ZERO) };
        self.away(at.saturating_duration_since(Instant::now()))
    }

    fn away(&self, retry_in: Duration) -> KatcpError {
        KatcpError::Away { board: self.board.clone(), retry_in, source: self.failure.clone() }
    }

    /// A pause of a random length, so that the agents of a whole site do not knock in step.
    fn pause(&mut self, longest: Duration) -> State {
        let pause = self.pauses.take() * (750 + random(500)) / 1000;
        State::Down(Some(Instant::now() + pause.min(longest)))
    }
}
