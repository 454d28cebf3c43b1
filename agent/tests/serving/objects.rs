//! Objects that break, are away, come, change and go.

use crate::harness::{Agent, Answer, PATIENCE, Stage, With, config};
use proximity_proto::{call::Op, request::Arguments};
use std::{sync::Arc, time::Instant};

#[test]
fn a_panic_is_answered_and_the_object_opened_anew() {
    let (agent, stage, caller) = Agent::with_actor();
    let mut eight = Arguments::default();
    eight.push(&8);
    caller.ask(Op::Set, "actor.level", &eight, &With::default());
    for (method, what) in [("boom", "valve is stuck at 8"), ("quick_boom", "dial is stuck at 7")] {
        let line = format!("RuntimeError: object 'actor' panicked in {method}(): the {what}");
        let expected = Answer::Error {
            line,
            executed: "unknown",
            reason: None,
            hint: Some("this is a fault of its driver; the object is opened anew".into()),
        };
        assert_eq!(caller.call(&format!("actor.{method}")), expected);
        // It begins as it was configured.
        assert_eq!(caller.call("actor.peek"), Answer::ok(7));
    }
    assert_eq!((stage.opened(), stage.closed()), (3, 2));
    assert_eq!(agent.caller().call("actor.peek"), Answer::ok(7));
}

#[test]
fn the_repeat_of_a_call_that_panicked_has_no_reason_either() {
    let (agent, stage, caller) = Agent::with_actor();
    let nothing = Arguments::default();
    let id = caller.send(Op::Call, "actor.boom", &nothing, &With::default());
    let Answer::Error { reason, executed, .. } = caller.answer(id) else { panic!("no panic") };
    assert_eq!((reason, executed), (None, "unknown"));
    let other = agent.caller();
    other.send_as(id, Op::Call, "actor.boom", &nothing, &With::default());
    let repeated = Answer::Error {
        line: "RuntimeError: object 'actor' broke in boom()".into(),
        executed: "unknown",
        reason: None,
        hint: Some("this is a repeated answer; the first one said more".into()),
    };
    assert_eq!(other.answer(id), repeated);
    // Answered once it is open again, which the repeat does not wait for.
    assert_eq!(other.call("actor.peek"), Answer::ok(7));
    assert_eq!(stage.opened(), 2, "it panicked once");
}

#[test]
fn an_object_that_is_away_answers_so_and_comes_back_by_itself() {
    let (_agent, stage, caller) = Agent::with_actor_away(Some("no answer from the rack"));
    let away = Answer::Error {
        line: "ConnectionError: object 'actor' cannot be opened: no answer from the rack".into(),
        executed: "no",
        reason: Some("Failed".into()),
        hint: None,
    };
    assert_eq!(caller.call("actor.peek"), away);
    assert_eq!(caller.hello().objects["actor"], 0);
    stage.set_away(None);
    stage.until_opened(1);
    assert_eq!(eventually(|| caller.call("actor.peek"), &away), Answer::ok(7));
    assert_ne!(caller.hello().objects["actor"], 0);
}

#[test]
fn a_late_copy_of_a_write_to_an_object_that_was_away_does_not_run() {
    let (agent, stage, caller) = Agent::with_actor_away(Some("no answer from the rack"));
    let note = Arguments::from(("late",));
    let id = caller.send(Op::Call, "actor.note", &note, &With::default());
    assert_eq!(caller.answer(id).not_executed(), "Failed");
    let other = agent.caller();
    let away = other.call("actor.peek");
    stage.set_away(None);
    assert_eq!(eventually(|| other.call("actor.peek"), &away), Answer::ok(7));
    other.send_as(id, Op::Call, "actor.note", &note, &With::default());
    assert_eq!(other.answer(id).not_executed(), "Failed");
    assert!(stage.ran().is_empty(), "its caller was told that it would not");
}

#[test]
fn an_object_that_cannot_be_reopened_is_tried_again() {
    let (_agent, stage, caller) = Agent::with_actor();
    stage.set_away(Some("no answer from the rack"));
    let Answer::Error { executed, .. } = caller.call("actor.boom") else { panic!("it did well") };
    assert_eq!(executed, "unknown");
    let away = caller.call("actor.peek");
    assert_eq!(away.not_executed(), "Failed");
    stage.set_away(None);
    stage.until_opened(2);
    assert_eq!(eventually(|| caller.call("actor.peek"), &away), Answer::ok(7));
}

/// What `ask` answers when it no longer answers `not_yet`.
fn eventually(ask: impl Fn() -> Answer, not_yet: &Answer) -> Answer {
    let end = Instant::now() + PATIENCE;
    loop {
        let answer = ask();
        if answer != *not_yet || Instant::now() > end {
            return answer;
        }
    }
}

#[test]
fn draining_refuses_what_is_queued_and_ends_what_runs() {
    let (agent, stage, caller) = Agent::with_actor();
    let held = caller.begin("actor.hold");
    stage.until_held(1);
    let other = agent.caller();
    let queued = other.begin("actor.peek");
    agent.control.drain();
    assert_eq!(other.answer(queued).not_executed(), "Draining");
    assert_eq!(other.call("actor.peek").not_executed(), "Draining");
    stage.let_go();
    assert_eq!(caller.answer(held), Answer::ok("let go"));
    agent.join();
    assert_eq!(stage.closed(), 1);
}

#[test]
fn draining_an_idle_agent_ends_it() {
    let (agent, stage, _caller) = Agent::with_actor();
    agent.control.drain();
    agent.join();
    assert_eq!(stage.closed(), 1);
}

#[test]
fn a_reload_does_not_touch_what_is_unchanged() {
    let stages: [Arc<Stage>; 3] = Default::default();
    let [same, changed, gone] = &stages;
    let objects = vec![
        ("same", "1", same.opener()),
        ("changed", "1", changed.opener()),
        ("gone", "1", gone.opener()),
    ];
    let agent = Agent::start(config(objects));
    let caller = agent.caller();
    let held = caller.begin("same.hold");
    same.until_held(1);

    let new = Arc::new(Stage::default());
    agent.control.reload(config(vec![
        ("same", "1", same.opener()),
        ("changed", "2", changed.opener()),
        ("new", "1", new.opener()),
    ]));
    changed.until_opened(2);
    new.until_opened(1);
    gone.until_closed(1);
    let other = agent.caller();
    assert_eq!(eventually(|| other.call("new.peek"), &opening("new")), Answer::ok(7));
    assert_eq!(eventually(|| other.call("changed.peek"), &opening("changed")), Answer::ok(7));
    let Answer::Error { line, .. } = other.call("gone.peek") else { panic!("it is still there") };
    assert_eq!(line, "KeyError: no object 'gone'; this agent has: changed, new, same");

    assert_eq!((same.opened(), same.closed()), (1, 0));
    assert_eq!((changed.opened(), changed.closed()), (2, 1));
    same.let_go();
    assert_eq!(caller.answer(held), Answer::ok("let go"));
}

fn opening(name: &str) -> Answer {
    Answer::Error {
        line: format!("ConnectionError: object '{name}' is being opened"),
        executed: "no",
        reason: Some("Failed".into()),
        hint: None,
    }
}

#[test]
fn a_changed_object_is_replaced_once_its_running_call_has_ended() {
    let (agent, stage, caller) = Agent::with_actor();
    let held = caller.begin("actor.hold");
    stage.until_held(1);
    let other = agent.caller();
    let queued = other.begin("actor.peek");
    // Answered behind it: the agent has it before it is told to reload.
    other.hello();
    agent.control.reload(config(vec![("actor", "2", stage.opener())]));
    assert_eq!(other.answer(queued).not_executed(), "Removed");
    assert_eq!(other.call("actor.peek"), opening("actor"));
    // The device is not opened a second time while somebody still works with it.
    assert_eq!((stage.opened(), stage.closed()), (1, 0));
    stage.let_go();
    assert_eq!(caller.answer(held), Answer::ok("let go"));
    stage.until_opened(2);
    assert_eq!(stage.closed(), 1);
    assert_eq!(eventually(|| other.call("actor.peek"), &opening("actor")), Answer::ok(7));
}

#[test]
fn an_object_changed_twice_while_it_runs_is_opened_once_more_only() {
    let (agent, stage, caller) = Agent::with_actor();
    let held = caller.begin("actor.hold");
    stage.until_held(1);
    let other = agent.caller();
    for fingerprint in ["2", "3"] {
        let queued = other.begin("actor.peek");
        agent.control.reload(config(vec![("actor", fingerprint, stage.opener())]));
        assert!(matches!(other.answer(queued), Answer::Error { executed: "no", .. }));
        // Answered from the new table of names: the reload is through.
        assert_eq!(eventually_opening(&other), opening("actor"));
    }
    stage.let_go();
    assert_eq!(caller.answer(held), Answer::ok("let go"));
    stage.until_opened(2);
    assert_eq!(eventually(|| other.call("actor.peek"), &opening("actor")), Answer::ok(7));
    assert_eq!((stage.opened(), stage.closed()), (2, 1));
}

fn eventually_opening(caller: &crate::harness::Caller) -> Answer {
    let end = Instant::now() + PATIENCE;
    loop {
        let answer = caller.call("actor.peek");
        if answer == opening("actor") || Instant::now() > end {
            return answer;
        }
    }
}
