//! A running board, seen from the test that started it.

use crate::board::{Board, Counters, State, Written};
use crate::config::{Config, Personality};
use crate::design::Design;
use crate::faults::Fault;
use crate::memory::Entry;
use crate::server::{self, Shared};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A mock board. It serves until it is dropped.
#[derive(Debug)]
pub struct Mock {
    shared: Arc<Shared>,
    addr: SocketAddr,
    /// `None` only while being dropped.
    wake: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Mock {
    /// Starts a board on a thread of its own. It listens when this returns.
    ///
    /// # Errors
    ///
    /// If the address cannot be listened on, or no thread be started.
    pub fn start(config: Config) -> io::Result<Self> {
        let listener = TcpListener::bind(config.listen)?;
        let addr = listener.local_addr()?;
        let v5 = config.personality == Personality::V5;
        let board = Mutex::new(Board::new(config));
        let shared = Arc::new(Shared { board, changed: std::sync::Condvar::new() });
        let (wake, thread) = server::start(&shared, listener, v5)?;
        Ok(Self { shared, addr, wake: Some(wake), thread: Some(thread) })
    }

    /// Where the board listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The bytes of a register as they are, whether it may be read or not; `None` if the design has no such register.
    pub fn peek(&self, register: &str) -> Option<Vec<u8>> {
        let mut board = self.shared.lock();
        let range = board.registers.get(register.as_bytes()).map(Entry::bytes)?;
        let bytes = board.read(range.start as u64 * 8, range.len() as u64 * 8)?;
        Some(bytes.into_owned())
    }

    /// Puts bytes into a register, `offset` bytes from its start, as the FPGA would: no device reacts.
    ///
    /// Returns whether they fit.
    pub fn poke(&self, register: &str, offset: usize, data: &[u8]) -> bool {
        let mut board = self.shared.lock();
        let Some(range) = board.registers.get(register.as_bytes()).map(Entry::bytes) else {
            return false;
        };
        let fits = offset.checked_add(data.len()).is_some_and(|end| end <= range.len());
        if fits {
            board.memory.write(range.start + offset, data);
        }
        fits
    }

    /// What the board did so far.
    pub fn counters(&self) -> Counters {
        self.shared.lock().counters.clone()
    }

    /// The last lines received, oldest first, without their ends, as they were sent; each at most 4096 bytes of it.
    pub fn received(&self) -> Vec<Vec<u8>> {
        self.shared.lock().received.iter().cloned().collect()
    }

    /// All writes since the start, oldest first, if the configuration asked for a journal.
    pub fn written(&self) -> Vec<Written> {
        self.shared.lock().journal.clone()
    }

    /// Whether the FPGA is programmed and its registers accessible.
    pub fn is_programmed(&self) -> bool {
        self.shared.lock().state == State::Ready
    }

    /// Puts `design` into the FPGA without a word to anybody; `None` takes it out.
    pub fn program(&self, design: Option<&Design>) {
        self.shared.lock().program_silently(design);
    }

    /// The files `?listbof` shows.
    pub fn files(&self) -> Vec<(String, Vec<u8>)> {
        self.shared.lock().files.clone()
    }

    /// Sets a fault, or with [`Fault::None`] ends all of them. Waits for nothing.
    pub fn fault(&self, fault: Fault) {
        self.shared.lock().faults.set(fault, Instant::now());
        // If the pipe is full the server is about to look anyway.
        let _ = self.wake.as_ref().map(|mut wake| wake.write(&[0]));
    }

    /// Waits until `condition` is true of what the board did, at most `limit`. Returns whether it came true.
    pub fn wait_for(&self, limit: Duration, condition: impl Fn(&Counters) -> bool) -> bool {
        let board = self.shared.lock();
        let waited = self
            .shared
            .changed
            .wait_timeout_while(board, limit, |board| !condition(&board.counters))
            .unwrap_or_else(PoisonError::into_inner);
        !waited.1.timed_out()
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the server has been printed, and failed what the test was waiting for.
            let _ = thread.join();
        }
    }
}
