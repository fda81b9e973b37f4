//! Sources that do not belong to the crate: the end of a subscription, its waiters, and the
//! subscriptions built on it.
//!
//! Modelled: two threads that end a source while a third waits for it; a waiter that comes at the
//! same time as the end; a joined subscription and a scope over sources that end on two threads; a
//! source with a handler, as in the documentation of `SubscriptionSource`. Bounds: two or three
//! threads, two or three preemptions.
//!
//! ```text
//! RUSTFLAGS="--cfg fanfeed_loom" cargo test -p fanfeed-loom-tests --release --test models source::
//! ```
//!
//! Not modelled: the channel of the error, which is a crossbeam channel and opaque to loom. The
//! models look into it only after they have waited for the end.
use std::sync::Arc;

use fanfeed::{
    Subscription, SubscriptionError, SubscriptionScope, SubscriptionSource, SubscriptionState,
};
use fanfeed_loom_tests::{Model, Why};
use loom::sync::Mutex;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

/// A source that ends when it is told to.
struct Plain {
    state: SubscriptionState,
    before_the_end: AtomicUsize,
}

impl Plain {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            state: SubscriptionState::new(None),
            before_the_end: AtomicUsize::new(0),
        })
    }

    fn fail(&self) -> bool {
        self.state.end(Some(SubscriptionError::Overflowed))
    }
}

impl SubscriptionSource for Plain {
    fn state(&self) -> &SubscriptionState {
        &self.state
    }

    fn cancel(&self) {
        self.cancel_soon();
    }

    fn cancel_soon(&self) {
        self.state.end(None);
    }
}

/// One thread fails it, another cancels it, and a third waits: it ends once, and the error is that
/// of the end that counts.
fn two_ends() {
    let source = Plain::new();
    let subscription = Subscription::from_source(source.clone());
    let waiter = {
        let (closed, err) = (subscription.closed(), subscription.err());
        thread::spawn(move || {
            closed.wait();
            err.try_recv().is_ok()
        })
    };
    let failing = {
        let source = source.clone();
        thread::spawn(move || source.fail())
    };
    let cancelled = source.state.end(None);
    let failed = failing.join().unwrap();
    assert!(failed != cancelled, "it ended once");
    assert!(
        waiter.join().unwrap() == failed,
        "the error is that of its end"
    );
}

/// What was done before the end is seen by threads that see the end.
fn looks_at_the_end() {
    let source = Plain::new();
    let ender = {
        let source = source.clone();
        thread::spawn(move || {
            source.before_the_end.store(1, Ordering::Relaxed);
            source.fail();
        })
    };
    let look = |source: &Plain| {
        if source.state.is_ended() {
            let before = source.before_the_end.load(Ordering::Relaxed);
            assert_eq!(before, 1, "too early");
        }
    };
    let other = {
        let source = source.clone();
        thread::spawn(move || look(&source))
    };
    look(&source);
    look(&source);
    ender.join().unwrap();
    other.join().unwrap();
}

/// Members end on three threads: the joined one ends with the last, and with the error of the one
/// that failed.
fn three_members() {
    let members = [(); 3].map(|()| Plain::new());
    let joined = Subscription::join(
        members
            .each_ref()
            .map(|member| Subscription::from_source(member.clone())),
    );
    let [failing, one, other] = members;
    let enders = [one, other].map(|member| thread::spawn(move || member.state.end(None)));
    failing.fail();
    for ender in enders {
        ender.join().unwrap();
    }
    assert!(joined.is_closed(), "all have ended");
    assert!(joined.err().try_recv().is_ok(), "one of them has failed");
}

/// A joined one is cancelled while a member fails.
fn a_cancelled_join() {
    let members = [(); 2].map(|()| Plain::new());
    let joined = Subscription::join(
        members
            .each_ref()
            .map(|member| Subscription::from_source(member.clone())),
    );
    let [failing, other] = members;
    let ender = thread::spawn(move || failing.fail());
    joined.unsubscribe();
    assert!(joined.is_closed() && other.state.is_ended());
    let failed = ender.join().unwrap();
    assert!(
        joined.err().try_recv().is_ok() == failed,
        "its error is that of its member"
    );
}

/// A source ends while a scope begins to track it, and while the scope is closed.
fn a_scope_over_it() {
    let source = Plain::new();
    let subscription = Subscription::from_source(source.clone());
    let scope = Arc::new(SubscriptionScope::new());
    let ender = {
        let source = source.clone();
        thread::spawn(move || source.state.end(None))
    };
    let closer = {
        let scope = Arc::clone(&scope);
        thread::spawn(move || scope.close())
    };
    if let Some(subscription) = scope.track(subscription) {
        subscription.detach();
    }
    ender.join().unwrap();
    closer.join().unwrap();
    assert_eq!(scope.count(), 0);
    assert!(Arc::strong_count(&source) == 1, "the scope keeps it");
}

/// A source with a handler. `cancel` waits for the handler.
struct Handled {
    state: SubscriptionState,
    handler: Mutex<Option<Arc<AtomicUsize>>>,
    waits: bool,
}

impl Handled {
    fn deliver(&self) {
        let handler = self.handler.lock().unwrap();
        if let Some(handler) = &*handler
            && !self.state.is_ended()
        {
            handler.store(1, Ordering::Relaxed);
            thread::yield_now();
            handler.store(0, Ordering::Relaxed);
        }
    }
}

impl SubscriptionSource for Handled {
    fn state(&self) -> &SubscriptionState {
        &self.state
    }

    fn cancel(&self) {
        self.state.end(None);
        if self.waits && SubscriptionState::may_wait() {
            drop(self.handler.lock().unwrap().take());
        }
    }

    fn cancel_soon(&self) {
        self.state.end(None);
    }
}

fn a_handler(waits: bool) {
    let running = Arc::new(AtomicUsize::new(0));
    let source = Arc::new(Handled {
        state: SubscriptionState::new(None),
        handler: Mutex::new(Some(Arc::clone(&running))),
        waits,
    });
    let subscription = Subscription::from_source(source.clone());
    let deliverers = [(); 2].map(|()| {
        let source = source.clone();
        thread::spawn(move || {
            source.deliver();
            source.deliver();
        })
    });
    subscription.unsubscribe();
    assert_eq!(running.load(Ordering::Relaxed), 0, "the handler runs");
    for deliverer in deliverers {
        deliverer.join().unwrap();
    }
}

#[test]
fn a_source_ends_once() {
    Model::bound(3).holds(two_ends);
}

#[test]
fn what_led_to_the_end_is_seen() {
    Model::bound(3).holds(looks_at_the_end);
}

#[test]
fn a_joined_one_ends_with_the_last_and_the_error_of_the_first_that_failed() {
    Model::bound(3).holds(three_members);
}

#[test]
fn a_joined_one_that_is_cancelled_has_the_error_of_its_member() {
    Model::bound(3).holds(a_cancelled_join);
}

#[test]
fn a_scope_keeps_nothing_of_it() {
    Model::bound(2).holds(a_scope_over_it);
}

#[test]
fn a_cancel_that_waits_leaves_no_handler_running() {
    Model::bound(3).holds(|| a_handler(true));
}

#[test]
fn a_cancel_has_to_wait_for_the_handler() {
    Model::bound(3)
        .because(Why::Says("the handler runs"))
        .fails(|| a_handler(false));
}

#[test]
fn an_end_has_to_be_looked_for_under_the_lock() {
    Model::bound(2)
        .because(Why::Says("it ended once"))
        .fails_with("end_is_looked_for_before_the_lock", two_ends);
}

#[test]
fn an_end_has_to_wake() {
    Model::bound(2)
        .because(Why::Deadlock)
        .fails_with("end_wakes_nobody", two_ends);
}

#[test]
fn a_waiter_has_to_look_under_the_lock() {
    Model::bound(2)
        .because(Why::Deadlock)
        .fails_with("waiter_does_not_look_under_the_lock", two_ends);
}

#[test]
fn an_end_has_to_be_released() {
    Model::bound(2)
        .because(Why::Says("too early"))
        .fails_with("end_is_marked_relaxed", looks_at_the_end);
}

#[test]
fn a_failure_has_to_be_noted_before_its_member_is_counted() {
    Model::bound(2)
        .because(Why::Says("one of them has failed"))
        .fails_with("member_is_counted_before_its_failure", three_members);
}
