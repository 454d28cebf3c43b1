//! The prompt of `proximity shell`, as a script types at it: what it takes, and what it says to near misses.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failing test panics")]

use proximity_client::Client;
use proximity_tests::process::{Agent, Process, program, shell};
use std::{
    io::{BufRead, BufReader, Lines, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

const OBJECTS: &str =
    "[objects.foo]\ndriver = \"calculator\"\n[objects.counter]\ndriver = \"counter\"\n";

/// What a shell prints, line by line as it comes.
struct Typed {
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Typed {
    fn new(endpoint: &str) -> Self {
        let mut child = Command::new(program("proximity"))
            .args(["-a", endpoint, "shell"])
            .env_remove("RUST_LOG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let lines = BufReader::new(output.expect("piped")).lines();
        Self { child, input: input.expect("piped"), lines }
    }

    /// Types lines, and gives the next one that is printed.
    fn line(&mut self, typed: &str) -> String {
        self.input.write_all(typed.as_bytes()).expect("it reads");
        self.lines.next().expect("it prints a line").expect("text")
    }
}

/// What a shell says to a line that is wrong usage.
fn refused(endpoint: &str, line: &str) -> String {
    let (out, err, status) = shell(endpoint, &[], format!("{line}\n"));
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
    let quoted = shell(&agent.endpoint, &[], "foo.add_two(\"a==\", \"b\")\ncounter.value = 5\n");
    assert_eq!(quoted.2, 1, "an error of the object's: {quoted:?}");
}

#[test]
fn a_line_that_is_not_utf_8_is_a_mistake_in_that_line() {
    let agent = Agent::start(OBJECTS);
    assert_eq!(
        shell(&agent.endpoint, &[], b"foo.add_two 1 2\nfoo.add_two 1 \xff\nfoo.add_two 3 4\n"),
        ("3\n".into(), "error: this line is not UTF-8\nhint: write it in UTF-8\n".into(), 2)
    );
}

#[test]
fn near_misses_are_told_what_they_miss() {
    let agent = Agent::start(OBJECTS);
    for (line, message, hint) in [
        (
            "foo.add_two(1, 2) 3",
            "`3` stands behind the `)` of the call",
            "a line is one call; blanks, brackets and quotes of a text stand in quotes",
        ),
        (
            "foo.add_two(1, 2); foo.add_two(3, 4)",
            "`; foo.add_two(3, 4)` stands behind the `)` of the call",
            "a line is one call; blanks, brackets and quotes of a text stand in quotes",
        ),
        ("set", "here it is `set OBJECT.ATTRIBUTE VALUE`", "? shows what can be typed"),
        (
            "set counter.value = 9",
            "here it is `set OBJECT.ATTRIBUTE VALUE`",
            "? shows what can be typed",
        ),
        ("call", "here it is `call OBJECT.METHOD ARG ..`", "? shows what can be typed"),
        ("get", "here it is `get OBJECT.ATTRIBUTE`", "? shows what can be typed"),
        (
            "status",
            "status is a command of `proximity`, not of its shell",
            "leave the shell, and type `proximity status`",
        ),
        (
            "log debug",
            "log is a command of `proximity`, not of its shell",
            "leave the shell, and type `proximity log`",
        ),
        (
            "foo.add_two ['a'] 2",
            "'['a']' is no list or map: expected value at line 1 column 2",
            "lists and maps are JSON, as in [1, 2] and {\"key\": \"text\"}; \
             text in them stands in double quotes",
        ),
    ] {
        let told = format!("error: {message}\nhint: {hint}\n");
        assert_eq!(refused(&agent.endpoint, line), told, "{line}");
    }
}

#[test]
fn what_ends_a_statement_elsewhere_is_taken() {
    let agent = Agent::start(OBJECTS);
    for leave in ["exit", "quit", "exit()", "quit()"] {
        let script =
            format!("foo.add_two(1, 2);\nfoo.add_two(3, 4)  # it's 7?\n{leave}\nnonsense\n");
        assert_eq!(shell(&agent.endpoint, &[], script), ("3\n7\n".into(), String::new(), 0));
    }
}

#[test]
fn an_object_may_be_called_as_a_command_is() {
    let agent = Agent::start("[objects.log]\ndriver = \"counter\"\n");
    let (out, err, status) = shell(&agent.endpoint, &[], "log\nlog.add 5\n");
    assert!(out.ends_with("\n5\n") && err.is_empty() && status == 0, "{out}{err}");
}

/// An agent with a mock board.
fn board() -> (Process, Agent) {
    let mut mock =
        Process::start(Command::new(program("mock-fpga")).args(["--listen", "127.0.0.1:0"]));
    let address = mock.line("listening ");
    let port = address.rsplit(':').next().expect("an address has a port");
    let agent = Agent::start(&format!(
        "[objects.srbs]\ndriver = \"fpga\"\nhost = \"127.0.0.1\"\nport = {port}\n"
    ));
    let connected = shell(&agent.endpoint, &[], "srbs.wait_connected 20\n");
    assert_eq!(connected.0, "True\n", "{connected:?}");
    (mock, agent)
}

#[test]
fn bytes_are_written_as_python_writes_them_and_slips_are_refused() {
    let (_mock, agent) = board();
    let script = "srbs.write(\"sys_scratchpad\", b\"\\x12\\x34V\\x78\")\n\
                  srbs.read_uint sys_scratchpad\n\
                  srbs.write sys_scratchpad data=b'a, '\\''\n\
                  srbs.read_uint sys_scratchpad\n\
                  srbs.write sys_scratchpad \"1234\"\n\
                  srbs.write(\"sys_scratchpad\", word)\n\
                  srbs.read_uint sys_scratchpad\n";
    let script = script.replace("b'a, '\\''", "b'a, \\''");
    assert_eq!(
        shell(&agent.endpoint, &[], script),
        ("305419896\n1630281767\n2003792484\n".into(), String::new(), 0)
    );
    for line in ["srbs.write sys_scratchpad 1234", "srbs.write(\"sys_scratchpad\", data=1234)"] {
        assert_eq!(
            refused(&agent.endpoint, line),
            "error: 1234 is a number, and bytes are wanted\n\
             hint: write_int writes a number, @FILE a file's bytes; \
             \"1234\" with its quotes is text, in a command line '\"1234\"'\n"
        );
    }
    // The tests run where their own manifest is.
    assert_eq!(
        refused(&agent.endpoint, "srbs.write sys_scratchpad Cargo.toml"),
        "error: Cargo.toml is the name of a file, and bytes are wanted\n\
         hint: @Cargo.toml is the file's bytes; \
         \"Cargo.toml\" with its quotes is text, in a command line '\"Cargo.toml\"'\n"
    );
    let unchanged = shell(&agent.endpoint, &[], "srbs.read_uint sys_scratchpad\n");
    assert_eq!(unchanged.0, "2003792484\n");
}

#[test]
fn an_object_whose_lease_was_stolen_can_be_locked_again() {
    let agent = Agent::start(OBJECTS);
    let mut shell = Typed::new(&agent.endpoint);
    assert_eq!(shell.line("lock counter\ncounter.add 1\n"), "1");
    let other = Client::new(&agent.endpoint).unwrap();
    let stolen = other.object("counter").steal(Duration::from_mins(1)).expect("on this machine");
    stolen.release().expect("it is held");
    assert_eq!(shell.line("lock counter\ncounter.add 1\n"), "2");
    assert_eq!(other.leases().unwrap().len(), 1, "it is locked again");
    // Locked twice is locked once.
    assert_eq!(shell.line("lock counter\ncounter.add 1\nrelease counter\n"), "3");
    let Typed { mut child, input, .. } = shell;
    drop(input);
    assert!(child.wait().expect("it ends").success());
    assert!(other.leases().unwrap().is_empty());
}
