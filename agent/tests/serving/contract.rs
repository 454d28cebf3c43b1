//! What a caller may rely on: one run for one id, typed refusals of what is too much, old clients.

use crate::harness::{Agent, Answer, Stage, With, config, old, shown};
use proximity_agent::config::{Bounds, Legacy};
use proximity_proto::{call::Op, request::Arguments};
use std::sync::Arc;

fn note(what: &str) -> Arguments {
    Arguments::from((what,))
}

#[test]
fn a_repeated_write_gets_the_first_answer_over_another_connection() {
    let (agent, stage, caller) = Agent::with_actor();
    let with = With { epoch: Some(caller.hello().epoch), ..With::default() };
    let id = caller.send(Op::Call, "actor.note", &note("once"), &with);
    assert_eq!(caller.answer(id), Answer::ok("null"));
    caller.client.leave(true);
    let again = agent.caller();
    again.send_as(id, Op::Call, "actor.note", &note("once"), &with);
    assert_eq!(again.answer(id), Answer::ok("null"));
    assert_eq!(stage.ran(), ["once"]);
    assert!(again.hello().features.contains(&"kept".to_owned()));
}

#[test]
fn a_copy_of_a_write_in_progress_gets_its_answer() {
    let (agent, stage, caller) = Agent::with_actor();
    let held = caller.begin("actor.hold");
    stage.until_held(1);
    let with = With::default();
    let id = caller.send(Op::Call, "actor.note", &note("once"), &with);
    let other = agent.caller();
    other.send_as(id, Op::Call, "actor.note", &note("once"), &with);
    // Behind both of them.
    other.hello();
    stage.let_go();
    assert_eq!(caller.answer(held), Answer::ok("let go"));
    assert_eq!(caller.answer(id), Answer::ok("null"));
    assert_eq!(other.answer(id), Answer::ok("null"));
    assert_eq!(stage.ran(), ["once"]);
}

#[test]
fn what_runs_is_what_came_first_though_a_copy_says_something_else_and_the_first_is_gone() {
    let (agent, stage, caller) = Agent::with_actor();
    let held = caller.begin("actor.hold");
    stage.until_held(1);
    let (first, other) = (agent.caller(), agent.caller());
    let with = With::default();
    let id = first.send(Op::Call, "actor.note", &note("first"), &with);
    first.hello();
    other.send_as(id, Op::Call, "actor.note", &note("other"), &with);
    // A read is no copy of anything, whatever its id.
    other.send_as(id, Op::Get, "nosuch.level", &Arguments::default(), &with);
    let Answer::Error { line, reason, .. } = other.answer(id) else { panic!("it read something") };
    assert_eq!((line.split(';').next(), reason), (Some("KeyError: no object 'nosuch'"), None));
    first.client.leave(true);
    // What was sent before has arrived when this is answered.
    caller.hello();
    stage.let_go();
    assert_eq!(caller.answer(held), Answer::ok("let go"));
    assert_eq!(other.answer(id), Answer::ok("null"));
    assert_eq!(stage.ran(), ["first"]);
}

#[test]
fn a_write_that_ran_is_answered_though_its_object_is_gone() {
    let (agent, stage, caller) = Agent::with_actor();
    let epoch = caller.hello().epoch;
    let with = With { epoch: Some(epoch), ..With::default() };
    let id = caller.send(Op::Call, "actor.note", &note("once"), &with);
    assert_eq!(caller.answer(id), Answer::ok("null"));
    agent.control.reload(config(Vec::new()));
    stage.until_closed(1);
    let other = agent.caller();
    other.send_as(id, Op::Call, "actor.note", &note("once"), &with);
    assert_eq!(other.answer(id), Answer::ok("null"));
    // What never came is refused as ever, and so is what was meant for another run.
    let line = "KeyError: no object 'actor'; this agent has none";
    let Answer::Error { line: told, .. } = caller.ask(Op::Call, "actor.note", &note("x"), &with)
    else {
        panic!("it ran")
    };
    assert_eq!(told, line);
    let earlier = With { epoch: Some(epoch.wrapping_add(1)), ..With::default() };
    other.send_as(id, Op::Call, "actor.note", &note("once"), &earlier);
    assert_eq!(other.answer(id).not_executed(), "StaleEpoch");
    // Nor does anybody learn of it who may not call.
    let stranger = agent.caller_at("192.168.1.1");
    stranger.send_as(id, Op::Call, "actor.note", &note("once"), &with);
    let Answer::Error { line, .. } = stranger.answer(id) else { panic!("a stranger was told") };
    assert!(line.starts_with("PermissionError: "), "{line}");
    assert_eq!(stage.ran(), ["once"]);
}

#[test]
fn a_client_has_so_many_calls_in_progress_and_no_more() {
    let stage = Arc::new(Stage::default());
    let mut config = config(vec![("actor", "1", stage.opener())]);
    config.bounds = Bounds { max_inflight: 2, ..Bounds::default() };
    config.queue = 10;
    let agent = Agent::start(config);
    let (caller, other) = (agent.caller(), agent.caller());
    assert_eq!(caller.hello().limits.max_inflight, 2);
    let held = caller.begin("actor.hold");
    stage.until_held(1);
    let queued = caller.begin("actor.peek");
    let refused = Answer::Error {
        line: "RuntimeError: this connection has 2 calls in progress, the most that it may have"
            .into(),
        executed: "no",
        reason: Some("TooManyInFlight".into()),
        hint: Some("wait for one of them to end".into()),
    };
    assert_eq!(caller.call("actor.peek"), refused);
    let others = other.begin("actor.peek");
    stage.let_go();
    assert_eq!(caller.answer(held), Answer::ok("let go"));
    assert_eq!(caller.answer(queued), Answer::ok(7));
    assert_eq!(other.answer(others), Answer::ok(7));
    assert_eq!(caller.call("actor.peek"), Answer::ok(7));
}

#[test]
fn old_clients_do_what_the_configuration_lets_them() {
    let stage = Arc::new(Stage::default());
    let mut config = config(vec![
        ("free", "1", stage.opener()),
        ("read", "1", stage.opener()),
        ("shut", "1", stage.opener()),
    ]);
    config.objects[1].legacy = Legacy::ReadOnly;
    config.objects[2].legacy = Legacy::Off;
    let agent = Agent::start(config);
    let caller = agent.caller();
    let ask = |object: &str, method: &str| shown(&caller.ask_raw(&old(object, method)));
    assert!(ask("free", "boom").contains("panicked in boom()"));
    assert_eq!(ask("read", "peek"), "7");
    assert_eq!(
        ask("read", "boom"),
        r#"{"EXCEPTION":["PermissionError","read.boom writes; clients of version 1 may only read 'read'",["hint: 'legacy' in the agent's configuration is \"ro\"; use a client of version 2"]]}"#
    );
    assert_eq!(
        ask("shut", "peek"),
        r#"{"EXCEPTION":["PermissionError","clients of version 1 may not use 'shut'",["hint: 'legacy' in the agent's configuration is \"off\"; use a client of version 2"]]}"#
    );
    // An id does not make it one of version 2.
    let mut named = b"\x85\xa2id\x92\xc4\x10abcdefghijklmnop\x01\xa4name\xa4shut".to_vec();
    named.extend(b"\xa4proc\xa4note\xa4args\x91\xa1x\xa6kwargs\x80");
    let told = caller.ask_raw(&named);
    assert!(told.windows(15).any(|part| part == b"PermissionError"), "{}", told.escape_ascii());
    assert!(stage.ran().is_empty());
    // Clients of version 2 are not concerned.
    assert_eq!(caller.ask(Op::Call, "shut.note", &note("x"), &With::default()), Answer::ok("null"));
}

#[test]
fn a_reload_changes_the_bounds_of_objects_that_go_on() {
    let (agent, stage, caller) = Agent::with_actor();
    let mut next = config(vec![("actor", "1", stage.opener())]);
    next.queue = 1;
    next.objects[0].legacy = Legacy::ReadOnly;
    next.bounds.max_inflight = 7;
    agent.control.reload(next);
    while caller.hello().limits.max_inflight != 7 {}
    let held = caller.begin("actor.hold");
    stage.until_held(1);
    let queued = caller.begin("actor.peek");
    let line = "RuntimeError: object 'actor' is busy: its queue of 1 calls is full";
    let Answer::Error { line: told, .. } = caller.call("actor.peek") else { panic!("it ran") };
    assert_eq!(told, line);
    stage.let_go();
    assert_eq!(caller.answer(held), Answer::ok("let go"));
    assert_eq!(caller.answer(queued), Answer::ok(7));
    assert!(shown(&caller.ask_raw(&old("actor", "boom"))).contains("may only read 'actor'"));
    assert_eq!(stage.opened(), 1);
}

#[test]
fn connections_beyond_the_bound_are_told_so_until_there_is_room() {
    let stage = Arc::new(Stage::default());
    let mut config = config(vec![("actor", "1", stage.opener())]);
    config.bounds.connections = 2;
    let agent = Agent::start(config);
    let (first, second, third) = (agent.caller(), agent.caller(), agent.caller());
    let refused = Answer::Error {
        line: "RuntimeError: the agent has 2 connections, the most that it serves".into(),
        executed: "no",
        reason: Some("TooManyPeers".into()),
        hint: Some(
            "wait for one of them to end, or raise 'connections' in the agent's configuration"
                .into(),
        ),
    };
    assert_eq!(third.call("actor.peek"), refused);
    assert!(shown(&third.ask_raw(&old("actor", "peek"))).contains("has 2 connections"));
    assert_eq!(first.call("actor.peek"), Answer::ok(7));
    second.client.leave(true);
    assert_eq!(third.call("actor.peek"), Answer::ok(7));
}
