//! Calls that come to their end, and what is answered without one.

use crate::harness::{Agent, Answer, With, old, shown};
use proximity_proto::{call::Op, reply::call_id, request::Arguments};
use std::time::Duration;

fn args(values: &[&str]) -> Arguments {
    let mut args = Arguments::default();
    for value in values {
        args.push(*value);
    }
    args
}

#[test]
fn a_call_through_a_worker_and_a_quick_one_are_answered() {
    let (_agent, _stage, caller) = Agent::with_actor();
    let answer = caller.ask(Op::Call, "actor.echo", &args(&["hello"]), &With::default());
    assert_eq!(answer, Answer::ok("hello"));
    assert_eq!(caller.call("actor.peek"), Answer::ok(7));
}

#[test]
fn attributes_are_read_and_set() {
    let (_agent, _stage, caller) = Agent::with_actor();
    let ask = |op, args: &Arguments| caller.ask(op, "actor.level", args, &With::default());
    let mut eight = Arguments::default();
    eight.push(&8);
    assert_eq!(ask(Op::Get, &Arguments::default()), Answer::ok(7));
    assert_eq!(ask(Op::Set, &eight), Answer::ok("null"));
    assert_eq!(ask(Op::Get, &Arguments::default()), Answer::ok(8));
    let two = args(&["1", "2"]);
    let Answer::Error { line, .. } = ask(Op::Set, &two) else { panic!("two values were set") };
    assert_eq!(line, "TypeError: setting 'level' takes one value, not 2");
}

#[test]
fn an_objects_own_error_says_that_it_ran() {
    let (_agent, _stage, caller) = Agent::with_actor();
    let expected = Answer::Error {
        line: "ValueError: the level is 7; it must be 8".into(),
        executed: "yes",
        reason: None,
        hint: Some("raise it".into()),
    };
    assert_eq!(caller.call("actor.refuse"), expected);
}

#[test]
fn an_old_client_gets_the_bare_value_and_the_originals_errors() {
    let (_agent, _stage, caller) = Agent::with_actor();
    assert_eq!(caller.ask_raw(&old("actor", "peek")), [7]);
    let reply = shown(&caller.ask_raw(&old("actor", "peak")));
    let expected =
        r#"{"EXCEPTION":["KeyError","'peak'",["no method 'peak'","hint: did you mean 'peek'?"]]}"#;
    assert_eq!(reply, expected);
    let reply = shown(&caller.ask_raw(&old("bar", "peek")));
    let expected =
        r#"{"EXCEPTION":["KeyError","'bar'",["no object 'bar'; this agent has: actor"]]}"#;
    assert_eq!(reply, expected);
    let reply = caller.ask_raw(&old("bar", "list_methods"));
    assert_eq!(reply, b"\x92\xafInterface error\xa5'bar'");
}

#[test]
fn a_request_in_json_is_answered_in_json() {
    let (_agent, _stage, caller) = Agent::with_actor();
    let ask = |text: &str| String::from_utf8(caller.ask_raw(text.as_bytes())).unwrap();
    let reply = ask(r#" {"name": "actor", "proc": "echo", "args": ["hi"], "kwargs": {}}"#);
    assert_eq!(reply, r#""hi""#);
    let reply = ask(r#"{"name": "actor", "proc": "echo", "args": [1], "kwargs": {}}"#);
    assert!(reply.starts_with(r#"{"EXCEPTION":["TypeError","#), "{reply}");
    let reply = ask(r#"{"name": "actor", "#);
    assert!(reply.starts_with(r#"{"EXCEPTION":["ValueError","not a request in JSON: "#), "{reply}");
    let reply = ask(r#"{"name": "actor", "proc": "list_methods", "args": [], "kwargs": {}}"#);
    assert!(reply.contains("usage: peek()"), "{reply}");
}

#[test]
fn hello_list_methods_and_describe_are_answered_while_the_object_is_busy() {
    let (agent, stage, caller) = Agent::with_actor();
    let other = agent.caller();
    let held = caller.begin("actor.hold");
    stage.until_held(1);
    let hello = other.hello();
    assert_eq!(hello.objects.keys().collect::<Vec<_>>(), ["actor"]);
    assert_eq!(hello.limits.max_frame, 64 << 10);
    let methods = shown(&other.ask_raw(&old("actor", "list_methods")));
    assert!(methods.contains("usage: echo(text)"), "{methods}");
    let nothing = Arguments::default();
    let Answer::Ok(text) = other.ask(Op::Describe, "actor.", &nothing, &With::default()) else {
        panic!("no description")
    };
    let description: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(description["name"], "actor");
    assert_eq!(description["hash"], hello.objects["actor"]);
    stage.let_go();
    assert_eq!(caller.answer(held), Answer::ok("let go"));
}

#[test]
fn a_busy_object_does_not_delay_another() {
    let stage = std::sync::Arc::new(crate::harness::Stage::default());
    let agent = Agent::start(crate::harness::config(vec![
        ("slow", "1", stage.opener()),
        ("fast.one", "1", stage.opener()),
    ]));
    let (one, two) = (agent.caller(), agent.caller());
    let held = one.begin("slow.hold");
    stage.until_held(1);
    let answer = two.ask(Op::Call, "fast.one.echo", &args(&["here"]), &With::default());
    assert_eq!(answer, Answer::ok("here"));
    stage.let_go();
    assert_eq!(one.answer(held), Answer::ok("let go"));
}

#[test]
fn progress_comes_before_the_reply_and_only_if_asked_for() {
    let (_agent, _stage, caller) = Agent::with_actor();
    let with = With { progress: true, ..With::default() };
    let id = caller.send(Op::Call, "actor.climb", &Arguments::default(), &with);
    for step in 1..=3 {
        assert_eq!(caller.answer(id), Answer::Progress(step, 3, "climbing".into()));
    }
    assert_eq!(caller.answer(id), Answer::ok(7));
    assert_eq!(caller.call("actor.climb"), Answer::ok(7));
}

#[test]
fn a_call_that_waits_leaves_its_object_to_others() {
    let (agent, stage, caller) = Agent::with_actor();
    let mut ms = Arguments::default();
    ms.push(&50);
    let waiting = caller.send(Op::Call, "actor.later", &ms, &With::default());
    let other = agent.caller();
    // It has begun before the other call, for an object's calls start in their order.
    let note = args(&["between"]);
    let done = other.ask(Op::Call, "actor.note", &note, &With::default());
    assert_eq!(done, Answer::ok("null"));
    assert_eq!(caller.answer(waiting), Answer::ok(7));
    assert_eq!(stage.ran(), ["begun", "between", "ended"]);
}

#[test]
fn a_call_whose_time_is_over_as_it_waits_is_not_told_that_it_never_ran() {
    let (_agent, stage, caller) = Agent::with_actor();
    let mut ms = Arguments::default();
    ms.push(&60_000);
    let expires = Some(caller.hello().now + Duration::from_millis(200));
    let answer = caller.ask(Op::Call, "actor.later", &ms, &With { expires, ..With::default() });
    let Answer::Error { line, reason, hint, .. } = answer else { panic!("{answer:?}") };
    assert_eq!(line, "TimeoutError: the time for actor.later was over while it waited");
    assert_eq!(reason.as_deref(), Some("Expired"));
    let told = "what it waits for has not come; a longer timeout waits for longer";
    assert_eq!(hint.as_deref(), Some(told));
    assert_eq!(stage.ran(), ["begun"]);
}

#[test]
fn a_running_call_learns_that_it_is_cancelled() {
    let (agent, stage, caller) = Agent::with_actor();
    let id = caller.begin("actor.hold_until_cancelled");
    stage.until_held(1);
    assert_eq!(cancel(&agent.caller(), id), Answer::ok("running"));
    assert_eq!(caller.answer(id), Answer::ok("cancelled"));
    // The next call is not taken for the one that was cancelled.
    let answer = caller.ask(Op::Call, "actor.echo", &args(&["next"]), &With::default());
    assert_eq!(answer, Answer::ok("next"));
    assert_eq!(cancel(&agent.caller(), id), Answer::ok("unknown"));
}

/// Takes a call back.
pub(crate) fn cancel(caller: &crate::harness::Caller, id: proximity_proto::call::CallId) -> Answer {
    let mut bytes = Vec::new();
    call_id(&mut bytes, &id);
    let mut args = Arguments::default();
    args.push(&proximity_proto::Value::first(&bytes).unwrap());
    caller.ask(Op::Cancel, "", &args, &With::default())
}

#[test]
fn who_asks_is_told_to_the_method() {
    let (agent, _stage, caller) = Agent::with_actor();
    assert_eq!(caller.call("actor.who"), Answer::ok("Local "));
    let guest = agent.caller_at("10.1.2.3");
    assert_eq!(guest.call("actor.who"), Answer::ok("Address 10.1.2.3"));
}
