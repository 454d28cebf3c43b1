//! What changed between two readings of a configuration.

use super::{Config, legacy_word};
use std::fmt::Display;

/// What a configuration says, kept for comparison with the next.
pub struct Outline {
    listen: Vec<String>,
    plaintext: Vec<String>,
    /// Keys that have one value.
    single: [(&'static str, String); 9],
    objects: Vec<Object>,
}

struct Object {
    name: String,
    kind: &'static str,
    fingerprint: String,
    legacy: &'static str,
}

impl Outline {
    /// What `config` says.
    pub fn of(config: &Config) -> Self {
        let Config { listen, plaintext, limits, queue, bounds, legacy, log, audit, objects } =
            config;
        let object = |object: &super::ObjectConfig| Object {
            name: object.name.clone(),
            kind: object.kind,
            fingerprint: object.fingerprint.clone(),
            legacy: legacy_word(object.legacy),
        };
        Self {
            listen: texts(listen.iter()),
            plaintext: texts(plaintext.iter()),
            single: [
                ("max_frame", limits.max_frame.to_string()),
                ("queue", queue.to_string()),
                ("max_inflight", bounds.max_inflight.to_string()),
                ("max_unread", bounds.max_unread.to_string()),
                ("max_unread_all", bounds.max_unread_all.to_string()),
                ("connections", bounds.connections.to_string()),
                ("legacy", legacy_word(*legacy).to_owned()),
                ("log", log.as_str().to_ascii_lowercase()),
                (
                    "audit",
                    audit.as_deref().map_or("none".into(), |path| path.display().to_string()),
                ),
            ],
            objects: objects.iter().map(object).collect(),
        }
    }

    /// What is different in `next`, a line each.
    pub fn changes(&self, next: &Self) -> Vec<String> {
        let mut changes = Vec::new();
        compare_lists(&mut changes, "listen", &self.listen, &next.listen);
        compare_lists(&mut changes, "plaintext", &self.plaintext, &next.plaintext);
        for ((key, before), (_, now)) in self.single.iter().zip(&next.single) {
            if before != now {
                changes.push(format!("{key}: {now}, was {before}"));
            }
        }
        for object in &next.objects {
            let Object { name, kind, fingerprint, legacy } = object;
            match self.objects.iter().find(|before| before.name == *name) {
                None => changes.push(format!("object '{name}' ({kind}): added")),
                Some(before) if before.fingerprint != *fingerprint => {
                    changes.push(format!("object '{name}' ({kind}): changed"));
                }
                Some(before) if before.legacy != *legacy => {
                    let was = before.legacy;
                    changes.push(format!("object '{name}' ({kind}): legacy {legacy}, was {was}"));
                }
                Some(_) => {}
            }
        }
        for Object { name, kind, .. } in &self.objects {
            if !next.objects.iter().any(|object| object.name == *name) {
                changes.push(format!("object '{name}' ({kind}): removed"));
            }
        }
        changes
    }
}

fn texts(list: impl Iterator<Item = impl Display>) -> Vec<String> {
    list.map(|item| item.to_string()).collect()
}

fn compare_lists(changes: &mut Vec<String>, key: &str, before: &[String], now: &[String]) {
    for added in now.iter().filter(|item| !before.contains(item)) {
        changes.push(format!("{key}: {added} added"));
    }
    for removed in before.iter().filter(|item| !now.contains(item)) {
        changes.push(format!("{key}: {removed} removed"));
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    fn outline(text: &str) -> Outline {
        let Ok((config, _)) = parse("agent.toml", text) else { panic!("mistakes in {text}") };
        Outline::of(&config)
    }

    const BEFORE: &str = "
        queue = 8
        [objects.tally]
        driver = 'counter'
        start = 1
        [objects.maths]
        driver = 'calculator'
        [objects.old]
        driver = 'counter'
    ";

    #[test]
    fn spaces_comments_and_order_are_no_change() {
        let now = "
            # the objects
            [objects]
            old = { driver = 'counter' }
            maths.driver = 'calculator'
            tally = { start = 0x1, driver = \"counter\" }
        ";
        let now = outline(&format!("queue = 8{now}"));
        assert_eq!(outline(BEFORE).changes(&now), [""; 0]);
    }

    #[test]
    fn every_change_is_told() {
        let now = "
            listen = ['tcp://127.0.0.1:5556', 'tcp://0.0.0.0:5557']
            plaintext = ['10.1.0.0/16']
            max_frame = '1 MiB'
            max_inflight = 8
            legacy = 'ro'
            log = 'debug'
            [objects.tally]
            driver = 'counter'
            start = 2
            [objects.maths]
            driver = 'calculator'
            [objects.new]
            driver = 'counter'
        ";
        assert_eq!(
            outline(BEFORE).changes(&outline(now)),
            [
                "listen: tcp://127.0.0.1:5556 added",
                "listen: tcp://0.0.0.0:5557 added",
                "listen: tcp://127.0.0.1:5555 removed",
                "plaintext: 10.1.0.0/16 added",
                "max_frame: 1048576, was 33554432",
                "queue: 32, was 8",
                "max_inflight: 8, was 64",
                "legacy: ro, was rw",
                "log: debug, was info",
                "object 'tally' (counter): changed",
                "object 'maths' (calculator): legacy ro, was rw",
                "object 'new' (counter): added",
                "object 'old' (counter): removed",
            ]
        );
    }

    #[test]
    fn a_filter_is_part_of_its_object() {
        let now = BEFORE.replace("start = 1", "start = 1\nhide = ['add']");
        assert_eq!(outline(BEFORE).changes(&outline(&now)), ["object 'tally' (counter): changed"]);
    }
}
