//! Checks that all readers of a ring see the same order.
//!
//! In one order each value has one predecessor. The first reader to see two consecutive values
//! notes the pair; all other readers must see the same pair. This also holds for readers that
//! joined late and readers that missed values before.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::value::Value;
use crate::world::World;

/// Pairs that are remembered for each sender: more than a ring holds, so that slow readers find
/// theirs.
const REMEMBERED: u64 = 8192;
const SENDER_BITS: u32 = 3;
const NUMBER_BITS: u32 = 30;
const NUMBER: u64 = (1 << NUMBER_BITS) - 1;

/// The predecessors of values.
#[derive(Debug)]
pub(crate) struct Order {
    /// By sender and number: `number + 1` (above) and the predecessor's number and sender (below);
    /// 0 at first.
    pairs: Vec<AtomicU64>,
}

impl Order {
    pub(crate) fn new(senders: usize) -> Self {
        let slots = senders as u64 * REMEMBERED;
        Self {
            pairs: (0..slots).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// A reader has seen `value` right after `before`, each a sender and a number.
    pub(crate) fn see(
        &self,
        before: (usize, u64),
        value: (usize, u64),
    ) -> Result<(), (usize, u64)> {
        let (sender, number) = value;
        let slot = &self.pairs[sender * REMEMBERED as usize + (number % REMEMBERED) as usize];
        let key = (number + 1) & NUMBER;
        let pair = key << (NUMBER_BITS + SENDER_BITS)
            | (before.1 & NUMBER) << SENDER_BITS
            | before.0 as u64;
        let mut known = slot.load(Ordering::Relaxed);
        loop {
            if known == pair {
                return Ok(());
            }
            let known_key = known >> (NUMBER_BITS + SENDER_BITS);
            if known_key == key {
                let sender = known & ((1 << SENDER_BITS) - 1);
                return Err((sender as usize, known >> SENDER_BITS & NUMBER));
            }
            if known_key > key {
                // This reader is too far behind for its pair to be remembered.
                return Ok(());
            }
            match slot.compare_exchange(known, pair, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => known = now,
            }
        }
    }
}

/// The order as one reader sees it.
#[derive(Debug)]
pub(crate) struct Follower<'a> {
    order: &'a Order,
    before: Option<(usize, u64)>,
}

impl<'a> Follower<'a> {
    pub(crate) fn new(order: &'a Order) -> Self {
        Self {
            order,
            before: None,
        }
    }

    /// A value came; or, with `None`, others did that were not seen.
    pub(crate) fn follow(&mut self, value: Option<&Value>) {
        let value = value.map(Value::read);
        if let (Some(before), Some(value)) = (self.before, value)
            && let Err(other) = self.order.see(before, value)
        {
            World::current().violated(
                format!("{value:?} (sender, number) after {other:?}, as another reader saw it"),
                format!("after {before:?}"),
            );
        }
        self.before = value;
    }
}

#[cfg(test)]
mod tests {
    use super::{Order, REMEMBERED};

    #[test]
    fn each_value_has_one_predecessor() {
        let order = Order::new(2);
        order.see((0, 1), (1, 7)).unwrap();
        order.see((0, 1), (1, 7)).unwrap();
        assert_eq!(order.see((0, 2), (1, 7)), Err((0, 1)));
        order.see((1, 7), (1, 8)).unwrap();
    }

    #[test]
    fn what_is_forgotten_is_not_judged() {
        let order = Order::new(1);
        order.see((0, 0), (0, 1)).unwrap();
        order.see((0, REMEMBERED), (0, 1 + REMEMBERED)).unwrap();
        order.see((0, 9), (0, 1)).unwrap();
    }
}
