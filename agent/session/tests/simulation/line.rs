//! The way back to clients: what is on its way down each connection, large results in parts, and what
//! clients that do not read leave unread.
//!
//! A connection keeps its order, as TCP does; what comes down it after its client has opened another is
//! not read. Bytes are lent to it until they have left, or it is given up.

use crate::{
    agent::Work,
    client::Answer,
    plan::Mutation,
    world::{Happening, MS, Time, World},
};
use core::time::Duration;
use proximity_session::{
    Budget, CallId, Delivery, Event, Moved, Pace, PeerId, Refusal, Session, Streams,
};
use std::collections::{BTreeMap, BTreeSet};

/// What a connection may have here: a large result or two, and three connections' in all.
pub(crate) const BUDGET: Budget =
    Budget { in_flight: 5, unread_bytes: 5000, all_unread_bytes: 12_000, counted_from: 200 };

/// How long the agent waits for a connection to take something.
const PATIENCE: Time = 5000 * MS;

const PACE: Pace = Pace {
    part: 256,
    window: 512,
    patience: Duration::from_secs(5),
    pause: Duration::from_millis(5),
};

/// What a part weighs beside its bytes.
const HEAD: usize = 40;

/// A message on its way down a connection.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    life: u32,
    /// What it is lent under; none if it weighs next to nothing.
    number: Option<u64>,
    peer: u64,
    client: usize,
    /// None if it is lost on the way.
    answer: Option<Answer>,
}

/// What the agent has on its way to clients.
#[derive(Debug)]
pub(crate) struct Line {
    streams: Streams<Work>,
    posted: u64,
    /// By number: to whom, and how many bytes.
    lent: BTreeMap<u64, (u64, usize)>,
    /// Results that are held to go out in parts, by connection.
    held: BTreeMap<u64, usize>,
    /// By connection: when the last thing that was sent down it arrives.
    last: BTreeMap<u64, Time>,
    /// Connections over which nothing comes any more, as nobody knows.
    broken: BTreeSet<u64>,
    /// Connections whose end the agent has seen.
    pub(crate) ended: BTreeSet<u64>,
    /// By result: how many parts its client has granted, and how many were sent.
    granted: BTreeMap<(u64, CallId), (u64, u64)>,
    /// Results that found no room for their next part.
    blocked: BTreeSet<u64>,
    /// Results that are no longer held, of which the session is yet to be told.
    freed: Vec<(u64, usize)>,
    pump_at: Option<Time>,
    /// Nothing is left to be done but to send what there is.
    pub(crate) leaving: bool,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            streams: Streams::new(PACE),
            posted: 0,
            lent: BTreeMap::new(),
            held: BTreeMap::new(),
            last: BTreeMap::new(),
            broken: BTreeSet::new(),
            ended: BTreeSet::new(),
            granted: BTreeMap::new(),
            blocked: BTreeSet::new(),
            freed: Vec::new(),
            pump_at: None,
            leaving: false,
        }
    }
}

impl Line {
    /// What is on its way to a connection.
    fn lent_to(&self, peer: u64) -> usize {
        self.lent.values().filter(|(to, _)| *to == peer).map(|(_, bytes)| bytes).sum()
    }

    /// What a connection has not taken.
    pub(crate) fn owed(&self, peer: u64) -> usize {
        let freed = self.freed.iter().filter(|(to, _)| *to == peer);
        let freed: usize = freed.map(|(_, bytes)| bytes).sum();
        self.lent_to(peer) + self.held.get(&peer).copied().unwrap_or(0) + freed
    }

    fn has_to_do(&self) -> bool {
        !(self.streams.is_empty() && self.freed.is_empty())
    }

    fn owed_in_all(&self) -> usize {
        let lent: usize = self.lent.values().map(|(_, bytes)| bytes).sum();
        let freed: usize = self.freed.iter().map(|(_, bytes)| bytes).sum();
        lent + self.held.values().sum::<usize>() + freed
    }
}

/// A call's reply: its number, the board's result, and so many bytes that follow from it.
pub(crate) fn write_reply(reply: &mut Vec<u8>, seq: u64, result: u64, bulk: usize) {
    reply.clear();
    reply.extend(seq.to_be_bytes().into_iter().chain(result.to_be_bytes()));
    let words = (0..).flat_map(|n| word(result, n).to_be_bytes());
    reply.extend(words.take(bulk));
}

fn word(result: u64, n: u64) -> u64 {
    (result ^ n << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ n
}

/// The board's result, if the reply is that of the call, to the last byte.
pub(crate) fn value_of(reply: &[u8], seq: u64, bulk: usize) -> Option<u64> {
    let (_, rest) = reply.split_first_chunk::<8>()?;
    let (result, _) = rest.split_first_chunk::<8>()?;
    let result = u64::from_be_bytes(*result);
    let mut whole = Vec::with_capacity(reply.len());
    write_reply(&mut whole, seq, result, bulk);
    (whole == reply).then_some(result)
}

impl World {
    /// Sends something down a connection, where it weighs so much.
    fn post(&mut self, peer: u64, client: usize, bytes: usize, answer: Answer) {
        self.agent.line.posted += 1;
        let number = Some(self.agent.line.posted).filter(|_| bytes > 0);
        if let Some(number) = number {
            self.agent.line.lent.insert(number, (peer, bytes));
        }
        // A connection that loses something loses all that follows.
        if self.rng.chance(self.plan.loss / 4) {
            self.agent.line.broken.insert(peer);
        }
        let answer = Some(answer).filter(|_| !self.agent.line.broken.contains(&peer));
        let arrives = self.now + self.delay();
        let last = self.agent.line.last.entry(peer).or_default();
        *last = arrives.max(*last);
        let (life, wait) = (self.agent.life, *last - self.now);
        self.after(wait, Happening::Deliver(Letter { life, number, peer, client, answer }));
        if let Some(number) = number {
            self.after(PATIENCE, Happening::Impatient(life, number));
        }
    }

    /// Something arrives at a client, which may not read just now.
    pub(crate) fn deliver(&mut self, letter: Letter) {
        let deaf_until = self.clients[letter.client].deaf_until;
        if deaf_until > self.now {
            return self.after(deaf_until - self.now, Happening::Deliver(letter));
        }
        let Letter { life, number, peer, client, answer } = letter;
        if let Some(number) = number
            && life == self.agent.life
        {
            if !self.agent.line.lent.contains_key(&number) {
                // It was thrown away with its connection.
                return;
            }
            self.after(0, Happening::Left(life, number));
        }
        if let Some(answer) = answer.filter(|_| self.clients[client].reads(peer)) {
            self.answered(client, answer);
        }
    }

    pub(crate) fn left(&mut self, life: u32, number: u64) {
        if life != self.agent.life {
            return;
        }
        let Some((peer, bytes)) = self.agent.line.lent.remove(&number) else { return };
        let now = self.uptime();
        self.agent.line.streams.try_again(now);
        self.feed(Event::Taken { peer: PeerId(peer), bytes });
    }

    /// A connection that takes nothing for long is closed.
    pub(crate) fn impatient(&mut self, life: u32, number: u64) {
        if life == self.agent.life
            && let Some(&(peer, _)) = self.agent.line.lent.get(&number)
        {
            self.agent.line.broken.insert(peer);
            self.peer_gone(life, peer);
        }
    }

    /// Throws away what is on its way to a connection that is gone.
    pub(crate) fn throw_away(&mut self, peer: u64) {
        let line = &mut self.agent.line;
        let mut bytes = line.lent_to(peer);
        line.lent.retain(|_, (to, _)| *to != peer);
        while line.streams.gone(PeerId(peer)).is_some() {}
        bytes += line.held.remove(&peer).unwrap_or(0);
        line.granted.retain(|(to, _), _| *to != peer);
        if bytes > 0 && self.plan.mutation != Some(Mutation::BudgetNotReturned) {
            self.feed(Event::Taken { peer: PeerId(peer), bytes });
        }
    }

    /// A large result: whole, or in parts where its client takes those.
    pub(crate) fn send_large(&mut self, work: Work) {
        let Some(sent) = work.sent else {
            return self.record.violate("a large reply to what is no call");
        };
        let (peer, size, seq) = (work.peer, work.reply.len(), sent.id.seq);
        let before = self.agent.line.owed_in_all();
        if before > 0 && before + size > BUDGET.all_unread_bytes {
            self.record.violate("a reply was sent that goes beyond all that may be unread");
        }
        let Some(credit) = sent.credit.filter(|_| size > PACE.part) else {
            let reply = work.reply;
            return self.post(peer, work.client, size, Answer::Whole { seq, reply });
        };
        let now = self.uptime();
        let granted = if self.plan.mutation == Some(Mutation::NoCredit) { 1000 } else { credit };
        let line = &mut self.agent.line;
        line.granted.insert((peer, sent.id), (credit, 0));
        *line.held.entry(peer).or_default() += size;
        let former = line.streams.take(now, PeerId(peer), sent.id, size, granted, work);
        if let Some(former) = former {
            self.no_longer_held(&former);
        }
    }

    fn no_longer_held(&mut self, work: &Work) {
        let (peer, bytes) = (work.peer, work.reply.len());
        if let Some(held) = self.agent.line.held.get_mut(&peer) {
            *held -= bytes;
        }
        self.agent.line.freed.push((peer, bytes));
    }

    pub(crate) fn grant(&mut self, peer: u64, id: CallId, credit: u64) {
        let now = self.uptime();
        let line = &mut self.agent.line;
        if let Some((granted, _)) = line.granted.get_mut(&(peer, id)) {
            *granted += credit;
        }
        line.streams.grant(now, PeerId(peer), id, credit);
        self.pump();
    }

    pub(crate) fn pump_again(&mut self, life: u32) {
        if life == self.agent.life {
            self.agent.line.pump_at = None;
            self.pump();
        }
    }

    /// Sends what may be sent of large results.
    pub(crate) fn pump(&mut self) {
        while self.agent.session.is_some() && self.agent.line.has_to_do() {
            let now = self.uptime();
            let mutation = self.plan.mutation;
            let is_full = self.rng.chance(100);
            let line = &mut self.agent.line;
            if let Some((peer, bytes)) = line.freed.pop() {
                self.feed_only(Event::Taken { peer: PeerId(peer), bytes });
                continue;
            }
            let (lent, mut part_sent) = (&line.lent, None);
            let lent_to = |work: &Work| {
                let its = lent.values().filter(|(to, _)| *to == work.peer);
                if mutation == Some(Mutation::NoWindow) { 0 } else { its.map(|(_, b)| b).sum() }
            };
            let blocked = &mut line.blocked;
            let moved = line.streams.advance(now, lent_to, |work, part| {
                if is_full {
                    blocked.insert(work.peer);
                    return Delivery::Full;
                }
                let mut range = part.range.clone();
                if blocked.remove(&work.peer) && mutation == Some(Mutation::WrongOffset) {
                    range = range.start.saturating_sub(PACE.part)..range.start;
                }
                let data = work.reply[range].to_vec();
                part_sent = work.sent.map(|sent| (work.client, sent.id, part.clone(), data));
                Delivery::Sent
            });
            match moved {
                None => break,
                Some(Moved::Sent(PeerId(peer))) => {
                    if let Some((client, id, part, data)) = part_sent {
                        self.part_sent(peer, client, id, part.index, part.count, data);
                    }
                }
                Some(Moved::Ended(PeerId(peer), count, bytes, work)) => {
                    self.record.met.in_parts += 1;
                    self.no_longer_held(&work);
                    let Some(sent) = work.sent else { continue };
                    self.agent.line.granted.remove(&(peer, sent.id));
                    let answer = Answer::Chunked { seq: sent.id.seq, count, bytes };
                    self.post(peer, work.client, 0, answer);
                }
                Some(Moved::Stalled(_, work)) => {
                    self.record.met.stalled += 1;
                    self.no_longer_held(&work);
                }
                Some(Moved::Gone(_, work)) => self.no_longer_held(&work),
            }
        }
        self.plan_pump();
        if self.agent.line.leaving && self.agent.line.streams.is_empty() {
            self.crash();
        }
    }

    fn part_sent(
        &mut self,
        peer: u64,
        client: usize,
        id: CallId,
        index: u64,
        count: u64,
        data: Vec<u8>,
    ) {
        let line = &mut self.agent.line;
        if let Some((granted, sent)) = line.granted.get_mut(&(peer, id)) {
            *sent += 1;
            if sent > granted {
                self.record.violate("a part was sent that nobody had granted");
            }
        }
        if self.agent.line.lent_to(peer) >= PACE.window {
            self.record.violate("more parts are on their way to a connection than may be");
        }
        let bytes = data.len() + HEAD;
        if let Some(session) = &mut self.agent.session {
            session.sent(PeerId(peer), bytes);
        }
        // A small part is not counted, and not lent.
        let counted = if bytes >= BUDGET.counted_from { bytes } else { 0 };
        self.post(peer, client, counted, Answer::Chunk { seq: id.seq, index, count, data });
    }

    fn plan_pump(&mut self) {
        let Some(wake) = self.agent.line.streams.next_wake() else { return };
        let at = self.agent.started + u64::try_from(wake.as_micros()).unwrap_or(u64::MAX);
        let at = at.max(self.now);
        if self.agent.session.is_some() && self.agent.line.pump_at.is_none_or(|then| then > at) {
            self.agent.line.pump_at = Some(at);
            self.after(at - self.now, Happening::Pump(self.agent.life));
        }
    }

    /// What the session thinks is unread is what is.
    pub(crate) fn check_budget(&mut self) {
        let Some(session) = &self.agent.session else { return };
        let line = &self.agent.line;
        let (counted, owed) = (session.unread_bytes(), line.owed_in_all());
        if counted != owed && self.plan.mutation != Some(Mutation::NoBudget) {
            self.record.violate(format!("{counted} bytes are counted as unread, and {owed} are"));
        }
    }

    /// At the end everything was taken, or thrown away.
    pub(crate) fn check_budget_is_back(&mut self) {
        let unread = self.agent.session.as_ref().map_or(0, Session::unread_bytes);
        if unread > 0 && self.record.violation.is_none() {
            self.record.violate(format!("{unread} bytes are unread at the end"));
        }
    }

    /// A call is refused for what its connection, or all of them, left unread only where that is so.
    pub(crate) fn check_bound(&mut self, work: &Work, why: &Refusal) {
        let met = &mut self.record.met;
        match why {
            Refusal::TooManyInFlight { .. } => met.in_flight += 1,
            Refusal::RepliesUnread { .. } => met.unread += 1,
            Refusal::NoRoom { .. } => met.no_room += 1,
            _ => {}
        }
        // What a call is refused for holds for its copies too, wherever they came from.
        if work.sent.is_some_and(|sent| self.agent.is_copied(sent.id)) {
            return;
        }
        let line = &self.agent.line;
        let is_so = match why {
            Refusal::RepliesUnread { limit } => line.owed(work.peer) >= *limit,
            // Whoever asks for little is not held up by those who do not read.
            Refusal::NoRoom { .. } => {
                line.owed_in_all() > 0 && work.sent.is_some_and(|sent| sent.op.bulk() > 0)
            }
            _ => return,
        };
        if !is_so {
            self.record.violate(format!("a call was refused without reason: {why:?}"));
        }
    }
}
