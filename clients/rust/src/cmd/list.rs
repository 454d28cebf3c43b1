//! `proximity list`

use crate::{failure::Failure, show};
use proximity_client::Client;
use serde_json::json;

/// Prints the names of the agent's objects, and the first line of what they are.
pub(crate) fn run(client: &Client, json: bool) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for name in client.list()? {
        let description = client.describe(&name)?;
        rows.push((name, description.doc.lines().next().unwrap_or_default().to_owned()));
    }
    let text = if json {
        let objects: Vec<_> =
            rows.iter().map(|(name, doc)| json!({"name": name, "doc": doc})).collect();
        json!(objects).to_string()
    } else {
        show::columns(&rows)
    };
    Ok(show::say(&text)?)
}
