//! The hardware behind the registers: what moves by itself, and what moves when written.
//!
//! Devices are known by the names of their registers, as the toolflow gives them.

use crate::config::Config;
use crate::memory::{Memory, Registers};
use crate::signal::{Random, capture};
use std::ops::Range;
use std::time::{Duration, Instant};

/// Bit 31 of a snapshot's status or address register: still capturing.
const BUSY: u32 = 1 << 31;
/// How long a QDR calibrates after a reset.
const QDR_CALIBRATION: Duration = Duration::from_millis(5);
/// Accumulations a second of the spectrometer.
const ACCUMULATIONS: f64 = 100.0;

/// What some registers hold after programming: name, offset, bytes.
const INITIAL: [(&str, usize, &[u8]); 18] = [
    ("sys_board_id", 0, &[0, 0, 0xb0, 0x0b]),
    ("rcs_user", 0, &[0, 0, 0, 42]),
    // Made from git, clean, revision 0x1234567.
    ("rcs_app", 0, &[0x01, 0x23, 0x45, 0x67]),
    // A compile time: 2020-01-01.
    ("rcs_lib", 0, &[0xde, 0x0b, 0xe1, 0x00]),
    // The older 10GbE core: address, gateway, IP, enabled, port, link up, netmask.
    ("ten_gbe0", 0x00, &[0, 0, 0x02, 0x02, 10, 0, 0, 1]),
    ("ten_gbe0", 0x0c, &[0, 0, 0, 1]),
    ("ten_gbe0", 0x10, &[10, 0, 0, 1]),
    ("ten_gbe0", 0x20, &[0, 1, 0xea, 0x60]),
    ("ten_gbe0", 0x24, &[0, 0, 0, 0x7c]),
    ("ten_gbe0", 0x38, &[255, 255, 255, 0]),
    // The newer one tells by its first word what it is: a revision, and type 2.
    ("ten_gbe1", 0x00, &[1, 1, 1, 2]),
    ("ten_gbe1", 0x0c, &[0, 0, 0x02, 0x02, 10, 0, 0, 2]),
    ("ten_gbe1", 0x14, &[10, 0, 0, 2]),
    ("ten_gbe1", 0x18, &[10, 0, 0, 254]),
    ("ten_gbe1", 0x1c, &[255, 255, 255, 0]),
    ("ten_gbe1", 0x20, &[239, 0, 0, 1]),
    ("ten_gbe1", 0x2c, &[0, 0, 0, 1]),
    ("ten_gbe1", 0x30, &[0, 0, 0xea, 0x60]),
];

/// The ARP table of a 10GbE core: entries of 8 bytes.
pub(crate) const ARP_ENTRIES: usize = 256;
pub(crate) const NO_STATION: u64 = 0xffff_ffff_ffff;

/// The devices of the running design.
#[derive(Debug, Default)]
pub(crate) struct Peripherals {
    /// Address and counts a second.
    counters: Vec<(usize, f64)>,
    snapshots: Vec<Snapshot>,
    qdrs: Vec<Qdr>,
    /// Address and mask.
    self_clearing: Vec<(usize, u32)>,
    dram_controller: Option<usize>,
}

#[derive(Debug)]
struct Snapshot {
    ctrl: usize,
    bram: Range<usize>,
    /// Length in bytes when done.
    status: Option<usize>,
    /// Last word when done: the older kind of block.
    addr: Option<usize>,
    trig_offset: Option<usize>,
    tr_en_cnt: Option<usize>,
    val: Option<usize>,
    enabled: bool,
    run: Option<Run>,
}

#[derive(Debug)]
struct Run {
    trigger: Option<Instant>,
    circular: bool,
}

#[derive(Debug)]
struct Qdr {
    ctrl: usize,
    ready_at: Option<Instant>,
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}

fn word_at(address: usize) -> Range<usize> {
    address..address + 4
}

impl Peripherals {
    /// Finds the devices among `registers` and sets what they hold after programming.
    pub(crate) fn new(registers: &Registers, memory: &mut Memory, config: &Config) -> Self {
        let range = |name: &str| registers.get(name.as_bytes()).map(super::memory::Entry::bytes);
        let address = |name: &str| range(name).map(|range| range.start);
        for (name, offset, bytes) in INITIAL {
            if let Some(start) = address(name) {
                memory.write(start + offset, bytes);
            }
        }
        for (name, table) in [("ten_gbe0", 0x3000), ("ten_gbe1", 0x1000)] {
            if let Some(start) = address(name) {
                memory.write(start + table, &NO_STATION.to_be_bytes().repeat(ARP_ENTRIES));
            }
        }
        let mut found = Self::default();
        for (name, rate) in [("sys_clkcounter", config.clock_hz), ("acc_cnt", ACCUMULATIONS)] {
            found.counters.extend(address(name).map(|at| (at, rate)));
        }
        found.dram_controller = address("dram_controller");
        let own = [("pulse".to_owned(), u32::MAX)];
        for (name, mask) in config.self_clearing.iter().chain(&own) {
            found.self_clearing.extend(address(name).map(|at| (at, *mask)));
        }
        for (name, entry) in registers {
            let Ok(name) = std::str::from_utf8(name) else { continue };
            let Some(base) = name.strip_suffix("_ctrl") else { continue };
            let ctrl = entry.bytes().start;
            let part = |suffix: &str| address(&format!("{base}_{suffix}"));
            if let Some(bram) = range(&format!("{base}_bram")) {
                found.snapshots.push(Snapshot {
                    ctrl,
                    bram,
                    status: part("status"),
                    addr: part("addr"),
                    trig_offset: part("trig_offset"),
                    tr_en_cnt: part("tr_en_cnt"),
                    val: part("val"),
                    enabled: false,
                    run: None,
                });
            } else if base.starts_with("qdr") && entry.bytes().len() >= 8 {
                memory.set_word(ctrl + 4, 1);
                found.qdrs.push(Qdr { ctrl, ready_at: None });
            }
        }
        found
    }

    /// Brings the registers in `range` up to date before they are read. `started` is when the FPGA's clock began.
    pub(crate) fn before_read(
        &mut self,
        memory: &mut Memory,
        range: &Range<usize>,
        started: Instant,
        config: &Config,
        random: &mut Random,
    ) {
        let now = Instant::now();
        let seconds = now.duration_since(started).as_secs_f64();
        for &(address, rate) in &self.counters {
            if overlap(range, &word_at(address)) {
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // it wraps
                memory.set_word(address, (seconds * rate) as u64 as u32);
            }
        }
        for snapshot in &mut self.snapshots {
            if snapshot.run.is_some() && snapshot.is_seen_in(range) {
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // it wraps
                let first = (seconds * config.clock_hz) as u64;
                snapshot.update(memory, now, config.capture_time, first, random);
            }
        }
        for qdr in &mut self.qdrs {
            if qdr.ready_at.is_some_and(|at| at <= now) {
                qdr.ready_at = None;
                memory.set_word(qdr.ctrl + 4, 1);
            }
        }
    }

    /// Does what writing `range` sets off.
    pub(crate) fn after_write(
        &mut self,
        memory: &mut Memory,
        range: &Range<usize>,
        config: &Config,
    ) {
        let now = Instant::now();
        for snapshot in &mut self.snapshots {
            if overlap(range, &word_at(snapshot.ctrl)) {
                snapshot.control(memory, now, config.trigger_after);
            }
        }
        for qdr in &mut self.qdrs {
            if overlap(range, &word_at(qdr.ctrl)) && memory.word(qdr.ctrl) & 1 == 1 {
                memory.set_word(qdr.ctrl, 0);
                memory.set_word(qdr.ctrl + 4, 0);
                qdr.ready_at = Some(now + QDR_CALIBRATION);
            }
        }
        for &(address, mask) in &self.self_clearing {
            if overlap(range, &word_at(address)) {
                memory.set_word(address, memory.word(address) & !mask);
            }
        }
        if let Some(address) = self.dram_controller.filter(|&at| overlap(range, &word_at(at))) {
            memory.set_page(memory.word(address));
        }
    }
}

impl Snapshot {
    fn is_seen_in(&self, range: &Range<usize>) -> bool {
        let words = [self.status, self.addr, self.tr_en_cnt, self.val];
        overlap(range, &self.bram)
            || words.into_iter().flatten().any(|at| overlap(range, &word_at(at)))
    }

    /// A rising edge of bit 0 arms it. Bit 1 triggers at once, bit 3 captures round and round until the trigger.
    fn control(&mut self, memory: &mut Memory, now: Instant, trigger_after: Option<Duration>) {
        let ctrl = memory.word(self.ctrl);
        let enable = ctrl & 1 == 1;
        if enable && !self.enabled {
            let manual = ctrl & 2 == 2;
            let trigger = if manual { Some(now) } else { trigger_after.map(|after| now + after) };
            self.run = Some(Run { trigger, circular: ctrl & 8 == 8 });
            self.tell(memory, BUSY);
        }
        self.enabled = enable;
    }

    fn tell(&self, memory: &mut Memory, value: u32) {
        if let Some(status) = self.status {
            memory.set_word(status, value);
        }
        if let Some(addr) = self.addr {
            let words = (value & !BUSY) / 4;
            memory.set_word(addr, (value & BUSY) | words.saturating_sub(1));
        }
    }

    fn update(
        &mut self,
        memory: &mut Memory,
        now: Instant,
        capture_time: Duration,
        first: u64,
        random: &mut Random,
    ) {
        let Some(run) = &self.run else { return };
        let trigger = run.trigger.filter(|&trigger| trigger <= now);
        let Some(trigger) = trigger else { return };
        let len = u32::try_from(self.bram.len()).unwrap_or(0);
        if now < trigger + capture_time {
            // The last word of the memory comes last of all.
            let done = now.duration_since(trigger).as_secs_f64() / capture_time.as_secs_f64();
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0 to len
            let done = ((f64::from(len) * done) as u32).min(len.saturating_sub(4)) & !3;
            self.tell(memory, BUSY | done);
            return;
        }
        let delay = self.trig_offset.map_or(0, |at| memory.word(at));
        if let Some(bytes) = memory.get_mut(self.bram.clone()) {
            capture(bytes, first.wrapping_add(delay.into()), random);
        }
        if let Some(tr_en_cnt) = self.tr_en_cnt {
            memory.set_word(tr_en_cnt, if run.circular { len + 1024 } else { 0 });
        }
        if let Some(val) = self.val {
            memory.set_word(val, 0x5a5a_0000 | (len & 0xffff));
        }
        self.run = None;
        self.tell(memory, len);
    }
}
