//! Where calls end: each through exactly one of these functions.

use crate::{Action, Executed, Job, Refusal, Stats, call::Call};

/// The books on calls that have ended.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) stats: Stats,
}

impl Ledger {
    /// The method has ended: its reply goes out, if somebody is there to get it.
    pub(crate) fn reply<J: Job>(&mut self, call: &Call, job: J, out: &mut Vec<Action<J>>) {
        if call.gone {
            return self.forget(job, out);
        }
        self.stats.replied += 1;
        out.push(Action::Reply { job });
    }

    /// The session itself ends the call.
    pub(crate) fn refuse<J: Job>(
        &mut self,
        call: &Call,
        job: J,
        why: Refusal,
        executed: Executed,
        out: &mut Vec<Action<J>>,
    ) {
        if call.gone {
            return self.forget(job, out);
        }
        self.stats.refused.count(&why);
        out.push(Action::Refuse { job, why, executed });
    }

    /// Nobody waits for the call.
    pub(crate) fn forget<J: Job>(&mut self, job: J, out: &mut Vec<Action<J>>) {
        self.stats.forgotten += 1;
        out.push(Action::Forget { job });
    }
}
