//! Leases as they are told: the results of `lock`, `renew`, `steal` and `leases`.

use crate::{
    arg::{FromArg, Mismatch, Type},
    reply::{ToReply, map_head, millis, text, uint},
    value::{Map, Value},
};
use alloc::{string::String, vec::Vec};
use core::time::Duration;

/// Bytes of the token that a client chooses at random for each lease.
pub const TOKEN: usize = 16;

/// The most bytes that a client may say of itself as holder.
pub const MAX_HOLDER: usize = 128;

/// What `lock` and `renew` answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// When the lease ends unless it is renewed, on the agent's monotonic clock.
    pub expires: Duration,
    /// How long that was from then.
    pub ttl: Duration,
}

/// What `steal` answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stolen {
    /// The new lease.
    pub held: Held,
    /// Who had the object until then, if anybody had.
    pub from: Option<String>,
}

/// One of those that `leases` lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The object.
    pub object: String,
    /// What its holder says of himself.
    pub holder: String,
    /// Where he calls from; empty for this machine.
    pub address: String,
    /// How long until it ends unless it is renewed.
    pub expires_in: Duration,
}

impl Held {
    fn write(&self, out: &mut Vec<u8>) {
        text(out, "expires");
        uint(out, millis(self.expires));
        text(out, "ttl");
        uint(out, millis(self.ttl));
    }
}

impl ToReply for Held {
    fn to_reply(&self, out: &mut Vec<u8>) {
        map_head(out, 2);
        self.write(out);
    }

    fn ty() -> Type {
        Type::named("dict")
    }
}

impl ToReply for Stolen {
    fn to_reply(&self, out: &mut Vec<u8>) {
        map_head(out, 3);
        self.held.write(out);
        text(out, "from");
        self.from.to_reply(out);
    }

    fn ty() -> Type {
        Type::named("dict")
    }
}

impl ToReply for Lease {
    fn to_reply(&self, out: &mut Vec<u8>) {
        map_head(out, 4);
        for (key, words) in
            [("object", &self.object), ("holder", &self.holder), ("address", &self.address)]
        {
            text(out, key);
            text(out, words);
        }
        text(out, "expires_in");
        uint(out, millis(self.expires_in));
    }

    fn ty() -> Type {
        Type::named("dict")
    }
}

impl FromArg<'_> for Held {
    fn from_arg(value: Value<'_>) -> Result<Self, Mismatch> {
        let map = Map::from_arg(value)?;
        let time = |key| time_of(map, key).ok_or_else(|| Mismatch::wrong("a lease", &value));
        Ok(Self { expires: time("expires")?, ttl: time("ttl")? })
    }

    fn ty() -> Type {
        Type::named("dict")
    }
}

impl FromArg<'_> for Stolen {
    fn from_arg(value: Value<'_>) -> Result<Self, Mismatch> {
        let from = Map::from_arg(value)?.get("from").and_then(|from| from.as_text());
        Ok(Self { held: Held::from_arg(value)?, from: from.map(String::from) })
    }

    fn ty() -> Type {
        Type::named("dict")
    }
}

impl FromArg<'_> for Lease {
    fn from_arg(value: Value<'_>) -> Result<Self, Mismatch> {
        let map = Map::from_arg(value)?;
        let wrong = || Mismatch::wrong("a lease", &value);
        let words = |key| {
            let words = map.get(key).and_then(|value| value.as_text());
            words.map(String::from).ok_or_else(wrong)
        };
        Ok(Self {
            object: words("object")?,
            holder: words("holder")?,
            address: words("address")?,
            expires_in: time_of(map, "expires_in").ok_or_else(wrong)?,
        })
    }

    fn ty() -> Type {
        Type::named("dict")
    }
}

fn time_of(map: Map<'_>, key: &str) -> Option<Duration> {
    map.get(key).and_then(|value| value.as_u64()).map(Duration::from_millis)
}
