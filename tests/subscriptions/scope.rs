//! Many subscriptions that end together.

use crate::deadline::{DEADLINE, a_moment, eventually, in_time};
use crossbeam_channel::bounded;
use fanfeed::{Closed, Feed, Subscription, SubscriptionScope};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::task::{Context, Wake, Waker};
use std::thread;

type Ended = Result<(), Infallible>;

/// Counts itself while it runs, and takes a while to end.
fn counted(running: &Arc<AtomicUsize>) -> Subscription {
    running.fetch_add(1, Ordering::SeqCst);
    let running = Arc::clone(running);
    Subscription::spawn(move |token| -> Ended {
        assert!(token.wait_timeout(DEADLINE), "not cancelled");
        a_moment();
        running.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    })
}

fn ends_at_once() -> Subscription {
    Subscription::spawn(|_| -> Ended { Ok(()) })
}

#[test]
fn close_ends_all_that_are_tracked_and_waits_for_them() {
    for _ in 0..50 {
        let running = Arc::new(AtomicUsize::new(0));
        let scope = SubscriptionScope::default();
        let tracked: Vec<_> = (0..4)
            .map(|_| scope.track(counted(&running)).unwrap())
            .collect();
        assert_eq!(scope.count(), 4);
        assert!(!scope.is_closed());
        scope.close();
        assert_eq!(running.load(Ordering::SeqCst), 0);
        assert!(tracked.iter().all(Subscription::is_closed));
        assert_eq!(scope.count(), 0);
        assert!(scope.is_closed());
        scope.close();
    }
}

#[test]
fn a_closed_scope_tracks_nothing_and_unsubscribes_what_it_is_given() {
    let running = Arc::new(AtomicUsize::new(0));
    let scope = SubscriptionScope::new();
    scope.close();
    assert!(scope.track(counted(&running)).is_none());
    assert_eq!(running.load(Ordering::SeqCst), 0);
    assert_eq!(scope.count(), 0);
}

#[test]
fn what_track_gives_back_is_the_subscription() {
    let scope = SubscriptionScope::new();
    let subscription = Subscription::spawn(|_| Err("broken"));
    let id = subscription.id();
    let tracked = scope.track(subscription).unwrap();
    assert_eq!(tracked.id(), id);
    assert!(tracked.err().recv_timeout(DEADLINE).unwrap().is_failed());
}

#[test]
fn unsubscribing_or_dropping_the_handle_takes_it_off_the_scope() {
    for _ in 0..50 {
        let running = Arc::new(AtomicUsize::new(0));
        let scope = SubscriptionScope::new();
        let unsubscribed = scope.track(counted(&running)).unwrap();
        let dropped = scope.track(counted(&running)).unwrap();
        let _kept = scope.track(counted(&running)).unwrap();
        unsubscribed.unsubscribe();
        assert_eq!(scope.count(), 2);
        unsubscribed.unsubscribe();
        drop(dropped);
        assert_eq!(scope.count(), 1);
        assert_eq!(running.load(Ordering::SeqCst), 1);
    }
}

#[test]
fn one_that_ends_by_itself_is_off_the_scope() {
    let scope = SubscriptionScope::new();
    let mut tracked = scope.track(ends_at_once()).unwrap().closed();
    assert!(tracked.wait_timeout(DEADLINE));
    assert_eq!(scope.count(), 0);

    let ended = ends_at_once();
    assert!(ended.closed().wait_timeout(DEADLINE));
    let _ended = scope.track(ended).unwrap();
    assert_eq!(scope.count(), 0);
    assert!(!scope.is_closed());
}

#[test]
fn a_detached_one_lives_until_the_scope_is_closed_or_dropped() {
    let running = Arc::new(AtomicUsize::new(0));
    let scope = SubscriptionScope::new();
    scope.track(counted(&running)).unwrap().detach();
    assert_eq!((scope.count(), running.load(Ordering::SeqCst)), (1, 1));
    drop(scope);
    assert_eq!(running.load(Ordering::SeqCst), 0);
}

#[test]
fn one_that_is_tracked_twice_counts_once() {
    let running = Arc::new(AtomicUsize::new(0));
    let scope = SubscriptionScope::new();
    let tracked = scope.track(counted(&running)).unwrap();
    let tracked = scope.track(tracked).unwrap();
    let other_scope = SubscriptionScope::new();
    let tracked = other_scope.track(tracked).unwrap();
    assert_eq!((scope.count(), other_scope.count()), (1, 1));
    other_scope.close();
    assert!(tracked.is_closed());
    assert_eq!((scope.count(), other_scope.count()), (0, 0));
}

#[test]
fn a_scope_closed_while_something_is_being_tracked_leaves_nothing_live() {
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..400 {
        let running = Arc::new(AtomicUsize::new(0));
        let scope = Arc::new(SubscriptionScope::new());
        let start = Arc::new(Barrier::new(2));
        let tracker = {
            let (scope, start, running) =
                (Arc::clone(&scope), Arc::clone(&start), Arc::clone(&running));
            thread::spawn(move || {
                let subscription = counted(&running);
                start.wait();
                scope.track(subscription)
            })
        };
        start.wait();
        scope.close();
        let tracked = in_time(|| tracker.join().unwrap());
        assert_eq!(running.load(Ordering::SeqCst), 0);
        assert_eq!(scope.count(), 0);
        match tracked {
            Some(tracked) => {
                assert!(tracked.is_closed());
                accepted += 1;
            }
            None => refused += 1,
        }
    }
    println!("{accepted} were tracked in time, {refused} came late");
}

#[test]
fn all_threads_that_close_it_together_return_after_the_end() {
    for _ in 0..100 {
        let running = Arc::new(AtomicUsize::new(0));
        let scope = Arc::new(SubscriptionScope::new());
        for _ in 0..3 {
            scope.track(counted(&running)).unwrap().detach();
        }
        let start = Arc::new(Barrier::new(3));
        let closers: Vec<_> = (0..3)
            .map(|_| {
                let (scope, start, running) =
                    (Arc::clone(&scope), Arc::clone(&start), Arc::clone(&running));
                thread::spawn(move || {
                    start.wait();
                    scope.close();
                    assert_eq!(running.load(Ordering::SeqCst), 0);
                    assert_eq!(scope.count(), 0);
                })
            })
            .collect();
        in_time(move || {
            for closer in closers {
                closer.join().unwrap();
            }
        });
    }
}

#[test]
fn all_are_told_to_end_before_the_first_wait() {
    let scope = SubscriptionScope::new();
    let (told, tell) = bounded::<()>(0);
    // It ends only after the second was told to.
    let first = Subscription::spawn(move |_| -> Ended {
        assert!(
            tell.recv_timeout(DEADLINE)
                .is_err_and(|error| error.is_disconnected()),
            "the second was not told"
        );
        Ok(())
    });
    let second = Subscription::spawn(move |token| -> Ended {
        let _told = told;
        let _ = token.channel().recv();
        Ok(())
    });
    let first = scope.track(first).unwrap();
    scope.track(second).unwrap().detach();
    in_time(move || scope.close());
    assert!(first.err().recv().is_err(), "it has not panicked");
}

#[test]
fn tracked_producers_close_the_scope_they_are_on() {
    for producers in [1, 2, 3] {
        for _ in 0..100 {
            let running = Arc::new(AtomicUsize::new(0));
            let scope = Arc::new(SubscriptionScope::new());
            scope.track(counted(&running)).unwrap().detach();
            let start = Arc::new(Barrier::new(producers + 1));
            for _ in 0..producers {
                let (scope_in, start) = (Arc::clone(&scope), Arc::clone(&start));
                running.fetch_add(1, Ordering::SeqCst);
                let running = Arc::clone(&running);
                let closes = Subscription::spawn(move |token| -> Ended {
                    start.wait();
                    scope_in.close();
                    assert!(token.is_cancelled());
                    drop(scope_in);
                    running.fetch_sub(1, Ordering::SeqCst);
                    Ok(())
                });
                scope.track(closes).unwrap().detach();
            }
            start.wait();
            in_time(move || {
                scope.close();
                assert_eq!(scope.count(), 0);
            });
            assert_eq!(running.load(Ordering::SeqCst), 0);
        }
    }
}

#[test]
fn a_producer_that_unsubscribes_itself_is_on_the_scope_until_it_has_ended() {
    let scope = SubscriptionScope::new();
    let (give, take) = bounded::<Subscription>(1);
    let (called, calls) = bounded(1);
    let (release, held) = bounded::<()>(0);
    let subscription = Subscription::spawn(move |_| -> Ended {
        drop(take.recv().unwrap());
        called.send(()).unwrap();
        let _ = held.recv();
        Ok(())
    });
    give.send(scope.track(subscription).unwrap()).unwrap();
    calls.recv_timeout(DEADLINE).unwrap();
    assert_eq!(scope.count(), 1);
    drop(release);
    in_time(move || {
        scope.close();
        assert_eq!(scope.count(), 0);
    });
}

/// Counts what is on a scope, from where the end of a subscription is announced.
struct Counts {
    scope: Arc<SubscriptionScope>,
    counted: crossbeam_channel::Sender<usize>,
}

impl Wake for Counts {
    fn wake(self: Arc<Self>) {
        self.counted.send(self.scope.count()).unwrap();
    }
}

#[test]
fn one_that_has_ended_does_not_count_even_before_the_scope_has_heard_of_it() {
    let scope = Arc::new(SubscriptionScope::new());
    let subscription = Subscription::join([]);
    let (counted, count) = bounded(1);
    let waker = Waker::from(Arc::new(Counts {
        scope: Arc::clone(&scope),
        counted,
    }));
    // It hears of the end before the scope does.
    let mut end = subscription.closed();
    assert!(
        Pin::new(&mut end)
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    let subscription = scope.track(subscription).unwrap();
    assert_eq!(scope.count(), 1);
    subscription.unsubscribe();
    assert_eq!(count.try_recv(), Ok(0));
}

/// Closes a scope from where the end of a subscription is announced.
struct Closes {
    scope: Arc<SubscriptionScope>,
    done: crossbeam_channel::Sender<()>,
}

impl Wake for Closes {
    fn wake(self: Arc<Self>) {
        self.scope.close();
        self.done.send(()).unwrap();
    }
}

#[test]
fn the_end_of_one_closes_the_scope() {
    let running = Arc::new(AtomicUsize::new(0));
    let scope = Arc::new(SubscriptionScope::new());
    let (go, wait) = bounded::<()>(0);
    let tracked = scope
        .track(Subscription::spawn(move |_| -> Ended {
            let _ = wait.recv();
            Ok(())
        }))
        .unwrap();
    let other = scope.track(counted(&running)).unwrap();
    let (done, closed) = bounded(1);
    let waker = Waker::from(Arc::new(Closes {
        scope: Arc::clone(&scope),
        done,
    }));
    let mut end: Closed = tracked.closed();
    assert!(
        Pin::new(&mut end)
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    drop(go);
    closed.recv_timeout(DEADLINE).unwrap();
    assert!(other.is_closed());
    assert_eq!(running.load(Ordering::SeqCst), 0);
}

#[test]
fn a_delivery_closes_the_scope_whose_producer_waits_for_that_delivery() {
    for _ in 0..50 {
        let running = Arc::new(AtomicUsize::new(1));
        let scope = Arc::new(SubscriptionScope::new());
        let feed = Arc::new(Feed::new());
        let (closing, delivered) = (Arc::clone(&scope), Arc::new(Barrier::new(2)));
        let served = {
            let delivered = Arc::clone(&delivered);
            scope
                .track(feed.subscribe_fn(move |_: &u32| {
                    delivered.wait();
                    closing.close();
                }))
                .unwrap()
        };
        let producer = {
            let running = Arc::clone(&running);
            Subscription::spawn(move |_| -> Ended {
                delivered.wait();
                // Waits for the delivery, which is closing the scope that this producer is on.
                served.unsubscribe();
                running.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            })
        };
        let producer = scope.track(producer).unwrap();
        in_time(move || {
            assert_eq!(feed.send(1), 1);
            producer.unsubscribe();
        });
        assert_eq!(running.load(Ordering::SeqCst), 0);
        scope.close();
        assert_eq!(scope.count(), 0);
    }
}

#[test]
fn a_feed_and_its_receivers_take_themselves_off_the_scope() {
    let scope = SubscriptionScope::new();
    let feed = Feed::<u32>::new();
    let (receiver, subscription) = feed.channel(4).unwrap().split();
    let received = scope.track(subscription).unwrap();
    let (tx, _rx) = bounded(4);
    scope.track(feed.subscribe(tx)).unwrap().detach();
    assert_eq!(scope.count(), 2);
    drop(receiver);
    assert!(received.is_closed());
    assert_eq!(scope.count(), 1);
    feed.close();
    assert_eq!(scope.count(), 0);

    let feed = Feed::new();
    let (tx, rx) = bounded(4);
    scope.track(feed.subscribe(tx)).unwrap().detach();
    feed.send(7);
    scope.close();
    assert_eq!(feed.send(8), 0);
    assert_eq!(rx.iter().collect::<Vec<_>>(), [7]);
}

#[test]
fn scope_and_handles_are_dropped_in_any_order() {
    for order in 0..6 {
        let running = Arc::new(AtomicUsize::new(0));
        let scope = SubscriptionScope::new();
        let one = scope.track(counted(&running)).unwrap();
        let joined = scope
            .track(Subscription::join([counted(&running), counted(&running)]))
            .unwrap();
        let mut droppable: Vec<Box<dyn Send>> =
            vec![Box::new(scope), Box::new(one), Box::new(joined)];
        in_time(move || {
            drop(droppable.remove(order % 3));
            drop(droppable.remove(order / 3));
            drop(droppable);
        });
        assert_eq!(running.load(Ordering::SeqCst), 0);
    }
}

#[test]
fn many_short_ones_are_all_taken_off() {
    let scope = SubscriptionScope::new();
    for _ in 0..200 {
        scope.track(ends_at_once()).unwrap().detach();
    }
    eventually("all have ended", || scope.count() == 0);
}

#[test]
fn it_is_shared_between_threads_and_says_what_it_is() {
    fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<SubscriptionScope>();
    let scope = SubscriptionScope::new();
    let running = Arc::new(AtomicUsize::new(0));
    let _one = scope.track(counted(&running)).unwrap();
    assert_eq!(
        format!("{scope:?}"),
        "SubscriptionScope { closed: false, count: 1, .. }"
    );
}

/// Guards against a subscription that is told only when a closure before it has returned.
#[test]
fn all_subscriptions_are_told_to_end_before_the_first_wait() {
    in_time(|| {
        let feed = Feed::new();
        let scope = SubscriptionScope::new();
        let (inside, entered) = bounded(1);
        let (leave, left) = bounded::<()>(0);
        let slow = feed.subscribe_fn(move |_: &u8| {
            inside.send(()).unwrap();
            let _ = left.recv();
        });
        scope.track(slow).unwrap().detach();
        let (sender, receiver) = bounded(1);
        let channel = scope.track(feed.subscribe(sender)).unwrap();
        // The closure returns once the last one has been told.
        let last = Subscription::spawn(move |token| -> Ended {
            let _ = token.channel().recv();
            drop(leave);
            Ok(())
        });
        let last = scope.track(last).unwrap();
        let sending = feed.clone();
        let sender = thread::spawn(move || sending.send(1));
        entered.recv().unwrap();
        scope.close();
        assert!(last.is_closed() && channel.is_closed());
        assert_eq!(receiver.iter().collect::<Vec<_>>(), [1]);
        assert_eq!(sender.join().unwrap(), 2);
        assert_eq!(feed.subscriber_count(), 0);
    });
}
