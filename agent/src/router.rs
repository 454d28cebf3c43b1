//! The router: one thread between the transport, the session and the workers.
//!
//! ```text
//! transport --message--> arrive --Event--> session --Action--> perform --Order--> worker
//!     ^                    |                  ^                   |                  |
//!     +------ reply -------+------------------|-------------------+                  |
//!                                             +------------- Report -----------------+
//! ```
//!
//! It never waits for a peer, a device or a lock that either could hold: it sleeps in the transport
//! only.

mod arrival;
mod bulk;
mod health;
mod leases;
mod logging;
mod objects;
mod status;
mod words;

pub(crate) use status::Snapshot;

use crate::{
    access::Networks,
    audit::Audit,
    chunks::Chunks,
    clock::Clock,
    config::{Bounds, Config, Endpoint},
    control::Control,
    job::{BUFFER, Job, Pool},
    outbox::Outbox,
    transport::{self, LENT, ListenError, Transport},
    worker::{self, Mailbox, Order, Report, Slot, Surroundings},
};
use bulk::Bulk;
use health::Health;
use objects::{Entry, State};
use proximity_proto::limits::Limits;
use proximity_session::{Action, Event, HowCancelled, Place, Refusal, Session, Uptime};
use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

/// How long the agent waits with its first call for objects that are slow to open.
const OPENING: Duration = Duration::from_secs(2);

/// How long it waits at its end for objects to close.
const CLOSING: Duration = Duration::from_secs(5);

/// How long after all calls have ended the agent's end waits for clients to take large results in parts.
const FAREWELL: Duration = Duration::from_secs(3);

/// What is not due for so long when a message comes is not due when that was dealt with either: the clock need not be
/// read for it, which costs a call as much as to find its object.
const FAR: Duration = Duration::from_secs(2);

/// Reports that are read before it is seen who else wants something: an object that tells of its
/// progress without end is not to be all that is heard.
const REPORTS: usize = 64;

/// The state of a running agent.
pub(crate) struct Router {
    clock: Clock,
    control: Control,
    mailbox: Arc<Mailbox>,
    transport: Box<dyn Transport>,
    session: Session<Box<Job>>,
    /// What the session wants done, in its order.
    actions: Vec<Action<Box<Job>>>,
    /// How many of them are done.
    performed: usize,
    pool: Pool,
    outbox: Outbox,
    chunks: Chunks,
    /// Calls that had a large reply of late.
    bulk: Bulk,
    /// All objects there have been; a name of a slot is not used again.
    entries: Vec<Option<Entry>>,
    /// Those that can be called.
    names: BTreeMap<String, Slot>,
    /// The slot of each of the session's objects.
    slots: Vec<Slot>,
    /// When an object that is away is to be tried again, if there is one.
    next_try: Option<Uptime>,
    health: Health,
    listen: Vec<Endpoint>,
    plaintext: Networks,
    limits: Limits,
    queue: usize,
    bounds: Bounds,
    audit: Audit,
    /// A request in JSON.
    text: Vec<u8>,
    /// How clients reach the agent.
    addresses: Vec<String>,
    /// Messages of peers that do not read.
    ignored: u64,
    /// Requests that could not be understood, or named nothing that there is.
    wrong: u64,
    /// Requests from where none may come.
    not_allowed: u64,
    draining: bool,
    drained: bool,
    /// When the agent ends whatever is still to be sent.
    farewell: Option<Uptime>,
}

impl Router {
    /// An agent that listens as `config` says and has its objects on the way to be opened.
    ///
    /// # Errors
    ///
    /// [`ListenError`] for an endpoint that cannot be had.
    pub(crate) fn new(
        config: Config,
        control: Control,
        mut transport: Box<dyn Transport>,
    ) -> Result<(Self, Vec<String>), ListenError> {
        let addresses = transport.listen(&config.listen, config.limits.max_frame)?;
        let health = Health::new(control.notifier());
        let mut router = Self {
            clock: Clock::start(),
            mailbox: Arc::new(Mailbox::new(Arc::clone(control.bell()))),
            control,
            transport,
            // The hasher's keys come from the system's random numbers: as good as another.
            session: Session::new(RandomState::new().hash_one("epoch")),
            actions: Vec::new(),
            performed: 0,
            pool: Pool::default(),
            outbox: Outbox::default(),
            chunks: Chunks::new(),
            bulk: Bulk::default(),
            entries: Vec::new(),
            names: BTreeMap::new(),
            slots: Vec::new(),
            next_try: None,
            health,
            listen: config.listen,
            plaintext: config.plaintext,
            limits: config.limits,
            queue: config.queue,
            bounds: config.bounds,
            audit: Audit { file: config.audit },
            text: Vec::new(),
            addresses: addresses.clone(),
            ignored: 0,
            wrong: 0,
            not_allowed: 0,
            draining: false,
            drained: false,
            farewell: None,
        };
        router.transport.set_connections(config.bounds.connections);
        router.session.set_budget(config.bounds.budget());
        for object in config.objects {
            router.add(object, None);
        }
        Ok((router, addresses))
    }

    /// Waits until all objects were opened, or could not be, or it takes too long.
    ///
    /// A client that was there before the agent has its call on the way; it should find its object.
    pub(crate) fn open_objects(&mut self) {
        let end = self.clock.now() + OPENING;
        while self.entries.iter().flatten().any(Entry::is_opening) {
            let left = end.saturating_sub(self.clock.now());
            if left.is_zero() {
                return;
            }
            self.wait_for_reports(left);
        }
    }

    /// Serves until it is told to stop and nothing is left to be done.
    pub(crate) fn serve(&mut self, on_ready: &mut dyn FnMut(&[String])) {
        let bell = Arc::clone(self.control.bell());
        self.obey(on_ready);
        let mut arrived = None;
        while !self.is_over() {
            if bell.was_rung() {
                arrived = None;
                self.read_reports();
                self.take_back();
                self.obey(on_ready);
                if self.is_over() {
                    break;
                }
            }
            let timeout = self.keep_time(arrived.take());
            let mut job = self.pool.take();
            let event = self.transport.next(&bell, Some(timeout), &mut job.request);
            match event {
                transport::Event::Request(peer) => {
                    let now = self.clock.now();
                    arrived = Some(now);
                    self.arrive(now, peer, job);
                }
                transport::Event::Gone(peer) => {
                    self.pool.give_back(job);
                    self.gone(peer.id);
                }
                transport::Event::Idle => {
                    self.pool.give_back(job);
                    self.retry_replies();
                }
            }
            self.perform_all();
        }
    }

    /// Closes all objects, as far as they let themselves be closed.
    pub(crate) fn close(&mut self) {
        let end = self.clock.now() + CLOSING;
        for slot in 0..self.entries.len() {
            self.close_object(slot);
        }
        while self.entries.iter().any(Option::is_some) {
            let left = end.saturating_sub(self.clock.now());
            if left.is_zero() {
                let names = self.entries.iter().flatten().map(|entry| entry.config.name.as_str());
                log::warn!("not closed in time: {}", names.collect::<Vec<_>>().join(", "));
                return;
            }
            self.wait_for_reports(left);
        }
    }

    /// Waits for reports of workers, and nothing else.
    fn wait_for_reports(&mut self, timeout: Duration) {
        let bell = Arc::clone(self.control.bell());
        if let Some(fd) = bell.fall_asleep() {
            let mut polled = [libc::pollfd { fd, events: libc::POLLIN, revents: 0 }];
            let waited = crate::os::poll(&mut polled, Some(timeout));
            let [polled] = polled;
            bell.wake_up(polled.revents != 0);
            if let Err(error) = waited {
                log::error!("cannot wait for objects: {error}");
            }
        }
        // It may have been rung for an order too: serve() begins with a look at those.
        bell.was_rung();
        self.read_reports();
    }

    /// Does what is due by the clock; returns how long there is nothing more. `arrived` is when a message came, if
    /// all that happened since is that it was dealt with.
    fn keep_time(&mut self, arrived: Option<Uptime>) -> Duration {
        let wakes = [
            self.session.next_wake(),
            self.next_try,
            self.outbox.next_wake(),
            self.chunks.next_wake(),
            self.bulk.next_wake(),
            self.farewell,
        ];
        let next = wakes.into_iter().flatten().fold(self.health.next, Uptime::min);
        if arrived.is_some_and(|arrived| next > arrived + FAR) {
            return FAR / 2;
        }
        let now = self.clock.now();
        if next > now {
            return next.saturating_sub(now);
        }
        if self.session.next_wake().is_some_and(|wake| wake <= now) {
            self.feed(Event::Tick);
        }
        if self.next_try.is_some_and(|next| next <= now) {
            self.try_objects(now);
        }
        if self.outbox.next_wake().is_some_and(|wake| wake <= now) {
            self.retry_replies();
        }
        if self.chunks.next_wake().is_some_and(|wake| wake <= now) {
            self.send_chunks();
        }
        self.bulk.trim_memory(now, &mut self.pool);
        if self.health.next <= now {
            self.look_after_objects(now);
        }
        self.perform_all();
        Duration::ZERO
    }

    fn read_reports(&mut self) {
        for _ in 0..REPORTS {
            let Some(report) = self.mailbox.take() else { return };
            match report {
                Report::Ran { slot, object, job, end } => self.ran(slot, object, job, end),
                Report::Opened { slot, outcome } => self.opened(slot, outcome),
                Report::Stopped { slot } => self.stopped(slot),
                Report::Progress { slot, peer, mut message, told } => {
                    told.fetch_sub(1, Relaxed);
                    let object = self.entry(slot).and_then(|entry| entry.id);
                    if object.is_some_and(|object| self.session.is_waited_for(object)) {
                        // One that finds no room is not worth keeping: the next tells more.
                        let _ = self.transport.try_send(&peer, &mut message);
                    }
                }
            }
            // In between, so that an object's next call starts before the next report is read.
            self.perform_all();
        }
        self.control.bell().ring();
    }

    fn obey(&mut self, on_ready: &mut dyn FnMut(&[String])) {
        let orders = self.control.take();
        if let Some(config) = orders.reload {
            self.reload(config, on_ready);
            self.tell_ready();
        }
        for asker in orders.snapshots {
            // Whoever asked may have stopped waiting.
            let _ = asker.try_send(self.snapshot());
        }
        if orders.drain {
            self.draining = true;
            self.control.notifier().stopping();
            self.feed(Event::Drain);
        }
        self.perform_all();
    }

    /// Tells the session what happened.
    fn feed(&mut self, event: Event<Box<Job>>) {
        self.feed_at(self.clock.now(), event);
    }

    /// As [`Router::feed`], where it is known what time it is.
    fn feed_at(&mut self, now: Uptime, event: Event<Box<Job>>) {
        self.session.on(now, event, &mut self.actions);
    }

    /// Carries out what the session wants, and what that leads to.
    fn perform_all(&mut self) {
        while let Some(action) = self.actions.get_mut(self.performed) {
            self.performed += 1;
            // What is left in its place is never looked at.
            let action = std::mem::replace(action, Action::Drained);
            self.perform(action);
        }
        self.actions.clear();
        self.performed = 0;
    }

    fn perform(&mut self, action: Action<Box<Job>>) {
        match action {
            Action::Start { object, job, place, deadline } => {
                if let Some(&slot) = self.slots.get(object.index()) {
                    self.start(slot, job, place, deadline);
                }
            }
            Action::Reply { job } => self.deliver(job),
            Action::Refuse { mut job, why, executed } => {
                self.count_refusal(&job, &why);
                if matches!(why, Refusal::NoRoom { .. }) && job.reply.len() >= LENT {
                    self.bulk.note(&job);
                }
                let entry = self.names.get(job.object()).and_then(|&slot| self.entry(slot));
                let away = entry.and_then(|entry| entry.away.as_ref());
                let (fault, reason) = words::refusal(&why, &job, away);
                job.fail(&fault, executed, reason);
                self.deliver(job);
            }
            Action::Cancelled { mut job, how } => {
                let word = match how {
                    HowCancelled::Queued => "queued",
                    HowCancelled::Waiting => "waiting",
                    HowCancelled::Running => "running",
                    HowCancelled::Unknown => "unknown",
                };
                job.answer(|out| proximity_proto::reply::text(out, word));
                self.deliver(job);
            }
            Action::Interrupt { object } => {
                if let Some(&slot) = self.slots.get(object.index())
                    && let Some(entry) = self.entry(slot)
                {
                    entry.worker.cancel.store(true, Relaxed);
                }
            }
            Action::Forget { job } => self.pool.give_back(job),
            Action::Reopen { object } => {
                if let Some(&slot) = self.slots.get(object.index()) {
                    self.reopen(slot);
                }
            }
            Action::Retire { object } => {
                if let Some(&slot) = self.slots.get(object.index()) {
                    self.close_object(slot);
                }
            }
            Action::Drained => {
                self.drained = true;
                self.farewell = Some(self.clock.now() + FAREWELL);
            }
        }
    }

    fn start(&mut self, slot: Slot, mut job: Box<Job>, place: Place, deadline: Option<Uptime>) {
        let clock = self.clock;
        let Some(entry) = self.entries.get_mut(slot).and_then(Option::as_mut) else {
            return self.pool.give_back(job);
        };
        let (State::Idle(mut object), Some(table)) =
            (std::mem::replace(&mut entry.state, State::Busy), &entry.table)
        else {
            // The session starts calls on open, idle objects only.
            log::error!("object '{}' was to run a call without being open", entry.config.name);
            return self.pool.give_back(job);
        };
        entry.worker.cancel.store(false, Relaxed);
        match place {
            Place::Worker => {
                entry.pulse.begin(clock.now(), deadline, job.proc());
                if self.pool.keeps_large()
                    && job.call().is_some_and(|call| self.bulk.size(&call) > BUFFER)
                {
                    self.pool.equip_large(&mut job);
                }
                let table = Arc::clone(table);
                entry.worker.order(Order::Run { object, table, job, deadline });
            }
            Place::Inline => {
                let surroundings = Surroundings {
                    clock,
                    cancel: &entry.worker.cancel,
                    progressed: &entry.worker.progressed,
                    way: None,
                };
                let end = worker::run(&mut *object, table, &mut job, deadline, &surroundings);
                self.ran(slot, object, job, end);
            }
        }
    }

    /// Counts a call that its object did not see the end of.
    fn count_refusal(&mut self, job: &Job, why: &Refusal) {
        let entry = job.slot.and_then(|slot| self.entries.get_mut(slot)?.as_mut());
        // A panic was counted as the call's end.
        if let Some(entry) = entry.filter(|_| !matches!(why, Refusal::Panicked { .. })) {
            entry.tally.refused += 1;
        }
    }

    /// Sends a job's reply.
    fn deliver(&mut self, job: Box<Job>) {
        if job.reply.len() >= LENT {
            self.bulk.note(&job);
        }
        if let Some(credit) = Chunks::takes(&job) {
            return self.send_in_chunks(credit, job);
        }
        let lost = self.outbox.send(job, &mut *self.transport, &mut self.pool, self.clock);
        if let Some(peer) = lost {
            self.gone(peer);
        }
        self.write_off();
    }

    /// Tries replies again that found no room.
    fn retry_replies(&mut self) {
        if self.outbox.next_wake().is_none() {
            return;
        }
        let now = self.clock.now();
        while let Some(peer) = self.outbox.retry(&mut *self.transport, &mut self.pool, now) {
            self.gone(peer);
        }
        self.write_off();
    }
}
