//! What a request may weigh, so that hostile bytes cost their sender and nobody else.

use core::time::Duration;

/// The bounds that [`crate::value::check`] and [`crate::call::Call::parse`] hold a request to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a whole request or reply.
    pub max_frame: usize,
    /// Values in a request, counted through all arrays and maps.
    pub max_items: u32,
}

/// How deep arrays and maps may nest. A constant, so that a walk needs no heap.
pub const MAX_DEPTH: usize = 32;

/// Bytes of an object's, a method's or a parameter's name, and of every map key.
pub const MAX_NAME: usize = 256;

/// The smallest `max_frame` that a configuration may set: 64 KiB.
pub const MIN_FRAME: usize = 64 << 10;

/// The largest `max_frame` that a configuration may set: 1 GiB.
pub const MAX_FRAME: usize = 1 << 30;

/// How far ahead of the agent's clock a call's `expires` may lie: what it remembers of a client it
/// remembers until then.
pub const MAX_AHEAD: Duration = Duration::from_hours(24);

impl Default for Limits {
    fn default() -> Self {
        Self { max_frame: 32 << 20, max_items: 65_536 }
    }
}
