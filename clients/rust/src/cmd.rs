//! The commands, one a file.

pub(crate) mod call;
mod complete;
pub(crate) mod completions;
pub(crate) mod describe;
pub(crate) mod gateware;
pub(crate) mod get;
pub(crate) mod leases;
pub(crate) mod list;
pub(crate) mod log;
pub(crate) mod set;
pub(crate) mod shell;
pub(crate) mod status;
pub(crate) mod steal;

use crate::{failure::Failure, output::Output, show, target::Target};
use leases::Held;
use proximity_client::{Client, Proxy, Reply};
use proximity_proto::json;

/// What every command works with.
pub(crate) struct App<'a> {
    pub(crate) client: Client,
    pub(crate) output: &'a Output,
    /// The objects that others may not write to meanwhile.
    pub(crate) held: &'a Held,
}

impl App<'_> {
    /// Splits `OBJECT.MEMBER` with the agent's knowledge of its objects.
    fn target<'t>(&self, word: &'t str) -> Result<Target<'t>, Failure> {
        Ok(Target::split(word, &self.client.list()?))
    }

    /// As [`App::target`], for a word that must name a method or an attribute.
    fn member<'t>(&self, word: &'t str, what: &str) -> Result<(&'t str, &'t str), Failure> {
        let objects = self.client.list()?;
        let Target { object, member } = Target::split(word, &objects);
        let member = member.filter(|member| !member.is_empty()).ok_or_else(|| {
            let hint = if objects.iter().any(|name| name == object) {
                format!("`proximity list {object}` tells what there is")
            } else {
                format!("there is no object '{object}'; `proximity list` tells which there are")
            };
            Failure::usage(format!("'{word}' names no {what}; write OBJECT.{what}"), hint)
        })?;
        Ok((object, member))
    }

    /// The object `name`, under its lease if this command has one.
    fn object(&self, name: &str) -> Proxy {
        self.held.object(self, name)
    }

    /// How many bytes the agent takes in a request.
    fn most(&self) -> Result<u64, Failure> {
        Ok(self.client.hello()?.limits.max_frame)
    }

    /// Prints a result.
    fn print(&self, reply: &Reply) -> Result<(), Failure> {
        if self.output.json {
            self.output.line(json::value(reply.value()).to_string())?;
        } else {
            for line in show::result(reply.value()) {
                self.output.line(line)?;
            }
        }
        Ok(())
    }

    /// Prints the bytes of a result as they are.
    fn print_raw(&self, reply: &Reply) -> Result<(), Failure> {
        let bytes = reply.value().as_bytes().ok_or_else(|| {
            let kind = reply.value().kind();
            Failure::usage(format!("the result is no bytes but {kind}"), "leave --raw away")
        })?;
        Ok(self.output.raw(bytes)?)
    }
}

/// Prints a name and what there is to say about it, aligned with those around it.
fn two_columns(app: &App<'_>, name: &str, width: usize, text: &str) -> Result<(), Failure> {
    let fill = " ".repeat(width - name.chars().count().min(width));
    let line = format!("{}{fill}  {text}", app.output.bold(name));
    Ok(app.output.line(line.trim_end())?)
}

/// The first line of a documentation.
fn summary(doc: &str) -> &str {
    doc.lines().next().unwrap_or_default()
}
