//! A client: makes calls, waits until their deadlines, and draws its conclusions.

use crate::{
    board::Op,
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
    Lock { board: usize, token: LeaseToken },
    Release { board: usize, token: LeaseToken },
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
    pub(crate) board: usize,
    pub(crate) op: Op,
}

/// From the agent to a client.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Hello { epoch: u64, now: Uptime },
    Value { seq: u64, value: u64 },
    Refused { seq: u64, why: Refusal, executed: Executed },
    Locked { board: usize, token: LeaseToken },
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
}

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
    /// By board: what it believes to have.
    leases: BTreeMap<usize, LeaseToken>,
}

impl Client {
    pub(crate) fn new(index: usize, plan: &Plan, rng: &mut Rng) -> Self {
        let skew = i64::try_from(rng.between(0, 200)).unwrap_or(0) - 100;
        let uuid = [u8::try_from(index + 1).unwrap_or(u8::MAX); 16];
        // One in eight is an old one.
        let old = index % 8 == 7;
        let (pending, leases) = (BTreeMap::new(), BTreeMap::new());
        Self { uuid, old, peer: 0, skew, hello: None, seq: 0, left: plan.calls, pending, leases }
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
        self.after(think, Happening::Client(client, Timer::Next));
    }

    fn make_call(&mut self, client: usize) {
        let board = self.rng.pick(self.plan.boards);
        let span = self.rng.between(50 * MS, 1500 * MS);
        let kind = self.rng.pick(10);
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
        let sent = Sent { id, old: me.old, epoch, expires, lease, board, op };
        me.pending.insert(seq, Pending { sent, from: now, copies: 1 });
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

    /// The call has ended for its client; what comes later is not listened to.
    fn conclude(&mut self, client: usize, seq: u64, outcome: Outcome) {
        let Some(pending) = self.clients[client].pending.remove(&seq) else { return };
        let Sent { id, board, op, old, .. } = pending.sent;
        let seen = Seen { board, op, from: pending.from, to: self.now, outcome, old };
        self.record.seen.insert(id, seen);
    }
}
