//! Every method of a board against the three kinds of server: the KATCP lines that it sends, its result, and what the
//! board holds after it, as in the golden files beside. If one of these fails, the change is wrong, not the file;
//! where the change is meant, `BLESS=1 cargo test -p proximity-drivers --test methods` writes the files anew (and fails
//! still), and the difference is to be read.

// The exemption of tests in clippy.toml does not reach their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod board;

use board::Board;
use mock_fpga::{Config, Design, Mock, Personality};
use proximity_drivers::fpga::Setup;
use std::{collections::BTreeSet, fmt::Write, net::TcpListener, path::Path, time::Duration};

/// The 46 names of the original.
const PUBLISHED: &str = "blindwrite blocking_request bulkread config_10gbe_core est_brd_clk execcmd get_rcs get_snap \
    handle_inform handle_message handle_reply handle_request inform_log is_connected join listbof listcmd listdev \
    notify_connected ping print_10gbe_core_details progdev qdr_rst qdr_status read read_dram read_int read_uint \
    request run running send_message snapshot_get start status stop tap_start tap_stop unhandled_inform \
    unhandled_reply unhandled_request upload_bof wait_connected write write_dram write_int";

/// Writes down what happens.
struct Recorder {
    mock: Mock,
    board: Board,
    /// How many of the mock's lines are written down.
    seen: usize,
    /// A free port for transfers.
    port: u16,
    text: String,
    called: BTreeSet<String>,
}

impl Recorder {
    fn new(personality: Personality) -> Self {
        let mock = Mock::start(Config {
            personality,
            design: Design::adc(),
            clock_hz: 100e6,
            sensors: true,
            record: 1_000_000,
            ..Config::default()
        })
        .unwrap();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/transcripts");
        let board = Board::of(&Setup {
            gateware_dir: Some(folder),
            ..Setup::new(&mock.addr().ip().to_string(), mock.addr().port())
        });
        // Asked for and given back: free a moment later too.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { mock, board, seen: 0, port, text: String::new(), called: BTreeSet::new() }
    }

    /// Calls a method and writes down the call, the lines sent, and the result.
    fn call(&mut self, method: &str, args: &str) {
        self.called.insert(method.to_owned());
        writeln!(self.text, "{method} {}", short(args)).unwrap();
        let before = self.mock.counters().requests;
        let answer = self.board.ask(method, &args.replace("PORT", &self.port.to_string()));
        if matches!(method, "request" | "send_message") {
            // These do not wait for the board.
            assert!(self.mock.wait_for(Duration::from_secs(5), |done| done.requests > before));
        }
        let received = self.mock.received();
        let mut last = String::new();
        for line in received.iter().skip(self.seen) {
            let line = self.plain(line);
            // How often a block is asked whether it is done is chance.
            if line != last {
                writeln!(self.text, "  > {}", short(&line)).unwrap();
            }
            last = line;
        }
        self.seen = received.len();
        let answer = without_long_bytes(&answer);
        let answer = answer.replace(&self.port.to_string(), "PORT").replace('\n', "\n    ");
        writeln!(self.text, "  = {}", short(&answer)).unwrap();
    }

    /// Writes down the start of a register.
    fn show(&mut self, register: &str, range: std::ops::Range<usize>) {
        let bytes = self.mock.peek(register).unwrap();
        let digits: String = bytes[range.clone()]
            .iter()
            .fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        writeln!(self.text, "  {register}[{:#x}..]: {digits}", range.start).unwrap();
    }

    /// A line without its id, which only some servers get, and without what differs from run to run.
    fn plain(&self, line: &[u8]) -> String {
        let line = line.escape_ascii().to_string().replace("\\\\", "\\");
        let line = line.replace(&self.port.to_string(), "PORT");
        let head = line.split(' ').next().unwrap_or_default().to_owned();
        match head.split_once('[') {
            Some((name, _)) => format!("{name}{}", &line[head.len()..]),
            None => line,
        }
    }

    /// Compares what is written down with a golden file.
    fn compare(&self, name: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        if golden != self.text {
            if std::env::var_os("BLESS").is_some() {
                std::fs::write(&path, &self.text).unwrap();
            }
            let differs = golden.lines().zip(self.text.lines()).position(|(a, b)| a != b);
            let line = differs.unwrap_or(golden.lines().count().min(self.text.lines().count()));
            let at = |text: &str| {
                text.lines().skip(line.saturating_sub(4)).take(8).collect::<Vec<_>>().join("\n")
            };
            panic!(
                "{name}, line {}:\n{}\n--- instead of\n{}",
                line + 1,
                at(&self.text),
                at(&golden)
            );
        }
    }
}

/// A result without the content of long bytes: what is captured differs from run to run.
fn without_long_bytes(answer: &str) -> String {
    let mut parts = answer.split("\"__bytes__\":\"");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (bytes, rest) = part.split_once('"').unwrap();
        let shown =
            if bytes.len() > 100 { format!("{} characters", bytes.len()) } else { bytes.into() };
        write!(text, "\"__bytes__\":\"{shown}\"{rest}").unwrap();
    }
    text
}

/// The start of a long text, and how much there is of it.
fn short(text: &str) -> String {
    match text.char_indices().nth(600) {
        Some((end, _)) => format!("{}... ({} characters)", &text[..end], text.len()),
        None => text.to_owned(),
    }
}

fn everything(recorder: &mut Recorder) {
    let r = recorder;
    registers(r);
    // Before anything that is asked as often as it takes: ids are counted.
    messages(r);
    blocks(r);
    network(r);
    about(r);
    gateware(r);
    link(r);
}

fn registers(r: &mut Recorder) {
    r.call("listdev", "[]");
    r.call("listdev", "[true]");
    r.call("listdev", "[true, true]");
    r.call("write_int", r#"["led", 258]"#);
    r.show("led", 0..4);
    r.call("write_int", r#"["led", -2]"#);
    r.show("led", 0..4);
    r.call("write_int", r#"["pulse", 1, true]"#);
    r.call("write_int", r#"["pulse", 1]"#);
    r.call("write_int", r#"["led", 4294967296]"#);
    r.call("write_int", r#"["big_bram", 7, false, 3]"#);
    r.show("big_bram", 8..20);
    r.call("read_int", r#"["led"]"#);
    r.call("read_uint", r#"["led"]"#);
    r.call("read_uint", r#"["big_bram", 3]"#);
    r.call("read_uint", r#"["lde"]"#);
    r.call("read_uint", r#"["big_bram", 262144]"#);
    r.call("write", r#"["big_bram", "abcdefgh", 4]"#);
    r.show("big_bram", 0..16);
    r.call("write", r#"["sys_rev", "abcd"]"#);
    r.call("write", r#"["big_bram", "abc"]"#);
    r.call("blindwrite", r#"["big_bram", "ABCD", 8]"#);
    r.show("big_bram", 0..16);
    r.call("blindwrite", r#"["big_bram", "ABCD", 2]"#);
    r.call("read", r#"["big_bram", 8, 4]"#);
    r.call("read", r#"["big_bram", 3, 9]"#);
    r.call("read", r#"["big_bram", 200000]"#);
    r.call("bulkread", r#"["big_bram", 8, 4]"#);
    r.call("bulkread", r#"["big_bram", 10000]"#);
    r.call("bulkread", r#"["nothing", 4]"#);
    r.call("wordwrite", r#"["big_bram", [1, -1, 3], 2]"#);
    r.call("wordwrite", r#"["led", 5]"#);
    r.show("big_bram", 0..20);
    r.call("wordread", r#"["big_bram", 3, 2]"#);
    r.call("wordread", r#"["led"]"#);
    r.call("wordread", r#"["led", 2]"#);
    r.call("write_many", r#"[{"led": 1, "acc_len": 2}]"#);
    r.call("write_many", r#"[[["big_bram", 3, 1], ["pulse", 1], ["led", -1]], true]"#);
    r.show("led", 0..4);
    r.call("write_many", r#"[[["led", 1], ["nothing", 1]]]"#);
    r.call("read_many", r#"[["led", "acc_len", ["big_bram", 1]]]"#);
    r.call("read_many", r#"[["led", ["acc_len", 1]]]"#);
}

fn blocks(r: &mut Recorder) {
    r.call("qdr_status", "[0]");
    r.call("qdr_rst", "[0]");
    r.call("qdr_status", "[1]");
    r.call("write_dram", r#"["abcdefghijkl", 67108856]"#);
    r.show("dram_controller", 0..4);
    r.show("dram_memory", 0..8);
    r.call("read_dram", "[12, 67108856]");
    r.call("read_dram", "[0]");
    r.call("snapshot_get", r#"["adc_snap", true, true]"#);
    r.call("snapshot_get", r#"["adc_snap", false, true, 2, 16, false, true]"#);
    r.show("adc_snap_trig_offset", 0..4);
    r.call("snapshot_arm", r#"["adc_snap", true, true]"#);
    r.show("adc_snap_ctrl", 0..4);
    r.call("snapshot_get", r#"["adc_snap", false, false, 2, -1, false, false, false]"#);
    r.call("snapshot_get", r#"["nothing"]"#);
    r.call("get_snap", r#"["old_snap", ["bram"], true, true]"#);
}

fn network(r: &mut Recorder) {
    let arp: Vec<String> = (0..256_u64).map(|n| (0x0200_0000_0000 + n).to_string()).collect();
    let arp = arp.join(",");
    for core in ["ten_gbe0", "ten_gbe1"] {
        r.call("print_10gbe_core_details", &format!(r#"["{core}"]"#));
        let mac = r#""02:00:00:00:00:05""#;
        r.call("config_10gbe_core", &format!(r#"["{core}", {mac}, "10.0.0.5", 60000, [{arp}]]"#));
        r.show(core, 0..0x40);
        r.call("get_10gbe_core_details", &format!(r#"["{core}"]"#));
    }
    r.show("ten_gbe0", 0x37f0..0x3800);
    r.show("ten_gbe1", 0x17f0..0x1800);
    r.call("config_10gbe_core", r#"["ten_gbe0", 1, 2, 3, [4]]"#);
    r.call("get_10gbe_core_details", r#"["led"]"#);
    r.call("tap_start", r#"["tap0", "ten_gbe0", 2199023255553, 167772161, 60000]"#);
    r.call("tap_start", r#"["ninechars", "ten_gbe0", 1, 2, 3]"#);
    r.call("tap_start", r#"["tap1", "nothing", 1, 2, 3]"#);
    r.call("tap_multicast_add_send", r#"["tap0", "239.2.0.64"]"#);
    r.call("tap_multicast_add_recv", r#"["tap0", "239.2.0.65"]"#);
    r.call("tap_multicast_remove", r#"["tap0", "239.2.0.65"]"#);
    r.call("tap_multicast_remove", r#"["tap0"]"#);
    r.call("tap_arp_reload", r#"["tap0"]"#);
    r.call("tap_info", "[]");
    r.call("tap_stop", r#"["tap0"]"#);
    r.call("tap_stop", r#"["tap0"]"#);
}

fn about(r: &mut Recorder) {
    r.call("get_rcs", "[]");
    r.call("get_rcs", r#"["nothing"]"#);
    r.call("get_system_information", r#"["synthetic.fpg"]"#);
    r.call("get_system_information", "[]");
    r.call("write_fields", r#"["led", {"reg": 9}]"#);
    r.call("write_fields", r#"["led", {"gain": 9}]"#);
    r.call("read_fields", r#"["led"]"#);
    r.call("sensor_value", r#"["nothing"]"#);
}

fn messages(r: &mut Recorder) {
    r.call("blocking_request", r#"["?wordread led"]"#);
    r.call("blocking_request", r#"[["listbof", [], 3]]"#);
    r.call("blocking_request", r#"[["write", ["led", 0, "a b\\"]]]"#);
    r.call("blocking_request", r##"["#log x"]"##);
    r.call("blocking_request", r#"["?a\n?b"]"#);
    r.call("request", r#"["?watchdog"]"#);
    r.call("ping", "[]");
    r.call("unhandled_reply", "[]");
    r.call("send_message", r#"["?wordwrite led 0 77"]"#);
    r.call("read_uint", r#"["led"]"#);
    r.call("handle_message", r##"["#strange thing\\_here"]"##);
    r.call("handle_inform", r##"["#strange again"]"##);
    r.call("handle_inform", r#"["!watchdog ok"]"#);
    r.call("handle_reply", r#"["!read ok abcd"]"#);
    r.call("handle_request", r#"["?watchdog"]"#);
    r.call("unhandled_inform", "[]");
    r.call("unhandled_inform", r##"["#a"]"##);
    r.call("unhandled_request", "[]");
    r.call("inform_log", r##"["#log warn 1 board text\\_here"]"##);
    r.call("inform_log", r##"["#log warn"]"##);
    r.call("notify_connected", "[true]");
    r.call("listcmd", "[]");
    r.call("execcmd", r#"["rm"]"#);
}

fn gateware(r: &mut Recorder) {
    r.call("status", "[]");
    r.call("listbof", "[]");
    r.call("upload_bof", r#"["synthetic.fpg", PORT]"#);
    assert_eq!(
        r.mock
            .files()
            .iter()
            .find(|(name, _)| name == "synthetic.fpg")
            .map(|(_, bytes)| bytes.len()),
        Some(1803)
    );
    r.call("upload_bof", r#"["no_such.fpg", PORT]"#);
    r.call("upload_bof", r#"["../synthetic.fpg", PORT]"#);
    r.call("upload_bof", r#"["synthetic.fpg", 80]"#);
    r.call("upload_bof", r#"["synthetic.fpg", PORT, null, "00"]"#);
    r.call("upload_bof", r##"["#!/bin/kcpfpg\n?quit\n", PORT]"##);
    r.call("upload_bof", "[null, PORT]");
    r.call("upload_chunk", r##"["#!/bin/kcp"]"##);
    r.call("upload_chunk", r#"["?quit\n", 17]"#);
    r.call("upload_chunk", r#"["fpg\n?quit\n", 10]"#);
    r.call("upload_bof", r#"[null, PORT, "chunks.fpg"]"#);
    r.call("delbof", r#"["synthetic.fpg"]"#);
    r.call("delbof", r#"["synthetic.fpg"]"#);
    r.call("progdev", r#"["tset.bof"]"#);
    r.call("progdev", r#"["../test.bof"]"#);
    r.call("progdev", r#"["test.bof"]"#);
    r.call("read_uint", r#"["snap_bram"]"#);
    r.call("upload_to_ram_and_program", r#"["synthetic.fpg", PORT]"#);
    r.call("listdev", "[]");
    r.call("get_system_information", "[]");
    r.call("write_fields", r#"["acc_len", {"enable": true, "len": 5}]"#);
    r.call("read_uint", r#"["acc_len"]"#);
    r.call("write_fields", r#"["acc_len", {"len": 2147483648}]"#);
    r.call("read_fields", r#"["acc_len"]"#);
    r.call("deprogram", "[]");
    r.call("status", "[]");
    r.call("listdev", "[]");
    r.call("read_uint", r#"["led"]"#);
    r.call("progdev", "[null]");
    r.call("progdev", r#"["adc.bof"]"#);
}

fn link(r: &mut Recorder) {
    r.call("is_connected", "[]");
    r.call("wait_connected", "[1]");
    r.call("running", "[]");
    r.call("start", "[]");
    r.call("join", "[0.01]");
    r.call("run", "[]");
    r.call("stop", "[]");
    r.call("running", "[]");
    r.call("stop", "[]");
    r.call("join", "[]");
    r.call("is_connected", "[]");
    r.call("ping", "[]");
    r.call("start", "[]");
    r.call("ping", "[]");
}

fn record(personality: Personality, golden: &str) -> BTreeSet<String> {
    let mut recorder = Recorder::new(personality);
    everything(&mut recorder);
    recorder.compare(golden);
    recorder.called
}

#[test]
fn every_method_on_a_roach2() {
    let called = record(Personality::Roach2, "methods-roach2.txt");
    let untold = ["est_brd_clk", "sensor_list", "versions"];
    // What measures, or tells of the mock alone, is tested below.
    let known: Vec<String> = Board::new("board", 1)
        .interface()
        .methods
        .iter()
        .map(|method| method.name.clone())
        .collect();
    let missing: Vec<&String> = known
        .iter()
        .filter(|name| !called.contains(*name) && !untold.contains(&name.as_str()))
        .collect();
    assert_eq!(missing, Vec::<&String>::new());
    let published: Vec<&str> = PUBLISHED.split_whitespace().collect();
    assert_eq!(published.len(), 46);
    for name in published {
        assert!(known.iter().any(|known| known == name), "{name}");
    }
}

#[test]
fn every_method_on_a_roach1() {
    record(Personality::Roach1, "methods-roach1.txt");
}

#[test]
fn every_method_on_a_version_5_server() {
    record(Personality::V5, "methods-v5.txt");
}

#[test]
fn what_a_board_measures_is_told() {
    for personality in [Personality::Roach2, Personality::Roach1, Personality::V5] {
        let mut r = Recorder::new(personality);
        r.board.patience = Duration::from_millis(500);
        let mhz: f64 = r.board.ask("est_brd_clk", "[]").parse().unwrap();
        assert!((mhz - 100.0).abs() < 5.0, "{mhz}");
        let versions = r.board.ask("versions", "[]");
        let part = if personality == Personality::V5 { "katcp-protocol" } else { "version" };
        assert!(versions.contains(&format!(r#""{part}":"#)), "{versions}");
        let sensors = r.board.ask("sensor_list", "[]");
        if personality == Personality::Roach1 {
            continue;
        }
        assert!(sensors.contains(r#""name":"mode""#), "{sensors}");
        let value = r.board.ask("sensor_value", r#"["mode"]"#);
        assert!(
            value.contains(r#""name":"mode""#) && value.contains(r#""value":"raw""#),
            "{value}"
        );
        let (_, time) = value.split_once(r#""timestamp":"#).unwrap();
        let time: f64 = time.split([',', '}']).next().unwrap().parse().unwrap();
        // Seconds, whichever unit the server has: between the years 2020 and 2100.
        assert!((1.58e9..4.1e9).contains(&time), "{value}");
    }
}

#[test]
fn progress_of_an_upload_is_told() {
    let mut r = Recorder::new(Personality::Roach2);
    let bof = Design::adc().to_bof(3_000_000);
    let port = r.port;
    r.board
        .call(|fpga, cx| fpga.upload_bof(cx, Some(&bof), port, Some("large.bof"), None))
        .unwrap();
    let told = r.board.progress();
    assert!(told.len() > 10);
    assert!(told.windows(2).all(|pair| pair[0].0 < pair[1].0));
    assert_eq!(told.last(), Some(&(bof.len() as u64, bof.len() as u64)));
    assert!(r.mock.files().iter().any(|(name, bytes)| name == "large.bof" && *bytes == bof));
}

#[test]
fn gateware_that_does_not_come_to_run_is_an_error_with_the_boards_reason() {
    let mut r = Recorder::new(Personality::Roach2);
    // The client finds nothing wrong with it; the board has no room for a register there.
    let mut design = Design::adc();
    design.registers[0].address = 0xf000_0000;
    let bad = design.to_bof(1000);
    let port = r.port;
    let fault = r
        .board
        .call(|fpga, cx| {
            fpga.upload_to_ram_and_program(cx, Some(&bad), Some(port), Some(5.0), None)
        })
        .unwrap_err();
    assert_eq!(
        board::lines(&fault).replace(&r.board.address(), "BOARD"),
        "RuntimeError: the gateware did not come to run on BOARD; none runs now\n  \
         the board's log: map request 0xffffffff exceeds limit 0x8000000"
    );
    assert!(r.board.ask("listdev", "[]").starts_with("RuntimeError: no gateware runs on BOARD"));
}
