//! Values that count themselves, and wakers that count their wakes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

/// How many [`Counted`] values of one origin are alive.
#[derive(Debug, Clone, Default)]
pub struct Population(Arc<AtomicUsize>);

impl Population {
    /// Makes a population without members.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a member.
    pub fn value<T>(&self, value: T) -> Counted<T> {
        // ORDERING: no other data depends on the number. A test reads it after a join or a wait of
        // its own.
        self.0.fetch_add(1, Ordering::Relaxed);
        Counted {
            value,
            population: self.clone(),
        }
    }

    /// How many members are alive.
    pub fn alive(&self) -> usize {
        // ORDERING: pairs with the release in `Counted::drop`, so that a thread that sees the lower
        // count also sees what the value's drop did.
        self.0.load(Ordering::Acquire)
    }
}

/// A value whose clones and drops are counted by its [`Population`].
#[derive(Debug)]
pub struct Counted<T> {
    value: T,
    population: Population,
}

impl<T> Counted<T> {
    /// The counted value.
    pub fn get(&self) -> &T {
        &self.value
    }
}

impl<T: Clone> Clone for Counted<T> {
    fn clone(&self) -> Self {
        self.population.value(self.value.clone())
    }
}

impl<T> Drop for Counted<T> {
    fn drop(&mut self) {
        // ORDERING: pairs with the acquire in `Population::alive`.
        self.population.0.fetch_sub(1, Ordering::Release);
    }
}

/// A waker that counts its wakes.
#[derive(Debug, Default)]
pub struct CountingWaker(AtomicUsize);

impl CountingWaker {
    /// Makes a counter, and a waker that increments it.
    pub fn pair() -> (Arc<CountingWaker>, Waker) {
        let counter = Arc::new(CountingWaker::default());
        let waker = Waker::from(Arc::clone(&counter));
        (counter, waker)
    }

    /// The number of wakes.
    pub fn wakes(&self) -> usize {
        // ORDERING: pairs with the release in `wake_by_ref`.
        self.0.load(Ordering::Acquire)
    }
}

impl Wake for CountingWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // ORDERING: pairs with the acquire in `wakes`.
        self.0.fetch_add(1, Ordering::Release);
    }
}
