//! Objects from their opening to their end.

use super::{Router, health::Pulse};
use crate::{
    config::{Config, ObjectConfig},
    job::Job,
    table::Table,
    tally::{LastError, Tally},
    worker::{End, Order, Slot, Worker},
};
use proximity_proto::{Fault, Object, fault::Executed};
use proximity_session::{Event, Legacy, ObjectId, ObjectOptions, Uptime};
use std::{sync::Arc, time::Duration};

/// How long after a try in vain an object is opened again; doubled each time, up to the second.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// What an agent looks like to the router.
pub(super) struct Entry {
    pub(super) config: Arc<ObjectConfig>,
    /// What old clients may do; may change while it is open.
    legacy: Legacy,
    pub(super) worker: Worker,
    pub(super) state: State,
    /// What can be called; none before it was opened once.
    pub(super) table: Option<Arc<Table>>,
    /// Its name in the session, which knows only objects that were opened once.
    pub(super) id: Option<ObjectId>,
    /// Why it could not be opened when that was last tried; none once it could.
    pub(super) away: Option<Fault>,
    /// Since when it is open, or away.
    pub(super) since: Uptime,
    /// What its worker does.
    pub(super) pulse: Pulse,
    /// What its calls came to.
    pub(super) tally: Tally,
    /// It is to be closed as soon as its worker gives it back.
    ending: bool,
    /// The object of the same name that is to be opened when this one is closed.
    successor: Option<Slot>,
}

/// Where an object is.
pub(super) enum State {
    /// Not opened: one of the same name is still there.
    Next,
    /// With its worker, to be opened.
    Opening {
        /// The session waits for it.
        asked: bool,
        /// How long to wait if it fails.
        pause: Duration,
    },
    /// Here.
    Idle(Box<dyn Object>),
    /// With its worker, or in the router's hands, for a call.
    Busy,
    /// It panicked, or broke; what is left of it, until its worker gets that to close it.
    Broken(Option<Box<dyn Object>>),
    /// It could not be opened.
    Away {
        /// When to try again.
        next: Uptime,
        /// How long to wait after that.
        pause: Duration,
    },
    /// With its worker, to be closed.
    Closing,
}

impl Entry {
    /// Whether it is not known yet if the object can be opened.
    pub(super) fn is_opening(&self) -> bool {
        matches!(self.state, State::Opening { .. })
    }

    /// Counts a call that gave the object back.
    fn tally(&mut self, now: Uptime, job: &Job, end: End) {
        let fault = match end {
            End::Done => job.fault.as_deref(),
            End::Lost => job.lost.as_ref().map(|lost| &lost.fault),
            // It did not run, and is counted where it is refused; or it is not over.
            End::Lapsed | End::Waiting(_) => return,
        };
        self.tally.latency.count(now.saturating_sub(job.arrived));
        match fault {
            None => self.tally.done += 1,
            Some(fault) => {
                self.tally.failed += 1;
                self.tally.error = Some(LastError::new(fault, now));
            }
        }
    }

    /// Whether the object is in the hands of its worker.
    pub(super) fn is_with_worker(&self) -> bool {
        matches!(self.state, State::Opening { .. } | State::Busy | State::Closing)
    }

    /// What its worker does.
    pub(super) fn doing(&self) -> String {
        match self.state {
            State::Opening { .. } => "its opening".to_owned(),
            State::Closing => "its closing".to_owned(),
            _ => format!("{}()", self.pulse.doing),
        }
    }
}

impl Router {
    pub(super) fn entry(&self, slot: Slot) -> Option<&Entry> {
        self.entries.get(slot)?.as_ref()
    }

    fn entry_mut(&mut self, slot: Slot) -> Option<&mut Entry> {
        self.entries.get_mut(slot)?.as_mut()
    }

    /// Takes in an object, and has it opened, once `before` is closed.
    pub(super) fn add(&mut self, config: ObjectConfig, before: Option<Slot>) {
        let slot = self.entries.len();
        let config = Arc::new(config);
        let worker =
            Worker::start(slot, Arc::clone(&config), self.clock, Arc::clone(&self.mailbox));
        let worker = match worker {
            Ok(worker) => worker,
            Err(error) => {
                return log::error!("object '{}' gets no thread: {error}", config.name);
            }
        };
        self.names.insert(config.name.clone(), slot);
        let entry = Entry {
            legacy: config.legacy,
            config,
            worker,
            state: State::Next,
            table: None,
            id: None,
            away: None,
            since: self.clock.now(),
            pulse: Pulse::default(),
            tally: Tally::default(),
            ending: false,
            successor: None,
        };
        self.entries.push(Some(entry));
        match before.and_then(|before| self.entry_mut(before)) {
            Some(before) => before.successor = Some(slot),
            None => self.open(slot, None, false, RETRY.0),
        }
    }

    fn open(&mut self, slot: Slot, remains: Option<Box<dyn Object>>, asked: bool, pause: Duration) {
        let now = self.clock.now();
        if let Some(entry) = self.entry_mut(slot) {
            entry.pulse.begin(now, None, "");
            entry.state = State::Opening { asked, pause };
            entry.worker.order(Order::Open(remains));
        }
    }

    /// An object was opened, or could not be.
    pub(super) fn opened(
        &mut self,
        slot: Slot,
        outcome: Result<(Box<dyn Object>, Arc<Table>), Fault>,
    ) {
        let (now, queue) = (self.clock.now(), self.queue);
        let Some(entry) = self.entries.get_mut(slot).and_then(Option::as_mut) else { return };
        let State::Opening { asked, pause } = entry.state else { return };
        let name = &entry.config.name;
        let ok = outcome.is_ok();
        entry.pulse.stuck = false;
        if ok || entry.away.is_none() {
            entry.since = now;
        }
        match outcome {
            Ok((object, table)) => {
                log::info!("object '{name}' is open");
                entry.state = State::Idle(object);
                entry.table = Some(table);
                entry.away = None;
                if entry.id.is_none() {
                    let options = ObjectOptions { queue, legacy: entry.legacy };
                    entry.id = Some(self.session.add_object(options));
                    self.slots.push(slot);
                }
            }
            Err(fault) => {
                // Once: what is tried every few seconds need not be told each time.
                if pause == RETRY.0 {
                    log::warn!("object '{name}' cannot be opened, and is tried again: {fault}");
                }
                let next = now + pause;
                self.next_try = Some(self.next_try.map_or(next, |time| time.min(next)));
                entry.state = State::Away { next, pause: (pause * 2).min(RETRY.1) };
                entry.away = Some(fault);
            }
        }
        if entry.ending {
            self.close_object(slot);
        } else if let (true, Some(object)) = (asked, entry.id) {
            self.feed(Event::Reopened { object, ok });
        }
        self.tell_status();
    }

    /// The session wants an object opened anew.
    pub(super) fn reopen(&mut self, slot: Slot) {
        let Some(entry) = self.entry_mut(slot) else { return };
        let Some(object) = entry.id else { return };
        match &mut entry.state {
            State::Broken(remains) => {
                let remains = remains.take();
                self.open(slot, remains, true, RETRY.0);
            }
            State::Opening { asked, .. } => *asked = true,
            // It came back by itself since the session saw it fail.
            State::Idle(_) => self.feed(Event::Reopened { object, ok: true }),
            // It is tried again at its time: a client that calls often does not hammer the device.
            _ => self.feed(Event::Reopened { object, ok: false }),
        }
    }

    /// Opens again what is away and whose time has come.
    pub(super) fn try_objects(&mut self, now: Uptime) {
        self.next_try = None;
        for slot in 0..self.entries.len() {
            let Some(entry) = self.entry(slot) else { continue };
            let State::Away { next, pause } = entry.state else { continue };
            if next <= now {
                self.open(slot, None, false, pause);
            } else {
                self.next_try = Some(self.next_try.map_or(next, |time| time.min(next)));
            }
        }
    }

    /// A call gave its object back.
    pub(super) fn ran(&mut self, slot: Slot, object: Box<dyn Object>, mut job: Box<Job>, end: End) {
        let now = self.clock.now();
        self.pool.keep_apart(&mut job);
        let Some(entry) = self.entry_mut(slot) else { return self.pool.give_back(job) };
        entry.tally(now, &job, end);
        if entry.pulse.stuck {
            entry.pulse.stuck = false;
            let (name, doing) = (&entry.config.name, entry.doing());
            let seconds = now.saturating_sub(entry.pulse.began).as_secs();
            log::warn!("object '{name}' is back from {doing} after {seconds} s");
        }
        entry.state = match end {
            End::Lost => {
                entry.since = now;
                State::Broken(Some(object))
            }
            _ => State::Idle(object),
        };
        let Some(object) = entry.id else { return self.pool.give_back(job) };
        self.feed_at(
            now,
            match end {
                End::Done => Event::Done { object, job },
                End::Lapsed => Event::Lapsed { object, job },
                End::Waiting(until) => Event::Waiting { object, job, until },
                End::Lost => {
                    let (executed, class, reason) = match &job.lost {
                        Some(lost) => (lost.executed, lost.fault.class.clone(), lost.reason),
                        None => (Executed::Unknown, "RuntimeError".into(), None),
                    };
                    Event::Panicked { object, job, executed, class, reason }
                }
            },
        );
    }

    /// Closes an object for good: now, or when its worker is done with it.
    pub(super) fn close_object(&mut self, slot: Slot) {
        let now = self.clock.now();
        let Some(entry) = self.entry_mut(slot) else { return };
        let object = match std::mem::replace(&mut entry.state, State::Closing) {
            State::Idle(object) => Some(object),
            State::Broken(remains) => remains,
            State::Away { .. } => None,
            // Its worker gives it back first; or it waits for the one before it, as its successor does.
            state => {
                entry.state = state;
                entry.ending = true;
                return;
            }
        };
        entry.pulse.begin(now, None, "");
        entry.worker.order(Order::Stop(object));
    }

    /// An object is closed for good.
    pub(super) fn stopped(&mut self, slot: Slot) {
        let Some(entry) = self.entries.get_mut(slot).and_then(Option::take) else { return };
        log::info!("object '{}' is closed", entry.config.name);
        let Some(slot) = entry.successor else { return };
        match self.entry_mut(slot) {
            Some(successor) if successor.ending => {
                successor.state = State::Closing;
                successor.worker.order(Order::Stop(None));
            }
            _ => self.open(slot, None, false, RETRY.0),
        }
    }

    /// Works by another configuration from now on.
    pub(super) fn reload(&mut self, config: Config, on_ready: &mut dyn FnMut(&[String])) {
        if self.listen != config.listen {
            match self.transport.listen(&config.listen, config.limits.max_frame) {
                Ok(addresses) => {
                    on_ready(&addresses);
                    self.addresses = addresses;
                }
                Err(error) => {
                    let why = &error.source;
                    return log::error!("the configuration is not taken over: {error}: {why}");
                }
            }
        }
        self.listen = config.listen;
        self.plaintext = config.plaintext;
        self.limits = config.limits;
        let taken = self.transport.max_frame();
        if taken < self.limits.max_frame {
            log::warn!(
                "'max_frame' stays {taken} bytes: where the agent listens it takes no more until it is started anew"
            );
            // Clients are told what is taken, so that they refuse themselves what is not.
            self.limits.max_frame = taken;
        }
        self.queue = config.queue;
        self.bounds = config.bounds;
        self.audit.file = config.audit;
        self.transport.set_connections(config.bounds.connections);
        self.session.set_budget(config.bounds.budget());
        let mut before = std::mem::take(&mut self.names);
        for object in config.objects {
            let name = object.name.clone();
            let former = before.remove(&name);
            let same = former.filter(|&slot| {
                self.entry(slot).is_some_and(|entry| entry.config.fingerprint == object.fingerprint)
            });
            if let Some(slot) = same {
                self.names.insert(name, slot);
                self.serve_as(slot, object.legacy);
                continue;
            }
            self.add(object, former);
            if let Some(slot) = former {
                self.remove(slot);
            }
        }
        for slot in before.into_values() {
            self.remove(slot);
        }
    }

    /// Serves an object that goes on as the configuration says now.
    fn serve_as(&mut self, slot: Slot, legacy: Legacy) {
        let queue = self.queue;
        let Some(entry) = self.entry_mut(slot) else { return };
        entry.legacy = legacy;
        if let Some(object) = entry.id {
            self.session.set_options(object, ObjectOptions { queue, legacy });
        }
    }

    /// Takes an object out of the configuration.
    fn remove(&mut self, slot: Slot) {
        match self.entry(slot).and_then(|entry| entry.id) {
            Some(object) => self.feed(Event::RemoveObject { object }),
            None => self.close_object(slot),
        }
    }
}
