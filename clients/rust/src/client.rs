//! An agent, as its callers see it: hello, epochs, deadlines, outcomes.

use crate::{
    AddressError, CallError, Description, Error, Hello, NotSent, Proxy, RemoteError, Reply,
    Unknown, address,
    exchange::{Arrival, Exchange, Sent},
};
use proximity_proto::{
    Bytes, FromArg,
    call::{CallId, Op},
    fault::{Executed, Fault, Reason},
    message::{Content, Message},
    request::{Arguments, Request},
};
use std::{
    collections::hash_map::RandomState,
    fmt,
    hash::BuildHasher,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// How long a call may take where nothing else is said: longer than any register access, short enough
/// that nobody takes it for a hang.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// After this time the agent's clock is asked for again: 100 ppm of drift make 6 ms a minute.
const CLOCK_AGE: Duration = Duration::from_mins(1);

/// At most so much earlier than the caller's deadline the agent is told to give up, so that its word
/// that nothing ran arrives in time.
const MARGIN: Duration = Duration::from_millis(20);

/// A hello is answered at once, whatever the agent's objects do. Without an answer in this time the
/// connection is dead, though nobody has closed it, and another is made.
const HELLO_PATIENCE: Duration = Duration::from_secs(3);

/// A connection to an agent, made when it is first needed and made again when it is lost.
///
/// Cheap to clone; clones share the connection. May be used by any number of threads at once: there is
/// no lock that a call holds while it waits.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    timeout: Duration,
    stop: Option<Arc<AtomicBool>>,
}

struct Shared {
    address: String,
    /// Tells this client from all others.
    client: [u8; 16],
    /// Counts its requests.
    seq: AtomicU64,
    exchange: Exchange,
    session: Mutex<Option<Session>>,
}

/// What is known of the agent's present run.
#[derive(Clone, Copy)]
struct Session {
    epoch: u64,
    /// The agent's clock when it answered, which was at `heard` at the latest.
    now: Duration,
    heard: Instant,
    max_frame: u64,
    /// Connections lost when this was asked for; with one more it may be another run.
    losses: u64,
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
        Ok(Self { shared: Arc::new(shared), timeout: DEFAULT_TIMEOUT, stop: None })
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
        let deadline = Instant::now() + self.timeout;
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
        let options = CallOptions::default();
        Ok(self.request(Op::Describe, name, "", &().into(), options)?.get()?)
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
        let reply = self.request(Op::Cancel, "", "", &args, CallOptions::default())?;
        Ok(match reply.get::<&str>()? {
            "queued" => HowCancelled::Queued,
            "waiting" => HowCancelled::Waiting,
            "running" => HowCancelled::Running,
            _ => HowCancelled::Unknown,
        })
    }

    /// The same client, and a way for another thread to end the wait for its calls.
    #[must_use]
    pub fn with_stop(mut self) -> (Self, Stop) {
        let stopped = Arc::<AtomicBool>::default();
        self.stop = Some(Arc::clone(&stopped));
        let shared = Arc::clone(&self.shared);
        (self, Stop { stopped, shared })
    }

    /// Asks the agent for something, once: again only where the agent has proved that nothing ran, or
    /// where asking twice changes nothing.
    pub(crate) fn request(
        &self,
        op: Op,
        name: &str,
        proc: &str,
        args: &Arguments,
        options: CallOptions<'_>,
    ) -> Result<Reply, Error> {
        let CallOptions { timeout, mut progress, id } = options;
        let timeout = timeout.unwrap_or(self.timeout);
        let deadline = Instant::now() + timeout;
        let what = || named(op, name, proc);
        let address = || self.shared.address.clone();
        let id = id.unwrap_or_else(|| self.new_id());
        let stop = self.stop.as_deref();
        let unknown = |why| Error::from(CallError::OutcomeUnknown { call: what(), why });
        'again: loop {
            let session = self.session(&what, deadline, timeout)?;
            let mut bytes = Vec::new();
            Request {
                op,
                id,
                epoch: Some(session.epoch),
                expires: Some(session.expires(deadline, timeout)),
                lease: None,
                credit: None,
                progress: progress.is_some(),
                name,
                proc,
                args,
            }
            .write(&mut bytes);
            let (len, max) = (bytes.len(), session.max_frame);
            if len as u64 > max {
                let why = NotSent::TooLarge { len, max };
                return Err(CallError::NotSent { call: what(), why }.into());
            }
            let conversation = self.shared.exchange.begin(id, bytes);
            loop {
                let frame = match conversation.next(deadline, stop) {
                    Arrival::Message(frame) => frame,
                    Arrival::Lost if op == Op::Describe => continue 'again,
                    Arrival::Lost => {
                        return Err(unknown(Unknown::ConnectionLost { address: address() }));
                    }
                    Arrival::Stranger => continue,
                    Arrival::TimedOut(Sent::Yes) => {
                        return Err(unknown(Unknown::NoAnswer {
                            address: address(),
                            waited: timeout,
                        }));
                    }
                    Arrival::Stopped(Sent::Yes) => return Err(unknown(Unknown::Interrupted)),
                    Arrival::TimedOut(sent) => {
                        let why = self.unsent(sent, timeout);
                        return Err(CallError::NotSent { call: what(), why }.into());
                    }
                    Arrival::Stopped(_) => {
                        let why = NotSent::Interrupted;
                        return Err(CallError::NotSent { call: what(), why }.into());
                    }
                };
                let Ok(message) = Message::parse(&frame) else {
                    log::debug!("dropped a message that cannot be read, for {}", what());
                    continue;
                };
                match message.content {
                    Content::Ok(_) => return Ok(Reply::new(frame)),
                    Content::Progress { done, total, text } => {
                        if let Some(progress) = &mut progress {
                            progress(Progress { done, total, text });
                        }
                    }
                    Content::Error { executed: Executed::No, reason: Some(reason), .. }
                        if reason == Reason::StaleEpoch.as_str() =>
                    {
                        self.forget(session.epoch);
                        continue 'again;
                    }
                    Content::Error { fault, executed, reason: None } => {
                        return Err(RemoteError { fault: fault.into(), executed }.into());
                    }
                    Content::Error { fault, executed: Executed::No, reason: Some(reason) } => {
                        let reason = Reason::from_word(reason);
                        let (call, fault) = (what(), fault.into());
                        return Err(CallError::NotExecuted { call, reason, fault }.into());
                    }
                    Content::Error { fault, .. } => {
                        return Err(unknown(Unknown::Agent(fault.into())));
                    }
                    _ => {}
                }
            }
        }
    }

    /// What is known of the agent's present run; asks where that is nothing, or old.
    fn session(
        &self,
        what: &dyn Fn() -> String,
        deadline: Instant,
        timeout: Duration,
    ) -> Result<Session, CallError> {
        let losses = self.shared.exchange.losses();
        let known = *self.shared.session.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known
            && known.losses == losses
            && known.heard.elapsed() < CLOCK_AGE
        {
            return Ok(known);
        }
        let hello = self.say_hello(what, deadline, timeout)?;
        let session = Session {
            epoch: hello.epoch,
            now: hello.now,
            heard: Instant::now(),
            max_frame: hello.limits.max_frame,
            losses,
        };
        *self.shared.session.lock().unwrap_or_else(PoisonError::into_inner) = Some(session);
        Ok(session)
    }

    /// Why a request has not left in all the time that it had.
    fn unsent(&self, sent: Sent, waited: Duration) -> NotSent {
        let address = self.shared.address.clone();
        match sent {
            Sent::TurnedAway => NotSent::TurnedAway { address },
            _ => NotSent::NoConnection { address, waited },
        }
    }

    /// Drops what is known of the run `epoch`, which is over.
    fn forget(&self, epoch: u64) {
        let mut session = self.shared.session.lock().unwrap_or_else(PoisonError::into_inner);
        session.take_if(|session| session.epoch == epoch);
    }

    /// Asks the agent for its epoch, clock, limits and objects, on behalf of the call `what`.
    fn say_hello(
        &self,
        what: &dyn Fn() -> String,
        deadline: Instant,
        waited: Duration,
    ) -> Result<Hello, CallError> {
        let address = || self.shared.address.clone();
        let not_sent = |why| CallError::NotSent { call: what(), why };
        'again: loop {
            let id = self.new_id();
            let mut bytes = Vec::new();
            Request {
                op: Op::Hello,
                id,
                epoch: None,
                expires: None,
                lease: None,
                credit: None,
                progress: false,
                name: "",
                proc: "",
                args: &Arguments::default(),
            }
            .write(&mut bytes);
            let conversation = self.shared.exchange.begin(id, bytes);
            let patience = deadline.min(Instant::now() + HELLO_PATIENCE);
            loop {
                match conversation.next(patience, self.stop.as_deref()) {
                    Arrival::Message(frame) => {
                        let Ok(message) = Message::parse(&frame) else { continue };
                        match message.content {
                            Content::Ok(value) => {
                                if let Ok(hello) = Hello::from_arg(value) {
                                    return Ok(hello);
                                }
                            }
                            Content::Error { fault, reason, .. } => {
                                let reason = reason.and_then(Reason::from_word);
                                let (call, fault) = (what(), fault.into());
                                return Err(CallError::NotExecuted { call, reason, fault });
                            }
                            _ => {}
                        }
                    }
                    Arrival::Lost => continue 'again,
                    Arrival::Stranger => {
                        return Err(not_sent(NotSent::Version1 { address: address() }));
                    }
                    Arrival::TimedOut(sent) if patience < deadline => {
                        if sent == Sent::Yes {
                            self.shared.exchange.reconnect();
                        }
                        continue 'again;
                    }
                    Arrival::TimedOut(Sent::Yes) => {
                        return Err(not_sent(NotSent::NoHello { address: address(), waited }));
                    }
                    Arrival::TimedOut(sent) => return Err(not_sent(self.unsent(sent, waited))),
                    Arrival::Stopped(_) => return Err(not_sent(NotSent::Interrupted)),
                }
            }
        }
    }
}

impl Session {
    /// `deadline` on the agent's clock, rather too early than too late: whatever of the round trip of
    /// hello came after the agent looked at its clock is time that it does not get.
    fn expires(&self, deadline: Instant, timeout: Duration) -> Duration {
        let left = deadline.saturating_duration_since(self.heard);
        (self.now + left).saturating_sub(MARGIN.min(timeout / 10))
    }
}

/// A request as errors name it.
fn named(op: Op, name: &str, proc: &str) -> String {
    match op {
        Op::Call | Op::ListMethods => format!("{name}.{proc}()"),
        Op::Get => format!("reading {name}.{proc}"),
        Op::Set => format!("setting {name}.{proc}"),
        Op::Describe => format!("describing {name}"),
        other => other.as_str().into(),
    }
}

/// 16 bytes that no other client has. Not secret, so std's randomness for hash maps will do.
fn random() -> [u8; 16] {
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
