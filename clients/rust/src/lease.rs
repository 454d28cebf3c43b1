//! An object's writes for oneself, for a time.

use crate::{Arguments, CallOptions, Client, Error, Proxy, Reply, client::random};
use proximity_proto::{
    call::Op,
    lease::{Held, MAX_HOLDER, Stolen, TOKEN},
};
use std::{
    fmt,
    ops::Deref,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long a lease that is dropped may take to tell the agent so. Told or not, it ends by itself.
const GOODBYE: Duration = Duration::from_secs(1);

/// An object of which nobody else may change anything while this lives.
///
/// Made by [`Proxy::lock`]. It is a [`Proxy`] itself: what is called through it is called by the
/// lease's holder. Through any other proxy, of this program too, reads go on as ever and writes are
/// refused: [`Locked`](crate::Locked).
///
/// A thread renews it after each third of its time, so that it is held until it is dropped, and free
/// at most its time after this program has died. It can still end before: someone steals it, or the
/// agent is restarted or out of reach for all that time. Then calls through it fail
/// ([`Error::is_lease_lost`], or [`Error::locked`] where another has it by now) and change nothing, so that what several writes do together is done by
/// one holder or not at all.
///
/// # Examples
///
/// ```no_run
/// # use std::time::Duration;
/// # let srbs = proximity_client::Client::new("colossus")?.object("srbs");
/// let held = srbs.lock(Duration::from_secs(30))?;
/// held.call("write_int", ("sys_scratchpad", 1))?;
/// drop(held);                                    // others may write again
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Lease {
    proxy: Proxy,
    /// The same, of a client that goes on where the caller's is stopped: see [`Client::with_stop`].
    unstopped: Proxy,
    ttl: Duration,
    taken_from: Option<String>,
    keeper: Arc<Keeper>,
}

/// What the lease and the thread that renews it share.
struct Keeper {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Held,
    /// Others may have it.
    Lost,
    /// It is not to be renewed any more.
    Given,
}

impl Proxy {
    /// Has the object's writes for oneself: `ttl`, 1 s to 300 s, is how soon others may write again
    /// after this program has died. See [`Lease`].
    ///
    /// Does not wait for another's lease to end.
    ///
    /// # Errors
    ///
    /// [`Error::Call`]: somebody else has it ([`Error::locked`]), or the agent did not answer.
    /// [`Error::Remote`]: there is no such object, or `ttl` is out of range.
    pub fn lock(&self, ttl: Duration) -> Result<Lease, Error> {
        Lease::take(self, Op::Lock, ttl, |reply| reply.get::<Held>().map(|_| None))
    }

    /// As [`Proxy::lock`], also where somebody else has it: his writes fail from now on. Allowed to
    /// those who call from the agent's own machine.
    ///
    /// # Errors
    ///
    /// [`Error::Remote`]: this is another machine, there is no such object, or `ttl` is out of range.
    /// [`Error::Call`]: the agent did not answer.
    pub fn steal(&self, ttl: Duration) -> Result<Lease, Error> {
        Lease::take(self, Op::Steal, ttl, |reply| reply.get::<Stolen>().map(|stolen| stolen.from))
    }
}

/// After a try in vain a lease is soon tried to be renewed again: there may be little of it left.
const AGAIN: Duration = Duration::from_millis(100);

impl Lease {
    fn take(
        proxy: &Proxy,
        op: Op,
        ttl: Duration,
        from: impl FnOnce(&Reply) -> Result<Option<String>, crate::ResultError>,
    ) -> Result<Self, Error> {
        let proxy = proxy.under(random());
        let mut args = time(ttl);
        args.push_named("holder", proxy.client().holder());
        let reply = proxy.ask(op, "", &args, CallOptions::default())?;
        let keeper = Arc::new(Keeper { state: Mutex::new(State::Held), changed: Condvar::new() });
        let unstopped = proxy.with_client(proxy.client().without_stop());
        let lease = Self { taken_from: from(&reply)?, proxy, unstopped, ttl, keeper };
        lease.start_to_renew();
        Ok(lease)
    }

    fn start_to_renew(&self) {
        let (keeper, ttl) = (Arc::clone(&self.keeper), self.ttl);
        let client = self.unstopped.client().clone().with_timeout(ttl / 3);
        let proxy = self.unstopped.with_client(client);
        let thread = std::thread::Builder::new().name("proximity lease".into());
        if let Err(error) = thread.spawn(move || keeper.renew(&proxy, ttl)) {
            log::error!("a lease is not renewed, and ends in {ttl:?}: {error}");
        }
    }

    /// Who had the object before, if it was taken from somebody by [`Proxy::steal`].
    pub fn taken_from(&self) -> Option<&str> {
        self.taken_from.as_deref()
    }

    /// How soon others may write after this program has died.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Whether others may have the object, as far as is known. A call tells for certain.
    pub fn is_lost(&self) -> bool {
        *self.keeper.lock() == State::Lost
    }

    /// Renews it now, which is done by itself all the while: this tells for certain whether it is held.
    ///
    /// # Errors
    ///
    /// [`Error::Call`]: it was lost ([`Error::is_lease_lost`], or [`Error::locked`] where another has
    /// it), or the agent did not answer.
    pub fn renew(&self) -> Result<(), Error> {
        let renewed = self.unstopped.ask(Op::Renew, "", &time(self.ttl), CallOptions::default());
        if renewed.as_ref().is_err_and(is_over) {
            self.keeper.lose();
        }
        renewed.map(|_| ())
    }

    /// Lets others write again, as dropping it does, and tells whether nobody did before.
    ///
    /// # Errors
    ///
    /// [`Error::Call`]: it was lost ([`Error::is_lease_lost`]), or the agent did not answer.
    pub fn release(self) -> Result<(), Error> {
        self.give(None)
    }

    /// Releases it, unless that is done.
    fn give(&self, timeout: Option<Duration>) -> Result<(), Error> {
        if std::mem::replace(&mut *self.keeper.lock(), State::Given) == State::Given {
            return Ok(());
        }
        self.keeper.changed.notify_all();
        let options = CallOptions { timeout, ..CallOptions::default() };
        self.unstopped.ask(Op::Release, "", &().into(), options).map(|_| ())
    }
}

impl Keeper {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that others may have it; tells whether that is new.
    fn lose(&self) -> bool {
        let mut state = self.lock();
        let was_held = *state == State::Held;
        if was_held {
            *state = State::Lost;
            self.changed.notify_all();
        }
        was_held
    }

    /// Renews the lease until it is given back or lost.
    fn renew(&self, proxy: &Proxy, ttl: Duration) {
        let mut renewed = Instant::now();
        let mut pause = ttl / 3;
        loop {
            let waited =
                self.changed.wait_timeout_while(self.lock(), pause, |state| *state == State::Held);
            if *waited.unwrap_or_else(PoisonError::into_inner).0 != State::Held {
                return;
            }
            let asked = Instant::now();
            let Err(error) = proxy.ask(Op::Renew, "", &time(ttl), CallOptions::default()) else {
                (renewed, pause) = (asked, ttl / 3);
                continue;
            };
            pause = AGAIN;
            log::debug!("the lease of {} is not renewed: {error}", proxy.name());
            if is_over(&error) || renewed.elapsed() > ttl {
                if self.lose() {
                    log::warn!("the lease of {} is lost: {error}", proxy.name());
                }
                return;
            }
        }
    }
}

/// Whether a renewal failed because the lease is no longer held.
fn is_over(error: &Error) -> bool {
    error.is_lease_lost() || error.locked().is_some()
}

impl Deref for Lease {
    type Target = Proxy;

    fn deref(&self) -> &Proxy {
        &self.proxy
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let client: &Client = self.proxy.client();
        if let Err(error) = self.give(Some(client.timeout().min(GOODBYE))) {
            log::debug!("the lease of {} was not released: {error}", self.proxy.name());
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the token: who has it can write.
        f.debug_struct("Lease")
            .field("name", &self.proxy.name())
            .field("ttl", &self.ttl)
            .field("is_lost", &self.is_lost())
            .finish_non_exhaustive()
    }
}

fn time(ttl: Duration) -> Arguments {
    (u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX),).into()
}

/// As whom the others see this program's user: `user@host`.
pub(crate) fn own_name() -> Arc<str> {
    let user = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    cut(&format!("{}@{host}", user.as_deref().unwrap_or("unknown"))).into()
}

/// As much of `name` as the agent takes.
pub(crate) fn cut(name: &str) -> &str {
    name.get(..name.floor_char_boundary(MAX_HOLDER)).unwrap_or(name)
}

const _: () = assert!(TOKEN == 16, "as long as what `random` gives");
