//! The FPGA client against recorded conversations with a real server: the bytes that it sends are known to
//! that server, and what the server said to them is understood.

// The exemption of tests in clippy.toml does not reach their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod board;
#[path = "../../tests/golden/transcript.rs"]
mod transcript;

use board::{Board, lines};
use proximity_drivers::fpga::{Fpga, Word};
use proximity_proto::Fault;
use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::mpsc::{self, Receiver},
    thread,
};
use transcript::Line;

/// What the server said to each request of some transcripts, in order.
type Script = HashMap<Vec<u8>, Vec<Vec<u8>>>;

/// How the replayer writes.
#[derive(Clone, Copy, PartialEq)]
enum Pieces {
    Whole,
    /// Each byte in a segment of its own.
    Bytes,
}

fn script(names: &[&str]) -> (Vec<u8>, Script) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/transcripts");
    let (mut greeting, mut script) = (Vec::new(), Script::new());
    let chosen = transcript::all(&folder).into_iter().filter(|t| names.contains(&t.name.as_str()));
    let mut count = 0;
    for recorded in chosen {
        count += 1;
        greeting.clear();
        let mut request: Option<Vec<u8>> = None;
        let mut answer = Vec::new();
        for line in recorded.lines {
            match line {
                Line::Sent(bytes) => {
                    if let Some(request) = request.replace(bytes) {
                        script.entry(request).or_default().push(std::mem::take(&mut answer));
                    }
                }
                Line::Received(bytes) if request.is_some() => answer.extend(bytes),
                Line::Received(bytes) => greeting.extend(bytes),
                _ => {}
            }
        }
        script.entry(request.unwrap()).or_default().push(answer);
    }
    assert_eq!(count, names.len(), "all of {names:?} are there");
    (greeting, script)
}

/// Serves one connection from `script`, and tells the requests that it got.
fn replay(names: &[&str], pieces: Pieces) -> (Board, Receiver<Vec<u8>>) {
    let (greeting, mut script) = script(names);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, requests) = mpsc::channel();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        write(&mut stream, &greeting, pieces);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            let answers = script.get_mut(&line);
            let _ = sender.send(std::mem::take(&mut line));
            // A request that was never recorded ends the conversation, and with it the test.
            let Some(answers) = answers else { return };
            let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
            write(&mut stream, &answer, pieces);
        }
    });
    (Board::new("127.0.0.1", port), requests)
}

fn write(stream: &mut TcpStream, bytes: &[u8], pieces: Pieces) {
    let len = if pieces == Pieces::Whole { bytes.len().max(1) } else { 1 };
    stream.set_nodelay(true).unwrap();
    for piece in bytes.chunks(len) {
        // The client may be gone already, having seen all that it wanted.
        let _ = stream.write_all(piece);
    }
}

fn sent(requests: &Receiver<Vec<u8>>) -> String {
    requests.try_iter().map(|line| String::from_utf8_lossy(&line).into_owned()).collect()
}

#[test]
fn registers_are_listed_and_read() {
    for pieces in [Pieces::Whole, Pieces::Bytes] {
        let (mut board, requests) = replay(&["10-listdev.txt", "11-read.txt"], pieces);
        let names = board.call(|fpga, cx| fpga.listdev(cx, false, false)).unwrap();
        assert_eq!(names.0.len(), 14);
        assert_eq!((names.0[0].0.as_str(), names.0[13].0.as_str()), ("big_bram", "wo_reg"));
        let bytes =
            board.call(|fpga, cx| fpga.read(cx, "snap_bram", 16, 0).bytes().map(<[u8]>::to_vec));
        assert_eq!(bytes.unwrap(), b"\0\n\r\t \\\x1b\x01\x02\xff!#?[]\0");
        // Bytes 1 to 3 come as a whole word, which is cut here.
        let bytes =
            board.call(|fpga, cx| fpga.read(cx, "snap_bram", 3, 1).bytes().map(<[u8]>::to_vec));
        assert_eq!(bytes.unwrap(), b"\n\r\t");
        let word = board.call(|fpga, cx| fpga.read_uint(cx, "snap_bram", 0));
        assert_eq!(word.unwrap(), 0x000a_0d09);
        assert_eq!(
            sent(&requests),
            "?listdev\n?listdev size\n?read snap_bram 0 16\n?read snap_bram 0 4\n?read snap_bram 0 4\n"
        );
    }
}

#[test]
fn what_the_list_of_registers_tells_is_not_asked_of_the_board() {
    let (mut board, requests) = replay(&["10-listdev.txt", "11-read.txt"], Pieces::Whole);
    let fault = board.call(|fpga, cx| fpga.read_int(cx, "sys_scratchpda", 0)).unwrap_err();
    assert_eq!(
        lines(&fault).replace(&board.address(), "BOARD"),
        "KeyError: no register 'sys_scratchpda' in the gateware on BOARD\n  \
         hint: did you mean 'sys_scratchpad'?"
    );
    let fault = board.call(|fpga, cx| fpga.read_int(cx, "nothing_like_it", 0)).unwrap_err();
    assert_eq!(
        lines(&fault).replace(&board.address(), "BOARD"),
        "KeyError: no register 'nothing_like_it' in the gateware on BOARD\n  \
         hint: listdev() tells the 14 that there are"
    );
    let fault = board
        .call(|fpga, cx| fpga.read(cx, "snap_bram", 65_537, 0).bytes().map(<[u8]>::to_vec))
        .unwrap_err();
    assert_eq!(
        lines(&fault),
        "ValueError: register 'snap_bram' has 65536 bytes; 65537 bytes at offset 0 reach past its end"
    );
    let fault = board.call(|fpga, cx| fpga.read_int(cx, "sys_rev", 1)).unwrap_err();
    assert_eq!(
        lines(&fault),
        "ValueError: register 'sys_rev' has 4 bytes; 4 bytes at offset 4 reach past its end"
    );
    let fault = board
        .call(|fpga, cx| fpga.read(cx, "sys_rev", 0, 0).bytes().map(<[u8]>::to_vec))
        .unwrap_err();
    assert_eq!(lines(&fault), "ValueError: 0 bytes of register 'sys_rev' were asked for; it has 4");
    let fault = board.call(|fpga, cx| fpga.blindwrite(cx, "sys_rev", b"abc", 0)).unwrap_err();
    assert_eq!(
        lines(&fault),
        "ValueError: the length of a write to 'sys_rev' is 3; it must be a multiple of 4 bytes"
    );
    let fault = board.call(|fpga, cx| fpga.blindwrite(cx, "sys_rev", b"abcd", 2)).unwrap_err();
    assert_eq!(
        lines(&fault),
        "ValueError: the offset of a write to 'sys_rev' is 2; it must be a multiple of 4 bytes"
    );
    // The list that a refusal stands on is a fresh one.
    assert!(sent(&requests).lines().all(|line| line == "?listdev size"));
}

#[test]
fn a_refusal_carries_what_the_board_logged() {
    let (mut board, requests) = replay(&["10-listdev.txt", "11-read.txt"], Pieces::Whole);
    let fault = board.call(|fpga, cx| fpga.read_int(cx, "wo_reg", 0)).unwrap_err();
    assert_eq!(
        lines(&fault).replace(&board.address(), "BOARD"),
        "RuntimeError: BOARD refused ?read wo_reg 0 4: fail\n  \
         the board's log: register wo_reg is not marked readable"
    );
    assert_eq!(sent(&requests), "?listdev size\n?read wo_reg 0 4\n?listdev size\n");
}

#[test]
fn numbers_are_written_and_read_back() {
    let names = ["10-listdev.txt", "12-write.txt"];
    let (mut board, requests) = replay(&names, Pieces::Whole);
    // "ABCD"
    let write = |fpga: &mut Fpga, cx: &proximity_proto::Context<'_>| {
        fpga.write_int(cx, "sys_scratchpad", Word(0x4142_4344), false, 0)
    };
    board.call(write).unwrap();
    // The next read recorded gives "XY\0\0".
    let fault = board.call(write).unwrap_err();
    assert_eq!(
        lines(&fault),
        "RuntimeError: register 'sys_scratchpad' does not hold what was written: \
         at offset 0 it was 0x41424344, read back 0x58590000\n  \
         hint: blindwrite() does not read back, for registers that change by themselves"
    );
    let fault = board.call(|fpga, cx| fpga.blindwrite(cx, "sys_board_id", b"ABCD", 0)).unwrap_err();
    assert_eq!(
        lines(&fault).replace(&board.address(), "BOARD"),
        "RuntimeError: BOARD refused ?write sys_board_id 0 ABCD: fail\n  \
         the board's log: register sys_board_id is not marked writeable"
    );
    assert_eq!(
        sent(&requests),
        "?listdev size\n?write sys_scratchpad 0 ABCD\n?read sys_scratchpad 0 4\n\
         ?write sys_scratchpad 0 ABCD\n?read sys_scratchpad 0 4\n?write sys_board_id 0 ABCD\n\
         ?listdev size\n"
    );
}

#[test]
fn gateware_is_loaded() {
    let names = ["07-listbof.txt", "08-progdev.txt", "09-fpgastatus.txt", "10-listdev.txt"];
    let (mut board, requests) = replay(&names, Pieces::Whole);
    assert_eq!(board.call(|fpga, cx| fpga.progdev(cx, Some("test.bof"))).unwrap(), "ok");
    assert_eq!(board.fpga().state(), "ready");
    let fault = board.call(|fpga, cx| fpga.progdev(cx, Some("tset.bof"))).unwrap_err();
    assert_eq!(
        lines(&fault).replace(&board.address(), "BOARD"),
        "KeyError: no gateware file 'tset.bof' on BOARD; nothing was changed\n  \
         hint: did you mean 'test.bof'?"
    );
    let fault = board.call(|fpga, cx| fpga.progdev(cx, Some("notes.txt"))).unwrap_err();
    assert_eq!(
        lines(&fault).replace(&board.address(), "BOARD"),
        "RuntimeError: BOARD refused ?progdev notes.txt: fail\n  \
         the board's log: unsupported file format in notes.txt"
    );
    assert_eq!(board.call(|fpga, cx| fpga.progdev(cx, None)).unwrap(), "ok");
    assert_eq!(
        sent(&requests),
        "?listbof\n?progdev test.bof\n?listbof\n?listbof\n?progdev notes.txt\n?progdev\n"
    );
}

#[test]
fn an_unprogrammed_board_says_so() {
    let (mut board, _requests) = replay(&["01-unprogrammed.txt"], Pieces::Whole);
    let expected = "RuntimeError: no gateware runs on BOARD\n  \
                    hint: progdev() loads one; listbof() tells which there are";
    let told = |board: &Board, fault: &Fault| lines(fault).replace(&board.address(), "BOARD");
    let fault = board.call(|fpga, cx| fpga.listdev(cx, false, false)).unwrap_err();
    assert_eq!(told(&board, &fault), expected);
    let fault = board.call(Fpga::status).unwrap_err();
    assert_eq!(told(&board, &fault), expected);
    assert_eq!(board.fpga().state(), "down");
}

#[test]
fn a_sign_of_life_and_the_state_are_understood() {
    let (mut board, requests) = replay(&["03-watchdog.txt", "09-fpgastatus.txt"], Pieces::Bytes);
    assert!(board.call(Fpga::ping).unwrap());
    assert_eq!(board.call(Fpga::status).unwrap(), "ready");
    assert_eq!(sent(&requests), "?watchdog\n?status\n");
}
