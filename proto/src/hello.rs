//! What an agent tells of itself: the result of `op: hello`.

use crate::{
    arg::{FromArg, Mismatch, Type},
    limits::Limits,
    reply::{ToReply, map_head, millis, text, uint},
    value::{Map, Value},
};
use alloc::{collections::BTreeMap, string::String, vec::Vec};
use core::time::Duration;

/// The agent's epoch, clock, limits and objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// A random number that the agent chose when it started.
    pub epoch: u64,
    /// The agent's monotonic clock as it answered; whole milliseconds on the wire.
    pub now: Duration,
    /// What the agent is called.
    pub agent: String,
    /// Its version.
    pub version: String,
    /// What it takes.
    pub limits: AgentLimits,
    /// What it can do beyond what every agent of version 2 can: [`FEATURES`].
    pub features: Vec<String>,
    /// Its objects, and for each a number that changes when its interface does
    /// ([`crate::object::Interface::hash`]).
    pub objects: BTreeMap<String, u64>,
}

/// What this version can do that the first agents could not: leases of objects, large results in chunks,
/// and the first answer for a repeated call.
pub const FEATURES: [&str; 3] = ["leases", "chunks", "kept"];

/// What an agent takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AgentLimits {
    /// Bytes of a whole request or reply.
    pub max_frame: u64,
    /// Values in a request.
    pub max_items: u64,
    /// Calls that one client may have waiting for their replies.
    pub max_inflight: u64,
    /// Bytes of a chunk; 0 where the agent sends none.
    pub chunk: u64,
}

impl AgentLimits {
    /// `limits` as an agent tells them.
    pub fn new(limits: &Limits, max_inflight: u64) -> Self {
        let (max_frame, max_items) = (limits.max_frame as u64, u64::from(limits.max_items));
        Self { max_frame, max_items, max_inflight, chunk: 0 }
    }
}

impl ToReply for Hello {
    fn to_reply(&self, out: &mut Vec<u8>) {
        let Self { epoch, now, agent, version, limits, features, objects } = self;
        let AgentLimits { max_frame, max_items, max_inflight, chunk } = limits;
        map_head(out, 7);
        text(out, "epoch");
        uint(out, *epoch);
        text(out, "now");
        uint(out, millis(*now));
        text(out, "agent");
        text(out, agent);
        text(out, "version");
        text(out, version);
        text(out, "limits");
        map_head(out, 4);
        text(out, "max_frame");
        uint(out, *max_frame);
        text(out, "max_items");
        uint(out, *max_items);
        text(out, "max_inflight");
        uint(out, *max_inflight);
        text(out, "chunk");
        uint(out, *chunk);
        text(out, "features");
        features.to_reply(out);
        text(out, "objects");
        objects.to_reply(out);
    }

    fn ty() -> Type {
        Type::named("dict")
    }
}

impl FromArg<'_> for Hello {
    fn from_arg(value: Value<'_>) -> Result<Self, Mismatch> {
        let wrong = || Mismatch::wrong("what an agent tells of itself", &value);
        let map = Map::from_arg(value)?;
        let number =
            |map: Map<'_>, key| map.get(key).and_then(|value| value.as_u64()).ok_or_else(wrong);
        let words = |key| map.get(key).and_then(|value| value.as_text()).unwrap_or_default();
        let limits = Map::from_arg(map.get("limits").ok_or_else(wrong)?)?;
        let features = map.get("features").map(Vec::from_arg).transpose()?;
        let objects = map.get("objects").map(BTreeMap::<&str, u64>::from_arg).transpose()?;
        let objects = objects.unwrap_or_default();
        Ok(Self {
            epoch: number(map, "epoch")?,
            now: Duration::from_millis(number(map, "now")?),
            agent: words("agent").into(),
            version: words("version").into(),
            limits: AgentLimits {
                max_frame: number(limits, "max_frame")?,
                max_items: number(limits, "max_items")?,
                max_inflight: number(limits, "max_inflight")?,
                chunk: number(limits, "chunk")?,
            },
            features: features.unwrap_or_default(),
            objects: objects.into_iter().map(|(name, hash)| (name.into(), hash)).collect(),
        })
    }

    fn ty() -> Type {
        Type::named("dict")
    }
}
