//! Proximity's Rust client: calls to objects that an agent exposes, as if they were here.
//!
//! ```no_run
//! use proximity_client::Client;
//!
//! let srbs = Client::new("colossus")?.object("srbs");
//! srbs.call("write_int", ("sys_scratchpad", 0x1234_5678))?;
//! let value: u32 = srbs.call("read_uint", ("sys_scratchpad",))?.get()?;
//! assert_eq!(value, 0x1234_5678);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Every call ends, by its deadline at the latest, with the value or with an [`Error`] that tells
//! whether the method ran. An agent that is not there yet, or is restarted between two calls, is
//! nobody's trouble: the same client goes on. What only reads is repeated where a connection was lost;
//! what writes, only where the agent answers the second copy with the first one's answer.
//! [`Proxy::lock`] keeps others from writing.
//!
//! The `proximity` command, also in this package, is written with it.

mod address;
mod chunks;
mod client;
mod description;
mod error;
mod exchange;
mod lease;
mod object;
mod reply;
mod request;
mod session;
mod transport;

pub use address::{AddressError, DEFAULT_ADDRESS, DEFAULT_PORT};
pub use client::{
    CallOptions, Client, DEFAULT_MAX_REPLY, DEFAULT_TIMEOUT, HowCancelled, Progress, Stop,
};
pub use description::{
    AttributeDescription, Description, ErrorDescription, MethodDescription, ParamDescription,
};
pub use error::{CallError, Error, NotSent, RemoteError, ResultError, Unknown};
pub use lease::Lease;
pub use object::Proxy;
pub use reply::Reply;

/// The values that calls take and give.
pub use proximity_proto::{
    Bytes, Fault, FromArg, ToReply, Value,
    call::CallId,
    fault::{Executed, Locked, Reason},
    hello::{AgentLimits, Hello},
    lease::Lease as LeaseInfo,
    request::Arguments,
    status::{ObjectStatus, Status},
};
