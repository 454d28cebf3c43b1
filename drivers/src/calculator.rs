//! A calculator: the object to try a new installation with, for it needs no device.

use crate::{Opener, settings::Settings};
use proximity_proto::{Fault, FromArg, ToReply, Value, arg::Mismatch, arg::Type, expose, reply};

/// A calculator has no settings.
pub fn configure(_: &mut Settings<'_>) -> Opener {
    Box::new(|| Ok(Box::new(Calculator)))
}

/// Adds, subtracts, divides.
pub struct Calculator;

/// Adds, subtracts, divides.
#[expose]
impl Calculator {
    /// Adds two values together.
    ///
    /// x: first value
    /// y: second value
    /// returns: x + y, whole if both are
    ///
    /// raises OverflowError: both are whole and their sum has no room in 64 bits
    #[quick]
    pub fn add_two(&self, x: Number, y: Number) -> Result<Number, CalculatorError> {
        x.combine(y, "+", i128::checked_add, |x, y| x + y)
    }

    /// Subtracts the second value from the first.
    ///
    /// x: first value
    /// y: second value
    /// returns: x - y, whole if both are
    ///
    /// raises OverflowError: both are whole and their difference has no room in 64 bits
    #[quick]
    pub fn sub_two(&self, x: Number, y: Number) -> Result<Number, CalculatorError> {
        x.combine(y, "-", i128::checked_sub, |x, y| x - y)
    }

    /// Divides the first value by the second.
    ///
    /// x: dividend
    /// y: divisor
    /// returns: x / y; whole, and rounded down, if both are
    ///
    /// raises ZeroDivisionError: y is 0
    #[quick]
    pub fn div_two(&self, x: Number, y: Number) -> Result<Number, CalculatorError> {
        if y.is_zero() {
            return Err(CalculatorError::ZeroDivision { x });
        }
        x.combine(y, "/", floor_div, |x, y| x / y)
    }
}

/// Divides as Python does: towards minus infinity.
fn floor_div(x: i128, y: i128) -> Option<i128> {
    let quotient = x.checked_div(y)?;
    Some(if x % y != 0 && (x < 0) != (y < 0) { quotient - 1 } else { quotient })
}

/// A number as it was sent: whole numbers stay whole.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// -2^63 to 2^64 - 1.
    Whole(i128),
    /// Any other.
    Float(f64),
}

impl Number {
    fn as_float(self) -> f64 {
        match self {
            #[allow(clippy::cast_precision_loss)] // as Python does
            Number::Whole(number) => number as f64,
            Number::Float(number) => number,
        }
    }

    fn is_zero(self) -> bool {
        self.as_float() == 0.0
    }

    fn combine(
        self,
        other: Self,
        sign: &'static str,
        whole: fn(i128, i128) -> Option<i128>,
        float: fn(f64, f64) -> f64,
    ) -> Result<Self, CalculatorError> {
        let (Number::Whole(x), Number::Whole(y)) = (self, other) else {
            return Ok(Number::Float(float(self.as_float(), other.as_float())));
        };
        whole(x, y)
            .filter(|result| (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(result))
            .map(Number::Whole)
            .ok_or(CalculatorError::Overflow { x, sign, y })
    }
}

impl FromArg<'_> for Number {
    fn from_arg(value: Value<'_>) -> Result<Self, Mismatch> {
        match value {
            Value::Uint(number) => Ok(Number::Whole(number.into())),
            Value::Int(number) => Ok(Number::Whole(number.into())),
            Value::Float(number) => Ok(Number::Float(number)),
            _ => Err(Mismatch::wrong("a number", &value)),
        }
    }

    fn ty() -> Type {
        Type::named("int|float")
    }
}

impl ToReply for Number {
    fn to_reply(&self, out: &mut Vec<u8>) {
        match *self {
            Number::Float(number) => number.to_reply(out),
            Number::Whole(number) => match (u64::try_from(number), i64::try_from(number)) {
                (Ok(number), _) => reply::uint(out, number),
                (_, Ok(number)) => reply::int(out, number),
                // combine() lets nothing else through.
                _ => out.push(0xc0),
            },
        }
    }

    fn ty() -> Type {
        Type::named("int|float")
    }
}

/// What a calculator refuses.
#[derive(Debug, thiserror::Error)]
pub enum CalculatorError {
    /// The divisor is 0.
    #[error("division of {} by zero", x.as_float())]
    ZeroDivision {
        /// The dividend.
        x: Number,
    },
    /// A whole result has no room.
    #[error("{x} {sign} {y} does not fit into 64 bits")]
    Overflow {
        /// The first operand.
        x: i128,
        /// What was to be done.
        sign: &'static str,
        /// The second operand.
        y: i128,
    },
}

impl From<CalculatorError> for Fault {
    fn from(error: CalculatorError) -> Self {
        match error {
            CalculatorError::ZeroDivision { .. } => Fault::from_error("ZeroDivisionError", &error),
            CalculatorError::Overflow { .. } => Fault::from_error("OverflowError", &error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{CalculatorError, Number::Float, Number::Whole, *};

    #[test]
    fn whole_numbers_stay_whole() {
        assert_eq!(Calculator.add_two(Whole(2), Whole(3)).unwrap(), Whole(5));
        assert_eq!(Calculator.div_two(Whole(500), Whole(2)).unwrap(), Whole(250));
        assert_eq!(Calculator.div_two(Whole(-7), Whole(2)).unwrap(), Whole(-4));
        assert_eq!(Calculator.sub_two(Whole(1), Float(0.5)).unwrap(), Float(0.5));
    }

    #[test]
    fn what_cannot_be_is_refused_in_words() {
        let zero = Calculator.div_two(Whole(2), Whole(0)).unwrap_err();
        assert!(matches!(zero, CalculatorError::ZeroDivision { .. }));
        assert_eq!(Fault::from(zero).to_string(), "ZeroDivisionError: division of 2 by zero");
        let big = Calculator.add_two(Whole(i128::from(u64::MAX)), Whole(1)).unwrap_err();
        assert_eq!(
            Fault::from(big).to_string(),
            "OverflowError: 18446744073709551615 + 1 does not fit into 64 bits"
        );
    }
}
