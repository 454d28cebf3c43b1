//! Large results as messages: which go out in parts, and what a part looks like. When one is sent is
//! decided by [`proximity_session::Streams`].

use crate::{
    job::{Job, Pool},
    transport::{Sent, Transport},
};
use proximity_proto::{
    call::{CallId, Codec},
    reply,
};
use proximity_session::{Delivery, Moved, Pace, Part, PeerId, Streams, Uptime};
use std::time::Duration;

/// Bytes of a result in one message, as `hello` tells.
pub(crate) const CHUNK: usize = 256 << 10;

const PACE: Pace = Pace {
    part: CHUNK,
    window: 4 * CHUNK,
    patience: Duration::from_secs(5),
    pause: Duration::from_millis(5),
};

/// The results that go out in parts.
pub(crate) struct Chunks {
    streams: Streams<Box<Job>>,
}

/// What became of a result, or of a part of one, and what it weighs.
pub(crate) enum Step {
    /// A part was lent to the transport.
    Lent(PeerId, usize),
    /// All parts were sent: the job has the final message now.
    Ended(PeerId, usize, Box<Job>),
    /// Its client took nothing of it for long, and it was dropped.
    Stalled(PeerId, usize),
    /// Its client is gone.
    Gone(PeerId, usize),
}

impl Chunks {
    pub(crate) fn new() -> Self {
        Self { streams: Streams::new(PACE) }
    }

    /// How a job's reply goes out in parts, if it does: the id it has, and how many may be sent at first.
    pub(crate) fn takes(job: &Job) -> Option<(CallId, u64)> {
        let (id, credit) = (job.to.id?, job.credit?);
        let in_parts = job.to.version == 2
            && job.to.codec == Codec::MessagePack
            && job.is_value
            && size(job) > CHUNK;
        in_parts.then_some((id, credit))
    }

    /// Takes such a job. Returns whose result it takes the place of, and what that weighed.
    pub(crate) fn take(
        &mut self,
        (id, credit): (CallId, u64),
        job: Box<Job>,
        pool: &mut Pool,
        now: Uptime,
    ) -> Option<(PeerId, usize)> {
        let peer = job.peer_id()?;
        let former = self.streams.take(now, peer, id, size(&job), credit, job)?;
        Some((peer, weigh(former, pool)))
    }

    /// A client takes more parts of a result.
    pub(crate) fn grant(&mut self, peer: PeerId, id: CallId, credit: u64, now: Uptime) {
        self.streams.grant(now, peer, id, credit);
    }

    /// Something that was on its way to somebody has left.
    pub(crate) fn try_again(&mut self, now: Uptime) {
        self.streams.try_again(now);
    }

    /// When [`Chunks::advance`] is due.
    pub(crate) fn next_wake(&self) -> Option<Uptime> {
        self.streams.next_wake()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// Sends what may be sent. What it returns may lead to more: to be called until there is nothing.
    pub(crate) fn advance(
        &mut self,
        transport: &mut dyn Transport,
        pool: &mut Pool,
        now: Uptime,
    ) -> Option<Step> {
        let mut part_weighs = 0;
        let moved = self.streams.advance(
            now,
            |job| job.peer.as_ref().map_or(0, |peer| peer.lent()),
            |job, part| {
                let (delivery, bytes) = send(job, part, transport, pool);
                part_weighs = bytes;
                delivery
            },
        );
        Some(match moved? {
            Moved::Sent(peer) => Step::Lent(peer, part_weighs),
            Moved::Ended(peer, count, size, mut job) => {
                let held = job.reply.len();
                pool.take_back(job.end_chunks(count, size));
                Step::Ended(peer, held, job)
            }
            Moved::Stalled(peer, job) => Step::Stalled(peer, weigh(job, pool)),
            Moved::Gone(peer, job) => Step::Gone(peer, weigh(job, pool)),
        })
    }

    /// Drops a result of a client that is gone; there may be more.
    pub(crate) fn gone(&mut self, peer: PeerId, pool: &mut Pool) -> Option<Step> {
        self.streams.gone(peer).map(|job| Step::Gone(peer, weigh(job, pool)))
    }
}

/// Bytes of a job's result.
fn size(job: &Job) -> usize {
    job.reply.len().saturating_sub(reply::value_at(&job.to))
}

/// Gives a job back; returns what its reply weighed.
fn weigh(job: Box<Job>, pool: &mut Pool) -> usize {
    let bytes = job.reply.len();
    pool.give_back(job);
    bytes
}

/// Tries to send a part; returns what it weighs.
fn send(
    job: &Job,
    part: &Part,
    transport: &mut dyn Transport,
    pool: &mut Pool,
) -> (Delivery, usize) {
    let result = job.reply.get(reply::value_at(&job.to)..).unwrap_or_default();
    let (Some(data), Some(peer)) = (result.get(part.range.clone()), &job.peer) else {
        return (Delivery::Gone, 0);
    };
    let mut message = pool.buffer();
    reply::chunk(&mut message, &job.to, part.index, part.count, data);
    let bytes = message.len();
    let sent = match transport.try_send(peer, &mut message) {
        Sent::Sent => Delivery::Sent,
        Sent::Full => Delivery::Full,
        Sent::Gone => Delivery::Gone,
    };
    pool.take_back(message);
    (sent, bytes)
}
