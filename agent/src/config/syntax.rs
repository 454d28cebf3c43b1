//! TOML text to values whose places are known.

use super::finding::{Finding, Source};
use std::ops::Range;
use toml::{
    Spanned, Table, Value,
    de::{DeString, DeTable, DeValue, Error},
};

/// A parsed file: as much of it as could be read, and what could not.
pub(super) struct Syntax<'a> {
    /// The values with their places.
    pub(super) table: DeTable<'a>,
    /// What is no TOML.
    pub(super) mistakes: Vec<Finding>,
    /// The first line that was read as something else than it is, because a list was not closed.
    misread_from: usize,
}

impl Syntax<'_> {
    /// Whether what else is found in this line is worth telling: not where the parser has complained,
    /// nor where it has lost its way.
    pub(super) fn understood(&self, line: usize) -> bool {
        // They were found from the first line to the last.
        let same = |finding: &Finding| finding.place.map(|(wrong, _)| wrong);
        line < self.misread_from && self.mistakes.binary_search_by_key(&Some(line), same).is_err()
    }
}

/// Reads all of a file that can be read.
pub(super) fn parse<'a>(source: &Source<'a>) -> Syntax<'a> {
    let (table, errors) = DeTable::parse_recoverable(source.text);
    let mut syntax =
        Syntax { table: table.into_inner(), mistakes: Vec::new(), misread_from: usize::MAX };
    let mut errors: Vec<(Range<usize>, Error)> =
        errors.into_iter().map(|error| (error.span().unwrap_or_default(), error)).collect();
    errors.sort_by_key(|(span, _)| span.start);
    // The parser puts a table that stands twice together, and then finds its keys twice as well.
    let mut repeated_until = 0;
    for (span, error) in errors {
        let (line, _) = source.place(span.start);
        let header = header_in(source.line(line)).is_some();
        if header && error.message().contains("array") {
            // Headers and keys from here on were read as more of a list.
            syntax.misread_from = line;
            if syntax.mistakes.is_empty() {
                let message = "a list above this table is not closed";
                syntax.mistakes.push(source.finding(span, message, None));
            }
            break;
        }
        let duplicate = error.message() == "duplicate key";
        // One slip often makes the parser complain twice about a line.
        if (duplicate && span.start < repeated_until) || !syntax.understood(line) {
            continue;
        }
        if duplicate && header {
            repeated_until = end_of_section(source.text, span.start);
        }
        let finding = describe(source, &syntax.table, &error, span);
        syntax.mistakes.push(finding);
    }
    syntax
}

/// What is to be told about an error of the parser.
fn describe(
    source: &Source<'_>,
    table: &DeTable<'_>,
    error: &Error,
    span: Range<usize>,
) -> Finding {
    let text = source.text;
    if error.message() != "duplicate key" {
        // It takes nothing at all for a text without quotes.
        let message = if span.is_empty() && error.message().starts_with("string values must") {
            "key with no value"
        } else {
            error.message()
        };
        return source.finding(span, message, None);
    }
    let (line, _) = source.place(span.start);
    let (first, message) = if let Some(header) = header_in(source.line(line)) {
        let first = (1..line).find(|earlier| header_in(source.line(*earlier)) == Some(header));
        let message = match header.strip_prefix("objects.") {
            Some(name) => format!("two objects are called '{}'", unquoted(name)),
            None => format!("two tables are called '{header}'"),
        };
        (first, message)
    } else {
        let key = unquoted(text.get(span.clone()).unwrap_or_default());
        // The same word may be a key of other tables: only one of the same table stands twice.
        let section = start_of_section(text, span.start)..span.start;
        let first = first_place(table, key, &section).filter(|first| *first < span.start);
        (first.map(|first| source.place(first).0), format!("two keys are called '{key}'"))
    };
    let first =
        first.map_or_else(String::new, |first| format!("; one stands in line {first} already"));
    source.finding(span, message + &first, None)
}

fn unquoted(name: &str) -> &str {
    name.trim_matches(['"', '\''])
}

/// The first key of this name whose place lies `within`.
fn first_place(table: &DeTable<'_>, key: &str, within: &Range<usize>) -> Option<usize> {
    let inner = table.iter().filter_map(|(_, value)| match value.get_ref() {
        DeValue::Table(table) => first_place(table, key, within),
        _ => None,
    });
    let own = table.iter().filter(|(name, _)| name.get_ref() == key);
    own.map(|(name, _)| name.span().start).filter(|at| within.contains(at)).chain(inner).min()
}

/// The name of the table whose header `line` is, if it is one.
fn header_in(line: &str) -> Option<&str> {
    let header = line.trim_start().strip_prefix('[')?;
    Some(header.split_once(']').map_or(header, |(name, _)| name))
}

/// Where the table that `index` lies in starts: at the last header before it.
fn start_of_section(text: &str, index: usize) -> usize {
    text.get(..index).and_then(|before| before.rfind("\n[")).unwrap_or(0)
}

/// Where the table whose header stands at `index` ends: at the next header.
fn end_of_section(text: &str, index: usize) -> usize {
    let next = text.get(index..).and_then(|after| after.find("\n["));
    next.map_or(text.len(), |next| index + next)
}

/// The plain value, as drivers get it; a number that does not fit is told to `wrong`.
pub(super) fn plain(
    value: &Spanned<DeValue<'_>>,
    wrong: &mut impl FnMut(Range<usize>, String),
) -> Value {
    match value.get_ref() {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix());
            Value::Integer(parsed.unwrap_or_else(|_| {
                let message = format!("{number} does not fit into 64 bits");
                wrong(value.span(), message);
                0
            }))
        }
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(truth) => Value::Boolean(*truth),
        DeValue::Datetime(datetime) => Value::Datetime(*datetime),
        DeValue::Array(list) => {
            Value::Array(list.iter().map(|value| plain(value, wrong)).collect())
        }
        DeValue::Table(table) => Value::Table(plain_table(table.iter(), wrong)),
    }
}

/// The plain table, as drivers get it.
pub(super) fn plain_table<'a, 'i: 'a>(
    entries: impl Iterator<Item = (&'a Spanned<DeString<'i>>, &'a Spanned<DeValue<'i>>)>,
    wrong: &mut impl FnMut(Range<usize>, String),
) -> Table {
    entries.map(|(key, value)| (key.get_ref().to_string(), plain(value, wrong))).collect()
}
