//! disruptor: its README recommends publishing in batches if possible, `EventPoller`s for threads
//! of the application ("both have comparable performance"), and busy spinning for the lowest
//! latency. Values are published with `publish`, which spins while the ring is full.

use std::ops::Range;

use disruptor::{
    BusySpin, EventPoller, MultiConsumerBarrier, MultiProducerBarrier, Producer,
    SingleConsumerBarrier, SingleProducerBarrier, build_multi_producer, build_single_producer,
};

use crate::field::Probe;
use crate::link::{CAPACITY, Reads, Sends, SendsBatches};
use crate::payload::Payload;

/// Pollers on a ring with one producer.
pub(crate) type SinglePollers<T> = Pollers<T, SingleProducerBarrier>;
/// Pollers on a ring with several producers.
pub(crate) type MultiPollers<T> = Pollers<T, MultiProducerBarrier>;

/// One builder after the other: its type changes with the first and the second reader, and so does
/// the producer's.
macro_rules! connect {
    ($build:ident, $n:expr, $probe:expr) => {{
        let builder = $build(CAPACITY, || T::numbered(0), BusySpin);
        let (first, builder) = builder.new_event_poller();
        if $n == 1 {
            $probe.take((Publisher(builder.build()), Pollers(vec![first])))
        } else {
            let (second, mut builder) = builder.new_event_poller();
            let mut pollers = vec![first, second];
            for _ in 2..$n {
                let (poller, further) = builder.new_event_poller();
                pollers.push(poller);
                builder = further;
            }
            $probe.take((Publisher(builder.build()), Pollers(pollers)))
        }
    }};
}

/// One producer and n pollers.
pub(crate) fn single<T: Payload, P: Probe<T>>(n: usize, probe: P) -> P::Taken {
    connect!(build_single_producer, n, probe)
}

/// A producer of possibly several, and n pollers.
pub(crate) fn multi<T: Payload, P: Probe<T>>(n: usize, probe: P) -> P::Taken {
    connect!(build_multi_producer, n, probe)
}

/// One producer and one poller, for batches.
pub(crate) fn single_in_batches() -> (impl SendsBatches, SinglePollers<u64>) {
    let builder = build_single_producer(CAPACITY, || 0, BusySpin);
    let (poller, builder) = builder.new_event_poller();
    (Publisher(builder.build()), Pollers(vec![poller]))
}

/// A producer that can be cloned, and one poller.
pub(crate) fn multi_cloneable() -> (impl Sends<u64> + Clone, MultiPollers<u64>) {
    let builder = build_multi_producer(CAPACITY, || 0, BusySpin);
    let (poller, builder) = builder.new_event_poller();
    (Publisher(builder.build()), Pollers(vec![poller]))
}

/// One producer, and three pollers of which each follows the one before.
pub(crate) fn pipeline<P: Probe<u64>>(probe: P) -> P::Taken {
    let builder = build_single_producer(CAPACITY, || 0, BusySpin);
    let (first, builder) = builder.new_event_poller();
    let (second, builder) = builder.and_then().new_event_poller();
    let (third, builder) = builder.and_then().new_event_poller();
    let stages = Stages {
        first,
        middle: vec![second, third],
        last: None,
    };
    probe.take((Publisher(builder.build()), stages))
}

/// One producer, a poller, two that follow it, and one that follows both.
pub(crate) fn diamond<P: Probe<u64>>(probe: P) -> P::Taken {
    let builder = build_single_producer(CAPACITY, || 0, BusySpin);
    let (first, builder) = builder.new_event_poller();
    let (left, builder) = builder.and_then().new_event_poller();
    let (right, builder) = builder.new_event_poller();
    let (last, builder) = builder.and_then().new_event_poller();
    let stages = Stages {
        first,
        middle: vec![left, right],
        last: Some(last),
    };
    probe.take((Publisher(builder.build()), stages))
}

/// A producer of either kind.
#[derive(Clone)]
pub(crate) struct Publisher<P>(pub(crate) P);

impl<T: Payload, P: Producer<T> + Send + 'static> Sends<T> for Publisher<P> {
    #[inline]
    fn put(&mut self, value: T) {
        self.0.publish(|slot| *slot = value);
    }
}

impl<P: Producer<u64> + Send + 'static> SendsBatches for Publisher<P> {
    #[inline]
    fn put_all(&mut self, numbers: Range<u64>) {
        let count = (numbers.end - numbers.start) as usize;
        self.0.batch_publish(count, |slots| {
            for (slot, number) in slots.zip(numbers) {
                *slot = number;
            }
        });
    }
}

/// Pollers that are looked at in turn.
pub(crate) struct Pollers<T, B>(Vec<EventPoller<T, B>>);

/// What there is for one poller. A macro, for the trait that all barriers have cannot be named
/// outside of their crate.
macro_rules! poll {
    ($poller:expr, $each:expr) => {
        if let Ok(mut events) = $poller.poll() {
            (&mut events).for_each($each);
        }
    };
}

impl<T: Payload> Reads<T> for SinglePollers<T> {
    fn readers(&self) -> usize {
        self.0.len()
    }

    #[inline]
    fn take(&mut self, reader: usize, each: impl FnMut(&T)) -> u64 {
        poll!(self.0[reader], each);
        0
    }
}

impl<T: Payload> Reads<T> for MultiPollers<T> {
    fn readers(&self) -> usize {
        self.0.len()
    }

    #[inline]
    fn take(&mut self, reader: usize, each: impl FnMut(&T)) -> u64 {
        poll!(self.0[reader], each);
        0
    }
}

/// Pollers that follow one another, looked at from the first to the last.
pub(crate) struct Stages {
    first: EventPoller<u64, SingleProducerBarrier>,
    middle: Vec<EventPoller<u64, SingleConsumerBarrier>>,
    last: Option<EventPoller<u64, MultiConsumerBarrier>>,
}

impl Reads<u64> for Stages {
    fn readers(&self) -> usize {
        1 + self.middle.len() + usize::from(self.last.is_some())
    }

    #[inline]
    fn take(&mut self, reader: usize, each: impl FnMut(&u64)) -> u64 {
        if reader == 0 {
            poll!(self.first, each);
        } else if let Some(poller) = self.middle.get_mut(reader - 1) {
            poll!(poller, each);
        } else if let Some(poller) = &mut self.last {
            poll!(poller, each);
        }
        0
    }
}
