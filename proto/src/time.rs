//! Points in time and spans of it, encoded as the original encodes them: as maps.

use crate::value::{Map, Value};
use core::{fmt, str::FromStr};

/// The key that marks a map as a point in time.
pub(crate) const DATETIME: &str = "__datetime__";
/// The key that marks a map as a span of time.
pub(crate) const TIMEDELTA: &str = "__timedelta__";
/// The key of a [`DateTime`]'s text.
pub(crate) const AS_STR: &str = "as_str";
/// The key of a [`TimeDelta`]'s seconds.
pub(crate) const TOTAL_SECONDS: &str = "total_seconds";

/// A date and a time of day without a time zone: Python's `datetime`.
///
/// Prints and parses as the wire has it, `%Y%m%dT%H:%M:%S.%f`.
///
/// # Examples
///
/// ```
/// use proximity_proto::time::DateTime;
///
/// let when: DateTime = "20140702T12:00:00.000001".parse()?;
/// assert_eq!((when.year, when.microsecond), (2014, 1));
/// # Ok::<(), proximity_proto::time::NoDateTime>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DateTime {
    /// 1 to 9999.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
    /// 0 to 999,999.
    pub microsecond: u32,
}

/// A text that is no date and time in the wire's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a date and time as YYYYMMDDTHH:MM:SS.ffffff")]
pub struct NoDateTime;

impl DateTime {
    pub(crate) fn from_value(value: Value<'_>) -> Option<Self> {
        let Value::Map(map) = value else { return None };
        marked(map, DATETIME)?;
        map.get(AS_STR)?.as_text()?.parse().ok()
    }
}

impl fmt::Display for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { year, month, day, hour, minute, second, microsecond } = self;
        write!(f, "{year:04}{month:02}{day:02}T{hour:02}:{minute:02}:{second:02}.{microsecond:06}")
    }
}

impl FromStr for DateTime {
    type Err = NoDateTime;

    fn from_str(text: &str) -> Result<Self, NoDateTime> {
        /// The digits of `text` from `start` up to `end`, as a number from `min` to `max`.
        fn number<T: TryFrom<u32>>(
            text: &str,
            (start, end): (usize, usize),
            (min, max): (u32, u32),
        ) -> Result<T, NoDateTime> {
            let digits = text.get(start..end).ok_or(NoDateTime)?;
            if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(NoDateTime);
            }
            let number: u32 = digits.parse().map_err(|_| NoDateTime)?;
            if !(min..=max).contains(&number) {
                return Err(NoDateTime);
            }
            T::try_from(number).map_err(|_| NoDateTime)
        }
        let marks = [(8, b'T'), (11, b':'), (14, b':'), (17, b'.')];
        let sound = |&(place, mark)| text.as_bytes().get(place) == Some(&mark);
        if text.len() != 24 || !marks.iter().all(sound) {
            return Err(NoDateTime);
        }
        Ok(Self {
            year: number(text, (0, 4), (1, 9999))?,
            month: number(text, (4, 6), (1, 12))?,
            day: number(text, (6, 8), (1, 31))?,
            hour: number(text, (9, 11), (0, 23))?,
            minute: number(text, (12, 14), (0, 59))?,
            second: number(text, (15, 17), (0, 59))?,
            microsecond: number(text, (18, 24), (0, 999_999))?,
        })
    }
}

/// A span of time in seconds, possibly negative: Python's `timedelta`.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct TimeDelta {
    /// Its length.
    pub seconds: f64,
}

impl TimeDelta {
    pub(crate) fn from_value(value: Value<'_>) -> Option<Self> {
        let Value::Map(map) = value else { return None };
        marked(map, TIMEDELTA)?;
        #[allow(clippy::cast_precision_loss)] // spans this long have no use for exact seconds
        match map.get(TOTAL_SECONDS)? {
            Value::Float(seconds) => Some(Self { seconds }),
            Value::Uint(seconds) => Some(Self { seconds: seconds as f64 }),
            Value::Int(seconds) => Some(Self { seconds: seconds as f64 }),
            _ => None,
        }
    }
}

/// Whether `map` bears `mark`. Its value is not looked at: the original does not either.
fn marked(map: Map<'_>, mark: &str) -> Option<()> {
    map.get(mark).map(|_| ())
}
