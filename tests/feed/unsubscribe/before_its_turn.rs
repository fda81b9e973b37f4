//! Subscriptions that end before their turn in a delivery.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use fanfeed::{Carrier, Feed, Subscription, TrySendError};

use crate::common::{PATIENCE, Sleeper, eventually, join, watchdog};

/// Takes everything, and ends what it was given at the first value.
#[derive(Clone, Default)]
struct Ends(Arc<Mutex<Vec<Subscription>>>);

impl Ends {
    fn end(&self) {
        self.0.lock().unwrap().clear();
    }
}

impl Carrier<u64> for Ends {
    fn try_send(&self, _: u64) -> Result<(), TrySendError<u64>> {
        self.end();
        Ok(())
    }
}

/// A carrier of its own kind, that counts what it is handed.
struct Counts(Arc<AtomicUsize>);

impl Carrier<u64> for Counts {
    fn try_send(&self, _: u64) -> Result<(), TrySendError<u64>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// Guards against a send that hands a value to one that a carrier, or a closure, before it has
/// ended.
#[test]
fn a_subscriber_that_ends_before_its_turn_gets_nothing() {
    for by_closure in [false, true] {
        for batch in [false, true] {
            let feed = Feed::new();
            let ends = Ends::default();
            let first = if by_closure {
                let ends = ends.clone();
                feed.subscribe_fn(move |_| ends.end())
            } else {
                feed.subscribe(ends.clone())
            };
            let counted = Arc::new(AtomicUsize::new(0));
            // Some in the same chunk, some in the next.
            for index in 0..100 {
                let (count, counts) = (Arc::clone(&counted), Counts(Arc::clone(&counted)));
                let call = move |_: &u64| {
                    count.fetch_add(1, Ordering::SeqCst);
                };
                let ended = match index % 3 {
                    // Closures are served after channels.
                    _ if by_closure => feed.subscribe_fn(call),
                    0 => feed.subscribe_fn(call),
                    1 => feed.subscribe(counts),
                    _ => feed.channel(4).unwrap().split().1,
                };
                ends.0.lock().unwrap().push(ended);
            }
            let mut last = feed.channel(4).unwrap();
            let reached = if batch {
                feed.send_batch([1, 2])
            } else {
                feed.send(1) + feed.send(2)
            };
            assert_eq!(reached, 4, "by closure: {by_closure}, batch: {batch}");
            assert_eq!(counted.load(Ordering::SeqCst), 0);
            assert_eq!(last.try_iter().collect::<Vec<_>>(), [1, 2]);
            first.unsubscribe();
        }
    }
}

/// A value whose clone ends a subscription.
struct EndsOne(Arc<Mutex<Option<Subscription>>>);

impl Clone for EndsOne {
    fn clone(&self) -> Self {
        drop(self.0.lock().unwrap().take());
        Self(Arc::clone(&self.0))
    }
}

#[test]
fn a_subscriber_that_a_values_clone_ends_does_not_get_the_value() {
    for batch in [false, true] {
        for ended in 0..3 {
            let feed = Feed::new();
            let channels: Vec<_> = (0..3).map(|_| crossbeam_channel::unbounded()).collect();
            let mut subscriptions: Vec<_> = channels
                .iter()
                .map(|(sender, _)| feed.subscribe(sender.clone()))
                .collect();
            let own = feed.channel(4).unwrap();
            let slot = Arc::new(Mutex::new(Some(subscriptions.remove(ended))));
            let value = EndsOne(slot);
            let reached = if batch {
                feed.send_batch([value])
            } else {
                feed.send(value)
            };
            assert_eq!(reached, 3, "{ended}, batch: {batch}");
            let lens: Vec<_> = channels.iter().map(|(_, rx)| rx.len()).collect();
            let expected: Vec<_> = (0..3).map(|index| usize::from(index != ended)).collect();
            assert_eq!(lens, expected);
            assert_eq!(own.len(), 1);
        }
    }
}

#[test]
fn a_receiver_is_woken_before_a_carrier_that_takes_its_time() {
    struct Waits(crossbeam_channel::Receiver<u64>);
    impl Carrier<u64> for Waits {
        fn try_send(&self, value: u64) -> Result<(), TrySendError<u64>> {
            assert_eq!(self.0.recv_timeout(PATIENCE), Ok(value), "it was woken");
            Ok(())
        }
    }
    let _watchdog = watchdog();
    for batch in [false, true] {
        let feed = Feed::new();
        let mut receiver = feed.channel(4).unwrap();
        let (pass_on, passed_on) = crossbeam_channel::unbounded();
        let carrier = feed.subscribe(Waits(passed_on));
        let (sleeper_tx, sleeper) = crossbeam_channel::bounded(1);
        let waiting = thread::spawn(move || {
            sleeper_tx.send(Sleeper::current()).unwrap();
            pass_on.send(receiver.recv().unwrap()).unwrap();
        });
        // If it has not parked yet, it needs no waking.
        sleeper.recv_timeout(PATIENCE).unwrap().falls_asleep();
        if batch {
            assert_eq!(feed.send_batch([1]), 2);
        } else {
            assert_eq!(feed.send(1), 2);
        }
        join(waiting);
        assert!(!carrier.is_closed());
    }
}

/// A crossbeam sender that, when it is asked for the n-th time for that, ends the other
/// subscription and makes room there.
struct EndsWhenAsked {
    sender: crossbeam_channel::Sender<u64>,
    others: Ends,
    other: crossbeam_channel::Receiver<u64>,
    left: AtomicUsize,
}

impl Carrier<u64> for EndsWhenAsked {
    fn try_send(&self, value: u64) -> Result<(), TrySendError<u64>> {
        Carrier::try_send(&self.sender, value)
    }

    fn as_crossbeam(&self) -> Option<&crossbeam_channel::Sender<u64>> {
        if self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.others.end();
            self.other.try_recv().unwrap();
        }
        Some(&self.sender)
    }
}

/// Guards against a blocked send that selects on a channel whose subscription has ended while the
/// send looked at another.
#[test]
fn a_blocked_send_gives_nothing_to_one_that_a_carrier_has_just_ended() {
    let _watchdog = watchdog();
    // The third time, the send is about to select.
    for asked in 1..=3 {
        let feed = Feed::new();
        let [(tx, rx), (other_tx, other)] = [(); 2].map(|()| crossbeam_channel::bounded(1));
        let others = Ends::default();
        others.0.lock().unwrap().push(feed.subscribe(other_tx));
        let subscription = feed.subscribe(EndsWhenAsked {
            sender: tx,
            others: others.clone(),
            other: other.clone(),
            left: AtomicUsize::new(asked),
        });
        feed.send(0);
        let sender = thread::spawn(move || feed.send(1));
        eventually(|| others.0.lock().unwrap().is_empty());
        for value in [0, 1] {
            assert_eq!(rx.recv_timeout(PATIENCE), Ok(value));
        }
        assert_eq!(join(sender), 1);
        assert!(other.try_recv().is_err(), "asked {asked} times");
        drop(subscription);
    }
}

/// Guards the same for a tokio sender, which is called in a way of its own.
#[cfg(feature = "tokio")]
#[test]
fn a_tokio_sender_that_is_ended_before_its_turn_gets_nothing() {
    for batch in [false, true] {
        let feed = Feed::new();
        let ends = Ends::default();
        let first = feed.subscribe(ends.clone());
        let (tx, mut rx) = tokio::sync::mpsc::channel(4);
        ends.0.lock().unwrap().push(feed.subscribe(tx));
        let sent = if batch {
            feed.send_batch([1, 2])
        } else {
            feed.send(1)
        };
        assert_eq!(sent, if batch { 2 } else { 1 });
        assert!(rx.try_recv().is_err(), "in a batch: {batch}");
        drop(first);
    }
}
