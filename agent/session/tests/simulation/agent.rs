//! The agent around the session under test: a router, and workers with a step between the last check
//! and the board.

use crate::{
    board::Op,
    client::{Answer, Body, Message, Sent},
    line::{self, Line},
    plan::Mutation,
    record::Execution,
    world::{Happening, MS, Time, World},
};
use proximity_session::{
    Action, CallId, Effect, Event, Executed, Job, LeaseToken, ObjectId, ObjectOptions, PeerId,
    Place, Request, Session, Uptime,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What the router hangs on a request.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    /// Counts the requests of a life of the agent.
    serial: usize,
    pub(crate) peer: u64,
    pub(crate) client: usize,
    /// None for the request to cancel a call.
    pub(crate) sent: Option<Sent>,
    /// How often it has given its board back.
    part: u8,
    result: u64,
    pub(crate) reply: Vec<u8>,
}

impl Job for Work {
    fn reply(&self) -> &[u8] {
        &self.reply
    }

    fn repeat(&mut self, reply: &[u8]) {
        self.reply = reply.to_vec();
    }
}

/// A worker's next step.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// It looks at deadline and cancel flag for the last time.
    Check,
    /// Its bytes reach the board.
    Touch,
    /// The board has answered, or the driver has panicked.
    End,
    /// The board is open again.
    Reopened,
}

/// A call in a worker's hand.
#[derive(Debug)]
struct Hand {
    work: Work,
    deadline: Option<Uptime>,
    interrupted: bool,
    /// The process was stopped between check and touch.
    stopped: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Agent {
    /// How often it has been started.
    pub(crate) life: u32,
    /// It was sent SIGSTOP, and gets SIGCONT then.
    pub(crate) stopped_until: Time,
    pub(crate) started: Time,
    /// What is on its way to clients.
    pub(crate) line: Line,
    pub(crate) session: Option<Session<Work>>,
    /// The object that stands for each board.
    objects: Vec<ObjectId>,
    /// By object.
    slots: Vec<Slot>,
    /// By serial: whether the request has ended.
    ended: Vec<bool>,
    /// By connection: calls that have come and not ended.
    in_flight: BTreeMap<u64, usize>,
    /// What came while it was down.
    mailbox: Vec<Message>,
    ticks_at: Option<Time>,
    /// By board: who was given a lease, and until when.
    leases: BTreeMap<usize, (usize, Time)>,
    /// Leases given, where they are counted.
    locks: u8,
    /// Calls that came, and those that came more than once.
    seen: BTreeSet<CallId>,
    copied: BTreeSet<CallId>,
}

/// What the agent knows of an object.
#[derive(Debug)]
struct Slot {
    board: usize,
    hand: Option<Hand>,
    /// The serial of the call that was started last.
    last: Option<usize>,
}

impl Agent {
    /// Whether the call came more than once.
    pub(crate) fn is_copied(&self, id: CallId) -> bool {
        self.copied.contains(&id)
    }
}

impl World {
    pub(crate) fn uptime(&self) -> Uptime {
        Uptime::from_micros(self.now - self.agent.started)
    }

    pub(crate) fn restart(&mut self) {
        let mut session = Session::new(self.rng.next());
        if self.plan.mutation != Some(Mutation::NoBudget) {
            session.set_budget(line::BUDGET);
        }
        let queue = self.plan.queue;
        let options = ObjectOptions { queue, ..ObjectOptions::default() };
        let agent = &mut self.agent;
        agent.life += 1;
        agent.started = self.now;
        agent.stopped_until = 0;
        agent.objects = (0..self.plan.boards).map(|_| session.add_object(options)).collect();
        agent.slots =
            (0..self.plan.boards).map(|board| Slot { board, hand: None, last: None }).collect();
        agent.ended.clear();
        agent.in_flight.clear();
        agent.line = Line::default();
        agent.ticks_at = None;
        agent.leases.clear();
        agent.locks = 0;
        agent.seen.clear();
        agent.copied.clear();
        agent.session = Some(session);
        for message in std::mem::take(&mut self.agent.mailbox) {
            self.after(0, Happening::Arrive(message));
        }
    }

    pub(crate) fn crash(&mut self) {
        if self.agent.session.take().is_some() {
            self.agent.slots.clear();
            let wait = self.rng.between(MS, 500 * MS);
            self.after(wait, Happening::Restart);
        }
    }

    pub(crate) fn reload(&mut self) {
        let board = self.rng.pick(self.plan.boards);
        let Some(session) = &mut self.agent.session else { return };
        let queue = self.plan.queue;
        let new = session.add_object(ObjectOptions { queue, ..ObjectOptions::default() });
        self.agent.slots.push(Slot { board, hand: None, last: None });
        self.agent.leases.remove(&board);
        let object = std::mem::replace(&mut self.agent.objects[board], new);
        self.feed(Event::RemoveObject { object });
    }

    pub(crate) fn arrive(&mut self, message: Message) {
        if self.agent.session.is_none() {
            if self.rng.chance(700) {
                self.agent.mailbox.push(message);
            }
            return;
        }
        // Old clients are promised nothing about copies; they send none, and nor does TCP.
        let is_old = matches!(message.body, Body::Call(Sent { old: true, .. }));
        if !is_old && self.rng.chance(self.plan.duplicate) {
            let wait = self.delay();
            self.after(wait, Happening::ArriveAgain(self.agent.life, message.clone()));
        }
        self.receive(message);
    }

    pub(crate) fn receive(&mut self, message: Message) {
        let Message { peer, client, body } = message;
        let mut work = Work {
            serial: self.agent.ended.len(),
            peer,
            client,
            sent: None,
            part: 0,
            result: 0,
            reply: Vec::new(),
        };
        match body {
            Body::Hello => {
                let now = self.uptime();
                let epoch = self.agent.session.as_ref().map_or(0, Session::epoch);
                self.send(Happening::Answer(client, Answer::Hello { epoch, now }));
            }
            Body::Cancel(id) => {
                self.agent.ended.push(false);
                self.feed(Event::Cancel { id: self.mutated(id), job: work });
            }
            Body::Call(sent) => {
                self.agent.ended.push(false);
                work.sent = Some(sent);
                let is_copy = !self.agent.seen.insert(sent.id);
                if is_copy {
                    self.agent.copied.insert(sent.id);
                }
                let serial = work.serial;
                let request = self.request(PeerId(peer), sent, work);
                *self.agent.in_flight.entry(peer).or_default() += 1;
                self.feed(Event::Request(request));
                let count = self.agent.in_flight.get(&peer).copied().unwrap_or(0);
                let is_taken = self.agent.ended.get(serial) == Some(&false);
                if is_taken && !is_copy && count > line::BUDGET.in_flight {
                    self.record.violate("a connection has more calls in progress than it may");
                }
            }
            Body::Credit(id, credit) => self.grant(peer, self.mutated(id), credit),
            Body::Lock { board, token } => self.lock(client, board, token),
            Body::Release { board, token } => {
                let (now, object) = (self.uptime(), self.agent.objects[board]);
                let Some(session) = &mut self.agent.session else { return };
                if session.release(now, object, token).is_ok() {
                    self.agent.leases.remove(&board);
                }
            }
        }
    }

    /// The call as the session gets it, less what the mutation loses.
    fn request(&self, peer: PeerId, sent: Sent, work: Work) -> Request<Work> {
        let object = self.agent.objects[sent.board];
        let effect = if sent.op.writes() { Effect::Write } else { Effect::Read };
        let quick = sent.op == Op::ReadQuick;
        // The router knows what a call weighs that it has seen before: here of every other.
        let bulk = if sent.id.seq.is_multiple_of(2) { sent.op.bulk() } else { 0 };
        let request = Request { quick, bulk, ..Request::new(peer, object, effect, work) };
        if sent.old {
            return request;
        }
        let mutation = self.plan.mutation;
        let forgets = match mutation {
            Some(Mutation::NoDeadline) => true,
            Some(Mutation::NoDeadlineInQueue) => sent.expires > self.uptime(),
            _ => false,
        };
        Request {
            id: Some(self.mutated(sent.id)).filter(|_| mutation != Some(Mutation::NoDeduplication)),
            epoch: Some(sent.epoch).filter(|_| mutation != Some(Mutation::NoEpoch)),
            expires: Some(sent.expires).filter(|_| !forgets),
            lease: sent.lease.filter(|_| mutation != Some(Mutation::NoLease)),
            ..request
        }
    }

    pub(crate) fn mutated(&self, id: CallId) -> CallId {
        let sequence_only = self.plan.mutation == Some(Mutation::SequenceOnly);
        CallId { client: if sequence_only { [0; 16] } else { id.client }, ..id }
    }

    fn lock(&mut self, client: usize, board: usize, mut token: LeaseToken) {
        let (now, object) = (self.uptime(), self.agent.objects[board]);
        let ttl = Uptime::from_micros(self.rng.between(1000 * MS, 1500 * MS));
        let Some(session) = &mut self.agent.session else { return };
        if self.plan.mutation == Some(Mutation::LeaseWithoutEpoch) {
            self.agent.locks += 1;
            token = [self.agent.locks; 16];
        }
        let Ok(until) = session.lock(now, object, token, "a client".into(), ttl) else { return };
        if self.plan.mutation == Some(Mutation::NoLease) {
            session.release(now, object, token).unwrap_or_default();
        }
        let until = self.agent.started + u64::try_from(until.as_micros()).unwrap_or(u64::MAX);
        if self.has_lease(board).is_some_and(|holder| holder != client) {
            self.record.violate("two clients have a lease of one board");
        }
        self.agent.leases.insert(board, (client, until));
        self.send(Happening::Answer(client, Answer::Locked { board, token }));
    }

    /// Who has the lease of a board, by the agent's own word.
    fn has_lease(&self, board: usize) -> Option<usize> {
        let (client, until) = self.agent.leases.get(&board)?;
        (*until > self.now).then_some(*client)
    }

    pub(crate) fn tick(&mut self, life: u32) {
        if life == self.agent.life {
            self.agent.ticks_at = None;
            self.feed(Event::Tick);
        }
    }

    pub(crate) fn peer_gone(&mut self, life: u32, peer: u64) {
        if life == self.agent.life {
            self.agent.line.ended.insert(peer);
            self.feed(Event::PeerGone { peer: PeerId(peer) });
            self.agent.in_flight.remove(&peer);
            self.throw_away(peer);
        }
    }

    /// Gives the session an event, and carries out what it says.
    pub(crate) fn feed(&mut self, event: Event<Work>) {
        self.feed_only(event);
        self.pump();
        self.plan_tick();
    }

    /// The same, and sends nothing more of large results.
    pub(crate) fn feed_only(&mut self, event: Event<Work>) {
        let mut events = VecDeque::from([event]);
        let mut actions = Vec::new();
        while let Some(event) = events.pop_front() {
            let now = self.uptime();
            let Some(session) = &mut self.agent.session else { return };
            session.on(now, event, &mut actions);
            for &object in &self.agent.objects {
                if session.depth(object) > self.plan.queue + 1 {
                    self.record.violate("a queue is longer than its limit");
                }
            }
            for action in actions.drain(..) {
                self.act(action, &mut events);
            }
            self.check_budget();
        }
    }

    fn plan_tick(&mut self) {
        let Some(session) = &self.agent.session else { return };
        let Some(wake) = session.next_wake() else { return };
        let at = self.agent.started + u64::try_from(wake.as_micros()).unwrap_or(u64::MAX);
        // A time that has passed is ticked at once.
        let at = at.max(self.now);
        if self.agent.ticks_at.is_none_or(|planned| planned > at) {
            self.agent.ticks_at = Some(at);
            self.after(at - self.now, Happening::Tick(self.agent.life));
        }
    }

    fn act(&mut self, action: Action<Work>, events: &mut VecDeque<Event<Work>>) {
        match action {
            Action::Start { object, job, place, deadline } => {
                self.check_start(object, &job);
                if place == Place::Inline {
                    let mut job = job;
                    self.touch(object, &mut job, false);
                    write_reply(&mut job);
                    return events.push_front(Event::Done { object, job });
                }
                let hand = Hand { work: job, deadline, interrupted: false, stopped: false };
                self.agent.slots[object.index()].hand = Some(hand);
                self.step_after(200, object, Step::Check);
            }
            Action::Reply { job } => {
                self.end(&job);
                if job.reply.len() >= line::BUDGET.counted_from {
                    return self.send_large(job);
                }
                let (Some(sent), Some((reply, _))) =
                    (job.sent, job.reply.split_first_chunk::<16>())
                else {
                    return self.record.violate("a reply without a result");
                };
                let (seq, value) = reply.split_at(8);
                let number = |bytes: &[u8]| bytes.iter().fold(0, |n, &b| n << 8 | u64::from(b));
                if number(seq) != sent.id.seq {
                    self.record.violate("a reply went to another call");
                }
                let answer = Answer::Value { seq: sent.id.seq, value: number(value) };
                self.send(Happening::Answer(job.client, answer));
            }
            Action::Refuse { job, why, executed } => {
                self.end(&job);
                self.check_bound(&job, &why);
                let Some(sent) = job.sent else {
                    return self.record.violate("a cancel request was refused");
                };
                let answer = Answer::Refused { seq: sent.id.seq, why, executed };
                self.send(Happening::Answer(job.client, answer));
            }
            Action::Cancelled { job, .. } | Action::Forget { job } => self.end(&job),
            Action::Interrupt { object } => match &mut self.agent.slots[object.index()].hand {
                Some(hand) => hand.interrupted = true,
                None => self.record.violate("interrupted what does not run"),
            },
            Action::Reopen { object } => self.step_after(50 * MS, object, Step::Reopened),
            Action::Retire { object } => {
                if self.agent.slots[object.index()].hand.is_some() {
                    self.record.violate("retired with a call in hand");
                }
            }
            Action::Drained => {
                if self.agent.slots.iter().any(|slot| slot.hand.is_some()) {
                    self.record.violate("drained with a call in hand");
                }
                self.check_ends();
                self.agent.line.leaving = true;
            }
        }
    }

    /// A worker takes its next step within so many microseconds.
    fn step_after(&mut self, most: Time, object: ObjectId, step: Step) {
        let wait = self.rng.between(1, most);
        self.after(wait, Happening::Worker(self.agent.life, object, step));
        if self.rng.chance(self.plan.stops) {
            self.stop();
        }
    }

    pub(crate) fn stopped_before_touch(&mut self, life: u32, object: ObjectId) {
        if life == self.agent.life
            && let Some(slot) = self.agent.slots.get_mut(object.index())
            && let Some(hand) = &mut slot.hand
        {
            hand.stopped = true;
        }
    }

    pub(crate) fn worker(&mut self, life: u32, object: ObjectId, step: Step) {
        if life != self.agent.life || self.agent.session.is_none() {
            return;
        }
        if let Step::Reopened = step {
            let ok = self.rng.chance(800);
            return self.feed(Event::Reopened { object, ok });
        }
        let now = self.uptime();
        let Some(mut hand) = self.agent.slots[object.index()].hand.take() else {
            return self.record.violate("a worker's step without a call in hand");
        };
        match step {
            Step::Check => {
                let late = hand.deadline.is_some_and(|deadline| deadline <= now);
                let looks = self.plan.mutation != Some(Mutation::NoLastCheck);
                if looks && (hand.interrupted || late) {
                    return self.feed(Event::Lapsed { object, job: hand.work });
                }
                self.step_after(MS, object, Step::Touch);
            }
            Step::Touch => {
                let part = hand.work.part;
                if hand.work.sent.is_some_and(|sent| sent.op.touches_in(part)) {
                    self.touch(object, &mut hand.work, hand.stopped);
                }
                let slowness = self.boards[self.agent.slots[object.index()].board].slowness;
                self.step_after(slowness, object, Step::End);
            }
            Step::End | Step::Reopened => return self.worker_ends(object, hand.work),
        }
        self.agent.slots[object.index()].hand = Some(hand);
    }

    fn worker_ends(&mut self, object: ObjectId, mut job: Work) {
        if self.rng.chance(10) {
            return self.feed(Event::Panicked {
                object,
                job,
                executed: Executed::Unknown,
                class: "RuntimeError".into(),
                reason: None,
            });
        }
        if job.sent.is_some_and(|sent| sent.op.waits_after(job.part)) {
            job.part += 1;
            let until = self.uptime() + Uptime::from_micros(self.rng.between(0, 300 * MS));
            return self.feed(Event::Waiting { object, job, until });
        }
        write_reply(&mut job);
        self.feed(Event::Done { object, job });
    }

    /// The call reaches its board.
    fn touch(&mut self, object: ObjectId, work: &mut Work, stopped: bool) {
        let Some(sent) = work.sent else { return };
        let board = self.agent.slots[object.index()].board;
        let result = self.boards[board].run(sent.op);
        work.result = result;
        let execution = Execution { at: self.now, board, result, stopped };
        self.record.executions.entry(sent.id).or_default().push(execution);
        if !sent.old && self.uptime() > sent.expires + Uptime::from_millis(5) {
            if stopped {
                self.record.residual += 1;
            } else {
                self.record.violate(format!("call {} ran after its deadline", sent.id.seq));
            }
        }
    }

    fn check_start(&mut self, object: ObjectId, job: &Work) {
        if self.agent.ended[job.serial] {
            self.record.violate("started a call that has ended");
        }
        let slot = &mut self.agent.slots[object.index()];
        if slot.hand.is_some() {
            self.record.violate("two calls in one hand");
        }
        let Some(sent) = job.sent.filter(|_| job.part == 0) else { return };
        // A call whose connection has ended runs for a copy's: what the first left unread is no matter.
        let line = &self.agent.line;
        let is_there = !line.ended.contains(&job.peer);
        if is_there && line.owed(job.peer) >= line::BUDGET.unread_bytes {
            self.record.violate("a call was started for a connection that reads nothing");
        }
        let slot = &self.agent.slots[object.index()];
        if sent.op.writes() {
            let board = slot.board;
            let holder = self.has_lease(board);
            if holder.is_some_and(|holder| holder != job.client) {
                self.record
                    .violate(format!("call {} was started under another's lease", sent.id.seq));
            }
        }
        let slot = &mut self.agent.slots[object.index()];
        if slot.last.is_some_and(|last| last >= job.serial) {
            self.record.violate("calls of an object started out of order");
        }
        slot.last = Some(job.serial);
    }

    fn end(&mut self, job: &Work) {
        if std::mem::replace(&mut self.agent.ended[job.serial], true) {
            self.record.violate("a request ended twice");
        }
        if job.sent.is_some()
            && let Some(count) = self.agent.in_flight.get_mut(&job.peer)
        {
            *count = count.saturating_sub(1);
        }
    }

    pub(crate) fn check_ends(&mut self) {
        if self.agent.ended.contains(&false) {
            self.record.violate("a request never ended");
        }
        if let Some(session) = &self.agent.session {
            let stats = session.stats();
            let ended = stats.replied + stats.forgotten + stats.refused.total();
            if stats.requests != ended || stats.stray != 0 {
                self.record.violate(format!("the counters do not add up: {stats:?}"));
            }
        }
    }
}

fn write_reply(job: &mut Work) {
    let seq = job.sent.map_or(0, |sent| sent.id.seq);
    line::write_reply(&mut job.reply, seq, job.result, job.sent.map_or(0, |sent| sent.op.bulk()));
}
