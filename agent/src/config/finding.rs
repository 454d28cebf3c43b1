//! What is wrong with a file, told so that it can be mended: where, what, and how.

use std::{fmt, ops::Range};

/// Bytes of the longest line shown; a longer one would only bury what is said about it.
const MAX_EXCERPT: usize = 200;

/// Something found in a configuration: a mistake or a warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file, as it was named to the agent.
    pub file: String,
    /// Line and column, both from 1; columns count characters. `None` if it is about no place.
    pub place: Option<(usize, usize)>,
    /// What is wrong, in a line.
    pub message: String,
    /// How to mend it, where that is not plain.
    pub hint: Option<String>,
    /// The line it is about, and a line of carets below what is meant.
    excerpt: Option<(String, String)>,
}

/// `FILE:LINE:COLUMN: message`, then the line with carets, then the hint.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file)?;
        if let Some((line, column)) = self.place {
            write!(f, "{line}:{column}:")?;
        }
        write!(f, " {}", self.message)?;
        if let (Some((line, carets)), Some((number, _))) = (&self.excerpt, self.place) {
            let margin = number.to_string().len();
            write!(f, "\n  {number} | {line}\n  {:margin$} | {carets}", "")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

/// All that was found in a file that will not do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// What keeps the configuration from being used; never empty.
    pub mistakes: Vec<Finding>,
    /// What is allowed, and most likely not meant.
    pub warnings: Vec<Finding>,
}

/// A file's name and text, which turn a span into a place that a person finds.
pub(super) struct Source<'a> {
    /// The file, as it was named to the agent.
    pub(super) file: &'a str,
    /// What stands in it.
    pub(super) text: &'a str,
    /// Where its lines start: a broken file has many findings, and to count lines for each takes long.
    starts: Vec<usize>,
}

impl<'a> Source<'a> {
    /// The file called `file`, with `text` in it.
    pub(super) fn new(file: &'a str, text: &'a str) -> Self {
        let behind = text.match_indices('\n').map(|(newline, _)| newline + 1);
        Self { file, text, starts: std::iter::once(0).chain(behind).collect() }
    }

    /// What is to be told about `span`.
    pub(super) fn finding(
        &self,
        span: Range<usize>,
        message: impl Into<String>,
        hint: Option<String>,
    ) -> Finding {
        let (line, column) = self.place(span.start);
        // Mistakes at the end of a file lie behind its last line.
        let shown = self.line(line);
        let sensible = !shown.trim().is_empty() && shown.len() <= MAX_EXCERPT;
        let excerpt = sensible.then(|| {
            let before = shown.chars().take(column - 1);
            // A tab is as wide above the caret as the terminal makes it, so it stays one.
            let pad: String = before.map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            let meant = self.text.get(span).unwrap_or_default();
            let wide = meant.lines().next().unwrap_or_default().chars().count().max(1);
            (plain(shown), pad + &"^".repeat(wide))
        });
        Finding {
            file: self.file.to_owned(),
            place: Some((line, column)),
            message: plain(&message.into()),
            hint: hint.map(|hint| plain(&hint)),
            excerpt,
        }
    }

    /// Line and column of the byte at `index`, both from 1.
    pub(super) fn place(&self, index: usize) -> (usize, usize) {
        let index = index.min(self.text.len());
        let line = self.starts.partition_point(|start| *start <= index);
        let start = self.start(line);
        let before = self.text.get(start..index).unwrap_or_default();
        (line, before.chars().count() + 1)
    }

    /// The line of this number without its end; nothing if there is no such line.
    pub(super) fn line(&self, number: usize) -> &'a str {
        let whole = self.text.get(self.start(number)..self.start(number + 1)).unwrap_or_default();
        let line = whole.strip_suffix('\n').unwrap_or(whole);
        line.strip_suffix('\r').unwrap_or(line)
    }

    /// Where the line of this number starts; behind the last, where the text ends.
    fn start(&self, number: usize) -> usize {
        self.starts.get(number - 1).copied().unwrap_or(self.text.len())
    }
}

/// `text` as it may be shown: a file is not to move the terminal of whoever checks it.
fn plain(text: &str) -> String {
    text.replace(|c: char| c.is_control() && !matches!(c, '\n' | '\t'), "\u{fffd}")
}

/// What is to be told about a file as a whole.
pub(super) fn about_file(file: &str, message: impl Into<String>) -> Finding {
    Finding {
        file: file.to_owned(),
        place: None,
        message: message.into(),
        hint: None,
        excerpt: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str, span: Range<usize>) -> String {
        Source::new("a.toml", text).finding(span, "wrong", None).to_string()
    }

    #[test]
    fn the_carets_stand_below_what_is_meant() {
        assert_eq!(
            told("a = 1\nqueue = none\n", 14..18),
            "a.toml:2:9: wrong\n  2 | queue = none\n    |         ^^^^"
        );
    }

    #[test]
    fn columns_count_characters_and_tabs_stay_tabs() {
        assert_eq!(told("\té = x\n", 6..7), "a.toml:1:6: wrong\n  1 | \té = x\n    | \t    ^");
    }

    #[test]
    fn no_line_moves_a_terminal() {
        assert_eq!(
            told("a\0\x1b[2J = 1\n", 1..2),
            "a.toml:1:2: wrong\n  1 | a\u{fffd}\u{fffd}[2J = 1\n    |  ^"
        );
    }

    #[test]
    fn a_line_is_told_without_its_end_whichever_that_is() {
        assert_eq!(
            told("a = 1\r\nb = x\r\nc = 2", 11..12),
            "a.toml:2:5: wrong\n  2 | b = x\n    |     ^"
        );
        assert_eq!(told("\n\nb = x", 6..7), "a.toml:3:5: wrong\n  3 | b = x\n    |     ^");
    }

    #[test]
    fn a_span_over_lines_is_marked_on_its_first() {
        assert_eq!(told("a = [\n  1,\n]\n", 4..12), "a.toml:1:5: wrong\n  1 | a = [\n    |     ^");
    }

    #[test]
    fn the_end_of_a_file_and_of_nothing_are_places_too() {
        assert_eq!(told("a =", 3..3), "a.toml:1:4: wrong\n  1 | a =\n    |    ^");
        assert_eq!(told("a =\n", 4..4), "a.toml:2:1: wrong");
        assert_eq!(told("", 0..0), "a.toml:1:1: wrong");
        assert_eq!(told("a", 7..9), "a.toml:1:2: wrong\n  1 | a\n    |  ^");
    }
}
