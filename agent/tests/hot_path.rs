//! A call allocates nothing, on the router's thread and on the object's, once the buffers have grown.

// A test that fails by a panic is a test that works.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![allow(unreachable_pub, reason = "#[expose] takes what is pub")]

use proximity_agent::{
    Agent,
    access::{Filter, Networks},
    config::{Bounds, Config, Legacy, ObjectConfig},
};
use proximity_proto::{
    call::{CallId, Op},
    expose,
    limits::Limits,
    message::{Content, Message},
    request::{Arguments, Request},
};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// Counts what the threads that asked for it allocate. What libzmq does is not ours and not seen here.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    // Without a destructor or a lazy start, so that the allocator itself may look at it.
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}

fn count() {
    if COUNTED.get() {
        ALLOCATIONS.fetch_add(1, Relaxed);
    }
}

// SAFETY: everything is handed to the system's allocator as it came; counting allocates nothing.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps alloc's contract, which is System's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block came from System, with this layout.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the block came from System, with this layout; the size is the caller's promise.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Answers without allocating itself.
struct Board {
    memory: Vec<u8>,
    level: i64,
}

/// Answers.
#[expose]
#[allow(clippy::unused_self, reason = "methods are called on an object")]
impl Board {
    /// Counts on the object's own thread from now on.
    #[effect(read)]
    pub fn count_here(&mut self) {
        COUNTED.set(true);
    }

    /// Counts on the router's thread from now on.
    #[quick]
    #[effect(read)]
    pub fn count_there(&mut self) {
        COUNTED.set(true);
    }

    /// Adds.
    pub fn add(&self, x: i64, y: i64) -> i64 {
        x + y
    }

    /// Adds at once.
    #[quick]
    pub fn quick_add(&self, x: i64, y: i64) -> i64 {
        x + y
    }

    /// Reads all of the memory.
    pub fn read(&self) -> &[u8] {
        &self.memory
    }

    /// The level.
    #[quick]
    #[attribute]
    pub fn level(&self) -> i64 {
        self.level
    }

    /// Sets it.
    #[attribute]
    pub fn set_level(&mut self, level: i64) {
        self.level = level;
    }

    /// Allocates, to show that it would be seen.
    pub fn allocate(&self) -> String {
        "x".repeat(100)
    }
}

/// A client that sends its requests by number.
struct Client {
    socket: zmq::Socket,
    seq: u64,
}

impl Client {
    fn ask(&mut self, op: Op, proc: &str, numbers: &[i64]) -> usize {
        self.seq += 1;
        let mut args = Arguments::default();
        for number in numbers {
            args.push(number);
        }
        let id = CallId { client: [7; 16], seq: self.seq };
        let request = Request {
            op,
            id,
            epoch: None,
            expires: None,
            lease: None,
            credit: None,
            progress: false,
            name: "board",
            proc,
            args: &args,
        };
        let mut bytes = Vec::new();
        request.write(&mut bytes);
        self.socket.send(bytes, 0).unwrap();
        let reply = self.socket.recv_bytes(0).expect("a reply in time");
        let message = Message::parse(&reply).unwrap();
        assert_eq!(message.id, Some(id));
        assert!(matches!(message.content, Content::Ok(_)), "{proc}: {:?}", message.content);
        reply.len()
    }
}

#[test]
fn a_call_allocates_nothing_in_steady_state() {
    let object = ObjectConfig {
        name: "board".into(),
        kind: "test",
        opener: Box::new(|| Ok(Box::new(Board { memory: vec![7; 1 << 20], level: 3 }))),
        filter: Filter::default(),
        legacy: Legacy::default(),
        fingerprint: String::new(),
    };
    let agent = Agent::start(Config {
        listen: vec!["tcp://127.0.0.1:0".parse().unwrap()],
        plaintext: Networks::default(),
        limits: Limits::default(),
        queue: 32,
        bounds: Bounds::default(),
        legacy: Legacy::default(),
        log: log::LevelFilter::Off,
        audit: None,
        objects: vec![object],
    })
    .unwrap();
    let context = zmq::Context::new();
    let socket = context.socket(zmq::REQ).unwrap();
    socket.set_linger(0).unwrap();
    socket.set_rcvtimeo(30_000).unwrap();
    socket.connect(agent.address()).unwrap();
    let mut client = Client { socket, seq: 0 };

    client.ask(Op::Call, "count_here", &[]);
    client.ask(Op::Call, "count_there", &[]);
    let before = ALLOCATIONS.load(Relaxed);
    client.ask(Op::Call, "allocate", &[]);
    assert!(ALLOCATIONS.load(Relaxed) > before, "the object's thread is not counted");
    let before = ALLOCATIONS.load(Relaxed);
    client.ask(Op::Describe, "", &[]);
    client.ask(Op::Hello, "", &[]);
    assert!(ALLOCATIONS.load(Relaxed) > before, "the router's thread is not counted");

    for (op, proc, numbers) in [
        (Op::Call, "add", &[2, 3][..]),
        (Op::Call, "quick_add", &[2, 3]),
        (Op::Call, "read", &[]),
        (Op::Get, "level", &[]),
        (Op::Set, "level", &[5]),
    ] {
        for _ in 0..100 {
            client.ask(op, proc, numbers);
        }
        // The transport has a large reply's buffer until that has left, so how many buffers there must
        // be shows with time: they grow no more once there are enough.
        let mut size = 0;
        let mut round = || {
            let before = ALLOCATIONS.load(Relaxed);
            for _ in 0..500 {
                size = client.ask(op, proc, numbers);
            }
            ALLOCATIONS.load(Relaxed) - before
        };
        let rounds: Vec<u64> = (0..5).map(|_| round()).take_while(|&count| count > 0).collect();
        assert!(rounds.len() < 5, "{rounds:?} in 500 times {proc} with replies of {size} bytes");
    }
    agent.stop().unwrap();
}
