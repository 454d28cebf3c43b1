//! What a client is to be sent, and when.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::time::Instant;

/// Bytes not to be sent before their time, and with a write of their own.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) due: Instant,
    pub(crate) bytes: Vec<u8>,
    /// The connection ends behind them.
    pub(crate) close: bool,
}

/// How far a flush came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// Nothing is left that could be sent now.
    Done,
    /// The peer takes no more at the moment.
    Blocked,
    /// The connection is to be closed here.
    Close,
}

/// The queue of one connection.
#[derive(Debug, Default)]
pub(crate) struct Output {
    ready: Vec<u8>,
    sent: usize,
    close: bool,
    later: VecDeque<Chunk>,
}

impl Output {
    /// Where the next bytes go: behind everything queued.
    pub(crate) fn tail(&mut self) -> &mut Vec<u8> {
        if self.closes() {
            // Never sent: the connection ends before.
            self.schedule([Chunk { due: Instant::now(), bytes: Vec::new(), close: false }]);
        }
        match self.later.back_mut() {
            Some(chunk) => &mut chunk.bytes,
            None => &mut self.ready,
        }
    }

    /// Whether the connection ends behind what is queued.
    pub(crate) fn closes(&self) -> bool {
        self.close || self.later.iter().any(|chunk| chunk.close)
    }

    pub(crate) fn schedule(&mut self, chunks: impl IntoIterator<Item = Chunk>) {
        self.later.extend(chunks);
    }

    /// Whether bytes wait for the peer to take them.
    pub(crate) fn is_blocked(&self) -> bool {
        self.sent < self.ready.len()
    }

    /// When the next bytes are due, if none wait for the peer.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.later.front().map(|chunk| chunk.due).filter(|_| !self.is_blocked())
    }

    /// Sends what is due, `most` bytes in a write.
    pub(crate) fn flush(&mut self, mut stream: impl Write, most: usize) -> io::Result<Flushed> {
        loop {
            while let Some(rest) = self.ready.get(self.sent..).filter(|rest| !rest.is_empty()) {
                match stream.write(rest.get(..most).unwrap_or(rest)) {
                    Ok(len) => self.sent += len,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        return Ok(Flushed::Blocked);
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            self.ready.clear();
            self.sent = 0;
            if self.close {
                return Ok(Flushed::Close);
            }
            let now = Instant::now();
            let Some(chunk) = self.later.pop_front_if(|chunk| chunk.due <= now) else {
                return Ok(Flushed::Done);
            };
            self.close = chunk.close;
            self.ready.extend_from_slice(&chunk.bytes);
        }
    }
}
