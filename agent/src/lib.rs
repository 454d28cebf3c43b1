//! The agent: exposes objects over ZeroMQ.
//!
//! ```text
//! main.rs   command line, signals        check.rs   proximity-agent check
//! config.rs, access.rs                   what the configuration says, and who may come
//! run.rs    [`run`], [`Agent`]           control.rs drain, reload
//! notify.rs                              what systemd is told
//! metrics.rs                             what Prometheus is told
//! router.rs one thread: messages <-> session <-> workers
//! worker.rs a thread for each object      handover.rs, bell.rs  the queues in between
//! transport/zmq.rs, transport/memory.rs  the two ways that messages come
//! ```

pub mod access;
mod audit;
mod bell;
mod chunks;
mod clock;
pub mod config;
mod control;
mod handover;
mod job;
mod metrics;
mod notify;
mod os;
mod outbox;
mod router;
mod run;
mod sync;
mod table;
mod tally;
pub mod transport;
mod worker;

pub use bell::Bell;
pub use control::Control;
pub use metrics::serve_metrics;
pub use notify::{Notifier, NotifyError};
pub use run::{Agent, RunError, log_panics, run, run_over};
