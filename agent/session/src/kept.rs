//! What became of calls, kept so that a client that asks again gets the same answer and no second run.
//!
//! Calls with an id that change something are entered when they come, and stay entered with their end:
//! the reply, or why it was refused. Reads are not: they may be repeated.
//!
//! A copy of a call can come late, over a connection that its client has given up long ago. So a call
//! is not forgotten while a copy of it might still run: what bounds the memory is dropped in this order,
//! the reply's bytes, the entry (numbers up to the highest that was `forgotten` are refused), and, once
//! the deadlines of all its calls have passed, the client. Copies may have other deadlines than the first:
//! those count too. Whoever names deadlines that are far away holds a place for as long; of those there
//! may be some, and they leave room for all others.
//!
//! A call of a client that is known looks at nobody else. What has to look through all clients frees
//! enough at a time, or waits long enough, that it is seldom done.

use crate::{CallId, Executed, Refusal, Uptime};
use core::time::Duration;
use proximity_proto::limits::MAX_AHEAD;
use std::{
    borrow::Cow,
    collections::{BTreeMap, VecDeque},
};

/// Ended calls remembered for a client.
pub(crate) const CALLS: usize = 64;
/// The largest reply that is kept; of larger ones only that the call has run. 64 KiB.
pub(crate) const REPLY_BYTES: usize = 64 << 10;
/// Bytes of replies kept for a client: 1 MiB.
pub(crate) const CLIENT_BYTES: usize = 1 << 20;
/// What is kept of the calls of all clients, replies and all else: 32 MiB.
pub(crate) const ALL_BYTES: usize = 32 << 20;
/// What is left of it where that was too much.
const ENOUGH_BYTES: usize = ALL_BYTES / 8 * 7;
/// What a kept reply or text takes besides its bytes: the allocator's own, and what it rounds up.
const ALLOCATION: usize = 24;
/// What a shared text takes besides: the counts of who shares it.
const SHARED: usize = 2 * size_of::<usize>() + ALLOCATION;
/// How long a client that does not call keeps its replies.
pub(crate) const KEEP: Duration = Duration::from_mins(5);
/// Clients remembered: some 100 bytes each, once their calls are forgotten.
pub(crate) const CLIENTS: usize = 16_384;
/// Those of them that may have a deadline further ahead than [`KEEP`].
pub(crate) const FAR_CLIENTS: usize = CLIENTS / 4;
/// Clients forgotten at a time, where there must be room for one.
const AT_A_TIME: usize = 256;
/// All clients are not looked through more often than this.
const PAUSE: Duration = Duration::from_secs(1);

/// What is known of a call that comes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Known<'a> {
    /// Nothing.
    New,
    /// An earlier copy of it is held, or runs.
    InProgress,
    /// It has ended, with this reply.
    Replied(&'a [u8]),
    /// It has ended otherwise.
    Refused(Refusal, Executed),
}

/// An entered call.
#[derive(Debug)]
enum Fate {
    InProgress,
    Replied(Vec<u8>),
    Refused(Refusal, Executed),
}

#[derive(Debug)]
struct Entry {
    seq: u64,
    fate: Fate,
}

#[derive(Debug)]
struct Client {
    /// In the order of their numbers.
    entries: VecDeque<Entry>,
    /// Entries that are still in progress.
    in_progress: usize,
    /// The highest number that was: those up to it that are not entered are not run any more.
    forgotten: Option<u64>,
    /// What the kept replies and texts take.
    bytes: usize,
    /// Bytes of the replies themselves; what their buffers have to spare is not held against the client.
    results: usize,
    used: Uptime,
    /// The last deadline of a call that was ever entered, or of a copy: none can run after it.
    expires: Uptime,
    /// That was further ahead than [`KEEP`] when the last call, or copy, came.
    far: bool,
}

/// The memory of all clients.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    clients: BTreeMap<[u8; 16], Client>,
    /// What all of them weigh.
    bytes: usize,
    /// How many of them are far.
    far: usize,
    /// There is no room for another before that.
    full_until: Uptime,
    sweep_at: Option<Uptime>,
}

impl Kept {
    /// What is known of a call that comes; if it is a copy, its client is remembered until its deadline too.
    ///
    /// A deadline for which there is no place among the far ones, or that is further ahead than any call's
    /// may be, counts as far as it may: the answer is known, a refusal would say less, and could not keep
    /// the copy from coming once more either.
    pub(crate) fn look_up(
        &mut self,
        now: Uptime,
        id: CallId,
        expires: Option<Uptime>,
    ) -> Known<'_> {
        let Some(client) = self.clients.get_mut(&id.client) else { return Known::New };
        if client.entry(id.seq).is_none() && !client.has_forgotten(id.seq) {
            return Known::New;
        }
        let may_be_far = client.far || self.far < FAR_CLIENTS;
        let most = now + if may_be_far { MAX_AHEAD } else { KEEP };
        client.expires = client.expires.max(expires.unwrap_or(now + KEEP).min(most));
        self.far -= usize::from(client.far);
        client.far = client.expires > now + KEEP;
        self.far += usize::from(client.far);
        match client.entry(id.seq).map(|entry| &entry.fate) {
            Some(Fate::InProgress) => Known::InProgress,
            Some(Fate::Replied(reply)) => Known::Replied(reply),
            Some(Fate::Refused(why, executed)) => Known::Refused(why.clone(), *executed),
            None => Known::Refused(Refusal::TooOld, Executed::No),
        }
    }

    /// Enters a call of which nothing is known as in progress.
    ///
    /// Returns false where no more clients can be remembered: then it must not run.
    pub(crate) fn enter(&mut self, now: Uptime, id: CallId, expires: Option<Uptime>) -> bool {
        let expires = expires.unwrap_or(now + KEEP);
        let known = self.clients.get(&id.client);
        let was_far = known.is_some_and(|client| client.far);
        let last = known.map_or(expires, |client| client.expires.max(expires));
        let is_new = known.is_none();
        let far = last > now + KEEP;
        if far && !was_far && self.far >= FAR_CLIENTS || is_new && !self.make_room(now) {
            return false;
        }
        self.far = self.far + usize::from(far) - usize::from(was_far);
        self.sweep_at.get_or_insert(now + KEEP);
        if is_new {
            self.clients.insert(id.client, Client::new());
        }
        self.change(id.client, |client| {
            (client.used, client.expires, client.far) = (now, last, far);
            client.insert(id.seq);
        });
        true
    }

    /// Keeps the reply of a call in progress.
    pub(crate) fn replied(&mut self, now: Uptime, id: CallId, reply: &[u8]) {
        self.change(id.client, |client| {
            // The buffer that the oldest entry leaves serves the newest: nothing is allocated.
            let spare = client.drop_oldest(CALLS - 1);
            let fate = if reply.len() > REPLY_BYTES {
                Fate::Refused(Refusal::ReplyNotKept, Executed::Yes)
            } else {
                let mut buffer = spare.unwrap_or_default();
                if buffer.capacity() > 4 * reply.len() + 256 {
                    buffer = Vec::new();
                }
                buffer.clear();
                // Not twice as much, as it would grow by itself: that counts for the client and for all.
                buffer.reserve_exact(reply.len());
                buffer.extend_from_slice(reply);
                Fate::Replied(buffer)
            };
            client.end(now, id.seq, fate);
            client.drop_replies(CLIENT_BYTES);
        });
    }

    /// Remembers a refusal of a call of which nothing is known, so that no late copy of it runs.
    ///
    /// Returns false where no more clients can be remembered: then nothing may be said of copies.
    pub(crate) fn turned_away(
        &mut self,
        now: Uptime,
        id: CallId,
        expires: Option<Uptime>,
        why: &Refusal,
    ) -> bool {
        let entered = self.enter(now, id, expires);
        if entered {
            self.refused(now, id, why, Executed::No);
        }
        entered
    }

    /// Keeps why a call in progress was refused.
    pub(crate) fn refused(&mut self, now: Uptime, id: CallId, why: &Refusal, executed: Executed) {
        self.change(id.client, |client| {
            client.drop_oldest(CALLS - 1);
            client.end(now, id.seq, Fate::Refused(why.clone(), executed));
        });
    }

    /// Forgets a call in progress that was dropped before it ran: the next copy is the first.
    pub(crate) fn dropped(&mut self, id: CallId) {
        self.change(id.client, |client| {
            let at = client.entries.partition_point(|entry| entry.seq < id.seq);
            if client.entries.get(at).is_some_and(|entry| entry.is_in_progress(id.seq)) {
                client.entries.remove(at);
                client.in_progress -= 1;
            }
        });
    }

    /// When [`Kept::sweep`] is due.
    pub(crate) fn sweep_at(&self) -> Option<Uptime> {
        self.sweep_at
    }

    /// Drops what has not been used for long.
    pub(crate) fn sweep(&mut self, now: Uptime) {
        if self.sweep_at.is_none_or(|at| at > now) {
            return;
        }
        let mut next = None;
        let (mut freed, mut far) = (0, 0);
        self.clients.retain(|_, client| {
            if client.in_progress == 0 && client.used + KEEP <= now {
                freed += client.weight();
                client.forget_ended();
                if client.expires <= now {
                    far += usize::from(client.far);
                    return false;
                }
            }
            let due = if client.entries.is_empty() { client.expires } else { client.used + KEEP };
            // A client with a call in progress for longer than that is looked at again later.
            let due = if due <= now { now + KEEP } else { due };
            next = Some(next.map_or(due, |next: Uptime| next.min(due)));
            true
        });
        self.bytes -= freed;
        self.far -= far;
        self.sweep_at = next.map(|next| next.max(now + PAUSE));
    }

    /// Clients remembered, and bytes that what is kept of their calls takes.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.clients.len(), self.bytes)
    }

    /// Changes a client, if it is known, and what all weigh with it.
    fn change(&mut self, uuid: [u8; 16], how: impl FnOnce(&mut Client)) {
        let Some(client) = self.clients.get_mut(&uuid) else { return };
        let before = client.weight();
        how(client);
        self.bytes = self.bytes + client.weight() - before;
        if self.bytes > ALL_BYTES {
            self.forget_least_used();
        }
    }

    /// Makes room for one more client, if need be by forgetting some of which no copy can come.
    fn make_room(&mut self, now: Uptime) -> bool {
        if self.clients.len() < CLIENTS {
            return true;
        }
        if now < self.full_until {
            return false;
        }
        let idle = |client: &Client| client.in_progress == 0 && client.expires <= now;
        let all = self.clients.iter().filter(|(_, client)| idle(client));
        let mut idle: Vec<_> = all.map(|(uuid, client)| (client.used, *uuid)).collect();
        idle.sort_unstable();
        for (_, uuid) in idle.iter().take(AT_A_TIME) {
            if let Some(client) = self.clients.remove(uuid) {
                self.bytes -= client.weight();
                self.far -= usize::from(client.far);
            }
        }
        if idle.is_empty() {
            // A call in progress may end at any time, a deadline passes when it does.
            let free = |client: &Client| match client.in_progress {
                0 => client.expires,
                _ => client.expires.max(now + PAUSE),
            };
            self.full_until = self.clients.values().map(free).min().unwrap_or(now);
        }
        !idle.is_empty()
    }

    /// Forgets the ended calls of the clients that have not called for longest.
    fn forget_least_used(&mut self) {
        let mut clients: Vec<&mut Client> = self.clients.values_mut().collect();
        clients.sort_unstable_by_key(|client| client.used);
        for client in clients {
            if self.bytes <= ENOUGH_BYTES {
                return;
            }
            self.bytes -= client.weight();
            client.forget_ended();
            self.bytes += client.weight();
        }
    }
}

impl Fate {
    /// What it takes besides its entry.
    fn weight(&self) -> usize {
        match self {
            Fate::Replied(reply) => reply.capacity(),
            // Others may share the texts, and be forgotten before.
            Fate::Refused(Refusal::Locked { holder, .. }, _) => {
                holder.name.len() + holder.address.len() + 2 * SHARED
            }
            Fate::Refused(Refusal::Panicked { class: Cow::Owned(class), .. }, _) => {
                class.capacity() + ALLOCATION
            }
            Fate::InProgress | Fate::Refused(..) => 0,
        }
    }

    /// Bytes of its reply.
    fn result(&self) -> usize {
        if let Fate::Replied(reply) = self { reply.len() } else { 0 }
    }
}

impl Entry {
    fn is_in_progress(&self, seq: u64) -> bool {
        self.seq == seq && matches!(self.fate, Fate::InProgress)
    }
}

impl Client {
    fn new() -> Self {
        Self {
            entries: VecDeque::new(),
            in_progress: 0,
            forgotten: None,
            bytes: 0,
            results: 0,
            used: Uptime::ZERO,
            expires: Uptime::ZERO,
            far: false,
        }
    }

    fn entry(&self, seq: u64) -> Option<&Entry> {
        let at = self.entries.partition_point(|entry| entry.seq < seq);
        self.entries.get(at).filter(|entry| entry.seq == seq)
    }

    /// Whether a number that is not entered is not run any more.
    fn has_forgotten(&self, seq: u64) -> bool {
        // None is below all numbers.
        self.forgotten >= Some(seq)
    }

    /// What is kept of its calls takes so many bytes.
    fn weight(&self) -> usize {
        let slots = self.entries.capacity() * size_of::<Entry>();
        self.bytes + slots + self.entries.len() * ALLOCATION
    }

    /// Enters a call in progress.
    fn insert(&mut self, seq: u64) {
        let len = self.entries.len();
        if len >= CALLS && len == self.entries.capacity() {
            // Twice as much, as it would grow by itself, would be empty for ever.
            self.entries.reserve_exact(CALLS / 8);
        }
        let at = self.entries.partition_point(|entry| entry.seq < seq);
        self.entries.insert(at, Entry { seq, fate: Fate::InProgress });
        self.in_progress += 1;
    }

    /// Ends a call in progress.
    fn end(&mut self, now: Uptime, seq: u64, fate: Fate) {
        self.used = now;
        let at = self.entries.partition_point(|entry| entry.seq < seq);
        let Some(entry) = self.entries.get_mut(at).filter(|entry| entry.is_in_progress(seq)) else {
            return;
        };
        self.bytes += fate.weight();
        self.results += fate.result();
        entry.fate = fate;
        self.in_progress -= 1;
    }

    /// Drops the lowest ended calls until `most` are left, and gives a buffer that they leave.
    fn drop_oldest(&mut self, most: usize) -> Option<Vec<u8>> {
        let mut spare = None;
        while self.entries.len() - self.in_progress > most {
            let ended = |entry: &Entry| !matches!(entry.fate, Fate::InProgress);
            let Some(at) = self.entries.iter().position(ended) else { break };
            let Some(entry) = self.entries.remove(at) else { break };
            self.forgotten = self.forgotten.max(Some(entry.seq));
            self.bytes -= entry.fate.weight();
            self.results -= entry.fate.result();
            if let Fate::Replied(reply) = entry.fate {
                spare = Some(reply);
            }
        }
        spare
    }

    /// Drops the lowest calls' replies until the rest has at most so many bytes.
    fn drop_replies(&mut self, most: usize) {
        for entry in &mut self.entries {
            if self.results <= most {
                return;
            }
            if let Fate::Replied(reply) = &entry.fate {
                self.bytes -= reply.capacity();
                self.results -= reply.len();
                entry.fate = Fate::Refused(Refusal::ReplyNotKept, Executed::Yes);
            }
        }
    }

    /// Drops all ended calls.
    fn forget_ended(&mut self) {
        let forgotten = &mut self.forgotten;
        self.entries.retain(|entry| {
            let ended = !matches!(entry.fate, Fate::InProgress);
            if ended {
                *forgotten = (*forgotten).max(Some(entry.seq));
            }
            !ended
        });
        self.entries.shrink_to_fit();
        (self.bytes, self.results) = (0, 0);
    }
}
