//! Subscriptions whose end causes their end again. This must neither hang nor leak.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;

use crate::common::tasks::counting_waker;
use crate::common::{join, watchdog};
use crossbeam_channel::RecvTimeoutError;
use fanfeed::{Carrier, Feed, Subscription, TrySendError};

/// Guards against the reaper that dropped a closure, and with it the last handle of that same
/// closure's subscription, which then waited for itself to be reaped.
#[test]
fn a_closure_may_hold_the_handle_of_its_own_subscription() {
    let _watchdog = watchdog();
    let feed = Feed::<u8>::new();
    let handle: Arc<Mutex<Option<Subscription>>> = Arc::default();
    let held = Arc::clone(&handle);
    let subscription = feed.subscribe_fn(move |_| drop(held.lock()));
    *handle.lock().unwrap() = Some(subscription);
    let weak = Arc::downgrade(&handle);
    drop(handle);
    assert_eq!(feed.send(1), 1);
    feed.close();
    assert!(
        weak.upgrade().is_none(),
        "the closure and its handle were dropped"
    );
}

/// Unsubscribes what it is told has ended.
struct UnsubscribeAgain(Arc<Subscription>);

impl Wake for UnsubscribeAgain {
    fn wake(self: Arc<Self>) {
        self.0.unsubscribe();
    }
}

/// Guards against an end that was announced before it was done, to a waker that waited for it to be
/// done.
#[test]
fn what_is_woken_by_the_end_may_unsubscribe_once_more() {
    let _watchdog = watchdog();
    let feed = Feed::<u8>::new();
    let (tx, rx) = crossbeam_channel::unbounded();
    let subscription = Arc::new(feed.subscribe(tx));
    let waker = Waker::from(Arc::new(UnsubscribeAgain(Arc::clone(&subscription))));
    let mut closed = subscription.closed();
    assert!(
        Pin::new(&mut closed)
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    subscription.unsubscribe();
    assert!(subscription.is_closed());
    assert!(rx.recv().is_err(), "the carrier was dropped");
}

/// Guards against carriers that stayed until the next send of a feed that is closed.
#[test]
fn a_feed_that_is_closed_inside_the_delivery_of_another_drops_its_carriers() {
    let _watchdog = watchdog();
    let (outer, inner) = (Feed::<u8>::new(), Feed::<u8>::new());
    let (tx, rx) = crossbeam_channel::unbounded();
    let _inner_subscription = inner.subscribe(tx);
    let _closing = outer.subscribe_fn({
        let inner = inner.clone();
        move |_| inner.close()
    });
    outer.send(1);
    assert_eq!(
        rx.recv_timeout(Duration::from_secs(10)),
        Err(RecvTimeoutError::Disconnected)
    );
}

#[test]
fn waiting_for_the_end_lasts_until_the_end() {
    let _watchdog = watchdog();
    let feed = Feed::<u8>::new();
    let subscription = feed.subscribe_fn(|_| {});
    let closed = subscription.closed();
    let (told, telling) = crossbeam_channel::bounded(1);
    let waiter = thread::spawn(move || {
        closed.wait();
        told.send(()).unwrap();
    });
    let early = telling.recv_timeout(Duration::from_millis(20));
    assert_eq!(early, Err(RecvTimeoutError::Timeout));
    subscription.unsubscribe();
    join(waiter);
}

#[test]
fn of_several_who_wait_for_one_end_each_can_stop_waiting() {
    let feed = Feed::<u8>::new();
    let subscription = feed.subscribe_fn(|_| {});
    let wakers = [counting_waker(), counting_waker(), counting_waker()];
    let mut waits: Vec<_> = wakers.iter().map(|_| subscription.closed()).collect();
    for (closed, (_, waker)) in waits.iter_mut().zip(&wakers) {
        let mut context = Context::from_waker(waker);
        assert!(Pin::new(closed).poll(&mut context).is_pending());
    }
    drop(waits.remove(1));
    subscription.unsubscribe();
    let woken = wakers.map(|(count, _)| count.0.load(Ordering::SeqCst));
    assert_eq!(woken, [1, 0, 1]);
}

#[test]
fn closing_ends_the_subscribers_of_all_chunks() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let held = Arc::new(());
    // Three chunks of channels, and three of closures.
    let subscriptions: Vec<_> = (0..150)
        .flat_map(|_| {
            let held = Arc::clone(&held);
            let closure = feed.subscribe_fn(move |_| assert!(Arc::strong_count(&held) > 1));
            [feed.subscribe(crossbeam_channel::unbounded().0), closure]
        })
        .collect();
    feed.close();
    assert!(subscriptions.iter().all(Subscription::is_closed));
    assert_eq!(Arc::strong_count(&held), 1, "all closures were dropped");
    assert_eq!(feed.send(1), 0);
}

/// The last handle of the feed that it is subscribed to, which it lets go when it is asked for its
/// depth.
struct LastHandle {
    feed: Mutex<Option<Feed<u8>>>,
    is_dropped: Arc<AtomicBool>,
}

impl Carrier<u8> for LastHandle {
    fn try_send(&self, _: u8) -> Result<(), TrySendError<u8>> {
        Ok(())
    }

    fn depth(&self) -> Option<usize> {
        let is_dropped = Arc::clone(&self.is_dropped);
        let feed = self.feed.lock().unwrap().take();
        drop(feed);
        Some(usize::from(is_dropped.load(Ordering::SeqCst)))
    }
}

impl Drop for LastHandle {
    fn drop(&mut self) {
        self.is_dropped.store(true, Ordering::SeqCst);
    }
}

/// Guards against the end of a feed that dropped a carrier while that was being asked for its
/// depth.
#[test]
fn a_carrier_that_ends_its_feed_when_it_is_asked_for_its_depth_lives_until_it_has_answered() {
    let feed = Feed::new();
    let is_dropped = Arc::new(AtomicBool::new(false));
    let subscription = feed.subscribe(LastHandle {
        feed: Mutex::new(Some(feed.clone())),
        is_dropped: Arc::clone(&is_dropped),
    });
    drop(feed);
    assert_eq!(subscription.stats().depth, Some(0));
    assert!(subscription.is_closed());
    assert!(
        is_dropped.load(Ordering::SeqCst),
        "it is dropped afterwards"
    );
}
