//! Results whose shape depends on the board: dictionaries of whatever there is.

use proximity_proto::{ToReply, arg::Type, reply};

/// A value of any kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Plain {
    /// Nothing.
    None,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A list.
    List(Vec<Plain>),
    /// A dictionary.
    Dict(Dict),
}

/// A dictionary in the order in which it was made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dict(pub Vec<(String, Plain)>);

impl Dict {
    /// Adds an entry.
    pub fn add(&mut self, key: impl Into<String>, value: impl Into<Plain>) {
        self.0.push((key.into(), value.into()));
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Plain> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| value)
    }
}

impl ToReply for Dict {
    fn to_reply(&self, out: &mut Vec<u8>) {
        reply::map_head(out, self.0.len());
        for (key, value) in &self.0 {
            reply::text(out, key);
            value.to_reply(out);
        }
    }

    fn ty() -> Type {
        Type::named("dict")
    }
}

impl ToReply for Plain {
    fn to_reply(&self, out: &mut Vec<u8>) {
        match self {
            Plain::None => ().to_reply(out),
            Plain::Bool(truth) => truth.to_reply(out),
            Plain::Int(number) => number.to_reply(out),
            Plain::Float(number) => number.to_reply(out),
            Plain::Text(text) => text.to_reply(out),
            Plain::Bytes(bytes) => reply::bytes(out, bytes),
            Plain::List(list) => list.to_reply(out),
            Plain::Dict(dict) => dict.to_reply(out),
        }
    }

    fn ty() -> Type {
        Type::named("any")
    }
}

macro_rules! plain_from {
    ($($type:ty, $name:ident;)*) => { $(
        impl From<$type> for Plain {
            fn from(value: $type) -> Self {
                Plain::$name(value.into())
            }
        }
    )* };
}
plain_from! {
    bool, Bool;
    u32, Int;
    i64, Int;
    f64, Float;
    String, Text;
    &str, Text;
    Vec<u8>, Bytes;
    Vec<Plain>, List;
    Dict, Dict;
}

impl<T: Into<Plain>> From<Option<T>> for Plain {
    fn from(value: Option<T>) -> Self {
        value.map_or(Plain::None, Into::into)
    }
}
