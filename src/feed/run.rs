//! A few values that are cloned for seats of a chunk before any of them is delivered.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use super::queue::Queue;

/// The bytes of a run's values. They are on the stack of each send.
const SIZE: usize = 256;
/// The most values of a run. More values make it no cheaper.
const MOST: usize = 8;

/// Room for values of any type that is small enough.
#[repr(C, align(16))]
struct Room([MaybeUninit<u8>; SIZE]);

/// Queues of a chunk that get values together.
///
/// It is filled in two steps: first the queues are [chosen](Self::choose), then each gets a value,
/// in their order.
///
/// Invariant: `seats` has a bit for each queue that was chosen, at most
/// [`CAPACITY`](Self::CAPACITY), and the first elements of `queues` are these queues, from the
/// lowest bit on. The first `len` elements of `room` are values, for the first `len` queues.
pub(crate) struct Run<T> {
    seats: u64,
    queues: [MaybeUninit<*const Queue<T>>; MOST],
    len: usize,
    room: Room,
    _values: PhantomData<T>,
}

impl<T> Run<T> {
    /// The most values that the run holds: none, if the values are large.
    pub(crate) const CAPACITY: usize = {
        let (size, align) = (size_of::<T>(), align_of::<T>());
        if align > align_of::<Room>() {
            0
        } else if size * MOST <= SIZE {
            MOST
        } else {
            SIZE / size
        }
    };

    #[inline(always)]
    pub(crate) fn new() -> Self {
        Self {
            seats: 0,
            queues: [const { MaybeUninit::uninit() }; MOST],
            len: 0,
            room: Room([const { MaybeUninit::uninit() }; SIZE]),
            _values: PhantomData,
        }
    }

    /// How many values the run has.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The seats of the run's queues.
    #[inline(always)]
    pub(crate) fn seats(&self) -> u64 {
        self.seats
    }

    #[inline(always)]
    fn values(&mut self) -> *mut T {
        self.room.0.as_mut_ptr().cast()
    }

    /// Chooses the queues of the lowest seats, as many as the run holds, and returns how many. The
    /// run must be empty.
    #[inline(always)]
    pub(crate) fn choose(&mut self, seats: u64, queue: impl Fn(usize) -> *const Queue<T>) -> usize {
        debug_assert!(self.len == 0);
        let (mut left, mut count) = (seats, 0);
        while left != 0 && count < Self::CAPACITY {
            self.queues[count].write(queue(left.trailing_zeros() as usize));
            left &= left - 1;
            count += 1;
        }
        self.seats = seats ^ left;
        count
    }

    /// Adds values for the next queues, until `count` queues have one, or `has_room` says that the
    /// next queue has no room. Returns whether all of them had room.
    ///
    /// # Safety
    ///
    /// At least `count` queues were chosen, and they are alive.
    #[inline(always)]
    pub(crate) unsafe fn add_up_to(
        &mut self,
        count: usize,
        has_room: impl Fn(&Queue<T>) -> bool,
        mut value: impl FnMut(usize) -> T,
    ) -> bool {
        for index in self.len..count {
            // SAFETY: the caller guarantees this, with the invariant.
            if !has_room(unsafe { &*self.queues.get_unchecked(index).assume_init() }) {
                return false;
            }
            let value = value(index);
            // SAFETY: there is room for as many values as queues can be chosen, with their
            // alignment.
            unsafe { self.values().add(index).write(value) };
            self.len = index + 1;
        }
        true
    }

    /// Removes the queues that have no value yet, and returns their seats.
    #[inline(always)]
    pub(crate) fn cut(&mut self) -> u64 {
        let mut left = self.seats;
        for _ in 0..self.len {
            left &= left - 1;
        }
        self.seats ^= left;
        left
    }

    /// Gives each queue its value, and keeps the values that come back. Each queue must have a
    /// value: see [`cut`](Self::cut). `give` returns whether the receiver must be woken, and does
    /// not panic. Returns the seats whose receivers must be woken.
    ///
    /// # Safety
    ///
    /// The queues are alive.
    #[inline(always)]
    pub(crate) unsafe fn offer(&mut self, give: impl Fn(&Queue<T>, T) -> Result<bool, T>) -> u64 {
        debug_assert_eq!(self.seats.count_ones() as usize, self.len);
        // No element is read twice: `len` covers only the values that came back.
        let len = std::mem::take(&mut self.len);
        let (seats, mut rung) = (std::mem::take(&mut self.seats), 0);
        let values = self.values();
        for index in 0..len {
            // SAFETY: the elements are there, by the invariant, and the queue is alive.
            let (queue, value) = unsafe {
                let queue = self.queues.get_unchecked(index).assume_init();
                (&*queue, values.add(index).read())
            };
            match give(queue, value) {
                Ok(false) => {}
                Ok(true) => rung |= bit_at(seats, index),
                Err(value) => {
                    self.seats |= bit_at(seats, index);
                    self.queues[self.len].write(queue);
                    // SAFETY: at least this many elements were read, so there is room.
                    unsafe { values.add(self.len).write(value) };
                    self.len += 1;
                }
            }
        }
        rung
    }

    /// Takes the last value, and returns it with the bit of its seat. Each queue must have a value.
    #[inline(always)]
    pub(crate) fn pop(&mut self) -> Option<(u64, T)> {
        debug_assert_eq!(self.seats.count_ones() as usize, self.len);
        let index = self.len.checked_sub(1)?;
        self.len = index;
        let bit = 1 << self.seats.ilog2();
        self.seats ^= bit;
        // SAFETY: the element was there, by the invariant, and `len` does not count it any more.
        Some((bit, unsafe { self.values().add(index).read() }))
    }
}

/// The set bit of `seats` that has `index` lower set bits.
#[cold]
fn bit_at(mut seats: u64, index: usize) -> u64 {
    for _ in 0..index {
        seats &= seats - 1;
    }
    seats & seats.wrapping_neg()
}

impl<T> Drop for Run<T> {
    fn drop(&mut self) {
        let values: *mut T = self.room.0.as_mut_ptr().cast();
        for index in 0..self.len {
            // SAFETY: the element is there, by the invariant, and is not read again.
            unsafe { values.add(index).drop_in_place() };
        }
    }
}
