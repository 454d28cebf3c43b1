//! `cargo demo`: a mock board, an agent and the `proximity` command, as the processes a user would run.

use crate::build;
use crate::process::{self, Guarded};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

/// How long a process may take to say that it is ready, or to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// What fits beside each other on a screen.
const COLUMNS: usize = 100;

/// What to do when the walk is over.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    Stay,
    End,
}

/// One command of the walk, and what makes its answer right.
struct Step {
    title: &'static str,
    args: &'static [&'static str],
    /// How many lines of a longer answer are shown.
    lines: usize,
    exit: i32,
    answer: Answer,
}

enum Answer {
    /// These words, somewhere in the output.
    Has(&'static [&'static str]),
    /// This output and nothing else.
    Is(&'static str),
}

const fn step(
    title: &'static str,
    args: &'static [&'static str],
    lines: usize,
    answer: Answer,
) -> Step {
    Step { title, args, lines, exit: 0, answer }
}

/// The walk, which fits on a screen. The mock's own design has `sys_scratchpad`, a 32-bit register, and
/// `big_bram`, a megabyte.
const WALK: [Step; 10] = [
    step("what this agent has", &["list"], 4, Answer::Has(&["counter", "foo", "srbs"])),
    step(
        "what the board can do",
        &["list", "srbs"],
        6,
        Answer::Has(&["listdev(", "read_uint(", "progdev(", "est_brd_clk("]),
    ),
    step(
        "one method's documentation",
        &["describe", "foo.div_two"],
        12,
        Answer::Has(&["div_two(x", "ZeroDivisionError"]),
    ),
    step(
        "the gateware's registers",
        &["call", "srbs.listdev"],
        4,
        Answer::Has(&["sys_scratchpad", "big_bram"]),
    ),
    step(
        "write a register ...",
        &["call", "srbs.write_int", "sys_scratchpad", "0x12345678"],
        1,
        Answer::Is(""),
    ),
    step(
        "... and read it back",
        &["call", "srbs.read_uint", "sys_scratchpad"],
        1,
        Answer::Is("305419896"),
    ),
    step(
        "the first word of a memory ...",
        &["call", "srbs.write_int", "big_bram", "0x50726f78"],
        1,
        Answer::Is(""),
    ),
    step(
        "... and all of it, in bulk",
        &["call", "srbs.read", "big_bram", "1048576"],
        3,
        Answer::Has(&["50726f78", "1048576 bytes"]),
    ),
    step("another object", &["call", "foo.add_two", "2", "3"], 1, Answer::Is("5")),
    Step {
        title: "a mistake",
        args: &["call", "srbs.read_uint", "sys_scratchpd"],
        lines: 4,
        exit: 1,
        answer: Answer::Has(&["KeyError", "'sys_scratchpd'", "hint:", "'sys_scratchpad'"]),
    },
];

/// Runs the demo.
pub(crate) fn run(after: After) -> ExitCode {
    eprintln!("building the release binaries (a few minutes the first time)...");
    match build::release().status() {
        Ok(status) if status.success() => {}
        _ => return ExitCode::FAILURE,
    }
    match walk(after) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("demo: {text}");
            ExitCode::FAILURE
        }
    }
}

fn walk(after: After) -> Result<(), String> {
    let mut mock = Guarded::start(&build::binary("mock-fpga"), &[])?;
    let board = lines_of(&mut mock);
    let board = wait_for(&board, "mock-fpga", "listening ")?;
    let port = board.rsplit(':').next().unwrap_or_default();

    let config = process::work_dir().join("demo-agent.toml");
    let written = fs::create_dir_all(process::work_dir())
        .and_then(|()| fs::write(&config, configuration(port)));
    written.map_err(|error| format!("cannot write {}: {error}", config.display()))?;
    let path = config.to_string_lossy();
    let mut agent =
        Guarded::start(&build::binary("proximity-agent"), &["serve", "-c", path.as_ref()])?;
    let said = lines_of(&mut agent);
    let address = wait_for(&said, "proximity-agent", "listening ")?;
    wait_for(&said, "proximity-agent", "ready")?;

    println!("mock-fpga listens on {board}, proximity-agent on {address}\n");
    let wrong = WALK.iter().filter(|step| !take(step, &address)).count();
    if wrong > 0 {
        return Err(format!("{wrong} of {} steps gave the wrong answer", WALK.len()));
    }
    if after == After::Stay {
        print_how_to_connect(&address);
        let status = agent.0.wait().map_err(|error| error.to_string())?;
        return Err(format!("the agent ended: {status}"));
    }
    println!("\nall {} steps gave the right answer", WALK.len());
    Ok(())
}

fn configuration(port: &str) -> String {
    format!(
        "listen = [\"tcp://127.0.0.1:0\"]\n\
         [objects.srbs]\ndriver = \"fpga\"\nhost = \"127.0.0.1\"\nport = {port}\n\
         [objects.foo]\ndriver = \"calculator\"\n\
         [objects.counter]\ndriver = \"counter\"\n"
    )
}

/// Takes one step of the walk on the screen; says whether the answer was right.
fn take(step: &Step, address: &str) -> bool {
    println!("$ {:<58} # {}", format!("proximity {}", step.args.join(" ")), step.title);
    let output = match answer(step.args, address) {
        Ok(output) => output,
        Err(text) => {
            println!("{text}");
            return false;
        }
    };
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    print_part(&said, step.lines);
    let right = match step.answer {
        Answer::Has(words) => words.iter().all(|word| said.contains(word)),
        Answer::Is(text) => said.trim() == text,
    };
    let right = right && output.status.code() == Some(step.exit);
    if !right {
        println!("^ WRONG ({})", output.status);
    }
    right
}

/// Prints at most `most` lines of `text`, the last one among them, and none of them wider than a screen.
fn print_part(text: &str, most: usize) {
    let lines: Vec<&str> = text.lines().collect();
    let left_out = lines.len().saturating_sub(most);
    for (number, line) in lines.iter().enumerate() {
        if left_out > 0 && number + 1 == most {
            println!("    ... {left_out} more lines ...");
        }
        if number + 1 < most || number >= most - 1 + left_out {
            println!("{}", line.chars().take(COLUMNS).collect::<String>());
        }
    }
}

/// Runs `proximity` against the agent at `address`.
fn answer(args: &[&str], address: &str) -> Result<Output, String> {
    let mut command = Command::new(build::binary("proximity"));
    command.args(["-a", address]).args(args).stdin(Stdio::null());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.map_err(|error| format!("cannot run proximity: {error}"))?;
    let pid = child.id();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    if let Ok(output) = receiver.recv_timeout(PATIENCE) {
        return output.map_err(|error| error.to_string());
    }
    let _ = Command::new("kill").arg(pid.to_string()).status();
    Err(format!("no answer within {PATIENCE:?}"))
}

/// Hands on the lines that a child prints, and goes on reading so that it never waits for us.
fn lines_of(child: &mut Guarded) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    if let Some(stdout) = child.0.stdout.take() {
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
    }
    receiver
}

/// Returns what follows `start` in the first line that starts so.
fn wait_for(lines: &Receiver<String>, who: &str, start: &str) -> Result<String, String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let line = lines
            .recv_timeout(left)
            .map_err(|_| format!("{who} ended or did not say '{}'", start.trim_end()))?;
        if let Some(rest) = line.strip_prefix(start) {
            return Ok(rest.to_owned());
        }
    }
}

fn print_how_to_connect(address: &str) {
    let here = std::env::current_dir().unwrap_or_default();
    let binary = build::binary("proximity");
    let binary = binary.strip_prefix(&here).map_or(binary.as_path(), Path::new);
    println!(
        "\nIt stays up until Ctrl-C. From another terminal:\n\
         \x20 {} -a {address} shell\n\
         or in Python, after `pip install pyzmq msgpack` and in clients/python/src:\n\
         \x20 from proximity import Proxy\n\
         \x20 srbs = Proxy(\"{address}\", \"srbs\")\n\
         \x20 srbs.read_uint(\"sys_scratchpad\")",
        binary.display()
    );
}
