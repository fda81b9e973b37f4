//! Panics of values: when they are cloned, and when they are dropped.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use fanfeed::{Feed, Overflow, RingFeed, TryRecvError, Undelivered, ring};

use crate::common::{Counted, PATIENCE, Tally};
use crate::crowd::{Crowd, verbs};
use crate::panic_of;

// ---- Clones ----

#[test]
fn a_clone_that_panics_is_missed_by_one_whatever_the_verb() {
    for (verb, send) in verbs() {
        for bad in 0..Crowd::CLONES as u64 {
            let tally = Tally::new();
            let feed = Feed::new();
            let mut crowd = Crowd::new(&feed);
            send(&feed, tally.value(0));
            tally.panic_after(bad);
            let message = panic_of(|| send(&feed, tally.value(1)));
            assert_eq!(message, "a clone that panics", "{verb}");
            send(&feed, tally.value(2));
            let got = crowd.take();
            let missing = got.iter().filter(|got| **got == [0, 2]).count();
            let complete = got.iter().filter(|got| **got == [0, 1, 2]).count();
            assert_eq!((missing, complete), (1, Crowd::CLONES), "{verb}: {got:?}");
            assert_eq!(
                got.last().unwrap(),
                &[0, 1, 2],
                "the closure needs no clone"
            );
            crowd.assert_open();
            drop((feed, crowd));
            assert_eq!(tally.live(), 0, "{verb}");
        }
    }
}

/// A way to offer a value once more.
type Retry = fn(Undelivered<Counted>) -> Result<usize, Undelivered<Counted>>;

const RETRIES: [Retry; 3] = [
    Undelivered::retry,
    |undelivered| undelivered.retry_timeout(PATIENCE),
    |undelivered| undelivered.retry_deadline(std::time::Instant::now() + PATIENCE),
];

#[test]
fn a_clone_that_panics_in_a_retry_is_missed_by_one_of_those_it_is_for() {
    for retry in RETRIES {
        for bad in [0, 1] {
            let tally = Tally::new();
            let feed = Feed::new();
            let mut full: Vec<_> = (0..3).map(|_| feed.channel(1).unwrap()).collect();
            feed.send(tally.value(0));
            let undelivered = feed.try_send(tally.value(1)).unwrap_err();
            for receiver in &mut full {
                assert_eq!(receiver.try_recv().unwrap().number, 0);
            }
            // One clone came back from those that were full, the original is the last one's.
            tally.panic_after(bad);
            if bad == 0 {
                assert_eq!(panic_of(|| retry(undelivered)), "a clone that panics");
            } else {
                let _ = retry(undelivered);
            }
            let got = full.iter_mut().map(|receiver| receiver.try_iter().count());
            assert_eq!(got.sum::<usize>(), if bad == 0 { 2 } else { 3 });
            tally.panic_after(u64::MAX - 1);
            assert_eq!(feed.send(tally.value(2)), 3);
            drop(full);
            assert_eq!(tally.live(), 0);
        }
    }
}

/// A way to take a clone of a ring's next value.
type Receive = fn(&mut ring::Receiver<Counted>) -> Option<Counted>;

#[test]
fn a_clone_that_panics_has_been_read_however_it_is_received() {
    let receives: &[Receive] = &[
        |reader| reader.try_recv().ok(),
        |reader| reader.recv().ok(),
        |reader| reader.recv_timeout(PATIENCE).ok(),
        |reader| {
            reader
                .recv_deadline(std::time::Instant::now() + PATIENCE)
                .ok()
        },
        |reader| reader.iter().next(),
        |reader| reader.try_iter().next(),
        #[cfg(feature = "async")]
        |reader| futures_util::FutureExt::now_or_never(reader.recv_async())?.ok(),
        #[cfg(feature = "async")]
        |reader| futures_util::FutureExt::now_or_never(futures_util::StreamExt::next(reader))?,
    ];
    for receive in receives {
        let tally = Tally::new();
        let ring = RingFeed::new(4).unwrap();
        let (mut reader, mut other) = (ring.subscribe(), ring.subscribe());
        ring.send_batch((0..4).map(|number| tally.value(number)));
        tally.panic_after(1);
        assert_eq!(receive(&mut reader).unwrap().number, 0);
        assert_eq!(panic_of(|| receive(&mut reader)), "a clone that panics");
        assert_eq!(receive(&mut reader).unwrap().number, 2);
        // What it has read is free, and nobody else is concerned.
        assert_eq!((reader.lag(), other.drain(|_| {})), (1, Ok(4)));
        ring.try_send(tally.value(4)).unwrap();
        drop((ring, reader, other));
        assert_eq!(tally.live(), 0);
    }
}

// ---- Drops ----

#[test]
fn a_drop_that_panics_when_pushed_out_goes_on_once_everybody_is_served() {
    for (verb, send) in verbs() {
        let tally = Tally::new();
        let feed = Feed::new();
        let latest = |feed: &Feed<Counted>| {
            let builder = feed.subscriber().capacity(1);
            builder.overflow(Overflow::DropOldest).channel().unwrap()
        };
        let mut first = latest(&feed);
        let mut crowd = Crowd::new(&feed);
        let mut last = latest(&feed);
        send(&feed, tally.value(0));
        // One of the two copies of 0 that are pushed out.
        tally.panic_at_drop_of(0);
        assert_eq!(panic_of(|| send(&feed, tally.value(1))), "the drop of 0");
        assert!(crowd.take().iter().all(|got| *got == [0, 1]), "{verb}");
        for receiver in [&mut first, &mut last] {
            assert_eq!(receiver.try_recv().unwrap_err(), TryRecvError::Lagged(1));
            assert_eq!(receiver.try_recv().unwrap().number, 1, "{verb}");
            assert!(!receiver.is_closed(), "{verb}");
            assert_eq!(
                (receiver.stats().delivered, receiver.stats().dropped),
                (1, 1)
            );
        }
        send(&feed, tally.value(2));
        assert!(crowd.take().iter().all(|got| *got == [2]), "{verb}");
        crowd.assert_open();
        drop((feed, crowd, first, last));
        assert_eq!(tally.live(), 0, "{verb}");
    }
}

#[test]
fn a_receiver_that_waits_is_woken_though_what_its_value_pushed_out_panics() {
    let _watchdog = crate::common::watchdog();
    let tally = Tally::new();
    let feed = Feed::<Counted>::new();
    let builder = feed.subscriber().capacity(1);
    let mut receiver = builder.overflow(Overflow::DropOldest).channel().unwrap();
    let waiting = std::thread::spawn(move || {
        // Until the last value: whatever is pushed out meanwhile is told of.
        let mut next = 0;
        loop {
            match receiver.recv() {
                Ok(value) => {
                    assert_eq!(value.number, next);
                    if next == 100 {
                        return receiver.missed();
                    }
                    next += 1;
                    // It may be this one, and not one that is pushed out, whose drop is to panic.
                    drop(catch_unwind(AssertUnwindSafe(|| drop(value))));
                }
                Err(fanfeed::RecvError::Lagged(missed)) => next += missed,
                Err(error) => panic!("{error:?}"),
            }
        }
    });
    for number in 0..=100 {
        tally.panic_at_drop_of(number.max(1) - 1);
        let send = || feed.send(tally.value(number));
        let _ = catch_unwind(AssertUnwindSafe(send));
    }
    tally.panic_at_drop_of(u64::MAX - 1);
    assert!(crate::common::join(waiting) <= 100);
    assert_eq!(tally.live(), 0);
}

#[test]
fn a_value_without_subscribers_panics_on_the_thread_that_sent_it() {
    for (verb, send) in verbs() {
        let tally = Tally::new();
        let feed = Feed::new();
        tally.panic_at_drop_of(0);
        assert_eq!(panic_of(|| send(&feed, tally.value(0))), "the drop of 0");
        let mut crowd = Crowd::new(&feed);
        send(&feed, tally.value(1));
        assert!(crowd.take().iter().all(|got| *got == [1]), "{verb}");
        feed.close();
        tally.panic_at_drop_of(2);
        assert_eq!(panic_of(|| send(&feed, tally.value(2))), "the drop of 2");
        drop(crowd);
        assert_eq!(tally.live(), 0, "{verb}");
    }
}

#[test]
fn a_value_that_a_full_subscriber_misses_panics_once_all_subscribers_are_served() {
    for (verb, send) in verbs() {
        let tally = Tally::new();
        let feed = Feed::new();
        let mut crowd = Crowd::new(&feed);
        // Served last but for the closure, so that the original comes back from it.
        let builder = feed.subscriber().capacity(1);
        let full = builder.overflow(Overflow::DropNewest).channel().unwrap();
        send(&feed, tally.value(0));
        crowd.take();
        tally.panic_at_drop_of(1);
        assert_eq!(panic_of(|| send(&feed, tally.value(1))), "the drop of 1");
        assert!(crowd.take().iter().all(|got| *got == [1]), "{verb}");
        assert_eq!((full.len(), full.stats().dropped), (1, 1), "{verb}");
        assert!(!full.is_closed());
        drop((feed, crowd, full));
        assert_eq!(tally.live(), 0, "{verb}");
    }
}

#[test]
fn what_is_undelivered_and_given_up_panics_where_it_is_dropped() {
    let tally = Tally::new();
    let feed = Feed::new();
    let mut full = feed.channel(1).unwrap();
    feed.send(tally.value(0));
    let undelivered = feed.try_send(tally.value(1)).unwrap_err();
    tally.panic_at_drop_of(1);
    assert_eq!(panic_of(|| drop(undelivered)), "the drop of 1");
    assert_eq!(full.stats().dropped, 1);
    let undelivered = feed
        .send_timeout(tally.value(2), Duration::ZERO)
        .unwrap_err();
    full.subscription().unsubscribe();
    tally.panic_at_drop_of(2);
    // Nobody is left to get it.
    assert_eq!(panic_of(|| undelivered.retry()), "the drop of 2");
    assert_eq!(full.try_recv().unwrap().number, 0);
    drop(full);
    assert_eq!(tally.live(), 0);
}

#[test]
fn a_drop_that_panics_with_its_receiver_ends_the_subscription_all_the_same() {
    let tally = Tally::new();
    let feed = Feed::new();
    let receiver = feed.channel(8).unwrap();
    let mut other = feed.channel(8).unwrap();
    for number in 0..4 {
        feed.send(tally.value(number));
    }
    tally.panic_at_drop_of(1);
    assert_eq!(panic_of(|| drop(receiver)), "the drop of 1");
    assert_eq!((feed.subscriber_count(), feed.send(tally.value(4))), (1, 1));
    assert!(other.try_iter().map(|value| value.number).eq(0..5));
    assert_eq!(tally.live(), 0);
}
