//! The board: FPGA, flash and what the server remembers between requests.

use crate::clients::{Clients, Level};
use crate::config::{Config, Personality};
use crate::design::Design;
use crate::faults::Faults;
use crate::memory::{Entry, Memory, Registers, to_usize};
use crate::peripherals::Peripherals;
use crate::signal::Random;
use crate::taps::Tap;
use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::time::Instant;

/// Where the FPGA stands. Register access needs `Ready`; lists and definitions `Mapped`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    Down,
    Mapped,
    Ready,
}

/// What a board did so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections accepted.
    pub connections: u64,
    /// Requests handled, whatever came of them.
    pub requests: u64,
    /// Register writes that were really done: `?write` and `?wordwrite` that were answered `ok`, or would have been.
    pub writes: u64,
    /// Bytes thrown away while half open.
    pub ignored_bytes: u64,
    /// Requests by name.
    pub by_name: BTreeMap<String, u64>,
}

/// A write to a board's memory, as it was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// When.
    pub at: Instant,
    /// The first byte's address.
    pub address: u64,
    /// What.
    pub data: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Board {
    pub(crate) config: Config,
    pub(crate) state: State,
    pub(crate) registers: Registers,
    pub(crate) memory: Memory,
    peripherals: Peripherals,
    /// The `?meta` lines of the design; `None` if it can hold none.
    pub(crate) metadata: Option<Vec<Vec<Vec<u8>>>>,
    /// The file the design came from; `None` if it was uploaded.
    pub(crate) mapped_file: Option<String>,
    /// Bytes mapped; never shrinks.
    map_size: u32,
    pub(crate) files: Vec<(String, Vec<u8>)>,
    pub(crate) taps: Vec<Tap>,
    pub(crate) faults: Faults,
    pub(crate) random: Random,
    pub(crate) started: Instant,
    /// For the job and process numbers in the log.
    pub(crate) last_job: u32,
    pub(crate) counters: Counters,
    /// The last lines received, as they were sent.
    pub(crate) received: VecDeque<Vec<u8>>,
    /// All writes, if the configuration asks for them.
    pub(crate) journal: Vec<Written>,
}

impl Board {
    pub(crate) fn new(config: Config) -> Self {
        let now = Instant::now();
        let mut faults = Faults::default();
        for &fault in &config.faults {
            faults.set(fault, now);
        }
        let mut board = Self {
            state: State::Down,
            registers: Registers::new(),
            memory: Memory::default(),
            peripherals: Peripherals::default(),
            metadata: None,
            mapped_file: None,
            map_size: 0,
            files: config.files.clone(),
            taps: Vec::new(),
            faults,
            random: Random::new(config.seed),
            started: now,
            last_job: 31_634,
            counters: Counters::default(),
            received: VecDeque::new(),
            journal: Vec::new(),
            config,
        };
        if board.config.programmed {
            let design = board.config.design.clone();
            board.program_silently(Some(&design));
        }
        board
    }

    /// As if the design had been there when the server started.
    pub(crate) fn program_silently(&mut self, design: Option<&Design>) {
        self.unload();
        if let Some(design) = design {
            self.mapped_file = Some(design.name.clone());
            self.map_size = self.map_size.max(needed(design));
            self.load(design);
            self.state = State::Ready;
        }
    }

    /// Forgets the design.
    pub(crate) fn unload(&mut self) {
        self.state = State::Down;
        self.registers.clear();
        self.memory = Memory::default();
        self.peripherals = Peripherals::default();
        self.metadata = None;
        self.mapped_file = None;
        self.taps.clear();
    }

    /// Puts a design into the FPGA: its registers, a memory of zeros and what its devices hold at first.
    pub(crate) fn load(&mut self, design: &Design) {
        self.registers = design
            .registers
            .iter()
            .map(|register| (register.name.as_bytes().to_vec(), Entry::from(register)))
            .collect();
        self.metadata.clone_from(&design.metadata);
        self.memory = Memory::new(to_usize(self.map_size.into()), self.dram_window());
        self.peripherals = Peripherals::new(&self.registers, &mut self.memory, &self.config);
    }

    /// Ends programming by hand: looks for devices among the registers that were named one by one.
    pub(crate) fn find_devices(&mut self) {
        self.peripherals = Peripherals::new(&self.registers, &mut self.memory, &self.config);
    }

    /// A design with a page register sees its DRAM through `dram_memory`; without, that is plain memory.
    fn dram_window(&self) -> Range<usize> {
        let window = self.registers.get(&b"dram_memory"[..]).map(Entry::bytes);
        let paged = self.registers.contains_key(&b"dram_controller"[..]);
        window.filter(|_| paged).unwrap_or(0..0)
    }

    /// What is at bit `start` now.
    pub(crate) fn read(&mut self, start: u64, len: u64) -> Option<Cow<'_, [u8]>> {
        let range = to_usize(start / 8)..to_usize((start + len).div_ceil(8));
        let Self { peripherals, memory, config, random, started, .. } = self;
        peripherals.before_read(memory, &range, *started, config, random);
        if start.is_multiple_of(8) && len.is_multiple_of(8) {
            memory.get(range).map(Cow::Borrowed)
        } else {
            memory.read_bits(start, len).map(Cow::Owned)
        }
    }

    /// Writes the first `len` bits of `data` at bit `start`, and lets the devices see it.
    pub(crate) fn write(&mut self, start: u64, data: &[u8], len: u64) {
        let range = to_usize(start / 8)..to_usize((start + len).div_ceil(8));
        if self.config.journal {
            let (at, data) = (Instant::now(), data.to_vec());
            self.journal.push(Written { at, address: start / 8, data });
        }
        self.memory.write_bits(start, data, len);
        self.peripherals.after_write(&mut self.memory, &range, &self.config);
    }

    /// The next number of a job in the log.
    pub(crate) fn next_job(&mut self) -> u32 {
        self.last_job += 2;
        self.last_job
    }

    /// Whether this is the server whose informs and log lines were recorded.
    pub(crate) fn is_roach1(&self) -> bool {
        self.config.personality == Personality::Roach1
    }
}

/// Bytes to map for `design`.
fn needed(design: &Design) -> u32 {
    let ends = design.registers.iter().map(|r| r.address.saturating_add(r.size));
    let end = ends.max().unwrap_or(0);
    end.checked_next_power_of_two().unwrap_or(u32::MAX).max(4096)
}

/// The board and everybody connected to it: what a request can change.
pub(crate) struct World<'a> {
    pub(crate) board: &'a mut Board,
    pub(crate) clients: &'a mut Clients,
}

impl World<'_> {
    /// Tells all clients, as the server.
    pub(crate) fn log(&mut self, level: Level, text: impl AsRef<[u8]>) {
        self.clients.log(level, "raw", text);
    }

    /// Tells all clients where the FPGA stands. tcpborphserver2 does not.
    pub(crate) fn fpga(&mut self, state: &str) {
        if !self.board.is_roach1() {
            self.clients.inform(&[b"fpga", state.as_bytes()]);
        }
    }

    /// Takes the design out of the FPGA, if there is one.
    pub(crate) fn deprogram(&mut self) {
        if self.board.state != State::Down {
            self.log(Level::Info, "unmapping fpga");
            self.fpga("loaded");
            self.fpga("down");
        }
        self.board.unload();
    }

    /// Puts a `.bof` into the FPGA, which is down; `false` if it does not fit.
    pub(crate) fn program(
        &mut self,
        design: &Design,
        bitstream: usize,
        file: Option<String>,
    ) -> bool {
        let device = "/dev/roach/config";
        let text =
            format!("attempting to program bitstream of {bitstream} bytes to device {device}");
        self.log(Level::Info, text);
        self.fpga("loaded");
        let size = needed(design).max(self.board.map_size);
        if !self.map(size) {
            self.fpga("down");
            return false;
        }
        self.board.load(design);
        self.board.mapped_file = file;
        self.finalise();
        true
    }

    /// Maps `size` bytes of the FPGA.
    pub(crate) fn map(&mut self, size: u32) -> bool {
        let limit = self.board.config.map_limit;
        if size > limit {
            self.log(Level::Error, format!("map request {size:#x} exceeds limit {limit:#x}"));
            return false;
        }
        self.log(Level::Warn, format!("map request {size:#x} is within limit {limit:#x}"));
        self.board.map_size = size;
        self.board.state = State::Mapped;
        self.fpga("mapped");
        true
    }

    /// Makes the registers accessible.
    pub(crate) fn finalise(&mut self) {
        self.board.state = State::Ready;
        self.fpga("ready");
    }
}
