//! The agent's clock.

use std::time::{Duration, Instant};

/// Monotonic time since the agent started: what `expires` and `now` on the wire mean.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    /// A clock that starts now.
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since then.
    pub(crate) fn now(self) -> Duration {
        self.0.elapsed()
    }
}
