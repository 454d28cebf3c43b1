//! The configuration file.

use super::{magnitude, outcome};
use crate::{Target, corpus};
use proximity_agent::config::{Finding, parse};

pub(crate) const TARGET: Target = Target {
    name: "config",
    body,
    seeds: corpus::config,
    words: &[
        b"listen = [\"tcp://127.0.0.1:0\"]\n",
        b"plaintext = [\"10.0.0.0/8\"]\n",
        b"max_frame = \"1 GiB\"\n",
        b"queue = 32\n",
        b"log = \"info\"\n",
        b"[objects.a]\n",
        b"driver = \"counter\"\n",
        b"expose = [\"a*\"]\n",
        b"hide = [\"(\"]\n",
        b"\"\"\"",
        b"'''",
        b"\\u0000",
        b"\x1b[2J",
        b"= {",
        b"]]",
        b"99999999999999999999",
        b"\xc3\xa9",
        b"\r\n",
    ],
};

fn body(bytes: &[u8]) -> u64 {
    // What is no text is refused before; the command's tests have it.
    let Ok(text) = str::from_utf8(bytes) else { return 0 };
    let summary = |loaded: &proximity_agent::config::Loaded| match loaded {
        Ok((config, warnings)) => (true, config.objects.len(), told(warnings, text)),
        Err(found) => {
            assert!(!found.mistakes.is_empty(), "a refusal has a reason");
            (
                false,
                found.mistakes.len(),
                told(&found.mistakes, text) + &told(&found.warnings, text),
            )
        }
    };
    let first = summary(&parse("fuzz.toml", text));
    assert_eq!(first, summary(&parse("fuzz.toml", text)), "the same file is read the same");
    let (good, count, words) = first;
    let start: Vec<_> = words.split(' ').skip(1).take(3).collect();
    outcome((good, magnitude(count), start))
}

/// What is said of a file; it may move nobody's terminal.
fn told(findings: &[Finding], text: &str) -> String {
    let mut all = String::new();
    let lines = text.lines().count();
    for finding in findings {
        assert!(!finding.message.is_empty(), "a finding says what it is");
        if let Some((line, column)) = finding.place {
            assert!(line >= 1 && line <= lines + 1, "line {line} is in the file");
            assert!(column >= 1, "columns count from 1");
        }
        let shown = finding.to_string();
        let odd = shown.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\t'));
        assert!(odd.is_none(), "{shown:?} has the control character {odd:?}");
        all += &shown;
        all.push('\n');
    }
    all
}
