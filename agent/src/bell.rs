//! Wakes the router out of its wait for messages.

use crate::sync::{AtomicU8, Descriptor, EventFd, Mutex, PoisonError, Waker};
use std::{io, sync::atomic::Ordering::SeqCst};

/// The router works, and will look before it sleeps.
const AWAKE: u8 = 0;
/// The router waits in poll.
const ASLEEP: u8 = 1;
/// There is something for the router to look at.
const RUNG: u8 = 2;
/// The router waits for whatever its transport's waker does.
const ELSEWHERE: u8 = 3;

/// What other threads ring once they have put something where the router will find it.
///
/// Costs them a system call only if the router sleeps.
pub struct Bell {
    state: AtomicU8,
    fd: EventFd,
    waker: Mutex<Option<Waker>>,
}

impl Bell {
    /// A bell that nobody has rung.
    ///
    /// # Errors
    ///
    /// The kernel's, where it has no file descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Self { state: AtomicU8::new(AWAKE), fd: EventFd::new()?, waker: Mutex::new(None) })
    }

    /// Has the router look. What it shall find must be in place already.
    pub fn ring(&self) {
        match self.state.swap(RUNG, SeqCst) {
            ASLEEP => self.fd.ring(),
            ELSEWHERE => {
                // Held meanwhile: it may be of a kind that one thread may use at a time.
                if let Some(wake) = &*self.waker.lock().unwrap_or_else(PoisonError::into_inner) {
                    wake();
                }
            }
            _ => {}
        }
    }

    /// For a transport that waits in no poll of its own: what wakes it from now on.
    pub(crate) fn wake_by(&self, waker: Option<Waker>) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = waker;
    }

    /// For the router: whether somebody rang since the last look.
    pub(crate) fn was_rung(&self) -> bool {
        // A load first, for it is nearly always in vain, and a swap is not free.
        self.state.load(SeqCst) == RUNG && self.state.swap(AWAKE, SeqCst) == RUNG
    }

    /// For a transport: what to poll, unless somebody rang already and there is to be no wait.
    pub(crate) fn fall_asleep(&self) -> Option<Descriptor> {
        let asleep = self.state.compare_exchange(AWAKE, ASLEEP, SeqCst, SeqCst).is_ok();
        asleep.then(|| self.fd.descriptor())
    }

    /// As [`Bell::fall_asleep`], for a transport that gave its waker: whether it is to wait.
    pub(crate) fn fall_asleep_elsewhere(&self) -> bool {
        self.state.compare_exchange(AWAKE, ELSEWHERE, SeqCst, SeqCst).is_ok()
    }

    /// For a transport, after the wait. `heard` says that the descriptor was readable.
    pub(crate) fn wake_up(&self, heard: bool) {
        // A ring between the wait and here stays to be seen by was_rung().
        let slept = self.state.load(SeqCst);
        if slept != RUNG {
            let _ = self.state.compare_exchange(slept, AWAKE, SeqCst, SeqCst);
        }
        if heard {
            self.fd.hush();
        }
    }
}
