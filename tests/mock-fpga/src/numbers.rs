//! Numbers as the C server reads them.

use std::fmt;

/// `strtoul` with base 0 on a 32-bit board: `10`, `0x10`, `010`; `-1` wraps, too large saturates, junk is 0.
pub(crate) fn strtoul(text: &[u8]) -> u32 {
    let text = text.trim_ascii_start();
    let (negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let (radix, digits) = match text {
        [b'0', b'x' | b'X', rest @ ..] => (16, rest),
        [b'0', rest @ ..] => (8, rest),
        _ => (10, text),
    };
    let mut value: u32 = 0;
    for &digit in digits {
        let Some(digit) = char::from(digit).to_digit(radix) else { break };
        match value.checked_mul(radix).and_then(|value| value.checked_add(digit)) {
            Some(next) => value = next,
            None => return u32::MAX,
        }
    }
    if negative { value.wrapping_neg() } else { value }
}

/// A place or a length written `byte` or `byte:bit`; shown as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bits {
    pub(crate) bytes: u32,
    pub(crate) bits: u32,
}

impl Bits {
    pub(crate) fn from_bytes(bytes: u32) -> Self {
        Self { bytes, bits: 0 }
    }

    pub(crate) fn parse(text: &[u8]) -> Self {
        let mut parts = text.splitn(2, |&byte| byte == b':').map(strtoul);
        Self { bytes: parts.next().unwrap_or(0), bits: parts.next().unwrap_or(0) }
    }

    /// All of it, in bits.
    pub(crate) fn total(self) -> u64 {
        u64::from(self.bytes) * 8 + u64::from(self.bits)
    }
}

/// `bytes:bits`, as `?listdev size` has it.
impl fmt::Display for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.bytes, self.bits)
    }
}

/// How the server's log shows a number of bits: bytes up to the last whole word, and the bits beyond.
pub(crate) fn by_word(bits: u64) -> String {
    format!("{:#x}:{}", bits / 32 * 4, bits % 32)
}

#[cfg(test)]
mod tests {
    use super::{Bits, by_word, strtoul};

    #[test]
    fn numbers_are_read_as_c_reads_them() {
        let table: [(&[u8], u32); 12] = [
            (b"10", 10),
            (b"0x10", 16),
            (b"0XfF", 255),
            (b"010", 8),
            (b"0", 0),
            (b"-1", u32::MAX),
            (b"-4", 0xffff_fffc),
            (b"junk", 0),
            (b"12junk", 12),
            (b"099", 0),
            (b"99999999999", u32::MAX),
            (b"", 0),
        ];
        for (text, value) in table {
            assert_eq!(strtoul(text), value, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn places_may_have_bits() {
        assert_eq!(Bits::parse(b"0x62:4"), Bits { bytes: 0x62, bits: 4 });
        assert_eq!(Bits::parse(b":8").total(), 8);
        assert_eq!(Bits::parse(b"0:12").to_string(), "0:12");
        assert_eq!(by_word(Bits::from_bytes(65533).total()), "0xfffc:8");
    }
}
