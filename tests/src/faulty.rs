//! Agents with a mistake each, for the rig to find: the shipped agent behind a front that keeps from it
//! what the mistake would leave out of account.

use crate::proxy::Messages;
use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, OnceLock},
    thread,
};

/// What an agent does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// It does not know a call that comes again over another connection.
    NoDeduplication,
    /// It takes what was meant for the run before for its own.
    NoEpoch,
    /// It does not care until when a call is good.
    NoDeadline,
    /// It tells calls apart by their sequence number only.
    SequenceOnly,
    /// It counts its leases from 1 in each run: those of two runs look alike.
    LeaseWithoutEpoch,
}

impl Mistake {
    /// Those that show in what becomes of calls.
    pub const OF_CALLS: [Self; 4] =
        [Self::NoDeduplication, Self::NoEpoch, Self::NoDeadline, Self::SequenceOnly];

    /// The line of a configuration that asks for it.
    pub fn line(self) -> String {
        format!("# mistake: {self:?}\n")
    }

    /// The one that a configuration asks for.
    pub fn of(text: &str) -> Option<Self> {
        let mut all = Self::OF_CALLS.into_iter().chain([Self::LeaseWithoutEpoch]);
        all.find(|mistake| text.contains(&mistake.line()))
    }
}

/// What stands before a client's 16 bytes in requests and replies.
const ID: &[u8] = b"\xa2id\x92\xc4\x10";
/// What stands before a lease's 16 bytes.
const LEASE: &[u8] = b"\xa5lease\xc4\x10";
const EPOCH: &[u8] = b"\xa5epoch\xcf";
const EXPIRES: &[u8] = b"\xa7expires";
/// A key that no agent knows.
const NOTHING: &[u8] = b"\xa7nothing";
/// The epoch of every run.
const SAME: [u8; 8] = [0xee; 8];

/// Serves `listener` for ever with what is behind it.
pub fn serve(listener: &TcpListener, behind: SocketAddr, mistake: Mistake) {
    let epoch = Arc::new(OnceLock::new());
    for (number, front) in (1..).zip(listener.incoming().map_while(Result::ok)) {
        let wire = Wire { mistake, number, client: OnceLock::new(), epoch: Arc::clone(&epoch) };
        // Whoever comes while nobody is behind finds the connection closed.
        let _ = connect(front, behind, wire);
    }
}

/// A connection.
struct Wire {
    mistake: Mistake,
    number: u64,
    client: OnceLock<[u8; 16]>,
    /// The agent's own epoch, which its clients never see.
    epoch: Arc<OnceLock<[u8; 8]>>,
}

fn connect(front: TcpStream, behind: SocketAddr, wire: Wire) -> io::Result<()> {
    let back = TcpStream::connect(behind)?;
    front.set_nodelay(true)?;
    back.set_nodelay(true)?;
    let (own_front, own_back) = (front.try_clone()?, back.try_clone()?);
    let wire = Arc::new(wire);
    let own = Arc::clone(&wire);
    thread::spawn(move || carry(front, &back, |message| own.request(message)));
    thread::spawn(move || carry(own_back, &own_front, |message| wire.reply(message)));
    Ok(())
}

fn carry(mut from: TcpStream, mut to: &TcpStream, change: impl Fn(&mut [u8])) {
    let mut messages = Messages::default();
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(got) = from.read(&mut buffer)
        && got > 0
    {
        for (is_message, mut bytes) in messages.take(&buffer[..got]) {
            if is_message {
                change(&mut bytes);
            }
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

impl Wire {
    fn request(&self, message: &mut [u8]) {
        match self.mistake {
            Mistake::NoDeduplication | Mistake::SequenceOnly => {
                if let Some(client) = behind::<16>(message, ID) {
                    self.client.get_or_init(|| *client);
                    *client = self.stand_in();
                }
            }
            Mistake::NoEpoch => {
                if let Some(own) = self.epoch.get() {
                    replace(message, &SAME, own);
                }
            }
            Mistake::NoDeadline => replace(message, EXPIRES, NOTHING),
            Mistake::LeaseWithoutEpoch => {
                // The first lease of each run, and no run has two.
                if let Some(token) = behind::<16>(message, LEASE) {
                    *token = [1; 16];
                }
            }
        }
    }

    fn reply(&self, message: &mut [u8]) {
        match self.mistake {
            Mistake::NoDeduplication | Mistake::SequenceOnly => {
                if let Some(client) = behind::<16>(message, ID)
                    && let Some(own) = self.client.get()
                {
                    *client = *own;
                }
            }
            Mistake::NoEpoch => {
                if let Some(epoch) = behind::<8>(message, EPOCH) {
                    let own = *self.epoch.get_or_init(|| *epoch);
                    replace(message, &own, &SAME);
                }
            }
            Mistake::NoDeadline | Mistake::LeaseWithoutEpoch => {}
        }
    }

    /// For whom the agent takes every client of this connection.
    fn stand_in(&self) -> [u8; 16] {
        let mut id = [0x5e; 16];
        if self.mistake == Mistake::NoDeduplication {
            id[..8].copy_from_slice(&self.number.to_be_bytes());
        }
        id
    }
}

/// The bytes behind the first `key` in `message`.
fn behind<'a, const N: usize>(message: &'a mut [u8], key: &[u8]) -> Option<&'a mut [u8; N]> {
    let at = message.windows(key.len()).position(|part| part == key)? + key.len();
    message.get_mut(at..at + N)?.try_into().ok()
}

/// Replaces each `old` by the `new` of the same length.
fn replace(message: &mut [u8], old: &[u8], new: &[u8]) {
    let mut at = 0;
    while let Some(found) = message[at..].windows(old.len()).position(|part| part == old) {
        at += found;
        message[at..at + old.len()].copy_from_slice(new);
        at += old.len();
    }
}
