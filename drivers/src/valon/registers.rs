//! The six registers of an ADF4350, which is what makes each of the two frequencies.
//!
//! ```text
//! frequency = (int + frac / mod) * pfd / divider        pfd = reference * 2 / 2 / r
//! ```
//!
//! Analog Devices, ADF4350 data sheet, register maps. Only the fields that are set here have names.

/// A field: its register, its lowest bit, how many bits it has.
struct Field(usize, u32, u32);

const INT: Field = Field(0, 15, 16);
const FRAC: Field = Field(0, 3, 12);
const MOD: Field = Field(1, 3, 12);
const LOW_SPUR: Field = Field(2, 29, 2);
const DOUBLE: Field = Field(2, 25, 1);
const HALF: Field = Field(2, 24, 1);
const R: Field = Field(2, 14, 10);
const DIVIDER: Field = Field(4, 20, 3);
const LEVEL: Field = Field(4, 3, 2);

/// Output levels in dBm, by the value of their field.
pub(super) const LEVELS: [i64; 4] = [-4, -1, 2, 5];
/// How many bytes the registers are.
pub(super) const LEN: usize = 24;
/// The greatest modulus.
const MAX_MOD: u32 = 4095;
/// The least whole part, with the chip's faster prescaler.
const MIN_INT: u32 = 23;
/// The greatest power of two that the output is divided by.
const MAX_SHIFT: u32 = 4;

/// A synthesizer's registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Registers(pub(super) [u32; 6]);

/// What is done to the reference before it is compared with the oscillator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, proximity_proto::ToReply)]
pub struct Options {
    /// Whether its frequency is doubled.
    pub double: bool,
    /// Whether it is halved.
    pub half: bool,
    /// What it is divided by.
    pub r: u32,
    /// Whether spurs are kept low, rather than noise.
    pub low_spur: bool,
}

/// How a frequency is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ratio {
    int: u32,
    frac: u32,
    modulus: u32,
    /// The output is divided by two to this power.
    shift: u32,
}

impl Registers {
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let mut registers = [0; 6];
        for (register, word) in registers.iter_mut().zip(bytes.as_chunks().0) {
            *register = u32::from_be_bytes(*word);
        }
        Self(registers)
    }

    pub(super) fn to_bytes(self) -> Vec<u8> {
        self.0.iter().flat_map(|register| register.to_be_bytes()).collect()
    }

    fn get(&self, Field(register, bit, bits): Field) -> u32 {
        let word = self.0.get(register).copied().unwrap_or_default();
        (word >> bit) & ((1 << bits) - 1)
    }

    fn set(&mut self, Field(register, bit, bits): Field, value: u32) {
        let mask = ((1 << bits) - 1) << bit;
        if let Some(word) = self.0.get_mut(register) {
            *word = (*word & !mask) | ((value << bit) & mask);
        }
    }

    pub(super) fn ratio(&self) -> Ratio {
        let (int, frac) = (self.get(INT), self.get(FRAC));
        Ratio { int, frac, modulus: self.get(MOD), shift: self.get(DIVIDER) }
    }

    pub(super) fn set_ratio(&mut self, ratio: Ratio) {
        self.set(INT, ratio.int);
        self.set(FRAC, ratio.frac);
        self.set(MOD, ratio.modulus);
        self.set(DIVIDER, ratio.shift);
    }

    /// Output level in dBm.
    pub(super) fn level(&self) -> i64 {
        let at = usize::try_from(self.get(LEVEL)).unwrap_or_default();
        LEVELS.get(at).copied().unwrap_or_default()
    }

    /// Sets the level; `None` if there is none of so many dBm.
    pub(super) fn set_level(&mut self, level: i64) -> Option<()> {
        let at = LEVELS.iter().position(|known| *known == level)?;
        self.set(LEVEL, u32::try_from(at).ok()?);
        Some(())
    }

    pub(super) fn options(&self) -> Options {
        Options {
            double: self.get(DOUBLE) == 1,
            half: self.get(HALF) == 1,
            r: self.get(R),
            low_spur: self.get(LOW_SPUR) == 3,
        }
    }

    pub(super) fn set_options(&mut self, options: Options) {
        self.set(DOUBLE, options.double.into());
        self.set(HALF, options.half.into());
        self.set(R, options.r);
        // Either both bits are set or none.
        self.set(LOW_SPUR, if options.low_spur { 3 } else { 0 });
    }
}

impl Options {
    /// The frequency that the oscillator is compared with, for a reference of so many MHz.
    pub(super) fn compared(self, reference: f64) -> f64 {
        let doubled = if self.double { reference * 2.0 } else { reference };
        let halved = if self.half { doubled / 2.0 } else { doubled };
        halved / f64::from(self.r.max(1))
    }
}

impl Ratio {
    /// The frequency that it makes from `pfd`, in the same unit.
    pub(super) fn frequency(self, pfd: f64) -> f64 {
        // A modulus of 0 is what a chip that was never set up has; then there is no fraction either.
        let fraction = f64::from(self.frac) / f64::from(self.modulus.max(1));
        (f64::from(self.int) + fraction) * pfd / f64::from(1_u32 << self.shift.min(MAX_SHIFT))
    }

    /// The ratio that makes `frequency` from `pfd` with an oscillator between `low` and `high`: the nearest
    /// there is, or the nearest multiple of `spacing` before the output is divided.
    ///
    /// `None` if the oscillator does not reach that.
    pub(super) fn of(
        frequency: f64,
        pfd: f64,
        (low, high): (f64, f64),
        spacing: Option<f64>,
    ) -> Option<Self> {
        let shift = (0..=MAX_SHIFT).find(|shift| frequency * f64::from(1_u32 << shift) >= low)?;
        let oscillator = frequency * f64::from(1_u32 << shift);
        let times = oscillator / pfd;
        if oscillator > high || !(f64::from(MIN_INT)..65535.0).contains(&times) {
            return None;
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // in range, just checked
        let int = times.floor() as u32;
        let rest = times - times.floor();
        let (frac, modulus) = match spacing {
            None => nearest(rest),
            Some(spacing) => {
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates
                let modulus = (pfd / spacing).round().clamp(1.0, f64::from(MAX_MOD)) as u32;
                (rounded(rest, modulus), modulus)
            }
        };
        if frac == modulus {
            return Some(Self { int: int + 1, frac: 0, modulus: 1, shift });
        }
        let common = divisor(frac, modulus);
        Some(Self { int, frac: frac / common, modulus: modulus / common, shift })
    }
}

/// The fraction with a modulus of twelve bits that is nearest to `rest`, the simplest of those.
fn nearest(rest: f64) -> (u32, u32) {
    let mut best = (0, 1);
    let mut miss = rest;
    for modulus in 1..=MAX_MOD {
        let frac = rounded(rest, modulus);
        let off = (f64::from(frac) / f64::from(modulus) - rest).abs();
        // A better fit only by what arithmetic loses is none.
        if off < miss - 1e-12 {
            (best, miss) = ((frac, modulus), off);
        }
    }
    best
}

/// How many parts of `modulus` come nearest to `rest`, which is below one.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // it is below 4096
fn rounded(rest: f64, modulus: u32) -> u32 {
    (rest * f64::from(modulus)).round() as u32
}

/// The greatest common divisor.
fn divisor(a: u32, b: u32) -> u32 {
    if a == 0 { b.max(1) } else { divisor(b % a, a) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: (f64, f64) = (2200.0, 4400.0);

    #[test]
    fn usual_clocks_are_made_exactly() {
        for (frequency, pfd) in [
            (800.0, 10.0),
            (1500.0, 10.0),
            (2500.0, 20.0),
            (137.5, 10.0),
            (4400.0, 10.0),
            (1024.0, 10.0),
        ] {
            let ratio = Ratio::of(frequency, pfd, RANGE, None).unwrap();
            assert!((ratio.frequency(pfd) - frequency).abs() < 1e-9, "{frequency}: {ratio:?}");
        }
        let ratio = Ratio::of(800.0, 10.0, RANGE, None).unwrap();
        assert_eq!(ratio, Ratio { int: 320, frac: 0, modulus: 1, shift: 2 });
        let ratio = Ratio::of(1024.0, 10.0, RANGE, None).unwrap();
        assert_eq!(ratio, Ratio { int: 409, frac: 3, modulus: 5, shift: 2 });
    }

    #[test]
    fn any_frequency_is_made_to_a_part_in_four_thousand_of_the_comparison() {
        for step in 0..2000 {
            let frequency = 137.5 + f64::from(step) * 2.131_071;
            let ratio = Ratio::of(frequency, 10.0, RANGE, None).unwrap();
            let miss = (ratio.frequency(10.0) - frequency).abs();
            assert!(miss < 10.0 / 4095.0, "{frequency} MHz: {ratio:?} misses by {miss}");
            assert!(ratio.frac < ratio.modulus && ratio.modulus <= MAX_MOD, "{ratio:?}");
        }
    }

    #[test]
    fn a_channel_spacing_is_kept() {
        let ratio = Ratio::of(1001.3, 10.0, RANGE, Some(1.0)).unwrap();
        // 4005.2 MHz before it is divided by 4; the nearest whole MHz.
        assert!((ratio.frequency(10.0) - 1001.25).abs() < 1e-9, "{ratio:?}");
        let ratio = Ratio::of(1001.3, 10.0, RANGE, Some(10.0)).unwrap();
        assert!((ratio.frequency(10.0) - 1002.5).abs() < 1e-9, "{ratio:?}");
    }

    #[test]
    fn what_the_oscillator_does_not_reach_is_refused() {
        for frequency in [0.0, -5.0, 137.4, 4400.1, f64::NAN, f64::INFINITY] {
            assert_eq!(Ratio::of(frequency, 10.0, RANGE, None), None, "{frequency}");
        }
        assert_eq!(Ratio::of(2200.0, 200.0, RANGE, None), None, "a whole part of 11");
    }

    #[test]
    fn fields_leave_each_other_alone() {
        let before = Registers([0xffff_ffff; 6]);
        let mut registers = before;
        let options = Options { double: false, half: true, r: 5, low_spur: false };
        registers.set_options(options);
        registers.set_ratio(Ratio { int: 307, frac: 1, modulus: 5, shift: 2 });
        registers.set_level(-1).unwrap();
        assert_eq!(registers.set_level(3), None);
        assert_eq!(registers.options(), options);
        assert_eq!(registers.level(), -1);
        assert_eq!(registers.ratio(), Ratio { int: 307, frac: 1, modulus: 5, shift: 2 });
        assert_eq!(
            registers.0,
            [0x8099_800f, 0xffff_802f, 0x9d01_7fff, 0xffff_ffff, 0xffaf_ffef, 0xffff_ffff]
        );
        assert_eq!(Registers::from_bytes(&registers.to_bytes()), registers);
    }
}
