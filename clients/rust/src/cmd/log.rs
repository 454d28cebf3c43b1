//! `proximity log`: what the agent logs.

use crate::{cmd::App, failure::Failure};
use clap::Args;
use serde_json::json;

/// Show or change what the agent logs; changing only on the agent's own machine
#[derive(Args)]
#[command(after_help = HELP)]
pub(crate) struct Log {
    /// off, error, warn, info, debug or trace
    level: Option<String>,
}

const HELP: &str = "\
A changed level lasts until the agent reads its configuration again (SIGHUP) or is started anew.
The log itself is where the agent's standard error goes; under systemd that is the journal:
  proximity log debug; journalctl -u proximity-agent -f";

impl Log {
    pub(crate) fn run(&self, app: &App<'_>) -> Result<(), Failure> {
        let level = app.client.log_level(self.level.as_deref())?;
        let text = if app.output.json { json!({"level": level}).to_string() } else { level };
        Ok(app.output.line(text)?)
    }
}
