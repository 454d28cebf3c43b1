//! The transport over ZeroMQ: forms of messages, endpoints, and replies on their way when it ends.

// A test that fails by a panic is a test that works.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
#![allow(unreachable_pub, reason = "#[expose] takes what is pub")]

use proximity_agent::{
    Agent, Control,
    access::{Filter, Networks},
    config::{Bounds, Config, Legacy, ObjectConfig},
    run,
};
use proximity_proto::{
    Context,
    call::{CallId, Op},
    expose,
    limits::Limits,
    reply,
    request::{Arguments, Request},
};
use std::{
    sync::mpsc,
    time::{Duration, Instant},
};

/// Longer than anything here takes on a slow and busy machine.
const PATIENCE_MS: i32 = 30_000;

/// Waits and tells.
struct Bench {
    /// `hold()` tells that it was entered, and waits to be let go.
    entered: mpsc::Sender<()>,
    go: mpsc::Receiver<()>,
}

/// Waits and tells.
#[expose]
#[allow(clippy::unused_self, reason = "methods are called on an object")]
impl Bench {
    /// Holds the object.
    #[effect(read)]
    pub fn hold(&mut self) {
        let _ = self.entered.send(());
        let _ = self.go.recv_timeout(Duration::from_secs(30));
    }

    /// Holds the router itself.
    #[quick]
    #[effect(read)]
    pub fn halt(&mut self) {
        self.hold();
    }

    /// Answers at once.
    #[quick]
    pub fn peek(&self) -> i64 {
        7
    }

    /// Five megabytes, each byte telling where it stands.
    pub fn much(&self) -> reply::Bytes {
        reply::Bytes((0..5 << 20).map(place).collect())
    }

    /// Who asks.
    #[effect(read)]
    pub fn who(&mut self, cx: &Context<'_>) -> String {
        format!("{:?} {}", cx.principal().kind, cx.principal().address)
    }
}

/// What stands at a place of [`Bench::much`].
fn place(place: u32) -> u8 {
    place.to_le_bytes().into_iter().fold(7, u8::wrapping_add)
}

/// The test's end of a [`Bench`].
struct Hand {
    entered: mpsc::Receiver<()>,
    go: mpsc::Sender<()>,
}

fn config(listen: &[&str]) -> (Config, Hand) {
    let (entered, told) = mpsc::channel();
    let (go, wait) = mpsc::channel();
    let bench = std::sync::Mutex::new(Some(Bench { entered, go: wait }));
    let object = ObjectConfig {
        name: "bench".into(),
        kind: "test",
        opener: Box::new(move || Ok(Box::new(bench.lock().unwrap().take().expect("opened once")))),
        filter: Filter::default(),
        legacy: Legacy::default(),
        fingerprint: String::new(),
    };
    let config = Config {
        listen: listen.iter().map(|endpoint| endpoint.parse().unwrap()).collect(),
        plaintext: Networks::default(),
        limits: Limits::default(),
        queue: 32,
        bounds: Bounds::default(),
        legacy: Legacy::default(),
        log: log::LevelFilter::Off,
        audit: None,
        objects: vec![object],
    };
    (config, Hand { entered: told, go })
}

fn agent() -> Agent {
    Agent::start(config(&["tcp://127.0.0.1:0"]).0).unwrap()
}

/// An old client's call without arguments.
fn call(proc: &str) -> Vec<u8> {
    let mut out = Vec::new();
    reply::map_head(&mut out, 4);
    for (key, value) in [("name", "bench"), ("proc", proc)] {
        reply::text(&mut out, key);
        reply::text(&mut out, value);
    }
    reply::text(&mut out, "args");
    reply::list_head(&mut out, 0);
    reply::text(&mut out, "kwargs");
    reply::map_head(&mut out, 0);
    out
}

fn connect(kind: zmq::SocketType, address: &str) -> zmq::Socket {
    let socket = zmq::Context::new().socket(kind).unwrap();
    socket.set_linger(0).unwrap();
    socket.set_rcvtimeo(PATIENCE_MS).unwrap();
    socket.connect(address).unwrap();
    socket
}

fn ask(socket: &zmq::Socket, proc: &str) -> Vec<u8> {
    socket.send(call(proc), 0).unwrap();
    socket.recv_bytes(0).expect("a reply in time")
}

#[test]
fn a_reply_has_the_form_of_its_request() {
    let agent = agent();
    assert_eq!(ask(&connect(zmq::REQ, agent.address()), "peek"), [7]);
    let dealer = connect(zmq::DEALER, agent.address());
    dealer.send(call("peek"), 0).unwrap();
    assert_eq!(dealer.recv_multipart(0).unwrap(), [vec![7]]);
    // The same connection may change its mind.
    dealer.send_multipart([vec![], call("peek")], 0).unwrap();
    assert_eq!(dealer.recv_multipart(0).unwrap(), [vec![], vec![7]]);
}

#[test]
fn a_message_of_more_parts_is_dropped_whole() {
    let agent = agent();
    let dealer = connect(zmq::DEALER, agent.address());
    let odd: [&[&[u8]]; 3] = [&[b"", b"x", b"y"], &[b"x", b""], &[b"", b"", b"", b"", b"x"]];
    for parts in odd {
        dealer.send_multipart(parts, 0).unwrap();
    }
    // An empty message is one, and gets its error.
    dealer.send_multipart([&b""[..], b""], 0).unwrap();
    assert_eq!(dealer.recv_multipart(0).unwrap()[0], b"");
    assert_eq!(ask(&dealer, "peek"), [7]);
}

#[test]
fn many_calls_at_once_from_one_connection_are_all_answered() {
    let agent = agent();
    let dealer = connect(zmq::DEALER, agent.address());
    for _ in 0..1000 {
        dealer.send(call("peek"), 0).unwrap();
    }
    for number in 0..1000 {
        assert_eq!(dealer.recv_bytes(0).expect("a reply in time"), [7], "reply {number}");
    }
}

#[test]
fn a_connection_is_read_no_further_ahead_than_its_requests_are_looked_at() {
    let (config, hand) = config(&["tcp://127.0.0.1:0"]);
    let agent = Agent::start(config).unwrap();
    let holder = connect(zmq::DEALER, agent.address());
    holder.send(call("halt"), 0).unwrap();
    hand.entered.recv_timeout(Duration::from_secs(30)).unwrap();
    let sender = zmq::Context::new().socket(zmq::DEALER).unwrap();
    sender.set_linger(0).unwrap();
    sender.set_sndhwm(1).unwrap();
    sender.set_sndtimeo(2000).unwrap();
    sender.set_rcvtimeo(PATIENCE_MS).unwrap();
    sender.connect(agent.address()).unwrap();
    // No requests, and so answered as soon as they are seen. What the kernel holds is less than half of them.
    let message = vec![0xc1; 1 << 20];
    let sent = (0..100).take_while(|_| sender.send(&message, 0).is_ok()).count();
    assert!(sent < 100, "all were read");
    hand.go.send(()).unwrap();
    for number in 0..sent {
        assert!(sender.recv_bytes(0).is_ok(), "reply {number} of {sent}");
    }
}

#[test]
fn a_reply_of_megabytes_arrives_whole_again_and_again() {
    let agent = agent();
    let client = connect(zmq::REQ, agent.address());
    for _ in 0..3 {
        let reply = ask(&client, "much");
        assert_eq!(reply[..5], [0xc6, 0, 0x50, 0, 0]);
        assert!(reply[5..].iter().copied().eq((0..5 << 20).map(place)));
        // And what is sent after it is not what is left of it.
        assert_eq!(ask(&client, "peek"), [7]);
    }
}

#[test]
fn two_of_the_same_name_are_two() {
    let (config, hand) = config(&["tcp://127.0.0.1:0"]);
    let agent = Agent::start(config).unwrap();
    let named = || {
        let socket = zmq::Context::new().socket(zmq::DEALER).unwrap();
        socket.set_linger(0).unwrap();
        socket.set_identity(b"laptop").unwrap();
        socket.set_rcvtimeo(PATIENCE_MS).unwrap();
        socket.connect(agent.address()).unwrap();
        socket
    };
    let first = named();
    first.send(call("hold"), 0).unwrap();
    hand.entered.recv_timeout(Duration::from_secs(30)).unwrap();
    let second = named();
    second.send(call("list_methods"), 0).unwrap();
    assert!(second.recv_bytes(0).expect("a reply in time").len() > 100);
    hand.go.send(()).unwrap();
    assert_eq!(first.recv_bytes(0).unwrap(), [0xc0]);
    assert_eq!(second.recv_bytes(zmq::DONTWAIT), Err(zmq::Error::EAGAIN));
    // Whoever leaves leaves his name to the next.
    drop(first);
    assert_eq!(ask(&named(), "peek"), [7]);
}

#[test]
fn a_connection_has_one_bound_whatever_the_form_of_its_messages() {
    let (mut config, hand) = config(&["tcp://127.0.0.1:0"]);
    config.bounds.max_inflight = 3;
    let agent = Agent::start(config).unwrap();
    let dealer = connect(zmq::DEALER, agent.address());
    dealer.send(call("hold"), 0).unwrap();
    hand.entered.recv_timeout(Duration::from_secs(30)).unwrap();
    for delimited in [true, false, true, false] {
        let parts = if delimited { vec![vec![], call("who")] } else { vec![call("who")] };
        dealer.send_multipart(parts, 0).unwrap();
    }
    let words = b"3 calls in progress";
    for delimited in [true, false] {
        let parts = dealer.recv_multipart(0).expect("a reply in time");
        assert_eq!(parts.len(), 1 + usize::from(delimited), "in the form of its request");
        assert!(contains(parts.last().unwrap(), words), "{parts:02x?}");
    }
    hand.go.send(()).unwrap();
    for parts in [1, 2, 1] {
        assert_eq!(dealer.recv_multipart(0).expect("a reply in time").len(), parts);
    }
}

#[test]
fn a_local_socket_and_a_port_are_served_side_by_side() {
    let path = std::env::temp_dir().join(format!("proximity-{}.sock", std::process::id()));
    let endpoint = format!("ipc://{}", path.display());
    let agent = Agent::start(config(&[&endpoint, "tcp://127.0.0.1:0"]).0).unwrap();
    assert_eq!(agent.addresses()[0], endpoint);
    let who = |address: &str| {
        let reply = ask(&connect(zmq::REQ, address), "who");
        String::from_utf8(reply[1..].to_vec()).unwrap()
    };
    assert_eq!(who(&agent.addresses()[0]), "Local ");
    assert_eq!(who(&agent.addresses()[1]), "Local 127.0.0.1");
    agent.stop().unwrap();
    let _ = std::fs::remove_file(path);
}

#[test]
fn a_reload_listens_elsewhere_and_where_it_stays_nobody_notices() {
    let control = Control::new().unwrap();
    let (ready, told) = mpsc::channel();
    let own = control.clone();
    let (first, _hand) = config(&["tcp://127.0.0.1:0", "tcp://127.0.0.2:0"]);
    let thread = std::thread::spawn(move || {
        run(first, &own, |addresses| ready.send(addresses.to_vec()).unwrap())
    });
    let patience = Duration::from_secs(30);
    let before = told.recv_timeout(patience).unwrap();
    let client = connect(zmq::REQ, &before[0]);
    assert_eq!(ask(&client, "peek"), [7]);

    let (second, _hand) = config(&["tcp://127.0.0.1:0", "tcp://127.0.0.3:0"]);
    control.reload(second);
    let after = told.recv_timeout(patience).unwrap();
    assert_eq!(after[0], before[0]);
    assert_eq!(ask(&client, "peek"), [7]);
    assert_eq!(ask(&connect(zmq::REQ, &after[1]), "peek"), [7]);
    let end = Instant::now() + patience;
    let gone = before[1].strip_prefix("tcp://").unwrap();
    while std::net::TcpStream::connect(gone).is_ok() {
        assert!(Instant::now() < end, "{gone} is still open");
    }
    control.drain();
    thread.join().unwrap().unwrap();
}

#[test]
fn an_endpoint_that_is_taken_is_told_with_its_reason() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("tcp://{}", taken.local_addr().unwrap());
    let error = Agent::start(config(&[&endpoint]).0).err().expect("the port is taken");
    assert_eq!(error.to_string(), format!("cannot listen at {endpoint}"));
    let source = std::error::Error::source(&error).expect("a reason").to_string();
    assert!(source.starts_with("Address already in use"), "{source}");
}

#[test]
fn the_last_replies_leave_before_the_agent_ends() {
    let (config, hand) = config(&["tcp://127.0.0.1:0"]);
    let agent = Agent::start(config).unwrap();
    let client = connect(zmq::REQ, agent.address());
    client.send(call("hold"), 0).unwrap();
    hand.entered.recv_timeout(Duration::from_secs(30)).unwrap();
    let queued = connect(zmq::REQ, agent.address());
    queued.send(call("who"), 0).unwrap();
    agent.control().drain();
    let refusal = queued.recv_bytes(0).expect("a reply in time");
    let words = b"the agent is stopping";
    assert!(refusal.windows(words.len()).any(|part| part == words), "{refusal:02x?}");
    hand.go.send(()).unwrap();
    agent.stop().unwrap();
    assert_eq!(client.recv_bytes(0).expect("a reply in time"), [0xc0]);
}

/// A request of version 2.
fn request(op: Op, proc: &str, credit: Option<u64>) -> Vec<u8> {
    let (mut out, id) = (Vec::new(), CallId { client: [7; 16], seq: 1 });
    let name = if op == Op::Call { "bench" } else { "" };
    let (epoch, expires, lease, progress) = (None, None, None, false);
    let args = &Arguments::default();
    Request { op, id, epoch, expires, lease, progress, credit, name, proc, args }.write(&mut out);
    out
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn the_queued_calls_of_a_connection_that_ends_never_run() {
    let (config, hand) = config(&["tcp://127.0.0.1:0"]);
    let agent = Agent::start(config).unwrap();
    let holder = connect(zmq::REQ, agent.address());
    holder.send(call("hold"), 0).unwrap();
    hand.entered.recv_timeout(Duration::from_secs(30)).unwrap();
    let leaves = connect(zmq::DEALER, agent.address());
    leaves.send(call("hold"), 0).unwrap();
    // Answered behind it, so that it waits by then.
    ask(&leaves, "list_methods");
    drop(leaves);
    let asks = connect(zmq::REQ, agent.address());
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        asks.send(request(Op::Status, "", None), 0).unwrap();
        if contains(&asks.recv_bytes(0).expect("a reply in time"), b"\xa9forgotten\x01") {
            break;
        }
        assert!(Instant::now() < deadline, "its end was not seen");
    }
    hand.go.send(()).unwrap();
    assert_eq!(holder.recv_bytes(0).expect("a reply in time"), [0xc0]);
    assert_eq!(ask(&asks, "peek"), [7]);
    assert!(hand.entered.try_recv().is_err(), "it ran");
}

#[test]
fn a_client_that_leaves_in_the_middle_of_a_result_leaves_its_room_at_once() {
    let (mut config, _hand) = config(&["tcp://127.0.0.1:0"]);
    config.bounds.max_unread_all = 6 << 20;
    let agent = Agent::start(config).unwrap();
    let leaves = connect(zmq::DEALER, agent.address());
    leaves.send(request(Op::Call, "much", Some(1)), 0).unwrap();
    assert!(contains(&leaves.recv_bytes(0).expect("a part in time")[..200], b"\xa5chunk"));
    let begun = Instant::now();
    drop(leaves);
    let other = connect(zmq::REQ, agent.address());
    while ask(&other, "much").len() < 5 << 20 {
        // It is refused until then. A result that nobody takes is dropped after 5 seconds anyway.
        assert!(begun.elapsed() < Duration::from_secs(4), "its end was not seen");
    }
}

/// A program that a driver starts would else hold the agent's ports, and its clients' connections, when the agent
/// is gone.
#[cfg(target_os = "linux")]
#[test]
fn no_descriptor_is_left_to_programs_that_a_driver_starts() {
    let inherited = || {
        let child =
            std::process::Command::new("ls").args(["-l", "/proc/self/fd"]).output().unwrap();
        let lines = String::from_utf8(child.stdout).unwrap();
        let kinds = ["socket:", "eventfd", "eventpoll"];
        let named = |line: &&str| kinds.iter().any(|kind| line.contains(kind));
        lines.lines().filter(named).map(str::to_owned).collect::<Vec<_>>()
    };
    // Whoever runs the tests may have left something open.
    let before = inherited();
    let agent = agent();
    let client = connect(zmq::REQ, agent.address());
    assert_eq!(ask(&client, "peek"), [7]);
    let after = inherited();
    assert_eq!(after.len(), before.len(), "{after:#?}");
}

#[test]
fn a_path_where_an_agent_answers_is_not_taken_from_it() {
    let path = std::env::temp_dir().join(format!("proximity-twice-{}.sock", std::process::id()));
    let endpoint = format!("ipc://{}", path.display());
    let first = Agent::start(config(&[&endpoint]).0).unwrap();
    let error = Agent::start(config(&[&endpoint]).0).err().expect("the path is taken");
    assert_eq!(error.to_string(), format!("cannot listen at {endpoint}"));
    let client = connect(zmq::REQ, first.address());
    assert_eq!(ask(&client, "peek"), [7]);
    first.stop().unwrap();
    // What a killed agent leaves behind is nobody's.
    let _ = std::fs::remove_file(&path);
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let second = Agent::start(config(&[&endpoint]).0).unwrap();
    assert_eq!(ask(&connect(zmq::REQ, second.address()), "peek"), [7]);
    second.stop().unwrap();
    let _ = std::fs::remove_file(path);
}

#[test]
fn connections_are_counted_as_they_come_and_go() {
    let mut config = config(&["tcp://127.0.0.1:0"]).0;
    config.bounds.connections = 2;
    let agent = Agent::start(config).unwrap();
    let mut first: Vec<zmq::Socket> = (0..2).map(|_| connect(zmq::REQ, agent.address())).collect();
    for client in &first {
        assert_eq!(ask(client, "peek"), [7]);
    }
    let third = connect(zmq::REQ, agent.address());
    let words = b"the agent has 2 connections, the most that it serves";
    let refused = |reply: &[u8]| reply.windows(words.len()).any(|part| part == words);
    assert!(refused(&ask(&third, "peek")));
    assert_eq!(ask(&first[0], "peek"), [7]);
    first.pop();
    let end = Instant::now() + Duration::from_secs(30);
    while ask(&third, "peek") != [7] {
        assert!(Instant::now() < end, "there is never room again");
    }
    let fourth = connect(zmq::REQ, agent.address());
    assert!(refused(&ask(&fourth, "peek")));
}
