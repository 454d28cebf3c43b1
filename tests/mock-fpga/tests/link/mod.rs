//! A connection to the mock, line by line.

// Each test takes in the whole module and uses some of it.
#![allow(dead_code)]

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// Long enough for a loaded machine; nothing waits so long unless it fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) struct Link(BufReader<TcpStream>);

impl Link {
    pub(crate) fn open(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self(BufReader::new(stream))
    }

    /// Opens a connection and takes the greeting, so that the server is known to have it.
    pub(crate) fn greeted(addr: SocketAddr) -> Self {
        let mut link = Self::open(addr);
        assert_eq!(link.line().unwrap(), b"#version 75dde9d\n");
        assert_eq!(link.line().unwrap(), b"#build-state 2018-07-30T12:00:00\n");
        link
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        self.0.get_ref()
    }

    /// The next line; `None` at the end of the stream.
    pub(crate) fn line(&mut self) -> Option<Vec<u8>> {
        let mut line = Vec::new();
        match self.0.read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(_) => Some(line),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // What is sent on a closed connection is lost, and that is what a client sees.
        let _ = self.0.get_mut().write_all(bytes.as_ref());
    }

    /// Sends a request; the reply, without its end. Informs are thrown away.
    pub(crate) fn ask(&mut self, request: &str) -> String {
        self.send(format!("{request}\n"));
        self.reply().expect("a reply, not the end of the stream")
    }

    /// The next reply; `None` at the end of the stream.
    pub(crate) fn reply(&mut self) -> Option<String> {
        while let Some(line) = self.line() {
            if line.starts_with(b"!") {
                return Some(line.trim_ascii_end().escape_ascii().to_string());
            }
        }
        None
    }

    /// The one argument behind `ok` of a `?read`, decoded.
    pub(crate) fn read(&mut self, register: &str, offset: usize, len: usize) -> Vec<u8> {
        self.send(format!("?read {register} {offset} {len}\n"));
        let mut line = loop {
            let line = self.line().unwrap();
            if line.starts_with(b"!") {
                break line;
            }
        };
        let end = line.len() - 1;
        let mut reply = proximity_proto::katcp::Message::parse(&mut line[..end]).unwrap().unwrap();
        assert_eq!(reply.next_arg().unwrap(), b"ok");
        reply.next_arg().unwrap().to_vec()
    }

    /// The first word of a register.
    pub(crate) fn word(&mut self, register: &str) -> u32 {
        let reply = self.ask(&format!("?wordread {register}"));
        let word = reply.strip_prefix("!wordread ok 0x").unwrap_or_else(|| panic!("{reply}"));
        u32::from_str_radix(word, 16).unwrap()
    }

    /// Asks for `register` until `wanted` is true of it.
    pub(crate) fn wait_word(&mut self, register: &str, wanted: impl Fn(u32) -> bool) -> u32 {
        let start = std::time::Instant::now();
        loop {
            let word = self.word(register);
            if wanted(word) {
                return word;
            }
            assert!(start.elapsed() < DEADLINE, "{register} is still {word:#x}");
        }
    }

    /// Closes the connection and waits until the server has, too.
    pub(crate) fn close(mut self) {
        if self.stream().shutdown(Shutdown::Write).is_ok() {
            let _ = self.0.read_to_end(&mut Vec::new());
        }
    }

    /// Breaks the connection.
    pub(crate) fn reset(self) {
        rustix::net::sockopt::set_socket_linger(self.stream(), Some(Duration::ZERO)).unwrap();
    }
}
