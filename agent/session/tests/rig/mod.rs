//! A session with everything that hangs on it in one hand: says what happens, gets words back.

#![allow(dead_code, reason = "each test file uses some of it")]
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::indexing_slicing, reason = "for tests")]

use proximity_session::{
    Action, CallId, Effect, Event, Executed, HowCancelled, Job, ObjectId, ObjectOptions, PeerId,
    Place, Request, Session, Uptime,
};
use std::collections::HashMap;

pub(crate) const EPOCH: u64 = 7;

/// A job with a name to be told by.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) reply: Vec<u8>,
}

impl Job for Named {
    fn reply(&self) -> &[u8] {
        &self.reply
    }

    fn repeat(&mut self, reply: &[u8]) {
        self.reply = reply.to_vec();
    }
}

pub(crate) fn named(name: &str) -> Named {
    Named { name: name.into(), reply: Vec::new() }
}

pub(crate) fn ms(ms: u64) -> Uptime {
    Uptime::from_millis(ms)
}

pub(crate) fn id(seq: u64) -> CallId {
    CallId { client: [1; 16], seq }
}

pub(crate) struct Rig {
    pub(crate) session: Session<Named>,
    pub(crate) now: Uptime,
    /// The calls in hand.
    pub(crate) running: HashMap<ObjectId, Named>,
}

impl Rig {
    /// A session with one object whose queue has room for `queue` calls.
    pub(crate) fn new(queue: usize) -> (Self, ObjectId) {
        let mut session = Session::new(EPOCH);
        let object = session.add_object(ObjectOptions { queue, ..ObjectOptions::default() });
        (Self { session, now: Uptime::ZERO, running: HashMap::new() }, object)
    }

    pub(crate) fn at(&mut self, time: u64) -> &mut Self {
        self.now = ms(time);
        self
    }

    pub(crate) fn on(&mut self, event: Event<Named>) -> Vec<String> {
        let mut out = Vec::new();
        self.session.on(self.now, event, &mut out);
        out.into_iter().map(|action| self.say(action)).collect()
    }

    fn say(&mut self, action: Action<Named>) -> String {
        match action {
            Action::Start { object, job, place, .. } => {
                let verb = if place == Place::Inline { "inline" } else { "start" };
                let line = format!("{verb} {}", job.name);
                assert!(self.running.insert(object, job).is_none(), "{line}: one is in hand");
                line
            }
            Action::Reply { job } if job.reply.is_empty() => format!("reply {}", job.name),
            Action::Reply { job } => {
                format!("reply {} {}", job.name, String::from_utf8_lossy(&job.reply))
            }
            Action::Refuse { job, why, executed } => {
                let why = format!("{why:?}");
                let why = why.split([' ', '{']).next().unwrap().to_string();
                match executed {
                    Executed::No => format!("refuse {} {why}", job.name),
                    executed => format!("refuse {} {why} {}", job.name, executed.as_str()),
                }
            }
            Action::Cancelled { how: HowCancelled::Unknown, .. } => "cancelled nothing".into(),
            Action::Cancelled { how, .. } => format!("cancelled {how:?}"),
            Action::Interrupt { object } => format!("interrupt {}", self.running[&object].name),
            Action::Forget { job } => format!("forget {}", job.name),
            Action::Reopen { .. } => "reopen".into(),
            Action::Retire { .. } => "retire".into(),
            Action::Drained => "drained".into(),
        }
    }

    /// An old client's write.
    pub(crate) fn call(&mut self, object: ObjectId, name: &str) -> Vec<String> {
        self.request(write(object, name))
    }

    pub(crate) fn request(&mut self, request: Request<Named>) -> Vec<String> {
        self.on(Event::Request(request))
    }

    pub(crate) fn done(&mut self, object: ObjectId) -> Vec<String> {
        self.done_with(object, b"")
    }

    pub(crate) fn done_with(&mut self, object: ObjectId, reply: &[u8]) -> Vec<String> {
        let mut job = self.running.remove(&object).expect("a call is in hand");
        job.reply = reply.to_vec();
        self.on(Event::Done { object, job })
    }

    pub(crate) fn lapsed(&mut self, object: ObjectId) -> Vec<String> {
        let job = self.running.remove(&object).expect("a call is in hand");
        self.on(Event::Lapsed { object, job })
    }

    pub(crate) fn waits(&mut self, object: ObjectId, until: u64) -> Vec<String> {
        let job = self.running.remove(&object).expect("a call is in hand");
        self.on(Event::Waiting { object, job, until: ms(until) })
    }

    pub(crate) fn panicked(&mut self, object: ObjectId) -> Vec<String> {
        self.broke(object, Executed::Unknown)
    }

    pub(crate) fn broke(&mut self, object: ObjectId, executed: Executed) -> Vec<String> {
        let job = self.running.remove(&object).expect("a call is in hand");
        let (class, reason) = ("RuntimeError".into(), None);
        self.on(Event::Panicked { object, job, executed, class, reason })
    }

    pub(crate) fn cancel(&mut self, seq: u64) -> Vec<String> {
        self.on(Event::Cancel { id: id(seq), job: named("cancel") })
    }
}

/// An old client's write, from peer 1.
pub(crate) fn write(object: ObjectId, name: &str) -> Request<Named> {
    Request::new(PeerId(1), object, Effect::Write, named(name))
}

/// An old client's read, from peer 1.
pub(crate) fn read(object: ObjectId, name: &str) -> Request<Named> {
    Request { effect: Effect::Read, ..write(object, name) }
}
