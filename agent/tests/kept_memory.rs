//! What the session remembers of calls takes the memory that docs/wire.md allows it, by the allocator's
//! count and not by its own.

#![allow(clippy::panic, reason = "a test that fails by a panic is a test that works")]

use proximity_proto::call::CallId;
use proximity_session::{
    Action, Effect, Event, Holder, Job, ObjectOptions, PeerId, Request, Session, Uptime,
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

/// How the writes of [`fill`] end.
#[derive(Clone, Copy, Debug)]
enum End {
    /// With a reply of so many bytes.
    Replied(usize),
    /// Refused, for the lease that they name is no more.
    LeaseLost,
    /// Refused, for somebody else has the lease, who calls himself anew each time.
    Locked,
}

/// Has so many writes of each of 16,384 clients end.
/// Returns by how much memory has grown at most, and what the session itself says that it takes.
fn fill(calls: u64, end: End) -> (usize, usize) {
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
            // One that is refused is remembered where its reason holds for all copies.
            let lease = matches!(end, End::LeaseLost).then_some([7; 16]);
            if matches!(end, End::Locked) {
                let holder = Holder { name: "h".repeat(128).into(), address: "10.0.0.1".into() };
                let _ = session.lock(now, object, [8; 16], holder, Uptime::from_mins(5));
            }
            session.on(now, Event::Request(Request { id, expires, lease, ..plain }), &mut actions);
            if let (End::Replied(size), Some(Action::Start { mut job, .. })) = (end, actions.pop())
            {
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
    let ends =
        [(64, End::Replied(20)), (2, End::Replied(2000)), (32, End::LeaseLost), (24, End::Locked)];
    for (calls, end) in ends {
        let (grown, told) = fill(calls, end);
        // The clients themselves, in the tree that they are in.
        let clients = 16_384 * 256;
        assert!(grown <= (32 << 20) + clients, "{grown} bytes for calls {end:?}");
        // Nor is it thrown away as soon as there is some.
        assert!((26 << 20..=32 << 20).contains(&told), "{told} bytes for calls {end:?}");
    }
}
