//! Large results on their way in parts, as fast as their callers take them.
//!
//! A part goes out where its caller has granted one and not too many are still on their way; the final
//! message follows the last. Results take turns, part by part. One of which nothing moves for
//! [`Pace::patience`] is dropped, but not because others have filled its connection. For a call that came
//! twice over one connection only the later result goes on: parts of two would look alike.

use crate::{CallId, PeerId, Uptime};
use core::{ops::Range, time::Duration};

/// The most that a caller may have granted at a time; more is as good as that.
const CREDIT: u64 = 1 << 20;

/// A caller that has not granted anything, and been sent so many parts of other results since its last
/// of one, has that last part: they do not all fit on the way.
const OVERTAKEN: usize = 64;

/// How parts are sent.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Bytes of a part; the last of a result may be smaller.
    pub part: usize,
    /// A connection that has so many bytes on their way gets no more parts, whatever was granted.
    pub window: usize,
    /// How long a caller may grant nothing, or take nothing.
    pub patience: Duration,
    /// How long after a try in vain the next one is due.
    pub pause: Duration,
}

/// The results that go out in parts; `S` is what the router keeps of each.
#[derive(Debug)]
pub struct Streams<S> {
    pace: Pace,
    /// The one that is to be tried first is the first.
    all: Vec<Stream<S>>,
    /// When there is something to be tried again.
    next: Option<Uptime>,
}

/// A result on its way.
#[derive(Debug)]
struct Stream<S> {
    peer: PeerId,
    id: CallId,
    /// Bytes of the result.
    size: usize,
    /// Parts that were sent.
    sent: u64,
    /// Parts that may still be sent.
    credit: u64,
    /// When something last moved.
    moved: Uptime,
    /// Parts of other results that its connection was sent since.
    overtaken: usize,
    held: S,
}

/// A part of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which, from 0.
    pub index: u64,
    /// How many there are.
    pub count: u64,
    /// Where in the result it lies.
    pub range: Range<usize>,
}

/// What became of a part that was to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It is on its way.
    Sent,
    /// There is no room for it now.
    Full,
    /// Its connection is gone.
    Gone,
}

/// What became of a result.
#[derive(Debug, PartialEq, Eq)]
pub enum Moved<S> {
    /// A part of it was sent.
    Sent(PeerId),
    /// All of it was: the final message is due, with so many parts and bytes.
    Ended(PeerId, u64, usize, S),
    /// Its caller granted or took nothing for too long.
    Stalled(PeerId, S),
    /// Its connection is gone.
    Gone(PeerId, S),
}

impl<S> Streams<S> {
    /// None yet.
    pub fn new(pace: Pace) -> Self {
        Self { pace, all: Vec::new(), next: None }
    }

    /// Takes a result of `size` bytes, of which its caller takes `credit` parts at first.
    ///
    /// Returns what is kept of a result of the same call on the same connection, whose place it takes.
    pub fn take(
        &mut self,
        now: Uptime,
        peer: PeerId,
        id: CallId,
        size: usize,
        credit: u64,
        held: S,
    ) -> Option<S> {
        let former = self.place(peer, id).map(|place| self.all.remove(place).held);
        let credit = credit.min(CREDIT);
        self.all.push(Stream { peer, id, size, sent: 0, credit, moved: now, overtaken: 0, held });
        self.next = Some(now);
        former
    }

    /// A caller takes more parts of a result.
    pub fn grant(&mut self, now: Uptime, peer: PeerId, id: CallId, credit: u64) {
        let Some(stream) = self.place(peer, id).and_then(|place| self.all.get_mut(place)) else {
            return;
        };
        if stream.credit == 0 && credit > 0 {
            (stream.moved, stream.overtaken) = (now, 0);
        }
        stream.credit = stream.credit.saturating_add(credit).min(CREDIT);
        self.next = Some(now);
    }

    /// Something that was on its way to somebody has left.
    pub fn try_again(&mut self, now: Uptime) {
        if !self.all.is_empty() {
            self.next = Some(now);
        }
    }

    /// When [`Streams::advance`] is due.
    pub fn next_wake(&self) -> Option<Uptime> {
        self.next.filter(|_| !self.all.is_empty())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Sends what may be sent. What it returns may lead to more: to be called until there is nothing.
    ///
    /// `lent` tells how many bytes are on their way to the connection; `send` tries to send a part.
    pub fn advance(
        &mut self,
        now: Uptime,
        lent: impl Fn(&S) -> usize,
        mut send: impl FnMut(&S, &Part) -> Delivery,
    ) -> Option<Moved<S>> {
        self.next = None;
        for place in 0..self.all.len() {
            let Some(stream) = self.all.get_mut(place) else { break };
            let (peer, part) = (stream.peer, stream.part(self.pace.part));
            let Some(part) = part else {
                let stream = self.all.remove(place);
                self.next = Some(now);
                return Some(Moved::Ended(peer, stream.sent, stream.size, stream.held));
            };
            let mut full = false;
            if stream.credit > 0 && lent(&stream.held) < self.pace.window {
                match send(&stream.held, &part) {
                    Delivery::Sent => {
                        stream.sent = part.index + 1;
                        stream.credit -= 1;
                        self.sent(now, place);
                        self.next = Some(now);
                        return Some(Moved::Sent(peer));
                    }
                    Delivery::Full => full = true,
                    Delivery::Gone => {
                        self.next = Some(now);
                        return Some(Moved::Gone(peer, self.all.remove(place).held));
                    }
                }
            }
            let patience = stream.moved + self.pace.patience;
            if patience <= now {
                self.next = Some(now);
                return Some(Moved::Stalled(peer, self.all.remove(place).held));
            }
            let due = if full { now + self.pace.pause } else { patience };
            self.next = Some(self.next.map_or(due, |next| next.min(due)));
        }
        None
    }

    /// Drops a result whose connection is gone; there may be more.
    pub fn gone(&mut self, peer: PeerId) -> Option<S> {
        let place = self.all.iter().position(|stream| stream.peer == peer)?;
        Some(self.all.remove(place).held)
    }

    /// A part of the result at `place` was sent: the next is another's, if one can be sent of it.
    fn sent(&mut self, now: Uptime, place: usize) {
        let mut stream = self.all.remove(place);
        (stream.moved, stream.overtaken) = (now, 0);
        for other in self.all.iter_mut().filter(|other| other.peer == stream.peer) {
            other.overtaken += 1;
            // Its caller reads: the part that is to be granted for may not have come to it yet.
            if other.credit > 0 || other.overtaken <= OVERTAKEN {
                other.moved = now;
            }
        }
        self.all.push(stream);
    }

    fn place(&self, peer: PeerId, id: CallId) -> Option<usize> {
        self.all.iter().position(|stream| stream.peer == peer && stream.id == id)
    }
}

impl<S> Stream<S> {
    /// The part that is to be sent next, if not all were.
    fn part(&self, each: usize) -> Option<Part> {
        let count = self.size.div_ceil(each) as u64;
        let start = usize::try_from(self.sent).ok()?.checked_mul(each)?;
        let range = start..self.size.min(start.saturating_add(each));
        (self.sent < count).then_some(Part { index: self.sent, count, range })
    }
}
