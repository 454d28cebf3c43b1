//! A serial port against a simulated instrument: noise, partial lines, slow answers, echo, hang-ups.

// A test that fails by a panic is a test that works.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod instrument;

use instrument::{Act, Device, Instrument, Socket, eventually, lines, say};
use serialport::{DataBits, Parity, SerialPort, StopBits};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Short enough for tests, long enough for a busy machine.
const TIMES: &str = "timeout = 0.5\nsettle = 0.1\n";

const MILLISECOND: Duration = Duration::from_millis(1);

fn port(socket: &Socket, keys: &str) -> Device {
    Device::new("serial", &format!("{}{TIMES}{keys}", socket.key()))
}

/// An instrument that answers `Q1` with `A1`.
fn answers(line: &str) -> Vec<Act> {
    line.strip_prefix('Q').map_or_else(Vec::new, |number| say(format!("A{number}\n")))
}

#[test]
fn a_query_is_answered_by_the_next_line() {
    let socket = Socket::new();
    let _instrument = Instrument::lines(&socket, |line| match line {
        "VOLT?" => say("1.25 V\n"),
        "UNIT?" => say(b"20 \xb5V\n"),
        other => answers(other),
    });
    let mut port = port(&socket, "");
    assert_eq!(port.get("state"), r#""Disconnected""#);
    assert_eq!(port.ask("query", r#"["VOLT?"]"#), r#""1.25 V""#);
    assert_eq!(port.ask("query", r#"["UNIT?"]"#), r#""20 µV""#);
    assert_eq!(port.ask("query", r#"["Q7"]"#), r#""A7""#);
    assert_eq!((port.get("state"), port.get("is_open")), (r#""Connected""#.into(), "true".into()));
}

#[test]
fn other_line_endings_are_sent_and_stripped() {
    let socket = Socket::new();
    let _instrument = Instrument::new(&socket, |input| {
        if input.ends_with(b"Q\r") {
            input.clear();
            return say("A\r\n");
        }
        Vec::new()
    });
    let mut port = port(&socket, "line_ending = \"\\r\"\nread_line_ending = \"\\r\\n\"\n");
    assert_eq!(port.ask("query", r#"["Q"]"#), r#""A""#);
}

#[test]
fn what_nobody_asked_for_is_thrown_away_before_a_query() {
    let socket = Socket::new();
    let _instrument = Instrument::lines(&socket, |line| match line.strip_prefix('Q') {
        Some(number) => {
            let noise = b"\n\x00\xff noise\nA99\n half a li";
            say([b"A", number.as_bytes(), noise].concat())
        }
        None => Vec::new(),
    });
    let mut port = port(&socket, "");
    for number in 0..10 {
        assert_eq!(port.ask("query", &format!(r#"["Q{number}"]"#)), format!(r#""A{number}""#));
    }
}

#[test]
fn a_slow_answer_is_waited_for_as_long_as_it_goes_on() {
    let socket = Socket::new();
    let _instrument = Instrument::lines(&socket, |line| {
        let bytes = if line == "Q" { "slow answer\n" } else { "" };
        let piece = |byte| [Act::Wait(60 * MILLISECOND), Act::Say(vec![byte])];
        bytes.bytes().flat_map(piece).collect()
    });
    let mut port = port(&socket, "");
    let begun = Instant::now();
    assert_eq!(port.ask("query", r#"["Q"]"#), r#""slow answer""#);
    assert!(begun.elapsed() > 600 * MILLISECOND);
}

#[test]
fn a_partial_answer_is_an_error_that_tells() {
    let socket = Socket::new();
    let _instrument = Instrument::lines(&socket, |line| match line {
        "HALF" => say("1.2"),
        "NONE" => Vec::new(),
        other => answers(other),
    });
    let mut port = port(&socket, "");
    let path = socket.path().display().to_string();
    let told = |text: &str| text.replace(&path, "PORT");
    assert_eq!(port.ask("query", r#"["Q1"]"#), r#""A1""#);
    let error = port.call("query", r#"["NONE"]"#).unwrap_err();
    assert_eq!((error.class.as_ref(), error.detail.len()), ("TimeoutError", 0));
    let text = told(&lines(&error));
    assert!(text.starts_with(r"TimeoutError: PORT did not answer 'NONE\n' within 5"), "{text}");
    assert!(
        text.ends_with(
            "; 0 bytes came\n  hint: do baud, parity and the line ending fit the instrument?"
        ),
        "{text}"
    );
    let text = told(&port.ask("query", r#"["HALF"]"#));
    assert!(
        text.ends_with("; 3 bytes came\n  hint: does the line ending fit the instrument?"),
        "{text}"
    );
    assert_eq!(port.ask("query", r#"["Q2"]"#), r#""A2""#);
}

#[test]
fn a_late_answer_is_never_taken_for_another() {
    let socket = Socket::new();
    let _instrument = Instrument::lines(&socket, |line| {
        let mut acts = answers(line);
        if line.ends_with("late") {
            acts.insert(0, Act::Wait(120 * MILLISECOND));
        }
        acts
    });
    let mut port = port(&socket, "");
    for number in 0..4 {
        // The caller gives up before the instrument has answered; the next one must not get that answer.
        port.patience = Some(40 * MILLISECOND);
        let error = port.call("query", &format!(r#"["Q{number}late"]"#)).unwrap_err();
        assert_eq!(error.class, "TimeoutError", "{error}");
        if number % 2 == 1 {
            // Nor one whose own time is too short to wait for that.
            let error = port.call("query", r#"["Q"]"#).unwrap_err();
            assert_eq!(error.class, "TimeoutError", "{error}");
        }
        port.patience = None;
        assert_eq!(port.ask("query", &format!(r#"["Q{number}"]"#)), format!(r#""A{number}""#));
    }
}

#[test]
fn a_call_that_is_called_off_ends_soon_and_leaves_nothing_behind() {
    let socket = Socket::new();
    let _instrument = Instrument::lines(&socket, |line| match line {
        "LONG" => vec![Act::Wait(400 * MILLISECOND), Act::Say(b"long\n".to_vec())],
        other => answers(other),
    });
    let mut port = port(&socket, "");
    assert_eq!(port.ask("query", r#"["Q1"]"#), r#""A1""#);
    let surroundings = port.surroundings.clone();
    let caller = thread::spawn(move || {
        thread::sleep(50 * MILLISECOND);
        surroundings.cancelled.store(true, Ordering::Relaxed);
    });
    let begun = Instant::now();
    let error = port.call("query", r#"["LONG", 1]"#).unwrap_err();
    caller.join().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(error.message.ends_with("was called off by its caller"), "{error}");
    port.surroundings.cancelled.store(false, Ordering::Relaxed);
    assert_eq!(port.ask("query", r#"["Q2"]"#), r#""A2""#);
}

#[test]
fn an_echo_is_taken_off_and_checked() {
    let socket = Socket::new();
    let _instrument = Instrument::lines(&socket, |line| {
        let echo = if line == "Q3" { "Q4" } else { line };
        match line.strip_prefix('Q') {
            Some(number) => say(format!("{echo}\nA{number}\n")),
            None => say(format!("{echo}\n")),
        }
    });
    let mut port = port(&socket, "echo = true\n");
    assert_eq!(port.ask("query", r#"["Q1"]"#), r#""A1""#);
    let told = port.ask("query", r#"["Q3"]"#).replace(&socket.path().display().to_string(), "PORT");
    assert_eq!(
        told,
        "RuntimeError: PORT echoed 'Q4\\n' where 'Q3\\n' was sent\n  \
         hint: echo = false, if the instrument does not echo"
    );
    assert_eq!(port.ask("query", r#"["Q2"]"#), r#""A2""#);
}

#[test]
fn a_hang_up_in_mid_answer_is_an_error_at_once_and_the_port_comes_back_by_itself() {
    let socket = Socket::new();
    let instrument = Instrument::lines(&socket, |line| match line {
        "PULL" => [say("1.2"), vec![Act::HangUp]].concat(),
        other => answers(other),
    });
    let mut port = port(&socket, "");
    let path = socket.path().display().to_string();
    assert_eq!(port.ask("query", r#"["Q1"]"#), r#""A1""#);
    let begun = Instant::now();
    let told = port.ask("query", r#"["PULL", 1]"#).replace(&path, "PORT");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(told.starts_with("ConnectionError: PORT went away during 'PULL\\n'\n"), "{told}");
    assert!(told.ends_with("hint: whether the instrument has done it is not known"), "{told}");
    assert_eq!(port.get("state"), r#""Disconnected""#);

    // The first try is made at once, the next after a pause; nothing waits meanwhile.
    let begun = Instant::now();
    let told = port.ask("query", r#"["Q2"]"#).replace(&path, "PORT");
    assert!(told.starts_with("ConnectionError: PORT is away; the next try is due in "), "{told}");
    assert!(
        told.ends_with(
            "No such file or directory (os error 2)\n  hint: is it plugged in and powered? \
         list_ports() tells which ports there are"
        ),
        "{told}"
    );
    let again = port.ask("query", r#"["Q2"]"#);
    assert!(again.starts_with("ConnectionError: "), "{again}");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());

    instrument.plug_in();
    eventually("it comes back", || port.ask("query", r#"["Q3"]"#) == r#""A3""#);
    assert_eq!(port.get("state"), r#""Connected""#);
}

#[test]
fn what_is_to_be_sent_on_opening_is_sent_first_and_again_after_a_hang_up() {
    let socket = Socket::new();
    let instrument = Instrument::lines(&socket, |line| match line {
        "PULL" => vec![Act::HangUp],
        other => answers(other),
    });
    let mut port = port(&socket, "on_open = ['REMOTE', 'FAST']\nresync = ''\n");
    assert_eq!(port.ask("query", r#"["Q1"]"#), r#""A1""#);
    assert_eq!(port.ask("query", r#"["Q2"]"#), r#""A2""#);
    let told = port.ask("query", r#"["PULL"]"#);
    assert!(told.starts_with("ConnectionError: "), "{told}");
    instrument.plug_in();
    eventually("it comes back", || port.ask("query", r#"["Q3"]"#) == r#""A3""#);
    let heard = String::from_utf8(instrument.heard()).unwrap();
    assert_eq!(heard, "REMOTE\nFAST\nQ1\nQ2\nPULL\nREMOTE\nFAST\nQ3\n");
}

#[test]
fn a_port_that_is_pulled_out_while_idle_says_so() {
    let socket = Socket::new();
    let plug = socket.plug();
    let mut port = port(&socket, "");
    assert_eq!(port.get("in_waiting"), "0");
    assert_eq!(port.get("state"), r#""Connected""#);
    drop(plug);
    assert_eq!(port.get("state"), r#""Disconnected""#);
    assert_eq!(port.get("is_open"), "false");
}

#[test]
fn settings_are_told_and_changed_while_the_port_is_open() {
    let socket = Socket::new();
    let plug = socket.plug();
    let mut port = port(&socket, "baud = 19200\nparity = 'even'\ndata_bits = 7\nstop_bits = 2\n");
    assert_eq!(port.set("dtr", "true"), "null", "kept for when the port is opened");
    assert_eq!(port.get("in_waiting"), "0");
    let line = &plug.slave;
    assert_eq!(line.baud_rate().unwrap(), 19200);
    assert_eq!(line.stop_bits().unwrap(), StopBits::Two);
    for (name, value) in [
        ("baudrate", "115200"),
        ("bytesize", "8"),
        ("parity", r#""O""#),
        ("stopbits", "1"),
        ("rtscts", "true"),
        ("timeout", "2.5"),
        ("write_timeout", "1.5"),
    ] {
        assert_eq!(port.set(name, value), "null", "{name}");
        assert_eq!(port.get(name), value, "{name}");
    }
    assert_eq!(line.baud_rate().unwrap(), 115_200);
    assert_eq!(line.data_bits().unwrap(), DataBits::Eight);
    // Linux keeps no parity for a pseudo-terminal.
    assert!(matches!(line.parity().unwrap(), Parity::None | Parity::Odd));
    assert_eq!(port.set("xonxoff", "true"), "null");
    assert_eq!((port.get("xonxoff"), port.get("rtscts")), ("true".into(), "false".into()));
    assert_eq!(port.set("rtscts", "false"), "null");
    assert_eq!(port.get("xonxoff"), "true", "which was not asked about");
    for (name, value, said) in [
        ("baudrate", "3", "ValueError: baudrate is 3; it must be 50 to 12000000"),
        ("bytesize", "9", "ValueError: bytesize is 9; it must be 5, 6, 7 or 8"),
        ("parity", r#""X""#, "ValueError: parity is X; it must be N, E or O"),
        ("stopbits", "3", "ValueError: stopbits is 3; it must be 1 or 2"),
        ("timeout", "0", "ValueError: timeout is 0; it must be 0.001 to 3600 seconds"),
    ] {
        assert_eq!(port.set(name, value), said);
    }
}

#[test]
fn a_port_without_modem_lines_says_so_and_goes_on() {
    let socket = Socket::new();
    let _instrument = Instrument::lines(&socket, answers);
    let mut port = port(&socket, "dtr = true\nrts = false\n");
    assert_eq!(port.ask("query", r#"["Q1"]"#), r#""A1""#);
    for name in ["cts", "dsr", "cd", "ri"] {
        let told = port.get(name);
        let said = format!("has no line {}", name.to_uppercase());
        assert!(told.starts_with("RuntimeError: ") && told.contains(&said), "{told}");
    }
    assert!(port.set("rts", "true").starts_with("RuntimeError: "));
    assert_eq!(port.get("state"), r#""Connected""#);
    assert_eq!(port.ask("query", r#"["Q2"]"#), r#""A2""#);
}

#[test]
fn two_cannot_have_a_port_unless_both_share_it() {
    let socket = Socket::new();
    let _plug = socket.plug();
    let mut first = port(&socket, "");
    let mut second = port(&socket, "");
    assert_eq!(first.get("in_waiting"), "0");
    let told = second.get("in_waiting");
    assert!(told.starts_with("ConnectionError: "), "{told}");
    assert!(told.ends_with("\n  hint: another program has it open"), "{told}");
    assert_eq!(first.ask("close", "[]"), "null");
    assert_eq!(second.ask("open", "[]"), "null");
    assert_eq!(
        first.get("in_waiting").replace(&socket.path().display().to_string(), "PORT"),
        "ConnectionError: PORT was closed\n  hint: open() opens it again"
    );
    assert_eq!(second.ask("close", "[]"), "null");
    let (mut third, mut fourth) =
        (port(&socket, "exclusive = false\n"), port(&socket, "exclusive = false\n"));
    assert_eq!(third.get("in_waiting"), "0");
    assert_eq!(fourth.get("in_waiting"), "0");
}

#[test]
fn bytes_are_read_as_pyserial_reads_them() {
    let socket = Socket::new();
    let mut plug = socket.plug();
    let mut port = port(&socket, "");
    assert_eq!(port.get("in_waiting"), "0");
    plug.say(b"abc\ndef;ghi");
    eventually("all came", || port.get("in_waiting") == "11");
    assert_eq!(port.bytes("read", "[]"), b"a");
    assert_eq!(port.bytes("readline", "[]"), b"bc\n");
    assert_eq!(port.bytes("read_until", r#"[";"]"#), b"def;");
    assert_eq!(port.bytes("read_until", "[null, 2]"), b"gh");
    let begun = Instant::now();
    assert_eq!(port.bytes("read", "[5]"), b"i", "what there is, when the time is over");
    assert!(begun.elapsed() >= 300 * MILLISECOND);
    assert_eq!(port.bytes("readline", "[]"), b"");
    plug.say(b"noise");
    eventually("noise came", || port.get("in_waiting") == "5");
    assert_eq!(port.ask("reset_input_buffer", "[]"), "null");
    assert_eq!(port.get("in_waiting"), "0");
    assert_eq!(port.ask("read", "[0]"), "ValueError: size is 0; it must be 1 to 4194304");
    assert_eq!(
        port.ask("read_until", r#"[""]"#),
        "ValueError: expected is empty; it must be a byte or more"
    );
}

#[test]
fn what_is_written_arrives_as_it_is() {
    let socket = Socket::new();
    let instrument = Instrument::new(&socket, |_| Vec::new());
    let mut port = port(&socket, "encoding = 'latin-1'\nresync = ''\non_open = ['SYST:REM']\n");
    assert_eq!(port.ask("write", r#"["20 µV"]"#), "5");
    assert_eq!(port.ask("flush", "[]"), "null");
    let said = b"SYST:REM\n20 \xb5V";
    eventually("all came", || instrument.heard() == said);
    assert_eq!(
        port.ask("write", r#"["€"]"#),
        "ValueError: a character of the text is '€'; it must be one that the port's encoding has"
    );
    assert_eq!(
        port.ask("write", "[5]"),
        "TypeError: argument 'data' of write() must be bytes or a str, not int"
    );
    assert_eq!(port.get("out_waiting"), "0");
    assert_eq!(port.ask("reset_output_buffer", "[]"), "null");
    assert_eq!(port.ask("send_break", "[0.01]"), "null");
    assert_eq!(
        port.ask("send_break", "[60]"),
        "ValueError: duration is 60; it must be 0.001 to 10 seconds"
    );
}

#[test]
fn pauses_are_kept_between_characters_and_commands() {
    let socket = Socket::new();
    let _instrument = Instrument::lines(&socket, answers);
    let mut port = port(&socket, "char_delay = 0.02\ncommand_delay = 0.1\n");
    let begun = Instant::now();
    assert_eq!(port.ask("query", r#"["Q1"]"#), r#""A1""#);
    assert_eq!(port.ask("query", r#"["Q2"]"#), r#""A2""#);
    // Twice three bytes, and the pause between.
    assert!(begun.elapsed() >= 220 * MILLISECOND, "{:?}", begun.elapsed());
}

#[test]
fn a_line_that_takes_no_more_is_an_error_in_time() {
    let socket = Socket::new();
    // Nobody reads: the kernel's buffer fills up.
    let plug = socket.plug();
    let mut port = port(&socket, "write_timeout = 0.2\nresync = ''\n");
    let text = "x".repeat(1 << 18);
    let begun = Instant::now();
    let told = port.ask("write", &format!(r#"["{text}"]"#));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(told.starts_with("TimeoutError: "), "{told}");
    assert!(told.contains(" of 262144 bytes of 'xxx"), "{told}");
    assert!(
        told.ends_with(
            "and then none for 200 ms\n  hint: does the flow control fit the instrument?"
        ),
        "{told}"
    );
    assert_eq!(port.get("state"), r#""Connected""#);
    drop(plug);
}

#[test]
fn blocks_are_read_whole_whatever_is_in_them() {
    let socket = Socket::new();
    let block: Vec<u8> =
        (0..200_000_u32).map(|number| u8::try_from(number % 251).unwrap()).collect();
    let sent = block.clone();
    let _instrument = Instrument::lines(&socket, move |line| match line {
        "CURV?" => [say("#6200000"), say(&sent), say("\n")].concat(),
        "NONE?" => say("#10\n"),
        "OPEN?" => say("#0open\n"),
        "TEXT?" => say("1.25\n"),
        "LONG?" => say("#12xyz\n"),
        "HUGE?" => say("#9999999999"),
        other => answers(other),
    });
    let mut port = port(&socket, "");
    assert_eq!(port.bytes("query_binary", r#"["CURV?"]"#), block);
    let progress = port.surroundings.progress.lock().unwrap().clone();
    assert!(progress.len() >= 2, "{progress:?}");
    assert!(progress.iter().all(|(done, total, _)| done <= total), "{progress:?}");
    assert_eq!(port.bytes("query_binary", r#"["NONE?"]"#), b"");
    assert_eq!(port.bytes("query_binary", r#"["OPEN?"]"#), b"open");
    for (line, said) in [
        ("TEXT?", "answered 'TEXT?\\n' with '1.'; it must be a block: #, a digit,"),
        ("LONG?", "answered 'LONG?\\n' with 'z'; it must be a block, and the line ending"),
        ("HUGE?", "answered 'HUGE?\\n' with more than 67108864 bytes"),
    ] {
        let told = port.ask("query_binary", &format!(r#"["{line}"]"#));
        assert!(told.starts_with("RuntimeError: ") && told.contains(said), "{told}");
        assert_eq!(port.ask("query", r#"["Q1"]"#), r#""A1""#, "after {line}");
    }
}

#[test]
fn a_megabyte_streams_in_without_a_lost_byte() {
    const SIZE: usize = 1 << 20;
    let socket = Socket::new();
    let byte = |at: usize| u8::try_from(at % 253).unwrap();
    // In pieces as an UART's FIFO gives them.
    let pieces: Vec<Act> =
        (0..SIZE).step_by(16).map(|at| Act::Say((at..at + 16).map(byte).collect())).collect();
    let _instrument = Instrument::lines(&socket, move |line| match line {
        "STREAM" => pieces.clone(),
        _ => Vec::new(),
    });
    let mut port = port(&socket, "baud = 115200\n");
    assert_eq!(port.ask("write", r#"["STREAM\n"]"#), "7");
    let mut count = 0;
    while count < SIZE {
        let bytes = port.bytes("read", "[5000]");
        assert!(!bytes.is_empty(), "{count} bytes came, and no more");
        for (at, found) in bytes.iter().enumerate() {
            assert_eq!(*found, byte(count + at), "at {}", count + at);
        }
        count += bytes.len();
    }
    assert_eq!(port.get("in_waiting"), "0");
}

#[test]
fn an_instrument_that_never_stops_talking_is_told_apart() {
    let socket = Socket::new();
    let mut plug = socket.plug();
    let mut port = Device::new("serial", &format!("{}settle = 0.2\n", socket.key()));
    let quiet = Arc::new(AtomicBool::new(false));
    let hushed = Arc::clone(&quiet);
    let talker = thread::spawn(move || {
        while !hushed.load(Ordering::Relaxed) {
            plug.say(b"42.");
            thread::sleep(MILLISECOND);
        }
    });
    port.patience = Some(Duration::from_secs(1));
    let told = port.ask("query", r#"["Q1"]"#);
    quiet.store(true, Ordering::Relaxed);
    talker.join().unwrap();
    let said = "is out of step, and was not silent for 200 ms; 'Q1\\n' was not sent";
    assert!(told.starts_with("TimeoutError: ") && told.contains(said), "{told}");
}

#[test]
fn every_method_that_consumes_input_has_effect_write() {
    let socket = Socket::new();
    let port = port(&socket, "");
    let effect = |name: &str| {
        let found = port.interface.methods.iter().find(|method| method.name == name);
        found.unwrap().effect.as_str()
    };
    for name in [
        "write",
        "read",
        "read_until",
        "readline",
        "query",
        "query_binary",
        "reset_input_buffer",
        "reset_output_buffer",
        "send_break",
    ] {
        assert_eq!(effect(name), "write", "{name}");
    }
    assert_eq!(effect("list_ports"), "read");
    assert_eq!((effect("open"), effect("close")), ("admin", "admin"));
}
