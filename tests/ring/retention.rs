//! Rings that drop a value once every reader has passed it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use fanfeed::{Feed, RingFeed, Subscription, SubscriptionScope, TryRecvError, ring};

use crate::common::{Counted, Tally, join, watchdog};

/// Runs it with a ring of either kind that drops what was read.
macro_rules! with_each_dropping_sender {
    ($capacity:expr, |$ring:ident| $body:block) => {{
        let options = RingFeed::builder($capacity).drop_when_read(true);
        {
            #[allow(unused_mut)]
            let mut $ring = options.clone().build_exclusive().unwrap();
            $body
        }
        {
            #[allow(unused_mut)]
            let mut $ring = options.build().unwrap();
            $body
        }
    }};
}

/// Reads so many values, by as many drains as that takes.
fn read_all(reader: &mut ring::Receiver<Counted>, count: usize) {
    let mut taken = 0;
    while taken < count {
        taken += reader.drain(|_| {}).unwrap();
    }
    assert_eq!(taken, count);
}

#[test]
fn a_value_is_dropped_when_its_last_reader_has_passed_it() {
    for capacity in [1, 2, 8, 64] {
        let tally = Tally::new();
        with_each_dropping_sender!(capacity, |ring| {
            let mut readers = [(); 3].map(|()| ring.subscribe());
            for lap in 0..5 {
                for number in 0..capacity as u64 {
                    ring.send(tally.value(lap * capacity as u64 + number));
                }
                assert_eq!(tally.live(), capacity as i64);
                let [one, two, three] = &mut readers;
                read_all(one, capacity);
                read_all(two, capacity);
                assert_eq!(tally.live(), capacity as i64);
                for left in (0..capacity).rev() {
                    assert_eq!(three.drain_up_to(1, |_| {}), Ok(1));
                    assert_eq!(tally.live(), left as i64);
                }
            }
            drop(readers);
        });
    }
}

#[test]
fn a_value_that_no_reader_will_read_is_dropped_at_once() {
    let tally = Tally::new();
    with_each_dropping_sender!(8, |ring| {
        // No reader at all.
        for number in 0..20 {
            ring.send(tally.value(number));
            assert_eq!(tally.live(), 0);
        }
        ring.send_batch((0..20).map(|number| tally.value(number)));
        assert_eq!(tally.live(), 0);
        // The only reader goes, in one way or another.
        let reader = ring.subscribe();
        ring.send(tally.value(0));
        assert_eq!(tally.live(), 1);
        drop(reader);
        assert_eq!(tally.live(), 0);
        let reader = ring.subscribe();
        ring.send(tally.value(0));
        reader.subscription().unsubscribe();
        assert_eq!(tally.live(), 0);
        // Those that stay have read it.
        let (mut stays, goes) = (ring.subscribe(), ring.subscribe());
        ring.send(tally.value(0));
        assert_eq!(stays.drain(|_| {}), Ok(1));
        assert_eq!(tally.live(), 1);
        drop(goes);
        assert_eq!(tally.live(), 0);
        // A late reader finds what others have not read.
        ring.send_batch((0..4).map(|number| tally.value(number)));
        assert_eq!(stays.drain_up_to(3, |_| {}), Ok(3));
        let mut late = ring.subscriber().history(8).subscribe();
        assert_eq!(late.drain(|value| assert_eq!(value.number, 3)), Ok(1));
        assert_eq!(tally.live(), 1);
        // Closing leaves what is still to be read.
        ring.close();
        assert_eq!(tally.live(), 1);
        assert_eq!(stays.drain(|_| {}), Ok(1));
        assert_eq!(tally.live(), 0);
    });
}

#[test]
fn a_lossy_reader_keeps_values_until_it_has_read_or_missed_them() {
    let tally = Tally::new();
    with_each_dropping_sender!(16, |ring| {
        let mut strict = ring.subscribe();
        let options = ring.subscriber().overflow(ring::Overflow::DropOldest);
        let mut lossy = options.subscribe();
        for number in 0..16 {
            ring.send(tally.value(number));
        }
        read_all(&mut strict, 16);
        assert_eq!(tally.live(), 16);
        assert_eq!(lossy.drain_up_to(5, |_| {}), Ok(5));
        assert_eq!(tally.live(), 11);
        // It is overtaken while it reads, and keeps its eighth.
        let read = lossy.drain_up_to(1, |value| {
            for number in 16..40 {
                ring.send(tally.value(number));
                assert_eq!(strict.drain(|_| {}), Ok(1));
            }
            assert_eq!(value.number, 5);
            assert_eq!(tally.live(), 1);
        });
        assert_eq!(read, Ok(1));
        assert_eq!(tally.live(), 0);
        assert_eq!(lossy.drain(|_| {}), Err(TryRecvError::Lagged(34)));
        // It is overtaken while it does not read.
        for number in 0..18 {
            ring.send(tally.value(number));
            assert_eq!(strict.drain(|_| {}), Ok(1));
        }
        assert_eq!(tally.live(), 16);
        drop(lossy);
        assert_eq!(tally.live(), 0);
    });
}

/// Says whether another subscription had been told to end when it was dropped.
struct Late(Subscription, Arc<AtomicUsize>);

impl Drop for Late {
    fn drop(&mut self) {
        let number = if self.0.is_closed() { 1 } else { 100 };
        self.1.fetch_add(number, Ordering::SeqCst);
    }
}

#[test]
fn a_scope_tells_all_its_members_to_end_before_it_drops_what_one_has_not_read() {
    with_each_dropping_sender!(8, |ring| {
        let dropped = Arc::new(AtomicUsize::new(0));
        let scope = SubscriptionScope::new();
        let (reader, subscription) = ring.subscribe().split();
        let feed = Feed::<u32>::new();
        scope.track(subscription).unwrap().detach();
        // Told after the reader, because it was made later.
        let other = scope.track(feed.subscribe_fn(|_| {})).unwrap();
        ring.send(Late(other, Arc::clone(&dropped)));
        scope.close();
        assert_eq!(dropped.load(Ordering::SeqCst), 1);
        drop(reader);
    });
}

#[test]
fn in_a_delivery_an_unsubscribe_leaves_the_drops_to_its_end() {
    with_each_dropping_sender!(8, |ring| {
        let tally = Tally::new();
        let (reader, subscription) = ring.subscribe().split();
        ring.send_batch((0..3).map(|number| tally.value(number)));
        let feed = Feed::<u32>::new();
        let closure = {
            let tally = Arc::clone(&tally);
            feed.subscribe_fn(move |_| {
                subscription.unsubscribe();
                assert_eq!(tally.live(), 3);
            })
        };
        feed.send(1);
        assert_eq!(tally.live(), 0);
        drop((reader, closure));
    });
}

#[test]
fn readers_and_senders_that_race_drop_everything_that_was_read() {
    let _watchdog = watchdog();
    for (capacity, round) in [1, 4, 64]
        .into_iter()
        .flat_map(|capacity| (0..5).map(move |round| (capacity, round)))
    {
        let tally = Tally::new();
        let ring = RingFeed::builder(capacity)
            .drop_when_read(true)
            .build()
            .unwrap();
        let readers: Vec<_> = (0..3)
            .map(|reader| {
                let overflow = if reader == 2 && round % 2 == 1 {
                    ring::Overflow::DropOldest
                } else {
                    ring::Overflow::Block
                };
                let mut reader = ring.subscriber().overflow(overflow).subscribe();
                thread::spawn(move || {
                    while reader.wait().is_ok() {
                        let _ = reader.drain(|value: &Counted| assert!(value.number < 2000));
                    }
                    reader
                })
            })
            .collect();
        let senders: Vec<_> = (0..2)
            .map(|_| {
                let (ring, tally) = (ring.clone(), tally.clone());
                thread::spawn(move || {
                    for number in 0..1000 {
                        ring.send(tally.value(number));
                        if number % 100 == 0 {
                            drop(ring.subscribe());
                        }
                    }
                })
            })
            .collect();
        senders.into_iter().for_each(join);
        ring.close();
        // They have read everything, and hold no value though they, and the ring, are left.
        let readers: Vec<_> = readers.into_iter().map(join).collect();
        assert_eq!(tally.live(), 0);
        drop((readers, ring));
    }
}
