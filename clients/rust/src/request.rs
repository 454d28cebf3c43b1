//! One request of a caller, until it has an outcome: when it is sent again, and when never.
//!
//! It is sent again under the same id, within the caller's deadline, in three cases only. The agent
//! has proved that nothing ran, and a new hello puts right what it complained of. Or the connection
//! was lost, and what was asked for only reads. Or the connection was lost, and the agent is in the
//! same run as before: it keeps its replies, and gives the first answer. All else is the caller's to
//! decide, who gets [`CallError::OutcomeUnknown`].

use crate::{
    CallError, CallOptions, Client, Error, NotSent, Progress, RemoteError, Reply, Unknown,
    chunks::{FIRST_CREDIT, Taken},
    exchange::{Arrival, Conversation, Sent},
    session::{self, Session},
    transport::Frame,
};
use proximity_proto::{
    call::{CallId, Op},
    fault::{Executed, Fault, Reason},
    lease::TOKEN,
    message::{Content, Message},
    request::{Arguments, Request},
};
use std::time::{Duration, Instant};

/// With less time left it is not worth to ask for the agent's clock and to try once more.
const WORTH_IT: Duration = Duration::from_millis(50);

/// An agent that is restarted more often than this within one call is not believed: its hello and its
/// refusals are at odds.
const MOST_STALE: u32 = 5;

/// What is asked for.
pub(crate) struct Asked<'a> {
    pub(crate) op: Op,
    pub(crate) name: &'a str,
    pub(crate) proc: &'a str,
    pub(crate) args: &'a Arguments,
    /// The lease that it is asked for under.
    pub(crate) lease: Option<&'a [u8; TOKEN]>,
}

/// What is done for one request.
struct Attempts<'a> {
    client: &'a Client,
    asked: &'a Asked<'a>,
    id: CallId,
    deadline: Instant,
    timeout: Duration,
    /// The run for which a copy was sent that was not answered before its connection was lost.
    lost: Option<Session>,
    /// Whether the agent's clock was asked for because of this request.
    clock_is_new: bool,
    /// How often the agent's run turned out to be another.
    stale: u32,
}

/// What has come of one copy.
enum Outcome {
    Reply(Reply),
    /// Nothing, and another may be sent.
    Again,
}

impl Client {
    /// Asks the agent for something.
    pub(crate) fn request(
        &self,
        asked: &Asked<'_>,
        options: CallOptions<'_>,
    ) -> Result<Reply, Error> {
        let CallOptions { timeout, mut progress, id } = options;
        let timeout = timeout.unwrap_or(self.timeout);
        let mut attempts = Attempts {
            client: self,
            asked,
            id: id.unwrap_or_else(|| self.new_id()),
            deadline: session::deadline(timeout),
            timeout,
            lost: None,
            clock_is_new: false,
            stale: 0,
        };
        loop {
            let session = attempts.session()?;
            if let Outcome::Reply(reply) = attempts.send(&session, &mut progress)? {
                return Ok(reply);
            }
        }
    }

    /// As [`Client::request`], without options and lease.
    pub(crate) fn ask(
        &self,
        op: Op,
        name: &str,
        proc: &str,
        args: &Arguments,
    ) -> Result<Reply, Error> {
        self.request(&Asked { op, name, proc, args, lease: None }, CallOptions::default())
    }
}

impl Attempts<'_> {
    /// The agent's run for which the next copy is sent.
    fn session(&self) -> Result<Session, Error> {
        let session = self.client.session(&|| self.what(), self.deadline, self.timeout);
        let Some(lost) = &self.lost else { return Ok(session?) };
        let session = session.map_err(|error| self.unknown(self.not_back(&error)))?;
        if self.may_repeat(lost, &session) {
            log::debug!("sending {} again: its connection was lost", self.what());
            return Ok(session);
        }
        let address = self.address();
        Err(self.unknown(if session.epoch == lost.epoch {
            Unknown::ConnectionLost { address }
        } else {
            Unknown::Restarted { address }
        }))
    }

    /// Whether what was sent in the run `lost` may be sent in the run `now`.
    fn may_repeat(&self, lost: &Session, now: &Session) -> bool {
        match self.asked.op {
            Op::Get | Op::Describe | Op::Hello | Op::Leases => true,
            // A lease is its token's, however often that is told.
            op if op.is_about_a_lease() => true,
            Op::Call | Op::Set if lost.epoch == now.epoch && now.keeps_replies => true,
            Op::Call => self.reads(lost, now),
            _ => false,
        }
    }

    /// Whether the method only reads, and did when it was called first.
    fn reads(&self, lost: &Session, now: &Session) -> bool {
        let Asked { name, proc, .. } = *self.asked;
        let (Some(then), Some(hash)) = (lost.objects.get(name), now.objects.get(name)) else {
            return false;
        };
        let left = self.deadline.saturating_duration_since(Instant::now());
        if then != hash || left.is_zero() {
            return false;
        }
        self.client.clone().with_timeout(left).describe(name).is_ok_and(|description| {
            description.hash == *hash
                && description.method(proc).is_some_and(|method| method.effect == "read")
        })
    }

    /// Sends a copy of the request, and waits for what comes of it.
    fn send(
        &mut self,
        session: &Session,
        progress: &mut Option<&mut dyn FnMut(Progress<'_>)>,
    ) -> Result<Outcome, Error> {
        let mut chunks = self.wants_chunks(session).then(|| self.client.chunks());
        let bytes = self.written(session, chunks.is_some(), progress.is_some())?;
        let conversation = self.client.shared.exchange.begin(self.id, bytes);
        loop {
            let Some(frame) = self.next(&conversation, session)? else {
                return Ok(Outcome::Again);
            };
            let Ok(message) = Message::parse(&frame) else {
                log::debug!("dropped a message that cannot be read, for {}", self.what());
                continue;
            };
            match message.content {
                Content::Ok(_) => return Ok(Outcome::Reply(Reply::new(frame))),
                Content::Progress { done, total, text } => {
                    if let Some(progress) = progress {
                        progress(Progress { done, total, text });
                    }
                }
                Content::Chunk { index, count, data } => {
                    let Some(chunks) = &mut chunks else { continue };
                    match chunks.take(index, count, data) {
                        Taken::Credit(more) => self.grant(session, more),
                        Taken::Quietly => {}
                        Taken::TooMany => return Err(Self::too_large(chunks.limit())),
                    }
                    if let Some(progress) = progress {
                        progress(chunks.progress());
                    }
                }
                Content::Chunked { count, bytes } => {
                    match chunks.take().and_then(|chunks| chunks.finish(count, bytes)) {
                        Some(value) => return Ok(Outcome::Reply(Reply::of_value(value))),
                        None => log::debug!("dropped {}: chunks are missing", self.what()),
                    }
                }
                Content::Error { fault, executed, reason } => {
                    return self.refused(session, fault, executed, reason);
                }
                _ => {}
            }
        }
    }

    /// The next message; `None` if its connection is lost.
    fn next(
        &mut self,
        conversation: &Conversation<'_>,
        session: &Session,
    ) -> Result<Option<Frame>, Error> {
        loop {
            return match conversation.next(self.deadline, self.client.stop.as_deref()) {
                Arrival::Message(frame) => Ok(Some(frame)),
                Arrival::Lost => {
                    self.lost = Some(session.clone());
                    Ok(None)
                }
                Arrival::Stranger => continue,
                Arrival::TimedOut(Sent::Yes) => {
                    let (address, waited) = (self.address(), self.timeout);
                    Err(self.unknown(Unknown::NoAnswer { address, waited }))
                }
                Arrival::Stopped(Sent::Yes) => Err(self.unknown(Unknown::Interrupted)),
                Arrival::TimedOut(sent) => {
                    Err(self.not_sent(self.client.unsent(sent, self.timeout)))
                }
                Arrival::Stopped(_) => Err(self.not_sent(NotSent::Interrupted)),
            };
        }
    }

    /// What an error says of the request.
    fn refused(
        &mut self,
        session: &Session,
        fault: Fault,
        executed: Executed,
        reason: Option<&str>,
    ) -> Result<Outcome, Error> {
        let fault = Box::new(fault);
        let Some(reason) = reason else {
            return Err(RemoteError { fault, executed }.into());
        };
        let reason = Reason::from_word(reason);
        if executed != Executed::No {
            return Err(self.unknown(Unknown::Agent(fault)));
        }
        if reason == Some(Reason::StaleEpoch) && self.stale < MOST_STALE {
            self.stale += 1;
            self.client.forget(session.epoch);
            return Ok(Outcome::Again);
        }
        let is_of_all = |lost: &Session| lost.epoch == session.epoch && covers_copies(reason);
        if self
            .lost
            .as_ref()
            .is_some_and(|lost| !self.asked.op.is_about_a_lease() && !is_of_all(lost))
        {
            return Err(self.unknown(Unknown::Agent(fault)));
        }
        let left = self.deadline.saturating_duration_since(Instant::now());
        let of_the_clock = matches!(reason, Some(Reason::Expired | Reason::ExpiresTooFar));
        if of_the_clock && !self.clock_is_new && left > WORTH_IT {
            // The agent's clock is not what we take it for: one of the machines has slept.
            self.clock_is_new = true;
            self.client.forget(session.epoch);
            return Ok(Outcome::Again);
        }
        Err(CallError::NotExecuted { call: self.what(), reason, fault }.into())
    }

    /// The request's bytes.
    fn written(&self, session: &Session, chunks: bool, progress: bool) -> Result<Vec<u8>, Error> {
        let Asked { op, name, proc, args, lease } = *self.asked;
        let mut bytes = Vec::new();
        Request {
            op,
            id: self.id,
            epoch: Some(session.epoch),
            expires: Some(session.expires(self.deadline, self.timeout)),
            lease: lease.map(|token| &token[..]),
            credit: chunks.then_some(FIRST_CREDIT),
            progress,
            name,
            proc,
            args,
        }
        .write(&mut bytes);
        let (len, max) = (bytes.len(), session.max_frame);
        if len as u64 > max {
            return Err(self.not_sent(NotSent::TooLarge { len, max }));
        }
        Ok(bytes)
    }

    fn wants_chunks(&self, session: &Session) -> bool {
        session.sends_chunks && matches!(self.asked.op, Op::Call | Op::Get)
    }

    /// Lets the agent send so many chunks more.
    fn grant(&self, session: &Session, chunks: u64) {
        let mut bytes = Vec::new();
        Request {
            op: Op::Credit,
            id: self.id,
            epoch: Some(session.epoch),
            expires: None,
            lease: None,
            credit: None,
            progress: false,
            name: "",
            proc: "",
            args: &(chunks,).into(),
        }
        .write(&mut bytes);
        self.client.shared.exchange.tell(bytes);
    }

    /// The request as errors name it.
    fn what(&self) -> String {
        let Asked { op, name, proc, .. } = *self.asked;
        match op {
            Op::Call | Op::ListMethods => format!("{name}.{proc}()"),
            Op::Get => format!("reading {name}.{proc}"),
            Op::Set => format!("setting {name}.{proc}"),
            Op::Describe => format!("describing {name}"),
            Op::Lock => format!("locking {name}"),
            Op::Renew => format!("renewing the lease of {name}"),
            Op::Release => format!("releasing {name}"),
            Op::Steal => format!("taking the lease of {name}"),
            other => other.as_str().into(),
        }
    }

    fn address(&self) -> String {
        self.client.shared.address.clone()
    }

    /// This copy has not left; an earlier one may have.
    fn not_sent(&self, why: NotSent) -> Error {
        let error = CallError::NotSent { call: self.what(), why };
        if self.lost.is_some() { self.unknown(self.not_back(&error)) } else { error.into() }
    }

    fn unknown(&self, why: Unknown) -> Error {
        CallError::OutcomeUnknown { call: self.what(), why }.into()
    }

    /// Why the outcome of a lost copy is not known where no other could be sent.
    fn not_back(&self, error: &CallError) -> Unknown {
        let address = self.address();
        match error {
            CallError::NotSent { why: NotSent::Interrupted, .. } => Unknown::Interrupted,
            error if error.is_timeout() => Unknown::NotBack { address, waited: self.timeout },
            _ => Unknown::ConnectionLost { address },
        }
    }

    /// There are more chunks than are taken. The agent drops the rest, for which it gets no credit.
    fn too_large(max: usize) -> Error {
        let message = format!("the result has more than {max} bytes, which is all that is taken");
        let fault = Fault::new("MemoryError", message)
            .hint("read it in pieces, or allow more with Client::with_max_reply");
        RemoteError { fault: fault.into(), executed: Executed::Yes }.into()
    }
}

/// Whether "not executed" for this reason is said of every copy of a call, not only of the one that
/// it answers: an earlier one may have run, before the agent was restarted or too long ago.
fn covers_copies(reason: Option<Reason>) -> bool {
    use Reason::{Expired, ExpiresTooFar, StaleEpoch, TooManyClients, TooManyPeers, TooOld};
    let of_one = |reason| {
        matches!(
            reason,
            StaleEpoch | Expired | ExpiresTooFar | TooOld | TooManyClients | TooManyPeers
        )
    };
    reason.is_some_and(|reason| !of_one(reason))
}
