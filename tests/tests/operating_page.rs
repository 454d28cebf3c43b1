//! `docs/operating.md` says nothing that the programs do not say.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failing test panics")]

use proximity_tests::process::{Process, program, scratch};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The text of all sources below a folder.
fn sources(folder: &Path, out: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            *out += &fs::read_to_string(&path).unwrap();
        }
    }
}

/// What stands in backquotes in the first column of the table below a heading.
fn quoted<'a>(page: &'a str, heading: &str) -> Vec<&'a str> {
    let (_, rest) = page.split_once(heading).expect("the heading");
    let rows = rest.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    rows.flat_map(|cell| cell.split('`').step_by(2)).filter(|line| !line.is_empty()).collect()
}

/// Whether a text has the parts of `line`, those between `..`, in this order.
fn has_parts(text: &str, line: &str) -> bool {
    let mut rest = text;
    line.split("..").map(str::trim).filter(|part| !part.is_empty()).all(|part| {
        let found = rest.split_once(part);
        rest = found.map_or("", |(_, behind)| behind);
        found.is_some()
    })
}

/// Whether a source has a text with these parts, on one line.
fn is_said(source: &str, line: &str) -> bool {
    source.lines().any(|text| text.contains('"') && has_parts(text, line))
}

/// The texts of all warnings and errors in a source.
fn logged(source: &str) -> Vec<&str> {
    let calls = source.split("log::warn!(").skip(1).chain(source.split("log::error!(").skip(1));
    let texts = calls.filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next());
    // What is but a value is told by what it stands for: a mistake in the file, the end of the agent.
    let says_something = |text: &&str| {
        let outside =
            text.split('{').map(|part| part.split_once('}').map_or(part, |(_, rest)| rest));
        outside.flat_map(str::chars).any(char::is_alphabetic)
    };
    texts.filter(says_something).collect()
}

#[test]
fn the_lines_of_the_troubleshooting_are_real() {
    let page = fs::read_to_string(root().join("docs/operating.md")).unwrap();
    let mut source = String::new();
    for folder in ["agent/src", "drivers/src"] {
        sources(&root().join(folder), &mut source);
    }
    let lines = quoted(&page, "## Troubleshooting");
    assert!(lines.len() >= 12, "{lines:?}");
    for line in lines {
        assert!(is_said(&source, line), "no program says: {line}");
    }
    assert!(!is_said(&source, "object '..' has caught fire"));
}

#[test]
fn no_warning_or_error_is_missing_in_the_troubleshooting() {
    let page = fs::read_to_string(root().join("docs/operating.md")).unwrap();
    let rows = quoted(&page, "## Troubleshooting");
    let mut source = String::new();
    for folder in ["agent/src", "drivers/src"] {
        sources(&root().join(folder), &mut source);
    }
    let texts = logged(&source);
    assert!(texts.len() >= 25, "{texts:#?}");
    for text in texts {
        assert!(rows.iter().any(|row| has_parts(text, row)), "no row for: {text}");
    }
}

/// The commands of the page: those in its blocks, with what it says that they print, and those in its sentences.
fn commands(page: &str) -> Vec<(Vec<&str>, Option<&str>)> {
    let mut found = Vec::new();
    for line in page.lines().filter_map(|line| line.strip_prefix("    proximity ")) {
        let (words, says) = line.split_once('#').map_or((line, None), |(a, b)| (a, Some(b.trim())));
        // More than a word is a remark.
        found.push((words.split_whitespace().collect(), says.filter(|says| !says.contains(' '))));
    }
    for words in page.split('`').skip(1).step_by(2) {
        if let Some(words) = words.strip_prefix("proximity ") {
            found.push((words.split_whitespace().collect(), None));
        }
    }
    found
}

#[test]
fn its_commands_do_what_it_says() {
    let page = fs::read_to_string(root().join("docs/operating.md")).unwrap();
    let mut mock = Process::start(&mut Command::new(program("mock-fpga")));
    let board = mock.line("listening ");
    let (_, port) = board.split_once(':').unwrap();
    let (_, config) = page.split_once("```toml\n").unwrap();
    let (config, _) = config.split_once("```").unwrap();
    let here = format!("host   = \"127.0.0.1\"\nport   = {port}");
    let config = config
        .replace("host   = \"srbsr2-1\"", &here)
        .replace("tcp://127.0.0.1:5555", "tcp://127.0.0.1:0");
    assert!(config.contains(&here) && config.contains(":0\""), "{config}");
    let folder = scratch();
    fs::write(folder.join("agent.toml"), config).unwrap();
    let agent_with = |words: &str| {
        let mut command = Command::new(program("proximity-agent"));
        command.args(words.split_whitespace()).current_dir(&folder);
        command
    };
    assert!(page.contains("    proximity-agent check -c agent.toml "));
    let checked = agent_with("check -c agent.toml").output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
    assert!(
        page.contains("    proximity-agent serve -c agent.toml ")
            && page.contains("`proximity-agent serve --metrics 9187`")
    );
    let mut agent = Process::start(&mut agent_with("serve -c agent.toml --metrics 0"));
    assert!(agent.line("metrics ").starts_with("http://127.0.0.1:"));
    let endpoint = agent.line("listening ");
    agent.line("ready");

    let commands = commands(&page);
    assert!(commands.len() >= 10, "{commands:?}");
    let mut compared = 0;
    for (words, says) in commands {
        let mut command = Command::new(program("proximity"));
        let output = command.args(&words).env("PROXIMITY_AGENT", &endpoint).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && !said.is_empty(), "{words:?}: {said}{error}");
        if let Some(says) = says {
            assert_eq!(said.trim(), says, "{words:?}");
            compared += 1;
        }
    }
    assert!(compared >= 1);
    let _ = fs::remove_dir_all(folder);
}
