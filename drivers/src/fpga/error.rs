//! What can go wrong with a board, told to the person at the prompt.

use crate::katcp_client::{KatcpError, PushError};
use proximity_proto::{Fault, gateware::GatewareError};
use std::{io, sync::Arc};

/// Why a method of a board failed.
#[derive(Debug, thiserror::Error)]
pub enum FpgaError {
    /// The board did not answer, or refused.
    #[error(transparent)]
    Katcp(#[from] KatcpError),
    /// The running gateware has no such register.
    #[error("no register '{register}' in the gateware on {board}")]
    NoRegister {
        /// Host and port.
        board: Arc<str>,
        /// The name that was asked for.
        register: String,
        /// The name that was most likely meant.
        meant: Option<String>,
        /// How many registers there are.
        count: usize,
    },
    /// The board has no gateware file of that name.
    #[error("no gateware file '{file}' on {board}; nothing was changed")]
    NoFile {
        /// Host and port.
        board: Arc<str>,
        /// The name that was asked for.
        file: String,
        /// The name that was most likely meant.
        meant: Option<String>,
    },
    /// No gateware runs.
    #[error("no gateware runs on {board}")]
    NotProgrammed {
        /// Host and port.
        board: Arc<str>,
    },
    /// The range is not in the register.
    #[error(
        "register '{register}' has {size} bytes; {count} bytes at offset {offset} reach past its end"
    )]
    PastEnd {
        /// Its name.
        register: String,
        /// Its bytes.
        size: u64,
        /// How many bytes were to be read or written.
        count: u64,
        /// From which on.
        offset: u64,
    },
    /// A read of nothing.
    #[error("0 bytes of register '{register}' were asked for; it has {size}")]
    Nothing {
        /// Its name.
        register: String,
        /// Its bytes.
        size: u64,
    },
    /// Registers are written in whole words.
    #[error("{what} of a write to '{register}' is {value}; it must be a multiple of 4 bytes")]
    Misaligned {
        /// The register's name.
        register: String,
        /// Offset or length.
        what: &'static str,
        /// What it was.
        value: u64,
    },
    /// A register does not hold what was written to it.
    #[error(
        "register '{register}' does not hold what was written: at offset {offset} it was \
         0x{wrote}, read back 0x{read}"
    )]
    Verify {
        /// Its name.
        register: String,
        /// Bytes from its start to the first word that differs.
        offset: u64,
        /// The word that was written, in hexadecimal digits.
        wrote: String,
        /// The word that was read.
        read: String,
    },
    /// A write in several requests stopped on its way.
    #[error("of {total} bytes for register '{register}' only the first {done} are known written")]
    Cut {
        /// Its name.
        register: String,
        /// Bytes written for certain.
        done: u64,
        /// Bytes to write.
        total: u64,
        /// What stopped it.
        source: Box<KatcpError>,
    },
    /// The board's registers changed in the middle of something.
    #[error("the gateware on {board}, or the connection to it, changed in the middle of {what}")]
    Changed {
        /// Host and port.
        board: Arc<str>,
        /// What was being done.
        what: &'static str,
    },
    /// A snapshot block did not finish, or has nothing.
    #[error(
        "snapshot block '{block}' has captured {bytes} bytes, not to its end, in {waited_s:.1} s"
    )]
    Capture {
        /// The block.
        block: String,
        /// How long it was waited for.
        waited_s: f64,
        /// What it told last.
        bytes: u64,
    },
    /// A value that will not do.
    #[error("{what} is {value}; it must be {must_be}")]
    BadValue {
        /// What it was given for.
        what: &'static str,
        /// What was given.
        value: String,
        /// What is allowed.
        must_be: &'static str,
    },
    /// The register has no such field.
    #[error("register '{register}' has no field '{field}'; it has: {fields}")]
    NoField {
        /// Its name.
        register: String,
        /// The name that was asked for.
        field: String,
        /// Those that there are.
        fields: String,
    },
    /// A value has no room in its field.
    #[error("field '{field}' cannot be {value}; it must be {min} to {max}")]
    FieldRange {
        /// The field.
        field: String,
        /// What was given.
        value: String,
        /// The least that is allowed.
        min: f64,
        /// The most that is allowed.
        max: f64,
    },
    /// A value is no whole number, and its field has no binary places.
    #[error("field '{field}' must be a whole number, not {value}")]
    FieldWhole {
        /// The field.
        field: String,
        /// What was given.
        value: f64,
    },
    /// What was passed is neither gateware nor the name of a file.
    #[error("neither the content of a .bof or .fpg file nor the bare name of one")]
    NoGateware,
    /// A gateware file is broken.
    #[error("a gateware file that cannot be read")]
    Gateware(#[from] GatewareError),
    /// A name was passed, and there is no directory to look into.
    #[error("a file's name was passed, and the agent has no gateware_dir for this object")]
    NoDirectory,
    /// A file cannot be read.
    #[error("cannot read {file}")]
    File {
        /// Its name.
        file: String,
        /// Why not.
        source: io::Error,
    },
    /// A file came without a name.
    #[error("the file needs a name on the board: pass file_name")]
    NoName,
    /// A file is not the one that its sender meant.
    #[error("the file's SHA-256 is {digest}; it must be {expected}")]
    Digest {
        /// What it was to be.
        expected: String,
        /// What it is.
        digest: String,
    },
    /// A chunk does not adjoin those before it.
    #[error("the chunk is for offset {offset}; {staged} bytes came before it")]
    BadChunk {
        /// Where it belongs.
        offset: u64,
        /// What came before.
        staged: u64,
    },
    /// A file is too large.
    #[error("the file is larger than {largest} bytes")]
    TooLarge {
        /// The most that is taken.
        largest: u64,
    },
    /// There are no chunks.
    #[error("no file was passed, and no chunk of one before")]
    NothingStaged,
    /// A transfer broke.
    #[error(transparent)]
    Push(#[from] PushError),
    /// Gateware was sent, and does not run.
    #[error("the gateware did not come to run on {board}; none runs now")]
    NotLoaded {
        /// Host and port.
        board: Arc<str>,
        /// What the board logged.
        logs: Vec<String>,
    },
    /// The link was to be started, and is.
    #[error("the connection to {board} is not stopped")]
    Running {
        /// Host and port.
        board: Arc<str>,
    },
    /// The link was to be stopped, and is.
    #[error("the connection to {board} is stopped already")]
    NotRunning {
        /// Host and port.
        board: Arc<str>,
    },
    /// The loop of a thread that there is not.
    #[error("run() is the loop of the original client's own thread; there is none here")]
    OwnLoop,
    /// A command was to be run on the board.
    #[error("execcmd() is not implemented: no programs are run on the board")]
    NoPrograms,
}

impl FpgaError {
    /// Nothing, where the board refused: for a question that not every server knows.
    pub(super) fn unless_refused(error: KatcpError) -> Result<(), KatcpError> {
        if let KatcpError::Refused { .. } = error { Ok(()) } else { Err(error) }
    }

    /// [`unless_refused`](Self::unless_refused), a floor higher.
    pub(super) fn unless_refused_by_board(error: Self) -> Result<(), Self> {
        if let Self::Katcp(KatcpError::Refused { .. }) = error { Ok(()) } else { Err(error) }
    }

    /// Registers are written in whole words.
    pub(super) fn check_aligned(register: &str, offset: u64, len: u64) -> Result<(), Self> {
        for (what, value) in [("the offset", offset), ("the length", len)] {
            if value % 4 != 0 {
                return Err(Self::Misaligned { register: register.to_owned(), what, value });
            }
        }
        Ok(())
    }

    /// The Python exception that fits.
    fn class(&self) -> &'static str {
        match self {
            Self::NoRegister { .. } | Self::NoFile { .. } | Self::NoField { .. } => "KeyError",
            Self::PastEnd { .. }
            | Self::Nothing { .. }
            | Self::Misaligned { .. }
            | Self::BadValue { .. }
            | Self::FieldRange { .. }
            | Self::FieldWhole { .. }
            | Self::NoGateware
            | Self::Gateware(_)
            | Self::NoDirectory
            | Self::NoName
            | Self::Digest { .. }
            | Self::BadChunk { .. }
            | Self::TooLarge { .. }
            | Self::NothingStaged => "ValueError",
            Self::File { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "FileNotFoundError"
            }
            Self::File { .. } => "OSError",
            Self::Push(_) => "ConnectionError",
            Self::NoPrograms => "NotImplementedError",
            Self::Katcp(_)
            | Self::NotProgrammed { .. }
            | Self::Verify { .. }
            | Self::Cut { .. }
            | Self::Changed { .. }
            | Self::Capture { .. }
            | Self::NotLoaded { .. }
            | Self::Running { .. }
            | Self::NotRunning { .. }
            | Self::OwnLoop => "RuntimeError",
        }
    }

    /// What to do about it.
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoRegister { meant: Some(meant), .. }
            | Self::NoFile { meant: Some(meant), .. } => {
                return Some(format!("did you mean '{meant}'?"));
            }
            Self::NoRegister { count, .. } => {
                return Some(format!("listdev() tells the {count} that there are"));
            }
            Self::NoFile { .. } => "listbof() tells which there are",
            Self::NotProgrammed { .. } => "progdev() loads one; listbof() tells which there are",
            Self::Verify { .. } => {
                "blindwrite() does not read back, for registers that change by themselves"
            }
            Self::Capture { .. } => {
                "does the trigger come? man_trig=True captures without it, and a longer wait_period waits for it"
            }
            Self::BadChunk { .. } => "offset=0 starts anew",
            Self::NoDirectory => "pass the file's bytes",
            Self::Running { .. } => "stop() takes it down",
            Self::NotRunning { .. } | Self::OwnLoop => "start() allows connections",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

impl From<FpgaError> for Fault {
    fn from(error: FpgaError) -> Self {
        let fault = Fault::from_error(error.class(), &error);
        let fault = Fault { hint: error.hint(), ..fault };
        match error {
            FpgaError::Katcp(error) | FpgaError::Push(PushError::Katcp(error)) => error.into(),
            // The class tells what to do about it, and that is the cause's.
            FpgaError::Cut { source, .. } => {
                let cause = Fault::from(*source);
                Fault { class: cause.class, hint: cause.hint, ..fault }
            }
            FpgaError::NotLoaded { logs, .. } => logs
                .into_iter()
                .fold(fault, |fault, line| fault.detail(format!("the board's log: {line}"))),
            _ => fault,
        }
    }
}
