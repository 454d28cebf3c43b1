//! The floors, held: who may depend on whom, and which words may stand in which files.

use crate::process::{self, cargo};
use std::fs;
use std::path::{Path, PathBuf};

/// Our crates, and those of ours that each may use outside its tests. Nothing points up.
const FLOORS: &[(&str, &[&str])] = &[
    ("proximity-macros", &[]),
    ("proximity-proto", &["proximity-macros"]),
    ("proximity-session", &["proximity-proto"]),
    ("proximity-drivers", &["proximity-proto"]),
    ("proximity-agent", &["proximity-drivers", "proximity-proto", "proximity-session"]),
    ("proximity-client", &["proximity-proto"]),
    ("mock-fpga", &["proximity-proto"]),
    (
        "proximity-tests",
        &[
            "mock-fpga",
            "proximity-agent",
            "proximity-client",
            "proximity-drivers",
            "proximity-proto",
        ],
    ),
    ("proximity-fuzz", &["proximity-agent", "proximity-proto", "proximity-tests"]),
    (
        "proximity-benches",
        &[
            "mock-fpga",
            "proximity-agent",
            "proximity-client",
            "proximity-drivers",
            "proximity-proto",
        ],
    ),
    ("xtask", &[]),
];

/// Dependencies that only these crates may have outside their tests.
const OWNED: &[(&str, &[&str])] = &[
    ("zmq-sys", &["proximity-agent"]),
    ("zmq", &["proximity-agent", "proximity-client", "proximity-tests", "proximity-benches"]),
    ("serialport", &["proximity-drivers"]),
    ("katcp", &["mock-fpga"]),
];

/// Words that may not stand under some folders, save in some files.
struct Rule {
    fact: &'static str,
    folders: &'static [&'static str],
    words: &'static [&'static str],
    but_in: &'static [&'static str],
}

const EVERYWHERE: &[&str] =
    &["agent", "benches", "clients/rust", "drivers", "proto", "tests", "vendor", "xtask"];

const RULES: &[Rule] = &[
    Rule {
        fact: "proto and session know no I/O, no clock and no threads",
        folders: &["proto/src", "agent/session/src"],
        words: &[
            "std::net",
            "std::io",
            "std::fs",
            "std::os",
            "std::process",
            "std::thread",
            "std::env",
            "Instant::now",
            "SystemTime",
        ],
        but_in: &[],
    },
    Rule {
        fact: "zmq's types stand in one file of the agent (and in os.rs), and in one of the Rust client",
        folders: &["agent/src", "clients/rust/src"],
        words: &["use zmq::", " zmq::Socket", " zmq::Context", " zmq::Message"],
        but_in: &["agent/src/transport/zmq.rs", "agent/src/os.rs", "clients/rust/src/transport.rs"],
    },
    Rule {
        fact: "unsafe stands in the agent's os.rs, and where a test counts allocations, only",
        folders: EVERYWHERE,
        words: &["unsafe {", "unsafe fn", "unsafe impl", "unsafe trait", "unsafe extern"],
        but_in: &[
            "agent/src/os.rs",
            "agent/tests/hot_path.rs",
            "agent/tests/kept_memory.rs",
            "xtask/src/floors.rs",
        ],
    },
    Rule {
        fact: "env_logger is set up in main.rs files only",
        folders: EVERYWHERE,
        words: &["env_logger::"],
        but_in: &[
            "agent/src/main.rs",
            "clients/rust/src/main.rs",
            "tests/mock-fpga/src/main.rs",
            "xtask/src/floors.rs",
        ],
    },
];

/// What in tests/golden is not recorded but ours to change: configurations and what is said of them.
const NOT_RECORDED: &str = "config";

/// The most lines of a main.rs, and of any other file.
const MAIN_LINES: usize = 120;
const FILE_LINES: usize = 800;

/// Returns each check's name and the places that break it.
///
/// # Errors
///
/// A text, if the sources or cargo cannot be read.
pub(crate) fn check(log: &Path) -> Result<Vec<(String, Vec<String>)>, String> {
    let tree = process::run(
        &mut cargo(&[
            "tree",
            "--workspace",
            "--edges=normal,build",
            "--depth=1",
            "--prefix=depth",
            "--format= {p}",
            "--no-dedupe",
        ]),
        log,
    )?;
    let sources = sources()?;
    let mut checks = vec![("nothing points up".to_owned(), pointing_up(&tree))];
    for rule in RULES {
        checks.push((rule.fact.to_owned(), breaking(rule, &sources)));
    }
    checks.push(("files are short enough to read".to_owned(), too_long(&sources)));
    checks.push(("every dependency has its reason in CONTRIBUTING.md".to_owned(), unexplained()?));
    checks.push(("recorded bytes are all in SHA256SUMS".to_owned(), without_checksum()?));
    Ok(checks)
}

/// Returns the forbidden edges in what `cargo tree --depth=1 --prefix=depth --format=" {p}"` prints.
fn pointing_up(tree: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut from = "";
    for line in tree.lines() {
        let mut words = line.split_whitespace();
        let (Some(depth), Some(name)) = (words.next(), words.next()) else { continue };
        if depth.parse::<u32>().is_err() {
            // cargo tells what it downloads, too.
            continue;
        }
        if depth == "0" {
            from = name;
            if !FLOORS.iter().any(|(ours, _)| *ours == name) {
                found.push(format!("{name} has no floor yet: give it one in xtask/src/floors.rs"));
            }
            continue;
        }
        let ours = FLOORS.iter().any(|(ours, _)| *ours == name);
        let allowed = FLOORS.iter().any(|(ours, may)| *ours == from && may.contains(&name));
        let misplaced = OWNED.iter().any(|(dep, may)| *dep == name && !may.contains(&from));
        if (ours && !allowed) || misplaced {
            found.push(format!("{from} may not depend on {name}"));
        }
    }
    found
}

/// Returns the lines of `sources` that break `rule`.
fn breaking(rule: &Rule, sources: &[(String, String)]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in sources {
        let within = |folder: &&str| Path::new(path).starts_with(folder);
        if !rule.folders.iter().any(within) || rule.but_in.contains(&path.as_str()) {
            continue;
        }
        for (number, line) in (1..).zip(text.lines()) {
            let code = line.split("//").next().unwrap_or_default();
            if rule.words.iter().any(|word| code.contains(word)) {
                found.push(format!("{path}:{number}: {}", line.trim()));
            }
        }
    }
    found
}

fn too_long(sources: &[(String, String)]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in sources {
        let most = if path.ends_with("/main.rs") { MAIN_LINES } else { FILE_LINES };
        let lines = text.lines().count();
        if lines > most {
            found.push(format!("{path} has {lines} lines, more than {most}"));
        }
    }
    found
}

/// Returns the dependencies of others in the root Cargo.toml that CONTRIBUTING.md has no line for.
fn unexplained() -> Result<Vec<String>, String> {
    let manifest = read(&process::root().join("Cargo.toml"))?;
    let reasons = read(&process::root().join("CONTRIBUTING.md"))?;
    Ok(dependencies(&manifest)
        .filter(|name| !reasons.lines().any(|line| line.starts_with(&format!("- `{name}`: "))))
        .map(|name| format!("CONTRIBUTING.md has no line that starts \"- `{name}`: \""))
        .collect())
}

/// Returns the names in `[workspace.dependencies]` that come from a registry.
fn dependencies(manifest: &str) -> impl Iterator<Item = &str> {
    let section = manifest.split_once("[workspace.dependencies]").map_or("", |(_, rest)| rest);
    let section = section.split_once("\n[").map_or(section, |(section, _)| section);
    let entries = section.lines().filter(|line| !line.contains("path =") && !line.starts_with('#'));
    entries.filter_map(|line| line.split_once(" =")).map(|(name, _)| name)
}

/// Returns the recorded files that `SHA256SUMS` has no line for.
fn without_checksum() -> Result<Vec<String>, String> {
    let folder = golden();
    let sums = read(&folder.join("SHA256SUMS"))?;
    let mut files = Vec::new();
    // The code that reads them may stand beside them.
    collect(&folder, &mut files, &|path| path.extension().is_none_or(|e| e != "rs"))?;
    let names = files.iter().filter_map(|file| file.strip_prefix(&folder).ok());
    Ok(names
        .filter(|name| !name.starts_with(NOT_RECORDED) && *name != Path::new("SHA256SUMS"))
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| {
            let of_it = |line: &str| line.split_once("  ").is_some_and(|(_, file)| file == name);
            !sums.lines().any(of_it)
        })
        .map(|name| format!("tests/golden/{name} is not in SHA256SUMS"))
        .collect())
}

/// Returns the folder of recorded bytes.
pub(crate) fn golden() -> PathBuf {
    process::root().join("tests/golden")
}

/// Returns the path, from the top of the checkout, and the text of every Rust file of ours.
fn sources() -> Result<Vec<(String, String)>, String> {
    let root = process::root();
    let mut files = Vec::new();
    for folder in EVERYWHERE {
        collect(&root.join(folder), &mut files, &|path| {
            path.extension().is_some_and(|e| e == "rs")
        })?;
    }
    files.sort();
    files
        .iter()
        .map(|file| {
            let path = file.strip_prefix(&root).unwrap_or(file).to_string_lossy().into_owned();
            read(file).map(|text| (path, text))
        })
        .collect()
}

/// Adds the files under `folder` that are `wanted`; target folders are passed over.
fn collect(
    folder: &Path,
    files: &mut Vec<PathBuf>,
    wanted: &dyn Fn(&Path) -> bool,
) -> Result<(), String> {
    let unreadable = |error| format!("cannot read {}: {error}", folder.display());
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.is_dir() {
            if !path.ends_with("target") {
                collect(&path, files, wanted)?;
            }
        } else if wanted(&path) {
            files.push(path);
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upward_edge_and_a_misplaced_dependency_are_found() {
        let tree = "\
 Downloaded zmq v0.10.0
0 proximity-proto v0.1.0 (/x/proto)
1 proximity-macros v0.1.0 (proc-macro) (/x/proto/macros)
1 proximity-drivers v0.1.0 (/x/drivers)

0 mock-fpga v0.1.0 (/x/tests/mock-fpga)
1 katcp v0.1.7
1 zmq v0.10.0

0 newcomer v0.1.0 (/x/newcomer)
";
        let expected = [
            "proximity-proto may not depend on proximity-drivers",
            "mock-fpga may not depend on zmq",
            "newcomer has no floor yet: give it one in xtask/src/floors.rs",
        ];
        assert_eq!(pointing_up(tree), expected);
    }

    #[test]
    fn a_forbidden_word_is_found_in_code_but_not_in_comments_or_allowed_files() {
        let rule = Rule { fact: "", folders: &["a"], words: &["std::net"], but_in: &["a/ok.rs"] };
        let text = "// std::net\nuse std::net::TcpStream;\n";
        let sources = ["a/ok.rs", "a/src/b.rs", "ab/c.rs"].map(|p| (p.to_owned(), text.to_owned()));
        assert_eq!(breaking(&rule, &sources), ["a/src/b.rs:2: use std::net::TcpStream;"]);
    }

    #[test]
    fn only_dependencies_of_others_need_a_reason() {
        let manifest = "\
[workspace.dependencies]
# ours
ours = { path = \"ours\" }
# theirs
log = \"0.4\"
zmq = { version = \"0.10\" }

[profile.dev]
debug = 1
";
        assert_eq!(dependencies(manifest).collect::<Vec<_>>(), ["log", "zmq"]);
    }

    #[test]
    fn a_file_is_too_long_past_its_limit() {
        let sources = [("a/main.rs", 121), ("a/lib.rs", 800), ("b/lib.rs", 801)]
            .map(|(path, lines)| (path.to_owned(), "x\n".repeat(lines)));
        let found = too_long(&sources);
        assert_eq!(
            found,
            ["a/main.rs has 121 lines, more than 120", "b/lib.rs has 801 lines, more than 800"]
        );
    }
}
