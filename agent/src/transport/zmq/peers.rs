//! Who called lately.

use crate::transport::{Identity, Peer};
use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
};

/// Connections whose peers are remembered without another look: half of them at least, all at most.
const REMEMBERED: usize = 8192;

/// The peers of a socket by identity: those of the last messages, and of some before.
///
/// libzmq does not tell of all connections that end: of those that it closes with a listener it says
/// nothing. So they are kept in two generations, of which the older is dropped when the younger is full.
/// Whoever has not called for long is looked at again.
#[derive(Default)]
pub(super) struct Peers {
    young: Generation,
    old: Generation,
}

type Generation = HashMap<u32, Arc<Peer>, BuildHasherDefault<Spread>>;

impl Peers {
    pub(super) fn get(&mut self, identity: Identity) -> Option<Arc<Peer>> {
        if let Some(peer) = self.young.get(&number(identity)) {
            return Some(Arc::clone(peer));
        }
        let peer = self.old.remove(&number(identity))?;
        self.insert(identity, Arc::clone(&peer));
        Some(peer)
    }

    pub(super) fn insert(&mut self, identity: Identity, peer: Arc<Peer>) {
        if self.young.len() >= REMEMBERED / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(number(identity), peer);
    }

    pub(super) fn forget(&mut self, identity: Identity) -> Option<Arc<Peer>> {
        let number = number(identity);
        self.young.remove(&number).or_else(|| self.old.remove(&number))
    }

    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

/// The name that libzmq gave a connection: 0 and a number. One that a peer gave itself is none.
pub(super) fn identity_of(frame: &[u8]) -> Option<Identity> {
    frame.try_into().ok().filter(|identity: &Identity| identity.first() == Some(&0))
}

fn number(identity: Identity) -> u32 {
    let [_, a, b, c, d] = identity;
    u32::from_be_bytes([a, b, c, d])
}

/// Hashes libzmq's numbers, which it counts up and no peer chooses.
#[derive(Default)]
pub(super) struct Spread(u64);

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        // 2^64 divided by the golden ratio: neighbours land far from each other.
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0.rotate_left(26)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_of_libzmqs_own_is_one() {
        assert_eq!(identity_of(&[0, 0, 0, 1, 2]), Some([0, 0, 0, 1, 2]));
        for frame in [&b""[..], b"\0", b"\0abc", b"\0abcde", b"abcde"] {
            assert_eq!(identity_of(frame), None, "{frame:?}");
        }
    }

    #[test]
    fn the_older_half_is_forgotten_first() {
        let mut peers = Peers::default();
        let identity = |number: u32| {
            let [a, b, c, d] = number.to_be_bytes();
            [0, a, b, c, d]
        };
        for number in 0..u32::try_from(REMEMBERED).unwrap() {
            peers.insert(identity(number), Peer::nobody());
            assert!(peers.get(identity(0)).is_some());
        }
        assert!(peers.len() <= REMEMBERED);
        assert!(peers.get(identity(1)).is_none() && peers.get(identity(8191)).is_some());
        assert!(peers.forget(identity(0)).is_some() && peers.forget(identity(0)).is_none());
    }
}
