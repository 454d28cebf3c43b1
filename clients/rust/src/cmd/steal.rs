//! `proximity steal`: ends another's lease.

use crate::{
    cmd::{App, leases::Held},
    failure::Failure,
};
use clap::Args;
use serde_json::json;

/// Unlock an object that somebody else has locked; only on the agent's own machine
#[derive(Args)]
#[command(after_help = HELP)]
pub(crate) struct Steal {
    /// The object
    object: String,
}

const HELP: &str = "\
Whoever had it can no longer write to it, and is told so; then it is free for anybody.
`proximity leases` tells who has what.";

impl Steal {
    pub(crate) fn run(&self, app: &App<'_>) -> Result<(), Failure> {
        let held = Held::default();
        let from = held.steal(app, &self.object)?;
        held.release(&self.object)?;
        tell(app, &self.object, from, "it is free now")
    }
}

/// Says from whom an object was taken.
pub(crate) fn tell(
    app: &App<'_>,
    object: &str,
    from: Option<String>,
    now: &str,
) -> Result<(), Failure> {
    let text = match (app.output.json, from) {
        (true, from) => json!({"object": object, "from": from}).to_string(),
        (false, Some(from)) => format!("{object} was locked by {from}; {now}"),
        (false, None) => format!("{object} was not locked; {now}"),
    };
    Ok(app.output.line(text)?)
}
