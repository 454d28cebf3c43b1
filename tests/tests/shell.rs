//! The prompt of `proximity shell`, as a script types at it: what it takes, and what it says to near misses.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failing test panics")]

use proximity_tests::process::{Agent, program};
use std::{
    io::Write,
    process::{Command, Stdio},
};

const OBJECTS: &str =
    "[objects.foo]\ndriver = \"calculator\"\n[objects.counter]\ndriver = \"counter\"\n";

/// What a shell that reads `script` prints, on both, and its exit status.
fn shell(endpoint: &str, script: impl AsRef<[u8]>) -> (String, String, i32) {
    let mut child = Command::new(program("proximity"))
        .args(["-a", endpoint, "shell"])
        .env_remove("RUST_LOG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    child.stdin.take().expect("piped").write_all(script.as_ref()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (text(output.stdout), text(output.stderr), output.status.code().unwrap_or(-1))
}

/// What a shell says to a line that is wrong usage.
fn refused(endpoint: &str, line: &str) -> String {
    let (out, err, status) = shell(endpoint, format!("{line}\n"));
    assert_eq!((out.as_str(), status), ("", 2), "{line}: {err}");
    err
}

#[test]
fn a_comparison_sets_nothing() {
    let agent = Agent::start(OBJECTS);
    for line in ["counter.value == 5", "counter.value==5"] {
        assert_eq!(
            refused(&agent.endpoint, line),
            "error: `==` is not taken here\n\
             hint: `counter.value` reads it, and `counter.value = ..` sets it\n"
        );
    }
    let quoted = shell(&agent.endpoint, "foo.add_two(\"a==\", \"b\")\ncounter.value = 5\n");
    assert_eq!(quoted.2, 1, "an error of the object's: {quoted:?}");
}
