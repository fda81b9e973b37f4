//! The ledger. It knows which messages of one partition are handled, and so how far its offset may
//! be committed.

use std::collections::BTreeMap;

/// The delivered and uncommitted messages of a partition.
///
/// INVARIANT: [`position`](Self::position) is never after a message of this ownership that no
/// handler has finished.
///
/// It outlives an ownership: when a partition is taken away and comes back, messages that handlers
/// still hold are not delivered to them a second time.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Each delivered message, and whether it is done.
    entries: BTreeMap<i64, bool>,
    /// The offset after the last message that was read, in this ownership.
    next: Option<i64>,
    /// The first offset that was read in this ownership. Offsets before it are already committed.
    first: i64,
    /// How often the topic was recreated. Offsets of an earlier topic are invalid in this one.
    epoch: u64,
}

impl Ledger {
    /// Called when the partition is taken away, and when it is owned again: it is then read from
    /// its committed offset. The ledger keeps the messages that handlers finish in between, so that
    /// handlers do not get them a second time.
    pub(crate) fn restart(&mut self) {
        self.next = None;
    }

    /// Called when the topic was recreated. The messages that handlers hold belong to the earlier
    /// topic.
    pub(crate) fn renew(&mut self) {
        *self = Ledger {
            epoch: self.epoch + 1,
            ..Ledger::default()
        };
    }

    /// Returns the offset to read next, if a message has been read.
    pub(crate) fn next(&self) -> Option<i64> {
        self.next
    }

    /// Called when a message was read. Returns false if handlers already hold it or are done with
    /// it.
    pub(crate) fn read(&mut self, offset: i64) -> bool {
        if self.next.is_none() {
            self.first = offset;
        }
        self.next = Some(offset + 1);
        !self.entries.contains_key(&offset)
    }

    /// Called when a message was delivered. Returns the epoch of its topic.
    pub(crate) fn deliver(&mut self, offset: i64) -> u64 {
        self.entries.insert(offset, false);
        self.epoch
    }

    /// Called when a handler is done with a message.
    pub(crate) fn done(&mut self, offset: i64, epoch: u64) {
        if epoch != self.epoch {
            return;
        }
        if let Some(done) = self.entries.get_mut(&offset) {
            *done = true;
        }
        self.forget();
    }

    /// Called when a message is given back. If it is read again, it is delivered again.
    pub(crate) fn give_back(&mut self, offset: i64, epoch: u64) {
        if epoch == self.epoch {
            self.entries.remove(&offset);
        }
    }

    /// Removes the entries of messages that may be committed.
    fn forget(&mut self) {
        while let Some(entry) = self.entries.first_entry()
            && *entry.get()
            // Without an owner it is not known from which offset the partition will be read.
            && self.next.is_some()
        {
            entry.remove();
        }
    }

    /// Returns the offset from which a new owner has to read, or `None` if no message was read.
    pub(crate) fn position(&self) -> Option<i64> {
        let next = self.next?;
        let open = self.entries.range(self.first..).find(|(_, done)| !**done);
        Some(open.map_or(next, |(offset, _)| *offset))
    }
}

#[cfg(test)]
mod tests {
    use super::Ledger;

    #[test]
    fn the_position_stays_at_the_first_message_that_is_not_done() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.position(), None);
        for offset in 5..8 {
            assert!(ledger.read(offset));
            ledger.deliver(offset);
        }
        assert_eq!(ledger.position(), Some(5));
        ledger.done(6, 0);
        assert_eq!(ledger.position(), Some(5));
        ledger.done(5, 0);
        assert_eq!(ledger.position(), Some(7));
        ledger.done(7, 0);
        assert_eq!(ledger.position(), Some(8));
    }

    #[test]
    fn holes_are_passed() {
        let mut ledger = Ledger::default();
        assert!(ledger.read(3));
        ledger.deliver(3);
        assert!(ledger.read(9));
        ledger.deliver(9);
        ledger.done(3, 0);
        assert_eq!(ledger.position(), Some(9));
    }

    #[test]
    fn what_is_held_is_not_delivered_again_when_the_partition_comes_back() {
        let mut ledger = Ledger::default();
        for offset in 0..4 {
            ledger.read(offset);
            ledger.deliver(offset);
        }
        ledger.done(1, 0);
        ledger.restart();
        assert_eq!(ledger.position(), None);
        ledger.done(0, 0);
        assert!(!ledger.read(0), "it is done");
        assert!(!ledger.read(1), "it is done");
        assert!(!ledger.read(2), "it is held");
        assert_eq!(ledger.position(), Some(2));
        ledger.done(2, 0);
        ledger.done(3, 0);
        assert_eq!(ledger.position(), Some(3), "3 has not been read again");
        assert!(ledger.read(4));
        assert_eq!(ledger.position(), Some(5));
    }

    #[test]
    fn what_others_have_committed_holds_nothing_back() {
        let mut ledger = Ledger::default();
        ledger.read(0);
        ledger.deliver(0);
        ledger.restart();
        ledger.read(7);
        ledger.deliver(7);
        ledger.done(7, 0);
        assert_eq!(ledger.position(), Some(8));
    }
    #[test]
    fn what_is_held_of_a_topic_settles_nothing_of_the_one_that_was_made_after_it() {
        let mut ledger = Ledger::default();
        ledger.read(3);
        let before = ledger.deliver(3);
        ledger.renew();
        for offset in 0..4 {
            assert!(ledger.read(offset));
            assert_ne!(ledger.deliver(offset), before);
        }
        ledger.give_back(0, before);
        assert!(!ledger.read(0));
        for offset in 0..3 {
            ledger.done(offset, before + 1);
        }
        ledger.done(3, before);
        assert_eq!(ledger.position(), Some(3));
    }
}
