//! A client of the bare wire and the `proximity` command get the same values.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on panics, and says why"
)]

use proximity_tests::process::{Agent, Process, program};
use serde_json::{Value as Json, json};
use std::{
    io::Write,
    process::{Command, Stdio},
};

/// Asks the twenty-line Python client for all calls at once.
fn python(endpoint: &str, calls: &[(&str, &str, Vec<Json>)]) -> Vec<Json> {
    let python = std::env::var("PROXIMITY_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/twenty_lines.py");
    let mut child = Command::new(python)
        .args([script, endpoint])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python starts");
    let mut input = child.stdin.take().expect("the input is piped");
    for call in calls {
        writeln!(input, "{}", json!(call)).expect("python reads");
    }
    drop(input);
    let output = child.wait_with_output().expect("python ends");
    assert!(output.status.success(), "the Python client failed: pyzmq and msgpack are needed");
    let text = String::from_utf8(output.stdout).expect("JSON is text");
    text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

/// Asks the command for one call; its arguments are written as a person would.
fn command(endpoint: &str, name: &str, proc: &str, args: &[Json]) -> Json {
    let words = args.iter().map(|arg| match arg {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    });
    let output = Command::new(program("proximity"))
        .args(["-a", endpoint, "--json", "call", &format!("{name}.{proc}")])
        .args(words)
        .output()
        .expect("the command starts");
    assert!(output.status.success(), "{name}.{proc}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("--json prints JSON")
}

#[test]
fn the_bare_wire_and_the_command_agree_on_every_value() {
    let mut board =
        Process::start(Command::new(program("mock-fpga")).args(["--listen", "127.0.0.1:0"]));
    let address = board.line("listening ");
    let port = address.rsplit(':').next().expect("an address has a port");
    let agent = Agent::start(&format!(
        "[objects.srbs]\ndriver = \"fpga\"\nhost = \"127.0.0.1\"\nport = {port}\n\
         [objects.foo]\ndriver = \"calculator\"\n[objects.counter]\ndriver = \"counter\"\n"
    ));
    let calls = [
        ("foo", "add_two", vec![json!(2), json!(3)]),
        ("foo", "sub_two", vec![json!(2), json!(3)]),
        ("foo", "div_two", vec![json!(500), json!(2)]),
        ("foo", "div_two", vec![json!(1.0), json!(8)]),
        ("foo", "add_two", vec![json!(9_223_372_036_854_775_807u64), json!(1)]),
        ("srbs", "listdev", vec![]),
        ("srbs", "write_int", vec![json!("sys_scratchpad"), json!(0xcafe)]),
        ("srbs", "read_uint", vec![json!("sys_scratchpad")]),
        ("srbs", "read_int", vec![json!("sys_scratchpad")]),
        ("srbs", "read", vec![json!("sys_scratchpad"), json!(4)]),
        ("srbs", "read", vec![json!("snap_bram"), json!(65536)]),
        ("srbs", "status", vec![]),
        ("srbs", "ping", vec![]),
        ("srbs", "is_connected", vec![]),
    ];
    let told = python(&agent.endpoint, &calls);
    assert_eq!(told.len(), calls.len());
    for ((name, proc, args), told) in calls.iter().zip(told) {
        assert!(told.get("EXCEPTION").is_none(), "{name}.{proc}: {told}");
        assert_eq!(command(&agent.endpoint, name, proc, args), told, "{name}.{proc}");
    }
}
