//! What goes into the session core, and what comes out.

use crate::lease::{Holder, LeaseToken};
use core::time::Duration;
use proximity_proto::{
    Effect,
    call::CallId,
    fault::{Executed, Reason},
    limits::MAX_AHEAD,
};
use std::borrow::Cow;

/// Time since the agent started, on its monotonic clock; the wire's `expires` in another unit.
pub type Uptime = Duration;

/// One connection of a client. Never given to another connection during a run of the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u64);

/// An object of this session, as [`crate::Session::add_object`] gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(pub(crate) u32);

impl ObjectId {
    /// A small number, unique in the session and dense from 0, for the router's own tables.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What the router hangs on a call: the request, where its reply goes, and the reply's buffer.
///
/// The session hands it out to be run and takes it back; it looks at the reply only to repeat it for a
/// client that asks again.
pub trait Job {
    /// The finished final reply, as any connection of the same client may get it.
    fn reply(&self) -> &[u8];

    /// Makes `reply` this job's finished reply: the call has run before, under the same id.
    fn repeat(&mut self, reply: &[u8]);
}

/// One call, read from the wire.
///
/// Write it as `Request { id, .., ..Request::new(peer, object, effect, job) }`: what is left out is
/// what an old client's call has.
#[derive(Clone, Debug)]
pub struct Request<J> {
    /// Where it came from.
    pub peer: PeerId,
    /// Its name; an old client gives none.
    pub id: Option<CallId>,
    /// The run of the agent that it is meant for; an old client does not say.
    pub epoch: Option<u64>,
    /// When it must not start any more; an old client does not say.
    pub expires: Option<Uptime>,
    /// The lease that it is made under, if its client has one.
    pub lease: Option<LeaseToken>,
    /// What it calls.
    pub object: ObjectId,
    /// What the method does to the device.
    pub effect: Effect,
    /// Whether it takes less time than to hand it to a worker.
    pub quick: bool,
    /// What its reply is known to weigh; 0 where that is not known, or not much.
    pub bulk: usize,
    /// The rest, which the session does not look at.
    pub job: J,
}

impl<J> Request<J> {
    /// An old client's call: without id, epoch and deadline, not quick.
    pub fn new(peer: PeerId, object: ObjectId, effect: Effect, job: J) -> Self {
        let (id, epoch, expires, lease) = (None, None, None, None);
        Self { peer, id, epoch, expires, lease, object, effect, quick: false, bulk: 0, job }
    }
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event<J> {
    /// A call came.
    Request(Request<J>),
    /// The call in hand has ended, well or not; its final reply is in the job. Frees the object.
    Done {
        /// Whose call.
        object: ObjectId,
        /// With the reply.
        job: J,
    },
    /// The worker found the [`Action::Start::deadline`] passed, or the call cancelled, right before it
    /// would have run: nothing ran. Frees the object.
    Lapsed {
        /// Whose call.
        object: ObjectId,
        /// Without a reply.
        job: J,
    },
    /// The call in hand only waits: other calls may run, and it wants to go on at `until`. Frees the
    /// object.
    Waiting {
        /// Whose call.
        object: ObjectId,
        /// With what is to run then.
        job: J,
        /// When.
        until: Uptime,
    },
    /// The call in hand panicked, or its object broke under it: the object is no longer to be trusted.
    Panicked {
        /// Whose call.
        object: ObjectId,
        /// Without a reply.
        job: J,
        /// Whether the call has run; after a panic nobody knows.
        executed: Executed,
        /// The class of the error that its caller is told.
        class: Cow<'static, str>,
        /// The reason that he is told, if any.
        reason: Option<Reason>,
    },
    /// The object was reopened after a panic, or could not be.
    Reopened {
        /// Which.
        object: ObjectId,
        /// Whether it can be used again.
        ok: bool,
    },
    /// A client takes a call back.
    Cancel {
        /// The call.
        id: CallId,
        /// The cancel request itself, which gets [`Action::Cancelled`].
        job: J,
    },
    /// A connection is gone.
    PeerGone {
        /// Which.
        peer: PeerId,
    },
    /// A connection has taken so many bytes of the replies that it was sent, or they were thrown away;
    /// needed only where [`crate::Budget`] limits them.
    Taken {
        /// Which.
        peer: PeerId,
        /// How many.
        bytes: usize,
    },
    /// Nothing but time has passed; due at [`crate::Session::next_wake`], harmless at any time.
    Tick,
    /// The agent shall stop: takes no more calls, refuses those that have not started.
    Drain,
    /// The configuration no longer has the object: the same for its calls alone.
    RemoveObject {
        /// Which.
        object: ObjectId,
    },
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action<J> {
    /// Run the call, and report [`Event::Done`], [`Event::Lapsed`], [`Event::Waiting`] or
    /// [`Event::Panicked`]. The object's cancel flag is to be cleared before.
    Start {
        /// On what.
        object: ObjectId,
        /// The call, to be given back.
        job: J,
        /// By whom.
        place: Place,
        /// Checked once more right before the device is touched: the call must not start (or go on)
        /// at this time or later.
        deadline: Option<Uptime>,
    },
    /// Send the job's finished reply.
    Reply {
        /// With the reply.
        job: J,
    },
    /// Answer that the agent itself ended the call.
    Refuse {
        /// The call.
        job: J,
        /// Why.
        why: Refusal,
        /// Whether it has run.
        executed: Executed,
    },
    /// Answer a cancel request.
    Cancelled {
        /// The cancel request.
        job: J,
        /// What became of the call that it named.
        how: HowCancelled,
    },
    /// Raise the cancel flag of the object's call in hand.
    Interrupt {
        /// Whose.
        object: ObjectId,
    },
    /// Drop the job without a reply: its connection is gone, or a copy of it came later.
    Forget {
        /// The call.
        job: J,
    },
    /// Close the object and open it anew, then report [`Event::Reopened`].
    Reopen {
        /// Which.
        object: ObjectId,
    },
    /// Nothing of a removed object is left: close it for good, end its worker.
    Retire {
        /// Which.
        object: ObjectId,
    },
    /// Nothing is left of any object after [`Event::Drain`]: exit.
    Drained,
}

/// Who runs a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The router itself, which reports the end before any other event: the call is quick, and the
    /// object was idle.
    Inline,
    /// The object's worker.
    Worker,
}

/// What became of a call that its client takes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HowCancelled {
    /// It had not been started, and was refused.
    Queued,
    /// It had given its object back to wait, and was refused where it stood.
    Waiting,
    /// It runs, and was told; its own reply tells how it ended.
    Running,
    /// The session does not hold it: it never came, or has ended.
    Unknown,
}

/// Why the agent ended a call itself.
///
/// Said of the message that it answers. For a client that sent several copies of one call,
/// [`Refusal::covers_copies`] tells whether it holds for all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The object has as many calls behind the one in hand as it may have.
    Busy {
        /// How many.
        limit: usize,
    },
    /// The call was made for an earlier run of the agent.
    StaleEpoch,
    /// Its deadline passed before it could run, or before it could go on.
    Expired,
    /// Its client took it back.
    Cancelled,
    /// The agent stops.
    Draining,
    /// The object was taken out of the configuration.
    Removed,
    /// The call panicked, or its object broke under it.
    Panicked {
        /// The class of the error that its caller was told.
        class: Cow<'static, str>,
        /// The reason that he was told, if any.
        reason: Option<Reason>,
    },
    /// A call before it panicked, and the object could not be opened again; or the call was waiting
    /// when that happened.
    Failed,
    /// Somebody else has the object's lease.
    Locked {
        /// Who, as the router named him.
        holder: Holder,
        /// When the lease ends unless it is renewed.
        expires_in: Duration,
    },
    /// The call names a lease which has ended, or was taken away.
    LeaseLost,
    /// Its number lies before all that is remembered of its client.
    TooOld,
    /// It has run, and its reply was too large to be kept.
    ReplyNotKept,
    /// The connection has as many calls in progress as it may have.
    TooManyInFlight {
        /// How many.
        limit: usize,
    },
    /// The connection has not taken the replies that it was sent.
    RepliesUnread {
        /// How many bytes it may leave unread.
        limit: usize,
    },
    /// All connections together have not taken the replies that they were sent.
    NoRoom {
        /// How many bytes they may leave unread.
        limit: usize,
    },
    /// More clients called within their deadlines than can be remembered.
    TooManyClients,
    /// Its deadline lies further ahead than [`MAX_AHEAD`]: its client would have to be remembered for
    /// as long.
    ExpiresTooFar {
        /// How far.
        ahead: Duration,
    },
    /// Old clients may only read here.
    LegacyReadOnly,
    /// Old clients are not served here.
    LegacyOff,
}

impl Refusal {
    /// Whether "not executed" for this reason is said of every copy of the call, not only of the one
    /// that it answers.
    ///
    /// Where it is not, a client that has sent the call before must take the outcome for unknown: an
    /// earlier copy may have run, before the agent was restarted, or so long ago that it is forgotten,
    /// or with another deadline.
    pub fn covers_copies(&self) -> bool {
        use Refusal::{Expired, ExpiresTooFar, StaleEpoch, TooManyClients, TooOld};
        !matches!(self, StaleEpoch | Expired | TooOld | TooManyClients | ExpiresTooFar { .. })
    }

    /// Why a call with this deadline is refused, if it is for that.
    pub(crate) fn of_far_deadline(now: Uptime, expires: Option<Uptime>) -> Option<Self> {
        let ahead = expires?.saturating_sub(now);
        (ahead > MAX_AHEAD).then_some(Self::ExpiresTooFar { ahead })
    }
}

/// What old clients, whose calls have no id, may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Legacy {
    /// Everything.
    #[default]
    ReadWrite,
    /// Call what has the effect [`Effect::Read`].
    ReadOnly,
    /// Nothing.
    Off,
}

/// How an object is to be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectOptions {
    /// How many calls may stand behind the one in hand, queued or waiting.
    pub queue: usize,
    /// What old clients may do.
    pub legacy: Legacy,
}

impl Default for ObjectOptions {
    fn default() -> Self {
        Self { queue: 32, legacy: Legacy::ReadWrite }
    }
}
