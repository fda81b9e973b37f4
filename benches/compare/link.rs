//! The common interface of all contenders: a sending end, and an end with n readers, drained by one
//! thread.

use std::ops::Range;
use std::time::{Duration, Instant};

/// Slots of every channel and ring here.
pub(crate) const CAPACITY: usize = 1024;
/// Values of a batch, where batches are sent.
pub(crate) const BATCH: u64 = 32;
/// For how long a reader that gathers leaves a running stream alone: what a ring's
/// `ring::WaitStrategy::Batch` gathers for.
pub(crate) const GATHERING: Duration = Duration::from_nanos(400);

/// The sending end.
pub(crate) trait Sends<T>: Send + 'static {
    /// Sends a value to all readers, and waits for room in the way its row says.
    fn put(&mut self, value: T);
}

/// A sending end with a verb of its own for batches.
pub(crate) trait SendsBatches: Send + 'static {
    /// Sends these numbers in one go.
    fn put_all(&mut self, numbers: Range<u64>);
}

/// The readers' end.
pub(crate) trait Reads<T>: Send + 'static {
    /// How many readers there are.
    fn readers(&self) -> usize;

    /// Waits before all readers are looked at once more, in the way its row says; `found` is
    /// whether there was anything the last time. Most look again at once.
    #[inline]
    fn wait(&mut self, found: bool) {
        let _ = found;
    }

    /// Hands what is there for one reader to `each`, and returns how many values it learnt to have
    /// missed *after* those. One that parks here does so only for its first value.
    fn take(&mut self, reader: usize, each: impl FnMut(&T)) -> u64;

    /// The same where `due` values are still to come for that reader, and so it may block for all
    /// of them.
    #[inline]
    fn take_due(&mut self, reader: usize, due: u64, each: impl FnMut(&T)) -> u64 {
        let _ = due;
        self.take(reader, each)
    }
}

/// A receiving end that blocks for each value.
pub(crate) trait Receives<T>: Send + 'static {
    /// Receives the next value, and waits for it in its own way.
    fn receive(&mut self) -> T;
}

/// One reader in a loop of `recv()`.
pub(crate) struct OneByOne<R>(pub(crate) R);

impl<T, R: Receives<T>> Reads<T> for OneByOne<R> {
    fn readers(&self) -> usize {
        1
    }

    #[inline]
    fn take(&mut self, _: usize, mut each: impl FnMut(&T)) -> u64 {
        each(&self.0.receive());
        0
    }

    #[inline]
    fn take_due(&mut self, _: usize, due: u64, mut each: impl FnMut(&T)) -> u64 {
        for _ in 0..due {
            each(&self.0.receive());
        }
        0
    }
}

/// Readers that, in a running stream, let values gather for [`GATHERING`] since they last found
/// some before they look again.
pub(crate) struct Gathering<R> {
    readers: R,
    looked: Instant,
}

impl<R> Gathering<R> {
    /// Has these readers gather.
    pub(crate) fn new(readers: R) -> Self {
        Self {
            readers,
            looked: Instant::now(),
        }
    }
}

impl<T, R: Reads<T>> Reads<T> for Gathering<R> {
    fn readers(&self) -> usize {
        self.readers.readers()
    }

    #[inline]
    fn wait(&mut self, found: bool) {
        if found {
            while self.looked.elapsed() < GATHERING {
                std::hint::spin_loop();
            }
            self.looked = Instant::now();
        }
    }

    #[inline]
    fn take(&mut self, reader: usize, each: impl FnMut(&T)) -> u64 {
        self.readers.take(reader, each)
    }
}
