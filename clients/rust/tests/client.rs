//! The client against a server that does as each test says.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failing test panics")]
#![allow(clippy::indexing_slicing, unreachable_pub, reason = "a failing test panics")]
#![allow(dead_code, reason = "the support is shared")]

mod support;

use proximity_client::{
    CallError, CallId, CallOptions, Client, Error, Executed, Fault, HowCancelled, NotSent, Reason,
    Unknown,
};
use proximity_proto::call::Op;
use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};
use support::{Asked, Server, free_port, seq};

const SHORT: Duration = Duration::from_millis(300);
/// What a busy machine may add to a time.
const ROOM: Duration = Duration::from_secs(2);

/// foo.double(n), foo.value, and what a test adds.
fn double(mut asked: Asked<'_>) {
    if !asked.is_for_the_test() {
        return;
    }
    match (asked.call.op, asked.call.proc) {
        (Op::Call, "double") => {
            let number = asked.number(0);
            asked.ok(&(2 * number));
        }
        (Op::Get, "value") => asked.ok("the value"),
        (Op::Set, "value") => asked.ok(&()),
        (Op::Describe, _) => asked.ok(r#"{"name": "foo", "methods": [{"name": "double"}]}"#),
        other => panic!("{other:?}"),
    }
}

#[test]
fn values_come_back_as_the_types_asked_for() {
    let server = Server::start(double);
    let client = Client::new(&server.address()).unwrap();
    let foo = client.object("foo");
    assert_eq!(foo.call("double", (21,)).unwrap().get::<u8>().unwrap(), 42);
    let reply = foo.call("double", (200,)).unwrap();
    assert_eq!(
        reply.get::<u8>().unwrap_err().to_string(),
        "the result is 400; it must be 0 to 255"
    );
    assert_eq!(reply.get::<&str>().unwrap_err().to_string(), "the result must be a str, not int");
    assert_eq!(foo.get("value").unwrap().get::<&str>().unwrap(), "the value");
    foo.set("value", "else").unwrap();
    assert_eq!(client.list().unwrap(), ["foo"]);
    assert_eq!(client.hello().unwrap().limits.max_frame, 100_000);
    assert!(foo.describe().unwrap().method("double").is_some());
}

#[test]
fn every_call_says_whose_it_is_and_until_when_it_is_wanted() {
    let (sender, receiver) = mpsc::channel();
    let server = Server::start(move |mut asked| {
        if asked.is_for_the_test() {
            let left = asked.call.expires.unwrap().checked_sub(asked.now());
            sender.send((seq(asked.call.id), asked.call.epoch, left)).unwrap();
            asked.ok(&());
        }
    });
    let foo = Client::new(&server.address()).unwrap().object("foo");
    let timeout = Some(Duration::from_secs(5));
    for _ in 0..3 {
        foo.call_with("f", (), CallOptions { timeout, ..CallOptions::default() }).unwrap();
    }
    let calls: Vec<_> = receiver.try_iter().collect();
    assert_eq!(calls.len(), 3);
    for (n, (seq, epoch, left)) in calls.into_iter().enumerate() {
        assert_eq!((seq, epoch), (n as u64 + 1 - u64::from(n == 0), Some(1)), "hello is between");
        let left = left.expect("time left");
        assert!(left <= Duration::from_secs(5), "never more than the caller waits: {left:?}");
        assert!(left >= Duration::from_secs(4), "{left:?}");
    }
}

#[test]
fn a_call_that_may_take_for_ever_is_wanted_for_less_than_a_day() {
    let (sender, receiver) = mpsc::channel();
    let server = Server::start(move |mut asked| {
        if asked.is_for_the_test() {
            sender.send(asked.call.expires.unwrap().checked_sub(asked.now())).unwrap();
            asked.ok(&());
        }
    });
    let client = Client::new(&server.address()).unwrap().with_timeout(Duration::MAX);
    client.hello().unwrap();
    let foo = client.object("foo");
    for timeout in [Some(Duration::from_hours(25)), Some(Duration::MAX), None] {
        foo.call_with("f", (), CallOptions { timeout, ..CallOptions::default() }).unwrap();
        let left = receiver.recv().unwrap().expect("time left");
        let hours = Duration::from_hours(22)..Duration::from_hours(24);
        assert!(hours.contains(&left), "{timeout:?}: {left:?}");
    }
}

#[test]
fn the_client_may_be_there_before_the_agent() {
    let port = free_port();
    let client = Client::new(&format!("127.0.0.1:{port}")).unwrap();
    let caller = thread::spawn(move || client.object("foo").call("double", (1,)));
    // However far the caller has come: its call waits.
    let _server = Server::start_on(port, 1, double);
    assert_eq!(caller.join().unwrap().unwrap().get::<u8>().unwrap(), 2);
}

#[test]
fn without_an_agent_a_call_is_not_sent_and_says_so_in_time() {
    let client = Client::new(&format!("127.0.0.1:{}", free_port())).unwrap().with_timeout(SHORT);
    let begun = Instant::now();
    let error = client.object("foo").call("f", ()).unwrap_err();
    let took = begun.elapsed();
    assert!(took >= SHORT && took < SHORT + ROOM, "{took:?}");
    assert!(error.is_timeout() && error.executed() == Executed::No);
    assert_eq!(
        error.to_string(),
        format!("foo.f() was not sent: no connection to {} within 300ms", client.address())
    );
    assert_eq!(error.class(), "NotSent");
    assert_eq!(error.hint(), Some("is an agent running there, and is the address right?"));
}

#[test]
fn the_same_client_goes_on_with_a_restarted_agent() {
    let server = Server::start(double);
    let client = Client::new(&server.address()).unwrap();
    let foo = client.object("foo");
    assert_eq!(foo.call("double", (1,)).unwrap().get::<u8>().unwrap(), 2);
    let mut port = server.end();
    for epoch in 2..6 {
        let server = Server::start_on(port, epoch, double);
        // Proves that the loss is noticed: a call that left before could have any outcome.
        client.hello().unwrap();
        assert_eq!(foo.call("double", (epoch,)).unwrap().get::<u64>().unwrap(), 2 * epoch);
        port = server.end();
    }
}

#[test]
fn a_stale_epoch_is_asked_for_anew_and_the_call_made_once_more() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let server = Server::start(move |mut asked| {
        if !asked.is_for_the_test() {
            return;
        }
        // The first call is refused as if the agent had been restarted behind a switch.
        if counted.fetch_add(1, Ordering::Relaxed) == 0 {
            let fault = Fault::runtime_error("another run");
            asked.fault(&fault, Executed::No, Some(Reason::StaleEpoch));
        } else {
            asked.ok(&seq(asked.call.id));
        }
    });
    let client = Client::new(&server.address()).unwrap();
    let id = client.new_id();
    let options = CallOptions { id: Some(id), ..CallOptions::default() };
    let reply = client.object("foo").call_with("f", (), options).unwrap();
    assert_eq!(reply.get::<u64>().unwrap(), id.seq, "under the same id");
    assert_eq!(calls.load(Ordering::Relaxed), 2);
}

#[test]
fn an_answer_that_comes_late_is_nobodys() {
    let server = Server::start(|mut asked| {
        if !asked.is_for_the_test() {
            return;
        }
        if asked.call.proc == "slow" {
            asked.ok_later("late");
        } else {
            asked.release();
            asked.ok("in time");
        }
    });
    let client = Client::new(&server.address()).unwrap();
    let foo = client.object("foo");
    client.hello().unwrap();
    let begun = Instant::now();
    let options = CallOptions { timeout: Some(SHORT), ..CallOptions::default() };
    let error = foo.call_with("slow", (), options).unwrap_err();
    assert!(begun.elapsed() < SHORT + ROOM);
    assert!(error.is_timeout());
    assert_eq!(
        error.to_string(),
        format!(
            "foo.slow() may have been executed or not: no answer from {} within 300ms",
            client.address()
        )
    );
    for _ in 0..3 {
        assert_eq!(foo.call("quick", ()).unwrap().get::<&str>().unwrap(), "in time");
    }
}

#[test]
fn errors_arrive_whole() {
    let server = Server::start(|mut asked| {
        if !asked.is_for_the_test() {
            return;
        }
        let own = Fault::key_error("no register 'x'").detail("?read fail").hint("listdev() tells");
        let agents = Fault::runtime_error("object 'foo' is busy: its queue of 32 calls is full");
        match asked.call.proc {
            "own" => asked.fault(&own, Executed::Yes, None),
            "arguments" => asked.fault(&own, Executed::No, None),
            "busy" => asked.fault(&agents, Executed::No, Some(Reason::Busy)),
            "expired" => asked.fault(&agents, Executed::No, Some(Reason::Expired)),
            _ => asked.fault(&agents, Executed::Unknown, Some(Reason::Failed)),
        }
    });
    let foo = Client::new(&server.address()).unwrap().object("foo");
    let error = |method| foo.call(method, ()).unwrap_err();

    let own = error("own");
    assert!(matches!(&own, Error::Remote(remote) if remote.executed == Executed::Yes));
    assert_eq!(own.to_string(), "KeyError: no register 'x'");
    assert_eq!((own.class(), own.message().as_str()), ("KeyError", "no register 'x'"));
    assert_eq!(
        (own.detail(), own.hint()),
        (&["?read fail".to_owned()][..], Some("listdev() tells"))
    );
    assert_eq!(error("arguments").executed(), Executed::No);

    let busy = error("busy");
    let Error::Call(CallError::NotExecuted { reason, .. }) = &busy else { panic!("{busy:?}") };
    assert_eq!(*reason, Some(Reason::Busy));
    assert_eq!(
        busy.to_string(),
        "foo.busy() was not executed: object 'foo' is busy: its queue of 32 calls is full"
    );
    assert!(!busy.is_timeout() && error("expired").is_timeout());

    let failed = error("failed");
    assert!(matches!(
        &failed,
        Error::Call(CallError::OutcomeUnknown { why: Unknown::Agent(_), .. })
    ));
    assert_eq!(
        failed.to_string(),
        "foo.failed() may have been executed or not: \
         object 'foo' is busy: its queue of 32 calls is full"
    );
}

#[test]
fn progress_is_told_as_it_comes() {
    let server = Server::start(|mut asked| {
        if asked.is_for_the_test() {
            if asked.call.progress {
                asked.progress(1, 2, "half");
                asked.progress(2, 2, "whole");
            }
            asked.ok(&asked.call.progress.then_some(2));
        }
    });
    let foo = Client::new(&server.address()).unwrap().object("foo");
    let mut told = Vec::new();
    let mut progress =
        |p: proximity_client::Progress<'_>| told.push(format!("{}/{} {}", p.done, p.total, p.text));
    let options = CallOptions { progress: Some(&mut progress), ..CallOptions::default() };
    foo.call_with("upload", (), options).unwrap();
    assert_eq!(told, ["1/2 half", "2/2 whole"]);
    assert_eq!(foo.call("upload", ()).unwrap().get::<Option<u8>>().unwrap(), None, "not asked for");
}

#[test]
fn threads_share_a_client_and_each_gets_its_own() {
    const THREADS: u64 = 8;
    const CALLS: u64 = 200;
    let server = Server::start(|mut asked| {
        if !asked.is_for_the_test() {
            return;
        }
        // Answers come in bundles, each the wrong way round.
        let number = asked.number(0);
        asked.ok_later(&(2 * number));
        if number == 0 || asked.held() >= 3 {
            asked.release();
        }
    });
    let foo = Client::new(&server.address()).unwrap().object("foo");
    let callers: Vec<_> = (0..THREADS)
        .map(|thread| {
            let foo = foo.clone();
            thread::spawn(move || {
                for number in (1..=CALLS).map(|n| thread * CALLS + n) {
                    let got = foo.call("double", (number,)).unwrap().get::<u64>().unwrap();
                    assert_eq!(got, 2 * number);
                }
            })
        })
        .collect();
    // Too few callers are left for a bundle in the end: these calls let them go.
    while !callers.iter().all(thread::JoinHandle::is_finished) {
        foo.call("double", (0,)).unwrap();
    }
    for caller in callers {
        caller.join().unwrap();
    }
}

#[test]
fn a_call_that_waits_does_not_hold_up_another_threads() {
    let server = Server::start(|mut asked| {
        if !asked.is_for_the_test() {
            return;
        }
        match asked.call.proc {
            "slow" => asked.ok_later(&1),
            "end" => {
                asked.release();
                asked.ok(&());
            }
            _ => asked.ok(&2),
        }
    });
    let foo = Client::new(&server.address()).unwrap().object("foo");
    let slow = foo.clone();
    let slow = thread::spawn(move || slow.call("slow", ()).unwrap().get::<u8>().unwrap());
    for _ in 0..100 {
        assert_eq!(foo.call("quick", ()).unwrap().get::<u8>().unwrap(), 2);
    }
    while !slow.is_finished() {
        foo.call("end", ()).unwrap();
    }
    assert_eq!(slow.join().unwrap(), 1);
}

#[test]
fn a_call_can_be_taken_back_by_another_thread() {
    let (sender, queued) = mpsc::channel();
    let server = Server::start(move |mut asked| {
        if !asked.is_for_the_test() {
            return;
        }
        if asked.call.op == Op::Cancel {
            let id = asked.call.args.positional.get(0).and_then(CallId::from_value);
            asked.ok(if seq(id) == 7 { "unknown" } else { "queued" });
            asked.release();
        } else {
            // What the agent says of it once it is taken back.
            let fault = Fault::runtime_error("foo.slow() was cancelled");
            asked.fault_later(&fault, Executed::No, Some(Reason::Cancelled));
            sender.send(()).unwrap();
        }
    });
    let client = Client::new(&server.address()).unwrap();
    let id = client.new_id();
    let foo = client.object("foo");
    let caller = thread::spawn(move || {
        let options = CallOptions { id: Some(id), ..CallOptions::default() };
        foo.call_with("slow", (), options).unwrap_err()
    });
    queued.recv().unwrap();
    assert_eq!(client.cancel(id).unwrap(), HowCancelled::Queued);
    let error = caller.join().unwrap();
    assert!(matches!(
        error,
        Error::Call(CallError::NotExecuted { reason: Some(Reason::Cancelled), .. })
    ));
    let other = CallId { seq: 7, ..id };
    assert_eq!(client.cancel(other).unwrap(), HowCancelled::Unknown);
}

#[test]
fn another_thread_can_end_the_wait() {
    let (sender, running) = mpsc::channel();
    let server = Server::start(move |mut asked| {
        if asked.is_for_the_test() {
            sender.send(()).unwrap();
        }
    });
    let (client, stop) = Client::new(&server.address()).unwrap().with_stop();
    let foo = client.object("foo");
    let caller = thread::spawn(move || foo.call("slow", ()).unwrap_err());
    running.recv().unwrap();
    stop.stop();
    let error = caller.join().unwrap();
    assert!(matches!(
        error,
        Error::Call(CallError::OutcomeUnknown { why: Unknown::Interrupted, .. })
    ));
    // And one that has not left is provably not sent.
    let (away, stop) = Client::new(&format!("127.0.0.1:{}", free_port())).unwrap().with_stop();
    stop.stop();
    let error = away.object("foo").call("f", ()).unwrap_err();
    assert!(matches!(error, Error::Call(CallError::NotSent { why: NotSent::Interrupted, .. })));
}

#[test]
fn what_the_agent_would_not_take_is_not_sent() {
    let server = Server::start(double);
    let foo = Client::new(&server.address()).unwrap().object("foo");
    let error = foo.call("write", (&vec![0u8; 100_000][..],)).unwrap_err();
    let Error::Call(CallError::NotSent { why: NotSent::TooLarge { len, max: 100_000 }, .. }) =
        error
    else {
        panic!("{error:?}");
    };
    assert!(len > 100_000);
    assert_eq!(
        error.to_string(),
        format!(
            "foo.write() was not sent: the request has {len} bytes; the agent takes at most 100000"
        )
    );
}

#[test]
fn a_server_of_version_1_is_recognised() {
    let server = Server::start(|mut asked| asked.raw(b"\x81\xa9EXCEPTION\x90".to_vec()));
    let client = Client::new(&server.address()).unwrap();
    let error = client.object("foo").call("f", ()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "foo.f() was not sent: {} is a server of version 1; this client needs version 2",
            client.address()
        )
    );
}

#[test]
fn what_is_no_agent_is_recognised() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream = stream;
            let _ = stream.read(&mut [0; 64]);
            let _ = stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n");
        }
    });
    let client = Client::new(&address).unwrap().with_timeout(SHORT);
    let error = client.object("foo").call("f", ()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("foo.f() was not sent: tcp://{address} takes connections and closes them")
    );
}

#[test]
fn asking_what_an_object_is_survives_a_restart() {
    let (sender, asked) = mpsc::channel();
    let server = Server::start(move |mut asked| {
        if asked.is_for_the_test() {
            sender.send(()).unwrap();
        }
    });
    let foo = Client::new(&server.address()).unwrap().object("foo");
    let caller = thread::spawn(move || foo.describe().unwrap());
    asked.recv().unwrap();
    let _server = Server::start_on(server.end(), 2, double);
    assert_eq!(caller.join().unwrap().name, "foo");
}

#[test]
fn an_answer_that_cannot_be_read_is_no_answer() {
    let server = Server::start(|mut asked| {
        if asked.is_for_the_test() {
            let mut bytes = b"\x84\xa1v\x02\xa2id".to_vec();
            proximity_proto::reply::call_id(&mut bytes, &asked.call.id.unwrap());
            bytes.extend_from_slice(b"\xa5epoch\x01\xa2ok\xc1");
            asked.raw(bytes);
        }
    });
    let client = Client::new(&server.address()).unwrap();
    client.hello().unwrap();
    let options = CallOptions { timeout: Some(SHORT), ..CallOptions::default() };
    let error = client.object("foo").call_with("f", (), options).unwrap_err();
    assert!(matches!(
        error,
        Error::Call(CallError::OutcomeUnknown { why: Unknown::NoAnswer { .. }, .. })
    ));
}

/// What the first connection brings is never answered, as if its cable were cut.
fn deaf_to_the_first() -> Server {
    let mut first = None;
    Server::start(move |asked| {
        let first = first.get_or_insert_with(|| asked.peer().to_vec());
        if asked.peer() != first {
            double(asked);
        }
    })
}

#[test]
fn a_dead_connection_that_nobody_closed_is_made_anew() {
    let server = deaf_to_the_first();
    let client = Client::new(&server.address()).unwrap();
    assert_eq!(client.object("foo").call("double", (1,)).unwrap().get::<u8>().unwrap(), 2);
}

#[test]
fn short_calls_find_a_dead_connection_together() {
    let server = deaf_to_the_first();
    let client = Client::new(&server.address()).unwrap().with_timeout(Duration::from_secs(1));
    let foo = client.object("foo");
    let outcomes: Vec<_> = (0..5).map(|_| foo.call("double", (1,))).collect();
    assert_eq!(outcomes[0].as_ref().unwrap_err().class(), "NotSent");
    // Three of a second each are as long as one waits for a hello.
    assert_eq!(outcomes[4].as_ref().unwrap().get::<u8>().unwrap(), 2);
}
