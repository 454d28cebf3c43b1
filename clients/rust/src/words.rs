//! A line of the shell, split into words.
//!
//! Words are parted by blanks outside of quotes and brackets. They keep their quotes: `"5"` is text
//! where `5` is a number, see [`crate::argument`].

/// Splits `line` at `separator`s that stand outside of quotes and brackets.
fn split(line: &str, is_separator: impl Fn(char) -> bool) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut depth, mut quote, mut escaped) = (0, 0usize, None, false);
    for (at, letter) in line.char_indices() {
        match (quote, letter) {
            _ if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(mark), _) if mark == letter => quote = None,
            (None, '"' | '\'') => quote = Some(letter),
            (None, '[' | '{' | '(') => depth += 1,
            (None, ']' | '}' | ')') => depth = depth.saturating_sub(1),
            (None, _) if depth == 0 && is_separator(letter) => {
                parts.push(&line[start..at]);
                start = at + letter.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&line[start..]);
    parts
}

/// The words of `line`.
pub(crate) fn words(line: &str) -> Vec<&str> {
    let mut words = split(line, char::is_whitespace);
    words.retain(|word| !word.is_empty());
    words
}

/// The first word of `line`, and the words that are its arguments: `foo.add 2 3` or `foo.add(2, 3)`.
pub(crate) fn command(line: &str) -> (&str, Vec<&str>) {
    let line = line.trim();
    if let Some((name, rest)) = line.split_once('(')
        && let Some(inside) = rest.strip_suffix(')')
        && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '.')
    {
        let mut arguments: Vec<&str> =
            split(inside, |c| c == ',').iter().map(|a| a.trim()).collect();
        arguments.retain(|argument| !argument.is_empty());
        return (name, arguments);
    }
    let mut words = words(line);
    if words.is_empty() {
        return ("", words);
    }
    let first = words.remove(0);
    (first, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_part_words_but_not_in_quotes_and_brackets() {
        assert_eq!(
            words(r#"  a  "b c" 'd e' [1, 2] {"k": [3]}  "#),
            ["a", r#""b c""#, "'d e'", "[1, 2]", r#"{"k": [3]}"#]
        );
        assert_eq!(words(r#"x="a \" b" y"#), [r#"x="a \" b""#, "y"]);
        assert_eq!(words("unclosed 'quote is one"), ["unclosed", "'quote is one"]);
        assert!(words(" ").is_empty());
    }

    #[test]
    fn a_call_may_be_written_as_in_python() {
        assert_eq!(command("foo.add 2 3"), ("foo.add", vec!["2", "3"]));
        assert_eq!(command("foo.add(2, 3)"), ("foo.add", vec!["2", "3"]));
        assert_eq!(command("foo.add( [1, 2], b='x, y' )"), ("foo.add", vec!["[1, 2]", "b='x, y'"]));
        assert_eq!(command("foo.reset()"), ("foo.reset", vec![]));
        assert_eq!(command("foo.f (2)"), ("foo.f", vec!["(2)"]));
        assert_eq!(command(""), ("", vec![]));
    }
}
