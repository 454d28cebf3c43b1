//! docs/configuration.md tells of every key, and of none that there is not.

// A test that fails by a panic is a test that works.
#![allow(clippy::unwrap_used)]

use proximity_agent::config;
use proximity_drivers::{KINDS, settings::Settings};
use std::{collections::BTreeSet, fs, path::Path};
use toml::{Table, Value};

/// A key that no driver knows: asked for, it has the message list those that there are.
const NO_KEY: &str = "zzzzzzzzzzzz";

fn docs() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    fs::read_to_string(path).unwrap()
}

/// The keys in the table of a chapter.
fn documented(chapter: &str) -> BTreeSet<String> {
    let docs = docs();
    let start = docs.find(&format!("\n## {chapter}\n"));
    let start = start.unwrap_or_else(|| panic!("there is no chapter '{chapter}'"));
    let (_, text) = docs.split_at(start + 1);
    let text = text.split("\n## ").next().unwrap();
    let keys = text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    keys.map(String::from).collect()
}

/// The keys in a message that lists them.
fn listed(message: &str) -> BTreeSet<String> {
    let (_, keys) = message.split_once("there are: ").unwrap();
    keys.split(", ").map(String::from).collect()
}

#[test]
fn every_key_of_the_agent_is_documented() {
    let found = config::parse("agent.toml", &format!("{NO_KEY} = 1")).err().unwrap();
    let [mistake] = found.mistakes.as_slice() else { panic!("{found:?}") };
    assert_eq!(listed(&mistake.message), documented("The agent"));
}

#[test]
fn every_key_of_any_object_is_documented() {
    let text = format!("[objects.a]\ndriver = 'calculator'\n{NO_KEY} = 1");
    let found = config::parse("agent.toml", &text).err().unwrap();
    let [mistake] = found.mistakes.as_slice() else { panic!("{found:?}") };
    assert_eq!(listed(&mistake.message), documented("Objects"));
}

#[test]
fn every_key_of_every_driver_is_documented() {
    for kind in KINDS {
        let table = Table::from_iter([(NO_KEY.to_owned(), Value::Boolean(true))]);
        // No driver has this key, so that the list of keys is never empty.
        let mut settings = Settings::new(&table, &["driver"]);
        drop((kind.configure)(&mut settings));
        let found = settings.finish();
        let unknown = found.iter().find(|mistake| mistake.unknown).unwrap();
        let mut keys = listed(&unknown.message);
        keys.remove("driver");
        assert_eq!(keys, documented(&format!("Driver {}", kind.name)), "{}", kind.name);
    }
}

#[test]
fn every_example_is_good() {
    let docs = docs();
    let examples: Vec<&str> =
        docs.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(examples.len() >= 5, "{examples:?}");
    for example in examples {
        if let Err(found) = config::parse("example", example) {
            panic!("{example}\n{}", found.mistakes.first().unwrap());
        }
    }
}

#[test]
fn what_the_documents_say_of_mistakes_is_what_is_said() {
    let text = "listen = ['tcp://127.0.0.1:5555']\n\n\n\n\n[objects.tally]\ndriver = \"conter\"\n";
    let found = config::parse("agent.toml", text).err().unwrap();
    let told = found.mistakes.first().unwrap().to_string();
    let indented: Vec<String> = told.lines().map(|line| format!("    {line}")).collect();
    assert!(docs().contains(&indented.join("\n")), "{told}");
}

#[test]
fn the_example_in_deploy_tells_every_key() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/agent.toml");
    let example = fs::read_to_string(path).unwrap();
    let chapters = ["The agent", "Objects", "Driver counter", "Driver fpga", "Driver python"];
    for key in chapters.iter().flat_map(|chapter| documented(chapter)) {
        let told = |line: &str| {
            let line = line.trim_start_matches(['#', ' ', '[']);
            line.strip_prefix(key.as_str()).is_some_and(|rest| rest.starts_with([' ', '.']))
        };
        assert!(example.lines().any(told), "{key}");
    }
}

#[test]
fn the_example_in_deploy_is_good_with_all_that_it_has_in_comments() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/agent.toml");
    let example = fs::read_to_string(path).unwrap();
    let is_toml = |line: &&str| {
        let key = line.split_once(" = ").map(|(key, _)| key.trim());
        key.is_some_and(|key| !key.contains(' ')) || (line.starts_with('[') && line.ends_with(']'))
    };
    let uncommented =
        |line: &str| line.strip_prefix("# ").filter(is_toml).unwrap_or(line).to_owned() + "\n";
    let text: String = example.lines().map(uncommented).collect();
    let (config, _) = config::parse("agent.toml", &text).unwrap_or_else(|found| {
        panic!("{}\n{text}", found.mistakes.first().unwrap());
    });
    assert_eq!(config.objects.len(), 4);
    assert!(!config.plaintext.is_empty());
}
