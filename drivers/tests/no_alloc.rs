//! Reads and writes cost no heap allocation once the buffers have grown.
//!
//! Counted is the thread that calls: a driver has no other.

// The exemption of tests in clippy.toml does not reach their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod board;

use allocation_counter::measure;
use board::Board;
use proximity_drivers::fpga::Word;
use proximity_proto::Output;
use std::{
    io::{Read, Write},
    net::TcpListener,
    thread,
};

const PIECE: usize = 65_536;

/// A board that answers each request at once.
fn serve() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let list = b"#listdev big 1048576:0\n#listdev small 4:0\n!listdev ok\n";
    let small = b"!read ok \\0\\0\\0\x07\n";
    // Half of it escapes.
    let large = [&b"!read ok "[..], &b"\\0\x01".repeat(PIECE / 2), b"\n"].concat();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        stream.write_all(b"#version x\n").unwrap();
        let mut buffer = vec![0; 1 << 16];
        let mut have = 0;
        loop {
            let Ok(count @ 1..) = stream.read(&mut buffer[have..]) else { return };
            have += count;
            while let Some(end) = buffer[..have].iter().position(|&byte| byte == b'\n') {
                let line = &buffer[..end];
                let reply: &[u8] = match line {
                    [b'?', b'l', ..] => list,
                    [b'?', b'w', ..] => b"!write ok\n",
                    line if line.ends_with(b" 65536") => &large,
                    _ => small,
                };
                stream.write_all(reply).unwrap();
                buffer.copy_within(end + 1..have, 0);
                have -= end + 1;
            }
        }
    });
    port
}

#[test]
fn reads_and_writes_cost_no_allocation_in_steady_state() {
    let mut board = Board::new("127.0.0.1", serve());
    let mut reply = Vec::new();
    let mut round = |count: usize| {
        for _ in 0..count {
            board.call(|fpga, cx| fpga.read_int(cx, "small", 0)).unwrap();
            board.call(|fpga, cx| fpga.write_int(cx, "small", Word(7), false, 0)).unwrap();
            reply.clear();
            board.call(|fpga, cx| fpga.read(cx, "big", 1 << 20, 0).finish(&mut reply)).unwrap();
            // The value's head has five bytes.
            assert_eq!(reply.len(), 5 + (1 << 20));
        }
    };
    round(3);
    let seen = measure(|| round(20));
    assert_eq!(seen.count_total, 0, "in 60 calls");
    // It would be seen.
    let seen = measure(|| board = Board::new("127.0.0.1", 1));
    assert!(seen.count_total > 0, "a new board allocates");
}
