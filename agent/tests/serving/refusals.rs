//! Calls that do not run, and what is said of them.

use crate::{
    calls::cancel,
    harness::{Agent, Answer, Caller, With, old, shown},
};
use proximity_proto::{call::Op, request::Arguments};
use std::time::Duration;

fn note(what: &str) -> Arguments {
    let mut args = Arguments::default();
    args.push(what);
    args
}

#[test]
fn a_full_queue_answers_busy_at_once() {
    let (agent, stage, caller) = Agent::with_actor();
    let held = caller.begin("actor.hold");
    stage.until_held(1);
    let queued: Vec<_> = (0..2).map(|_| caller.begin("actor.hold")).collect();
    let expected = Answer::Error {
        line: "RuntimeError: object 'actor' is busy: its queue of 2 calls is full".into(),
        executed: "no",
        reason: Some("Busy".into()),
        hint: None,
    };
    assert_eq!(agent.caller().call("actor.peek"), expected);
    for id in [held].into_iter().chain(queued) {
        stage.let_go();
        assert_eq!(caller.answer(id), Answer::ok("let go"));
    }
}

#[test]
fn a_queued_call_that_is_cancelled_never_runs() {
    let (agent, stage, caller) = Agent::with_actor();
    let held = caller.begin("actor.hold");
    stage.until_held(1);
    let other = agent.caller();
    let queued = other.send(Op::Call, "actor.note", &note("cancelled"), &With::default());
    assert_eq!(cancel(&agent.caller(), queued), Answer::ok("queued"));
    assert_eq!(other.answer(queued).not_executed(), "Cancelled");
    stage.let_go();
    assert_eq!(caller.answer(held), Answer::ok("let go"));
    assert_eq!(caller.call("actor.peek"), Answer::ok(7));
    assert_eq!(stage.ran(), [""; 0]);
}

#[test]
fn a_call_for_another_run_of_the_agent_is_refused() {
    let (_agent, stage, caller) = Agent::with_actor();
    let epoch = caller.hello().epoch;
    let ask = |target: &str, epoch| {
        let with = With { epoch: Some(epoch), ..With::default() };
        caller.ask(Op::Call, target, &note("here"), &with)
    };
    assert_eq!(ask("actor.note", epoch ^ 1).not_executed(), "StaleEpoch");
    // An object that only the earlier run had is no mistake of the caller's.
    assert_eq!(ask("gone.note", epoch ^ 1).not_executed(), "StaleEpoch");
    assert_eq!(ask("actor.note", epoch), Answer::ok("null"));
    assert_eq!(stage.ran(), ["here"]);
}

#[test]
fn a_call_whose_time_is_over_is_refused_on_arrival_and_in_the_queue() {
    let (agent, stage, caller) = Agent::with_actor();
    let now = caller.hello().now;
    let ask = |expires| With { expires: Some(expires), ..With::default() };
    let late = caller.ask(Op::Call, "actor.note", &note("late"), &ask(Duration::ZERO));
    let expected = Answer::Error {
        line: "TimeoutError: the time for actor.note was over before it ran".into(),
        executed: "no",
        reason: Some("Expired".into()),
        hint: Some("the object was busy, or the call was long on its way".into()),
    };
    assert_eq!(late, expected);
    let held = caller.begin("actor.hold");
    stage.until_held(1);
    let other = agent.caller();
    // Answered at its time, while the object is still held.
    let soon = ask(now + Duration::from_millis(50));
    let queued = other.ask(Op::Call, "actor.note", &note("queued"), &soon);
    assert_eq!(queued, expected);
    stage.let_go();
    assert_eq!(caller.answer(held), Answer::ok("let go"));
    assert_eq!(stage.ran(), [""; 0]);
}

#[test]
fn a_call_that_expires_more_than_a_day_ahead_is_refused_before_anything_runs() {
    let (agent, stage, caller) = Agent::with_actor();
    let with = |expires| With { expires: Some(expires), ..With::default() };
    let id =
        caller.send(Op::Call, "actor.note", &note("far"), &with(Duration::from_millis(u64::MAX)));
    let Answer::Error { line, executed, reason, hint } = caller.answer(id) else {
        panic!("it ran")
    };
    let (ahead, end) = line
        .strip_prefix("ValueError: 'expires' lies ")
        .and_then(|line| line.split_once(" ms ahead of the agent's clock; "))
        .expect("the distance");
    let ahead: u64 = ahead.parse().unwrap();
    assert!(u64::MAX - ahead < 60_000, "{line}");
    assert_eq!(end, "it may be at most 86400000 ms, 24 hours");
    assert_eq!((executed, reason.as_deref()), ("no", Some("ExpiresTooFar")));
    let advice = "it counts from the agent's start, not from 1970; 'now' in hello is its clock";
    assert_eq!(hint.as_deref(), Some(advice));
    // It is not remembered: with another deadline it can be made.
    let day = with(caller.hello().now + Duration::from_hours(24));
    let other = agent.caller();
    other.send_as(id, Op::Call, "actor.note", &note("near"), &day);
    assert_eq!(other.answer(id), Answer::ok("null"));
    assert_eq!(stage.ran(), ["near"]);
}

#[test]
fn a_call_of_an_object_that_is_away_that_expires_too_far_ahead_is_refused_for_that() {
    let (_agent, _stage, caller) = Agent::with_actor_away(Some("no answer from the rack"));
    let expires = Some(Duration::from_millis(u64::MAX));
    let with = With { expires, ..With::default() };
    let far = caller.ask(Op::Call, "actor.note", &note("far"), &with);
    assert_eq!(far.not_executed(), "ExpiresTooFar");
}

#[test]
fn unknown_names_are_told_with_those_that_are_known() {
    let (_agent, _stage, caller) = Agent::with_actor();
    let error = |line: &str, hint: Option<&str>| Answer::Error {
        line: line.into(),
        executed: "no",
        reason: None,
        hint: hint.map(String::from),
    };
    assert_eq!(
        caller.call("actr.peek"),
        error("KeyError: no object 'actr'; this agent has: actor", Some("did you mean 'actor'?"))
    );
    assert_eq!(
        caller.call("actor.pek"),
        error("AttributeError: no method 'pek'", Some("did you mean 'peek'?"))
    );
    let get = |target| caller.ask(Op::Get, target, &Arguments::default(), &With::default());
    assert_eq!(
        get("actor.levl"),
        error("AttributeError: no attribute 'levl'", Some("did you mean 'level'?"))
    );
    assert_eq!(
        get("actor.peek"),
        error("AttributeError: no attribute 'peek'", Some("'peek' is a method: call it"))
    );
}

#[test]
fn hidden_names_are_unknown_everywhere() {
    let (_agent, _stage, caller) = Agent::with_actor();
    let Answer::Error { line, hint, .. } = caller.call("actor.tap_secret") else {
        panic!("a hidden method ran")
    };
    assert_eq!(line, "AttributeError: no method 'tap_secret'");
    assert!(hint.is_none_or(|hint| !hint.contains("tap_")));
    let Answer::Error { hint, .. } = caller.call("actor.tap_secre") else {
        panic!("an unknown method ran")
    };
    assert!(hint.is_none_or(|hint| !hint.contains("tap_")));
    let methods = shown(&caller.ask_raw(&old("actor", "list_methods")));
    assert!(!methods.contains("tap_"), "{methods}");
    let nothing = Arguments::default();
    let Answer::Ok(text) = caller.ask(Op::Describe, "actor.", &nothing, &With::default()) else {
        panic!("no description")
    };
    assert!(!text.contains("tap_"), "{text}");
}

#[test]
fn a_peer_from_a_network_that_may_not_come_is_told_so_and_nothing_runs() {
    let (agent, stage, _caller) = Agent::with_actor();
    let stranger = agent.caller_at("10.2.0.1");
    let expected = Answer::Error {
        line: "PermissionError: this agent takes no unencrypted calls from 10.2.0.1".into(),
        executed: "no",
        reason: None,
        hint: Some(
            "the key 'plaintext' of its configuration names the networks that may call".into(),
        ),
    };
    let answer = stranger.ask(Op::Call, "actor.note", &note("stranger"), &With::default());
    assert_eq!(answer, expected);
    for op in [Op::Hello, Op::Describe, Op::Cancel] {
        let answer = stranger.ask(op, "actor.", &Arguments::default(), &With::default());
        assert_eq!(answer, expected, "{op:?}");
    }
    let reply = shown(&stranger.ask_raw(&old("actor", "list_methods")));
    assert!(reply.starts_with(r#"{"EXCEPTION":["PermissionError","#), "{reply}");
    assert_eq!(stage.ran(), [""; 0]);
}

#[test]
fn a_reply_beyond_max_frame_becomes_an_error() {
    let (_agent, _stage, caller) = Agent::with_actor();
    let Answer::Error { line, executed, .. } = caller.call("actor.too_much") else {
        panic!("it was sent")
    };
    let rest = line.strip_prefix("ValueError: the reply has 100").expect("the size");
    assert!(rest.ends_with("bytes; this agent sends at most 65536"), "{line}");
    assert_eq!(executed, "yes");
}

#[test]
fn bytes_that_are_no_request_get_an_error_each() {
    let (_agent, _stage, caller) = Agent::with_actor();
    for bytes in [&b""[..], b"\x05", b"\xff\xff", b"\x80", b"\xc1", &[0x91; 100]] {
        let reply = shown(&caller.ask_raw(bytes));
        assert!(reply.starts_with(r#"{"EXCEPTION":["#), "{bytes:02x?}: {reply}");
    }
    assert_eq!(caller.call("actor.peek"), Answer::ok(7));
}

#[test]
fn only_the_agents_own_machine_sets_what_is_logged() {
    let (agent, _stage, caller) = Agent::with_actor();
    let ask = |from: &Caller, args: &Arguments| from.ask(Op::Log, "", args, &With::default());
    let far = agent.caller_at("10.1.0.7");
    let told = ask(&far, &Arguments::default());
    assert!(matches!(told, Answer::Ok(_)), "anybody may ask: {told:?}");
    let expect = |answer: Answer, expected: &str, tip: Option<&str>| match answer {
        Answer::Error { line, executed: "no", reason: None, hint } => {
            assert_eq!((line.as_str(), hint.as_deref()), (expected, tip));
        }
        other => panic!("{other:?}"),
    };
    expect(
        ask(&far, &note("debug")),
        "PermissionError: what is logged can be changed from the agent's own machine only, not from 10.1.0.7",
        Some("the key 'log' of its configuration says what is logged; SIGHUP reads it again"),
    );
    // This agent is part of a program that has a log of its own.
    expect(
        ask(&caller, &note("debug")),
        "RuntimeError: what this agent logs was set when it was started",
        Some("RUST_LOG in its environment wins over the configuration and over this"),
    );
    expect(
        ask(&caller, &note("loud\u{7}")),
        "ValueError: log: the level is 'loud\\u{7}'; it must be off, error, warn, info, debug or trace",
        None,
    );
    let number = Arguments::from((3,));
    expect(ask(&caller, &number), "TypeError: log: the level must be text, not int", None);
    let two = Arguments::from(("debug", "info"));
    let line = "TypeError: log takes one argument, the level, or none, not 2";
    expect(ask(&caller, &two), line, None);
}

#[test]
fn all_that_changes_something_looks_at_epoch_and_deadline_and_nothing_else_does() {
    let (_agent, stage, caller) = Agent::with_actor();
    let lease = Some([0xa; 16]);
    let elsewhere = With { epoch: Some(caller.hello().epoch ^ 1), lease, ..With::default() };
    let late = With { expires: Some(Duration::ZERO), lease, ..With::default() };
    let far = With { expires: Some(Duration::from_millis(u64::MAX)), lease, ..With::default() };
    let (none, time) = (Arguments::default(), Arguments::from((60_000,)));
    let changes = [
        (Op::Call, "actor.note", note("x"), "actor.note"),
        (Op::Set, "actor.level", Arguments::from((8,)), "actor.level"),
        (Op::Lock, "actor", time.clone(), "lock of 'actor'"),
        (Op::Renew, "actor", time.clone(), "renew of 'actor'"),
        (Op::Release, "actor", none.clone(), "release of 'actor'"),
        (Op::Steal, "actor", time, "steal of 'actor'"),
        (Op::Log, "", note("debug"), "log"),
    ];
    for (op, target, args, what) in &changes {
        let ask = |with: &With| caller.ask(*op, target, args, with);
        assert_eq!(ask(&elsewhere).not_executed(), "StaleEpoch", "{op:?}");
        assert_eq!(ask(&far).not_executed(), "ExpiresTooFar", "{op:?}");
        let Answer::Error { line, executed, reason, .. } = ask(&late) else { panic!("{op:?}") };
        assert_eq!((executed, reason.as_deref()), ("no", Some("Expired")));
        assert_eq!(line, format!("TimeoutError: the time for {what} was over before it ran"));
    }
    assert_eq!(caller.ask(Op::Leases, "", &none, &With::default()), Answer::ok("[]"));
    assert_eq!(caller.ask(Op::Get, "actor.level", &none, &With::default()), Answer::ok(7));
    assert_eq!(stage.ran(), [""; 0]);

    let mut gone = Arguments::default();
    gone.push(&(proximity_proto::reply::Bytes(vec![9; 16]), 1u64));
    let others = [
        (Op::Cancel, "", gone),
        (Op::Describe, "actor", none.clone()),
        (Op::Hello, "", none.clone()),
        (Op::Status, "", none.clone()),
        (Op::Leases, "", none.clone()),
        (Op::Log, "", none),
    ];
    for (op, target, args) in &others {
        for with in [&elsewhere, &late, &far] {
            let answer = caller.ask(*op, target, args, with);
            assert!(matches!(answer, Answer::Ok(_)), "{op:?}: {answer:?}");
        }
    }
}
