//! Destructors of thread-local values, and threads that end.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;

use fanfeed::{Feed, Subscription};

use super::{Log, taken};
use crate::common::{PATIENCE, join, watchdog};

/// Sends when the thread that holds it ends.
struct Farewell {
    feed: Feed<u64>,
    value: u64,
}

impl Drop for Farewell {
    fn drop(&mut self) {
        assert!(self.feed.send(self.value) >= 1);
        let (tx, rx) = crossbeam_channel::bounded(2);
        let subscription = self.feed.subscribe(tx);
        assert!(self.feed.send(self.value) >= 2);
        subscription.unsubscribe();
        assert_eq!(rx.iter().collect::<Vec<_>>(), [self.value]);
    }
}

thread_local! {
    static FAREWELL: RefCell<Option<Farewell>> = const { RefCell::new(None) };
}

#[test]
fn destructors_of_thread_locals_may_send_and_unsubscribe() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let (tx, rx) = crossbeam_channel::unbounded();
    let subscription = feed.subscribe(tx);
    let called = Arc::new(AtomicUsize::new(0));
    let _closure = feed.subscribe_fn({
        let called = Arc::clone(&called);
        move |_| {
            called.fetch_add(1, Ordering::SeqCst);
        }
    });
    // The thread's first use of the feed comes before its destructor is registered, or after, or
    // there is none. Locals are destroyed in the reverse order, or in any order: either way around
    // it works.
    for round in 0..60 {
        let feed = feed.clone();
        let thread = thread::spawn(move || {
            if round % 3 == 0 {
                feed.send(round);
            }
            FAREWELL.with(|farewell| {
                *farewell.borrow_mut() = Some(Farewell {
                    feed: feed.clone(),
                    value: round,
                });
            });
            if round % 3 == 1 {
                feed.send(round);
            }
        });
        join(thread);
        let expected = if round % 3 == 2 { 2 } else { 3 };
        assert_eq!(rx.try_iter().collect::<Vec<_>>(), vec![round; expected]);
    }
    assert_eq!(subscription.stats().delivered, 160);
    assert_eq!(called.load(Ordering::SeqCst), 160);
}

#[test]
fn a_send_in_a_destructor_may_wait_for_room() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let mut own = feed.channel(1).unwrap();
    let (tx, zero) = crossbeam_channel::bounded(0);
    let _zero = feed.subscribe(tx);
    let thread = thread::spawn({
        let feed = feed.clone();
        move || {
            struct Last(Feed<u64>);
            impl Drop for Last {
                fn drop(&mut self) {
                    for value in 0..5 {
                        assert_eq!(self.0.send(value), 2);
                    }
                }
            }
            thread_local! {
                static LAST: RefCell<Option<Last>> = const { RefCell::new(None) };
            }
            LAST.with(|last| *last.borrow_mut() = Some(Last(feed)));
        }
    });
    for value in 0..5 {
        assert_eq!(zero.recv_timeout(PATIENCE), Ok(value));
        assert_eq!(own.recv_timeout(PATIENCE), Ok(value));
    }
    join(thread);
}

#[test]
fn a_thread_that_ends_while_others_send_gives_its_place_to_the_next() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let (tx, rx) = crossbeam_channel::unbounded();
    let subscription = feed.subscribe(tx);
    let stop = Arc::new(AtomicBool::new(false));
    let steady = thread::spawn({
        let (feed, stop) = (feed.clone(), Arc::clone(&stop));
        move || {
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                feed.send(0);
                count += 1;
            }
            count
        }
    });
    // Many more threads than lanes, one after the other and a few at a time.
    let mut count = 0;
    for _ in 0..40 {
        let threads: Vec<_> = (0..5)
            .map(|_| {
                let feed = feed.clone();
                thread::spawn(move || (0..10).for_each(|_| assert_eq!(feed.send(1), 1)))
            })
            .collect();
        threads.into_iter().for_each(join);
        count += 50;
    }
    stop.store(true, Ordering::Relaxed);
    count += join(steady);
    assert_eq!(subscription.stats().delivered, count);
    assert_eq!(rx.len() as u64, count);
}

#[test]
fn a_closure_that_ends_its_subscription_gets_no_more_of_a_batch() {
    let _watchdog = watchdog();
    for closes in [false, true] {
        let feed = Feed::new();
        let weak = feed.downgrade();
        let log = Log::default();
        let own: Arc<OnceLock<Subscription>> = Arc::default();
        let subscription = feed.subscribe_fn({
            let (own, log) = (Arc::clone(&own), Arc::clone(&log));
            move |value: &u64| {
                log.lock().unwrap().push(*value);
                if *value == 2 && closes {
                    weak.upgrade().unwrap().close();
                } else if *value == 2 {
                    own.get().unwrap().unsubscribe();
                }
            }
        });
        own.set(subscription).unwrap();
        assert_eq!(feed.send_batch(1..=9), 2, "closes: {closes}");
        assert_eq!(taken(&log), [1, 2], "closes: {closes}");
        assert_eq!(own.get().unwrap().stats().delivered, 2);
    }
}
