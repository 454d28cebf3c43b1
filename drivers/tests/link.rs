//! The link to a board when things go wrong: late, lost, cut, garbled, hung, and many at a time.

// The exemption of tests in clippy.toml does not reach their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod board;

use board::Board;
use mock_fpga::{Config, Fault, Mock, Personality};
use proximity_drivers::fpga::{ByteOrder, Setup};
use proximity_proto::object::Flow;
use std::time::{Duration, Instant};

const PERSONALITIES: [Personality; 3] = [Personality::Roach2, Personality::Roach1, Personality::V5];

fn mock(personality: Personality) -> Mock {
    Mock::start(Config { personality, ..Config::default() }).unwrap()
}

fn setup(mock: &Mock) -> Setup {
    Setup::new(&mock.addr().ip().to_string(), mock.addr().port())
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// The time that `work` takes.
fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let result = work();
    (start.elapsed(), result)
}

/// Calls until the answer is no `ConnectionError` any more, for 5 s at most.
fn once_back(board: &mut Board, method: &str, args: &str) -> String {
    let start = Instant::now();
    loop {
        let answer = board.ask(method, args);
        if !answer.starts_with("ConnectionError") || start.elapsed() > Duration::from_secs(5) {
            return answer;
        }
        // The pause that the answer tells is not over; there is no event to wait for but time.
        std::thread::sleep(ms(5));
    }
}

/// Calls until the board is found to be gone: the mock takes a fault in on its own thread.
fn once_gone(board: &mut Board) {
    let start = Instant::now();
    while !board.ask("ping", "[]").starts_with("ConnectionError") {
        assert!(start.elapsed() < Duration::from_secs(5), "the board is still there");
    }
}

#[test]
fn a_late_reply_is_never_taken_for_the_next_ones() {
    for personality in PERSONALITIES {
        let mock = mock(personality);
        mock.poke("sys_rev", 0, &[0, 0, 0, 1]);
        mock.poke("sys_rev_rcs", 0, &[0, 0, 0, 2]);
        let mut board = Board::of(&Setup { timeout: ms(300), ..setup(&mock) });
        assert_eq!(board.ask("read_int", r#"["sys_rev"]"#), "1");
        mock.fault(Fault::Late(ms(600)));
        assert_eq!(
            board.ask("read_int", r#"["sys_rev"]"#),
            "TimeoutError: BOARD did not answer ?read sys_rev 0 4 within 0.3 s\n  \
             hint: the next call connects anew where that is needed"
        );
        // The late reply comes while these are asked.
        let start = Instant::now();
        while start.elapsed() < ms(900) {
            let answer = board.ask("read_int", r#"["sys_rev_rcs"]"#);
            // Where the connection is kept, the late reply holds up those behind it.
            let held_up = personality == Personality::V5 && answer.starts_with("TimeoutError: ");
            assert!(answer == "2" || held_up, "{personality:?}: {answer}");
        }
        assert_eq!(board.ask("read_int", r#"["sys_rev_rcs"]"#), "2");
        let connections = if personality == Personality::V5 { 1 } else { 2 };
        assert_eq!(mock.counters().connections, connections, "{personality:?}");
    }
}

#[test]
fn a_hung_board_costs_the_callers_time_and_no_more() {
    let mock = mock(Personality::Roach2);
    let mut board = Board::of(&setup(&mock));
    assert_eq!(board.ask("ping", "[]"), "true");
    mock.fault(Fault::Drop(1));
    board.patience = ms(200);
    let (took, answer) = timed(|| board.ask("ping", "[]"));
    assert_eq!(
        answer,
        "TimeoutError: BOARD did not answer ?watchdog within 0.2 s\n  \
         hint: the next call connects anew where that is needed"
    );
    assert!((ms(200)..ms(1500)).contains(&took), "{took:?}");
    mock.fault(Fault::Drop(1));
    assert_eq!(
        once_back(&mut board, "tap_stop", r#"["tap0"]"#),
        "TimeoutError: BOARD did not answer ?tap-stop tap0 within 0.2 s\n  \
         hint: whether the board has done it is not known"
    );
}

#[test]
fn a_caller_with_little_time_costs_others_no_more_than_that() {
    let mock = mock(Personality::Roach2);
    mock.fault(Fault::Late(ms(200)));
    // The first call over its connection, of which the server has not shown that it is well.
    let mut hasty = Board::of(&Setup { timeout: ms(10), ..setup(&mock) });
    let answer = hasty.ask("ping", "[]");
    assert!(answer.starts_with("TimeoutError: "), "{answer}");
    let answer = hasty.ask("ping", "[]");
    // Else it would be 0.2 or 0.3 s. On a busy machine the pause may be over.
    let away = answer.starts_with("ConnectionError: ") && answer.contains("is due in 0.1 s");
    assert!(away || answer.starts_with("TimeoutError: "), "{answer}");
}

#[test]
fn a_call_that_is_called_off_ends() {
    let mock = mock(Personality::Roach2);
    let mut board = Board::of(&setup(&mock));
    assert_eq!(board.ask("ping", "[]"), "true");
    mock.fault(Fault::Drop(1));
    board.surroundings.cancel();
    let (took, answer) = timed(|| board.ask("ping", "[]"));
    assert_eq!(answer, "RuntimeError: ?watchdog to BOARD was called off by its caller");
    assert!(took < ms(2000), "{took:?}");
}

#[test]
fn a_board_that_is_away_is_not_waited_for() {
    let mock = mock(Personality::Roach2);
    let mut board = Board::of(&setup(&mock));
    assert_eq!(board.ask("read_int", r#"["sys_rev"]"#), "0");
    mock.fault(Fault::Refuse(ms(700)));
    once_gone(&mut board);
    // Either the loss itself was just told, or that the first try for another failed.
    board.ask("ping", "[]");
    let (took, answer) = timed(|| board.ask("read_int", r#"["sys_rev"]"#));
    assert!(took < ms(1000), "{took:?}");
    let (head, tail) = answer.split_once("due in ").unwrap();
    assert_eq!(head, "ConnectionError: no connection to BOARD; the next try is ");
    assert_eq!(
        tail.split_once('\n').unwrap().1,
        "  Connection refused (os error 111)\n  \
         hint: is the board powered, and is its KATCP server running?"
    );
    assert_eq!(once_back(&mut board, "read_int", r#"["sys_rev"]"#), "0");
    assert_eq!(board.ask("is_connected", "[]"), "true");
}

#[test]
fn a_connection_that_died_unseen_is_made_anew() {
    let mock = mock(Personality::Roach2);
    let mut board = Board::of(&setup(&mock));
    assert_eq!(board.ask("read_int", r#"["sys_rev"]"#), "0");
    assert!(mock.wait_for(ms(2000), |counters| counters.connections == 1));
    mock.fault(Fault::Refuse(Duration::ZERO));
    let answer = once_back(&mut board, "read_int", r#"["sys_rev"]"#);
    assert_eq!(answer, "0");
}

#[test]
fn replies_cut_or_garbled_are_errors_and_not_values() {
    let mock = mock(Personality::Roach2);
    mock.poke("sys_rev", 0, b"\x01\x02\x03\x04");
    let mut board = Board::of(&setup(&mock));
    assert_eq!(board.ask("read_uint", r#"["sys_rev"]"#), "16909060");
    mock.fault(Fault::Cut(9));
    assert_eq!(
        board.ask("read_uint", r#"["sys_rev"]"#),
        "ConnectionError: lost the connection to BOARD during ?read sys_rev 0 4\n  \
         the board closed the connection\n  \
         hint: the next call connects anew where that is needed"
    );
    mock.fault(Fault::Garbage(40));
    let answer = once_back(&mut board, "read_uint", r#"["sys_rev"]"#);
    assert!(
        answer == "16909060" || answer.starts_with("RuntimeError: BOARD sent an unreadable line"),
        "{answer}"
    );
    assert_eq!(once_back(&mut board, "read_uint", r#"["sys_rev"]"#), "16909060");
}

#[test]
fn informs_come_at_any_time() {
    for personality in PERSONALITIES {
        let mock = mock(personality);
        mock.fault(Fault::Chatter(20));
        let mut board = Board::of(&setup(&mock));
        for _ in 0..50 {
            assert_eq!(board.ask("read_int", r#"["sys_rev"]"#), "0");
        }
    }
}

#[test]
fn nothing_that_a_board_says_moves_the_callers_terminal() {
    let mock = mock(Personality::Roach2);
    let mut board = Board::of(&setup(&mock));
    let refused = |told: String| told.split_once(" refused ").map(|(_, told)| told.to_owned());
    assert_eq!(
        refused(board.ask("write_int", r#"["sys_board_id", 5, true]"#)).unwrap(),
        "?write sys_board_id 0 \\0\\0\\0\\x05: fail\n  \
         the board's log: register sys_board_id is not marked writeable"
    );
    let told = refused(board.ask("tap_stop", r#"["\u001b[2J\u009b\r"]"#)).unwrap();
    assert!(told.contains("\\x1b[2J\\x9b\\x0d"), "{told}");
    assert!(!told.contains(|letter: char| letter.is_control() && letter != '\n'), "{told:?}");
}

#[test]
fn large_transfers_arrive_whole_in_any_pieces() {
    let pattern: Vec<u8> =
        (0..1_u32 << 18).flat_map(|n| (n.wrapping_mul(2_654_435_761)).to_be_bytes()).collect();
    for (personality, fault) in [
        (Personality::Roach2, Fault::None),
        (Personality::Roach2, Fault::Stall),
        (Personality::Roach1, Fault::None),
        (Personality::V5, Fault::Split { bytes: 1021, gap: Duration::ZERO }),
    ] {
        let mock = mock(personality);
        let mut board = Board::of(&setup(&mock));
        board.call(|fpga, cx| fpga.blindwrite(cx, "big_bram", &pattern, 0)).unwrap();
        assert!(mock.peek("big_bram").as_ref() == Some(&pattern), "{personality:?}");
        mock.fault(fault);
        let (took, read) = timed(|| {
            board
                .call(|fpga, cx| fpga.read(cx, "big_bram", 1 << 20, 0).bytes().map(<[u8]>::to_vec))
                .unwrap()
        });
        assert!(read == pattern, "{personality:?} {fault:?}");
        // As a caller gets it: straight into the reply.
        let replied = board.bytes("read", r#"["big_bram", 1048576]"#);
        assert!(replied == pattern, "{personality:?} {fault:?}");
        let bulk =
            board.call(|fpga, cx| fpga.bulkread(cx, "big_bram", 1 << 20, 0).map(<[u8]>::to_vec));
        assert!(bulk.unwrap() == pattern, "{personality:?} {fault:?}");
        // 256 blocks of 4 KiB at 40 ms each would be 10 s.
        assert!(took < Duration::from_secs(3), "{took:?}");
        // Neither end at the edge of a word or of a piece.
        let part = |fpga: &mut proximity_drivers::fpga::Fpga, cx: &proximity_proto::Context<'_>| {
            fpga.read(cx, "big_bram", 131_077, 65_531).bytes().map(<[u8]>::to_vec)
        };
        assert!(board.call(part).unwrap() == pattern[65_531..65_531 + 131_077]);
    }
}

#[test]
fn a_register_that_ends_within_a_word_is_read_to_its_end() {
    let mock = mock(Personality::Roach2);
    mock.poke("odd7", 0, b"abcdefg");
    let mut board = Board::of(&setup(&mock));
    assert_eq!(board.bytes("read", r#"["odd7", 7]"#), b"abcdefg");
    assert_eq!(board.bytes("read", r#"["odd7", 5, 2]"#), b"cdefg");
}

#[test]
fn boards_of_the_other_byte_order_read_and_write_the_same_numbers() {
    let mock = mock(Personality::Roach2);
    let mut board = Board::of(&Setup { byte_order: Some(ByteOrder::Little), ..setup(&mock) });
    board.ask("write_int", r#"["sys_scratchpad", 258]"#);
    assert_eq!(mock.peek("sys_scratchpad").unwrap(), [2, 1, 0, 0]);
    assert_eq!(board.ask("read_int", r#"["sys_scratchpad"]"#), "258");
}

#[test]
fn the_byte_order_is_told_by_the_boards_id() {
    for (swapped, id) in [(false, [0, 0, 0xb0, 0x0b]), (true, [0x0b, 0xb0, 0, 0])] {
        let mock = mock(Personality::Roach2);
        mock.poke("sys_board_id", 0, &id);
        let mut board = Board::of(&Setup { byte_order: None, ..setup(&mock) });
        assert_eq!(board.ask("read_uint", r#"["sys_board_id"]"#), 0xb00b.to_string());
        board.ask("write_int", r#"["sys_scratchpad", 258]"#);
        let bytes = if swapped { [2, 1, 0, 0] } else { [0, 0, 1, 2] };
        assert_eq!(mock.peek("sys_scratchpad").unwrap(), bytes);
    }
}

#[test]
fn many_registers_are_read_in_one_call() {
    let mock = mock(Personality::Roach2);
    let mut board = Board::of(&setup(&mock));
    let names: Vec<String> = (0..1000).map(|word| format!(r#"["big_bram",{word}]"#)).collect();
    let numbers: Vec<String> =
        (0..1000).map(|n: u32| n.wrapping_mul(4_294_967).to_string()).collect();
    let pairs = names.iter().zip(&numbers);
    let pairs: Vec<String> =
        pairs.enumerate().map(|(word, (_, n))| format!(r#"["big_bram",{n},{word}]"#)).collect();
    assert_eq!(board.ask("write_many", &format!("[[{}]]", pairs.join(","))), "null");
    let (many, answer) = timed(|| board.ask("read_many", &format!("[[{}]]", names.join(","))));
    assert_eq!(answer, format!("[{}]", numbers.join(",")));
    let (single, ()) = timed(|| {
        for _ in 0..1000 {
            board.call(|fpga, cx| fpga.read_uint(cx, "sys_rev", 0)).unwrap();
        }
    });
    println!("1000 registers: {many:?} in one call, {single:?} one by one");
}

#[test]
fn a_register_is_read_while_the_clock_is_measured() {
    let mock = Mock::start(Config { clock_hz: 123.4e6, ..Config::default() }).unwrap();
    let mut board = Board::of(&setup(&mock));
    board.ask("write_int", r#"["sys_scratchpad", 5]"#);
    let started = board.start("est_brd_clk", "[]").unwrap();
    assert!(matches!(started.flow, Flow::Later(_)));
    let (took, answer) = timed(|| board.ask("read_int", r#"["sys_scratchpad"]"#));
    assert_eq!(answer, "5");
    assert!(took < ms(1000), "{took:?}");
    let out = board.finish(started).unwrap();
    let Some(proximity_proto::Value::Float(mhz)) = proximity_proto::Value::first(&out) else {
        panic!("a number")
    };
    assert!((mhz - 123.4).abs() < 0.5, "{mhz}");
}

#[test]
fn a_clock_of_gateware_that_changed_is_not_told() {
    let mock = mock(Personality::Roach2);
    let mut board = Board::of(&setup(&mock));
    board.patience = ms(1000);
    let started = board.start("est_brd_clk", "[]").unwrap();
    assert_eq!(board.ask("progdev", r#"["test.bof"]"#), r#""ok""#);
    let fault = board.finish(started).unwrap_err();
    assert_eq!(
        board::lines(&fault).replace(&board.address(), "BOARD"),
        "RuntimeError: the gateware on BOARD, or the connection to it, changed in the middle of est_brd_clk()"
    );
}

#[test]
fn a_connection_is_waited_for_and_calls_are_served_meanwhile() {
    let mock = mock(Personality::Roach2);
    let mut board = Board::of(&setup(&mock));
    assert_eq!(board.ask("wait_connected", "[]"), "true");
    mock.fault(Fault::Refuse(ms(400)));
    once_gone(&mut board);
    assert_eq!(board.ask("wait_connected", "[0.1]"), "false");
    let started = board.start("wait_connected", "[10]").unwrap();
    let (took, _) = timed(|| board.ask("ping", "[]"));
    assert!(took < ms(1000), "{took:?}");
    assert_eq!(board.finish(started).unwrap(), [0xc3]);
    assert_eq!(board.ask("ping", "[]"), "true");
}

#[test]
fn new_gateware_of_another_client_is_noticed() {
    for personality in PERSONALITIES {
        let mock = mock(personality);
        let (mut mine, mut other) = (Board::of(&setup(&mock)), Board::of(&setup(&mock)));
        assert_eq!(mine.ask("read_int", r#"["sys_rev"]"#), "0");
        let unknown = mine.ask("read_int", r#"["acc_len"]"#);
        assert!(unknown.starts_with("KeyError: no register 'acc_len' in"), "{unknown}");
        assert!(!other.ask("progdev", r#"["adc.bof"]"#).contains("Error"));
        assert_eq!(mine.ask("read_int", r#"["acc_len"]"#), "0");
        let unknown = mine.ask("read_int", r#"["snap_bram"]"#);
        assert!(unknown.starts_with("KeyError: no register 'snap_bram' in"), "{unknown}");
    }
}

#[test]
fn a_timeout_that_can_be_none_is_refused_before_anything_is_sent() {
    let mock = mock(Personality::Roach2);
    let mut board = Board::of(&setup(&mock));
    for (method, args, value) in [
        ("blocking_request", r#"["?watchdog", -3]"#, "-3"),
        ("blocking_request", r#"["?watchdog", 0]"#, "0"),
        ("blocking_request", r#"["?watchdog", 1e300]"#, "1"),
        ("blocking_request", r#"[["watchdog", [], -3]]"#, "-3"),
        ("upload_to_ram_and_program", r#"["none", null, -0.5]"#, "-0.5"),
    ] {
        let answer = board.ask(method, args);
        let start = format!("ValueError: timeout is {value}");
        assert!(answer.starts_with(&start), "{method}{args}: {answer}");
        assert!(answer.ends_with("; it must be 0.001 to 3600 seconds"), "{method}{args}: {answer}");
    }
    assert_eq!(mock.counters().connections, 0);
}
