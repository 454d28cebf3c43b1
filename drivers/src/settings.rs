//! An object's table in the configuration, as its driver sees it.

use proximity_proto::fault::did_you_mean;
use std::ops::RangeInclusive;
use toml::{Table, Value};

/// The keys of `[objects.NAME]`, taken one by one.
///
/// A key that is missing or wrong is noted, not returned as an error, so that all mistakes of a file
/// are told at once; what a getter then returns is never used.
pub struct Settings<'a> {
    object: &'a str,
    table: &'a Table,
    /// Keys that the driver has asked for.
    known: Vec<&'static str>,
    mistakes: Vec<Mistake>,
}

/// Something wrong with a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The key it is about; `None` for one that is missing.
    pub key: Option<String>,
    /// Whether nobody knows the key; else its value is wrong.
    pub unknown: bool,
    /// What is wrong, in a line.
    pub message: String,
}

impl<'a> Settings<'a> {
    /// The settings in `table`, of which `taken` are not the driver's.
    pub fn new(table: &'a Table, taken: &[&'static str]) -> Self {
        Self { object: "", table, known: taken.to_vec(), mistakes: Vec::new() }
    }

    /// The same settings, of the object called `name`.
    #[must_use]
    pub fn of(self, name: &'a str) -> Self {
        Self { object: name, ..self }
    }

    /// The object's name, for what is said about it.
    pub fn object(&self) -> &'a str {
        self.object
    }

    /// The text of `key`, which may be missing.
    pub fn text(&mut self, key: &'static str) -> Option<&'a str> {
        let value = self.take(key)?;
        self.expect(key, value, "text", value.as_str())
    }

    /// The text of `key`, which must be there.
    pub fn required_text(&mut self, key: &'static str) -> &'a str {
        if !self.table.contains_key(key) {
            self.missing(format!("the key '{key}' is missing"));
        }
        self.text(key).unwrap_or_default()
    }

    /// The whole number of `key`, which may be missing.
    pub fn int(&mut self, key: &'static str) -> Option<i64> {
        let value = self.take(key)?;
        self.expect(key, value, "a whole number", value.as_integer())
    }

    /// The whole number of `key`, which may be missing and lies in `range`.
    pub fn int_in(&mut self, key: &'static str, range: RangeInclusive<i64>) -> Option<i64> {
        let number = self.int(key)?;
        if !range.contains(&number) {
            let (min, max) = (range.start(), range.end());
            self.refuse(key, format!("'{key}' is {number}; it must be {min} to {max}"));
        }
        Some(number)
    }

    /// The number of `key`, which may be missing.
    pub fn float(&mut self, key: &'static str) -> Option<f64> {
        let value = self.take(key)?;
        #[allow(clippy::cast_precision_loss)] // nobody writes seconds with 16 digits
        let number = value.as_float().or_else(|| value.as_integer().map(|number| number as f64));
        self.expect(key, value, "a number", number)
    }

    /// The truth of `key`, which may be missing.
    pub fn bool(&mut self, key: &'static str) -> Option<bool> {
        let value = self.take(key)?;
        self.expect(key, value, "true or false", value.as_bool())
    }

    /// The list of texts of `key`, which may be missing.
    pub fn texts(&mut self, key: &'static str) -> Option<Vec<&'a str>> {
        let value = self.take(key)?;
        if let Some(list) = value.as_array()
            && let Some((at, wrong)) = list.iter().enumerate().find(|(_, value)| !value.is_str())
        {
            let (at, kind) = (at + 1, kind_of(wrong));
            self.refuse(key, format!("'{key}' must be a list of texts; number {at} is {kind}"));
            return None;
        }
        let texts = value.as_array().map(|list| list.iter().filter_map(Value::as_str).collect());
        self.expect(key, value, "a list of texts", texts)
    }

    /// The value of `key`, whatever it is.
    pub fn any(&mut self, key: &'static str) -> Option<&'a Value> {
        self.take(key)
    }

    /// Notes that a key is missing.
    pub fn missing(&mut self, message: impl Into<String>) {
        let message = message.into();
        self.mistakes.push(Mistake { key: None, unknown: false, message });
    }

    /// Notes that the value of `key` will not do.
    pub fn refuse(&mut self, key: &str, message: impl Into<String>) {
        let message = message.into();
        self.mistakes.push(Mistake { key: Some(key.to_owned()), unknown: false, message });
    }

    /// What was wrong, with the keys that nobody asked for.
    pub fn finish(mut self) -> Vec<Mistake> {
        for key in self.table.keys() {
            if self.known.iter().any(|known| known == key) {
                continue;
            }
            let near = match did_you_mean(key, self.known.iter().copied()) {
                Some(meant) => format!("did you mean '{meant}'?"),
                None => format!("there are: {}", self.known.join(", ")),
            };
            let message = format!("unknown key '{key}'; {near}");
            self.mistakes.push(Mistake { key: Some(key.clone()), unknown: true, message });
        }
        self.mistakes
    }

    fn take(&mut self, key: &'static str) -> Option<&'a Value> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.table.get(key)
    }

    fn expect<T>(
        &mut self,
        key: &'static str,
        value: &Value,
        what: &str,
        taken: Option<T>,
    ) -> Option<T> {
        if taken.is_none() {
            let kind = kind_of(value);
            self.refuse(key, format!("'{key}' must be {what}, not {kind}"));
        }
        taken
    }
}

/// What a person calls this kind of value.
pub fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a floating-point number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}
