//! One script: a board, a client, and what happens to both.

use crate::shadow::{Shadow, bytes};
use mock_fpga::{Config, Fault, Mock, Personality};
use proximity_drivers::{
    fpga::{Assignments, Fpga, FpgaError, Place, Setup, Word},
    katcp_client::KatcpError,
};
use proximity_proto::{Context, FromArg, Principal, ToReply, Value, object::Host, reply};
use std::{
    fmt::Write,
    net::Ipv4Addr,
    sync::OnceLock,
    time::{Duration, Instant},
};

/// The memory that is played with: two pieces of a long transfer. A little more, and the driver would give a verified
/// write more time for its size.
const WORDS: usize = 32_700;
const BYTES: usize = WORDS * 4;
const MEMORY: &str = "big_bram";
/// How long a board may take to be well again after the last fault: the longest pause between two tries to connect,
/// and what is left of a fault.
const RECOVERY: Duration = Duration::from_secs(15);
/// How long a call may take then: a busy machine may keep one waiting for longer than the script's own patience, again
/// and again.
const RECOVERING: Duration = Duration::from_secs(2);
/// What the client reads of a board that is well again, and how often.
const LOOK: usize = 4 << 10;
const LOOKS: u32 = 3;

/// The same for the same seed, everywhere.
pub(crate) struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number from 0 up to `end`, which is not in it.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("it is less than a usize")
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    fn ms(&mut self, end: usize) -> Duration {
        Duration::from_millis(self.below(end) as u64)
    }

    /// Anything but swapped words, which a board has from its start or not at all.
    fn fault(&mut self) -> Fault {
        match self.below(14) {
            0 => Fault::Split { bytes: 1 + self.below(9), gap: Duration::ZERO },
            1 => Fault::Split { bytes: 1 + self.below(5000), gap: self.ms(2) },
            2 => Fault::Stall,
            3 => Fault::Delay(self.ms(40)),
            4 => Fault::Late(self.ms(200)),
            5 => Fault::Drop(1 + u32::from(self.one_in(3))),
            6 => Fault::Cut(self.below(30)),
            7 => Fault::Cut(self.below(70_000)),
            8 => Fault::Garbage(self.below(80)),
            9 => Fault::Chatter(self.below(30)),
            10 => Fault::Hang(self.ms(150)),
            11 => Fault::HalfOpen(self.ms(150)),
            12 => Fault::Refuse(self.ms(60)),
            _ => Fault::Restart(self.ms(60)),
        }
    }
}

/// What should not have been.
pub(crate) enum Wrong {
    /// A call that ended late.
    Late(String),
    /// Anything else.
    Else(String),
}

impl Wrong {
    fn in_story(self, story: &str) -> Self {
        match self {
            Self::Late(what) => Self::Late(format!("{what}\n{story}")),
            Self::Else(what) => Self::Else(format!("{what}\n{story}")),
        }
    }
}

impl From<String> for Wrong {
    fn from(what: String) -> Self {
        Self::Else(what)
    }
}

impl From<&str> for Wrong {
    fn from(what: &str) -> Self {
        Self::Else(what.to_owned())
    }
}

/// What the scripts came to.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) calls: u64,
    pub(crate) answered: u64,
    pub(crate) failed: std::collections::BTreeMap<&'static str, u64>,
    /// Bytes read and compared.
    pub(crate) compared: u64,
    /// How much later than its deadline the latest call ended.
    pub(crate) latest: Duration,
}

impl Tally {
    /// Adds another thread's.
    pub(crate) fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.answered += other.answered;
        self.compared += other.compared;
        self.latest = self.latest.max(other.latest);
        for (kind, count) in other.failed {
            *self.failed.entry(kind).or_default() += count;
        }
    }
}

/// The surroundings of a call: the time since the script began.
struct Clock(Instant);

impl Host for Clock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn is_cancelled(&self) -> bool {
        false
    }

    fn progress(&self, _done: u64, _total: u64, _text: &str) {}
}

struct Script<'a> {
    random: Random,
    mock: Mock,
    fpga: Fpga,
    shadow: Shadow,
    clock: Clock,
    /// How long a call may take.
    patience: Duration,
    /// Whether the caller tells how long it waits, or the configuration does.
    tells: bool,
    garbled: bool,
    dropped: bool,
    story: String,
    tally: &'a mut Tally,
}

/// Plays the script called `seed`.
///
/// # Errors
///
/// What should not have been.
pub(crate) fn play(seed: u64, tally: &mut Tally) -> Result<(), Wrong> {
    /// They have gateware files in them, which take their time to make.
    static DEFAULTS: OnceLock<Config> = OnceLock::new();
    let mut random = Random(seed);
    let personality = [Personality::Roach2, Personality::Roach1, Personality::V5][random.below(3)];
    let swaps = random.one_in(8);
    // An address of its own: while a board is away another one may get its port.
    let [.., high, middle, low] = seed.to_be_bytes();
    let address = Ipv4Addr::new(127, 1 + high % 254, middle, low);
    let config = Config {
        listen: (address, 0).into(),
        personality,
        record: 0,
        seed,
        faults: swaps.then_some(Fault::Swap).into_iter().collect(),
        ..DEFAULTS.get_or_init(Config::default).clone()
    };
    let mock = Mock::start(config).map_err(|error| format!("no board: {error}"))?;
    let shadow = Shadow::new(WORDS);
    assert!(mock.poke(MEMORY, 0, shadow.bytes()), "the design has such a memory");
    let patience = Duration::from_millis([25, 50, 100][random.below(3)]);
    let tells = !random.one_in(3);
    let mut setup = Setup::new(&address.to_string(), mock.addr().port());
    if swaps {
        setup.byte_order = None;
    }
    if !tells {
        setup.timeout = patience;
    }
    let fpga = Fpga::new(&setup);
    let clock = Clock(Instant::now());
    let mut script = Script {
        random,
        mock,
        fpga,
        shadow,
        clock,
        patience,
        tells,
        garbled: false,
        dropped: false,
        story: format!("{personality:?}, {}swapped words", if swaps { "" } else { "no " }),
        tally,
    };
    let played = (0..8).try_for_each(|_| script.step()).and_then(|()| script.end());
    played.map_err(|wrong| wrong.in_story(&script.story))
}

impl Script<'_> {
    fn step(&mut self) -> Result<(), Wrong> {
        if self.random.one_in(2) {
            let fault = self.random.fault();
            self.shadow.maybe_cleared |= matches!(fault, Fault::Restart(_));
            self.garbled |= matches!(fault, Fault::Garbage(_));
            self.dropped |= matches!(fault, Fault::Drop(_));
            self.note(&format!("fault: {fault}"));
            self.mock.fault(fault);
        }
        let failure = match self.random.below(12) {
            0..=2 => self.read()?,
            3 | 4 => self.read_words()?,
            5 | 6 => self.write()?,
            7 | 8 => self.write_words()?,
            9 => self.ask()?,
            _ if self.shadow.maybe_cleared => self.program()?,
            _ => self.read()?,
        };
        if let Some(FpgaError::Katcp(KatcpError::Away { retry_in, .. })) = failure
            && self.random.one_in(2)
        {
            // A caller who waits as long as it was told to.
            std::thread::sleep(retry_in);
        }
        Ok(())
    }

    /// Notes what happens: a script that went wrong may not go wrong again.
    fn note(&mut self, what: &str) {
        let _ = write!(self.story, "\n{:>6} ms  {what}", self.clock.0.elapsed().as_millis());
    }

    /// Makes a call, and holds how it ends to what is allowed.
    fn call<T>(
        &mut self,
        what: &str,
        method: impl FnOnce(&mut Fpga, &Context<'_>) -> Result<T, FpgaError>,
    ) -> Result<Result<T, FpgaError>, Wrong> {
        let principal = Principal::local();
        let deadline = self.tells.then(|| self.clock.now() + self.patience);
        let (start, kept) = (Instant::now(), kept_waiting());
        let result = method(&mut self.fpga, &Context::new(&self.clock, deadline, &principal));
        let kept = kept_waiting().saturating_sub(kept);
        let late = start.elapsed().saturating_sub(self.patience + kept);
        self.tally.calls += 1;
        self.tally.latest = self.tally.latest.max(late);
        let told = result.as_ref().err().map(ToString::to_string);
        self.note(&format!("{what}: {}", told.as_deref().unwrap_or("done")));
        if late > crate::MARGIN {
            return Err(Wrong::Late(format!("{what} ended {late:?} after its deadline")));
        }
        match &result {
            Ok(_) => self.tally.answered += 1,
            Err(error) => {
                let kind = self.kind(error).ok_or_else(|| format!("{what} failed: {error:?}"))?;
                *self.tally.failed.entry(kind).or_default() += 1;
            }
        }
        Ok(result)
    }

    /// The kind of a failure that a fault explains.
    fn kind(&self, error: &FpgaError) -> Option<&'static str> {
        let source = match error {
            FpgaError::Cut { source, .. } => source,
            FpgaError::Katcp(source) => source,
            FpgaError::NotProgrammed { .. } if self.shadow.maybe_cleared => {
                return Some("not programmed");
            }
            FpgaError::Verify { .. } if !self.shadow.is_sure(0, WORDS) => return Some("verify"),
            _ => return None,
        };
        match source {
            KatcpError::Away { .. } | KatcpError::Connecting { .. } => Some("away"),
            KatcpError::Lost { .. } => Some("lost"),
            KatcpError::NoAnswer { .. } => Some("no answer"),
            KatcpError::Refused { .. } => self.shadow.maybe_cleared.then_some("refused"),
            KatcpError::Garbled { .. } => self.garbled.then_some("garbled"),
            // The reply behind the one that was dropped may not fit.
            KatcpError::OutOfStep { .. } => (self.garbled || self.dropped).then_some("out of step"),
            KatcpError::Stopped { .. }
            | KatcpError::Cancelled { .. }
            | KatcpError::NoRequest { .. } => None,
        }
    }

    /// A place in the memory and a length, in words: mostly short, sometimes of several pieces.
    fn range(&mut self) -> (usize, usize) {
        let most = if self.random.one_in(16) { WORDS } else { 64 };
        let count = 1 + self.random.below(most);
        (self.random.below(WORDS - count + 1), count)
    }

    fn read(&mut self) -> Result<Option<FpgaError>, Wrong> {
        let (at, count) = self.range();
        // Not every read is of whole words.
        let offset = at * 4 + self.random.below(4);
        let len = (count * 4 - self.random.below(4)).min(BYTES - offset);
        self.read_at(offset, len)
    }

    fn read_at(&mut self, offset: usize, len: usize) -> Result<Option<FpgaError>, Wrong> {
        let (from, size) = (number(offset), number(len));
        let result = if self.random.one_in(4) {
            self.call("bulkread", |fpga, cx| {
                fpga.bulkread(cx, MEMORY, size, from).map(<[u8]>::to_vec)
            })?
        } else {
            self.call("read", |fpga, cx| {
                fpga.read(cx, MEMORY, size, from).bytes().map(<[u8]>::to_vec)
            })?
        };
        self.compare(offset, len, result)
    }

    /// Holds what was read to what may be there.
    fn compare(
        &mut self,
        offset: usize,
        len: usize,
        result: Result<Vec<u8>, FpgaError>,
    ) -> Result<Option<FpgaError>, Wrong> {
        match result {
            Ok(read) if read.len() == len => {
                self.tally.compared += len as u64;
                self.shadow.check(offset, &read)?;
                Ok(None)
            }
            Ok(read) => Err(format!("{} bytes were read instead of {len}", read.len()).into()),
            Err(error) => Ok(Some(error)),
        }
    }

    fn read_words(&mut self) -> Result<Option<FpgaError>, Wrong> {
        let count = 1 + self.random.below(20);
        match self.random.below(3) {
            0 => {
                let at = self.random.below(WORDS);
                let read = self.call("read_uint", |fpga, cx| {
                    fpga.read_uint(cx, MEMORY, number(at)).map(|word| bytes(&[word]))
                })?;
                self.compare(at * 4, 4, read)
            }
            1 => {
                let at = self.random.below(WORDS - count);
                let read = self.call("wordread", |fpga, cx| {
                    let words = fpga.wordread(cx, MEMORY, number(count), number(at));
                    words.map(|words| bytes(&words))
                })?;
                self.compare(at * 4, count * 4, read)
            }
            _ => {
                let places: Vec<usize> = (0..count).map(|_| self.random.below(WORDS)).collect();
                let mut packed = Vec::new();
                reply::list_head(&mut packed, places.len());
                for &at in &places {
                    reply::list_head(&mut packed, 2);
                    reply::text(&mut packed, MEMORY);
                    number(at).to_reply(&mut packed);
                }
                let args = Value::first(&packed).expect("it was just written");
                let args = Vec::<Place<'_>>::from_arg(args).expect("a list of places");
                match self.call("read_many", |fpga, cx| fpga.read_many(cx, args))? {
                    Ok(words) if words.len() == count => {
                        for (&at, word) in places.iter().zip(words) {
                            self.compare(at * 4, 4, Ok(bytes(&[word])))?;
                        }
                        Ok(None)
                    }
                    Ok(words) => Err(format!("{} words instead of {count}", words.len()).into()),
                    Err(error) => Ok(Some(error)),
                }
            }
        }
    }

    fn write(&mut self) -> Result<Option<FpgaError>, Wrong> {
        let (at, count) = self.range();
        let values = self.shadow.values(count);
        let (data, offset) = (bytes(&values), number(at * 4));
        let sure = self.shadow.is_sure(at, count);
        let result = if self.random.one_in(2) {
            self.call("write", |fpga, cx| fpga.write(cx, MEMORY, &data, offset))?
        } else {
            self.call("blindwrite", |fpga, cx| fpga.blindwrite(cx, MEMORY, &data, offset))?
        };
        if matches!(result, Err(FpgaError::Verify { .. })) && sure {
            return Err("a write was found undone where nothing else was written".into());
        }
        self.shadow.wrote(at, &values, result.is_ok());
        Ok(result.err())
    }

    fn write_words(&mut self) -> Result<Option<FpgaError>, Wrong> {
        let (count, kind) = (1 + self.random.below(20), self.random.below(2));
        let count = if kind == 0 { 1 } else { count };
        let at = self.random.below(WORDS - count);
        let values = self.shadow.values(count);
        let blind = self.random.one_in(2);
        let result = if kind == 0 {
            self.call("write_int", |fpga, cx| {
                fpga.write_int(cx, MEMORY, Word(values[0]), blind, number(at))
            })?
        } else {
            let mut packed = Vec::new();
            reply::list_head(&mut packed, count);
            for (place, value) in (at..).zip(&values) {
                reply::list_head(&mut packed, 3);
                reply::text(&mut packed, MEMORY);
                value.to_reply(&mut packed);
                number(place).to_reply(&mut packed);
            }
            let args = Value::first(&packed).expect("it was just written");
            let args = Assignments::from_arg(args).expect("a list of assignments");
            self.call("write_many", |fpga, cx| fpga.write_many(cx, args, blind))?
        };
        self.shadow.wrote(at, &values, result.is_ok());
        Ok(result.err())
    }

    /// Asks for what is no memory.
    fn ask(&mut self) -> Result<Option<FpgaError>, Wrong> {
        let result = match self.random.below(3) {
            0 => self.call("ping", |fpga, cx| fpga.ping(cx).map(|alive| assert!(alive)))?,
            1 => self.call("status", |fpga, cx| fpga.status(cx).map(drop))?,
            _ => self.call("listdev", |fpga, cx| fpga.listdev(cx, true, false).map(drop))?,
        };
        Ok(result.err())
    }

    /// Programs the board, which may have lost its gateware.
    fn program(&mut self) -> Result<Option<FpgaError>, Wrong> {
        // Without a deadline of the caller's it may take long: that is no part of this.
        let tells = std::mem::replace(&mut self.tells, true);
        let result =
            self.call("progdev", |fpga, cx| fpga.progdev(cx, Some("test.bof")).map(drop))?;
        self.tells = tells;
        if result.is_ok() {
            self.shadow.cleared();
        }
        Ok(result.err())
    }

    /// Ends the faults, waits until the client is well again, and looks at all of the board's memory.
    fn end(&mut self) -> Result<(), Wrong> {
        // `None` would end swapped words too.
        for fault in [
            Fault::Split { bytes: usize::MAX, gap: Duration::ZERO },
            Fault::Delay(Duration::ZERO),
            Fault::Drop(0),
            Fault::Chatter(0),
            Fault::Hang(Duration::ZERO),
            Fault::HalfOpen(Duration::ZERO),
        ] {
            self.mock.fault(fault);
        }
        (self.tells, self.patience) = (true, RECOVERING);
        let begun = Instant::now();
        let mut looks = LOOKS;
        while looks > 0 {
            let len = LOOK;
            let offset = self.random.below(BYTES - len);
            let failure = match self.read_at(offset, len)? {
                Some(FpgaError::NotProgrammed { .. }) => self.program()?,
                None => {
                    looks -= 1;
                    None
                }
                other => other,
            };
            let Some(failure) = failure else { continue };
            if begun.elapsed() > RECOVERY {
                return Err(format!("the board is not well again: {failure:?}").into());
            }
            if let FpgaError::Katcp(KatcpError::Away { retry_in, .. }) = failure {
                std::thread::sleep(retry_in);
            }
        }
        let held = self.mock.peek(MEMORY).ok_or("no memory is left")?;
        let checked = self.shadow.check(0, &held[..BYTES]);
        checked.map_err(|what| format!("on the board, {what}").into())
    }
}

/// How long this thread waited for a core so far, where the system tells: on a busy machine that is much, and no fault
/// of the client's.
fn kept_waiting() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let waited = told.split_whitespace().nth(1).and_then(|nanoseconds| nanoseconds.parse().ok());
    Duration::from_nanos(waited.unwrap_or_default())
}

fn number(number: usize) -> u32 {
    u32::try_from(number).expect("the memory is small")
}
