//! Agents that come late: what was given up is not delivered, and what waits is.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failing test panics")]
#![allow(clippy::indexing_slicing, unreachable_pub, reason = "a failing test panics")]
#![allow(dead_code, reason = "the support is shared")]

mod support;

use proximity_client::{Client, Executed};
use proximity_proto::call::Op;
use std::{
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};
use support::{Server, free_port};

const GIVEN_UP: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(20);

/// An agent on `port` that logs what comes for its object.
fn agent(port: u16) -> (Server, Arc<Mutex<Vec<String>>>) {
    let log = Arc::<Mutex<Vec<String>>>::default();
    let calls = Arc::clone(&log);
    let server = Server::start_on(port, 1, move |mut asked| {
        if asked.is_for_the_test() {
            calls.lock().unwrap().push(asked.call.proc.to_owned());
            asked.ok(&());
        }
    });
    (server, log)
}

#[test]
fn what_was_given_up_is_never_delivered() {
    let port = free_port();
    let client = Client::new(&format!("127.0.0.1:{port}")).unwrap().with_timeout(GIVEN_UP);
    let foo = client.object("foo");
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let foo = foo.clone();
            thread::spawn(move || {
                for error in [foo.call("push", ()).unwrap_err(), foo.set("push", &1).unwrap_err()] {
                    assert_eq!((error.class(), error.executed()), ("NotSent", Executed::No));
                }
            })
        })
        .collect();
    for caller in callers {
        caller.join().unwrap();
    }
    let (_server, log) = agent(port);
    foo.with_client(client.with_timeout(PATIENCE)).call("look", ()).unwrap();
    assert_eq!(*log.lock().unwrap(), ["look"]);
}

#[test]
fn what_an_agent_that_said_nothing_was_not_sent_is_never_delivered() {
    // It takes the connection and the hello, and is as if stopped.
    let stopped = Server::start(|asked| assert_eq!(asked.call.op, Op::Hello));
    let client = Client::new(&stopped.address()).unwrap().with_timeout(GIVEN_UP);
    let foo = client.object("foo");
    for _ in 0..5 {
        assert_eq!(foo.call("push", ()).unwrap_err().class(), "NotSent");
    }
    let (_server, log) = agent(stopped.end());
    foo.with_client(client.with_timeout(PATIENCE)).call("look", ()).unwrap();
    assert_eq!(*log.lock().unwrap(), ["look"]);
}

#[test]
fn a_call_that_waits_for_the_agent_is_made_when_it_comes() {
    for pause in [10, 60, 600, 1_500].map(Duration::from_millis) {
        let port = free_port();
        let client = Client::new(&format!("127.0.0.1:{port}")).unwrap().with_timeout(PATIENCE);
        let caller = thread::spawn(move || client.object("foo").call("look", ()).map(drop));
        // What is tested is the time from here to there.
        thread::sleep(pause);
        let begun = Instant::now();
        let (_server, log) = agent(port);
        caller.join().unwrap().unwrap();
        // At most the last pause between two attempts, and what a busy machine adds.
        assert!(begun.elapsed() < Duration::from_secs(3), "{pause:?}: {:?}", begun.elapsed());
        assert_eq!(*log.lock().unwrap(), ["look"]);
    }
}
