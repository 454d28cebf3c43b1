//! `proximity describe`: documentation.

use crate::{
    cmd::{App, list},
    failure::Failure,
    target::Target,
};
use clap::Args;
use proximity_client::{AttributeDescription, Description, MethodDescription};
use proximity_proto::fault::did_you_mean;

/// Show the documentation of an object, a method or an attribute
#[derive(Args)]
pub(crate) struct Describe {
    /// OBJECT, OBJECT.METHOD or OBJECT.ATTRIBUTE
    #[arg(value_name = "OBJECT[.METHOD]")]
    target: String,
}

impl Describe {
    pub(crate) fn new(target: &str) -> Self {
        Self { target: target.into() }
    }

    pub(crate) fn run(&self, app: &App<'_>) -> Result<(), Failure> {
        let Target { object, member } = app.target(&self.target)?;
        let text = app.client.describe_json(object)?;
        let description: Description = parsed(&text)?;
        if app.output.json {
            let definition: serde_json::Value = parsed(&text)?;
            let part = match member {
                None => Some(definition),
                Some(member) => part_of(&definition, member),
            };
            let part = part.ok_or_else(|| unknown(&description, member.unwrap_or_default()))?;
            return Ok(app.output.line(format!("{part:#}"))?);
        }
        let Some(member) = member else { return describe_object(app, &description) };
        match (description.method(member), description.attribute(member)) {
            (Some(method), _) => describe_method(app, method),
            (None, Some(attribute)) => describe_attribute(app, attribute),
            (None, None) => Err(unknown(&description, member)),
        }
    }
}

fn describe_object(app: &App<'_>, object: &Description) -> Result<(), Failure> {
    if !object.doc.is_empty() {
        app.output.line(&object.doc)?;
        app.output.line("")?;
    }
    list::list_object(app, object)
}

fn describe_method(app: &App<'_>, method: &MethodDescription) -> Result<(), Failure> {
    app.output.line(app.output.bold(&method.signature()))?;
    if !method.doc.is_empty() {
        app.output.line("")?;
        app.output.line(&method.doc)?;
    }
    app.output.line("")?;
    Ok(app.output.line(format!("effect: {}", method.effect))?)
}

fn describe_attribute(app: &App<'_>, attribute: &AttributeDescription) -> Result<(), Failure> {
    let AttributeDescription { name, ty, doc, settable } = attribute;
    let how = if *settable { "can be set" } else { "read only" };
    app.output.line(app.output.bold(&format!("{name}: {ty}")))?;
    if !doc.is_empty() {
        app.output.line("")?;
        app.output.line(doc)?;
    }
    app.output.line("")?;
    Ok(app.output.line(format!("attribute: {how}"))?)
}

/// The part of a definition that is about `member`.
fn part_of(definition: &serde_json::Value, member: &str) -> Option<serde_json::Value> {
    let lists = ["methods", "attributes"].iter().filter_map(|key| definition.get(key)?.as_array());
    lists.flatten().find(|part| part.get("name").is_some_and(|name| name == member)).cloned()
}

fn parsed<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|error| {
        Failure::usage(format!("the agent's description cannot be read: {error}"), "is it newer?")
    })
}

fn unknown(object: &Description, member: &str) -> Failure {
    let methods = object.methods.iter().map(|method| method.name.as_str());
    let names = methods.chain(object.attributes.iter().map(|attribute| attribute.name.as_str()));
    let hint = match did_you_mean(member, names) {
        Some(meant) => format!("did you mean '{meant}'?"),
        None => format!("`proximity list {}` tells what there is", object.name),
    };
    Failure::usage(format!("'{}' has no method or attribute '{member}'", object.name), hint)
}
