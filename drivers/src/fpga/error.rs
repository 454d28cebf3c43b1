//! What can go wrong with a board, told to the person at the prompt.

use crate::katcp_client::KatcpError;
use proximity_proto::Fault;
use std::sync::Arc;

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
    /// The caller does not wait long enough.
    #[error("{what} needs {needs_s} s; the caller waits {waits_s:.1} s")]
    TooShort {
        /// What was asked for.
        what: &'static str,
        /// How long that takes.
        needs_s: u64,
        /// How long there is.
        waits_s: f64,
    },
}

impl From<FpgaError> for Fault {
    fn from(error: FpgaError) -> Self {
        let class = match &error {
            FpgaError::Katcp(_) => {
                let FpgaError::Katcp(error) = error else { return Fault::from_error("", &error) };
                return error.into();
            }
            FpgaError::NoRegister { .. } | FpgaError::NoFile { .. } => "KeyError",
            FpgaError::PastEnd { .. }
            | FpgaError::Nothing { .. }
            | FpgaError::Misaligned { .. }
            | FpgaError::TooShort { .. } => "ValueError",
            FpgaError::NotProgrammed { .. }
            | FpgaError::Verify { .. }
            | FpgaError::Cut { .. }
            | FpgaError::Changed { .. } => "RuntimeError",
        };
        let fault = Fault::from_error(class, &error);
        match error {
            FpgaError::NoRegister { meant: Some(meant), .. }
            | FpgaError::NoFile { meant: Some(meant), .. } => {
                fault.hint(format!("did you mean '{meant}'?"))
            }
            FpgaError::NoRegister { count, .. } => {
                fault.hint(format!("listdev() tells the {count} that there are"))
            }
            FpgaError::NoFile { .. } => fault.hint("listbof() tells which there are"),
            FpgaError::NotProgrammed { .. } => {
                fault.hint("progdev() loads one; listbof() tells which there are")
            }
            FpgaError::Verify { .. } => fault
                .hint("blindwrite() does not read back, for registers that change by themselves"),
            FpgaError::Cut { source, .. } => {
                // The class tells what to do about it, and that is the cause's.
                let cause = Fault::from(*source);
                Fault { class: cause.class, hint: cause.hint, ..fault }
            }
            _ => fault,
        }
    }
}
