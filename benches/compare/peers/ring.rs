//! `RingFeed`: both senders, and readers of each way to wait.

use std::ops::Range;

use fanfeed::{ExclusiveRingFeed, RingFeed, TryRecvError, ring};

use crate::link::{CAPACITY, OneByOne, Reads, Receives, Sends, SendsBatches};
use crate::payload::Payload;

/// A sender of its own type with n readers that are polled.
pub(crate) fn exclusive<T: Payload>(n: usize) -> (ExclusiveRingFeed<T>, Polled<T>) {
    let ring = ExclusiveRingFeed::new(CAPACITY).expect("a fair capacity");
    let readers = (0..n)
        .map(|_| {
            ring.subscriber()
                .wait_strategy(ring::WaitStrategy::Spin)
                .subscribe()
        })
        .collect();
    (ring, Polled(readers))
}

/// A sender of its own type with n readers, the first of which waits so before all are looked at.
pub(crate) fn exclusive_waiting<T: Payload>(
    n: usize,
    waiting: ring::WaitStrategy,
) -> (ExclusiveRingFeed<T>, Waited<T>) {
    let ring = ExclusiveRingFeed::new(CAPACITY).expect("a fair capacity");
    let readers = (0..n)
        .map(|_| ring.subscriber().wait_strategy(waiting).subscribe())
        .collect();
    (ring, Waited(Polled(readers)))
}

/// A shared sender with n readers that are polled.
pub(crate) fn shared<T: Payload>(n: usize) -> (RingFeed<T>, Polled<T>) {
    let ring = RingFeed::new(CAPACITY).expect("a fair capacity");
    let readers = (0..n)
        .map(|_| {
            ring.subscriber()
                .wait_strategy(ring::WaitStrategy::Spin)
                .subscribe()
        })
        .collect();
    (ring, Polled(readers))
}

/// A shared sender with n readers, the first of which waits so before all are looked at.
pub(crate) fn shared_waiting<T: Payload>(
    n: usize,
    waiting: ring::WaitStrategy,
) -> (RingFeed<T>, Waited<T>) {
    let ring = RingFeed::new(CAPACITY).expect("a fair capacity");
    let readers = (0..n)
        .map(|_| ring.subscriber().wait_strategy(waiting).subscribe())
        .collect();
    (ring, Waited(Polled(readers)))
}

/// A sender of its own type, and three readers of which each follows the one before.
pub(crate) fn pipeline() -> (ExclusiveRingFeed<u64>, Polled<u64>) {
    stages(&[&[], &[0], &[1]])
}

/// A sender of its own type, a reader, two that follow it, and one that follows both.
pub(crate) fn diamond() -> (ExclusiveRingFeed<u64>, Polled<u64>) {
    stages(&[&[], &[0], &[0], &[1, 2]])
}

/// Readers that follow those with these indices.
fn stages(leaders: &[&[usize]]) -> (ExclusiveRingFeed<u64>, Polled<u64>) {
    let ring = ExclusiveRingFeed::new(CAPACITY).expect("a fair capacity");
    let mut readers: Vec<ring::Receiver<u64>> = Vec::new();
    for leaders in leaders {
        let leaders: Vec<_> = leaders
            .iter()
            .map(|index| readers[*index].cursor())
            .collect();
        let builder = ring
            .subscriber()
            .wait_strategy(ring::WaitStrategy::Spin)
            .after(&leaders);
        readers.push(builder.expect("readers of this ring").subscribe());
    }
    (ring, Polled(readers))
}

/// A sender of its own type with one reader, which blocks in `recv`.
pub(crate) fn exclusive_parked<T: Payload>() -> (ExclusiveRingFeed<T>, OneByOne<ring::Receiver<T>>)
{
    let ring = ExclusiveRingFeed::new(CAPACITY).expect("a fair capacity");
    let reader = ring.subscribe();
    (ring, OneByOne(reader))
}

/// A shared sender with one reader, which blocks in `recv`.
pub(crate) fn shared_parked<T: Payload>() -> (RingFeed<T>, OneByOne<ring::Receiver<T>>) {
    let ring = RingFeed::new(CAPACITY).expect("a fair capacity");
    let reader = ring.subscribe();
    (ring, OneByOne(reader))
}

/// A sender of its own type that tries again and again while the ring is full, with n readers that
/// are polled.
pub(crate) fn exclusive_spinning<T: Payload>(n: usize) -> (Spinning<T>, Polled<T>) {
    let (ring, readers) = exclusive(n);
    (Spinning(ring), readers)
}

/// An exclusive sender with n readers that lose the oldest values, and are polled.
pub(crate) fn lossy<T: Payload>(n: usize) -> (ExclusiveRingFeed<T>, Polled<T>) {
    let ring = ExclusiveRingFeed::new(CAPACITY).expect("a fair capacity");
    let readers = (0..n)
        .map(|_| {
            ring.subscriber()
                .overflow(ring::Overflow::DropOldest)
                .wait_strategy(ring::WaitStrategy::Spin)
                .subscribe()
        })
        .collect();
    (ring, Polled(readers))
}

/// As `lossy`, but the first reader parks when nobody has found anything.
pub(crate) fn lossy_parking<T: Payload>(n: usize) -> (ExclusiveRingFeed<T>, Parked<T>) {
    let ring = ExclusiveRingFeed::new(CAPACITY).expect("a fair capacity");
    let readers = (0..n)
        .map(|_| {
            ring.subscriber()
                .overflow(ring::Overflow::DropOldest)
                .wait_strategy(ring::WaitStrategy::Park)
                .subscribe()
        })
        .collect();
    (ring, Parked(Polled(readers)))
}

impl<T: Payload> Sends<T> for ExclusiveRingFeed<T> {
    #[inline]
    fn put(&mut self, value: T) {
        self.send(value);
    }
}

impl<T: Payload> Sends<T> for RingFeed<T> {
    #[inline]
    fn put(&mut self, value: T) {
        self.send(value);
    }
}

impl SendsBatches for ExclusiveRingFeed<u64> {
    #[inline]
    fn put_all(&mut self, numbers: Range<u64>) {
        self.send_batch(numbers);
    }
}

/// A sender that tries again until there is room.
pub(crate) struct Spinning<T>(ExclusiveRingFeed<T>);

impl<T: Payload> Sends<T> for Spinning<T> {
    #[inline]
    fn put(&mut self, value: T) {
        let mut unsent = value;
        while let Err(refused) = self.0.try_send(unsent) {
            unsent = refused.into_inner();
            std::hint::spin_loop();
        }
    }
}

impl<T: Payload> Receives<T> for ring::Receiver<T> {
    #[inline]
    fn receive(&mut self) -> T {
        self.recv().expect("the ring is open")
    }
}

/// Readers that are looked at in turn.
pub(crate) struct Polled<T>(Vec<ring::Receiver<T>>);

impl<T: Payload> Reads<T> for Polled<T> {
    fn readers(&self) -> usize {
        self.0.len()
    }

    #[inline]
    fn take(&mut self, reader: usize, each: impl FnMut(&T)) -> u64 {
        match self.0[reader].drain(each) {
            Ok(_) | Err(TryRecvError::Empty) => 0,
            Err(TryRecvError::Lagged(missed)) => missed,
            Err(ended) => panic!("the ring is open, and yet: {ended}"),
        }
    }
}

/// Readers of which the first waits in its way before all are drained, as in a loop of `wait` and
/// `drain`.
pub(crate) struct Waited<T>(Polled<T>);

impl<T: Payload> Reads<T> for Waited<T> {
    fn readers(&self) -> usize {
        self.0.readers()
    }

    #[inline]
    fn wait(&mut self, _: bool) {
        self.0.0[0].wait().expect("the ring is open");
    }

    #[inline]
    fn take(&mut self, reader: usize, each: impl FnMut(&T)) -> u64 {
        self.0.take(reader, each)
    }
}

/// Readers that lose values: the first waits only when nobody has found anything, for it may have
/// the last value already when another has just learnt what it missed.
pub(crate) struct Parked<T>(Polled<T>);

impl<T: Payload> Reads<T> for Parked<T> {
    fn readers(&self) -> usize {
        self.0.readers()
    }

    #[inline]
    fn wait(&mut self, found: bool) {
        if !found {
            self.0.0[0].wait().expect("the ring is open");
        }
    }

    #[inline]
    fn take(&mut self, reader: usize, each: impl FnMut(&T)) -> u64 {
        self.0.take(reader, each)
    }
}
