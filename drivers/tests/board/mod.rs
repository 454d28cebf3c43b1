//! An `Fpga` with the surroundings that an agent gives it.

use proximity_drivers::fpga::{Fpga, Setup};
use proximity_proto::{Context, Fault, Later, Principal, object::Host};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

/// The surroundings of a call: a real clock.
pub(crate) struct Surroundings {
    start: Instant,
    cancelled: AtomicBool,
}

impl Surroundings {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), cancelled: AtomicBool::new(false) }
    }

    #[allow(dead_code)] // not every test file calls off its calls
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

impl Host for Surroundings {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    fn progress(&self, _done: u64, _total: u64, _text: &str) {}
}

/// A board and how its methods are called here.
pub(crate) struct Board {
    fpga: Fpga,
    pub(crate) surroundings: Surroundings,
    /// How long a caller waits.
    pub(crate) patience: Duration,
}

impl Board {
    pub(crate) fn new(host: &str, port: u16) -> Self {
        Self::of(&Setup::new(host, port))
    }

    pub(crate) fn of(setup: &Setup) -> Self {
        Self {
            fpga: Fpga::new(setup),
            surroundings: Surroundings::new(),
            patience: Duration::from_secs(20),
        }
    }

    pub(crate) fn fpga(&mut self) -> &mut Fpga {
        &mut self.fpga
    }

    pub(crate) fn address(&self) -> String {
        self.fpga.address().to_owned()
    }

    /// Calls a method as an agent does; its error is what a caller gets.
    pub(crate) fn call<T, E: Into<Fault>>(
        &mut self,
        method: impl FnOnce(&mut Fpga, &Context<'_>) -> Result<T, E>,
    ) -> Result<T, Fault> {
        let principal = Principal::local();
        let deadline = self.surroundings.now() + self.patience;
        let cx = Context::new(&self.surroundings, Some(deadline), &principal);
        method(&mut self.fpga, &cx).map_err(Into::into)
    }

    /// Goes on with a call that waits, at its time, until it ends.
    #[allow(dead_code)] // not every test file has calls that wait
    pub(crate) fn finish<T>(&mut self, mut later: Later<Fpga, T>) -> Result<T, Fault> {
        loop {
            let (at, rest) = match later {
                Later::Ready(value) => return Ok(value),
                Later::At(at, rest) => (at, rest),
            };
            thread::sleep(at.saturating_sub(self.surroundings.now()));
            later = self.call(rest)?;
        }
    }
}
