//! Arguments as people write them, turned into what the parameter takes.
//!
//! Where the interface tells that a parameter is text, `5` is text; elsewhere it is a number.

use crate::{failure::Failure, literal};
use clap::error::ContextValue;
use proximity_client::{Arguments, ToReply, Value};
use proximity_client::{MethodDescription, ParamDescription};
use proximity_proto::{json, limits::Limits};
use std::{ffi::OsString, fs::File, io::Read, path::Path};

/// How many bytes an agent takes, for whoever has to know.
pub(crate) type Most<'a> = &'a dyn Fn() -> Result<u64, Failure>;

/// Stands for the dash of a negative number that clap would take for options: `-0x10`, `-1_000`.
const DASH: char = '\u{e000}';

/// The words of a command line for clap, which knows negative numbers only in decimal.
pub(crate) fn shielded(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut plain = false;
    let shield = |word: OsString| {
        plain |= word == "--";
        let number = word.to_str().and_then(|word| word.strip_prefix('-'));
        match number
            .filter(|number| !plain && number.starts_with(|c: char| c.is_ascii_digit() || c == '.'))
        {
            Some(number) => format!("{DASH}{number}").into(),
            None => word,
        }
    };
    words.map(shield).collect()
}

/// A word of [`shielded`] as it was written.
#[allow(clippy::unnecessary_wraps, reason = "clap wants it so")]
pub(crate) fn written(word: &str) -> Result<String, String> {
    Ok(word.strip_prefix(DASH).map_or_else(|| word.to_owned(), |number| format!("-{number}")))
}

/// What clap says of words of [`shielded`], as they were written.
pub(crate) fn told(mut error: clap::Error) -> clap::Error {
    let shielded = error.context().filter_map(|(kind, value)| match value {
        ContextValue::String(word) if word.starts_with(DASH) => Some((kind, word.clone())),
        _ => None,
    });
    for (kind, word) in shielded.collect::<Vec<_>>() {
        error.insert(kind, ContextValue::String(word.replacen(DASH, "-", 1)));
    }
    error
}

/// The arguments `words` for `method`, of which nothing may be known.
pub(crate) fn arguments<'w>(
    words: impl IntoIterator<Item = &'w str>,
    method: Option<&MethodDescription>,
    most: Most<'_>,
) -> Result<Arguments, Failure> {
    let mut arguments = Arguments::default();
    let params = method.map_or(&[][..], |method| &method.params);
    let mut positional = params.iter().filter(|param| param.kind == "positional");
    for word in words {
        if let Some((name, text)) = named(word) {
            let param = params.iter().find(|param| param.name == name);
            let bytes = value(text, param.map_or("any", |param| &param.ty), most)?;
            arguments.push_named(name, &Value::first(&bytes).unwrap_or(Value::Nil));
        } else {
            let ty = positional.next().map_or("any", |param: &ParamDescription| &param.ty);
            let bytes = value(word, ty, most)?;
            arguments.push(&Value::first(&bytes).unwrap_or(Value::Nil));
        }
    }
    Ok(arguments)
}

/// The name and the value of `name=value`.
pub(crate) fn named(word: &str) -> Option<(&str, &str)> {
    let (name, value) = word.split_once('=')?;
    let mut letters = name.chars();
    let begins = letters.next().is_some_and(|c| c.is_alphabetic() || c == '_');
    (begins && letters.all(|c| c.is_alphanumeric() || c == '_')).then_some((name, value))
}

/// `text` as a value of the type `ty`, in MessagePack. A file may have as many bytes as `most` tells.
pub(crate) fn value(text: &str, ty: &str, most: Most<'_>) -> Result<Vec<u8>, Failure> {
    if let Some(text) = unquoted(text)? {
        return Ok(packed(text.as_str()));
    }
    if let Some(bytes) = literal::bytes(text)? {
        return Ok(packed(&bytes[..]));
    }
    if let Some(path) = text.strip_prefix('@') {
        return file(path, most()?);
    }
    let kinds: Vec<&str> = ty.split('|').collect();
    let takes = |kind: &str| kinds.contains(&kind);
    let is_none = matches!(text, "none" | "None" | "null");
    if is_none && (takes("None") || takes("any")) {
        return Ok(packed(&()));
    }
    let only_text = |kind: &&str| matches!(*kind, "str" | "bytes" | "None");
    if kinds.iter().all(only_text) {
        if takes("bytes") {
            no_slip(text)?;
        }
        return Ok(packed(text));
    }
    if takes("float")
        && let "nan" | "inf" | "-inf" = text
        && let Ok(number) = text.parse::<f64>()
    {
        return Ok(packed(&number));
    }
    guess(text)
}

/// Refuses a word for bytes that was hardly meant as the text that it is.
fn no_slip(text: &str) -> Result<(), Failure> {
    let quoted = format!("\"{text}\" with its quotes is text, in a command line '\"{text}\"'");
    let (what, hint) = if !matches!(whole(text), Ok(None)) || fraction(text).is_some() {
        let number = "write_int writes a number, @FILE a file's bytes";
        ("a number", format!("{number}; {quoted}"))
    } else if Path::new(text).is_file() {
        ("the name of a file", format!("@{text} is the file's bytes; {quoted}"))
    } else {
        return Ok(());
    };
    Err(Failure::usage(format!("{text} is {what}, and bytes are wanted"), hint))
}

/// What `text` looks like.
fn guess(text: &str) -> Result<Vec<u8>, Failure> {
    match text {
        "true" | "True" => return Ok(packed(&true)),
        "false" | "False" => return Ok(packed(&false)),
        _ => {}
    }
    if text.starts_with(['[', '{']) {
        let mut bytes = Vec::new();
        json::to_messagepack(text.as_bytes(), &Limits::default(), &mut bytes).map_err(|error| {
            let error = error.to_string();
            let why = error.split_once(": ").map_or(error.as_str(), |(_, why)| why);
            let hint = "lists and maps are JSON, as in [1, 2] and {\"key\": \"text\"}; text in them stands in double quotes";
            Failure::usage(format!("'{text}' is no list or map: {why}"), hint)
        })?;
        return Ok(bytes);
    }
    if let Some(number) = whole(text)? {
        return Ok(number);
    }
    Ok(fraction(text).map_or_else(|| packed(text), |number| packed(&number)))
}

/// A number with a point or an exponent.
fn fraction(text: &str) -> Option<f64> {
    let digits = text.trim_start_matches(['-', '+', '.']);
    if digits.starts_with(|c: char| c.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// A whole number: decimal, or with 0x, 0o or 0b, with underscores between digits.
fn whole(text: &str) -> Result<Option<Vec<u8>>, Failure> {
    let (minus, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let prefix = digits.get(..2).unwrap_or_default();
    let (base, digits) = match prefix {
        "0x" | "0X" => (16, &digits[2..]),
        "0o" | "0O" => (8, &digits[2..]),
        "0b" | "0B" => (2, &digits[2..]),
        _ => (10, digits),
    };
    let digits = digits.replace('_', "");
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(base)) {
        return Ok(None);
    }
    let number = u64::from_str_radix(&digits, base).ok();
    let packed = match (minus, number) {
        (false, Some(number)) => Some(packed(&number)),
        (true, Some(number)) => 0i64.checked_sub_unsigned(number).map(|number| packed(&number)),
        _ => None,
    };
    packed.map(Some).ok_or_else(|| {
        Failure::usage(
            format!("{text} does not fit into 64 bits"),
            "whole numbers are -2^63 to 2^64 - 1; write it with a point for a float",
        )
    })
}

/// The text in quotes, if it stands in some.
fn unquoted(text: &str) -> Result<Option<String>, Failure> {
    let inside = |mark| text.strip_prefix(mark)?.strip_suffix(mark);
    if inside('"').is_some() {
        return serde_json::from_str(text).map(Some).map_err(|error| {
            Failure::usage(format!("{text} is no text: {error}"), "quote it as JSON does")
        });
    }
    Ok(inside('\'').map(|text| text.replace("\\'", "'").replace("\\\\", "\\")))
}

/// The bytes of a file; `-` is standard input.
fn file(path: &str, most: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    // Some files have no end.
    let one_more = most.saturating_add(1);
    let read = match path {
        "-" => std::io::stdin().lock().take(one_more).read_to_end(&mut bytes),
        path => File::open(path).and_then(|file| file.take(one_more).read_to_end(&mut bytes)),
    };
    if bytes.len() as u64 > most {
        let name = if path == "-" { "standard input" } else { path };
        return Err(Failure::usage(
            format!("{name} has more than {most} bytes, the most that the agent takes"),
            "write it in parts, or raise 'max_frame' in the agent's configuration",
        ));
    }
    read.map_err(|error| {
        let hint = "@FILE is a file's bytes; in quotes it is text, as in '\"@home\"'";
        Failure::usage(format!("cannot read {path}: {error}"), hint)
    })?;
    Ok(packed(&bytes[..]))
}

fn packed<T: ToReply + ?Sized>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    value.to_reply(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, ty: &str) -> String {
        match value(text, ty, &|| Ok(1000)) {
            Ok(bytes) => crate::show::repr(Value::first(&bytes).unwrap()),
            Err(failure) => failure.to_string(),
        }
    }

    #[test]
    fn the_type_decides_where_it_is_known() {
        for (text, ty, meant) in [
            ("5", "str", "'5'"),
            ("5", "int", "5"),
            ("5", "float", "5"),
            ("5", "any", "5"),
            ("5", "str|None", "'5'"),
            ("none", "str|None", "None"),
            ("none", "str", "'none'"),
            ("none", "any", "None"),
            ("none", "int", "'none'"),
            ("raw", "bytes", "'raw'"),
            ("raw", "bytes|str", "'raw'"),
            ("*IDN?", "bytes|str", "'*IDN?'"),
            ("\"1234\"", "bytes", "'1234'"),
            (r#"b"\x12\n""#, "bytes", r"b'\x12\x0a'"),
            ("1234", "bytes", "1234 is a number, and bytes are wanted"),
            ("0xcafe00", "bytes", "0xcafe00 is a number, and bytes are wanted"),
            ("-1.5", "bytes|str", "-1.5 is a number, and bytes are wanted"),
            ("Cargo.toml", "bytes", "Cargo.toml is the name of a file, and bytes are wanted"),
            ("Cargo.toml", "str", "'Cargo.toml'"),
            ("true", "str", "'true'"),
            ("true", "bool", "True"),
            ("[1]", "str", "'[1]'"),
            ("inf", "float", "inf"),
            ("inf", "any", "'inf'"),
            ("sys_scratchpad", "int", "'sys_scratchpad'"),
        ] {
            assert_eq!(read(text, ty), meant, "{text} for {ty}");
        }
    }

    #[test]
    fn what_it_looks_like_decides_elsewhere() {
        for (text, meant) in [
            ("0x12345678", "305419896"),
            ("-0x10", "-16"),
            ("0b101", "5"),
            ("1_000", "1000"),
            ("18446744073709551615", "18446744073709551615"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("1.5", "1.5"),
            ("-.5", "-0.5"),
            ("1e6", "1000000.0"),
            ("True", "True"),
            ("text", "'text'"),
            ("0x", "'0x'"),
            ("1.2.3", "'1.2.3'"),
            ("-", "'-'"),
            ("", "''"),
            (r#""5""#, "'5'"),
            (r#""a\nb""#, "'a\\nb'"),
            ("'it\\'s'", "'it\\'s'"),
            (r#"[1, "a", {"k": null}]"#, "[1, 'a', {'k': None}]"),
            (r#"{"__bytes__": "AP8="}"#, "b'\\x00\\xff'"),
        ] {
            assert_eq!(read(text, "any"), meant, "{text}");
        }
    }

    #[test]
    fn the_sentences_of_wrong_arguments() {
        assert_eq!(
            read("18446744073709551616", "int"),
            "18446744073709551616 does not fit into 64 bits"
        );
        assert_eq!(
            read("[1, x]", "any"),
            "'[1, x]' is no list or map: expected value at line 1 column 5"
        );
        assert_eq!(
            read("@/nowhere/to/be/found", "bytes"),
            "cannot read /nowhere/to/be/found: No such file or directory (os error 2)"
        );
    }

    #[test]
    fn a_file_without_end_is_refused() {
        assert_eq!(
            read("@/dev/zero", "bytes"),
            "/dev/zero has more than 1000 bytes, the most that the agent takes"
        );
    }

    #[test]
    fn negative_numbers_get_past_clap_and_nothing_else_does() {
        let words =
            ["-0x10", "-1_000", "-.5", "-5", "-inf", "--raw", "-a", "-", "5-1", "--", "-0x1"];
        let shielded = shielded(words.iter().map(OsString::from));
        let dashed = |word: &OsString| word.to_str().unwrap().starts_with(DASH);
        assert_eq!(shielded.iter().filter(|word| dashed(word)).count(), 4, "{shielded:?}");
        let back = shielded.iter().map(|word| written(word.to_str().unwrap()).unwrap());
        assert_eq!(back.collect::<Vec<_>>(), words);
    }

    #[test]
    fn arguments_go_by_position_and_by_name() {
        let method: MethodDescription = serde_json::from_str(
            r#"{"name": "read", "params": [
                {"name": "device_name", "type": "str", "kind": "positional"},
                {"name": "size", "type": "int", "kind": "positional"}]}"#,
        )
        .unwrap();
        let mut expected = Arguments::default();
        expected.push("7");
        expected.push_named("size", &4);
        assert_eq!(arguments(["7", "size=4"], Some(&method), &|| Ok(0)).unwrap(), expected);
        let mut guessed = Arguments::default();
        guessed.push(&7);
        guessed.push("a==b");
        guessed.push("0=1");
        assert_eq!(arguments(["7", "\"a==b\"", "0=1"], None, &|| Ok(0)).unwrap(), guessed);
    }
}
