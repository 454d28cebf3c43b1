//! What wakes a router that waits without an end, so that it looks at the clock.

use super::LOOK;
use crate::bell::Bell;
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread,
};

/// A thread that rings the bell once in each [`LOOK`], until this is dropped.
pub(super) struct Ticker {
    ticked: Arc<AtomicBool>,
    _end: Sender<()>,
}

impl Ticker {
    pub(super) fn start(bell: Arc<Bell>) -> io::Result<Self> {
        let ticked = Arc::new(AtomicBool::new(false));
        let (end, ended) = channel();
        let told = Arc::clone(&ticked);
        thread::Builder::new().name("ticker".into()).spawn(move || {
            while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                told.store(true, Relaxed);
                bell.ring();
            }
        })?;
        Ok(Self { ticked, _end: end })
    }

    /// Whether it rang since this was last asked.
    pub(super) fn has_ticked(&self) -> bool {
        self.ticked.load(Relaxed) && self.ticked.swap(false, Relaxed)
    }
}
