//! The model of the ring itself: what was sent, and how far senders may have gone on.

use super::program::Kind;

/// What was sent, by position.
#[derive(Debug)]
pub(crate) struct Track {
    pub(crate) capacity: u64,
    /// The length of a segment: an eighth of the capacity.
    pub(crate) eighth: u64,
    /// The number of each value.
    pub(crate) sent: Vec<u64>,
    /// The sender may have made room up to here.
    pub(crate) reach: u64,
    /// The end of the last segment that was left to lossy readers, because strict readers were in
    /// it when its slots were needed.
    left: u64,
    pub(crate) is_closed: bool,
}

impl Track {
    pub(crate) fn new(capacity: u64) -> Self {
        Self {
            capacity,
            eighth: (capacity / 8).max(1),
            sent: Vec::new(),
            reach: 0,
            left: 0,
            is_closed: false,
        }
    }

    pub(crate) fn next(&self) -> u64 {
        self.sent.len() as u64
    }

    /// A value was sent while the slowest strict reader was there.
    pub(crate) fn push(&mut self, number: u64, slowest: Option<u64>) {
        self.write(slowest);
        self.sent.push(number);
        self.reach = self.reach.max(self.next());
    }

    /// The sender writes the next slot while the slowest strict reader is there.
    ///
    /// While strict readers have passed a part of the segment of the lap before, the sender does
    /// not write into that segment: lossy readers keep the whole of it until the sender has filled
    /// the part that it may fill.
    pub(crate) fn write(&mut self, slowest: Option<u64>) {
        let end = (self.next() + 1).next_multiple_of(self.eighth);
        let floor = end.saturating_sub(self.capacity);
        if slowest.is_some_and(|slowest| slowest < floor) {
            self.left = floor;
        }
    }

    /// So many slots were claimed at once, from that position on.
    pub(crate) fn claim(&mut self, from: u64, count: u64) {
        self.reach = self.reach.max(from + count);
    }

    /// How many slots may be claimed at once.
    pub(crate) fn max_claim(&self) -> u64 {
        if self.capacity <= 8 {
            self.capacity
        } else {
            self.capacity - self.eighth
        }
    }

    /// Readers of this kind are not handed what is before this position.
    pub(crate) fn gone(&self, kind: Kind) -> u64 {
        let gone = self.next().saturating_sub(self.capacity);
        let begin = self.left.saturating_sub(self.eighth);
        if kind != Kind::Strict && (begin..self.left).contains(&gone) {
            begin
        } else {
            gone
        }
    }

    /// A lossy reader may have been moved on up to here, an eighth at a time, and not beyond.
    pub(crate) fn may_be_gone(&self) -> u64 {
        self.reach
            .next_multiple_of(self.eighth)
            .saturating_sub(self.capacity)
    }

    pub(crate) fn at(&self, position: u64) -> Option<u64> {
        self.sent.get(position as usize).copied()
    }
}
