//! Many peers, and bad ones: what each of them costs the agent, and the others.
//!
//! Each function is a part of the soak (`src/bin/crowd.rs`) and, with smaller numbers, a test
//! (`tests/crowd.rs`). What it counts is exact; what it times depends on who else uses the machine, so
//! that only the soak holds the agent to it.

#![allow(clippy::missing_panics_doc, reason = "a part that cannot go on panics, and says why")]

use crate::{
    PATIENCE,
    process::{Agent, Process, TestAgent, program, scratch},
    raw::Raw,
    zmtp::{self, Peer},
};
use serde_json::{Value as Json, json};
use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    time::{Duration, Instant},
};

/// Figures, and whether each promise was kept: (what was promised, kept).
pub struct Outcome {
    /// What was counted and timed.
    pub figures: Json,
    /// What does not depend on how busy the machine is.
    pub exact: Vec<(&'static str, bool)>,
    /// What does.
    pub timed: Vec<(&'static str, bool)>,
}

impl Outcome {
    /// The promises that were broken.
    pub fn broken(&self, timed: bool) -> Vec<&'static str> {
        let of = |list: &[(&'static str, bool)]| {
            list.iter().filter(|(_, kept)| !kept).map(|(what, _)| *what).collect::<Vec<_>>()
        };
        let mut broken = of(&self.exact);
        if timed {
            broken.extend(of(&self.timed));
        }
        broken
    }
}

const ADD: &[u8] = b"\x84\xa4name\xa3foo\xa4proc\xa7add_two\xa4args\x92\x02\x03\xa6kwargs\x80";
/// Adds nothing: the null call of an agent of any configuration.
const VALUE: &[u8] = b"\x84\xa4name\xa5tally\xa4proc\xa3add\xa4args\x91\0\xa6kwargs\x80";
const NUMBER: &[u8] = b"\x84\xa4name\xa8panicker\xa4proc\xa6number\xa4args\x90\xa6kwargs\x80";
const BOOM: &[u8] = b"\x84\xa4name\xa8panicker\xa4proc\xa4boom\xa4args\x90\xa6kwargs\x80";
/// 16 MiB.
const READ: &[u8] =
    b"\x84\xa4name\xa4blob\xa4proc\xa4read\xa4args\x91\xce\x01\x00\x00\x00\xa6kwargs\x80";
/// One byte.
const READ_ONE: &[u8] = b"\x84\xa4name\xa4blob\xa4proc\xa4read\xa4args\x91\x01\xa6kwargs\x80";
/// A tenth of a second.
const SLEEP: &[u8] = b"\x84\xa4name\xa7sleeper\xa4proc\xa5sleep\xa4args\x91\xcb\x3f\xb9\x99\x99\x99\x99\x99\x9a\xa6kwargs\x80";

const MIB: u64 = 1 << 20;

/// A number out of /proc/PID/status, in bytes.
fn memory(process: &Process, key: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id()));
    let status = status.expect("the agent runs");
    let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("a line");
    let number: String = line.chars().filter(char::is_ascii_digit).collect();
    number.parse::<u64>().expect("a number") << 10
}

fn rss(process: &Process) -> u64 {
    memory(process, "VmRSS:")
}

fn descriptors(process: &Process) -> usize {
    fs::read_dir(format!("/proc/{}/fd", process.id())).expect("the agent runs").count()
}

/// Clock ticks of the processor that it used.
fn ticks(process: &Process) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.id())).expect("it runs");
    let behind = stat.rsplit(')').next().unwrap_or_default();
    behind.split_whitespace().skip(11).take(2).map(|word| word.parse::<u64>().unwrap_or(0)).sum()
}

/// Looks again until `is` says so; for what the kernel or another process does in its own time.
fn until(limit: Duration, mut is: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    while !is() {
        if Instant::now() > end {
            return false;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    true
}

/// How long calls take.
#[derive(Default)]
struct Times(Vec<Duration>);

impl Times {
    fn call(&mut self, client: &Raw, request: &[u8], reply: &[u8]) {
        let begun = Instant::now();
        assert_eq!(client.ask(request), reply, "others are served");
        self.0.push(begun.elapsed());
    }

    /// In microseconds.
    fn p99(&mut self) -> u64 {
        self.0.sort_unstable();
        let place = self.0.len() * 99 / 100;
        self.0.get(place).map_or(0, |time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
    }
}

fn calls(client: &Raw, count: usize, request: &[u8], reply: &[u8]) -> Times {
    let mut times = Times::default();
    (0..count).for_each(|_| times.call(client, request, reply));
    times
}

/// An agent with one object, `tally`, that takes `connections`.
fn tally(connections: usize) -> Agent {
    Agent::start(&format!("connections = {connections}\n[objects.tally]\ndriver = \"counter\"\n"))
}

/// Peers that ask for 16 MiB again and again, and never read any of it.
pub fn slow_readers(count: usize) -> Outcome {
    let agent = TestAgent::start();
    let client = Raw::connect(&agent.endpoint);
    // The object's own bytes are its own, and there from now on.
    assert!(client.ask(READ).len() > 16 << 20);
    let mut before = calls(&client, 2000, ADD, &[5]);
    let start = rss(&agent.process);
    let mut peers = Vec::new();
    for _ in 0..count {
        let mut peer = Peer::connect(&agent.endpoint).expect("a connection");
        for _ in 0..4 {
            peer.request(READ).expect("sent");
        }
        peers.push(peer);
    }
    let (mut most, mut during) = (0, Times::default());
    let other = Raw::connect(&agent.endpoint);
    // The object reads for them one after the other; behind them it reads for us again.
    let served = until(PATIENCE, || {
        for _ in 0..50 {
            during.call(&client, ADD, &[5]);
            most = most.max(rss(&agent.process));
        }
        other.ask(READ_ONE) == b"\xc4\x01\x00"
    });
    for _ in 0..2000 {
        during.call(&client, ADD, &[5]);
        most = most.max(rss(&agent.process));
    }
    drop(peers);
    let left = Instant::now();
    let limit = start + 10 * MIB;
    let back = until(PATIENCE, || rss(&agent.process) <= limit);
    let back_after = left.elapsed();
    let after = rss(&agent.process);
    let (before, during) = (before.p99(), during.p99());
    Outcome {
        figures: json!({
            "readers": count, "rss_start": start, "rss_most": most, "rss_after": after,
            "back_after_ms": u64::try_from(back_after.as_millis()).unwrap_or(u64::MAX),
            "p99_before_us": before, "p99_during_us": during,
        }),
        exact: vec![
            ("the object serves others again", served),
            ("RSS is at most 128 MiB", most <= 128 * MIB),
            ("RSS comes back to 10 MiB over the start", back),
        ],
        timed: vec![
            ("RSS is back after 2 s", back_after <= Duration::from_secs(2)),
            ("the others' p99 at most doubles", during <= 2 * before),
        ],
    }
}

/// Connections that were served once and then are silent.
pub fn idle(count: usize) -> Outcome {
    let agent = tally(count + 100);
    let client = Raw::connect(&agent.endpoint);
    let start = rss(&agent.process);
    let mut peers = Vec::new();
    for _ in 0..count {
        let mut peer = Peer::connect(&agent.endpoint).expect("a connection (ulimit -n?)");
        peer.request(VALUE).expect("sent");
        assert_eq!(peer.reply().expect("a reply"), [0]);
        peers.push(peer);
    }
    let with = rss(&agent.process);
    let before = ticks(&agent.process);
    let p99 = calls(&client, 5000, VALUE, &[0]).p99();
    let used = ticks(&agent.process) - before;
    let each = with.saturating_sub(start) / count as u64;
    let served = peers
        .iter_mut()
        .step_by(97)
        .all(|peer| peer.request(VALUE).is_ok() && peer.reply().is_ok_and(|reply| reply == [0]));
    Outcome {
        figures: json!({
            "connections": count, "rss_start": start, "rss": with, "rss_each": each, "p99_us": p99,
            "cpu_ticks_for_5000_calls": used,
        }),
        exact: vec![
            ("RSS is at most 256 MiB", with <= 256 * MIB),
            ("a connection costs at most 24 KiB", each <= 24 << 10),
            ("those that were silent are served still", served),
        ],
        timed: vec![("the p99 of a null call is at most 1 ms", p99 <= 1000)],
    }
}

/// Connections that come, call once, and go.
pub fn churn(count: usize) -> Outcome {
    let agent = tally(512);
    let first = (count / 10).clamp(1, 10_000);
    let (mut fds, mut memory) = (0, 0);
    let begun = Instant::now();
    for number in 0..count {
        let mut peer = Peer::connect(&agent.endpoint).expect("a connection");
        peer.request(VALUE).expect("sent");
        assert_eq!(peer.reply().expect("a reply"), [0], "connection {number}");
        if number + 1 == first {
            drop(peer);
            (fds, memory) = settled(&agent.process);
        }
    }
    let took = begun.elapsed();
    let flat = until(PATIENCE, || descriptors(&agent.process) <= fds);
    let (fds_after, after) = settled(&agent.process);
    Outcome {
        figures: json!({
            "connections": count, "seconds": took.as_secs_f64(), "fds_first": fds, "fds_after": fds_after,
            "rss_first": memory, "rss_after": after,
        }),
        exact: vec![("descriptors are flat", flat), ("RSS is flat: 1 MiB", after <= memory + MIB)],
        timed: Vec::new(),
    }
}

/// Descriptors and memory, once no more connections are on their way to be closed.
fn settled(process: &Process) -> (usize, u64) {
    let mut last = usize::MAX;
    until(PATIENCE, || {
        let now = descriptors(process);
        let same = now == last;
        last = now;
        if !same {
            std::thread::park_timeout(Duration::from_millis(50));
        }
        same
    });
    (descriptors(process), rss(process))
}

/// A shell script that becomes the agent, for what only a shell can set.
fn wrapper(name: &str, prepare: &str, redirect: &str) -> PathBuf {
    let folder = scratch();
    let path = folder.join(name);
    let agent = program("proximity-agent");
    let (folder, agent) = (folder.display(), agent.display());
    let text = format!("#!/bin/sh\ncd '{folder}'\n{prepare}\nexec '{agent}' \"$@\" {redirect}\n");
    fs::write(&path, text).expect("the scratch directory can be written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("ours");
    path
}

/// More silent peers than the agent may have descriptors.
pub fn descriptors_run_out(silent: usize) -> Outcome {
    let script = wrapper("few-descriptors", "ulimit -n 64", "");
    let agent = Agent::start_as(&script, "[objects.tally]\ndriver = \"counter\"\n");
    let clients: Vec<_> = (0..4).map(|_| Raw::connect(&agent.endpoint)).collect();
    for client in &clients {
        assert_eq!(client.ask(VALUE), [0]);
    }
    let peers: Vec<_> =
        (0..silent).map(|_| zmtp::connect(&agent.endpoint).expect("the kernel takes it")).collect();
    let full = until(PATIENCE, || descriptors(&agent.process) >= 60);
    let before = ticks(&agent.process);
    let mut times = Times::default();
    for _ in 0..500 {
        for client in &clients {
            times.call(client, VALUE, &[0]);
        }
    }
    let used = ticks(&agent.process) - before;
    let gone = Instant::now();
    drop(peers);
    let reply = Raw::connect(&agent.endpoint).ask(VALUE);
    let recovered = gone.elapsed();
    Outcome {
        figures: json!({
            "silent": silent, "calls": times.0.len(), "p99_us": times.p99(), "cpu_ticks": used,
            "recovered_after_ms": u64::try_from(recovered.as_millis()).unwrap_or(u64::MAX),
        }),
        exact: vec![
            ("the descriptors did run out", full),
            ("a new client is served afterwards", reply == [0]),
        ],
        timed: vec![("that takes a handshake's 3 s and 1 s", recovered <= Duration::from_secs(4))],
    }
}

/// Peers that speak no ZMTP, or half of it, or too much.
pub fn bad_peers(rounds: usize) -> Outcome {
    let mut agent = TestAgent::start();
    let client = Raw::connect(&agent.endpoint);
    assert_eq!(client.ask(ADD), [5]);
    let start = rss(&agent.process);
    let mut half_ready = ready_cut();
    half_ready.truncate(70);
    let declared = |size: u64| {
        let mut bytes = zmtp::greeting();
        bytes.extend(zmtp::ready());
        bytes.push(0x02);
        bytes.extend(size.to_be_bytes());
        bytes.extend([0; 100]);
        bytes
    };
    let mut said: Vec<Vec<u8>> = vec![
        Vec::new(),
        vec![0xa5; 4096],
        b"GET / HTTP/1.1\r\nHost: agent\r\n\r\n".to_vec(),
        b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
        zmtp::greeting(),
        half_ready,
        declared(4 << 30),
        declared(1 << 62),
        declared(u64::MAX),
        [zmtp::greeting(), b"\x04\xff".to_vec(), vec![0xff; 255]].concat(),
    ];
    // A greeting of every version there was, and some that there are not.
    for version in 0..8 {
        let mut bytes = zmtp::greeting();
        bytes[10] = version;
        said.push(bytes);
    }
    let mut held = Vec::new();
    let mut most = 0;
    for _ in 0..rounds {
        for bytes in &said {
            let mut stream = zmtp::connect(&agent.endpoint).expect("the kernel takes it");
            // The agent may hang up before it was told everything.
            let _ = stream.write_all(bytes);
            held.push(stream);
        }
        let mut flood = Peer::connect(&agent.endpoint).expect("a connection");
        for _ in 0..20_000 {
            if flood.part(b"x", true).is_err() {
                break;
            }
        }
        calls(&client, 50, ADD, &[5]);
        most = most.max(rss(&agent.process));
    }
    // Byte by byte, each a while after the one before; the handshake ends before the greeting does.
    let mut slow = zmtp::connect(&agent.endpoint).expect("the kernel takes it");
    let begun = Instant::now();
    let dropped = zmtp::greeting().iter().any(|byte| {
        std::thread::park_timeout(Duration::from_millis(200));
        assert_eq!(client.ask(ADD), [5], "others are served");
        slow.write_all(&[*byte]).is_err()
    });
    let slow_for = begun.elapsed();
    let fds = descriptors(&agent.process);
    drop(held);
    Outcome {
        figures: json!({
            "peers": rounds * (said.len() + 1), "rss_start": start, "rss_most": most, "fds": fds,
            "slow_greeting_dropped_after_s": slow_for.as_secs_f64(),
        }),
        exact: vec![
            ("the agent lives", agent.process.is_running()),
            ("RSS grows by 16 MiB at most", most <= start + 16 * MIB),
            ("a peer that greets too slowly is dropped", dropped),
        ],
        timed: Vec::new(),
    }
}

fn ready_cut() -> Vec<u8> {
    [zmtp::greeting(), zmtp::ready()].concat()
}

/// Calls that panic in their driver.
pub fn panics(count: usize) -> Outcome {
    let mut agent = TestAgent::start();
    let client = Raw::connect(&agent.endpoint);
    let first = (count / 10).max(1);
    let mut memory = 0;
    let mut panicked = 0;
    let number = |client: &Raw| match client.ask(NUMBER).as_slice() {
        [one @ 0..=0x7f] | [0xcc, one] => u64::from(*one),
        [0xcd, high, low] => u64::from(*high) << 8 | u64::from(*low),
        other => panic!("it is broken: {}", other.escape_ascii()),
    };
    while panicked < count {
        let reply = client.ask(BOOM);
        let text = String::from_utf8_lossy(&reply);
        assert!(text.contains("EXCEPTION"), "a panic is told: {text}");
        if text.contains("panicked in boom()") {
            panicked += 1;
        }
        if panicked == first {
            memory = rss(&agent.process);
        }
    }
    let after = rss(&agent.process);
    // It is opened anew each time.
    let opened = number(&client);
    Outcome {
        figures: json!({
            "panics": panicked, "opened": opened, "rss_first": memory, "rss_after": after,
        }),
        exact: vec![
            ("the agent lives", agent.process.is_running()),
            ("the object is opened anew after each", opened == panicked as u64 + 1),
            ("RSS is flat: 1 MiB", after <= memory + MIB),
        ],
        timed: Vec::new(),
    }
}

/// An agent whose log goes nowhere.
pub fn log_broken(count: usize) -> Outcome {
    let sinks = [
        ("closed", wrapper("closed", "export RUST_LOG=trace", "2>&-")),
        ("full", wrapper("full", "export RUST_LOG=trace", "2>/dev/full")),
        // Opened by a reader that is gone at once.
        (
            "nobody-reads",
            wrapper("nobody-reads", "export RUST_LOG=trace\nmkfifo log\n(: <log) &", "2>log"),
        ),
    ];
    let mut lives = true;
    for (_, script) in &sinks {
        let mut agent = Agent::start_as(script, "[objects.tally]\ndriver = \"counter\"\n");
        let client = Raw::connect(&agent.endpoint);
        calls(&client, count / 2, VALUE, &[0]);
        // A reload says something in any case.
        agent.process.signal("HUP");
        calls(&client, count / 2, VALUE, &[0]);
        lives &= agent.process.is_running();
    }
    Outcome {
        figures: json!({"sinks": sinks.len(), "calls": count * sinks.len(), "failed": 0}),
        exact: vec![("the agent lives", lives)],
        timed: Vec::new(),
    }
}

/// More calls to one object than may wait for it.
pub fn flood(peers: usize) -> Outcome {
    const EACH: usize = 40;
    let agent = TestAgent::start();
    let client = Raw::connect(&agent.endpoint);
    let mut crowd: Vec<_> =
        (0..peers).map(|_| Peer::connect(&agent.endpoint).expect("a connection")).collect();
    for peer in &mut crowd {
        for _ in 0..EACH {
            peer.request(SLEEP).expect("sent");
        }
    }
    let (mut done, mut busy) = (0, 0);
    let mut count = |peer: &mut Peer| {
        let reply = peer.reply().expect("each call has a reply");
        if String::from_utf8_lossy(&reply).contains("EXCEPTION") {
            busy += 1;
        } else {
            done += 1;
        }
    };
    // Each of them has more calls than the queue takes, so that all are refused one before any is done.
    crowd.iter_mut().for_each(&mut count);
    // The queue is full now, but for a place if the worker took its first call after that. Who gets it
    // waits for all the others; who is refused tells that it is taken.
    let mut last = Peer::connect(&agent.endpoint).expect("a connection");
    for _ in 0..2 {
        last.request(SLEEP).expect("sent");
    }
    last.reply().expect("a reply");
    let mut times = Times::default();
    let mut refused_at_once = 0;
    for _ in 0..200 {
        let begun = Instant::now();
        let reply = client.ask(SLEEP);
        if String::from_utf8_lossy(&reply).contains("EXCEPTION") {
            refused_at_once += 1;
            times.0.push(begun.elapsed());
        }
    }
    for peer in &mut crowd {
        for _ in 1..EACH {
            count(peer);
        }
    }
    let p99 = times.p99();
    Outcome {
        figures: json!({
            "calls": peers * EACH, "done": done, "busy": busy, "later_busy": refused_at_once,
            "busy_p99_us": p99,
        }),
        exact: vec![
            ("each call has one reply", done + busy == peers * EACH),
            ("what does not fit is refused", busy >= peers * EACH - 40 && refused_at_once > 0),
            ("what fits is done", done >= 32),
        ],
        timed: vec![("Busy comes within 2 ms, p99", p99 <= 2000)],
    }
}
