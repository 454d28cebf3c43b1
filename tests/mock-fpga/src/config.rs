//! What a mock board is told before it starts.

use crate::design::Design;
use crate::faults::Fault;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Which server the board runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Personality {
    /// tcpborphserver3 on a ROACH2: KATCP version 4, message ids swallowed.
    #[default]
    Roach2,
    /// tcpborphserver2 on a ROACH1: reason words in failures, `?bulkread`, sizes without bits.
    Roach1,
    /// A KATCP version 5 server: `#version-connect`, message ids, times in seconds.
    V5,
}

impl Personality {
    /// The personality called `roach2`, `roach1` or `v5`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "roach2" => Some(Self::Roach2),
            "roach1" => Some(Self::Roach1),
            "v5" => Some(Self::V5),
            _ => None,
        }
    }
}

/// What a ROACH1 does about reads and writes that are not whole aligned words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Alignment {
    /// Serves them.
    #[default]
    Off,
    /// Serves them and logs a warning.
    Warn,
    /// Refuses them: `invalid alignment`.
    Refuse,
}

/// How a mock board starts. The default is a programmed ROACH2 on a free port of the loopback interface.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Which server to be.
    pub personality: Personality,
    /// Whether a design is running when the board starts.
    pub programmed: bool,
    /// The design it is.
    pub design: Design,
    /// The files `?listbof` shows, in this order; `?progdev` takes the `.bof` among them.
    pub files: Vec<(String, Vec<u8>)>,
    /// Counts of `sys_clkcounter` a second.
    pub clock_hz: f64,
    /// How long after arming a snapshot block sees its trigger; `None` if never, but by a manual trigger.
    pub trigger_after: Option<Duration>,
    /// How long a snapshot takes to fill its memory.
    pub capture_time: Duration,
    /// Registers with bits that clear themselves when written: name and mask of the first word.
    pub self_clearing: Vec<(String, u32)>,
    /// Whether there are temperatures, voltages and fans beside the sensor `mode`.
    pub sensors: bool,
    /// Connections at once; one more evicts another.
    pub max_clients: usize,
    /// Bytes of FPGA address space.
    pub map_limit: u32,
    /// ROACH1 only: what to do about unaligned reads and writes.
    pub alignment: Alignment,
    /// V5 only: the flags behind the protocol version. With `I` clients may use message ids.
    pub protocol_flags: String,
    /// How long `?restart` takes the board off the network.
    pub restart_time: Duration,
    /// Faults from the start.
    pub faults: Vec<Fault>,
    /// For noise, garbage and the choice of the client to evict.
    pub seed: u64,
    /// How many of the last lines received are kept to be looked at; 0 for none.
    pub record: usize,
    /// Whether every write to the memory is kept, for [`Mock::written`](crate::Mock::written).
    pub journal: bool,
}

impl Default for Config {
    fn default() -> Self {
        let design = Design::recorded();
        let other = Design::adc();
        let files = [&design, &other].map(|design| (design.name.clone(), design.to_bof(20_000)));
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            personality: Personality::default(),
            programmed: true,
            design,
            files: files.into(),
            clock_hz: 200e6,
            trigger_after: Some(Duration::from_millis(5)),
            capture_time: Duration::from_millis(2),
            self_clearing: Vec::new(),
            sensors: false,
            max_clients: 32,
            map_limit: 0x800_0000,
            alignment: Alignment::default(),
            protocol_flags: "MI".to_owned(),
            restart_time: Duration::from_millis(100),
            faults: Vec::new(),
            seed: 1,
            record: 1000,
            journal: false,
        }
    }
}
