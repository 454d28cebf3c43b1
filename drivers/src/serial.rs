//! Instruments on a serial line.
//!
//! Names of methods and attributes are pyserial's where it has them. A port that is pulled out is a
//! `ConnectionError` at once, and is opened again by a later call: `serial/link.rs`. An answer is never given
//! to the wrong command: `serial/channel.rs`. The drivers `scpi` and `valon` stand on both.

pub(crate) mod block;
pub(crate) mod channel;
mod error;
mod find;
mod link;
mod port;
pub(crate) mod settings;
mod talk;

pub use error::SerialError;
pub use find::PortInfo;
pub use talk::Data;

pub(crate) use error::shown;
pub(crate) use link::Target;
pub(crate) use port::LineSettings;
pub(crate) use talk::{seconds, timeout};

use crate::{Opener, settings::Settings};
use channel::Channel;
use port::io_error;
use proximity_proto::{Context, expose, object::Way};
use serialport::{ClearBuffer, FlowControl, Parity, SerialPort, StopBits, TTYPort};
use settings::Lines;
use std::{path::Path, sync::Arc, time::Duration};

/// Takes an instrument's keys from its table in the configuration.
pub fn configure(settings: &mut Settings<'_>) -> Opener {
    let target = settings::target(settings, false);
    let line = settings::line(settings);
    let lines = settings::lines(settings);
    let manners = settings::manners(settings, &lines, "");
    Box::new(move || {
        let channel = Channel::new(target.clone(), line.clone(), manners.clone());
        Ok(Box::new(Serial { channel, lines: lines.clone() }))
    })
}

/// An instrument on a serial line.
pub struct Serial {
    channel: Channel,
    lines: Lines,
}

/// A serial port. It is opened by the first call, and again by a later one after it went away.
#[expose(parts(talk::Talk), way = way)]
impl Serial {
    /// Opens the port, where it was closed or is away, without a pause.
    ///
    /// raises ConnectionError: it cannot be opened
    #[effect(admin)]
    pub fn open(&mut self, cx: &Context<'_>) -> Result<(), SerialError> {
        self.channel.reopen();
        self.channel.open(cx)
    }

    /// Closes the port, for another program to use it, until open() is called.
    #[effect(admin)]
    pub fn close(&mut self) {
        self.channel.close();
    }

    /// Lists the serial ports of the agent's machine.
    ///
    /// returns: a list of dicts: device, by_id (a name that stays the same), and of USB devices vid, pid,
    /// serial_number, interface, manufacturer, product
    ///
    /// raises OSError: the system does not tell
    #[effect(read)]
    pub fn list_ports(&mut self) -> Result<Vec<PortInfo>, proximity_proto::Fault> {
        find::list_ports(Path::new(find::SYSFS)).map_err(|error| {
            proximity_proto::Fault::new("OSError", format!("cannot read {}", find::SYSFS))
                .detail(error.to_string())
        })
    }

    /// Throws away what the instrument sent.
    ///
    /// raises ConnectionError: the port is away
    #[effect(write)]
    pub fn reset_input_buffer(&mut self, cx: &Context<'_>) -> Result<(), SerialError> {
        self.channel.open(cx)?;
        self.channel.discard_input(b"reset_input_buffer")?;
        Ok(())
    }

    /// Throws away what was written and not yet sent.
    ///
    /// raises ConnectionError: the port is away
    #[effect(write)]
    pub fn reset_output_buffer(&mut self, cx: &Context<'_>) -> Result<(), SerialError> {
        self.channel.open(cx)?;
        self.tty("output buffer", |tty| tty.clear(ClearBuffer::Output))
    }

    /// Waits until all that was written is sent.
    ///
    /// What the port's own hardware still holds, mostly 16 bytes or fewer, is not counted.
    ///
    /// raises TimeoutError: the line takes no more bytes
    /// raises ConnectionError: the port is away
    #[effect(read)]
    pub fn flush(&mut self, cx: &Context<'_>) -> Result<(), SerialError> {
        self.channel.open(cx)?;
        self.channel.flush(cx)
    }

    /// Holds the line in the break state.
    ///
    /// duration: seconds, 0.001 to 10
    ///
    /// raises RuntimeError: the port cannot do that
    /// raises ConnectionError: the port is away
    #[effect(write)]
    pub fn send_break(
        &mut self,
        cx: &Context<'_>,
        #[default(0.25)] duration: f64,
    ) -> Result<(), SerialError> {
        let duration = talk::seconds("duration", duration, 0.001..=10.0, "0.001 to 10 seconds")?;
        self.channel.open(cx)?;
        self.tty("break", |tty| tty.set_break())?;
        let waited = self.channel.pause(cx, duration);
        // Whatever happened meanwhile: a line left in the break state carries nothing.
        self.tty("break", |tty| tty.clear_break())?;
        waited
    }

    /// Whether the port is open.
    #[quick]
    #[attribute]
    pub fn is_open(&mut self) -> bool {
        self.channel.is_up()
    }

    /// Connected or Disconnected; a port is Disconnected until it is first needed.
    #[quick]
    #[attribute]
    pub fn state(&mut self) -> &'static str {
        if self.channel.is_up() { "Connected" } else { "Disconnected" }
    }

    /// Which port it is, as configured.
    #[quick]
    #[attribute]
    pub fn port(&self) -> &str {
        self.channel.name()
    }

    /// How many bytes came and were not read.
    #[attribute]
    pub fn in_waiting(&mut self, cx: &Context<'_>) -> Result<usize, SerialError> {
        self.channel.unread(cx)
    }

    /// How many bytes were written and are not sent.
    #[attribute]
    pub fn out_waiting(&mut self, cx: &Context<'_>) -> Result<u32, SerialError> {
        self.channel.open(cx)?;
        self.tty("output buffer", |tty| tty.bytes_to_write())
    }

    /// Bits a second.
    #[quick]
    #[attribute]
    pub fn baudrate(&mut self) -> u32 {
        self.channel.line().baud
    }

    /// Sets the bits a second.
    #[attribute]
    pub fn set_baudrate(&mut self, baudrate: u32) -> Result<(), SerialError> {
        if !(50..=12_000_000).contains(&baudrate) {
            return Err(bad("baudrate", &baudrate, "50 to 12000000"));
        }
        self.set("such speed", |line| line.baud = baudrate, |tty| tty.set_baud_rate(baudrate))
    }

    /// Data bits in a byte.
    #[quick]
    #[attribute]
    pub fn bytesize(&mut self) -> u8 {
        u8::from(self.channel.line().data_bits)
    }

    /// Sets the data bits in a byte: 5 to 8.
    #[attribute]
    pub fn set_bytesize(&mut self, bytesize: i64) -> Result<(), SerialError> {
        let bits = settings::data_bits(bytesize);
        let bits = bits.ok_or_else(|| bad("bytesize", &bytesize, "5, 6, 7 or 8"))?;
        self.set("such bytes", |line| line.data_bits = bits, |tty| tty.set_data_bits(bits))
    }

    /// The parity: N, E or O, for none, even or odd.
    #[quick]
    #[attribute]
    pub fn parity(&mut self) -> &'static str {
        match self.channel.line().parity {
            Parity::None => "N",
            Parity::Even => "E",
            Parity::Odd => "O",
        }
    }

    /// Sets the parity: N, E or O.
    #[attribute]
    pub fn set_parity(&mut self, parity: &str) -> Result<(), SerialError> {
        let parity = match parity {
            "N" => Parity::None,
            "E" => Parity::Even,
            "O" => Parity::Odd,
            other => return Err(bad("parity", &other, "N, E or O")),
        };
        self.set("parity", |line| line.parity = parity, |tty| tty.set_parity(parity))
    }

    /// Stop bits.
    #[quick]
    #[attribute]
    pub fn stopbits(&mut self) -> u8 {
        u8::from(self.channel.line().stop_bits)
    }

    /// Sets the stop bits: 1 or 2.
    #[attribute]
    pub fn set_stopbits(&mut self, stopbits: i64) -> Result<(), SerialError> {
        let bits = match stopbits {
            1 => StopBits::One,
            2 => StopBits::Two,
            other => return Err(bad("stopbits", &other, "1 or 2")),
        };
        self.set("such stop bits", |line| line.stop_bits = bits, |tty| tty.set_stop_bits(bits))
    }

    /// Whether XON and XOFF control the flow.
    #[quick]
    #[attribute]
    pub fn xonxoff(&mut self) -> bool {
        self.channel.line().flow == FlowControl::Software
    }

    /// Sets whether XON and XOFF control the flow; then RTS and CTS do not.
    #[attribute]
    pub fn set_xonxoff(&mut self, xonxoff: bool) -> Result<(), SerialError> {
        self.set_flow(FlowControl::Software, xonxoff)
    }

    /// Whether RTS and CTS control the flow.
    #[quick]
    #[attribute]
    pub fn rtscts(&mut self) -> bool {
        self.channel.line().flow == FlowControl::Hardware
    }

    /// Sets whether RTS and CTS control the flow; then XON and XOFF do not.
    #[attribute]
    pub fn set_rtscts(&mut self, rtscts: bool) -> Result<(), SerialError> {
        self.set_flow(FlowControl::Hardware, rtscts)
    }

    /// Seconds that the instrument may be silent before and within an answer.
    #[quick]
    #[attribute]
    pub fn timeout(&self) -> f64 {
        self.channel.manners.timeout.as_secs_f64()
    }

    /// Sets the seconds that the instrument may be silent.
    #[quick]
    #[attribute]
    pub fn set_timeout(&mut self, timeout: f64) -> Result<(), SerialError> {
        self.channel.manners.timeout = talk::timeout(timeout)?;
        Ok(())
    }

    /// Seconds that the line may take no byte.
    #[quick]
    #[attribute]
    pub fn write_timeout(&self) -> f64 {
        self.channel.manners.write_timeout.as_secs_f64()
    }

    /// Sets the seconds that the line may take no byte.
    #[quick]
    #[attribute]
    pub fn set_write_timeout(&mut self, write_timeout: f64) -> Result<(), SerialError> {
        self.channel.manners.write_timeout = talk::timeout(write_timeout)?;
        Ok(())
    }

    /// The line Data Terminal Ready, as set; None where the port has it as the system does.
    #[quick]
    #[attribute]
    pub fn dtr(&mut self) -> Option<bool> {
        self.channel.line().dtr
    }

    /// Sets the line Data Terminal Ready, now and whenever the port is opened.
    #[attribute]
    pub fn set_dtr(&mut self, dtr: bool) -> Result<(), SerialError> {
        let write = |tty: &mut TTYPort| tty.write_data_terminal_ready(dtr);
        self.set("line DTR", |line| line.dtr = Some(dtr), write)
    }

    /// The line Request To Send, as set; None where the port has it as the system does.
    #[quick]
    #[attribute]
    pub fn rts(&mut self) -> Option<bool> {
        self.channel.line().rts
    }

    /// Sets the line Request To Send, now and whenever the port is opened.
    #[attribute]
    pub fn set_rts(&mut self, rts: bool) -> Result<(), SerialError> {
        let write = |tty: &mut TTYPort| tty.write_request_to_send(rts);
        self.set("line RTS", |line| line.rts = Some(rts), write)
    }

    /// The line Clear To Send.
    #[attribute]
    pub fn cts(&mut self, cx: &Context<'_>) -> Result<bool, SerialError> {
        self.channel.open(cx)?;
        self.tty("line CTS", SerialPort::read_clear_to_send)
    }

    /// The line Data Set Ready.
    #[attribute]
    pub fn dsr(&mut self, cx: &Context<'_>) -> Result<bool, SerialError> {
        self.channel.open(cx)?;
        self.tty("line DSR", SerialPort::read_data_set_ready)
    }

    /// The line Carrier Detect.
    #[attribute]
    pub fn cd(&mut self, cx: &Context<'_>) -> Result<bool, SerialError> {
        self.channel.open(cx)?;
        self.tty("line CD", SerialPort::read_carrier_detect)
    }

    /// The line Ring Indicator.
    #[attribute]
    pub fn ri(&mut self, cx: &Context<'_>) -> Result<bool, SerialError> {
        self.channel.open(cx)?;
        self.tty("line RI", SerialPort::read_ring_indicator)
    }

    fn way(&self) -> Arc<dyn Way> {
        self.channel.way()
    }

    fn set_flow(&mut self, kind: FlowControl, wanted: bool) -> Result<(), SerialError> {
        let now = self.channel.line().flow;
        let flow = match (wanted, now == kind) {
            (true, _) => kind,
            (false, true) => FlowControl::None,
            (false, false) => now,
        };
        self.set("flow control", |line| line.flow = flow, |tty| tty.set_flow_control(flow))
    }

    /// Changes a setting of an open port, and keeps it for when the port is opened next.
    fn set(
        &mut self,
        what: &'static str,
        keep: impl FnOnce(&mut LineSettings),
        apply: impl FnOnce(&mut TTYPort) -> serialport::Result<()>,
    ) -> Result<(), SerialError> {
        if self.channel.is_up() {
            self.tty(what, apply)?;
        }
        keep(self.channel.line());
        Ok(())
    }

    /// Does something with the open port.
    fn tty<T>(
        &mut self,
        what: &'static str,
        act: impl FnOnce(&mut TTYPort) -> serialport::Result<T>,
    ) -> Result<T, SerialError> {
        let name = self.channel.name().clone();
        let Some(port) = self.channel.port() else {
            return Err(SerialError::Away { port: name, retry_in: Duration::ZERO, source: None });
        };
        act(port.tty()).map_err(|error| {
            let error = io_error(error);
            // Only the line tells whether the port is gone or never could: both are "unknown" errors.
            if self.channel.is_up() {
                SerialError::Unsupported { port: name, what, source: error }
            } else {
                let (doing, source) = (what.to_owned(), error.into());
                SerialError::Lost { port: name, doing, source }
            }
        })
    }
}

/// A value that will not do.
fn bad(what: &'static str, value: &dyn std::fmt::Display, must_be: &'static str) -> SerialError {
    SerialError::BadValue { what, value: value.to_string(), must_be }
}
