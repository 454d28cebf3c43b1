//! Objects that do not come back, and systemd's watchdog.

use crate::harness::{Agent, Answer, Caller, PATIENCE, Stage, With, config};
use proximity_agent::Notifier;
use proximity_proto::{call::Op, request::Arguments};
use std::{
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    sync::Arc,
    time::{Duration, Instant},
};

/// What the watchdog allows.
const WATCHDOG: Duration = Duration::from_millis(500);

/// Whom the agent tells how it is.
fn manager() -> (UnixDatagram, Notifier) {
    let name = format!("proximity-health-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let notifier = Notifier::new(format!("@{name}").as_ref(), Some(WATCHDOG)).unwrap();
    (UnixDatagram::bind_addr(&address).unwrap(), notifier)
}

fn next(socket: &UnixDatagram, time: Duration) -> Option<String> {
    socket.set_read_timeout(Some(time)).unwrap();
    let mut news = [0; 1024];
    socket.recv(&mut news).ok().map(|len| String::from_utf8_lossy(&news[..len]).into_owned())
}

/// Waits for a message.
fn told(socket: &UnixDatagram, wanted: &str) {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if next(socket, PATIENCE).is_some_and(|news| news == wanted) {
            return;
        }
    }
    panic!("not told: {wanted}");
}

/// Begins a call that its caller stops waiting for at once.
fn hang(caller: &Caller, stage: &Stage, object: &str) {
    let expires = Some(caller.hello().now + Duration::from_secs(2));
    let with = With { expires, ..With::default() };
    caller.send(Op::Call, &format!("{object}.hold"), &Arguments::default(), &with);
    stage.until_held(1);
}

#[test]
fn the_watchdog_starves_when_no_object_is_left_that_is_not_stuck() {
    let (socket, notifier) = manager();
    let (dead, alive) = (Arc::new(Stage::default()), Arc::new(Stage::default()));
    let objects = vec![("alive", "1", alive.opener()), ("dead", "1", dead.opener())];
    let agent = Agent::telling(config(objects), notifier);
    told(&socket, "READY=1\nSTATUS=serving 2 objects");

    // One dead board is no reason to end the calls of the others.
    hang(&agent.caller(), &dead, "dead");
    told(&socket, "STATUS=serving 2 objects; 1 stuck: dead");
    for _ in 0..4 {
        told(&socket, "WATCHDOG=1");
    }
    let caller = agent.caller();
    assert_eq!(caller.call("alive.peek"), Answer::ok(7));

    hang(&agent.caller(), &alive, "alive");
    told(&socket, "STATUS=serving 2 objects; 2 stuck: alive, dead");
    assert_eq!(next(&socket, WATCHDOG * 3), None);
    // The router itself is well.
    assert_eq!(caller.hello().objects.len(), 2);

    dead.let_go();
    told(&socket, "WATCHDOG=1");
    told(&socket, "STATUS=serving 2 objects; 1 stuck: alive");
    alive.let_go();
    told(&socket, "STATUS=serving 2 objects");
    assert_eq!(caller.call("alive.peek"), Answer::ok(7));
}
