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
}

impl Default for Budget {
    fn default() -> Self {
        Self { in_flight: usize::MAX, unread_bytes: usize::MAX }
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
    loads: HashMap<PeerId, Load>,
}

impl Loads {
    /// Why the connection may have no more calls, if it may not.
    pub(crate) fn refusal(&self, peer: PeerId) -> Option<Refusal> {
        let limit = self.budget.in_flight;
        let is_full = self.loads.get(&peer).is_some_and(|load| load.in_flight >= limit);
        is_full.then_some(Refusal::TooManyInFlight { limit }).or_else(|| self.unread(peer))
    }

    /// Why the connection may have no more replies, if it may not.
    pub(crate) fn unread(&self, peer: PeerId) -> Option<Refusal> {
        let limit = self.budget.unread_bytes;
        let is_full = self.loads.get(&peer).is_some_and(|load| load.unread_bytes >= limit);
        is_full.then_some(Refusal::RepliesUnread { limit })
    }

    /// A call of the connection is in progress.
    pub(crate) fn open(&mut self, peer: PeerId) {
        // Without a limit nobody asks how many there are.
        if self.budget.in_flight < usize::MAX {
            self.loads.entry(peer).or_default().in_flight += 1;
        }
    }

    /// A call of the connection has ended.
    pub(crate) fn close(&mut self, peer: PeerId) {
        self.lighten(peer, |load| load.in_flight = load.in_flight.saturating_sub(1));
    }

    /// So many bytes were sent.
    pub(crate) fn sent(&mut self, peer: PeerId, bytes: usize) {
        // Without a limit nobody reports what was taken.
        if self.budget.unread_bytes < usize::MAX {
            self.loads.entry(peer).or_default().unread_bytes += bytes;
        }
    }

    /// So many bytes were taken.
    pub(crate) fn taken(&mut self, peer: PeerId, bytes: usize) {
        self.lighten(peer, |load| load.unread_bytes = load.unread_bytes.saturating_sub(bytes));
    }

    /// The connection is gone.
    pub(crate) fn gone(&mut self, peer: PeerId) {
        self.loads.remove(&peer);
    }

    fn lighten(&mut self, peer: PeerId, what: impl Fn(&mut Load)) {
        let Some(load) = self.loads.get_mut(&peer) else { return };
        what(load);
        if load.in_flight == 0 && load.unread_bytes == 0 {
            self.loads.remove(&peer);
        }
    }
}
