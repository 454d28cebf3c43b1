//! How fast an argument is escaped and unescaped, beside copying its bytes.

use crate::report::{Gate, Report, median};
use crate::{Failure, ROUNDS};
use proximity_proto::katcp::{escape, unescape, unescape_in_place};
use std::hint::black_box;
use std::time::Instant;

/// Bytes of an argument: one request of a long read.
const BYTES: u32 = 64 << 10;
/// Arguments in a measurement.
const TIMES: usize = 500;
/// What unescaping memory that is mostly zeros has to reach, in GB/s: more than any network near a board brings.
const LEAST: f64 = 0.8;

/// Measures both ways for what memories hold: nothing yet or little, counters, noise.
#[allow(clippy::unnecessary_wraps, reason = "it is one part of several")]
pub(crate) fn measure(report: &mut Report) -> Result<(), Failure> {
    let noise = |n: u32| n.wrapping_mul(0x9e37_79b1);
    let data = |word: &dyn Fn(u32) -> u32| -> Vec<u8> {
        (0..BYTES / 4).flat_map(|n| word(n).to_be_bytes()).collect()
    };
    let zeros = data(&|_| 0);
    let sparse = data(&|n| if n.is_multiple_of(16) { noise(n) } else { 0 });
    let kinds = [
        ("zeros", zeros, Some(LEAST)),
        ("zeros and a few words", sparse, Some(LEAST)),
        ("counters", data(&|n| n), None),
        ("noise", data(&noise), None),
    ];
    for (name, data, least) in kinds {
        let mut escaped = Vec::new();
        escape(&data, &mut escaped);
        let copied = rate(Vec::clear, |out| out.extend_from_slice(black_box(&data)));
        report.note(format!("memcpy, {name}"), "GB/s", copied);
        let escaping = rate(Vec::clear, |out| escape(black_box(&data), out));
        report.note(format!("escape, {name}"), "GB/s", escaping);
        let again = |out: &mut Vec<u8>| {
            out.clear();
            out.extend_from_slice(&escaped);
        };
        let in_place = |out: &mut Vec<u8>| {
            black_box(unescape_in_place(out));
        };
        let mut report_rate = |what: String, rate: &dyn Fn() -> f64| match least {
            None => report.note(what, "GB/s", rate()),
            Some(least) => {
                let pairs: Vec<_> = (0..ROUNDS).map(|_| (least, rate())).collect();
                report.compare(what, "GB/s", "what is asked for", &pairs, Gate::AtLeast(1.0));
            }
        };
        report_rate(format!("unescape in place, {name}"), &|| rate(again, in_place));
        report_rate(format!("unescape, {name}"), &|| {
            rate(Vec::clear, |out| unescape(black_box(&escaped), out))
        });
    }
    Ok(())
}

/// Returns the gigabytes of unescaped data a second at which `work` does what `prepare` has prepared.
fn rate(prepare: impl Fn(&mut Vec<u8>), work: impl Fn(&mut Vec<u8>)) -> f64 {
    let mut out = Vec::with_capacity(2 * BYTES as usize);
    let mut times = Vec::with_capacity(TIMES);
    for _ in 0..TIMES {
        prepare(&mut out);
        let begun = Instant::now();
        work(&mut out);
        times.push(begun.elapsed().as_secs_f64());
        black_box(&out);
    }
    f64::from(BYTES) / 1e9 / median(&mut times)
}
