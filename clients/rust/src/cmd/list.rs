//! `proximity list`: the agent's objects, or what one of them can do.

use crate::{
    cmd::{App, summary, two_columns},
    failure::Failure,
    interrupt::was_interrupted,
    output::error_as_json,
};
use clap::Args;
use proximity_client::{CallError, Description, Error, MethodDescription, ParamDescription};
use serde_json::json;

/// List the agent's objects, or what one of them can do
#[derive(Args)]
pub(crate) struct List {
    /// The object whose methods and attributes to list
    object: Option<String>,
}

impl List {
    pub(crate) fn new(object: Option<&str>) -> Self {
        Self { object: object.map(String::from) }
    }

    pub(crate) fn run(&self, app: &App<'_>) -> Result<(), Failure> {
        match &self.object {
            Some(object) => list_object(app, &app.client.describe(object)?),
            None => list_objects(app),
        }
    }
}

fn is_not_sent(error: &Error) -> bool {
    matches!(error, Error::Call(CallError::NotSent { .. }))
}

/// Prints a line for each object; for one that cannot tell of itself, why not.
fn list_objects(app: &App<'_>) -> Result<(), Failure> {
    let names = app.client.list()?;
    let mut objects = Vec::with_capacity(names.len());
    for name in &names {
        match app.client.describe(name) {
            // Without an agent, or after Ctrl-C, the other objects need not be asked for.
            Err(error) if is_not_sent(&error) || was_interrupted(&error) => {
                return Err(error.into());
            }
            described => objects.push((name, described)),
        }
    }
    if app.output.json {
        let objects = objects.iter().map(|(name, described)| match described {
            Ok(object) => json!({"name": name, "doc": summary(&object.doc)}),
            Err(error) => json!({"name": name, "error": error_as_json(error)}),
        });
        return Ok(app.output.line(json!(objects.collect::<Vec<_>>()).to_string())?);
    }
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or_default();
    for (name, described) in &objects {
        match described {
            Ok(object) => two_columns(app, name, width, summary(&object.doc))?,
            Err(error) => {
                let text = format!("{}: {}", error.class(), summary(&error.message()));
                two_columns(app, name, width, &text)?;
            }
        }
    }
    Ok(())
}

/// Prints what an object can do, a line for each method and attribute.
pub(crate) fn list_object(app: &App<'_>, object: &Description) -> Result<(), Failure> {
    if app.output.json {
        let methods = object.methods.iter().map(|method| {
            json!({"name": method.name, "usage": usage(method), "doc": summary(&method.doc)})
        });
        let attributes = object
            .attributes
            .iter()
            .map(|attribute| json!({"name": attribute.name, "doc": summary(&attribute.doc)}));
        let (methods, attributes): (Vec<_>, Vec<_>) = (methods.collect(), attributes.collect());
        let listed = json!({"methods": methods, "attributes": attributes});
        return Ok(app.output.line(listed.to_string())?);
    }
    let usages: Vec<String> = object.methods.iter().map(usage).collect();
    let names = object.attributes.iter().map(|attribute| attribute.name.chars().count());
    let width = usages.iter().map(|usage| usage.chars().count()).chain(names).max();
    let width = width.unwrap_or_default().min(MOST_COLUMNS);
    for (method, usage) in object.methods.iter().zip(&usages) {
        two_columns(app, usage, width, summary(&method.doc))?;
    }
    if !object.attributes.is_empty() {
        app.output.line("attributes:")?;
    }
    for attribute in &object.attributes {
        two_columns(app, &attribute.name, width, summary(&attribute.doc))?;
    }
    Ok(())
}

/// A longer usage pushes its own summary to the right, not everybody's.
const MOST_COLUMNS: usize = 40;

/// A method with its parameters' names, those that can be left out in brackets.
fn usage(method: &MethodDescription) -> String {
    let param = |param: &ParamDescription| match (param.kind.as_str(), &param.default) {
        ("args", _) => format!("*{}", param.name),
        ("kwargs", _) => format!("**{}", param.name),
        (_, Some(_)) => format!("[{}]", param.name),
        (_, None) => param.name.clone(),
    };
    let params: Vec<String> = method.params.iter().map(param).collect();
    format!("{}({})", method.name, params.join(", "))
}
