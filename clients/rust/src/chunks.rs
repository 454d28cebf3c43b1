//! A large result, put together from the chunks in which it comes.

use crate::Progress;
use proximity_proto::{Value, limits::Limits, value::check};

/// So many chunks may be on their way at first. With the agent's usual 256 KiB that is 4 MiB: enough
/// to keep a fast network busy, little enough for the agent to hold for each of its clients.
pub(crate) const FIRST_CREDIT: u64 = 16;

/// The agent is told after so many chunks that as many more may come.
const STEP: u64 = 8;

/// The chunks that have come of one result.
pub(crate) struct Chunks {
    data: Vec<u8>,
    /// The most bytes that are taken.
    limit: usize,
    /// How many have come.
    next: u64,
    /// How many there are.
    count: u64,
    /// Bytes of the first: of all but the last.
    each: usize,
}

/// What is to be done for a chunk.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Nothing.
    Quietly,
    /// To let so many more come.
    Credit(u64),
    /// To give up: there are more bytes than may be.
    TooMany,
}

impl Chunks {
    pub(crate) fn new(limit: usize) -> Self {
        Self { data: Vec::new(), limit, next: 0, count: 0, each: 0 }
    }

    /// The most bytes that are taken.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Takes chunk `index` of `count`. One out of order spoils the result, see [`Chunks::finish`].
    pub(crate) fn take(&mut self, index: u64, count: u64, data: &[u8]) -> Taken {
        if index == 0 {
            // The first, perhaps of another run of the method.
            *self = Self { count, each: data.len(), ..Self::new(self.limit) };
            let whole = usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(data.len());
            if whole.saturating_sub(data.len()) > self.limit {
                return Taken::TooMany;
            }
            self.data.reserve(whole.min(self.limit));
        }
        if index != self.next || count != self.count || index >= count {
            return Taken::Quietly;
        }
        if self.data.len().saturating_add(data.len()) > self.limit {
            return Taken::TooMany;
        }
        self.data.extend_from_slice(data);
        self.next += 1;
        let is_step = self.next.is_multiple_of(STEP) && self.next + FIRST_CREDIT - STEP < count;
        if is_step { Taken::Credit(STEP) } else { Taken::Quietly }
    }

    /// How far it has come.
    pub(crate) fn progress(&self) -> Progress<'static> {
        let done = self.data.len() as u64;
        // The last is smaller, as is only known when it is there.
        let whole = self.count.saturating_mul(self.each as u64);
        let total = if self.next == self.count { done } else { whole };
        Progress { done, total, text: "bytes of the result" }
    }

    /// The whole result, if it is `count` chunks with `bytes` bytes, and sound.
    pub(crate) fn finish(self, count: u64, bytes: u64) -> Option<Vec<u8>> {
        let is_whole = self.next == count && count == self.count && self.data.len() as u64 == bytes;
        let limits = Limits { max_frame: self.limit, max_items: u32::MAX };
        (is_whole && check(&self.data, &limits).is_ok() && Value::first(&self.data).is_some())
            .then_some(self.data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `[b"....", ...]`, cut into chunks of `size` bytes.
    fn cut(value: &[u8], size: usize) -> Vec<&[u8]> {
        value.chunks(size).collect()
    }

    fn text(len: u32) -> Vec<u8> {
        let mut bytes = vec![0xdb];
        bytes.extend(len.to_be_bytes());
        bytes.resize(5 + len as usize, b'x');
        bytes
    }

    #[test]
    fn chunks_make_up_the_value_whatever_their_size() {
        let value = text(1000);
        for size in [1, 2, 7, 255, 1004, 1005, 5000] {
            let parts = cut(&value, size);
            let count = parts.len() as u64;
            let mut chunks = Chunks::new(2000);
            let (mut window, mut most) = (FIRST_CREDIT, 0);
            for (index, part) in parts.iter().enumerate() {
                window = window.checked_sub(1).expect("never more than allowed are needed");
                match chunks.take(index as u64, count, part) {
                    Taken::Credit(more) => window += more,
                    Taken::Quietly => {}
                    Taken::TooMany => panic!("{size}: too many"),
                }
                most = most.max(window);
                let progress = chunks.progress();
                assert!(progress.done <= progress.total, "{progress:?}");
            }
            assert!(most <= FIRST_CREDIT, "{size}: {most} at once");
            assert_eq!(chunks.progress().done, 1005);
            assert_eq!(chunks.finish(count, 1005).as_ref(), Some(&value), "{size}");
        }
    }

    #[test]
    fn a_result_with_a_hole_is_none() {
        let value = text(100);
        let parts = cut(&value, 50);
        let with = |order: &[usize], count, bytes| {
            let mut chunks = Chunks::new(1000);
            for &index in order {
                chunks.take(index as u64, 3, parts[index]);
            }
            chunks.finish(count, bytes)
        };
        assert!(with(&[0, 1, 2], 3, 105).is_some());
        assert!(with(&[0, 1, 0, 1, 2], 3, 105).is_some(), "from the beginning");
        for order in [&[0, 2][..], &[0, 2, 1], &[1, 2], &[0, 1], &[]] {
            assert_eq!(with(order, 3, 105), None, "{order:?}");
        }
        assert_eq!(with(&[0, 1, 2], 2, 105), None);
        assert_eq!(with(&[0, 1, 2], 3, 104), None);
        // Whole, and no MessagePack.
        let mut chunks = Chunks::new(1000);
        chunks.take(0, 1, &[0xc1]);
        assert_eq!(chunks.finish(1, 1), None);
    }

    #[test]
    fn nothing_is_allocated_for_more_than_is_taken() {
        let mut chunks = Chunks::new(100);
        assert_eq!(chunks.take(0, u64::MAX, &[0; 10]), Taken::TooMany);
        assert_eq!(chunks.take(0, 12, &[0; 10]), Taken::TooMany);
        assert_eq!(chunks.data.capacity(), 0);
        assert_eq!(chunks.take(0, 11, &[0; 10]), Taken::Quietly);
        for index in 1..10 {
            assert_ne!(chunks.take(index, 11, &[0; 10]), Taken::TooMany);
        }
        assert_eq!(chunks.take(10, 11, &[0; 10]), Taken::TooMany);
        assert!(chunks.data.capacity() <= 110);
    }
}
