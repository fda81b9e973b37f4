//! A queue in which subscriptions take turns.

use std::collections::{HashSet, VecDeque};

/// Numbers of subscriptions, each at most once, in the order in which they were added. A number
/// that is added again goes to the end, so each gets its turn, however often the others are added.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Contains every number of `waiting`, and may contain removed ones.
    order: VecDeque<u64>,
    waiting: HashSet<u64>,
}

impl Turns {
    /// Adds a number, unless it is already waiting.
    pub(super) fn push(&mut self, id: u64) {
        if self.waiting.insert(id) {
            self.order.push_back(id);
        }
    }

    /// Removes the number that has waited longest.
    pub(super) fn pop(&mut self) -> Option<u64> {
        while let Some(id) = self.order.pop_front() {
            if self.waiting.remove(&id) {
                return Some(id);
            }
        }
        None
    }

    pub(super) fn remove(&mut self, id: u64) {
        self.waiting.remove(&id);
        if self.waiting.is_empty() {
            self.order.clear();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::Turns;

    #[test]
    fn one_that_comes_again_waits_for_the_others() {
        let mut turns = Turns::default();
        (0..3).for_each(|id| turns.push(id));
        let mut taken = Vec::new();
        for _ in 0..6 {
            taken.extend(turns.pop());
            // As with a sweep that is faster than the reader: all numbers become ready again and
            // again.
            (0..3).for_each(|id| turns.push(id));
        }
        assert_eq!(taken, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn one_that_was_removed_has_no_turn() {
        let mut turns = Turns::default();
        (0..3).for_each(|id| turns.push(id));
        turns.remove(1);
        assert_eq!(
            [turns.pop(), turns.pop(), turns.pop()],
            [Some(0), Some(2), None]
        );
        turns.push(1);
        turns.remove(1);
        assert!(turns.is_empty() && turns.pop().is_none());
    }
}
