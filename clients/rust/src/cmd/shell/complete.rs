//! What Tab offers: objects, then their methods and attributes, then parameters and registers.

use super::Agent;
use rustyline::{
    Context, Helper, Result, completion::Completer, highlight::Highlighter, hint::Hinter,
    validate::Validator,
};
use std::sync::Arc;

/// Completes lines of the shell.
pub(super) struct Completion {
    agent: Arc<Agent>,
}

impl Completion {
    pub(super) fn new(agent: Arc<Agent>) -> Self {
        Self { agent }
    }

    /// Where the word at the end of `line` starts, and what it could become. An agent that cannot be
    /// asked now offers nothing.
    fn offers(&self, line: &str) -> (usize, Vec<String>) {
        let start = line.rfind(char::is_whitespace).map_or(0, |blank| blank + 1);
        let (before, word) = line.split_at(start);
        let known = match before.split_whitespace().next() {
            None => self.targets(word),
            Some(target) => self.arguments(target),
        };
        (start, known.into_iter().filter(|offer| offer.starts_with(word)).collect())
    }

    /// Objects; or what an object has, once its name and a dot are there.
    fn targets(&self, word: &str) -> Vec<String> {
        let Ok(names) = self.agent.client.list() else { return Vec::new() };
        let owner = names
            .iter()
            .filter(|name| {
                word.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with('.'))
            })
            .max_by_key(|name| name.len());
        let mut offers = names.clone();
        if let Some(owner) = owner
            && let Ok(description) = self.agent.describe(owner)
        {
            let methods = description.methods.iter().map(|method| &method.name);
            let members = methods.chain(description.attributes.iter().map(|a| &a.name));
            offers.extend(members.map(|member| format!("{owner}.{member}")));
        }
        offers
    }

    /// The parameters of a method, and the registers of its object.
    fn arguments(&self, target: &str) -> Vec<String> {
        let Ok((object, Some(method))) = self.agent.split(target) else { return Vec::new() };
        let Ok(description) = self.agent.describe(&object) else { return Vec::new() };
        let Some(method) = description.method(&method) else { return Vec::new() };
        let params = method.params.iter().filter(|param| param.kind == "positional");
        let mut offers: Vec<String> = params.map(|param| format!("{}=", param.name)).collect();
        if method.params.iter().any(|param| param.ty.contains("str")) {
            offers.extend(self.agent.registers(&object));
        }
        offers
    }
}

impl Completer for Completion {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> Result<(usize, Vec<String>)> {
        Ok(self.offers(line.get(..at).unwrap_or(line)))
    }
}

impl Hinter for Completion {
    type Hint = String;
}

impl Highlighter for Completion {}

impl Validator for Completion {}

impl Helper for Completion {}
