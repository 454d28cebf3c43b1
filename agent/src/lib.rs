//! The agent.

pub mod access;
pub mod config;
