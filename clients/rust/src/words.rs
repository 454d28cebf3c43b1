//! A line of the shell, split into words.
//!
//! Words are parted by blanks outside of quotes and brackets. They keep their quotes: `"5"` is text
//! where `5` is a number, see [`crate::argument`].

/// What is open at a place of a line.
#[derive(Default)]
struct Open {
    /// What closes the brackets, the innermost last.
    brackets: Vec<char>,
    quote: Option<char>,
    escaped: bool,
}

impl Open {
    /// Whether all is closed.
    fn is_nothing(&self) -> bool {
        self.brackets.is_empty() && self.quote.is_none()
    }

    /// Goes on behind `letter`; tells whether it stands outside of all quotes and brackets.
    fn pass(&mut self, letter: char) -> bool {
        match (self.quote, letter) {
            _ if self.escaped => self.escaped = false,
            (Some(_), '\\') => self.escaped = true,
            (Some(mark), _) if mark == letter => self.quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => self.quote = Some(letter),
            (None, '[') => self.brackets.push(']'),
            (None, '{') => self.brackets.push('}'),
            (None, '(') => self.brackets.push(')'),
            (None, ']' | '}' | ')') => drop(self.brackets.pop()),
            (None, _) => return self.brackets.is_empty(),
        }
        false
    }
}

/// What is missing at the end of `line`, if something is.
pub(crate) fn unclosed(line: &str) -> Option<char> {
    let mut open = Open::default();
    for letter in line.chars() {
        open.pass(letter);
    }
    open.quote.or_else(|| open.brackets.pop())
}

/// Splits `line` at `separator`s that stand outside of quotes and brackets.
fn split(line: &str, is_separator: impl Fn(char) -> bool) -> Vec<&str> {
    let (mut parts, mut start, mut open) = (Vec::new(), 0, Open::default());
    for (at, letter) in line.char_indices() {
        if open.pass(letter) && is_separator(letter) {
            parts.push(&line[start..at]);
            start = at + letter.len_utf8();
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

/// What stands behind the closing bracket of a call as in Python, `foo.add(2, 3)`, if `line` is one.
pub(crate) fn behind_call(line: &str) -> Option<(&str, &str)> {
    let (name, _) = line.split_once('(')?;
    if name.is_empty() || !is_name(name) {
        return None;
    }
    let mut open = Open::default();
    let end = line.char_indices().find(|&(at, letter)| {
        open.pass(letter);
        letter == ')' && at > name.len() && open.is_nothing()
    });
    end.map(|(at, _)| line.split_at(at + 1))
}

/// Whether `word` has only what names are of.
fn is_name(word: &str) -> bool {
    word.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '.')
}

/// The first word of `line`, and the words that are its arguments: `foo.add 2 3` or `foo.add(2, 3)`.
pub(crate) fn command(line: &str) -> (&str, Vec<&str>) {
    let line = line.trim();
    if let Some((name, rest)) = line.split_once('(')
        && let Some(inside) = rest.strip_suffix(')')
        && is_name(name)
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
    fn what_is_missing_at_the_end_is_found() {
        for (line, missing) in [
            ("foo.f(1, [2, 3])", None),
            (r#"f "(" '[' "\"" "#, None),
            ("foo.f(1, 2", Some(')')),
            ("foo.f {'a': [1, 2}", Some('}')),
            ("foo.f \"it's", Some('"')),
            ("foo.f it's", Some('\'')),
            ("foo.f 1)", None),
        ] {
            assert_eq!(unclosed(line), missing, "{line}");
        }
    }

    #[test]
    fn what_stands_behind_a_call_is_told_from_it() {
        for (line, behind) in [
            ("foo.add(2, 3)", Some("")),
            ("foo.add(2, 3);", Some(";")),
            ("foo.add((1), \")\", [2]) # x)", Some(" # x)")),
            ("foo.add(1))", Some(")")),
            ("foo.add()()", Some("()")),
            ("foo.add 2 3", None),
            ("foo.add (2)", None),
            ("(2)", None),
        ] {
            assert_eq!(behind_call(line).map(|(_, behind)| behind), behind, "{line}");
        }
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
