//! The values of a batch: clones, drops and panics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use fanfeed::{Carrier, Feed, Overflow, Receiver, Subscription, TrySendError};

use crate::common::{Tally, Touchy, join, message, watchdog};

#[test]
fn n_subscribers_cost_at_most_n_minus_1_clones_per_value() {
    const COUNT: usize = 50;
    let tally = Tally::new();
    for subscribers in [1, 2, 3, 70] {
        let feed = Feed::new();
        let _own: Vec<_> = (1..subscribers)
            .map(|_| feed.channel(64).unwrap())
            .collect();
        let (tx, _rx) = crossbeam_channel::unbounded();
        let _crossbeam = feed.subscribe(tx);
        let values = (0..COUNT as u64).map(|number| tally.value(number));
        assert_eq!(feed.send_batch(values), subscribers * COUNT);
        assert_eq!(tally.clones(), (subscribers - 1) * COUNT);
    }
    let feed = Feed::new();
    let _closures = [feed.subscribe_fn(|_| {}), feed.subscribe_fn(|_| {})];
    feed.send_batch((0..COUNT as u64).map(|number| tally.value(number)));
    assert_eq!(tally.clones(), 0);
    assert_eq!(tally.live(), 0);
}

#[test]
fn waiting_for_room_costs_a_batch_no_further_clones() {
    const COUNT: usize = 40;
    let _watchdog = watchdog();
    let tally = Tally::new();
    let feed = Feed::new();
    let readers: Vec<_> = [1, 3, 50]
        .into_iter()
        .map(|capacity| {
            let mut receiver = feed.channel(capacity).unwrap();
            thread::spawn(move || receiver.iter().count())
        })
        .collect();
    let values = (0..COUNT as u64).map(|number| tally.value(number));
    assert_eq!(feed.send_batch(values), 3 * COUNT);
    assert!(tally.clones() <= 2 * COUNT);
    feed.close();
    for reader in readers {
        assert_eq!(join(reader), COUNT);
    }
    assert_eq!(tally.live(), 0);
}

#[test]
fn a_clone_that_panics_in_the_middle_costs_those_it_was_for_that_value_alone() {
    let feed = Feed::new();
    let mut one = feed.channel(64).unwrap();
    let (tx, two) = crossbeam_channel::unbounded();
    let two_subscription = feed.subscribe(tx);
    let mut last = feed.channel(64).unwrap();
    let caught = catch_unwind(AssertUnwindSafe(|| {
        feed.send_batch((0..40).map(|number| Touchy(number, &[5, 35])))
    }));
    let payload = caught.expect_err("the panic goes on");
    assert_eq!(message(&*payload), "clone of 5 panics");
    let without: Vec<_> = (0..40).filter(|number| ![5, 35].contains(number)).collect();
    let numbers = |receiver: &mut Receiver<Touchy>| {
        receiver.try_iter().map(|value| value.0).collect::<Vec<_>>()
    };
    assert_eq!(numbers(&mut one), without);
    assert_eq!(
        two.try_iter().map(|value| value.0).collect::<Vec<_>>(),
        without
    );
    // The last gets the originals.
    assert_eq!(numbers(&mut last), (0..40).collect::<Vec<_>>());
    for stats in [one.stats(), two_subscription.stats()] {
        assert_eq!((stats.delivered, stats.dropped), (38, 2));
    }
    assert_eq!(last.stats().dropped, 0);
    assert!(!one.is_closed() && !two_subscription.is_closed());
}

/// Guards against a clone that panics only once: the batch cloned the value again, so nobody
/// learned of the panic.
#[test]
fn a_clone_that_panics_once_is_not_swallowed() {
    let tally = Tally::new();
    let feed = Feed::new();
    let one = feed.channel(64).unwrap();
    let two = feed.channel(64).unwrap();
    tally.panic_after(7);
    let caught = catch_unwind(AssertUnwindSafe(|| {
        feed.send_batch((0..20).map(|number| tally.value(number)))
    }));
    assert!(caught.is_err());
    assert_eq!((one.len(), two.len()), (19, 20));
    assert_eq!(one.stats().dropped, 1);
    drop((one, two));
    assert_eq!(tally.live(), 0);
}

#[test]
fn a_carrier_that_panics_in_the_middle_ends_alone() {
    struct Fuse(AtomicUsize);
    impl Carrier<u64> for Fuse {
        fn try_send(&self, _: u64) -> Result<(), TrySendError<u64>> {
            assert!(self.0.fetch_sub(1, Ordering::Relaxed) > 0, "burnt");
            Ok(())
        }
    }
    let feed = Feed::new();
    let before = feed.channel(64).unwrap();
    let fuse = feed.subscribe(Fuse(AtomicUsize::new(5)));
    let calls = Arc::new(AtomicUsize::new(0));
    let closure: Subscription = feed.subscribe_fn({
        let calls = Arc::clone(&calls);
        move |_| {
            assert!(calls.fetch_add(1, Ordering::Relaxed) < 10, "enough");
        }
    });
    let mut after = feed.channel(64).unwrap();
    assert_eq!(feed.send_batch(0..40), 40 + 5 + 10 + 40);
    assert_eq!((before.len(), after.len()), (40, 40));
    assert!(after.try_iter().eq(0..40));
    for (subscription, delivered) in [(&fuse, 5), (&closure, 10)] {
        assert!(subscription.err().recv().unwrap().is_panicked());
        let stats = subscription.stats();
        assert_eq!((stats.delivered, stats.dropped), (delivered, 1));
    }
    assert_eq!(feed.subscriber_count(), 2);
}

/// A carrier, or a value, that ends a subscription when it is its turn.
type Ending = Arc<Mutex<Option<Subscription>>>;

/// Ends its own subscription when it is handed a 2.
struct Leaving(crossbeam_channel::Sender<u64>, Ending);

impl Carrier<u64> for Leaving {
    fn try_send(&self, value: u64) -> Result<(), TrySendError<u64>> {
        if value == 2 {
            drop(self.1.lock().unwrap().take());
        }
        Carrier::try_send(&self.0, value)
    }
}

#[test]
fn a_carrier_that_unsubscribes_itself_in_the_middle_is_handed_no_more() {
    for others in [0, 1] {
        let feed = Feed::new();
        let (tx, rx) = crossbeam_channel::unbounded();
        let ending = Ending::default();
        let subscription = feed.subscribe(Leaving(tx, Arc::clone(&ending)));
        *ending.lock().unwrap() = Some(subscription);
        let mut other = (others > 0).then(|| feed.channel(8).unwrap());
        assert_eq!(feed.send_batch(0..5), 3 + 5 * others);
        assert_eq!(rx.iter().collect::<Vec<_>>(), [0, 1, 2]);
        if let Some(other) = &mut other {
            assert_eq!(other.try_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        }
    }
}

/// A value whose clone ends a subscription if it is a 2.
struct Final(u64, Ending);

impl Clone for Final {
    fn clone(&self) -> Self {
        if self.0 == 2 {
            drop(self.1.lock().unwrap().take());
        }
        Self(self.0, Arc::clone(&self.1))
    }
}

#[test]
fn a_subscriber_that_a_clone_unsubscribes_gets_no_later_value() {
    let feed = Feed::new();
    let (tx, rx) = crossbeam_channel::unbounded();
    let ending = Ending::default();
    *ending.lock().unwrap() = Some(feed.subscribe(tx));
    let mut other = feed.channel(8).unwrap();
    feed.send_batch((0..5).map(|number| Final(number, Arc::clone(&ending))));
    let seen: Vec<_> = rx.iter().map(|value| value.0).collect();
    assert_eq!(seen, [0, 1], "not even the one that was being cloned");
    assert_eq!(other.try_iter().count(), 5);
}

#[test]
fn an_iterator_that_panics_loses_nothing_that_was_sent_before() {
    let tally = Tally::new();
    let feed = Feed::new();
    let receiver = feed.channel(64).unwrap();
    let caught = catch_unwind(AssertUnwindSafe(|| {
        feed.send_batch((0..60).map(|number| {
            assert!(number < 40);
            tally.value(number)
        }))
    }));
    assert!(caught.is_err());
    assert_eq!(tally.live(), receiver.len() as i64);
    assert_eq!(feed.send(tally.value(0)), 1);
}

#[test]
fn values_of_a_batch_are_dropped_once_each() {
    let tally = Tally::new();
    let feed = Feed::new();
    let make = || {
        let tally = Arc::clone(&tally);
        (0..50).map(move |number| tally.value(number))
    };
    assert_eq!(feed.send_batch(make()), 0);
    assert_eq!(tally.live(), 0);
    let policies = [
        Overflow::DropNewest,
        Overflow::DropOldest,
        Overflow::Disconnect,
    ];
    let receivers = policies.map(|overflow| {
        let builder = feed.subscriber().capacity(3).overflow(overflow);
        builder.channel().unwrap()
    });
    feed.send_batch(make());
    assert_eq!(tally.live(), 9);
    drop(receivers);
    assert_eq!(tally.live(), 0);
}

#[test]
fn a_closure_may_send_and_subscribe_while_it_is_given_a_batch() {
    let feed = Arc::new(Feed::new());
    let weak = feed.downgrade();
    let mut receiver = feed.channel(64).unwrap();
    let held: Arc<Mutex<Vec<Receiver<u64>>>> = Arc::default();
    let _closure = feed.subscribe_fn({
        let held = Arc::clone(&held);
        move |value| {
            let feed = weak.upgrade().expect("somebody sends on it");
            if *value < 3 {
                feed.send(*value + 100);
                held.lock().unwrap().push(feed.channel(64).unwrap());
            }
        }
    });
    feed.send_batch(0..5);
    let mut values: Vec<_> = receiver.try_iter().collect();
    values.sort_unstable();
    assert_eq!(values, [0, 1, 2, 3, 4, 100, 101, 102]);
    assert_eq!(held.lock().unwrap().len(), 3);
}
