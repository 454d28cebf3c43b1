//! The `proximity` command against a real agent: what it prints, where, and with what status it ends.

#![allow(
    clippy::format_push_string,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a failing test panics"
)]

use proximity_client::Client;
use proximity_tests::{
    PATIENCE,
    process::{Agent, Process, TestAgent, program, scratch, shell},
};
use std::{
    ffi::OsStr,
    io::{Read, Write},
    os::unix::ffi::OsStrExt,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

/// A command as a person would type it.
fn proximity(endpoint: &str) -> Command {
    let mut command = Command::new(program("proximity"));
    command.args(["-a", endpoint]).env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// What a command printed, on both, and its status.
fn said(output: &Output) -> (String, String, i32) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr), output.status.code().unwrap_or(-1))
}

fn run(endpoint: &str, args: &[&str]) -> (String, String, i32) {
    said(&proximity(endpoint).args(args).output().expect("the command starts"))
}

/// What a command that succeeds prints.
fn printed(endpoint: &str, args: &[&str]) -> String {
    let (out, err, status) = run(endpoint, args);
    assert_eq!((err.as_str(), status), ("", 0), "{args:?}");
    out
}

const OBJECTS: &str = "[objects.foo]\ndriver = \"calculator\"\n\
    [objects.counter]\ndriver = \"counter\"\n\
    [objects.\"animals.angry\"]\ndriver = \"counter\"\nstart = 100\n";

/// An agent with a mock board.
fn board() -> (Process, Agent) {
    let mut mock =
        Process::start(Command::new(program("mock-fpga")).args(["--listen", "127.0.0.1:0"]));
    let address = mock.line("listening ");
    let port = address.rsplit(':').next().expect("an address has a port");
    let agent = Agent::start(&format!(
        "{OBJECTS}[objects.srbs]\ndriver = \"fpga\"\nhost = \"127.0.0.1\"\nport = {port}\n"
    ));
    let connected = run(&agent.endpoint, &["call", "srbs.wait_connected", "20"]);
    assert_eq!(connected.0, "True\n", "{connected:?}");
    (mock, agent)
}

/// Compares with `tests/golden/command/NAME.txt`. `UPDATE_GOLDEN=1` writes it anew, and then fails so
/// that nobody forgets to look.
fn golden(name: &str, text: &str) {
    let path = format!("{}/golden/command/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    if expected != text && std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).expect("the golden file can be written");
        panic!("{name}.txt was written anew: read it, and its line in SHA256SUMS");
    }
    for (number, (line, meant)) in (1..).zip(text.lines().zip(expected.lines())) {
        assert_eq!(line, meant, "{name}.txt, line {number}");
    }
    assert_eq!(text.len(), expected.len(), "{name}.txt has another end");
}

#[test]
fn the_help_teaches() {
    let mut text = String::new();
    for args in [
        &["--help"][..],
        &["list", "--help"],
        &["describe", "--help"],
        &["call", "--help"],
        &["get", "--help"],
        &["set", "--help"],
        &["shell", "--help"],
        &["status", "--help"],
        &["log", "--help"],
        &["leases", "--help"],
        &["steal", "--help"],
        &["gateware", "--help"],
    ] {
        let output = Command::new(program("proximity")).args(args).output().expect("it starts");
        let (out, err, status) = said(&output);
        assert_eq!((err.as_str(), status), ("", 0));
        text += &format!("$ proximity {}\n{out}\n", args.join(" "));
    }
    golden("help", &text);
}

#[test]
fn every_mistake_is_told_in_a_line_with_its_status() {
    let agent = Agent::start(OBJECTS);
    let mut text = String::new();
    for args in [
        // The object's own: 1.
        &["call", "foo.div_two", "2", "0"][..],
        &["call", "foo.add_two", "2"],
        &["call", "foo.add_two", "2", "3", "4"],
        &["call", "foo.add_two", "2", "three"],
        &["call", "foo.add_tow", "2", "3"],
        &["call", "fo.add_two", "2", "3"],
        &["call", "counter.add", "stp=2"],
        &["call", "counter.value"],
        &["get", "counter.valeu"],
        &["get", "counter.add"],
        &["set", "counter.value", "much"],
        &["describe", "nope"],
        // Wrong usage: 2.
        &["call", "foo"],
        &["call", "add_two", "2", "3"],
        &["get", "value"],
        &["call", "counter.add", "99999999999999999999"],
        &["call", "foo.add_two", "[1,"],
        &["call", "foo.add_two", "@/nowhere/to/be/found"],
        &["call", "foo.add_two", "2", "3", "--raw"],
        &["describe", "foo.add_tow"],
        &["call"],
        &["cal", "foo.add_two"],
        &["gateware", "/dev/zero"],
        &["--timeout", "0", "list"],
        &["--timeout", "-1", "list"],
        &["list", "foo", "-5"],
        &["-a", "nowhere:port", "list"],
        &["-a", "udp://here:1", "list"],
        // As JSON, for programs.
        &["--json", "call", "foo.div_two", "2", "0"],
        &["--json", "call", "foo"],
    ] {
        let (out, err, status) = run(&agent.endpoint, args);
        assert_eq!(out, "", "{args:?}");
        text += &format!("$ proximity {}\n{err}[{status}]\n\n", args.join(" "));
    }
    golden("mistakes", &text);
}

#[test]
fn what_there_is_is_listed_and_described() {
    let agent = Agent::start(OBJECTS);
    let mut text = String::new();
    for args in [
        &["list"][..],
        &["list", "foo"],
        &["list", "animals.angry"],
        &["describe", "counter"],
        &["describe", "animals.angry.add"],
        &["describe", "counter.value"],
        &["--json", "list"],
        &["--json", "list", "counter"],
        &["--json", "describe", "counter.add"],
        &["--json", "describe", "counter.value"],
    ] {
        let out = printed(&agent.endpoint, args);
        text += &format!("$ proximity {}\n{out}\n", args.join(" "));
    }
    golden("described", &text);
}

#[test]
fn an_object_that_cannot_be_opened_is_listed_with_its_reason() {
    let broken = "[objects.broken]\ndriver = \"python\"\nclass = \"nowhere:Lab\"\n";
    let agent = Agent::start(&format!("{OBJECTS}{broken}"));
    let listed = printed(&agent.endpoint, &["list"]);
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines.len(), 4, "{listed}");
    assert!(lines[1].starts_with("broken         NotExecuted: describing broken "), "{listed}");
    assert!(lines[3].starts_with("foo            "), "{listed}");
    let listed = printed(&agent.endpoint, &["--json", "list"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
    assert_eq!(listed[1]["name"], "broken");
    assert_eq!(listed[1]["error"]["executed"], "no");
    assert!(listed[2].get("error").is_none() && listed[2]["doc"].is_string(), "{listed}");
}

#[test]
fn values_go_there_and_back() {
    let agent = Agent::start(OBJECTS);
    let printed = |args: &[&str]| printed(&agent.endpoint, args);
    assert_eq!(printed(&["call", "foo.add_two", "2", "3"]), "5\n");
    assert_eq!(printed(&["call", "foo.add_two", "0x10", "-0.5"]), "15.5\n");
    assert_eq!(printed(&["call", "foo.div_two", "y=2", "x=500"]), "250\n");
    assert_eq!(printed(&["call", "foo.sub_two", "--", "-1", "-0x1"]), "0\n");
    assert_eq!(printed(&["call", "foo.sub_two", "-0x10", "-1_000", "--json"]), "984\n");
    assert_eq!(printed(&["call", "foo.add_two", "y=-.5", "-.5"]), "-1.0\n");
    assert_eq!(printed(&["--json", "call", "foo.add_two", "1.0", "2"]), "3.0\n");
    assert_eq!(printed(&["call", "animals.angry.add", "-1"]), "99\n", "dotted names");
    assert_eq!(printed(&["call", "counter.add"]), "1\n");
    assert_eq!(printed(&["set", "counter.value", "-7"]), "");
    assert_eq!(printed(&["get", "counter.value"]), "-7\n");
    assert_eq!(printed(&["--json", "get", "counter.value"]), "-7\n");
}

#[test]
fn bytes_come_from_files_and_go_to_files() {
    let (_mock, agent) = board();
    let directory = scratch();
    let file = directory.join("data.bin");
    let data: Vec<u8> = (0..4096u32).map(|n| n.to_be_bytes()[3]).collect();
    std::fs::write(&file, &data).expect("the scratch directory can be written");
    let written = format!("@{}", file.display());
    let printed = |args: &[&str]| printed(&agent.endpoint, args);
    printed(&["call", "srbs.write", "big_bram", &written, "offset=1024"]);
    let read = ["call", "srbs.read", "big_bram", "4096", "1024"];
    let raw = proximity(&agent.endpoint).args(read).arg("--raw").output().expect("it starts");
    assert_eq!(raw.stdout, data);
    let dumped = printed(&read);
    assert!(
        dumped.starts_with("00000000  00010203 04050607 08090a0b 0c0d0e0f  |................|\n")
    );
    assert!(dumped.ends_with("... 4096 bytes in all\n"));

    let mut child = proximity(&agent.endpoint)
        .args(["call", "srbs.write", "sys_scratchpad", "@-"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("it starts");
    child.stdin.take().expect("piped").write_all(b"\x12\x34\x56\x78").expect("it reads");
    assert!(child.wait().expect("it ends").success());
    assert_eq!(printed(&["call", "srbs.read_uint", "sys_scratchpad"]), "305419896\n");
    assert!(printed(&["call", "srbs.listdev"]).lines().any(|line| line == "sys_clkcounter"));
    let _ = std::fs::remove_dir_all(directory);
}

#[test]
fn a_closed_pipe_ends_it_quietly() {
    let (_mock, agent) = board();
    let mut child = proximity(&agent.endpoint)
        .args(["call", "srbs.read", "big_bram", "1048576", "--raw"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut start = [0; 16];
    child.stdout.take().expect("piped").read_exact(&mut start).expect("a first line");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(said(&output), (String::new(), String::new(), 0));
}

#[test]
fn the_status_tells_the_outcome() {
    let agent = TestAgent::start();
    let (_, err, status) =
        run(&agent.endpoint, &["--timeout", "0.3", "call", "sleeper.sleep", "2"]);
    assert_eq!(status, 5, "{err}");
    assert_eq!(
        err,
        format!(
            "OutcomeUnknown: sleeper.sleep() may have been executed or not: \
             no answer from {} within 300ms\n\
             hint: look at the device before you repeat it: \
             read back what it should have changed\n",
            agent.endpoint
        )
    );
    // The first still sleeps; this one's time is over before its turn.
    let (_, err, status) =
        run(&agent.endpoint, &["--timeout", "0.3", "call", "sleeper.sleep", "0"]);
    assert_eq!(status, 3, "{err}");
    assert!(err.starts_with("NotExecuted: sleeper.sleep() was not executed: "), "{err}");
    drop(agent);

    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = nobody.local_addr().expect("an address").to_string();
    drop(nobody);
    let begun = Instant::now();
    let (_, err, status) = run(&address, &["--timeout", "0.3", "call", "foo.f"]);
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(status, 4);
    assert_eq!(
        err,
        format!(
            "NotSent: hello was not sent: no connection to tcp://{address} within 300ms\n\
             hint: is an agent running there, and is the address right?\n"
        )
    );
}

#[test]
fn the_agent_may_be_named_by_the_environment() {
    let agent = Agent::start(OBJECTS);
    let mut command = Command::new(program("proximity"));
    let output =
        command.args(["call", "foo.add_two", "2", "3"]).env("PROXIMITY_AGENT", &agent.endpoint);
    assert_eq!(said(&output.output().expect("it starts")), ("5\n".into(), String::new(), 0));
    let output = command.env("PROXIMITY_AGENT", OsStr::from_bytes(b"host\xff"));
    let told = "error: PROXIMITY_AGENT is 'host\u{fffd}', which is not UTF-8\n\
        hint: set it to HOST, HOST:PORT, tcp://HOST:PORT or ipc:///PATH\n";
    assert_eq!(said(&output.output().expect("it starts")), (String::new(), told.into(), 2));
}

#[test]
fn ctrl_c_takes_a_waiting_call_back() {
    let agent = TestAgent::start();
    let start = |args: &[&str]| {
        let mut command = proximity(&agent.endpoint);
        let command = command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("it starts")
    };
    // Sends SIGINT until it ends: the process hears it once it has begun, and before that it ends by it.
    let interrupt = |mut child: std::process::Child| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let sent = Command::new("kill").args(["-s", "INT", &child.id().to_string()]).status();
            assert!(sent.is_ok());
            if let Some(status) = child.try_wait().expect("a child can be asked for") {
                return status.code();
            }
            assert!(Instant::now() < deadline, "Ctrl-C does not end it");
            std::thread::park_timeout(Duration::from_millis(50));
        }
    };
    // One call holds the object until it is told to stop. It does once a short call has no turn.
    let holding = start(&["--timeout", "60", "call", "sleeper.wait"]);
    let deadline = Instant::now() + PATIENCE;
    let has_turn = || {
        let short = ["--timeout", "0.3", "call", "sleeper.sleep", "0"];
        start(&short).wait_with_output().expect("it ends").status.success()
    };
    while has_turn() {
        assert!(Instant::now() < deadline, "the first call does not hold the object");
    }
    // Another waits behind it.
    let waiting = start(&["--timeout", "60", "call", "sleeper.sleep", "0"]);
    assert!(matches!(interrupt(waiting), Some(130) | None));
    // The one that runs is told, and its value may still come.
    assert!(matches!(interrupt(holding), Some(0 | 130) | None));
    // Nothing holds the object any more.
    assert_eq!(printed(&agent.endpoint, &["call", "sleeper.sleep", "0"]), "0.0\n");
}

#[test]
fn an_object_can_be_locked_and_taken() {
    let agent = Agent::start(OBJECTS);
    let endpoint = &agent.endpoint;
    assert_eq!(printed(endpoint, &["leases"]), "");
    assert_eq!(printed(endpoint, &["--json", "leases"]), "[]\n");
    let client = Client::new(endpoint).expect("an address").with_holder("ana@laptop");
    let held = client.object("counter").lock(Duration::from_mins(1)).expect("free");

    let mine = ["call", "counter.add", "1"];
    let locked = ["--json", "set", "counter.value", "1", "--lock"];
    for args in [&mine[..], &["call", "--lock", "counter.add", "1"], &locked] {
        let (out, err, status) = run(endpoint, args);
        assert_eq!((out.as_str(), status), ("", 3), "{err}");
        assert!(err.contains("object 'counter' is locked by ana@laptop"), "{err}");
    }
    let (_, err, _) = run(endpoint, &locked);
    let error: serde_json::Value = serde_json::from_str(&err).expect("JSON");
    let error = &error["error"];
    assert_eq!(
        (error["reason"].as_str(), error["executed"].as_str()),
        (Some("Locked"), Some("no"))
    );
    assert!(error["holder"].as_str().expect("a holder").starts_with("ana@laptop"), "{err}");
    assert!(error["expires_in"].as_f64().expect("seconds") <= 60.0, "{err}");
    // Reads are free.
    assert_eq!(printed(endpoint, &["get", "counter.value"]), "0\n");
    let listed = printed(endpoint, &["leases"]);
    assert!(listed.starts_with("counter  ana@laptop"), "{listed}");
    assert!(listed.contains(", for another "), "{listed}");

    let told = printed(endpoint, &["steal", "counter"]);
    assert!(told.starts_with("counter was locked by ana@laptop"), "{told}");
    assert!(told.ends_with("; it is free now\n"), "{told}");
    assert_eq!(
        printed(endpoint, &["steal", "counter"]),
        "counter was not locked; it is free now\n"
    );
    assert!(held.call("add", (1,)).expect_err("it is lost").is_lease_lost());
    assert_eq!(printed(endpoint, &["call", "counter.add", "1", "--lock"]), "1\n");
    assert_eq!(printed(endpoint, &["leases"]), "", "it is released at the end");
}

#[test]
fn a_shell_holds_what_it_locks() {
    let agent = Agent::start(OBJECTS);
    let script = "counter.add 2\nrelease counter\nlock foo\nfoo.add_two 2 3\nrelease foo\n\
                  steal counter\ncounter.value = 7\ncounter.value\nleases\nrelease foo\n";
    let (out, err, status) = shell(&agent.endpoint, &["--lock", "counter"], script);
    let lines: Vec<&str> = out.lines().collect();
    let stolen = "counter was not locked; it is locked by this shell now";
    assert_eq!(lines[..4], ["2", "5", stolen, "7"], "{out}{err}");
    assert!(lines[4].starts_with("counter  ") && lines.len() == 5, "{out}");
    assert_eq!(
        (err.as_str(), status),
        ("error: 'foo' is not locked here\nhint: `lock OBJECT` does that\n", 2)
    );
    assert_eq!(printed(&agent.endpoint, &["leases"]), "", "it is released at the end");
}

#[test]
fn a_script_of_the_shell_runs_to_its_first_mistake() {
    let agent = Agent::start(OBJECTS);
    let script = "foo.add_two(2, 3)\ncounter.value = 9\ncounter.add step=-4\ncounter.value\n\
                  # nothing\nfoo.div_two 1 0\ncounter.value\n";
    assert_eq!(
        shell(&agent.endpoint, &[], script),
        ("5\n5\n5\n".into(), "ZeroDivisionError: division of 1 by zero\n".into(), 1)
    );
}

#[test]
fn at_a_terminal_the_shell_completes_remembers_and_survives_ctrl_c() {
    // What is typed before a prompt reads it may be lost: this is what it begins with.
    const PROMPT: &str = "\u{1b}[?2004h";
    let (_mock, agent) = board();
    let state = scratch();
    let steps = serde_json::json!([
        ["", "proximity> "],
        ["foo.di\t", "foo.div_two"],
        [" 500 2\r", "250", PROMPT],
        ["srbs.read_uint sys_scr\t", "sys_scratchpad"],
        ["\r", PROMPT],
        ["srbs.write_int sys_scratchpad int\t5\r", PROMPT],
        ["srbs.read_uint sys_scratchpad\r", "\r\n5\r\n", PROMPT],
        ["foo.div_two?\r", "ZeroDivisionError: y is 0", PROMPT],
        ["foo.add_two(1, 2\r", "a ) is missing", PROMPT],
        ["foo.add_two 1 it's\r", "a ' is missing", PROMPT],
        ["call foo.add_two(1, 6)\r", "\r\n7\r\n", PROMPT],
        ["foo.add_two??\r", "Adds two values together.", PROMPT],
        ["set counter.value 9\r", PROMPT],
        ["get counter.value\r", "\r\n9\r\n", PROMPT],
        ["call foo.a\t", "foo.add_two"],
        [" 20 22\r", "\r\n42\r\n", PROMPT],
        ["srbs.est_brd_clk\r", "\r\n"],
        ["\u{3}", PROMPT],
        ["foo.add_two 20 22\r", "42", PROMPT],
        ["foo.add_two 1 \u{fffd}2", "this line is not UTF-8", PROMPT],
        ["foo.nope\r", "no method 'nope'", PROMPT],
        ["\u{1b}[A\u{1b}[A\r", "42", PROMPT],
        ["\u{3}", PROMPT],
        ["\u{4}"],
    ]);
    let python = std::env::var("PROXIMITY_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/at_a_terminal.py");
    let output = Command::new(python)
        .args([script, &steps.to_string()])
        .arg(program("proximity"))
        .args(["-a", &agent.endpoint, "shell"])
        .env("XDG_STATE_HOME", &state)
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .output()
        .expect("python starts");
    let (out, err, status) = said(&output);
    assert_eq!(status, 0, "{out}\n{err}");
    let history = std::fs::read_to_string(state.join("proximity/history")).expect("a history");
    assert!(history.lines().any(|line| line == "foo.add_two 20 22"), "{history}");
    let _ = std::fs::remove_dir_all(state);
}
