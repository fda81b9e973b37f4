//! What closures, clones, drops and destructors may do to the feed that runs them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use fanfeed::{Carrier, Feed, Receiver, RecvError, Subscription, TrySendError, WeakFeed};

use crate::common::{blocked_send, join, watchdog};

mod thread_locals;

type Log = Arc<Mutex<Vec<u64>>>;

/// A closure that writes down what it is given.
fn logger(log: &Log) -> impl Fn(&u64) + Send + Sync + 'static {
    let log = Arc::clone(log);
    move |value| log.lock().unwrap().push(*value)
}

fn taken(log: &Log) -> Vec<u64> {
    std::mem::take(&mut log.lock().unwrap())
}

// ---- Sending ----

#[test]
fn a_closure_may_send_on_its_own_feed_three_deep() {
    let feed = Feed::new();
    let weak = feed.downgrade();
    let mut receiver = feed.channel(16).unwrap();
    let reached = Log::default();
    let subscription = feed.subscribe_fn({
        let reached = Arc::clone(&reached);
        move |value: &u64| {
            if *value < 4 {
                let count = weak.upgrade().unwrap().send(value + 1);
                reached.lock().unwrap().push(count as u64);
            }
        }
    });
    assert_eq!(feed.send(1), 2);
    assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(taken(&reached), [2, 2, 2]);
    assert_eq!(subscription.stats().delivered, 4);
    // And again: whatever the nested sends took was given back.
    assert_eq!(feed.send(1), 2);
    subscription.unsubscribe();
    assert_eq!(feed.send(1), 1);
}

#[test]
fn a_nested_send_overtakes_the_outer_one_where_that_has_not_been() {
    let feed = Feed::new();
    let weak = feed.downgrade();
    let mut channel = feed.channel(8).unwrap();
    let (before, after) = (Log::default(), Log::default());
    let _before = feed.subscribe_fn(logger(&before));
    let _sends = feed.subscribe_fn(move |value| {
        if *value == 1 {
            weak.upgrade().unwrap().send(2);
        }
    });
    let _after = feed.subscribe_fn(logger(&after));
    assert_eq!(feed.send(1), 4);
    // Channels and the closures before it have had the outer value already.
    assert_eq!(channel.try_iter().collect::<Vec<_>>(), [1, 2]);
    assert_eq!(taken(&before), [1, 2]);
    assert_eq!(taken(&after), [2, 1]);
}

#[test]
fn closures_may_send_to_and_fro_between_feeds_on_several_threads() {
    const DEPTH: u64 = 6;
    let _watchdog = watchdog();
    let (one, two) = (Feed::new(), Feed::new());
    let bounce = |to: &Feed<u64>| {
        let to = to.downgrade();
        move |value: &u64| {
            if *value < DEPTH {
                to.upgrade().unwrap().send(value + 1);
            }
        }
    };
    let here = one.subscribe_fn(bounce(&two));
    let there = two.subscribe_fn(bounce(&one));
    let threads: Vec<_> = [&one, &two, &one, &two]
        .into_iter()
        .map(|feed| {
            let feed = feed.clone();
            thread::spawn(move || (0..200).for_each(|_| assert_eq!(feed.send(1), 1)))
        })
        .collect();
    threads.into_iter().for_each(join);
    // Each send comes to three calls on either feed.
    assert_eq!(here.stats().delivered, 4 * 200 * 3);
    assert_eq!(there.stats().delivered, 4 * 200 * 3);
}

#[test]
fn a_nested_send_may_wait_for_room() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let other = Feed::new();
    let mut full = other.channel(1).unwrap();
    other.send(0);
    let _closure = feed.subscribe_fn({
        let other = other.clone();
        move |value: &u64| {
            other.send(*value);
        }
    });
    let sender = thread::spawn({
        let feed = feed.clone();
        move || feed.send(1)
    });
    crate::common::eventually(|| full.stats().blocked == 1);
    assert_eq!(full.recv(), Ok(0));
    assert_eq!(join(sender), 1);
    assert_eq!(full.recv(), Ok(1));
}

#[test]
fn every_verb_can_be_used_in_a_closure() {
    let feed = Feed::new();
    let other = Feed::new();
    let mut receiver = other.channel(16).unwrap();
    let _closure = feed.subscribe_fn(move |value: &u64| {
        other.send(*value);
        other.try_send(value + 1).unwrap();
        other.send_timeout(value + 2, Duration::MAX).unwrap();
        other.send_batch([value + 3, value + 4]);
        assert_eq!(other.subscriber_count(), 1);
    });
    assert_eq!(feed.send(1), 1);
    assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
}

// ---- Subscribing and closing ----

#[test]
fn a_subscriber_added_in_a_closure_gets_the_next_value() {
    let feed = Feed::new();
    let weak = feed.downgrade();
    let held: Arc<Mutex<Vec<Receiver<u64>>>> = Arc::default();
    let log = Log::default();
    let closures: Arc<Mutex<Vec<Subscription>>> = Arc::default();
    let _closure = feed.subscribe_fn({
        let (held, log, closures) = (Arc::clone(&held), Arc::clone(&log), Arc::clone(&closures));
        move |value: &u64| {
            if *value == 1 {
                let feed = weak.upgrade().unwrap();
                // More than one chunk of each kind.
                let mut held = held.lock().unwrap();
                held.extend((0..70).map(|_| feed.channel(4).unwrap()));
                let more = (0..70).map(|_| feed.subscribe_fn(logger(&log)));
                closures.lock().unwrap().extend(more);
            }
        }
    });
    assert_eq!(feed.send(1), 1);
    assert!(taken(&log).is_empty());
    assert_eq!(feed.send(2), 141);
    assert_eq!(taken(&log), [2; 70]);
    for receiver in held.lock().unwrap().iter_mut() {
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [2]);
    }
}

#[test]
fn a_closure_may_close_its_feed() {
    let feed = Feed::new();
    let weak = feed.downgrade();
    let mut receiver = feed.channel(4).unwrap();
    let (tx, crossbeam) = crossbeam_channel::unbounded();
    let crossbeam_subscription = feed.subscribe(tx);
    let closing = feed.subscribe_fn(move |_: &u64| weak.upgrade().unwrap().close());
    let log = Log::default();
    let late = feed.subscribe_fn(logger(&log));
    // The channels were served before it; the closure after it was cancelled before its turn.
    assert_eq!(feed.send(1), 3);
    assert!(taken(&log).is_empty());
    assert!(feed.is_closed());
    for subscription in [&crossbeam_subscription, &closing, &late] {
        assert!(subscription.is_closed());
    }
    assert_eq!(Arc::strong_count(&log), 1, "the closure was dropped");
    assert_eq!(crossbeam.iter().collect::<Vec<_>>(), [1]);
    assert_eq!(receiver.iter().collect::<Vec<_>>(), [1]);
    assert_eq!(feed.send(2), 0);
}

#[test]
fn a_closure_that_closes_the_feed_releases_sends_of_other_threads() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let mut full = feed.channel(1).unwrap();
    feed.send(0);
    let blocked = blocked_send(&feed, full.subscription(), 1);
    let weak = feed.downgrade();
    let _closing = feed.subscribe_fn(move |_| weak.upgrade().unwrap().close());
    // It is called before its own send waits for the full channel.
    assert_eq!(feed.send(2), 1);
    assert_eq!(join(blocked), 0);
    assert_eq!(full.iter().collect::<Vec<_>>(), [0]);
    assert_eq!(full.recv(), Err(RecvError::Closed));
}

#[test]
fn a_closure_may_hold_its_own_feed_until_that_is_closed() {
    let feed = Feed::new();
    let counter = Arc::new(());
    let held = (feed.clone(), Arc::clone(&counter));
    let closure = move |_: &u64| {
        let (feed, _counter) = &held;
        assert!(!feed.is_closed());
    };
    feed.subscribe_fn(closure).detach();
    feed.send(1);
    let weak = feed.downgrade();
    feed.close();
    drop(feed);
    assert_eq!(Arc::strong_count(&counter), 1);
    assert!(weak.upgrade().is_none());
}

#[test]
fn a_closure_may_drop_receivers_and_look_at_figures() {
    let feed = Feed::new();
    let weak = feed.downgrade();
    let receiver = Mutex::new(Some(feed.channel(4).unwrap()));
    let own: Arc<OnceLock<Subscription>> = Arc::default();
    let counts = Log::default();
    let subscription = feed.subscribe_fn({
        let (own, counts) = (Arc::clone(&own), Arc::clone(&counts));
        move |_: &u64| {
            drop(receiver.lock().unwrap().take());
            let stats = own.get().unwrap().stats();
            let subscribers = weak.upgrade().unwrap().subscriber_count();
            counts
                .lock()
                .unwrap()
                .extend([stats.delivered, subscribers as u64]);
        }
    });
    own.set(subscription).unwrap();
    assert_eq!(feed.send(1), 2);
    assert_eq!(feed.send(2), 1);
    assert_eq!(taken(&counts), [0, 1, 1, 1]);
    own.get().unwrap().unsubscribe();
}

#[test]
fn unsubscribing_deep_inside_nested_sends_takes_effect_at_once() {
    let feed = Feed::new();
    let weak = feed.downgrade();
    let log = Log::default();
    let victim: Arc<Mutex<Option<Subscription>>> = Arc::default();
    let _nests = feed.subscribe_fn({
        let victim = Arc::clone(&victim);
        move |value: &u64| {
            if *value < 3 {
                weak.upgrade().unwrap().send(value + 1);
            } else {
                victim.lock().unwrap().take();
            }
        }
    });
    *victim.lock().unwrap() = Some(feed.subscribe_fn(logger(&log)));
    assert_eq!(feed.send(1), 1);
    assert!(taken(&log).is_empty(), "no level came to its turn");
    assert_eq!(Arc::strong_count(&log), 1);
}

// ---- Clones, drops and carriers that call back ----

#[test]
fn the_clone_and_the_drop_of_a_value_may_send() {
    static LOG: LazyLock<Feed<u64>> = LazyLock::new(Feed::new);
    struct Chatty(u64, WeakFeed<u64>);
    impl Clone for Chatty {
        fn clone(&self) -> Self {
            if let Some(feed) = self.1.upgrade() {
                feed.send(self.0 + 100);
            }
            LOG.send(self.0 + 100);
            Self(self.0, self.1.clone())
        }
    }
    impl Drop for Chatty {
        fn drop(&mut self) {
            LOG.send(self.0 + 200);
        }
    }
    let mut log = LOG.channel(16).unwrap();
    let own = Feed::new();
    let mut heard = own.channel(16).unwrap();
    let feed = Feed::new();
    let one = feed.channel(4).unwrap();
    let two = feed.channel(4).unwrap();
    assert_eq!(feed.send(Chatty(1, own.downgrade())), 2);
    assert_eq!(heard.try_iter().collect::<Vec<_>>(), [101]);
    drop((one, two));
    assert_eq!(log.try_iter().collect::<Vec<_>>(), [101, 201, 201]);
}

#[test]
fn a_carrier_may_hold_another_subscription_of_its_feed() {
    let _watchdog = watchdog();
    struct Nested(#[allow(dead_code)] Subscription, Arc<AtomicUsize>);
    impl Carrier<u64> for Nested {
        fn try_send(&self, _: u64) -> Result<(), TrySendError<u64>> {
            Ok(())
        }
    }
    impl Drop for Nested {
        fn drop(&mut self) {
            self.1.fetch_add(1, Ordering::SeqCst);
        }
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    let feed = Feed::new();
    let (tx, rx) = crossbeam_channel::unbounded();
    let mut outer = feed.subscribe(tx);
    for _ in 0..20 {
        outer = feed.subscribe(Nested(outer, Arc::clone(&dropped)));
    }
    assert_eq!(feed.send(1), 21);
    outer.unsubscribe();
    assert_eq!(dropped.load(Ordering::SeqCst), 20);
    assert_eq!(feed.subscriber_count(), 0);
    assert_eq!(rx.iter().collect::<Vec<_>>(), [1]);

    // The same when the feed ends, and when the far end is found gone during a send.
    let (tx, rx) = crossbeam_channel::unbounded();
    let inner = feed.subscribe(tx);
    feed.subscribe(Nested(inner, Arc::clone(&dropped))).detach();
    drop(rx);
    assert_eq!(feed.send(2), 1);
    drop(feed);
    assert_eq!(dropped.load(Ordering::SeqCst), 21);
}

/// Guards against an unsubscribe that waits for the very call it was made in.
#[test]
fn a_carrier_may_unsubscribe_itself_whenever_it_is_asked_something() {
    #[derive(Default)]
    struct Quitter {
        own: Arc<OnceLock<Subscription>>,
        when: usize,
    }
    impl Quitter {
        fn quit(&self, when: usize) {
            if self.when == when {
                self.own.get().expect("it was set").unsubscribe();
            }
        }
    }
    impl Carrier<u64> for Quitter {
        fn try_send(&self, value: u64) -> Result<(), TrySendError<u64>> {
            self.quit(0);
            Err(TrySendError::Full(value))
        }
        fn poll_room(&self, _: &std::task::Waker) -> fanfeed::Room {
            self.quit(1);
            fanfeed::Room::Unknown
        }
        fn depth(&self) -> Option<usize> {
            self.quit(2);
            None
        }
    }
    let _watchdog = watchdog();
    for when in 0..3 {
        let feed = Feed::new();
        let own: Arc<OnceLock<Subscription>> = Arc::default();
        let subscription = feed.subscribe(Quitter {
            own: Arc::clone(&own),
            when,
        });
        own.set(subscription).unwrap();
        let actor = thread::spawn({
            let (feed, own) = (feed.clone(), Arc::clone(&own));
            move || {
                if when == 2 {
                    own.get().unwrap().stats();
                }
                feed.send(1)
            }
        });
        assert_eq!(join(actor), 0, "case {when}");
        assert!(own.get().unwrap().is_closed());
        assert_eq!(
            Arc::strong_count(&own),
            1,
            "case {when}: the carrier was dropped"
        );
    }
}
