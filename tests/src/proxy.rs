//! A TCP proxy that does to a link what links do: loses replies, delays, cuts, garbles, goes silent.
//!
//! It stands before a board or before an agent; only [`Fault::DropReplies`] knows what passes through
//! it, for ZeroMQ's messages can be lost one by one only where they begin and end.

use crate::rng::Rng;
use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

/// What is done to what comes back from behind the proxy; what goes there always passes, but for
/// [`Fault::Garble`], which does the same to both.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Each whole ZeroMQ message is lost with so many chances in 1,000.
    DropReplies(u64),
    /// Everything comes so much later.
    Delay(Duration),
    /// So many bytes a second.
    Rate(u32),
    /// The connection ends after so many bytes.
    CutAfter(u64),
    /// In so many of 1,000 blocks as they arrive a bit is turned, bytes come in, or bytes go missing.
    Garble(u64),
    /// Nothing comes any more, and the connection stays.
    Blackhole,
    /// What is behind it is told that the connection is closed; what is before it is not.
    HalfOpen,
}

/// A proxy; it serves until it is dropped.
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
}

struct Shared {
    behind: SocketAddr,
    fault: Mutex<Fault>,
    seed: u64,
    stopped: AtomicBool,
    connections: AtomicU64,
    dropped: AtomicU64,
    garbled: AtomicU64,
    open: Mutex<Vec<TcpStream>>,
}

impl Shared {
    fn fault(&self) -> Fault {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Proxy {
    /// A proxy on a free port of the loopback before `behind`.
    ///
    /// # Panics
    ///
    /// If there is no port.
    pub fn start(behind: SocketAddr, fault: Fault, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            behind,
            fault: Mutex::new(fault),
            seed,
            stopped: AtomicBool::new(false),
            connections: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            garbled: AtomicU64::new(0),
            open: Mutex::default(),
        });
        let own = Arc::clone(&shared);
        thread::spawn(move || {
            for front in listener.incoming().map_while(Result::ok) {
                if own.stopped.load(Ordering::Acquire) {
                    break;
                }
                // Whoever comes while nobody is behind finds the connection closed.
                let _ = connect(&own, front);
            }
        });
        Self { shared, address }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, as a ZeroMQ endpoint.
    pub fn endpoint(&self) -> String {
        format!("tcp://{}", self.address)
    }

    /// Changes what it does, to connections that stand too.
    pub fn set(&self, fault: Fault) {
        *self.shared.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    /// Messages lost so far.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Blocks garbled so far.
    pub fn garbled(&self) -> u64 {
        self.shared.garbled.load(Ordering::Relaxed)
    }

    /// Connections taken so far.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Closes all connections.
    pub fn close_all(&self) {
        let mut open = self.shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        self.close_all();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

fn connect(shared: &Arc<Shared>, front: TcpStream) -> io::Result<()> {
    let behind = TcpStream::connect(shared.behind)?;
    front.set_nodelay(true)?;
    behind.set_nodelay(true)?;
    let number = shared.connections.fetch_add(1, Ordering::Relaxed);
    {
        let mut open = shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.extend([front.try_clone()?, behind.try_clone()?]);
    }
    let (from, to) = (front.try_clone()?, behind.try_clone()?);
    let own = Arc::clone(shared);
    // Each way of each connection has numbers of its own.
    let seed = shared.seed.wrapping_add(2 * number);
    thread::spawn(move || {
        let _ = there(&own, from, &to, Rng::new(seed.wrapping_add(1)));
        let _ = to.shutdown(Shutdown::Both);
    });
    let rng = Rng::new(seed);
    let own = Arc::clone(shared);
    thread::spawn(move || {
        let end = back(&own, behind, &front, rng);
        // A half-open connection stays until the proxy goes.
        if !matches!(end, Ok(true)) {
            let _ = front.shutdown(Shutdown::Both);
        }
    });
    Ok(())
}

/// Carries what goes there.
fn there(
    shared: &Shared,
    mut front: TcpStream,
    mut behind: &TcpStream,
    mut rng: Rng,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let got = front.read(&mut buffer)?;
        if got == 0 {
            return Ok(());
        }
        match shared.fault() {
            Fault::Garble(permille) if rng.chance(permille) => {
                shared.garbled.fetch_add(1, Ordering::Relaxed);
                behind.write_all(&garbled(&buffer[..got], &mut rng))?;
            }
            _ => behind.write_all(&buffer[..got])?,
        }
    }
}

/// What a block becomes: with one bit turned, with bytes in it, or without some.
fn garbled(block: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = block.to_vec();
    let place = rng.pick(bytes.len());
    let len = 1 + rng.pick(8);
    match rng.pick(3) {
        0 => bytes[place] ^= 1 << rng.pick(8),
        1 => {
            let noise = (0..len).map(|_| u8::try_from(rng.pick(256)).unwrap_or(0));
            let noise: Vec<u8> = noise.collect();
            bytes.splice(place..place, noise);
        }
        _ => drop(bytes.drain(place..(place + len).min(block.len()))),
    }
    bytes
}

/// Carries what comes back; true if the connection is to stay though nothing comes any more.
fn back(
    shared: &Shared,
    mut behind: TcpStream,
    mut front: &TcpStream,
    mut rng: Rng,
) -> io::Result<bool> {
    let mut buffer = vec![0; 64 * 1024];
    let mut passed = 0;
    let mut messages = Messages::default();
    loop {
        let got = behind.read(&mut buffer)?;
        if got == 0 {
            return Ok(false);
        }
        let bytes = &buffer[..got];
        let fault = shared.fault();
        // It follows the messages from the start, for it may be told to drop some later.
        let whole = messages.take(bytes);
        match fault {
            Fault::DropReplies(permille) => {
                for (is_message, bytes) in whole {
                    if is_message && rng.chance(permille) {
                        shared.dropped.fetch_add(1, Ordering::Relaxed);
                    } else {
                        front.write_all(&bytes)?;
                    }
                }
                continue;
            }
            Fault::Blackhole => continue,
            Fault::HalfOpen => {
                behind.shutdown(Shutdown::Both)?;
                return Ok(true);
            }
            Fault::CutAfter(most) if passed + got as u64 > most => {
                let left = usize::try_from(most.saturating_sub(passed)).unwrap_or(0);
                front.write_all(&bytes[..left.min(got)])?;
                behind.shutdown(Shutdown::Both)?;
                return Ok(false);
            }
            // What the link does, not a wait for anything.
            Fault::Delay(time) => thread::sleep(time),
            Fault::Rate(rate) => {
                thread::sleep(Duration::from_secs_f64(
                    f64::from(u32::try_from(got).unwrap_or(u32::MAX)) / f64::from(rate.max(1)),
                ));
            }
            Fault::Garble(permille) if rng.chance(permille) => {
                shared.garbled.fetch_add(1, Ordering::Relaxed);
                front.write_all(&garbled(bytes, &mut rng))?;
                continue;
            }
            Fault::None | Fault::Garble(_) | Fault::CutAfter(_) => {}
        }
        passed += got as u64;
        front.write_all(bytes)?;
    }
}

/// Finds where ZMTP 3's messages begin and end.
#[derive(Default)]
pub(crate) struct Messages {
    /// Bytes of the greeting that have passed; each end waits for some of the other's.
    greeted: usize,
    pending: Vec<u8>,
    message: Vec<u8>,
}

const GREETING: usize = 64;
const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;

impl Messages {
    /// The whole messages that `bytes` complete, and everything else whole: true for a message.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Vec<(bool, Vec<u8>)> {
        let mut whole = Vec::new();
        let (greeting, bytes) = bytes.split_at(bytes.len().min(GREETING - self.greeted));
        if !greeting.is_empty() {
            self.greeted += greeting.len();
            whole.push((false, greeting.to_vec()));
        }
        self.pending.extend_from_slice(bytes);
        while let Some(len) = frame(&self.pending) {
            let frame: Vec<u8> = self.pending.drain(..len).collect();
            let flags = frame[0];
            if flags & COMMAND != 0 {
                whole.push((false, frame));
                continue;
            }
            self.message.extend(frame);
            if flags & MORE == 0 {
                whole.push((true, std::mem::take(&mut self.message)));
            }
        }
        whole
    }
}

/// The length of the frame that `bytes` begin with, if all of it is there.
fn frame(bytes: &[u8]) -> Option<usize> {
    let (head, size) = if bytes.first()? & LONG == 0 {
        (2, u64::from(*bytes.get(1)?))
    } else {
        (9, u64::from_be_bytes(bytes.get(1..9)?.try_into().ok()?))
    };
    let len = head + usize::try_from(size).ok()?;
    (bytes.len() >= len).then_some(len)
}

#[cfg(test)]
mod tests {
    use super::{GREETING, Messages, garbled};
    use crate::rng::Rng;

    #[test]
    fn a_garbled_block_is_another_one_and_the_same_for_the_same_seed() {
        let block: Vec<u8> = (0..=255).collect();
        let mut lengths = [0; 3];
        for seed in 0..300 {
            let bytes = garbled(&block, &mut Rng::new(seed));
            assert_ne!(bytes, block);
            assert_eq!(bytes, garbled(&block, &mut Rng::new(seed)));
            lengths[match bytes.len().cmp(&block.len()) {
                std::cmp::Ordering::Less => 0,
                std::cmp::Ordering::Equal => 1,
                std::cmp::Ordering::Greater => 2,
            }] += 1;
        }
        assert!(lengths.iter().all(|count| *count > 50), "{lengths:?}");
    }

    #[test]
    fn messages_are_whole_however_the_bytes_arrive() {
        let mut stream = vec![0xff; GREETING];
        stream.extend([4, 3, 1, 2, 3]);
        // An empty frame, and one of two bytes behind it.
        stream.extend([1, 0, 0, 2, 8, 9]);
        stream.extend([2, 0, 0, 0, 0, 0, 0, 1, 0]); // 256 bytes
        stream.extend([7; 256]);
        for size in [1, 2, 7, 64, 1000] {
            let mut messages = Messages::default();
            let whole: Vec<_> = stream.chunks(size).flat_map(|part| messages.take(part)).collect();
            let lengths: Vec<usize> = whole
                .iter()
                .filter(|(message, _)| *message)
                .map(|(_, bytes)| bytes.len())
                .collect();
            assert_eq!(lengths, [6, 9 + 256], "in parts of {size}");
            let again: Vec<u8> = whole.into_iter().flat_map(|(_, bytes)| bytes).collect();
            assert_eq!(again, stream);
        }
    }
}
