//! What an object's calls came to: counted as they end, without memory being asked for.

use proximity_proto::Fault;
use proximity_session::Uptime;
use std::{borrow::Cow, time::Duration};

/// Powers of two of microseconds that are told apart: up to more than an hour.
const OCTAVES: usize = 32;

/// Parts of an octave that are told apart.
const PARTS: usize = 4;

/// How often which times came.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    /// For 0 to 3 microseconds one each, then four for each power of two.
    counts: [u64; OCTAVES * PARTS],
    /// All of them.
    pub(crate) count: u64,
    /// Their sum.
    pub(crate) sum: Duration,
    /// The longest.
    pub(crate) max: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        let (sum, max) = (Duration::ZERO, Duration::ZERO);
        Self { counts: [0; OCTAVES * PARTS], count: 0, sum, max }
    }
}

/// Where a time is counted.
fn place(micros: u64) -> usize {
    if micros < PARTS as u64 {
        return usize::try_from(micros).unwrap_or(0);
    }
    let octave = micros.ilog2();
    // The two bits behind the first.
    let part = usize::try_from(micros >> (octave - 2) & 3).unwrap_or(0);
    ((octave as usize - 1) * PARTS + part).min(OCTAVES * PARTS - 1)
}

/// The microseconds in the middle of what is counted at a place.
fn middle(place: usize) -> u64 {
    let (octave, part) = (place / PARTS, (place % PARTS) as u64);
    match octave {
        0 => part,
        _ => (((4 + part) << 1) + 1) << (octave - 1) >> 1,
    }
}

impl Histogram {
    /// One more.
    pub(crate) fn count(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get_mut(place(micros)) {
            *count += 1;
        }
        self.count += 1;
        self.sum += time;
        self.max = self.max.max(time);
    }

    /// The time that `share` of all take at most; within an eighth.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        #[allow(clippy::cast_precision_loss, reason = "a share of so many is as good")]
        let wanted = self.count as f64 * share;
        let mut seen = 0;
        for (place, count) in self.counts.iter().enumerate() {
            seen += count;
            #[allow(clippy::cast_precision_loss, reason = "as above")]
            if seen > 0 && seen as f64 >= wanted {
                return Duration::from_micros(middle(place)).min(self.max);
            }
        }
        self.max
    }

    /// How many took less than 2 to the power of `octave` microseconds.
    pub(crate) fn below(&self, octave: usize) -> u64 {
        let places = octave.saturating_sub(1) * PARTS;
        self.counts.iter().take(places).sum()
    }
}

/// An error that an object answered.
#[derive(Clone, Debug)]
pub(crate) struct LastError {
    pub(crate) class: Cow<'static, str>,
    pub(crate) message: String,
    pub(crate) at: Uptime,
}

impl LastError {
    pub(crate) fn new(fault: &Fault, at: Uptime) -> Self {
        Self { class: fault.class.clone(), message: fault.message.clone(), at }
    }
}

/// What an object's calls came to.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) done: u64,
    pub(crate) failed: u64,
    pub(crate) refused: u64,
    pub(crate) latency: Histogram,
    pub(crate) error: Option<LastError>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_is_counted_near_its_own_value() {
        for micros in (0..5000).chain([1 << 20, (1 << 31) - 1]) {
            let middle = middle(place(micros));
            assert!(middle.abs_diff(micros) * 8 <= micros.max(1), "{micros} is taken for {middle}");
        }
        assert_eq!(place(u64::MAX), OCTAVES * PARTS - 1);
    }

    #[test]
    fn quantiles_are_within_an_eighth() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), Duration::ZERO);
        for micros in 1..=1000 {
            histogram.count(Duration::from_micros(micros));
        }
        for (share, exact) in [(0.5, 500u64), (0.99, 990)] {
            let told = u64::try_from(histogram.quantile(share).as_micros()).unwrap_or(0);
            assert!(told.abs_diff(exact) * 8 <= exact, "{share}: {told}, not {exact}");
        }
        assert_eq!((histogram.count, histogram.max), (1000, Duration::from_millis(1)));
    }

    #[test]
    fn what_lies_below_a_power_of_two_is_counted_exactly() {
        let mut histogram = Histogram::default();
        for micros in [0, 3, 4, 7, 8, 1023, 1024, 5_000_000] {
            histogram.count(Duration::from_micros(micros));
        }
        assert_eq!([2, 3, 4, 10, 11, 23].map(|octave| histogram.below(octave)), [2, 4, 5, 6, 7, 8]);
    }
}
