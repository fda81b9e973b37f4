//! A list in order of arrival with constant-time insertion and removal.

use std::num::NonZeroU32;

/// Marks the end of a chain of slots.
const NONE: u32 = u32::MAX;
/// The value of `previous` in a slot that is not in the line.
const ASIDE: u32 = u32::MAX - 1;

/// A line keeps the memory of at most this many slots while it has no members.
const KEPT: usize = 64;

/// Values in order of arrival. A value is found, added and removed by its key in constant time.
///
/// The slots lie in one vector and are chained by their numbers: the *line* from `first` to `last`,
/// and the free slots from `free`. A slot that holds a value is either in the line or *aside*.
/// [`take_first`](Self::take_first) takes it out of the line, and its value stays until
/// [`remove`](Self::remove). So a key stays valid until its owner removes it, and no slot is reused
/// before that.
#[derive(Debug)]
pub(crate) struct Line<T> {
    slots: Vec<Slot<T>>,
    /// How many slots are in the line.
    len: usize,
    /// How many slots hold a value.
    used: usize,
    first: u32,
    last: u32,
    free: u32,
}

/// Half a cache line for a waiter of a [`WakerSet`](super::WakerSet), so that a waiter among many
/// takes one cache miss.
#[derive(Debug)]
#[repr(align(32))]
struct Slot<T> {
    /// `None` while the slot is free.
    value: Option<T>,
    /// The slot before it in the line, or [`ASIDE`].
    previous: u32,
    /// The next in the line, or the next free one.
    next: u32,
}

/// The place of a value in a [`Line`]: the complement of its slot's number, so that an
/// `Option<Key>` takes no more memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key(NonZeroU32);

impl Key {
    fn of(index: u32) -> Self {
        // No slot has the greatest number, which is `NONE`.
        Self(NonZeroU32::new(!index).expect("a slot's number is less than 2^32 - 2"))
    }

    fn index(self) -> u32 {
        !self.0.get()
    }
}

impl<T> Line<T> {
    /// The size of a slot.
    #[cfg(test)]
    pub(super) const SLOT: usize = size_of::<Slot<T>>();

    pub(crate) const fn new() -> Self {
        Self {
            slots: Vec::new(),
            len: 0,
            used: 0,
            first: NONE,
            last: NONE,
            free: NONE,
        }
    }

    /// How many values are in the line.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether no value is in the line or aside.
    #[cfg(feature = "tokio")]
    pub(crate) fn is_unused(&self) -> bool {
        self.used == 0
    }

    /// Puts a value at the end of the line.
    pub(crate) fn push(&mut self, value: T) -> Key {
        let index = self.free;
        let index = if index == NONE {
            let index = u32::try_from(self.slots.len())
                .ok()
                .filter(|index| *index < ASIDE)
                .expect("fewer than 2^32 wait in one line");
            self.slots.push(Slot {
                value: None,
                previous: ASIDE,
                next: NONE,
            });
            index
        } else {
            self.free = self.slots[index as usize].next;
            index
        };
        self.used += 1;
        self.slots[index as usize].value = Some(value);
        self.link(index, self.last, NONE);
        Key::of(index)
    }

    /// Puts a value that is aside at the front of the line.
    pub(crate) fn push_front(&mut self, key: Key) {
        debug_assert!(!self.is_in_line(key));
        self.link(key.index(), NONE, self.first);
    }

    /// The first value in the line.
    pub(crate) fn first(&self) -> Option<&T> {
        self.slots.get(self.first as usize)?.value.as_ref()
    }

    /// Takes the first value out of the line, and leaves it aside.
    pub(crate) fn take_first(&mut self) -> Option<Key> {
        let first = self.first;
        (first != NONE).then(|| {
            self.unlink(first);
            Key::of(first)
        })
    }

    /// Whether the value is in the line, and not aside.
    pub(crate) fn is_in_line(&self, key: Key) -> bool {
        self.slots[key.index() as usize].previous != ASIDE
    }

    /// Whether the value is the first in the line.
    pub(crate) fn is_first(&self, key: Key) -> bool {
        self.first == key.index()
    }

    pub(crate) fn get(&mut self, key: Key) -> &mut T {
        self.slots[key.index() as usize]
            .value
            .as_mut()
            .expect("a key is used until its value is removed")
    }

    /// Removes a value, in the line or aside. The key must not be used after this.
    pub(crate) fn remove(&mut self, key: Key) -> T {
        if self.is_in_line(key) {
            self.unlink(key.index());
        }
        let slot = &mut self.slots[key.index() as usize];
        slot.next = std::mem::replace(&mut self.free, key.index());
        let value = slot.value.take();
        self.used -= 1;
        if self.used == 0 && self.slots.capacity() > KEPT {
            *self = Self::new();
        }
        value.expect("a value is removed once")
    }

    fn link(&mut self, index: u32, previous: u32, next: u32) {
        let slot = &mut self.slots[index as usize];
        slot.previous = previous;
        slot.next = next;
        self.set_neighbours(previous, index, next, index);
        self.len += 1;
    }

    fn unlink(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        let (previous, next) = (std::mem::replace(&mut slot.previous, ASIDE), slot.next);
        self.set_neighbours(previous, next, next, previous);
        self.len -= 1;
    }

    /// Makes `follower` the successor of `before`, and `predecessor` the predecessor of `after`.
    fn set_neighbours(&mut self, before: u32, follower: u32, after: u32, predecessor: u32) {
        match self.slots.get_mut(before as usize) {
            Some(slot) => slot.next = follower,
            None => self.first = follower,
        }
        match self.slots.get_mut(after as usize) {
            Some(slot) => slot.previous = predecessor,
            None => self.last = predecessor,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::{KEPT, Key, Line};

    /// Compares the line with a deque, through some thousands of pseudorandom steps.
    #[test]
    fn it_does_what_a_deque_does() {
        let mut seed = 1_u64;
        let mut random = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) as usize % below
        };
        let mut line = Line::new();
        let mut deque: VecDeque<(Key, usize)> = VecDeque::new();
        let mut aside: Vec<(Key, usize)> = Vec::new();
        for number in 0..20_000 {
            match random(5) {
                0 | 1 => deque.push_back((line.push(number), number)),
                2 => {
                    let first = line.take_first();
                    assert_eq!(first, deque.front().map(|(key, _)| *key));
                    aside.extend(deque.pop_front());
                }
                3 if !aside.is_empty() => {
                    let back = aside.swap_remove(random(aside.len()));
                    line.push_front(back.0);
                    deque.push_front(back);
                }
                _ if !deque.is_empty() && random(2) == 0 => {
                    let (key, value) = deque.remove(random(deque.len())).unwrap();
                    assert!(line.is_in_line(key));
                    assert_eq!(line.remove(key), value);
                }
                _ if !aside.is_empty() => {
                    let (key, value) = aside.swap_remove(random(aside.len()));
                    assert!(!line.is_in_line(key));
                    assert_eq!((*line.get(key), line.remove(key)), (value, value));
                }
                _ => {}
            }
            assert_eq!(line.len(), deque.len());
            assert_eq!(line.first(), deque.front().map(|(_, value)| value));
        }
        for (key, value) in aside {
            assert_eq!(line.remove(key), value);
        }
        while let Some(key) = line.take_first() {
            let (same, value) = deque.pop_front().unwrap();
            assert_eq!((key, line.remove(key)), (same, value));
        }
        assert!(deque.is_empty());
    }

    #[test]
    fn memory_of_many_members_is_freed_and_that_of_a_few_is_kept() {
        let mut line = Line::new();
        for crowd in [1, KEPT, 10 * KEPT] {
            let keys: Vec<_> = (0..crowd).map(|number| line.push(number)).collect();
            for key in keys {
                line.remove(key);
            }
            assert_eq!(line.slots.capacity() == 0, crowd > KEPT);
        }
    }
}
