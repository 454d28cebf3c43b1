//! ZeroMQ: the only file of the agent with zmq's types.
//!
//! One ROUTER socket for each endpoint, so that where a message came from is known from its socket.
//! The frames of a message, both ways:
//!
//! ```text
//! [identity] [] [payload]     a REQ socket's, and a DEALER's that puts the empty frame itself
//! [identity] [payload]        a bare DEALER's
//! ```
//!
//! A reply has the form of its request. Anything longer is dropped whole, and counted.

use super::connections::Connections;
use super::{Event, GivenBack, LENT, ListenError, Peer, Route, Sent, Traffic, Transport};
use crate::{bell::Bell, config::Endpoint, os};
use proximity_proto::{Principal, object::PrincipalKind};
use std::{
    collections::{HashMap, HashSet},
    io,
    net::IpAddr,
    os::{fd::AsRawFd, unix::net::UnixStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};
use zmq::{Context, DONTWAIT, Error, Message, SNDMORE, Socket};

/// A peer that has not finished its handshake by then is dropped: it would hold a descriptor for ever.
const HANDSHAKE: Duration = Duration::from_secs(3);

/// Messages that a peer may leave unread before it is [`Sent::Full`]. Those that count by their size
/// are counted elsewhere, so that these are small; and libzmq tells us of every half of them that was
/// read: 16 would have it wake the router for one call in eight, or four where replies are delimited.
const UNREAD: i32 = 64;

/// What a frame may weigh beyond the largest request, so that one that is a little too large gets an
/// answer that says so, and is not just cut off.
const SLACK: usize = 64 << 10;

/// A peer that takes nothing of what it was sent for so long loses its connection, and with it what
/// lies there: memory is not held for ever for one that does not read.
const DEAF: Duration = Duration::from_secs(30);

/// Parcels that are kept to be used again.
const PARCELS: usize = 64;

/// How long replies that were sent may take to leave when a socket is closed.
const FAREWELL: Duration = Duration::from_secs(1);

/// Connections whose peers are remembered without another look: half of them at least, all at most.
const REMEMBERED: usize = 8192;

/// ROUTER sockets.
pub struct Zmq {
    context: Context,
    sockets: Vec<Listener>,
    /// One for each socket, one for each of their monitors, and a last one for the bell.
    polled: Vec<libc::pollfd>,
    /// Which socket is looked at first: each in turn.
    first: usize,
    /// Names sockets, for [`Route`]s of sockets that are closed must lead nowhere.
    next_id: u64,
    identity: Message,
    payload: Message,
    returns: Arc<Returns>,
    parcels: Parcels,
    connections: Connections,
    traffic: Traffic,
}

/// A large payload on its way, and whose it is; none in one that is kept.
struct Parcel {
    payload: Vec<u8>,
    peer: Option<Arc<Peer>>,
    returns: Arc<Returns>,
}

#[allow(clippy::vec_box, reason = "they travel in their boxes")]
type Parcels = Vec<Box<Parcel>>;

/// Where libzmq's threads put parcels that have left.
struct Returns {
    bell: Arc<Bell>,
    parcels: Mutex<Parcels>,
}

impl Returns {
    fn lock(&self) -> MutexGuard<'_, Parcels> {
        self.parcels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Parcel {
    fn new(returns: Arc<Returns>) -> Self {
        Self { payload: Vec::new(), peer: None, returns }
    }
}

impl os::Lent for Parcel {
    fn bytes(&self) -> &[u8] {
        &self.payload
    }

    fn give_back(self: Box<Self>) {
        if let Some(peer) = &self.peer {
            peer.lent.fetch_sub(self.payload.len(), Relaxed);
        }
        let returns = Arc::clone(&self.returns);
        returns.lock().push(self);
        returns.bell.ring();
    }
}

/// A socket.
struct Listener {
    id: u64,
    socket: Socket,
    /// Tells of connections as they come and go.
    monitor: Socket,
    /// Those that there are.
    descriptors: HashSet<i32>,
    endpoint: Endpoint,
    /// How clients reach it.
    address: String,
    /// Its last operation was a receive that found nothing. Only then is it true that poll will tell
    /// of the next message: libzmq's descriptor tells of changes, and any operation may consume them.
    dry: bool,
    peers: Peers,
}

impl Zmq {
    /// A transport that listens nowhere yet. `bell` is the router's.
    pub fn new(bell: Arc<Bell>) -> Self {
        let parcels = Mutex::new(Vec::with_capacity(PARCELS));
        Self {
            context: Context::new(),
            returns: Arc::new(Returns { bell, parcels }),
            parcels: Vec::with_capacity(PARCELS),
            connections: Connections::default(),
            sockets: Vec::new(),
            polled: Vec::new(),
            first: 0,
            next_id: 0,
            identity: Message::new(),
            payload: Message::new(),
            traffic: Traffic::default(),
        }
    }

    /// The next message that has arrived, if one has.
    fn take(&mut self, request: &mut Vec<u8>) -> Option<Event> {
        let count = self.sockets.len();
        for place in 0..count {
            let place = (self.first + place) % count;
            let Some(listener) = self.sockets.get_mut(place) else { continue };
            while !listener.dry {
                match listener.receive(&mut self.identity, &mut self.payload) {
                    Received::Nothing => listener.dry = true,
                    Received::Odd => self.traffic.odd += 1,
                    Received::Message { delimited } => {
                        self.traffic.received += 1;
                        self.traffic.received_bytes += self.payload.len() as u64;
                        self.first = (place + 1) % count;
                        request.clear();
                        request.extend_from_slice(&self.payload);
                        return Some(Event::Request(listener.peer(&mut self.identity, delimited)));
                    }
                }
            }
        }
        None
    }

    /// Takes notice of the connections that came and went.
    fn hear(&mut self) {
        for listener in &mut self.sockets {
            while let Some((event, fd)) = listener.heard() {
                match event {
                    Heard::Opened => {
                        listener.descriptors.insert(fd);
                        self.connections.opened(fd);
                    }
                    Heard::Closed => {
                        listener.descriptors.remove(&fd);
                        self.connections.closed(fd);
                    }
                }
            }
        }
    }

    fn bind(&mut self, endpoint: &Endpoint, max_frame: usize) -> Result<Listener, Error> {
        if is_taken(endpoint) {
            return Err(Error::EADDRINUSE);
        }
        self.next_id += 1;
        let mut socket = self.context.socket(zmq::ROUTER)?;
        socket.set_linger(millis(FAREWELL))?;
        // Replies to peers that are gone are to be seen, and counted.
        socket.set_router_mandatory(true)?;
        // With handover whoever takes another's identity gets its replies.
        socket.set_router_handover(false)?;
        socket.set_handshake_ivl(millis(HANDSHAKE))?;
        socket.set_sndhwm(UNREAD)?;
        os::give_up_deaf_peers(&mut socket, DEAF);
        socket.set_maxmsgsize(i64::try_from(max_frame + SLACK).unwrap_or(i64::MAX))?;
        socket.set_ipv6(matches!(endpoint, Endpoint::Tcp { ip: IpAddr::V6(_), .. }))?;
        let name = format!("inproc://monitor-{}", self.next_id);
        let events = zmq::SocketEvent::ACCEPTED as i32 | zmq::SocketEvent::DISCONNECTED as i32;
        socket.monitor(&name, events)?;
        let monitor = self.context.socket(zmq::PAIR)?;
        monitor.set_linger(0)?;
        // libzmq waits where a monitor is full, and everybody with it.
        monitor.set_rcvhwm(0)?;
        monitor.connect(&name)?;
        socket.bind(&endpoint.to_string())?;
        let address = socket.get_last_endpoint()?.unwrap_or_else(|_| endpoint.to_string());
        Ok(Listener {
            id: self.next_id,
            socket,
            monitor,
            descriptors: HashSet::new(),
            endpoint: endpoint.clone(),
            address,
            dry: false,
            peers: Peers::default(),
        })
    }
}

impl Transport for Zmq {
    fn next(&mut self, bell: &Bell, timeout: Option<Duration>, request: &mut Vec<u8>) -> Event {
        if let Some(event) = self.take(request) {
            return event;
        }
        let Some(fd) = bell.fall_asleep() else { return Event::Idle };
        if let Some(last) = self.polled.last_mut() {
            last.fd = fd;
        }
        if let Err(error) = os::poll(&mut self.polled, timeout) {
            // Only a fault of the agent's own leads here; what follows finds all there is all the same.
            log::error!("cannot wait for messages: {error}");
        }
        let mut readable = self.polled.iter().map(|polled| polled.revents != 0);
        for (listener, readable) in self.sockets.iter_mut().zip(readable.by_ref()) {
            listener.dry &= !readable;
        }
        let heard = readable.take(self.sockets.len()).any(|readable| readable);
        if heard {
            self.hear();
        }
        bell.wake_up(self.polled.last().is_some_and(|polled| polled.revents != 0));
        self.take(request).unwrap_or(Event::Idle)
    }

    fn try_send(&mut self, peer: &Arc<Peer>, payload: &mut Vec<u8>) -> Sent {
        let Route { socket, identity, delimited, .. } = &peer.route;
        let Some(listener) = self.sockets.iter_mut().find(|listener| listener.id == *socket) else {
            self.traffic.unreachable += 1;
            return Sent::Gone;
        };
        listener.dry = false;
        let size = payload.len() as u64;
        let sent = if payload.len() < LENT {
            listener.send(identity, *delimited, payload)
        } else {
            let returns = &self.returns;
            let parcel =
                self.parcels.pop().unwrap_or_else(|| Box::new(Parcel::new(Arc::clone(returns))));
            listener.lend(peer, *delimited, payload, parcel)
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
                listener.peers.forget(identity);
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
        let mut bound = Vec::new();
        for endpoint in endpoints {
            if self.sockets.iter().any(|listener| listener.endpoint == *endpoint) {
                continue;
            }
            let listener = self.bind(endpoint, max_frame).map_err(|error| ListenError {
                endpoint: endpoint.to_string(),
                source: io::Error::from_raw_os_error(error.to_raw()),
            })?;
            bound.push(listener);
        }
        // What comes from a socket that is closed is no longer heard.
        self.hear();
        let (kept, closed): (Vec<_>, Vec<_>) = std::mem::take(&mut self.sockets)
            .into_iter()
            .partition(|listener| endpoints.contains(&listener.endpoint));
        self.sockets = kept;
        for fd in closed.iter().flat_map(|listener| &listener.descriptors) {
            self.connections.closed(*fd);
        }
        drop(closed);
        self.sockets.append(&mut bound);
        let messages = self.sockets.iter().map(|listener| listener.socket.as_raw_fd());
        let connections = self.sockets.iter().map(|listener| listener.monitor.as_raw_fd());
        let descriptors = messages.chain(connections);
        // The bell's place is filled in when it is polled.
        self.polled = descriptors
            .chain([-1])
            .map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 })
            .collect();
        let address = |endpoint: &Endpoint| {
            let listener = self.sockets.iter().find(|listener| listener.endpoint == *endpoint);
            listener.map(|listener| listener.address.clone())
        };
        Ok(endpoints.iter().filter_map(address).collect())
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
        let mut parcel = self.returns.lock().pop()?;
        let buffer = std::mem::take(&mut parcel.payload);
        let peer = parcel.peer.take();
        if self.parcels.len() < PARCELS {
            self.parcels.push(parcel);
        }
        Some(GivenBack { peer: peer?.id, bytes: buffer.len(), buffer })
    }

    fn traffic(&self) -> Traffic {
        self.traffic
    }

    fn peers(&self) -> usize {
        let peers = self.sockets.iter().map(|listener| &listener.peers);
        peers.map(|peers| peers.young.len() + peers.old.len()).sum()
    }
}

/// What a monitor tells.
enum Heard {
    Opened,
    Closed,
}

/// What a receive found.
enum Received {
    Nothing,
    /// A message of a form that is not served.
    Odd,
    Message {
        delimited: bool,
    },
}

impl Listener {
    /// What became of which connection, if something did.
    fn heard(&self) -> Option<(Heard, i32)> {
        loop {
            let frames = self.monitor.recv_multipart(DONTWAIT).ok()?;
            // Number of the event and descriptor; the second frame has the endpoint.
            let [e0, e1, f0, f1, f2, f3] = frames.first()?[..] else { continue };
            let event = u16::from_ne_bytes([e0, e1]);
            let fd = i32::from_ne_bytes([f0, f1, f2, f3]);
            if event == zmq::SocketEvent::ACCEPTED.to_raw() {
                return Some((Heard::Opened, fd));
            }
            if event == zmq::SocketEvent::DISCONNECTED.to_raw() {
                return Some((Heard::Closed, fd));
            }
        }
    }

    fn receive(&self, identity: &mut Message, payload: &mut Message) -> Received {
        if !self.frame(identity) {
            return Received::Nothing;
        }
        // The frames of a message arrive together: from here on there is one for each promise.
        let mut delimited = false;
        let mut whole = identity.get_more() && self.frame(payload);
        if whole && payload.is_empty() && payload.get_more() {
            delimited = true;
            whole = self.frame(payload);
        }
        while whole && payload.get_more() {
            whole = false;
            while payload.get_more() && self.frame(payload) {}
        }
        if whole { Received::Message { delimited } } else { Received::Odd }
    }

    /// Receives a frame, if there is one.
    fn frame(&self, frame: &mut Message) -> bool {
        loop {
            match self.socket.recv(frame, DONTWAIT) {
                Ok(()) => return true,
                Err(Error::EAGAIN) => return false,
                Err(Error::EINTR) => {}
                Err(error) => {
                    log::error!("cannot receive at {}: {error}", self.endpoint);
                    return false;
                }
            }
        }
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
    fn lend(
        &mut self,
        peer: &Arc<Peer>,
        delimited: bool,
        payload: &mut Vec<u8>,
        mut parcel: Box<Parcel>,
    ) -> Result<(), Error> {
        self.address(&peer.route.identity, delimited)?;
        peer.lent.fetch_add(payload.len(), Relaxed);
        std::mem::swap(&mut parcel.payload, payload);
        parcel.peer = Some(Arc::clone(peer));
        // One that was not sent was given back all the same.
        if os::lend(&mut self.socket, parcel) { Ok(()) } else { Err(Error::EHOSTUNREACH) }
    }

    /// The peer that `identity`, the first frame of a message, is from.
    fn peer(&mut self, identity: &mut Message, delimited: bool) -> Arc<Peer> {
        // libzmq's own identities start with 0, and each is given to one connection only. One that a
        // client chose may come back from elsewhere.
        let chosen = identity.first() != Some(&0);
        let mut from = if chosen { address(identity) } else { None };
        if let Some(peer) = self.peers.get(identity)
            && peer.route.delimited == delimited
            && (!chosen || (peer.address == from && peer.route.fd == descriptor(identity)))
        {
            return peer;
        }
        if !chosen {
            from = address(identity);
        }
        let local = match self.endpoint {
            Endpoint::Ipc(_) => true,
            Endpoint::Tcp { .. } => from.is_some_and(|from| from.is_loopback()),
        };
        let kind = if local { PrincipalKind::Local } else { PrincipalKind::Address };
        let principal = Principal {
            kind,
            name: String::new(),
            address: from.map(|from| from.to_string()).unwrap_or_default(),
        };
        let fd = descriptor(identity);
        let identity: Box<[u8]> = identity[..].into();
        let route = Route { socket: self.id, identity: identity.clone(), fd, delimited };
        let peer = Peer::new(principal, from, route);
        log::debug!("{} calls from '{}'", self.address, peer.principal.address);
        self.peers.insert(identity, Arc::clone(&peer));
        peer
    }
}

/// Whether somebody answers at a path already: libzmq would take it from him, unseen.
fn is_taken(endpoint: &Endpoint) -> bool {
    match endpoint {
        Endpoint::Ipc(path) => UnixStream::connect(path).is_ok(),
        Endpoint::Tcp { .. } => false,
    }
}

/// The descriptor of a message's connection, under libzmq's own name for it.
fn descriptor(frame: &mut Message) -> Option<i32> {
    frame.gets("__fd")?.parse().ok()
}

/// Where the connection of a message comes from. For a local socket libzmq tells numbers of user and
/// process instead.
fn address(frame: &mut Message) -> Option<IpAddr> {
    let address: IpAddr = frame.gets("Peer-Address")?.parse().ok()?;
    Some(address.to_canonical())
}

/// The peers of a socket by identity: those of the last messages, and of some before.
///
/// libzmq does not say when a connection ends, so they are kept in two generations, of which the older
/// is dropped when the younger is full. Whoever has not called for long is looked at again.
#[derive(Default)]
struct Peers {
    young: HashMap<Box<[u8]>, Arc<Peer>>,
    old: HashMap<Box<[u8]>, Arc<Peer>>,
}

impl Peers {
    fn get(&mut self, identity: &[u8]) -> Option<Arc<Peer>> {
        if let Some(peer) = self.young.get(identity) {
            return Some(Arc::clone(peer));
        }
        let (identity, peer) = self.old.remove_entry(identity)?;
        self.insert(identity, Arc::clone(&peer));
        Some(peer)
    }

    fn insert(&mut self, identity: Box<[u8]>, peer: Arc<Peer>) {
        if self.young.len() >= REMEMBERED / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(identity, peer);
    }

    fn forget(&mut self, identity: &[u8]) {
        self.young.remove(identity);
        self.old.remove(identity);
    }
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
