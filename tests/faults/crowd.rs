//! One subscriber of each kind, and every way to send to them.

use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use fanfeed::{Feed, Overflow, Publish, Receiver, RingFeed, Subscription, ring};

use crate::common::Counted;

/// A way to send a value.
pub(crate) type Verb = (&'static str, fn(&Feed<Counted>, Counted));

const LONG: Duration = Duration::from_secs(3600);

pub(crate) fn verbs() -> Vec<Verb> {
    let verbs: &[Verb] = &[
        ("send", |feed, value| {
            feed.send(value);
        }),
        ("try_send", |feed, value| drop(feed.try_send(value))),
        ("send_timeout", |feed, value| {
            drop(feed.send_timeout(value, LONG));
        }),
        ("send_deadline", |feed, value| {
            drop(feed.send_deadline(value, Instant::now() + LONG));
        }),
        ("send_batch", |feed, value| {
            feed.send_batch([value]);
        }),
        ("Publish::send", |mut feed, value| {
            Publish::send(&mut feed, value);
        }),
        #[cfg(feature = "async")]
        ("send_async", |feed, value| {
            futures_util::FutureExt::now_or_never(feed.send_async(value)).expect("all have room");
        }),
    ];
    verbs.to_vec()
}

/// One subscriber of each kind, all with room for eight values.
pub(crate) struct Crowd {
    own: Vec<Receiver<Counted>>,
    crossbeam: crossbeam_channel::Receiver<Counted>,
    std: mpsc::Receiver<Counted>,
    ring: ring::Receiver<Counted>,
    called: Arc<Mutex<Vec<u64>>>,
    pub(crate) subscriptions: Vec<Subscription>,
}

impl Crowd {
    /// How many of them take a clone.
    pub(crate) const CLONES: usize = 7;

    pub(crate) fn new(feed: &Feed<Counted>) -> Self {
        let overflows = [
            Overflow::Block,
            Overflow::DropNewest,
            Overflow::DropOldest,
            Overflow::Disconnect,
        ];
        let own = overflows.map(|overflow| {
            let builder = feed.subscriber().capacity(8);
            builder.overflow(overflow).channel().unwrap()
        });
        let (sender, crossbeam) = crossbeam_channel::bounded(8);
        let (std_sender, std) = mpsc::sync_channel(8);
        let shared = RingFeed::new(8).unwrap();
        let ring = shared.subscribe();
        let called = Arc::<Mutex<Vec<u64>>>::default();
        let subscriptions = vec![
            feed.subscribe(sender),
            feed.subscribe(std_sender),
            feed.subscribe(shared),
            feed.subscribe_fn({
                let called = Arc::clone(&called);
                move |value: &Counted| called.lock().unwrap().push(value.number)
            }),
        ];
        Self {
            own: own.into(),
            crossbeam,
            std,
            ring,
            called,
            subscriptions,
        }
    }

    /// What each of them got since this was called last; the closure's comes last.
    pub(crate) fn take(&mut self) -> Vec<Vec<u64>> {
        let mut got: Vec<Vec<u64>> = self
            .own
            .iter_mut()
            .map(|receiver| receiver.try_iter().map(|value| value.number).collect())
            .collect();
        got.push(
            self.crossbeam
                .try_iter()
                .map(|value| value.number)
                .collect(),
        );
        got.push(self.std.try_iter().map(|value| value.number).collect());
        let mut read = Vec::new();
        while self.ring.drain(|value| read.push(value.number)).is_ok() {}
        got.push(read);
        got.push(std::mem::take(&mut *self.called.lock().unwrap()));
        got
    }

    /// None of them has ended.
    pub(crate) fn assert_open(&self) {
        assert!(self.own.iter().all(|receiver| !receiver.is_closed()));
        assert!(self.subscriptions.iter().all(|handle| !handle.is_closed()));
    }
}
