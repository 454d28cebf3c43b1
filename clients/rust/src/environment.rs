//! What the environment tells the command.

use crate::failure::Failure;
use proximity_client::DEFAULT_ADDRESS;
use std::ffi::OsString;

/// Where the agent is if the command line does not tell.
pub(crate) fn address() -> Result<String, Failure> {
    let named = std::env::var_os("PROXIMITY_AGENT").filter(|address| !address.is_empty());
    named.map_or_else(|| Ok(DEFAULT_ADDRESS.into()), OsString::into_string).map_err(|address| {
        let message = format!("PROXIMITY_AGENT is '{}', which is not UTF-8", address.display());
        Failure::usage(message, "set it to HOST, HOST:PORT, tcp://HOST:PORT or ipc:///PATH")
    })
}
