//! Objects beside each other: one that is slow, broken or large is nobody else's trouble.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on panics, and says why"
)]

use proximity_proto::Value;
use proximity_tests::{process::TestAgent, raw::Raw};
use std::time::{Duration, Instant};

/// A request in the published form.
fn request(name: &str, proc: &str, args: &[u8]) -> Vec<u8> {
    let mut request = vec![0x84];
    for (key, value) in [("name", name), ("proc", proc)] {
        for text in [key, value] {
            request.push(0xa0 | u8::try_from(text.len()).expect("a short text"));
            request.extend_from_slice(text.as_bytes());
        }
    }
    request.extend_from_slice(b"\xa4args");
    request.extend_from_slice(args);
    request.extend_from_slice(b"\xa6kwargs\x80");
    request
}

fn exception(reply: &[u8]) -> String {
    let Some(Value::Map(map)) = Value::first(reply) else { panic!("no exception: {reply:02x?}") };
    let Some(Value::Array(triple)) = map.get("EXCEPTION") else { panic!("{map:?}") };
    let text = |place| triple.get(place).and_then(|value| value.as_text()).unwrap_or_default();
    format!("{}: {}", text(0), text(1))
}

#[test]
fn two_clients_are_served_while_one_object_sleeps_for_five_seconds() {
    let agent = TestAgent::start();
    let sleeper = Raw::connect(&agent.endpoint);
    let start = Instant::now();
    sleeper.send(&request("sleeper", "sleep", b"\x91\xcb\x40\x14\0\0\0\0\0\0"));
    let clients = [Raw::connect(&agent.endpoint), Raw::connect(&agent.endpoint)];
    for round in 0..500u16 {
        for client in &clients {
            assert_eq!(client.ask(&request("foo", "add_two", b"\x92\x02\x03")), [5], "{round}");
        }
    }
    let list = clients[0].ask(&request("sleeper", "list_methods", b"\x90"));
    assert!(matches!(Value::first(&list), Some(Value::Array(methods)) if methods.len() == 2));
    assert!(start.elapsed() < Duration::from_secs(5), "the sleeper delayed others");
    assert_eq!(Value::first(&sleeper.receive()), Some(Value::Float(5.0)));
    assert!(start.elapsed() >= Duration::from_secs(5));
}

#[test]
fn a_panic_is_an_answer_and_the_object_is_opened_anew() {
    let mut agent = TestAgent::start();
    let client = Raw::connect(&agent.endpoint);
    assert_eq!(client.ask(&request("panicker", "number", b"\x90")), [1]);
    for (round, method) in [(1u8, "boom"), (2, "quick_boom"), (3, "boom"), (4, "quick_boom")] {
        let words = if method == "boom" { "boom" } else { "quick boom" };
        assert_eq!(
            exception(&client.ask(&request("panicker", method, b"\x90"))),
            format!(
                "RuntimeError: object 'panicker' panicked in {method}(): {words} number {round}"
            )
        );
        assert_eq!(client.ask(&request("panicker", "number", b"\x90")), [round + 1]);
    }
    assert!(agent.process.is_running());
}

#[test]
fn a_dotted_name_is_a_name_like_any_other() {
    let agent = TestAgent::start();
    let client = Raw::connect(&agent.endpoint);
    assert_eq!(client.ask(&request("animals.angry", "add_two", b"\x92\x02\x03")), [5]);
    assert_eq!(
        exception(&client.ask(&request("animals", "add_two", b"\x90"))),
        "KeyError: 'animals'"
    );
}

#[test]
fn a_peer_that_reads_no_replies_harms_only_itself() {
    let agent = TestAgent::start();
    let context = zmq::Context::new();
    let deaf = context.socket(zmq::DEALER).expect("a socket");
    deaf.set_linger(0).expect("an option");
    // Takes next to nothing in, so that what is sent to it stays with the agent.
    deaf.set_rcvhwm(1).expect("an option");
    deaf.set_rcvbuf(4096).expect("an option");
    deaf.connect(&agent.endpoint).expect("an endpoint");
    let client = Raw::connect(&agent.endpoint);
    let median = || {
        let mut times: Vec<Duration> = (0..301)
            .map(|_| {
                let start = Instant::now();
                assert_eq!(client.ask(&request("foo", "add_two", b"\x92\x02\x03")), [5]);
                start.elapsed()
            })
            .collect();
        times.sort();
        times[times.len() / 2]
    };
    let before = median();
    for _ in 0..64 {
        let read = request("blob", "read", b"\x91\xce\x00\x40\x00\x00");
        deaf.send_multipart([&b""[..], &read], 0).expect("sent");
    }
    // Once another's read of the same object is answered, the deaf peer's have been run or refused.
    let reply = client.ask(&request("blob", "read", b"\x91\x04"));
    assert!(!reply.is_empty());
    let after = median();
    let most = 5 * before + Duration::from_millis(1);
    assert!(after < most, "a call took {before:?} before and {after:?} after");
}

#[test]
fn arguments_that_do_not_fit_are_found_before_the_method_runs() {
    use proximity_client::{Client, Error};
    use proximity_proto::fault::Executed;

    let agent = TestAgent::start();
    let foo = Client::new(&agent.endpoint).expect("an address").object("foo");
    for (fault, executed) in [
        (foo.call("add_two", (1,)), Executed::No),
        (foo.call("add_two", ("one", 2)), Executed::No),
        (foo.call("div_two", (1, 0)), Executed::Yes),
    ] {
        let error = fault.expect_err("none of them can be done");
        assert!(matches!(&error, Error::Remote(_)), "{error}");
        assert_eq!(error.executed(), executed, "{error}");
    }
}
