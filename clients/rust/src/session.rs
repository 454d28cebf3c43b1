//! What is known of an agent's present run: hello, and how long that holds.

use crate::{
    CallError, Client, Hello, NotSent,
    exchange::{Arrival, Sent},
};
use proximity_proto::{
    FromArg,
    call::Op,
    fault::Reason,
    limits::MAX_AHEAD,
    message::{Content, Message},
    request::{Arguments, Request},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

/// After this time the agent's clock is asked for again: 100 ppm of drift make 6 ms a minute.
const CLOCK_AGE: Duration = Duration::from_mins(1);

/// At most so much earlier than the caller's deadline the agent is told to give up, so that its word
/// that nothing ran arrives in time.
const MARGIN: Duration = Duration::from_millis(20);

/// A hello is answered at once, whatever the agent's objects do. Without an answer in this time the
/// connection is dead, though nobody has closed it, and another is made.
const HELLO_PATIENCE: Duration = Duration::from_secs(3);

/// The agent refuses what expires more than a day ahead of its clock, from which ours may be off by
/// what its machine has slept since hello. A call that takes longer is told to end by then.
const LONGEST: Duration = MAX_AHEAD.saturating_sub(Duration::from_hours(1));

/// Some thirty years: more than that is for ever, and is not to be beyond all clocks.
const FOREVER: Duration = Duration::from_secs(1_000_000_000);

/// When a call that begins now is given up.
pub(crate) fn deadline(timeout: Duration) -> Instant {
    Instant::now() + timeout.min(FOREVER)
}

/// What is known of the agent's present run.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) epoch: u64,
    pub(crate) max_frame: u64,
    /// Whether the agent answers a call that comes twice with its first answer.
    pub(crate) keeps_replies: bool,
    /// Whether it sends large results in chunks.
    pub(crate) sends_chunks: bool,
    /// Its objects, and a number for each that changes with the object's interface.
    pub(crate) objects: Arc<BTreeMap<String, u64>>,
    /// The agent's clock when it answered, which was at `heard` at the latest.
    now: Duration,
    heard: Instant,
    /// Connections lost when this was asked for; with one more it may be another run.
    losses: u64,
}

impl Session {
    fn new(hello: Hello, losses: u64) -> Self {
        let has = |feature| hello.features.iter().any(|known| known == feature);
        Self {
            epoch: hello.epoch,
            max_frame: hello.limits.max_frame,
            keeps_replies: has("kept"),
            sends_chunks: has("chunks") && hello.limits.chunk > 0,
            objects: Arc::new(hello.objects),
            now: hello.now,
            heard: Instant::now(),
            losses,
        }
    }

    /// `deadline` on the agent's clock, rather too early than too late: whatever of the round trip of
    /// hello came after the agent looked at its clock is time that it does not get.
    pub(crate) fn expires(&self, deadline: Instant, timeout: Duration) -> Duration {
        let left = deadline.saturating_duration_since(self.heard).min(LONGEST);
        (self.now + left).saturating_sub(MARGIN.min(timeout / 10))
    }
}

impl Client {
    /// What is known of the agent's present run; asks where that is nothing, or old.
    pub(crate) fn session(
        &self,
        what: &dyn Fn() -> String,
        deadline: Instant,
        timeout: Duration,
    ) -> Result<Session, CallError> {
        let losses = self.shared.exchange.losses();
        let lock = || self.shared.session.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lock().clone();
        if let Some(known) = known
            && known.losses == losses
            && known.heard.elapsed() < CLOCK_AGE
        {
            return Ok(known);
        }
        let hello = self.say_hello(what, deadline, timeout)?;
        let session = Session::new(hello, losses);
        *lock() = Some(session.clone());
        Ok(session)
    }

    /// Drops what is known of the run `epoch`, which is over or whose clock is not what it was.
    pub(crate) fn forget(&self, epoch: u64) {
        let mut session = self.shared.session.lock().unwrap_or_else(PoisonError::into_inner);
        session.take_if(|session| session.epoch == epoch);
    }

    /// Why a request has not left in all the time that it had.
    pub(crate) fn unsent(&self, sent: Sent, waited: Duration) -> NotSent {
        let address = self.shared.address.clone();
        match sent {
            Sent::TurnedAway => NotSent::TurnedAway { address },
            _ => NotSent::NoConnection { address, waited },
        }
    }

    /// Asks the agent for its epoch, clock, limits and objects, on behalf of the call `what`.
    pub(crate) fn say_hello(
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
            let asked = Instant::now();
            let conversation = self.shared.exchange.begin(id, bytes);
            let patience = deadline.min(asked + HELLO_PATIENCE);
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
                            self.shared.exchange.unanswered(asked, HELLO_PATIENCE);
                        }
                        continue 'again;
                    }
                    Arrival::TimedOut(Sent::Yes) => {
                        // Calls that have less time each do not wait for ever one after the other.
                        self.shared.exchange.unanswered(asked, HELLO_PATIENCE);
                        return Err(not_sent(NotSent::NoHello { address: address(), waited }));
                    }
                    Arrival::TimedOut(sent) => return Err(not_sent(self.unsent(sent, waited))),
                    Arrival::Stopped(_) => return Err(not_sent(NotSent::Interrupted)),
                }
            }
        }
    }
}
