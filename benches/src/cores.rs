//! Which core a thread, and all that it starts, runs on.

use crate::Failure;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Where the client runs; servers are always on the first core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    /// On the second core, as deployed: each side has to be woken.
    Cross,
    /// On the servers' core: what is left is the length of the path.
    Same,
    /// Wherever the scheduler likes.
    Free,
}

/// The first two cores that this process may use.
#[derive(Clone, Copy)]
pub(crate) struct Cores {
    both: CpuSet,
    first: usize,
    second: usize,
}

impl Cores {
    /// Finds them. Call it before anything is pinned.
    pub(crate) fn find() -> Result<Self, Failure> {
        let both = sched_getaffinity(None)?;
        let mut usable = (0..CpuSet::MAX_CPU).filter(|&core| both.is_set(core));
        match (usable.next(), usable.next()) {
            (Some(first), Some(second)) => Ok(Self { both, first, second }),
            _ => Err("two cores are needed, one for the servers and one for the client".into()),
        }
    }

    /// Does `work` with this thread, and all that it starts, on the servers' core.
    pub(crate) fn as_server<T>(&self, work: impl FnOnce() -> T) -> Result<T, Failure> {
        self.on(Self::only(self.first), work)
    }

    /// Does `work` with this thread, and all that it starts, where `client` says.
    pub(crate) fn as_client<T>(
        &self,
        client: Client,
        work: impl FnOnce() -> T,
    ) -> Result<T, Failure> {
        let set = match client {
            Client::Cross => Self::only(self.second),
            Client::Same => Self::only(self.first),
            Client::Free => self.both,
        };
        self.on(set, work)
    }

    fn on<T>(&self, set: CpuSet, work: impl FnOnce() -> T) -> Result<T, Failure> {
        sched_setaffinity(None, &set)?;
        let result = work();
        sched_setaffinity(None, &self.both)?;
        Ok(result)
    }

    fn only(core: usize) -> CpuSet {
        let mut set = CpuSet::new();
        set.set(core);
        set
    }
}
