//! Unsubscribing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::TryRecvError;
use fanfeed::{Carrier, Feed, TrySendError};

use crate::common::{Tally, join, watchdog};

mod at_once;
mod before_its_turn;
mod blocked;
mod inside;
mod nothing_after;

/// A carrier that takes everything, and says when it was used last and when it was dropped.
struct Witness {
    taken: Arc<AtomicUsize>,
    dropped: Arc<AtomicUsize>,
}

impl Carrier<u64> for Witness {
    fn try_send(&self, _: u64) -> Result<(), TrySendError<u64>> {
        self.taken.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

fn witness() -> (Witness, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let (taken, dropped) = (Arc::default(), Arc::default());
    let carrier = Witness {
        taken: Arc::clone(&taken),
        dropped: Arc::clone(&dropped),
    };
    (carrier, taken, dropped)
}

/// Threads that send without pause until this is dropped.
struct Senders {
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Senders {
    fn start(feed: &Feed<u64>, count: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..count).map(|_| {
            let (feed, stop) = (feed.clone(), Arc::clone(&stop));
            thread::spawn(move || {
                let mut value = 0;
                while !stop.load(Ordering::Relaxed) {
                    feed.send(value);
                    value += 1;
                }
            })
        });
        Self {
            threads: threads.collect(),
            stop,
        }
    }
}

impl Drop for Senders {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            join(thread);
        }
    }
}

// ---- Handles ----

#[test]
fn dropping_the_handle_unsubscribes_and_detaching_it_does_not() {
    let feed = Feed::new();
    let (carrier, taken, dropped) = witness();
    drop(feed.subscribe(carrier));
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    assert_eq!(feed.send(1), 0);
    assert_eq!(taken.load(Ordering::SeqCst), 0);

    let (carrier, taken, dropped) = witness();
    feed.subscribe(carrier).detach();
    assert_eq!(feed.send(1), 1);
    assert_eq!(feed.subscriber_count(), 1);
    assert_eq!(taken.load(Ordering::SeqCst), 1);
    drop(feed);
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
}

#[test]
fn the_end_of_a_subscription_can_be_waited_for() {
    let _watchdog = watchdog();
    let feed = Feed::<u64>::new();
    let (carrier, _, _) = witness();
    let subscription = feed.subscribe(carrier);
    let mut closed = subscription.closed();
    assert!(!closed.wait_timeout(Duration::from_millis(5)));
    let waiter = thread::spawn({
        let closed = subscription.closed();
        move || closed.wait()
    });
    let errors = subscription.err();
    assert_eq!(errors.try_recv().unwrap_err(), TryRecvError::Empty);
    subscription.unsubscribe();
    join(waiter);
    assert!(closed.wait_timeout(Duration::MAX));
    assert_eq!(errors.try_recv().unwrap_err(), TryRecvError::Disconnected);
}

#[test]
fn everything_can_be_dropped_in_any_order() {
    fn permutations(count: usize) -> Vec<Vec<usize>> {
        if count == 0 {
            return vec![vec![]];
        }
        let shorter = permutations(count - 1);
        let insert = |order: &Vec<usize>, at: usize| {
            let mut order = order.clone();
            order.insert(at, count - 1);
            order
        };
        shorter
            .iter()
            .flat_map(|order| (0..count).map(move |at| insert(order, at)))
            .collect()
    }
    let all = permutations(6);
    assert_eq!(all.len(), 720);
    for order in all {
        let tally = Tally::new();
        let feed = Feed::new();
        let (tx, rx) = crossbeam_channel::bounded(2);
        let subscription = feed.subscribe(tx);
        let (receiver, handle) = feed.channel(2).unwrap().split();
        let _closed = subscription.closed();
        for number in 0..2 {
            assert_eq!(feed.send(tally.value(number)), 2);
        }
        let undelivered = feed.try_send(tally.value(2)).unwrap_err();
        assert_eq!(undelivered.missed().len(), 2);
        let mut parts: Vec<Option<Box<dyn std::any::Any>>> = vec![
            Some(Box::new(feed)),
            Some(Box::new(subscription)),
            Some(Box::new(rx)),
            Some(Box::new(receiver)),
            Some(Box::new(handle)),
            Some(Box::new(undelivered)),
        ];
        for part in &order {
            parts[*part] = None;
        }
        assert_eq!(tally.live(), 0, "in order {order:?}");
    }
}
