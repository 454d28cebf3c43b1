//! An agent, as its callers see it: hello, epochs, deadlines, outcomes.

use crate::{
    AddressError, Description, Error, Hello, LeaseInfo, Proxy, RemoteError, address,
    chunks::Chunks,
    exchange::Exchange,
    lease,
    session::{self, Session},
};
use proximity_proto::{
    Bytes,
    call::{CallId, Op},
    fault::{Executed, Fault},
    request::Arguments,
    status::Status,
};
use std::{
    collections::hash_map::RandomState,
    fmt,
    hash::BuildHasher,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

/// How long a call may take where nothing else is said: longer than any register access, short enough
/// that nobody takes it for a hang.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// How large a result may be where nothing else is said.
pub const DEFAULT_MAX_REPLY: usize = 256 << 20;

/// A connection to an agent, made when it is first needed and made again when it is lost.
///
/// Cheap to clone; clones share the connection. May be used by any number of threads at once: there is
/// no lock that a call holds while it waits.
#[derive(Clone)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
    pub(crate) timeout: Duration,
    pub(crate) stop: Option<Arc<AtomicBool>>,
    max_reply: usize,
    holder: Arc<str>,
}

pub(crate) struct Shared {
    pub(crate) address: String,
    /// Tells this client from all others.
    client: [u8; 16],
    /// Counts its requests.
    seq: AtomicU64,
    pub(crate) exchange: Exchange,
    pub(crate) session: Mutex<Option<Session>>,
}

/// How one call differs from others.
#[derive(Default)]
pub struct CallOptions<'a> {
    /// How long it may take; the client's own timeout if `None`.
    pub timeout: Option<Duration>,
    /// Is told how far the call has come, where the method tells.
    pub progress: Option<&'a mut dyn FnMut(Progress<'_>)>,
    /// Its id, from [`Client::new_id`]; for [`Client::cancel`] from another thread.
    pub id: Option<CallId>,
}

/// How far a call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// How much is done.
    pub done: u64,
    /// Of how much; 0 where that is not known.
    pub total: u64,
    /// What is being done.
    pub text: &'a str,
}

/// A way for another thread to end the wait for calls; see [`Client::with_stop`].
#[derive(Clone)]
pub struct Stop {
    stopped: Arc<AtomicBool>,
    shared: Arc<Shared>,
}

impl Stop {
    /// Ends the calls of the client that was given this, those to come too: at once, as not sent or
    /// with an unknown outcome.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.shared.exchange.wake_all();
    }
}

/// What became of a call that was taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HowCancelled {
    /// It had not been started, and will not be.
    Queued,
    /// It had been started and was waiting; it will not go on.
    Waiting,
    /// It runs, and was told; its own outcome tells how it ended.
    Running,
    /// The agent does not have it: it has ended, or never came.
    Unknown,
}

impl Client {
    /// A client of the agent at `address`: `HOST`, `HOST:PORT`, `tcp://HOST:PORT` or `ipc://PATH`.
    ///
    /// Does not wait for the agent, which may come later.
    ///
    /// # Errors
    ///
    /// The text is no address.
    pub fn new(address: &str) -> Result<Self, AddressError> {
        let endpoint = address::endpoint(address)?;
        let exchange = Exchange::new(&endpoint)
            .map_err(|error| AddressError { given: address.into(), why: error.to_string() })?;
        let shared = Shared {
            address: endpoint,
            client: random(),
            seq: AtomicU64::new(0),
            exchange,
            session: Mutex::new(None),
        };
        Ok(Self {
            shared: Arc::new(shared),
            timeout: DEFAULT_TIMEOUT,
            stop: None,
            max_reply: DEFAULT_MAX_REPLY,
            holder: lease::own_name(),
        })
    }

    /// The same client with another timeout for its calls; [`DEFAULT_TIMEOUT`] without it.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long a call may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The same client, which takes results of up to so many bytes; [`DEFAULT_MAX_REPLY`] without it.
    ///
    /// This bounds what a large result, which comes in chunks, may take here. One message from the
    /// agent is never larger than its `max_frame`.
    #[must_use]
    pub fn with_max_reply(mut self, bytes: usize) -> Self {
        self.max_reply = bytes;
        self
    }

    /// The same client, known to others by `name` where it has a lease; `user@host` without it.
    #[must_use]
    pub fn with_holder(mut self, name: &str) -> Self {
        self.holder = lease::cut(name).into();
        self
    }

    /// As whom others see this client where it has a lease.
    pub(crate) fn holder(&self) -> &str {
        &self.holder
    }

    pub(crate) fn chunks(&self) -> Chunks {
        Chunks::new(self.max_reply)
    }

    /// The agent's address as a ZeroMQ endpoint.
    pub fn address(&self) -> &str {
        &self.shared.address
    }

    /// The object called `name`. Does not ask the agent whether there is one.
    pub fn object(&self, name: &str) -> Proxy {
        Proxy::new(self.clone(), name.into())
    }

    /// The names of the agent's objects.
    ///
    /// # Errors
    ///
    /// [`Error::Call`]: the agent did not answer in time.
    pub fn list(&self) -> Result<Vec<String>, Error> {
        Ok(self.hello()?.objects.into_keys().collect())
    }

    /// What the agent tells of itself: version, limits, objects.
    ///
    /// # Errors
    ///
    /// [`Error::Call`]: the agent did not answer in time.
    pub fn hello(&self) -> Result<Hello, Error> {
        let deadline = session::deadline(self.timeout);
        Ok(self.say_hello(&|| "hello".into(), deadline, self.timeout)?)
    }

    /// What the object `name` is and can do.
    ///
    /// # Errors
    ///
    /// [`Error::Remote`]: there is no such object. [`Error::Call`]: the agent did not answer.
    pub fn describe(&self, name: &str) -> Result<Description, Error> {
        let text = self.describe_json(name)?;
        serde_json::from_str(&text).map_err(|error| {
            let fault = Fault::from_error("ValueError", &error);
            RemoteError { fault: Box::new(fault), executed: Executed::Yes }.into()
        })
    }

    /// As [`Client::describe`], in the agent's own JSON.
    ///
    /// # Errors
    ///
    /// As [`Client::describe`].
    pub fn describe_json(&self, name: &str) -> Result<String, Error> {
        Ok(self.ask(Op::Describe, name, "", &().into())?.get()?)
    }

    /// How the agent and its objects are. Answered by the agent itself, whatever its objects do.
    ///
    /// # Errors
    ///
    /// [`Error::Call`]: the agent did not answer in time. [`Error::Remote`]: it is too old to tell.
    pub fn status(&self) -> Result<Status, Error> {
        Ok(self.ask(Op::Status, "", "", &().into())?.get()?)
    }

    /// What the agent logs: `off`, `error`, `warn`, `info`, `debug` or `trace`. With `level` it logs that from
    /// now on, until it reads its configuration again; only where this is the agent's own machine.
    ///
    /// # Errors
    ///
    /// [`Error::Call`]: the agent did not answer in time. [`Error::Remote`]: it is too old to tell; for a
    /// `level` that there is not, or may not be set from here, or was set by `RUST_LOG`.
    pub fn log_level(&self, level: Option<&str>) -> Result<String, Error> {
        let args = level.map_or_else(Arguments::default, |level| Arguments::from((level,)));
        Ok(self.ask(Op::Log, "", "", &args)?.get()?)
    }

    /// Who has which object for himself.
    ///
    /// # Errors
    ///
    /// [`Error::Call`]: the agent did not answer in time. [`Error::Remote`]: it has no leases.
    pub fn leases(&self) -> Result<Vec<LeaseInfo>, Error> {
        Ok(self.ask(Op::Leases, "", "", &().into())?.get()?)
    }

    /// A number for a call that is still to be made, for [`CallOptions::id`].
    pub fn new_id(&self) -> CallId {
        let seq = self.shared.seq.fetch_add(1, Ordering::Relaxed);
        CallId { client: self.shared.client, seq }
    }

    /// Takes a call back that another thread has made.
    ///
    /// # Errors
    ///
    /// [`Error::Call`]: the agent did not answer in time, and the call may have been taken back or not.
    pub fn cancel(&self, id: CallId) -> Result<HowCancelled, Error> {
        let mut args = Arguments::default();
        args.push(&(Bytes(id.client.to_vec()), id.seq));
        let reply = self.ask(Op::Cancel, "", "", &args)?;
        Ok(match reply.get::<&str>()? {
            "queued" => HowCancelled::Queued,
            "waiting" => HowCancelled::Waiting,
            "running" => HowCancelled::Running,
            _ => HowCancelled::Unknown,
        })
    }

    /// The same client, which nobody can stop.
    pub(crate) fn without_stop(&self) -> Self {
        Self { stop: None, ..self.clone() }
    }

    /// The same client, and a way for another thread to end the wait for its calls.
    #[must_use]
    pub fn with_stop(mut self) -> (Self, Stop) {
        let stopped = Arc::<AtomicBool>::default();
        self.stop = Some(Arc::clone(&stopped));
        let shared = Arc::clone(&self.shared);
        (self, Stop { stopped, shared })
    }
}

/// 16 bytes that no other client has. Not secret, so std's randomness for hash maps will do.
pub(crate) fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    for (half, number) in bytes.chunks_mut(8).zip([1u8, 2]) {
        half.copy_from_slice(&RandomState::new().hash_one(number).to_be_bytes());
    }
    bytes
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("address", &self.shared.address)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
