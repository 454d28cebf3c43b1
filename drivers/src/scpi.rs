//! Instruments that speak SCPI, on a serial line or over TCP.
//!
//! Standard Commands for Programmable Instruments, 1999, and IEEE 488.2 below it: commands are lines of
//! text, those with a question mark are answered by a line or a block of bytes, mistakes are kept in a queue
//! in the instrument until somebody asks for them.

use crate::{
    Opener,
    serial::{
        Data, SerialError, Target, block,
        channel::{Channel, quoted},
        seconds,
        settings::{self, Lines},
        shown, timeout,
    },
    settings::Settings,
};
use proximity_proto::{Context, Fault, Later, expose, object::Way};
use std::{sync::Arc, time::Duration};

/// The most errors that are read from an instrument's queue at once; IEEE 488.2 queues are shorter.
const MAX_ERRORS: usize = 64;
/// How often it is asked whether an operation is complete: soon at first, then more rarely.
const FIRST_POLL: Duration = Duration::from_millis(20);
const LAST_POLL: Duration = Duration::from_millis(500);
/// The bit of the event status register that tells that all operations are complete.
const COMPLETE: u64 = 0x01;
/// Its bits that tell of a mistake: query, device, execution, command.
const MISTAKES: u64 = 0x3c;
/// Keys that mean nothing on a TCP connection.
const LINE_KEYS: [&str; 8] =
    ["baud", "data_bits", "parity", "stop_bits", "flow_control", "exclusive", "dtr", "rts"];

/// Takes an instrument's keys from its table in the configuration.
pub fn configure(settings: &mut Settings<'_>) -> Opener {
    let target = settings::target(settings, true);
    let line = settings::line(settings);
    if let Target::Tcp { .. } = target {
        for key in LINE_KEYS {
            if settings.any(key).is_some() {
                settings.refuse(key, format!("'{key}' means nothing on a tcp:// connection"));
            }
        }
    }
    let lines = settings::lines(settings);
    let manners = settings::manners(settings, &lines, "*IDN?");
    let check_errors = settings.bool("check_errors").unwrap_or(false);
    let error_query = settings.text("error_query").unwrap_or("SYST:ERR?").to_owned();
    Box::new(move || {
        Ok(Box::new(Scpi {
            channel: Channel::new(target.clone(), line.clone(), manners.clone()),
            lines: lines.clone(),
            check_errors,
            error_query: error_query.clone(),
        }))
    })
}

/// An instrument that speaks SCPI.
pub struct Scpi {
    channel: Channel,
    lines: Lines,
    /// Whether the instrument is asked after each command whether it took it.
    check_errors: bool,
    error_query: String,
}

/// An instrument that speaks SCPI.
#[expose(way = way)]
impl Scpi {
    /// Who made the instrument, its model, its number and its firmware, as it says itself (`*IDN?`).
    ///
    /// returns: text
    ///
    /// raises TimeoutError: no answer came
    /// raises ConnectionError: the instrument is away
    #[effect(read)]
    pub fn idn(&mut self, cx: &Context<'_>) -> Result<String, SerialError> {
        self.ask(cx, "*IDN?", self.channel.manners.timeout)
    }

    /// Sends a command and returns the line that answers it: one transaction, nobody comes between.
    ///
    /// command: such as `MEAS:VOLT:DC?`, without line ending
    /// timeout: seconds that the instrument may be silent, if not the usual
    /// returns: the answer without line ending
    ///
    /// raises RuntimeError: the instrument refused it; told only if check_errors is set
    /// raises TimeoutError: no answer came
    /// raises ConnectionError: the instrument is away
    #[effect(write)]
    pub fn query(
        &mut self,
        cx: &Context<'_>,
        command: &str,
        #[default(None)] timeout: Option<f64>,
    ) -> Result<String, SerialError> {
        let timeout = timeout.map_or(Ok(self.channel.manners.timeout), self::timeout)?;
        let answer = self.ask(cx, command, timeout);
        self.judge(cx, command, answer)
    }

    /// Sends a command that is not answered.
    ///
    /// command: such as `VOLT 1.5`, without line ending
    ///
    /// raises RuntimeError: the instrument refused it; told only if check_errors is set
    /// raises TimeoutError: the line takes no more bytes
    /// raises ConnectionError: the instrument is away
    #[effect(write)]
    pub fn write(&mut self, cx: &Context<'_>, command: &str) -> Result<(), SerialError> {
        let sent = self.send(cx, command.as_bytes(), self.channel.manners.timeout);
        self.judge(cx, command, sent)
    }

    /// Sends a command and returns the block of bytes that answers it, such as a waveform.
    ///
    /// command: such as `CURV?`, without line ending
    /// returns: the bytes, without the block's header
    ///
    /// raises RuntimeError: the answer is no block, or the instrument refused the command
    /// raises TimeoutError: no answer came, or not all of it
    /// raises ConnectionError: the instrument is away
    #[effect(write)]
    pub fn query_binary(&mut self, cx: &Context<'_>, command: &str) -> Result<&[u8], SerialError> {
        let line = [command.as_bytes(), &self.lines.write_end].concat();
        self.channel.send(cx, &line, self.channel.manners.timeout)?;
        if !self.check_errors {
            return block::read(&mut self.channel, cx, &self.lines.read_end, &line);
        }
        let read = block::read(&mut self.channel, cx, &self.lines.read_end, &line);
        let kept = read.map(<[u8]>::to_vec);
        let kept = self.judge(cx, command, kept)?;
        Ok(self.channel.keep(kept))
    }

    /// Sends a command with a block of bytes at its end, such as a waveform for a generator.
    ///
    /// command: what stands before the block, such as `DATA:ARB ramp,`
    /// data: the bytes
    ///
    /// raises ValueError: more bytes than a block can have
    /// raises RuntimeError: the instrument refused it; told only if check_errors is set
    /// raises TimeoutError: the line takes no more bytes
    /// raises ConnectionError: the instrument is away
    #[effect(write)]
    pub fn write_binary(
        &mut self,
        cx: &Context<'_>,
        command: &str,
        data: Data<'_>,
    ) -> Result<(), SerialError> {
        let data = match data {
            Data::Bytes(bytes) => bytes,
            Data::Text(text) => text.as_bytes(),
        };
        let header = block::write_header(data.len()).ok_or_else(|| SerialError::BadValue {
            what: "the length of data",
            value: data.len().to_string(),
            must_be: "0 to 999999999",
        })?;
        let whole = [command.as_bytes(), &header, data].concat();
        let sent = self.send(cx, &whole, self.channel.manners.timeout);
        self.judge(cx, command, sent)
    }

    /// Reads the instrument's error queue until it is empty.
    ///
    /// returns: a list of [number, text], oldest first
    ///
    /// raises TimeoutError: no answer came
    /// raises ConnectionError: the instrument is away
    #[effect(write)]
    pub fn errors(&mut self, cx: &Context<'_>) -> Result<Vec<(i64, String)>, SerialError> {
        let mut found = Vec::new();
        while found.len() < MAX_ERRORS {
            let query = self.error_query.clone();
            let answer = self.ask(cx, &query, self.channel.manners.timeout)?;
            let (code, text) = answer.split_once(',').unwrap_or((&answer, ""));
            let Ok(code) = code.trim().parse::<i64>() else {
                let must_be = "a number, a comma, and a text in quotes";
                return Err(self.channel.bad_answer(query.as_bytes(), answer.as_bytes(), must_be));
            };
            if code == 0 {
                break;
            }
            found.push((code, text.trim().trim_matches('"').to_owned()));
        }
        Ok(found)
    }

    /// Clears the instrument's status and its error queue (`*CLS`).
    ///
    /// raises ConnectionError: the instrument is away
    #[effect(write)]
    pub fn clear(&mut self, cx: &Context<'_>) -> Result<(), SerialError> {
        self.write(cx, "*CLS")
    }

    /// Puts the instrument into its basic state (`*RST`).
    ///
    /// raises ConnectionError: the instrument is away
    #[effect(write)]
    pub fn reset(&mut self, cx: &Context<'_>) -> Result<(), SerialError> {
        self.write(cx, "*RST")
    }

    /// Sends a command, and waits until the instrument says that all it was told to do is done.
    ///
    /// Other calls are served meanwhile; one that sends `*CLS` or `*ESR?` takes the news away. Progress is told
    /// in milliseconds.
    ///
    /// command: such as `INIT`, without line ending; none to wait for what goes on already
    /// timeout: seconds, 0.001 to 3600
    /// returns: seconds that it took
    ///
    /// raises RuntimeError: the instrument refused it
    /// raises TimeoutError: it was not done in time
    /// raises ConnectionError: the instrument is away
    #[effect(write)]
    pub fn wait_complete(
        &mut self,
        cx: &Context<'_>,
        #[default(None)] command: Option<&str>,
        #[default(60.0)] timeout: f64,
    ) -> Result<Later<Self, f64>, Fault> {
        let timeout = seconds("timeout", timeout, 0.001..=3600.0, "0.001 to 3600 seconds")?;
        // Reading the register clears what it held before.
        self.status(cx)?;
        if let Some(command) = command {
            self.send(cx, command.as_bytes(), self.channel.manners.timeout)?;
        }
        self.send(cx, b"*OPC", self.channel.manners.timeout)?;
        let doing = command.unwrap_or("*OPC").to_owned();
        let wait = Wait { doing, begun: cx.now(), timeout, pause: FIRST_POLL };
        Ok(wait.later(cx))
    }

    /// Connected or Disconnected; an instrument is Disconnected until it is first needed.
    #[quick]
    #[attribute]
    pub fn state(&mut self) -> &'static str {
        if self.channel.is_up() { "Connected" } else { "Disconnected" }
    }

    /// Where the instrument is, as configured.
    #[quick]
    #[attribute]
    pub fn port(&self) -> &str {
        self.channel.name()
    }

    /// Seconds that the instrument may be silent before and within an answer.
    #[quick]
    #[attribute]
    pub fn timeout(&self) -> f64 {
        self.channel.manners.timeout.as_secs_f64()
    }

    /// Sets the seconds that the instrument may be silent.
    #[quick]
    #[attribute]
    pub fn set_timeout(&mut self, timeout: f64) -> Result<(), SerialError> {
        self.channel.manners.timeout = self::timeout(timeout)?;
        Ok(())
    }

    fn way(&self) -> Arc<dyn Way> {
        self.channel.way()
    }

    /// Sends a line.
    fn send(
        &mut self,
        cx: &Context<'_>,
        command: &[u8],
        timeout: Duration,
    ) -> Result<(), SerialError> {
        let line = [command, self.lines.write_end.as_slice()].concat();
        self.channel.send(cx, &line, timeout)
    }

    /// Sends a line and returns the line that answers it.
    fn ask(
        &mut self,
        cx: &Context<'_>,
        command: &str,
        timeout: Duration,
    ) -> Result<String, SerialError> {
        self.send(cx, command.as_bytes(), timeout)?;
        let answer = self.channel.line_behind(cx, &self.lines.read_end, command.as_bytes())?;
        Ok(self.lines.encoding.decode(answer).into_owned())
    }

    /// Asks the instrument what it thinks of a command, where that was wanted. A command that was not
    /// answered has a reason, mostly, that is in the queue.
    fn judge<T>(
        &mut self,
        cx: &Context<'_>,
        command: &str,
        outcome: Result<T, SerialError>,
    ) -> Result<T, SerialError> {
        let ask = match &outcome {
            Ok(_) => true,
            Err(error) => {
                matches!(error, SerialError::NoAnswer { .. } | SerialError::BadAnswer { .. })
                    && !cx.is_cancelled()
            }
        };
        if !self.check_errors || !ask {
            return outcome;
        }
        let found = match (self.errors(cx), &outcome) {
            (Ok(found), _) => found,
            // It does not answer that either: the first failure tells more.
            (Err(_), Err(_)) => return outcome,
            (Err(error), Ok(_)) => return Err(error),
        };
        if found.is_empty() { outcome } else { Err(self.refused(command, &found)) }
    }

    fn refused(&self, command: &str, found: &[(i64, String)]) -> SerialError {
        let mut said = found.iter().map(|(code, text)| format!("{code}, {text}"));
        let (port, doing) = (self.channel.name().clone(), quoted(command.as_bytes()));
        let first = said.next().unwrap_or_default();
        SerialError::Refused { port, doing, said: first, more: said.collect() }
    }

    /// The event status register, which is cleared by that.
    fn status(&mut self, cx: &Context<'_>) -> Result<u64, SerialError> {
        let answer = self.ask(cx, "*ESR?", self.channel.manners.timeout);
        // Its error is not to be left to the next command.
        let answer = answer.or_else(|error| self.judge(cx, "*ESR?", Err(error)))?;
        answer
            .trim()
            .trim_start_matches('+')
            .parse()
            .map_err(|_| self.channel.bad_answer(b"*ESR?", answer.as_bytes(), "a whole number"))
    }
}

/// An operation that is waited for.
struct Wait {
    doing: String,
    /// When it was begun, on the context's clock.
    begun: Duration,
    timeout: Duration,
    /// The pause before the next look.
    pause: Duration,
}

impl Wait {
    fn later(self, cx: &Context<'_>) -> Later<Scpi, f64> {
        let at = (cx.now() + self.pause).min(self.begun + self.timeout);
        Later::at(at, move |scpi: &mut Scpi, cx| self.look(scpi, cx))
    }

    fn look(mut self, scpi: &mut Scpi, cx: &Context<'_>) -> Result<Later<Scpi, f64>, Fault> {
        let status = scpi.status(cx)?;
        let waited = cx.now().saturating_sub(self.begun);
        if status & MISTAKES != 0 {
            let mut found = scpi.errors(cx)?;
            if found.is_empty() {
                found.push((0, format!("its event status register is {status}")));
            }
            return Err(scpi.refused(&self.doing, &found).into());
        }
        if status & COMPLETE != 0 {
            return Ok(Later::Ready(waited.as_secs_f64()));
        }
        if waited >= self.timeout {
            let port = scpi.channel.name();
            let (doing, waited) = (shown(self.doing.as_bytes()), self.timeout.as_secs_f64());
            return Err(Fault::timeout_error(format!(
                "{port} has not completed '{doing}' within {waited} s"
            ))
            .hint("it goes on; wait_complete() waits again"));
        }
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        cx.progress(millis(waited), millis(self.timeout), "ms");
        self.pause = (self.pause * 2).min(LAST_POLL);
        Ok(self.later(cx))
    }
}
