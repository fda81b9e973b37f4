//! Destructors of carriers and of closures' captures: on which thread they run, and which threads
//! wait for them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};

use crate::deadline::in_time;
use crossbeam_channel::bounded;
use fanfeed::{Carrier, Feed, Subscription, SubscriptionScope, TrySendError, WeakFeed};

// ---- A worker that its carrier owns ----

/// A carrier whose drop ends its worker, and waits for it.
struct Worker {
    sender: Option<mpsc::Sender<u64>>,
    /// What the worker reads besides, if it reads a channel of another subscription.
    inner: Option<Subscription>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// The worker reads its channel to the end, then does `last`.
    fn new(last: impl FnOnce() + Send + 'static) -> Self {
        let (sender, receiver) = mpsc::channel();
        let thread = thread::spawn(move || {
            receiver.iter().for_each(drop);
            last();
        });
        Self {
            sender: Some(sender),
            inner: None,
            thread: Some(thread),
        }
    }
}

impl Carrier<u64> for Worker {
    fn try_send(&self, value: u64) -> Result<(), TrySendError<u64>> {
        let sender = self.sender.as_ref().expect("it is there until the drop");
        Carrier::try_send(sender, value)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.sender.take());
        drop(self.inner.take());
        let thread = self.thread.take().expect("it is joined once");
        thread.join().expect("the worker does not panic");
    }
}

/// What a worker does at its end, on a feed, with another subscription of that, and a scope.
type Last = fn(Feed<u64>, Subscription, Arc<SubscriptionScope>);

const LASTS: [Last; 5] = [
    |feed, _, _| feed.close(),
    |feed, _, _| drop(feed),
    |_, other, _| other.unsubscribe(),
    |_, other, _| drop(other),
    |_, _, scope| scope.close(),
];

/// How the worker's subscription ends.
type Way = fn(&Feed<u64>, Subscription);

const WAYS: [Way; 5] = [
    |_, worker| worker.unsubscribe(),
    |_, worker| drop(worker),
    |feed, worker| {
        feed.close();
        drop(worker);
    },
    |_, worker| {
        let scope = SubscriptionScope::new();
        scope.track(worker).expect("it is open").detach();
        scope.close();
    },
    // Inside a delivery, which other threads wait for when they close the feed.
    |feed, worker| {
        let worker = Mutex::new(Some(worker));
        let closure = feed.subscribe_fn(move |_| drop(worker.lock().unwrap().take()));
        feed.send(7);
        drop(closure);
    },
];

/// Guards against an end that waits for the destructor of a carrier on another thread, which waits
/// for that end.
#[test]
fn a_worker_that_its_carrier_joins_may_end_anything() {
    for last in LASTS {
        for way in WAYS {
            in_time(move || {
                let feed = Feed::new();
                let (sender, _receiver) = bounded(8);
                let other = feed.subscribe(sender);
                let scope = Arc::new(SubscriptionScope::new());
                let tracked = feed.subscribe_fn(|_| {});
                scope.track(tracked).expect("it is open").detach();
                let parts = (feed.clone(), other, Arc::clone(&scope));
                let worker = Worker::new(move || last(parts.0, parts.1, parts.2));
                let worker = feed.subscribe(worker);
                feed.send(1);
                way(&feed, worker);
            });
        }
    }
}

#[test]
fn the_last_handle_may_go_with_the_worker() {
    in_time(|| {
        let feed = Feed::new();
        let mine = feed.clone();
        let worker = feed.subscribe(Worker::new(move || drop(mine)));
        feed.send(1);
        drop(feed);
        worker.unsubscribe();
    });
}

/// Guards against putting off what a destructor itself unsubscribes.
#[test]
fn a_destructor_may_wait_for_the_end_of_what_it_unsubscribes() {
    for is_same_feed in [true, false] {
        in_time(move || {
            let feed = Feed::new();
            let other = if is_same_feed {
                feed.clone()
            } else {
                Feed::new()
            };
            let (sender, receiver) = mpsc::channel::<u64>();
            let mut worker = Worker::new(move || receiver.iter().for_each(drop));
            worker.inner = Some(other.subscribe(sender));
            let worker = feed.subscribe(worker);
            feed.send(1);
            drop(worker);
            assert_eq!((feed.subscriber_count(), other.subscriber_count()), (0, 0));
        });
    }
}

#[test]
fn a_closed_feed_lets_go_of_idle_channels_while_a_closure_runs() {
    in_time(|| {
        let feed = Feed::new();
        let (sender, receiver) = bounded(8);
        feed.subscribe(sender).detach();
        let (inside, entered) = bounded(0);
        let (leave, left) = bounded::<()>(0);
        let slow = move |_: &u64| {
            inside.send(()).unwrap();
            let _ = left.recv();
        };
        feed.subscribe_fn(slow).detach();
        let sending = feed.clone();
        let sender = thread::spawn(move || sending.send(1));
        entered.recv().unwrap();
        let closer = thread::spawn(move || feed.close());
        // The close waits for the closure, and the channel ends before that.
        assert_eq!(receiver.iter().collect::<Vec<_>>(), [1]);
        drop(leave);
        assert_eq!(sender.join().unwrap(), 2);
        closer.join().unwrap();
    });
}

// ---- Very many ----

const MANY: usize = 10_000;

/// Sends on its feed when it is dropped.
struct Goodbye {
    feed: WeakFeed<u64>,
    said: Arc<AtomicUsize>,
}

impl Drop for Goodbye {
    fn drop(&mut self) {
        self.said.fetch_add(1, Ordering::Relaxed);
        if let Some(feed) = self.feed.upgrade() {
            feed.send(1);
        }
    }
}

/// Its far end is gone when it is handed a 7.
impl Carrier<u64> for Goodbye {
    fn try_send(&self, value: u64) -> Result<(), TrySendError<u64>> {
        if value == 7 {
            return Err(TrySendError::Closed(value));
        }
        Ok(())
    }
}

/// Guards against destructors that run inside one another without end.
#[test]
fn very_many_destructors_may_send_on_their_feed() {
    let said = Arc::new(AtomicUsize::new(0));
    let ends: [fn(Feed<u64>); 3] = [
        |feed| feed.close(),
        drop,
        |feed| {
            feed.send(7);
        },
    ];
    for (index, end) in ends.into_iter().enumerate() {
        for are_closures in [true, false] {
            if are_closures && index == 2 {
                continue;
            }
            let feed = Feed::new();
            for _ in 0..MANY {
                let goodbye = Goodbye {
                    feed: feed.downgrade(),
                    said: Arc::clone(&said),
                };
                let subscription = if are_closures {
                    feed.subscribe_fn(move |_| {
                        let _captured = &goodbye;
                    })
                } else {
                    feed.subscribe(goodbye)
                };
                subscription.detach();
            }
            end(feed);
            assert_eq!(said.swap(0, Ordering::Relaxed), MANY, "end {index}");
        }
    }
}

/// Two feeds, whose carriers send on the other one when they are dropped.
#[test]
fn very_many_destructors_may_send_to_and_fro() {
    let said = Arc::new(AtomicUsize::new(0));
    let feeds = [Feed::new(), Feed::new()];
    // Each send is to all that are left of the other.
    const SOME: usize = MANY / 10;
    for index in 0..SOME {
        let goodbye = Goodbye {
            feed: feeds[(index + 1) % 2].downgrade(),
            said: Arc::clone(&said),
        };
        feeds[index % 2].subscribe(goodbye).detach();
    }
    assert_eq!(feeds[0].send(7), 0);
    assert_eq!(feeds[1].send(7), 0);
    assert_eq!(said.load(Ordering::Relaxed), SOME);
}

/// A carrier that owns a subscription.
struct Owner(#[allow(dead_code)] Subscription);

impl Carrier<u64> for Owner {
    fn try_send(&self, _: u64) -> Result<(), TrySendError<u64>> {
        Ok(())
    }
}

#[test]
fn a_chain_of_carriers_that_own_one_another_may_be_of_any_length() {
    for feeds in [1, 2, MANY] {
        let feeds: Vec<_> = (0..feeds).map(|_| Feed::new()).collect();
        let (sender, receiver) = bounded(1);
        let mut last = feeds[0].subscribe(sender);
        for index in 0..MANY {
            let feed = &feeds[index % feeds.len()];
            last = if index % 3 == 0 {
                let owned = Owner(last);
                feed.subscribe_fn(move |_| {
                    let _captured = &owned;
                })
            } else {
                feed.subscribe(Owner(last))
            };
        }
        drop(last);
        assert!(receiver.recv().is_err());
        assert!(feeds.iter().all(|feed| feed.subscriber_count() == 0));
    }
}

#[test]
fn a_chain_of_feeds_that_own_one_another_may_be_of_any_length() {
    let (sender, receiver) = bounded(1);
    let mut last = Feed::new();
    last.subscribe(sender).detach();
    for _ in 0..MANY {
        let next = Feed::new();
        let owned = last;
        next.subscribe_fn(move |value: &u64| {
            owned.send(*value);
        })
        .detach();
        last = next;
    }
    drop(last);
    assert!(receiver.recv().is_err());
}

// ---- What a delivery has put off ----

#[test]
fn what_a_closure_ends_on_another_feed_is_dropped_when_its_send_returns() {
    let (one, other) = (Feed::new(), Feed::new());
    let (sender, receiver) = mpsc::channel::<u64>();
    let worker = Mutex::new(Some(one.subscribe(sender)));
    let (seen, saw) = mpsc::channel();
    let receiver = Arc::new(Mutex::new(receiver));
    let inside = Arc::clone(&receiver);
    let _closure = other.subscribe_fn(move |_: &u64| {
        drop(worker.lock().unwrap().take());
        seen.send(inside.lock().unwrap().try_recv()).unwrap();
    });
    assert_eq!(other.send(1), 1);
    assert_eq!(saw.recv().unwrap(), Err(mpsc::TryRecvError::Empty));
    let after = receiver.lock().unwrap().try_recv();
    assert_eq!(after, Err(mpsc::TryRecvError::Disconnected));
    assert_eq!(one.subscriber_count(), 0);
}

/// Says when it is asked for its depth, and answers when it may.
struct SlowToTell(
    crossbeam_channel::Sender<()>,
    crossbeam_channel::Receiver<()>,
    #[allow(dead_code)] mpsc::Sender<u64>,
);

impl Carrier<u64> for SlowToTell {
    fn try_send(&self, _: u64) -> Result<(), TrySendError<u64>> {
        Ok(())
    }

    fn depth(&self) -> Option<usize> {
        self.0.send(()).unwrap();
        let _ = self.1.recv();
        None
    }
}

#[test]
fn what_a_look_at_the_figures_has_kept_is_dropped_when_that_ends() {
    in_time(|| {
        let (one, other) = (Feed::new(), Feed::new());
        let (asked, is_asked) = bounded(0);
        let (answer, may_answer) = bounded::<()>(0);
        let (sender, receiver) = mpsc::channel();
        let carrier = SlowToTell(asked, may_answer, sender);
        let subscription = Arc::new(one.subscribe(carrier));
        let looking = Arc::clone(&subscription);
        let looker = thread::spawn(move || looking.stats());
        is_asked.recv().unwrap();
        let _closure = other.subscribe_fn(move |_: &u64| subscription.unsubscribe());
        other.send(1);
        assert_eq!(receiver.try_recv(), Err(mpsc::TryRecvError::Empty));
        drop(answer);
        looker.join().unwrap();
        assert_eq!(receiver.try_recv(), Err(mpsc::TryRecvError::Disconnected));
    });
}
