//! What became of calls, kept so that a client that asks again gets the same answer and no second run.
//!
//! Calls with an id that change something are entered when they come, and stay entered with their end:
//! the reply, or why it was refused. Reads are not: they may be repeated.
//!
//! A copy of a call can come late, over a connection that its client has given up long ago. So a call
//! is not forgotten while a copy of it might still run: what bounds the memory is dropped in this order,
//! the reply's bytes, the entry (its number then lies below the client's `floor`, and is refused), and,
//! once the deadlines of all its calls have passed, the client.

use crate::{CallId, Executed, Refusal, Uptime};
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

/// Ended calls remembered for a client.
pub(crate) const CALLS: usize = 64;
/// The largest reply that is kept; of larger ones only that the call has run. 64 KiB.
pub(crate) const REPLY_BYTES: usize = 64 << 10;
/// Replies kept for a client: 1 MiB.
pub(crate) const CLIENT_BYTES: usize = 1 << 20;
/// Replies kept in all: 32 MiB.
pub(crate) const ALL_BYTES: usize = 32 << 20;
/// How long a client that does not call keeps its replies.
pub(crate) const KEEP: Duration = Duration::from_mins(5);
/// Clients remembered: some 100 bytes each, once their replies are gone.
pub(crate) const CLIENTS: usize = 16_384;

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
    /// Numbers below it that are not entered are not run any more.
    floor: u64,
    /// What the kept replies take.
    bytes: usize,
    used: Uptime,
    /// The last deadline of a call that was ever entered: no copy of any can run after it.
    expires: Uptime,
}

/// The memory of all clients.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    clients: BTreeMap<[u8; 16], Client>,
    bytes: usize,
    sweep_at: Option<Uptime>,
}

impl Kept {
    /// What is known of a call that comes.
    pub(crate) fn look_up(&self, id: CallId) -> Known<'_> {
        let Some(client) = self.clients.get(&id.client) else { return Known::New };
        match client.entry(id.seq).map(|entry| &entry.fate) {
            Some(Fate::InProgress) => Known::InProgress,
            Some(Fate::Replied(reply)) => Known::Replied(reply),
            Some(Fate::Refused(why, executed)) => Known::Refused(why.clone(), *executed),
            None if id.seq < client.floor => Known::Refused(Refusal::TooOld, Executed::No),
            None => Known::New,
        }
    }

    /// Enters a call of which nothing is known as in progress.
    ///
    /// Returns false where no more clients can be remembered: then it must not run.
    pub(crate) fn enter(&mut self, now: Uptime, id: CallId, expires: Option<Uptime>) -> bool {
        if !self.clients.contains_key(&id.client) && !self.make_room(now) {
            return false;
        }
        self.sweep_at.get_or_insert(now + KEEP);
        let client = self.clients.entry(id.client).or_insert_with(Client::new);
        client.used = now;
        client.expires = client.expires.max(expires.unwrap_or(now + KEEP));
        client.in_progress += 1;
        let at = client.entries.partition_point(|entry| entry.seq < id.seq);
        client.entries.insert(at, Entry { seq: id.seq, fate: Fate::InProgress });
        true
    }

    /// Keeps the reply of a call in progress.
    pub(crate) fn replied(&mut self, now: Uptime, id: CallId, reply: &[u8]) {
        let Some(client) = self.clients.get_mut(&id.client) else { return };
        let before = client.bytes;
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
            buffer.extend_from_slice(reply);
            Fate::Replied(buffer)
        };
        client.end(now, id.seq, fate);
        client.drop_replies(CLIENT_BYTES);
        self.bytes = self.bytes + client.bytes - before;
        while self.bytes > ALL_BYTES && self.drop_least_used() {}
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
        let Some(client) = self.clients.get_mut(&id.client) else { return };
        let before = client.bytes;
        client.drop_oldest(CALLS - 1);
        client.end(now, id.seq, Fate::Refused(why.clone(), executed));
        self.bytes = self.bytes + client.bytes - before;
    }

    /// Forgets a call in progress that was dropped before it ran: the next copy is the first.
    pub(crate) fn dropped(&mut self, id: CallId) {
        let Some(client) = self.clients.get_mut(&id.client) else { return };
        let at = client.entries.partition_point(|entry| entry.seq < id.seq);
        if client.entries.get(at).is_some_and(|entry| entry.is_in_progress(id.seq)) {
            client.entries.remove(at);
            client.in_progress -= 1;
        }
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
        let mut freed = 0;
        self.clients.retain(|_, client| {
            if client.in_progress == 0 && client.used + KEEP <= now {
                freed += client.bytes;
                client.forget_entries();
                if client.expires <= now {
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
        self.sweep_at = next;
    }

    /// Clients remembered, and bytes of replies kept for them.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.clients.len(), self.bytes)
    }

    /// Makes room for one more client, if need be by forgetting one of which no copy can come.
    fn make_room(&mut self, now: Uptime) -> bool {
        if self.clients.len() < CLIENTS {
            return true;
        }
        let idle = |client: &Client| client.in_progress == 0 && client.expires <= now;
        let all = self.clients.iter().filter(|(_, client)| idle(client));
        let Some(uuid) = all.min_by_key(|(_, client)| client.used).map(|(uuid, _)| *uuid) else {
            return false;
        };
        if let Some(client) = self.clients.remove(&uuid) {
            self.bytes -= client.bytes;
        }
        true
    }

    /// Drops the replies of the client that has not called for longest.
    fn drop_least_used(&mut self) -> bool {
        let with_replies = self.clients.values_mut().filter(|client| client.bytes > 0);
        let Some(client) = with_replies.min_by_key(|client| client.used) else { return false };
        self.bytes -= client.bytes;
        client.drop_replies(0);
        true
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
            floor: 0,
            bytes: 0,
            used: Uptime::ZERO,
            expires: Uptime::ZERO,
        }
    }

    fn entry(&self, seq: u64) -> Option<&Entry> {
        let at = self.entries.partition_point(|entry| entry.seq < seq);
        self.entries.get(at).filter(|entry| entry.seq == seq)
    }

    /// Ends a call in progress.
    fn end(&mut self, now: Uptime, seq: u64, fate: Fate) {
        self.used = now;
        let at = self.entries.partition_point(|entry| entry.seq < seq);
        let Some(entry) = self.entries.get_mut(at).filter(|entry| entry.is_in_progress(seq)) else {
            return;
        };
        if let Fate::Replied(reply) = &fate {
            self.bytes += reply.capacity();
        }
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
            self.floor = self.floor.max(entry.seq.saturating_add(1));
            if let Fate::Replied(reply) = entry.fate {
                self.bytes -= reply.capacity();
                spare = Some(reply);
            }
        }
        spare
    }

    /// Drops the lowest calls' replies until the rest takes at most so many bytes.
    fn drop_replies(&mut self, most: usize) {
        for entry in &mut self.entries {
            if self.bytes <= most {
                return;
            }
            if let Fate::Replied(reply) = &entry.fate {
                self.bytes -= reply.capacity();
                entry.fate = Fate::Refused(Refusal::ReplyNotKept, Executed::Yes);
            }
        }
    }

    fn forget_entries(&mut self) {
        if let Some(last) = self.entries.back() {
            self.floor = self.floor.max(last.seq.saturating_add(1));
        }
        self.entries = VecDeque::new();
        self.bytes = 0;
    }
}
