//! Values as people read them: as Python would print them, bytes as a hex dump.

use proximity_client::{FromArg, Value};
use proximity_proto::time::{DateTime, TimeDelta};
use std::fmt::Write;

/// More bytes than this are cut short in a hex dump.
const DUMPED: usize = 256;

/// The lines for a result; none for None.
pub(crate) fn result(value: Value<'_>) -> Vec<String> {
    match value {
        Value::Nil => vec![],
        Value::Text(text) => vec![text.into()],
        Value::Bytes(bytes) => dump(bytes),
        Value::Array(items) if items.is_empty() => vec!["[]".into()],
        Value::Array(items) => items.iter().map(item).collect(),
        Value::Map(map) if !map.is_empty() && time(value).is_none() => {
            let line = |(key, value): (Value<'_>, _)| {
                format!("{}: {}", key.as_text().unwrap_or_default(), item(value))
            };
            map.iter().map(line).collect()
        }
        other => vec![repr(other)],
    }
}

/// A part of a result on a line of its own.
fn item(value: Value<'_>) -> String {
    match value {
        Value::Text(text) => text.into(),
        other => repr(other),
    }
}

/// A value as Python's `repr` has it.
pub(crate) fn repr(value: Value<'_>) -> String {
    match value {
        Value::Nil => "None".into(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::Uint(number) => number.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) if number.is_nan() => "nan".into(),
        Value::Float(number) => format!("{number:?}"),
        Value::Text(text) => quoted(text),
        Value::Bytes(bytes) => {
            let shown = bytes.iter().take(DUMPED).fold(String::from("b'"), |text, byte| {
                text + &match byte {
                    b'\'' => "\\'".into(),
                    b'\\' => "\\\\".into(),
                    b' '..=b'~' => char::from(*byte).to_string(),
                    _ => format!("\\x{byte:02x}"),
                }
            });
            let cut = if bytes.len() > DUMPED { "'..." } else { "'" };
            shown + cut
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(repr).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Map(map) => time(value).unwrap_or_else(|| {
            let entry = |(key, value)| format!("{}: {}", repr(key), repr(value));
            let entries: Vec<String> = map.iter().map(entry).collect();
            format!("{{{}}}", entries.join(", "))
        }),
    }
}

/// A point in time or a span of it.
fn time(value: Value<'_>) -> Option<String> {
    if let Ok(when) = DateTime::from_arg(value) {
        let DateTime { year, month, day, hour, minute, second, microsecond } = when;
        return Some(format!(
            "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{microsecond:06}"
        ));
    }
    TimeDelta::from_arg(value).ok().map(|delta| format!("{:?} s", delta.seconds))
}

fn quoted(text: &str) -> String {
    let mut out = String::from("'");
    for letter in text.chars() {
        match letter {
            '\'' => out += "\\'",
            '\\' => out += "\\\\",
            '\n' => out += "\\n",
            '\r' => out += "\\r",
            '\t' => out += "\\t",
            c if c.is_control() => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out + "'"
}

/// Offset, 32-bit words and letters, 16 bytes a line.
fn dump(bytes: &[u8]) -> Vec<String> {
    if bytes.is_empty() {
        return vec!["0 bytes".into()];
    }
    let mut lines = Vec::new();
    for (row, bytes) in bytes.chunks(16).take(DUMPED / 16).enumerate() {
        let mut line = format!("{:08x} ", row * 16);
        for word in bytes.chunks(4) {
            line.push(' ');
            for byte in word {
                let _ = write!(line, "{byte:02x}");
            }
        }
        let letter = |byte: &u8| match byte {
            b' '..=b'~' => char::from(*byte),
            _ => '.',
        };
        let letters: String = bytes.iter().map(letter).collect();
        lines.push(format!("{line:<45}  |{letters}|"));
    }
    if bytes.len() > DUMPED {
        lines.push(format!("... {} bytes in all", bytes.len()));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use proximity_client::ToReply;

    fn shown(value: &impl ToReply) -> String {
        let mut bytes = Vec::new();
        value.to_reply(&mut bytes);
        result(Value::first(&bytes).unwrap()).join("\n")
    }

    #[test]
    fn results_read_as_at_a_python_prompt() {
        assert_eq!(shown(&()), "");
        assert_eq!(shown(&305_419_896), "305419896");
        assert_eq!(shown(&2.0), "2.0");
        assert_eq!(shown(&f64::NAN), "nan");
        assert_eq!(shown(&f64::INFINITY), "inf");
        assert_eq!(shown(&true), "True");
        assert_eq!(shown(&"it's\ntext"), "it's\ntext");
        assert_eq!(shown(&vec!["sys_clkcounter", "big_bram"]), "sys_clkcounter\nbig_bram");
        assert_eq!(shown(&Vec::<u8>::new()), "[]");
        assert_eq!(shown(&vec![(1, "a'b")]), "[1, 'a\\'b']");
        assert_eq!(
            shown(&std::collections::BTreeMap::from([("a", Some(1)), ("b", None)])),
            "a: 1\nb: None"
        );
        assert_eq!(shown(&TimeDelta { seconds: 1.5 }), "1.5 s");
        let when = "20140702T12:00:00.000001".parse::<DateTime>().unwrap();
        assert_eq!(shown(&when), "2014-07-02 12:00:00.000001");
        assert_eq!(shown(&(&b"\0a'\xff"[..],)), "b'\\x00a\\'\\xff'");
    }

    #[test]
    fn bytes_read_as_a_hex_dump() {
        assert_eq!(shown(&b"\xde\xad\xbe\xef"[..].to_vec().as_slice()), DUMP_4);
        let many: Vec<u8> = (0..=255).chain([0]).collect();
        let many = shown(&many.as_slice());
        let lines: Vec<&str> = many.lines().collect();
        assert_eq!(lines.len(), 17);
        assert_eq!(lines[4], "00000040  40414243 44454647 48494a4b 4c4d4e4f  |@ABCDEFGHIJKLMNO|");
        assert_eq!(lines[16], "... 257 bytes in all");
        assert_eq!(shown(&b""[..].to_vec().as_slice()), "0 bytes");
    }

    const DUMP_4: &str = "00000000  deadbeef                             |....|";
}
