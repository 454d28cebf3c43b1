//! Replies to peers that are slow to read.

use crate::{
    job::{Job, Pool},
    transport::{Peer, Sent, Transport},
};
use proximity_session::{PeerId, Uptime};
use std::{collections::VecDeque, sync::Arc, time::Duration};

/// How long a reply waits for its peer to read those before it.
const PATIENCE: Duration = Duration::from_secs(5);

/// What all replies that wait may weigh together, but for the last.
const BYTES: usize = 32 << 20;

/// How long after a try in vain the next one is due.
const PAUSE: Duration = Duration::from_millis(5);

/// How long tries follow each other without a pause once a peer has taken something: one that reads has
/// room again within microseconds, and a client with many calls in progress is not to wait for a clock.
const KEEN: Duration = Duration::from_millis(1);

/// Sends replies, and keeps those that a peer has no room for.
///
/// A client that has many calls in progress may get their replies faster than it reads, so a reply
/// that finds no room is tried again for a while. A peer that does not read at all loses them, and
/// costs the others nothing but the look.
#[derive(Default)]
pub(crate) struct Outbox {
    stalled: VecDeque<Stalled>,
    bytes: usize,
    /// Peers that a pass over the stalled replies found full.
    full: Vec<PeerId>,
    next: Uptime,
    /// Until when there is no pause between tries.
    keen: Uptime,
    /// Replies that were dropped because their peer did not read.
    pub(crate) unread: u64,
}

struct Stalled {
    job: Box<Job>,
    peer: Arc<Peer>,
    since: Uptime,
}

impl Outbox {
    /// Sends a job's reply, or keeps it. Returns the peer if it is lost.
    pub(crate) fn send(
        &mut self,
        mut job: Box<Job>,
        transport: &mut dyn Transport,
        pool: &mut Pool,
        now: Uptime,
    ) -> Option<PeerId> {
        let peer = job.peer.take()?;
        let waits = self.stalled.iter().any(|stalled| stalled.peer.id == peer.id);
        let sent = if waits { Sent::Full } else { transport.try_send(&peer, &job.reply) };
        if sent == Sent::Full {
            if self.stalled.is_empty() {
                (self.next, self.keen) = (now, now + KEEN);
            }
            self.bytes += job.reply.len();
            self.stalled.push_back(Stalled { job, peer, since: now });
            // The one that fills the box is not the one that blocks it.
            return if self.bytes > BYTES { self.give_up_on_first(pool) } else { None };
        }
        pool.give_back(job);
        (sent == Sent::Gone).then_some(peer.id)
    }

    /// How many replies wait for a peer to read.
    pub(crate) fn holds(&self, peer: PeerId) -> usize {
        self.stalled.iter().filter(|stalled| stalled.peer.id == peer).count()
    }

    /// When [`Outbox::retry`] is due.
    pub(crate) fn next_wake(&self) -> Option<Uptime> {
        (!self.stalled.is_empty()).then_some(self.next)
    }

    /// Tries again what waits, in its order. Returns a peer that is lost; then there may be more.
    pub(crate) fn retry(
        &mut self,
        transport: &mut dyn Transport,
        pool: &mut Pool,
        now: Uptime,
    ) -> Option<PeerId> {
        self.next = if now < self.keen { now } else { now + PAUSE };
        self.full.clear();
        if self.stalled.front().is_some_and(|first| first.since + PATIENCE <= now) {
            return self.give_up_on_first(pool);
        }
        for _ in 0..self.stalled.len() {
            let stalled = self.stalled.pop_front()?;
            let id = stalled.peer.id;
            let sent = if self.full.contains(&id) {
                Sent::Full
            } else {
                transport.try_send(&stalled.peer, &stalled.job.reply)
            };
            match sent {
                Sent::Full => {
                    self.full.push(id);
                    self.stalled.push_back(stalled);
                }
                Sent::Sent => {
                    (self.next, self.keen) = (now, now + KEEN);
                    self.bytes -= stalled.job.reply.len();
                    pool.give_back(stalled.job);
                }
                Sent::Gone => {
                    self.stalled.push_front(stalled);
                    self.drop_all(id, pool);
                    return Some(id);
                }
            }
        }
        None
    }

    /// Drops all replies to the peer that has not read for longest.
    fn give_up_on_first(&mut self, pool: &mut Pool) -> Option<PeerId> {
        let peer = self.stalled.front()?.peer.id;
        self.unread += self.drop_all(peer, pool);
        Some(peer)
    }

    fn drop_all(&mut self, peer: PeerId, pool: &mut Pool) -> u64 {
        let mut dropped = 0;
        for _ in 0..self.stalled.len() {
            let Some(stalled) = self.stalled.pop_front() else { break };
            if stalled.peer.id == peer {
                dropped += 1;
                self.bytes -= stalled.job.reply.len();
                pool.give_back(stalled.job);
            } else {
                self.stalled.push_back(stalled);
            }
        }
        dropped
    }
}
