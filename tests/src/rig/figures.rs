//! Figures: names and numbers, printed as one JSON object.

use std::{fmt, time::Duration};

/// Figures in the order in which they were added.
#[derive(Debug, Default)]
pub struct Figures(Vec<(String, f64)>);

impl Figures {
    /// Adds a count.
    #[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
    pub fn count(&mut self, name: &str, count: u64) {
        self.0.push((name.to_owned(), count as f64));
    }

    /// Adds a time in milliseconds, to the tenth.
    pub fn time(&mut self, name: &str, time: Duration) {
        let tenths = (time.as_secs_f64() * 1e4).round();
        self.0.push((format!("{name}_ms"), tenths / 10.0));
    }

    /// Adds the median, the 99th percentile and the largest of `times`.
    pub fn times(&mut self, name: &str, times: &mut [Duration]) {
        times.sort_unstable();
        for (what, share) in [("p50", 50), ("p99", 99), ("max", 100)] {
            self.time(&format!("{name}_{what}"), percentile(times, share));
        }
    }

    /// Adds those of another world: the sum of each count, and the larger of each time.
    pub fn merge(&mut self, other: Self) {
        for (name, value) in other.0 {
            match self.0.iter_mut().find(|(known, _)| *known == name) {
                Some((_, own)) if name.ends_with("_ms") => *own = own.max(value),
                Some((_, own)) => *own += value,
                None => self.0.push((name, value)),
            }
        }
    }

    /// The figure called `name`; 0 if there is none.
    pub fn get(&self, name: &str) -> f64 {
        self.0.iter().find(|(known, _)| known == name).map_or(0.0, |(_, value)| *value)
    }
}

/// The `share`th percentile of sorted times; zero if there are none.
pub fn percentile(sorted: &[Duration], share: usize) -> Duration {
    let place = (sorted.len() * share).div_ceil(100).saturating_sub(1);
    sorted.get(place).copied().unwrap_or_default()
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> =
            self.0.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
        write!(f, "{{{}}}", all.join(", "))
    }
}
