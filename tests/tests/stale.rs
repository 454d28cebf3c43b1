//! Requests that arrive when nobody waits for them any more: nine ways in which ZeroMQ delivers one that
//! was given up long ago, each with a real agent. Nothing of it may run.
//!
//! The sockets here are bare ones, so that the requests do arrive; what our own client does in the same
//! places is tried beside.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on panics, and says why"
)]

use proximity_client::{CallError, CallOptions, Client, Error, Executed};
use proximity_proto::{
    call::{CallId, Op},
    message::{Content, Message},
    request::{Arguments, Request},
};
use proximity_tests::{
    PATIENCE,
    process::{Agent, TestAgent},
};
use std::time::{Duration, Instant};
use zmq::{Context, DONTWAIT, SocketType};

const COUNTER: &str = "[objects.counter]\ndriver = \"counter\"\n";
/// How long the callers of this file wait.
const SHORT: Duration = Duration::from_millis(100);
/// ZeroMQ's default is for ever, for which a test that fails would wait. In milliseconds.
const LONG: i32 = 60_000;
const ADD: (&str, &str) = ("counter", "add");

/// A write that is good for the run of the agent that `client` knows, and for [`SHORT`].
fn write(client: &Client, seq: u64, target: (&str, &str), args: &Arguments) -> Vec<u8> {
    let hello = client.hello().unwrap();
    let mut out = Vec::new();
    Request {
        op: Op::Call,
        id: CallId { client: [9; 16], seq },
        epoch: Some(hello.epoch),
        expires: Some(hello.now + SHORT),
        lease: None,
        progress: false,
        credit: None,
        name: target.0,
        proc: target.1,
        args,
    }
    .write(&mut out);
    out
}

/// Why the agent refused a call; it must have.
fn reason(reply: &[u8]) -> String {
    match Message::parse(reply).expect("a message of version 2").content {
        Content::Error { executed: Executed::No, reason: Some(reason), .. } => reason.to_owned(),
        other => panic!("it was not refused: {other:?}"),
    }
}

fn socket(context: &Context, kind: SocketType, endpoint: &str) -> zmq::Socket {
    let socket = context.socket(kind).unwrap();
    socket.set_rcvtimeo(i32::try_from(PATIENCE.as_millis()).unwrap()).unwrap();
    // Else the context would wait for an agent that is gone, at the end of a test that fails.
    socket.set_linger(0).unwrap();
    socket.connect(endpoint).unwrap();
    socket
}

/// An agent that was there once, and the address where it will be again.
struct Away {
    agent: Agent,
    client: Client,
    context: Context,
}

impl Away {
    /// An agent that is away, and a write for the run that has ended.
    fn new() -> (Self, Vec<u8>) {
        let mut agent = Agent::start(COUNTER);
        let client = Client::new(&agent.endpoint).unwrap();
        let request = write(&client, 1, ADD, &Arguments::default());
        agent.process.kill();
        (Self { agent, client, context: Context::new() }, request)
    }

    fn socket(&self, kind: SocketType) -> zmq::Socket {
        socket(&self.context, kind, &self.agent.endpoint)
    }

    /// Our own client gives up too; then the agent is back.
    fn back(&mut self) {
        let options = CallOptions { timeout: Some(SHORT), ..CallOptions::default() };
        let error = self.client.object("counter").call_with("add", (), options).unwrap_err();
        assert!(matches!(error, Error::Call(CallError::NotSent { .. })), "{error:?}");
        self.agent.restart(COUNTER);
    }

    /// Nothing ran, though the agent has refused so many calls of the run before.
    fn nothing_ran(&self, refused: u64) {
        let end = Instant::now() + PATIENCE;
        loop {
            let counts = self.client.status().unwrap().agent.refused;
            let stale = counts.get("stale_epoch").copied().unwrap_or(0);
            assert!(stale <= refused, "{stale} calls were refused, {refused} were expected");
            if stale == refused {
                break;
            }
            assert!(Instant::now() < end, "{stale} of {refused} calls have arrived");
        }
        assert_eq!(self.client.object("counter").get("value").unwrap().get::<i64>().unwrap(), 0);
    }
}

fn kept_socket() {
    let (mut away, request) = Away::new();
    let req = away.socket(SocketType::REQ);
    req.send(&request, 0).unwrap();
    assert_eq!(req.poll(zmq::POLLIN, 100).unwrap(), 0, "nobody answers");
    away.back();
    assert_eq!(reason(&req.recv_bytes(0).unwrap()), "StaleEpoch");
    away.nothing_ran(1);
}

fn closed_with_the_default_linger() {
    let (mut away, request) = Away::new();
    let req = away.socket(SocketType::REQ);
    req.set_linger(LONG).unwrap();
    req.send(&request, 0).unwrap();
    drop(req);
    away.back();
    away.nothing_ran(1);
}

fn closed_without_linger() {
    let (mut away, request) = Away::new();
    let req = away.socket(SocketType::REQ);
    req.send(&request, 0).unwrap();
    drop(req);
    away.back();
    away.nothing_ran(0);
}

fn immediate() {
    let (mut away, request) = Away::new();
    let req = away.context.socket(SocketType::REQ).unwrap();
    req.set_immediate(true).unwrap();
    req.set_linger(0).unwrap();
    req.connect(&away.agent.endpoint).unwrap();
    assert_eq!(req.send(&request, DONTWAIT), Err(zmq::Error::EAGAIN));
    away.back();
    away.nothing_ran(0);
}

fn relaxed_and_tried_three_times() {
    // With the frame by which it correlates replies no agent takes it for a request.
    for (correlated, arrive) in [(false, 3), (true, 0)] {
        let (mut away, request) = Away::new();
        let req = away.socket(SocketType::REQ);
        req.set_req_relaxed(true).unwrap();
        req.set_req_correlate(correlated).unwrap();
        for _ in 0..3 {
            req.send(&request, 0).unwrap();
        }
        away.back();
        away.nothing_ran(arrive);
    }
}

fn disconnected() {
    let (mut away, request) = Away::new();
    let req = away.socket(SocketType::REQ);
    req.set_linger(LONG).unwrap();
    req.send(&request, 0).unwrap();
    req.disconnect(&away.agent.endpoint).unwrap();
    away.back();
    away.nothing_ran(1);
}

fn five_queued_by_a_dealer() {
    let (mut away, request) = Away::new();
    let dealer = away.socket(SocketType::DEALER);
    for _ in 0..5 {
        dealer.send_multipart([&b""[..], &request], 0).unwrap();
    }
    away.back();
    for _ in 0..5 {
        let parts = dealer.recv_multipart(0).unwrap();
        assert_eq!(reason(parts.last().unwrap()), "StaleEpoch");
    }
    away.nothing_ran(5);
}

/// Waits until the agent has dropped a call: its time was over, or its caller had gone.
fn one_was_dropped(client: &Client) {
    let end = Instant::now() + PATIENCE;
    loop {
        let agent = client.status().unwrap().agent;
        let refused =
            agent.refused.contains_key("expired") || agent.refused.contains_key("cancelled");
        if refused || agent.calls.forgotten > 0 {
            break;
        }
        assert!(Instant::now() < end, "it was not dropped: {agent:?}");
    }
}

fn sent_to_a_stopped_agent() {
    let agent = Agent::start(COUNTER);
    let client = Client::new(&agent.endpoint).unwrap();
    let context = Context::new();
    let req = socket(&context, SocketType::REQ, &agent.endpoint);
    // The connection stands: what is sent now waits in the kernel, and not in the socket.
    let request = write(&client, 1, ("counter", "no_such"), &Arguments::default());
    req.send(&request, 0).unwrap();
    req.recv_bytes(0).unwrap();
    client.object("counter").get("value").unwrap();
    let request = write(&client, 2, ADD, &Arguments::default());
    agent.process.signal("STOP");
    req.send(&request, 0).unwrap();
    // Our own client's write waits there too.
    let options = CallOptions { timeout: Some(SHORT), ..CallOptions::default() };
    let error = client.object("counter").call_with("add", (), options).unwrap_err();
    assert!(matches!(error, Error::Call(CallError::OutcomeUnknown { .. })), "{error:?}");
    drop(req);
    drop(context);
    agent.process.signal("CONT");
    one_was_dropped(&client);
    let value = client.object("counter").get("value").unwrap();
    assert_eq!(value.get::<i64>().unwrap(), 0, "what was given up did not run");
}

fn queued_behind_a_long_call() {
    let agent = TestAgent::start();
    let client = Client::new(&agent.endpoint).unwrap();
    let context = Context::new();
    let busy = socket(&context, SocketType::DEALER, &agent.endpoint);
    busy.set_linger(LONG).unwrap();
    let args = Arguments::from((0.5,));
    let long = write(&client, 1, ("sleeper", "sleep"), &args);
    let late = write(&client, 2, ("sleeper", "sleep"), &args);
    // Over one connection, so that the second is behind the first.
    busy.send_multipart([&b""[..], &long], 0).unwrap();
    busy.send_multipart([&b""[..], &late], 0).unwrap();
    drop((busy, context));
    one_was_dropped(&client);
}

/// What is done with a request before it is given up.
const ROWS: [(&str, fn()); 9] = [
    ("REQ, and the socket is kept", kept_socket),
    ("REQ, closed with the default linger", closed_with_the_default_linger),
    ("REQ, closed without linger", closed_without_linger),
    ("REQ with IMMEDIATE", immediate),
    ("REQ, relaxed and correlated, tried three times", relaxed_and_tried_three_times),
    ("REQ, disconnected", disconnected),
    ("DEALER with five queued", five_queued_by_a_dealer),
    ("closed without linger while the agent is stopped", sent_to_a_stopped_agent),
    ("closed without linger while the object is busy", queued_behind_a_long_call),
];

#[test]
fn nothing_that_was_given_up_runs_however_it_was_sent() {
    for (name, row) in ROWS {
        println!("{name}");
        row();
    }
}
