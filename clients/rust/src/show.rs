//! Values as people read them.

use proximity_client::Value;
use std::{
    fmt::Write as _,
    io::{self, Write},
};

/// Bytes shown before the rest is only counted: a page of them tells what there is.
const SHOWN: usize = 512;

/// Bytes in a line of a dump.
const LINE: usize = 16;

/// Writes `text` and an end of line to standard output.
pub(crate) fn say(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    if !text.is_empty() && !text.ends_with('\n') {
        out.write_all(b"\n")?;
    }
    out.flush()
}

/// A result, for a person: nothing for None, a line for each element of a list.
pub(crate) fn result(value: Value<'_>) -> String {
    match value {
        Value::Nil => String::new(),
        Value::Text(text) => text.to_owned(),
        Value::Bytes(bytes) => dump(bytes),
        Value::Array(list) => lines(list.iter().map(line)),
        Value::Map(map) => {
            let entries: Vec<(String, String)> = map
                .iter()
                .map(|(key, value)| (key.as_text().unwrap_or("?").to_owned(), line(value)))
                .collect();
            columns(&entries)
        }
        other => line(other),
    }
}

/// A value in one line, as Python would write it.
pub(crate) fn line(value: Value<'_>) -> String {
    match value {
        Value::Nil => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Uint(number) => number.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => format!("{number:?}"),
        Value::Text(text) => text.to_owned(),
        Value::Bytes(bytes) if bytes.len() <= LINE => hex(bytes),
        Value::Bytes(bytes) => format!("<{} bytes>", bytes.len()),
        Value::Array(list) => format!("[{}]", joined(list.iter().map(line))),
        Value::Map(map) => {
            let entry = |(key, value)| format!("{}: {}", line(key), line(value));
            format!("{{{}}}", joined(map.iter().map(entry)))
        }
    }
}

/// Two columns, the second aligned.
pub(crate) fn columns(rows: &[(String, String)]) -> String {
    let width = rows.iter().map(|(left, _)| left.chars().count()).max().unwrap_or(0);
    lines(rows.iter().map(|(left, right)| format!("{left:width$}  {right}").trim_end().to_owned()))
}

/// Bytes in hexadecimal and as text, with their offsets.
fn dump(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (number, row) in bytes.chunks(LINE).take(SHOWN / LINE).enumerate() {
        let shown: String = row
            .iter()
            .map(|&byte| if matches!(byte, b' '..=b'~') { char::from(byte) } else { '.' })
            .collect();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:06x}  {:<47}  {shown}", number * LINE, hex(row));
    }
    match bytes.len().checked_sub(SHOWN) {
        None | Some(0) => text,
        Some(more) => text + &format!("{more} more bytes; --raw writes all of them to a file\n"),
    }
}

fn hex(bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.join(" ")
}

fn lines(lines: impl Iterator<Item = String>) -> String {
    lines.fold(String::new(), |text, line| text + &line + "\n")
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_dumped_with_offsets_and_the_rest_is_counted() {
        let bytes: Vec<u8> = (0..=255).cycle().take(600).collect();
        let text = dump(&bytes);
        assert!(
            text.starts_with("000000  00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f  ......")
        );
        assert!(text.contains(
            "\n000040  40 41 42 43 44 45 46 47 48 49 4a 4b 4c 4d 4e 4f  @ABCDEFGHIJKLMNO\n"
        ));
        assert!(text.ends_with("88 more bytes; --raw writes all of them to a file\n"));
        assert_eq!(dump(b"hi"), "000000  68 69                                            hi\n");
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [("a".to_owned(), "1".to_owned()), ("long".to_owned(), "2".to_owned())];
        assert_eq!(columns(&rows), "a     1\nlong  2\n");
    }
}
