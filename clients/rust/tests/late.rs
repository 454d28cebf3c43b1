//! Agents that come late: what was given up is not delivered, and what waits is.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failing test panics")]
#![allow(clippy::indexing_slicing, unreachable_pub, reason = "a failing test panics")]
#![allow(dead_code, reason = "the support is shared")]

mod support;

use proximity_client::{Client, Executed};
use proximity_proto::call::Op;
use std::{
    io::{Read, Write, copy},
    net::{TcpListener, TcpStream},
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

/// A ZMTP 3 greeting without security, and then no READY: libzmq hangs up, and does not connect again.
fn nonsense() -> Vec<u8> {
    let mut bytes = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 3, 0];
    bytes.extend(b"NULL");
    bytes.resize(64, 0);
    bytes.extend(b"\x04\x05HELLO");
    bytes
}

#[test]
fn a_client_that_understood_nothing_of_what_answered_tries_again() {
    let (server, log) = agent(0);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let link = thread::spawn(move || {
        // Two in a row, so that what is tried anew is not understood either.
        for _ in 0..2 {
            let (mut client, _) = listener.accept().unwrap();
            client.write_all(&nonsense()).unwrap();
            let _ = client.read_to_end(&mut Vec::new());
        }
        let (client, _) = listener.accept().unwrap();
        let agent = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        let (mut from, mut to) = (client.try_clone().unwrap(), agent.try_clone().unwrap());
        let there = thread::spawn(move || {
            let _ = copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Both);
        });
        let _ = copy(&mut &agent, &mut &client);
        there.join().unwrap();
    });
    let client = Client::new(&address.to_string()).unwrap().with_timeout(PATIENCE);
    client.object("foo").call("look", ()).unwrap();
    assert_eq!(*log.lock().unwrap(), ["look"]);
    drop(client);
    link.join().unwrap();
}

#[test]
fn a_port_that_takes_connections_and_closes_them_is_not_stormed() {
    let (server, _) = agent(0);
    let client = Client::new(&server.address()).unwrap();
    let foo = client.object("foo");
    // It is in a hurry, for it had a connection until now.
    foo.call("look", ()).unwrap();
    let address = server.address();
    let (port, begun) = (server.end(), Instant::now());
    let listener = loop {
        // It is free a moment after its server has ended.
        match TcpListener::bind(("127.0.0.1", port)) {
            Ok(listener) => break listener,
            Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
        }
    };
    let taken = thread::spawn(move || {
        let mut taken = 0;
        // As a tunnel does whose far end is away.
        while !is_done(listener.accept().unwrap().0) {
            taken += 1;
        }
        taken
    });
    let time = Duration::from_secs(2);
    let error = foo.with_client(client.with_timeout(time)).call("look", ()).unwrap_err();
    // It may have been on its way before the client saw the connection end.
    let told = (error.class(), error.executed());
    assert!(
        [("NotSent", Executed::No), ("OutcomeUnknown", Executed::Unknown)].contains(&told),
        "{told:?}"
    );
    let end = &address["tcp://".len()..];
    TcpStream::connect(end).unwrap().write_all(b".").unwrap();
    let taken = taken.join().unwrap();
    assert!((2..=40).contains(&taken), "{taken} in {time:?}");
}

/// Whether somebody says so before anything else; a client says a greeting.
fn is_done(mut connection: TcpStream) -> bool {
    let mut byte = [0];
    connection.read_exact(&mut byte).is_ok() && byte == *b"."
}
