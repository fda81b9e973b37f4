//! Which messages of other nodes have arrived, within a window.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};

/// The latest messages by origin and number, as 128 random bits each.
pub(super) struct Seen {
    window: usize,
    hashers: [RandomState; 2],
    marks: HashSet<[u64; 2]>,
    order: VecDeque<[u64; 2]>,
}

impl Seen {
    pub(super) fn new(window: usize) -> Self {
        Self {
            window,
            hashers: [RandomState::new(), RandomState::new()],
            marks: HashSet::new(),
            order: VecDeque::new(),
        }
    }

    /// Whether the message is new. Then it is in the window from now on.
    pub(super) fn insert(&mut self, origin: &str, number: u64) -> bool {
        let [one, other] = &self.hashers;
        let mark = [one, other].map(|hasher| hasher.hash_one((origin, number)));
        if !self.marks.insert(mark) {
            return false;
        }
        self.order.push_back(mark);
        if self.order.len() > self.window
            && let Some(oldest) = self.order.pop_front()
        {
            self.marks.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::Seen;

    #[test]
    fn a_message_is_seen_within_the_window() {
        let mut seen = Seen::new(2);
        assert!(seen.insert("a", 1) && !seen.insert("a", 1));
        assert!(seen.insert("b", 1) && seen.insert("a", 2));
        assert!(!seen.insert("b", 1) && seen.insert("a", 1));
    }
}
