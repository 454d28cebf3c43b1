//! The queues between the router and the workers, one each way.

use crate::{
    bell::Bell,
    sync::{Mutex, PoisonError, Thread, park},
};
use std::{collections::VecDeque, sync::Arc};

/// The workers' way to the router, which may sleep in its transport.
pub(crate) struct Mailbox<T> {
    bell: Arc<Bell>,
    reports: Mutex<VecDeque<T>>,
}

impl<T> Mailbox<T> {
    pub(crate) fn new(bell: Arc<Bell>) -> Self {
        // Room for one report of each of many objects, so that none is made while calls run.
        Self { bell, reports: Mutex::new(VecDeque::with_capacity(64)) }
    }

    pub(crate) fn post(&self, report: T) {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).push_back(report);
        self.bell.ring();
    }

    /// The oldest report.
    pub(crate) fn take(&self) -> Option<T> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

/// The router's way to one worker, which sleeps while there is nothing for it.
pub(crate) struct Orders<T> {
    queue: Mutex<VecDeque<T>>,
}

impl<T> Orders<T> {
    pub(crate) fn new() -> Self {
        Self { queue: Mutex::new(VecDeque::with_capacity(2)) }
    }

    /// Hands an order over to the worker that runs on `thread`.
    pub(crate) fn give(&self, order: T, thread: &Thread) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(order);
        thread.unpark();
    }

    /// For the worker: waits for the next order.
    pub(crate) fn next(&self) -> T {
        loop {
            let order = self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            if let Some(order) = order {
                return order;
            }
            park();
        }
    }
}
