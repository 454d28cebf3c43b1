//! What Tab offers in the shell: objects, methods, attributes, parameters, registers.

use crate::{argument, target::Target, words};
use proximity_client::{Client, Description, MethodDescription, ParamDescription};
use std::collections::{BTreeMap, BTreeSet};

/// Words that are no objects.
pub(crate) const COMMANDS: [&str; 12] = [
    "call", "describe", "exit", "get", "help", "leases", "list", "lock", "quit", "release", "set",
    "steal",
];

/// What is known of the agent's objects.
#[derive(Default)]
pub(crate) struct Known {
    /// The objects, each described once that was asked for.
    pub(crate) objects: BTreeMap<String, Option<Description>>,
    /// Their registers, where `listdev` told any.
    pub(crate) registers: BTreeMap<String, Vec<String>>,
}

/// Where to put a completion, and those that fit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Completion {
    /// Where in the line the completed word begins.
    pub(crate) start: usize,
    /// The words.
    pub(crate) words: Vec<String>,
}

impl Known {
    /// Asks the agent for what is needed to complete `line`. What cannot be had is done without.
    pub(crate) fn learn(&mut self, line: &str, client: &Client) {
        if let Ok(hello) = client.hello() {
            self.objects.retain(|name, _| hello.objects.contains_key(name));
            for (name, hash) in hello.objects {
                let known = self.objects.entry(name).or_default();
                // An object that changed is described anew, and its registers with it.
                known.take_if(|described| described.hash != hash);
            }
        }
        let Some(place) = Place::of(line, self) else { return };
        let object = place.object.to_owned();
        if let Some(described) = self.objects.get_mut(&object)
            && described.is_none()
        {
            *described = client.describe(&object).ok();
            self.registers.remove(&object);
        }
        let is_register = Place::of(line, self).is_some_and(|place| place.wants_register(self));
        if is_register && !self.registers.contains_key(&object) {
            let listed = client.object(&object).call("listdev", ());
            if let Some(names) = listed.ok().and_then(|reply| reply.get::<Vec<String>>().ok()) {
                self.registers.insert(object, names);
            }
        }
    }

    /// Forgets the registers, which another gateware may have replaced.
    pub(crate) fn forget_registers(&mut self) {
        self.registers.clear();
    }

    /// What fits at the end of `line`.
    pub(crate) fn complete(&self, line: &str) -> Completion {
        let start = line.rfind(|c: char| c.is_whitespace() || c == '(' || c == ',');
        let start = start.map_or(0, |at| at + 1);
        let word = &line[start..];
        let candidates = match Place::of(line, self) {
            Some(place) if start > 0 && !place.is_first_word => place.arguments(self, word),
            _ => self.names(line, start),
        };
        let words =
            candidates.into_iter().filter(|candidate| candidate.starts_with(word)).collect();
        Completion { start, words }
    }

    /// Objects and their members, and in the first place commands.
    fn names(&self, line: &str, start: usize) -> BTreeSet<String> {
        let word = &line[start..];
        let mut names: BTreeSet<String> = self.objects.keys().cloned().collect();
        if start == 0 {
            names.extend(COMMANDS.map(String::from));
        }
        let objects: Vec<String> = self.objects.keys().cloned().collect();
        let Target { object, member } = Target::split(word, &objects);
        if member.is_some()
            && let Some(Some(described)) = self.objects.get(object)
        {
            names
                .extend(described.methods.iter().map(|method| format!("{object}.{}", method.name)));
            names.extend(described.attributes.iter().map(|a| format!("{object}.{}", a.name)));
        }
        names
    }
}

/// Where in a call a line ends.
struct Place<'l> {
    object: &'l str,
    member: &'l str,
    /// Whether the line ends in the name of the object or the method itself.
    is_first_word: bool,
    /// The arguments before the one at the end.
    before: Vec<&'l str>,
}

impl<'l> Place<'l> {
    fn of(line: &'l str, known: &Known) -> Option<Self> {
        let line = line.trim_start();
        let name_end = line.find(|c: char| c.is_whitespace() || c == '(').unwrap_or(line.len());
        let mut name = &line[..name_end];
        let mut rest = &line[name_end..];
        // `list OBJECT` and `describe OBJECT.METHOD` end in a name too.
        let after_command = COMMANDS.contains(&name);
        if after_command {
            name = rest.trim_start();
            rest = "";
        }
        let objects: Vec<String> = known.objects.keys().cloned().collect();
        let Target { object, member } = Target::split(name, &objects);
        if !known.objects.contains_key(object) {
            return None;
        }
        let is_first_word = rest.is_empty();
        let end = rest.rfind(|c: char| c.is_whitespace() || c == '(' || c == ',');
        let before = end.map_or("", |end| &rest[..end]).trim_start_matches('(');
        let before = words::words(before).into_iter().flat_map(|word| word.split(','));
        let before = before.filter(|word| !word.is_empty()).collect();
        Some(Self { object, member: member.unwrap_or_default(), is_first_word, before })
    }

    fn method<'k>(&self, known: &'k Known) -> Option<&'k MethodDescription> {
        known.objects.get(self.object)?.as_ref()?.method(self.member)
    }

    /// The parameters that are still free: the first is the one that an argument by position is for.
    fn free<'k>(&self, known: &'k Known) -> impl Iterator<Item = &'k ParamDescription> {
        let given = self.before.iter().filter(|word| argument::named(word).is_none()).count();
        let params = self.method(known).map_or(&[][..], |method| &method.params);
        params.iter().filter(|param| param.kind == "positional").skip(given)
    }

    fn wants_register(&self, known: &Known) -> bool {
        let has_listdev = known.objects.get(self.object).is_some_and(|object| {
            object.as_ref().is_some_and(|object| object.method("listdev").is_some())
        });
        has_listdev && !self.is_first_word && self.free(known).next().is_some_and(is_register)
    }

    fn arguments(&self, known: &Known, word: &str) -> BTreeSet<String> {
        let mut candidates = BTreeSet::new();
        let next = self.free(known).next();
        if next.is_some_and(is_register)
            && let Some(registers) = known.registers.get(self.object)
        {
            candidates.extend(registers.iter().cloned());
        }
        if next.is_some_and(|param| param.ty.split('|').any(|kind| kind == "bool")) {
            candidates.extend(["true".into(), "false".into()]);
        }
        // With values to choose from, a parameter's name is only offered once it is begun.
        if candidates.is_empty() || !word.is_empty() {
            let given = |name: &str| self.before.iter().any(|word| word.starts_with(name));
            let names = self.free(known).map(|param| format!("{}=", param.name));
            candidates.extend(names.filter(|name| !given(name)));
        }
        candidates
    }
}

/// Whether a parameter names a register, by the names that the field has for it.
fn is_register(param: &ParamDescription) -> bool {
    matches!(param.name.as_str(), "device_name" | "dev_name" | "register")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Known {
        let srbs = r#"{"name": "srbs", "hash": 1, "methods": [
            {"name": "listdev"},
            {"name": "read", "params": [
                {"name": "device_name", "type": "str", "kind": "positional"},
                {"name": "size", "type": "int", "kind": "positional"},
                {"name": "signed", "type": "bool", "kind": "positional", "default": false}]},
            {"name": "read_int", "params": [
                {"name": "device_name", "type": "str", "kind": "positional"}]}],
            "attributes": [{"name": "host"}]}"#;
        let registers = ["big_bram", "sys_clkcounter", "sys_scratchpad"].map(String::from).to_vec();
        Known {
            objects: BTreeMap::from([
                ("srbs".into(), serde_json::from_str(srbs).unwrap()),
                ("animals".into(), None),
                ("animals.angry".into(), None),
            ]),
            registers: BTreeMap::from([("srbs".into(), registers)]),
        }
    }

    fn completed(line: &str) -> String {
        let Completion { start, words } = known().complete(line);
        format!("{start}: {}", words.join(" "))
    }

    #[test]
    fn the_first_word_is_a_command_an_object_or_its_member() {
        assert_eq!(
            completed(""),
            "0: animals animals.angry call describe exit get help leases list lock quit release set \
             srbs steal"
        );
        assert_eq!(completed("an"), "0: animals animals.angry");
        assert_eq!(completed("srbs."), "0: srbs.host srbs.listdev srbs.read srbs.read_int");
        assert_eq!(completed("srbs.re"), "0: srbs.read srbs.read_int");
        assert_eq!(completed("nope."), "0: ");
    }

    #[test]
    fn commands_take_names_too() {
        assert_eq!(completed("list sr"), "5: srbs");
        assert_eq!(completed("describe srbs.read"), "9: srbs.read srbs.read_int");
    }

    #[test]
    fn registers_are_offered_where_one_is_asked_for() {
        assert_eq!(completed("srbs.read "), "10: big_bram sys_clkcounter sys_scratchpad");
        assert_eq!(completed("srbs.read sys_"), "10: sys_clkcounter sys_scratchpad");
        assert_eq!(completed("srbs.read("), "10: big_bram sys_clkcounter sys_scratchpad");
        assert_eq!(completed("srbs.read(sys_s"), "10: sys_scratchpad");
    }

    #[test]
    fn parameters_are_offered_by_name() {
        assert_eq!(completed("srbs.read big_bram "), "19: signed= size=");
        assert_eq!(completed("srbs.read d"), "10: device_name=");
        assert_eq!(completed("srbs.read big_bram size=4 s"), "26: signed=");
        assert_eq!(completed("srbs.read(big_bram, 4, "), "23: false true");
        assert_eq!(completed("srbs.read big_bram 4 f"), "21: false");
        assert_eq!(completed("srbs.listdev "), "13: ");
    }
}
