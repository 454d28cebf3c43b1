//! The smallest useful object. Copy this file to start a driver.

use crate::{Opener, settings::Settings};
use proximity_proto::{Fault, expose};

/// Takes the object's keys from its table in the configuration.
pub fn configure(settings: &mut Settings<'_>) -> Opener {
    let start = settings.int("start").unwrap_or(0);
    Box::new(move || Ok(Box::new(Counter { value: start })))
}

/// A number that can be counted up and down.
pub struct Counter {
    value: i64,
}

/// Counts.
#[expose]
impl Counter {
    /// Adds `step` and returns the new value.
    ///
    /// step: how much to add; may be negative
    /// returns: the new value
    ///
    /// raises OverflowError: the value would leave -2^63 to 2^63 - 1; it stays as it was
    #[quick]
    pub fn add(&mut self, #[default(1)] step: i64) -> Result<i64, CounterError> {
        let (value, step) = (self.value, step);
        self.value = value.checked_add(step).ok_or(CounterError::Overflow { value, step })?;
        Ok(self.value)
    }

    /// The current value.
    #[quick]
    #[attribute]
    pub fn value(&self) -> i64 {
        self.value
    }

    /// Sets the value.
    #[attribute]
    pub fn set_value(&mut self, value: i64) {
        self.value = value;
    }
}

/// What can go wrong with a counter.
#[derive(Debug, thiserror::Error)]
pub enum CounterError {
    /// The value has no room left.
    #[error("{value} + {step} does not fit into 64 bits; the counter stays at {value}")]
    Overflow {
        /// Where the counter stands.
        value: i64,
        /// What was to be added.
        step: i64,
    },
}

impl From<CounterError> for Fault {
    fn from(error: CounterError) -> Self {
        match error {
            CounterError::Overflow { .. } => Fault::from_error("OverflowError", &error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overflow_changes_nothing_and_says_so() {
        let mut counter = Counter { value: i64::MAX };
        let fault = Fault::from(counter.add(1).unwrap_err());
        assert_eq!(
            fault.to_string(),
            "OverflowError: 9223372036854775807 + 1 does not fit into 64 bits; \
             the counter stays at 9223372036854775807"
        );
        assert_eq!(counter.value(), i64::MAX);
    }
}
