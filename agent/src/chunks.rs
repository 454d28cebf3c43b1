//! Large results on their way in parts, as fast as their client takes them.
//!
//! A part goes out where the client has granted one and not too many are still on their way; the final
//! message follows the last. A result of which nothing moves for [`PATIENCE`] is dropped.

use crate::{
    job::{Job, Pool},
    transport::{Peer, Sent, Transport},
};
use proximity_proto::{
    call::{CallId, Codec},
    reply,
};
use proximity_session::{PeerId, Uptime};
use std::{sync::Arc, time::Duration};

/// Bytes of a result in one message, as `hello` tells.
pub(crate) const CHUNK: usize = 256 << 10;

/// What may be on its way to one client at a time: the rest waits here, however much is granted.
const WINDOW: usize = 4 * CHUNK;

/// How long a client may grant nothing, or take nothing.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long after a try in vain the next one is due.
const PAUSE: Duration = Duration::from_millis(5);

/// The most that a client may have granted at a time; more is as good as that.
const CREDIT: u64 = 1 << 20;

/// The results that go out in parts.
#[derive(Default)]
pub(crate) struct Streams {
    all: Vec<Stream>,
    /// When there is something to be tried again.
    next: Option<Uptime>,
    /// Results that were dropped because their client did not take them.
    pub(crate) dropped: u64,
}

/// A result on its way.
struct Stream {
    peer: Arc<Peer>,
    job: Box<Job>,
    /// Where in the job's reply the result begins.
    start: usize,
    /// Parts there are.
    count: u64,
    /// Parts that were sent.
    sent: u64,
    /// Parts that may still be sent.
    credit: u64,
    /// When something last moved.
    moved: Uptime,
}

/// What became of a result.
pub(crate) enum Moved {
    /// A part of so many bytes was lent to the transport.
    Lent(PeerId, usize),
    /// All parts were sent: the job has the final message now. So many bytes are no longer held.
    Ended(PeerId, usize, Box<Job>),
    /// It was dropped, and its bytes with it; the flag says that its client is gone.
    Dropped(PeerId, usize, bool),
}

impl Streams {
    /// Whether the job's reply goes out in parts.
    pub(crate) fn takes(job: &Job) -> bool {
        job.credit.is_some()
            && job.to.version == 2
            && job.to.codec == Codec::MessagePack
            && job.is_value
            && job.reply.len() > CHUNK
            && job.reply.len() - CHUNK > reply::value_at(&job.to)
    }

    /// Takes a job whose reply goes out in parts.
    pub(crate) fn take(&mut self, mut job: Box<Job>, now: Uptime) {
        let Some(peer) = job.peer.take() else { return };
        let start = reply::value_at(&job.to);
        let count = job.reply.len().saturating_sub(start).div_ceil(CHUNK) as u64;
        let credit = job.credit.unwrap_or(0).min(CREDIT);
        self.all.push(Stream { peer, job, start, count, sent: 0, credit, moved: now });
        self.next = Some(now);
    }

    /// A client takes more parts of a result.
    pub(crate) fn grant(&mut self, peer: PeerId, id: CallId, credit: u64, now: Uptime) {
        let its = |stream: &&mut Stream| stream.peer.id == peer && stream.job.to.id == Some(id);
        let Some(stream) = self.all.iter_mut().find(its) else { return };
        if stream.credit == 0 && credit > 0 {
            stream.moved = now;
        }
        stream.credit = stream.credit.saturating_add(credit).min(CREDIT);
        self.next = Some(now);
    }

    /// Something that was on its way to somebody has left.
    pub(crate) fn try_again(&mut self, now: Uptime) {
        if !self.all.is_empty() {
            self.next = Some(now);
        }
    }

    /// When [`Streams::advance`] is due.
    pub(crate) fn next_wake(&self) -> Option<Uptime> {
        self.next
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Sends what may be sent. What it returns may lead to more: to be called until there is nothing.
    pub(crate) fn advance(
        &mut self,
        transport: &mut dyn Transport,
        pool: &mut Pool,
        now: Uptime,
    ) -> Option<Moved> {
        self.next = None;
        for place in 0..self.all.len() {
            let Some(stream) = self.all.get_mut(place) else { break };
            let peer = stream.peer.id;
            let size = stream.job.reply.len();
            if stream.sent == stream.count {
                let mut stream = self.all.swap_remove(place);
                stream.job.end_chunks(stream.count, size.saturating_sub(stream.start));
                stream.job.peer = Some(stream.peer);
                self.next = Some(now);
                return Some(Moved::Ended(peer, size, stream.job));
            }
            let mut full = false;
            if stream.credit > 0 && stream.peer.lent() < WINDOW {
                match stream.send(transport, pool, now) {
                    (Sent::Sent, bytes) => {
                        self.next = Some(now);
                        return Some(Moved::Lent(peer, bytes));
                    }
                    (Sent::Full, _) => full = true,
                    (Sent::Gone, _) => return Some(self.drop_one(place, pool, true)),
                }
            }
            let patience = stream.moved + PATIENCE;
            if patience <= now {
                self.dropped += 1;
                self.next = Some(now);
                return Some(self.drop_one(place, pool, false));
            }
            let due = if full { now + PAUSE } else { patience };
            self.next = Some(self.next.map_or(due, |next| next.min(due)));
        }
        None
    }

    /// Drops a result of a client that is gone; there may be more.
    pub(crate) fn gone(&mut self, peer: PeerId, pool: &mut Pool) -> Option<Moved> {
        let place = self.all.iter().position(|stream| stream.peer.id == peer)?;
        Some(self.drop_one(place, pool, true))
    }

    fn drop_one(&mut self, place: usize, pool: &mut Pool, gone: bool) -> Moved {
        let stream = self.all.swap_remove(place);
        let (peer, bytes) = (stream.peer.id, stream.job.reply.len());
        pool.give_back(stream.job);
        Moved::Dropped(peer, bytes, gone)
    }
}

impl Stream {
    /// Tries to send the next part; returns what it weighs.
    fn send(
        &mut self,
        transport: &mut dyn Transport,
        pool: &mut Pool,
        now: Uptime,
    ) -> (Sent, usize) {
        let offset = usize::try_from(self.sent).unwrap_or(usize::MAX).saturating_mul(CHUNK);
        let rest = self.job.reply.get(self.start.saturating_add(offset)..).unwrap_or_default();
        let (data, _) = rest.split_at(rest.len().min(CHUNK));
        let mut message = pool.buffer();
        reply::chunk(&mut message, &self.job.to, self.sent, self.count, data);
        let bytes = message.len();
        let sent = transport.try_send(&self.peer, &mut message);
        pool.take_back(message);
        if sent == Sent::Sent {
            self.sent += 1;
            self.credit -= 1;
            self.moved = now;
        }
        (sent, bytes)
    }
}
