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
    pub expires_too_far: u64,
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
            Refusal::Panicked { .. } => &mut self.panicked,
            Refusal::Failed => &mut self.failed,
            Refusal::Locked { .. } => &mut self.locked,
            Refusal::LeaseLost => &mut self.lease_lost,
            Refusal::TooOld => &mut self.too_old,
            Refusal::ReplyNotKept => &mut self.reply_not_kept,
            Refusal::TooManyInFlight { .. } => &mut self.too_many_in_flight,
            Refusal::RepliesUnread { .. } => &mut self.replies_unread,
            Refusal::NoRoom { .. } => &mut self.no_room,
            Refusal::TooManyClients => &mut self.too_many_clients,
            Refusal::ExpiresTooFar { .. } => &mut self.expires_too_far,
            Refusal::LegacyReadOnly | Refusal::LegacyOff => &mut self.legacy,
        } += 1;
    }

    /// Each reason by its name.
    pub fn by_reason(&self) -> [(&'static str, u64); 18] {
        // All of them, or it does not compile.
        let Self {
            busy,
            stale_epoch,
            expired,
            cancelled,
            draining,
            removed,
            panicked,
            failed,
            locked,
            lease_lost,
            too_old,
            reply_not_kept,
            too_many_in_flight,
            replies_unread,
            no_room,
            too_many_clients,
            expires_too_far,
            legacy,
        } = *self;
        [
            ("busy", busy),
            ("stale_epoch", stale_epoch),
            ("expired", expired),
            ("cancelled", cancelled),
            ("draining", draining),
            ("removed", removed),
            ("panicked", panicked),
            ("failed", failed),
            ("locked", locked),
            ("lease_lost", lease_lost),
            ("too_old", too_old),
            ("reply_not_kept", reply_not_kept),
            ("too_many_in_flight", too_many_in_flight),
            ("replies_unread", replies_unread),
            ("no_room", no_room),
            ("too_many_clients", too_many_clients),
            ("expires_too_far", expires_too_far),
            ("legacy", legacy),
        ]
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.by_reason().iter().map(|(_, count)| count).sum()
    }
}
