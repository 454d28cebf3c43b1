//! SIGTERM, SIGINT and SIGHUP.

use proximity_agent::{
    Control,
    config::{self, Config, Outline},
};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
    low_level::{emulate_default_handler, signal_name},
};
use std::{
    io,
    path::{Path, PathBuf},
    thread,
};

/// Takes the signals from now on; those that come before [`obey`] are kept for it.
///
/// # Errors
///
/// The system's.
pub(crate) fn take() -> io::Result<Signals> {
    Signals::new([SIGTERM, SIGINT, SIGHUP])
}

/// Tells the agent of `control` what signals ask for, on a thread of its own.
///
/// `file` is read again at SIGHUP; `outline` is what was read of it so far, and `on_log` is told of
/// the level to log at.
///
/// # Errors
///
/// The system's, where it has no thread left.
pub(crate) fn obey(
    mut signals: Signals,
    control: Control,
    file: PathBuf,
    mut outline: Outline,
    on_log: impl Fn(log::LevelFilter) + Send + 'static,
) -> io::Result<()> {
    let obey = move || {
        let mut stopping = false;
        for signal in &mut signals {
            match signal {
                SIGHUP => {
                    control.notifier().reloading();
                    match read_again(&file, &mut outline, &on_log) {
                        Some(config) => control.reload(config),
                        None => control.notifier().ready(
                            "serving by the configuration before; \
                            the one that there is now has mistakes",
                        ),
                    }
                }
                // Whoever asks twice does not want to wait: as if there were no handler.
                _ if stopping => drop(emulate_default_handler(signal)),
                _ => {
                    let name = signal_name(signal).unwrap_or("signal");
                    log::info!("{name}: stopping as soon as running calls have ended");
                    stopping = true;
                    control.drain();
                }
            }
        }
    };
    thread::Builder::new().name("signals".into()).spawn(obey).map(drop)
}

/// The configuration as it is now, if it can be used; `outline` is then of this one.
fn read_again(
    file: &Path,
    outline: &mut Outline,
    on_log: &impl Fn(log::LevelFilter),
) -> Option<Config> {
    let name = file.display();
    let (config, warnings) = match config::load(file) {
        Ok(loaded) => loaded,
        Err(found) => {
            for mistake in &found.mistakes {
                log::error!("{mistake}");
            }
            log::error!("{name} cannot be used; all stays as it was");
            return None;
        }
    };
    on_log(config.log);
    for warning in warnings {
        log::warn!("{warning}");
    }
    let next = Outline::of(&config);
    let changes = outline.changes(&next);
    log::info!(
        "{name} was read again{}",
        if changes.is_empty() { "; nothing changed" } else { "" }
    );
    for change in changes {
        log::info!("{change}");
    }
    *outline = next;
    Some(config)
}
