//! The session: events in, actions out.

use crate::{
    Action, Budget, CallId, Event, Executed, HowCancelled, Job, ObjectId, ObjectOptions, PeerId,
    Place, Refusal, Request, Stats, Uptime,
    call::Call,
    ledger::Ledger,
    object::{Held, Object, State},
};

/// Who may run what, when, for one run of the agent.
///
/// # Examples
///
/// ```
/// use core::time::Duration;
/// use proximity_session::{Action, Effect, Event, Job, ObjectOptions, PeerId, Request, Session};
///
/// struct Call(Vec<u8>);
/// impl Job for Call {
///     fn reply(&self) -> &[u8] { &self.0 }
///     fn repeat(&mut self, reply: &[u8]) { self.0 = reply.to_vec(); }
/// }
///
/// let mut session = Session::new(0x5eed);
/// let board = session.add_object(ObjectOptions::default());
/// let mut actions = Vec::new();
/// let request = Request::new(PeerId(1), board, Effect::Read, Call(Vec::new()));
/// session.on(Duration::ZERO, Event::Request(request), &mut actions);
///
/// let Some(Action::Start { job, .. }) = actions.pop() else { panic!("the object is idle") };
/// session.on(Duration::ZERO, Event::Done { object: board, job }, &mut actions);
/// assert!(matches!(actions.pop(), Some(Action::Reply { .. })));
/// ```
#[derive(Debug)]
pub struct Session<J> {
    epoch: u64,
    pub(crate) objects: Vec<Object<J>>,
    pub(crate) draining: bool,
    /// The agent stops or an object goes, and not all that this ends has ended.
    closing: bool,
    /// No later than the next time at which a call expires or wants to go on.
    wake: Option<Uptime>,
    pub(crate) ledger: Ledger<J>,
}

impl<J: Job> Session<J> {
    /// A session without objects. `epoch` names this run of the agent: a random number.
    pub fn new(epoch: u64) -> Self {
        Self {
            epoch,
            objects: Vec::new(),
            draining: false,
            closing: false,
            wake: None,
            ledger: Ledger::new(),
        }
    }

    /// Takes in an object, which must be open.
    ///
    /// Returns its name in events and actions. Names are not used again after
    /// [`Event::RemoveObject`].
    pub fn add_object(&mut self, options: ObjectOptions) -> ObjectId {
        // More than 2^32 objects do not fit into memory; the last name would be shared.
        let id = ObjectId(u32::try_from(self.objects.len()).unwrap_or(u32::MAX));
        self.objects.push(Object::new(options));
        id
    }

    /// Has an object served otherwise from now on; calls that it has taken stay.
    pub fn set_options(&mut self, object: ObjectId, options: ObjectOptions) {
        if let Some(entry) = self.objects.get_mut(object.index()) {
            entry.options = options;
        }
    }

    /// The number that calls must name, told to clients by `hello`.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// When [`Event::Tick`] is due, if no other event comes before. May be early, never late.
    pub fn next_wake(&self) -> Option<Uptime> {
        self.wake.into_iter().chain(self.ledger.kept.sweep_at()).min()
    }

    /// What has happened so far.
    pub fn stats(&self) -> Stats {
        self.ledger.stats
    }

    /// Sets what each connection may have.
    pub fn set_budget(&mut self, budget: Budget) {
        self.ledger.loads.budget = budget;
    }

    /// Counts bytes that a connection was sent besides the replies of its calls.
    pub fn sent(&mut self, peer: PeerId, bytes: usize) {
        self.ledger.loads.sent(peer, bytes);
    }

    /// How many bytes of replies were sent and not taken, by all connections together.
    pub fn unread_bytes(&self) -> usize {
        self.ledger.loads.unread_bytes()
    }

    /// How many clients are remembered, and how many bytes of replies are kept for them.
    pub fn kept(&self) -> (usize, usize) {
        self.ledger.kept.size()
    }

    /// How many of the object's calls are in hand, queued and waiting.
    pub fn depth(&self, object: ObjectId) -> usize {
        self.objects.get(object.index()).map_or(0, Object::depth)
    }

    /// Whether somebody is there to be told how the object's call in hand gets on.
    pub fn is_waited_for(&self, object: ObjectId) -> bool {
        let entry = self.objects.get(object.index());
        entry.and_then(|entry| entry.running.as_ref()).is_some_and(|call| !call.gone)
    }

    /// Decides what follows from `event` at time `now`, and appends it to `out`.
    ///
    /// `now` never goes back. The actions are to be carried out in their order.
    pub fn on(&mut self, now: Uptime, event: Event<J>, out: &mut Vec<Action<J>>) {
        match event {
            Event::Request(request) => self.request(now, request, out),
            Event::Done { object, job } => {
                let Some(call) = self.free(object) else { return self.stray(job, out) };
                self.ledger.reply(now, &call, job, out);
                self.advance(now, object, out);
            }
            Event::Lapsed { object, job } => {
                let Some(call) = self.free(object) else { return self.stray(job, out) };
                let why = match (call.cancelled, call.is_expired(now)) {
                    (true, _) => Refusal::Cancelled,
                    // The lease's end was the deadline.
                    (false, false) if call.lease.is_some() => Refusal::LeaseLost,
                    (false, _) => Refusal::Expired,
                };
                let executed = call.executed_if_dropped();
                self.ledger.refuse(now, &call, job, why, executed, out);
                self.advance(now, object, out);
            }
            Event::Waiting { object, job, until } => self.give_back(now, object, job, until, out),
            Event::Panicked { object, job, executed, class, reason } => {
                let why = Refusal::Panicked { class, reason };
                self.panicked(now, object, job, (why, executed), out);
            }
            Event::Reopened { object, ok } => self.reopened(now, object, ok, out),
            Event::Cancel { id, job } => self.cancel(now, id, job, out),
            Event::PeerGone { peer } => self.peer_gone(peer, out),
            Event::Taken { peer, bytes } => self.ledger.loads.taken(peer, bytes),
            Event::Tick => self.tick(now, out),
            Event::Drain => {
                self.closing |= !self.draining;
                self.draining = true;
                for index in 0..self.objects.len() {
                    self.close(now, index, out);
                }
            }
            Event::RemoveObject { object } => {
                if let Some(entry) = self.objects.get_mut(object.index()) {
                    entry.removed = true;
                    self.closing |= !self.draining;
                }
                self.close(now, object.index(), out);
            }
        }
        if self.closing {
            self.settle(out);
        }
    }

    fn request(&mut self, now: Uptime, request: Request<J>, out: &mut Vec<Action<J>>) {
        self.ledger.stats.requests += 1;
        let Request { peer, id, epoch, expires, lease, object, effect, quick, bulk, mut job } =
            request;
        let mut call = Call::new(peer, id, expires, lease, effect, bulk);
        if epoch.is_some_and(|epoch| epoch != self.epoch) {
            return self.ledger.answer(job, Refusal::StaleEpoch, Executed::No, out);
        }
        if let Some(id) = call.kept_id() {
            // Asked before the deadline is: the answer to a call that has run is not "expired".
            match self.answer_again(now, peer, id, expires, job, out) {
                Ok(()) => return,
                Err(first) => job = first,
            }
        }
        if let Some(why) = self.refusal(now, &call, object) {
            return self.ledger.turn_away(now, &call, job, why, out);
        }
        if let Some(id) = call.kept_id()
            && !self.ledger.kept.enter(now, id, expires)
        {
            return self.ledger.answer(job, Refusal::TooManyClients, Executed::No, out);
        }
        let Some(entry) = self.objects.get_mut(object.index()) else { return };
        let at_once = entry.is_idle(now);
        if quick && at_once {
            // It ends before anything else happens: it is not counted among those in progress.
            return self.start(object, Held { call, job }, Place::Inline, out);
        }
        self.ledger.open(&mut call);
        if at_once {
            return self.start(object, Held { call, job }, Place::Worker, out);
        }
        if entry.state == State::Failed {
            entry.state = State::Reopening;
            out.push(Action::Reopen { object });
        }
        entry.queue.push_back(Held { call, job });
        self.wake_by(expires);
        // It may be that a call wants to go on and the tick for it has not come yet.
        self.advance(now, object, out);
    }

    /// Why a call is refused at the door, if it is.
    fn refusal(&self, now: Uptime, call: &Call, object: ObjectId) -> Option<Refusal> {
        // First of all: for other reasons it might be remembered until then.
        if let Some(why) = Refusal::of_far_deadline(now, call.expires) {
            return Some(why);
        }
        let Some(entry) = self.objects.get(object.index()) else { return Some(Refusal::Removed) };
        if let Some(why) = entry.is_closing(self.draining) {
            return Some(why);
        }
        if call.is_expired(now) {
            return Some(Refusal::Expired);
        }
        let busy = Refusal::Busy { limit: entry.options.queue };
        let old = entry.options.legacy.refusal(call);
        old.or_else(|| entry.lease_refusal(now, call))
            .or_else(|| self.ledger.loads.refusal(call.peer))
            .or_else(|| self.ledger.loads.unread(call.peer, call.bulk))
            .or_else(|| entry.is_full().then_some(busy))
    }

    fn start(&mut self, object: ObjectId, held: Held<J>, place: Place, out: &mut Vec<Action<J>>) {
        let Held { call, job } = held;
        self.ledger.stats.started += u64::from(!call.begun);
        self.ledger.stats.inline += u64::from(place == Place::Inline);
        let Some(entry) = self.objects.get_mut(object.index()) else { return };
        out.push(Action::Start { object, job, place, deadline: entry.deadline(&call) });
        entry.running = Some(call);
    }

    /// Starts the next call of an object that has none in hand.
    fn advance(&mut self, now: Uptime, object: ObjectId, out: &mut Vec<Action<J>>) {
        loop {
            let Some(entry) = self.objects.get_mut(object.index()) else { return };
            if entry.running.is_some() || entry.state != State::Ready {
                return;
            }
            let Some(held) = entry.next(now) else { return };
            let why = if held.call.is_expired(now) {
                Some(Refusal::Expired)
            } else if held.call.begun {
                None
            } else {
                // Leases and unread replies may have changed since it came.
                let reader = || self.ledger.reader(&held.call).unwrap_or(held.call.peer);
                let unread = || self.ledger.loads.unread(reader(), held.call.bulk);
                entry.lease_refusal(now, &held.call).or_else(unread)
            };
            let executed = held.call.executed_if_dropped();
            match why {
                Some(why) => self.ledger.refuse(now, &held.call, held.job, why, executed, out),
                None => return self.start(object, held, Place::Worker, out),
            }
        }
    }

    /// Takes the call in hand off its object.
    fn free(&mut self, object: ObjectId) -> Option<Call> {
        self.objects.get_mut(object.index())?.running.take()
    }

    fn stray(&mut self, job: J, out: &mut Vec<Action<J>>) {
        self.ledger.stats.stray += 1;
        self.ledger.forget(job, out);
    }

    fn give_back(
        &mut self,
        now: Uptime,
        object: ObjectId,
        job: J,
        until: Uptime,
        out: &mut Vec<Action<J>>,
    ) {
        let Some(mut call) = self.free(object) else { return self.stray(job, out) };
        call.begun = true;
        self.ledger.stats.waited += 1;
        let Some(entry) = self.objects.get_mut(object.index()) else { return };
        let closing = entry.is_closing(self.draining).filter(|_| call.is_safe_to_drop());
        let why = if call.cancelled {
            Some(Refusal::Cancelled)
        } else if call.is_expired(now) {
            Some(Refusal::Expired)
        } else {
            closing
        };
        if let Some(why) = why {
            let executed = call.executed_if_dropped();
            self.ledger.refuse(now, &call, job, why, executed, out);
        } else if call.gone && call.is_safe_to_drop() {
            self.ledger.forget(job, out);
        } else {
            let wake = call.expires.map_or(until, |expires| until.min(expires));
            self.ledger.open(&mut call);
            entry.wait(until, Held { call, job });
            self.wake_by(Some(wake));
        }
        self.advance(now, object, out);
    }

    fn panicked(
        &mut self,
        now: Uptime,
        object: ObjectId,
        job: J,
        (why, executed): (Refusal, Executed),
        out: &mut Vec<Action<J>>,
    ) {
        let Some(call) = self.free(object) else { return self.stray(job, out) };
        self.ledger.refuse(now, &call, job, why, executed, out);
        let draining = self.draining;
        let Some(entry) = self.objects.get_mut(object.index()) else { return };
        // What waits goes on with an object that it has begun with, or not at all.
        while let Some(held) = entry.take_waiting(|_| true) {
            let executed = held.call.executed_if_dropped();
            self.ledger.refuse(now, &held.call, held.job, Refusal::Failed, executed, out);
        }
        if entry.is_closing(draining).is_some() {
            entry.state = State::Failed;
        } else {
            entry.state = State::Reopening;
            out.push(Action::Reopen { object });
        }
    }

    fn reopened(&mut self, now: Uptime, object: ObjectId, ok: bool, out: &mut Vec<Action<J>>) {
        let Some(entry) = self.objects.get_mut(object.index()) else { return };
        if entry.state != State::Reopening {
            return;
        }
        if ok {
            entry.state = State::Ready;
            return self.advance(now, object, out);
        }
        entry.state = State::Failed;
        while let Some(held) = entry.queue.pop_front() {
            self.ledger.refuse(now, &held.call, held.job, Refusal::Failed, Executed::No, out);
        }
    }

    fn cancel(&mut self, now: Uptime, id: CallId, job: J, out: &mut Vec<Action<J>>) {
        let is_it = |call: &Call| call.id == Some(id);
        let mut how = HowCancelled::Unknown;
        for (index, entry) in self.objects.iter_mut().enumerate() {
            let held = if let Some(held) = entry.take_queued(is_it) {
                how = HowCancelled::Queued;
                held
            } else if let Some(held) = entry.take_waiting(is_it) {
                how = HowCancelled::Waiting;
                held
            } else if entry.is_running(id) {
                how = HowCancelled::Running;
                if let Some(call) = entry.running.as_mut().filter(|call| !call.cancelled) {
                    call.cancelled = true;
                    self.ledger.stats.interrupted += 1;
                    out.push(Action::Interrupt { object: object_at(index) });
                }
                break;
            } else {
                continue;
            };
            let executed = held.call.executed_if_dropped();
            self.ledger.refuse(now, &held.call, held.job, Refusal::Cancelled, executed, out);
            break;
        }
        out.push(Action::Cancelled { job, how });
    }

    /// Calls that have not been started are dropped if nobody waits for them: a client that is back
    /// with another connection sends them again, or has done so already, and then that copy is answered.
    /// Those that have been started go on, for a board is not to be left half programmed; only reads
    /// that wait are dropped.
    fn peer_gone(&mut self, peer: PeerId, out: &mut Vec<Action<J>>) {
        self.ledger.peer_gone(peer, out);
        for entry in &mut self.objects {
            entry.peer_gone(peer);
            while let Some(held) = entry.take_queued(|call| self.ledger.reader(call).is_none()) {
                self.ledger.drop_call(&held.call, held.job, out);
            }
            while let Some(held) =
                entry.take_waiting(|call| call.peer == peer && call.is_safe_to_drop())
            {
                self.ledger.drop_call(&held.call, held.job, out);
            }
        }
    }

    fn tick(&mut self, now: Uptime, out: &mut Vec<Action<J>>) {
        self.ledger.kept.sweep(now);
        self.wake = None;
        for index in 0..self.objects.len() {
            let Some(entry) = self.objects.get_mut(index) else { return };
            while let Some(held) = entry
                .take_queued(|call| call.is_expired(now))
                .or_else(|| entry.take_waiting(|call| call.is_expired(now)))
            {
                let executed = held.call.executed_if_dropped();
                self.ledger.refuse(now, &held.call, held.job, Refusal::Expired, executed, out);
            }
            self.advance(now, object_at(index), out);
            let wake = self.objects.get(index).and_then(|entry| entry.wake(now));
            self.wake_by(wake);
        }
    }

    /// Refuses an object's calls that have not been started, and the reads that wait. Writes that
    /// wait go on to their end, as what runs does: they have changed something already.
    fn close(&mut self, now: Uptime, index: usize, out: &mut Vec<Action<J>>) {
        let Some(entry) = self.objects.get_mut(index) else { return };
        let Some(why) = entry.is_closing(self.draining) else { return };
        while let Some(held) =
            entry.take_queued(|_| true).or_else(|| entry.take_waiting(Call::is_safe_to_drop))
        {
            self.ledger.refuse(now, &held.call, held.job, why.clone(), Executed::No, out);
        }
    }

    /// Tells when removed objects, and all objects of a stopping agent, have come to rest.
    fn settle(&mut self, out: &mut Vec<Action<J>>) {
        let mut left = 0;
        for (index, entry) in self.objects.iter_mut().enumerate() {
            let depth = entry.depth();
            if entry.removed && !entry.retired && depth == 0 {
                entry.retired = true;
                out.push(Action::Retire { object: object_at(index) });
            }
            left += if entry.removed || self.draining { depth } else { 0 };
        }
        self.closing = left > 0;
        if self.draining && left == 0 {
            out.push(Action::Drained);
        }
    }

    fn wake_by(&mut self, time: Option<Uptime>) {
        self.wake = match (self.wake, time) {
            (Some(wake), Some(time)) => Some(wake.min(time)),
            (wake, time) => wake.or(time),
        };
    }
}

/// The name of the object at a place of the session's list.
pub(crate) fn object_at(index: usize) -> ObjectId {
    ObjectId(u32::try_from(index).unwrap_or(u32::MAX))
}
