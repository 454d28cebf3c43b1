//! `proximity get`: reads an attribute.

use crate::{cmd::App, failure::Failure};
use clap::Args;

/// Read an attribute and print its value
#[derive(Args)]
pub(crate) struct Get {
    /// The attribute
    #[arg(value_name = "OBJECT.ATTRIBUTE")]
    target: String,

    /// Write the bytes of the value as they are
    #[arg(long, conflicts_with = "json")]
    raw: bool,
}

impl Get {
    pub(crate) fn run(&self, app: &App<'_>) -> Result<(), Failure> {
        let (object, attribute) = app.member(&self.target, "ATTRIBUTE")?;
        let reply = app.client.object(object).get(attribute)?;
        if self.raw { app.print_raw(&reply) } else { app.print(&reply) }
    }
}
