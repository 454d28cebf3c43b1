//! One object's calls: the one in hand, those queued behind it, those that wait.

use crate::{CallId, Lease, ObjectOptions, PeerId, Refusal, Uptime, call::Call};
use std::collections::VecDeque;

/// A call that is not in hand.
#[derive(Debug)]
pub(crate) struct Held<J> {
    pub(crate) call: Call,
    pub(crate) job: J,
}

/// A call that gave its object back.
#[derive(Debug)]
pub(crate) struct Waiting<J> {
    pub(crate) until: Uptime,
    pub(crate) held: Held<J>,
}

/// Whether calls can be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// They can.
    Ready,
    /// The object is being opened again; calls queue.
    Reopening,
    /// It could not be opened. The next call has it tried again.
    Failed,
}

/// An object as the session sees it.
#[derive(Debug)]
pub(crate) struct Object<J> {
    pub(crate) options: ObjectOptions,
    pub(crate) state: State,
    /// Out of the configuration.
    pub(crate) removed: bool,
    /// Out of the configuration, and nothing is left of it.
    pub(crate) retired: bool,
    /// Whose writes it takes, if not everybody's; may have ended.
    pub(crate) lease: Option<Lease>,
    /// The call in hand; its job is with the worker.
    pub(crate) running: Option<Call>,
    /// In the order in which they came.
    pub(crate) queue: VecDeque<Held<J>>,
    /// In the order in which they want to go on.
    pub(crate) waiting: VecDeque<Waiting<J>>,
    /// The call that was started last was one that had waited.
    resumed_last: bool,
}

impl<J> Object<J> {
    pub(crate) fn new(options: ObjectOptions) -> Self {
        Self {
            options,
            state: State::Ready,
            removed: false,
            retired: false,
            lease: None,
            running: None,
            queue: VecDeque::new(),
            waiting: VecDeque::new(),
            resumed_last: false,
        }
    }

    /// How many calls are in hand, queued and waiting.
    pub(crate) fn depth(&self) -> usize {
        usize::from(self.running.is_some()) + self.queue.len() + self.waiting.len()
    }

    /// Whether one more call would be one too many.
    ///
    /// One in hand and the limit behind it; a call that gives its object back stays within that.
    pub(crate) fn is_full(&self) -> bool {
        self.depth() > self.options.queue
    }

    /// Whether no call is in hand, nor any to be started before one that comes now.
    pub(crate) fn is_idle(&self, now: Uptime) -> bool {
        self.state == State::Ready
            && self.running.is_none()
            && self.queue.is_empty()
            && !self.is_resumption_due(now)
    }

    fn is_resumption_due(&self, now: Uptime) -> bool {
        self.waiting.front().is_some_and(|first| first.until <= now)
    }

    /// Keeps a call until its time has come, behind those that were to go on by then already.
    pub(crate) fn wait(&mut self, until: Uptime, held: Held<J>) {
        let at = self.waiting.partition_point(|other| other.until <= until);
        self.waiting.insert(at, Waiting { until, held });
    }

    /// The call to be started or resumed next.
    ///
    /// One whose time has come goes first, but not twice in a row while others queue: a method that
    /// gives its object back only to have it at once cannot keep it for itself.
    pub(crate) fn next(&mut self, now: Uptime) -> Option<Held<J>> {
        let may_resume = !self.resumed_last || self.queue.is_empty();
        if may_resume && self.is_resumption_due(now) {
            self.resumed_last = true;
            return self.waiting.pop_front().map(|waiting| waiting.held);
        }
        self.resumed_last = false;
        self.queue.pop_front()
    }

    /// Takes a queued call that `is_it`.
    pub(crate) fn take_queued(&mut self, is_it: impl Fn(&Call) -> bool) -> Option<Held<J>> {
        let at = self.queue.iter().position(|held| is_it(&held.call))?;
        self.queue.remove(at)
    }

    /// Takes a waiting call that `is_it`.
    pub(crate) fn take_waiting(&mut self, is_it: impl Fn(&Call) -> bool) -> Option<Held<J>> {
        let at = self.waiting.iter().position(|waiting| is_it(&waiting.held.call))?;
        self.waiting.remove(at).map(|waiting| waiting.held)
    }

    /// Whether the call in hand has the name.
    pub(crate) fn is_running(&self, id: CallId) -> bool {
        self.running.as_ref().is_some_and(|call| call.id == Some(id))
    }

    /// Notes for a connection's calls that it is gone.
    pub(crate) fn peer_gone(&mut self, peer: PeerId) {
        let queued = self.queue.iter_mut().map(|held| &mut held.call);
        let waiting = self.waiting.iter_mut().map(|waiting| &mut waiting.held.call);
        let calls = self.running.iter_mut().chain(queued).chain(waiting);
        for call in calls.filter(|call| call.peer == peer) {
            call.gone = true;
        }
    }

    /// The next time at which there is something to do here without an event.
    pub(crate) fn wake(&self, now: Uptime) -> Option<Uptime> {
        let queued = self.queue.iter().filter_map(|held| held.call.expires);
        let waiting = self.waiting.iter().flat_map(|waiting| {
            // One whose time has come is resumed when the call in hand ends, not by a tick.
            let until = Some(waiting.until).filter(|&until| until > now);
            until.into_iter().chain(waiting.held.call.expires)
        });
        queued.chain(waiting).min()
    }

    /// Why calls that have not been started are refused for good, if they are.
    pub(crate) fn is_closing(&self, draining: bool) -> Option<Refusal> {
        match (self.removed, draining) {
            (true, _) => Some(Refusal::Removed),
            (false, true) => Some(Refusal::Draining),
            (false, false) => None,
        }
    }
}
