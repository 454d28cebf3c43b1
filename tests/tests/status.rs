//! `proximity status` against a real agent: what people see, and what monitoring sees.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test panics")]

use proximity_client::Client;
use proximity_tests::{
    PATIENCE,
    process::{Agent, Process, program, scratch},
};
use std::{
    fs::{self, File},
    net::TcpListener,
    process::{Command, Stdio},
    time::{Duration, Instant},
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
    let told = format!("CRITICAL: status was not sent: no connection to {endpoint} within 500ms\n");
    assert_eq!(status(&endpoint, &["--timeout", "0.5", "--check"]), (told, 4));
    assert_eq!(status(&endpoint, &["--timeout", "0.5", "--check", "--json"]).1, 4);
}

/// What `proximity log` printed, on standard output and error, and its exit status.
fn log(endpoint: &str, level: &[&str]) -> (String, i32) {
    let mut command = Command::new(program("proximity"));
    command.args(["-a", endpoint, "log"]).args(level).env_remove("RUST_LOG");
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8(text).unwrap(), output.status.code().unwrap_or(-1))
}

#[test]
fn the_level_of_the_log_is_changed_while_the_agent_runs() {
    let folder = scratch();
    let (config, written) = (folder.join("agent.toml"), folder.join("log"));
    let text =
        "listen = ['tcp://127.0.0.1:0']\nlog = 'error'\n[objects.tally]\ndriver = 'counter'\n";
    fs::write(&config, text).unwrap();
    let start = |filter: Option<&str>| {
        let mut command = Command::new(program("proximity-agent"));
        command.args(["serve", "-c"]).arg(&config).stderr(File::create(&written).unwrap());
        command.env_remove("RUST_LOG").envs(filter.map(|filter| ("RUST_LOG", filter)));
        let mut agent = Process::start(&mut command);
        let endpoint = agent.line("listening ");
        agent.line("ready");
        (agent, endpoint)
    };
    let logged = |part: &str| {
        let end = Instant::now() + PATIENCE;
        loop {
            let text = fs::read_to_string(&written).unwrap();
            if text.contains(part) {
                return;
            }
            assert!(Instant::now() < end, "no '{part}' in {text}");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    };

    let (mut agent, endpoint) = start(None);
    assert_eq!(log(&endpoint, &[]), ("error\n".into(), 0));
    assert_eq!(log(&endpoint, &["off"]), ("off\n".into(), 0));
    logged("127.0.0.1 has set the level of the log to 'off'");
    assert_eq!(log(&endpoint, &["info", "--json"]), ("{\"level\":\"info\"}\n".into(), 0));
    let (said, code) = log(&endpoint, &["loud"]);
    let expected =
        "ValueError: log: the level is 'loud'; it must be off, error, warn, info, debug or trace\n";
    assert_eq!((said.as_str(), code), (expected, 1));
    assert_eq!(log(&endpoint, &[]), ("info\n".into(), 0));
    // The configuration's level again.
    agent.signal("HUP");
    let end = Instant::now() + PATIENCE;
    while log(&endpoint, &[]).0 != "error\n" {
        assert!(Instant::now() < end, "the configuration's level does not come back");
    }
    assert_eq!(log(&endpoint, &["debug"]), ("debug\n".into(), 0));
    agent.signal("TERM");
    assert!(agent.wait().success());
    logged("SIGTERM: stopping as soon as running calls have ended");
    assert!(!fs::read_to_string(&written).unwrap().contains("was read again"));

    let (_agent, endpoint) = start(Some("warn"));
    let (said, code) = log(&endpoint, &["debug"]);
    assert!(
        said.starts_with("RuntimeError: what this agent logs was set when it was started\n"),
        "{said}"
    );
    assert_eq!((log(&endpoint, &[]), code), (("warn\n".into(), 0), 1));
    let _ = fs::remove_dir_all(folder);
}
