//! Every method of an FPGA board through the agent, called by a Python client of the bare wire; and the table of them
//! in the documentation.

#![allow(clippy::expect_used, reason = "a failing test panics")]

use proximity_drivers::fpga::{Fpga, Setup};
use proximity_proto::{
    Object,
    object::{Interface, Method},
};
use proximity_tests::process::{Agent, Process, program};
use std::{collections::BTreeSet, fmt::Write, fs, path::PathBuf, process::Command};

/// The 46 names of the original.
const PUBLISHED: &str = "blindwrite blocking_request bulkread config_10gbe_core est_brd_clk execcmd get_rcs get_snap \
    handle_inform handle_message handle_reply handle_request inform_log is_connected join listbof listcmd listdev \
    notify_connected ping print_10gbe_core_details progdev qdr_rst qdr_status read read_dram read_int read_uint \
    request run running send_message snapshot_get start status stop tap_start tap_stop unhandled_inform \
    unhandled_reply unhandled_request upload_bof wait_connected write write_dram write_int";

/// What is to be said of those that do not simply do what they did.
const REMARKS: &[(&str, &str)] = &[
    ("bulkread", "works; by ?read where the server has no ?bulkread"),
    ("est_brd_clk", "works; other calls are served meanwhile"),
    ("execcmd", "NotImplementedError, as the original"),
    ("handle_inform", "works; harmless"),
    ("handle_message", "works; harmless"),
    ("handle_reply", "works; harmless"),
    ("handle_request", "works; harmless"),
    ("inform_log", "works; into the agent's log"),
    ("join", "works; never waits for ever"),
    ("listcmd", "works, where the original had NotImplementedError"),
    ("notify_connected", "works; harmless"),
    ("print_10gbe_core_details", "works; returns the text, which the original printed"),
    ("run", "RuntimeError: there is no such loop to run"),
    ("start", "works; undoes stop()"),
    ("unhandled_inform", "works; without an argument it returns the last ones"),
    ("unhandled_reply", "works; without an argument it returns the last ones"),
    ("unhandled_request", "works; without an argument it returns the last ones"),
    ("upload_bof", "works, where the original did nothing"),
    ("wait_connected", "works; never waits for ever"),
];

const HEAD: &str = "\
# The methods of an FPGA board

Written by a test, `tests/tests/fpga_methods.rs`, from the driver itself: `BLESS=1 cargo test -p proximity-tests --test
fpga_methods` writes it anew. What each method takes and returns, `describe` tells, or `srbs.read?` at the prompt.

The check of a method is the function of its name in `tests/python/fpga_methods.py`: a right result and the most likely
failure, through a real agent, by a client that has nothing but pyzmq and msgpack, against the mock board as ROACH2,
ROACH1 and version 5 server. The KATCP lines that each method sends, and what the board holds after it, are in
`drivers/tests/golden/methods-*.txt`. No hardware was involved.
";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn interface() -> Interface {
    Fpga::new(&Setup::new("127.0.0.1", 7147)).interface()
}

/// Lets the Python client go through all methods of a board of this personality.
fn call_all(personality: &str) {
    let mut board = Process::start(Command::new(program("mock-fpga")).args([
        "--design",
        "adc",
        "--sensors",
        "--clock",
        "100e6",
        "--personality",
        personality,
    ]));
    let address = board.line("listening ");
    let port = address.rsplit(':').next().unwrap_or_default();
    let gateware = root().join("tests/golden/transcripts");
    let agent = Agent::start(&format!(
        "[objects.srbs]\ndriver = \"fpga\"\nhost = \"127.0.0.1\"\nport = {port}\n\
         gateware_dir = '{}'\n",
        gateware.display()
    ));
    let python = std::env::var("PROXIMITY_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let output = Command::new(python)
        .arg(root().join("tests/python/fpga_methods.py"))
        .args([&agent.endpoint, &address, personality])
        .output()
        .expect("python starts");
    let told = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{personality}, after {told:?}:\n{errors}");
    let checked: BTreeSet<&str> = told.lines().collect();
    let interface = interface();
    let methods: BTreeSet<&str> = interface.methods.iter().map(|m| m.name.as_str()).collect();
    assert_eq!(checked, methods, "{personality}");
}

#[test]
fn every_method_has_its_result_and_its_error_on_a_roach2() {
    call_all("roach2");
}

#[test]
fn every_method_has_its_result_and_its_error_on_a_roach1() {
    call_all("roach1");
}

#[test]
fn every_method_has_its_result_and_its_error_on_a_version_5_server() {
    call_all("v5");
}

/// A row of the table.
fn row(method: &Method, remark: &str, checks: &str) -> String {
    let name = &method.name;
    let params: Vec<&str> = method.params.iter().map(|param| param.name.as_str()).collect();
    let what = method.doc.lines().next().unwrap_or_default().trim_end_matches('.');
    let line = checks.lines().position(|line| line == format!("def {name}(srbs):"));
    assert!(line.is_some(), "{name} has no check in fpga_methods.py");
    let usage = format!("{name}({})", params.join(", "));
    format!("| `{usage}` | {what} | {} | {remark} | `{name}` |\n", method.effect.as_str())
}

#[test]
fn the_table_of_the_methods_is_up_to_date() {
    let checks =
        fs::read_to_string(root().join("tests/python/fpga_methods.py")).expect("it is there");
    let interface = interface();
    let published: Vec<&str> = PUBLISHED.split_whitespace().collect();
    assert_eq!(published.len(), 46);
    for personality in ["roach2", "roach1", "v5"] {
        let golden = root().join(format!("drivers/tests/golden/methods-{personality}.txt"));
        let golden = fs::read_to_string(golden).expect("it is there");
        for name in published.iter().filter(|name| **name != "est_brd_clk") {
            let called = golden.lines().any(|line| line.starts_with(&format!("{name} [")));
            assert!(called, "{name} is not in the golden lines of {personality}");
        }
    }
    let columns = "\n| method | what it does | effect | status | check |\n|---|---|---|---|---|\n";
    let mut text = format!("{HEAD}\n## The 46 of the original\n{columns}");
    for name in &published {
        let method = interface.methods.iter().find(|method| method.name == *name);
        let method = method.unwrap_or_else(|| panic!("there is no {name}"));
        let remark = REMARKS.iter().find(|(remarked, _)| remarked == name);
        text += &row(method, remark.map_or("works", |(_, remark)| *remark), &checks);
    }
    let _ = write!(text, "\n## Those beyond\n{columns}");
    for method in interface.methods.iter().filter(|m| !published.contains(&m.name.as_str())) {
        text += &row(method, "works", &checks);
    }
    let file = root().join("docs/fpga-methods.md");
    if fs::read_to_string(&file).unwrap_or_default() != text {
        if std::env::var_os("BLESS").is_some() {
            fs::write(&file, &text).expect("it can be written");
        }
        panic!("docs/fpga-methods.md is out of date: BLESS=1 writes it anew");
    }
}
