//! What the session knows of a call while it holds it, and while it runs.

use crate::{CallId, Effect, Executed, Legacy, PeerId, Refusal, Uptime, lease::LeaseToken};

/// A call without its job.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each may be so whatever the others are")]
pub(crate) struct Call {
    pub(crate) peer: PeerId,
    pub(crate) id: Option<CallId>,
    pub(crate) expires: Option<Uptime>,
    pub(crate) lease: Option<LeaseToken>,
    pub(crate) effect: Effect,
    /// What its reply is known to weigh.
    pub(crate) bulk: usize,
    /// Its connection is gone: there is nobody to reply to.
    pub(crate) gone: bool,
    /// Its client took it back while it ran.
    pub(crate) cancelled: bool,
    /// It ran until it gave its object back.
    pub(crate) begun: bool,
    /// Its connection has it in progress.
    pub(crate) counted: bool,
}

impl Call {
    /// A call that has just come.
    pub(crate) fn new(
        peer: PeerId,
        id: Option<CallId>,
        expires: Option<Uptime>,
        lease: Option<LeaseToken>,
        effect: Effect,
        bulk: usize,
    ) -> Self {
        let (gone, cancelled, begun, counted) = (false, false, false, false);
        Self { peer, id, expires, lease, effect, bulk, gone, cancelled, begun, counted }
    }

    /// The name under which it must not run twice, if it has one: reads may be repeated.
    pub(crate) fn kept_id(&self) -> Option<CallId> {
        self.id.filter(|_| self.effect != Effect::Read)
    }

    /// Whether it must not start, or go on, any more.
    pub(crate) fn is_expired(&self, now: Uptime) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// What has run of it if it is dropped while it is not in hand.
    ///
    /// A call that waits has run in part, and how much that changed is known to its driver alone; a
    /// read changes nothing, so it may be said not to have run, and may be repeated.
    pub(crate) fn executed_if_dropped(&self) -> Executed {
        if self.begun && self.effect != Effect::Read { Executed::Unknown } else { Executed::No }
    }

    /// Whether it may be dropped where it waits: nothing is left half done.
    pub(crate) fn is_safe_to_drop(&self) -> bool {
        self.executed_if_dropped() == Executed::No
    }
}

impl Legacy {
    /// Why the call is refused if it is an old client's, and old clients must not make it.
    pub(crate) fn refusal(self, call: &Call) -> Option<Refusal> {
        match self {
            _ if call.id.is_some() => None,
            Legacy::ReadWrite => None,
            Legacy::ReadOnly if call.effect == Effect::Read => None,
            Legacy::ReadOnly => Some(Refusal::LegacyReadOnly),
            Legacy::Off => Some(Refusal::LegacyOff),
        }
    }
}
