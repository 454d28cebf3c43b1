//! What an original client sees of the real agent: fast lists, restarts, and nothing that kills.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on panics, and says why"
)]

use proximity_proto::Value;
use proximity_tests::{
    process::{Agent, Process, program},
    raw::Raw,
};
use std::{
    process::Command,
    time::{Duration, Instant},
};

const OBJECTS: &str = "[objects.foo]\ndriver = \"calculator\"\n";
const ADD: &[u8] = b"\x84\xa4name\xa3foo\xa4proc\xa7add_two\xa4args\x92\x02\x03\xa6kwargs\x80";

/// A request to list the methods of an object with a short name.
fn list_methods(name: &str) -> Vec<u8> {
    let mut request = b"\x84\xa4name".to_vec();
    request.push(0xa0 | u8::try_from(name.len()).expect("a short name"));
    request.extend_from_slice(name.as_bytes());
    request.extend_from_slice(b"\xa4proc\xaclist_methods\xa4args\x90\xa6kwargs\x80");
    request
}

#[test]
fn a_board_that_is_away_still_lists_its_methods_within_a_constructors_patience() {
    // Nobody listens there: the port was free a moment ago, and belongs to this test's own socket.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("an address").port();
    drop(taken);
    let mut board =
        Process::start(Command::new(program("mock-fpga")).args(["--listen", "127.0.0.1:0"]));
    let address = board.line("listening ");
    let here = address.rsplit(':').next().expect("a port");
    let agent = Agent::start(&format!(
        "[objects.here]\ndriver = \"fpga\"\nhost = \"127.0.0.1\"\nport = {here}\n\
         [objects.away]\ndriver = \"fpga\"\nhost = \"127.0.0.1\"\nport = {port}\n"
    ));
    for name in ["here", "away"] {
        // The best of five: the promise is the agent's, not the machine's that runs other tests.
        let best = (0..5)
            .map(|_| {
                let start = Instant::now();
                let reply = Raw::connect(&agent.endpoint).ask(&list_methods(name));
                let took = start.elapsed();
                let Some(Value::Array(methods)) = Value::first(&reply) else {
                    panic!("a list, not {reply:x?}");
                };
                assert!(methods.len() >= 14, "{} methods", methods.len());
                took
            })
            .min()
            .expect("five tries");
        assert!(best < Duration::from_millis(100), "list_methods of '{name}' took {best:?}");
    }
}

#[test]
fn a_restart_between_calls_goes_unseen_by_the_same_socket() {
    let mut agent = Agent::start(OBJECTS);
    let client = Raw::connect(&agent.endpoint);
    assert_eq!(client.ask(ADD), [5]);
    for _ in 0..5 {
        agent.restart(OBJECTS);
        assert_eq!(client.ask(ADD), [5]);
    }
}

#[test]
fn a_client_may_come_before_its_agent() {
    let mut agent = Agent::start(OBJECTS);
    agent.process.kill();
    let client = Raw::connect(&agent.endpoint);
    client.send(ADD);
    agent.restart(OBJECTS);
    assert_eq!(client.receive(), [5]);
}

#[test]
fn what_killed_the_original_gets_a_word_and_kills_nothing() {
    let mut agent = Agent::start(OBJECTS);
    let client = Raw::connect(&agent.endpoint);
    // The message, and the class that answers it. The original's process ended on each.
    let fatal: [(&[u8], &str); 8] = [
        (b"\xc1\xff\x00garbage", "ValueError"),
        (b"", "ValueError"),
        (b"\x83\xa4name\xa3foo\xa4args\x90\xa6kwargs\x80", "KeyError"),
        (b"\x05", "TypeError"),
        (
            b"\x84\xa4name\xa3foo\xa4proc\xa7add_two\xa4args\x92\xc4\x02\xff\xfe\x01\xa6kwargs\x80",
            "TypeError",
        ),
        (
            b"\x84\xa4name\xa3foo\xa4proc\xa7add_two\xa4args\x91\x81\x01\x02\xa6kwargs\x80",
            "TypeError",
        ),
        (b"\x84\xa4name\xc4\x02\xff\xfe\xa4proc\xa7add_two\xa4args\x90\xa6kwargs\x80", "TypeError"),
        (b"{\"name\": nonsense", "ValueError"),
    ];
    for (request, class) in fatal {
        let reply = client.ask(request);
        let told = if reply.first() == Some(&b'{') {
            String::from_utf8(reply).expect("JSON is text")
        } else {
            format!("{:?}", Value::first(&reply))
        };
        assert!(told.contains("EXCEPTION"), "{request:x?}: {told}");
        assert!(told.contains(class), "{request:x?}: {told}");
        assert_eq!(client.ask(ADD), [5], "after {request:x?}");
    }
    assert!(agent.process.is_running());
}
