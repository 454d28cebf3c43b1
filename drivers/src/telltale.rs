//! What a driver tells of the way to its device, where others may look while it is busy.

use proximity_proto::object::{Link, LinkState, Way};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// How the way to a device is, kept by the driver's link and read by whoever asks.
///
/// A device that goes away while nobody calls is noticed when somebody asks: the kernel knows, and its
/// descriptor, of which a copy is kept here, tells.
pub(crate) struct Telltale(Mutex<Told>);

struct Told {
    state: LinkState,
    since: Instant,
    error: Option<String>,
    /// The open connection or port; it goes before the link's own, so that nothing stays open or locked.
    watched: Option<OwnedFd>,
}

impl Telltale {
    pub(crate) fn new() -> Self {
        let (state, since) = (LinkState::Unused, Instant::now());
        Self(Mutex::new(Told { state, since, error: None, watched: None }))
    }

    /// The link was opened, on `fd`.
    pub(crate) fn connected(&self, fd: impl AsFd) {
        let mut told = self.told();
        told.turn(LinkState::Connected, None);
        // Without a copy the next call notices what becomes of it.
        told.watched = fd.as_fd().try_clone_to_owned().ok();
    }

    /// The link broke, or could not be opened.
    pub(crate) fn disconnected(&self, error: &io::Error) {
        self.told().turn(LinkState::Disconnected, Some(error.to_string()));
    }

    /// The link was closed on purpose.
    pub(crate) fn unused(&self) {
        self.told().turn(LinkState::Unused, None);
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Told {
    fn turn(&mut self, state: LinkState, error: Option<String>) {
        if self.state != state {
            (self.state, self.since) = (state, Instant::now());
        }
        self.error = error;
        self.watched = None;
    }
}

impl Way for Telltale {
    fn link(&self) -> Link {
        let mut told = self.told();
        if told.watched.as_ref().is_some_and(is_gone) {
            told.turn(LinkState::Disconnected, Some("the other end is gone".to_owned()));
        }
        Link { state: told.state, since: told.since.elapsed(), error: told.error.clone() }
    }
}

/// Whether the other end of a connection or a port is gone, as far as the kernel knows.
pub(crate) fn is_gone(fd: &impl AsFd) -> bool {
    match poll(&mut [PollFd::new(fd, PollFlags::RDHUP)], Some(&Timespec::default())) {
        Ok(ready) => ready > 0,
        Err(rustix::io::Errno::INTR) => false,
        Err(_) => true,
    }
}
