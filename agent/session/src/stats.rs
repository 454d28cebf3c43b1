//! Counters.

use crate::Refusal;

/// What has happened since the agent started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Calls that came.
    pub requests: u64,
    /// Calls that were started (once, however often they were resumed).
    pub started: u64,
    /// Those of them that the router ran itself.
    pub inline: u64,
    /// Final replies of methods.
    pub replied: u64,
    /// Copies of calls that had ended, answered as those were.
    pub repeated: u64,
    /// Calls dropped without a reply.
    pub forgotten: u64,
    /// Calls in hand that were told to end.
    pub interrupted: u64,
    /// Calls that gave their object back to wait, each time.
    pub waited: u64,
    /// Ends of calls that were not in hand: a fault of the agent.
    pub stray: u64,
    /// Calls refused, by reason.
    pub refused: Refused,
}

/// Refused calls by reason; see [`Refusal`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each counts the variant of Refusal that it is named after")]
pub struct Refused {
    pub busy: u64,
    pub stale_epoch: u64,
    pub expired: u64,
    pub cancelled: u64,
    pub draining: u64,
    pub removed: u64,
    pub panicked: u64,
    pub failed: u64,
    pub locked: u64,
    pub lease_lost: u64,
    pub too_old: u64,
    pub reply_not_kept: u64,
    pub too_many_in_flight: u64,
    pub replies_unread: u64,
    pub no_room: u64,
    pub too_many_clients: u64,
    pub legacy: u64,
}

impl Refused {
    /// One more.
    pub(crate) fn count(&mut self, why: &Refusal) {
        *match why {
            Refusal::Busy { .. } => &mut self.busy,
            Refusal::StaleEpoch => &mut self.stale_epoch,
            Refusal::Expired => &mut self.expired,
            Refusal::Cancelled => &mut self.cancelled,
            Refusal::Draining => &mut self.draining,
            Refusal::Removed => &mut self.removed,
            Refusal::Panicked => &mut self.panicked,
            Refusal::Failed => &mut self.failed,
            Refusal::Locked { .. } => &mut self.locked,
            Refusal::LeaseLost => &mut self.lease_lost,
            Refusal::TooOld => &mut self.too_old,
            Refusal::ReplyNotKept => &mut self.reply_not_kept,
            Refusal::TooManyInFlight { .. } => &mut self.too_many_in_flight,
            Refusal::RepliesUnread { .. } => &mut self.replies_unread,
            Refusal::NoRoom { .. } => &mut self.no_room,
            Refusal::TooManyClients => &mut self.too_many_clients,
            Refusal::LegacyReadOnly | Refusal::LegacyOff => &mut self.legacy,
        } += 1;
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.busy
            + self.stale_epoch
            + self.expired
            + self.cancelled
            + self.draining
            + self.removed
            + self.panicked
            + self.failed
            + self.locked
            + self.lease_lost
            + self.too_old
            + self.reply_not_kept
            + self.too_many_in_flight
            + self.replies_unread
            + self.no_room
            + self.too_many_clients
            + self.legacy
    }
}
