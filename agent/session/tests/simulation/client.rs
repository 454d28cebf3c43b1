//! A client: makes calls, waits until their deadlines, and draws its conclusions.

use crate::{
    board::Op,
    line,
    plan::Plan,
    record::Seen,
    rng::Rng,
    world::{Happening, MS, Time, World},
};
use proximity_session::{CallId, Executed, LeaseToken, Refusal, Uptime};
use std::collections::BTreeMap;

/// What a client concludes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Value(u64),
    NotExecuted,
    Unknown,
}

/// From a client to the agent.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) peer: u64,
    pub(crate) client: usize,
    pub(crate) body: Body,
}

#[derive(Clone, Debug)]
pub(crate) enum Body {
    Hello,
    Call(Sent),
    Cancel(CallId),
    /// So many more parts of a large result may come.
    Credit(CallId, u64),
    Lock {
        board: usize,
        token: LeaseToken,
    },
    Release {
        board: usize,
        token: LeaseToken,
    },
}

/// A call on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) id: CallId,
    /// Made by an old client: id, epoch and deadline do not travel.
    pub(crate) old: bool,
    pub(crate) epoch: u64,
    pub(crate) expires: Uptime,
    pub(crate) lease: Option<LeaseToken>,
    /// Parts of a large result that it takes at first.
    pub(crate) credit: Option<u64>,
    pub(crate) board: usize,
    pub(crate) op: Op,
}

/// From the agent to a client.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Hello {
        epoch: u64,
        now: Uptime,
    },
    Value {
        seq: u64,
        value: u64,
    },
    Refused {
        seq: u64,
        why: Refusal,
        executed: Executed,
    },
    /// A large result.
    Whole {
        seq: u64,
        reply: Vec<u8>,
    },
    /// A part of one.
    Chunk {
        seq: u64,
        index: u64,
        count: u64,
        data: Vec<u8>,
    },
    /// All parts of it were sent.
    Chunked {
        seq: u64,
        count: u64,
        bytes: usize,
    },
    Locked {
        board: usize,
        token: LeaseToken,
    },
}

/// What a client waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Timer {
    /// Make the next call.
    Next,
    /// Give a call up.
    Deadline(u64),
    /// Send a call once more.
    Again(u64),
    /// Take a call back.
    Cancel(u64),
}

/// What hello told: the agent's time when it was asked, and when the answer came by the own clock.
#[derive(Clone, Copy, Debug)]
struct Hello {
    epoch: u64,
    agent: Uptime,
    own: Time,
}

#[derive(Debug)]
struct Pending {
    sent: Sent,
    from: Time,
    /// How often it was sent.
    copies: u32,
    /// The parts that have come of its result, and how many.
    parts: (Vec<u8>, u64),
}

/// How many parts a client takes at first, and after how many it lets as many more come.
const CREDIT: (u64, u64) = (3, 2);

#[derive(Debug)]
pub(crate) struct Client {
    uuid: [u8; 16],
    old: bool,
    peer: u64,
    /// Parts per million that its clock goes too fast.
    skew: i64,
    hello: Option<Hello>,
    seq: u64,
    left: u64,
    pending: BTreeMap<u64, Pending>,
    /// Until when it reads nothing that comes.
    pub(crate) deaf_until: Time,
    /// By board: what it believes to have.
    leases: BTreeMap<usize, LeaseToken>,
}

impl Client {
    pub(crate) fn new(index: usize, plan: &Plan, rng: &mut Rng) -> Self {
        let skew = i64::try_from(rng.between(0, 200)).unwrap_or(0) - 100;
        let uuid = [u8::try_from(index + 1).unwrap_or(u8::MAX); 16];
        // One in eight is an old one.
        let old = index % 8 == 7;
        Self {
            uuid,
            old,
            peer: 0,
            skew,
            hello: None,
            seq: 0,
            left: plan.calls,
            pending: BTreeMap::new(),
            deaf_until: 0,
            leases: BTreeMap::new(),
        }
    }

    /// Whether it reads what comes over the connection.
    pub(crate) fn reads(&self, peer: u64) -> bool {
        self.peer == peer
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.left == 0 && self.pending.is_empty()
    }

    /// Its own clock.
    fn clock(&self, now: Time) -> Time {
        now.saturating_add_signed(i64::try_from(now).unwrap_or(i64::MAX) / 1_000_000 * self.skew)
    }
}

impl World {
    /// Gives a client a new connection.
    pub(crate) fn reconnect(&mut self, client: usize) {
        let gone = self.clients[client].peer;
        self.clients[client].peer = self.fresh_peer();
        for pending in self.clients[client].pending.values_mut() {
            pending.parts = (Vec::new(), 0);
        }
        let wait = self.delay();
        self.after(wait, Happening::PeerGone(self.agent.life, gone));
    }

    fn tell_agent(&mut self, client: usize, body: Body) {
        let peer = self.clients[client].peer;
        self.send(Happening::Arrive(Message { peer, client, body }));
    }

    pub(crate) fn client_timer(&mut self, client: usize, timer: Timer) {
        match timer {
            Timer::Next => self.next_call(client),
            Timer::Deadline(seq) => self.conclude(client, seq, Outcome::Unknown),
            Timer::Again(seq) => self.send_again(client, seq),
            Timer::Cancel(seq) => {
                if let Some(pending) = self.clients[client].pending.get(&seq) {
                    let id = pending.sent.id;
                    self.tell_agent(client, Body::Cancel(id));
                }
            }
        }
    }

    fn next_call(&mut self, client: usize) {
        let think = self.rng.between(0, 150 * MS);
        if self.clients[client].left == 0 {
            return;
        }
        if self.clients[client].hello.is_none() && !self.clients[client].old {
            self.tell_agent(client, Body::Hello);
            return self.after(50 * MS, Happening::Client(client, Timer::Next));
        }
        if self.clients[client].pending.len() < 3 {
            self.make_call(client);
        }
        if !self.clients[client].old && self.rng.chance(self.plan.locks) {
            self.lock_or_release(client);
        }
        if self.rng.chance(self.plan.deaf) {
            self.clients[client].deaf_until = self.now + self.rng.between(50 * MS, 8000 * MS);
        }
        self.after(think, Happening::Client(client, Timer::Next));
    }

    fn make_call(&mut self, client: usize) {
        let board = self.rng.pick(self.plan.boards);
        let span = self.rng.between(50 * MS, 1500 * MS);
        let kind = self.rng.pick(12);
        let bulk = self.rng.between(0, 4000);
        if self.rng.chance(50) {
            self.reconnect(client);
        }
        let now = self.now;
        let me = &mut self.clients[client];
        me.left -= 1;
        me.seq += 1;
        let seq = me.seq;
        let value = seq << 8 | client as u64;
        let op = match kind {
            0..=1 => Op::Read,
            2..=3 => Op::ReadQuick,
            4 => Op::WaitThenRead,
            5..=7 => Op::Write(value),
            8 => Op::WriteThenWait(value),
            9..=10 => Op::ReadBulk(usize::try_from(bulk).unwrap_or(0)),
            _ => Op::WaitThenWrite(value),
        };
        // The agent's clock said at least `agent` when hello's answer came; the own clock may have run
        // too fast since then, and the agent's too slow: 100 parts per million each.
        let (epoch, expires) = me.hello.map_or((0, Uptime::ZERO), |hello| {
            let ahead = me.clock(now + span) - hello.own;
            (hello.epoch, hello.agent + Uptime::from_micros(ahead - ahead / 5000))
        });
        let id = CallId { client: me.uuid, seq };
        let lease = me.leases.get(&board).copied();
        // Some are content with a whole one.
        let credit = (!me.old && !bulk.is_multiple_of(4)).then_some(CREDIT.0);
        let sent = Sent { id, old: me.old, epoch, expires, lease, credit, board, op };
        me.pending.insert(seq, Pending { sent, from: now, copies: 1, parts: (Vec::new(), 0) });
        self.tell_agent(client, Body::Call(sent));
        self.after(span, Happening::Client(client, Timer::Deadline(seq)));
        self.send_again_later(client, seq);
        if self.rng.chance(50) {
            let wait = self.rng.between(0, span);
            self.after(wait, Happening::Client(client, Timer::Cancel(seq)));
        }
    }

    /// An old client sends a call once; the others until there is an answer.
    fn send_again_later(&mut self, client: usize, seq: u64) {
        if !self.clients[client].old {
            let wait = self.rng.between(100 * MS, 400 * MS);
            self.after(wait, Happening::Client(client, Timer::Again(seq)));
        }
    }

    fn send_again(&mut self, client: usize, seq: u64) {
        if !self.clients[client].pending.contains_key(&seq) {
            return;
        }
        if self.rng.chance(300) {
            self.reconnect(client);
        }
        let Some(pending) = self.clients[client].pending.get_mut(&seq) else { return };
        pending.copies += 1;
        let sent = pending.sent;
        self.tell_agent(client, Body::Call(sent));
        self.send_again_later(client, seq);
    }

    fn lock_or_release(&mut self, client: usize) {
        let board = self.rng.pick(self.plan.boards);
        let mut token = [0; 16];
        token[..8].copy_from_slice(&self.rng.next().to_be_bytes());
        let body = match self.clients[client].leases.remove(&board) {
            Some(token) => Body::Release { board, token },
            None => Body::Lock { board, token },
        };
        self.tell_agent(client, body);
    }

    pub(crate) fn answered(&mut self, client: usize, answer: Answer) {
        match answer {
            Answer::Hello { epoch, now } => {
                let own = self.clients[client].clock(self.now);
                self.clients[client].hello = Some(Hello { epoch, agent: now, own });
            }
            Answer::Locked { board, token } => {
                self.clients[client].leases.insert(board, token);
            }
            Answer::Value { seq, value } => self.conclude(client, seq, Outcome::Value(value)),
            Answer::Whole { seq, reply } => self.take_result(client, seq, &reply),
            Answer::Chunk { seq, index, count, data } => {
                self.take_part(client, seq, (index, count), &data);
            }
            Answer::Chunked { seq, count, bytes } => {
                let Some(pending) = self.clients[client].pending.get_mut(&seq) else { return };
                let (data, parts) = std::mem::take(&mut pending.parts);
                // One with a hole is none, and what is missing may yet come of another copy.
                if parts == count && data.len() == bytes {
                    self.take_result(client, seq, &data);
                }
            }
            Answer::Refused { seq, why, executed } => {
                if why == Refusal::StaleEpoch {
                    self.clients[client].hello = None;
                }
                let me = &mut self.clients[client];
                let Some(pending) = me.pending.get(&seq) else { return };
                if matches!(why, Refusal::LeaseLost | Refusal::Locked { .. }) {
                    me.leases.remove(&pending.sent.board);
                }
                let sure = pending.copies == 1 || why.covers_copies();
                let outcome = if executed == Executed::No && sure {
                    Outcome::NotExecuted
                } else {
                    Outcome::Unknown
                };
                self.conclude(client, seq, outcome);
            }
        }
    }

    fn take_part(&mut self, client: usize, seq: u64, (index, count): (u64, u64), data: &[u8]) {
        let Some(pending) = self.clients[client].pending.get_mut(&seq) else { return };
        let (have, next) = &mut pending.parts;
        if index == 0 {
            (*have, *next) = (Vec::new(), 0);
        }
        if index != *next || index >= count {
            return;
        }
        have.extend_from_slice(data);
        *next += 1;
        if next.is_multiple_of(CREDIT.1) {
            let id = pending.sent.id;
            self.tell_agent(client, Body::Credit(id, CREDIT.1));
        }
    }

    /// A large result has come: it must be the board's, to the last byte.
    fn take_result(&mut self, client: usize, seq: u64, reply: &[u8]) {
        let Some(pending) = self.clients[client].pending.get(&seq) else { return };
        match line::value_of(reply, seq, pending.sent.op.bulk()) {
            Some(value) => self.conclude(client, seq, Outcome::Value(value)),
            None => self.record.violate(format!("the result of call {seq} is not what was sent")),
        }
    }

    /// The call has ended for its client; what comes later is not listened to.
    fn conclude(&mut self, client: usize, seq: u64, outcome: Outcome) {
        let Some(pending) = self.clients[client].pending.remove(&seq) else { return };
        let Sent { id, board, op, old, .. } = pending.sent;
        let seen = Seen { board, op, from: pending.from, to: self.now, outcome, old };
        self.record.seen.insert(id, seen);
    }
}
