//! How bad a world is.

use crate::world::{MS, Time};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) clients: usize,
    /// Calls that each client makes.
    pub(crate) calls: u64,
    pub(crate) boards: usize,
    /// Calls that may stand behind the one in hand.
    pub(crate) queue: usize,
    /// Messages of 1,000 that are lost.
    pub(crate) loss: u64,
    /// The longest way of a message.
    pub(crate) delay: Time,
    /// The longest time from one trouble of the agent to the next.
    pub(crate) trouble: Time,
}

impl Plan {
    pub(crate) const BAD: Plan = Plan {
        clients: 8,
        calls: 12,
        boards: 3,
        queue: 4,
        loss: 30,
        delay: 300 * MS,
        trouble: 2000 * MS,
    };
}
