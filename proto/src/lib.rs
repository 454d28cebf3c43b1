//! Proximity's ground floor: bytes to values and back, with no I/O, no clock and no threads.
//!
//! ```text
//! request bytes -> value::check -> call::Call -> arg::Bound -> a driver's method
//!                                                                     |
//! reply bytes  <- reply::begin, ToReply, reply::finish  <-------------+
//! ```
//!
//! For driver authors: write a type, put [`expose`] on its `impl` block, and it is an [`Object`].
//! Everything else here is for the agent and its clients.

#![no_std]

extern crate alloc;

pub mod arg;
pub mod call;
pub mod fault;
pub mod gateware;
pub mod hello;
pub mod interface;
pub mod json;
pub mod katcp;
pub mod lease;
pub mod limits;
pub mod message;
pub mod object;
pub mod reply;
pub mod request;
pub mod status;
pub mod time;
pub mod value;

pub use arg::{FromArg, Kwargs};
pub use fault::Fault;
pub use object::{Context, Effect, Interface, Later, Object, Output, Principal};
pub use proximity_macros::{ToReply, expose};
pub use reply::{Bytes, ToReply};
pub use value::{Array, Map, Value};

/// What the code that [`expose`] writes stands on. Not for people.
#[doc(hidden)]
pub mod __private {
    pub use alloc::{boxed::Box, string::String, sync::Arc, vec, vec::Vec};
}
