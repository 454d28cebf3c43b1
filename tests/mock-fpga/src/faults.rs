//! Faults on demand: what a bad link, a busy board or a power cut do to a client.

use crate::output::Chunk;
use crate::signal::Random;
use std::fmt;
use std::time::{Duration, Instant};

/// Something that goes wrong. Written as words by `Display`, read from them by [`Fault::parse`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Everything goes well again, from now on.
    None,
    /// `split BYTES [MS]`: what answers a request is sent in pieces of so many bytes, `MS` apart.
    Split {
        /// Bytes a piece.
        bytes: usize,
        /// Time between pieces.
        gap: Duration,
    },
    /// `stall`: blocks of 4096 bytes without `TCP_NODELAY`, as the real server writes: 40 ms an answer for a client
    /// that delays its acknowledgements.
    Stall,
    /// `delay MS`: every answer comes so late.
    Delay(Duration),
    /// `late MS`: the next answer comes so late.
    Late(Duration),
    /// `drop N`: the next N replies are executed and never sent.
    Drop(u32),
    /// `cut BYTES`: the next reply ends after so many bytes, and the connection with it.
    Cut(usize),
    /// `garbage BYTES`: a line of so many random bytes in front of the next reply.
    Garbage(usize),
    /// `chatter N`: N informs nobody asked for between every request and its reply.
    Chatter(usize),
    /// `hang MS`: the server does nothing at all for so long; what came is done afterwards.
    Hang(Duration),
    /// `half-open MS`: for so long, what comes is thrown away unanswered, and connections stay open whatever happens.
    HalfOpen(Duration),
    /// `refuse MS`: connections are reset, and new ones refused for so long.
    Refuse(Duration),
    /// `restart MS`: as `refuse`, and the FPGA is unprogrammed afterwards.
    Restart(Duration),
    /// `swap`: the bytes of each 32-bit word come in little-endian order.
    Swap,
}

/// Why words name no fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// No such fault.
    #[error(
        "no fault '{0}'; there are none, split, stall, delay, late, drop, cut, garbage, chatter, hang, half-open, \
         refuse, restart, swap"
    )]
    Unknown(String),
    /// A word that should be a number is not, or is missing.
    #[error("fault '{fault}' needs a number: {unit}")]
    Number {
        /// The fault.
        fault: String,
        /// Of what.
        unit: &'static str,
    },
}

impl Fault {
    /// Reads a fault as it is written on the command line and in `?mock-fault`.
    ///
    /// # Errors
    ///
    /// [`FaultError`].
    ///
    /// # Examples
    ///
    /// ```
    /// use mock_fpga::Fault;
    /// assert_eq!(Fault::parse("drop 2"), Ok(Fault::Drop(2)));
    /// assert_eq!(Fault::parse("cut x").unwrap_err().to_string(), "fault 'cut' needs a number: bytes");
    /// ```
    pub fn parse(text: &str) -> Result<Self, FaultError> {
        let mut words = text.split_whitespace();
        let name = words.next().unwrap_or_default();
        let mut number = |unit| {
            let number = words.next().and_then(|word| word.parse::<u32>().ok());
            number.ok_or_else(|| FaultError::Number { fault: name.to_owned(), unit })
        };
        let mut ms = || number("milliseconds").map(|ms| Duration::from_millis(ms.into()));
        Ok(match name {
            "none" => Self::None,
            "stall" => Self::Stall,
            "swap" => Self::Swap,
            "delay" => Self::Delay(ms()?),
            "late" => Self::Late(ms()?),
            "hang" => Self::Hang(ms()?),
            "half-open" => Self::HalfOpen(ms()?),
            "refuse" => Self::Refuse(ms()?),
            "restart" => Self::Restart(ms()?),
            "drop" => Self::Drop(number("replies")?),
            "chatter" => Self::Chatter(number("informs")? as usize),
            "cut" => Self::Cut(number("bytes")? as usize),
            "garbage" => Self::Garbage(number("bytes")? as usize),
            "split" => {
                let bytes = number("bytes")?.max(1) as usize;
                let gap = number("milliseconds").unwrap_or(0);
                Self::Split { bytes, gap: Duration::from_millis(gap.into()) }
            }
            _ => return Err(FaultError::Unknown(name.to_owned())),
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => write!(f, "none"),
            Self::Split { bytes, gap } => write!(f, "split {bytes} {}", gap.as_millis()),
            Self::Stall => write!(f, "stall"),
            Self::Delay(by) => write!(f, "delay {}", by.as_millis()),
            Self::Late(by) => write!(f, "late {}", by.as_millis()),
            Self::Drop(count) => write!(f, "drop {count}"),
            Self::Cut(bytes) => write!(f, "cut {bytes}"),
            Self::Garbage(bytes) => write!(f, "garbage {bytes}"),
            Self::Chatter(count) => write!(f, "chatter {count}"),
            Self::Hang(time) => write!(f, "hang {}", time.as_millis()),
            Self::HalfOpen(time) => write!(f, "half-open {}", time.as_millis()),
            Self::Refuse(time) => write!(f, "refuse {}", time.as_millis()),
            Self::Restart(time) => write!(f, "restart {}", time.as_millis()),
            Self::Swap => write!(f, "swap"),
        }
    }
}

/// The faults of one board at the moment.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    split: Option<(usize, Duration)>,
    pub(crate) stall: bool,
    pub(crate) swap: bool,
    delay: Duration,
    late: Option<Duration>,
    drop: u32,
    cut: Option<usize>,
    garbage: Option<usize>,
    chatter: usize,
    hang_until: Option<Instant>,
    half_open_until: Option<Instant>,
    /// Time off the network, for the server to begin; and whether the FPGA forgets.
    pub(crate) away: Option<(Duration, bool)>,
}

impl Faults {
    pub(crate) fn set(&mut self, fault: Fault, now: Instant) {
        match fault {
            Fault::None => *self = Self::default(),
            Fault::Split { bytes, gap } => self.split = Some((bytes.max(1), gap)),
            Fault::Stall => self.stall = true,
            Fault::Delay(by) => self.delay = by,
            Fault::Late(by) => self.late = Some(by),
            Fault::Drop(count) => self.drop = count,
            Fault::Cut(bytes) => self.cut = Some(bytes),
            Fault::Garbage(bytes) => self.garbage = Some(bytes),
            Fault::Chatter(count) => self.chatter = count,
            Fault::Hang(time) => self.hang_until = Some(now + time),
            Fault::HalfOpen(time) => self.half_open_until = Some(now + time),
            Fault::Refuse(time) => self.away = Some((time, false)),
            Fault::Restart(time) => self.away = Some((time, true)),
            Fault::Swap => self.swap = true,
        }
    }

    /// The faults that are on, as words.
    pub(crate) fn list(&self) -> Vec<String> {
        let on = [
            self.split.map(|(bytes, gap)| Fault::Split { bytes, gap }),
            self.stall.then_some(Fault::Stall),
            (!self.delay.is_zero()).then_some(Fault::Delay(self.delay)),
            self.late.map(Fault::Late),
            (self.drop > 0).then_some(Fault::Drop(self.drop)),
            self.cut.map(Fault::Cut),
            self.garbage.map(Fault::Garbage),
            (self.chatter > 0).then_some(Fault::Chatter(self.chatter)),
            self.swap.then_some(Fault::Swap),
        ];
        on.into_iter().flatten().map(|fault| fault.to_string()).collect()
    }

    /// Until when the server does nothing.
    pub(crate) fn hung(&self, now: Instant) -> Option<Instant> {
        self.hang_until.filter(|&until| until > now)
    }

    /// Until when connections are half open.
    pub(crate) fn half_open(&self, now: Instant) -> Option<Instant> {
        self.half_open_until.filter(|&until| until > now)
    }

    /// Whether answers need [`shape`](Self::shape).
    pub(crate) fn shapes(&self) -> bool {
        self.split.is_some()
            || !self.delay.is_zero()
            || self.late.is_some()
            || self.drop > 0
            || self.cut.is_some()
            || self.garbage.is_some()
            || self.chatter > 0
    }

    /// Does to the lines that answer a request what the faults say.
    pub(crate) fn shape(&mut self, answer: &[u8], now: Instant, random: &mut Random) -> Vec<Chunk> {
        let start = answer
            .split_inclusive(|&byte| byte == b'\n')
            .scan(0, |end, line| {
                *end += line.len();
                Some((*end - line.len(), line))
            })
            .find(|(_, line)| line.starts_with(b"!"))
            .map(|(start, _)| start);
        let Some((informs, reply)) = start.and_then(|start| answer.split_at_checked(start)) else {
            return vec![Chunk { due: now, bytes: answer.to_vec(), close: false }];
        };
        let mut bytes = informs.to_vec();
        for n in 0..self.chatter {
            bytes.extend(format!("#log debug 0 mock chatter\\_{n}\n").bytes());
        }
        if let Some(len) = self.garbage.take() {
            bytes.extend((0..len).map(|_| random.next().to_be_bytes()[7]));
            bytes.push(b'\n');
        }
        let mut close = false;
        if self.drop > 0 {
            self.drop -= 1;
        } else if let Some(len) = self.cut.take() {
            bytes.extend_from_slice(reply.get(..len).unwrap_or(reply));
            close = true;
        } else {
            bytes.extend_from_slice(reply);
        }
        let due = now + self.delay + self.late.take().unwrap_or_default();
        let (piece, gap) = self.split.unwrap_or((bytes.len().max(1), Duration::ZERO));
        let mut chunks: Vec<Chunk> = (0_u32..)
            .zip(bytes.chunks(piece))
            .map(|(n, piece)| Chunk { due: due + gap * n, bytes: piece.to_vec(), close: false })
            .collect();
        match chunks.last_mut() {
            Some(last) => last.close = close,
            None => chunks.push(Chunk { due, bytes, close }),
        }
        chunks
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, Fault, Faults, Instant, Random};

    const ANSWER: &[u8] = b"#log info 0 raw x\n!read ok abc\n";

    fn shaped(faults: &[&str]) -> (Vec<String>, bool) {
        let now = Instant::now();
        let mut state = Faults::default();
        for fault in faults {
            state.set(Fault::parse(fault).unwrap(), now);
        }
        let chunks = state.shape(ANSWER, now, &mut Random::new(1));
        let close = chunks.iter().any(|chunk| chunk.close);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (chunks.iter().map(|chunk| text(&chunk.bytes)).collect(), close)
    }

    #[test]
    fn faults_are_written_as_they_are_read() {
        for text in ["none", "split 3 1", "stall", "delay 5", "late 6", "drop 2", "cut 7", "swap"] {
            assert_eq!(Fault::parse(text).unwrap().to_string(), text);
        }
        for text in ["garbage 8", "chatter 9", "hang 1", "half-open 2", "refuse 3", "restart 4"] {
            assert_eq!(Fault::parse(text).unwrap().to_string(), text);
        }
        assert!(Fault::parse("sleep").unwrap_err().to_string().starts_with("no fault 'sleep'; "));
        assert_eq!(
            Fault::parse("drop").unwrap_err().to_string(),
            "fault 'drop' needs a number: replies"
        );
    }

    #[test]
    fn each_fault_does_to_an_answer_what_it_says() {
        let inform = "#log info 0 raw x\n";
        assert_eq!(shaped(&["drop 1"]), (vec![inform.to_owned()], false));
        assert_eq!(shaped(&["cut 4"]), (vec![format!("{inform}!rea")], true));
        let (chunks, _) = shaped(&["split 7"]);
        assert_eq!(chunks.len(), ANSWER.len().div_ceil(7));
        assert_eq!(chunks.concat().as_bytes(), ANSWER);
        let (chunks, _) = shaped(&["chatter 2"]);
        assert!(chunks[0].ends_with("chatter\\_1\n!read ok abc\n"));
    }

    #[test]
    fn a_late_answer_is_late_once() {
        let now = Instant::now();
        let mut faults = Faults::default();
        faults.set(Fault::Late(Duration::from_secs(1)), now);
        let mut random = Random::new(1);
        assert_eq!(faults.shape(ANSWER, now, &mut random)[0].due, now + Duration::from_secs(1));
        assert!(!faults.shapes());
    }
}
