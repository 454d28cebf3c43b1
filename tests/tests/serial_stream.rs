//! A megabyte through a serial line as one of 115,200 baud brings it, in either direction, through an agent.
//!
//! The line is a pseudo-terminal, which holds up whoever is too fast and loses nothing by itself: what is shown is
//! that the agent loses, doubles and changes nothing, whatever bytes they are and however they are cut. It is
//! played twenty times as fast; `PROXIMITY_REAL_TIME=1` takes the 87 s that it takes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a failing test panics"
)]

#[path = "../../drivers/tests/instrument/mod.rs"]
mod instrument;

use instrument::{Plug, Socket};
use proximity_client::{Client, Proxy};
use proximity_proto::Bytes;
use proximity_tests::{PATIENCE, process::Agent};
use std::{
    env,
    io::{ErrorKind, Read, Write},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

const SIZE: usize = 1_000_000;
/// What a USB adapter hands over at a time: all that came in 16 ms, ten bits a byte.
const CHUNK: usize = 115_200 / 10 * 16 / 1000;
const PERIOD: Duration = Duration::from_millis(16);
/// After so many chunks the instrument is silent for as long as ten of them take.
const PAUSE_AFTER: usize = 500;

/// The time between two chunks.
fn period() -> Duration {
    if env::var_os("PROXIMITY_REAL_TIME").is_some() { PERIOD } else { PERIOD / 20 }
}

/// Bytes of all kinds: line ends, XON, XOFF, what a terminal would take for an interrupt (xorshift).
fn noise(seed: u32) -> Vec<u8> {
    let mut state = 0x1234_5678_9abc_def1_u64 ^ u64::from(seed);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        u8::try_from(state >> 56).unwrap()
    };
    (0..SIZE).map(|_| next()).collect()
}

/// Keeps to the time of the line; the times when it is late it makes up for.
struct Pace {
    next: Instant,
    chunks: usize,
}

impl Pace {
    fn new() -> Self {
        Self { next: Instant::now(), chunks: 0 }
    }

    fn wait(&mut self) {
        self.chunks += 1;
        let pause = if self.chunks.is_multiple_of(PAUSE_AFTER) { 10 } else { 1 };
        self.next += period() * pause;
        thread::sleep(self.next.saturating_duration_since(Instant::now()));
    }
}

/// Tries again what found the line full, or empty, for the 20 ms that the harness waits.
fn patiently(mut act: impl FnMut() -> std::io::Result<usize>) -> usize {
    let end = Instant::now() + PATIENCE;
    loop {
        match act() {
            Ok(count) => return count,
            Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::Interrupted) => {
                assert!(Instant::now() < end, "the line stands still");
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn say(plug: &mut Plug, bytes: &[u8]) {
    let mut pace = Pace::new();
    for chunk in bytes.chunks(CHUNK) {
        let mut rest = chunk;
        while !rest.is_empty() {
            rest = &rest[patiently(|| plug.master.write(rest))..];
        }
        pace.wait();
    }
}

fn hear(plug: &mut Plug) -> Vec<u8> {
    let (mut heard, mut space, mut pace) = (Vec::new(), [0; CHUNK], Pace::new());
    while heard.len() < SIZE {
        let count = patiently(|| plug.master.read(&mut space));
        heard.extend_from_slice(&space[..count]);
        pace.wait();
    }
    heard
}

/// An agent with an open port, and the plug at its other end.
fn open() -> (Agent, Proxy, Plug, Arc<Socket>) {
    let socket = Socket::new();
    let plug = socket.plug();
    let table = "driver = 'serial'\nbaud = 115200\nsettle = 0.01\ntimeout = 0.5\nwrite_timeout = 30\nresync = ''";
    let agent = Agent::start(&format!("[objects.line]\n{table}\n{}", socket.key()));
    let line = Client::new(&agent.endpoint).unwrap().with_timeout(PATIENCE).object("line");
    line.call("open", ()).unwrap();
    (agent, line, plug, socket)
}

/// Tells where two streams part, for whole ones would fill the screen.
fn assert_same(got: &[u8], sent: &[u8]) {
    let same = got.iter().zip(sent).take_while(|(got, sent)| got == sent).count();
    assert_eq!((same, got.len()), (SIZE, SIZE), "alike up to a byte, of so many");
}

#[test]
fn a_megabyte_is_read_as_the_instrument_sends_it() {
    let (_agent, line, mut plug, _socket) = open();
    let seed = std::process::id();
    println!("seed {seed}");
    let sent = noise(seed);
    let bytes = sent.clone();
    let instrument = thread::spawn(move || {
        say(&mut plug, &bytes);
        plug
    });
    let mut got = Vec::new();
    let end = Instant::now() + PATIENCE * 6;
    while got.len() < SIZE {
        let reply = line.call("read", (4096,)).unwrap();
        got.extend_from_slice(reply.value().as_bytes().unwrap());
        assert!(Instant::now() < end, "{} bytes came", got.len());
    }
    drop(instrument.join().unwrap());
    assert_same(&got, &sent);
}

#[test]
fn a_megabyte_is_written_as_the_instrument_takes_it() {
    let (_agent, line, mut plug, _socket) = open();
    let seed = std::process::id();
    println!("seed {seed}");
    let sent = noise(seed);
    let instrument = thread::spawn(move || hear(&mut plug));
    for part in sent.chunks(16 << 10) {
        let reply = line.call("write", (Bytes(part.to_vec()),)).unwrap();
        assert_eq!(reply.get::<usize>().unwrap(), part.len());
    }
    line.call("flush", ()).unwrap();
    assert_same(&instrument.join().unwrap(), &sent);
}
