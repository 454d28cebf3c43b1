//! The sessions of the README, played: what it shows is what a reader gets.

// The exemption of tests in clippy.toml does not reach their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use proximity_tests::process::{Agent, Process, program, scratch};
use std::{fs, path::Path, process::Command};

const CHECKOUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The blocks of a language, in order.
fn blocks(language: &str) -> Vec<String> {
    let page = fs::read_to_string(Path::new(CHECKOUT).join("README.md")).expect("README.md");
    let start = format!("```{language}\n");
    page.split(&start)
        .skip(1)
        .map(|rest| rest.split("```").next().expect("its end").to_owned())
        .collect()
}

/// The README's agent, with a mock for its board, and that board's address.
fn agent() -> (Process, Agent, String) {
    let mut mock =
        Process::start(Command::new(program("mock-fpga")).args(["--listen", "127.0.0.1:0"]));
    let address = mock.line("listening ");
    let port = address.rsplit(':').next().expect("an address has a port");
    let config = blocks("toml").remove(0);
    let (listen, objects) = config.split_once("\n\n").expect("a line before the objects");
    assert_eq!(listen, r#"listen = ["tcp://127.0.0.1:5555"]"#);
    let board = format!("host = \"127.0.0.1\"\nport = {port}");
    let agent = Agent::start(&objects.replace("host = \"srbsr2-1\"", &board));
    (mock, agent, address)
}

#[test]
fn the_session_in_a_shell_is_what_a_reader_gets() {
    let (_mock, agent, board) = agent();
    let mut commands = 0;
    for step in blocks("console")[0].split("$ proximity ").skip(1) {
        let (typed, shown) = step.split_once('\n').expect("a line");
        let output = Command::new(program("proximity"))
            .args(typed.split(' '))
            .env("PROXIMITY_AGENT", &agent.endpoint)
            .output()
            .expect("the command starts");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).expect("text").replace(&board, "srbsr2-1:7147");
        assert_eq!(said, shown, "proximity {typed}");
        commands += 1;
    }
    assert!(commands >= 6, "{commands}");
}

#[test]
fn the_session_in_python_is_what_a_reader_gets() {
    let (_mock, agent, _) = agent();
    let mut script = String::new();
    let mut compared = 0;
    for line in blocks("python")[0].replace("tcp://control-host:5555", &agent.endpoint).lines() {
        let line = match line.split_once("  # ") {
            Some((call, value)) if value.parse::<u32>().is_ok() => {
                compared += 1;
                format!("assert {} == {value}\n", call.trim())
            }
            Some((call, "bytes")) => {
                compared += 1;
                format!("assert len({}) == 65536\n", call.trim())
            }
            Some((call, raises)) => {
                let (_, class) = raises.split_once("raises ").expect("what it raises");
                let class = class.split(',').next().expect("a class");
                compared += 1;
                format!("try: {}\nexcept {class}: pass\nelse: assert False\n", call.trim())
            }
            None => format!("{line}\n"),
        };
        script.push_str(&line);
    }
    assert!(compared >= 3, "{script}");
    let python = std::env::var("PROXIMITY_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let output = Command::new(python)
        .args(["-c", &script])
        .env("PYTHONPATH", Path::new(CHECKOUT).join("clients/python/src"))
        .output()
        .expect("python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_examples_of_configurations_are_good() {
    let folder = scratch();
    for (number, config) in blocks("toml").iter().enumerate() {
        let path = folder.join(format!("{number}.toml"));
        fs::write(&path, config).expect("a file");
        let mut check = Command::new(program("proximity-agent"));
        let output = check.args(["check", "-c"]).arg(&path).output().expect("the agent starts");
        assert!(output.status.success(), "{output:?}");
    }
    let _ = fs::remove_dir_all(folder);
}
