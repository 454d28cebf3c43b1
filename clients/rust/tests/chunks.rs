//! Large results, which come in chunks.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failing test panics")]
#![allow(clippy::indexing_slicing, unreachable_pub, reason = "a failing test panics")]
#![allow(dead_code, reason = "the support is shared")]

mod support;

use proximity_client::{Bytes, CallOptions, Client, Executed, Progress, ToReply};
use proximity_proto::call::Op;
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};
use support::{CHUNK, Server};

/// What the agent still has to send, and how much of it it may.
#[derive(Default)]
struct Sending {
    chunks: VecDeque<Vec<u8>>,
    count: u64,
    bytes: u64,
    credit: u64,
}

/// An agent whose `read(n)` returns n bytes, in chunks of which never more are sent than may be; and
/// the most chunks that were allowed at once.
fn bulk() -> (Server, Arc<AtomicU64>) {
    let most = Arc::<AtomicU64>::default();
    let allowed = Arc::clone(&most);
    let mut sending = Sending::default();
    let server = Server::start(move |mut asked| {
        if !asked.is_for_the_test_of(&["chunks"]) {
            return;
        }
        if asked.call.op == Op::Credit {
            sending.credit += asked.number(0);
        } else {
            let value = data(asked.number(0));
            let Some(credit) = asked.call.credit else { return asked.ok(&value) };
            let mut bytes = Vec::new();
            value.to_reply(&mut bytes);
            if (bytes.len() as u64) <= CHUNK {
                return asked.ok(&value);
            }
            let chunks = bytes.chunks(CHUNK.try_into().unwrap()).map(<[u8]>::to_vec);
            let chunks: VecDeque<_> = chunks.collect();
            let (count, bytes) = (chunks.len() as u64, bytes.len() as u64);
            sending = Sending { chunks, count, bytes, credit };
        }
        allowed.fetch_max(sending.credit, Ordering::Relaxed);
        while sending.credit > 0
            && let Some(chunk) = sending.chunks.pop_front()
        {
            let index = sending.count - sending.chunks.len() as u64 - 1;
            asked.chunk(index, sending.count, &chunk);
            sending.credit -= 1;
            if sending.chunks.is_empty() {
                asked.chunked(sending.count, sending.bytes);
            }
        }
    });
    (server, most)
}

fn data(len: u64) -> Bytes {
    Bytes((0..len).map(|n| u8::try_from(n * n % 251).unwrap()).collect())
}

#[test]
fn a_large_result_comes_whole_and_never_faster_than_it_is_taken() {
    let (server, most) = bulk();
    let foo = Client::new(&server.address()).unwrap().object("foo");
    for len in [0, 1, 990, 997, 998, 1_000, 15_995, 16_000, 23_997, 24_000, 100_000, 1_000_000] {
        let reply = foo.call("read", (len,)).unwrap();
        assert!(reply.get::<&[u8]>().unwrap() == data(len).0, "{len} bytes");
    }
    assert!((1..=16).contains(&most.load(Ordering::Relaxed)), "{most:?} at once");
}

#[test]
fn threads_that_read_much_do_not_mix_it_up() {
    let (server, _) = bulk();
    let client = Client::new(&server.address()).unwrap();
    // The agent of this test sends one result at a time; small ones come between its chunks.
    let reader = client.object("foo");
    let big = thread::spawn(move || {
        for _ in 0..20 {
            let reply = reader.call("read", (200_000,)).unwrap();
            assert!(reply.get::<&[u8]>().unwrap() == data(200_000).0);
        }
    });
    let small = client.object("foo");
    while !big.is_finished() {
        assert_eq!(small.call("read", (10,)).unwrap().get::<&[u8]>().unwrap(), data(10).0);
    }
    big.join().unwrap();
}

#[test]
fn how_much_of_a_large_result_has_come_is_told() {
    let (server, _) = bulk();
    let foo = Client::new(&server.address()).unwrap().object("foo");
    let mut told = Vec::new();
    let mut progress = |Progress { done, total, text }: Progress<'_>| {
        assert_eq!(text, "bytes of the result");
        told.push((done, total));
    };
    let options = CallOptions { progress: Some(&mut progress), ..CallOptions::default() };
    foo.call_with("read", (2_500,), options).unwrap();
    assert_eq!(told, [(1_000, 3_000), (2_000, 3_000), (2_503, 2_503)]);
}

#[test]
fn a_result_larger_than_is_taken_is_an_error_and_takes_no_memory() {
    let (server, _) = bulk();
    let client = Client::new(&server.address()).unwrap().with_max_reply(50_000);
    let foo = client.object("foo");
    let error = foo.call("read", (1_000_000,)).unwrap_err();
    assert_eq!((error.class(), error.executed()), ("MemoryError", Executed::Yes));
    assert_eq!(error.message(), "the result has more than 50000 bytes, which is all that is taken");
    assert!(error.hint().unwrap().ends_with("Client::with_max_reply"));
    assert_eq!(foo.call("read", (49_000,)).unwrap().get::<&[u8]>().unwrap().len(), 49_000);
}
