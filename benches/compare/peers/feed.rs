//! `Feed`, over its own channels and over crossbeam's.

use std::ops::Range;

use fanfeed::{Feed, Overflow, Receiver, Subscription, TryRecvError};

use super::channels::{Channel, Parked, Polled};
use super::crossbeam::Crossbeam;
use crate::link::{CAPACITY, OneByOne, Reads, Receives, Sends, SendsBatches};
use crate::payload::Payload;

/// A feed with n channels of its own, which are polled.
pub(crate) fn own_channels<T: Payload>(n: usize) -> (Feed<T>, Drained<T>) {
    let feed = Feed::new();
    let receivers = (0..n)
        .map(|_| feed.channel(CAPACITY).expect("a fair capacity"))
        .collect();
    (feed, Drained(receivers))
}

/// A feed with one channel of its own, whose reader blocks in `recv`.
pub(crate) fn own_channel_parked<T: Payload>() -> (Feed<T>, OneByOne<Receiver<T>>) {
    let feed = Feed::new();
    let receiver = feed.channel(CAPACITY).expect("a fair capacity");
    (feed, OneByOne(receiver))
}

/// The same, whose reader blocks in `recv`, and then drains what else there is.
pub(crate) fn own_channel_draining<T: Payload>() -> (Feed<T>, Draining<T>) {
    let (feed, OneByOne(receiver)) = own_channel_parked();
    (feed, Draining(receiver))
}

/// A feed over one crossbeam channel, whose reader blocks in `recv`.
pub(crate) fn over_crossbeam_parked<T: Payload>()
-> (OverCrossbeam<T>, OneByOne<Parked<Crossbeam, T>>) {
    let feed = Feed::new();
    let (sender, receiver) = Crossbeam::open(CAPACITY);
    let sender = OverCrossbeam {
        _subscriptions: vec![feed.subscribe(sender)],
        feed,
    };
    (sender, OneByOne(Parked(receiver)))
}

/// A feed with n channels of its own that lose the oldest value.
pub(crate) fn lossy<T: Payload>(n: usize) -> (Feed<T>, Drained<T>) {
    let feed = Feed::new();
    let receivers = (0..n)
        .map(|_| {
            feed.subscriber()
                .capacity(CAPACITY)
                .overflow(Overflow::DropOldest)
                .channel()
                .expect("a fair capacity")
        })
        .collect();
    (feed, Drained(receivers))
}

/// A feed over n crossbeam channels, which are polled.
pub(crate) fn over_crossbeam<T: Payload>(n: usize) -> (OverCrossbeam<T>, Polled<Crossbeam, T>) {
    let feed = Feed::new();
    let (subscriptions, receivers) = (0..n)
        .map(|_| {
            let (sender, receiver) = Crossbeam::open(CAPACITY);
            (feed.subscribe(sender), receiver)
        })
        .unzip();
    let sender = OverCrossbeam {
        feed,
        _subscriptions: subscriptions,
    };
    (sender, Polled::over(receivers))
}

impl<T: Payload> Sends<T> for Feed<T> {
    #[inline]
    fn put(&mut self, value: T) {
        self.send(value);
    }
}

impl SendsBatches for Feed<u64> {
    #[inline]
    fn put_all(&mut self, numbers: Range<u64>) {
        self.send_batch(numbers);
    }
}

/// A feed, and the handles that keep its channels subscribed.
pub(crate) struct OverCrossbeam<T> {
    feed: Feed<T>,
    _subscriptions: Vec<Subscription>,
}

impl<T: Payload> Sends<T> for OverCrossbeam<T> {
    #[inline]
    fn put(&mut self, value: T) {
        self.feed.send(value);
    }
}

/// Own channels that are looked at in turn.
pub(crate) struct Drained<T>(Vec<Receiver<T>>);

impl<T: Payload> Reads<T> for Drained<T> {
    fn readers(&self) -> usize {
        self.0.len()
    }

    #[inline]
    fn take(&mut self, reader: usize, mut each: impl FnMut(&T)) -> u64 {
        match self.0[reader].drain(CAPACITY, |value| each(&value)) {
            Err(TryRecvError::Lagged(missed)) => missed,
            _ => 0,
        }
    }
}

impl<T: Payload> Receives<T> for Receiver<T> {
    #[inline]
    fn receive(&mut self) -> T {
        self.recv().expect("the feed is open")
    }
}

/// An own channel whose reader blocks for a value, and then takes what else there is.
pub(crate) struct Draining<T>(Receiver<T>);

impl<T: Payload> Reads<T> for Draining<T> {
    fn readers(&self) -> usize {
        1
    }

    #[inline]
    fn take(&mut self, _: usize, mut each: impl FnMut(&T)) -> u64 {
        each(&self.0.recv().expect("the feed is open"));
        // There need not be more than one.
        let _ = self.0.drain(CAPACITY, |value| each(&value));
        0
    }
}
