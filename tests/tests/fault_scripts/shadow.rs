//! What a board's memory may hold, by what its client was told of its writes.
//!
//! A write that succeeded is certain. One that failed may be done, or not, or be done later, by a server that was hung
//! and finds it on a connection that its client has long given up; so its values stay possible, whatever is written
//! after it, until they were once seen. Every word written has a value of its own: one that turns up anywhere else, or
//! is done twice, is found.

use std::{collections::BTreeMap, sync::OnceLock};

pub(crate) struct Shadow {
    /// As the board has it: big-endian words.
    known: Vec<u8>,
    maybe: BTreeMap<usize, Vec<u32>>,
    /// The board may have been programmed or restarted, which clears its memory.
    pub(crate) maybe_cleared: bool,
    count: u32,
}

impl Shadow {
    pub(crate) fn new(words: usize) -> Self {
        /// What every script begins with: made once, for there are many.
        static FIRST: OnceLock<Vec<u8>> = OnceLock::new();
        let count = u32::try_from(words).expect("the memory is small");
        let known = FIRST.get_or_init(|| bytes(&(1..=count).map(value).collect::<Vec<_>>()));
        let (known, maybe) = (known.clone(), BTreeMap::new());
        Self { known, maybe, maybe_cleared: false, count }
    }

    /// Values that were never written before, and are not 0.
    pub(crate) fn values(&mut self, count: usize) -> Vec<u32> {
        let one = |_| {
            self.count += 1;
            value(self.count)
        };
        (0..count).map(one).collect()
    }

    /// The memory as it is for certain, save what may have happened.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.known
    }

    /// A write of `values` at word `at` was answered: `done` if it succeeded.
    pub(crate) fn wrote(&mut self, at: usize, values: &[u32], done: bool) {
        if done {
            self.known[at * 4..(at + values.len()) * 4].copy_from_slice(&bytes(values));
            return;
        }
        for (word, &value) in (at..).zip(values) {
            self.maybe.entry(word).or_default().push(value);
        }
    }

    /// The memory was cleared for certain: what was written in vain may still come.
    pub(crate) fn cleared(&mut self) {
        self.known.fill(0);
    }

    /// Whether something may have happened to the `count` words at `at` behind the client's back.
    pub(crate) fn is_sure(&self, at: usize, count: usize) -> bool {
        !self.maybe_cleared && self.maybe.range(at..at + count).next().is_none()
    }

    /// Holds what was read, `offset` bytes from the start, to what there may be.
    pub(crate) fn check(&mut self, offset: usize, read: &[u8]) -> Result<(), String> {
        if self.known[offset..offset + read.len()] == *read {
            return Ok(());
        }
        let mut place = offset;
        let mut rest = read;
        while !rest.is_empty() {
            let (word, skip) = (place / 4, place % 4);
            let (here, behind) = rest.split_at((4 - skip).min(rest.len()));
            self.check_word(word, skip, here)?;
            place += here.len();
            rest = behind;
        }
        Ok(())
    }

    fn check_word(&mut self, word: usize, skip: usize, here: &[u8]) -> Result<(), String> {
        let place = word * 4 + skip;
        let known = &mut self.known[place..place + here.len()];
        if known == here {
            return Ok(());
        }
        let fits = |value: u32| &value.to_be_bytes()[skip..skip + here.len()] == here;
        let maybe = self.maybe.get_mut(&word);
        if let Some(maybe) = maybe
            && let Some(done) = maybe.iter().position(|&value| fits(value))
        {
            if here.len() == 4 {
                // It was done after all, which it can be once.
                known.copy_from_slice(here);
                maybe.remove(done);
            }
            return Ok(());
        }
        if self.maybe_cleared && fits(0) {
            return Ok(());
        }
        Err(format!(
            "{skip} bytes into word {word} there was {here:02x?}; it is {known:02x?}, or may be \
             one of {:08x?}{}",
            self.maybe.get(&word).map(Vec::as_slice).unwrap_or_default(),
            if self.maybe_cleared { " or 0" } else { "" }
        ))
    }
}

/// The value of the `count`th word written: an odd factor keeps them different, and gives bytes of all kinds.
fn value(count: u32) -> u32 {
    count.wrapping_mul(0x9e37_79b1)
}

pub(crate) fn bytes(words: &[u32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(words.len() * 4);
    for word in words {
        bytes.extend_from_slice(&word.to_be_bytes());
    }
    bytes
}
