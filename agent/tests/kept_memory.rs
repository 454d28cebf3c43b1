//! What the session remembers of calls takes the memory that docs/wire.md allows it, by the allocator's
//! count and not by its own.

#![allow(clippy::panic, reason = "a test that fails by a panic is a test that works")]

use proximity_proto::call::CallId;
use proximity_session::{
    Action, Effect, Event, Job, ObjectOptions, PeerId, Request, Session, Uptime,
};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

/// Counts what is allocated and not given back.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

/// What the usual allocator takes for a block: a word of its own, in steps of 16 bytes.
fn real(size: usize) -> usize {
    (size + 8).next_multiple_of(16).max(32)
}

// SAFETY: everything is handed to the system's allocator as it came; counting allocates nothing.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(real(layout.size()), Relaxed);
        // SAFETY: the caller keeps alloc's contract, which is System's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE.fetch_sub(real(layout.size()), Relaxed);
        // SAFETY: the block came from System, with this layout.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE.fetch_add(real(size), Relaxed);
        LIVE.fetch_sub(real(layout.size()), Relaxed);
        // SAFETY: the block came from System, with this layout; the size is the caller's promise.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A call whose reply has so many bytes.
struct Call(Vec<u8>);

impl Job for Call {
    fn reply(&self) -> &[u8] {
        &self.0
    }

    fn repeat(&mut self, reply: &[u8]) {
        self.0 = reply.to_vec();
    }
}

/// Runs so many writes of each of 16,384 clients, with replies of so many bytes, or has them refused.
/// Returns by how much memory has grown at most, and what the session itself says that it takes.
fn fill(calls: u64, reply: Option<usize>) -> (usize, usize) {
    let mut session = Session::new(1);
    let object = session.add_object(ObjectOptions::default());
    let mut actions = Vec::with_capacity(8);
    let before = LIVE.load(Relaxed);
    let mut most = 0;
    for client in 0..16_384_u32 {
        let now = Uptime::from_millis(u64::from(client));
        for seq in 0..calls {
            let mut uuid = [0; 16];
            uuid[..4].copy_from_slice(&client.to_be_bytes());
            let id = Some(CallId { client: uuid, seq });
            let expires = Some(now + Uptime::from_mins(4));
            let plain = Request::new(PeerId(1), object, Effect::Write, Call(Vec::new()));
            // One that is refused is remembered where its reason holds for all copies: the lease is no more.
            let lease = reply.is_none().then_some([7; 16]);
            session.on(now, Event::Request(Request { id, expires, lease, ..plain }), &mut actions);
            if let (Some(size), Some(Action::Start { mut job, .. })) = (reply, actions.pop()) {
                job.0 = vec![7; size];
                session.on(now, Event::Done { object, job }, &mut actions);
                assert!(matches!(actions.pop(), Some(Action::Reply { .. })));
            }
            actions.clear();
        }
        most = most.max(LIVE.load(Relaxed) - before);
    }
    assert_eq!(session.kept().0, 16_384);
    (most, session.kept().1)
}

#[test]
fn what_is_remembered_of_calls_takes_32_mebibytes_in_all_however_small_their_results() {
    for (calls, reply) in [(64, Some(20)), (2, Some(2000)), (32, None)] {
        let (grown, told) = fill(calls, reply);
        // The clients themselves, in the tree that they are in.
        let clients = 16_384 * 256;
        assert!(grown <= (32 << 20) + clients, "{grown} bytes for replies of {reply:?}");
        // Nor is it thrown away as soon as there is some.
        assert!((26 << 20..=32 << 20).contains(&told), "{told} bytes for replies of {reply:?}");
    }
}
