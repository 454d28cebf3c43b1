//! `proximity describe OBJECT[.METHOD]`

use super::split;
use crate::{failure::Failure, show};
use proximity_client::{AttributeDescription, Client, Description, MethodDescription};
use proximity_proto::fault::did_you_mean;
use serde_json::Value as Json;

/// Prints what an object, a method or an attribute is.
pub(crate) fn run(client: &Client, target: &str, json: bool) -> Result<(), Failure> {
    let (name, member) = split(client, target)?;
    if json {
        let text = client.describe_json(&name)?;
        return Ok(show::say(&match member {
            None => text,
            Some(member) => member_json(&text, &name, &member)?,
        })?);
    }
    let description = client.describe(&name)?;
    let text = match member {
        None => object(&description),
        Some(member) => documentation(&description, &member)
            .ok_or_else(|| unknown(&name, &member, &members(&description)))?,
    };
    Ok(show::say(&text)?)
}

/// What an object is, and a line for each thing it has.
pub(crate) fn object(description: &Description) -> String {
    let mut text = String::new();
    if !description.doc.is_empty() {
        text += &description.doc;
        text += "\n\n";
    }
    let rows: Vec<_> = description
        .methods
        .iter()
        .map(|method| (method.signature(), first_line(&method.doc)))
        .chain(description.attributes.iter().map(|a| (attribute_line(a), first_line(&a.doc))))
        .map(|(signature, doc)| format!("  {signature}\n      {doc}").trim_end().to_owned() + "\n")
        .collect();
    text + &rows.concat()
}

/// All that is said of one method or attribute.
pub(crate) fn documentation(description: &Description, member: &str) -> Option<String> {
    if let Some(method) = description.method(member) {
        return Some(of_method(method));
    }
    let attribute = description.attribute(member)?;
    Some(format!("{}\n\n{}", attribute_line(attribute), attribute.doc))
}

fn of_method(method: &MethodDescription) -> String {
    format!("{}        [{}]\n\n{}", method.signature(), method.effect, method.doc)
}

fn attribute_line(attribute: &AttributeDescription) -> String {
    let AttributeDescription { name, ty, .. } = attribute;
    let settable = if attribute.settable { "" } else { "   (read only)" };
    format!("{name}: {ty}{settable}")
}

fn first_line(doc: &str) -> String {
    doc.lines().next().unwrap_or_default().to_owned()
}

fn members(description: &Description) -> Vec<String> {
    let methods = description.methods.iter().map(|method| method.name.clone());
    methods.chain(description.attributes.iter().map(|a| a.name.clone())).collect()
}

fn unknown(object: &str, member: &str, known: &[String]) -> Failure {
    let hint = did_you_mean(member, known.iter().map(String::as_str))
        .map(|meant| format!("did you mean '{meant}'?"));
    Failure::usage(format!("object '{object}' has no method or attribute '{member}'"), hint)
}

fn member_json(text: &str, object: &str, member: &str) -> Result<String, Failure> {
    let json: Json = serde_json::from_str(text).unwrap_or_default();
    ["methods", "attributes"]
        .iter()
        .filter_map(|list| json.get(list)?.as_array())
        .flatten()
        .find(|entry| entry.get("name").and_then(Json::as_str) == Some(member))
        .map(Json::to_string)
        .ok_or_else(|| unknown(object, member, &[]))
}
