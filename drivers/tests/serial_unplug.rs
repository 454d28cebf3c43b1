//! Instruments that are pulled out and plugged in again, at any byte; and ports that are not there.
//!
//! In a file of its own, that is in a process of its own: it counts file descriptors.

// A test that fails by a panic is a test that works.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod instrument;

use instrument::{Act, Device, Instrument, Plug, Socket, lines};
use rustix::time::{ClockId, clock_gettime};
use std::{
    env, fs,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// How many times a plug is pulled, by how many instruments beside each other: they mostly wait.
const CYCLES: usize = 1000;
const INSTRUMENTS: usize = 40;
/// Runs one case again.
const SEED: &str = "PROXIMITY_SERIAL_SEED";
/// How long the instrument has for its answer, and what silence tells that nothing more comes. A busy machine's
/// instruments may be later than that: then what they are asked by `sync` tells.
const TIMES: &str = "timeout = 0.25\nsettle = 0.05\nsync = 'ID'\n";
/// How long a call may take until the instrument is back in step.
const BACK: Duration = Duration::from_secs(20);

/// One test at a time, for both look at what this process has.
static ALONE: Mutex<()> = Mutex::new(());

/// A small generator of random numbers (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap()
    }
}

/// An instrument behind an adapter that is pulled out after so many bytes in either direction, and plugged in
/// again. The instrument knows nothing of it: what it had begun to hear it goes on to hear, what it had begun to
/// say it goes on to say.
struct Adapter {
    socket: Arc<Socket>,
    plug: Option<Plug>,
    /// Bytes until the plug is pulled.
    fuse: Arc<AtomicUsize>,
    pulled: Arc<AtomicUsize>,
    random: Random,
}

impl Adapter {
    fn pass(&mut self) {
        if self.fuse.load(Ordering::Relaxed) == 0 {
            return;
        }
        if self.fuse.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.plug = None;
            let mut plug = self.socket.plug();
            if self.random.below(4) == 0 {
                // What contacts that bounce send.
                plug.say(b"\xff\x00A1\nA");
            }
            self.plug = Some(plug);
            self.pulled.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn say(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if let Some(plug) = &mut self.plug {
                plug.say(&[*byte]);
            }
            self.pass();
        }
    }

    fn run(mut self, stop: &AtomicBool) {
        let (mut line, mut byte) = (Vec::new(), [0]);
        while !stop.load(Ordering::Relaxed) {
            let Some(plug) = &mut self.plug else { return };
            if plug.hear(&mut byte) == 0 {
                continue;
            }
            self.pass();
            if byte[0] != b'\n' {
                line.push(byte[0]);
                continue;
            }
            let heard = String::from_utf8_lossy(&line).into_owned();
            line.clear();
            if let Some(number) = heard.strip_prefix('Q') {
                if self.random.below(4) == 0 {
                    thread::sleep(Duration::from_millis(self.random.below(40) as u64));
                }
                self.say(format!("A{number}\n").as_bytes());
            } else if heard == "ID" {
                self.say(b"an instrument\n");
            } else if !heard.is_empty() {
                self.say(b"what?\n");
            }
        }
    }
}

/// Pulls the plug `cycles` times, each time in the middle of something. Returns the answers that were right.
fn pull(seed: u64, cycles: usize) -> usize {
    let mut random = Random(seed);
    let socket = Socket::new();
    let fuse = Arc::new(AtomicUsize::new(0));
    let pulled = Arc::new(AtomicUsize::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let adapter = Adapter {
        socket: Arc::clone(&socket),
        plug: Some(socket.plug()),
        fuse: Arc::clone(&fuse),
        pulled: Arc::clone(&pulled),
        random: Random(seed ^ 0x9e37_79b9_7f4a_7c15),
    };
    let running = Arc::clone(&stop);
    let thread = thread::spawn(move || adapter.run(&running));
    let mut port = Device::new("serial", &format!("{}{TIMES}", socket.key()));
    let (mut number, mut right) = (100, 0);
    for cycle in 0..cycles {
        fuse.store(1 + random.below(12), Ordering::Relaxed);
        let end = Instant::now() + BACK;
        loop {
            number += 1;
            match port.text("query", &format!(r#"["Q{number}"]"#)) {
                Ok(answer) => {
                    assert_eq!(
                        answer,
                        format!("A{number}"),
                        "a wrong answer: {SEED}={seed}, cycle {cycle}"
                    );
                    right += 1;
                    if pulled.load(Ordering::Relaxed) > cycle {
                        break;
                    }
                }
                Err(fault) => {
                    let class = fault.class.as_ref();
                    assert!(
                        matches!(class, "ConnectionError" | "TimeoutError"),
                        "{}: {SEED}={seed}, cycle {cycle}",
                        lines(&fault)
                    );
                    // A client that does not ask in a tight loop while the next try is not due.
                    thread::sleep(Duration::from_millis(10));
                }
            }
            assert!(Instant::now() < end, "it does not come back: {SEED}={seed}, cycle {cycle}");
        }
    }
    stop.store(true, Ordering::Relaxed);
    thread.join().unwrap();
    assert_eq!(pulled.load(Ordering::Relaxed), cycles);
    right
}

fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn a_thousand_times_unplugged_no_answer_finds_a_wrong_command() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Ok(seed) = env::var(SEED) {
        pull(seed.parse().unwrap(), CYCLES / INSTRUMENTS);
        return;
    }
    let before = open_files();
    let start = 0x5eed_0000_u64 + u64::from(std::process::id());
    let threads: Vec<_> = (0..INSTRUMENTS as u64)
        .map(|number| thread::spawn(move || pull(start + number, CYCLES / INSTRUMENTS)))
        .collect();
    let right: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert!(right >= CYCLES, "{right} answers were right");
    assert_eq!(open_files(), before, "file descriptors");
}

#[test]
fn a_port_that_is_away_costs_next_to_nothing() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // A fifth of 10 s, and of the 0.1 s that these may cost.
    let (absence, cost) = (Duration::from_secs(2), Duration::from_millis(20));
    let socket = Socket::new();
    let mut port = Device::new("serial", &socket.key());
    let cpu = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
    };
    let (end, begun) = (Instant::now() + absence, cpu());
    let mut calls = 0;
    while Instant::now() < end {
        let fault = port.call("query", r#"["Q1"]"#).unwrap_err();
        assert_eq!(fault.class, "ConnectionError", "{fault}");
        calls += 1;
        // A client that asks twenty times a second.
        thread::sleep(Duration::from_millis(50));
    }
    let spent = cpu().checked_sub(begun).unwrap();
    assert!(calls >= 10, "{calls} calls");
    assert!(spent < cost, "{spent:?} of CPU for {calls} calls in {absence:?}");
}

#[test]
fn an_instrument_slower_than_its_timeout_gives_no_answer_to_a_wrong_command() {
    let seed =
        env::var(SEED).map_or_else(|_| u64::from(std::process::id()), |seed| seed.parse().unwrap());
    let threads: Vec<_> =
        (1..=8).map(|number| thread::spawn(move || slow(seed * 8 + number))).collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

/// Asks an instrument that may take half as long again for its answer as it is given. What it owes comes all the same,
/// one answer after the other.
fn slow(seed: u64) {
    let mut random = Random(seed);
    let socket = Socket::new();
    let mut chance = Random(seed ^ 0x9e37_79b9_7f4a_7c15);
    let _instrument = Instrument::lines(&socket, move |line| {
        let wait = Act::Wait(Duration::from_millis(chance.below(300) as u64));
        let answer = match line.strip_prefix('Q') {
            Some(number) => format!("A{number}\n"),
            None if line == "ID" => "an instrument\n".to_owned(),
            None => return Vec::new(),
        };
        vec![wait, Act::Say(answer.into_bytes())]
    });
    let mut port = Device::new(
        "serial",
        &format!("{}timeout = 0.2\nsettle = 0.02\nsync = 'ID'\n", socket.key()),
    );
    let (mut right, end) = (0, Instant::now() + BACK);
    for number in 0.. {
        // Now and then one that gives up at once, and leaves its answer behind.
        let patience = if random.below(3) == 0 { 0.01 } else { 3.0 };
        match port.text("query", &format!(r#"["Q{number}", {patience}]"#)) {
            Ok(answer) => {
                assert_eq!(answer, format!("A{number}"), "a wrong answer: {SEED}={seed}");
                right += 1;
            }
            Err(fault) => {
                assert_eq!(fault.class, "TimeoutError", "{}: {SEED}={seed}", lines(&fault));
            }
        }
        if right == 4 {
            return;
        }
        assert!(Instant::now() < end, "{right} right answers of {number}: {SEED}={seed}");
    }
}
