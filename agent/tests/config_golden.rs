//! `proximity-agent check` on the files in tests/golden/config: all that it prints, and its exit status.
//!
//! A file in `bad/` has mistakes, one in `good/` has none; the text beside it is what is printed about
//! it. If this fails, look first whether the new text is what a person would want to read. To write
//! the texts anew: `PROXIMITY_WRITE_GOLDEN=1 cargo test -p proximity-agent --test config_golden`, which
//! fails all the same.

// A test that fails by a panic is a test that works.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proximity_agent::config;
use proximity_drivers::KINDS;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn golden(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/config").join(kind)
}

struct Checked {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

fn check(directory: &Path, arguments: &[&str]) -> Checked {
    let output = Command::new(env!("CARGO_BIN_EXE_proximity-agent"))
        .arg("check")
        .args(arguments)
        .current_dir(directory)
        .env_remove("JOURNAL_STREAM")
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Checked {
        status: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// Checks each file in a directory; returns how many there are.
fn check_all(kind: &str, status: i32, printed: impl Fn(Checked) -> String) -> usize {
    let directory = golden(kind);
    let mut names: Vec<String> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| Path::new(name).extension().is_some_and(|end| end == "toml"))
        .collect();
    names.sort();
    // The list grows with each driver, and no text is any worse for that.
    let drivers = KINDS.iter().map(|kind| kind.name).collect::<Vec<_>>().join(", ");
    let mut wrong = Vec::new();
    for name in &names {
        let checked = check(&directory, &["-c", name]);
        assert_eq!(checked.status, Some(status), "{name}: {}{}", checked.stdout, checked.stderr);
        let printed = printed(checked).replace(&drivers, "{drivers}");
        let expected = directory.join(name).with_extension("txt");
        if fs::read_to_string(&expected).unwrap_or_default() != printed {
            if std::env::var_os("PROXIMITY_WRITE_GOLDEN").is_some() {
                fs::write(&expected, &printed).unwrap();
            }
            wrong.push(format!("{name} is answered with\n{printed}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    names.len()
}

#[test]
fn every_mistake_is_told_with_its_place() {
    let files = check_all("bad", 78, |checked| {
        assert_eq!(checked.stdout, "");
        checked.stderr
    });
    assert!(files >= 45, "only {files} files");
}

#[test]
fn a_good_file_is_told_in_calm_lines() {
    let files = check_all("good", 0, |checked| {
        assert_eq!(checked.stderr, "");
        checked.stdout
    });
    assert!(files >= 9, "only {files} files");
}

#[test]
fn a_file_with_mistakes_as_json() {
    let checked = check(&golden("bad"), &["-c", "key-twice.toml", "--json"]);
    assert_eq!(checked.status, Some(78));
    assert_eq!(checked.stderr, "");
    let answer: serde_json::Value = serde_json::from_str(&checked.stdout).unwrap();
    let place = |line| {
        let key = if line == 3 { "queue" } else { "start" };
        let first = if line == 3 { 1 } else { 7 };
        serde_json::json!({
            "line": line,
            "column": 1,
            "message": format!("two keys are called '{key}'; one stands in line {first} already"),
            "hint": null,
        })
    };
    assert_eq!(
        answer,
        serde_json::json!({
            "file": "key-twice.toml",
            "ok": false,
            "mistakes": [place(3), place(8)],
            "warnings": [],
        })
    );
}

#[test]
fn a_good_file_as_json() {
    let checked = check(&golden("good"), &["-c", "everything.toml", "--json"]);
    assert_eq!((checked.status, checked.stderr.as_str()), (Some(0), ""));
    let answer: serde_json::Value = serde_json::from_str(&checked.stdout).unwrap();
    assert_eq!(
        answer,
        serde_json::json!({
            "file": "everything.toml",
            "ok": true,
            "listen": ["tcp://0.0.0.0:5555", "tcp://[::1]:0", "ipc:///run/proximity/agent.sock"],
            "plaintext": ["10.1.0.0/16", "192.168.7.9/32", "fd00:1::/32"],
            "max_frame": 65536,
            "queue": 1024,
            "max_inflight": 4096,
            "max_unread": 1 << 20,
            "max_unread_all": 1 << 30,
            "connections": 1,
            "legacy": "ro",
            "log": "debug",
            "audit": "/var/lib/proximity/audit.jsonl",
            "objects": [
                { "name": "tally", "driver": "counter", "legacy": "rw" },
                { "name": "maths", "driver": "calculator", "legacy": "ro" },
            ],
            "mistakes": [],
            "warnings": [],
        })
    );
}

#[test]
fn a_file_that_cannot_be_read_is_a_mistake() {
    let checked = check(&golden("bad"), &["-c", "nothing-here.toml"]);
    assert_eq!(checked.status, Some(78));
    assert_eq!(
        checked.stderr,
        "nothing-here.toml: cannot be read: No such file or directory (os error 2)\n\n\
         nothing-here.toml: 1 mistake\n"
    );
    let checked = check(&golden("bad"), &["-c", "."]);
    assert_eq!(checked.status, Some(78));
    assert!(checked.stderr.starts_with(".: cannot be read: "), "{}", checked.stderr);
}

#[test]
fn the_example_in_deploy_is_good_and_needs_no_warning() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    let checked = check(&deploy, &["-c", "agent.toml"]);
    assert_eq!((checked.status, checked.stderr.as_str()), (Some(0), ""));
    assert!(checked.stdout.starts_with("agent.toml: "), "{}", checked.stdout);
    assert!(checked.stdout.contains(", no warnings\n"), "{}", checked.stdout);
}

#[test]
fn whatever_stands_in_a_file_it_is_answered() {
    let mut texts = Vec::new();
    for kind in ["bad", "good"] {
        for entry in fs::read_dir(golden(kind)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|end| end == "toml") {
                texts.push(fs::read(path).unwrap());
            }
        }
    }
    let seed = std::env::var("PROXIMITY_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("PROXIMITY_SEED={seed}");
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let pieces =
        ["\"", "'", "[", "]", "=", "\n", ".", "#", "{", "}", ",", "\0", "é", "\r", "9", "\"\"\""];
    for _ in 0..5_000 {
        let text = &texts[random.below(texts.len())];
        let mut text = String::from_utf8_lossy(text).into_owned();
        for _ in 0..=random.below(4) {
            let places: Vec<usize> =
                text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
            let (a, b) = (places[random.below(places.len())], places[random.below(places.len())]);
            match random.below(3) {
                0 => text.insert_str(a, pieces[random.below(pieces.len())]),
                1 => text.replace_range(a.min(b)..a.max(b), ""),
                _ => text.truncate(a),
            }
        }
        match config::parse("random.toml", &text) {
            Ok((config, _)) => assert!(!config.listen.is_empty(), "{text}"),
            Err(found) => assert!(!found.mistakes.is_empty(), "{text}"),
        }
    }
}

/// Numbers that look random: xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

/// What it takes grows with the file, not with its square; this used to be minutes.
#[test]
fn a_file_of_nothing_but_mistakes_is_told_soon() {
    let begun = std::time::Instant::now();
    let Err(found) = config::parse("a.toml", &"x\n".repeat(100_000)) else {
        panic!("it is no configuration");
    };
    assert_eq!(found.mistakes.len(), 100_000);
    assert_eq!(found.mistakes[99_999].place, Some((100_000, 2)));
    assert!(begun.elapsed().as_secs() < 20, "it took {:?}", begun.elapsed());
}
