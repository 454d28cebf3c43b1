//! Where the audit must be kept in a file, nothing is done that is not in it.

// A test that fails by a panic is a test that works.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

#[allow(dead_code, reason = "other files of tests use the rest")]
mod support;

use proximity_proto::{
    call::{CallId, Op},
    message::{Content, Message},
    request::{Arguments, Request},
};
use serde_json::Value as Json;
use std::{cell::Cell, fs};
use support::{Scratch, call};

/// A client that locks.
struct Client {
    socket: zmq::Socket,
    seq: Cell<u64>,
}

impl Client {
    fn new(address: &str) -> Self {
        let socket = zmq::Context::new().socket(zmq::REQ).unwrap();
        socket.set_linger(0).unwrap();
        socket.set_rcvtimeo(30_000).unwrap();
        socket.connect(address).unwrap();
        Self { socket, seq: Cell::new(0) }
    }

    /// What the agent answers: `ok`, or its reason and whether it says that nothing was done.
    fn ask(&self, op: Op, token: u8) -> String {
        self.seq.set(self.seq.get() + 1);
        let mut args = Arguments::default();
        if op != Op::Release {
            args.push(&60_000_u64);
        }
        let mut bytes = Vec::new();
        Request {
            op,
            id: CallId { client: [7; 16], seq: self.seq.get() },
            epoch: None,
            expires: None,
            lease: Some(&[token; 16]),
            credit: None,
            progress: false,
            name: "tally",
            proc: "",
            args: &args,
        }
        .write(&mut bytes);
        self.socket.send(bytes, 0).unwrap();
        let reply = self.socket.recv_bytes(0).expect("an answer in time");
        match Message::parse(&reply).unwrap().content {
            Content::Ok(_) => "ok".into(),
            Content::Error { executed, reason, .. } => {
                format!("{} {}", reason.unwrap_or("-"), executed.as_str())
            }
            other => panic!("{other:?}"),
        }
    }
}

fn configure(scratch: &Scratch, audit: &str) {
    scratch.configure(&format!(
        "listen = ['tcp://127.0.0.1:0']\naudit = '{audit}'\n[objects.tally]\ndriver = 'counter'\n"
    ));
}

/// What was asked for and what came of it, line by line.
fn lines(text: &str) -> Vec<String> {
    let lines =
        text.lines().map(|line| serde_json::from_str::<Json>(line).expect("a line is JSON"));
    let word = |line: &Json, key: &str| line[key].as_str().unwrap_or_default().to_owned();
    lines.map(|line| word(&line, "what") + " " + &word(&line, "outcome")).collect()
}

#[test]
fn no_lease_is_given_or_taken_when_the_disk_is_full() {
    let scratch = Scratch::new();
    configure(&scratch, "/dev/full");
    let mut daemon = scratch.serve();
    let address = daemon.ready();
    let client = Client::new(&address);
    assert_eq!(client.ask(Op::Lock, 1), "AuditUnavailable no");
    assert_eq!(client.ask(Op::Steal, 1), "AuditUnavailable no");
    daemon.logged("the audit cannot be written to /dev/full: No space left on device");
    // Nobody has it, and calls go on.
    assert_eq!(client.ask(Op::Renew, 1), "LeaseLost no");
    call(&address, "tally", "increment", &serde_json::json!([]));
    daemon.signal("TERM");
    assert!(daemon.end().0.success());
}

#[test]
fn a_lease_stands_in_the_file_before_it_is_given_and_after() {
    let scratch = Scratch::new();
    let folder = scratch.path().join("audit");
    let file = folder.join("audit.jsonl");
    configure(&scratch, file.to_str().unwrap());
    let mut daemon = scratch.serve();
    let client = Client::new(&daemon.ready());
    // There is no such folder yet.
    assert_eq!(client.ask(Op::Lock, 1), "AuditUnavailable no");
    fs::create_dir(&folder).unwrap();
    assert_eq!(client.ask(Op::Lock, 1), "ok");
    assert_eq!(client.ask(Op::Lock, 2), "Locked no");
    let moved = folder.join("moved");
    fs::rename(&file, &moved).unwrap();
    assert_eq!(client.ask(Op::Steal, 2), "ok");
    // The file is gone, and with it where it was: what is held stays, and may be renewed.
    let later = fs::read_to_string(&file).unwrap();
    let before = fs::read_to_string(&moved).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(client.ask(Op::Release, 2), "AuditUnavailable no");
    assert_eq!(client.ask(Op::Renew, 2), "ok");
    assert_eq!(lines(&before), ["lock asked", "lock ok", "lock asked", "lock Locked"]);
    assert_eq!(lines(&later), ["steal asked", "steal ok"]);
    daemon.signal("TERM");
    assert!(daemon.end().0.success());
}
