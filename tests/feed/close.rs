//! Closing a feed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};
use std::thread;

use fanfeed::{Feed, RecvError, RecvTimeoutError, Subscription, TryRecvError};

use crate::common::{PATIENCE, blocked_send, eventually, join, watchdog};

#[test]
fn closing_releases_blocked_sends_and_lets_receivers_drain() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let mut own = feed.channel(1).unwrap();
    let (tx, crossbeam) = crossbeam_channel::bounded(1);
    let crossbeam_subscription = feed.subscribe(tx);
    let (tx, std_rx) = std::sync::mpsc::sync_channel(1);
    let std_subscription = feed.subscribe(tx);
    let errors = [
        own.subscription().err(),
        crossbeam_subscription.err(),
        std_subscription.err(),
    ];
    assert_eq!(feed.send(1), 3);
    let senders = [
        blocked_send(&feed, own.subscription(), 2),
        blocked_send(&feed, own.subscription(), 3),
    ];
    feed.close();
    for sender in senders {
        assert_eq!(join(sender), 0);
    }
    assert_eq!(feed.subscriber_count(), 0);
    assert!(own.is_closed() && crossbeam_subscription.is_closed() && std_subscription.is_closed());
    // What was in the channels is still there, and then they end.
    assert_eq!(own.iter().collect::<Vec<_>>(), [1]);
    assert_eq!(own.try_recv(), Err(TryRecvError::Closed));
    assert_eq!(own.recv_timeout(PATIENCE), Err(RecvTimeoutError::Closed));
    assert_eq!(crossbeam.iter().collect::<Vec<_>>(), [1]);
    assert_eq!(std_rx.iter().collect::<Vec<_>>(), [1]);
    for errors in errors {
        assert_eq!(
            errors.try_recv().unwrap_err(),
            crossbeam_channel::TryRecvError::Disconnected
        );
    }
    feed.close();
}

#[test]
fn dropping_the_last_handle_releases_a_receiver_that_waits() {
    let _watchdog = watchdog();
    let feed = Feed::<u8>::new();
    let mut receiver = feed.channel(1).unwrap();
    let waiting = Arc::new(AtomicBool::new(false));
    let reader = thread::spawn({
        let waiting = Arc::clone(&waiting);
        move || {
            waiting.store(true, Ordering::Release);
            receiver.recv()
        }
    });
    eventually(|| waiting.load(Ordering::Acquire));
    drop(feed);
    assert_eq!(join(reader), Err(RecvError::Closed));
}

#[test]
fn a_subscription_to_a_closed_feed_has_ended_at_once() {
    let feed = Feed::<u8>::new();
    feed.close();
    let (tx, rx) = crossbeam_channel::unbounded::<u8>();
    let subscription = feed.subscribe(tx);
    assert!(subscription.is_closed());
    assert_eq!(
        rx.try_recv(),
        Err(crossbeam_channel::TryRecvError::Disconnected)
    );
    assert!(subscription.err().recv().is_err());
    subscription.closed().wait();
    subscription.unsubscribe();
    let mut receiver = feed.channel(3).unwrap();
    assert_eq!(receiver.recv(), Err(RecvError::Closed));
    assert!(feed.subscribe_fn(|_| unreachable!()).is_closed());
    assert_eq!(feed.subscriber_count(), 0);
    assert_eq!(feed.send(1), 0);
}

#[test]
fn nothing_is_put_on_any_channel_once_close_has_returned() {
    let _watchdog = watchdog();
    for round in 0..60 {
        let feed = Feed::new();
        let (tx, rx) = crossbeam_channel::unbounded();
        let _subscription = feed.subscribe(tx);
        let own = feed.channel(4096).unwrap();
        let after_close = Arc::new(AtomicBool::new(false));
        let called_late = Arc::new(AtomicBool::new(false));
        let _closure = feed.subscribe_fn({
            let (after_close, called_late) = (Arc::clone(&after_close), Arc::clone(&called_late));
            move |_| called_late.store(after_close.load(Ordering::SeqCst), Ordering::SeqCst)
        });
        let senders: Vec<_> = (0..3)
            .map(|_| {
                let feed = feed.clone();
                thread::spawn(move || while feed.try_send(1).is_ok_and(|reached| reached != 0) {})
            })
            .collect();
        eventually(|| own.stats().delivered > round * 3);
        feed.close();
        after_close.store(true, Ordering::SeqCst);
        let counts = (rx.len(), own.len());
        senders.into_iter().for_each(join);
        assert_eq!((rx.len(), own.len()), counts);
        assert!(!called_late.load(Ordering::SeqCst));
    }
}

/// Ends a subscription when it is woken.
struct Unsubscribes(Arc<Subscription>);

impl Wake for Unsubscribes {
    fn wake(self: Arc<Self>) {
        self.0.unsubscribe();
    }
}

/// Guards against telling that waits: a task that is told of the first end unsubscribes a closure
/// which is running, and runs until the last subscription has been told.
#[test]
fn a_waker_that_unsubscribes_keeps_no_other_member_from_being_told() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let (running, runs) = crossbeam_channel::bounded(1);
    let (told, is_told) = crossbeam_channel::bounded(1);
    let (outcome, was_told) = crossbeam_channel::bounded(1);
    let first = feed.subscribe_fn(|_| {});
    let second = Arc::new(feed.subscribe_fn(move |_| {
        running.send(()).unwrap();
        let _ = outcome.send(is_told.recv_timeout(PATIENCE));
    }));
    let last = feed.subscribe_fn(|_| {});
    let waits = |subscription: &Subscription, waker: &Waker| {
        let mut closed = Box::pin(subscription.closed());
        let mut context = Context::from_waker(waker);
        assert!(closed.as_mut().poll(&mut context).is_pending());
        closed
    };
    let unsubscribes = Waker::from(Arc::new(Unsubscribes(Arc::clone(&second))));
    let first = (waits(&first, &unsubscribes), first);
    let last = (waits(&last, &Waker::from(Arc::new(Tells(told)))), last);
    let sender = thread::spawn({
        let feed = feed.clone();
        move || feed.send(1)
    });
    runs.recv_timeout(PATIENCE).unwrap();
    feed.close();
    join(sender);
    assert_eq!(was_told.recv(), Ok(Ok(())), "the last is told");
    drop((first, last));
}

struct Tells(crossbeam_channel::Sender<()>);

impl Wake for Tells {
    fn wake(self: Arc<Self>) {
        self.0.send(()).unwrap();
    }
}

#[test]
fn the_end_of_a_feed_can_be_waited_for() {
    let _watchdog = watchdog();
    let feed = Feed::<u8>::new();
    let mut early = feed.closed();
    assert!(!early.wait_timeout(std::time::Duration::from_millis(1)));
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let closed = feed.closed();
            thread::spawn(move || closed.wait())
        })
        .collect();
    let other = feed.clone();
    drop(feed);
    assert!(threads.iter().all(|thread| !thread.is_finished()));
    // It counts as no handle: the end of the last one is the end of the feed.
    drop(other);
    threads.into_iter().for_each(join);
    assert!(early.wait_timeout(PATIENCE));

    let feed = Feed::<u8>::new();
    feed.close();
    feed.closed().wait();
    let waker = Waker::noop();
    let closed = std::pin::pin!(feed.closed());
    assert!(closed.poll(&mut Context::from_waker(waker)).is_ready());
}

#[test]
fn a_feed_that_is_closed_while_a_thread_begins_to_wait_wakes_it() {
    let _watchdog = watchdog();
    for _ in 0..500 {
        let feed = Feed::<u8>::new();
        let closing = feed.clone();
        let closer = thread::spawn(move || closing.close());
        feed.closed().wait();
        assert!(feed.is_closed());
        join(closer);
    }
}
