//! How an object's process is started, and how soon again.
//!
//! One that ends while nobody calls it gets an heir at once, which waits for the next call.

use super::{
    interface,
    process::{Answer, Broken, Process},
};
use proximity_proto::{Fault, Interface};
use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// How long a process is not started anew after two that ended without having answered a call;
/// doubled with each further one, up to the second. One that answered is replaced at once.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// What an object's process is started from.
pub(super) struct Program {
    object: String,
    class: String,
    interpreter: String,
    /// The first request: what the object is made from.
    birth: Vec<u8>,
    timeout: Duration,
    record: Mutex<Record>,
    succession: Mutex<Succession>,
    changed: Condvar,
}

/// What takes the place of a process that ended while nobody called it.
#[derive(Default)]
struct Succession {
    /// Counts the times that an heir was wanted, or was not any more.
    number: u64,
    is_coming: bool,
    heir: Option<(Process, Interface)>,
}

/// How the object's processes have ended lately.
#[derive(Default)]
struct Record {
    /// Those in a row that had not answered a call.
    fruitless: u32,
    not_before: Option<Instant>,
}

impl Program {
    pub(super) fn new(
        object: &str,
        class: &str,
        interpreter: &str,
        birth: Vec<u8>,
        timeout: Duration,
    ) -> Self {
        let [object, class, interpreter] = [object, class, interpreter].map(str::to_owned);
        Self {
            object,
            class,
            interpreter,
            birth,
            timeout,
            record: Mutex::default(),
            succession: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// The object's name.
    pub(super) fn object(&self) -> &str {
        &self.object
    }

    /// What the process is called in errors.
    pub(super) fn title(&self) -> String {
        format!("the process of object '{}'", self.object)
    }

    /// How long a start may take, and a call whose caller does not say.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Starts a process, and waits until it has made its object.
    ///
    /// # Errors
    ///
    /// `RuntimeError` where processes have crashed too often lately, or this one cannot be started;
    /// `TimeoutError`; whatever the class raised as it was made.
    pub(super) fn start(self: &Arc<Self>) -> Result<(Process, Interface), Fault> {
        self.may_start()?;
        let (title, class) = (self.title(), &self.class);
        let mut process = Process::spawn(&self.interpreter, &self.object, class, self.on_end())
            .map_err(|error| {
                Fault::runtime_error(format!("cannot run '{}': {error}", self.interpreter))
                    .hint("the key 'interpreter' of the object's table names another Python")
            })?;
        let mut told = Vec::new();
        let until = Instant::now() + self.timeout;
        match process.begin(&self.birth, until, &mut told) {
            Ok(Answer::Value) => {}
            Ok(Answer::Error(fault)) => {
                let message = format!("{class} raises {}: {}", fault.class, fault.message);
                return Err(Fault { message, ..fault });
            }
            Err(Broken::Late) => {
                process.give_up();
                let seconds = self.timeout.as_secs_f64();
                let message = format!("{class} was not made within {seconds} s");
                return Err(Fault::timeout_error(message)
                    .hint("the key 'timeout' of the object's table gives it more time"));
            }
            Err(Broken::Gone(why)) => {
                return Err(process.post_mortem(&format!("{title} {why} as {class} was made")));
            }
        }
        let interface = interface::read(&told).ok_or_else(|| {
            Fault::runtime_error(format!("{title} does not tell what {class} has"))
        })?;
        process.rest();
        Ok((process, interface))
    }

    /// What is done when a process ends while nobody calls it.
    fn on_end(self: &Arc<Self>) -> impl Fn(bool) + Send + Sync + 'static {
        let program = Arc::downgrade(self);
        move |had_answered| {
            if let Some(program) = program.upgrade() {
                program.note_end(had_answered);
                program.replace();
            }
        }
    }

    /// Starts an heir, in a thread of its own: that may take long.
    fn replace(self: Arc<Self>) {
        let mut succession = self.succession();
        succession.number += 1;
        succession.is_coming = true;
        let number = succession.number;
        drop(succession);
        let name = format!("restart {}", self.object);
        let program = Arc::clone(&self);
        let started = thread::Builder::new().name(name).spawn(move || {
            let heir = program.heir(number);
            program.succeed(number, heir);
        });
        if let Err(error) = started {
            log::error!("object '{}' gets no thread to be started anew: {error}", self.object);
            self.succeed(number, None);
        }
    }

    /// Makes an heir, as soon as that may be.
    fn heir(self: &Arc<Self>, number: u64) -> Option<(Process, Interface)> {
        let pause = self.pause_left().unwrap_or_default();
        let waited =
            self.changed.wait_timeout_while(self.succession(), pause, |s| s.number == number);
        drop(waited);
        match self.start() {
            Ok(heir) => Some(heir),
            Err(fault) => {
                log::warn!("object '{}' cannot be started anew: {fault}", self.object);
                None
            }
        }
    }

    /// Puts an heir where it is found, if it is still wanted.
    fn succeed(&self, number: u64, heir: Option<(Process, Interface)>) {
        let mut succession = self.succession();
        let mut unwanted = heir;
        if succession.number == number {
            succession.is_coming = false;
            std::mem::swap(&mut succession.heir, &mut unwanted);
            self.changed.notify_all();
            if succession.heir.is_some() {
                log::info!("object '{}' is started anew", self.object);
            }
        }
        // A process may take its time to end.
        drop(succession);
        drop(unwanted);
    }

    /// The process that took the place of one that ended; waits for one that is coming.
    pub(super) fn take_heir(&self, until: Instant) -> Option<(Process, Interface)> {
        let left = until.saturating_duration_since(Instant::now());
        let waited = self.changed.wait_timeout_while(self.succession(), left, |s| s.is_coming);
        waited.unwrap_or_else(PoisonError::into_inner).0.heir.take()
    }

    /// Wants no heir any more.
    pub(super) fn end_succession(&self) {
        let mut succession = self.succession();
        succession.number += 1;
        succession.is_coming = false;
        let heir = succession.heir.take();
        self.changed.notify_all();
        drop(succession);
        drop(heir);
    }

    fn succession(&self) -> MutexGuard<'_, Succession> {
        self.succession.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a process ended which was not to.
    pub(super) fn note_end(&self, had_answered: bool) {
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        record.fruitless = if had_answered { 0 } else { record.fruitless.saturating_add(1) };
        record.not_before = pause(record.fruitless).map(|pause| Instant::now() + pause);
    }

    /// For how long no process is to be started yet.
    fn pause_left(&self) -> Option<Duration> {
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        let left = record.not_before?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    fn may_start(&self) -> Result<(), Fault> {
        let Some(left) = self.pause_left() else { return Ok(()) };
        let fruitless = self.record.lock().unwrap_or_else(PoisonError::into_inner).fruitless;
        let message = format!("its process ended {fruitless} times without having answered a call");
        let hint = format!("it is started anew in {:.1} s", left.as_secs_f64());
        Err(Fault::runtime_error(message).hint(hint))
    }
}

/// How long to wait after so many processes in vain.
fn pause(fruitless: u32) -> Option<Duration> {
    let doublings = fruitless.checked_sub(2)?;
    let (first, most) = PAUSE;
    Some(first.saturating_mul(2_u32.saturating_pow(doublings)).min(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_with_each_process_in_vain_up_to_five_seconds() {
        let pauses: Vec<Option<u128>> =
            (0..=8).map(|count| pause(count).map(|pause| pause.as_millis())).collect();
        let ms = Some;
        let expected =
            [None, None, ms(250), ms(500), ms(1000), ms(2000), ms(4000), ms(5000), ms(5000)];
        assert_eq!(pauses, expected);
        assert_eq!(pause(u32::MAX), Some(PAUSE.1));
    }
}
