//! Arguments as people write them in a shell: from words to values.
//!
//! What a word means depends on what the parameter takes: `5` for a `str` is the text, for an `int` the
//! number. Where that is not known, numbers are numbers and everything else is text.

use crate::failure::Failure;
use proximity_client::{Arguments, MethodDescription, ToReply, Value};
use proximity_proto::{arg::Type, json, limits::Limits, reply};
use std::path::Path;

/// A value, in MessagePack.
#[derive(Debug, PartialEq)]
pub(crate) struct Word(Vec<u8>);

impl ToReply for Word {
    fn to_reply(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }

    fn ty() -> Type {
        Type::named("any")
    }
}

impl Word {
    fn of<T: ToReply + ?Sized>(value: &T) -> Self {
        let mut bytes = Vec::new();
        value.to_reply(&mut bytes);
        Self(bytes)
    }

    /// The value that `text` means where `ty` is taken.
    pub(crate) fn read(text: &str, ty: &str) -> Result<Self, Failure> {
        let takes = |name: &str| ty.split('|').any(|one| one == name);
        if let Some(quoted) = unquoted(text) {
            return Ok(Self::of(quoted));
        }
        if (takes("None") || takes("any")) && matches!(text, "None" | "none" | "null") {
            return Ok(Self::of(&()));
        }
        // Names of registers and files are text, whatever they look like.
        if takes("str") && !takes("int") && !takes("float") && !takes("bytes") {
            return Ok(Self::of(text));
        }
        if let Some(path) = text.strip_prefix('@') {
            let path = Path::new(path);
            let bytes = std::fs::read(path).map_err(|error| Failure::file(path, error))?;
            return Ok(Self::of(bytes.as_slice()));
        }
        if takes("bytes") && !takes("any") {
            return Ok(Self::of(text.as_bytes()));
        }
        match text {
            "true" | "True" => return Ok(Self::of(&true)),
            "false" | "False" => return Ok(Self::of(&false)),
            _ => {}
        }
        if text.starts_with(['[', '{']) {
            let mut bytes = Vec::new();
            json::to_messagepack(text.as_bytes(), &Limits::default(), &mut bytes)
                .map_err(|error| Failure::usage(format!("'{text}': {error}"), None))?;
            // The JSON reader writes long forms; on the wire goes the usual one.
            let mut usual = Vec::new();
            reply::value(&mut usual, Value::first(&bytes).unwrap_or(Value::Nil));
            return Ok(Self(usual));
        }
        Ok(number(text).unwrap_or_else(|| Self::of(text)))
    }
}

/// All arguments of a call. `name=value` goes by name where the method has such a parameter.
pub(crate) fn arguments(
    words: &[String],
    method: Option<&MethodDescription>,
) -> Result<Arguments, Failure> {
    let params = method.map_or(&[][..], |method| &method.params);
    let collects = |kind: &str| params.iter().any(|param| param.kind == kind);
    let mut plain = params.iter().filter(|param| param.kind == "positional");
    let mut arguments = Arguments::default();
    for word in words {
        let named = word.split_once('=').and_then(|(name, value)| {
            let known = params.iter().find(|p| p.name == name && p.kind == "positional");
            let taken = known.is_some() || (collects("kwargs") && is_name(name));
            taken.then(|| (name, value, known.map_or("any", |param| param.ty.as_str())))
        });
        if let Some((name, value, ty)) = named {
            arguments.push_named(name, &Word::read(value, ty)?);
        } else {
            let ty = plain.next().map_or("any", |param| param.ty.as_str());
            arguments.push(&Word::read(word, ty)?);
        }
    }
    Ok(arguments)
}

fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|first| first.is_alphabetic() || first == '_')
        && chars.all(|char| char.is_alphanumeric() || char == '_')
}

fn unquoted(text: &str) -> Option<&str> {
    ['"', '\''].iter().find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote))
}

/// A number: decimal, or with 0x, 0o or 0b before it; underscores may part its digits.
fn number(text: &str) -> Option<Word> {
    let plain = text.replace('_', "");
    let (negative, digits) = match plain.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    if !digits.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return match plain.as_str() {
            "nan" => Some(Word::of(&f64::NAN)),
            "inf" | "+inf" => Some(Word::of(&f64::INFINITY)),
            "-inf" => Some(Word::of(&f64::NEG_INFINITY)),
            _ => None,
        };
    }
    let prefix = digits.get(..2).map(str::to_ascii_lowercase);
    let radix = match prefix.as_deref() {
        Some("0x") => 16,
        Some("0o") => 8,
        Some("0b") => 2,
        _ => 10,
    };
    let digits = if radix == 10 { digits } else { digits.get(2..)? };
    if let Ok(number) = u64::from_str_radix(digits, radix) {
        return if negative {
            i64::try_from(-i128::from(number)).ok().map(|number| Word::of(&number))
        } else {
            Some(Word::of(&number))
        };
    }
    (radix == 10).then(|| plain.parse::<f64>().ok().map(|number| Word::of(&number)))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, ty: &str) -> String {
        let word = Word::read(text, ty).unwrap();
        format!("{:?}", Value::first(&word.0).unwrap())
    }

    #[test]
    fn a_word_means_what_its_parameter_takes() {
        let table = [
            ("5", "int", "Uint(5)"),
            ("5", "str", "Text(\"5\")"),
            ("5", "bytes", "Bytes([53])"),
            ("5", "any", "Uint(5)"),
            ("0xCAFE", "int", "Uint(51966)"),
            ("-0x10", "int", "Int(-16)"),
            ("0b101", "any", "Uint(5)"),
            ("1_000", "any", "Uint(1000)"),
            ("18446744073709551615", "int", "Uint(18446744073709551615)"),
            ("-9223372036854775808", "int", "Int(-9223372036854775808)"),
            ("1.5", "float", "Float(1.5)"),
            ("1e3", "any", "Float(1000.0)"),
            ("-inf", "float", "Float(-inf)"),
            ("true", "bool", "Bool(true)"),
            ("None", "int|None", "Nil"),
            ("None", "str", "Text(\"None\")"),
            ("'5'", "any", "Text(\"5\")"),
            (
                "[1, \"a\", {\"k\": null}]",
                "any",
                "Array([Uint(1), Text(\"a\"), Map({Text(\"k\"): Nil})])",
            ),
            ("sys_rev", "any", "Text(\"sys_rev\")"),
        ];
        for (text, ty, value) in table {
            assert_eq!(read(text, ty), value, "{text} for {ty}");
        }
    }

    #[test]
    fn a_name_before_an_equals_sign_counts_only_where_there_is_such_a_parameter() {
        let method: MethodDescription = serde_json::from_str(
            r#"{"name": "m", "params": [{"name": "offset", "type": "int", "kind": "positional"}]}"#,
        )
        .unwrap();
        let words = ["offset=4".to_owned(), "a=b".to_owned()];
        let mut expected = Arguments::default();
        expected.push_named("offset", &4u8);
        expected.push("a=b");
        // The first word by position is for the first parameter, which takes no text: the agent says so.
        assert_eq!(arguments(&words, Some(&method)).unwrap(), expected);
    }
}
