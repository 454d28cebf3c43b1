//! How the agent and its objects are.

use crate::harness::{Agent, Answer, PATIENCE, With, config};
use proximity_proto::{
    call::Op,
    expose,
    object::{Link, LinkState, Way},
    request::Arguments,
    status::{ObjectCalls, ObjectStatus, Status},
};
use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// Asks until it is as wanted.
fn until(ask: impl Fn() -> Status, what: &str, is_it: impl Fn(&ObjectStatus) -> bool) -> Status {
    let end = Instant::now() + PATIENCE;
    loop {
        let status = ask();
        if is_it(&status.objects["actor"]) {
            return status;
        }
        assert!(Instant::now() < end, "not {what}: {:#?}", status.objects);
        std::thread::yield_now();
    }
}

#[test]
fn calls_are_counted_as_they_end() {
    let (agent, _stage, caller) = Agent::with_actor();
    for _ in 0..3 {
        assert_eq!(caller.call("actor.peek"), Answer::ok(7));
    }
    for _ in 0..2 {
        assert!(matches!(caller.call("actor.refuse"), Answer::Error { .. }));
    }
    caller.call("actor.nothing");
    caller.call("nobody.peek");
    caller.ask_raw(b"\xc1");
    let stale = With { epoch: Some(1), ..With::default() };
    let id = caller.send(Op::Call, "actor.peek", &Arguments::default(), &stale);
    assert_eq!(caller.answer(id).not_executed(), "StaleEpoch");
    let stranger = agent.caller_at("192.0.2.1");
    assert!(matches!(stranger.call("actor.peek"), Answer::Error { .. }));

    let status = caller.status();
    let actor = &status.objects["actor"];
    assert_eq!((actor.state.as_str(), actor.driver.as_str()), ("ready", "test"));
    assert_eq!(actor.calls, ObjectCalls { done: 3, failed: 2, refused: 1 });
    assert!(actor.latency.max > 0 && actor.latency.p50 <= actor.latency.max, "{actor:?}");
    let error = actor.error.as_ref().unwrap();
    assert_eq!(error.class, "ValueError");
    assert_eq!(error.message, "the level is 7; it must be 8");
    let agent = &status.agent;
    assert_eq!((agent.calls.wrong, agent.calls.not_allowed), (3, 1));
    assert_eq!((agent.calls.started, agent.calls.replied, agent.calls.refused), (5, 5, 1));
    assert_eq!(agent.refused.iter().collect::<Vec<_>>(), [(&"stale_epoch".to_owned(), &1)]);
    assert_eq!(agent.epoch, caller.hello().epoch);
    // The request for the status itself was received, and its answer is not sent yet.
    assert_eq!((agent.traffic.received, agent.traffic.sent), (11, 10));
    assert!(agent.traffic.received_bytes > 100 && agent.traffic.sent_bytes > 100);
    assert!(status.is_well());
}

#[test]
fn a_hanging_object_and_its_queue_are_told_while_they_hang() {
    let (agent, stage, caller) = Agent::with_actor();
    caller.begin("actor.hold");
    stage.until_held(1);
    // Two fit behind it.
    for _ in 0..2 {
        caller.begin("actor.echo");
    }
    let refused = caller.begin("actor.echo");
    assert_eq!(caller.answer(refused).not_executed(), "Busy");
    let status = agent.caller().status();
    let actor = &status.objects["actor"];
    assert_eq!((actor.state.as_str(), actor.doing.as_str()), ("busy", "hold()"));
    assert_eq!((actor.queue, actor.calls.refused), (3, 1));
    assert_eq!(status.agent.refused["busy"], 1);
    assert_eq!(status.agent.limits.queue, 2);
    stage.let_go();
    let status = until(|| agent.caller().status(), "ready", |actor| actor.state == "ready");
    assert_eq!(status.objects["actor"].queue, 0);
}

#[test]
fn an_object_that_is_away_says_why_and_comes_back() {
    let (_agent, stage, caller) = Agent::with_actor_away(Some("no answer from the rack"));
    assert_eq!(caller.call("actor.peek").not_executed(), "Failed");
    let status = caller.status();
    let actor = &status.objects["actor"];
    assert_eq!((actor.state.as_str(), actor.calls.refused), ("away", 1));
    assert_eq!(actor.error.as_ref().unwrap().message, "no answer from the rack");
    assert!(!status.is_well());
    stage.set_away(None);
    let status = until(|| caller.status(), "back", |actor| actor.state == "ready");
    assert!(status.is_well());
    assert_eq!(status.objects["actor"].error, None);
}

#[test]
fn a_panic_is_the_last_error_and_the_object_is_well_again() {
    let (_agent, stage, caller) = Agent::with_actor();
    caller.call("actor.boom");
    let status = until(|| caller.status(), "open again", |actor| actor.state == "ready");
    let actor = &status.objects["actor"];
    assert_eq!(actor.calls, ObjectCalls { done: 0, failed: 1, refused: 0 });
    let error = actor.error.as_ref().unwrap();
    assert_eq!(error.message, "object 'actor' panicked in boom(): the valve is stuck at 7");
    // One that cannot be opened again is away, for the reason that it has now.
    stage.set_away(Some("no answer from the rack"));
    caller.call("actor.boom");
    let status = until(|| caller.status(), "away", |actor| actor.state == "away");
    assert_eq!(status.objects["actor"].error.as_ref().unwrap().message, "no answer from the rack");
}

#[test]
fn replies_that_nobody_takes_are_counted() {
    let (agent, stage, caller) = Agent::with_actor();
    let leaving = agent.caller();
    leaving.begin("actor.hold");
    stage.until_held(1);
    leaving.client.leave(false);
    stage.let_go();
    let end = Instant::now() + PATIENCE;
    while caller.status().agent.traffic.undeliverable == 0 {
        assert!(Instant::now() < end, "{:?}", caller.status());
    }
    assert_eq!(caller.status().agent.traffic.undeliverable, 1);
}

/// The way to a device that a test opens and closes.
struct Cable(Mutex<LinkState>);

impl Way for Cable {
    fn link(&self) -> Link {
        let state = *self.0.lock().unwrap();
        let error = (state == LinkState::Disconnected).then(|| "pulled out".to_owned());
        Link { state, since: Duration::from_secs(3), error }
    }
}

/// At the end of a cable.
struct Probe(Arc<Cable>);

/// Is there.
#[expose(way = cable)]
impl Probe {
    fn cable(&self) -> Arc<dyn Way> {
        self.0.clone()
    }

    /// Answers.
    #[effect(read)]
    pub fn ping(&mut self) -> usize {
        Arc::strong_count(&self.0).min(1)
    }
}

#[test]
fn an_object_whose_device_is_away_is_disconnected() {
    let cable = Arc::new(Cable(Mutex::new(LinkState::Unused)));
    let own = Arc::clone(&cable);
    let opener: proximity_drivers::Opener = Box::new(move || Ok(Box::new(Probe(Arc::clone(&own)))));
    let agent = Agent::start(config(vec![("actor", "1", opener)]));
    let caller = agent.caller();
    assert_eq!(caller.call("actor.ping"), Answer::ok(1));
    for (state, word, well) in [
        (LinkState::Unused, "ready", true),
        (LinkState::Disconnected, "disconnected", false),
        (LinkState::Connected, "ready", true),
    ] {
        *cable.0.lock().unwrap() = state;
        let status = caller.status();
        let actor = &status.objects["actor"];
        assert_eq!((actor.state.as_str(), status.is_well()), (word, well));
        let link = actor.link.as_ref().unwrap();
        assert_eq!((link.state.as_str(), link.since), (state.as_str(), 3000));
        assert_eq!(link.error.is_some(), word == "disconnected");
    }
}
