//! Clients from `PyPI`, unmodified, take the mock board for a real one.

#![allow(clippy::expect_used, reason = "a failing test panics")]

use proximity_tests::{
    PATIENCE,
    process::{Process, program},
};
use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    process::Command,
};

/// The least that a client finds to be true of a board, a line each.
const FACTS: usize = 19;

/// Lets `client` go through its paces with a board of this personality.
fn talk(client: &str, personality: &str) {
    let mut board = Process::start(Command::new(program("mock-fpga")).args([
        "--unprogrammed",
        "--sensors",
        "--personality",
        personality,
    ]));
    let address = board.line("listening ");
    let python = std::env::var("PROXIMITY_CLIENTS_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let here = env!("CARGO_MANIFEST_DIR");
    let output = Command::new(python)
        .arg(format!("{here}/python/pypi_clients.py"))
        .args([client, &address, personality])
        .arg(format!("{here}/golden/transcripts/synthetic.fpg"))
        .output()
        .expect("python starts");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{client} with a {personality} board, in an environment of tests/requirements-clients.txt: \
         it came as far as\n{told}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // The clients check what they read; this, that it is what they wrote.
    assert_eq!(ask(&address, "?wordread sys_scratchpad 0"), "!wordread ok 0xcafe");
    assert!(told.lines().count() >= FACTS, "{client}, {personality}: {told}");
}

/// The reply to a request on a connection of its own.
fn ask(address: &str, request: &str) -> String {
    let mut link = TcpStream::connect(address).expect("the board listens");
    link.set_read_timeout(Some(PATIENCE)).expect("an option");
    writeln!(link, "{request}").expect("the board reads");
    let mut lines = BufReader::new(link).lines().map_while(Result::ok);
    lines.find(|line| line.starts_with('!')).expect("the board replies")
}

#[test]
fn the_blocking_client_of_katcp_works_with_every_board() {
    for personality in ["roach2", "roach1", "v5"] {
        talk("blocking", personality);
    }
}

#[test]
fn the_callback_client_of_katcp_works_with_every_board() {
    for personality in ["roach2", "roach1", "v5"] {
        talk("callback", personality);
    }
}

/// It speaks to servers of version 5 only: to others it never considers itself connected.
#[test]
fn aiokatcp_works_with_a_board_of_version_5() {
    talk("aiokatcp", "v5");
}
