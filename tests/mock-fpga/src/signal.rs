//! The simulated ADC: a tone in noise.

/// A small reproducible random generator (xorshift64*).
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        // The state must not be 0, and neighbouring seeds should not look alike.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound.max(1)).unwrap_or(u64::MAX);
        usize::try_from(self.next() % bound).unwrap_or(0)
    }

    /// A number from -1 to 1.
    #[allow(clippy::cast_precision_loss)] // 20 bits
    fn noise(&mut self) -> f64 {
        (self.next() & 0xf_ffff) as f64 / f64::from(1 << 19) - 1.0
    }
}

/// Cycles of the tone in a sample.
const TONE: f64 = 0.037;
const TONE_AMPLITUDE: f64 = 60.0;
const NOISE_AMPLITUDE: f64 = 12.0;

/// Fills `memory` with signed 8-bit samples, the first of which is number `first` since the board started.
pub(crate) fn capture(memory: &mut [u8], first: u64, random: &mut Random) {
    for (n, sample) in memory.iter_mut().enumerate() {
        #[allow(clippy::cast_precision_loss)] // only the phase within a cycle matters
        let phase = (first.wrapping_add(n as u64) % 1_000_000) as f64 * TONE;
        let value = TONE_AMPLITUDE * (std::f64::consts::TAU * phase).sin();
        #[allow(clippy::cast_possible_truncation)] // within -72 to 72
        let value = (value + NOISE_AMPLITUDE * random.noise()) as i8;
        *sample = value.to_be_bytes()[0];
    }
}

#[cfg(test)]
mod tests {
    use super::{Random, TONE, capture};

    /// Power at `frequency` cycles a sample.
    fn power(samples: &[u8], frequency: f64) -> f64 {
        let (mut re, mut im) = (0.0, 0.0);
        for (n, &sample) in (0_u32..).zip(samples) {
            let angle = std::f64::consts::TAU * frequency * f64::from(n);
            let value = f64::from(i8::from_be_bytes([sample]));
            re += value * angle.cos();
            im += value * angle.sin();
        }
        re.hypot(im) / f64::from(u32::try_from(samples.len()).unwrap())
    }

    #[test]
    fn a_capture_shows_the_tone_above_the_noise() {
        let mut samples = vec![0; 4000];
        capture(&mut samples, 12345, &mut Random::new(7));
        assert!(power(&samples, TONE) > 25.0);
        assert!(power(&samples, TONE * 1.7) < 2.0);
    }
}
