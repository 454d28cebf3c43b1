//! A gateware file that somebody wants programmed.

use super::{magnitude, outcome};
use crate::{Target, corpus, measure};
use proximity_proto::gateware::{Gateware, GatewareError, split_fpg};
use std::mem::discriminant;

pub(crate) const TARGET: Target = Target {
    name: "gateware",
    body,
    seeds: corpus::gateware,
    words: &[
        b"#!/bin/kcpfpg\n",
        b"?uploadbin\n",
        b"?register\t",
        b"?register a 0x10 4\n",
        b"?meta\ta\tb\tc\td\n",
        b"?quit\n",
        b"\x13BOF",
        b"\x1f\x8b",
        b"\t",
        b"\n",
        b"\\_",
        b"0xffffffff",
        b"037777777777",
        b"\x00\x00\x00\x34",
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
    ],
};

/// A line is a byte at least, and 32 here, in a list that is there one and a half times while it doubles; a register
/// of a .bof is 12 bytes, and 40 here with its name of up to 256 beside it. Both lists end at
/// [`proximity_proto::gateware::MAX_ENTRIES`].
const TIMES: usize = 96;

fn body(file: &[u8]) -> u64 {
    let parsed = measure::within(file.len(), TIMES, || Gateware::parse(file));
    let header = split_fpg(file);
    if let Ok((lines, bitstream)) = &header {
        assert!(file.ends_with(bitstream), "the bitstream ends the file");
        for line in lines {
            let there = file.get(line.position..).is_some_and(|rest| rest.starts_with(line.text));
            assert!(there, "line {} is where it says", line.number);
        }
    }
    match parsed {
        Ok(gateware) => {
            let range = gateware.bitstream.as_ptr_range();
            let within = file.as_ptr_range();
            assert!(within.start <= range.start && range.end <= within.end, "of the file");
            let (registers, metadata) = (gateware.registers.len(), gateware.metadata.len());
            outcome((discriminant(&gateware.format), magnitude(registers), magnitude(metadata)))
        }
        Err(GatewareError::Line { line, position, reason }) => {
            assert!(position <= file.len() && line >= 1, "line {line} at {position}");
            outcome((discriminant(&reason), magnitude(line)))
        }
        Err(error) => {
            assert!(error.to_string().len() < 200, "an error is a line");
            outcome(discriminant(&error))
        }
    }
}
