//! Requests as a client writes them.
//!
//! [`crate::call`] reads what is written here; docs/wire.md has the bytes.

use crate::{
    call::{CallId, Op},
    reply::{ToReply, bytes, call_id, list_head, map_head, millis, text, uint},
};
use alloc::vec::Vec;
use core::time::Duration;

/// A version 2 request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Request<'a> {
    /// What is asked for; anything but [`Op::ListMethods`], which only old clients ask for.
    pub op: Op,
    /// The call's id.
    pub id: CallId,
    /// The run of the agent that the call is meant for.
    pub epoch: Option<u64>,
    /// When the caller stops waiting, on the agent's monotonic clock.
    pub expires: Option<Duration>,
    /// The lease under which the caller writes.
    pub lease: Option<&'a [u8]>,
    /// Whether the caller wants to be told of progress.
    pub progress: bool,
    /// How many chunks of a large result the caller takes at first; `None`: it wants it whole.
    pub credit: Option<u64>,
    /// The object; empty for requests that concern none.
    pub name: &'a str,
    /// The method or attribute; empty for requests that concern none.
    pub proc: &'a str,
    /// The arguments: positional and named.
    pub args: &'a Arguments,
}

impl Request<'_> {
    /// Replaces what `out` holds by the request in MessagePack.
    ///
    /// `v` and `id` come first, so that even a request beyond the agent's limits is answered by its id.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.clear();
        let numbers = [self.epoch, self.credit].iter().flatten().count();
        let others = [self.expires.is_some(), self.lease.is_some(), self.progress];
        let optional = numbers + others.iter().filter(|there| **there).count();
        map_head(out, 7 + optional);
        text(out, "v");
        uint(out, 2);
        text(out, "id");
        call_id(out, &self.id);
        text(out, "op");
        text(out, self.op.as_str());
        if let Some(epoch) = self.epoch {
            text(out, "epoch");
            uint(out, epoch);
        }
        if let Some(expires) = self.expires {
            text(out, "expires");
            uint(out, millis(expires));
        }
        if let Some(lease) = self.lease {
            text(out, "lease");
            bytes(out, lease);
        }
        if self.progress {
            text(out, "progress");
            true.to_reply(out);
        }
        if let Some(credit) = self.credit {
            text(out, "credit");
            uint(out, credit);
        }
        text(out, "name");
        text(out, self.name);
        text(out, "proc");
        text(out, self.proc);
        text(out, "args");
        list_head(out, self.args.positional);
        out.extend_from_slice(&self.args.list);
        text(out, "kwargs");
        map_head(out, self.args.named);
        out.extend_from_slice(&self.args.map);
    }
}

/// Arguments on their way into a request.
///
/// # Examples
///
/// ```
/// use proximity_proto::request::Arguments;
///
/// let mut args = Arguments::default();
/// args.push(&"sys_scratchpad");
/// args.push_named("offset", &4);
/// assert_eq!(args.len(), 2);
///
/// // A tuple will do where all go by position.
/// let same = Arguments::from(("sys_scratchpad", 4));
/// assert_eq!(same.len(), 2);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    positional: usize,
    list: Vec<u8>,
    named: usize,
    map: Vec<u8>,
}

impl Arguments {
    /// Adds one more by position.
    pub fn push<T: ToReply + ?Sized>(&mut self, value: &T) {
        value.to_reply(&mut self.list);
        self.positional += 1;
    }

    /// Adds one by name.
    pub fn push_named<T: ToReply + ?Sized>(&mut self, name: &str, value: &T) {
        text(&mut self.map, name);
        value.to_reply(&mut self.map);
        self.named += 1;
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.positional + self.named
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

macro_rules! arguments_of_tuples {
    ($(($($value:ident)*))*) => { $(
        impl<$($value: ToReply),*> From<($($value,)*)> for Arguments {
            #[allow(non_snake_case, unused_mut)]
            fn from(($($value,)*): ($($value,)*)) -> Self {
                let mut arguments = Self::default();
                $(arguments.push(&$value);)*
                arguments
            }
        }
    )* };
}
arguments_of_tuples! { () (A) (A B) (A B C) (A B C D) (A B C D E) (A B C D E F) }
