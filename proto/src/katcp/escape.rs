//! Escapes of KATCP arguments: any byte string to and from the form it has on the wire.
//!
//! | byte | NUL | LF | CR | TAB | space | ESC | `\` | empty argument |
//! |---|---|---|---|---|---|---|---|---|
//! | wire | `\0` | `\n` | `\r` | `\t` | `\_` | `\e` | `\\` | `\@` |
//!
//! Every other byte stands for itself. Encoding is strict; decoding takes what real servers take: an unknown escape is
//! its second character, `\@` is nothing wherever it stands, a backslash with nothing behind it is a backslash.
//!
//! A bulk read is a single argument of a megabyte or more, mostly zeros or mostly noise, so both directions work on
//! words of eight bytes: words of zeros and words without an escape are done whole, any other word without a branch
//! that depends on the data.

// Every index below is a byte value into a table of 256 or 512, or kept inside its block by the arithmetic noted
// beside it; checked access would cost a third of the speed.
#![allow(clippy::indexing_slicing)]

use alloc::vec::Vec;

const BACKSLASH: u8 = b'\\';
const WORD: usize = 8;
/// One in each byte of a word.
const ONES: u64 = 0x0101_0101_0101_0101;

/// The bytes that may not stand raw in an argument, and the letters that stand for them.
const ESCAPES: [(u8, u8); 7] = [
    (0x00, b'0'),
    (b'\n', b'n'),
    (b'\r', b'r'),
    (b'\t', b't'),
    (b' ', b'_'),
    (0x1b, b'e'),
    (BACKSLASH, BACKSLASH),
];

/// Appends `data` to `out` as one argument; an empty one becomes `\@`.
pub fn escape(data: &[u8], out: &mut Vec<u8>) {
    /// Input bytes a round: the output of a round stays in the first-level cache.
    const BLOCK: usize = 512;
    if data.is_empty() {
        out.extend_from_slice(br"\@");
        return;
    }
    let mut block = [0_u8; 2 * BLOCK];
    for chunk in data.chunks(BLOCK) {
        // A byte becomes at most two, so `filled` is at most twice the bytes taken.
        let mut filled = 0;
        let mut put = |byte: u8, filled: &mut usize| {
            block[*filled..*filled + 2].copy_from_slice(&ENCODED[usize::from(byte)]);
            *filled += usize::from(ENCODED_LEN[usize::from(byte)]);
        };
        let (words, rest) = chunk.as_chunks::<WORD>();
        for word in words {
            if *word == [0; WORD] {
                for _ in 0..WORD {
                    put(0, &mut filled);
                }
            } else {
                for &byte in word {
                    put(byte, &mut filled);
                }
            }
        }
        for &byte in rest {
            put(byte, &mut filled);
        }
        out.extend_from_slice(&block[..filled]);
    }
}

/// Decodes an escaped argument in its own place and returns the length of the result, which begins where `data` does.
///
/// What lies behind the result is left undefined. No input is an error.
pub fn unescape_in_place(data: &mut [u8]) -> usize {
    let len = data.len();
    // Nothing moves in front of the first escape.
    let Some(first) = memchr::memchr(BACKSLASH, data) else { return len };
    let (mut read, mut write, mut escaped) = (first, first, 0);
    // `write` never passes `read`, and a word is loaded before its place is written: nothing unread is overwritten.
    while let Some(&bytes) = data[read..].first_chunk::<WORD>() {
        read += WORD;
        // Each way adds its own number: one addition behind all three would wait for the choice.
        let word = u64::from_le_bytes(bytes);
        if word == ESCAPED_ZEROS[escaped] {
            data[write..write + WORD / 2].fill(0);
            write += WORD / 2;
            continue;
        }
        let backslashes = lanes_equal(word, BACKSLASH);
        if backslashes == 0 && escaped == 0 {
            data[write..write + WORD].copy_from_slice(&bytes);
            write += WORD;
            continue;
        }
        let (decoded, count) = decode(bytes, backslashes, &mut escaped);
        data[write..write + WORD].copy_from_slice(&decoded);
        write += count;
    }
    for at in read..len {
        let byte = data[at];
        let decoded = &DECODED[(escaped << 8) | usize::from(byte)];
        data[write] = decoded.byte;
        write += usize::from(decoded.bits) / 8;
        escaped = usize::from(byte == BACKSLASH) & !escaped;
    }
    if escaped == 1 {
        data[write] = BACKSLASH;
        write += 1;
    }
    write
}

/// Appends an escaped argument, decoded, to `out`: what [`unescape_in_place`] makes of it, without a second copy to
/// where it is wanted.
///
/// No input is an error.
pub fn unescape(data: &[u8], out: &mut Vec<u8>) {
    /// Input bytes a round: the output of a round stays in the first-level cache.
    const BLOCK: usize = 2048;
    let mut block = [0; BLOCK];
    let mut escaped = 0;
    let (words, rest) = data.as_chunks::<WORD>();
    for words in words.chunks(BLOCK / WORD) {
        // A word becomes at most a word.
        let mut filled = 0;
        for &bytes in words {
            let word = u64::from_le_bytes(bytes);
            if word == ESCAPED_ZEROS[escaped] {
                block[filled..filled + WORD / 2].fill(0);
                filled += WORD / 2;
                continue;
            }
            let backslashes = lanes_equal(word, BACKSLASH);
            if backslashes == 0 && escaped == 0 {
                block[filled..filled + WORD].copy_from_slice(&bytes);
                filled += WORD;
                continue;
            }
            let (decoded, count) = decode(bytes, backslashes, &mut escaped);
            block[filled..filled + WORD].copy_from_slice(&decoded);
            filled += count;
        }
        out.extend_from_slice(&block[..filled]);
    }
    // What is left, with the first half of an escape if it was taken: at most a word, too.
    let mut last = [BACKSLASH; WORD];
    let len = escaped + rest.len();
    last[escaped..len].copy_from_slice(rest);
    let count = unescape_in_place(&mut last[..len]);
    out.extend_from_slice(&last[..count]);
}

/// Decodes a word with escapes, without a branch: what its bytes add to the result, and how many bytes that is.
/// `escaped` is 1 if its first byte is the second of an escape, and is set for the next word.
#[inline]
fn decode(bytes: [u8; WORD], backslashes: u64, escaped: &mut usize) -> ([u8; WORD], usize) {
    let (mut decoded, mut bits) = (0_u64, 0_u32);
    for (byte, backslash) in bytes.into_iter().zip(backslashes.to_le_bytes()) {
        let byte = &DECODED[(*escaped << 8) | usize::from(byte)];
        decoded |= u64::from(byte.byte) << bits;
        bits += u32::from(byte.bits);
        *escaped = usize::from(backslash) & !*escaped;
    }
    (decoded.to_le_bytes(), bits as usize / 8)
}

/// Four zeros as they look on the wire, starting at an escape and starting in the middle of one.
const ESCAPED_ZEROS: [u64; 2] =
    [u64::from_le_bytes(*br"\0\0\0\0"), u64::from_le_bytes(*br"0\0\0\0\")];

/// 1 in each byte of the result where `word` has `byte`.
fn lanes_equal(word: u64, byte: u8) -> u64 {
    const LOW: u64 = 0x7f * ONES;
    let difference = word ^ (ONES * u64::from(byte));
    // The sum carries into the top bit of every lane with a low bit set; no carry leaves a lane, so this is exact.
    (!(((difference & LOW) + LOW) | difference) >> 7) & ONES
}

/// What one wire byte adds to the result: `byte`, if `bits` is 8; nothing if it is 0.
#[derive(Clone, Copy)]
struct Decoded {
    byte: u8,
    bits: u8,
}

/// Indexed by the wire byte, plus 256 if it is the second of an escape.
static DECODED: [Decoded; 512] = {
    const NOTHING: Decoded = Decoded { byte: 0, bits: 0 };
    let mut table = [NOTHING; 512];
    let mut byte = 0;
    while byte < 256 {
        #[allow(clippy::cast_possible_truncation)] // below 256
        let itself = Decoded { byte: byte as u8, bits: 8 };
        table[byte] = itself;
        table[256 + byte] = itself;
        byte += 1;
    }
    let mut i = 0;
    while i < ESCAPES.len() {
        let (byte, letter) = ESCAPES[i];
        table[256 + letter as usize] = Decoded { byte, bits: 8 };
        i += 1;
    }
    table[BACKSLASH as usize] = NOTHING;
    table[256 + b'@' as usize] = NOTHING;
    table
};

/// The wire form of each byte; the second byte counts only where [`ENCODED_LEN`] is 2.
static ENCODED: [[u8; 2]; 256] = {
    let mut table = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        #[allow(clippy::cast_possible_truncation)] // below 256
        let itself = byte as u8;
        table[byte] = [itself, 0];
        byte += 1;
    }
    let mut i = 0;
    while i < ESCAPES.len() {
        let (byte, letter) = ESCAPES[i];
        table[byte as usize] = [BACKSLASH, letter];
        i += 1;
    }
    table
};

static ENCODED_LEN: [u8; 256] = {
    let mut table = [1; 256];
    let mut i = 0;
    while i < ESCAPES.len() {
        table[ESCAPES[i].0 as usize] = 2;
        i += 1;
    }
    table
};
