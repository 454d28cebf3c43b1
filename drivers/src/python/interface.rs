//! The interface of an object, as its process tells it.

use proximity_proto::{
    Effect, Interface, Value,
    arg::Type,
    limits::Limits,
    object::{Attribute, Method, Param, ParamKind},
    reply,
    value::{Array, Map, check},
};

/// Reads what a process tells of its object: `{doc, methods: [..], attributes: [..]}`; `None` if it is
/// nothing of that kind.
pub(super) fn read(bytes: &[u8]) -> Option<Interface> {
    let checked = check(bytes, &Limits { max_frame: usize::MAX, max_items: u32::MAX }).ok()?;
    let Some(Value::Map(told)) = Value::first(bytes).filter(|_| checked.odd_key.is_none()) else {
        return None;
    };
    let methods =
        list(told, "methods")?.iter().enumerate().map(|(index, told)| method(index, told));
    let attributes =
        list(told, "attributes")?.iter().enumerate().map(|(index, told)| attribute(index, told));
    Some(Interface {
        doc: text(told, "doc")?,
        methods: methods.collect::<Option<_>>()?,
        attributes: attributes.collect::<Option<_>>()?,
    })
}

fn method(index: usize, told: Value<'_>) -> Option<Method> {
    let Value::Map(told) = told else { return None };
    Some(Method {
        name: text(told, "name")?,
        doc: text(told, "doc")?,
        params: list(told, "params")?.iter().map(param).collect::<Option<_>>()?,
        returns: ty(told, "returns")?,
        // What is not marked may do anything.
        effect: Effect::from_word(told.get("effect")?.as_text()?).unwrap_or(Effect::Write),
        quick: false,
        index,
    })
}

fn param(told: Value<'_>) -> Option<Param> {
    let Value::Map(told) = told else { return None };
    let kinds = [ParamKind::Plain, ParamKind::Args, ParamKind::Kwargs];
    let kind = told.get("kind")?.as_text()?;
    let default = told.get("default").map(|value| {
        let mut default = Vec::new();
        reply::value(&mut default, value);
        default
    });
    Some(Param {
        name: text(told, "name")?,
        ty: ty(told, "type")?,
        default,
        kind: kinds.into_iter().find(|known| known.as_str() == kind)?,
    })
}

fn attribute(index: usize, told: Value<'_>) -> Option<Attribute> {
    let Value::Map(told) = told else { return None };
    Some(Attribute {
        name: text(told, "name")?,
        doc: text(told, "doc")?,
        ty: ty(told, "type")?,
        settable: told.get("settable")? == Value::Bool(true),
        quick: false,
        index,
    })
}

fn text(told: Map<'_>, key: &str) -> Option<String> {
    told.get(key)?.as_text().map(str::to_owned)
}

fn list<'a>(told: Map<'a>, key: &str) -> Option<Array<'a>> {
    match told.get(key)? {
        Value::Array(array) => Some(array),
        _ => None,
    }
}

fn ty(told: Map<'_>, key: &str) -> Option<Type> {
    Some(Type { name: text(told, key)?.into(), range: None })
}
