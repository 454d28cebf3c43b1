//! The command `mock-fpga`.

// The exemption of tests in clippy.toml does not reach their helpers.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mock-fpga"));
    command.args(args);
    command
}

fn output(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

/// A running process, killed at the end.
struct Boards {
    child: Child,
    addrs: Vec<String>,
}

impl Boards {
    fn start(args: &[&str], count: usize) -> Self {
        let mut child = command(args).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let addrs = lines
            .take(count)
            .map(|line| line.unwrap().strip_prefix("listening ").unwrap().to_owned())
            .collect();
        Self { child, addrs }
    }

    /// What board `at` answers to `request`, to its reply.
    fn ask(&self, at: usize, request: &str) -> Vec<String> {
        let mut link = TcpStream::connect(&self.addrs[at]).unwrap();
        link.write_all(format!("{request}\n").as_bytes()).unwrap();
        let mut answer = Vec::new();
        for line in BufReader::new(link).lines() {
            answer.push(line.unwrap());
            if answer.last().unwrap().starts_with('!') {
                break;
            }
        }
        answer
    }
}

impl Drop for Boards {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn it_tells_where_each_board_listens_first_of_all() {
    let boards = Boards::start(&["--boards", "3"], 3);
    for at in 0..3 {
        assert!(boards.addrs[at].starts_with("127.0.0.1:"));
        assert_eq!(boards.ask(at, "?wordread sys_board_id").last().unwrap(), "!wordread ok 0xb00b");
    }
}

#[test]
fn one_process_serves_256_boards() {
    let boards = Boards::start(&["--boards", "256"], 256);
    for at in 0..256 {
        assert_eq!(boards.ask(at, "?watchdog").last().unwrap(), "!watchdog ok");
    }
}

#[test]
fn it_runs_a_design_from_a_file() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/transcripts/synthetic.fpg");
    let boards = Boards::start(&["--fpg", file], 1);
    let registers =
        boards.ask(0, "?listdev").iter().filter(|line| line.starts_with("#listdev")).count();
    assert_eq!(registers, 13);
    assert!(
        boards
            .ask(0, "?meta acc_len")
            .contains(&"#meta acc_len xps:sw_reg names [enable len]".to_owned())
    );
    assert!(boards.ask(0, "?listbof").contains(&"#listbof synthetic.fpg".to_owned()));
}

#[test]
fn options_do_what_help_says() {
    let boards = Boards::start(&["--unprogrammed", "--fault", "chatter 1"], 1);
    let answer = boards.ask(0, "?listdev");
    assert_eq!(answer.last().unwrap(), "!listdev fail");
    assert!(answer.iter().any(|line| line.ends_with("chatter\\_0")), "{answer:?}");
    let boards = Boards::start(&["--personality", "v5", "--sensors", "--design", "adc"], 1);
    let answer = boards.ask(0, "?sensor-list[7] raw.temp.fpga");
    assert!(answer[0].starts_with("#version-connect katcp-library "));
    assert_eq!(answer.last().unwrap(), "!sensor-list[7] ok 1");
    assert!(boards.ask(0, "?listdev").contains(&"#listdev adc_snap_ctrl".to_owned()));
}

#[test]
fn help_and_version_are_printed() {
    let help = output(&["--help"]);
    assert!(help.status.success());
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(help.contains("--boards N") && help.lines().all(|line| line.len() <= 80));
    let version = String::from_utf8(output(&["-V"]).stdout).unwrap();
    assert_eq!(version, format!("mock-fpga {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn mistakes_are_told_in_a_line() {
    let table: [(&[&str], &str); 7] = [
        (&["--bords", "2"], "invalid option '--bords'"),
        (&["--boards", "0"], "--boards is 0; it must be 1 to 65535"),
        (&["--boards", "many"], "cannot parse argument \"many\": invalid digit found in string"),
        (&["--personality", "roach3"], "no personality 'roach3'; there are roach2, roach1 and v5"),
        (&["--design", "x"], "no design 'x'; there are recorded and adc"),
        (&["--fault", "cut"], "cannot parse argument \"cut\": fault 'cut' needs a number: bytes"),
        (&["--fpg", "nosuch.fpg"], "nosuch.fpg: No such file or directory (os error 2)"),
    ];
    for (args, text) in table {
        let output = output(args);
        assert_eq!(output.status.code(), Some(64), "{args:?}");
        let expected = format!("mock-fpga: {text}; mock-fpga --help tells more\n");
        assert_eq!(String::from_utf8(output.stderr).unwrap(), expected);
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let output = output(&["--listen", &addr]);
    assert_eq!(output.status.code(), Some(69));
    let expected =
        format!("mock-fpga: cannot listen on {addr}: Address already in use (os error 98)\n");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), expected);
}
