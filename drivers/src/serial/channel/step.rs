//! Getting back into step: so that the next answer is that of the next command.

use super::{Channel, Manners, Probe, TRICKLE, quoted};
use crate::{reach::Limit, serial::SerialError};
use proximity_proto::Context;
use serialport::{ClearBuffer, SerialPort};
use std::time::{Duration, Instant};

/// How often a probe is sent to learn its answer.
const MAX_LEARNED: u32 = 6;
/// How many lines may come before the answer to a probe.
const MAX_OWED: u32 = 100;
/// How many timeouts without an answer tell that one that is owed does not come, for each up to so many.
const LATE: u32 = 2;
const MAX_LATE: u32 = 2;
/// In how many slices silence is listened to.
const SLICES: u32 = 10;

impl Channel {
    /// The exchange went wrong: what comes next may be anything.
    pub(crate) fn out_of_step(&mut self) {
        self.in_step = false;
        if self.link.forgets() {
            self.link.drop_late();
        }
        // The answer may come for as long as the instrument had for it from the start.
        self.owed = self.last.map(|last| last + self.patience());
    }

    pub(super) fn resynchronise(
        &mut self,
        cx: &Context<'_>,
        doing: &[u8],
    ) -> Result<(), SerialError> {
        if let Some(owed) = self.owed {
            self.listen_until(cx, owed, doing)?;
            self.owed = None;
        }
        if let Some(port) = self.link.port() {
            // The rest of a command that was cut short. A port that cannot do it has sent it by now.
            let _ = port.tty().clear(ClearBuffer::Output);
        }
        let resync = std::mem::take(&mut self.manners.resync);
        let sent = self.transmit(cx, &resync, doing);
        self.manners.resync = resync;
        sent?;
        self.listen_for_silence(cx, doing)?;
        if let Some(probe) = self.manners.sync.clone() {
            self.probe(cx, &probe)?;
        }
        self.in_step = true;
        Ok(())
    }

    /// Asks what is always answered alike, and takes all answers up to that one: what was owed comes before it.
    /// So being in step does not rest on time alone.
    fn probe(&mut self, cx: &Context<'_>, probe: &Probe) -> Result<(), SerialError> {
        self.allowed = self.manners.timeout;
        let expected = if let Some(known) = self.probe_answer.clone() {
            self.probes += 1;
            self.put(cx, &probe.query)?;
            known
        } else {
            self.learn(cx, probe)?
        };
        // Learning may have seen all answers already.
        let mut seen = self.probe_answer.is_none();
        self.probe_answer = Some(expected.clone());
        let mut silent = 0;
        for _ in 0..MAX_OWED {
            if self.probes == 0 && self.old_probes == 0 {
                return Ok(());
            }
            match self.line_behind(cx, &probe.end, &probe.query) {
                Ok(line) if line == expected => {
                    (seen, silent) = (true, 0);
                    match self.probes.checked_sub(1) {
                        Some(left) => self.probes = left,
                        None => self.old_probes = self.old_probes.saturating_sub(1),
                    }
                }
                Ok(_) => silent = 0,
                // What is not answered by now went under with the port it was sent to, or was not heard. On a port
                // that was open all the time it may also be late: the instrument may be slower than it should.
                Err(error @ SerialError::NoAnswer { got: 0, .. }) if seen => {
                    let waited = silent;
                    silent += 1;
                    if cx.is_cancelled() || cx.remaining() == Some(Duration::ZERO) {
                        // The next caller is not to wait for all of it again.
                        if waited > 0 {
                            (self.probes, self.old_probes) = (0, 0);
                        }
                        return Err(error);
                    }
                    if waited >= LATE * self.probes.min(MAX_LATE) {
                        (self.probes, self.old_probes) = (0, 0);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Err(self.bad_answer(&probe.query, b"other lines", "what answered it before"))
    }

    /// Asks until two answers in a row are the same.
    fn learn(&mut self, cx: &Context<'_>, probe: &Probe) -> Result<Vec<u8>, SerialError> {
        let mut answers: Vec<Vec<u8>> = Vec::new();
        for _ in 0..MAX_LEARNED {
            self.probes += 1;
            self.put(cx, &probe.query)?;
            answers.push(self.line_behind(cx, &probe.end, &probe.query)?.to_vec());
            if let [.., before, last] = answers.as_slice()
                && before == last
            {
                let found = answers.iter().filter(|answer| *answer == last).count();
                let found = u32::try_from(found).unwrap_or(u32::MAX);
                self.probes = self.probes.saturating_sub(found);
                return Ok(last.clone());
            }
            self.listen_for_silence(cx, &probe.query)?;
        }
        let last = answers.pop().unwrap_or_default();
        let must_be = "the same answer each time, to see by it who is in step";
        Err(self.bad_answer(&probe.query, &last, must_be))
    }

    pub(super) fn greet(&mut self, cx: &Context<'_>) -> Result<(), SerialError> {
        let lines = std::mem::take(&mut self.manners.on_open);
        let greeted = lines.iter().try_for_each(|line| {
            self.transmit(cx, line, line)?;
            let pause = Instant::now() + self.manners.command_delay;
            self.listen_until(cx, pause, line)
        });
        let any = !lines.is_empty();
        self.manners.on_open = lines;
        greeted?;
        if any {
            // An echo, or an answer that nobody asked for.
            self.listen_for_silence(cx, b"what is sent on opening")?;
        }
        self.greeted = true;
        Ok(())
    }

    /// Throws away what comes until nothing came for [`Manners::settle`].
    ///
    /// Silence is counted in slices that were listened to: an agent that was stopped meanwhile, or had no turn
    /// on its processor, has heard nothing, and so has perhaps the adapter's driver.
    pub(super) fn listen_for_silence(
        &mut self,
        cx: &Context<'_>,
        doing: &[u8],
    ) -> Result<(), SerialError> {
        let Manners { settle, timeout, .. } = self.manners;
        let limit = Limit::new(cx, timeout + settle * TRICKLE);
        let mut silent = 0;
        while silent < SLICES {
            self.forget();
            silent = if self.receive(cx, settle / SLICES, doing)? { 0 } else { silent + 1 };
            if limit.is_over() && silent < SLICES {
                let (port, doing) = (self.name().clone(), quoted(doing));
                return Err(SerialError::OutOfStep { port, doing, settle });
            }
        }
        self.forget();
        Ok(())
    }

    /// Throws away what comes until a time.
    fn listen_until(
        &mut self,
        cx: &Context<'_>,
        at: Instant,
        doing: &[u8],
    ) -> Result<(), SerialError> {
        loop {
            let left = at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            if cx.is_cancelled() {
                let (port, doing) = (self.name().clone(), quoted(doing));
                return Err(SerialError::OutOfStep { port, doing, settle: self.manners.settle });
            }
            self.receive(cx, left, doing)?;
            self.forget();
        }
    }
}
