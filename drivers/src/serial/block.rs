//! Blocks of bytes as SCPI sends them: `#`, how many digits follow, the count in these digits, the bytes.
//!
//! ```text
//! #42048.....   2048 bytes       #0.....\n   up to the end of the line
//! ```
//!
//! IEEE 488.2, 8.7.9 and 8.7.10.

use super::{SerialError, channel::Channel};
use proximity_proto::Context;

/// The largest block taken.
const LARGEST: usize = 64 << 20;
/// What an answer must be.
const BLOCK: &str = "a block: #, a digit, so many digits, so many bytes";

/// Reads the block that answers `doing`, and the end of the line behind it.
pub(crate) fn read<'a>(
    channel: &'a mut Channel,
    cx: &Context<'_>,
    end: &[u8],
    doing: &[u8],
) -> Result<&'a [u8], SerialError> {
    let mut start = channel.exactly(cx, 2, doing)?.to_vec();
    let header = loop {
        match header(&start) {
            Ok(Some(header)) => break header,
            Ok(None) => start.extend_from_slice(channel.exactly(cx, 1, doing)?),
            Err(NoBlock) => return Err(channel.bad_answer(doing, &start, BLOCK)),
        }
    };
    let Some(count) = header.count else {
        return channel.line_behind(cx, end, doing);
    };
    if count > LARGEST {
        return Err(channel.too_long(doing, LARGEST));
    }
    let whole = count + end.len();
    if channel.exactly(cx, whole, doing)?.ends_with(end) {
        Ok(channel.taken(whole).get(..count).unwrap_or_default())
    } else {
        let behind = channel.taken(end.len()).to_vec();
        Err(channel.bad_answer(doing, &behind, "a block, and the line ending behind it"))
    }
}

/// What stands before the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    /// How many bytes follow; `None` where the end of the line tells.
    count: Option<usize>,
}

/// The longest header: a count of nine digits.
const LONGEST: usize = 11;

/// Reads the header at the start of an answer; `Ok(None)` until all of it has come.
///
/// # Errors
///
/// It is none.
fn header(answer: &[u8]) -> Result<Option<Header>, NoBlock> {
    let digits = match answer {
        [] | [b'#'] => return Ok(None),
        [b'#', digit @ b'0'..=b'9', ..] => usize::from(digit - b'0'),
        _ => return Err(NoBlock),
    };
    if digits == 0 {
        return Ok(Some(Header { count: None }));
    }
    let Some(count) = answer.get(2..2 + digits) else {
        // Wrong from the start is wrong already.
        let begun = answer.get(2..).unwrap_or_default();
        return if begun.iter().all(u8::is_ascii_digit) { Ok(None) } else { Err(NoBlock) };
    };
    let count = str::from_utf8(count).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    let count = count.and_then(|text| text.parse().ok()).ok_or(NoBlock)?;
    Ok(Some(Header { count: Some(count) }))
}

/// The answer is no block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NoBlock;

/// The header of a block of `count` bytes; `None` if there are more than nine digits can tell.
pub(crate) fn write_header(count: usize) -> Option<Vec<u8>> {
    let header = format!("#{}{count}", count.to_string().len());
    (header.len() <= LONGEST).then(|| header.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_however_much_of_it_has_come() {
        for cut in 0..6 {
            assert_eq!(header(&b"#42048"[..cut]), Ok(None), "{cut}");
        }
        assert_eq!(header(b"#42048abc"), Ok(Some(Header { count: Some(2048) })));
        assert_eq!(header(b"#10"), Ok(Some(Header { count: Some(0) })));
        assert_eq!(header(b"#0abc"), Ok(Some(Header { count: None })));
    }

    #[test]
    fn what_is_no_header_is_refused() {
        for answer in [&b"1.25"[..], b"\n", b"##", b"#x", b"#2+1", b"#3 1", b"#4-", b"#2\xff\xff"] {
            assert_eq!(header(answer), Err(NoBlock), "{answer:?}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for count in [0, 9, 10, 4096, 999_999_999] {
            let written = write_header(count).unwrap();
            let read = Header { count: Some(count) };
            assert_eq!(header(&written), Ok(Some(read)));
        }
        assert_eq!(write_header(1_000_000_000), None);
    }
}
