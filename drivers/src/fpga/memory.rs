//! Registers read and written in pieces, several of them under way at a time.

use super::{ByteOrder, Fpga, FpgaError};
use crate::katcp_client::{KatcpError, Limit};
use proximity_proto::{Context, Fault, Output, ToReply, arg::Type, object::Flow, reply};
use std::ops::Range;

/// The bytes of one request. The board's server formats and sends a reply as a whole, so larger pieces only
/// add waiting.
pub(super) const PIECE: usize = 64 << 10;
/// How many pieces are under way at a time: one at the server, one on the wire each way, one at hand.
pub(super) const DEPTH: usize = 4;
/// A word of the FPGA's bus.
pub(super) const WORD: u64 = 4;
/// The most that is reserved for a read before anything of it has come.
const RESERVED: usize = 32 << 20;

/// Bytes of a register that are yet to be read: straight into the reply, for in a bulk read a copy on the way costs
/// as much as half of what the board does.
pub struct Reading<'a> {
    pub(super) fpga: &'a mut Fpga,
    pub(super) cx: &'a Context<'a>,
    pub(super) register: &'a str,
    pub(super) offset: u64,
    pub(super) count: u64,
}

impl<'a> Reading<'a> {
    /// Reads them to be looked at here.
    ///
    /// # Errors
    ///
    /// Those of [`Fpga::read`].
    pub fn bytes(self) -> Result<&'a [u8], FpgaError> {
        let limit = self.fpga.limit(self.cx, self.count);
        let range = self.fpga.read_range(&limit, self.register, self.offset, self.count)?;
        Ok(self.fpga.data.get(range).unwrap_or_default())
    }
}

impl Output for Reading<'_> {
    fn finish(self, out: &mut Vec<u8>) -> Result<Flow, Fault> {
        let limit = self.fpga.limit(self.cx, self.count);
        self.fpga.read_reply(&limit, (self.register, self.offset, self.count), out)?;
        Ok(Flow::Done)
    }

    fn ty() -> Type {
        <&[u8] as ToReply>::ty()
    }
}

impl Fpga {
    /// Reads `count` bytes at `offset` into `self.data` and returns where there they are.
    pub(super) fn read_range(
        &mut self,
        limit: &Limit<'_>,
        register: &str,
        offset: u64,
        count: u64,
    ) -> Result<Range<usize>, FpgaError> {
        self.data.clear();
        self.read_onto(limit, register, offset, count)
    }

    /// Reads `count` bytes at `offset` onto the end of `self.data` and returns where there they are.
    pub(super) fn read_onto(
        &mut self,
        limit: &Limit<'_>,
        register: &str,
        offset: u64,
        count: u64,
    ) -> Result<Range<usize>, FpgaError> {
        let words = self.check_read(limit, register, offset, count)?;
        let base = self.data.len();
        let mut data = std::mem::take(&mut self.data);
        let read = self.read_words(limit, register, &words, &mut data);
        self.data = data;
        read.map_err(|error| self.explain(limit, error, (register, offset, count)))?;
        Ok(self.taken(base, offset - words.start, count))
    }

    /// Reads `count` bytes at `offset` as the value of a reply: straight into `out`, where nothing is to be cut off.
    fn read_reply(
        &mut self,
        limit: &Limit<'_>,
        (register, offset, count): (&str, u64, u64),
        out: &mut Vec<u8>,
    ) -> Result<(), FpgaError> {
        let words = self.check_read(limit, register, offset, count)?;
        if words != (offset..offset + count) {
            let range = self.read_range(limit, register, offset, count)?;
            reply::bytes(out, self.data.get(range).unwrap_or_default());
            return Ok(());
        }
        let len = usize::try_from(count).unwrap_or(usize::MAX);
        reply::bytes_head(out, len);
        let base = out.len();
        out.reserve(len.min(RESERVED));
        let read = self.read_words(limit, register, &words, out);
        read.map_err(|error| self.explain(limit, error, (register, offset, count)))?;
        if self.byte_order == ByteOrder::Little {
            swap_words(out.get_mut(base..).unwrap_or_default());
        }
        Ok(())
    }

    /// Reads `words`, told in bytes, onto the end of `data`, as the board has them.
    fn read_words(
        &mut self,
        limit: &Limit<'_>,
        register: &str,
        words: &Range<u64>,
        data: &mut Vec<u8>,
    ) -> Result<(), KatcpError> {
        let base = data.len();
        let piece = |index: usize| {
            let from = words.start + (index * PIECE) as u64;
            (from, (PIECE as u64).min(words.end.saturating_sub(from)))
        };
        let pieces = (words.end - words.start).div_ceil(PIECE as u64);
        let pieces = usize::try_from(pieces).unwrap_or(usize::MAX);
        let read = self.client.ask_many(
            limit,
            "read",
            (pieces, DEPTH),
            |index, writer| {
                let (from, len) = piece(index);
                writer.arg(register.as_bytes()).uint(from).uint(len)
            },
            |index, mut reply| {
                let (start, len) = (base + index * PIECE, piece(index).1);
                // Servers with message ids may answer out of order: then it is put at the end first.
                let end = data.len();
                let read = reply.next_arg_onto(data).unwrap_or_default();
                if read as u64 != len {
                    data.truncate(end);
                    return Err(format!("{read} bytes instead of {len}"));
                }
                move_last(data, end, start);
                Ok(())
            },
        );
        read.map_err(|(_, error)| error)
    }

    /// The words to read for `count` bytes at `offset`, in bytes from the start of the register.
    ///
    /// The server returns wrong bytes for some reads that begin within a word, so whole words are read and cut to
    /// measure here. The last word may be cut short by the register's end.
    pub(super) fn check_read(
        &mut self,
        limit: &Limit<'_>,
        register: &str,
        offset: u64,
        count: u64,
    ) -> Result<Range<u64>, FpgaError> {
        let size = self.check_range(limit, register, offset, count)?;
        if count == 0 {
            let (register, size) = (register.to_owned(), size.unwrap_or_default());
            return Err(FpgaError::Nothing { register, size });
        }
        let end = (offset + count).next_multiple_of(WORD).min(size.unwrap_or(u64::MAX));
        Ok(offset - offset % WORD..end)
    }

    /// Where in `self.data` the `count` bytes are of which whole words were read onto `base`, once their bytes are in
    /// the right order.
    pub(super) fn taken(&mut self, base: usize, skip: u64, count: u64) -> Range<usize> {
        if self.byte_order == ByteOrder::Little {
            swap_words(self.data.get_mut(base..).unwrap_or_default());
        }
        let skip = base + usize::try_from(skip).unwrap_or_default();
        skip..skip + usize::try_from(count).unwrap_or_default()
    }

    /// Writes `data` at `offset`.
    pub(super) fn write_range(
        &mut self,
        limit: &Limit<'_>,
        register: &str,
        offset: u64,
        data: &[u8],
    ) -> Result<(), FpgaError> {
        let total = data.len() as u64;
        FpgaError::check_aligned(register, offset, total)?;
        self.check_range(limit, register, offset, total)?;
        let swapped = &mut self.swapped;
        let data = if self.byte_order == ByteOrder::Little {
            swapped.clear();
            swapped.extend_from_slice(data);
            swap_words(swapped);
            swapped.as_slice()
        } else {
            data
        };
        let piece = |index: usize| {
            let bytes = data.get(index * PIECE..).unwrap_or_default();
            bytes.get(..PIECE).unwrap_or(bytes)
        };
        let pieces = data.len().div_ceil(PIECE);
        let written = self.client.ask_many(
            limit,
            "write",
            (pieces, DEPTH),
            |index, writer| {
                let from = offset + (index * PIECE) as u64;
                writer.arg(register.as_bytes()).uint(from).arg(piece(index))
            },
            |_, _| Ok(()),
        );
        written.map_err(|(index, error)| {
            match self.explain(limit, error, (register, offset, total)) {
                FpgaError::Katcp(source) if index > 0 => {
                    let (register, done) = (register.to_owned(), (index * PIECE) as u64);
                    FpgaError::Cut { register, done, total, source: Box::new(source) }
                }
                error => error,
            }
        })
    }

    /// Writes `data` at `offset`, reads it back and compares.
    pub(super) fn write_verified(
        &mut self,
        limit: &Limit<'_>,
        register: &str,
        offset: u64,
        data: &[u8],
    ) -> Result<(), FpgaError> {
        self.data.clear();
        self.write_checked(limit, register, offset, data)
    }

    /// [`write_verified`](Self::write_verified), which leaves `self.data` as it is.
    pub(super) fn write_checked(
        &mut self,
        limit: &Limit<'_>,
        register: &str,
        offset: u64,
        data: &[u8],
    ) -> Result<(), FpgaError> {
        self.write_range(limit, register, offset, data)?;
        if data.is_empty() {
            return Ok(());
        }
        let base = self.data.len();
        let range = self.read_onto(limit, register, offset, data.len() as u64)?;
        let compared = compare(register, offset, data, self.data.get(range).unwrap_or_default());
        self.data.truncate(base);
        compared
    }

    /// The word at `offset`, counted in words.
    pub(super) fn read_word(
        &mut self,
        limit: &Limit<'_>,
        register: &str,
        offset: u32,
    ) -> Result<u32, FpgaError> {
        let range = self.read_range(limit, register, u64::from(offset) * WORD, WORD)?;
        let bytes = self.data.get(range).and_then(|bytes| bytes.first_chunk());
        Ok(bytes.map_or(0, |&bytes| u32::from_be_bytes(bytes)))
    }
}

/// Finds the first word of `read` that is not as in `data`.
fn compare(register: &str, offset: u64, data: &[u8], read: &[u8]) -> Result<(), FpgaError> {
    let differs = |(wrote, read): (&[u8], &[u8])| wrote != read;
    let word = data.chunks(4).zip(read.chunks(4)).position(differs);
    let Some(word) = word else { return Ok(()) };
    let hex = |bytes: &[u8]| hex(bytes.chunks(4).nth(word).unwrap_or_default());
    Err(FpgaError::Verify {
        register: register.to_owned(),
        offset: offset + word as u64 * WORD,
        wrote: hex(data),
        read: hex(read),
    })
}

/// Hexadecimal digits, two a byte.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |digits, byte| format!("{digits}{byte:02x}"))
}

/// Moves what `data` has from `end` on to `start`, where it belongs. `data` grows only by what was really received.
fn move_last(data: &mut Vec<u8>, end: usize, start: usize) {
    if start == end {
        return;
    }
    let piece = data.split_off(end);
    if data.len() < start + piece.len() {
        data.resize(start + piece.len(), 0);
    }
    if let Some(place) = data.get_mut(start..start + piece.len()) {
        place.copy_from_slice(&piece);
    }
}

/// Reverses the bytes of each whole word.
pub(super) fn swap_words(data: &mut [u8]) {
    let (words, _) = data.as_chunks_mut::<4>();
    for word in words {
        word.reverse();
    }
}
