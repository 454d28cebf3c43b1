//! Instruments that speak SCPI, simulated on a pseudo-terminal and over TCP.

// A test that fails by a panic is a test that works.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod instrument;

use instrument::{Act, Device, Instrument, Socket, eventually, lines, say};
use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::Duration,
};

const IDN: &str = "HEWLETT-PACKARD,33120A,0,8.0-5.0-1.0";

/// A generator: its commands, and its error queue.
#[derive(Default)]
struct Generator {
    errors: VecDeque<&'static str>,
    status: u8,
    /// How many more looks a sweep takes.
    busy: u32,
    waiting: bool,
}

impl Generator {
    fn answer(&mut self, line: &str) -> Option<String> {
        match line {
            "*IDN?" => Some(IDN.to_owned()),
            "SYST:ERR?" | "ERR?" => {
                let error = self.errors.pop_front().unwrap_or("+0,\"No error\"");
                Some(error.to_owned())
            }
            "VOLT?" => Some("+1.500000E+00".to_owned()),
            "CURV?" => Some("#14abcd".to_owned()),
            "*ESR?" => {
                self.busy = self.busy.saturating_sub(1);
                if self.busy == 0 && self.waiting {
                    (self.status, self.waiting) = (self.status | 1, false);
                }
                Some(std::mem::take(&mut self.status).to_string())
            }
            "*OPC" => {
                self.waiting = true;
                None
            }
            "SWE:START" => {
                self.busy = 4;
                None
            }
            "SWE:FOREVER" => {
                self.busy = u32::MAX;
                None
            }
            "*CLS" => {
                self.errors.clear();
                None
            }
            "" | "*RST" | "VOLT 1.5" => None,
            _ if line.starts_with("DATA ") => None,
            "VOLT 99" => {
                self.errors.push_back("-222,\"Data out of range; value clipped to upper limit\"");
                self.errors.push_back("-221,\"Settings conflict\"");
                None
            }
            _ => {
                self.status |= 0x20;
                self.errors.push_back("-113,\"Undefined header\"");
                None
            }
        }
    }
}

fn generator(keys: &str) -> (Instrument, Device, String) {
    let socket = Socket::new();
    let mut generator = Generator::default();
    let instrument = Instrument::lines(&socket, move |line| {
        generator.answer(line).map_or_else(Vec::new, |answer| say(answer + "\n"))
    });
    let keys = format!("{}timeout = 1.0\nsettle = 0.03\n{keys}", socket.key());
    (instrument, Device::new("scpi", &keys), socket.path().display().to_string())
}

#[test]
fn commands_are_sent_and_answered() {
    let (instrument, mut scpi, _) = generator("resync = ''\nsync = ''\n");
    assert_eq!(scpi.ask("idn", "[]"), format!("\"{IDN}\""));
    assert_eq!(scpi.ask("query", r#"["VOLT?"]"#), r#""+1.500000E+00""#);
    assert_eq!(scpi.ask("write", r#"["VOLT 1.5"]"#), "null");
    assert_eq!(scpi.bytes("query_binary", r#"["CURV?"]"#), b"abcd");
    assert_eq!(scpi.ask("write_binary", r#"["DATA ", "ramp"]"#), "null");
    assert_eq!(scpi.ask("reset", "[]"), "null");
    let said = b"*IDN?\nVOLT?\nVOLT 1.5\nCURV?\nDATA #14ramp\n*RST\n";
    eventually("all came", || instrument.heard() == said);
}

#[test]
fn errors_are_the_instruments_own_text() {
    let (_instrument, mut scpi, path) = generator("");
    assert_eq!(scpi.ask("write", r#"["VOLT 99"]"#), "null", "nobody asked");
    assert_eq!(
        scpi.ask("errors", "[]"),
        r#"[[-222,"Data out of range; value clipped to upper limit"],[-221,"Settings conflict"]]"#
    );
    assert_eq!(scpi.ask("errors", "[]"), "[]");

    let (_instrument, mut scpi, path2) = generator("check_errors = true\n");
    let told = scpi.ask("write", r#"["VOLT 99"]"#);
    assert_eq!(
        told.replace(&path2, "PORT"),
        "RuntimeError: PORT refused 'VOLT 99': -222, Data out of range; value clipped to upper limit\n  \
         -221, Settings conflict"
    );
    assert_eq!(scpi.ask("query", r#"["VOLT?"]"#), r#""+1.500000E+00""#);
    assert_eq!(scpi.bytes("query_binary", r#"["CURV?"]"#), b"abcd");
    // No answer, and the reason is in the queue.
    let told = scpi.ask("query", r#"["VOLTS?"]"#).replace(&path2, "PORT");
    assert_eq!(told, "RuntimeError: PORT refused 'VOLTS?': -113, Undefined header");
    assert_ne!(path, path2);

    // Some ask by another word.
    let (instrument, mut scpi, _) =
        generator("check_errors = true\nerror_query = 'ERR?'\nresync = ''\nsync = ''\n");
    assert_eq!(scpi.ask("write", r#"["VOLT 1.5"]"#), "null");
    eventually("all came", || instrument.heard() == b"VOLT 1.5\nERR?\n");
}

#[test]
fn an_operation_is_waited_for_with_progress() {
    let (_instrument, mut scpi, path) = generator("");
    let took: f64 = scpi.ask("wait_complete", r#"["SWE:START"]"#).parse().unwrap();
    assert!((0.02..5.0).contains(&took), "{took}");
    let progress = scpi.surroundings.progress.lock().unwrap().clone();
    assert!(!progress.is_empty());
    assert!(progress.iter().all(|(_, total, unit)| (*total, unit.as_str()) == (60_000, "ms")));
    let told = scpi.ask("wait_complete", r#"["SWE:FOREVER", 0.2]"#).replace(&path, "PORT");
    assert_eq!(
        told,
        "TimeoutError: PORT has not completed 'SWE:FOREVER' within 0.2 s\n  \
         hint: it goes on; wait_complete() waits again"
    );
    let told = scpi.ask("wait_complete", r#"["NONSENSE"]"#).replace(&path, "PORT");
    assert_eq!(told, "RuntimeError: PORT refused 'NONSENSE': -113, Undefined header");
}

/// Serves one connection after another; `LATE?` is answered too late, `DROP?` not at all.
fn tcp() -> (Device, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            thread::spawn(move || converse(stream));
        }
    });
    let keys = format!("port = 'tcp://{address}'\ntimeout = 1.0\n");
    (Device::new("scpi", &keys), address)
}

fn converse(mut stream: TcpStream) {
    let mut generator = Generator::default();
    for line in BufReader::new(stream.try_clone().unwrap()).lines() {
        let Ok(line) = line else { return };
        let answer = match line.as_str() {
            "DROP?" => return,
            "MUTE?" => None,
            "LATE?" => {
                thread::sleep(Duration::from_millis(100));
                Some("late".to_owned())
            }
            line => generator.answer(line),
        };
        if let Some(answer) = answer
            && stream.write_all(format!("{answer}\n").as_bytes()).is_err()
        {
            return;
        }
    }
}

#[test]
fn over_tcp_a_late_answer_finds_nobody() {
    let (mut scpi, address) = tcp();
    assert_eq!(scpi.get("state"), r#""Disconnected""#);
    assert_eq!(scpi.ask("idn", "[]"), format!("\"{IDN}\""));
    assert_eq!(scpi.get("state"), r#""Connected""#);
    for _ in 0..5 {
        scpi.patience = Some(Duration::from_millis(30));
        let error = scpi.call("query", r#"["LATE?"]"#).unwrap_err();
        assert_eq!(error.class, "TimeoutError", "{error}");
        scpi.patience = None;
        // Again at once: the connection was good, only the answer was late.
        assert_eq!(scpi.ask("query", r#"["VOLT?"]"#), r#""+1.500000E+00""#);
    }
    // Twice without any answer in between is no sign that it is away either.
    for _ in 0..2 {
        scpi.patience = Some(Duration::from_millis(30));
        let error = scpi.call("query", r#"["MUTE?"]"#).unwrap_err();
        assert_eq!(error.class, "TimeoutError", "{error}");
    }
    scpi.patience = None;
    assert_eq!(scpi.ask("query", r#"["VOLT?"]"#), r#""+1.500000E+00""#);
    let error = scpi.call("query", r#"["DROP?"]"#).unwrap_err();
    let told = lines(&error).replace(&address, "ADDRESS");
    assert_eq!(
        told,
        "ConnectionError: ADDRESS went away during 'DROP?'\n  it was closed\n  \
         hint: whether the instrument has done it is not known"
    );
    assert_eq!(scpi.ask("idn", "[]"), format!("\"{IDN}\""));
}

#[test]
fn nobody_there_is_an_error_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let mut scpi = Device::new("scpi", &format!("port = 'tcp://{address}'\n"));
    let told = scpi.ask("idn", "[]").replace(&address, "ADDRESS");
    assert!(
        told.starts_with("ConnectionError: ADDRESS is away; the next try is due in "),
        "{told}"
    );
    assert!(told.contains("Connection refused"), "{told}");
    let hint = "hint: is this its port? some instruments take one client at a time";
    assert!(told.ends_with(hint), "{told}");
}

#[test]
fn an_answer_that_is_cut_by_a_hang_up_is_no_answer() {
    let socket = Socket::new();
    let mut generator = Generator::default();
    let instrument = Instrument::lines(&socket, move |line| match line {
        "PULL?" => [say("+1.5"), vec![Act::HangUp], say("00000E+00\n")].concat(),
        line => generator.answer(line).map_or_else(Vec::new, |answer| say(answer + "\n")),
    });
    let keys = format!("{}timeout = 1.0\nsettle = 0.03\n", socket.key());
    let mut scpi = Device::new("scpi", &keys);
    assert_eq!(scpi.ask("idn", "[]"), format!("\"{IDN}\""));
    let error = scpi.call("query", r#"["PULL?"]"#).unwrap_err();
    assert_eq!(error.class, "ConnectionError", "{error}");
    instrument.plug_in();
    // The rest of that answer comes, and is nobody's.
    eventually("it comes back", || match scpi.text("idn", "[]") {
        Ok(text) => {
            assert_eq!(text, IDN);
            true
        }
        Err(error) => {
            assert_eq!(error.class, "ConnectionError", "{error}");
            false
        }
    });
}
