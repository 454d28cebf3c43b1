//! `proximity-agent serve`, and the exit statuses.

use crate::{
    check,
    output::{complain, say},
    signals,
};
use log::{Level, LevelFilter};
use proximity_agent::{
    Control, Notifier, RunError,
    config::{self, Outline},
};
use std::{error::Error, io, net::SocketAddr, path::Path};

pub(crate) const SUCCESS: u8 = 0;
pub(crate) const FAILED: u8 = 1;
pub(crate) const USAGE: u8 = 2;
/// `EX_UNAVAILABLE`: an address is in use.
const UNAVAILABLE: u8 = 69;
/// `EX_CONFIG`: no use in trying again before somebody has mended the file.
pub(crate) const CONFIG: u8 = 78;

/// Runs an agent until a signal ends it.
///
/// `start_logging` begins the log, and gives what sets its level.
///
/// # Errors
///
/// The system's.
pub(crate) fn serve<S: Fn(LevelFilter) -> bool + Send + Sync + Copy + 'static>(
    file: &Path,
    metrics: Option<SocketAddr>,
    start_logging: impl FnOnce() -> io::Result<S>,
) -> io::Result<u8> {
    let signals = signals::take()?;
    let (config, warnings) = match config::load(file) {
        Ok(loaded) => loaded,
        Err(found) => {
            complain(&check::mistakes(&file.display().to_string(), &found));
            return Ok(CONFIG);
        }
    };
    let set_level = start_logging()?;
    set_level(config.log);
    proximity_agent::log_panics();
    for warning in warnings {
        log::warn!("{warning}");
    }
    let control = Control::new()?.telling(Notifier::from_environment()).logging(set_level);
    signals::obey(signals, control.clone(), file.to_owned(), Outline::of(&config), move |level| {
        set_level(level);
    })?;
    let ready = |addresses: &[String]| {
        let lines = addresses.iter().map(|address| format!("listening {address}\n"));
        say(&(lines.collect::<String>() + "ready\n"));
    };
    if let Some(address) = metrics {
        match proximity_agent::serve_metrics(address, &control) {
            Ok(address) => say(&format!("metrics http://{address}/metrics\n")),
            Err(error) => {
                fail(&format!("cannot tell metrics at {address}: {error}"));
                let taken = error.kind() == io::ErrorKind::AddrInUse;
                return Ok(if taken { UNAVAILABLE } else { FAILED });
            }
        }
    }
    let Err(error) = proximity_agent::run(config, &control, ready) else { return Ok(SUCCESS) };
    let why = error.source().map_or_else(String::new, |source| format!(": {source}"));
    fail(&format!("{error}{why}"));
    Ok(match error {
        RunError::Listen(error) if error.source.kind() == io::ErrorKind::AddrInUse => UNAVAILABLE,
        _ => FAILED,
    })
}

/// Tells why the agent ends, whatever it logs otherwise.
fn fail(why: &str) {
    if log::log_enabled!(Level::Error) {
        log::error!("{why}");
    } else {
        complain(&format!("proximity-agent: {why}\n"));
    }
}
