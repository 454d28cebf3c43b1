//! An FPGA board behind a KATCP server: a ROACH, a ROACH2, or whatever speaks as they do.
//!
//! Method and parameter names are those of the Python `FpgaClient` that telescope software is written for. The
//! methods here are the ones that every board needs; further ones stand by topic in the files beside.

mod devices;
mod error;
mod memory;

pub use error::FpgaError;

use crate::{
    Opener,
    katcp_client::{Arg, FpgaState, KatcpClient, KatcpError, Limit},
    settings::Settings,
};
use devices::Devices;
use proximity_proto::{
    Context, FromArg, Later, Value, arg::Mismatch, arg::Type, expose, fault::did_you_mean,
};
use std::time::{Duration, Instant};

/// The port of every KATCP server on a board.
const PORT: u16 = 7147;
/// How long a board may take to answer, where the configuration does not tell.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The slowest transfer met on hardware, with a margin: writes of 0.6 MB/s.
const SLOWEST: u64 = 256 << 10;
/// Loading gateware takes a board 2 to 10 seconds.
const PROGRAM_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the clock counter is watched.
const CLOCK_WATCH: Duration = Duration::from_secs(2);
/// How long is_connected() waits for a connection that is being made: boards nearby take a millisecond.
const CONNECT_LOOK: Duration = Duration::from_millis(200);
/// How often wait_connected() looks.
const CONNECT_POLL: Duration = Duration::from_millis(50);
/// How long wait_connected() waits for a caller who names no time.
const CONNECT_WAIT: f64 = 5.0;

/// Takes a board's keys from its table in the configuration.
pub fn configure(settings: &mut Settings<'_>) -> Opener {
    let host = settings.required_text("host").to_owned();
    let port = settings.int_in("port", 1..=i64::from(u16::MAX)).unwrap_or_default();
    let timeout = settings.float("timeout").unwrap_or(TIMEOUT.as_secs_f64());
    if !(0.01..=3600.0).contains(&timeout) {
        settings.refuse("timeout", format!("'timeout' is {timeout}; it must be 0.01 to 3600 s"));
    }
    let byte_order = match settings.text("byte_order") {
        None | Some("big") => ByteOrder::Big,
        Some("little") => ByteOrder::Little,
        Some(other) => {
            let message = format!("'byte_order' is '{other}'; it must be big or little");
            settings.refuse("byte_order", message);
            ByteOrder::Big
        }
    };
    let setup = Setup {
        host,
        port: u16::try_from(port).ok().filter(|port| *port > 0).unwrap_or(PORT),
        timeout: Duration::try_from_secs_f64(timeout).unwrap_or(TIMEOUT),
        byte_order,
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
    /// The order of the bytes in a word of the FPGA's bus.
    pub byte_order: ByteOrder,
}

impl Setup {
    /// A board at `host` and `port` with everything else as usual.
    pub fn new(host: &str, port: u16) -> Self {
        Self { host: host.to_owned(), port, timeout: TIMEOUT, byte_order: ByteOrder::Big }
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
    byte_order: ByteOrder,
    devices: Devices,
    /// What was read last.
    data: Vec<u8>,
    /// What is written, where its bytes have to be swapped first.
    swapped: Vec<u8>,
}

impl Fpga {
    /// A board that is reached as `setup` says, when it is first needed.
    pub fn new(setup: &Setup) -> Self {
        Self {
            client: KatcpClient::new(&setup.host, setup.port),
            timeout: setup.timeout,
            byte_order: setup.byte_order,
            devices: Devices::default(),
            data: Vec::new(),
            swapped: Vec::new(),
        }
    }

    /// The time for a request that moves `bytes`.
    fn limit<'a>(&self, cx: &'a Context<'a>, bytes: u64) -> Limit<'a> {
        Limit::new(cx, self.timeout + Duration::from_secs(bytes / SLOWEST))
    }

    /// The word at `offset` of `register`, and when it was read: the middle between request and reply.
    fn timed_word(
        &mut self,
        limit: &Limit<'_>,
        register: &str,
    ) -> Result<(u32, Instant), FpgaError> {
        // What may have to be asked first is no part of the measured time.
        self.check_range(limit, register, 0, memory::WORD)?;
        let before = Instant::now();
        let word = self.read_word(limit, register, 0)?;
        Ok((word, before + before.elapsed() / 2))
    }

    /// Sees to it that the board has `file`, where it tells which it has: its server takes the running
    /// gateware down before it looks for the new one.
    fn check_file(&mut self, limit: &Limit<'_>, file: &str) -> Result<(), FpgaError> {
        let files = match self.bof_files(limit) {
            Ok(files) => files,
            Err(FpgaError::Katcp(KatcpError::Refused { .. })) => return Ok(()),
            Err(error) => return Err(error),
        };
        // Files whose name begins with a dot are not listed, and some servers list none at all.
        if files.is_empty() || file.starts_with('.') || files.iter().any(|known| known == file) {
            return Ok(());
        }
        Err(FpgaError::NoFile {
            board: self.client.board().clone(),
            file: file.to_owned(),
            meant: did_you_mean(file, files.iter().map(String::as_str)).map(str::to_owned),
        })
    }

    fn bof_files(&mut self, limit: &Limit<'_>) -> Result<Vec<String>, FpgaError> {
        let mut files = Vec::new();
        self.client.ask(limit, "listbof", &[], |mut inform| {
            let file = inform.next_arg().unwrap_or_default();
            files.push(String::from_utf8_lossy(file).into_owned());
        })?;
        Ok(files)
    }
}

/// An FPGA board behind a KATCP server. Its registers are read and written by name; listdev() tells the names.
#[expose]
impl Fpga {
    /// Lists the registers, memories and other devices of the running gateware.
    ///
    /// returns: their names
    ///
    /// Nothing on the board changes.
    ///
    /// raises RuntimeError: no gateware runs
    #[effect(read)]
    pub fn listdev(&mut self, cx: &Context<'_>) -> Result<Vec<String>, FpgaError> {
        let mut names = Vec::new();
        self.list_devices(&self.limit(cx, 0), None, |name, _| names.push(name))?;
        Ok(names)
    }

    /// Lists the files on the board that progdev() takes.
    ///
    /// returns: their names, in the order of the board; other files may be among them
    ///
    /// Nothing on the board changes.
    #[effect(read)]
    pub fn listbof(&mut self, cx: &Context<'_>) -> Result<Vec<String>, FpgaError> {
        self.bof_files(&self.limit(cx, 0))
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
    pub fn read(
        &mut self,
        cx: &Context<'_>,
        device_name: &str,
        size: u32,
        #[default(0)] offset: u32,
    ) -> Result<&[u8], FpgaError> {
        let limit = self.limit(cx, size.into());
        let range = self.read_range(&limit, device_name, offset.into(), size.into())?;
        Ok(self.data.get(range).unwrap_or_default())
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

    /// Loads gateware into the FPGA, in place of what runs there.
    ///
    /// boffile: a file on the board, see listbof(); None or '' only unloads what runs
    /// returns: the board's answer, 'ok'; old servers tell a number
    ///
    /// All registers get their initial values. After a failure no gateware runs at all; only an unknown file
    /// leaves everything as it was. May be repeated.
    ///
    /// raises KeyError: the board has no such file
    /// raises RuntimeError: the board refused
    /// raises TimeoutError: the board did not answer in time
    #[effect(admin)]
    pub fn progdev(
        &mut self,
        cx: &Context<'_>,
        boffile: Option<&str>,
    ) -> Result<String, FpgaError> {
        let limit = Limit::new(cx, self.timeout.max(PROGRAM_TIMEOUT));
        let file = boffile.filter(|file| !file.is_empty());
        if let Some(file) = file {
            self.check_file(&limit, file)?;
        }
        self.devices.forget();
        let args = file.map(Arg::from);
        let mut reply = self.client.ask(&limit, "progdev", args.as_slice(), |_| {})?;
        Ok(reply.next_arg().map_or_else(|| "ok".into(), |arg| text(arg)))
    }

    /// Tells whether gateware runs.
    ///
    /// returns: 'ready' if it does; old servers tell another word
    ///
    /// Nothing on the board changes.
    ///
    /// raises RuntimeError: no gateware runs, or it cannot be used yet
    #[effect(read)]
    pub fn status(&mut self, cx: &Context<'_>) -> Result<String, FpgaError> {
        let limit = self.limit(cx, 0);
        let reply = self.client.ask(&limit, "status", &[], |_| {});
        let word = match reply.map(|mut reply| reply.next_arg().map(|word| text(word))) {
            Ok(word) => word,
            Err(KatcpError::Refused { .. }) if self.client.fpga() == FpgaState::Down => {
                return Err(FpgaError::NotProgrammed { board: self.client.board().clone() });
            }
            Err(error) => return Err(error.into()),
        };
        Ok(word.unwrap_or_else(|| match self.client.fpga() {
            FpgaState::Unknown => "ok".into(),
            state => state.as_str().into(),
        }))
    }

    /// Asks the board's server for a sign of life.
    ///
    /// returns: True
    ///
    /// Nothing on the board changes.
    ///
    /// raises ConnectionError: there is no connection to the board
    /// raises TimeoutError: the board did not answer in time
    #[effect(read)]
    pub fn ping(&mut self, cx: &Context<'_>) -> Result<bool, FpgaError> {
        self.client.ask(&self.limit(cx, 0), "watchdog", &[], |_| {})?;
        Ok(true)
    }

    /// Tells whether there is a connection to the board.
    ///
    /// returns: True or False
    ///
    /// If there is none, one is tried for, as any other method does. Nothing on the board changes.
    #[effect(read)]
    pub fn is_connected(&mut self, cx: &Context<'_>) -> bool {
        self.client.is_connected(Some(&Limit::new(cx, CONNECT_LOOK)))
    }

    /// Waits until there is a connection to the board.
    ///
    /// timeout: seconds to wait at most; None for 5
    /// returns: True if there is one, False if the time was over first
    ///
    /// Other calls to the same board are served meanwhile. Nothing on the board changes.
    #[effect(read)]
    pub fn wait_connected(
        &mut self,
        cx: &Context<'_>,
        #[default(None)] timeout: Option<f64>,
    ) -> Later<Self, bool> {
        let timeout = timeout.unwrap_or(CONNECT_WAIT).max(0.0);
        let timeout = Duration::try_from_secs_f64(timeout).unwrap_or(Duration::MAX);
        let until = cx.now().saturating_add(timeout);
        self.await_connection(cx, cx.deadline().map_or(until, |deadline| deadline.min(until)))
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

impl Fpga {
    fn await_connection(&mut self, cx: &Context<'_>, until: Duration) -> Later<Self, bool> {
        if self.client.is_connected(None) {
            return Later::Ready(true);
        }
        if cx.now() >= until {
            return Later::Ready(false);
        }
        let at = until.min(cx.now() + CONNECT_POLL);
        Later::at(at, move |board: &mut Self, cx| Ok(board.await_connection(cx, until)))
    }
}

/// Text for a person from a server that promises no encoding.
fn text(bytes: &[u8]) -> String {
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
