//! The seam between the router and whatever carries messages.
//!
//! ```text
//! clients  <-->  transport/zmq.rs     <-->  router
//! tests    <-->  transport/memory.rs  <-->  router
//! ```
//!
//! For the author of a transport: it runs on the router's thread only, never waits for a peer, and
//! counts what it has to drop.

mod connections;
pub mod memory;
pub mod zmq;

use crate::{access::Networks, bell::Bell, config::Endpoint};
use proximity_proto::{Principal, object::PrincipalKind};
use proximity_session::PeerId;
use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

/// Carries messages between the router and its peers.
pub trait Transport: Send {
    /// Waits for something to happen, at most until `timeout` is over, and not at all once `bell` was
    /// rung.
    ///
    /// A message is put into `request`, which is emptied before. Whoever waits for more than one thing
    /// gets the rest by asking again.
    fn next(&mut self, bell: &Bell, timeout: Option<Duration>, request: &mut Vec<u8>) -> Event;

    /// Sends `payload` to `peer`, or does nothing: never waits.
    ///
    /// Takes the memory of a payload of [`LENT`] bytes or more, and gives it back by
    /// [`Transport::given_back`] once it has left.
    fn try_send(&mut self, peer: &Arc<Peer>, payload: &mut Vec<u8>) -> Sent;

    /// Listens at `endpoints`, and nowhere else from now on. Where it listened before, it goes on
    /// without a break. No message beyond `max_frame` bytes is taken from a new connection.
    ///
    /// Returns for each endpoint how clients reach it.
    ///
    /// # Errors
    ///
    /// [`ListenError`] for the first endpoint that cannot be had; all is as it was before.
    fn listen(
        &mut self,
        endpoints: &[Endpoint],
        max_frame: usize,
    ) -> Result<Vec<String>, ListenError>;

    /// The longest request in bytes that is taken at every endpoint: each keeps to what was said when it was new.
    fn max_frame(&self) -> usize;

    /// Serves so many connections from now on, those first that came first.
    fn set_connections(&mut self, most: usize);

    /// Whether the peer's connection is one of those.
    fn serves(&mut self, peer: &Peer) -> bool;

    /// A payload that has left, or was thrown away with its connection. Rings the bell when there is one.
    fn given_back(&mut self) -> Option<GivenBack>;

    /// What has passed, and what has not.
    fn traffic(&self) -> Traffic;

    /// How many connections there are, as far as it can tell: those that called lately.
    fn peers(&self) -> usize;
}

/// Messages from this size on are lent to the transport until they have left, and counted until then.
/// Smaller ones are copied; the transport bounds how many of them can be on their way.
pub const LENT: usize = 64 << 10;

/// What [`Transport::next`] waited for.
#[derive(Debug)]
pub enum Event {
    /// A message came.
    Request(Arc<Peer>),
    /// A connection is gone. A transport that cannot see it tells by [`Sent::Gone`].
    Gone(Arc<Peer>),
    /// The bell was rung, the time is over, or nothing happened after all.
    Idle,
}

/// A payload of [`LENT`] bytes or more that is no longer on its way.
#[derive(Debug)]
pub struct GivenBack {
    /// Whose it was.
    pub peer: PeerId,
    /// How many bytes.
    pub bytes: usize,
    /// Its memory, to be used again.
    pub buffer: Vec<u8>,
}

/// What became of a message to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is on its way.
    Sent,
    /// The peer does not read what it was sent before. Nothing was sent; it may be tried again.
    Full,
    /// The peer is gone.
    Gone,
}

/// An endpoint that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen at {endpoint}")]
pub struct ListenError {
    /// Which.
    pub endpoint: String,
    /// Why.
    pub source: std::io::Error,
}

/// Counters of a transport.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Messages received.
    pub received: u64,
    /// Messages sent.
    pub sent: u64,
    /// Bytes of those received.
    pub received_bytes: u64,
    /// Bytes of those sent.
    pub sent_bytes: u64,
    /// Messages dropped because they were of a form that is not served.
    pub odd: u64,
    /// Messages that could not be sent because their peer was gone.
    pub unreachable: u64,
    /// Times that a message could not be sent because its peer had not read those before it.
    pub full: u64,
}

/// One connection of a client, as far as the transport can tell connections apart.
#[derive(Debug)]
pub struct Peer {
    /// Its name in the session.
    pub id: PeerId,
    /// Who it is.
    pub principal: Principal,
    /// The network address that it comes from; `None` if it has none, or none that is known.
    pub address: Option<IpAddr>,
    /// How many bytes are lent to the transport for it.
    lent: Arc<AtomicUsize>,
    /// Its connection is one of those that are served, and stays so.
    served: AtomicBool,
    /// How the transport reaches it.
    route: Route,
}

/// How libzmq names a connection.
type Identity = [u8; 5];

/// How a transport reaches a peer.
#[derive(Debug, PartialEq, Eq)]
struct Route {
    /// Which connection.
    identity: Identity,
    /// Its descriptor, where that is known.
    fd: Option<i32>,
    /// Whether an empty frame stands before each message, as a REQ socket puts it.
    delimited: bool,
}

impl Peer {
    fn new(principal: Principal, address: Option<IpAddr>, route: Route) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = PeerId(NEXT.fetch_add(1, Relaxed));
        let (lent, served) = (Arc::default(), AtomicBool::new(false));
        Arc::new(Self { id, principal, address, lent, served, route })
    }

    /// The same one, whose messages now come with an empty frame before them, or without.
    fn in_form(&self, delimited: bool) -> Arc<Self> {
        let (id, principal, address) = (self.id, self.principal.clone(), self.address);
        let (lent, served) = (Arc::clone(&self.lent), AtomicBool::new(self.served.load(Relaxed)));
        let route = Route { identity: self.route.identity, fd: self.route.fd, delimited };
        Arc::new(Self { id, principal, address, lent, served, route })
    }

    /// One that no transport reaches.
    #[cfg(test)]
    pub(crate) fn nobody() -> Arc<Self> {
        let route = Route { identity: Identity::default(), fd: None, delimited: false };
        Self::new(Principal::local(), None, route)
    }

    /// How many bytes are on their way to it.
    pub(crate) fn lent(&self) -> usize {
        self.lent.load(Relaxed)
    }

    /// Whether it may come unencrypted: from this machine, or from one of `networks`.
    pub(crate) fn may_come(&self, networks: &Networks) -> bool {
        self.principal.kind == PrincipalKind::Local
            || self.address.is_some_and(|address| networks.allows(address))
    }
}
