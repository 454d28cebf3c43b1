//! Gateware files: the synthetic `.fpg`, `.bof` files made here, and broken ones.

// The exemption of tests in clippy.toml does not reach their helpers.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;
use proximity_proto::gateware::{Format, Gateware, is_gzip, split_fpg};
use std::path::Path;

fn synthetic() -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/transcripts");
    std::fs::read(folder.join("synthetic.fpg")).unwrap()
}

/// A `.bof` with the parts in the usual order. Symbols: name, mode, address, length.
fn bof(big_endian: bool, symbols: &[(&str, u16, u32, u32)], bitstream: &[u8]) -> Vec<u8> {
    let u16 = |v: u16| if big_endian { v.to_be_bytes() } else { v.to_le_bytes() };
    let u32 = |v: usize| {
        let v = u32::try_from(v).unwrap();
        if big_endian { v.to_be_bytes() } else { v.to_le_bytes() }
    };
    let names_at = 52 + 28 + 12 * symbols.len();
    let names: Vec<u8> = symbols.iter().flat_map(|s| [s.0.as_bytes(), b"\0"].concat()).collect();
    let mut file = vec![0; 52];
    file[..6].copy_from_slice(&[0x13, b'B', b'O', b'F', 0, 1 + u8::from(big_endian)]);
    file[32..36].copy_from_slice(&u32(52));
    file.extend([[0; 4], [0; 4], u32(names_at + names.len()), u32(bitstream.len())].concat());
    file.extend([u32(symbols.len()), u32(names_at), [0; 4]].concat());
    let mut offset: u16 = 0;
    for (name, mode, address, len) in symbols {
        file.extend(u16(offset));
        file.extend(u16(*mode));
        file.extend(u32(*address as usize));
        file.extend(u32(*len as usize));
        offset += u16::try_from(name.len()).unwrap() + 1;
    }
    [file, names, bitstream.to_vec()].concat()
}

fn error(file: &[u8]) -> String {
    Gateware::parse(file).unwrap_err().to_string()
}

#[test]
fn the_synthetic_fpg_is_taken_apart() {
    let file = synthetic();
    let gateware = Gateware::parse(&file).unwrap();
    assert_eq!(gateware.format, Format::Fpg);
    let first: Vec<_> =
        gateware.registers.iter().take(2).map(|r| (&r.name[..], r.address, r.size)).collect();
    assert_eq!(first, [("sys_block", 0, 32), ("sys_board_id", 0, 4)]);
    assert_eq!((gateware.registers.len(), gateware.metadata.len()), (13, 19));
    let line = &gateware.metadata[6];
    assert_eq!(
        (&line.device[..], &line.tag[..], &line.key[..]),
        ("acc_len", "xps:sw_reg", "names")
    );
    assert_eq!(line.values, ["[enable len]"]);
    assert_eq!(gateware.metadata[4].values, ["From Processor"]);
    assert!(is_gzip(gateware.bitstream));
    let (lines, bitstream) = split_fpg(&file).unwrap();
    assert_eq!((lines.len(), bitstream), (34, gateware.bitstream));
    assert_eq!(lines[1].text, b"?uploadbin");
}

#[test]
fn an_fpg_may_use_blanks_any_order_and_any_base() {
    let file = b"?meta a b c d e\n?register  x 16  020\r\n\n?meta\ta b\tc\td e\t[f g]\n\
        ?register y 0XfF 0\n?quit\n\r\n\nbits\n?quit\n";
    let gateware = Gateware::parse(file).unwrap();
    let registers: Vec<_> =
        gateware.registers.iter().map(|r| (&r.name[..], r.address, r.size)).collect();
    assert_eq!(registers, [("x", 16, 16), ("y", 255, 0)]);
    assert_eq!(gateware.metadata[0].values, ["d", "e"]);
    assert_eq!(gateware.metadata[1].device, "a b");
    assert_eq!(gateware.metadata[1].values, ["[f g]"]);
    assert_eq!(gateware.bitstream, b"bits\n?quit\n");
}

#[test]
fn a_bof_of_either_byte_order_is_taken_apart() {
    let symbols = [("sys_board_id", 1, 0, 4), ("wo_reg", 2, 0x20, 4), ("bram", 3, 0x10000, 65536)];
    for big_endian in [true, false] {
        let file = bof(big_endian, &symbols, b"payload");
        let gateware = Gateware::parse(&file).unwrap();
        assert_eq!((gateware.format, gateware.bitstream), (Format::Bof, &b"payload"[..]));
        let registers: Vec<_> = gateware
            .registers
            .iter()
            .map(|r| {
                let mode = u16::from(r.readable) + 2 * u16::from(r.writable);
                (&r.name[..], mode, r.address, r.size)
            })
            .collect();
        assert_eq!(registers, symbols);
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let good = bof(true, &[("a", 3, 0, 4)], b"bits");
    let mut order = good.clone();
    order[5] = 7;
    let mut count = good.clone();
    count[68..72].fill(0xff);
    let mut table = good.clone();
    table[68..72].copy_from_slice(&1000_u32.to_be_bytes());
    let mut name = good.clone();
    name[80..82].fill(0xff);
    let cases: [(&[u8], &str); 13] = [
        (
            b"",
            "neither .fpg nor .bof: it begins with [], not with '#!/bin/kcpfpg', '?' or 0x13 'BOF'",
        ),
        (
            b"\x7fELF..",
            "neither .fpg nor .bof: it begins with [7f, 45, 4c, 46], not with '#!/bin/kcpfpg', '?' or 0x13 'BOF'",
        ),
        (b"\x1f\x8b\x08", "the file is gzip-compressed; decompress it first"),
        (b"#!/bin/kcpfpg\n?uploadbin\n", ".fpg header has no ?quit line; the file ends at byte 25"),
        (
            b"?uploadbin\nbits\n?quit\n",
            ".fpg line 2 (byte 11): not a header line; these begin with '?' and end with ?quit",
        ),
        (
            b"?register a 0\n?quit\n",
            ".fpg line 1 (byte 0): ?register needs a name, an address and a size",
        ),
        (
            b"?register a 0 4294967296\n?quit\n",
            ".fpg line 1 (byte 0): address and size must be numbers from 0 to 4294967295",
        ),
        (b"\x13BOF", ".bof header is 52 bytes at byte 0, past the end of the file"),
        (&order, ".bof byte 5 is 7; it must be 1 (little-endian) or 2 (big-endian)"),
        (&count, "the file has more than 65536 registers"),
        (&table, ".bof symbol table is 12000 bytes at byte 80, past the end of the file"),
        (
            &name,
            ".bof symbol 0: its name at byte 65627 is not text of at most 256 bytes that ends in NUL",
        ),
        (&good[..good.len() - 1], ".bof bitstream is 4 bytes at byte 94, past the end of the file"),
    ];
    for (file, text) in cases {
        assert_eq!(error(file), text);
    }
    assert_eq!(
        error(b"?register a 0 4\n?meta a b c\n?quit\n"),
        ".fpg line 2 (byte 16): ?meta needs a device, a tag, a key and a value",
    );
    assert_eq!(error(b"?register \xff 0 4\n?quit\n"), ".fpg line 1 (byte 0): not UTF-8 text");
}

#[test]
fn what_no_design_has_so_many_of_is_refused() {
    let lines = ["?x\n".repeat(65_537), "?quit\n".into()].concat();
    assert_eq!(error(lines.as_bytes()), "the file has more than 65536 header lines");
    let words = ["?meta a b c".into(), " d".repeat(65_537), "\n?quit\n".into()].concat();
    assert_eq!(error(words.as_bytes()), "the file has more than 65536 words in ?meta lines");
    let long = "n".repeat(257);
    assert!(error(&bof(true, &[(&long, 3, 0, 4)], b"bits")).contains("at most 256 bytes"));
}

proptest! {
    #[test]
    fn a_changed_file_never_panics(at in 0..400_usize, byte: u8, cut in 0..2000_usize) {
        for file in [synthetic(), bof(true, &[("a", 3, 0, 4), ("b", 1, 4, 4)], &[0; 100])] {
            let mut changed = file.clone();
            let at = at % changed.len();
            changed[at] = byte;
            let _ = Gateware::parse(&changed);
            let _ = Gateware::parse(&file[..cut.min(file.len())]);
        }
    }
}
