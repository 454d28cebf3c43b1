//! ZeroMQ's own protocol, byte by byte: a peer that can stop anywhere in it, and reads only when told.

#![allow(clippy::missing_panics_doc, reason = "memory for a reply there is")]

use crate::PATIENCE;
use std::{
    io::{self, Read, Write},
    net::TcpStream,
};

/// What a peer says first: ZMTP 3.0, no security.
pub fn greeting() -> Vec<u8> {
    let mut bytes = b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\0NULL".to_vec();
    bytes.resize(64, 0);
    bytes
}

/// What it says then: what kind of socket it is.
pub fn ready() -> Vec<u8> {
    b"\x04\x1c\x05READY\x0bSocket-Type\0\0\0\x06DEALER".to_vec()
}

/// The same with properties of its own choice.
pub fn ready_with(properties: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = b"\x05READY".to_vec();
    for (name, value) in [&[("Socket-Type", &b"DEALER"[..])], properties].concat() {
        body.push(u8::try_from(name.len()).expect("a short name"));
        body.extend(name.as_bytes());
        body.extend(u32::try_from(value.len()).expect("a short value").to_be_bytes());
        body.extend(value);
    }
    let mut command = b"\x06".to_vec();
    command.extend((body.len() as u64).to_be_bytes());
    command.extend(body);
    command
}

/// One part of a message.
pub fn part(bytes: &[u8], more: bool) -> Vec<u8> {
    let mut frame = vec![u8::from(more) | 0x02];
    frame.extend((bytes.len() as u64).to_be_bytes());
    frame.extend(bytes);
    frame
}

/// A connection of which nothing has been said yet.
///
/// # Errors
///
/// The kernel's.
pub fn connect(endpoint: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(endpoint.trim_start_matches("tcp://"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A peer whose handshake is done. It takes no memory for what it does not read.
pub struct Peer(TcpStream);

impl Peer {
    /// Connects as a DEALER.
    ///
    /// # Errors
    ///
    /// The kernel's, or that the other side is gone.
    pub fn connect(endpoint: &str) -> io::Result<Self> {
        Self::connect_saying(endpoint, &ready())
    }

    /// The same with a READY of its own choice.
    ///
    /// # Errors
    ///
    /// The kernel's, or that the other side is gone.
    pub fn connect_saying(endpoint: &str, ready: &[u8]) -> io::Result<Self> {
        let mut stream = connect(endpoint)?;
        stream.write_all(&greeting())?;
        stream.read_exact(&mut [0; 64])?;
        stream.write_all(ready)?;
        let mut peer = Self(stream);
        // The other side's READY.
        peer.frame()?;
        Ok(peer)
    }

    /// Sends a request as REQ does.
    ///
    /// # Errors
    ///
    /// The kernel's, or that the other side is gone.
    pub fn request(&mut self, payload: &[u8]) -> io::Result<()> {
        self.part(&[], true)?;
        self.part(payload, false)
    }

    /// Sends one part of a message.
    ///
    /// # Errors
    ///
    /// The kernel's, or that the other side is gone.
    pub fn part(&mut self, bytes: &[u8], more: bool) -> io::Result<()> {
        self.0.write_all(&part(bytes, more))
    }

    /// Reads a reply: its payload.
    ///
    /// # Errors
    ///
    /// The kernel's, or that the other side is gone.
    pub fn reply(&mut self) -> io::Result<Vec<u8>> {
        loop {
            let (flags, body) = self.frame()?;
            if flags & 0x05 == 0 {
                return Ok(body);
            }
        }
    }

    fn frame(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        self.0.read_exact(&mut head)?;
        let [flags, short] = head;
        let len = if flags & 0x02 == 0 {
            u64::from(short)
        } else {
            let mut rest = [0; 7];
            self.0.read_exact(&mut rest)?;
            rest.into_iter().fold(u64::from(short), |len, byte| len << 8 | u64::from(byte))
        };
        let mut body = vec![0; usize::try_from(len).expect("a reply fits in memory")];
        self.0.read_exact(&mut body)?;
        Ok((flags, body))
    }
}
