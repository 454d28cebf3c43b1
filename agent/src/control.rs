//! Orders from outside: from a signal's thread, or from a test.

use crate::{bell::Bell, config::Config, notify::Notifier, router::Snapshot};
use log::LevelFilter;
use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{SyncSender, sync_channel},
    },
    time::Duration,
};

/// Tells a running agent to stop, or to change. Clones tell the same agent.
#[derive(Clone)]
pub struct Control {
    bell: Arc<Bell>,
    notifier: Notifier,
    orders: Arc<Mutex<Orders>>,
    /// Sets the level of the log, or tells that it cannot be set.
    log: Option<Arc<SetLevel>>,
}

type SetLevel = dyn Fn(LevelFilter) -> bool + Send + Sync;

/// What was ordered and is not done yet.
#[derive(Default)]
pub(crate) struct Orders {
    pub(crate) drain: bool,
    /// The last one, if there were several.
    pub(crate) reload: Option<Config>,
    /// Who wants to know how the agent is.
    pub(crate) snapshots: Vec<SyncSender<Snapshot>>,
}

impl Control {
    /// The control of an agent that is to be run with it.
    ///
    /// # Errors
    ///
    /// The kernel's, where it has no file descriptor left.
    pub fn new() -> io::Result<Self> {
        let (notifier, orders) = (Notifier::default(), Arc::default());
        Ok(Self { bell: Arc::new(Bell::new()?), notifier, orders, log: None })
    }

    /// The same, of an agent that tells `notifier` how it is.
    #[must_use]
    pub fn telling(self, notifier: Notifier) -> Self {
        Self { notifier, ..self }
    }

    /// The same, of an agent whose log is of the level that `set` was told last; it returns whether it
    /// could set it.
    #[must_use]
    pub fn logging(self, set: impl Fn(LevelFilter) -> bool + Send + Sync + 'static) -> Self {
        Self { log: Some(Arc::new(set)), ..self }
    }

    /// Has the agent log at `level`. Returns whether it does.
    pub(crate) fn log_at(&self, level: LevelFilter) -> bool {
        self.log.as_ref().is_some_and(|set| set(level))
    }

    /// Has the agent take no more calls, refuse those that have not started, end those that run, and
    /// stop. May be repeated.
    pub fn drain(&self) {
        self.give(|orders| orders.drain = true);
    }

    /// Has the agent work by `config` from now on.
    ///
    /// Objects whose name and fingerprint are the same are not touched, nor are calls that run on
    /// them; nor are endpoints that it listens at already.
    pub fn reload(&self, config: Config) {
        self.give(|orders| orders.reload = Some(config));
    }

    /// What wakes the agent.
    pub fn bell(&self) -> &Arc<Bell> {
        &self.bell
    }

    /// Whom the agent tells how it is.
    pub fn notifier(&self) -> &Notifier {
        &self.notifier
    }

    /// How the agent is, if its router tells within `time`.
    pub(crate) fn snapshot(&self, time: Duration) -> Option<Snapshot> {
        let (asker, told) = sync_channel(1);
        self.give(|orders| orders.snapshots.push(asker));
        told.recv_timeout(time).ok()
    }

    fn give(&self, order: impl FnOnce(&mut Orders)) {
        order(&mut self.orders.lock().unwrap_or_else(PoisonError::into_inner));
        self.bell.ring();
    }

    pub(crate) fn take(&self) -> Orders {
        std::mem::take(&mut self.orders.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
