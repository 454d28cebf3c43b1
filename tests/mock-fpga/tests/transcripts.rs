//! Replays every recorded conversation against the mock, in order, and compares what it sends line by line.
//!
//! Not compared, since it differs from run to run or is not ours to copy: times, client addresses, process and job
//! numbers, the wording of help. Ports are replaced by free ones. Lines that cannot be equal are in `EXCUSED`.

// The exemption of tests in clippy.toml does not reach their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod link;
#[path = "../../golden/transcript.rs"]
mod transcript;

use flate2::{Compression, write::GzEncoder};
use link::{DEADLINE, Link};
use mock_fpga::{Config, Design, Mock, Personality};
use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use transcript::{Line, Transcript};

const TAP: &str = "tx\\\\_queue\\\\_still\\\\_busy";
const LISTBOF: &str = "!listbof ok 0";
const DEVICE: &str = "dev-roach-config";

/// Recorded lines the mock does not send: file, what the line contains, how many, why.
const EXCUSED: [(&str, &str, usize, &str); 3] = [
    ("19-tap.txt", TAP, 6, "the memory of the recorded server was a file, which sends no packets"),
    ("30-saveremote.txt", LISTBOF, 1, "the recording's emulator could not list a folder"),
    ("40-v5-with-ids.txt", DEVICE, 1, "a path on the machine of the recording"),
];

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/transcripts")
}

fn gz(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn bof() -> Vec<u8> {
    Design::recorded().to_bof(20_000)
}

/// The board as it was when a conversation was recorded. Those of one server process share a board.
fn config(process: &str) -> Config {
    let fpg = std::fs::read(golden().join("synthetic.fpg")).unwrap();
    let file = |name: &str| {
        let data = match name {
            "notes.txt" => b"not gateware".to_vec(),
            "test.bof.gz" => gz(&bof()),
            "grex_gateware.fpg" => fpg.clone(),
            _ => bof(),
        };
        (name.to_owned(), data)
    };
    let mut names = vec!["test.bof", "notes.txt", "test.bof.gz", "grex_gateware.fpg"];
    if process == "flash" {
        names.splice(1..1, ["up1.bof", "up4.bof"]);
    }
    let mut config = Config { files: names.into_iter().map(file).collect(), ..Config::default() };
    match process {
        "flash" | "fpg" => config.programmed = false,
        "v5" => {
            config.programmed = false;
            config.personality = Personality::V5;
            "M".clone_into(&mut config.protocol_flags);
            config.map_limit = 0x200_0000;
        }
        // Of the 36 connections, the four evicted are not the first.
        "clients" => config.seed = 3,
        _ => {}
    }
    config
}

/// Which server process a conversation was recorded from.
fn process(file: &str) -> &'static str {
    match &file[..2] {
        "07" => "flash",
        "24" | "25" | "26" => "clients",
        "27" => "refused",
        "30" | "31" | "32" | "33" | "34" | "35" => "upload",
        "36" => "fpg",
        "37" | "38" => "uploadbin",
        "40" => "v5",
        _ => "first",
    }
}

/// Replaces what differs from run to run.
fn masked(line: &[u8]) -> String {
    let line = line.escape_ascii().to_string();
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let number = |word: &str| word.parse::<f64>().is_ok_and(|time| time > 1e9);
    match words[0].as_str() {
        "#log" if number(&words[2]) => "TIME".clone_into(&mut words[2]),
        "#sensor-value" if number(&words[1]) => "TIME".clone_into(&mut words[1]),
        _ if words[0].starts_with("#help") => words.truncate(2),
        _ => {}
    }
    let line = words.join(" ");
    let mask = |line: String, before: &str, allowed: &dyn Fn(char) -> bool| {
        let Some(at) = line.find(before) else { return line };
        let (head, tail) = line.split_at(at + before.len());
        format!("{head}*{}", tail.trim_start_matches(allowed))
    };
    let line = mask(line, "127.0.0.1:", &|c| c.is_ascii_digit());
    let line = mask(line, "process\\\\_", &|c| c.is_ascii_digit());
    let line = mask(line, "job\\\\_", &|c| c.is_ascii_digit());
    mask(line, "which\\\\_is\\\\_T", &|c| c.is_ascii_digit() || c == ':')
}

/// Undoes an abbreviation in the recording.
fn expand(bytes: &[u8], port: u16) -> Vec<u8> {
    let mut text: Vec<u8> = bytes.to_vec();
    for (short, long) in [
        ("aaaa...(5000 letters a)...aaaa".to_owned(), "a".repeat(5000)),
        ("17200".to_owned(), port.to_string()),
        ("17201".to_owned(), port.to_string()),
        ("17202".to_owned(), port.to_string()),
    ] {
        if let Some(at) = text.windows(short.len()).position(|window| window == short.as_bytes()) {
            text.splice(at..at + short.len(), long.bytes());
        }
    }
    text
}

struct Replay {
    /// A board for each server process of the recordings.
    mocks: BTreeMap<&'static str, Mock>,
    process: &'static str,
    /// Connections beside the one whose conversation is replayed.
    others: Vec<Link>,
    /// The connection of a conversation that goes on in the next file.
    kept: Option<Link>,
    compared: usize,
    excused: usize,
}

impl Replay {
    fn new() -> Self {
        Self {
            mocks: BTreeMap::new(),
            process: "",
            others: Vec::new(),
            kept: None,
            compared: 0,
            excused: 0,
        }
    }

    fn mock(&mut self) -> &Mock {
        let process = self.process;
        self.mocks.entry(process).or_insert_with(|| Mock::start(config(process)).unwrap())
    }

    fn addr(&mut self) -> SocketAddr {
        self.mock().addr()
    }

    fn replay(&mut self, transcript: &Transcript) {
        let file = &transcript.name[..];
        self.process = process(file);
        match file {
            "24-many-clients.txt" => self.many_clients(transcript),
            "26-restart.txt" => self.restart(transcript),
            _ => self.conversation(transcript),
        }
    }

    fn conversation(&mut self, transcript: &Transcript) {
        let file = &transcript.name[..];
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut breaking = (file == "23-quit.txt").then(|| self.others.remove(0));
        for other in self.others.drain(..) {
            other.close();
        }
        let mut link = Link::open(self.addr());
        let mut ended = false;
        for line in &transcript.lines {
            match line {
                Line::Comment(text) => self.comment(text, port),
                Line::Sent(bytes) => link.send(expand(bytes, port)),
                Line::Received(bytes) => {
                    self.expect(&mut link, file, bytes, port);
                    if let Some(breaking) = breaking.take_if(|_| bytes.starts_with(b"#build")) {
                        breaking.reset();
                    }
                }
                Line::Eof => {
                    assert_eq!(link.line(), None, "{file}");
                    self.compared += 1;
                    ended = true;
                }
                // Anything sent here would be found instead of the next line.
                Line::Nothing => self.compared += 1,
                Line::Other(_) => panic!("{file} has lines of its own"),
            }
        }
        if !ended {
            link.send(b"?watchdog\n");
            assert_eq!(link.line().unwrap(), b"!watchdog ok\n", "{file}: nothing more was sent");
        }
        if file == "25-misc.txt" {
            self.kept = Some(link);
        } else {
            link.close();
        }
    }

    /// Does what the recording says happened beside the conversation.
    fn comment(&mut self, text: &str, port: u16) {
        let addr = self.addr();
        if text.contains("two other connections are open") || text == "misc" {
            // They connect when this one has been greeted, so their number is all that is made here.
            let count = if text == "misc" { 1 } else { 2 };
            self.others = (0..count).map(|_| Link::greeted(addr)).collect();
        } else if text.contains("another connection sent a failing read") {
            self.others[0].send(b"?read nosuch 0 4\n");
        } else if text.contains("another connection programmed the FPGA") {
            self.others[0].send(b"?progdev test.bof\n");
        } else if text.starts_with("side channel: connected") {
            let len = text.split_whitespace().skip_while(|word| *word != "sent").nth(1).unwrap();
            let data = match len {
                "20391" => bof(),
                "657" => gz(&bof()),
                "1803" => std::fs::read(golden().join("synthetic.fpg")).unwrap(),
                len => vec![0x55; len.parse().unwrap()],
            };
            connect(port).write_all(&data).unwrap();
        }
    }

    fn expect(&mut self, link: &mut Link, file: &str, recorded: &[u8], port: u16) {
        let text = recorded.escape_ascii().to_string();
        let excuse = EXCUSED.iter().find(|(name, part, ..)| *name == file && text.contains(part));
        if let Some((_, part, ..)) = excuse {
            self.excused += 1;
            // What comes instead: nothing, or what the recording lacks.
            match *part {
                LISTBOF => while !link.line().unwrap().starts_with(b"!listbof ok") {},
                DEVICE => assert!(contains(&link.line().unwrap(), b"/dev/roach/config")),
                _ => {}
            }
            return;
        }
        let expected = masked(&expand(recorded, port));
        let got = link.line().unwrap_or_else(|| panic!("{file}: the end instead of {expected}"));
        assert_eq!(masked(&got), expected, "{file}");
        self.compared += 1;
    }

    /// The 33rd connection and those after it each cost another one its place.
    fn many_clients(&mut self, transcript: &Transcript) {
        let mut open: Vec<Link> = Vec::new();
        let mut lines = transcript.lines.iter().filter_map(|line| match line {
            Line::Other(literals) => Some(literals.concat()),
            _ => None,
        });
        for _ in 0..36 {
            assert_eq!(
                lines.next().unwrap(),
                b"#version 75dde9d\n#build-state 2018-07-30T12:00:00\n"
            );
            open.push(Link::greeted(self.addr()));
            self.compared += 1;
        }
        open[0].send(b"?watchdog\n");
        let mut got = Vec::new();
        while got.last() != Some(&"!watchdog ok\\n".to_owned()) {
            got.push(masked(&open[0].line().expect("the first connection is not evicted")));
        }
        let recorded = lines.next().unwrap();
        let recorded: Vec<String> =
            recorded.split_inclusive(|&byte| byte == b'\n').skip(1).map(masked).collect();
        assert_eq!(got[got.len() - recorded.len()..], recorded);
        self.compared += 1;
        assert_eq!(lines.next().unwrap(), b"?watchdog\n!watchdog ok\n");
        open[35].send(b"?watchdog\n");
        assert_eq!(open[35].line().unwrap(), b"!watchdog ok\n");
        self.compared += 1;
        let mut evicted = 0;
        for mut link in open {
            link.stream().shutdown(Shutdown::Write).ok();
            while let Some(line) = link.line() {
                evicted += usize::from(line.starts_with(b"#client-disconnected") && evicted < 4);
            }
        }
        assert_eq!(evicted, 4);
    }

    /// The two connections of the conversation before see the server restart; the recording tells the end first.
    fn restart(&mut self, transcript: &Transcript) {
        let (mut asking, mut other) = (self.kept.take().unwrap(), self.others.remove(0));
        asking.send(b"?restart\n");
        let received = |link: &mut Link| -> VecDeque<String> {
            std::iter::from_fn(|| link.line()).map(|line| masked(&line)).collect()
        };
        let mut got = received(&mut asking);
        for line in &transcript.lines {
            match line {
                Line::Comment(text) if text.starts_with("as seen by another") => {
                    assert_eq!(got, [""; 0]);
                    got = received(&mut other);
                }
                Line::Received(bytes) => {
                    assert_eq!(got.pop_front().unwrap(), masked(&expand(bytes, 0)));
                    self.compared += 1;
                }
                Line::Eof => self.compared += 1,
                _ => {}
            }
        }
        assert_eq!(got, [""; 0]);
        assert!(!self.mock().is_programmed());
    }
}

/// Connects to a port that is listened on once a request has been handled.
fn connect(port: u16) -> TcpStream {
    let start = Instant::now();
    loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => return stream,
            Err(error) => assert!(start.elapsed() < DEADLINE, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn contains(line: &[u8], part: &[u8]) -> bool {
    line.windows(part.len()).any(|window| window == part)
}

#[test]
fn every_recorded_conversation_goes_the_same() {
    let transcripts = transcript::all(&golden());
    assert_eq!(transcripts.len(), 39);
    let start = Instant::now();
    let mut replay = Replay::new();
    let mut expected = 0;
    for transcript in &transcripts {
        replay.replay(transcript);
        expected += transcript
            .lines
            .iter()
            .filter(|line| !matches!(line, Line::Comment(_) | Line::Sent(_)))
            .count();
    }
    let excused: usize = EXCUSED.iter().map(|(_, _, count, _)| count).sum();
    assert_eq!(replay.excused, excused);
    assert_eq!(replay.compared + excused, expected);
    assert_eq!(expected, 964);
    assert!(excused * 10 <= expected, "at most a tenth of the lines is excused");
    assert!(start.elapsed() < DEADLINE, "nothing waited for its deadline");
}
