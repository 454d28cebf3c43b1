//! The configuration: a TOML file, read with all its mistakes at once.

use crate::access::{Filter, Networks};
use proximity_drivers::Opener;
use proximity_proto::limits::Limits;
pub use proximity_session::Legacy;

use finding::{Source, about_file};
use read::Reader;
use std::path::{Path, PathBuf};

mod bounds;
mod diff;
mod endpoint;
mod finding;
mod object;
mod read;
mod syntax;

pub use bounds::{Bounds, legacy_word};
pub use diff::Outline;
pub use endpoint::{Endpoint, EndpointError};
pub use finding::{Finding, Findings};

/// Calls that may wait for an object, unless the configuration says otherwise.
pub const DEFAULT_QUEUE: usize = 32;

/// What an agent is to do, checked.
pub struct Config {
    /// Where to listen. Never off this machine while `plaintext` is empty.
    pub listen: Vec<Endpoint>,
    /// Who may come unencrypted from another machine.
    pub plaintext: Networks,
    /// What a request may weigh.
    pub limits: Limits,
    /// Calls that may wait for an object; another one is answered `Busy`.
    pub queue: usize,
    /// What one client may have, and all of them together.
    pub bounds: Bounds,
    /// What old clients may do with objects that say nothing else.
    pub legacy: Legacy,
    /// What to log, unless the environment's `RUST_LOG` says otherwise.
    pub log: log::LevelFilter,
    /// The file without a line in which no lease is given or taken, if there is to be one.
    pub audit: Option<PathBuf>,
    /// The objects, by name.
    pub objects: Vec<ObjectConfig>,
}

/// One object of the configuration.
pub struct ObjectConfig {
    /// The name by which clients know it; may have dots.
    pub name: String,
    /// Its driver: [`proximity_drivers::Kind::name`].
    pub kind: &'static str,
    /// Opens it.
    pub opener: Opener,
    /// What of it can be seen and used.
    pub filter: Filter,
    /// What old clients may do with it.
    pub legacy: Legacy,
    /// Changes when anything in the object's table changes but `legacy`, and never otherwise: not with
    /// the order of keys, spaces or comments. An object with the same name and fingerprint need not be
    /// reopened when the configuration is read again.
    pub fingerprint: String,
}

/// What was read, with the warnings; or the mistakes that keep it from being used.
pub type Loaded = Result<(Config, Vec<Finding>), Findings>;

/// Reads the configuration in the file at `path`.
///
/// # Errors
///
/// All mistakes in it; or that it cannot be read.
pub fn load(path: &Path) -> Loaded {
    read(path, false)
}

/// As [`load`], and tries the patterns of `expose` and `hide` on what the objects have.
///
/// The objects are opened for that, which touches no device.
///
/// # Errors
///
/// As [`load`].
pub fn check(path: &Path) -> Loaded {
    read(path, true)
}

/// Reads the configuration in `text`, as if it stood in a file called `file`.
///
/// # Errors
///
/// All mistakes in it.
pub fn parse(file: &str, text: &str) -> Loaded {
    Reader::new(Source::new(file, text), false).read()
}

fn read(path: &Path, open: bool) -> Loaded {
    let file = path.display().to_string();
    let fail = |finding| Err(Findings { mistakes: vec![finding], warnings: Vec::new() });
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => return fail(about_file(&file, format!("cannot be read: {error}"))),
    };
    let text = match str::from_utf8(&bytes) {
        Ok(text) => text,
        Err(error) => {
            let (before, _) = bytes.split_at(error.valid_up_to());
            let text = str::from_utf8(before).unwrap_or_default();
            let message = "what follows is not UTF-8, as the file must be";
            return fail(Source::new(&file, text).finding(text.len()..text.len(), message, None));
        }
    };
    Reader::new(Source::new(&file, text), open).read()
}
