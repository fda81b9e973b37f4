//! Which events have been delivered, within a window.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};

/// The latest events by origin and identity, as 128 random bits each.
pub(crate) struct Seen {
    window: usize,
    hashers: [RandomState; 2],
    events: HashSet<[u64; 2]>,
    order: VecDeque<[u64; 2]>,
}

impl Seen {
    pub(crate) fn new(window: usize) -> Self {
        Self {
            window,
            hashers: [RandomState::new(), RandomState::new()],
            events: HashSet::new(),
            order: VecDeque::new(),
        }
    }

    /// The mark of an event. Each group has its own.
    pub(crate) fn mark(&self, group: Option<&str>, origin: &str, id: &str) -> [u64; 2] {
        let [one, other] = &self.hashers;
        [one, other].map(|hasher| hasher.hash_one((group, origin, id)))
    }

    pub(crate) fn has(&self, mark: &[u64; 2]) -> bool {
        self.events.contains(mark)
    }

    /// Whether the event is new. Then it is in the window from now on.
    pub(crate) fn insert(&mut self, mark: [u64; 2]) -> bool {
        if self.window == 0 {
            return true;
        }
        if !self.events.insert(mark) {
            return false;
        }
        self.order.push_back(mark);
        if self.order.len() > self.window
            && let Some(oldest) = self.order.pop_front()
        {
            self.events.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::Seen;

    #[test]
    fn an_event_is_seen_within_the_window() {
        let mut seen = Seen::new(2);
        let [a, b, c] = ["a", "b", "c"].map(|id| seen.mark(None, "o", id));
        assert!(seen.insert(a) && !seen.insert(a) && seen.insert(b) && seen.has(&a));
        assert!(seen.insert(c) && !seen.has(&a) && seen.has(&b));
        assert_eq!(seen.order.len(), 2);
    }

    #[test]
    fn origin_identity_and_group_are_told_apart() {
        let seen = Seen::new(2);
        let marks = [
            seen.mark(None, "ab", "c"),
            seen.mark(None, "a", "bc"),
            seen.mark(Some(""), "ab", "c"),
        ];
        assert!(marks[0] != marks[1] && marks[0] != marks[2]);
    }
}
