//! What an agent tells of itself and its objects, as it travels.

#![allow(clippy::unwrap_used, reason = "a failing test panics")]

use proximity_proto::{
    FromArg, ToReply, Value,
    reply::{map_head, text},
    status::{AgentStatus, ErrorStatus, LinkStatus, ObjectStatus, Status},
};

fn read(bytes: &[u8]) -> Status {
    Status::from_arg(Value::first(bytes).unwrap()).unwrap()
}

fn object(state: &str) -> ObjectStatus {
    ObjectStatus { state: state.into(), ..ObjectStatus::default() }
}

#[test]
fn a_status_is_read_as_it_was_written() {
    let mut srbs = object("disconnected");
    srbs.error = Some(ErrorStatus { class: "E".into(), message: "away".into(), ago: 7 });
    srbs.link = Some(LinkStatus { state: "disconnected".into(), since: 9, error: None });
    let agent = AgentStatus { epoch: u64::MAX, listen: vec!["tcp".into()], ..Default::default() };
    let objects = [("srbs".to_owned(), srbs), ("tally".to_owned(), object("ready"))];
    let status = Status { agent, objects: objects.into() };
    let mut bytes = Vec::new();
    status.to_reply(&mut bytes);
    assert_eq!(read(&bytes), status);
}

#[test]
fn a_status_is_read_whatever_version_wrote_it() {
    let mut bytes = Vec::new();
    map_head(&mut bytes, 2);
    text(&mut bytes, "objects");
    map_head(&mut bytes, 1);
    text(&mut bytes, "tally");
    map_head(&mut bytes, 2);
    text(&mut bytes, "state");
    text(&mut bytes, "busy");
    text(&mut bytes, "temperature");
    7.to_reply(&mut bytes);
    text(&mut bytes, "weather");
    text(&mut bytes, "fair");
    let status = read(&bytes);
    assert_eq!(status.agent, AgentStatus::default());
    assert_eq!(status.objects["tally"], object("busy"));
}

#[test]
fn an_agent_is_well_if_nobody_need_look_after_it() {
    for (state, well) in [
        ("ready", true),
        ("busy", true),
        ("opening", true),
        ("stuck", false),
        ("away", false),
        ("disconnected", false),
        ("failed", false),
        ("a later version's", false),
    ] {
        let mut status = Status::default();
        status.objects.insert("srbs".into(), object(state));
        assert_eq!(status.is_well(), well, "{state}");
        status.agent.draining = true;
        assert!(!status.is_well());
    }
}
