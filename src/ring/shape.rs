//! How positions map to slots.

use crate::error::CapacityError;
use crate::sync::MODELLED;

/// The largest capacity.
pub(crate) const MAX_CAPACITY: usize = 1 << 30;

/// The number of segments of a ring that has at least that many slots. A model has two, so that
/// small rings have segments of several slots.
pub(crate) const SEGMENTS: usize = if MODELLED { 2 } else { 8 };

/// The arithmetic of a ring: `capacity` slots, a power of two, in up to eight segments of equal
/// length.
///
/// A position counts values from 0 and never wraps: 2^60 values at a billion a second take 36
/// years. A send that comes that far panics ([`Gate::extend`](super::gate::Gate::extend)).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    capacity: u64,
    segment_mask: u64,
    segment_shift: u32,
    /// The mask of an entry among the segments of two laps.
    entry_mask: u64,
    lap_shift: u32,
}

impl Shape {
    /// The shape of a ring for at least `requested` values, rounded up to a power of two.
    pub(crate) fn new(requested: usize) -> Result<Self, CapacityError> {
        if !(1..=MAX_CAPACITY).contains(&requested) {
            return Err(CapacityError::new(requested, MAX_CAPACITY));
        }
        let capacity = requested.next_power_of_two();
        let segments = capacity.min(SEGMENTS);
        let length = capacity / segments;
        Ok(Self {
            capacity: capacity as u64,
            segment_mask: length as u64 - 1,
            segment_shift: length.trailing_zeros(),
            entry_mask: 2 * segments as u64 - 1,
            lap_shift: capacity.trailing_zeros(),
        })
    }

    /// The most values that the ring holds.
    #[inline]
    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// The number of segments.
    pub(crate) fn segments(&self) -> usize {
        (self.entry_mask as usize).div_ceil(2)
    }

    /// The number of slots of a segment.
    pub(crate) fn segment_len(&self) -> usize {
        self.segment_mask as usize + 1
    }

    /// How many slots one call may claim: all but a segment, or all if segments have one slot. The
    /// end of the last segment of such a claim is at most a capacity beyond its first position.
    pub(crate) fn max_claim(&self) -> u64 {
        match self.segment_len() as u64 {
            1 => self.capacity,
            length => self.capacity - length,
        }
    }

    /// The entry of a position among the segments of two consecutive laps.
    #[inline]
    pub(crate) fn entry(&self, position: u64) -> usize {
        ((position >> self.segment_shift) & self.entry_mask) as usize
    }

    /// The offset of a position in its segment.
    #[inline]
    pub(crate) fn offset(&self, position: u64) -> usize {
        (position & self.segment_mask) as usize
    }

    /// The first position after the segment of this one.
    #[inline]
    pub(crate) fn segment_end(&self, position: u64) -> u64 {
        (position | self.segment_mask) + 1
    }

    /// The slot of a position, among all slots of the ring.
    #[inline]
    pub(crate) fn slot(&self, position: u64) -> usize {
        (position & (self.capacity - 1)) as usize
    }

    /// The lap of a position, in eight bits: enough to tell a lap from the one before. Never 0 in
    /// the first lap.
    #[inline]
    pub(crate) fn lap(&self, position: u64) -> u8 {
        (position >> self.lap_shift).wrapping_add(1) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::Shape;

    #[test]
    fn positions_fall_where_they_should() {
        for requested in 1..200 {
            let shape = Shape::new(requested).unwrap();
            let capacity = shape.capacity();
            assert_eq!(capacity, (requested as u64).next_power_of_two());
            assert_eq!(
                shape.segments() * shape.segment_len(),
                usize::try_from(capacity).unwrap()
            );
            for position in 0..3 * capacity {
                let number = shape.entry(position) % shape.segments();
                let slot = number * shape.segment_len() + shape.offset(position);
                assert_ne!(shape.entry(position), shape.entry(position + capacity));
                assert_eq!(shape.entry(position), shape.entry(position + 2 * capacity));
                assert_eq!(slot, shape.slot(position));
                let end = shape.segment_end(position);
                assert!(end > position && end - position <= shape.segment_len() as u64);
                assert_eq!(shape.offset(end), 0);
                assert_ne!(shape.lap(position), shape.lap(position + capacity));
                let last = position + shape.max_claim() - 1;
                assert!(shape.segment_end(last) <= position + capacity);
            }
        }
    }
}
