//! Deliveries that no handler saw.
//!
//! The server counts every delivery of a message, and a member that gives a message back cannot
//! reset that count. This module counts the deliveries that this process gave back, so that they do
//! not count as attempts when the message comes here again. Other processes do not know these
//! counts.

use std::collections::{BTreeMap, HashMap};

/// The most messages of a group with a count. Beyond this number, the oldest are removed.
const MOST: usize = 1 << 16;

/// By consumer and position, how many deliveries no handler saw.
#[derive(Debug, Default)]
pub(super) struct Unseen(HashMap<String, BTreeMap<u64, u32>>);

impl Unseen {
    /// Counts a delivery that no handler saw.
    pub(super) fn count(&mut self, consumer: &str, position: u64) {
        if !self.0.contains_key(consumer) {
            self.0.insert(consumer.to_owned(), BTreeMap::new());
        }
        let Some(of) = self.0.get_mut(consumer) else {
            return;
        };
        *of.entry(position).or_default() += 1;
        if of.len() > MOST {
            of.pop_first();
        }
    }

    /// The number of an attempt, for a message that was delivered this often.
    pub(super) fn attempt(&self, consumer: &str, position: u64, delivered: u64) -> u32 {
        let of = self.0.get(consumer);
        let unseen = of.and_then(|of| of.get(&position)).copied().unwrap_or(0);
        let delivered = u32::try_from(delivered).unwrap_or(u32::MAX);
        delivered.saturating_sub(unseen).max(1)
    }

    /// Removes a settled message.
    pub(super) fn forget(&mut self, consumer: &str, position: u64) {
        if let Some(of) = self.0.get_mut(consumer) {
            of.remove(&position);
            if of.is_empty() {
                self.0.remove(consumer);
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST, Unseen};

    #[test]
    fn a_delivery_that_no_handler_saw_is_no_attempt() {
        let mut unseen = Unseen::default();
        assert_eq!(unseen.attempt("c", 7, 1), 1);
        unseen.count("c", 7);
        unseen.count("c", 7);
        assert_eq!(unseen.attempt("c", 7, 3), 1);
        assert_eq!(unseen.attempt("c", 7, 4), 2);
        assert_eq!(unseen.attempt("d", 7, 3), 3);
        unseen.forget("c", 7);
        assert_eq!(unseen.attempt("c", 7, 3), 3);
        assert!(unseen.0.is_empty());
    }

    #[test]
    fn it_remembers_the_last_ones() {
        let mut unseen = Unseen::default();
        for position in 0..=MOST as u64 {
            unseen.count("c", position);
        }
        assert_eq!(unseen.0["c"].len(), MOST);
        assert_eq!(unseen.attempt("c", 0, 2), 2);
        assert_eq!(unseen.attempt("c", 1, 2), 1);
    }
}
