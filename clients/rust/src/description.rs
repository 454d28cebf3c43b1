//! What an object says of itself: the result of `op: describe`, see docs/wire.md.

use serde::Deserialize;

/// An object's interface.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Description {
    /// The object's name.
    pub name: String,
    /// What it is.
    pub doc: String,
    /// Its methods.
    pub methods: Vec<MethodDescription>,
    /// Its attributes.
    pub attributes: Vec<AttributeDescription>,
    /// Changes when the interface does.
    pub hash: u64,
}

/// A method.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct MethodDescription {
    /// Its name.
    pub name: String,
    /// What it does.
    pub doc: String,
    /// Its parameters in order.
    pub params: Vec<ParamDescription>,
    /// What it returns, as Python names it.
    pub returns: String,
    /// What it does to the device: `read`, `write` or `admin`.
    pub effect: String,
    /// Errors that its documentation names.
    pub errors: Vec<ErrorDescription>,
}

/// A parameter.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ParamDescription {
    /// Its name.
    pub name: String,
    /// What may be passed, as Python names it.
    #[serde(rename = "type")]
    pub ty: String,
    /// The least number allowed.
    pub min: Option<serde_json::Number>,
    /// The greatest number allowed.
    pub max: Option<serde_json::Number>,
    /// What is taken where nothing is passed; `Some(Null)` for None.
    #[serde(deserialize_with = "present")]
    pub default: Option<serde_json::Value>,
    /// `positional`, `args` or `kwargs`.
    pub kind: String,
    /// What it means.
    pub doc: String,
}

/// An attribute.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct AttributeDescription {
    /// Its name.
    pub name: String,
    /// The kind of its value, as Python names it.
    #[serde(rename = "type")]
    pub ty: String,
    /// What it is.
    pub doc: String,
    /// Whether it can be set.
    pub settable: bool,
}

/// An error that a method's documentation names.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ErrorDescription {
    /// A Python exception's name.
    pub class: String,
    /// When it is raised.
    pub when: String,
}

/// A key that is there is `Some`, also where its value is null.
fn present<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<serde_json::Value>, D::Error> {
    serde_json::Value::deserialize(deserializer).map(Some)
}

impl Description {
    /// The method called `name`.
    pub fn method(&self, name: &str) -> Option<&MethodDescription> {
        self.methods.iter().find(|method| method.name == name)
    }

    /// The attribute called `name`.
    pub fn attribute(&self, name: &str) -> Option<&AttributeDescription> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }
}

impl MethodDescription {
    /// Name, parameters with their defaults, and result: `read(device_name: str, size: int, offset: int = 0) -> bytes`.
    pub fn signature(&self) -> String {
        let params: Vec<String> = self.params.iter().map(ParamDescription::signature).collect();
        let returns = match self.returns.as_str() {
            "" | "None" => String::new(),
            other => format!(" -> {other}"),
        };
        format!("{}({}){returns}", self.name, params.join(", "))
    }
}

impl ParamDescription {
    /// Name, type and default as in a Python signature.
    pub fn signature(&self) -> String {
        let Self { name, ty, .. } = self;
        match (self.kind.as_str(), &self.default) {
            ("args", _) => format!("*{name}"),
            ("kwargs", _) => format!("**{name}"),
            (_, None) => format!("{name}: {ty}"),
            (_, Some(default)) => format!("{name}: {ty} = {}", python(default)),
        }
    }
}

/// A default as Python writes it.
fn python(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => "None".into(),
        serde_json::Value::Bool(true) => "True".into(),
        serde_json::Value::Bool(false) => "False".into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_reads_as_pythons() {
        let text = r#"{"name": "srbs", "later": [], "methods": [{
            "name": "read", "returns": "bytes", "effect": "read", "params": [
                {"name": "device_name", "type": "str", "kind": "positional"},
                {"name": "size", "type": "int", "min": 0, "max": 4294967295, "kind": "positional"},
                {"name": "unit", "type": "str|None", "default": null, "kind": "positional"},
                {"name": "raw", "type": "bool", "default": false, "kind": "positional"},
                {"name": "more", "type": "any", "kind": "args"},
                {"name": "named", "type": "any", "kind": "kwargs"}
            ]}, {"name": "reset", "returns": "None"}]}"#;
        let description: Description = serde_json::from_str(text).unwrap();
        assert_eq!(
            description.method("read").unwrap().signature(),
            "read(device_name: str, size: int, unit: str|None = None, raw: bool = False, *more, \
             **named) -> bytes"
        );
        assert_eq!(description.method("reset").unwrap().signature(), "reset()");
        assert_eq!(
            description.method("read").unwrap().params[1].max,
            Some(4_294_967_295u32.into())
        );
    }
}
