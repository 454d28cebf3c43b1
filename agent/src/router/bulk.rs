//! Large replies: what they weigh until their clients have taken them, and what is refused then.

use super::Router;
use crate::{
    chunks::{CHUNK, Step},
    clock::Clock,
    job::{Job, Pool},
    os,
};
use proximity_proto::call::{Call, CallId};
use proximity_session::{Event, PeerId, Uptime};
use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

/// Calls that are remembered for their large reply.
const KNOWN: usize = 256;

/// Once so much was on its way, memory is given back when all of it has gone.
const MUCH: usize = 16 << 20;

/// How long after that: a client that reads much, one after the other, is not to pay for it each time.
const REST: Duration = Duration::from_secs(1);

/// What is known of large replies.
#[derive(Default)]
pub(super) struct Bulk {
    /// Calls that had one, by object, method and arguments, and what it weighed; the youngest last.
    known: VecDeque<(u64, usize)>,
    /// The most that was on its way since memory was last given back.
    peak: usize,
    /// When to give it back.
    trim: Option<Uptime>,
}

impl Bulk {
    /// Remembers that a call has a large reply.
    pub(super) fn note(&mut self, job: &Job) {
        let Some(call) = job.call() else { return };
        let (hash, size) = (hash(&call), job.reply.len());
        if let Some((_, known)) = self.known.iter_mut().find(|(known, _)| *known == hash) {
            *known = size;
            return;
        }
        if self.known.len() == KNOWN {
            self.known.pop_front();
        }
        self.known.push_back((hash, size));
    }

    /// What the same call had for a reply before, if that was large; else 0.
    pub(super) fn size(&self, call: &Call<'_>) -> usize {
        if self.known.is_empty() {
            return 0;
        }
        let hash = hash(call);
        self.known.iter().find(|(known, _)| *known == hash).map_or(0, |&(_, size)| size)
    }

    /// When there is memory to be given back.
    pub(super) fn next_wake(&self) -> Option<Uptime> {
        self.trim
    }

    /// Takes notice of what is on its way now, and whether a large buffer is kept for the next.
    fn weigh(&mut self, bytes: usize, keeps: bool, clock: Clock) {
        self.peak = self.peak.max(bytes);
        let over = keeps || self.peak >= MUCH && bytes < MUCH / 4;
        self.trim = over.then(|| self.trim.unwrap_or_else(|| clock.now() + REST));
    }

    /// Gives memory back if that is due.
    pub(super) fn trim_memory(&mut self, now: Uptime, pool: &mut Pool) {
        if self.trim.is_some_and(|trim| trim <= now) {
            (self.trim, self.peak) = (None, 0);
            pool.drop_large();
            os::trim_memory();
        }
    }
}

fn hash(call: &Call<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    let args = (call.args.positional.contents(), call.args.named.contents());
    (call.name, call.proc, args).hash(&mut hasher);
    hasher.finish()
}

impl Router {
    /// Nothing is left to be done, nor to be sent in parts; or its clients take too long.
    pub(super) fn is_over(&self) -> bool {
        let is_late = || self.farewell.is_some_and(|farewell| farewell <= self.clock.now());
        self.drained && (self.chunks.is_empty() || is_late())
    }

    /// A connection is gone.
    pub(super) fn gone(&mut self, peer: PeerId) {
        self.feed(Event::PeerGone { peer });
        // They would be tried until somebody takes them, or for long; whoever takes them is somebody else.
        self.outbox.gone(peer, &mut self.pool);
        self.write_off();
        while let Some(step) = self.chunks.gone(peer, &mut self.pool) {
            self.moved(step);
        }
    }

    /// Takes back what has left.
    pub(super) fn take_back(&mut self) {
        let mut any = false;
        while let Some(back) = self.transport.given_back() {
            any = true;
            self.pool.take_back(back.buffer);
            self.taken(back.peer, back.bytes);
        }
        if any {
            self.chunks.try_again(self.clock.now());
        }
    }

    /// A client takes more parts of a result.
    pub(super) fn grant(&mut self, id: Option<CallId>, credit: u64, job: Box<Job>) {
        if let (Some(id), Some(peer)) = (id, job.peer_id()) {
            self.chunks.grant(peer, id, credit, self.clock.now());
        }
        self.pool.give_back(job);
        self.send_chunks();
    }

    /// Sends what may be sent of results that go out in parts.
    pub(super) fn send_chunks(&mut self) {
        let now = self.clock.now();
        while let Some(step) = self.chunks.advance(&mut *self.transport, &mut self.pool, now) {
            self.moved(step);
        }
    }

    /// Sends a job's reply in parts.
    pub(super) fn send_in_chunks(&mut self, credit: (CallId, u64), job: Box<Job>) {
        let now = self.clock.now();
        if let Some((peer, bytes)) = self.chunks.take(credit, job, &mut self.pool, now) {
            self.taken(peer, bytes);
        }
        self.send_chunks();
    }

    fn moved(&mut self, step: Step) {
        match step {
            Step::Lent(peer, bytes) => {
                self.session.sent(peer, bytes);
                self.weigh();
            }
            Step::Ended(peer, bytes, job) => {
                self.taken(peer, bytes);
                self.deliver(job);
            }
            Step::Stalled(peer, bytes) => {
                self.taken(peer, bytes);
                log::info!("a client takes nothing of a large reply: it was dropped");
            }
            Step::Gone(peer, bytes) => {
                self.taken(peer, bytes);
                self.feed(Event::PeerGone { peer });
            }
        }
    }

    /// Tells the session of replies that were thrown away.
    pub(super) fn write_off(&mut self) {
        while let Some((peer, bytes)) = self.outbox.lost.pop() {
            self.taken(peer, bytes);
        }
        self.weigh();
    }

    /// Looks whether there is memory to be given back later.
    fn weigh(&mut self) {
        self.bulk.weigh(self.session.unread_bytes(), self.pool.keeps_large(), self.clock);
    }

    fn taken(&mut self, peer: PeerId, bytes: usize) {
        self.feed(Event::Taken { peer, bytes });
        self.weigh();
    }
}

const _: () = assert!(CHUNK >= crate::transport::LENT, "parts are lent, and so counted");
