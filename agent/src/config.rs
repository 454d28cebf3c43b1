//! The configuration: a TOML file, read with all its mistakes at once.

use crate::access::{Filter, Networks};
use proximity_drivers::Opener;
use proximity_proto::limits::Limits;

mod endpoint;

pub use endpoint::{Endpoint, EndpointError};

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
    /// What to log, unless the environment's `RUST_LOG` says otherwise.
    pub log: log::LevelFilter,
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
    /// Changes when anything in the object's table changes, and never otherwise: not with the order
    /// of keys, spaces or comments. An object with the same name and fingerprint need not be
    /// reopened when the configuration is read again.
    pub fingerprint: String,
}
