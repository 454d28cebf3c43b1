//! Whether the agent is well: objects that do not come back from a call, and what systemd is told.
//!
//! The router itself feeds systemd's watchdog, so a router that stands still is not fed, and neither is
//! a stopped process. An object whose driver does not return is another matter. It is lost until the
//! agent is started again, but a restart ends the calls of all other objects too, so while one of them
//! is well the agent stays: the log and `status` tell who is stuck, and a person decides. Once all are
//! stuck there is nothing left to be spared, the watchdog starves, and systemd starts the agent again.

use super::{Router, objects::Entry};
use crate::notify::Notifier;
use proximity_session::Uptime;
use std::{fmt::Write, sync::atomic::Ordering::Relaxed, time::Duration};

/// How often a look is taken where no watchdog says so.
const LOOK: Duration = Duration::from_secs(10);

/// How long after its deadline a call is to have ended, where no watchdog says so.
const GRACE: Duration = Duration::from_secs(30);

/// How long a call without a deadline may run, or an object be opened or closed.
const LONG: Duration = Duration::from_mins(10);

/// Objects that are named in the line for systemd.
const NAMED: usize = 4;

/// The router's watch over its objects.
pub(super) struct Health {
    /// How long after its deadline a call is to have ended: what the watchdog allows the router itself.
    pub(super) grace: Duration,
    /// The next look, and the time between two.
    pub(super) next: Uptime,
    every: Duration,
    /// There is no object that is not stuck.
    hopeless: bool,
    /// The line that systemd has.
    told: String,
}

impl Health {
    pub(super) fn new(notifier: &Notifier) -> Self {
        let watchdog = notifier.watchdog();
        Self {
            grace: watchdog.unwrap_or(GRACE),
            next: Uptime::ZERO,
            every: watchdog.map_or(LOOK, |watchdog| watchdog / 2),
            hopeless: false,
            told: String::new(),
        }
    }
}

/// What an object's worker has in hand.
#[derive(Default)]
pub(super) struct Pulse {
    /// Since when.
    pub(super) began: Uptime,
    /// When it is to end.
    pub(super) deadline: Option<Uptime>,
    /// The method or attribute.
    pub(super) doing: String,
    /// It should have ended long ago, and that was logged.
    pub(super) stuck: bool,
}

impl Pulse {
    /// Something begins.
    pub(super) fn begin(&mut self, now: Uptime, deadline: Option<Uptime>, doing: &str) {
        (self.began, self.deadline) = (now, deadline);
        // The text's memory is used again.
        self.doing.clear();
        self.doing.push_str(doing);
    }

    /// Whether it is not to be expected any more that this ends. `progressed` is when it last told how
    /// far it is.
    fn is_overdue(&self, now: Uptime, progressed: Uptime, grace: Duration) -> bool {
        let sign = self.began.max(progressed);
        let end = match self.deadline {
            Some(deadline) => sign.max(deadline) + grace,
            None => sign + LONG,
        };
        end <= now
    }
}

impl Entry {
    /// Whether its driver does not return.
    pub(super) fn is_stuck(&self, now: Uptime, grace: Duration) -> bool {
        let progressed = Duration::from_millis(self.worker.progressed.load(Relaxed));
        self.is_with_worker() && self.pulse.is_overdue(now, progressed, grace)
    }
}

impl Router {
    /// Looks whether the objects are well, and feeds the watchdog.
    pub(super) fn look_after_objects(&mut self, now: Uptime) {
        self.health.next = now + self.health.every;
        let (mut all, mut stuck) = (0, 0);
        for entry in self.entries.iter_mut().flatten() {
            all += 1;
            if !entry.is_stuck(now, self.health.grace) {
                continue;
            }
            stuck += 1;
            if !entry.pulse.stuck {
                entry.pulse.stuck = true;
                let (name, seconds) =
                    (&entry.config.name, now.saturating_sub(entry.pulse.began).as_secs());
                let doing = entry.doing();
                log::error!("object '{name}' is stuck: {doing} began {seconds} s ago");
            }
        }
        let hopeless = all > 0 && stuck == all;
        if hopeless && !self.health.hopeless {
            log::error!("no object is left that is not stuck; the watchdog is not fed any more");
        }
        self.health.hopeless = hopeless;
        if !hopeless {
            self.control.notifier().alive();
        }
        self.tell_status();
    }

    /// Tells systemd that the agent serves.
    pub(crate) fn tell_ready(&mut self) {
        let line = self.status_line();
        self.control.notifier().ready(&line);
        self.health.told = line;
    }

    /// Tells systemd how the agent is, if that has changed.
    pub(super) fn tell_status(&mut self) {
        if !self.control.notifier().is_heard() {
            return;
        }
        let line = self.status_line();
        if line != self.health.told {
            self.control.notifier().status(&line);
            self.health.told = line;
        }
    }

    fn status_line(&self) -> String {
        let entries = || self.names.values().filter_map(|&slot| self.entry(slot));
        let count = entries().count();
        let mut line = format!("serving {count} object{}", if count == 1 { "" } else { "s" });
        let named = |line: &mut String, what: &str, is_it: &dyn Fn(&Entry) -> bool| {
            let names = entries().filter(|entry| is_it(entry));
            let mut names: Vec<&str> = names.map(|entry| entry.config.name.as_str()).collect();
            if names.is_empty() {
                return;
            }
            names.sort_unstable();
            let (count, more) = (names.len(), if names.len() > NAMED { ", .." } else { "" });
            names.truncate(NAMED);
            // Writing to a String cannot fail.
            let _ = write!(line, "; {count} {what}: {}{more}", names.join(", "));
        };
        named(&mut line, "away", &|entry| entry.away.is_some());
        named(&mut line, "stuck", &|entry| entry.pulse.stuck);
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(3);

    fn at(seconds: u64) -> Uptime {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_call_is_overdue_a_while_after_its_deadline() {
        let mut pulse = Pulse::default();
        pulse.begin(at(10), Some(at(15)), "read");
        assert!(!pulse.is_overdue(at(17), at(0), GRACE));
        assert!(pulse.is_overdue(at(18), at(0), GRACE));
    }

    #[test]
    fn whatever_tells_of_its_progress_is_not_overdue() {
        let mut pulse = Pulse::default();
        pulse.begin(at(10), Some(at(15)), "progdev");
        assert!(!pulse.is_overdue(at(99), at(97), GRACE));
        assert!(pulse.is_overdue(at(100), at(97), GRACE));
        // What the call before told counts for nothing.
        pulse.begin(at(200), Some(at(201)), "read");
        assert!(!pulse.is_overdue(at(203), at(97), GRACE));
        assert!(pulse.is_overdue(at(204), at(97), GRACE));
    }

    #[test]
    fn what_has_no_deadline_may_take_ten_minutes() {
        let mut pulse = Pulse::default();
        pulse.begin(at(10), None, "read");
        assert!(!pulse.is_overdue(at(609), at(0), GRACE));
        assert!(pulse.is_overdue(at(610), at(0), GRACE));
    }
}
