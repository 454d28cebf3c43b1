//! Scripts of random faults between a board and its client: never a wrong value, never a call past its deadline, every
//! failure of a class that callers know.
//!
//! `FAULT_SCRIPTS=10000 cargo test -p proximity-drivers --test faults` plays so many; `FAULT_SEED=N` plays one again.

// The exemption of tests in clippy.toml does not reach their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod board;

use board::Board;
use mock_fpga::{Config, Fault, Mock, Personality};
use proximity_drivers::fpga::{Setup, Word};
use proximity_proto::Fault as Failure;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

const SCRIPTS: u64 = 150;
const STEPS: usize = 8;
/// How long a caller waits, and how much longer a call may take on a busy machine.
const PATIENCE: Duration = Duration::from_millis(60);
const MARGIN: Duration = Duration::from_millis(500);

/// xorshift64*: the same for the same seed, everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end
    }

    fn fault(&mut self) -> Fault {
        let ms = |random: &mut Self, end| Duration::from_millis(random.below(end));
        match self.below(12) {
            0 => Fault::Split {
                bytes: 1 + usize::try_from(self.below(50)).unwrap(),
                gap: Duration::ZERO,
            },
            1 => Fault::Delay(ms(self, 30)),
            2 => Fault::Late(ms(self, 150)),
            3 => Fault::Drop(1),
            4 => Fault::Cut(usize::try_from(self.below(40)).unwrap()),
            5 => Fault::Garbage(1 + usize::try_from(self.below(60)).unwrap()),
            6 => Fault::Chatter(usize::try_from(self.below(20)).unwrap()),
            7 => Fault::Hang(ms(self, 100)),
            8 => Fault::HalfOpen(ms(self, 100)),
            9 => Fault::Refuse(ms(self, 30)),
            10 => Fault::Stall,
            _ => Fault::None,
        }
    }
}

/// What registers hold for certain, and the memory that is only read.
struct Truth {
    constants: [(&'static str, u32); 2],
    pattern: Vec<u8>,
    /// What the scratchpad may hold. What was written in vain stays in it for good: the board may still do it, after a
    /// later write on another connection too.
    scratch: Vec<u32>,
}

fn mock(personality: Personality) -> (Mock, Truth) {
    let mock = Mock::start(Config { personality, record: 0, ..Config::default() }).unwrap();
    let constants = [("sys_rev", 0x0102_0304_u32), ("sys_rev_rcs", 0x0a0d_205c)];
    for (name, value) in constants {
        assert!(mock.poke(name, 0, &value.to_be_bytes()));
    }
    let pattern: Vec<u8> =
        (0..1_u32 << 14).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
    assert!(mock.poke("snap_bram", 0, &pattern));
    (mock, Truth { constants, pattern, scratch: vec![0] })
}

/// Plays one script; tells how its calls ended.
fn play(seed: u64, mock: &Mock, truth: &mut Truth, ends: &mut BTreeMap<String, u32>) {
    let random = &mut Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    mock.fault(Fault::None);
    let addr = mock.addr();
    let mut board = Board::of(&Setup::new(&addr.ip().to_string(), addr.port()));
    board.patience = PATIENCE;
    for step in 0..STEPS {
        if random.below(2) == 0 {
            mock.fault(random.fault());
        }
        let what = format!("seed {seed}, step {step}");
        let start = Instant::now();
        let failure: Option<Failure> = match random.below(5) {
            kind @ (0 | 1) => {
                let (name, value) = truth.constants[usize::try_from(kind).unwrap()];
                let read = board.call(|fpga, cx| fpga.read_uint(cx, name, 0));
                read.map(|read| assert_eq!(read, value, "{what}: {name}")).err()
            }
            2 => {
                let offset = u32::try_from(random.below(60_000)).unwrap();
                let len = 1 + u32::try_from(random.below(5_000)).unwrap();
                let read = board
                    .call(|fpga, cx| fpga.read(cx, "snap_bram", len, offset).map(<[u8]>::to_vec));
                let expected = &truth.pattern[offset as usize..][..len as usize];
                read.map(|read| assert!(read == expected, "{what}: {len} bytes at {offset}")).err()
            }
            3 => {
                let value = u32::try_from(random.below(1 << 31)).unwrap();
                let before = truth.scratch.first().copied();
                truth.scratch.push(value);
                let written = board
                    .call(|fpga, cx| fpga.write_int(cx, "sys_scratchpad", Word(value), true, 0));
                if written.is_ok() {
                    // The first is the last that is known to be written.
                    truth.scratch.retain(|known| Some(*known) != before);
                    truth.scratch.retain(|known| *known != value);
                    truth.scratch.insert(0, value);
                }
                written.err()
            }
            _ => match board.call(|fpga, cx| fpga.read_uint(cx, "sys_scratchpad", 0)) {
                Ok(read) => {
                    assert!(
                        truth.scratch.contains(&read),
                        "{what}: {read}, not {:?}",
                        truth.scratch
                    );
                    None
                }
                Err(failure) => Some(failure),
            },
        };
        let took = start.elapsed();
        assert!(took < PATIENCE + MARGIN, "{what}: {took:?}, {failure:?}");
        let end = failure.as_ref().map_or("value", |failure| &failure.class);
        assert!(
            matches!(end, "value" | "ConnectionError" | "TimeoutError" | "RuntimeError"),
            "{what}: {failure:?}"
        );
        *ends.entry(end.to_owned()).or_default() += 1;
    }
}

#[test]
fn faults_give_errors_in_time_and_never_wrong_values() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("FAULT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("FAULT_SCRIPTS").unwrap_or(SCRIPTS),
    };
    let mut mocks = [Personality::Roach2, Personality::Roach1, Personality::V5].map(mock);
    let mut ends = BTreeMap::new();
    for seed in seeds {
        let (mock, truth) = &mut mocks[usize::try_from(seed % 3).unwrap()];
        play(seed, mock, truth, &mut ends);
    }
    println!("{ends:?}");
}
