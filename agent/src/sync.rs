//! What [`crate::bell`] and [`crate::handover`] stand on: the standard library's and the kernel's.
//!
//! Those two files name nothing else of either, so that `agent/tests/handover.rs` can compile them,
//! unchanged, over loom's types, and try every order in which threads can meet there.

pub(crate) use std::{
    sync::{Mutex, PoisonError, atomic::AtomicU8},
    thread::{Thread, park},
};

use rustix::{
    event::{EventfdFlags, eventfd},
    io::Errno,
};
use std::{
    io,
    os::fd::{AsRawFd, OwnedFd, RawFd},
};

/// Wakes a router that sleeps elsewhere than in poll.
pub(crate) type Waker = Box<dyn Fn() + Send>;

/// What is polled.
pub(crate) type Descriptor = RawFd;

/// A descriptor that becomes readable when it is rung.
pub(crate) struct EventFd(OwnedFd);

impl EventFd {
    /// One that is not readable.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    pub(crate) fn descriptor(&self) -> Descriptor {
        self.0.as_raw_fd()
    }

    /// Makes it readable.
    pub(crate) fn ring(&self) {
        // The count could only be full if the router had slept through 2^64 rings.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    /// Makes it silent again.
    pub(crate) fn hush(&self) {
        let mut count = [0; 8];
        match rustix::io::read(&self.0, &mut count) {
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => log::error!("cannot read the eventfd: {error}"),
        }
    }
}
