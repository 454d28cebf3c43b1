//! The commands, a file each.

pub(crate) mod attribute;
pub(crate) mod call;
pub(crate) mod describe;
pub(crate) mod gateware;
pub(crate) mod list;
pub(crate) mod shell;

use crate::failure::Failure;
use proximity_client::Client;

/// The object and the method or attribute that `target` names; no member where it names an object.
///
/// Names of objects may have dots, so the longest one that the agent has is taken.
fn split(client: &Client, target: &str) -> Result<(String, Option<String>), Failure> {
    let member_of = |name: &str| match target.strip_prefix(name)? {
        "" => Some(None),
        rest => rest.strip_prefix('.').map(|member| Some(member.to_owned())),
    };
    let names = client.list()?;
    let known = names
        .into_iter()
        .filter_map(|name| member_of(&name).map(|member| (name, member)))
        .max_by_key(|(name, _)| name.len());
    Ok(known.unwrap_or_else(|| match target.rsplit_once('.') {
        // There is no such object: the agent says so better than we could.
        Some((name, member)) => (name.to_owned(), Some(member.to_owned())),
        None => (target.to_owned(), None),
    }))
}

/// As [`split`], where a member is needed.
fn member(client: &Client, target: &str, what: &str) -> Result<(String, String), Failure> {
    match split(client, target)? {
        (object, Some(member)) => Ok((object, member)),
        (object, None) => Err(Failure::usage(
            format!("'{target}' names an object; give OBJECT.{}", what.to_uppercase()),
            Some(format!("proximity describe {object} lists what it has")),
        )),
    }
}
