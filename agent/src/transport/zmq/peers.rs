//! Who called lately.

use crate::transport::Peer;
use std::{collections::HashMap, sync::Arc};

/// Connections whose peers are remembered without another look: half of them at least, all at most.
const REMEMBERED: usize = 8192;

/// The peers of a socket by identity: those of the last messages, and of some before.
///
/// libzmq does not tell of all connections that end: of those that it closes with a listener it says
/// nothing. So they are kept in two generations, of which the older is dropped when the younger is full.
/// Whoever has not called for long is looked at again.
#[derive(Default)]
pub(super) struct Peers {
    young: HashMap<Box<[u8]>, Arc<Peer>>,
    old: HashMap<Box<[u8]>, Arc<Peer>>,
}

impl Peers {
    pub(super) fn get(&mut self, identity: &[u8]) -> Option<Arc<Peer>> {
        if let Some(peer) = self.young.get(identity) {
            return Some(Arc::clone(peer));
        }
        let (identity, peer) = self.old.remove_entry(identity)?;
        self.insert(identity, Arc::clone(&peer));
        Some(peer)
    }

    pub(super) fn insert(&mut self, identity: Box<[u8]>, peer: Arc<Peer>) {
        if self.young.len() >= REMEMBERED / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(identity, peer);
    }

    pub(super) fn forget(&mut self, identity: &[u8]) -> Option<Arc<Peer>> {
        self.young.remove(identity).or_else(|| self.old.remove(identity))
    }

    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}
