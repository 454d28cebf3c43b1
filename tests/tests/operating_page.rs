//! `docs/operating.md` says nothing that the programs do not say.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failing test panics")]

use std::{
    fs,
    path::{Path, PathBuf},
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

/// What stands in the first backquotes of each row of the table below a heading.
fn quoted<'a>(page: &'a str, heading: &str) -> Vec<&'a str> {
    let (_, rest) = page.split_once(heading).expect("the heading");
    let rows = rest.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split_once('`')).map(|(line, _)| line).collect()
}

/// Whether a source has a text with these parts in this order, on a line or the one behind it.
fn is_said(source: &str, line: &str) -> bool {
    let parts: Vec<&str> =
        line.split("..").map(str::trim).filter(|part| !part.is_empty()).collect();
    source.lines().any(|text| {
        let mut rest = text;
        text.contains('"')
            && parts.iter().all(|part| match rest.split_once(part) {
                Some((_, behind)) => {
                    rest = behind;
                    true
                }
                None => false,
            })
    })
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
