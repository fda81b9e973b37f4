//! Feeds with many crossbeam channels, which are served from the last to the first: panics and ends
//! on the way.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::Receiver;
use fanfeed::{Feed, Subscription};

use crate::common::{Tally, message};

/// How many subscribers there are.
const COUNT: usize = 6;

/// A feed with bounded channels.
fn subscribed<T: Clone + Send + 'static>() -> (Feed<T>, Vec<Subscription>, Vec<Receiver<T>>) {
    let feed = Feed::new();
    let (subscriptions, receivers) = (0..COUNT)
        .map(|_| crossbeam_channel::bounded(2))
        .map(|(tx, rx)| (feed.subscribe(tx), rx))
        .unzip();
    (feed, subscriptions, receivers)
}

/// Calls a function with how often it was cloned before.
struct Hooked {
    number: usize,
    cloned: Arc<AtomicUsize>,
    hook: Arc<dyn Fn(usize) + Send + Sync>,
}

impl Hooked {
    fn new(number: usize, hook: impl Fn(usize) + Send + Sync + 'static) -> Self {
        Self {
            number,
            cloned: Arc::default(),
            hook: Arc::new(hook),
        }
    }
}

impl Clone for Hooked {
    fn clone(&self) -> Self {
        (self.hook)(self.cloned.fetch_add(1, Ordering::Relaxed));
        Self {
            number: self.number,
            cloned: Arc::clone(&self.cloned),
            hook: Arc::clone(&self.hook),
        }
    }
}

/// The numbers that each receiver has got.
fn numbers(receivers: &[Receiver<Hooked>]) -> Vec<Vec<usize>> {
    let each = |rx: &Receiver<Hooked>| rx.try_iter().map(|value| value.number).collect();
    receivers.iter().map(each).collect()
}

#[test]
fn a_clone_panics_after_another_channel_was_full() {
    for full in [5, 4, 3] {
        let tally = Tally::new();
        let (feed, subscriptions, receivers) = subscribed();
        feed.send(tally.value(0));
        for (index, rx) in receivers.iter().enumerate() {
            if index != full {
                rx.recv().unwrap();
            }
        }
        feed.send(tally.value(1));
        for (index, rx) in receivers.iter().enumerate() {
            assert_eq!(rx.len(), 1 + usize::from(index == full));
        }
        // The clone that the full one gives back serves the next.
        tally.panic_after(3);
        let caught = catch_unwind(AssertUnwindSafe(|| drop(feed.try_send(tally.value(2)))));
        assert!(message(&*caught.expect_err("the panic goes on")).contains("a clone that panics"));
        let panicked = 1;
        for (index, (subscription, rx)) in subscriptions.iter().zip(&receivers).enumerate() {
            let got = rx.try_iter().any(|value| value.number == 2);
            let missed = index == full || index == panicked;
            assert_eq!(got, !missed, "subscriber {index}, {full} is full");
            let stats = subscription.stats();
            assert_eq!(
                (stats.dropped, stats.delivered),
                (missed.into(), 3 - u64::from(missed)),
                "subscriber {index}, {full} is full"
            );
        }
        assert_eq!(tally.live(), 0);
    }
}

#[test]
fn all_are_full() {
    let tally = Tally::new();
    let (feed, subscriptions, receivers) = subscribed();
    feed.send(tally.value(0));
    feed.send(tally.value(1));
    tally.clones();
    let undelivered = feed.try_send(tally.value(2)).unwrap_err();
    assert_eq!(
        tally.clones(),
        1,
        "what one gives back is offered to the next"
    );
    let missed = undelivered.missed().iter().map(|missed| missed.id);
    let all = subscriptions.iter().map(Subscription::id);
    assert!(missed.eq(all), "in the order of their seats");
    for rx in &receivers {
        rx.recv().unwrap();
    }
    assert_eq!(undelivered.retry().unwrap(), COUNT);
    assert!(tally.clones() < COUNT);
    drop((receivers, subscriptions, feed));
    assert_eq!(tally.live(), 0);
}

#[test]
fn a_clone_unsubscribes_one_that_comes_later() {
    for cut in 0..COUNT {
        let (feed, subscriptions, receivers) = subscribed();
        let subscriptions = Arc::new(subscriptions);
        let hook = {
            let subscriptions = Arc::clone(&subscriptions);
            move |cloned| {
                if cloned == 2 {
                    subscriptions[cut].unsubscribe();
                }
            }
        };
        let value = Hooked::new(1, hook);
        // The third clone is for the fourth of them.
        let is_late = cut <= 3;
        assert_eq!(feed.send(value), COUNT - usize::from(is_late));
        for (index, got) in numbers(&receivers).into_iter().enumerate() {
            let cut = index == cut && is_late;
            assert_eq!(got.len(), usize::from(!cut), "subscriber {index}");
        }
        assert_eq!(feed.subscriber_count(), COUNT - 1);
    }
}

#[test]
fn a_clone_closes_the_feed() {
    for last in 0..COUNT - 1 {
        let (feed, _subscriptions, receivers) = subscribed();
        let closing = feed.clone();
        let value = Hooked::new(1, move |cloned| {
            if cloned == last {
                closing.close();
            }
        });
        assert_eq!(feed.send(value), last);
        for (index, got) in numbers(&receivers).into_iter().enumerate() {
            assert_eq!(
                got.len(),
                usize::from(index >= COUNT - last),
                "subscriber {index}"
            );
        }
        assert!(receivers.iter().all(|rx| rx.recv().is_err()));
    }
}

#[test]
fn a_clone_sends_on_the_same_feed() {
    for at in 0..COUNT - 1 {
        let (feed, subscriptions, receivers) = subscribed();
        let sending = feed.clone();
        let value = Hooked::new(1, move |cloned| {
            if cloned == at {
                assert_eq!(sending.send(Hooked::new(2, |_| {})), COUNT);
            }
        });
        assert_eq!(feed.send(value), COUNT);
        for (index, got) in numbers(&receivers).into_iter().enumerate() {
            let is_served = index >= COUNT - at;
            assert_eq!(
                got,
                if is_served { [1, 2] } else { [2, 1] },
                "subscriber {index}"
            );
        }
        for subscription in &subscriptions {
            assert_eq!(subscription.stats().delivered, 2);
        }
    }
}
