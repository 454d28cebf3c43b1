//! An agent without sockets, and an object that does what a test tells it.

use proximity_agent::{
    Control, Notifier, RunError,
    access::{Filter, Networks},
    config::{Bounds, Config, Legacy, ObjectConfig},
    run_over,
    transport::memory::{Client, Memory, Network},
};
use proximity_drivers::Opener;
use proximity_proto::{
    Context, Fault, Later, Value,
    call::{CallId, Op},
    expose,
    limits::Limits,
    message::{Content, Message},
    request::{Arguments, Request},
    status::Status,
    value,
};
use std::{
    net::IpAddr,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::Duration,
};

/// Longer than anything here takes on a slow and busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What a test and its object have in common.
#[derive(Default)]
pub(crate) struct Stage {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Calls of `hold()` that have begun.
    held: u32,
    /// Those of them that may end.
    let_go: u32,
    opened: u32,
    closed: u32,
    /// Why the object cannot be opened at present.
    away: Option<&'static str>,
    /// What ran, in its order.
    ran: Vec<String>,
}

impl Stage {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
    }

    fn wait(&self, what: &str, done: impl Fn(&State) -> bool) {
        let state = self.state.lock().unwrap();
        let (state, timeout) =
            self.changed.wait_timeout_while(state, PATIENCE, |state| !done(state)).unwrap();
        drop(state);
        assert!(!timeout.timed_out(), "waited in vain: {what}");
    }

    /// Waits until `hold()` was entered for the nth time.
    pub(crate) fn until_held(&self, times: u32) {
        self.wait("for hold() to be entered", |state| state.held >= times);
    }

    /// Lets one call of `hold()` end.
    pub(crate) fn let_go(&self) {
        self.change(|state| state.let_go += 1);
    }

    pub(crate) fn until_ran(&self, notes: usize) {
        self.wait("for notes", |state| state.ran.len() >= notes);
    }

    pub(crate) fn until_opened(&self, times: u32) {
        self.wait("for the object to be opened", |state| state.opened >= times);
    }

    pub(crate) fn until_closed(&self, times: u32) {
        self.wait("for the object to be closed", |state| state.closed >= times);
    }

    pub(crate) fn opened(&self) -> u32 {
        self.state.lock().unwrap().opened
    }

    pub(crate) fn closed(&self) -> u32 {
        self.state.lock().unwrap().closed
    }

    pub(crate) fn set_away(&self, why: Option<&'static str>) {
        self.change(|state| state.away = why);
    }

    pub(crate) fn ran(&self) -> Vec<String> {
        self.state.lock().unwrap().ran.clone()
    }

    /// Opens an object on this stage.
    pub(crate) fn opener(self: &Arc<Self>) -> Opener {
        let stage = Arc::clone(self);
        Box::new(move || {
            if let Some(why) = stage.state.lock().unwrap().away {
                return Err(Fault::timeout_error(why));
            }
            stage.change(|state| state.opened += 1);
            Ok(Box::new(Actor { stage: Arc::clone(&stage), level: 7 }))
        })
    }
}

struct Actor {
    stage: Arc<Stage>,
    level: i64,
}

impl Drop for Actor {
    fn drop(&mut self) {
        self.stage.change(|state| state.closed += 1);
    }
}

/// Does as it is told.
#[expose]
#[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "methods are called on an object")]
impl Actor {
    /// Returns what it gets.
    #[effect(read)]
    pub fn echo(&mut self, text: &str) -> String {
        text.into()
    }

    /// Notes that it ran.
    #[effect(write)]
    pub fn note(&mut self, what: &str) {
        self.stage.change(|state| state.ran.push(what.into()));
    }

    /// Holds the object until the test lets go.
    #[effect(read)]
    pub fn hold(&mut self) -> &'static str {
        let mut state = self.stage.state.lock().unwrap();
        state.held += 1;
        let turn = state.held;
        self.stage.changed.notify_all();
        let wait = self.stage.changed.wait_timeout_while(state, PATIENCE, |s| s.let_go < turn);
        drop(wait);
        "let go"
    }

    /// Holds the object until its caller takes the call back.
    #[effect(read)]
    pub fn hold_until_cancelled(&mut self, cx: &Context<'_>) -> &'static str {
        self.stage.change(|state| state.held += 1);
        while !cx.is_cancelled() {
            std::thread::yield_now();
        }
        "cancelled"
    }

    /// Holds the object, and tells how it gets on afterwards.
    #[effect(read)]
    pub fn hold_and_climb(&mut self, cx: &Context<'_>) -> i64 {
        self.hold();
        self.climb(cx)
    }

    /// Panics.
    #[effect(write)]
    pub fn boom(&mut self) {
        panic!("the valve is stuck at {}", self.level);
    }

    /// Panics, on the router's thread.
    #[quick]
    #[effect(write)]
    pub fn quick_boom(&mut self) {
        panic!("the dial is stuck at {}", self.level);
    }

    /// Answers from memory.
    #[quick]
    pub fn peek(&self) -> i64 {
        self.level
    }

    /// Tells how it gets on.
    #[effect(read)]
    pub fn climb(&mut self, cx: &Context<'_>) -> i64 {
        for step in 1..=3 {
            cx.progress(step, 3, "climbing");
        }
        self.level
    }

    /// Takes a while, and leaves the object to others meanwhile.
    #[effect(read)]
    pub fn later(&mut self, cx: &Context<'_>, ms: u64) -> Result<Later<Self, i64>, Fault> {
        let (stage, at) = (&self.stage, cx.now() + Duration::from_millis(ms));
        stage.change(|state| state.ran.push("begun".into()));
        Ok(Later::at(at, |actor: &mut Self, _| {
            actor.stage.change(|state| state.ran.push("ended".into()));
            Ok(Later::Ready(actor.level))
        }))
    }

    /// Reads so many bytes.
    #[effect(read)]
    pub fn read(&mut self, bytes: usize) -> proximity_proto::reply::Bytes {
        self.stage.change(|state| state.ran.push("read".into()));
        proximity_proto::reply::Bytes((0..bytes).map(|at| (at / 1000).to_le_bytes()[0]).collect())
    }

    /// Takes so many bytes out of the device.
    #[effect(write)]
    pub fn fetch(&mut self, bytes: usize) -> proximity_proto::reply::Bytes {
        self.stage.change(|state| state.ran.push("fetched".into()));
        proximity_proto::reply::Bytes(vec![0; bytes])
    }

    /// Returns more than fits into a frame.
    pub fn too_much(&self) -> proximity_proto::reply::Bytes {
        proximity_proto::reply::Bytes(vec![0; 100_000])
    }

    /// Returns nearly as much as fits into a frame.
    #[quick]
    pub fn much(&self) -> proximity_proto::reply::Bytes {
        proximity_proto::reply::Bytes(vec![0; 65_000])
    }

    /// Who asks.
    #[effect(read)]
    pub fn who(&mut self, cx: &Context<'_>) -> String {
        format!("{:?} {}", cx.principal().kind, cx.principal().address)
    }

    /// Refuses.
    pub fn refuse(&self) -> Result<(), Fault> {
        Err(Fault::value_error("the level is 7; it must be 8").hint("raise it"))
    }

    /// Hidden in some tests.
    pub fn tap_secret(&self) -> i64 {
        42
    }

    /// The level.
    #[quick]
    #[attribute]
    pub fn level(&self) -> i64 {
        self.level
    }

    /// Sets it.
    #[attribute]
    pub fn set_level(&mut self, level: i64) {
        self.level = level;
    }
}

/// A configuration of objects by name, with a fingerprint each.
pub(crate) fn config(objects: Vec<(&str, &str, Opener)>) -> Config {
    let object = |(name, fingerprint, opener): (&str, &str, Opener)| ObjectConfig {
        name: name.into(),
        kind: "test",
        opener,
        filter: Filter::new(None, vec!["tap_.*".parse().unwrap()]),
        legacy: Legacy::default(),
        fingerprint: fingerprint.into(),
    };
    Config {
        listen: Vec::new(),
        plaintext: ["10.1.0.0/16".parse().unwrap()].into_iter().collect::<Networks>(),
        limits: Limits { max_frame: 64 << 10, ..Limits::default() },
        queue: 2,
        bounds: Bounds::default(),
        legacy: Legacy::default(),
        log: log::LevelFilter::Off,
        audit: None,
        objects: objects.into_iter().map(object).collect(),
    }
}

/// An agent over memory.
pub(crate) struct Agent {
    pub(crate) control: Control,
    pub(crate) network: Network,
    thread: Option<JoinHandle<Result<(), RunError>>>,
}

impl Agent {
    pub(crate) fn start(config: Config) -> Self {
        Self::telling(config, Notifier::default())
    }

    /// An agent that tells `notifier` how it is.
    pub(crate) fn telling(config: Config, notifier: Notifier) -> Self {
        let control = Control::new().unwrap().telling(notifier);
        let (memory, network) = Memory::new(Arc::clone(control.bell()));
        let (ready, told) = mpsc::channel();
        let own = control.clone();
        let thread = std::thread::spawn(move || {
            run_over(Box::new(memory), config, &own, |_| {
                let _ = ready.send(());
            })
        });
        told.recv_timeout(PATIENCE).expect("the agent is ready");
        Self { control, network, thread: Some(thread) }
    }

    /// An agent with one object, `actor`, on its own stage.
    pub(crate) fn with_actor() -> (Self, Arc<Stage>, Caller) {
        Self::with_actor_away(None)
    }

    /// The same; the actor is away, if it is told why.
    pub(crate) fn with_actor_away(why: Option<&'static str>) -> (Self, Arc<Stage>, Caller) {
        let stage = Arc::new(Stage::default());
        stage.set_away(why);
        let agent = Self::start(config(vec![("actor", "1", stage.opener())]));
        let caller = agent.caller();
        (agent, stage, caller)
    }

    /// A client of version 2.
    pub(crate) fn caller(&self) -> Caller {
        Caller::new(self.network.client())
    }

    pub(crate) fn caller_at(&self, address: &str) -> Caller {
        let address: IpAddr = address.parse().unwrap();
        Caller::new(self.network.client_at(address))
    }

    /// Waits for the agent to end by itself.
    pub(crate) fn join(mut self) {
        self.thread.take().unwrap().join().unwrap().unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.control.drain();
    }
}

/// A client of version 2.
pub(crate) struct Caller {
    pub(crate) client: Client,
    uuid: [u8; 16],
    seq: AtomicU64,
}

/// What came back.
#[derive(Debug, PartialEq)]
pub(crate) enum Answer {
    /// A value, printed.
    Ok(String),
    /// An error: class, message, executed, reason; and the hint.
    Error {
        line: String,
        executed: &'static str,
        reason: Option<String>,
        hint: Option<String>,
    },
    Progress(u64, u64, String),
}

impl Answer {
    pub(crate) fn ok(value: impl std::fmt::Display) -> Self {
        Answer::Ok(value.to_string())
    }

    /// The reason of an error that says that nothing ran.
    pub(crate) fn not_executed(&self) -> &str {
        match self {
            Answer::Error { executed: "no", reason: Some(reason), .. } => reason,
            other => panic!("not refused: {other:?}"),
        }
    }
}

/// What to ask besides the call itself.
#[derive(Default)]
pub(crate) struct With {
    pub(crate) epoch: Option<u64>,
    pub(crate) expires: Option<Duration>,
    pub(crate) progress: bool,
    pub(crate) lease: Option<[u8; 16]>,
    pub(crate) credit: Option<u64>,
}

impl Caller {
    fn new(client: Client) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let mut uuid = [0; 16];
        uuid[..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        Self { client, uuid, seq: AtomicU64::new(1) }
    }

    /// Sends a request and returns its id.
    pub(crate) fn send(&self, op: Op, target: &str, args: &Arguments, with: &With) -> CallId {
        let id = CallId { client: self.uuid, seq: self.seq.fetch_add(1, Ordering::Relaxed) };
        self.send_as(id, op, target, args, with);
        id
    }

    /// Sends a request of a given id: again, perhaps.
    pub(crate) fn send_as(&self, id: CallId, op: Op, target: &str, args: &Arguments, with: &With) {
        let (name, proc) = target.rsplit_once('.').unwrap_or((target, ""));
        let With { epoch, expires, progress, lease, credit } = *with;
        let lease = lease.as_ref().map(|token| &token[..]);
        let request = Request { op, id, epoch, expires, lease, progress, credit, name, proc, args };
        let mut bytes = Vec::new();
        request.write(&mut bytes);
        self.client.send(bytes);
    }

    /// Sends a call without arguments.
    pub(crate) fn begin(&self, target: &str) -> CallId {
        self.send(Op::Call, target, &Arguments::default(), &With::default())
    }

    /// The next message, and whose it is.
    pub(crate) fn receive(&self) -> (CallId, Answer) {
        let bytes = self.client.receive(PATIENCE).expect("an answer");
        let message = Message::parse(&bytes).unwrap();
        let answer = match message.content {
            Content::Ok(value) => Answer::Ok(show(value)),
            Content::Error { fault, executed, reason } => Answer::Error {
                line: fault.to_string(),
                executed: executed.as_str(),
                reason: reason.map(String::from),
                hint: fault.hint,
            },
            Content::Progress { done, total, text } => Answer::Progress(done, total, text.into()),
            _ => panic!("neither value nor error: {bytes:02x?}"),
        };
        (message.id.expect("an id"), answer)
    }

    /// Whose the next message is, and whether it is the final one of a value.
    pub(crate) fn receive_id(&self) -> (CallId, bool) {
        let bytes = self.client.receive(PATIENCE).expect("a message");
        let message = Message::parse(&bytes).unwrap();
        (message.id.expect("an id"), matches!(message.content, Content::Ok(_)))
    }

    /// The answer to a call, which must be the next message.
    pub(crate) fn answer(&self, id: CallId) -> Answer {
        let (whose, answer) = self.receive();
        assert_eq!(whose, id, "{answer:?}");
        answer
    }

    /// Calls and waits.
    pub(crate) fn call(&self, target: &str) -> Answer {
        let id = self.begin(target);
        self.answer(id)
    }

    /// Asks anything and waits.
    pub(crate) fn ask(&self, op: Op, target: &str, args: &Arguments, with: &With) -> Answer {
        let id = self.send(op, target, args, with);
        self.answer(id)
    }

    /// Sends an old client's message, and returns what comes back.
    pub(crate) fn ask_raw(&self, request: &[u8]) -> Vec<u8> {
        self.client.send(request);
        self.client.receive(PATIENCE).expect("an answer")
    }

    /// How the agent and its objects are.
    pub(crate) fn status(&self) -> Status {
        let id = self.send(Op::Status, "", &Arguments::default(), &With::default());
        let bytes = self.client.receive(PATIENCE).expect("an answer");
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.id, Some(id));
        let Content::Ok(value) = message.content else { panic!("{message:?}") };
        proximity_proto::FromArg::from_arg(value).unwrap()
    }

    /// The agent's epoch and clock.
    pub(crate) fn hello(&self) -> proximity_proto::hello::Hello {
        let id = self.send(Op::Hello, "", &Arguments::default(), &With::default());
        let bytes = self.client.receive(PATIENCE).expect("an answer");
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.id, Some(id));
        let Content::Ok(value) = message.content else { panic!("{message:?}") };
        proximity_proto::FromArg::from_arg(value).unwrap()
    }
}

/// A value as text.
pub(crate) fn show(value: Value<'_>) -> String {
    match value {
        Value::Text(text) => text.into(),
        other => proximity_proto::json::value(other).to_string(),
    }
}

/// An old client's request in MessagePack.
pub(crate) fn old(name: &str, proc: &str) -> Vec<u8> {
    let mut out = Vec::new();
    proximity_proto::reply::map_head(&mut out, 4);
    for (key, value) in [("name", name), ("proc", proc)] {
        proximity_proto::reply::text(&mut out, key);
        proximity_proto::reply::text(&mut out, value);
    }
    proximity_proto::reply::text(&mut out, "args");
    out.push(0x90);
    proximity_proto::reply::text(&mut out, "kwargs");
    out.push(0x80);
    out
}

/// An old client's reply as text.
pub(crate) fn shown(reply: &[u8]) -> String {
    value::check(reply, &Limits::default()).unwrap();
    show(Value::first(reply).unwrap())
}
