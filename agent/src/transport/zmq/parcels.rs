//! Large payloads that libzmq has until they have left, and their way back.

use crate::{bell::Bell, os, transport::Peer};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed};

/// Parcels that are kept to be used again.
const KEPT: usize = 64;

/// A large payload on its way, and whose it is; none in one that is kept.
pub(super) struct Parcel {
    pub(super) payload: Vec<u8>,
    pub(super) peer: Option<Arc<Peer>>,
    returns: Arc<Returns>,
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

#[allow(clippy::vec_box, reason = "they travel in their boxes")]
type Boxes = Vec<Box<Parcel>>;

/// Where libzmq's threads put parcels that have left.
struct Returns {
    bell: Arc<Bell>,
    parcels: Mutex<Boxes>,
}

impl Returns {
    fn lock(&self) -> MutexGuard<'_, Boxes> {
        self.parcels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Those of a socket.
pub(super) struct Parcels {
    returns: Arc<Returns>,
    kept: Boxes,
}

impl Parcels {
    /// Those that come back ring `bell`.
    pub(super) fn new(bell: Arc<Bell>) -> Self {
        let parcels = Mutex::new(Vec::with_capacity(KEPT));
        Self { returns: Arc::new(Returns { bell, parcels }), kept: Vec::with_capacity(KEPT) }
    }

    /// One that holds `payload`, for `peer`; what is left in its place is empty.
    #[allow(clippy::unnecessary_box_returns, reason = "it travels in its box")]
    pub(super) fn pack(&mut self, peer: &Arc<Peer>, payload: &mut Vec<u8>) -> Box<Parcel> {
        let returns = &self.returns;
        let empty =
            || Box::new(Parcel { payload: Vec::new(), peer: None, returns: Arc::clone(returns) });
        let mut parcel = self.kept.pop().unwrap_or_else(empty);
        peer.lent.fetch_add(payload.len(), Relaxed);
        std::mem::swap(&mut parcel.payload, payload);
        parcel.peer = Some(Arc::clone(peer));
        parcel
    }

    /// One that came back: whose it was, and what it held.
    pub(super) fn unpack(&mut self) -> Option<(Arc<Peer>, Vec<u8>)> {
        let mut parcel = self.returns.lock().pop()?;
        let payload = std::mem::take(&mut parcel.payload);
        let peer = parcel.peer.take();
        if self.kept.len() < KEPT {
            self.kept.push(parcel);
        }
        Some((peer?, payload))
    }

    /// The bell that is rung.
    pub(super) fn bell(&self) -> &Bell {
        &self.returns.bell
    }
}
