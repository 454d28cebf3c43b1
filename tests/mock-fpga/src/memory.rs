//! One flat big-endian memory, and the registers that name parts of it.

use crate::numbers::Bits;
use proximity_proto::gateware::Register;
use std::collections::BTreeMap;
use std::ops::Range;

/// A named part of the memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) address: Bits,
    pub(crate) size: Bits,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

impl Entry {
    /// The bytes it touches.
    pub(crate) fn bytes(&self) -> Range<usize> {
        let start = self.address.total();
        let end = start + self.size.total();
        to_usize(start / 8)..to_usize(end.div_ceil(8))
    }
}

impl From<&Register> for Entry {
    fn from(register: &Register) -> Self {
        Self {
            address: Bits::from_bytes(register.address),
            size: Bits::from_bytes(register.size),
            readable: register.readable,
            writable: register.writable,
        }
    }
}

/// The registers by name, in the order `?listdev` has.
pub(crate) type Registers = BTreeMap<Vec<u8>, Entry>;

pub(crate) fn to_usize(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// What the FPGA's address space holds.
///
/// A window onto DRAM, if the design has one, shows the page its controller register tells.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    bytes: Vec<u8>,
    window: Range<usize>,
    page: u32,
    /// Pages other than 0, which is in `bytes`; each as long as the window.
    pages: BTreeMap<u32, Vec<u8>>,
}

impl Memory {
    /// `len` zeros, of which only what is written takes memory; `window` shows DRAM.
    pub(crate) fn new(len: usize, window: Range<usize>) -> Self {
        Self { bytes: vec![0; len], window, page: 0, pages: BTreeMap::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn set_page(&mut self, page: u32) {
        self.page = page;
        if page != 0 {
            let len = self.window.len();
            self.pages.entry(page).or_insert_with(|| vec![0; len]);
        }
    }

    /// Whether `range` is seen through the window, on a page of its own.
    fn paged(&self, range: &Range<usize>) -> Option<Range<usize>> {
        let inside = self.window.start <= range.start && range.end <= self.window.end;
        (self.page != 0 && inside)
            .then(|| range.start - self.window.start..range.end - self.window.start)
    }

    pub(crate) fn get(&self, range: Range<usize>) -> Option<&[u8]> {
        match self.paged(&range) {
            Some(local) => self.pages.get(&self.page)?.get(local),
            None => self.bytes.get(range),
        }
    }

    pub(crate) fn get_mut(&mut self, range: Range<usize>) -> Option<&mut [u8]> {
        match self.paged(&range) {
            Some(local) => self.pages.get_mut(&self.page)?.get_mut(local),
            None => self.bytes.get_mut(range),
        }
    }

    /// The 32-bit word at a byte address; 0 outside the memory.
    pub(crate) fn word(&self, address: usize) -> u32 {
        let bytes = self.get(address..address.saturating_add(4));
        bytes.and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u32::from_be_bytes(*bytes))
    }

    pub(crate) fn set_word(&mut self, address: usize, word: u32) {
        self.write(address, &word.to_be_bytes());
    }

    /// Writes what of `data` lies inside the memory.
    pub(crate) fn write(&mut self, address: usize, data: &[u8]) {
        if let Some(bytes) = self.get_mut(address..address.saturating_add(data.len())) {
            bytes.copy_from_slice(data);
        }
    }

    /// `len` bits from bit `start`, the last byte filled up with zeros.
    pub(crate) fn read_bits(&self, start: u64, len: u64) -> Option<Vec<u8>> {
        let bytes = self.get(to_usize(start / 8)..to_usize((start + len).div_ceil(8)))?;
        let shift = start % 8;
        let mut out: Vec<u8> = (0..to_usize(len.div_ceil(8)))
            .map(|at| {
                let byte = |at: usize| u16::from(bytes.get(at).copied().unwrap_or(0));
                (((byte(at) << 8 | byte(at + 1)) >> (8 - shift)) & 0xff).to_be_bytes()[1]
            })
            .collect();
        if let (Some(last), 1..) = (out.last_mut(), len % 8) {
            *last &= 0xff << (8 - len % 8);
        }
        Some(out)
    }

    /// Puts the first `len` bits of `data` at bit `start`.
    pub(crate) fn write_bits(&mut self, start: u64, data: &[u8], len: u64) {
        if start.is_multiple_of(8) && len.is_multiple_of(8) {
            self.write(to_usize(start / 8), data.get(..to_usize(len / 8)).unwrap_or(data));
            return;
        }
        for n in 0..len {
            let bit = data.get(to_usize(n / 8)).is_some_and(|byte| byte << (n % 8) & 0x80 != 0);
            let at = to_usize((start + n) / 8);
            if let Some([byte]) = self.get_mut(at..at + 1) {
                let mask = 0x80 >> ((start + n) % 8);
                *byte = if bit { *byte | mask } else { *byte & !mask };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Memory;

    #[test]
    fn bits_are_read_and_written_at_any_place() {
        let mut memory = Memory::new(8, 0..0);
        memory.write(0, &[0x12, 0x34, 0x56, 0x78]);
        assert_eq!(memory.read_bits(0, 32).unwrap(), [0x12, 0x34, 0x56, 0x78]);
        assert_eq!(memory.read_bits(4, 12).unwrap(), [0x23, 0x40]);
        assert_eq!(memory.read_bits(60, 8), None);
        memory.write_bits(4, &[0xab, 0xc0], 12);
        assert_eq!(memory.word(0), 0x1abc_5678);
        memory.write_bits(40, &[0xff, 0xee], 8);
        assert_eq!(memory.word(4), 0x00ff_0000);
    }

    #[test]
    fn the_window_shows_one_page_at_a_time() {
        let mut memory = Memory::new(32, 16..32);
        memory.set_word(16, 1);
        memory.set_page(3);
        assert_eq!(memory.word(16), 0);
        memory.set_word(16, 2);
        memory.set_word(0, 9);
        memory.set_page(0);
        assert_eq!((memory.word(16), memory.word(0)), (1, 9));
        memory.set_page(3);
        assert_eq!(memory.word(16), 2);
    }
}
