//! An object of any Python class, in a process of its own.
//!
//! ```text
//! agent                                              child
//!   worker thread  -- requests, unread arguments -->   child.py: the object
//!                  <-- results, unread ------------
//!   keeper thread  <-- lines printed; its end ------
//! ```
//!
//! What the class does wrong, it does to its own process: a crash is told to the caller, a call that
//! does not end in time is ended with its process, and either way the agent opens the object anew.
//! The agent reads no argument and no result; the child writes its results in the form that every
//! client decodes. For users: docs/python-objects.md.

mod interface;
mod process;
mod program;

use crate::{Opener, settings::Settings};
use process::{Answer, Broken, Process};
use program::Program;
use proximity_proto::{
    Context, Fault, Interface, Object, Value,
    fault::{Executed, Reason},
    object::{Args, Attribute, Flow, Lost, Method},
    reply,
};
use std::{
    ops::Deref,
    sync::Arc,
    time::{Duration, Instant},
};
use toml::Value as Toml;

/// Seconds that the object may take to start, and a call to end whose caller tells no deadline: the
/// original's clients stop waiting after a minute.
const TIMEOUT: f64 = 60.0;

/// Takes the object's keys from its table in the configuration.
pub fn configure(settings: &mut Settings<'_>) -> Opener {
    let class = settings.required_text("class");
    let args = settings.any("args");
    let kwargs = settings.any("kwargs");
    let interpreter = settings.text("interpreter").unwrap_or("python3");
    let path = settings.texts("path").unwrap_or_default();
    let timeout = settings.float("timeout").unwrap_or(TIMEOUT);

    if !class.is_empty() && !is_class(class) {
        let message = format!("'class' is '{class}'; it must be like \"package.module:Class\"");
        settings.refuse("class", message);
    }
    if interpreter.is_empty() {
        settings.refuse("interpreter", "'interpreter' is empty; it must be a program");
    }
    if let Some(place) = path.iter().find(|place| !place.starts_with('/')) {
        let message = format!("'path' has '{place}'; it must have whole paths, from / on");
        settings.refuse("path", message);
    }
    if !(0.01..=86_400.0).contains(&timeout) {
        settings.refuse("timeout", format!("'timeout' is {timeout}; it must be 0.01 to 86400"));
    }
    let mut birth = Vec::new();
    reply::list_head(&mut birth, 4);
    reply::text(&mut birth, class);
    reply::ToReply::to_reply(&path, &mut birth);
    match args {
        None => reply::list_head(&mut birth, 0),
        Some(args @ Toml::Array(_)) => append(settings, "args", args, &mut birth),
        Some(other) => {
            let kind = crate::settings::kind_of(other);
            settings.refuse("args", format!("'args' must be a list, not {kind}"));
        }
    }
    match kwargs {
        None => reply::map_head(&mut birth, 0),
        Some(kwargs @ Toml::Table(_)) => append(settings, "kwargs", kwargs, &mut birth),
        Some(other) => {
            let kind = crate::settings::kind_of(other);
            settings.refuse("kwargs", format!("'kwargs' must be a table, not {kind}"));
        }
    }
    let program = Arc::new(Program::new(
        settings.object(),
        class,
        interpreter,
        birth,
        // What is out of range is refused above, and never used.
        Duration::try_from_secs_f64(timeout).unwrap_or_default(),
    ));
    Box::new(move || {
        let (process, interface) = program.start()?;
        let program = Use(Arc::clone(&program));
        Ok(Box::new(Python { process, program, interface, request: Vec::new() }))
    })
}

/// Whether `class` is a module and a class, with dots in either.
fn is_class(class: &str) -> bool {
    let name = |name: &str| {
        name.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_alphanumeric() || c == '_')
    };
    class
        .split_once(':')
        .is_some_and(|(module, class)| module.split('.').all(name) && class.split('.').all(name))
}

/// Appends a value of the configuration as MessagePack.
fn append(settings: &mut Settings<'_>, key: &'static str, value: &Toml, out: &mut Vec<u8>) {
    match value {
        Toml::String(text) => reply::text(out, text),
        Toml::Integer(number) => reply::int(out, *number),
        Toml::Float(number) => reply::value(out, Value::Float(*number)),
        Toml::Boolean(truth) => reply::value(out, Value::Bool(*truth)),
        Toml::Datetime(date) => {
            let message = format!("'{key}' has the date {date}; write it as text");
            settings.refuse(key, message);
        }
        Toml::Array(list) => {
            reply::list_head(out, list.len());
            for value in list {
                append(settings, key, value, out);
            }
        }
        Toml::Table(table) => {
            reply::map_head(out, table.len());
            for (name, value) in table {
                reply::text(out, name);
                append(settings, key, value, out);
            }
        }
    }
}

/// An object that lives in a child process.
struct Python {
    process: Process,
    /// Behind the process, for it is dropped in this order.
    program: Use,
    interface: Interface,
    /// The request being sent; kept for its room.
    request: Vec<u8>,
}

impl Object for Python {
    fn interface(&self) -> Interface {
        self.interface.clone()
    }

    fn call(
        &mut self,
        method: &Method,
        args: Args<'_>,
        cx: &Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Flow, Fault> {
        let write = |request: &mut Vec<u8>| {
            reply::list_head(request, args.positional.len());
            request.extend_from_slice(args.positional.contents());
            reply::map_head(request, args.named.len());
            request.extend_from_slice(args.named.contents());
        };
        self.run("call", &method.name, write, cx, out)
    }

    fn get(
        &mut self,
        attribute: &Attribute,
        cx: &Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Flow, Fault> {
        let write = |request: &mut Vec<u8>| {
            reply::list_head(request, 0);
            reply::map_head(request, 0);
        };
        self.run("get", &attribute.name, write, cx, out)
    }

    fn set(
        &mut self,
        attribute: &Attribute,
        value: Value<'_>,
        cx: &Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Flow, Fault> {
        if !attribute.settable {
            return Err(attribute.read_only());
        }
        let write = |request: &mut Vec<u8>| {
            reply::list_head(request, 1);
            reply::value(request, value);
            reply::map_head(request, 0);
        };
        self.run("set", &attribute.name, write, cx, out)
    }
}

/// A program that is used by an object: where that ends, nobody wants an heir.
struct Use(Arc<Program>);

impl Deref for Use {
    type Target = Program;

    fn deref(&self) -> &Program {
        &self.0
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        self.end_succession();
    }
}

impl Python {
    /// Has the child do `op` with `name`, and what `arguments` appends.
    fn run(
        &mut self,
        op: &str,
        name: &str,
        arguments: impl FnOnce(&mut Vec<u8>),
        cx: &Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Flow, Fault> {
        let time = cx.remaining().unwrap_or(self.program.timeout());
        let until = Instant::now() + time;
        if let Some(end) = self.process.end()
            && !self.succeed(until)
        {
            let message = format!("{} ended by itself: {end}", self.program.title());
            let fault = Fault::runtime_error(message).hint("it is started anew");
            let lost = Lost { fault, executed: Executed::No, reason: Some(Reason::Failed) };
            return Ok(Flow::Lost(lost));
        }
        self.request.clear();
        reply::list_head(&mut self.request, 4);
        reply::text(&mut self.request, op);
        reply::text(&mut self.request, name);
        arguments(&mut self.request);
        match self.process.ask(&self.request, until, out) {
            Ok(Answer::Value) => Ok(Flow::Done),
            Ok(Answer::Error(fault)) => Err(fault),
            Err(Broken::Late) => {
                self.process.give_up();
                let message = format!(
                    "{}.{name} did not end in time ({:.3} s)",
                    self.program.object(),
                    time.as_secs_f64()
                );
                let fault = Fault::timeout_error(message)
                    .hint("the object's process is ended and started anew");
                Ok(self.lost(fault, Some(Reason::Expired)))
            }
            Err(Broken::Gone(why)) => {
                let fault = self
                    .process
                    .post_mortem(&format!("{} {why} in {name}()", self.program.title()));
                Ok(self.lost(fault.hint("it is started anew"), None))
            }
        }
    }

    fn lost(&self, fault: Fault, reason: Option<Reason>) -> Flow {
        self.program.note_end(self.process.has_answered());
        Flow::Lost(Lost { fault, executed: Executed::Unknown, reason })
    }

    /// Goes on with the process that took the place of the one that ended, if it has the same to offer.
    fn succeed(&mut self, until: Instant) -> bool {
        let heir = self.program.take_heir(until);
        let heir = heir.filter(|(_, interface)| *interface == self.interface);
        heir.map(|(process, _)| self.process = process).is_some()
    }
}
