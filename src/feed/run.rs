//! A few values that were cloned for as many seats of a chunk, before any of them is delivered.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

/// The bytes of a run's values. They lie on the stack of each send.
const SIZE: usize = 256;
/// The most values of a run. More make it no cheaper.
const MOST: usize = 8;

/// Room for values of any type that is small enough.
#[repr(C, align(16))]
struct Room([MaybeUninit<u8>; SIZE]);

/// Values, each for a place of type `K`.
///
/// Invariant: the first `len` elements of both arrays are there, and `len` is at most [`CAPACITY`](Self::CAPACITY).
pub(crate) struct Run<K, T> {
    len: usize,
    places: [MaybeUninit<K>; MOST],
    room: Room,
    _values: PhantomData<T>,
}

impl<K: Copy, T> Run<K, T> {
    /// How many values it holds: none, if they are large.
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
            len: 0,
            places: [const { MaybeUninit::uninit() }; MOST],
            room: Room([const { MaybeUninit::uninit() }; SIZE]),
            _values: PhantomData,
        }
    }

    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline(always)]
    fn values(&mut self) -> *mut T {
        self.room.0.as_mut_ptr().cast()
    }

    /// Adds a value. There must be room for it.
    #[inline(always)]
    pub(crate) fn push(&mut self, place: K, value: T) {
        let index = self.len;
        assert!(index < Self::CAPACITY);
        self.places[index].write(place);
        // SAFETY: there is room for `CAPACITY` values, aligned for them.
        unsafe { self.values().add(index).write(value) };
        self.len += 1;
    }

    /// Gives each value to `take`, and keeps those that come back. `take` does not panic.
    #[inline(always)]
    pub(crate) fn offer(&mut self, mut take: impl FnMut(K, T) -> Result<(), T>) {
        // No element is read twice: `len` covers only those that came back.
        let len = std::mem::take(&mut self.len);
        let values = self.values();
        for index in 0..len {
            // SAFETY: the element is there, by the invariant.
            let (place, value) = unsafe {
                let place = self.places.get_unchecked(index).assume_init();
                (place, values.add(index).read())
            };
            if let Err(value) = take(place, value) {
                self.push(place, value);
            }
        }
    }

    /// Takes the last value.
    #[inline(always)]
    pub(crate) fn pop(&mut self) -> Option<(K, T)> {
        self.len = self.len.checked_sub(1)?;
        let index = self.len;
        // SAFETY: the element was there, by the invariant, and `len` does not count it any more.
        Some(unsafe {
            (
                self.places[index].assume_init(),
                self.values().add(index).read(),
            )
        })
    }
}

impl<K, T> Drop for Run<K, T> {
    fn drop(&mut self) {
        let values: *mut T = self.room.0.as_mut_ptr().cast();
        for index in 0..self.len {
            // SAFETY: the element is there, by the invariant, and nobody reads it again.
            unsafe { values.add(index).drop_in_place() };
        }
    }
}
