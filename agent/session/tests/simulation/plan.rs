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
    /// Messages of 1,000 that come twice.
    pub(crate) duplicate: u64,
    /// In how many of 1,000 moments a client asks for a lease, or gives it back.
    pub(crate) locks: u64,
    /// The longest way of a message.
    pub(crate) delay: Time,
    /// The longest time from one trouble of the agent to the next.
    pub(crate) trouble: Time,
    /// At how many of 1,000 steps of a worker the agent is stopped: where it hurts most.
    pub(crate) stops: u64,
    /// In how many of 1,000 moments a client stops to read, for a time.
    pub(crate) deaf: u64,
    /// What is broken on purpose, to see that the checks notice.
    pub(crate) mutation: Option<Mutation>,
}

/// A part of the contract that the router loses before the session sees it, or the worker behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// Calls lose their id: a copy is another call.
    NoDeduplication,
    /// Calls lose their epoch: a copy runs again after a restart.
    NoEpoch,
    /// Calls lose their deadline.
    NoDeadline,
    /// The deadline is looked at when a call comes, and not again when its turn has come.
    NoDeadlineInQueue,
    /// Calls lose their client's uuid: replies are kept by number only.
    SequenceOnly,
    /// Leases are counted from 1 in each run of the agent: those of two runs look alike.
    LeaseWithoutEpoch,
    /// Workers do not look at the clock and the cancel flag right before the board.
    NoLastCheck,
    /// Calls lose the lease they are made under, and objects their leases' protection.
    NoLease,
    /// Nobody has a budget.
    NoBudget,
    /// Replies that are thrown away with their connection are never reported as taken.
    BudgetNotReturned,
    /// Parts of large results are sent whether they were granted or not.
    NoCredit,
    /// Parts are sent however many are on their way.
    NoWindow,
    /// Where a result was held up, it goes on with bytes that it has sent already.
    WrongOffset,
}

impl Mutation {
    pub(crate) const ALL: [Mutation; 13] = [
        Mutation::NoDeduplication,
        Mutation::NoEpoch,
        Mutation::NoDeadline,
        Mutation::NoDeadlineInQueue,
        Mutation::SequenceOnly,
        Mutation::LeaseWithoutEpoch,
        Mutation::NoLastCheck,
        Mutation::NoLease,
        Mutation::NoBudget,
        Mutation::BudgetNotReturned,
        Mutation::NoCredit,
        Mutation::NoWindow,
        Mutation::WrongOffset,
    ];
}

impl Plan {
    /// Everything goes wrong now and then.
    const BAD: Plan = Plan {
        clients: 8,
        calls: 12,
        boards: 3,
        queue: 4,
        loss: 30,
        duplicate: 20,
        locks: 15,
        delay: 300 * MS,
        trouble: 2000 * MS,
        stops: 5,
        deaf: 4,
        mutation: None,
    };

    /// All fight for one board, and the agent is restarted often.
    const FIGHT: Plan =
        Plan { boards: 1, queue: 16, locks: 200, trouble: 600 * MS, calls: 20, ..Plan::BAD };

    /// The plan of a seed.
    pub(crate) fn of(seed: u64) -> Plan {
        if seed % 4 == 3 { Plan::FIGHT } else { Plan::BAD }
    }
}
