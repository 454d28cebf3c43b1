//! Which connections are served: as many as there may be, in the order in which they came.

use std::collections::{BTreeMap, HashMap, HashSet};

/// The connections there are, by descriptor.
#[derive(Debug, Default)]
pub(super) struct Connections {
    limit: usize,
    served: HashSet<i32>,
    /// Those that came when there were enough, in their order.
    waiting: BTreeMap<u64, i32>,
    places: HashMap<i32, u64>,
    next: u64,
}

impl Connections {
    /// Serves so many from now on. Those that are served stay so.
    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        while self.served.len() < self.limit && self.serve_next() {}
    }

    pub(super) fn opened(&mut self, fd: i32) {
        // Its number is free again, whatever was heard of the last that had it.
        self.closed(fd);
        if self.served.len() < self.limit {
            self.served.insert(fd);
            return;
        }
        self.next += 1;
        self.waiting.insert(self.next, fd);
        self.places.insert(fd, self.next);
    }

    pub(super) fn closed(&mut self, fd: i32) {
        if let Some(place) = self.places.remove(&fd) {
            self.waiting.remove(&place);
        } else if self.served.remove(&fd) && self.served.len() < self.limit {
            self.serve_next();
        }
    }

    #[cfg(test)]
    fn serves(&self, fd: i32) -> bool {
        self.served.contains(&fd)
    }

    /// Whether there are too many before it.
    pub(super) fn waits(&self, fd: i32) -> bool {
        self.places.contains_key(&fd)
    }

    fn serve_next(&mut self) -> bool {
        let Some((_, fd)) = self.waiting.pop_first() else { return false };
        self.places.remove(&fd);
        self.served.insert(fd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_came_first_is_served_and_who_waits_follows() {
        let mut connections = Connections::default();
        connections.set_limit(2);
        for fd in 1..=5 {
            connections.opened(fd);
        }
        let served = |connections: &Connections| {
            (1..=6).filter(|&fd| connections.serves(fd)).collect::<Vec<_>>()
        };
        assert_eq!(served(&connections), [1, 2]);
        connections.closed(4);
        connections.closed(1);
        assert_eq!(served(&connections), [2, 3]);
        assert!(connections.waits(5) && !connections.waits(4) && !connections.waits(3));
        // Nobody is sent away because there may be fewer now.
        connections.set_limit(1);
        assert_eq!(served(&connections), [2, 3]);
        connections.closed(2);
        assert_eq!(served(&connections), [3]);
        connections.set_limit(3);
        assert_eq!(served(&connections), [3, 5]);
        // One whose end was not heard.
        connections.opened(5);
        assert_eq!(served(&connections), [3, 5]);
    }
}
