//! Named bit-fields of a register.

use super::{
    FpgaError,
    plain::{Dict, Plain},
};
use proximity_proto::Value;

/// Bits of a register that have a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: String,
    /// Bits below it.
    offset: u32,
    /// Bits, 1 to 32.
    width: u32,
    kind: Kind,
    /// Bits behind the binary point.
    point: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Unsigned,
    Signed,
    Bool,
}

impl Kind {
    fn from_word(word: &str) -> Self {
        match word {
            "1" => Self::Signed,
            "2" => Self::Bool,
            _ => Self::Unsigned,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Unsigned => "unsigned",
            Self::Signed => "signed",
            Self::Bool => "bool",
        }
    }
}

impl Field {
    /// The fields of a register by its description: lists as `[enable len]`, the most significant field first. One
    /// value where there are several names holds for all.
    pub(super) fn of_register(names: &str, widths: &str, kinds: &str, points: &str) -> Vec<Self> {
        let [names, widths, kinds, points] = [names, widths, kinds, points].map(list);
        let nth = |list: &[&str], place: usize| -> Option<String> {
            let shared = if list.len() == 1 { list.first() } else { None };
            list.get(place).or(shared).map(|word| (*word).to_owned())
        };
        let number = |list: &[&str], place, default| {
            nth(list, place).and_then(|word| word.parse().ok()).unwrap_or(default)
        };
        let mut fields = Vec::new();
        let mut offset = 0;
        for (place, name) in names.iter().enumerate().rev() {
            let width = number(&widths, place, 32_u32);
            if width == 0 || offset + width > 32 {
                // A description that does not fit its register is none.
                return Self::whole();
            }
            fields.insert(
                0,
                Self {
                    name: (*name).to_owned(),
                    offset,
                    width,
                    kind: Kind::from_word(&nth(&kinds, place).unwrap_or_default()),
                    point: number(&points, place, 0).min(32),
                },
            );
            offset += width;
        }
        if fields.is_empty() { Self::whole() } else { fields }
    }

    /// The field of a register without a description.
    fn whole() -> Vec<Self> {
        let kind = Kind::Unsigned;
        vec![Self { name: "reg".into(), offset: 0, width: 32, kind, point: 0 }]
    }

    fn mask(&self) -> u32 {
        u32::MAX >> (32 - self.width)
    }

    /// Its value in `word`.
    pub(super) fn value(&self, word: u32) -> Plain {
        let raw = word >> self.offset & self.mask();
        let number = match self.kind {
            Kind::Bool => return Plain::Bool(raw != 0),
            Kind::Unsigned => i64::from(raw),
            // The sign bit moved to the top and back.
            Kind::Signed => {
                i64::from((raw << (32 - self.width)).cast_signed() >> (32 - self.width))
            }
        };
        if self.point == 0 {
            return Plain::Int(number);
        }
        #[allow(clippy::cast_precision_loss)] // 33 bits at most
        Plain::Float(number as f64 / 2_f64.powi(self.point.cast_signed()))
    }

    /// `word` with this field set to `value`.
    pub(super) fn set(&self, word: u32, value: Value<'_>) -> Result<u32, FpgaError> {
        let scale = 2_f64.powi(self.point.cast_signed());
        #[allow(clippy::cast_precision_loss)] // beyond 2^53 it has no room anyway
        let number = match value {
            Value::Bool(truth) => f64::from(u8::from(truth)),
            Value::Uint(number) => number as f64,
            Value::Int(number) => number as f64,
            Value::Float(number) => number,
            _ => f64::NAN,
        };
        if let Value::Float(value) = value
            && self.point == 0
            && value.fract() != 0.0
        {
            return Err(FpgaError::FieldWhole { field: self.name.clone(), value });
        }
        let raw = (number * scale).round();
        let (min, max) = match self.kind {
            Kind::Signed => (-(f64::from(self.mask() / 2) + 1.0), f64::from(self.mask() / 2)),
            Kind::Unsigned | Kind::Bool => (0.0, f64::from(self.mask())),
        };
        if !(min..=max).contains(&raw) {
            return Err(FpgaError::FieldRange {
                field: self.name.clone(),
                value: match value {
                    Value::Uint(number) => number.to_string(),
                    Value::Int(number) => number.to_string(),
                    Value::Float(number) => number.to_string(),
                    other => other.kind().to_owned(),
                },
                min: min / scale,
                max: max / scale,
            });
        }
        #[allow(clippy::cast_possible_truncation)] // in range, see above
        let bits = (raw as i64).cast_unsigned() & u64::from(self.mask());
        let bits = u32::try_from(bits).unwrap_or_default();
        Ok(word & !(self.mask() << self.offset) | bits << self.offset)
    }

    pub(super) fn to_dict(&self) -> Dict {
        let mut dict = Dict::default();
        dict.add("name", self.name.as_str());
        dict.add("offset", self.offset);
        dict.add("width", self.width);
        dict.add("type", self.kind.as_str());
        dict.add("bin_pt", self.point);
        dict
    }
}

/// The words of `[a b]`, `a b` or `a`; commas part them too.
fn list(text: &str) -> Vec<&str> {
    let inner = text.trim().trim_start_matches('[').trim_end_matches(']');
    inner.split([' ', ',']).filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_and_written_by_their_description() {
        let fields = Field::of_register("[enable gain len]", "[1 8 23]", "[2 1 0]", "[0 4 0]");
        let [enable, gain, len] = fields.as_slice() else { panic!("three fields") };
        assert_eq!((enable.offset, gain.offset, len.offset), (31, 23, 0));
        let word = enable.set(0, Value::Bool(true)).unwrap();
        let word = gain.set(word, Value::Float(-1.5)).unwrap();
        let word = len.set(word, Value::Uint(1000)).unwrap();
        assert_eq!(word, (1 << 31 | 0xe8 << 23) + 1000);
        assert_eq!(enable.value(word), Plain::Bool(true));
        assert_eq!(gain.value(word), Plain::Float(-1.5));
        assert_eq!(len.value(word), Plain::Int(1000));
        let error = gain.set(0, Value::Float(8.0)).unwrap_err();
        assert_eq!(error.to_string(), "field 'gain' cannot be 8; it must be -8 to 7.9375");
        assert!(len.set(0, Value::Text("x")).is_err());
        // What would be rounded is refused, not only what has no room.
        assert_eq!(len.set(0, Value::Float(5.0)).unwrap(), 5);
        for (field, value) in [(len, 5.5), (enable, 0.3), (len, -0.4), (len, f64::NAN)] {
            let error = field.set(0, Value::Float(value)).unwrap_err().to_string();
            let name = &field.name;
            assert_eq!(error, format!("field '{name}' must be a whole number, not {value}"));
        }
    }

    #[test]
    fn a_register_without_a_sound_description_is_one_field() {
        for (names, widths) in [("", ""), ("[a b]", "[16 17]"), ("a", "0")] {
            let fields = Field::of_register(names, widths, "", "");
            assert_eq!((fields.len(), fields[0].name.as_str()), (1, "reg"), "{names}");
        }
        assert_eq!(Field::of_register("reg", "32", "0", "0"), Field::whole());
    }
}
