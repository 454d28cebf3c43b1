//! The session core: who may run what, when.
//!
//! ```text
//!              Event                                    Action
//! router  ---------------->  Session::on(now, ..)  ---------------->  router, workers
//!          request, cancel,    queues, deadlines,      start, reply,
//!          done, tick, ..      epoch, ids, drain       refuse, reopen, ..
//! ```
//!
//! A [`Session`] owns each object's queue and decides every call's fate: started, refused because it is
//! stale, expired, cancelled or one too many, answered once. It has no sockets, no threads and no clock
//! (the caller says what time it is), so the simulation in its tests runs the very code that serves
//! hardware.
//!
//! What it guarantees, as long as its [`Action`]s are carried out in order:
//!
//! * Each request ends in exactly one of [`Action::Reply`], [`Action::Refuse`], [`Action::Cancelled`]
//!   and [`Action::Forget`]; the last only where nobody waits for the reply.
//! * An object has at most one call in hand, and at most its limit of calls behind it.
//! * Calls of one object start in the order in which they came; one that gave its object back
//!   ([`Event::Waiting`]) is resumed when its time has come.
//! * Nothing is started for another run of the agent, after its deadline, or after its caller was told
//!   that it will not run.
//! * A call with an id that changes something is started once, however often it comes and over however
//!   many connections; the copies get the answer of the first.
//! * While somebody has an object's lease, nobody else's writes are started.
//!
//! Calls of old clients have no id, epoch and deadline; for them the first three hold.
//!
//! For the agent's router: every event about one object comes from the one place that has its job, and
//! all events go through one thread.

mod budget;
mod call;
mod event;
mod kept;
mod lease;
mod ledger;
mod object;
mod session;
mod stats;
mod stream;

pub use budget::Budget;
pub use event::{
    Action, Event, HowCancelled, Job, Legacy, ObjectId, ObjectOptions, PeerId, Place, Refusal,
    Request, Uptime,
};
pub use lease::{Holder, Lease, LeaseToken, MAX_TTL, MIN_TTL};
pub use proximity_proto::{Effect, call::CallId, fault::Executed};
pub use session::Session;
pub use stats::{Refused, Stats};
pub use stream::{Delivery, Moved, Pace, Part, Streams};
