//! How an agent and its objects are: the result of `op: status`.
//!
//! Times are in milliseconds, latencies in microseconds. What a reader finds missing is empty or 0, and
//! what it does not know it ignores, so that agents and clients of different versions understand each
//! other.

use crate::{
    arg::{FromArg, Mismatch, Type},
    reply::{ToReply, map_head, text},
    value::{Map, Value},
};
use alloc::{collections::BTreeMap, string::String, vec::Vec};

/// A struct that travels as a dictionary with the names of its fields for keys.
macro_rules! record {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $field:ident: $ty:ty,)* }) => {
        $(#[$about])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            $($(#[$doc])* pub $field: $ty,)*
        }

        impl ToReply for $name {
            fn to_reply(&self, out: &mut Vec<u8>) {
                map_head(out, [$(stringify!($field)),*].len());
                $(
                    text(out, stringify!($field));
                    self.$field.to_reply(out);
                )*
            }

            fn ty() -> Type {
                Type::named("dict")
            }
        }

        impl<'a> FromArg<'a> for $name {
            fn from_arg(value: Value<'a>) -> Result<Self, Mismatch> {
                let map = Map::from_arg(value)?;
                Ok(Self { $($field: field(map, stringify!($field))?,)* })
            }

            fn ty() -> Type {
                Type::named("dict")
            }
        }
    };
}

fn field<'a, T: FromArg<'a> + Default>(map: Map<'a>, name: &str) -> Result<T, Mismatch> {
    map.get(name).map_or_else(|| Ok(T::default()), T::from_arg)
}

record! {
    /// How an agent and its objects are.
    Status {
        /// The agent itself.
        agent: AgentStatus,
        /// Its objects by name.
        objects: BTreeMap<String, ObjectStatus>,
    }
}

record! {
    /// How an agent is.
    AgentStatus {
        /// Its version.
        version: String,
        /// This run's number.
        epoch: u64,
        /// How long it runs, in milliseconds.
        uptime: u64,
        /// Where it listens.
        listen: Vec<String>,
        /// Whether it is stopping.
        draining: bool,
        /// Connections that called lately.
        peers: u64,
        /// Clients whose replies are kept for them.
        clients: u64,
        /// What passed.
        traffic: TrafficStatus,
        /// What became of the calls.
        calls: CallsStatus,
        /// Calls that the agent refused, by reason; those that never happened are left out.
        refused: BTreeMap<String, u64>,
        /// What may be asked of it.
        limits: LimitsStatus,
    }
}

record! {
    /// Messages and bytes since the agent started.
    TrafficStatus {
        /// Messages received.
        received: u64,
        /// Messages sent.
        sent: u64,
        /// Bytes received.
        received_bytes: u64,
        /// Bytes sent.
        sent_bytes: u64,
        /// Messages dropped because they were of a form that is not served.
        odd: u64,
        /// Replies that could not be delivered: their peer was gone, or did not read.
        undeliverable: u64,
        /// Requests dropped unread, of peers that do not read their replies.
        ignored: u64,
    }
}

record! {
    /// Calls since the agent started.
    CallsStatus {
        /// Calls that came for an object there is.
        requested: u64,
        /// Calls that were started.
        started: u64,
        /// Final replies of methods.
        replied: u64,
        /// Calls refused by the agent, for whatever reason.
        refused: u64,
        /// Repeated calls that got the answer of the first.
        repeated: u64,
        /// Calls whose caller was gone before the reply.
        forgotten: u64,
        /// Requests that could not be understood, or named nothing that there is.
        wrong: u64,
        /// Requests from where none may come.
        not_allowed: u64,
    }
}

record! {
    /// What may be asked of an agent.
    LimitsStatus {
        /// Bytes of a request or a reply.
        max_frame: u64,
        /// Calls that one client may have waiting for their replies.
        max_inflight: u64,
        /// Bytes of replies that may wait for one peer to read.
        max_unread: u64,
        /// Bytes of replies that may wait for all of them.
        max_unread_all: u64,
        /// Connections that there may be.
        connections: u64,
        /// Calls that may wait for an object.
        queue: u64,
    }
}

record! {
    /// How an object is.
    ObjectStatus {
        /// Its driver.
        driver: String,
        /// `ready`; `busy` with a call; `opening`; `closing`; `stuck`: a call should have ended long ago;
        /// `away`: it cannot be opened; `disconnected`: it is open and its device is away; `failed`: its
        /// driver panicked, and it is opened anew. More words may come.
        state: String,
        /// For how long, in milliseconds.
        since: u64,
        /// What it is busy with; empty if it is not.
        doing: String,
        /// Calls in hand, queued and waiting.
        queue: u64,
        /// Calls since the agent started.
        calls: ObjectCalls,
        /// From a call's arrival to the end of its method, those waiting in the queue included.
        latency: Latency,
        /// The last error that it answered, or why it is away.
        error: Option<ErrorStatus>,
        /// The connection to its device, where it has one.
        link: Option<LinkStatus>,
        /// Who has its writes for himself.
        lease: Option<LeaseStatus>,
    }
}

impl ObjectStatus {
    /// Whether nobody need look after it.
    pub fn is_well(&self) -> bool {
        matches!(self.state.as_str(), "ready" | "busy" | "opening" | "closing")
    }
}

impl Status {
    /// Whether nobody need look after the agent or any of its objects.
    pub fn is_well(&self) -> bool {
        !self.agent.draining && self.objects.values().all(ObjectStatus::is_well)
    }
}

record! {
    /// An object's calls.
    ObjectCalls {
        /// Those that returned.
        done: u64,
        /// Those that ended in an error of the object's own.
        failed: u64,
        /// Those that the agent refused.
        refused: u64,
    }
}

record! {
    /// How long calls take, in microseconds; within an eighth for the percentiles.
    Latency {
        /// Half of them take no longer.
        p50: u64,
        /// 99 of 100 take no longer.
        p99: u64,
        /// The longest.
        max: u64,
    }
}

record! {
    /// An error that happened.
    ErrorStatus {
        /// The name of the Python exception.
        class: String,
        /// One line of fact.
        message: String,
        /// How long ago, in milliseconds.
        ago: u64,
    }
}

record! {
    /// The connection to a device.
    LinkStatus {
        /// `connected`, `disconnected`, or `unused`: there was no need for it yet.
        state: String,
        /// For how long, in milliseconds.
        since: u64,
        /// What ended it, or kept it from being made, last.
        error: Option<String>,
    }
}

record! {
    /// Somebody's lease of an object.
    LeaseStatus {
        /// Whose.
        holder: String,
        /// When it ends unless it is renewed, in milliseconds.
        expires_in: u64,
    }
}
