//! The ledger. It knows which messages of one partition are handled, and so how far its offset may
//! be committed.

use std::collections::BTreeMap;
use std::ops::Range;

/// The delivered and uncommitted messages of a partition.
///
/// INVARIANT: [`position`](Self::position) is never after a message of this ownership that no
/// handler has finished.
///
/// It outlives an ownership: when a partition is taken away and comes back, messages that handlers
/// still hold are not delivered to them a second time. The topic may have been recreated in the
/// meantime, and then another message has the offset of a held one. The times of the records tell
/// them apart.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: BTreeMap<i64, Entry>,
    /// The offset after the last message that was read, or from which the partition is read, in
    /// this ownership.
    next: Option<i64>,
    /// The first offset that is read in this ownership. Offsets before it are already committed.
    first: i64,
    /// The records before `first` that are read in this ownership although they are not to be
    /// delivered.
    skipped: Range<i64>,
    /// The number of this ownership.
    epoch: u64,
}

/// A delivered message.
#[derive(Debug)]
struct Entry {
    /// The ownership in which it was delivered.
    epoch: u64,
    time: Option<i64>,
    is_done: bool,
}

/// What the ledger knows of a record that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    New,
    /// Handlers hold it or are done with it.
    Known,
    /// It is new, and so is its topic: another record had its offset.
    Recreated,
}

impl Ledger {
    /// Called when the partition is taken away, and when it is owned again: it is then read from
    /// its committed offset. The ledger keeps the messages that handlers finish in between, so that
    /// handlers do not get them a second time.
    pub(crate) fn restart(&mut self) {
        self.next = None;
        self.skipped = 0..0;
        self.epoch += 1;
    }

    /// Called when the topic was recreated. The messages that handlers hold belong to the earlier
    /// topic.
    pub(crate) fn renew(&mut self) {
        self.restart();
        self.entries.clear();
    }

    /// Called when the partition is read from `read` on and delivered from `offset` on, and no
    /// message of it has been read.
    pub(crate) fn begin(&mut self, read: i64, offset: i64) {
        self.skipped = read..offset;
        self.first = offset.max(read);
        self.next = Some(self.first);
    }

    /// Whether a record is read although it is not to be delivered.
    pub(crate) fn skips(&self, offset: i64) -> bool {
        self.skipped.contains(&offset)
    }

    /// Returns the offset to read next, if it is known.
    pub(crate) fn next(&self) -> Option<i64> {
        self.next
    }

    /// Called when a record with this time was read.
    pub(crate) fn read(&mut self, offset: i64, time: Option<i64>) -> Read {
        if self.next.is_none() {
            self.first = offset;
        }
        self.next = Some(offset + 1);
        match self.entries.get(&offset) {
            None => Read::New,
            Some(entry) if entry.time == time => Read::Known,
            Some(_) => {
                // The messages of earlier ownerships belong to the earlier topic.
                let epoch = self.epoch;
                self.entries.retain(|_, entry| entry.epoch == epoch);
                Read::Recreated
            }
        }
    }

    /// Called when a message was delivered. Returns the number of the ownership.
    pub(crate) fn deliver(&mut self, offset: i64, time: Option<i64>) -> u64 {
        let entry = Entry {
            epoch: self.epoch,
            time,
            is_done: false,
        };
        self.entries.insert(offset, entry);
        self.epoch
    }

    /// Called when a handler is done with a message that was delivered in this ownership.
    pub(crate) fn done(&mut self, offset: i64, epoch: u64) {
        if let Some(entry) = self.entries.get_mut(&offset)
            && entry.epoch == epoch
        {
            entry.is_done = true;
            self.forget();
        }
    }

    /// Called when a message is given back. If it is read again, it is delivered again.
    pub(crate) fn give_back(&mut self, offset: i64, epoch: u64) {
        if let Some(entry) = self.entries.get(&offset)
            && entry.epoch == epoch
        {
            self.entries.remove(&offset);
        }
    }

    /// Removes the entries of messages that may be committed.
    fn forget(&mut self) {
        // Without an owner it is not known from which offset the partition will be read.
        let Some(next) = self.next else {
            return;
        };
        while let Some(entry) = self.entries.first_entry()
            && entry.get().is_done
            // Later ones may be read again.
            && *entry.key() < next
        {
            entry.remove();
        }
    }

    /// Returns the offset from which a new owner has to read, or `None` if no message was read.
    pub(crate) fn position(&self) -> Option<i64> {
        let next = self.next?;
        let mut read = self.entries.range(self.first.min(next)..next);
        let open = read.find(|(_, entry)| !entry.is_done);
        Some(open.map_or(next, |(offset, _)| *offset))
    }
}

#[cfg(test)]
mod tests {
    use super::{Ledger, Read};

    /// The time of the records.
    const AT: Option<i64> = Some(1);

    #[test]
    fn the_position_stays_at_the_first_message_that_is_not_done() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.position(), None);
        for offset in 5..8 {
            assert_eq!(ledger.read(offset, AT), Read::New);
            ledger.deliver(offset, AT);
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
    fn records_before_the_beginning_are_skipped_in_this_ownership_alone() {
        let mut ledger = Ledger::default();
        ledger.begin(3, 5);
        let skips = |ledger: &Ledger| (2..6).filter(|offset| ledger.skips(*offset)).collect();
        let skipped: Vec<i64> = skips(&ledger);
        assert_eq!((skipped, ledger.position()), (vec![3, 4], Some(5)));
        ledger.restart();
        assert!(skips(&ledger).is_empty());
        ledger.begin(7, 5);
        assert_eq!(ledger.position(), Some(7), "nothing before 7 is read");
    }

    #[test]
    fn holes_are_passed() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.read(3, AT), Read::New);
        ledger.deliver(3, AT);
        assert_eq!(ledger.read(9, AT), Read::New);
        ledger.deliver(9, AT);
        ledger.done(3, 0);
        assert_eq!(ledger.position(), Some(9));
    }

    #[test]
    fn what_is_held_is_not_delivered_again_when_the_partition_comes_back() {
        let mut ledger = Ledger::default();
        for offset in 0..4 {
            ledger.read(offset, AT);
            ledger.deliver(offset, AT);
        }
        ledger.done(1, 0);
        ledger.restart();
        assert_eq!(ledger.position(), None);
        ledger.done(0, 0);
        assert_eq!(ledger.read(0, AT), Read::Known, "it is done");
        assert_eq!(ledger.read(1, AT), Read::Known, "it is done");
        assert_eq!(ledger.read(2, AT), Read::Known, "it is held");
        assert_eq!(ledger.position(), Some(2));
        ledger.done(2, 0);
        ledger.done(3, 0);
        assert_eq!(ledger.position(), Some(3), "3 has not been read again");
        assert_eq!(ledger.read(4, AT), Read::New);
        assert_eq!(ledger.position(), Some(5));
    }

    #[test]
    fn what_others_have_committed_holds_nothing_back() {
        let mut ledger = Ledger::default();
        ledger.read(0, AT);
        ledger.deliver(0, AT);
        ledger.restart();
        ledger.read(7, AT);
        ledger.deliver(7, AT);
        ledger.done(7, 1);
        assert_eq!(ledger.position(), Some(8));
    }

    #[test]
    fn held_messages_of_a_deleted_topic_settle_no_record_of_its_successor() {
        let mut ledger = Ledger::default();
        ledger.read(3, AT);
        let before = ledger.deliver(3, AT);
        ledger.renew();
        for offset in 0..4 {
            assert_eq!(ledger.read(offset, AT), Read::New);
            assert_ne!(ledger.deliver(offset, AT), before);
        }
        ledger.give_back(0, before);
        for offset in 0..4 {
            assert_eq!(ledger.read(offset, AT), Read::Known);
        }
        for offset in 0..3 {
            ledger.done(offset, before + 1);
        }
        ledger.done(3, before);
        assert_eq!(ledger.position(), Some(3));
    }

    /// Handlers hold messages of a topic that is recreated, while another process has the
    /// partition. The new topic has records at the same offsets, and comes to fewer.
    #[test]
    fn held_messages_of_a_deleted_topic_hide_no_record_of_its_successor() {
        let mut ledger = Ledger::default();
        for offset in 3..9 {
            ledger.read(offset, AT);
            ledger.deliver(offset, AT);
        }
        ledger.done(4, 0);
        ledger.restart();
        let later = Some(2);
        for offset in 0..3 {
            assert_eq!(ledger.read(offset, later), Read::New);
            assert_eq!(ledger.deliver(offset, later), 1);
        }
        assert_eq!(ledger.position(), Some(0));
        for offset in 0..3 {
            ledger.done(offset, 1);
        }
        assert_eq!(ledger.position(), Some(3), "nothing after it has been read");
        assert_eq!(ledger.read(3, later), Read::Recreated);
        ledger.deliver(3, later);
        assert_eq!(ledger.read(4, later), Read::New);
        ledger.deliver(4, later);
        // A handler is done with the message that had this offset before.
        ledger.done(3, 0);
        ledger.give_back(4, 0);
        ledger.done(4, 1);
        assert_eq!(ledger.position(), Some(3));
        ledger.done(3, 1);
        assert_eq!(ledger.position(), Some(5));
    }
}
