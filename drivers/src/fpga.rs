//! An FPGA board behind a KATCP server: a ROACH, a ROACH2, or whatever speaks as they do.
//!
//! Method and parameter names are those of the Python `FpgaClient` that telescope software is written for. The
//! methods here are the ones that every board needs; further ones stand by topic in the files beside.

mod address;
mod bulk;
mod devices;
mod error;
mod fields;
mod files;
mod info;
mod link;
mod memory;
mod messaging;
mod plain;
mod program;
mod snapshot;
mod tap;
mod tengbe;

pub use address::{Ip, Mac};
pub use bulk::{Assignments, Place, QdrStatus, Words};
pub use error::FpgaError;
pub use memory::Reading;
pub use messaging::{Exchange, Given, Received};
pub use plain::{Dict, Plain};

use crate::{
    Opener,
    katcp_client::{KatcpClient, Limit},
    settings::Settings,
};
use devices::{Bits, Devices};
use info::Design;
use proximity_proto::{
    Context, FromArg, Later, ToReply, Value, arg::Mismatch, arg::Type, expose, object::Way, reply,
};
use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

/// The port of every KATCP server on a board.
const PORT: u16 = 7147;
/// How long a board may take to answer, where the configuration does not tell.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The slowest transfer met on hardware, with a margin: writes of 0.6 MB/s.
const SLOWEST: u64 = 256 << 10;
/// How often the clock counter is read at either end.
const CLOCK_READS: usize = 4;
/// How long the clock counter is watched.
const CLOCK_WATCH: Duration = Duration::from_secs(2);
/// The register that tells what board it is, in most designs.
const BOARD_ID: &str = "sys_board_id";

/// Why nothing could ever be reached at `host`, as far as that can be seen.
fn no_host(host: &str) -> Option<&'static str> {
    if host.is_empty() || host.contains(char::is_whitespace) || host.contains('/') {
        Some("it must be the name of a machine, or its address in numbers")
    } else if host.matches(':').count() == 1 {
        Some("the number behind the colon goes into 'port'")
    } else {
        None
    }
}

/// Takes a board's keys from its table in the configuration.
pub fn configure(settings: &mut Settings<'_>) -> Opener {
    let host = settings.required_text("host").to_owned();
    if let Some(why) = no_host(&host) {
        settings.refuse("host", format!("'host' is '{}'; {why}", host.escape_debug()));
    }
    let port = settings.int_in("port", 1..=i64::from(u16::MAX)).unwrap_or_default();
    let timeout = settings.float("timeout").unwrap_or(TIMEOUT.as_secs_f64());
    if !(0.01..=3600.0).contains(&timeout) {
        settings.refuse("timeout", format!("'timeout' is {timeout}; it must be 0.01 to 3600 s"));
    }
    let byte_order = match settings.text("byte_order") {
        None | Some("big") => Some(ByteOrder::Big),
        Some("little") => Some(ByteOrder::Little),
        Some("detect") => None,
        Some(other) => {
            let message = format!("'byte_order' is '{other}'; it must be big, little or detect");
            settings.refuse("byte_order", message);
            None
        }
    };
    let gateware_dir = settings.text("gateware_dir").map(PathBuf::from);
    let setup = Setup {
        host,
        port: u16::try_from(port).ok().filter(|port| *port > 0).unwrap_or(PORT),
        timeout: Duration::try_from_secs_f64(timeout).unwrap_or(TIMEOUT),
        byte_order,
        gateware_dir,
    };
    Box::new(move || Ok(Box::new(Fpga::new(&setup))))
}

/// How a board is reached.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Name or address.
    pub host: String,
    /// TCP port, 7147 as a rule.
    pub port: u16,
    /// How long the board may take to answer a request; transfers of many bytes get more.
    pub timeout: Duration,
    /// The order of the bytes in a word of the FPGA's bus; `None` to tell by the board's id.
    pub byte_order: Option<ByteOrder>,
    /// Where gateware files are that callers may name.
    pub gateware_dir: Option<PathBuf>,
}

impl Setup {
    /// A board at `host` and `port` with everything else as usual.
    pub fn new(host: &str, port: u16) -> Self {
        Self {
            host: host.to_owned(),
            port,
            timeout: TIMEOUT,
            byte_order: Some(ByteOrder::Big),
            gateware_dir: None,
        }
    }
}

/// The order of the bytes in a word of the FPGA's bus, as the board's server passes them on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteOrder {
    /// Most significant byte first: boards with a PowerPC, and most others.
    Big,
    /// Least significant byte first: the Red Pitaya.
    Little,
}

/// An FPGA board.
pub struct Fpga {
    client: KatcpClient,
    timeout: Duration,
    gateware_dir: Option<PathBuf>,
    byte_order: ByteOrder,
    /// Whether the byte order is told by the board's id, with each new design.
    detects: bool,
    devices: Devices,
    /// The running design, and the client's count of changes when it was.
    design: Option<(u64, Design)>,
    /// The connection whose server is known to have no `?bulkread`.
    no_bulkread: Option<u64>,
    /// What was read last.
    data: Vec<u8>,
    /// What is written, where its bytes have to be swapped first.
    swapped: Vec<u8>,
    /// Chunks of a file that is to be uploaded.
    staged: Vec<u8>,
}

impl Fpga {
    /// A board that is reached as `setup` says, when it is first needed.
    pub fn new(setup: &Setup) -> Self {
        Self {
            client: KatcpClient::new(&setup.host, setup.port),
            timeout: setup.timeout,
            gateware_dir: setup.gateware_dir.clone(),
            byte_order: setup.byte_order.unwrap_or(ByteOrder::Big),
            detects: setup.byte_order.is_none(),
            devices: Devices::default(),
            design: None,
            no_bulkread: None,
            data: Vec::new(),
            swapped: Vec::new(),
            staged: Vec::new(),
        }
    }

    fn way(&self) -> Arc<dyn Way> {
        self.client.way()
    }

    /// The time for a request that moves `bytes`.
    fn limit<'a>(&self, cx: &'a Context<'a>, bytes: u64) -> Limit<'a> {
        Limit::new(cx, self.timeout + Duration::from_secs(bytes / SLOWEST))
    }

    /// The word in `register`, and when it was read: the middle between request and reply, of the quickest of a few
    /// reads, for a reply may come late and a read be held up.
    fn timed_word(
        &mut self,
        limit: &Limit<'_>,
        register: &str,
    ) -> Result<(u32, Instant), FpgaError> {
        let mut best: Option<(Duration, u32, Instant)> = None;
        for _ in 0..CLOCK_READS {
            let before = Instant::now();
            let word = self.read_word(limit, register, 0)?;
            let took = before.elapsed();
            if best.is_none_or(|(least, ..)| took < least) {
                best = Some((took, word, before + took / 2));
            }
        }
        Ok(best.map_or((0, Instant::now()), |(_, word, at)| (word, at)))
    }
}

/// An FPGA board behind a KATCP server. Its registers are read and written by name; listdev() tells the names.
#[expose(parts(
    program::Programs,
    bulk::Bulk,
    snapshot::Snapshots,
    info::Info,
    tengbe::TenGbe,
    tap::Taps,
    link::Links,
    messaging::Messaging
), way = way)]
impl Fpga {
    /// Lists the registers, memories and other devices of the running gateware.
    ///
    /// getsize: their sizes too, in bytes
    /// getaddress: their addresses too
    /// returns: their names; with getsize or getaddress, lists of name and number, or of name, size and address
    ///
    /// Nothing on the board changes.
    ///
    /// raises RuntimeError: no gateware runs
    #[effect(read)]
    pub fn listdev(
        &mut self,
        cx: &Context<'_>,
        #[default(false)] getsize: bool,
        #[default(false)] getaddress: bool,
    ) -> Result<DeviceList, FpgaError> {
        let limit = self.limit(cx, 0);
        let what = if getsize { Some("size") } else { getaddress.then_some("detail") };
        let mut devices = Vec::new();
        let number = |what: Option<&str>, bits: Option<Bits>| {
            bits.map(|bits| if what == Some("size") { bits.bytes() } else { bits.0 / 8 })
        };
        self.list_devices(&limit, what, |name, bits| {
            devices.push((name, what.map(|_| vec![number(what, bits).unwrap_or_default()])));
        })?;
        if getsize && getaddress {
            let mut place = 0;
            self.list_devices(&limit, Some("detail"), |name, address| {
                // The same list in the same order, unless it changed in between.
                if let Some((known, Some(numbers))) = devices.get_mut(place)
                    && *known == name
                {
                    numbers.push(number(None, address).unwrap_or_default());
                }
                place += 1;
            })?;
        }
        Ok(DeviceList(devices))
    }

    /// Reads `size` bytes of `device_name`, starting `offset` bytes into it.
    ///
    /// device_name: register or memory as named by listdev()
    /// size: bytes, at least 1
    /// offset: bytes from the start of the device
    /// returns: bytes, most significant byte of each 32-bit word first
    ///
    /// Nothing on the board changes, save what the gateware itself does when it is read.
    ///
    /// raises KeyError: the running gateware has no such device
    /// raises ValueError: the device ends before that
    /// raises TimeoutError: the board did not answer in time
    #[effect(read)]
    pub fn read<'a>(
        &'a mut self,
        cx: &'a Context<'a>,
        device_name: &'a str,
        size: u32,
        #[default(0)] offset: u32,
    ) -> Reading<'a> {
        let (register, offset, count) = (device_name, offset.into(), size.into());
        Reading { fpga: self, cx, register, offset, count }
    }

    /// Writes `data` into `device_name`, reads it back and compares.
    ///
    /// device_name: register or memory as named by listdev()
    /// data: bytes, most significant byte of each 32-bit word first; a multiple of 4
    /// offset: bytes from the start of the device; a multiple of 4
    ///
    /// The same may be written again. For registers that change by themselves use blindwrite().
    ///
    /// raises KeyError: the running gateware has no such device
    /// raises ValueError: the device ends before that, or length or offset is no multiple of 4
    /// raises RuntimeError: the board refused, or the device does not hold what was written
    /// raises TimeoutError: the board did not answer in time
    pub fn write(
        &mut self,
        cx: &Context<'_>,
        device_name: &str,
        data: &[u8],
        #[default(0)] offset: u32,
    ) -> Result<(), FpgaError> {
        let limit = self.limit(cx, 2 * data.len() as u64);
        self.write_verified(&limit, device_name, offset.into(), data)
    }

    /// Writes `data` into `device_name`, and does not read it back.
    ///
    /// device_name: register or memory as named by listdev()
    /// data: bytes, most significant byte of each 32-bit word first; a multiple of 4
    /// offset: bytes from the start of the device; a multiple of 4
    ///
    /// Whether it may be repeated is the gateware's affair.
    ///
    /// raises KeyError: the running gateware has no such device
    /// raises ValueError: the device ends before that, or length or offset is no multiple of 4
    /// raises RuntimeError: the board refused
    /// raises TimeoutError: the board did not answer in time
    pub fn blindwrite(
        &mut self,
        cx: &Context<'_>,
        device_name: &str,
        data: &[u8],
        #[default(0)] offset: u32,
    ) -> Result<(), FpgaError> {
        let limit = self.limit(cx, data.len() as u64);
        self.write_range(&limit, device_name, offset.into(), data)
    }

    /// Reads a register as a signed number.
    ///
    /// device_name: register or memory as named by listdev()
    /// offset: 32-bit words from the start of the device
    /// returns: -2147483648 to 2147483647
    ///
    /// Nothing on the board changes, save what the gateware itself does when it is read.
    ///
    /// raises KeyError: the running gateware has no such device
    /// raises ValueError: the device ends before that
    /// raises TimeoutError: the board did not answer in time
    #[effect(read)]
    pub fn read_int(
        &mut self,
        cx: &Context<'_>,
        device_name: &str,
        #[default(0)] offset: u32,
    ) -> Result<i32, FpgaError> {
        self.read_word(&self.limit(cx, 0), device_name, offset).map(u32::cast_signed)
    }

    /// Reads a register as a number that is not negative.
    ///
    /// device_name: register or memory as named by listdev()
    /// offset: 32-bit words from the start of the device
    /// returns: 0 to 4294967295
    ///
    /// Nothing on the board changes, save what the gateware itself does when it is read.
    ///
    /// raises KeyError: the running gateware has no such device
    /// raises ValueError: the device ends before that
    /// raises TimeoutError: the board did not answer in time
    #[effect(read)]
    pub fn read_uint(
        &mut self,
        cx: &Context<'_>,
        device_name: &str,
        #[default(0)] offset: u32,
    ) -> Result<u32, FpgaError> {
        self.read_word(&self.limit(cx, 0), device_name, offset)
    }

    /// Writes a number into a register, and reads it back unless told otherwise.
    ///
    /// device_name: register or memory as named by listdev()
    /// integer: -2147483648 to 4294967295; a negative one is written as its two's complement
    /// blindwrite: do not read back; for registers that cannot be read, or change by themselves
    /// offset: 32-bit words from the start of the device
    ///
    /// The same may be written again, unless the gateware counts writes.
    ///
    /// raises KeyError: the running gateware has no such device
    /// raises ValueError: the device ends before that, or `integer` has no room in 32 bits
    /// raises RuntimeError: the board refused, or the register does not hold what was written
    /// raises TimeoutError: the board did not answer in time
    pub fn write_int(
        &mut self,
        cx: &Context<'_>,
        device_name: &str,
        integer: Word,
        #[default(false)] blindwrite: bool,
        #[default(0)] offset: u32,
    ) -> Result<(), FpgaError> {
        let (limit, offset) = (self.limit(cx, 0), u64::from(offset) * memory::WORD);
        let bytes = integer.0.to_be_bytes();
        if blindwrite {
            self.write_range(&limit, device_name, offset, &bytes)
        } else {
            self.write_verified(&limit, device_name, offset, &bytes)
        }
    }

    /// Measures the clock of the running gateware by its counter sys_clkcounter.
    ///
    /// returns: MHz
    ///
    /// Takes 2 seconds, or half of what the caller waits if that is less; other calls to the same board are
    /// served meanwhile. Clocks up to 2147 MHz are told right. Nothing on the board changes.
    ///
    /// raises KeyError: the running gateware has no sys_clkcounter
    /// raises RuntimeError: the gateware changed meanwhile
    #[effect(read)]
    pub fn est_brd_clk(&mut self, cx: &Context<'_>) -> Result<Later<Self, f64>, FpgaError> {
        const COUNTER: &str = "sys_clkcounter";
        let (first, started) = self.timed_word(&self.limit(cx, 0), COUNTER)?;
        let changes = self.client.changes();
        let watch = cx.remaining().map_or(CLOCK_WATCH, |left| CLOCK_WATCH.min(left / 2));
        Ok(Later::at(cx.now() + watch, move |board: &mut Self, cx| {
            let (second, ended) = board.timed_word(&board.limit(cx, 0), COUNTER)?;
            if board.client.changes() != changes {
                let (board, what) = (board.client.board().clone(), "est_brd_clk()");
                return Err(FpgaError::Changed { board, what }.into());
            }
            // The counter has 32 bits and starts again at 0.
            let ticks = f64::from(second.wrapping_sub(first));
            Ok(Later::Ready(ticks / (ended - started).as_secs_f64() / 1e6))
        }))
    }

    /// What is known of the board without asking it: 'stopped', 'disconnected', or what its server last told
    /// of the FPGA: 'down', 'loaded', 'mapped', 'ready', or 'unknown' if it has not.
    #[quick]
    #[attribute]
    pub fn state(&self) -> &'static str {
        match (self.client.is_running(), self.client.is_up()) {
            (false, _) => "stopped",
            (true, false) => "disconnected",
            (true, true) => self.client.fpga().as_str(),
        }
    }

    /// Host and port of the board.
    #[quick]
    #[attribute]
    pub fn address(&self) -> &str {
        self.client.board()
    }
}

/// Devices by name, and what was asked of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceList(pub Vec<(String, Option<Vec<u64>>)>);

impl ToReply for DeviceList {
    fn to_reply(&self, out: &mut Vec<u8>) {
        reply::list_head(out, self.0.len());
        for (name, numbers) in &self.0 {
            if let Some(numbers) = numbers {
                reply::list_head(out, 1 + numbers.len());
                name.to_reply(out);
                for number in numbers {
                    number.to_reply(out);
                }
            } else {
                name.to_reply(out);
            }
        }
    }

    fn ty() -> Type {
        Type::named("list")
    }
}

/// A timeout of so many seconds.
fn timeout(seconds: Option<f64>) -> Result<Option<Duration>, FpgaError> {
    let Some(seconds) = seconds else { return Ok(None) };
    if (0.001..=3600.0).contains(&seconds) {
        return Ok(Some(Duration::from_secs_f64(seconds)));
    }
    let (what, value) = ("timeout", seconds.to_string());
    Err(FpgaError::BadValue { what, value, must_be: "0.001 to 3600 seconds" })
}

/// Text for a person from a server that promises no encoding.
fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A number that has room in a register, signed or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word(pub u32);

impl FromArg<'_> for Word {
    fn from_arg(value: Value<'_>) -> Result<Self, Mismatch> {
        let number = i64::from_arg(value).map_err(|mismatch| match mismatch {
            Mismatch::OutOfRange { given, .. } => out_of_range(given),
            other => other,
        })?;
        u32::try_from(number)
            .or_else(|_| i32::try_from(number).map(i32::cast_unsigned))
            .map(Self)
            .map_err(|_| out_of_range(number.into()))
    }

    fn ty() -> Type {
        Type { name: "int".into(), range: Some((i32::MIN.into(), u32::MAX.into())) }
    }
}

fn out_of_range(given: i128) -> Mismatch {
    Mismatch::OutOfRange { given, min: i32::MIN.into(), max: u32::MAX.into() }
}
