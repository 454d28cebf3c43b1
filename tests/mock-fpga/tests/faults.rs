//! Faults on demand, as a client sees them.

// The exemption of tests in clippy.toml does not reach their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod link;

use link::{DEADLINE, Link};
use mock_fpga::{Config, Fault, Mock};
use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const WORD: &str = "!wordread ok 0xb00b";

fn faulty(fault: &str) -> (Mock, Link) {
    let mock = Mock::start(Config::default()).unwrap();
    let mut link = Link::greeted(mock.addr());
    assert_eq!(link.ask(&format!("?mock-fault {fault}")), "!mock-fault ok");
    (mock, link)
}

#[test]
fn pieces_of_any_size_are_the_same_lines() {
    for bytes in [1, 2, 3, 7, 4096] {
        let (_mock, mut link) = faulty(&format!("split {bytes}"));
        assert_eq!(link.ask("?wordread sys_board_id"), WORD);
        assert_eq!(link.read("snap_bram", 0, 3000), vec![0; 3000]);
    }
}

#[test]
fn a_gap_parts_the_pieces_in_time() {
    let (_mock, mut link) = faulty("split 5 20");
    let start = Instant::now();
    assert_eq!(link.ask("?wordread sys_board_id"), WORD);
    assert!(start.elapsed() >= Duration::from_millis(60));
}

#[test]
fn a_delay_holds_every_answer_back_and_late_only_the_next() {
    let (_mock, mut link) = faulty("delay 30");
    let start = Instant::now();
    link.ask("?watchdog");
    link.ask("?watchdog");
    assert!(start.elapsed() >= Duration::from_millis(60));
    let (_mock, mut link) = faulty("late 50");
    let start = Instant::now();
    assert_eq!(link.ask("?wordread sys_board_id"), WORD);
    assert!(start.elapsed() >= Duration::from_millis(50));
}

#[test]
fn a_dropped_reply_was_still_done() {
    let (mock, mut link) = faulty("drop 1");
    link.send("?wordwrite sys_scratchpad 0 7\n");
    assert_eq!(link.ask("?watchdog"), "!watchdog ok");
    assert_eq!(mock.counters().writes, 1);
    assert_eq!(mock.peek("sys_scratchpad").unwrap(), [0, 0, 0, 7]);
}

#[test]
fn a_cut_reply_ends_the_connection() {
    let (_mock, mut link) = faulty("cut 9");
    link.send("?wordread sys_board_id\n?watchdog\n");
    assert_eq!(link.line().unwrap(), b"!wordread");
    assert_eq!(link.line(), None);
}

#[test]
fn garbage_and_chatter_come_before_the_reply() {
    let (_mock, mut link) = faulty("garbage 100");
    link.send("?wordread sys_board_id\n");
    let mut seen = 0;
    loop {
        let got = link.line().unwrap();
        if got == format!("{WORD}\n").as_bytes() {
            break;
        }
        seen += got.len();
    }
    assert_eq!(seen, 101);
    let (_mock, mut link) = faulty("chatter 3");
    link.send("?watchdog\n");
    let lines: Vec<_> = (0..4).map(|_| link.line().unwrap()).collect();
    assert!(lines[..3].iter().all(|line| line.starts_with(b"#log debug ")));
    assert_eq!(lines[3], b"!watchdog ok\n");
}

#[test]
fn a_hung_server_answers_afterwards() {
    let (_mock, mut link) = faulty("hang 150");
    let start = Instant::now();
    assert_eq!(link.ask("?wordread sys_board_id"), WORD);
    assert!(start.elapsed() >= Duration::from_millis(100));
}

#[test]
fn a_half_open_board_never_answers_what_it_was_asked() {
    let (mock, mut link) = faulty("half-open 60000");
    link.send("?wordwrite sys_scratchpad 0 7\n");
    let mut other = TcpStream::connect(mock.addr()).unwrap();
    other.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let nothing = other.read(&mut [0; 10]).unwrap_err().kind();
    assert!(matches!(nothing, ErrorKind::WouldBlock | ErrorKind::TimedOut));
    drop(other);
    assert!(mock.wait_for(DEADLINE, |counters| counters.ignored_bytes == 30));
    mock.fault(Fault::None);
    assert_eq!(link.ask("?watchdog"), "!watchdog ok");
    assert_eq!(mock.counters().writes, 0);
}

#[test]
fn a_board_that_refuses_comes_back_on_its_port_as_it_was() {
    let (mock, mut link) = faulty("none");
    mock.fault(Fault::Refuse(Duration::from_millis(100)));
    assert_eq!(link.line(), None);
    assert!(TcpStream::connect(mock.addr()).is_err());
    back(&mock);
    assert!(mock.is_programmed());
}

#[test]
fn a_restarted_board_is_not_programmed() {
    for how in ["?restart", "?mock-fault restart 50"] {
        let mock = Mock::start(Config::default()).unwrap();
        let mut link = Link::greeted(mock.addr());
        link.send(format!("{how}\n"));
        while link.line().is_some() {}
        let mut link = back(&mock);
        assert_eq!(link.ask("?fpgastatus"), "!fpgastatus fail");
    }
}

/// Connects again as soon as the board lets one.
fn back(mock: &Mock) -> Link {
    let start = Instant::now();
    while TcpStream::connect(mock.addr()).is_err() {
        assert!(start.elapsed() < DEADLINE);
        std::thread::sleep(Duration::from_millis(1));
    }
    Link::open(mock.addr())
}

#[test]
fn swapped_words_are_swapped_both_ways() {
    let (mock, mut link) = faulty("swap");
    assert_eq!(link.read("sys_board_id", 0, 4), [0x0b, 0xb0, 0, 0]);
    assert_eq!(link.ask("?write sys_scratchpad 0 dcba"), "!write ok");
    assert_eq!(mock.peek("sys_scratchpad").unwrap(), b"abcd");
}

#[test]
fn a_stall_is_that_of_nagle_and_delayed_acknowledgements() {
    // Without a stall the fastest of a few reads tells what the server does: a busy machine only makes
    // them slower. With one it does not: the kernel acknowledges at once now and then.
    let timed = |link: &mut Link| {
        let read = |_| {
            let start = Instant::now();
            link.read("snap_bram", 0, 65_536);
            start.elapsed()
        };
        let mut times: Vec<_> = (0..5).map(read).collect();
        times.sort_unstable();
        times
    };
    let (_mock, mut link) = faulty("none");
    let begun = Instant::now();
    loop {
        let plain = timed(&mut link)[0];
        link.ask("?mock-fault stall");
        let stalled = timed(&mut link)[2];
        link.ask("?mock-fault none");
        if stalled > plain + Duration::from_millis(20) {
            break;
        }
        assert!(begun.elapsed() < DEADLINE, "{stalled:?} against {plain:?}");
    }
}

#[test]
fn faults_are_listed_and_wrong_ones_refused() {
    let (_mock, mut link) = faulty("delay 1");
    link.ask("?mock-fault drop 0");
    link.send("?mock-fault\n");
    assert_eq!(link.line().unwrap(), b"#mock-fault delay\\_1\n");
    assert_eq!(link.reply().unwrap(), "!mock-fault ok 1");
    assert_eq!(link.ask("?mock-fault earthquake"), "!mock-fault invalid");
    assert_eq!(link.ask("?mock-fault none"), "!mock-fault ok");
    assert_eq!(link.ask("?mock-fault"), "!mock-fault ok 0");
}
