//! Bytes that no client should send: one reply each, and nothing else happens.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on panics, and says why"
)]

use proximity_proto::{limits::Limits, value::check};
use proximity_tests::{
    PATIENCE,
    process::{Agent, TestAgent},
    raw::Raw,
    recorded::pairs,
    zmtp::{self, Peer},
};
use std::{collections::VecDeque, fs, io::Write, time::Duration};

/// Frames in all. `FRAMES` in the environment asks for another number.
const FRAMES: usize = 1_000_000;

/// Requests on their way at once: more than an object's queue takes, so that Busy is among the answers.
const AT_ONCE: usize = 200;

/// What stands before the number in the id of a seed.
const ID_HEAD: &[u8] = b"aaaaaaaaaaaaaaaa\xcf";

/// Marsaglia's xorshift: the same frames from the same seed on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).expect("a remainder of a usize")
    }

    fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }
}

/// Requests to start from: recorded ones, ours of version 2, JSON.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = pairs().into_iter().map(|pair| pair.request).collect();
    let id = b"\xa1v\x02\xa2id\x92\xc4\x10aaaaaaaaaaaaaaaa\xcf\0\0\0\0\0\0\0\0";
    for rest in [
        &b"\xa2op\xa5hello"[..],
        b"\xa2op\xa8describe\xa4name\xa3foo",
        b"\xa2op\xa3get\xa4name\xa3foo\xa4proc\xa5value",
        b"\xa2op\xa6cancel\xa4args\x91\x92\xc4\x10aaaaaaaaaaaaaaaa\x01",
        b"\xa2op\xa4call\xa4name\xa3foo\xa4proc\xa4echo\xa4args\x91\xa2hi\xa5epoch\x01",
        b"\xa2op\xa4call\xa4name\xa3foo\xa4proc\xa4echo\xa4args\x91\xa2hi\xa7expires\x01",
    ] {
        let keys = 2 + pairs_in(rest);
        let mut request = vec![0x80 | u8::try_from(keys).expect("few keys")];
        request.extend_from_slice(id);
        request.extend_from_slice(rest);
        check(&request, &Limits::default()).expect("a seed is sound");
        seeds.push(request);
    }
    seeds.push(
        br#"{"name": "foo", "proc": "echo", "args": [{"__bytes__": "AAEC"}], "kwargs": {}}"#
            .to_vec(),
    );
    seeds
}

/// How many values stand behind each other in `bytes`, in pairs.
fn pairs_in(bytes: &[u8]) -> usize {
    // Framed as an array of growing size until it is sound: small, and needs no second decoder.
    (1..8)
        .find(|pairs| {
            let mut framed = vec![0x80 | u8::try_from(*pairs).expect("few")];
            framed.extend_from_slice(bytes);
            check(&framed, &Limits::default()).is_ok()
        })
        .expect("the bytes are pairs")
}

/// One more frame: noise, or a request with something wrong with it.
fn frame(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    if random.below(4) == 0 {
        let len = random.below(64);
        return (0..len).map(|_| random.byte()).collect();
    }
    let mut frame = seeds.get(random.below(seeds.len())).cloned().unwrap_or_default();
    // Each its own number: two calls of one id are one call, and have one reply.
    if let Some(place) = frame.windows(ID_HEAD.len()).position(|window| window == ID_HEAD) {
        let number = random.next().to_be_bytes();
        frame[place + ID_HEAD.len()..][..8].copy_from_slice(&number);
    }
    for _ in 0..=random.below(3) {
        let place = random.below(frame.len());
        match random.below(5) {
            0 => frame.truncate(place),
            1 => frame.insert(place, random.byte()),
            2 => frame.extend_from_slice(&random.next().to_be_bytes()),
            3 if place < frame.len() => drop(frame.remove(place)),
            _ => {
                let byte = random.byte();
                if let Some(old) = frame.get_mut(place) {
                    *old = byte;
                }
            }
        }
    }
    frame
}

#[test]
fn each_of_a_million_mutated_frames_gets_exactly_one_reply() {
    let frames = std::env::var("FRAMES").map_or(FRAMES, |text| text.parse().expect("a number"));
    let seed = std::env::var("SEED").map_or(0x5eed, |text| text.parse().expect("a number"));
    let mut agent = TestAgent::start();
    let context = zmq::Context::new();
    let socket = context.socket(zmq::DEALER).expect("a socket");
    socket.set_linger(0).expect("an option");
    socket.set_rcvtimeo(i32::try_from(PATIENCE.as_millis()).expect("short")).expect("an option");
    socket.connect(&agent.endpoint).expect("an endpoint");

    let seeds = seeds();
    let mut random = Random(seed);
    let mut under_way = VecDeque::new();
    let (mut sent, mut received) = (0, 0);
    while received < frames {
        while sent < frames && under_way.len() < AT_ONCE {
            let frame = frame(&mut random, &seeds);
            socket.send_multipart([&b""[..], &frame], 0).expect("the frame is sent");
            under_way.push_back(frame);
            sent += 1;
        }
        let reply = socket.recv_multipart(0).unwrap_or_else(|error| {
            panic!("SEED={seed}: no reply to one of {under_way:02x?} after {received}: {error}")
        });
        // Replies of one object keep their order, those of the agent itself overtake them.
        under_way.pop_front();
        received += 1;
        let payload = reply.last().expect("a payload");
        // A bare number may look like the start of JSON, so either will do.
        let sound = check(payload, &Limits::default()).is_ok()
            || serde_json::from_slice::<serde_json::Value>(payload).is_ok();
        assert!(sound, "SEED={seed}: the reply is {payload:02x?}");
    }
    // Not one more than was asked for.
    socket.set_rcvtimeo(100).expect("an option");
    assert!(socket.recv_multipart(0).is_err(), "SEED={seed}: a request had two replies");
    let add = b"\x84\xa4name\xa3foo\xa4proc\xa7add_two\xa4args\x92\x02\x03\xa6kwargs\x80";
    assert_eq!(Raw::connect(&agent.endpoint).ask(add), [5], "SEED={seed}: an object is stuck");
    assert!(agent.process.is_running(), "SEED={seed}");
}

#[test]
fn a_frame_beyond_the_limit_drops_its_peer_and_nobody_else() {
    let agent = TestAgent::start();
    let good = Raw::connect(&agent.endpoint);
    let bad = Raw::connect(&agent.endpoint);
    let add = b"\x84\xa4name\xa3foo\xa4proc\xa7add_two\xa4args\x92\x02\x03\xa6kwargs\x80";
    assert_eq!(good.ask(add), [5]);
    bad.send(&vec![0xc0; Limits::default().max_frame + (1 << 20)]);
    for _ in 0..100 {
        assert_eq!(good.ask(add), [5]);
    }
}

#[test]
fn a_message_of_many_parts_is_dropped_whole() {
    let agent = TestAgent::start();
    let context = zmq::Context::new();
    let socket = context.socket(zmq::DEALER).expect("a socket");
    socket.set_linger(0).expect("an option");
    socket.set_rcvtimeo(i32::try_from(PATIENCE.as_millis()).expect("short")).expect("an option");
    socket.connect(&agent.endpoint).expect("an endpoint");
    let add = &b"\x84\xa4name\xa3foo\xa4proc\xa7add_two\xa4args\x92\x02\x03\xa6kwargs\x80"[..];
    socket.send_multipart([b"", add, add, add, add], 0).expect("sent");
    socket.send_multipart([&b""[..], add], 0).expect("sent");
    let reply = socket.recv_multipart(0).expect("the second message is answered");
    assert_eq!(reply.last().map(Vec::as_slice), Some(&[5u8][..]));
    socket.set_rcvtimeo(100).expect("an option");
    assert!(socket.recv_multipart(0).is_err(), "the first message was answered too");
}

/// libzmq would take a peer's word for its name; and one that has the name which libzmq gives the next
/// connection ended the agent, whether it was served or not.
#[test]
fn a_name_that_a_peer_gives_itself_is_not_looked_at() {
    const ADD: &[u8] = b"\x84\xa4name\xa5tally\xa4proc\xa3add\xa4args\x91\x01\xa6kwargs\x80";
    // libzmq counts from where an unseeded random number generator begins.
    const FIRST: u32 = 1_804_289_383;
    let agent = Agent::start("[objects.tally]\ndriver = \"counter\"\n");
    let named = |name: &[u8]| {
        let ready = zmtp::ready_with(&[("Identity", name)]);
        Peer::connect_saying(&agent.endpoint, &ready).expect("a connection")
    };
    let mut peers: Vec<Peer> = (0..200)
        .map(|number| named(&[&[0][..], &(FIRST + number).to_be_bytes()].concat()))
        .collect();
    peers.extend((0..200).map(|_| Peer::connect(&agent.endpoint).expect("a connection")));
    peers.extend((0..3).map(|_| named(b"laptop")));
    peers.push(named(&vec![b'x'; 1 << 20]));
    for (peer, sum) in peers.iter_mut().zip(1_u32..) {
        peer.request(ADD).expect("sent");
        let reply = peer.reply().expect("a reply");
        assert_eq!(reply, packed(sum));
    }
}

/// The smallest MessagePack of a number.
fn packed(number: u32) -> Vec<u8> {
    let mut out = Vec::new();
    proximity_proto::ToReply::to_reply(&number, &mut out);
    out
}

/// Who may come unencrypted is decided by a property of the connection that libzmq gives it, and a peer
/// can give itself properties of any name.
#[test]
fn nobody_comes_from_where_he_says_he_does() {
    const ADD: &[u8] = b"\x84\xa4name\xa5tally\xa4proc\xa3add\xa4args\x91\x01\xa6kwargs\x80";
    let (agent, log) = Agent::logged("log = \"debug\"\n[objects.tally]\ndriver = \"counter\"\n");
    let says = |padding: usize| {
        let padding = vec![0; padding];
        let fd: &[u8] = b"1";
        zmtp::ready_with(&[("Peer-Address", b"192.0.2.1"), ("__fd", fd), ("X-Pad", &padding)])
    };
    // What libzmq says stands before what the peer says.
    let mut lasting = Peer::connect_saying(&agent.endpoint, &says(0)).expect("a connection");
    lasting.request(ADD).expect("sent");
    assert_eq!(lasting.reply().expect("a reply"), [1]);
    // Where the peer is gone before libzmq takes the connection, libzmq has nothing to say. It takes no
    // call of such a peer: it would have to send its own READY first. As many as wait to be taken:
    for stopped in [true, false] {
        if stopped {
            agent.process.signal("STOP");
        }
        for number in 0..90 {
            let mut stream = zmtp::connect(&agent.endpoint).expect("the kernel takes it");
            // So that the call is read with what was before it, or not.
            let padding = [0, 2048, 8192][number % 3];
            for bytes in [zmtp::greeting(), says(padding), zmtp::part(ADD, false)] {
                // One that is refused meanwhile is as good.
                let _ = stream.write_all(&bytes);
            }
            let reset = Some(Duration::ZERO);
            rustix::net::sockopt::set_socket_linger(&stream, reset).expect("an option");
        }
        if stopped {
            agent.process.signal("CONT");
        }
        let mut last = Peer::connect(&agent.endpoint).expect("a connection");
        for _ in 0..100 {
            last.request(ADD).expect("sent");
            last.reply().expect("a reply");
        }
    }
    let log = fs::read_to_string(log).expect("the agent's log");
    let callers: Vec<&str> = log
        .lines()
        .filter_map(|line| line.split_once("a client calls from "))
        .map(|(_, who)| who)
        .collect();
    assert!(callers.len() >= 3, "{log}");
    assert!(callers.iter().all(|who| *who == "'127.0.0.1'"), "{callers:?}");
}
