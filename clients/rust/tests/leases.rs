//! Leases from the client's side, against an agent that a test plays.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failing test panics")]
#![allow(clippy::indexing_slicing, unreachable_pub, reason = "a failing test panics")]
#![allow(dead_code, reason = "the support is shared")]

mod support;

use proximity_client::{Client, Error, Executed, Fault, LeaseInfo, Reason};
use proximity_proto::{
    call::Op,
    lease::{Held, Stolen},
};
use std::{
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};
use support::{Asked, Server};

/// The least that an agent allows; a third of it is how often a lease is renewed.
const TTL: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_mins(1);
const PATIENCE: Duration = Duration::from_secs(20);

/// One object's lease, as an agent keeps it.
#[derive(Default)]
struct Kept {
    token: Option<Vec<u8>>,
    holder: String,
}

impl Kept {
    fn serve(&mut self, asked: &mut Asked<'_>) {
        let token = asked.call.lease.map(<[u8]>::to_vec);
        let is_own = token.is_some() && token == self.token;
        let held = Held { expires: Duration::from_secs(70), ttl: TTL };
        match asked.call.op {
            Op::Leases => {
                let all = self.token.iter().map(|_| LeaseInfo {
                    object: "foo".into(),
                    holder: self.holder.clone(),
                    address: String::new(),
                    expires_in: TTL,
                });
                asked.ok(&all.collect::<Vec<_>>());
            }
            Op::Steal => {
                let from = self.token.is_some().then(|| self.holder.clone());
                (self.token, self.holder) = (token, holder(asked));
                asked.ok(&Stolen { held, from });
            }
            Op::Lock if self.token.is_none() || is_own => {
                (self.token, self.holder) = (token, holder(asked));
                asked.ok(&held);
            }
            Op::Lock => self.locked(asked),
            Op::Call if asked.call.proc == "read" => asked.ok("read"),
            Op::Release if is_own => {
                self.token = None;
                asked.ok(&());
            }
            Op::Renew if is_own => asked.ok(&held),
            _ if is_own || (self.token.is_none() && token.is_none()) => asked.ok("written"),
            _ if token.is_none() => self.locked(asked),
            _ => {
                let fault = Fault::runtime_error("the lease of object 'foo' has ended");
                asked.fault(&fault, Executed::No, Some(Reason::LeaseLost));
            }
        }
    }

    fn locked(&self, asked: &mut Asked<'_>) {
        let message = format!("object 'foo' is locked by {} for another 1.0 s", self.holder);
        let fault = Fault::runtime_error(message).locked(self.holder.clone(), TTL);
        asked.fault(&fault, Executed::No, Some(Reason::Locked));
    }
}

fn holder(asked: &Asked<'_>) -> String {
    let holder = asked.call.args.named.get("holder").and_then(|holder| holder.as_text());
    holder.expect("a holder").into()
}

/// An agent with one lease; what is asked for is also told to the test.
fn agent() -> (Server, Arc<Mutex<Kept>>, mpsc::Receiver<Op>) {
    let kept = Arc::<Mutex<Kept>>::default();
    let (sender, asked_for) = mpsc::channel();
    let shared = Arc::clone(&kept);
    let server = Server::start(move |mut asked| {
        if asked.is_for_the_test_of(&["leases", "kept"]) {
            let op = asked.call.op;
            shared.lock().unwrap().serve(&mut asked);
            let _ = sender.send(op);
        }
    });
    (server, kept, asked_for)
}

fn wait_for(op: Op, asked_for: &mpsc::Receiver<Op>) {
    while asked_for.recv_timeout(PATIENCE).expect("to be asked for") != op {}
}

#[test]
fn the_holder_writes_and_nobody_else() {
    let (server, _, _) = agent();
    let client = Client::new(&server.address()).unwrap().with_holder("ana@laptop");
    let foo = client.object("foo");
    let held = foo.lock(LONG).unwrap();
    assert_eq!(held.call("write", ()).unwrap().get::<&str>().unwrap(), "written");
    held.set("value", &1).unwrap();
    assert_eq!((held.ttl(), held.taken_from(), held.is_lost()), (LONG, None, false));
    // Others, also in this program: they read, and are told who has it.
    assert_eq!(foo.call("read", ()).unwrap().get::<&str>().unwrap(), "read");
    for error in [foo.call("write", ()).unwrap_err(), foo.lock(LONG).unwrap_err()] {
        assert_eq!((error.class(), error.executed()), ("NotExecuted", Executed::No));
        let locked = error.locked().expect("who has it");
        assert_eq!((&locked.holder[..], locked.expires_in), ("ana@laptop", TTL));
        assert!(!error.is_lease_lost() && !error.is_timeout());
    }
    let leases = client.leases().unwrap();
    assert_eq!((&leases[0].object[..], &leases[0].holder[..]), ("foo", "ana@laptop"));
    assert!(!format!("{held:?}").contains("token"), "{held:?}");
    held.release().unwrap();
    assert!(client.leases().unwrap().is_empty());
    foo.call("write", ()).unwrap();
}

#[test]
fn a_lease_is_renewed_until_it_is_dropped_and_then_released() {
    let (server, kept, asked_for) = agent();
    let foo = Client::new(&server.address()).unwrap().object("foo");
    let held = foo.lock(TTL).unwrap();
    for _ in 0..3 {
        wait_for(Op::Renew, &asked_for);
    }
    drop(held);
    wait_for(Op::Release, &asked_for);
    assert!(kept.lock().unwrap().token.is_none());
    assert!(asked_for.recv_timeout(TTL).is_err(), "nothing is asked for any more");
}

#[test]
fn a_renewal_that_is_not_answered_is_soon_tried_again() {
    let ttl = Duration::from_secs(6);
    let (mut kept, mut renewals) = (Kept::default(), 0);
    let (sender, renewed) = mpsc::channel();
    let server = Server::start(move |mut asked| {
        if !asked.is_for_the_test() {
            return;
        }
        if asked.call.op == Op::Renew {
            renewals += 1;
            if renewals == 1 {
                return;
            }
            let _ = sender.send(());
        }
        kept.serve(&mut asked);
    });
    let foo = Client::new(&server.address()).unwrap().object("foo");
    let asked = Instant::now();
    let held = foo.lock(ttl).unwrap();
    renewed.recv_timeout(PATIENCE).expect("another try");
    // The first was given up at two thirds of it. Another third later would be too late.
    assert!(asked.elapsed() < ttl * 9 / 10, "{:?}", asked.elapsed());
    held.release().unwrap();
}

#[test]
fn a_lease_that_is_taken_away_is_lost_and_writes_fail() {
    let (server, _, asked_for) = agent();
    let client = |name| Client::new(&server.address()).unwrap().with_holder(name).object("foo");
    let held = client("ana@laptop").lock(TTL).unwrap();
    let taken = client("ben@desk").steal(LONG).unwrap();
    assert_eq!(taken.taken_from(), Some("ana@laptop"));
    let error = held.call("write", ()).unwrap_err();
    assert!(error.is_lease_lost() && error.executed() == Executed::No, "{error}");
    wait_for(Op::Renew, &asked_for);
    while !held.is_lost() {
        thread::yield_now();
    }
    let error = held.release().unwrap_err();
    assert!(error.is_lease_lost(), "{error}");
    taken.call("write", ()).unwrap();
}

#[test]
fn a_renewal_tells_at_once_that_a_lease_is_lost() {
    let (server, _, _) = agent();
    let foo = Client::new(&server.address()).unwrap().object("foo");
    let held = foo.lock(LONG).unwrap();
    held.renew().unwrap();
    foo.steal(LONG).unwrap().release().unwrap();
    assert!(!held.is_lost(), "it is not due to be renewed for long");
    assert!(held.renew().unwrap_err().is_lease_lost());
    assert!(held.is_lost());
}

#[test]
fn a_lease_that_ends_by_itself_does_not_hold_a_program_up() {
    let (server, _, _) = agent();
    let client = Client::new(&server.address()).unwrap();
    let held = client.object("foo").lock(TTL).unwrap();
    server.end();
    let begun = std::time::Instant::now();
    drop(held);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[test]
fn what_a_client_says_of_itself_fits() {
    let (server, kept, _) = agent();
    let client = Client::new(&server.address()).unwrap();
    drop(client.object("foo").lock(TTL).unwrap());
    let own = kept.lock().unwrap().holder.clone();
    assert!(own.contains('@') && !own.ends_with('@'), "{own}");
    let long = client.with_holder(&"\u{e4}".repeat(100));
    drop(long.object("foo").lock(TTL).unwrap());
    assert_eq!(kept.lock().unwrap().holder, "\u{e4}".repeat(64));
}

#[test]
fn an_agent_without_leases_says_so() {
    let server = Server::start(|mut asked| {
        if asked.is_for_the_test() {
            let fault = Fault::value_error("op 'lock' is unknown");
            asked.fault(&fault, Executed::No, None);
        }
    });
    let error = Client::new(&server.address()).unwrap().object("foo").lock(TTL).unwrap_err();
    assert!(matches!(error, Error::Remote(_)), "{error}");
}
