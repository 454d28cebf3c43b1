//! When a call is sent again after its connection was lost, and when never.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failing test panics")]
#![allow(clippy::indexing_slicing, unreachable_pub, reason = "a failing test panics")]
#![allow(dead_code, reason = "the support is shared")]

mod support;

use proximity_client::{CallError, Client, Error, Executed, Fault, Reason, Reply, Unknown};
use proximity_proto::call::Op;
use std::{
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};
use support::{Asked, Server, seq};

/// What a busy machine may add to a time.
const ROOM: Duration = Duration::from_secs(3);

const INTERFACE: &str = r#"{"name": "foo", "hash": 1, "methods": [
    {"name": "look", "effect": "read"}, {"name": "push", "effect": "write"}]}"#;

/// What came for the object, as (proc, seq, epoch).
type Calls = Vec<(String, u64, u64)>;
type Log = Arc<Mutex<Calls>>;

/// An agent that answers what `answer` answers, and logs the object's calls.
fn serve(
    log: &Log,
    features: &'static [&'static str],
    mut answer: impl FnMut(&mut Asked<'_>) + Send + 'static,
) -> impl FnMut(Asked<'_>) + Send + 'static {
    let log = Arc::clone(log);
    move |mut asked| {
        if !asked.is_for_the_test_of(features) {
            return;
        }
        if asked.call.op == Op::Describe {
            return asked.ok(INTERFACE);
        }
        let call = (asked.call.proc.to_owned(), seq(asked.call.id), asked.epoch());
        log.lock().unwrap().push(call);
        answer(&mut asked);
    }
}

/// Makes a call whose connection is lost before its answer, and lets another agent `next` take over.
/// Gives the outcome, and what came for the object.
fn lose(
    ask: impl FnOnce(&Client) -> Result<Reply, Error> + Send + 'static,
    features: &'static [&'static str],
    epoch: u64,
    next: impl FnMut(&mut Asked<'_>) + Send + 'static,
) -> (Result<Reply, Error>, Calls) {
    let log = Log::default();
    let (sender, received) = mpsc::channel();
    let server = Server::start(serve(&log, features, move |_| sender.send(()).unwrap()));
    let client = Client::new(&server.address()).unwrap();
    let caller = thread::spawn(move || ask(&client));
    received.recv_timeout(Duration::from_secs(5)).expect("the first copy");
    let _server = Server::start_on(server.end(), epoch, serve(&log, features, next));
    let outcome = caller.join().unwrap();
    let calls = log.lock().unwrap().clone();
    (outcome, calls)
}

fn push(client: &Client) -> Result<Reply, Error> {
    client.object("foo").call("push", ())
}

fn look(client: &Client) -> Result<Reply, Error> {
    client.object("foo").call("look", ())
}

#[test]
fn a_write_is_sent_again_under_its_id_to_the_run_that_keeps_its_replies() {
    let (outcome, calls) = lose(push, &["kept"], 1, |asked| asked.ok("the first answer"));
    assert_eq!(outcome.unwrap().get::<&str>().unwrap(), "the first answer");
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[0], calls[1], "the same call of the same run");
}

#[test]
fn a_write_is_never_sent_to_another_run() {
    let (outcome, calls) = lose(push, &["kept"], 2, |asked| asked.ok(&()));
    let error = outcome.unwrap_err();
    assert!(error.executed() == Executed::Unknown && !error.is_timeout());
    assert!(
        error.to_string().starts_with("foo.push() may have been executed or not: the agent at tcp")
            && error.to_string().ends_with(" was restarted before it answered"),
        "{error}"
    );
    assert!(error.hint().unwrap().starts_with("look at the device"));
    assert_eq!(calls.len(), 1);
}

#[test]
fn a_write_is_never_sent_again_to_an_agent_that_keeps_no_replies() {
    let (outcome, calls) = lose(push, &[], 1, |asked| asked.ok(&()));
    let error = outcome.unwrap_err();
    assert!(
        matches!(
            &error,
            Error::Call(CallError::OutcomeUnknown { why: Unknown::ConnectionLost { .. }, .. })
        ),
        "{error}"
    );
    assert_eq!(calls.len(), 1);
}

#[test]
fn setting_an_attribute_is_a_write() {
    let set = |client: &Client| client.object("foo").set("value", &1).and_then(|()| look(client));
    let (outcome, calls) = lose(set, &["kept"], 2, |asked| asked.ok(&()));
    assert_eq!(outcome.unwrap_err().executed(), Executed::Unknown);
    assert_eq!(calls.len(), 1);
}

#[test]
fn what_only_reads_is_sent_again_to_any_run() {
    for epoch in [1, 2] {
        let (outcome, calls) = lose(look, &[], epoch, |asked| asked.ok("seen"));
        assert_eq!(outcome.unwrap().get::<&str>().unwrap(), "seen");
        assert_eq!(calls.len(), 2);
        assert_eq!(calls[0].1, calls[1].1, "under the same id");
        assert_eq!((calls[0].2, calls[1].2), (1, epoch));
        let get = |client: &Client| client.object("foo").get("value");
        let (outcome, calls) = lose(get, &[], epoch, |asked| asked.ok("seen"));
        assert_eq!((outcome.unwrap().get::<&str>().unwrap(), calls.len()), ("seen", 2));
    }
}

#[test]
fn a_method_that_may_have_been_another_is_not_sent_again() {
    // The object's number is 1 in hello; the interface that is fetched has another by now.
    let log = Log::default();
    let (sender, received) = mpsc::channel();
    let server = Server::start(serve(&log, &[], move |_| sender.send(()).unwrap()));
    let client = Client::new(&server.address()).unwrap();
    let caller = thread::spawn(move || look(&client));
    received.recv_timeout(Duration::from_secs(5)).expect("the first copy");
    let changed = INTERFACE.replace(r#""hash": 1"#, r#""hash": 2"#);
    let _server = Server::start_on(server.end(), 2, move |mut asked| {
        if asked.is_for_the_test() {
            assert_eq!(asked.call.op, Op::Describe, "{:?}", asked.call);
            asked.ok(&changed);
        }
    });
    assert_eq!(caller.join().unwrap().unwrap_err().executed(), Executed::Unknown);
}

#[test]
fn without_another_connection_the_outcome_is_unknown_at_the_deadline() {
    let timeout = Duration::from_millis(400);
    for op in [push, look] {
        let log = Log::default();
        let (sender, received) = mpsc::channel();
        let server = Server::start(serve(&log, &["kept"], move |_| sender.send(()).unwrap()));
        let client = Client::new(&server.address()).unwrap().with_timeout(timeout);
        client.hello().unwrap();
        let caller = thread::spawn(move || {
            let begun = Instant::now();
            (op(&client).unwrap_err(), begun.elapsed())
        });
        received.recv_timeout(Duration::from_secs(5)).expect("the first copy");
        let port = server.end();
        let (error, took) = caller.join().unwrap();
        assert!(took >= timeout && took < timeout + ROOM, "{took:?}");
        assert!(error.is_timeout() && error.executed() == Executed::Unknown);
        let ends = format!(
            "the connection to tcp://127.0.0.1:{port} was lost, and there was no other within 400ms"
        );
        assert!(error.to_string().ends_with(&ends), "{error}");
    }
}

#[test]
fn a_refusal_of_the_second_copy_is_only_believed_where_it_holds_for_the_first() {
    let refuse = |reason: Reason| {
        let (outcome, calls) = lose(push, &["kept"], 1, move |asked| {
            asked.fault(&Fault::runtime_error("refused"), Executed::No, Some(reason));
        });
        assert_eq!(calls.len(), 2, "{reason:?}");
        outcome.unwrap_err()
    };
    for reason in [Reason::Expired, Reason::ExpiresTooFar, Reason::TooOld, Reason::TooManyClients] {
        let error = refuse(reason);
        assert_eq!(error.class(), "OutcomeUnknown", "{reason:?}");
        assert_eq!(error.to_string(), "foo.push() may have been executed or not: refused");
    }
    for reason in [Reason::Busy, Reason::Locked, Reason::Draining, Reason::Cancelled] {
        let error = refuse(reason);
        assert_eq!((error.class(), error.executed()), ("NotExecuted", Executed::No), "{reason:?}");
    }
}

#[test]
fn a_copy_that_is_stale_after_all_is_not_sent_a_third_time() {
    // The second agent says that it is the first, and refuses: as if it were replaced in between.
    let mut greeted = 0;
    let log = Log::default();
    let (sender, received) = mpsc::channel();
    let server = Server::start(serve(&log, &["kept"], move |_| sender.send(()).unwrap()));
    let client = Client::new(&server.address()).unwrap();
    let caller = thread::spawn(move || push(&client));
    received.recv_timeout(Duration::from_secs(5)).expect("the first copy");
    let late = Arc::clone(&log);
    let _server = Server::start_on(server.end(), 1, move |mut asked| {
        greeted += usize::from(asked.call.op == Op::Hello);
        if greeted > 1 {
            asked.pose_as(2);
        }
        if asked.is_for_the_test_of(&["kept"]) {
            if asked.call.op == Op::Describe {
                return asked.ok(INTERFACE);
            }
            let call = (asked.call.proc.to_owned(), seq(asked.call.id), asked.epoch());
            late.lock().unwrap().push(call);
            let fault = Fault::runtime_error("another run");
            asked.fault(&fault, Executed::No, Some(Reason::StaleEpoch));
        }
    });
    let error = caller.join().unwrap().unwrap_err();
    assert!(error.to_string().ends_with("was restarted before it answered"), "{error}");
    assert_eq!(log.lock().unwrap().len(), 2);
}

#[test]
fn an_agent_at_odds_with_itself_is_given_up() {
    let log = Log::default();
    let server = Server::start(serve(&log, &[], |asked| {
        let fault = Fault::runtime_error("another run");
        asked.fault(&fault, Executed::No, Some(Reason::StaleEpoch));
    }));
    let error = push(&Client::new(&server.address()).unwrap()).unwrap_err();
    assert_eq!((error.class(), error.is_timeout()), ("NotExecuted", false));
    assert_eq!(log.lock().unwrap().len(), 6);
}

#[test]
fn a_call_that_is_wrong_on_the_agents_clock_only_is_made_once_more() {
    for reason in [Reason::Expired, Reason::ExpiresTooFar] {
        let log = Log::default();
        let mut refused = 0;
        let server = Server::start(serve(&log, &[], move |asked| {
            refused += 1;
            if refused == 1 {
                asked.fault(&Fault::value_error("not now"), Executed::No, Some(reason));
            } else {
                asked.ok("in time");
            }
        }));
        let client = Client::new(&server.address()).unwrap();
        assert_eq!(push(&client).unwrap().get::<&str>().unwrap(), "in time");
        let calls = log.lock().unwrap().clone();
        assert_eq!(calls.len(), 2, "{reason:?}");
        assert_eq!(calls[0], calls[1]);
    }
}

#[test]
fn a_call_that_expires_again_has_expired() {
    let log = Log::default();
    let server = Server::start(serve(&log, &[], |asked| {
        let fault = Fault::new("TimeoutError", "too late");
        asked.fault(&fault, Executed::No, Some(Reason::Expired));
    }));
    let error = push(&Client::new(&server.address()).unwrap()).unwrap_err();
    assert!(error.is_timeout() && error.class() == "NotExecuted", "{error}");
    assert_eq!(log.lock().unwrap().len(), 2);
}
