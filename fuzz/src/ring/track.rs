//! The model of the ring itself: what was sent, and how far it may have gone on.

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
    pub(crate) is_closed: bool,
}

impl Track {
    pub(crate) fn new(capacity: u64) -> Self {
        Self {
            capacity,
            eighth: (capacity / 8).max(1),
            sent: Vec::new(),
            reach: 0,
            is_closed: false,
        }
    }

    pub(crate) fn next(&self) -> u64 {
        self.sent.len() as u64
    }

    pub(crate) fn push(&mut self, number: u64) {
        self.sent.push(number);
        self.reach = self.reach.max(self.next());
    }

    /// Positions before this one have been written over.
    pub(crate) fn gone(&self) -> u64 {
        self.next().saturating_sub(self.capacity)
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
