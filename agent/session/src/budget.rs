//! What one connection may have in progress, and what it may leave unread.

use crate::{PeerId, Refusal};
use std::collections::HashMap;

/// What one connection may have; unlimited unless told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Calls that have come and not been answered.
    pub in_flight: usize,
    /// Bytes of replies that were sent, and not yet reported with [`crate::Event::Taken`]. A call that
    /// comes, or whose turn comes, while there are so many or more is refused; so a connection can
    /// hold this and one reply of each object.
    pub unread_bytes: usize,
    /// The same for all connections together. A reply that would go beyond it is dropped, unless it is
    /// the only one; a call that is known to have a large reply is refused before.
    pub all_unread_bytes: usize,
    /// Replies below this are not counted: the transport bounds how many of them there can be.
    pub counted_from: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            in_flight: usize::MAX,
            unread_bytes: usize::MAX,
            all_unread_bytes: usize::MAX,
            counted_from: 0,
        }
    }
}

#[derive(Debug, Default)]
struct Load {
    in_flight: usize,
    unread_bytes: usize,
}

/// The load of every connection that has any.
#[derive(Debug, Default)]
pub(crate) struct Loads {
    pub(crate) budget: Budget,
    peers: HashMap<PeerId, Load>,
    /// What all of them have not taken.
    unread_bytes: usize,
}

impl Loads {
    /// Why the connection may have no more calls, if it may not.
    pub(crate) fn refusal(&self, peer: PeerId) -> Option<Refusal> {
        let limit = self.budget.in_flight;
        let is_full = self.peers.get(&peer).is_some_and(|load| load.in_flight >= limit);
        is_full.then_some(Refusal::TooManyInFlight { limit })
    }

    /// Why the connection may have no more replies, if it may not; `bulk` is
    /// what the next one is known to weigh.
    pub(crate) fn unread(&self, peer: PeerId, bulk: usize) -> Option<Refusal> {
        let limit = self.budget.unread_bytes;
        let is_full = self.peers.get(&peer).is_some_and(|load| load.unread_bytes >= limit);
        is_full.then_some(Refusal::RepliesUnread { limit }).or_else(|| self.no_room(bulk))
    }

    /// Why there is no room for a reply of so many bytes, if there is none.
    pub(crate) fn no_room(&self, bytes: usize) -> Option<Refusal> {
        let limit = self.budget.all_unread_bytes;
        let alone = self.unread_bytes == 0 || bytes == 0 || bytes < self.budget.counted_from;
        (!alone && self.unread_bytes.saturating_add(bytes) > limit)
            .then_some(Refusal::NoRoom { limit })
    }

    /// What all connections together have not taken.
    pub(crate) fn unread_bytes(&self) -> usize {
        self.unread_bytes
    }

    /// A call of the connection is in progress.
    pub(crate) fn open(&mut self, peer: PeerId) {
        // Without a limit nobody asks how many there are.
        if self.budget.in_flight < usize::MAX {
            self.peers.entry(peer).or_default().in_flight += 1;
        }
    }

    /// A call of the connection has ended.
    pub(crate) fn close(&mut self, peer: PeerId) {
        self.lighten(peer, |load| load.in_flight = load.in_flight.saturating_sub(1));
    }

    /// So many bytes were sent.
    pub(crate) fn sent(&mut self, peer: PeerId, bytes: usize) {
        // Without a limit nobody reports what was taken.
        let Budget { unread_bytes, all_unread_bytes, counted_from, .. } = self.budget;
        if unread_bytes.min(all_unread_bytes) < usize::MAX && bytes >= counted_from {
            self.unread_bytes += bytes;
            self.peers.entry(peer).or_default().unread_bytes += bytes;
        }
    }

    /// So many bytes were taken.
    pub(crate) fn taken(&mut self, peer: PeerId, bytes: usize) {
        if bytes >= self.budget.counted_from {
            let unread = self.peers.get(&peer).map_or(0, |load| load.unread_bytes);
            self.unread_bytes -= unread.min(bytes);
            self.lighten(peer, |load| load.unread_bytes = load.unread_bytes.saturating_sub(bytes));
        }
    }

    /// The connection is gone. What it was sent still lies somewhere: it is reported as taken when it
    /// is thrown away.
    pub(crate) fn gone(&mut self, peer: PeerId) {
        self.lighten(peer, |load| load.in_flight = 0);
    }

    fn lighten(&mut self, peer: PeerId, what: impl Fn(&mut Load)) {
        let Some(load) = self.peers.get_mut(&peer) else { return };
        what(load);
        if load.in_flight == 0 && load.unread_bytes == 0 {
            self.peers.remove(&peer);
        }
    }
}
