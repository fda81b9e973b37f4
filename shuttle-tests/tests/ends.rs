//! Scopes, joined subscriptions, producers, tokens, a mux: when the call that ends them has
//! returned, they have ended.
//!
//! Programs: three threads that track, cancel, post or wait, and one that ends it. Crossbeam
//! channels (a token's channel, the channel from `err`) are only tried, never waited for, because
//! shuttle would not see that wait.
//!
//! ```text
//! RUSTFLAGS="--cfg fanfeed_shuttle" cargo test -p fanfeed-shuttle-tests --release --test ends
//! ```
#![cfg(fanfeed_shuttle)]
#![allow(deprecated)]

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use fanfeed::{
    CancelToken, Feed, Overflow, RecvError, Subscription, SubscriptionError, SubscriptionScope,
    SubscriptionSource, SubscriptionState, TypeMux, resubscribe,
};
use fanfeed_shuttle_tests::{PostBox, Schedules, Why, post};
use shuttle::sync::Mutex;
use shuttle::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use shuttle::thread;

/// Two track, one sends, one closes.
fn a_scope() {
    let feed = Feed::<u32>::new();
    let scope = Arc::new(SubscriptionScope::new());
    let trackers = [(); 2].map(|()| {
        let (feed, scope) = (feed.clone(), Arc::clone(&scope));
        thread::spawn(move || {
            let (post, post_box) = post(8);
            if let Some(tracked) = scope.track(feed.subscribe(post)) {
                tracked.detach();
            }
            post_box
        })
    });
    let sender = {
        let feed = feed.clone();
        thread::spawn(move || feed.send(1) + feed.send(2))
    };
    let closer = {
        let scope = Arc::clone(&scope);
        thread::spawn(move || scope.close())
    };
    scope.close();
    assert_eq!(scope.count(), 0);
    closer.join().unwrap();
    let boxes = trackers.map(|tracker| tracker.join().unwrap());
    for post_box in &boxes {
        post_box.seal();
    }
    let sent = sender.join().unwrap();
    // The thread that came first has dropped them.
    for post_box in &boxes {
        post_box.assert_ended();
    }
    let arrived = boxes
        .iter()
        .map(|post_box| std::iter::from_fn(|| post_box.take()).count());
    assert_eq!(sent, arrived.sum());
}

/// One of three that are joined fails by falling behind, and another thread unsubscribes them, and
/// others send.
fn joined(unsubscribes: bool) {
    let feed = Feed::<u32>::new();
    let options = feed.subscriber().capacity(1);
    let (_receiver, fragile) = options
        .overflow(Overflow::Disconnect)
        .channel()
        .unwrap()
        .split();
    let boxes = [(); 2].map(|()| post(8));
    let mut members = vec![fragile];
    let boxes = boxes.map(|(post, post_box)| {
        members.push(feed.subscribe(post));
        post_box
    });
    let all = Arc::new(Subscription::join(members));
    let senders = [1, 2].map(|value| {
        let feed = feed.clone();
        thread::spawn(move || {
            feed.send(value);
            feed.send(value);
        })
    });
    if unsubscribes {
        all.unsubscribe();
    } else {
        all.closed().wait();
        assert!(all.err().try_recv().unwrap().is_overflowed());
    }
    assert!(all.is_closed());
    if unsubscribes {
        // The sender that ended one of them drops the others.
        boxes.iter().for_each(PostBox::seal);
    }
    for sender in senders {
        sender.join().unwrap();
    }
    assert_eq!(feed.subscriber_count(), 0);
    // What a thread that did not wait for the others has left is done by the next send.
    assert_eq!(feed.send(3), 0);
    for post_box in &boxes {
        post_box.assert_ended();
    }
}

fn spawn(producer: impl FnOnce(CancelToken) + Send + 'static) -> Subscription {
    Subscription::spawn(|token| {
        producer(token);
        Ok::<(), Infallible>(())
    })
}

/// A producer that sends until it is told to end, a receiver of that, and three that tell it and
/// wait.
fn a_producer() {
    let feed = Feed::new();
    let mut receiver = feed.channel(2).unwrap();
    let ended = Arc::new(AtomicBool::new(false));
    let subscription = {
        let ended = Arc::clone(&ended);
        Arc::new(spawn(move |token| {
            for value in 0.. {
                if token.is_cancelled() || value == 3 {
                    break;
                }
                feed.send(value);
            }
            while !token.wait_timeout(Duration::MAX) {}
            ended.store(true, Ordering::SeqCst);
        }))
    };
    let others = [(); 2].map(|()| {
        let (subscription, ended) = (Arc::clone(&subscription), Arc::clone(&ended));
        thread::spawn(move || {
            subscription.unsubscribe();
            assert!(ended.load(Ordering::SeqCst));
        })
    });
    let waiter = {
        let subscription = Arc::clone(&subscription);
        thread::spawn(move || subscription.closed().wait())
    };
    let received: Vec<_> = receiver.iter().collect();
    assert!(received.into_iter().eq(0..receiver.stats().delivered));
    for other in others {
        other.join().unwrap();
    }
    waiter.join().unwrap();
}

type Slot = Arc<Mutex<Option<Arc<Subscription>>>>;

/// Three producers in a circle, of which each unsubscribes the next.
fn a_circle() {
    let slots = [(); 3].map(|()| Slot::default());
    let producers = [0, 1, 2].map(|index| {
        let slot = Arc::clone(&slots[index]);
        Arc::new(spawn(move |_| {
            let next = slot.lock().unwrap().take();
            if let Some(next) = next {
                next.unsubscribe();
            }
        }))
    });
    for (index, slot) in slots.iter().enumerate() {
        *slot.lock().unwrap() = Some(Arc::clone(&producers[(index + 1) % 3]));
    }
    for producer in &producers {
        producer.closed().wait();
    }
    for slot in slots {
        slot.lock().unwrap().take();
    }
}

/// A source that is not the crate's. Its `cancel` waits for the handler.
struct Listener {
    state: SubscriptionState,
    handler: Mutex<bool>,
    running: AtomicBool,
}

impl Listener {
    fn deliver(&self) {
        let is_cancelled = self.handler.lock().unwrap();
        if !*is_cancelled && !self.state.is_ended() {
            self.running.store(true, Ordering::SeqCst);
            thread::yield_now();
            self.running.store(false, Ordering::SeqCst);
        }
    }
}

impl SubscriptionSource for Listener {
    fn state(&self) -> &SubscriptionState {
        &self.state
    }

    fn cancel(&self) {
        self.state.end(None);
        *self.handler.lock().unwrap() = true;
    }

    fn cancel_soon(&self) {
        self.state.end(None);
    }
}

/// Two sources that are joined, and one by itself, all in a scope. One thread delivers, one fails a
/// source, one unsubscribes the joined one, and one closes the scope.
fn sources() {
    let listeners = [(); 3].map(|()| {
        Arc::new(Listener {
            state: SubscriptionState::new(None),
            handler: Mutex::new(false),
            running: AtomicBool::new(false),
        })
    });
    let of = |index: usize| Subscription::from_source(listeners[index].clone());
    let scope = SubscriptionScope::new();
    let joined = scope.track(Subscription::join([of(0), of(1)])).unwrap();
    let alone = scope.track(of(2)).unwrap();
    let deliverer = {
        let listeners = listeners.clone();
        thread::spawn(move || {
            for _ in 0..2 {
                listeners.iter().for_each(|listener| listener.deliver());
            }
        })
    };
    let failing = {
        let listener = Arc::clone(&listeners[0]);
        let error = SubscriptionError::failed("line lost");
        thread::spawn(move || listener.state.end(Some(error)))
    };
    let unsubscriber = {
        let listeners = listeners.clone();
        thread::spawn(move || {
            joined.unsubscribe();
            for listener in &listeners[..2] {
                assert!(!listener.running.load(Ordering::SeqCst), "a handler runs");
            }
            assert!(joined.is_closed());
            joined
        })
    };
    scope.close();
    assert!(!listeners[2].running.load(Ordering::SeqCst));
    assert_eq!(scope.count(), 0);
    assert!(alone.is_closed());
    let joined = unsubscriber.join().unwrap();
    let failed = failing.join().unwrap();
    assert!(joined.err().try_recv().is_ok() == failed);
    assert!(alone.err().try_recv().is_err());
    deliverer.join().unwrap();
    drop((joined, alone, scope));
    for listener in listeners {
        assert_eq!(Arc::strong_count(&listener), 1, "something keeps it");
    }
}

/// Attempts that fail, and one that lasts, which is ended from outside at any moment. Timers fire
/// once others have run.
fn resubscribed() {
    let attempts = Arc::new(AtomicUsize::new(0));
    let running = Arc::new(AtomicUsize::new(0));
    let subscription = {
        let (attempts, running) = (Arc::clone(&attempts), Arc::clone(&running));
        resubscribe(Duration::from_millis(1), move |_| {
            if attempts.fetch_add(1, Ordering::SeqCst) < 2 {
                return Err("not yet");
            }
            let running = Arc::clone(&running);
            Ok(spawn(move |token| {
                assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0);
                while !token.wait_timeout(Duration::MAX) {}
                running.fetch_sub(1, Ordering::SeqCst);
            }))
        })
    };
    let subscription = Arc::new(subscription);
    let other = {
        let subscription = Arc::clone(&subscription);
        thread::spawn(move || subscription.unsubscribe())
    };
    subscription.unsubscribe();
    assert_eq!(running.load(Ordering::SeqCst), 0);
    assert!(subscription.is_closed());
    other.join().unwrap();
}

/// Two post, two subscribe, and one stops the mux.
fn a_mux() {
    let mux = Arc::new(TypeMux::new());
    let mut resident = mux
        .subscriber::<(u32, char)>()
        .capacity(1)
        .channel()
        .unwrap();
    let posters = [1_u32, 2].map(|event| {
        let mux = Arc::clone(&mux);
        thread::spawn(move || mux.post(event).unwrap_or(0) + mux.post('x').unwrap_or(0))
    });
    let visitor = {
        let mux = Arc::clone(&mux);
        thread::spawn(move || mux.subscriber::<(u32,)>().capacity(4).channel().unwrap())
    };
    let stopper = {
        let mux = Arc::clone(&mux);
        thread::spawn(move || {
            mux.stop();
            assert!(mux.post(3_u32).is_err());
        })
    };
    let arrived = resident.iter().count();
    assert_eq!(resident.recv().unwrap_err(), RecvError::Closed);
    stopper.join().unwrap();
    let mut visitor = visitor.join().unwrap();
    assert!(visitor.is_closed());
    let arrived = arrived + visitor.iter().count();
    let posted: usize = posters.map(|poster| poster.join().unwrap()).iter().sum();
    assert_eq!(posted, arrived);
}

/// Three subscribe, and one stops the mux.
fn late_subscribers() {
    let mux = Arc::new(TypeMux::new());
    let subscribers = [(); 3].map(|()| {
        let mux = Arc::clone(&mux);
        thread::spawn(move || mux.subscriber::<(u32,)>().capacity(1).channel().unwrap())
    });
    mux.stop();
    for subscriber in subscribers {
        let mut subscription = subscriber.join().unwrap();
        assert!(subscription.is_closed());
        assert_eq!(subscription.recv().unwrap_err(), RecvError::Closed);
    }
}

#[test]
fn a_closed_scope_leaves_nothing_running() {
    Schedules::new().hold(a_scope);
}

#[test]
fn joined_subscriptions_end_as_one() {
    Schedules::new().hold(|| joined(true));
}

#[test]
fn a_failure_of_one_is_the_end_of_all_that_are_joined() {
    Schedules::new().hold(|| joined(false));
}

#[test]
fn a_producer_is_waited_for() {
    Schedules::new().hold(a_producer);
}

#[test]
fn producers_in_a_circle_do_not_wait_for_each_other() {
    Schedules::new().hold(a_circle);
}

#[test]
fn foreign_sources_end_as_the_crates_own_do() {
    Schedules::new().hold(sources);
}

#[test]
fn a_resubscription_ends_whatever_it_is_about() {
    Schedules::new().with_timers().hold(resubscribed);
}

#[test]
fn a_stopped_mux_has_told_all() {
    Schedules::new().hold(a_mux);
}

#[test]
fn a_stopped_mux_has_no_live_subscription() {
    Schedules::new().hold(late_subscribers);
}

#[test]
fn mutants_are_found() {
    Schedules::new()
        .because(Why::Says("after the channel was unsubscribed"))
        .find("closed_scope_tracks", a_scope);
    Schedules::new()
        .because(Why::Deadlock)
        .find("cancel_wakes_nobody", a_producer);
    Schedules::new()
        .because(Why::Says("ended.load(Ordering::SeqCst)"))
        .find("producer_is_not_waited_for", a_producer);
    Schedules::new()
        .because(Why::Says("joined.err()"))
        .find("member_is_counted_before_its_failure", sources);
    Schedules::new()
        .because(Why::Deadlock)
        .find("circle_is_looked_for_before_it_is_told", a_circle);
    Schedules::new()
        .because(Why::Says("subscription.is_closed()"))
        .find(
            "feeds_are_taken_before_the_mux_is_stopped",
            late_subscribers,
        );
}
