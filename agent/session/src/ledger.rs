//! Where calls end: each through exactly one of these functions, which count it, remember it for a
//! client that asks again, and answer the copy that has asked already.

use crate::{
    Action, CallId, Effect, Executed, Job, PeerId, Refusal, Session, Stats, Uptime,
    budget::Loads,
    call::Call,
    kept::{Kept, Known},
};

/// A copy of a call in progress that came over another connection; gets the same answer. What runs is
/// the first in any case: the copy only tells where its answer goes, and how it is told.
#[derive(Debug)]
struct Copy<J> {
    id: CallId,
    peer: PeerId,
    job: J,
}

/// The books on calls.
#[derive(Debug)]
pub(crate) struct Ledger<J> {
    pub(crate) stats: Stats,
    pub(crate) kept: Kept,
    pub(crate) loads: Loads,
    /// At most one a call: the latest. So they need no bound of their own, and none is refused: it could
    /// not be said that the call will not run.
    copies: Vec<Copy<J>>,
}

/// What is known of calls before the session sees them.
impl<J: Job> Session<J> {
    /// Why nothing is done for a request that is no call, and was meant for the run `epoch` until `expires`, if
    /// it is for one of these.
    pub fn untimely(
        &self,
        now: Uptime,
        epoch: Option<u64>,
        expires: Option<Uptime>,
    ) -> Option<Refusal> {
        if epoch.is_some_and(|epoch| epoch != self.epoch()) {
            return Some(Refusal::StaleEpoch);
        }
        if expires.is_some_and(|expires| expires <= now) {
            return Some(Refusal::Expired);
        }
        Refusal::of_far_deadline(now, expires)
    }

    /// Answers a call that has come before, whatever has become of what it calls since then: an object
    /// may be gone, and yet its last write has run. Gives the job back where nothing is known of it.
    ///
    /// # Errors
    ///
    /// The job: the call may be answered as one that comes for the first time.
    pub fn answer_again(
        &mut self,
        now: Uptime,
        peer: PeerId,
        id: CallId,
        expires: Option<Uptime>,
        mut job: J,
        out: &mut Vec<Action<J>>,
    ) -> Result<(), J> {
        match self.ledger.kept.look_up(now, id, expires) {
            Known::New => return Err(job),
            Known::InProgress => self.ledger.attach(id, peer, job, out),
            Known::Replied(reply) => {
                job.repeat(reply);
                self.ledger.stats.repeated += 1;
                self.ledger.send(peer, job, out);
            }
            Known::Refused(why, executed) => {
                self.ledger.stats.repeated += 1;
                self.ledger.answer(job, why, executed, out);
            }
        }
        Ok(())
    }

    /// Remembers that a call was refused before the session could see it, so that no late copy of it
    /// runs: its object may be there by then. For a call of which [`Session::answer_again`] knows nothing.
    ///
    /// # Errors
    ///
    /// What it is refused for instead, where it cannot be remembered: nothing may be said of copies.
    pub fn remember_refused(
        &mut self,
        now: Uptime,
        id: CallId,
        expires: Option<Uptime>,
    ) -> Result<(), Refusal> {
        let remembered = match Refusal::of_far_deadline(now, expires) {
            Some(why) => return Err(why),
            None => self.ledger.kept.turned_away(now, id, expires, &Refusal::Failed),
        };
        if remembered { Ok(()) } else { Err(Refusal::TooManyClients) }
    }
}

impl<J: Job> Ledger<J> {
    pub(crate) fn new() -> Self {
        Self {
            stats: Stats::default(),
            kept: Kept::default(),
            loads: Loads::default(),
            copies: Vec::new(),
        }
    }

    /// Refuses a call at the door, of which nothing is known.
    pub(crate) fn turn_away(
        &mut self,
        now: Uptime,
        call: &Call,
        job: J,
        why: Refusal,
        out: &mut Vec<Action<J>>,
    ) {
        // A late copy of a call whose client was told that it will not run finds no free place either.
        // Where the reason holds for all copies for ever, there is nothing to remember.
        if why.covers_copies()
            && let Some(id) = call.kept_id()
            && !self.kept.turned_away(now, id, call.expires, &why)
        {
            return self.answer(job, Refusal::TooManyClients, Executed::No, out);
        }
        self.answer(job, why, Executed::No, out);
    }

    /// Counts a call as in progress, if it is not yet.
    pub(crate) fn open(&mut self, call: &mut Call) {
        if !call.counted {
            call.counted = true;
            self.loads.open(call.peer);
        }
    }

    fn close(&mut self, call: &Call) {
        if call.counted {
            self.loads.close(call.peer);
        }
    }

    /// Has a copy of a call in progress wait for its end.
    pub(crate) fn attach(&mut self, id: CallId, peer: PeerId, job: J, out: &mut Vec<Action<J>>) {
        if let Some(earlier) = self.detach(id) {
            self.loads.close(earlier.peer);
            self.forget(earlier.job, out);
        }
        self.loads.open(peer);
        self.copies.push(Copy { id, peer, job });
    }

    /// Who waits for the call's answer, if anybody does.
    pub(crate) fn reader(&self, call: &Call) -> Option<PeerId> {
        if !call.gone {
            return Some(call.peer);
        }
        let id = call.kept_id()?;
        self.copies.iter().find(|copy| copy.id == id).map(|copy| copy.peer)
    }

    /// Takes the copy that waits for the end of the call.
    fn detach(&mut self, id: CallId) -> Option<Copy<J>> {
        let at = self.copies.iter().position(|copy| copy.id == id)?;
        Some(self.copies.swap_remove(at))
    }

    /// The method has ended: its reply goes out to whoever is there to get it.
    pub(crate) fn reply(&mut self, now: Uptime, call: &Call, job: J, out: &mut Vec<Action<J>>) {
        let no_room = self.loads.no_room(job.reply().len());
        if let Some(why) = no_room.filter(|_| self.reader(call).is_some()) {
            // A read has changed nothing: it may be said not to have run, and may be repeated.
            let read = call.effect == Effect::Read;
            let executed = if read { Executed::No } else { Executed::Yes };
            return self.refuse(now, call, job, why, executed, out);
        }
        if let Some(id) = call.kept_id() {
            if let Some(Copy { peer, job: mut copy, .. }) = self.detach(id) {
                copy.repeat(job.reply());
                self.loads.close(peer);
                self.send(peer, copy, out);
            }
            self.kept.replied(now, id, job.reply());
        }
        if call.gone {
            return self.forget(job, out);
        }
        self.close(call);
        // The copy may have taken the room that there was; this connection is likely to be dead.
        match self.loads.no_room(job.reply().len()) {
            Some(why) => self.answer(job, why, Executed::Yes, out),
            None => self.send(call.peer, job, out),
        }
    }

    /// The session itself ends the call.
    pub(crate) fn refuse(
        &mut self,
        now: Uptime,
        call: &Call,
        job: J,
        why: Refusal,
        executed: Executed,
        out: &mut Vec<Action<J>>,
    ) {
        if let Some(id) = call.kept_id() {
            self.kept.refused(now, id, &why, executed);
            if let Some(copy) = self.detach(id) {
                self.loads.close(copy.peer);
                self.answer(copy.job, why.clone(), executed, out);
            }
        }
        if call.gone {
            return self.forget(job, out);
        }
        self.close(call);
        self.answer(job, why, executed, out);
    }

    /// A call that never ran is dropped: nobody waits for it.
    pub(crate) fn drop_call(&mut self, call: &Call, job: J, out: &mut Vec<Action<J>>) {
        if let Some(id) = call.kept_id() {
            self.kept.dropped(id);
        }
        self.forget(job, out);
    }

    /// Drops what waits for a connection that is gone.
    pub(crate) fn peer_gone(&mut self, peer: PeerId, out: &mut Vec<Action<J>>) {
        self.loads.gone(peer);
        while let Some(at) = self.copies.iter().position(|copy| copy.peer == peer) {
            let copy = self.copies.swap_remove(at);
            self.forget(copy.job, out);
        }
    }

    /// Sends a reply.
    pub(crate) fn send(&mut self, peer: PeerId, job: J, out: &mut Vec<Action<J>>) {
        self.stats.replied += 1;
        self.loads.sent(peer, job.reply().len());
        out.push(Action::Reply { job });
    }

    /// Answers with a refusal.
    pub(crate) fn answer(
        &mut self,
        job: J,
        why: Refusal,
        executed: Executed,
        out: &mut Vec<Action<J>>,
    ) {
        self.stats.refused.count(&why);
        out.push(Action::Refuse { job, why, executed });
    }

    /// Drops a job.
    pub(crate) fn forget(&mut self, job: J, out: &mut Vec<Action<J>>) {
        self.stats.forgotten += 1;
        out.push(Action::Forget { job });
    }
}
