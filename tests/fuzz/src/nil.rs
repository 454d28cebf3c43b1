//! The request that costs its sender least for what it may cost its reader: 16 MiB of nil.

use proximity_proto::{call::Call, limits::Limits};
use std::time::{Duration, Instant};

/// How long it may take to be refused.
pub const LIMIT: Duration = Duration::from_millis(5);

/// An array of 2^24 nils.
pub fn bytes() -> Vec<u8> {
    let mut bytes = b"\xdd\x01\0\0\0".to_vec();
    bytes.resize(bytes.len() + (1 << 24), 0xc0);
    bytes
}

/// What is said when it is refused.
pub fn refuse(bytes: &[u8]) -> String {
    Call::parse(bytes, &Limits::default()).expect_err("it has too many values").fault.message
}

/// How long it takes to be refused: the least of some times, for others use the machine too.
pub fn time() -> Duration {
    let bytes = bytes();
    let once = || {
        let begun = Instant::now();
        std::hint::black_box(refuse(std::hint::black_box(&bytes)));
        begun.elapsed()
    };
    (0..20).map(|_| once()).min().unwrap_or(Duration::MAX)
}
