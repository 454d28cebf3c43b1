//! Replies to peers that are slow to read.

use crate::{
    clock::Clock,
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
/// costs the others nothing but a look at it.
#[derive(Default)]
pub(crate) struct Outbox {
    lines: Vec<Line>,
    /// What all that waits weighs.
    bytes: usize,
    next: Uptime,
    /// Until when there is no pause between tries.
    keen: Uptime,
    /// Whose replies were thrown away, and how much they weighed: to be told to the session.
    pub(crate) lost: Vec<(PeerId, usize)>,
    /// Replies that were dropped because their peer did not read, until it was gone or for too long.
    pub(crate) unread: u64,
}

/// The replies that wait for one peer, in their order; never none.
struct Line {
    peer: Arc<Peer>,
    waiting: VecDeque<(Box<Job>, Uptime)>,
}

impl Line {
    /// Since when its first reply waits.
    fn since(&self) -> Uptime {
        self.waiting.front().map_or(Uptime::MAX, |&(_, since)| since)
    }
}

impl Outbox {
    /// Sends a job's reply, or keeps it. Returns a peer that lost its replies: this one, or the one
    /// that has not read for longest.
    pub(crate) fn send(
        &mut self,
        mut job: Box<Job>,
        transport: &mut dyn Transport,
        pool: &mut Pool,
        clock: Clock,
    ) -> Option<PeerId> {
        let peer = job.peer.take()?;
        let size = job.reply.len();
        if let Some(line) = self.lines.iter_mut().find(|line| line.peer.id == peer.id) {
            line.waiting.push_back((job, clock.now()));
        } else {
            let sent = transport.try_send(&peer, &mut job.reply);
            if sent != Sent::Full {
                pool.give_back(job);
                if sent == Sent::Gone {
                    self.lost.push((peer.id, size));
                    return Some(peer.id);
                }
                return None;
            }
            let now = clock.now();
            if self.lines.is_empty() {
                (self.next, self.keen) = (now, now + KEEN);
            }
            self.lines.push(Line { peer, waiting: VecDeque::from([(job, now)]) });
        }
        self.bytes += size;
        // The one that fills the box is not the one that blocks it.
        if self.bytes > BYTES { self.give_up(pool) } else { None }
    }

    /// How many replies wait for a peer to read.
    pub(crate) fn holds(&self, peer: PeerId) -> usize {
        let line = self.lines.iter().find(|line| line.peer.id == peer);
        line.map_or(0, |line| line.waiting.len())
    }

    /// When [`Outbox::retry`] is due.
    pub(crate) fn next_wake(&self) -> Option<Uptime> {
        (!self.lines.is_empty()).then_some(self.next)
    }

    /// Tries again what waits. Returns a peer that lost its replies; then there may be more.
    pub(crate) fn retry(
        &mut self,
        transport: &mut dyn Transport,
        pool: &mut Pool,
        now: Uptime,
    ) -> Option<PeerId> {
        self.next = if now < self.keen { now } else { now + PAUSE };
        if self.lines.iter().any(|line| line.since() + PATIENCE <= now) {
            return self.give_up(pool);
        }
        let mut gone = None;
        for (place, line) in self.lines.iter_mut().enumerate() {
            while let Some((job, _)) = line.waiting.front_mut() {
                let size = job.reply.len();
                match transport.try_send(&line.peer, &mut job.reply) {
                    Sent::Sent => {}
                    Sent::Full => break,
                    Sent::Gone => {
                        gone = Some(place);
                        break;
                    }
                }
                (self.next, self.keen) = (now, now + KEEN);
                if let Some((job, _)) = line.waiting.pop_front() {
                    self.bytes -= size;
                    pool.give_back(job);
                }
            }
        }
        let gone = gone.map(|place| self.drop_line(place, pool).0);
        self.lines.retain(|line| !line.waiting.is_empty());
        gone
    }

    /// Drops all replies to a peer whose connection has ended.
    pub(crate) fn gone(&mut self, peer: PeerId, pool: &mut Pool) {
        if let Some(place) = self.lines.iter().position(|line| line.peer.id == peer) {
            self.unread += self.drop_line(place, pool).1;
        }
    }

    /// Drops all replies to the peer that has not read for longest.
    fn give_up(&mut self, pool: &mut Pool) -> Option<PeerId> {
        let lines = self.lines.iter().enumerate();
        let (place, _) = lines.min_by_key(|(_, line)| line.since())?;
        let (peer, dropped) = self.drop_line(place, pool);
        self.unread += dropped;
        Some(peer)
    }

    fn drop_line(&mut self, place: usize, pool: &mut Pool) -> (PeerId, u64) {
        let line = self.lines.swap_remove(place);
        let mut dropped = 0;
        for (job, _) in line.waiting {
            self.bytes -= job.reply.len();
            self.lost.push((line.peer.id, job.reply.len()));
            pool.give_back(job);
            dropped += 1;
        }
        (line.peer.id, dropped)
    }
}
