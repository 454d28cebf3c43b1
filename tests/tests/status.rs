//! `proximity status` against a real agent: what people see, and what monitoring sees.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test panics")]

use proximity_client::Client;
use proximity_tests::process::{Agent, program};
use std::{
    net::TcpListener,
    process::{Command, Stdio},
};

/// What `proximity status` printed, and its exit status.
fn status(endpoint: &str, options: &[&str]) -> (String, i32) {
    let mut command = Command::new(program("proximity"));
    command.args(["-a", endpoint, "status"]).args(options).env_remove("RUST_LOG");
    let output = command.stdin(Stdio::null()).output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.code().unwrap_or(-1))
}

#[test]
fn an_agent_that_is_well_is_told_with_status_0() {
    let agent = Agent::start("[objects.tally]\ndriver = \"counter\"\n");
    let client = Client::new(&agent.endpoint).unwrap();
    let tally = client.object("tally");
    for _ in 0..3 {
        let _: i64 = tally.call("add", (1,)).unwrap().get().unwrap();
    }
    let told = client.status().unwrap();
    assert_eq!((told.objects["tally"].calls.done, told.is_well()), (3, true));
    assert_eq!(status(&agent.endpoint, &["--check"]), ("OK: 1 object\n".into(), 0));
    let (text, code) = status(&agent.endpoint, &[]);
    assert_eq!(code, 0);
    assert!(text.starts_with(&format!("agent {}", env!("CARGO_PKG_VERSION"))), "{text}");
    let row = text.lines().find(|line| line.starts_with("tally")).unwrap();
    let words: Vec<&str> = row.split_whitespace().collect();
    assert_eq!((words[1], words[5]), ("ready", "3"), "{text}");
    let (json, code) = status(&agent.endpoint, &["--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["objects"]["tally"]["calls"]["done"], code), (&3.into(), 0));
}

#[test]
fn an_agent_that_does_not_answer_is_told_with_status_4() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("tcp://{}", nobody.local_addr().unwrap());
    drop(nobody);
    assert_eq!(status(&endpoint, &["--timeout", "0.5"]), (String::new(), 4));
}
