//! A ROACH board in software, for tests without hardware.
//!
//! [`Mock::start`] gives a board on a free port of the loopback interface that speaks KATCP as tcpborphserver3 does on
//! a ROACH2: the same greeting, replies, informs and log lines, one flat big-endian memory under its registers,
//! programming by `?progdev` and by upload, and hardware that moves: a clock counter, snapshot blocks that capture a
//! tone in noise, QDR and DRAM, sensors that drift. Other [`Personality`]s are a ROACH1 and a KATCP version 5 server.
//! Any [`Fault`] a link or a board may have can be had on demand.
//!
//! For authors of clients: a test starts a board, lets the client talk to it, and looks at the board directly.
//!
//! ```
//! use mock_fpga::{Config, Mock};
//! use std::io::{BufRead, BufReader, Write};
//!
//! let board = Mock::start(Config::default())?;
//! let mut link = BufReader::new(std::net::TcpStream::connect(board.addr())?);
//! link.get_mut().write_all(b"?wordwrite sys_scratchpad 0 0x1234\n")?;
//! let reply = link.lines().map_while(Result::ok).find(|line| line.starts_with('!'));
//! assert_eq!(reply.as_deref(), Some("!wordwrite ok"));
//! assert_eq!(board.peek("sys_scratchpad"), Some(vec![0, 0, 0x12, 0x34]));
//! assert_eq!(board.counters().writes, 1);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! It is a mock: what it does is what was recorded from a real server (`tests/golden/transcripts`), and where nothing
//! was recorded, what the sources of the time suggest. No hardware was involved.

mod board;
mod clients;
mod commands;
mod config;
mod design;
mod faults;
mod input;
mod memory;
mod mock;
mod numbers;
mod output;
mod peripherals;
mod sensors;
mod server;
mod signal;
mod taps;
mod upload;

pub use board::{Counters, Written};
pub use config::{Alignment, Config, Personality};
pub use design::Design;
pub use faults::{Fault, FaultError};
pub use mock::Mock;
pub use proximity_proto::gateware::Register;
