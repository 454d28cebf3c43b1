//! ZeroMQ: the only file of the agent with zmq's types. What needs none of them is in the folder beside.
//!
//! One ROUTER socket listens at all endpoints. The frames of a message, both ways:
//!
//! ```text
//! [identity] [] [payload]     a REQ socket's, and a DEALER's that puts the empty frame itself
//! [identity] [payload]        a bare DEALER's
//! ```
//!
//! A reply has the form of its request. Anything longer is dropped whole, and counted.
//!
//! The router sleeps in libzmq's own receive, which costs a call two system calls less than a poll of
//! its descriptor: [`Transport::next`] tells the two ways. What rings the bell meanwhile is a message
//! too, from a socket of our own within the process.

mod origin;
mod parcels;
mod peers;
mod ticker;

use super::connections::Connections;
use super::{Event, GivenBack, Identity, LENT, ListenError, Peer, Route, Sent, Traffic, Transport};
use crate::{bell::Bell, config::Endpoint, os};
use origin::Origin;
use parcels::Parcels;
use peers::{Peers, identity_of};
use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    io,
    net::IpAddr,
    os::{fd::AsRawFd, unix::net::UnixStream},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use ticker::Ticker;
use zmq::{Context, DONTWAIT, Error, Message, SNDMORE, Socket};

/// A peer that has not finished its handshake by then is dropped: it would hold a descriptor for ever.
const HANDSHAKE: Duration = Duration::from_secs(3);

/// Messages that a peer may leave unread before it is [`Sent::Full`]. Those that count by their size
/// are counted elsewhere, so that these are small; and libzmq tells us of every half of them that was
/// read: 16 would have it wake the router for one call in eight, or four where replies are delimited.
const UNREAD: i32 = 64;

/// Requests of a connection that wait to be looked at, each as large as it may be; TCP holds further ones back.
const AHEAD: i32 = 32;

/// What a frame may weigh beyond the largest request, so that one that is a little too large gets an
/// answer that says so, and is not just cut off.
const SLACK: usize = 64 << 10;

/// A peer that takes nothing of what it was sent for so long loses its connection, and with it what
/// lies there: memory is not held for ever for one that does not read.
const DEAF: Duration = Duration::from_secs(30);

/// The buffer that a connection reads into, in bytes: small, for it is most of what a silent one costs.
/// libzmq's own are 8 KiB, and more than as much again for the heads of messages in them. The rest of a
/// request that is larger is read straight to where it stays.
const READ: i32 = 2 << 10;

/// How long replies that were sent may take to leave when a socket is closed.
const FAREWELL: Duration = Duration::from_secs(1);

/// libzmq counts the time of a receive in whole milliseconds. What ends sooner than this is waited for
/// to the microsecond, in a poll.
const COARSE: Duration = Duration::from_millis(20);

/// The longest time between two looks at the connections that came and went, and at the clock. Whoever
/// waits for longer waits without an end, and is woken by the [`Ticker`]: a time-out that is set and
/// taken back for each call costs it as much as its parsing.
const LOOK: Duration = Duration::from_secs(1);

/// Where the bell's socket finds the router's.
const BELL: &str = "inproc://bell";

/// Where the router's socket tells of its connections.
const MONITOR: &str = "inproc://connections";

/// A ROUTER socket, and where it listens.
pub struct Zmq {
    socket: Socket,
    /// Its last operation was a receive that found nothing. Only then is it true that poll will tell
    /// of the next message: libzmq's descriptor tells of changes, and any operation may consume them.
    dry: bool,
    /// How long a receive waits, in milliseconds; -1 is without an end.
    patience: i32,
    /// Who rings the bell.
    ringer: Box<[u8]>,
    /// What libzmq puts behind the last message of a connection that has ended. No peer knows it.
    farewell: [u8; 16],
    listeners: Vec<Listener>,
    /// Tells of connections as they come and go.
    monitor: Socket,
    /// Those that there are, and at which listener each came.
    descriptors: HashMap<i32, Box<str>>,
    peers: Peers,
    connections: Connections,
    identity: Message,
    payload: Message,
    parcels: Parcels,
    traffic: Traffic,
    ticker: Ticker,
}

/// An endpoint.
struct Listener {
    endpoint: Endpoint,
    /// How clients reach it.
    address: String,
    /// The longest request that is taken there.
    max_frame: usize,
}

impl Zmq {
    /// A transport that listens nowhere yet. `bell` is the router's.
    ///
    /// # Errors
    ///
    /// The system's, where it has no descriptor or thread left.
    pub fn new(bell: Arc<Bell>) -> io::Result<Self> {
        let ticker = Ticker::start(Arc::clone(&bell))?;
        Self::open(bell, ticker).map_err(|error| io::Error::from_raw_os_error(error.to_raw()))
    }

    fn open(bell: Arc<Bell>, ticker: Ticker) -> Result<Self, Error> {
        let context = Context::new();
        let mut socket = context.socket(zmq::ROUTER)?;
        socket.set_linger(millis(FAREWELL))?;
        // Replies to peers that are gone are to be seen, and counted.
        socket.set_router_mandatory(true)?;
        socket.set_handshake_ivl(millis(HANDSHAKE))?;
        socket.set_sndhwm(UNREAD)?;
        socket.set_rcvhwm(AHEAD)?;
        os::give_up_deaf_peers(&mut socket, DEAF);
        os::read_in_batches(&mut socket, READ);
        let farewell = secret();
        os::tell_of_ends(&mut socket, &farewell);

        let events = zmq::SocketEvent::ACCEPTED as i32 | zmq::SocketEvent::DISCONNECTED as i32;
        socket.monitor(MONITOR, events)?;
        let monitor = context.socket(zmq::PAIR)?;
        monitor.set_linger(0)?;
        // libzmq waits where a monitor is full, and everybody with it.
        monitor.set_rcvhwm(0)?;
        monitor.connect(MONITOR)?;

        socket.bind(BELL)?;
        let wire = context.socket(zmq::DEALER)?;
        wire.set_linger(0)?;
        wire.connect(BELL)?;
        // Its first message tells the name that libzmq gave it, which nobody else can have.
        wire.send(&[][..], DONTWAIT)?;
        let mut ringer = Message::new();
        socket.recv(&mut ringer, 0)?;
        socket.recv(&mut Message::new(), 0)?;
        bell.wake_by(Some(Box::new(move || {
            // One that is full rings already, and one that is closed has nobody to wake.
            let _ = wire.send(&[][..], DONTWAIT);
        })));

        Ok(Self {
            socket,
            dry: false,
            patience: -1,
            ringer: ringer[..].into(),
            farewell,
            listeners: Vec::new(),
            monitor,
            descriptors: HashMap::new(),
            peers: Peers::default(),
            connections: Connections::default(),
            identity: Message::new(),
            payload: Message::new(),
            parcels: Parcels::new(bell),
            traffic: Traffic::default(),
            ticker,
        })
    }

    /// What has come, where `flags` do not forbid it after a wait. A ring ends that too.
    fn take(&mut self, mut flags: i32, request: &mut Vec<u8>) -> Event {
        loop {
            match self.receive(flags) {
                Received::Nothing => {
                    self.dry = flags == DONTWAIT;
                    return Event::Idle;
                }
                Received::Ring => return Event::Idle,
                Received::Odd => self.traffic.odd += 1,
                Received::Farewell(identity) => {
                    if let Some(peer) = self.peers.forget(identity) {
                        return Event::Gone(peer);
                    }
                }
                Received::Message(identity, delimited) => {
                    request.clear();
                    request.extend_from_slice(&self.payload);
                    self.traffic.received += 1;
                    self.traffic.received_bytes += request.len() as u64;
                    // What libzmq read it into may be used again while we wait for the next.
                    self.payload = Message::new();
                    return Event::Request(self.peer(identity, delimited));
                }
            }
            flags = DONTWAIT;
        }
    }

    fn receive(&mut self, flags: i32) -> Received {
        self.dry = false;
        if !self.frame(flags) {
            return Received::Nothing;
        }
        if self.identity[..] == *self.ringer {
            while self.payload_frame() && self.payload.get_more() {}
            return Received::Ring;
        }
        // The frames of a message arrive together: from here on there is one for each promise.
        let mut delimited = false;
        let mut whole = self.identity.get_more() && self.payload_frame();
        if whole && self.payload.get_more() && self.payload.is_empty() {
            delimited = true;
            whole = self.payload_frame();
        }
        while whole && self.payload.get_more() {
            whole = false;
            while self.payload.get_more() && self.payload_frame() {}
        }
        match identity_of(&self.identity).filter(|_| whole) {
            Some(identity) if !delimited && self.payload[..] == self.farewell => {
                Received::Farewell(identity)
            }
            Some(identity) => Received::Message(identity, delimited),
            None => Received::Odd,
        }
    }

    /// Receives the first frame of a message.
    fn frame(&mut self, flags: i32) -> bool {
        let received = self.socket.recv(&mut self.identity, flags);
        is_received(received)
    }

    /// Receives another frame of a message.
    fn payload_frame(&mut self) -> bool {
        let received = self.socket.recv(&mut self.payload, DONTWAIT);
        is_received(received)
    }

    /// Has a receive wait for so long: no shorter, and at most a millisecond longer. With [`LOOK`] or more
    /// it waits for the ticker.
    fn set_patience(&mut self, patience: Duration) {
        let patience = if patience < LOOK { millis(patience).saturating_add(1) } else { -1 };
        if patience != self.patience {
            match self.socket.set_rcvtimeo(patience) {
                Ok(()) => self.patience = patience,
                Err(error) => log::error!("cannot wait {patience} ms for messages: {error}"),
            }
        }
    }

    /// Waits in a poll, which tells of anything that happens to the socket.
    fn poll(&mut self, timeout: Duration) {
        let fd = self.socket.as_raw_fd();
        let mut polled = [libc::pollfd { fd, events: libc::POLLIN, revents: 0 }];
        if let Err(error) = os::poll(&mut polled, Some(timeout)) {
            // Only a fault of the agent's own leads here; what follows finds all there is all the same.
            log::error!("cannot wait for messages: {error}");
        }
    }

    /// Takes notice of the connections that came and went.
    fn hear(&mut self) {
        while let Ok(frames) = self.monitor.recv_multipart(DONTWAIT) {
            // Number of the event and descriptor; the second frame has the endpoint.
            let [told, endpoint] = &frames[..] else { continue };
            let [e0, e1, f0, f1, f2, f3] = told[..] else { continue };
            let event = u16::from_ne_bytes([e0, e1]);
            let fd = i32::from_ne_bytes([f0, f1, f2, f3]);
            if event == zmq::SocketEvent::ACCEPTED.to_raw() {
                self.descriptors.insert(fd, String::from_utf8_lossy(endpoint).into());
                self.connections.opened(fd);
            }
            if event == zmq::SocketEvent::DISCONNECTED.to_raw() {
                self.descriptors.remove(&fd);
                self.connections.closed(fd);
            }
        }
    }

    fn bind(&mut self, endpoint: &Endpoint, max_frame: usize) -> Result<Listener, Error> {
        if is_taken(endpoint) {
            return Err(Error::EADDRINUSE);
        }
        // These two are a listener's, which keeps those of the moment when it begins.
        self.socket.set_maxmsgsize(i64::try_from(max_frame + SLACK).unwrap_or(i64::MAX))?;
        self.socket.set_ipv6(matches!(endpoint, Endpoint::Tcp { ip: IpAddr::V6(_), .. }))?;
        self.socket.bind(&endpoint.to_string())?;
        let address = self.socket.get_last_endpoint()?.unwrap_or_else(|_| endpoint.to_string());
        Ok(Listener { endpoint: endpoint.clone(), address, max_frame })
    }

    /// Stops listening there, and closes the connections that came that way.
    fn unbind(&mut self, listener: &Listener) {
        if let Err(error) = self.socket.unbind(&listener.address) {
            log::error!("cannot stop listening at {}: {error}", listener.endpoint);
        }
        // Nobody tells of those that we close ourselves.
        self.hear();
        let connections = &mut self.connections;
        self.descriptors.retain(|&fd, came_at| {
            let stays = **came_at != *listener.address;
            if !stays {
                connections.closed(fd);
            }
            stays
        });
    }

    /// Sends the frames before the payload.
    fn address(&self, identity: &[u8], delimited: bool) -> Result<(), Error> {
        self.socket.send(identity, DONTWAIT | SNDMORE)?;
        // libzmq takes the rest of a message whose first frame it took.
        if delimited {
            self.socket.send(&[][..], DONTWAIT | SNDMORE)?;
        }
        Ok(())
    }

    fn send(&self, identity: &[u8], delimited: bool, payload: &[u8]) -> Result<(), Error> {
        self.address(identity, delimited)?;
        self.socket.send(payload, DONTWAIT)
    }

    /// The same without a copy: libzmq has the payload until it has left.
    fn lend(&mut self, peer: &Arc<Peer>, payload: &mut Vec<u8>) -> Result<(), Error> {
        self.address(&peer.route.identity, peer.route.delimited)?;
        let parcel = self.parcels.pack(peer, payload);
        // One that was not sent was given back all the same.
        if os::lend(&mut self.socket, parcel) { Ok(()) } else { Err(Error::EHOSTUNREACH) }
    }

    /// The peer that a message is from, of which `self.identity` is the first frame.
    fn peer(&mut self, identity: Identity, delimited: bool) -> Arc<Peer> {
        let peer = match self.peers.get(identity) {
            Some(peer) if peer.route.delimited == delimited => return peer,
            Some(peer) => peer.in_form(delimited),
            None => {
                let frame = &mut self.identity;
                let (from, fd) = (origin(frame), descriptor(frame));
                let route = Route { identity, fd, delimited };
                let peer = Peer::new(from.principal(), from.address(), route);
                log::debug!("a client calls from '{}'", peer.principal.address);
                peer
            }
        };
        self.peers.insert(identity, Arc::clone(&peer));
        peer
    }
}

impl Drop for Zmq {
    fn drop(&mut self) {
        // As long as its socket is open, the context is not closed, and no last reply leaves.
        self.parcels.bell().wake_by(None);
    }
}

impl Transport for Zmq {
    /// Where there is time, the wait is a receive; it is not told what else happens to the socket, as
    /// that a peer has read and there is room for another reply. Where replies wait for that, or a
    /// moment is to be met, there is little time, and the wait is a poll.
    fn next(&mut self, bell: &Bell, timeout: Option<Duration>, request: &mut Vec<u8>) -> Event {
        if self.ticker.has_ticked() {
            self.hear();
        }
        let timeout = timeout.map_or(LOOK, |timeout| timeout.min(LOOK));
        let coarse = timeout >= COARSE;
        if !coarse && !self.dry {
            let taken = self.take(DONTWAIT, request);
            if !matches!(taken, Event::Idle) {
                return taken;
            }
        }
        if !bell.fall_asleep_elsewhere() {
            return Event::Idle;
        }
        let flags = if coarse {
            self.set_patience(timeout);
            0
        } else {
            self.poll(timeout);
            DONTWAIT
        };
        let taken = self.take(flags, request);
        bell.wake_up(false);
        taken
    }

    fn try_send(&mut self, peer: &Arc<Peer>, payload: &mut Vec<u8>) -> Sent {
        self.dry = false;
        let size = payload.len() as u64;
        let sent = if payload.len() < LENT {
            self.send(&peer.route.identity, peer.route.delimited, payload)
        } else {
            self.lend(peer, payload)
        };
        match sent {
            Ok(()) => {
                self.traffic.sent += 1;
                self.traffic.sent_bytes += size;
                Sent::Sent
            }
            Err(Error::EAGAIN) => {
                self.traffic.full += 1;
                Sent::Full
            }
            Err(error) => {
                if error != Error::EHOSTUNREACH {
                    log::error!("cannot send: {error}");
                }
                self.peers.forget(peer.route.identity);
                self.traffic.unreachable += 1;
                Sent::Gone
            }
        }
    }

    fn listen(
        &mut self,
        endpoints: &[Endpoint],
        max_frame: usize,
    ) -> Result<Vec<String>, ListenError> {
        let mut bound: Vec<Listener> = Vec::new();
        for endpoint in endpoints {
            let mut listeners = self.listeners.iter().chain(&bound);
            if listeners.any(|listener| listener.endpoint == *endpoint) {
                continue;
            }
            match self.bind(endpoint, max_frame) {
                Ok(listener) => bound.push(listener),
                Err(error) => {
                    for listener in bound {
                        self.unbind(&listener);
                    }
                    let source = io::Error::from_raw_os_error(error.to_raw());
                    return Err(ListenError { endpoint: endpoint.to_string(), source });
                }
            }
        }
        let (kept, closed): (Vec<_>, Vec<_>) = std::mem::take(&mut self.listeners)
            .into_iter()
            .partition(|listener| endpoints.contains(&listener.endpoint));
        for listener in &closed {
            self.unbind(listener);
        }
        self.listeners = kept.into_iter().chain(bound).collect();
        self.dry = false;
        let address = |endpoint: &Endpoint| {
            let listener = self.listeners.iter().find(|listener| listener.endpoint == *endpoint);
            listener.map(|listener| listener.address.clone())
        };
        Ok(endpoints.iter().filter_map(address).collect())
    }

    fn max_frame(&self) -> usize {
        self.listeners.iter().map(|listener| listener.max_frame).min().unwrap_or(usize::MAX)
    }

    fn set_connections(&mut self, most: usize) {
        self.connections.set_limit(most);
    }

    fn serves(&mut self, peer: &Peer) -> bool {
        let Some(fd) = peer.route.fd else { return true };
        if peer.served.load(Relaxed) {
            return true;
        }
        self.hear();
        let served = !self.connections.waits(fd);
        peer.served.store(served, Relaxed);
        served
    }

    fn given_back(&mut self) -> Option<GivenBack> {
        let (peer, buffer) = self.parcels.unpack()?;
        Some(GivenBack { peer: peer.id, bytes: buffer.len(), buffer })
    }

    fn traffic(&self) -> Traffic {
        self.traffic
    }

    fn peers(&self) -> usize {
        self.peers.len()
    }
}

/// What a receive found.
enum Received {
    Nothing,
    /// The bell was rung.
    Ring,
    /// A message of a form that is not served.
    Odd,
    /// A connection has ended.
    Farewell(Identity),
    /// A message of a connection, with an empty frame before it or without.
    Message(Identity, bool),
}

/// A word that nobody can guess: the hasher's keys come from the system's random numbers.
fn secret() -> [u8; 16] {
    let half = || RandomState::new().hash_one("farewell").to_ne_bytes();
    let mut word = [0; 16];
    let (first, second) = word.split_at_mut(8);
    first.copy_from_slice(&half());
    second.copy_from_slice(&half());
    word
}

/// Whether a receive found something; it may be interrupted, or have been in vain.
fn is_received(received: Result<(), Error>) -> bool {
    match received {
        Ok(()) => true,
        Err(Error::EAGAIN | Error::EINTR) => false,
        Err(error) => {
            log::error!("cannot receive: {error}");
            false
        }
    }
}

/// Whether somebody answers at a path already: libzmq would take it from him, unseen.
fn is_taken(endpoint: &Endpoint) -> bool {
    match endpoint {
        Endpoint::Ipc(path) => UnixStream::connect(path).is_ok(),
        Endpoint::Tcp { .. } => false,
    }
}

/// Where a message's connection comes from, under libzmq's own name for it.
///
/// A peer can give itself a property of that name. Libzmq's stands before it; and it is there: libzmq asks
/// for the address when it takes a connection, and takes no call before it could send its own greeting and
/// READY, so that a peer that was gone before it was asked for is never heard.
fn origin(frame: &mut Message) -> Origin {
    Origin::of(frame.gets("Peer-Address"))
}

/// The descriptor of a message's connection, under libzmq's own name for it.
fn descriptor(frame: &mut Message) -> Option<i32> {
    frame.gets("__fd")?.parse().ok()
}

/// The library behind this, for `--version`: its version, and whether it can encrypt.
pub fn library() -> String {
    let (major, minor, patch) = zmq::version();
    let curve = if zmq::has("curve") == Some(true) { "with" } else { "without" };
    format!("libzmq {major}.{minor}.{patch} {curve} CURVE")
}

/// As libzmq wants it.
fn millis(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}
