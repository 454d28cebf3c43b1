//! The devices that an agent can expose, a file each.
//!
//! To add one: copy `counter.rs`, change it, and add its line to [`KINDS`]. Nothing else need know.

pub mod calculator;
pub mod counter;
pub mod fpga;
pub mod katcp_client;
pub mod python;
mod reach;
pub mod scpi;
pub mod serial;
pub mod settings;
mod telltale;
pub mod valon;

use proximity_proto::{Fault, Object};
use settings::Settings;

/// A kind of object: what `driver = "..."` in the configuration may say.
pub struct Kind {
    /// The word in the configuration.
    pub name: &'static str,
    /// What it is, in a line.
    pub summary: &'static str,
    /// Takes the object's keys from the configuration. Opens nothing: an [`Opener`] does that.
    pub configure: fn(&mut Settings<'_>) -> Opener,
    /// Whether `proximity-agent check` may open such an object to see what it has: not where that
    /// starts a program.
    pub tried_by_check: bool,
}

/// Opens an object as it was configured. Run once at the start, and again after the object failed.
///
/// It touches no device, the first call does: `proximity-agent check` opens objects to see what they
/// have (save those of a kind that is not [`Kind::tried_by_check`]), and a device that is away is no
/// reason to fail. Methods answer `ConnectionError` until it is back.
pub type Opener = Box<dyn Fn() -> Result<Box<dyn Object>, Fault> + Send + Sync>;

/// All kinds there are.
pub const KINDS: &[Kind] = &[
    Kind {
        name: "calculator",
        summary: "adds, subtracts and divides; for trying things out",
        configure: calculator::configure,
        tried_by_check: true,
    },
    Kind {
        name: "counter",
        summary: "counts; the smallest driver there is",
        configure: counter::configure,
        tried_by_check: true,
    },
    Kind {
        name: "fpga",
        summary: "an FPGA board behind a KATCP server, such as a ROACH or ROACH2",
        configure: fpga::configure,
        tried_by_check: true,
    },
    Kind {
        name: "python",
        summary: "an object of any Python class, in a process of its own",
        configure: python::configure,
        tried_by_check: false,
    },
    Kind {
        name: "scpi",
        summary: "an instrument that speaks SCPI, on a serial line or over TCP",
        configure: scpi::configure,
        tried_by_check: true,
    },
    Kind {
        name: "serial",
        summary: "an instrument on a serial line, with pyserial's methods",
        configure: serial::configure,
        tried_by_check: true,
    },
    Kind {
        name: "valon",
        summary: "a Valon 5007 dual synthesizer",
        configure: valon::configure,
        tried_by_check: true,
    },
];

/// The kind called `name`.
pub fn kind(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}
