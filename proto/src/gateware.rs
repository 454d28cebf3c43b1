//! Gateware files, `.fpg` and `.bof`: bytes in; registers, metadata and the bitstream out.
//!
//! ```text
//! .fpg  #!/bin/kcpfpg                          .bof  0x13 "BOF" ...       52 bytes: byte order, offset of the next part
//!       ?uploadbin                                   hardware part        28 bytes: where symbols, names, payload are
//!       ?register name address size                  symbols              12 bytes each: name, mode, address, length
//!       ?meta device tag key value ...               names                each ends with NUL
//!       ?quit                                        bitstream
//!       bitstream, often gzip
//! ```
//!
//! For the driver that uploads, the command that shows what is in a file, and the mock board. Whole files may be gzip
//! too ([`is_gzip`]); decompressing is the caller's, who can bound it. Registers keep the order of the file and may
//! overlap; names are unique in no format.

use crate::{katcp::unescape_in_place, limits::MAX_NAME};
use alloc::string::String;
use alloc::vec::Vec;

/// Lines before the bitstream, registers, and words in `?meta` lines that are taken. A large design has some thousands;
/// without an end a file of 32 MiB could say so much that it is a gigabyte in memory.
pub const MAX_ENTRIES: usize = 65_536;

/// What is in a gateware file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateware<'a> {
    /// Which of the two formats it was.
    pub format: Format,
    /// The registers, in the order of the file.
    pub registers: Vec<Register>,
    /// What the toolflow tells about the design's devices, in the order of the file; none in a `.bof`.
    pub metadata: Vec<Metadata>,
    /// What configures the FPGA; in a `.fpg` often gzip-compressed.
    pub bitstream: &'a [u8],
}

/// A format of gateware files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// KATCP requests as text, then the bitstream.
    Fpg,
    /// BORPH object file, binary.
    Bof,
}

/// A named range of the FPGA's address space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Register {
    /// The name, as `listdev` gives it.
    pub name: String,
    /// Byte address.
    pub address: u32,
    /// Bytes.
    pub size: u32,
    /// Whether the file allows reading. Only a `.bof` can forbid it.
    pub readable: bool,
    /// Whether the file allows writing. Only a `.bof` can forbid it.
    pub writable: bool,
}

/// One `?meta` line of a `.fpg`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// The device; its name may have `/` where the register has `_`. `77777` is the design itself.
    pub device: String,
    /// The device's kind, as `xps:sw_reg`.
    pub tag: String,
    /// What is told.
    pub key: String,
    /// What it is; a list in brackets is one value.
    pub values: Vec<String>,
}

/// Why a file is not gateware.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GatewareError {
    /// Neither format begins so.
    #[error(
        "neither .fpg nor .bof: it begins with {start:02x?}, not with '#!/bin/kcpfpg', '?' or 0x13 'BOF'"
    )]
    Unknown {
        /// The first bytes, at most four.
        start: Vec<u8>,
    },
    /// The file is compressed as a whole.
    #[error("the file is gzip-compressed; decompress it first")]
    Gzip,
    /// A line of a `.fpg` header is wrong.
    #[error(".fpg line {line} (byte {position}): {reason}")]
    Line {
        /// From 1.
        line: usize,
        /// Of the line's start, in bytes from the start of the file.
        position: usize,
        /// What is wrong with it.
        reason: LineFault,
    },
    /// The header of a `.fpg` has no end.
    #[error(".fpg header has no ?quit line; the file ends at byte {position}")]
    NoQuit {
        /// The file's length.
        position: usize,
    },
    /// A `.bof` does not name its byte order.
    #[error(".bof byte 5 is {found}; it must be 1 (little-endian) or 2 (big-endian)")]
    ByteOrder {
        /// The byte.
        found: u8,
    },
    /// A part of a `.bof` lies outside the file.
    #[error(".bof {part} is {len} bytes at byte {position}, past the end of the file")]
    Outside {
        /// Which part.
        part: &'static str,
        /// Bytes from the start of the file.
        position: usize,
        /// Bytes.
        len: usize,
    },
    /// The name of a `.bof` symbol is not text, or has no end, or is longer than a register's can be.
    #[error(
        ".bof symbol {index}: its name at byte {position} is not text of at most {MAX_NAME} bytes that ends in NUL"
    )]
    SymbolName {
        /// From 0.
        index: usize,
        /// Bytes from the start of the file.
        position: usize,
    },
    /// There is more of something than any design has.
    #[error("the file has more than {MAX_ENTRIES} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
    },
}

/// What is wrong with a line of a `.fpg` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineFault {
    /// It is no request.
    #[error("not a header line; these begin with '?' and end with ?quit")]
    NotARequest,
    /// Too few words.
    #[error("?register needs a name, an address and a size")]
    RegisterFields,
    /// Too few words.
    #[error("?meta needs a device, a tag, a key and a value")]
    MetaFields,
    /// Not a number below 2^32.
    #[error("address and size must be numbers from 0 to 4294967295")]
    Number,
    /// Not UTF-8.
    #[error("not UTF-8 text")]
    Text,
}

/// Whether `bytes` begin as gzip data do.
pub fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b])
}

impl<'a> Gateware<'a> {
    /// Takes a whole file apart, whichever of the formats it is in.
    ///
    /// # Errors
    ///
    /// [`GatewareError`] with the place in the file.
    pub fn parse(file: &'a [u8]) -> Result<Self, GatewareError> {
        if file.starts_with(b"\x13BOF") {
            parse_bof(file)
        } else if file.starts_with(b"#!") || file.starts_with(b"?") {
            parse_fpg(file)
        } else if is_gzip(file) {
            Err(GatewareError::Gzip)
        } else {
            Err(GatewareError::Unknown { start: file.iter().take(4).copied().collect() })
        }
    }
}

/// A line of a `.fpg` header, with its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderLine<'a> {
    /// The line without its end: a KATCP request, or a comment.
    pub text: &'a [u8],
    /// From 1.
    pub number: usize,
    /// Bytes from the start of the file.
    pub position: usize,
}

/// Splits a `.fpg` into the lines before `?quit` and the bitstream.
///
/// The lines are the requests a loader sends to a board as they are.
///
/// # Errors
///
/// [`GatewareError::NoQuit`], [`GatewareError::Line`] if the file stops being text before its `?quit`, or
/// [`GatewareError::TooMany`].
pub fn split_fpg(file: &[u8]) -> Result<(Vec<HeaderLine<'_>>, &[u8]), GatewareError> {
    let mut lines = Vec::new();
    let mut position = 0;
    for number in 1.. {
        let rest = file.get(position..).unwrap_or_default();
        let Some(len) = memchr::memchr(b'\n', rest) else { break };
        let text = rest.get(..len).unwrap_or_default();
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let end = position + len + 1;
        if text.trim_ascii_end() == b"?quit" {
            // Loaders skip up to four line ends here, and toolflows count on it.
            let rest = file.get(end..).unwrap_or_default();
            let skip =
                rest.iter().take(3).take_while(|&&byte| byte == b'\n' || byte == b'\r').count();
            return Ok((lines, rest.get(skip..).unwrap_or_default()));
        }
        if !matches!(text.first(), None | Some(b'?' | b'#')) {
            return Err(GatewareError::Line {
                line: number,
                position,
                reason: LineFault::NotARequest,
            });
        }
        if lines.len() == MAX_ENTRIES {
            return Err(GatewareError::TooMany { what: "header lines" });
        }
        lines.push(HeaderLine { text, number, position });
        position = end;
    }
    Err(GatewareError::NoQuit { position: file.len() })
}

fn parse_fpg(file: &[u8]) -> Result<Gateware<'_>, GatewareError> {
    let (lines, bitstream) = split_fpg(file)?;
    let (mut registers, mut metadata) = (Vec::new(), Vec::new());
    let mut words = 0;
    for line in lines {
        let fault =
            |reason| GatewareError::Line { line: line.number, position: line.position, reason };
        let mut fields = fields(line.text);
        match fields.next() {
            Some(b"?register") => registers.push(parse_register(fields).map_err(fault)?),
            Some(b"?meta") => {
                words += line.text.iter().filter(|&&byte| byte == b'\t' || byte == b' ').count();
                if words > MAX_ENTRIES {
                    return Err(GatewareError::TooMany { what: "words in ?meta lines" });
                }
                metadata.push(parse_meta(fields).map_err(fault)?);
            }
            _ => {}
        }
    }
    Ok(Gateware { format: Format::Fpg, registers, metadata, bitstream })
}

/// The words of a header line: parted by TABs if it has any, so that a value may hold blanks, else by blanks.
fn fields(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let separator = if line.contains(&b'\t') { b'\t' } else { b' ' };
    line.split(move |&byte| byte == separator).filter(|field| !field.is_empty())
}

fn parse_register<'a>(mut fields: impl Iterator<Item = &'a [u8]>) -> Result<Register, LineFault> {
    let mut field = || fields.next().ok_or(LineFault::RegisterFields);
    let name = text(field()?)?;
    let address = parse_number(field()?).ok_or(LineFault::Number)?;
    let size = parse_number(field()?).ok_or(LineFault::Number)?;
    Ok(Register { name, address, size, readable: true, writable: true })
}

fn parse_meta<'a>(mut fields: impl Iterator<Item = &'a [u8]>) -> Result<Metadata, LineFault> {
    let mut field = || fields.next().ok_or(LineFault::MetaFields);
    let (device, tag, key) = (text(field()?)?, text(field()?)?, text(field()?)?);
    let values = core::iter::once(field()?).chain(fields).map(text).collect::<Result<_, _>>()?;
    Ok(Metadata { device, tag, key, values })
}

fn text(field: &[u8]) -> Result<String, LineFault> {
    let mut bytes = field.to_vec();
    let len = unescape_in_place(&mut bytes);
    bytes.truncate(len);
    String::from_utf8(bytes).map_err(|_| LineFault::Text)
}

/// A number as C writes it: `0x10`, `020` and `16` are the same.
fn parse_number(field: &[u8]) -> Option<u32> {
    let text = core::str::from_utf8(field).ok()?.trim();
    let lower = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let (digits, radix) = match (lower, text.strip_prefix('0')) {
        (Some(digits), _) => (digits, 16),
        (None, Some(digits)) if !digits.is_empty() => (digits, 8),
        _ => (text, 10),
    };
    if digits.starts_with('+') {
        return None;
    }
    u32::from_str_radix(digits, radix).ok()
}

fn parse_bof(file: &[u8]) -> Result<Gateware<'_>, GatewareError> {
    const HEADER: usize = 52;
    const HARDWARE: usize = 28;
    const SYMBOL: usize = 12;
    let big_endian = match *slice(file, "header", 0, HEADER)? {
        [_, _, _, _, _, 1, ..] => false,
        [_, _, _, _, _, 2, ..] => true,
        [_, _, _, _, _, found, ..] => return Err(GatewareError::ByteOrder { found }),
        _ => return Err(GatewareError::Outside { part: "header", position: 0, len: HEADER }),
    };
    // Zero for a field outside `part`, of which there is none.
    let u16_at = |part: &[u8], at: usize| {
        let bytes = part.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default();
        if big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    };
    let u32_at = |part: &[u8], at: usize| {
        let bytes = part.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default();
        if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    };
    let hardware_at = u32_at(file, 32) as usize;
    let hardware = slice(file, "hardware part", hardware_at, HARDWARE)?;
    let bitstream =
        slice(file, "bitstream", u32_at(hardware, 8) as usize, u32_at(hardware, 12) as usize)?;
    let count = u32_at(hardware, 16) as usize;
    let names_at = u32_at(hardware, 20) as usize;
    if count > MAX_ENTRIES {
        return Err(GatewareError::TooMany { what: "registers" });
    }
    let symbols =
        slice(file, "symbol table", hardware_at + HARDWARE, count.saturating_mul(SYMBOL))?;
    let registers = symbols.chunks_exact(SYMBOL).enumerate().map(|(index, symbol)| {
        let position = names_at.saturating_add(u16_at(symbol, 0).into());
        let name = file.get(position..).and_then(|name| {
            // Many symbols may point at one name.
            let name = name.get(..name.len().min(MAX_NAME + 1))?;
            let name = name.get(..memchr::memchr(0, name)?)?;
            core::str::from_utf8(name).ok()
        });
        let mode = u16_at(symbol, 2);
        Ok(Register {
            name: name.ok_or(GatewareError::SymbolName { index, position })?.into(),
            address: u32_at(symbol, 4),
            size: u32_at(symbol, 8),
            readable: mode & 1 != 0,
            writable: mode & 2 != 0,
        })
    });
    let registers = registers.collect::<Result<_, _>>()?;
    Ok(Gateware { format: Format::Bof, registers, metadata: Vec::new(), bitstream })
}

fn slice<'a>(
    file: &'a [u8],
    part: &'static str,
    position: usize,
    len: usize,
) -> Result<&'a [u8], GatewareError> {
    file.get(position..).and_then(|rest| rest.get(..len)).ok_or(GatewareError::Outside {
        part,
        position,
        len,
    })
}
