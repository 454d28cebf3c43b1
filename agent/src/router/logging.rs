//! What the agent logs, asked for and changed while it runs.

use super::{Router, arrival::Refused, words};
use crate::{job::Job, transport::Peer};
use log::{Level, LevelFilter, Record};
use proximity_proto::{Fault, call::Call, fault::Executed, object::PrincipalKind, reply};

/// The levels, as the configuration has them.
const LEVELS: &str = "off, error, warn, info, debug or trace";

/// The level that is wanted, if one is, from who may want it.
pub(super) fn asked(call: &Call<'_>, peer: Option<&Peer>) -> Result<Option<LevelFilter>, Refused> {
    let own = |fault| Box::new((fault, None));
    let mut levels = call.args.positional.iter();
    let Some(level) = levels.next() else { return Ok(None) };
    if levels.next().is_some() {
        let count = call.args.positional.len();
        let message = format!("log takes one argument, the level, or none, not {count}");
        return Err(own(Fault::type_error(message)));
    }
    let level = level.as_text().ok_or_else(|| {
        let message = format!("log: the level must be text, not {}", level.kind());
        own(Fault::type_error(message))
    })?;
    let known = level.parse().map_err(|_| {
        let level = level.escape_debug();
        own(Fault::value_error(format!("log: the level is '{level}'; it must be {LEVELS}")))
    })?;
    // What is logged may be others' affairs, and a log without end fills the disk.
    if !peer.is_some_and(|peer| peer.principal.kind == PrincipalKind::Local) {
        return Err(own(words::no_other_log(peer)));
    }
    Ok(Some(known))
}

impl Router {
    /// Changes the level where that is wanted, and answers with the one that there is.
    pub(super) fn answer_log(&self, level: Option<LevelFilter>, epoch: Option<u64>, job: &mut Job) {
        if let Some(level) = level {
            if let Some(why) = self.session.untimely(self.clock.now(), epoch, job.expires) {
                let (fault, reason) = words::refusal(&why, job, None);
                return job.fail(&fault, Executed::No, reason);
            }
            if !self.control.log_at(level) {
                let message = "what this agent logs was set when it was started";
                let fault = Fault::runtime_error(message)
                    .hint("RUST_LOG in its environment wins over the configuration and over this");
                return job.fail(&fault, Executed::No, None);
            }
            let principal = job.peer.as_deref().map(|peer| &peer.principal);
            let known = principal.map(|who| [who.name.as_str(), who.address.as_str()]);
            let known = known.into_iter().flatten().find(|known| !known.is_empty());
            let who = known.unwrap_or("somebody on this machine");
            // Past log::warn!, which asks for the level: who reads the log shall know why it says no more.
            log::logger().log(
                &Record::builder()
                    .level(Level::Warn)
                    .target(module_path!())
                    .args(format_args!("{who} has set the level of the log to '{}'", word(level)))
                    .build(),
            );
        }
        job.answer(|out| reply::text(out, &word(log::max_level())));
    }
}

fn word(level: LevelFilter) -> String {
    level.as_str().to_ascii_lowercase()
}
