//! Requests out and messages back, for any number of threads over one socket.
//!
//! There is no thread of its own. Of the threads that wait for a message, one has the socket and
//! hands out what arrives; when it has its own, another takes over. So a single thread's call costs no
//! switch to another thread.

use crate::transport::{Frame, Link, LinkEvent, Pace, Waker, one_of};
use proximity_proto::{call::CallId, message::Message};
use std::{
    collections::{HashMap, VecDeque},
    io,
    ops::RangeInclusive,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// A restarted agent is back after some tens of milliseconds. For so long after a loss whoever waits
/// has the connection made anew every `HURRY_PAUSE`, for libzmq's own pauses double from the first.
const HURRY: Duration = Duration::from_millis(150);
const HURRY_PAUSE: Duration = Duration::from_millis(25);

/// libzmq itself connects again where a connection ends, but not where it understood nothing of what
/// came over it: a garbled handshake, or another program at the agent's port. It does not tell which it
/// was, so whoever waits for so many milliseconds after a connection ended, and sees none begin, has it
/// made anew: longer than libzmq's pause and the attempt after it, and not all clients at once.
const GIVEN_UP: RangeInclusive<u16> = 4_000..=8_000;

/// One socket, shared.
pub(crate) struct Exchange {
    endpoint: String,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// `None` while one of the waiting threads has it.
    link: Option<Link>,
    /// Wakes that thread.
    waker: Waker,
    /// The requests that are waited for.
    waiting: HashMap<CallId, Waiting>,
    /// Those of them that could not be sent yet, in order.
    unsent: VecDeque<CallId>,
    /// Messages that get no answer of their own, for the present connection.
    notes: VecDeque<Vec<u8>>,
    /// Whether there is a connection. Nothing is sent without: see [`Link::send`].
    up: bool,
    /// Whether one is being made: whoever listens there has taken it.
    taken: bool,
    /// Whether it is an agent that answers: it has said something in version 2.
    is_agent: bool,
    /// When one was lost, and when the next was begun; until there is one again, or it takes too long.
    hurry: Option<(Instant, Instant)>,
    /// How libzmq goes about it.
    pace: Pace,
    /// When libzmq is taken to have given up, after a connection ended and none was begun.
    given_up: Option<Instant>,
    /// When a hello was sent, if nothing at all has come since.
    silent: Option<Instant>,
    /// How many connections were lost.
    losses: u64,
}

/// A request, and what has come for it.
#[derive(Default)]
struct Waiting {
    /// Empty once it is sent.
    request: Vec<u8>,
    sent: Sent,
    messages: VecDeque<Frame>,
    lost: bool,
    /// Something came that is no message of version 2.
    stranger: bool,
}

/// What has come of a request.
pub(crate) enum Arrival {
    /// A message with its id.
    Message(Frame),
    /// Its connection is lost: nothing will come.
    Lost,
    /// A message that is not of version 2 has come, for this request or another.
    Stranger,
    /// The time is over.
    TimedOut(Sent),
    /// The caller was told to stop.
    Stopped(Sent),
}

/// How far a request has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sent {
    /// It has left.
    Yes,
    /// It has not.
    #[default]
    No,
    /// It has not: what listens there takes connections, and closes them.
    TurnedAway,
}

/// A request on its way. Forgotten when dropped; what then still comes for it is dropped too.
pub(crate) struct Conversation<'a> {
    exchange: &'a Exchange,
    id: CallId,
}

impl Exchange {
    /// Starts to connect to the ZeroMQ endpoint `endpoint`.
    pub(crate) fn new(endpoint: &str) -> io::Result<Self> {
        let (link, waker) = Link::new(endpoint)?;
        let state = State {
            link: Some(link),
            waker,
            waiting: HashMap::new(),
            unsent: VecDeque::new(),
            notes: VecDeque::new(),
            up: false,
            taken: false,
            is_agent: false,
            hurry: None,
            pace: Pace::Calm,
            given_up: None,
            silent: None,
            losses: 0,
        };
        let endpoint = endpoint.into();
        Ok(Self { endpoint, state: Mutex::new(state), changed: Condvar::new() })
    }

    /// Sends `request` as soon as there is a connection.
    pub(crate) fn begin(&self, id: CallId, request: Vec<u8>) -> Conversation<'_> {
        let mut state = self.lock();
        state.waiting.insert(id, Waiting { request, ..Waiting::default() });
        state.unsent.push_back(id);
        state.attend();
        Conversation { exchange: self, id }
    }

    /// Sends `note`, which gets no answer of its own, if the connection still stands.
    pub(crate) fn tell(&self, note: Vec<u8>) {
        let mut state = self.lock();
        state.notes.push_back(note);
        state.attend();
    }

    /// How many connections were lost so far: what was learnt over an earlier one may be outdated.
    pub(crate) fn losses(&self) -> u64 {
        let mut state = self.lock();
        // What has happened while nobody waited is not looked at yet.
        if state.link.is_some() {
            state.attend();
        }
        state.losses
    }

    /// Nothing has come for a hello that was sent at `asked`: gives the connection up for lost, and makes
    /// another, if that has been so for `patience`, by this hello and those before it.
    pub(crate) fn unanswered(&self, asked: Instant, patience: Duration) {
        let mut state = self.lock();
        if state.silent.get_or_insert(asked).elapsed() < patience {
            return;
        }
        log::debug!("connecting to {} anew: it does not answer", self.endpoint);
        (state.up, state.taken, state.hurry, state.silent) = (false, false, None, None);
        // Whoever has the socket, or waits for something next, sees to that.
        state.given_up = Some(Instant::now());
        state.down();
        state.waker.wake();
        self.changed.notify_all();
    }

    /// Lets every thread that waits look at its flag.
    pub(crate) fn wake_all(&self) {
        self.lock().waker.wake();
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code of others runs under the lock, so a poisoned one is as good as new.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(link) = self.lock().link.take() {
            link.close();
        }
    }
}

impl Conversation<'_> {
    /// Waits for the next thing to come of the request, until `deadline` or until `stop` is set
    /// (followed by [`Exchange::wake_all`]).
    pub(crate) fn next(&self, deadline: Instant, stop: Option<&AtomicBool>) -> Arrival {
        let mut state = self.exchange.lock();
        loop {
            let sent = match state.waiting.get_mut(&self.id) {
                None => return Arrival::Lost,
                Some(waiting) => {
                    if let Some(frame) = waiting.messages.pop_front() {
                        return Arrival::Message(frame);
                    }
                    if waiting.lost {
                        return Arrival::Lost;
                    }
                    if std::mem::take(&mut waiting.stranger) {
                        return Arrival::Stranger;
                    }
                    waiting.sent
                }
            };
            if stop.is_some_and(|stop| stop.load(Ordering::Acquire)) {
                return Arrival::Stopped(sent);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Arrival::TimedOut(sent);
            }
            if let Some(mut link) = state.link.take() {
                let to_send = state.up && !(state.unsent.is_empty() && state.notes.is_empty());
                let left = state
                    .hurry(&mut link, &self.exchange.endpoint)
                    .map_or(left, |pause| left.min(pause));
                drop(state);
                link.wait(to_send, left);
                state = self.exchange.lock();
                state.pump(&link);
                state.link = Some(link);
                // Somebody else's message may have come, and somebody must take the socket over.
                if state.waiting.len() > 1 {
                    self.exchange.changed.notify_all();
                }
            } else {
                let waited = self.exchange.changed.wait_timeout(state, left);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }
}

impl Drop for Conversation<'_> {
    fn drop(&mut self) {
        let mut state = self.exchange.lock();
        state.waiting.remove(&self.id);
        let id = self.id;
        state.unsent.retain(|unsent| *unsent != id);
        // Whoever waits may have to take the socket over from this thread.
        if !state.waiting.is_empty() {
            self.exchange.changed.notify_all();
        }
    }
}

impl State {
    /// Has somebody look after the socket: this thread, or the one that has it.
    fn attend(&mut self) {
        match self.link.take() {
            Some(link) => {
                self.pump(&link);
                self.link = Some(link);
            }
            None => self.waker.wake(),
        }
    }

    /// Takes what has come, sends what may leave.
    fn pump(&mut self, link: &Link) {
        // Events first: then all that came before a loss is received below.
        let mut lost = false;
        while let Some(event) = link.event() {
            self.given_up = (event == LinkEvent::Down).then(|| self.when_given_up());
            match event {
                LinkEvent::Taken => self.taken = true,
                LinkEvent::Up => (self.up, self.hurry) = (true, None),
                LinkEvent::Down if self.up => {
                    (self.up, self.taken) = (false, false);
                    let now = Instant::now();
                    self.hurry = Some((now, now));
                    lost = true;
                }
                LinkEvent::Down => {
                    self.taken = false;
                    let unsent = self.waiting.values_mut().filter(|w| w.sent == Sent::No);
                    unsent.for_each(|waiting| waiting.sent = Sent::TurnedAway);
                }
            }
        }
        while let Some(frame) = link.receive() {
            self.silent = None;
            match Message::id_of(&frame) {
                Some(id) => match self.waiting.get_mut(&id) {
                    Some(waiting) => {
                        self.is_agent = true;
                        waiting.messages.push_back(frame);
                    }
                    None => log::debug!("dropped a message for call {}: it came late", id.seq),
                },
                None if Message::parse(&frame).is_err() => {
                    let sent = self.waiting.values_mut().filter(|w| w.sent == Sent::Yes);
                    sent.for_each(|waiting| waiting.stranger = true);
                }
                None => log::debug!("dropped a message without an id"),
            }
        }
        if lost {
            log::debug!("the connection was lost");
            self.down();
        }
        while self.up
            && let Some(note) = self.notes.front()
            && link.send(note, !self.is_agent)
        {
            self.notes.pop_front();
        }
        while self.up
            && let Some(id) = self.unsent.front()
        {
            if let Some(waiting) = self.waiting.get_mut(id) {
                if !link.send(&waiting.request, !self.is_agent) {
                    break;
                }
                waiting.sent = Sent::Yes;
                waiting.request = Vec::new();
            }
            self.unsent.pop_front();
        }
    }

    /// After a loss: begins to connect anew where it is time to, and gives the time until it will be.
    fn hurry(&mut self, link: &mut Link, endpoint: &str) -> Option<Duration> {
        // What has begun is let come to its end.
        if self.taken {
            return None;
        }
        let now = Instant::now();
        self.hurry.take_if(|(lost, begun)| {
            now.duration_since(*lost) > HURRY && now.duration_since(*begun) >= HURRY_PAUSE
        });
        let (due, pace) = match (self.hurry, self.given_up) {
            (Some((_, begun)), _) => (begun + HURRY_PAUSE, Pace::Hurried),
            (None, Some(given_up)) => (given_up, Pace::Calm),
            (None, None) => return None,
        };
        if now < due {
            return Some(due.duration_since(now));
        }
        match link.renew(endpoint, pace) {
            Ok(()) => self.pace = pace,
            Err(error) => log::debug!("cannot hurry to connect to {endpoint}: {error}"),
        }
        self.given_up = None;
        let (_, begun) = self.hurry.as_mut()?;
        *begun = now;
        Some(HURRY_PAUSE)
    }

    /// A connection has ended: when libzmq is taken to have given up.
    fn when_given_up(&self) -> Instant {
        // Where each connection is taken and closed, a link in a hurry goes on so for ever.
        let stormy = !self.up && self.hurry.is_none() && self.pace == Pace::Hurried;
        let after = if stormy { 0 } else { one_of(GIVEN_UP) };
        Instant::now() + Duration::from_millis(after)
    }

    /// What was sent over the connection that is lost gets no answer any more.
    fn down(&mut self) {
        self.losses += 1;
        self.notes.clear();
        let sent = self.waiting.values_mut().filter(|waiting| waiting.sent == Sent::Yes);
        sent.for_each(|waiting| waiting.lost = true);
    }
}
