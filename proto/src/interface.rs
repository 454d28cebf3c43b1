//! An object's interface, told: the original's `list_methods`, and `describe` as JSON.

use crate::{
    arg::Type,
    fault::Fault,
    json,
    object::{Attribute, Effect, Interface, Method, Param, ParamKind},
    reply,
    value::Value,
};
use alloc::{format, string::String, vec::Vec};
use serde::Serialize;

impl Interface {
    /// The method called `name`.
    ///
    /// # Errors
    ///
    /// `AttributeError` that names the nearest one there is.
    pub fn method(&self, name: &str) -> Result<&Method, Fault> {
        self.methods.iter().find(|method| method.name == name).ok_or_else(|| {
            let names = self.methods.iter().map(|method| method.name.as_str());
            let fault = Fault::attribute_error(format!("no method '{}'", name.escape_debug()));
            if self.attributes.iter().any(|attribute| attribute.name == name) {
                fault.hint(format!("'{name}' is an attribute: get it or set it"))
            } else {
                nearest(fault, name, names)
            }
            .unknown(name)
        })
    }

    /// The attribute called `name`.
    ///
    /// # Errors
    ///
    /// `AttributeError` that names the nearest one there is.
    pub fn attribute(&self, name: &str) -> Result<&Attribute, Fault> {
        self.attributes.iter().find(|attribute| attribute.name == name).ok_or_else(|| {
            let names = self.attributes.iter().map(|attribute| attribute.name.as_str());
            let fault = Fault::attribute_error(format!("no attribute '{}'", name.escape_debug()));
            if self.methods.iter().any(|method| method.name == name) {
                fault.hint(format!("'{name}' is a method: call it"))
            } else {
                nearest(fault, name, names)
            }
            .unknown(name)
        })
    }

    /// Appends the original's list: for each method its name and its documentation.
    pub fn list_methods(&self, out: &mut Vec<u8>) {
        reply::list_head(out, self.methods.len());
        for method in &self.methods {
            reply::list_head(out, 2);
            reply::text(out, &method.name);
            reply::text(out, &format!("{}\n{}", method.usage(), method.doc));
        }
    }

    /// The interface definition of the object `name` as JSON text.
    pub fn describe(&self, name: &str) -> String {
        let definition = Definition {
            name,
            doc: &self.doc,
            methods: self.methods.iter().map(MethodDefinition::of).collect(),
            attributes: self.attributes.iter().map(AttributeDefinition::of).collect(),
            hash: self.hash(),
        };
        // Text and numbers only: there is nothing in it that JSON could refuse.
        serde_json::to_string(&definition).unwrap_or_default()
    }

    /// A number that changes when the interface does.
    ///
    /// FNV-1a over everything a client builds its proxy from, so that it is the same on every machine.
    pub fn hash(&self) -> u64 {
        let mut hash = Fnv::default();
        for method in &self.methods {
            hash.add(b'm', &method.name);
            hash.add(b'd', &method.doc);
            hash.add(b'e', method.effect.as_str());
            hash.ty(&method.returns);
            for param in &method.params {
                hash.add(b'p', &param.name);
                hash.ty(&param.ty);
                hash.add(b'k', param.kind.as_str());
                if let Some(default) = &param.default {
                    hash.bytes(b'v', default);
                }
            }
        }
        for attribute in &self.attributes {
            hash.add(b'a', &attribute.name);
            hash.add(b'd', &attribute.doc);
            hash.ty(&attribute.ty);
            hash.bytes(b's', &[u8::from(attribute.settable)]);
        }
        hash.0
    }
}

impl Method {
    /// The first line of the documentation: names only, as the original has it.
    pub fn usage(&self) -> String {
        let mut line = format!("usage: {}(", self.name);
        let plain = self.params.iter().filter(|param| param.kind == ParamKind::Plain);
        for (place, param) in plain.enumerate() {
            line += if place == 0 { "" } else { ", " };
            line += &param.name;
        }
        line + ")"
    }
}

impl ParamKind {
    /// The word in the interface definition.
    pub fn as_str(self) -> &'static str {
        match self {
            ParamKind::Plain => "positional",
            ParamKind::Args => "args",
            ParamKind::Kwargs => "kwargs",
        }
    }
}

/// `fault` with the nearest of `names` as a hint, or all of them where they are few.
fn nearest<'a>(fault: Fault, name: &str, names: impl Iterator<Item = &'a str> + Clone) -> Fault {
    if let Some(meant) = crate::fault::did_you_mean(name, names.clone()) {
        return fault.hint(format!("did you mean '{meant}'?"));
    }
    let known: Vec<&str> = names.collect();
    match known.len() {
        0 => fault.hint("the object has none"),
        1..=12 => fault.hint(format!("there are: {}", known.join(", "))),
        _ => fault,
    }
}

/// FNV-1a with 64 bits.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    /// Takes in `bytes`, marked by what they are and how many, so that no two lists run together.
    fn bytes(&mut self, mark: u8, bytes: &[u8]) {
        let len = (bytes.len() as u64).to_be_bytes();
        for byte in [mark].iter().chain(&len).chain(bytes) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn add(&mut self, mark: u8, text: &str) {
        self.bytes(mark, text.as_bytes());
    }

    fn ty(&mut self, ty: &Type) {
        self.add(b't', &ty.name);
        if let Some((min, max)) = ty.range {
            self.bytes(b'r', &min.to_be_bytes());
            self.bytes(b'r', &max.to_be_bytes());
        }
    }
}

#[derive(Serialize)]
struct Definition<'a> {
    name: &'a str,
    doc: &'a str,
    methods: Vec<MethodDefinition<'a>>,
    attributes: Vec<AttributeDefinition<'a>>,
    hash: u64,
}

#[derive(Serialize)]
struct MethodDefinition<'a> {
    name: &'a str,
    usage: String,
    doc: &'a str,
    params: Vec<ParamDefinition<'a>>,
    returns: &'a str,
    effect: &'a str,
    errors: Vec<ErrorDefinition<'a>>,
}

#[derive(Serialize)]
struct ParamDefinition<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    ty: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    min: Option<i128>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<i128>,
    #[serde(skip_serializing_if = "Option::is_none")]
    default: Option<serde_json::Value>,
    kind: &'a str,
    doc: &'a str,
}

#[derive(Serialize)]
struct AttributeDefinition<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    ty: &'a str,
    doc: &'a str,
    settable: bool,
}

/// A line `raises KeyError: why` of a method's documentation.
#[derive(Serialize)]
struct ErrorDefinition<'a> {
    class: &'a str,
    when: &'a str,
}

impl<'a> MethodDefinition<'a> {
    fn of(method: &'a Method) -> Self {
        let raises = |line: &'a str| {
            let (class, when) = line.trim_start().strip_prefix("raises ")?.split_once(':')?;
            Some(ErrorDefinition { class, when: when.trim() })
        };
        Self {
            name: &method.name,
            usage: method.usage(),
            doc: &method.doc,
            params: method.params.iter().map(|param| ParamDefinition::of(param, method)).collect(),
            returns: &method.returns.name,
            effect: method.effect.as_str(),
            errors: method.doc.lines().filter_map(raises).collect(),
        }
    }
}

impl<'a> ParamDefinition<'a> {
    fn of(param: &'a Param, method: &'a Method) -> Self {
        let doc = method.doc.lines().find_map(|line| {
            let (name, text) = line.trim_start().split_once(':')?;
            (name == param.name).then(|| text.trim())
        });
        Self {
            name: &param.name,
            ty: &param.ty.name,
            min: param.ty.range.map(|(min, _)| min),
            max: param.ty.range.map(|(_, max)| max),
            default: param.default.as_deref().and_then(Value::first).map(json::value),
            kind: param.kind.as_str(),
            doc: doc.unwrap_or_default(),
        }
    }
}

impl<'a> AttributeDefinition<'a> {
    fn of(attribute: &'a Attribute) -> Self {
        Self {
            name: &attribute.name,
            ty: &attribute.ty.name,
            doc: &attribute.doc,
            settable: attribute.settable,
        }
    }
}

impl Effect {
    /// The meaning of the word in the interface definition.
    pub fn from_word(word: &str) -> Option<Self> {
        [Effect::Read, Effect::Write, Effect::Admin].into_iter().find(|e| e.as_str() == word)
    }
}

impl Method {
    /// What an object answers when asked for a method that it does not have: only a mistake in the
    /// agent leads there.
    #[doc(hidden)]
    pub fn unknown(&self) -> Fault {
        Fault::attribute_error(format!("no method '{}'", self.name)).unknown(&self.name)
    }
}

impl Attribute {
    /// As [`Method::unknown`].
    #[doc(hidden)]
    pub fn unknown(&self) -> Fault {
        Fault::attribute_error(format!("no attribute '{}'", self.name)).unknown(&self.name)
    }

    /// What an object answers when asked to set an attribute that can only be read.
    #[doc(hidden)]
    pub fn read_only(&self) -> Fault {
        Fault::attribute_error(format!("attribute '{}' can only be read", self.name)).before()
    }
}
