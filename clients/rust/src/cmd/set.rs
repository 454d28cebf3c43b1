//! `proximity set`: sets an attribute.

use crate::{argument, cmd::App, failure::Failure};
use clap::Args;
use proximity_client::Value;

/// Set an attribute
#[derive(Args)]
pub(crate) struct Set {
    /// The attribute
    #[arg(value_name = "OBJECT.ATTRIBUTE")]
    target: String,

    /// Its new value, written as an argument of `proximity call`
    #[arg(value_parser = argument::written)]
    value: String,

    /// Lock the object meanwhile; fails where somebody else has it
    #[arg(long)]
    lock: bool,
}

impl Set {
    pub(crate) fn new(target: &str, value: &str) -> Self {
        Self { target: target.into(), value: value.into(), lock: false }
    }

    pub(crate) fn run(&self, app: &App<'_>) -> Result<(), Failure> {
        let (object, attribute) = app.member(&self.target, "ATTRIBUTE")?;
        let description = app.client.describe(object)?;
        let ty = description.attribute(attribute).map_or("any", |attribute| &attribute.ty);
        let bytes = argument::value(&self.value, ty, &|| app.most())?;
        let value = Value::first(&bytes).unwrap_or(Value::Nil);
        if self.lock {
            app.held.lock(app, object)?;
        }
        Ok(app.object(object).set(attribute, &value)?)
    }
}
