//! Servers that are no board at all: silent, endless, gone at once, or not to be found.

// The exemption of tests in clippy.toml does not reach their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod board;

use board::Board;
use mock_fpga::{Config, Mock};
use std::{
    io::Write,
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A server of our own: each connection is passed to `serve`.
fn server(serve: impl Fn(TcpStream) + Send + 'static) -> Board {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || listener.incoming().flatten().for_each(serve));
    Board::new("127.0.0.1", port)
}

/// Calls `ping()` for somebody who waits for `patience`; it may take a little longer.
fn ping(board: &mut Board, patience: Duration) -> String {
    board.patience = patience;
    let start = Instant::now();
    let answer = board.ask("ping", "[]");
    let took = start.elapsed();
    assert!(took < patience + ms(1500), "{took:?}: {answer}");
    answer
}

#[test]
fn one_that_never_speaks_costs_the_callers_time_and_no_more() {
    let mut board = server(std::mem::forget);
    let answer = ping(&mut board, ms(400));
    let expected = "TimeoutError: BOARD did not answer ?watchdog within 0.4 s";
    assert!(answer.starts_with(expected), "{answer}");
}

#[test]
fn one_that_talks_without_end_costs_the_callers_time_and_no_more() {
    for chatter in ["#log info 0 raw chatter\n", "#watchdog chatter\n"] {
        let mut board = server(move |mut stream| {
            let block = chatter.repeat(1000);
            while stream.write_all(block.as_bytes()).is_ok() {}
        });
        let answer = ping(&mut board, ms(300));
        assert!(answer.contains("Error: BOARD "), "{answer}");
    }
}

#[test]
fn one_that_takes_nothing_costs_the_callers_time_and_no_more() {
    let mut board = server(|mut stream| {
        stream.write_all(b"#version x\n#listdev big 99999999:0\n!listdev ok\n").unwrap();
        std::mem::forget(stream);
    });
    board.patience = ms(300);
    let start = Instant::now();
    // More than the buffers of both ends hold.
    let data = vec![1; 40 << 20];
    let fault = board.call(|fpga, cx| fpga.blindwrite(cx, "big", &data, 0)).unwrap_err();
    assert_eq!(fault.class, "TimeoutError", "{fault}");
    assert!(start.elapsed() < ms(3000), "{:?}", start.elapsed());
}

#[test]
fn one_that_closes_at_once_is_not_asked_in_a_tight_loop() {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let mut board = server(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let start = Instant::now();
    while start.elapsed() < ms(1000) {
        let answer = ping(&mut board, ms(300));
        assert!(answer.starts_with("ConnectionError"), "{answer}");
    }
    let connections = connections.load(Ordering::Relaxed);
    assert!((1..=6).contains(&connections), "{connections}");
}

#[test]
fn names_are_looked_up_and_all_their_addresses_tried() {
    let mock = Mock::start(Config::default()).unwrap();
    let mut board = Board::new("localhost", mock.addr().port());
    assert_eq!(ping(&mut board, ms(1000)), "true");
    let mut board = Board::new("no-such-board.invalid", 7147);
    let answer = ping(&mut board, ms(500));
    assert!(answer.starts_with("ConnectionError: no connection to BOARD"), "{answer}");
}
