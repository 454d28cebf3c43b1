//! What a service manager is told: systemd's `sd_notify` protocol, a datagram for each piece of news.

use rustix::{
    io::Errno,
    net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sendto, socket_with},
    time::{ClockId, clock_gettime},
};
use std::{
    env,
    ffi::OsStr,
    fmt,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    sync::Arc,
    thread,
    time::Duration,
};

/// How often news is offered to a manager that has no room for it, and the pause in between.
const TRIES: (u32, Duration) = (50, Duration::from_millis(10));

/// The way to the service manager that started the agent, if one did. Clones lead to the same.
#[derive(Clone, Default)]
pub struct Notifier(Option<Arc<Manager>>);

struct Manager {
    socket: OwnedFd,
    address: SocketAddrUnix,
    watchdog: Option<Duration>,
}

/// A manager that cannot be told anything.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// The name is of no socket.
    #[error("NOTIFY_SOCKET is {0:?}; it must be an absolute path, or '@' and an abstract name")]
    Name(String),
    /// The kernel has no socket left.
    #[error("no socket for telling the service manager: {0}")]
    Socket(#[source] Errno),
}

impl Notifier {
    /// The manager that the environment names. Nobody where it names none, and, with a line in the log,
    /// where that cannot be had.
    pub fn from_environment() -> Self {
        let Some(name) = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Self::default();
        };
        let number = |name| env::var(name).ok()?.parse().ok();
        let own = u64::from(std::process::id());
        let every = watchdog(number("WATCHDOG_USEC"), number("WATCHDOG_PID"), own);
        Self::new(&name, every).unwrap_or_else(|error| {
            log::warn!("{error}");
            Self::default()
        })
    }

    /// The manager that listens at the socket `name`, where a leading `@` stands for the abstract
    /// name space. It wants to hear from the agent every `watchdog`, if that is told.
    ///
    /// # Errors
    ///
    /// [`NotifyError`].
    pub fn new(name: &OsStr, watchdog: Option<Duration>) -> Result<Self, NotifyError> {
        let wrong = || NotifyError::Name(name.display().to_string());
        let address = match name.as_bytes() {
            [b'@', hidden @ ..] => SocketAddrUnix::new_abstract_name(hidden),
            [b'/', ..] => SocketAddrUnix::new(name),
            _ => return Err(wrong()),
        };
        let address = address.map_err(|_| wrong())?;
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)
            .map_err(NotifyError::Socket)?;
        Ok(Self(Some(Arc::new(Manager { socket, address, watchdog }))))
    }

    /// How often the manager wants to hear from the agent.
    pub(crate) fn watchdog(&self) -> Option<Duration> {
        self.0.as_ref()?.watchdog
    }

    /// Whether there is anybody to be told.
    pub(crate) fn is_heard(&self) -> bool {
        self.0.is_some()
    }

    /// The agent serves; `status` says how, in a line.
    pub fn ready(&self, status: impl fmt::Display) {
        self.tell(|| format!("READY=1\nSTATUS={status}"));
    }

    /// The agent reads its configuration again; [`Notifier::ready`] ends that.
    pub fn reloading(&self) {
        self.tell(|| {
            let now = clock_gettime(ClockId::Monotonic);
            let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
            format!("RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=reading its configuration again")
        });
    }

    /// The agent ends.
    pub fn stopping(&self) {
        self.tell(|| "STOPPING=1\nSTATUS=stopping as soon as running calls have ended".to_owned());
    }

    /// How the agent is, in a line.
    pub fn status(&self, status: impl fmt::Display) {
        self.tell(|| format!("STATUS={status}"));
    }

    /// The agent is alive. Lost if the manager is behind with its reading: the next one tells the same.
    pub(crate) fn alive(&self) {
        if let Some(manager) = &self.0 {
            let _ = manager.send("WATCHDOG=1");
        }
    }

    fn tell(&self, news: impl FnOnce() -> String) {
        let Some(manager) = &self.0 else { return };
        let news = news();
        let first = news.lines().next().unwrap_or_default();
        let (mut tries, pause) = TRIES;
        while let Err(error) = manager.send(&news) {
            if error != Errno::AGAIN || tries == 0 {
                return log::warn!("the service manager was not told {first}: {error}");
            }
            tries -= 1;
            thread::sleep(pause);
        }
        log::debug!("told the service manager {first}");
    }
}

impl Manager {
    fn send(&self, news: &str) -> Result<(), Errno> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        sendto(&self.socket, news.as_bytes(), flags, &self.address).map(drop)
    }
}

/// How often to be heard of, where the environment says `micros`, and that it means the process `of`.
fn watchdog(micros: Option<u64>, of: Option<u64>, own: u64) -> Option<Duration> {
    let micros = micros.filter(|&micros| micros > 0)?;
    of.is_none_or(|of| of == own).then(|| Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watchdog_is_obeyed_by_the_process_that_it_is_meant_for() {
        let second = Some(Duration::from_secs(1));
        assert_eq!(watchdog(Some(1_000_000), None, 7), second);
        assert_eq!(watchdog(Some(1_000_000), Some(7), 7), second);
        assert_eq!(watchdog(Some(1_000_000), Some(8), 7), None);
        assert_eq!(watchdog(Some(0), None, 7), None);
        assert_eq!(watchdog(None, Some(7), 7), None);
    }

    #[test]
    fn a_name_of_no_socket_is_refused() {
        for name in ["agent.sock", "vsock:2:1234"] {
            let error = Notifier::new(OsStr::new(name), None).err().map(|error| error.to_string());
            let text = "it must be an absolute path, or '@' and an abstract name";
            assert_eq!(error, Some(format!("NOTIFY_SOCKET is \"{name}\"; {text}")));
        }
    }

    #[test]
    fn nobody_is_told_nothing() {
        let nobody = Notifier::default();
        nobody.ready("well");
        nobody.alive();
        assert!(!nobody.is_heard());
    }
}
