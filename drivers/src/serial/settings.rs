//! The keys that every instrument on a line has in the configuration.

use super::{
    channel::{Manners, Probe},
    find::UsbId,
    link::Target,
    port::LineSettings,
};
use crate::settings::Settings;
use serialport::{DataBits, FlowControl, Parity, StopBits};
use std::{borrow::Cow, path::PathBuf, time::Duration};

/// The seconds that anything may take.
const SECONDS: std::ops::RangeInclusive<f64> = 0.001..=3600.0;
/// The seconds that a pause may last.
const PAUSE: std::ops::RangeInclusive<f64> = 0.0..=60.0;
/// The port that instruments listen at for SCPI.
const SCPI_PORT: u16 = 5025;

/// What stands before an address of TCP.
const TCP: &str = "tcp://";

/// The line's settings that are most common.
pub(crate) const PLAIN: LineSettings = LineSettings {
    baud: 9600,
    data_bits: DataBits::Eight,
    parity: Parity::None,
    stop_bits: StopBits::One,
    flow: FlowControl::None,
    exclusive: true,
    dtr: None,
    rts: None,
};

/// Where the instrument is: `port`, or the `usb_` keys. An address `tcp://` will do only if `tcp`.
pub(crate) fn target(settings: &mut Settings<'_>, tcp: bool) -> Target {
    let port = settings.text("port");
    let mut number = |key, range| settings.int_in(key, 0..=range);
    let vendor = number("usb_vendor", 0xffff).and_then(|number| u16::try_from(number).ok());
    let product = number("usb_product", 0xffff).and_then(|number| u16::try_from(number).ok());
    let interface = number("usb_interface", 0xff).and_then(|number| u8::try_from(number).ok());
    let serial = settings.text("usb_serial").map(String::from);
    let usb = UsbId { vendor, product, serial, interface };
    let Some(port) = port else {
        if usb == UsbId::default() {
            let need = if tcp { "a device file or tcp://HOST" } else { "a device file" };
            settings.missing(format!(
                "the key 'port' is missing: {need}; or usb_vendor and usb_product"
            ));
        }
        return Target::Usb(usb);
    };
    if usb != UsbId::default() {
        settings.refuse("port", "'port' and the usb_ keys both tell where the instrument is");
    }
    match port.strip_prefix(TCP) {
        Some(address) if tcp => tcp_target(settings, address),
        None if port.starts_with('/') => Target::Path(PathBuf::from(port)),
        _ => {
            let or = if tcp { " or tcp://HOST:PORT" } else { "" };
            settings.refuse(
                "port",
                format!("'port' is '{port}'; it must be a path that starts with /{or}"),
            );
            Target::Path(PathBuf::new())
        }
    }
}

fn tcp_target(settings: &mut Settings<'_>, address: &str) -> Target {
    // An IPv6 address has colons of its own, and brackets around.
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().unwrap_or(0)),
        _ => (address, SCPI_PORT),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() || port == 0 {
        settings.refuse("port", format!("'port' is 'tcp://{address}'; it must be tcp://HOST:PORT"));
    }
    Target::Tcp { host: host.to_owned(), port }
}

/// The line's settings.
pub(crate) fn line(settings: &mut Settings<'_>) -> LineSettings {
    let baud = settings.int_in("baud", 50..=12_000_000).and_then(|baud| u32::try_from(baud).ok());
    let data_bits = settings.int_in("data_bits", 5..=8);
    let stop_bits = settings.int_in("stop_bits", 1..=2);
    let parity = choice(
        settings,
        "parity",
        &[("none", Parity::None), ("even", Parity::Even), ("odd", Parity::Odd)],
    );
    let flow = choice(
        settings,
        "flow_control",
        &[
            ("none", FlowControl::None),
            ("rts_cts", FlowControl::Hardware),
            ("xon_xoff", FlowControl::Software),
        ],
    );
    LineSettings {
        baud: baud.unwrap_or(PLAIN.baud),
        data_bits: data_bits.and_then(self::data_bits).unwrap_or(PLAIN.data_bits),
        parity: parity.unwrap_or(PLAIN.parity),
        stop_bits: if stop_bits == Some(2) { StopBits::Two } else { StopBits::One },
        flow: flow.unwrap_or(PLAIN.flow),
        exclusive: settings.bool("exclusive").unwrap_or(true),
        dtr: settings.bool("dtr"),
        rts: settings.bool("rts"),
    }
}

/// So many bits.
pub(crate) fn data_bits(count: i64) -> Option<DataBits> {
    match count {
        5 => Some(DataBits::Five),
        6 => Some(DataBits::Six),
        7 => Some(DataBits::Seven),
        8 => Some(DataBits::Eight),
        _ => None,
    }
}

/// How lines of text are told apart, and what their bytes mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lines {
    /// What ends a line that is sent.
    pub(crate) write_end: Vec<u8>,
    /// What ends a line that comes.
    pub(crate) read_end: Vec<u8>,
    pub(crate) encoding: Encoding,
}

/// What the bytes of a text mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Utf8,
    Latin1,
    Ascii,
}

impl Encoding {
    /// The text of an answer: never an error, for an instrument's noise is no fault of its caller's. What is
    /// no UTF-8 is read as Latin-1.
    pub(crate) fn decode(self, bytes: &[u8]) -> Cow<'_, str> {
        match (self, str::from_utf8(bytes)) {
            (Self::Utf8 | Self::Ascii, Ok(text)) => Cow::Borrowed(text),
            (Self::Latin1, Ok(text)) if text.is_ascii() => Cow::Borrowed(text),
            _ => Cow::Owned(bytes.iter().copied().map(char::from).collect()),
        }
    }

    /// The bytes of a text, or the first character that has none.
    pub(crate) fn encode(self, text: &str) -> Result<Cow<'_, [u8]>, char> {
        if self == Self::Utf8 || text.is_ascii() {
            return Ok(Cow::Borrowed(text.as_bytes()));
        }
        let byte = |c: char| match u8::try_from(c) {
            Ok(byte) if self == Self::Latin1 || byte.is_ascii() => Ok(byte),
            _ => Err(c),
        };
        Ok(Cow::Owned(text.chars().map(byte).collect::<Result<_, _>>()?))
    }
}

/// How lines are told apart.
pub(crate) fn lines(settings: &mut Settings<'_>) -> Lines {
    let write_end = settings.text("line_ending").unwrap_or("\n");
    let read_end = settings.text("read_line_ending").unwrap_or(write_end);
    if read_end.is_empty() {
        let key = if write_end.is_empty() { "line_ending" } else { "read_line_ending" };
        settings.refuse(key, format!("'{key}' is empty; an answer needs an end"));
    }
    let encoding = choice(
        settings,
        "encoding",
        &[("utf-8", Encoding::Utf8), ("latin-1", Encoding::Latin1), ("ascii", Encoding::Ascii)],
    );
    Lines {
        write_end: write_end.into(),
        read_end: read_end.into(),
        encoding: encoding.unwrap_or(Encoding::Utf8),
    }
}

/// How the instrument wants to be talked to, in `lines`; by `sync` it is seen whether it is in step, if the
/// configuration tells no other query.
pub(crate) fn manners(settings: &mut Settings<'_>, lines: &Lines, sync: &str) -> Manners {
    let on_open = settings.texts("on_open").unwrap_or_default();
    let sync = settings.text("sync").unwrap_or(sync);
    let mut line_of = |key: &str, line: &str| {
        let Ok(bytes) = lines.encoding.encode(line) else {
            settings.refuse(key, format!("'{key}' has '{line}', which the encoding cannot tell"));
            return Vec::new();
        };
        [&bytes, lines.write_end.as_slice()].concat()
    };
    let on_open = on_open.iter().map(|line| line_of("on_open", line)).collect();
    let query = line_of("sync", sync);
    let sync = (!sync.is_empty()).then(|| Probe { query, end: lines.read_end.clone() });
    Manners {
        timeout: seconds(settings, "timeout", SECONDS, 1.0),
        write_timeout: seconds(settings, "write_timeout", SECONDS, 1.0),
        echo: settings.bool("echo").unwrap_or(false),
        char_delay: seconds(settings, "char_delay", PAUSE, 0.0),
        command_delay: seconds(settings, "command_delay", PAUSE, 0.0),
        settle: seconds(settings, "settle", PAUSE, 0.1),
        resync: settings.text("resync").map_or_else(|| lines.write_end.clone(), Vec::from),
        sync,
        on_open,
    }
}

/// The seconds of `key`, or `default` of them.
pub(crate) fn seconds(
    settings: &mut Settings<'_>,
    key: &'static str,
    range: std::ops::RangeInclusive<f64>,
    default: f64,
) -> Duration {
    let given = settings.float(key).unwrap_or(default);
    if !range.contains(&given) {
        let (min, max) = (range.start(), range.end());
        settings.refuse(key, format!("'{key}' is {given}; it must be {min} to {max} seconds"));
        return Duration::from_secs_f64(default);
    }
    Duration::from_secs_f64(given)
}

/// One of a few words.
fn choice<T: Copy>(
    settings: &mut Settings<'_>,
    key: &'static str,
    words: &[(&str, T)],
) -> Option<T> {
    let given = settings.text(key)?;
    let found = words.iter().find(|(word, _)| *word == given);
    if found.is_none() {
        let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let words = words.join(", ");
        settings.refuse(key, format!("'{key}' is '{given}'; it must be one of: {words}"));
    }
    found.map(|(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use toml::Table;

    /// What is wrong with a table.
    fn mistakes(text: &str, tcp: bool) -> Vec<String> {
        let table: Table = text.parse().unwrap();
        let mut settings = Settings::new(&table, &[]);
        target(&mut settings, tcp);
        line(&mut settings);
        let lines = lines(&mut settings);
        manners(&mut settings, &lines, "");
        settings.finish().into_iter().map(|mistake| mistake.message).collect()
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_can() {
        for (text, said) in [
            ("port = 'ttyS0'", "'port' is 'ttyS0'; it must be a path that starts with /"),
            ("port = 'tcp://a'", "'port' is 'tcp://a'; it must be a path that starts with /"),
            (
                "baud = 9600",
                "the key 'port' is missing: a device file; or usb_vendor and usb_product",
            ),
            (
                "port = '/dev/ttyS0'\nusb_vendor = 0x403",
                "'port' and the usb_ keys both tell where the instrument is",
            ),
            (
                "port = '/dev/ttyS0'\nparity = 'mark'",
                "'parity' is 'mark'; it must be one of: none, even, odd",
            ),
            (
                "port = '/dev/ttyS0'\nline_ending = ''",
                "'line_ending' is empty; an answer needs an end",
            ),
            (
                "port = '/dev/ttyS0'\ntimeout = 0",
                "'timeout' is 0; it must be 0.001 to 3600 seconds",
            ),
            (
                "port = '/dev/ttyS0'\nencoding = 'ascii'\non_open = ['µ']",
                "'on_open' has 'µ', which the encoding cannot tell",
            ),
        ] {
            assert_eq!(mistakes(text, false), [said], "{text}");
        }
        for text in ["port = 'tcp://'", "port = 'tcp://a:b'"] {
            let found = mistakes(text, true);
            assert!(found.concat().ends_with("it must be tcp://HOST:PORT"), "{found:?}");
        }
    }

    #[test]
    fn addresses_have_the_port_of_scpi_unless_they_tell() {
        for (text, host, port) in [
            ("tcp://dmm", "dmm", 5025),
            ("tcp://10.1.2.3:9221", "10.1.2.3", 9221),
            ("tcp://[fd00::1]", "fd00::1", 5025),
            ("tcp://[fd00::1]:1234", "fd00::1", 1234),
        ] {
            let table: Table = format!("port = '{text}'").parse().unwrap();
            let found = target(&mut Settings::new(&table, &[]), true);
            assert_eq!(found, Target::Tcp { host: host.to_owned(), port });
        }
    }

    #[test]
    fn undecodable_bytes_are_latin_1() {
        assert_eq!(Encoding::Utf8.decode("20 µV".as_bytes()), "20 µV");
        assert_eq!(Encoding::Utf8.decode(b"20 \xb5V"), "20 µV");
        assert_eq!(Encoding::Latin1.decode("µ".as_bytes()), "Âµ");
        assert_eq!(Encoding::Latin1.encode("20 µV").unwrap().as_ref(), b"20 \xb5V");
        assert_eq!(Encoding::Ascii.encode("20 µV"), Err('µ'));
        assert_eq!(Encoding::Latin1.encode("€"), Err('€'));
    }
}
