//! JSON beside MessagePack: copies of a call in both, and requests that break off.

use crate::harness::{Agent, Caller, PATIENCE, With};
use proximity_proto::{
    call::{CallId, Op},
    json,
    request::Arguments,
};

const ID: CallId = CallId { client: *b"0123456789abcdef", seq: 1 };
const HEAD: &str = r#"{"v": 2, "id": [{"__bytes__": "MDEyMzQ1Njc4OWFiY2RlZg=="}, 1]"#;

/// Sends the call `actor.fetch(bytes)`, under one id, in either codec.
fn fetch(caller: &Caller, bytes: usize, in_json: bool) {
    if in_json {
        let rest = format!(r#", "name": "actor", "proc": "fetch", "args": [{bytes}]}}"#);
        caller.client.send(format!("{HEAD}{rest}").as_bytes());
    } else {
        let args = Arguments::from((bytes,));
        caller.send_as(ID, Op::Call, "actor.fetch", &args, &With::default());
    }
}

/// What comes next, as text, after a look that it is in the codec that was asked for.
fn told(caller: &Caller, in_json: bool) -> String {
    let reply = caller.client.receive(PATIENCE).expect("an answer");
    if in_json {
        return String::from_utf8(reply).expect("an answer in JSON");
    }
    assert_eq!(reply.first(), Some(&0x84), "as the released forms start: {reply:02x?}");
    String::from_utf8(json::from_messagepack(&reply).unwrap()).unwrap()
}

#[test]
fn a_repeat_is_answered_in_its_own_codec_whatever_the_first_copys_was() {
    for first_in_json in [false, true] {
        let (agent, stage, caller) = Agent::with_actor();
        let mut answers = Vec::new();
        for in_json in [first_in_json, !first_in_json, first_in_json] {
            let caller = agent.caller();
            fetch(&caller, 3, in_json);
            answers.push(told(&caller, in_json));
        }
        assert!(answers[0].contains(r#""ok":{"__bytes__":"AAAA"}"#), "{}", answers[0]);
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        assert_eq!(stage.ran(), ["fetched"]);
        assert_eq!(caller.status().agent.calls.repeated, 2);
    }
}

#[test]
fn an_objects_error_is_repeated_in_either_codec() {
    let (agent, stage, caller) = Agent::with_actor();
    caller.send_as(ID, Op::Call, "actor.fetch", &Arguments::from(("x",)), &With::default());
    let first = told(&caller, false);
    assert!(
        first.contains(r#""executed":"no","hint":null,"message":"argument 'bytes'"#),
        "{first}"
    );
    let again = agent.caller();
    let rest = r#", "name": "actor", "proc": "fetch", "args": ["x"]}"#;
    again.client.send(format!("{HEAD}{rest}").as_bytes());
    assert_eq!(told(&again, true), first);
    assert_eq!(stage.ran(), [""; 0]);
}

#[test]
fn a_copy_that_waits_for_the_first_is_answered_in_its_own_codec() {
    for first_in_json in [false, true] {
        let (agent, stage, caller) = Agent::with_actor();
        let held = caller.begin("actor.hold");
        stage.until_held(1);
        let (first, copy) = (agent.caller(), agent.caller());
        for (caller, in_json) in [(&first, first_in_json), (&copy, !first_in_json)] {
            fetch(caller, 3, in_json);
            // Answered behind it: the agent has it.
            caller.hello();
        }
        stage.let_go();
        caller.answer(held);
        let answer = told(&first, first_in_json);
        assert!(answer.contains(r#""ok":{"__bytes__":"AAAA"}"#), "{answer}");
        assert_eq!(told(&copy, !first_in_json), answer);
        assert_eq!(stage.ran(), ["fetched"]);
    }
}

#[test]
fn a_repeat_whose_answer_does_not_fit_in_its_codec_is_told_that_the_call_has_run() {
    // Within the agent's max_frame of 64 KiB in MessagePack; bytes are a third longer in JSON.
    let (agent, stage, caller) = Agent::with_actor();
    fetch(&caller, 60_000, false);
    let first = told(&caller, false);
    assert!(first.contains(r#""ok":"#), "{first:.80}");
    let again = agent.caller();
    fetch(&again, 60_000, true);
    let told_again = told(&again, true);
    let mut error: serde_json::Value = serde_json::from_str(&told_again).unwrap();
    let detail = error["error"]["detail"].take();
    // How many exactly depends on the epoch.
    let size = detail[0].as_str().and_then(|line| line.strip_prefix("the reply has 80"));
    let rest = size.and_then(|line| line.split_once(' ')).map(|(_, rest)| rest);
    assert_eq!(rest, Some("bytes; this agent sends at most 65536"), "{detail}");
    let expected = serde_json::json!({
        "class": "RuntimeError",
        "message": "actor.fetch has run, and its result cannot be told in JSON",
        "detail": null,
        "hint": "repeat a call in the codec in which it was made",
        "executed": "yes",
        "reason": "ReplyNotKept",
    });
    assert_eq!(error["error"], expected, "{told_again}");
    // The first answer is still there for whoever takes it as it is.
    fetch(&caller, 60_000, false);
    assert_eq!(told(&caller, false), first);
    assert_eq!(stage.ran(), ["fetched"]);
}

#[test]
fn a_copy_that_waits_is_not_told_a_large_reply_in_another_codec() {
    let stage = std::sync::Arc::new(crate::harness::Stage::default());
    let mut config = crate::harness::config(vec![("actor", "1", stage.opener())]);
    config.limits.max_frame = 8 << 20;
    let agent = Agent::start(config);
    let (caller, first, copy) = (agent.caller(), agent.caller(), agent.caller());
    let held = caller.begin("actor.hold");
    stage.until_held(1);
    for (caller, in_json) in [(&first, true), (&copy, false)] {
        fetch(caller, 100_000, in_json);
        caller.hello();
    }
    stage.let_go();
    caller.answer(held);
    assert!(told(&first, true).contains(r#""ok":"#));
    let error = told(&copy, false);
    for part in [
        r#""detail":["the reply has 1334"#,
        r#" bytes; at most 65536 change their codec"]"#,
        r#""executed":"yes""#,
        r#""reason":"ReplyNotKept""#,
        "actor.fetch has run, and its result cannot be told in MessagePack",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert_eq!(stage.ran(), ["fetched"]);
}

#[test]
fn a_wrong_request_in_json_is_answered_by_its_id_where_that_stands_before_the_offence() {
    let (_agent, _stage, caller) = Agent::with_actor();
    let ask = |text: &str| String::from_utf8(caller.ask_raw(text.as_bytes())).unwrap();
    let deep = "[".repeat(40);
    for rest in [
        r#", "name": actor}"#,
        r#", "name": "#,
        "} x",
        &format!(r#", "args": {deep}"#),
        &format!("{}}}", " ".repeat(65_536)),
    ] {
        let reply: serde_json::Value =
            serde_json::from_str(&ask(&format!("{HEAD}{rest}"))).unwrap();
        let id = serde_json::json!([{"__bytes__": "MDEyMzQ1Njc4OWFiY2RlZg=="}, 1]);
        assert_eq!((&reply["v"], &reply["id"]), (&2.into(), &id), "{rest:.40}: {reply}");
        assert_eq!(reply["error"]["class"], "ValueError", "{reply}");
        assert_eq!(reply["error"]["executed"], "no", "{reply}");
    }
    let reply = ask(&format!("{{\"args\": {deep}"));
    assert!(reply.starts_with(r#"{"EXCEPTION":["ValueError","not a request in JSON: "#), "{reply}");
    assert_eq!(caller.status().agent.calls.wrong, 6);
}
