//! A board: one register, and what calls do to it.

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// Reads the register.
    Read,
    /// Reads the register, quick enough for the router.
    ReadQuick,
    /// Waits, then reads the register.
    WaitThenRead,
    /// Reads the register, and so many bytes that follow from it.
    ReadBulk(usize),
    /// Writes a value that no other call writes.
    Write(u64),
    /// Writes it, and comes back after a while to tell.
    WriteThenWait(u64),
    /// Writes it after a while.
    WaitThenWrite(u64),
}

impl Op {
    pub(crate) fn writes(self) -> bool {
        self.written().is_some()
    }

    /// What it writes.
    pub(crate) fn written(self) -> Option<u64> {
        match self {
            Op::Write(value) | Op::WriteThenWait(value) | Op::WaitThenWrite(value) => Some(value),
            Op::Read | Op::ReadQuick | Op::WaitThenRead | Op::ReadBulk(_) => None,
        }
    }

    /// How many bytes follow its result.
    pub(crate) fn bulk(self) -> usize {
        if let Op::ReadBulk(bytes) = self { bytes } else { 0 }
    }

    /// Whether its `part` (0, then 1 for those that wait) is the one that touches the register.
    pub(crate) fn touches_in(self, part: u8) -> bool {
        match self {
            Op::Read | Op::ReadQuick | Op::ReadBulk(_) | Op::Write(_) | Op::WriteThenWait(_) => {
                part == 0
            }
            Op::WaitThenRead | Op::WaitThenWrite(_) => part == 1,
        }
    }

    /// Whether it gives its board back after `part`.
    pub(crate) fn waits_after(self, part: u8) -> bool {
        part == 0 && matches!(self, Op::WaitThenRead | Op::WaitThenWrite(_) | Op::WriteThenWait(_))
    }
}

/// One register.
#[derive(Debug, Default)]
pub(crate) struct Board {
    register: u64,
    /// Microseconds that most calls take at most.
    pub(crate) slowness: u64,
}

impl Board {
    pub(crate) fn new(slowness: u64) -> Self {
        Self { register: 0, slowness }
    }

    /// Does what the call does, and gives its result.
    pub(crate) fn run(&mut self, op: Op) -> u64 {
        if let Some(value) = op.written() {
            self.register = value;
        }
        self.register
    }
}
