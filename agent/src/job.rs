//! One request on its way through the agent, in buffers that are used again.

use crate::{
    transport::{LENT, Peer},
    worker::Slot,
};
use proximity_proto::{
    call::{Call, CallId, Codec, Place, ReplyTo},
    fault::{Executed, Fault, Reason},
    object::{Continuation, Lost},
    reply,
};
use proximity_session::{PeerId, Uptime};
use std::sync::Arc;

/// A request, what it is to be answered with, and where that goes.
pub(crate) struct Job {
    /// The request in MessagePack.
    pub(crate) request: Vec<u8>,
    /// The reply, as it is sent.
    pub(crate) reply: Vec<u8>,
    /// Where the call lies in the request.
    pub(crate) place: Place,
    /// How it is to be answered.
    pub(crate) to: ReplyTo,
    /// Where it came from; none in a job that is not in use.
    pub(crate) peer: Option<Arc<Peer>>,
    /// When its caller stops waiting.
    pub(crate) expires: Option<Uptime>,
    /// Its id, if it may have come before and have run.
    pub(crate) again: Option<CallId>,
    /// Whether its caller wants to be told of progress.
    pub(crate) progress: bool,
    /// How many chunks of a large result its caller takes at first, if it takes any.
    pub(crate) credit: Option<u64>,
    /// Its reply is a value, not an error.
    pub(crate) is_value: bool,
    /// The most that its reply may weigh.
    pub(crate) max_frame: usize,
    /// When it came.
    pub(crate) arrived: Uptime,
    /// The object that it is a call of.
    pub(crate) slot: Option<Slot>,
    /// The error that its object answered, if it did.
    pub(crate) fault: Option<Box<Fault>>,
    /// How it goes on, if it waits.
    pub(crate) resume: Option<Continuation>,
    /// How it ended, if its object did not outlive it.
    pub(crate) lost: Option<Lost>,
}

impl Job {
    fn new() -> Box<Self> {
        let to = ReplyTo { version: 1, codec: Codec::MessagePack, id: None, epoch: 0 };
        Box::new(Self {
            request: Vec::new(),
            reply: Vec::new(),
            place: Place::NONE,
            to,
            peer: None,
            expires: None,
            again: None,
            progress: false,
            credit: None,
            is_value: false,
            max_frame: 0,
            arrived: Uptime::ZERO,
            slot: None,
            fault: None,
            resume: None,
            lost: None,
        })
    }

    /// Takes over what is needed of the job's own request.
    pub(crate) fn note(
        &mut self,
        to: ReplyTo,
        expires: Option<Uptime>,
        progress: bool,
        max_frame: usize,
    ) {
        (self.to, self.expires, self.progress) = (to, expires, progress);
        (self.max_frame, self.is_value) = (max_frame, false);
    }

    /// Who is to be answered.
    pub(crate) fn peer_id(&self) -> Option<PeerId> {
        self.peer.as_ref().map(|peer| peer.id)
    }

    /// Makes a fault the reply.
    pub(crate) fn fail(&mut self, fault: &Fault, executed: Executed, refused: Option<Reason>) {
        self.is_value = false;
        reply::fault(&mut self.reply, &self.to, fault, executed, refused);
    }

    /// Makes what `write` appends the reply.
    pub(crate) fn answer(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        reply::begin(&mut self.reply, &self.to);
        write(&mut self.reply);
        self.finish();
    }

    /// Ends a reply whose value was written.
    pub(crate) fn finish(&mut self) {
        self.is_value = true;
        let finished = reply::finish(&mut self.reply, &self.to);
        if let Err(fault) = finished.and_then(|()| self.fits()) {
            self.fail(&fault, Executed::Yes, None);
        }
    }

    /// Whether the reply may be sent.
    fn fits(&self) -> Result<(), Fault> {
        let (size, most) = (self.reply.len(), self.max_frame);
        if size <= most {
            return Ok(());
        }
        let message = format!("the reply has {size} bytes; this agent sends at most {most}");
        let hint = "ask for less at a time, or raise 'max_frame' in the agent's configuration";
        Err(Fault::value_error(message).hint(hint))
    }

    /// Makes the final message of a result that went out in chunks the reply.
    /// Returns the result's own memory: it is not for a message as small as this.
    pub(crate) fn end_chunks(&mut self, count: u64, size: usize) -> Vec<u8> {
        let result = std::mem::take(&mut self.reply);
        self.is_value = false;
        reply::chunked(&mut self.reply, &self.to, count, size as u64);
        result
    }

    /// The object that the request names, for what is said about it.
    pub(crate) fn object(&self) -> &str {
        self.words().0
    }

    /// The method or attribute that the request names.
    pub(crate) fn method(&self) -> &str {
        self.words().1
    }

    /// What the request asks for, in words.
    pub(crate) fn what(&self) -> String {
        let (object, method) = self.words();
        match self.call().map(|call| call.op).filter(|op| !op.runs_something()) {
            None => format!("{object}.{method}"),
            Some(op) if object.is_empty() => op.as_str().to_owned(),
            Some(op) => format!("{} of '{object}'", op.as_str()),
        }
    }

    /// The same, as [`Job::place`] has it: quick, and empty where that was not set.
    pub(crate) fn proc(&self) -> &str {
        self.place.read(&self.request).map_or("", |(proc, _)| proc)
    }

    /// The request, read again.
    pub(crate) fn call(&self) -> Option<Call<'_>> {
        // It was within the limits when it came.
        Call::parse(&self.request, &UNLIMITED).ok()
    }

    /// Answers as a copy of the call was, in the other codec.
    fn retell(&mut self, reply: &[u8]) {
        let told = if reply.len() > RETOLD {
            let size = reply.len();
            let message =
                format!("the reply has {size} bytes; at most {RETOLD} change their codec");
            Err(Fault::value_error(message))
        } else {
            reply::retell(&mut self.reply, reply, &self.to)
        };
        let Err(why) = told.and_then(|()| self.fits()) else { return };
        let (object, method) = self.words();
        let codec = match self.to.codec {
            Codec::MessagePack => "MessagePack",
            Codec::Json => "JSON",
        };
        let message =
            format!("{object}.{method} has run, and its result cannot be told in {codec}");
        let mut fault = Fault::runtime_error(message)
            .detail(why.message)
            .hint("repeat a call in the codec in which it was made");
        fault.detail.extend(why.detail);
        self.fail(&fault, Executed::Yes, Some(Reason::ReplyNotKept));
    }

    fn words(&self) -> (&str, &str) {
        self.call().map_or(("", ""), |call| (call.name, call.proc))
    }
}

/// For requests that have been checked before.
const UNLIMITED: proximity_proto::limits::Limits =
    proximity_proto::limits::Limits { max_frame: usize::MAX, max_items: u32::MAX };

impl proximity_session::Job for Box<Job> {
    fn reply(&self) -> &[u8] {
        &self.reply
    }

    fn repeat(&mut self, reply: &[u8]) {
        if Codec::of(reply) != self.to.codec {
            return self.retell(reply);
        }
        self.reply.clear();
        self.reply.extend_from_slice(reply);
    }
}

/// The largest reply that is put into another codec: the router does it, and all calls wait for it. No larger
/// one is kept either.
const RETOLD: usize = 64 << 10;

/// A buffer beyond this is a large one: of those only one is kept, and not for long.
pub(crate) const BUFFER: usize = 2 << 20;

/// Beyond this, not even that one.
const LARGE: usize = 32 << 20;

/// What all kept buffers may hold together.
const KEPT: usize = 8 << 20;

/// Buffers that are kept without a job.
const SPARE: usize = 8;

/// Jobs that are kept.
const JOBS: usize = 256;

/// Jobs to be used again, so that a call allocates nothing.
#[derive(Default)]
pub(crate) struct Pool {
    /// The one used last is used next: its buffers are the ones in the cache, and those that fit.
    #[allow(clippy::vec_box, reason = "they travel in their boxes")]
    jobs: Vec<Box<Job>>,
    /// Buffers that came back from the transport, which had taken them from their jobs.
    spare: Vec<Vec<u8>>,
    /// What all of these buffers hold.
    bytes: usize,
    /// A large buffer, for a client that reads much, one after the other: memory that is had anew each
    /// time costs as much as a copy of what is read into it.
    large: Option<Vec<u8>>,
}

impl Pool {
    /// A job with empty buffers.
    pub(crate) fn take(&mut self) -> Box<Job> {
        let mut job = self.jobs.pop().unwrap_or_else(Job::new);
        self.bytes = self.bytes.saturating_sub(job.request.capacity() + job.reply.capacity());
        self.equip(&mut job);
        job
    }

    /// Gives a job whose buffer the transport took another.
    pub(crate) fn equip(&mut self, job: &mut Job) {
        if job.reply.capacity() < LENT && !self.spare.is_empty() {
            job.reply = self.buffer();
        }
    }

    /// Gives a job that starts now, and is known to have a large reply, the large buffer. A job that only waits would
    /// carry it off, and the next reply have another.
    pub(crate) fn equip_large(&mut self, job: &mut Job) {
        if let Some(large) = self.large.take() {
            job.reply = large;
        }
    }

    /// Takes the buffer of a job whose reply turned out small.
    pub(crate) fn keep_apart(&mut self, job: &mut Job) {
        if job.reply.capacity() > BUFFER && job.reply.len() < job.reply.capacity() / 2 {
            let reply = job.reply.as_slice().to_vec();
            self.take_large(std::mem::replace(&mut job.reply, reply));
        }
    }

    /// Whether a large buffer is kept.
    pub(crate) fn keeps_large(&self) -> bool {
        self.large.is_some()
    }

    /// Keeps it no longer.
    pub(crate) fn drop_large(&mut self) {
        self.large = None;
    }

    fn take_large(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() <= LARGE && self.large.is_none() {
            buffer.clear();
            self.large = Some(buffer);
        }
    }

    /// An empty buffer without a job.
    pub(crate) fn buffer(&mut self) -> Vec<u8> {
        let buffer = self.spare.pop().unwrap_or_default();
        self.bytes = self.bytes.saturating_sub(buffer.capacity());
        buffer
    }

    /// Takes back a buffer without its job.
    pub(crate) fn take_back(&mut self, mut buffer: Vec<u8>) {
        let capacity = buffer.capacity();
        if capacity > BUFFER {
            return self.take_large(buffer);
        }
        if capacity > 0 && self.spare.len() < SPARE && self.bytes + capacity <= KEPT {
            buffer.clear();
            self.bytes += capacity;
            self.spare.push(buffer);
        }
    }

    /// Takes back a job that is over.
    pub(crate) fn give_back(&mut self, mut job: Box<Job>) {
        (job.peer, job.resume, job.lost) = (None, None, None);
        (job.slot, job.fault, job.again, job.credit) = (None, None, None, None);
        if job.reply.capacity() > BUFFER {
            self.take_large(std::mem::take(&mut job.reply));
        }
        for buffer in [&mut job.request, &mut job.reply] {
            buffer.clear();
            if buffer.capacity() > BUFFER || self.bytes + buffer.capacity() > KEPT {
                *buffer = Vec::new();
            }
            self.bytes += buffer.capacity();
        }
        if self.jobs.len() < JOBS {
            self.jobs.push(job);
        } else {
            self.bytes -= job.request.capacity() + job.reply.capacity();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_keeps_buffers_of_a_megabyte_but_not_the_largest() {
        let mut pool = Pool::default();
        let mut job = pool.take();
        job.reply.reserve(1 << 20);
        job.request.reserve(BUFFER + 1);
        pool.give_back(job);
        let job = pool.take();
        assert!(job.reply.capacity() >= 1 << 20);
        assert_eq!(job.request.capacity(), 0);
    }

    #[test]
    fn a_pool_keeps_one_large_buffer_until_it_is_told_not_to() {
        let mut pool = Pool::default();
        for mut job in [pool.take(), pool.take()] {
            job.reply.reserve(16 << 20);
            pool.give_back(job);
        }
        // Nobody has it who only waits, or whose reply is small.
        assert_eq!(pool.take().reply.capacity(), 0);
        let mut next = pool.take();
        pool.equip_large(&mut next);
        assert!(next.reply.capacity() >= 16 << 20 && !pool.keeps_large());
        next.reply.push(7);
        pool.keep_apart(&mut next);
        assert!(next.reply == [7] && next.reply.capacity() < LENT && pool.keeps_large());
        // It comes back from libzmq too.
        pool.equip_large(&mut next);
        pool.take_back(std::mem::take(&mut next.reply));
        let large = pool.large.as_ref().map(Vec::capacity);
        assert!(large >= Some(16 << 20), "{large:?}");
        pool.drop_large();
        assert!(!pool.keeps_large());
        assert_eq!((pool.take().reply.capacity(), pool.bytes), (0, 0));
        pool.take_back(Vec::with_capacity(LARGE + 1));
        assert!(!pool.keeps_large());
    }

    #[test]
    fn a_pool_holds_no_more_than_its_share_of_memory() {
        let mut pool = Pool::default();
        let jobs: Vec<_> = (0..JOBS + 10)
            .map(|_| {
                let mut job = pool.take();
                job.reply.reserve(BUFFER / 2);
                job
            })
            .collect();
        for job in jobs {
            pool.give_back(job);
        }
        assert_eq!(pool.jobs.len(), JOBS);
        let held = pool.jobs.iter().map(|job| job.request.capacity() + job.reply.capacity());
        let held: usize = held.sum();
        assert_eq!(held, pool.bytes);
        assert!(held <= KEPT, "{held}");
    }
}
