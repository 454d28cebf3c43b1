//! Reads the recorded conversations in `transcripts/`. Taken in by the tests that need it with `#[path]`.

use std::path::Path;

/// One line of a transcript.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    /// `> b'...'`: bytes the client wrote at once.
    Sent(Vec<u8>),
    /// `< b'...'`: one line the server wrote.
    Received(Vec<u8>),
    /// `< EOF`: the server closed the connection.
    Eof,
    /// `< (nothing within idle time)`
    Nothing,
    /// `# ...`
    Comment(String),
    /// Anything else; with the bytes of each literal in it.
    Other(Vec<Vec<u8>>),
}

/// One recorded conversation.
pub(crate) struct Transcript {
    pub(crate) name: String,
    pub(crate) lines: Vec<Line>,
}

/// Every transcript, by file name. The same bytes as recorded; if a test fails on them, the change is wrong, not the file.
pub(crate) fn all(folder: &Path) -> Vec<Transcript> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .expect("the transcripts are in the checkout")
        .map(|entry| entry.expect("a readable folder").file_name().into_string().expect("UTF-8"))
        .filter(|name| Path::new(name).extension().is_some_and(|suffix| suffix == "txt"))
        .collect();
    names.sort();
    names
        .into_iter()
        .map(|name| {
            let text = std::fs::read_to_string(folder.join(&name)).expect("a transcript");
            Transcript { name, lines: text.lines().map(parse_line).collect() }
        })
        .collect()
}

fn parse_line(line: &str) -> Line {
    let only = |text: &str| {
        let mut found = literals(text);
        assert_eq!(found.len(), 1, "one literal in {line}");
        found.remove(0)
    };
    if let Some(text) = line.strip_prefix('#') {
        Line::Comment(text.trim().to_owned())
    } else if let Some(text) = line.strip_prefix("> ") {
        Line::Sent(only(text))
    } else if line.starts_with("< EOF") {
        Line::Eof
    } else if line.starts_with("< (nothing") {
        Line::Nothing
    } else if let Some(text) = line.strip_prefix("< ") {
        Line::Received(only(text))
    } else {
        Line::Other(literals(line))
    }
}

/// The values of the Python bytes literals in `text`.
fn literals(text: &str) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("b'").into_iter().chain(rest.find("b\"")).min() {
        let quote = rest.as_bytes()[start + 1];
        let mut bytes = Vec::new();
        let mut at = rest[start + 2..].bytes();
        loop {
            match at.next().expect("the literal ends") {
                byte if byte == quote => break,
                b'\\' => bytes.push(match at.next().expect("an escape has two characters") {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'x' => {
                        let digits = [at.next().unwrap_or(b'?'), at.next().unwrap_or(b'?')];
                        let digits = std::str::from_utf8(&digits).expect("hexadecimal digits");
                        u8::from_str_radix(digits, 16).expect("hexadecimal digits")
                    }
                    byte => byte,
                }),
                byte => bytes.push(byte),
            }
        }
        found.push(bytes);
        rest = &rest[rest.len() - at.len()..];
    }
    found
}
