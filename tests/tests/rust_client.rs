//! The Rust client against a real agent: restarts, deadlines, what is known when things go wrong.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a failing test panics"
)]

use proximity_client::{
    CallError, CallOptions, Client, Error, Executed, HowCancelled, Reason, Value,
};
use proximity_tests::{
    PATIENCE,
    process::{Agent, TestAgent},
};
use std::{
    thread,
    time::{Duration, Instant},
};

const OBJECTS: &str =
    "[objects.foo]\ndriver = \"calculator\"\n[objects.counter]\ndriver = \"counter\"\n";

#[test]
fn the_same_client_survives_twenty_restarts() {
    let mut agent = Agent::start(OBJECTS);
    let client = Client::new(&agent.endpoint).unwrap();
    let counter = client.object("counter");
    let mut epochs = std::collections::HashSet::new();
    for round in 0..20 {
        assert!(epochs.insert(client.hello().unwrap().epoch), "a new epoch each time");
        let begun = Instant::now();
        assert_eq!(counter.call("add", (1,)).unwrap().get::<i64>().unwrap(), 1, "round {round}");
        assert!(begun.elapsed() < PATIENCE);
        agent.restart(OBJECTS);
    }
}

/// Waits until a call holds the sleeper: one behind it is then refused as expired.
fn until_held(agent: &TestAgent) {
    let client = Client::new(&agent.endpoint).unwrap().with_timeout(Duration::from_millis(100));
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        match client.object("sleeper").call("sleep", (0.0,)) {
            Err(Error::Call(CallError::NotExecuted { reason: Some(Reason::Expired), .. })) => {
                return;
            }
            // Not held yet, or this machine is too busy for the short timeout.
            Ok(_) | Err(Error::Call(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    panic!("nothing holds the sleeper");
}

#[test]
fn a_killed_agent_leaves_the_outcome_unknown_and_nothing_is_repeated() {
    let mut agent = TestAgent::start();
    let client = Client::new(&agent.endpoint).unwrap().with_timeout(PATIENCE);
    let sleeper = client.object("sleeper");
    client.hello().unwrap();
    let caller = thread::spawn(move || sleeper.call("wait", ()).unwrap_err());
    until_held(&agent);
    agent.restart();
    let begun = Instant::now();
    let error = caller.join().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "told when it is back, not at the deadline");
    assert_eq!((error.class(), error.executed()), ("OutcomeUnknown", Executed::Unknown));
    assert!(error.to_string().ends_with("was restarted before it answered"), "{error}");
    // Nothing was repeated: it would hold the sleeper.
    let sleeper = client.object("sleeper");
    sleeper.call("sleep", (0.0,)).unwrap();
}

#[test]
fn a_call_that_waits_in_the_queue_can_be_taken_back() {
    let agent = TestAgent::start();
    let client = Client::new(&agent.endpoint).unwrap().with_timeout(PATIENCE);
    let sleeper = client.object("sleeper");
    let (held, waiting) = (client.new_id(), client.new_id());
    let start = |id, method: &'static str| {
        let sleeper = sleeper.clone();
        thread::spawn(move || {
            let options = CallOptions { id: Some(id), ..CallOptions::default() };
            match method {
                "wait" => sleeper.call_with("wait", (), options),
                _ => sleeper.call_with("sleep", (0.0,), options),
            }
        })
    };
    let cancel = |id| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match client.cancel(id).unwrap() {
                // It has not arrived yet.
                HowCancelled::Unknown => assert!(Instant::now() < deadline),
                how => return how,
            }
        }
    };
    let holder = start(held, "wait");
    until_held(&agent);
    let waiter = start(waiting, "sleep");
    assert_eq!(cancel(waiting), HowCancelled::Queued);
    let error = waiter.join().unwrap().unwrap_err();
    assert!(matches!(
        error,
        Error::Call(CallError::NotExecuted { reason: Some(Reason::Cancelled), .. })
    ));
    assert_eq!(error.executed(), Executed::No);
    assert_eq!(cancel(held), HowCancelled::Running);
    assert!(holder.join().unwrap().unwrap().get::<bool>().unwrap(), "it was told");
    assert_eq!(client.cancel(waiting).unwrap(), HowCancelled::Unknown);
}

#[test]
fn what_an_object_is_is_told_while_it_is_busy() {
    let agent = TestAgent::start();
    let client = Client::new(&agent.endpoint).unwrap().with_timeout(PATIENCE);
    let sleeper = client.object("sleeper");
    let id = client.new_id();
    let busy = sleeper.clone();
    let caller = thread::spawn(move || {
        busy.call_with("wait", (), CallOptions { id: Some(id), ..CallOptions::default() })
    });
    let begun = Instant::now();
    assert!(sleeper.describe().unwrap().method("wait").is_some());
    assert!(client.list().unwrap().contains(&"animals.angry".to_owned()));
    assert!(begun.elapsed() < Duration::from_secs(5));
    while client.cancel(id).unwrap() == HowCancelled::Unknown && !caller.is_finished() {}
    let _ = caller.join().unwrap();
}

#[test]
fn bulk_results_are_read_where_they_lie() {
    let agent = TestAgent::start();
    let blob = Client::new(&agent.endpoint).unwrap().with_timeout(PATIENCE).object("blob");
    let reply = blob.call("read", (4 << 20,)).unwrap();
    let bytes: &[u8] = reply.get().unwrap();
    assert_eq!(bytes.len(), 4 << 20);
    assert!(bytes.iter().enumerate().all(|(place, byte)| place.to_le_bytes()[0] == *byte));
    assert!(matches!(reply.value(), Value::Bytes(_)));
    assert!(reply.get::<i64>().is_err());
}

#[test]
fn a_panic_is_an_error_and_the_object_is_there_again() {
    let agent = TestAgent::start();
    let panicker = Client::new(&agent.endpoint).unwrap().with_timeout(PATIENCE).object("panicker");
    let error = panicker.call("boom", ()).unwrap_err();
    assert_ne!(error.executed(), Executed::No, "{error}");
    assert!(panicker.call("number", ()).unwrap().get::<u32>().unwrap() >= 2);
}
