//! Requests nobody should send.

// The exemption of tests in clippy.toml does not reach their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod link;

use link::Link;
use mock_fpga::{Config, Design, Mock, Personality};

/// What requests are put together from: names, numbers at their limits, registers, noise.
const WORDS: [&str; 58] = [
    "?read",
    "?write",
    "?wordread",
    "?wordwrite",
    "?listdev",
    "?register",
    "?meta",
    "?bulkread",
    "?progdev",
    "?tap-start",
    "?tap-stop",
    "?tap-info",
    "?tap-ip-config",
    "?tap-multicast-add",
    "?sensor-list",
    "?sensor-value",
    "?sensor-sampling",
    "?log-limit",
    "?log-record",
    "?help",
    "?fpgastatus",
    "?status",
    "?finalise",
    "?delbof",
    "?saveremote",
    "?progremote",
    "?version-list",
    "?client-list",
    "?system-info",
    "?mock-fault",
    "!reply",
    "#inform",
    "size",
    "detail",
    "sys_scratchpad",
    "snap_bram",
    "odd7",
    "wo_reg",
    "dram_controller",
    "dram_memory",
    "new",
    "adc_snap_ctrl",
    "qdr0_ctrl",
    "ten_gbe0",
    "tap0",
    "10.0.0.1/33",
    "10.0.0.1",
    "adc.bof",
    "0",
    "1",
    "-1",
    "7:13",
    "0xffffffff",
    "0xffffffff:4294967295",
    "junk",
    "\\@",
    "\\0\\n\\_x",
    "mode",
];

/// A small reproducible generator; a failing seed is printed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

fn stream(seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let mut bytes = Vec::new();
    for _ in 0..40 {
        if random.below(10) == 0 {
            bytes.extend(
                (0..random.below(50))
                    .map(|_| random.0.to_be_bytes()[0] ^ random.0.to_be_bytes()[3]),
            );
        }
        for _ in 0..=random.below(5) {
            bytes.extend(WORDS[random.below(WORDS.len())].bytes());
            bytes.push(if random.below(400) == 0 { b'[' } else { b' ' });
        }
        bytes.push(b'\n');
    }
    bytes
}

#[test]
fn no_request_stops_a_board() {
    for personality in [Personality::Roach2, Personality::Roach1, Personality::V5] {
        let config =
            Config { personality, design: Design::adc(), sensors: true, ..Config::default() };
        let mock = Mock::start(config).unwrap();
        for seed in 0..150 {
            let mut hostile = Link::open(mock.addr());
            hostile.send(stream(seed));
            // Waits until all of it has been handled.
            hostile.close();
            let mut link = Link::open(mock.addr());
            assert_eq!(link.ask("?watchdog"), "!watchdog ok", "{personality:?}, seed {seed}");
            link.close();
        }
        assert!(mock.counters().requests > 2000);
    }
}
