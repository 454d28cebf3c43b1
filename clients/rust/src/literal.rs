//! Bytes as Python writes them: `b"\x00abc"`.

use crate::failure::Failure;

/// The bytes that `text` is in Python, if it is written as bytes there.
pub(crate) fn bytes(text: &str) -> Result<Option<Vec<u8>>, Failure> {
    let inside = |mark| text.strip_prefix('b')?.strip_prefix(mark)?.strip_suffix(mark);
    let Some((mark, inside)) =
        ['"', '\''].into_iter().find_map(|mark| inside(mark).map(|inside| (mark, inside)))
    else {
        return Ok(None);
    };
    let refuse = |why: &str| {
        let hint =
            r#"bytes are written as in Python: b"text", with \xNN, \n, \r, \t, \0, \\, \" and \'"#;
        Failure::usage(format!("{text} is no bytes: {why}"), hint)
    };
    let mut bytes = Vec::with_capacity(inside.len());
    let mut letters = inside.chars();
    while let Some(letter) = letters.next() {
        let byte = match letter {
            '\\' => escaped(&mut letters).ok_or_else(|| refuse("a \\ begins nothing known"))?,
            letter if letter == mark => return Err(refuse("there is a quote within")),
            letter => u8::try_from(letter)
                .ok()
                .filter(u8::is_ascii)
                .ok_or_else(|| refuse(&format!("'{letter}' is no ASCII")))?,
        };
        bytes.push(byte);
    }
    Ok(Some(bytes))
}

/// The byte that `letters` begin with, behind a backslash.
fn escaped(letters: &mut std::str::Chars<'_>) -> Option<u8> {
    Some(match letters.next()? {
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        // With more digits it would be an octal number.
        '0' if !letters.as_str().starts_with(|c: char| c.is_digit(8)) => 0,
        'x' => {
            let mut digit = || letters.next()?.to_digit(16);
            u8::try_from(digit()? * 16 + digit()?).ok()?
        }
        mark @ ('\\' | '"' | '\'') => u8::try_from(mark).ok()?,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_as_python_does() {
        for (text, meant) in [
            (r#"b"abcde""#, &b"abcde"[..]),
            (r"b'abcde'", b"abcde"),
            (r#"b"""#, b""),
            (r#"b"it's""#, b"it's"),
            (r#"b"\x00\xFF\n\r\t\0\\\"\'""#, b"\x00\xff\n\r\t\0\\\"'"),
        ] {
            assert_eq!(bytes(text).unwrap().as_deref(), Some(meant), "{text}");
        }
        for text in ["abc", "b", "\"abc\"", "b\"", "b'a\"", "bb'a'", ""] {
            assert_eq!(bytes(text).unwrap(), None, "{text}");
        }
    }

    #[test]
    fn what_python_would_not_take_is_refused() {
        for (text, why) in [
            (r#"b"\xg0""#, "a \\ begins nothing known"),
            (r#"b"\x1""#, "a \\ begins nothing known"),
            (r#"b"\012""#, "a \\ begins nothing known"),
            (r#"b"\q""#, "a \\ begins nothing known"),
            (r#"b"a\""#, "a \\ begins nothing known"),
            (r#"b"a"b""#, "there is a quote within"),
            ("b'é'", "'é' is no ASCII"),
        ] {
            let refused = bytes(text).unwrap_err().to_string();
            assert_eq!(refused, format!("{text} is no bytes: {why}"));
        }
    }
}
