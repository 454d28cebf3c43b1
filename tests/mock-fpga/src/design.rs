//! Designs: what registers the gateware in the FPGA has.

use proximity_proto::gateware::{Format, Gateware, GatewareError, Register, split_fpg};
use proximity_proto::katcp::unescape_in_place;

/// A design, as a gateware file describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Design {
    /// The file it is loaded from.
    pub name: String,
    /// Its registers; they may overlap.
    pub registers: Vec<Register>,
    /// The arguments of its `?meta` lines, decoded; `None` for a `.bof`, which can hold none.
    pub metadata: Option<Vec<Vec<Vec<u8>>>>,
}

fn decoded(word: &[u8]) -> Vec<u8> {
    let mut word = word.to_vec();
    let len = unescape_in_place(&mut word);
    word.truncate(len);
    word
}

/// How a register may be used.
#[derive(Clone, Copy)]
enum Mode {
    Read,
    Write,
    Both,
}

fn registers(table: &[(&str, Mode, u32, u32)]) -> Vec<Register> {
    table
        .iter()
        .map(|&(name, mode, address, size)| Register {
            name: name.to_owned(),
            address,
            size,
            readable: !matches!(mode, Mode::Write),
            writable: !matches!(mode, Mode::Read),
        })
        .collect()
}

impl Design {
    /// The design of the recorded conversations, `test.bof`.
    pub fn recorded() -> Self {
        let table = [
            ("sys_board_id", Mode::Read, 0x0, 4),
            ("sys_rev", Mode::Read, 0x4, 4),
            ("sys_rev_rcs", Mode::Read, 0x8, 4),
            ("sys_scratchpad", Mode::Both, 0xc, 4),
            ("sys_clkcounter", Mode::Read, 0x10, 4),
            ("wo_reg", Mode::Write, 0x20, 4),
            ("snap_ctrl", Mode::Both, 0x30, 4),
            ("snap_status", Mode::Both, 0x34, 4),
            ("qdr0_ctrl", Mode::Both, 0x40, 0x100),
            ("odd7", Mode::Both, 0x50, 7),
            ("gbe0", Mode::Both, 0x8000, 0x4000),
            ("snap_bram", Mode::Both, 0x1_0000, 0x1_0000),
            ("big_bram", Mode::Both, 0x10_0000, 0x10_0000),
            ("dram_memory", Mode::Both, 0x20_0000, 0x4_0000),
        ];
        Self { name: "test.bof".to_owned(), registers: registers(&table), metadata: None }
    }

    /// A design with one of everything: snapshots of both kinds, two 10GbE cores, QDR, DRAM pages, version registers.
    pub fn adc() -> Self {
        let table = [
            ("sys_block", Mode::Both, 0x0, 0x20),
            ("sys_board_id", Mode::Read, 0x0, 4),
            ("sys_rev", Mode::Read, 0x4, 4),
            ("sys_rev_rcs", Mode::Read, 0x8, 4),
            ("sys_scratchpad", Mode::Both, 0xc, 4),
            ("sys_clkcounter", Mode::Read, 0x10, 4),
            ("rcs_user", Mode::Read, 0x20, 4),
            ("rcs_app", Mode::Read, 0x24, 4),
            ("rcs_lib", Mode::Read, 0x28, 4),
            ("acc_len", Mode::Both, 0x30, 4),
            ("acc_cnt", Mode::Read, 0x34, 4),
            ("led", Mode::Both, 0x38, 4),
            ("pulse", Mode::Write, 0x3c, 4),
            ("adc_snap_ctrl", Mode::Both, 0x40, 4),
            ("adc_snap_status", Mode::Read, 0x44, 4),
            ("adc_snap_trig_offset", Mode::Both, 0x48, 4),
            ("adc_snap_tr_en_cnt", Mode::Read, 0x4c, 4),
            ("adc_snap_val", Mode::Read, 0x50, 4),
            ("old_snap_ctrl", Mode::Both, 0x60, 4),
            ("old_snap_addr", Mode::Read, 0x64, 4),
            ("old_snap_trig_offset", Mode::Both, 0x68, 4),
            ("old_snap_tr_en_cnt", Mode::Read, 0x6c, 4),
            ("dram_controller", Mode::Both, 0x70, 4),
            ("qdr0_ctrl", Mode::Both, 0x100, 0x100),
            ("ten_gbe0", Mode::Both, 0x8000, 0x4000),
            ("ten_gbe1", Mode::Both, 0xc000, 0x4000),
            ("adc_snap_bram", Mode::Both, 0x1_0000, 0x1_0000),
            ("old_snap_bram", Mode::Both, 0x2_0000, 0x2000),
            ("spectrum", Mode::Read, 0x3_0000, 0x4000),
            ("big_bram", Mode::Both, 0x10_0000, 0x10_0000),
            ("dram_memory", Mode::Both, 0x400_0000, 0x400_0000),
        ];
        Self { name: "adc.bof".to_owned(), registers: registers(&table), metadata: None }
    }

    /// The design in a gateware file called `name`; and its bitstream, as it is in the file.
    ///
    /// # Errors
    ///
    /// As [`Gateware::parse`].
    pub fn from_file<'a>(name: &str, file: &'a [u8]) -> Result<(Self, &'a [u8]), GatewareError> {
        let gateware = Gateware::parse(file)?;
        let metadata = match gateware.format {
            Format::Bof => None,
            Format::Fpg => {
                let (lines, _) = split_fpg(file)?;
                // A board gets these lines as requests, and splits them at every blank, in brackets or not.
                let words = |line: &[u8]| {
                    line.split(|&byte| byte == b' ' || byte == b'\t')
                        .filter(|word| !word.is_empty())
                        .map(decoded)
                        .collect()
                };
                let metadata = lines.iter().filter_map(|line| line.text.strip_prefix(b"?meta"));
                Some(metadata.map(words).collect())
            }
        };
        let design = Self { name: name.to_owned(), registers: gateware.registers, metadata };
        Ok((design, gateware.bitstream))
    }

    /// A `.bof` of this design for a PowerPC board, with a bitstream of `len` bytes that configures nothing.
    pub fn to_bof(&self, len: usize) -> Vec<u8> {
        const HEADER: usize = 52;
        const HARDWARE: usize = 28;
        const SYMBOL: usize = 12;
        let names: Vec<u8> = self
            .registers
            .iter()
            .flat_map(|register| [register.name.as_bytes(), b"\0"].concat())
            .collect();
        let names_at = HEADER + HARDWARE + SYMBOL * self.registers.len();
        let u32_be = |value: usize| u32::try_from(value).unwrap_or(u32::MAX).to_be_bytes();
        // Byte 5: big-endian. Byte 21: the machine is a ROACH.
        let mut file = vec![0; HEADER];
        for (at, bytes) in
            [(0, &b"\x13BOF\x00\x02"[..]), (20, &[0, 3][..]), (32, &u32_be(HEADER)[..])]
        {
            file.splice(at..at + bytes.len(), bytes.iter().copied());
        }
        let words = [0, 0, names_at + names.len(), len, self.registers.len(), names_at, 0];
        file.extend(words.into_iter().flat_map(u32_be));
        let mut offset: u16 = 0;
        for register in &self.registers {
            let mode = u16::from(register.readable) + 2 * u16::from(register.writable);
            file.extend([offset.to_be_bytes(), mode.to_be_bytes()].concat());
            file.extend([register.address.to_be_bytes(), register.size.to_be_bytes()].concat());
            offset += u16::try_from(register.name.len() + 1).unwrap_or(u16::MAX);
        }
        file.extend(names);
        // Compresses as real bitstreams do: long runs of zeros with something in between.
        file.extend((0..len).map(|at| if at % 1000 < 900 { 0 } else { at.to_be_bytes()[7] }));
        file
    }
}

#[cfg(test)]
mod tests {
    use super::Design;

    #[test]
    fn a_design_written_as_bof_is_read_back() {
        for design in [Design::recorded(), Design::adc()] {
            let file = design.to_bof(1000);
            let (read, bitstream) = Design::from_file(&design.name, &file).unwrap();
            assert_eq!((read, bitstream.len()), (design, 1000));
        }
    }

    #[test]
    fn the_recorded_bof_had_this_size() {
        assert_eq!(Design::recorded().to_bof(20_000).len(), 20_391);
    }
}
