//! The values that the receiver of an own channel missed, and where in the stream they would have
//! been.

use std::collections::VecDeque;

use crate::sync::{AtomicU64, Mutex, Ordering, mutant};

/// The position of the first gap not yet reported to the receiver, or the largest number.
///
/// Written under the lock of [`Gaps`]. The receiver reads it for each value that it takes, so it is
/// in the cache line that the receiver writes anyway.
#[derive(Debug)]
pub(crate) struct FirstGap(AtomicU64);

impl FirstGap {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(u64::MAX))
    }

    /// Whether a gap comes before the value at `head`. The receiver must have read the stamp of
    /// that value with Acquire.
    #[inline]
    pub(crate) fn is_before(&self, head: u64) -> bool {
        // ORDERING: ordered by the Acquire load of the stamp, or of a later stamp (see `queue`). If
        // a sender recorded a gap and then filled the slot, the receiver sees both.
        self.0.load(Ordering::Relaxed) <= head || self.ignores_positions()
    }

    /// Whether a gap comes at `head`, where there is no value. The receiver must have read the tail
    /// with `SeqCst`.
    pub(crate) fn is_at(&self, head: u64) -> bool {
        // ORDERING: SeqCst with the store in `set` and the stores in `WakerCell`: a receiver that
        // has armed its waker looks here once more.
        self.0.load(Ordering::SeqCst) <= head || self.ignores_positions()
    }

    fn ignores_positions(&self) -> bool {
        mutant!("gap_is_told_before_its_place") && self.0.load(Ordering::Relaxed) != u64::MAX
    }

    /// The caller holds the lock.
    fn set(&self, position: u64) {
        // ORDERING: SeqCst with the load in `is_at`, and with the sender's look at the receiver's
        // waker that follows.
        self.0.store(position, Ordering::SeqCst);
    }
}

/// The values that a receiver missed: one entry for each position at which values are missing,
/// until it is reported to the receiver.
///
/// # Where a gap is
///
/// A gap at position `p` comes after the value at the position before `p`, and before the value at
/// `p`. A sender that gives a value up uses as `p` the tail that it read when the value was
/// refused. Its own earlier values are at positions before that. The values that it puts into the
/// queue after it recorded the gap are at `p` or later, and the receiver that finds one of them
/// finds the gap too (see [`FirstGap::is_before`]). If the receiver has gone past `p` by then, its
/// next receive reports the gap.
///
/// # Adding to the last gap
///
/// A full queue that refuses value after value has one gap that grows. A sender adds to it without
/// the lock: it sees that the last entry is at its position, counts its values in `more`, and reads
/// `last` again. A thread that takes the lock first closes this path: it writes `last` and then
/// takes `more` by a read-modify-write. So either that thread takes the values that the sender
/// counted, or the sender sees that `last` has changed, and goes on under the lock.
#[derive(Debug)]
pub(crate) struct Gaps {
    /// The position of the last entry, or the largest number. Written under the lock.
    last: AtomicU64,
    /// Values missing at the last entry in addition to the entry's own count.
    more: AtomicU64,
    list: Mutex<Told>,
    /// The largest number of separate entries.
    limit: usize,
}

#[derive(Debug)]
struct Told {
    /// Allocated at the first gap: most channels have none.
    list: Option<Box<List>>,
    /// Whether the receiver has seen that the channel is closed.
    is_over: bool,
}

#[derive(Debug, Default)]
struct List {
    /// In the order of positions. No two entries have the same position.
    gaps: VecDeque<Gap>,
    /// How many values were missed in all, except those in `more`.
    missed: u64,
}

#[derive(Debug)]
struct Gap {
    position: u64,
    count: u64,
}

impl Gaps {
    /// The gaps of a queue with this capacity.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            last: AtomicU64::new(u64::MAX),
            more: AtomicU64::new(0),
            list: Mutex::new(Told {
                list: None,
                is_over: false,
            }),
            limit: capacity + 1,
        }
    }

    /// Records that `count` values are missing at `position`. Returns true if the caller must wake
    /// the receiver. Once the receiver has seen the end, nothing counts as missed.
    pub(crate) fn record(&self, first: &FirstGap, position: u64, mut count: u64) -> bool {
        // ORDERING: Acquire pairs with the Release in `publish`: a receiver that finds a later
        // value of this thread also finds the entry, as if this thread had made it.
        if self.last.load(Ordering::Acquire) == position {
            // ORDERING: AcqRel with the swap in `settle`: if the swap comes first, the load below
            // sees what was written before the swap.
            self.more.fetch_add(count, Ordering::AcqRel);
            if self.last.load(Ordering::Relaxed) == position
                || mutant!("last_gap_is_looked_at_once")
            {
                // The sender that recorded the entry wakes the receiver.
                return false;
            }
            count = 0;
        }
        let mut told = self.list.lock();
        let is_over = told.is_over;
        let list = &mut **told.list.get_or_insert_default();
        count += self.settle(list);
        if count > 0 && (!is_over || mutant!("gap_is_recorded_after_the_end")) {
            list.missed += count;
            list.insert(position, count);
            if list.gaps.len() > self.limit {
                // There are more positions than the queue has slots, so the receiver is past the
                // first two of them.
                let oldest = list.gaps.pop_front().map_or(0, |gap| gap.count);
                list.gaps[0].count += oldest;
            }
        }
        self.publish(first, list);
        true
    }

    /// Takes the gaps up to `head`, and returns the number of missing values.
    pub(crate) fn take(&self, first: &FirstGap, head: u64) -> u64 {
        let mut told = self.list.lock();
        let Some(list) = told.list.as_deref_mut() else {
            return 0;
        };
        let mut missed = self.settle(list);
        list.missed += missed;
        while let Some(gap) = list.gaps.front().filter(|gap| gap.position <= head) {
            missed += gap.count;
            list.gaps.pop_front();
        }
        self.publish(first, list);
        missed
    }

    /// Takes the last gaps of a closed queue from which every value was taken. No gap is recorded
    /// after that.
    pub(crate) fn end(&self, first: &FirstGap) -> u64 {
        if !std::mem::replace(&mut self.list.lock().is_over, true) {
            return self.take(first, u64::MAX);
        }
        0
    }

    /// How many values were missed in all.
    pub(crate) fn missed(&self) -> u64 {
        let told = self.list.lock();
        let missed = told.list.as_ref().map_or(0, |list| list.missed);
        missed + self.more.load(Ordering::Relaxed)
    }

    /// Stops the adding to the last entry until [`publish`](Self::publish); senders that come
    /// meanwhile wait for the lock. Returns how many values were added to an entry that had been
    /// taken already.
    fn settle(&self, list: &mut List) -> u64 {
        self.last.store(u64::MAX, Ordering::Relaxed);
        // ORDERING: AcqRel with the addition in `record`.
        let more = self.more.swap(0, Ordering::AcqRel);
        let Some(last) = list.gaps.back_mut() else {
            return more;
        };
        last.count += more;
        list.missed += more;
        0
    }

    fn publish(&self, first: &FirstGap, list: &List) {
        let last = list.gaps.back().map_or(u64::MAX, |gap| gap.position);
        first.set(list.gaps.front().map_or(u64::MAX, |gap| gap.position));
        // ORDERING: Release pairs with the Acquire in `record`, after `first`.
        self.last.store(last, Ordering::Release);
    }
}

impl List {
    fn insert(&mut self, position: u64, count: u64) {
        let later = self.gaps.iter().rev();
        let later = later.take_while(|gap| gap.position > position).count();
        let index = self.gaps.len() - later;
        match index.checked_sub(1).map(|before| &mut self.gaps[before]) {
            Some(same) if same.position == position => same.count += count,
            _ => self.gaps.insert(index, Gap { position, count }),
        }
    }
}

#[cfg(all(test, not(any(fanfeed_loom, fanfeed_shuttle))))]
mod tests {
    use super::{FirstGap, Gaps};

    #[test]
    fn a_queue_keeps_no_more_gaps_than_it_has_places() {
        let (gaps, first) = (Gaps::new(2), FirstGap::new());
        for position in 0..100 {
            assert!(gaps.record(&first, position, 1));
            assert!(!gaps.record(&first, position, 1), "it is added to the last");
        }
        assert_eq!(
            gaps.list.lock().list.as_ref().map(|list| list.gaps.len()),
            Some(3)
        );
        assert_eq!((gaps.take(&first, 97), gaps.take(&first, 98)), (196, 2));
        assert_eq!((gaps.missed(), gaps.end(&first)), (200, 2));
        assert!(!first.is_at(u64::MAX - 1));
        // After the receiver has seen the end, it misses nothing more.
        gaps.record(&first, 100, 1);
        assert_eq!((gaps.missed(), gaps.end(&first)), (200, 0));
    }
}
