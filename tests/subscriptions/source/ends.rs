//! A subscription ends once, whatever ends it.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, Mutex};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;

use fanfeed::{
    Feed, Stats, Subscription, SubscriptionError, SubscriptionSource, SubscriptionState,
};

use super::kinds::{Doing, Handled, Least, Plain};
use crate::deadline::{DEADLINE, a_moment, in_time};

/// The text of the error that it failed with. It must have ended.
fn failure(subscription: &Subscription) -> Option<String> {
    assert!(subscription.is_closed());
    let error = subscription.err().recv_timeout(DEADLINE).ok()?;
    Some(error.to_string())
}

#[test]
fn of_several_threads_that_end_it_one_does() {
    for round in 0..500 {
        let source = Doing::ends().source();
        let subscription = source.subscription();
        let err = subscription.err();
        let waiter = {
            let closed = subscription.closed();
            thread::spawn(move || closed.wait())
        };
        let barrier = Barrier::new(4);
        let winners: Vec<_> = thread::scope(|scope| {
            let enders: Vec<_> = (0..4)
                .map(|number| {
                    let (source, barrier) = (&source, &barrier);
                    scope.spawn(move || {
                        barrier.wait();
                        // One of them without an error in every other round.
                        if number == 0 && round % 2 == 0 {
                            source.end().then_some(None)
                        } else {
                            let text = format!("failure {number}");
                            source.fail(&text).then_some(Some(text))
                        }
                    })
                })
                .collect();
            let ended = enders.into_iter().map(|ender| ender.join().unwrap());
            ended.flatten().collect()
        });
        assert_eq!(winners.len(), 1);
        waiter.join().unwrap();
        let error = err.recv_timeout(DEADLINE).ok();
        let text = error.map(|error| error.to_string());
        let prefix = "the subscription's producer failed: ";
        assert_eq!(
            text,
            winners[0].as_ref().map(|why| format!("{prefix}{why}"))
        );
        assert!(err.recv().is_err(), "one error at most");
    }
}

#[test]
fn the_second_end_has_no_effect_and_drops_its_error() {
    #[derive(Debug)]
    struct Dear(Arc<AtomicUsize>);
    impl std::fmt::Display for Dear {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("dear")
        }
    }
    impl std::error::Error for Dear {}
    impl Drop for Dear {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
            panic!("an error that panics when it is dropped");
        }
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    let state = SubscriptionState::new(None);
    assert!(state.end(None));
    let error = SubscriptionError::failed(Dear(Arc::clone(&dropped)));
    assert!(!state.end(Some(error)));
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
}

#[test]
fn an_unsubscribe_cancels_and_so_does_each_drop() {
    let source = Doing::ends().source();
    let [first, second] = [(); 2].map(|()| source.subscription());
    assert_eq!(first.id(), second.id());
    first.unsubscribe();
    assert!(second.is_closed());
    assert_eq!(failure(&second), None);
    first.unsubscribe();
    assert_eq!(source.cancelled(), 2);
    drop((first, second));
    assert_eq!((source.cancelled(), source.told()), (4, 0));
}

#[test]
fn a_detached_one_is_not_cancelled() {
    let source = Doing::ends().source();
    source.subscription().detach();
    std::mem::forget(source.subscription());
    assert_eq!((source.cancelled(), source.told()), (0, 0));
    assert!(!source.state().is_ended());
}

#[test]
fn the_handle_shows_what_the_state_says() {
    let source = Doing::ends().named("prices").source();
    let subscription = source.subscription();
    assert_eq!(subscription.id(), source.state().id());
    assert_eq!(subscription.name(), Some("prices"));
    assert_eq!(source.state().name(), Some("prices"));
    assert_eq!(subscription.stats(), Stats::default());
    let debug = format!("{:?} {subscription:?}", source.state());
    assert!(
        debug.contains("ended: false") && debug.contains("\"prices\""),
        "{debug}"
    );
    // An end after which the source is asked again.
    source.fail("late");
    assert!(subscription.is_closed() && source.state().is_ended());
    assert!(failure(&subscription).unwrap().ends_with("late"));
}

#[test]
fn the_least_source_has_no_figures() {
    let source = Arc::new(Least(SubscriptionState::new(None)));
    let subscription = Subscription::from_source(source.clone());
    assert_eq!(subscription.stats(), Stats::default());
    assert_eq!(subscription.name(), None);
    drop(subscription);
    assert!(source.0.is_ended());
}

#[test]
fn one_that_ended_before_it_got_its_handle_has_ended() {
    for fails in [false, true] {
        let source = Doing::ends().source();
        if fails {
            source.fail("early");
        } else {
            source.end();
        }
        let subscription = source.subscription();
        assert!(subscription.closed().wait_timeout(Duration::ZERO));
        assert_eq!(failure(&subscription).is_some(), fails);
    }
}

#[test]
fn whatever_waits_for_the_end_is_woken() {
    struct Woken(AtomicUsize);
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let source = Doing::ends().source();
    let subscription = source.subscription();
    let woken = Arc::new(Woken(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&woken));
    let mut context = Context::from_waker(&waker);
    let mut task = pin!(subscription.closed());
    assert!(task.as_mut().poll(&mut context).is_pending());
    let forgotten = subscription.closed();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let mut closed = subscription.closed();
            thread::spawn(move || closed.wait_timeout(DEADLINE))
        })
        .collect();
    drop(forgotten);
    source.end();
    assert!(threads.into_iter().all(|thread| thread.join().unwrap()));
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    assert!(task.as_mut().poll(&mut context).is_ready());
}

#[test]
fn a_waker_that_comes_back_to_the_source_meets_one_that_has_ended() {
    struct Back(Mutex<Option<Subscription>>, Arc<Plain>);
    impl Wake for Back {
        fn wake(self: Arc<Self>) {
            let subscription = self.0.lock().unwrap().take().unwrap();
            assert!(subscription.is_closed());
            assert!(!self.1.fail("too late"));
            subscription.unsubscribe();
            let mut closed = subscription.closed();
            assert!(closed.wait_timeout(Duration::ZERO));
            drop(subscription);
        }
    }
    in_time(|| {
        let source = Doing::ends().source();
        let subscription = source.subscription();
        let mut closed = pin!(subscription.closed());
        let back = Back(Mutex::new(Some(source.subscription())), source.clone());
        let waker = Waker::from(Arc::new(back));
        assert!(
            closed
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
        subscription.unsubscribe();
        // Once by this thread, once by the waker, once by the waker's drop of its handle.
        assert_eq!(source.cancelled(), 3);
        assert_eq!(failure(&subscription), None);
    });
}

#[test]
fn inside_a_delivery_a_cancel_is_told_not_to_wait() {
    in_time(|| {
        assert!(SubscriptionState::may_wait());
        let feed = Feed::<()>::new();
        // The handler, on this thread, waits for the delivery on the other, which unsubscribes the
        // handler.
        let began = Arc::new(Barrier::new(2));
        let listener = Arc::new(Mutex::new(None::<Subscription>));
        let closure = {
            let (began, listener) = (Arc::clone(&began), Arc::clone(&listener));
            feed.subscribe_fn(move |()| {
                began.wait();
                assert!(!SubscriptionState::may_wait());
                let listener = listener.lock().unwrap().take();
                drop(listener);
            })
        };
        let alive = Arc::new(());
        let handled = {
            let alive = Arc::clone(&alive);
            Handled::new(move || {
                let _alive = &alive;
                began.wait();
                closure.unsubscribe();
            })
        };
        *listener.lock().unwrap() = Some(Subscription::from_source(handled.clone()));
        let sender = {
            let feed = feed.clone();
            thread::spawn(move || feed.send(()))
        };
        handled.deliver();
        sender.join().unwrap();
        assert!(handled.state().is_ended());
        assert_eq!(
            Arc::strong_count(&alive),
            1,
            "the handler was dropped after its last run"
        );
    });
}

#[test]
fn a_cancel_that_waits_is_waited_for() {
    in_time(|| {
        let (begins, began) = channel();
        let [begun, done] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
        let handled = {
            let (begun, done) = (Arc::clone(&begun), Arc::clone(&done));
            Handled::new(move || {
                begun.fetch_add(1, Ordering::SeqCst);
                begins.send(()).unwrap();
                a_moment();
                done.fetch_add(1, Ordering::SeqCst);
            })
        };
        let subscription = Subscription::from_source(handled.clone());
        let deliverer = thread::spawn(move || (0..100).for_each(|_| handled.deliver()));
        began.recv().unwrap();
        subscription.unsubscribe();
        let at_the_end = done.load(Ordering::SeqCst);
        assert_eq!(begun.load(Ordering::SeqCst), at_the_end, "a handler runs");
        deliverer.join().unwrap();
        assert_eq!(begun.load(Ordering::SeqCst), at_the_end);
    });
}

#[test]
#[cfg(target_pointer_width = "64")]
fn a_state_is_as_small_as_its_page_says() {
    assert_eq!(size_of::<SubscriptionState>(), 40);
}
