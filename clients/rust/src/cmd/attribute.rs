//! `proximity get OBJECT.ATTRIBUTE` and `proximity set OBJECT.ATTRIBUTE VALUE`

use super::{call, member};
use crate::{failure::Failure, words::Word};
use proximity_client::Client;

/// Reads an attribute, and prints it.
pub(crate) fn get(client: &Client, target: &str, json: bool) -> Result<(), Failure> {
    let (object, attribute) = member(client, target, "attribute")?;
    call::print(&client.object(&object).get(&attribute)?, json, false)
}

/// Sets an attribute.
pub(crate) fn set(client: &Client, target: &str, value: &str) -> Result<(), Failure> {
    let (object, attribute) = member(client, target, "attribute")?;
    let description = client.describe(&object)?;
    let ty = description.attribute(&attribute).map_or("any", |attribute| attribute.ty.as_str());
    let value = Word::read(value, ty)?;
    Ok(client.object(&object).set(&attribute, &value)?)
}
