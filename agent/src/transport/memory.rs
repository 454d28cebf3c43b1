//! Messages within the process: drives the router in tests, without sockets.

use super::{Event, GivenBack, LENT, ListenError, Peer, Route, Sent, Traffic, Transport};
use crate::{bell::Bell, config::Endpoint, os};
use proximity_proto::{Principal, object::PrincipalKind};
use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

/// A transport whose peers are [`Client`]s of the same process.
pub struct Memory {
    shared: Arc<Shared>,
    /// How many clients are served.
    most: usize,
    traffic: Traffic,
}

/// Makes clients of a [`Memory`].
#[derive(Clone)]
pub struct Network(Arc<Shared>);

/// One connection to a [`Memory`].
pub struct Client {
    shared: Arc<Shared>,
    peer: Arc<Peer>,
}

struct Shared {
    bell: Arc<Bell>,
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    to_router: VecDeque<Incoming>,
    clients: HashMap<u64, Inbox>,
    /// Large messages that were read, or left unread by clients that went.
    given_back: Vec<GivenBack>,
}

enum Incoming {
    Message(Arc<Peer>, Vec<u8>),
    Gone(Arc<Peer>),
}

/// What a client has not read yet.
struct Inbox {
    messages: VecDeque<Vec<u8>>,
    /// How many there may be.
    room: usize,
}

impl Memory {
    /// A transport and the maker of its clients. `bell` is the router's.
    pub fn new(bell: Arc<Bell>) -> (Self, Network) {
        let (state, arrived) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { bell, state, arrived });
        let network = Network(Arc::clone(&shared));
        (Self { shared, most: usize::MAX, traffic: Traffic::default() }, network)
    }
}

impl State {
    /// Gives a large message's memory back to the router; false for a small one.
    fn give_back(&mut self, peer: &Peer, message: &[u8]) -> bool {
        let bytes = message.len();
        if bytes < LENT {
            return false;
        }
        peer.lent.fetch_sub(bytes, Relaxed);
        self.given_back.push(GivenBack { peer: peer.id, bytes, buffer: Vec::new() });
        true
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A client's thread may panic, in a test; what it leaves behind is sound.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_router(&self, incoming: Incoming) {
        self.lock().to_router.push_back(incoming);
        self.bell.ring();
    }
}

impl Network {
    /// A client on this machine.
    pub fn client(&self) -> Client {
        self.connect(Principal::local(), None)
    }

    /// A client at `address`.
    pub fn client_at(&self, address: IpAddr) -> Client {
        let kind = PrincipalKind::Address;
        let principal = Principal { kind, name: String::new(), address: address.to_string() };
        self.connect(principal, Some(address))
    }

    fn connect(&self, principal: Principal, address: Option<IpAddr>) -> Client {
        let route = Route { identity: Default::default(), fd: None, delimited: false };
        let peer = Peer::new(principal, address, route);
        let inbox = Inbox { messages: VecDeque::new(), room: usize::MAX };
        self.0.lock().clients.insert(peer.id.0, inbox);
        Client { shared: Arc::clone(&self.0), peer }
    }
}

impl Client {
    /// Sends a message to the agent.
    pub fn send(&self, message: impl Into<Vec<u8>>) {
        self.shared.tell_router(Incoming::Message(Arc::clone(&self.peer), message.into()));
    }

    /// The next message from the agent, unless none comes within `patience`.
    pub fn receive(&self, patience: Duration) -> Option<Vec<u8>> {
        let end = Instant::now() + patience;
        let mut state = self.shared.lock();
        loop {
            if let Some(message) = state.clients.get_mut(&self.peer.id.0)?.messages.pop_front() {
                if state.give_back(&self.peer, &message) {
                    self.shared.bell.ring();
                }
                return Some(message);
            }
            let left = end.checked_duration_since(Instant::now())?;
            let woken = self.shared.arrived.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Leaves room for so many messages that are not read; with 0 none gets through.
    pub fn make_room(&self, messages: usize) {
        if let Some(inbox) = self.shared.lock().clients.get_mut(&self.peer.id.0) {
            inbox.room = messages;
        }
    }

    /// Tells the agent that the connection has ended, and goes on to receive: as another connection does that
    /// has taken its name.
    pub fn hand_over(&self) {
        self.shared.tell_router(Incoming::Gone(Arc::clone(&self.peer)));
    }

    /// Goes. The agent is told, if `told`; otherwise it finds out when it sends.
    pub fn leave(self, told: bool) {
        let mut state = self.shared.lock();
        let inbox = state.clients.remove(&self.peer.id.0);
        for message in inbox.into_iter().flat_map(|inbox| inbox.messages) {
            state.give_back(&self.peer, &message);
        }
        drop(state);
        self.shared.bell.ring();
        if told {
            self.shared.tell_router(Incoming::Gone(self.peer));
        }
    }
}

impl Transport for Memory {
    fn next(&mut self, bell: &Bell, timeout: Option<Duration>, request: &mut Vec<u8>) -> Event {
        if self.shared.lock().to_router.is_empty()
            && let Some(fd) = bell.fall_asleep()
        {
            let mut polled = [libc::pollfd { fd, events: libc::POLLIN, revents: 0 }];
            if let Err(error) = os::poll(&mut polled, timeout) {
                log::error!("cannot wait for messages: {error}");
            }
            let [polled] = polled;
            bell.wake_up(polled.revents != 0);
        }
        match self.shared.lock().to_router.pop_front() {
            None => Event::Idle,
            Some(Incoming::Gone(peer)) => Event::Gone(peer),
            Some(Incoming::Message(peer, message)) => {
                self.traffic.received += 1;
                self.traffic.received_bytes += message.len() as u64;
                request.clear();
                request.extend_from_slice(&message);
                Event::Request(peer)
            }
        }
    }

    fn try_send(&mut self, peer: &Arc<Peer>, payload: &mut Vec<u8>) -> Sent {
        match self.shared.lock().clients.get_mut(&peer.id.0) {
            None => {
                self.traffic.unreachable += 1;
                return Sent::Gone;
            }
            Some(inbox) if inbox.messages.len() >= inbox.room => {
                self.traffic.full += 1;
                return Sent::Full;
            }
            Some(inbox) => {
                if payload.len() >= LENT {
                    peer.lent.fetch_add(payload.len(), Relaxed);
                }
                inbox.messages.push_back(payload.clone());
            }
        }
        self.traffic.sent += 1;
        self.traffic.sent_bytes += payload.len() as u64;
        self.shared.arrived.notify_all();
        Sent::Sent
    }

    fn listen(&mut self, endpoints: &[Endpoint], _: usize) -> Result<Vec<String>, ListenError> {
        Ok(endpoints.iter().map(|endpoint| format!("memory for {endpoint}")).collect())
    }

    fn max_frame(&self) -> usize {
        usize::MAX
    }

    fn set_connections(&mut self, most: usize) {
        self.most = most;
    }

    fn serves(&mut self, peer: &Peer) -> bool {
        let state = self.shared.lock();
        state.clients.keys().filter(|&&id| id < peer.id.0).count() < self.most
    }

    fn given_back(&mut self) -> Option<GivenBack> {
        self.shared.lock().given_back.pop()
    }

    fn traffic(&self) -> Traffic {
        self.traffic
    }

    fn peers(&self) -> usize {
        self.shared.lock().clients.len()
    }
}
