//! The Valon 5007 dual synthesizer, which clocks the ADCs of ROACH boards.
//!
//! ```text
//! to read    command + 0x80                        ->  data, checksum of the data
//! to write   command, data, checksum of them all   ->  0x06 taken, 0x15 not
//!
//! 0 registers 24 bytes    1 reference 4    2 label 16    3 oscillator's range 4    6 status 1    0x40 flash 0
//! ```
//!
//! A checksum is the sum modulo 256, numbers have their most significant byte first, and 8 added to a command
//! means synthesizer B; reference, status and flash are common to both. 9600 baud, 8 bits, no parity.
//!
//! These facts are what public drivers of the telescopes that use it agree on, which were read and not run: no
//! Valon was here. They disagree on which status bit is whose lock; here it is as at Green Bank.

mod registers;

pub use registers::Options;

use crate::{
    Opener,
    serial::{
        SerialError,
        channel::{Channel, Manners, quoted},
        settings::{self, PLAIN},
    },
    settings::Settings,
};
use proximity_proto::{
    Context, FromArg, Value,
    arg::{Mismatch, Type},
    expose,
    object::Way,
};
use registers::{LEN, Ratio, Registers};
use std::{sync::Arc, time::Duration};

/// What is added to a command to read.
const READ: u8 = 0x80;
const REGISTERS: u8 = 0x00;
const REFERENCE: u8 = 0x01;
const LABEL: u8 = 0x02;
const RANGE: u8 = 0x03;
const STATUS: u8 = 0x06;
const FLASH: u8 = 0x40;

/// What answers a command that was taken, and one that was not.
const ACK: u8 = 0x06;
const NAK: u8 = 0x15;

/// The status bit that tells an external reference.
const EXTERNAL: u8 = 0x01;
/// How many bytes a label has.
const LABEL_LEN: usize = 16;
/// How many bytes the longest command has: registers, with the command before and the checksum behind.
const LONGEST: usize = 1 + LEN + 1;
/// How long it may take to write into flash memory.
const FLASH_TIME: Duration = Duration::from_secs(5);
/// The silence that tells that nothing more comes: many times what it takes to answer, for there is no telling
/// one status from another by its bytes.
const SETTLE: Duration = Duration::from_millis(250);
/// Reads that change nothing: what ends a command that was cut short.
const HARMLESS: [u8; 6] = [0x86, 0x81, 0x82, 0x83, 0x8a, 0x8b];

/// Takes a synthesizer's keys from its table in the configuration.
pub fn configure(settings: &mut Settings<'_>) -> Opener {
    let target = settings::target(settings, false);
    let timeout = settings::seconds(settings, "timeout", 0.001..=3600.0, 1.0);
    let manners = Manners {
        timeout,
        write_timeout: timeout,
        echo: false,
        char_delay: Duration::ZERO,
        command_delay: Duration::ZERO,
        settle: SETTLE,
        resync: padding(&[]),
        sync: None,
        on_open: Vec::new(),
    };
    Box::new(move || {
        let channel = Channel::new(target.clone(), PLAIN, manners.clone());
        Ok(Box::new(Valon { channel }))
    })
}

/// One of the two synthesizers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Synth {
    /// The first.
    A,
    /// The second.
    B,
}

impl Synth {
    /// What is added to a command.
    fn bits(self) -> u8 {
        match self {
            Self::A => 0x00,
            Self::B => 0x08,
        }
    }

    /// The status bit of its lock.
    fn lock(self) -> u8 {
        match self {
            Self::A => 0x20,
            Self::B => 0x10,
        }
    }
}

impl FromArg<'_> for Synth {
    fn from_arg(value: Value<'_>) -> Result<Self, Mismatch> {
        match value {
            Value::Text("A" | "a") | Value::Uint(0) => Ok(Self::A),
            Value::Text("B" | "b") | Value::Uint(8) => Ok(Self::B),
            Value::Text(_) | Value::Uint(_) | Value::Int(_) => {
                Err(Mismatch::Refused { must_be: "'A' or 'B', or their numbers 0 and 8".into() })
            }
            other => Err(Mismatch::wrong("'A' or 'B'", &other)),
        }
    }

    fn ty() -> Type {
        Type::named("str|int")
    }
}

/// A Valon 5007 dual synthesizer.
pub struct Valon {
    channel: Channel,
}

/// A Valon 5007 dual synthesizer: `synth` is 'A' or 'B', frequencies are in MHz unless told otherwise.
///
/// What is set is lost when the power goes, until flash() keeps it.
#[expose(way = way)]
impl Valon {
    /// Reads the output frequency.
    ///
    /// synth: 'A' or 'B'
    /// returns: MHz
    ///
    /// raises TimeoutError: no answer came
    /// raises ConnectionError: the synthesizer is away
    #[effect(read)]
    pub fn get_frequency(&mut self, cx: &Context<'_>, synth: Synth) -> Result<f64, SerialError> {
        let registers = self.registers(cx, synth)?;
        Ok(registers.ratio().frequency(self.compared(cx, &registers)?))
    }

    /// Sets the output frequency: the nearest there is.
    ///
    /// synth: 'A' or 'B'
    /// freq: MHz; within the oscillator's range, or a half to a sixteenth of that
    /// chan_spacing: MHz between the frequencies to choose from, before the output is divided; as fine as can
    ///     be if none
    /// returns: the frequency that was set, in MHz
    ///
    /// raises ValueError: the oscillator does not reach that
    /// raises RuntimeError: the synthesizer refused
    /// raises TimeoutError: no answer came
    /// raises ConnectionError: the synthesizer is away
    #[effect(write)]
    pub fn set_frequency(
        &mut self,
        cx: &Context<'_>,
        synth: Synth,
        freq: f64,
        #[default(None)] chan_spacing: Option<f64>,
    ) -> Result<f64, SerialError> {
        if let Some(spacing) = chan_spacing.filter(|spacing| !(0.001..=1000.0).contains(spacing)) {
            let (what, value) = ("chan_spacing", spacing.to_string());
            return Err(SerialError::BadValue { what, value, must_be: "0.001 to 1000 MHz" });
        }
        let mut registers = self.registers(cx, synth)?;
        let compared = self.compared(cx, &registers)?;
        let (low, high) = self.get_vco_range(cx, synth)?;
        let range = (f64::from(low), f64::from(high));
        let ratio = Ratio::of(freq, compared, range, chan_spacing).ok_or_else(|| {
            let must_be =
                "in the oscillator's range, get_vco_range(), or a half to a sixteenth of it";
            SerialError::BadValue { what: "freq", value: format!("{freq} MHz"), must_be }
        })?;
        registers.set_ratio(ratio);
        self.set_registers(cx, synth, registers)?;
        Ok(ratio.frequency(compared))
    }

    /// Reads the frequency that the reference is said to have.
    ///
    /// returns: Hz
    ///
    /// raises TimeoutError: no answer came
    /// raises ConnectionError: the synthesizer is away
    #[effect(read)]
    pub fn get_reference(&mut self, cx: &Context<'_>) -> Result<u32, SerialError> {
        Ok(u32::from_be_bytes(self.read(cx, REFERENCE)?))
    }

    /// Tells the frequency that the reference has. That changes no signal, only what frequencies are
    /// computed from.
    ///
    /// freq: Hz
    ///
    /// raises RuntimeError: the synthesizer refused
    /// raises TimeoutError: no answer came
    /// raises ConnectionError: the synthesizer is away
    #[effect(write)]
    pub fn set_reference(&mut self, cx: &Context<'_>, freq: u32) -> Result<(), SerialError> {
        self.write(cx, REFERENCE, &freq.to_be_bytes())
    }

    /// Whether the reference comes from outside.
    ///
    /// returns: bool
    ///
    /// raises TimeoutError: no answer came
    /// raises ConnectionError: the synthesizer is away
    #[effect(read)]
    pub fn get_ref_select(&mut self, cx: &Context<'_>) -> Result<bool, SerialError> {
        let [status] = self.read(cx, STATUS)?;
        Ok(status & EXTERNAL != 0)
    }

    /// Selects the reference.
    ///
    /// e_not_i: True for the external one, False for the internal one
    ///
    /// raises RuntimeError: the synthesizer refused
    /// raises TimeoutError: no answer came
    /// raises ConnectionError: the synthesizer is away
    #[effect(write)]
    pub fn set_ref_select(
        &mut self,
        cx: &Context<'_>,
        #[default(true)] e_not_i: bool,
    ) -> Result<(), SerialError> {
        self.write(cx, STATUS, &[if e_not_i { EXTERNAL } else { 0 }])
    }

    /// Reads the output level.
    ///
    /// synth: 'A' or 'B'
    /// returns: dBm
    ///
    /// raises TimeoutError: no answer came
    /// raises ConnectionError: the synthesizer is away
    #[effect(read)]
    pub fn get_rf_level(&mut self, cx: &Context<'_>, synth: Synth) -> Result<i64, SerialError> {
        Ok(self.registers(cx, synth)?.level())
    }

    /// Sets the output level.
    ///
    /// synth: 'A' or 'B'
    /// rf_level: -4, -1, 2 or 5 dBm
    ///
    /// raises ValueError: another level
    /// raises RuntimeError: the synthesizer refused
    /// raises TimeoutError: no answer came
    /// raises ConnectionError: the synthesizer is away
    #[effect(write)]
    pub fn set_rf_level(
        &mut self,
        cx: &Context<'_>,
        synth: Synth,
        rf_level: i64,
    ) -> Result<(), SerialError> {
        if !registers::LEVELS.contains(&rf_level) {
            let (value, must_be) = (rf_level.to_string(), "-4, -1, 2 or 5 dBm");
            return Err(SerialError::BadValue { what: "rf_level", value, must_be });
        }
        let mut registers = self.registers(cx, synth)?;
        // Which there is: looked up just now.
        let _ = registers.set_level(rf_level);
        self.set_registers(cx, synth, registers)
    }

    /// Reads what is done to the reference.
    ///
    /// synth: 'A' or 'B'
    /// returns: a dict: double, half, r (what it is divided by), low_spur
    ///
    /// raises TimeoutError: no answer came
    /// raises ConnectionError: the synthesizer is away
    #[effect(read)]
    pub fn get_options(&mut self, cx: &Context<'_>, synth: Synth) -> Result<Options, SerialError> {
        Ok(self.registers(cx, synth)?.options())
    }

    /// Sets what is done to the reference. The output frequency changes with it.
    ///
    /// synth: 'A' or 'B'
    /// double: whether its frequency is doubled
    /// half: whether it is halved
    /// r: what it is divided by, 1 to 1023
    /// low_spur: whether spurs are kept low, rather than noise
    ///
    /// raises ValueError: another r
    /// raises RuntimeError: the synthesizer refused
    /// raises TimeoutError: no answer came
    /// raises ConnectionError: the synthesizer is away
    #[effect(write)]
    pub fn set_options(
        &mut self,
        cx: &Context<'_>,
        synth: Synth,
        #[default(false)] double: bool,
        #[default(false)] half: bool,
        #[default(1)] r: u32,
        #[default(false)] low_spur: bool,
    ) -> Result<(), SerialError> {
        if !(1..=1023).contains(&r) {
            let (what, value) = ("r", r.to_string());
            return Err(SerialError::BadValue { what, value, must_be: "1 to 1023" });
        }
        let mut registers = self.registers(cx, synth)?;
        registers.set_options(Options { double, half, r, low_spur });
        self.set_registers(cx, synth, registers)
    }

    /// Reads the range of the oscillator.
    ///
    /// synth: 'A' or 'B'
    /// returns: [lowest, highest] in MHz
    ///
    /// raises TimeoutError: no answer came
    /// raises ConnectionError: the synthesizer is away
    #[effect(read)]
    pub fn get_vco_range(
        &mut self,
        cx: &Context<'_>,
        synth: Synth,
    ) -> Result<(u16, u16), SerialError> {
        let [a, b, c, d] = self.read(cx, RANGE | synth.bits())?;
        Ok((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
    }

    /// Sets the range that the oscillator is said to have.
    ///
    /// synth: 'A' or 'B'
    /// min: MHz
    /// max: MHz
    ///
    /// raises ValueError: min is not below max
    /// raises RuntimeError: the synthesizer refused
    /// raises TimeoutError: no answer came
    /// raises ConnectionError: the synthesizer is away
    #[effect(write)]
    pub fn set_vco_range(
        &mut self,
        cx: &Context<'_>,
        synth: Synth,
        min: u16,
        max: u16,
    ) -> Result<(), SerialError> {
        if min >= max {
            let (what, value) = ("min", min.to_string());
            return Err(SerialError::BadValue { what, value, must_be: "below max" });
        }
        let [a, b] = min.to_be_bytes();
        let [c, d] = max.to_be_bytes();
        self.write(cx, RANGE | synth.bits(), &[a, b, c, d])
    }

    /// Whether the output is locked to the reference.
    ///
    /// synth: 'A' or 'B'
    /// returns: bool
    ///
    /// raises TimeoutError: no answer came
    /// raises ConnectionError: the synthesizer is away
    #[effect(read)]
    pub fn get_phase_lock(&mut self, cx: &Context<'_>, synth: Synth) -> Result<bool, SerialError> {
        let [status] = self.read(cx, STATUS | synth.bits())?;
        Ok(status & synth.lock() != 0)
    }

    /// Reads the label.
    ///
    /// synth: 'A' or 'B'
    /// returns: text
    ///
    /// raises TimeoutError: no answer came
    /// raises ConnectionError: the synthesizer is away
    #[effect(read)]
    pub fn get_label(&mut self, cx: &Context<'_>, synth: Synth) -> Result<String, SerialError> {
        let label: [u8; LABEL_LEN] = self.read(cx, LABEL | synth.bits())?;
        let text: String = label.iter().copied().map(char::from).collect();
        Ok(text.trim_end_matches(['\0', ' ']).to_owned())
    }

    /// Sets the label.
    ///
    /// synth: 'A' or 'B'
    /// label: up to 16 characters of ASCII
    ///
    /// raises ValueError: longer, or not of ASCII
    /// raises RuntimeError: the synthesizer refused
    /// raises TimeoutError: no answer came
    /// raises ConnectionError: the synthesizer is away
    #[effect(write)]
    pub fn set_label(
        &mut self,
        cx: &Context<'_>,
        synth: Synth,
        label: &str,
    ) -> Result<(), SerialError> {
        let mut bytes = [0; LABEL_LEN];
        let space = bytes.get_mut(..label.len()).filter(|_| label.is_ascii());
        let space = space.ok_or_else(|| SerialError::BadValue {
            what: "label",
            value: format!("'{label}'"),
            must_be: "up to 16 characters of ASCII",
        })?;
        space.copy_from_slice(label.as_bytes());
        self.write(cx, LABEL | synth.bits(), &bytes)
    }

    /// Keeps what is set, of both synthesizers, in flash memory: it is there again after the power was off.
    ///
    /// Flash memory wears out: not to be called in a loop.
    ///
    /// raises RuntimeError: the synthesizer refused
    /// raises TimeoutError: no answer came
    /// raises ConnectionError: the synthesizer is away
    #[effect(admin)]
    pub fn flash(&mut self, cx: &Context<'_>) -> Result<(), SerialError> {
        self.write(cx, FLASH, &[])
    }

    /// Reads the six registers of the synthesizer's ADF4350.
    ///
    /// synth: 'A' or 'B'
    /// returns: a list of six whole numbers
    ///
    /// raises TimeoutError: no answer came
    /// raises ConnectionError: the synthesizer is away
    #[effect(read)]
    pub fn get_registers(
        &mut self,
        cx: &Context<'_>,
        synth: Synth,
    ) -> Result<Vec<u32>, SerialError> {
        Ok(self.registers(cx, synth)?.0.to_vec())
    }

    /// Connected or Disconnected; a synthesizer is Disconnected until it is first needed.
    #[quick]
    #[attribute]
    pub fn state(&mut self) -> &'static str {
        if self.channel.is_up() { "Connected" } else { "Disconnected" }
    }

    /// Where the synthesizer is, as configured.
    #[quick]
    #[attribute]
    pub fn port(&self) -> &str {
        self.channel.name()
    }

    fn way(&self) -> Arc<dyn Way> {
        self.channel.way()
    }

    fn registers(&mut self, cx: &Context<'_>, synth: Synth) -> Result<Registers, SerialError> {
        let bytes: [u8; LEN] = self.read(cx, REGISTERS | synth.bits())?;
        Ok(Registers::from_bytes(&bytes))
    }

    fn set_registers(
        &mut self,
        cx: &Context<'_>,
        synth: Synth,
        registers: Registers,
    ) -> Result<(), SerialError> {
        self.write(cx, REGISTERS | synth.bits(), &registers.to_bytes())
    }

    /// The frequency that the oscillator is compared with, in MHz.
    fn compared(&mut self, cx: &Context<'_>, registers: &Registers) -> Result<f64, SerialError> {
        let reference = self.get_reference(cx)?;
        if reference == 0 {
            let must_be = "a frequency, which set_reference() tells it";
            return Err(self.channel.bad_answer(&[REFERENCE | READ], b"0 Hz", must_be));
        }
        Ok(registers.options().compared(f64::from(reference) / 1e6))
    }

    /// Reads `N` bytes.
    fn read<const N: usize>(
        &mut self,
        cx: &Context<'_>,
        command: u8,
    ) -> Result<[u8; N], SerialError> {
        let command = [command | READ];
        self.channel.send(cx, &command, self.channel.manners.timeout)?;
        let answer = self.channel.exactly(cx, N + 1, &command)?;
        if let Some((data, &[sum])) = answer.split_first_chunk::<N>()
            && sum == checksum(data)
        {
            return Ok(*data);
        }
        let answer = answer.to_vec();
        Err(self.channel.bad_answer(&command, &answer, "data with the right checksum"))
    }

    /// Writes.
    fn write(&mut self, cx: &Context<'_>, command: u8, data: &[u8]) -> Result<(), SerialError> {
        let mut bytes = [&[command], data].concat();
        bytes.push(checksum(&bytes));
        let timeout = self.channel.manners.timeout;
        let timeout = if command == FLASH { timeout.max(FLASH_TIME) } else { timeout };
        // From here on this command may be the one that is cut short; until then the one before may have been.
        self.channel.begin(cx, &bytes)?;
        self.channel.manners.resync = padding(&bytes);
        self.channel.send(cx, &bytes, timeout)?;
        match *self.channel.exactly(cx, 1, &bytes)? {
            [ACK] => Ok(()),
            [NAK] => {
                let (port, doing) = (self.channel.name().clone(), quoted(&bytes));
                let said = "NAK, as it does where the checksum or the data are wrong".to_owned();
                Err(SerialError::Refused { port, doing, said, more: Vec::new() })
            }
            ref other => {
                let other = other.to_vec();
                Err(self.channel.bad_answer(&bytes, &other, "ACK (0x06) or NAK (0x15)"))
            }
        }
    }
}

/// The sum of the bytes, modulo 256.
fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// What fills up `command` wherever it was cut short, so that the synthesizer takes none for complete: what
/// comes where the checksum belongs is the wrong one, and to a synthesizer that waits for a command each byte
/// is a harmless read.
fn padding(command: &[u8]) -> Vec<u8> {
    let filled = |(first, other): (u8, u8)| {
        let mut bytes = vec![first];
        bytes.resize(LONGEST, other);
        bytes
    };
    // Where only the checksum is missing the command is as it was meant.
    let safe = |padding: &Vec<u8>| {
        (1..command.len().saturating_sub(1)).all(|cut| {
            let (came, missing) = (command.get(..cut), padding.get(..command.len() - cut));
            let split = missing.and_then(<[u8]>::split_last);
            let (Some(came), Some((sum, rest))) = (came, split) else { return true };
            checksum(came).wrapping_add(checksum(rest)) != *sum
        })
    };
    let pairs = HARMLESS.into_iter().flat_map(|first| HARMLESS.map(|other| (first, other)));
    let mut paddings = pairs.map(filled);
    paddings.find(safe).unwrap_or_else(|| filled((STATUS | READ, STATUS | READ)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_command_that_was_cut_short_is_completed_by_what_follows() {
        let mut random = 0x2545_f491_u32;
        let mut next = || {
            random ^= random << 13;
            random ^= random >> 17;
            random ^= random << 5;
            random.to_le_bytes()[0]
        };
        for round in 0..10_000 {
            let mut command: Vec<u8> = (0..=LEN).map(|_| next()).collect();
            command[0] = [0x00, 0x08][round % 2];
            command.push(checksum(&command));
            let pad = padding(&command);
            for cut in 1..command.len() - 1 {
                let seen: Vec<u8> = command[..cut].iter().chain(&pad).copied().collect();
                let (sum, data) = seen[..command.len()].split_last().unwrap();
                assert_ne!(*sum, checksum(data), "{command:02x?} cut at {cut}, round {round}");
            }
        }
    }
}
