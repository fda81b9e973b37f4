//! A send against an unsubscribe: when `unsubscribe` has returned, nothing arrives any more, and
//! the carrier is dropped.
//!
//! Modelled: one thread that sends and one that unsubscribes a channel that the caller brought
//! along, a crossbeam channel that is the only subscriber, or a channel of the feed's own (closures
//! have [their own models](super::closures)); a send inside a delivery, whose record is one of the
//! extra ones; an unsubscribe inside a delivery; and the gate, by which `stats` keeps a carrier in
//! place. Bounds: two threads, one to three values, one or two subscriptions; two or three
//! preemptions, or no bound (30) where that takes seconds.
//!
//! ```text
//! RUSTFLAGS="--cfg fanfeed_loom" cargo test -p fanfeed-loom-tests --release --test models send_and_unsubscribe::
//! ```
//!
//! The code relies on the single order of `SeqCst` accesses where a model has a fence, because loom
//! treats `SeqCst` accesses as `AcqRel`. So the models show that the order is needed and
//! sufficient, not that each access is `SeqCst`.
use std::sync::{Arc, OnceLock};

use fanfeed::{Feed, Subscription, TryRecvError};
use fanfeed_loom_tests::{Ledger, Model, Why, post};
use loom::thread;

fn a_carrier() {
    let ledger = Ledger::new();
    let feed = Feed::new();
    let (post, post_box) = post(2);
    let subscription = feed.subscribe(post);
    let sender = {
        let (feed, ledger) = (feed.clone(), ledger.clone());
        thread::spawn(move || feed.send(ledger.token(1)))
    };
    subscription.unsubscribe();
    post_box.assert_ended();
    let sent = sender.join().unwrap();
    let arrived = std::iter::from_fn(|| post_box.take()).count();
    assert_eq!(arrived, sent);
    drop((subscription, feed, post_box));
    ledger.assert_settled();
}

/// The only subscriber, of a feed on which several threads have sent. The second send knows the
/// thread.
fn the_only_channel_and_two_sends() {
    let feed = Feed::new();
    let mut receiver = feed.channel(2).unwrap();
    let sender = {
        let feed = feed.clone();
        thread::spawn(move || feed.send(1) + feed.send(2))
    };
    receiver.subscription().unsubscribe();
    let there = receiver.len();
    let sent = sender.join().unwrap();
    let arrived: Vec<_> = receiver.try_iter().collect();
    assert_eq!(arrived, [1, 2][..sent]);
    assert_eq!(arrived.len(), there, "nothing comes afterwards");
}

/// The only subscriber is a crossbeam channel, which loom cannot see into. The model sees the seat
/// that has its sender.
fn the_only_crossbeam_channel_and_two_sends() {
    let feed = Feed::new();
    let (sender, receiver) = crossbeam_channel::bounded(3);
    let subscription = feed.subscribe(sender);
    // This send makes the thread known to the feed.
    assert_eq!(feed.send(1), 1);
    let other = thread::spawn(move || {
        subscription.unsubscribe();
        receiver
    });
    let sent = 1 + feed.send(2) + feed.send(3);
    let receiver = other.join().unwrap();
    let arrived: Vec<_> = receiver.iter().collect();
    assert_eq!(arrived, [1, 2, 3][..sent]);
}

/// The thread that unsubscribes has sent before, and so it may be the sole sender by then. Its
/// observation then makes no heavy fence.
fn the_only_crossbeam_channel_and_a_second_sender() {
    let feed = Feed::new();
    let (sender, receiver) = crossbeam_channel::bounded(3);
    let subscription = feed.subscribe(sender);
    assert_eq!(feed.send(1), 1);
    let other = {
        let feed = feed.clone();
        thread::spawn(move || {
            assert_eq!(feed.send(2), 1);
            subscription.unsubscribe();
        })
    };
    let sent = 2 + feed.send(3);
    other.join().unwrap();
    assert_eq!(receiver.iter().count(), sent);
}

/// Two sends, so that the unsubscribe may wait for one while the next begins.
fn a_carrier_and_two_sends() {
    let feed = Feed::new();
    let (post, post_box) = post(2);
    let subscription = feed.subscribe(post);
    let sender = {
        let feed = feed.clone();
        thread::spawn(move || feed.send(1) + feed.send(2))
    };
    subscription.unsubscribe();
    post_box.assert_ended();
    let sent = sender.join().unwrap();
    let arrived: Vec<_> = std::iter::from_fn(|| post_box.take()).collect();
    assert_eq!(arrived, [1, 2][..sent]);
}

/// Ended by the feed's close, as all are.
fn a_carrier_and_a_close() {
    let feed = Feed::new();
    let (post, post_box) = post(1);
    let _subscription = feed.subscribe(post);
    let sender = {
        let feed = feed.clone();
        thread::spawn(move || feed.send(1))
    };
    feed.close();
    post_box.assert_ended();
    let sent = sender.join().unwrap();
    assert_eq!(post_box.take().map_or(0, |_| 1), sent);
}

/// Ended by the feed's close, while another unsubscribes it: it has ended when either has returned,
/// and its carrier is dropped by one of the two.
fn an_unsubscribe_and_a_close() {
    let feed = Feed::new();
    let (post, post_box) = post::<u32>(1);
    let subscription = Arc::new(feed.subscribe(post));
    let other = {
        let subscription = Arc::clone(&subscription);
        thread::spawn(move || subscription.unsubscribe())
    };
    feed.close();
    assert!(subscription.is_closed());
    other.join().unwrap();
    post_box.assert_ended();
}

/// Closed, while a carrier that was unsubscribed inside a delivery, which waits for nobody, may
/// still be in use.
fn a_close_after_an_unsubscribe_that_does_not_wait() {
    let feed = Feed::new();
    let (post, post_box) = post(1);
    let subscription = feed.subscribe(post);
    let other = Feed::new();
    let _closure = other.subscribe_fn(move |_: &u32| subscription.unsubscribe());
    let sender = {
        let feed = feed.clone();
        thread::spawn(move || feed.send(1))
    };
    other.send(1);
    feed.close();
    post_box.seal();
    sender.join().unwrap();
    post_box.assert_ended();
}

fn two_unsubscribes() {
    let feed = Feed::new();
    let (post, post_box) = post(1);
    let subscription = Arc::new(feed.subscribe(post));
    let other = {
        let subscription = Arc::clone(&subscription);
        thread::spawn(move || subscription.unsubscribe())
    };
    let sender = {
        let feed = feed.clone();
        thread::spawn(move || feed.send(1))
    };
    subscription.unsubscribe();
    post_box.seal();
    sender.join().unwrap();
    // One of the two has dropped the carrier.
    other.join().unwrap();
    post_box.assert_ended();
}

fn an_own_channel() {
    let ledger = Ledger::new();
    let feed = Feed::new();
    let (mut receiver, subscription) = feed.channel(2).unwrap().split();
    let sender = {
        let (feed, ledger) = (feed.clone(), ledger.clone());
        thread::spawn(move || feed.send(ledger.token(1)))
    };
    subscription.unsubscribe();
    let arrived = receiver.iter().count();
    let sent = sender.join().unwrap();
    assert_eq!(receiver.try_recv().unwrap_err(), TryRecvError::Closed);
    assert_eq!(arrived, sent);
    drop((receiver, subscription, feed));
    ledger.assert_settled();
}

/// The second send of the thread begins its visit and its window before one look.
fn an_own_channel_and_two_sends() {
    let ledger = Ledger::new();
    let feed = Feed::new();
    let (mut receiver, subscription) = feed.channel(2).unwrap().split();
    assert_eq!(feed.send(ledger.token(1)), 1);
    let other = thread::spawn(move || {
        subscription.unsubscribe();
        subscription
    });
    let sent = feed.send(ledger.token(2));
    let subscription = other.join().unwrap();
    let arrived = receiver.iter().count();
    assert_eq!(receiver.try_recv().unwrap_err(), TryRecvError::Closed);
    assert_eq!(arrived, 1 + sent);
    drop((receiver, subscription, feed));
    ledger.assert_settled();
}

/// A closure sends once more on its feed: that delivery has a record of its own.
fn a_send_inside_a_delivery() {
    let feed = Feed::new();
    let (post, post_box) = post(2);
    let subscription = feed.subscribe(post);
    let inner = feed.downgrade();
    let _closure = feed.subscribe_fn(move |value: &u32| {
        if *value == 1 {
            inner.upgrade().unwrap().send(2);
        }
    });
    let sender = {
        let feed = feed.clone();
        thread::spawn(move || feed.send(1))
    };
    subscription.unsubscribe();
    post_box.assert_ended();
    sender.join().unwrap();
}

/// A closure unsubscribes a channel while another thread may be delivering to it.
fn an_unsubscribe_inside_a_delivery() {
    let feed = Feed::new();
    let (post, post_box) = post(2);
    let subscription: Arc<OnceLock<Subscription>> = Arc::default();
    subscription.set(feed.subscribe(post)).unwrap();
    let _closure = feed.subscribe_fn(move |value: &u32| {
        if *value == 1 {
            subscription.get().unwrap().unsubscribe();
        }
    });
    let sender = {
        let feed = feed.clone();
        thread::spawn(move || feed.send(2))
    };
    feed.send(1);
    sender.join().unwrap();
    post_box.assert_ended();
    feed.send(3);
}

/// As above, from a delivery of another feed, which does not tidy up here when it ends. The send
/// that was under way does, unless it looks too early; then it is the next.
fn an_unsubscribe_inside_another_feeds_delivery(is_completed_by_the_next_send: bool) {
    let feed = Feed::new();
    let (post, post_box) = post(2);
    let subscription = feed.subscribe(post);
    let other = Feed::new();
    let _closure = other.subscribe_fn(move |_: &u32| subscription.unsubscribe());
    let sender = {
        let feed = feed.clone();
        thread::spawn(move || feed.send(2))
    };
    other.send(1);
    sender.join().unwrap();
    if is_completed_by_the_next_send {
        assert_eq!(feed.send(3), 0);
    }
    post_box.assert_ended();
}

fn a_look_at_the_stats() {
    let feed = Feed::<u32>::new();
    let (post, post_box) = post(1);
    let subscription = Arc::new(feed.subscribe(post));
    let looker = {
        let subscription = Arc::clone(&subscription);
        thread::spawn(move || subscription.stats())
    };
    subscription.unsubscribe();
    post_box.assert_ended();
    looker.join().unwrap();
}

/// The last look at a carrier ends while it is unsubscribed inside a delivery of another feed,
/// which waits for nobody.
fn a_look_while_another_feeds_delivery_unsubscribes() {
    let feed = Feed::<u32>::new();
    let (post, post_box) = post(1);
    let subscription = Arc::new(feed.subscribe(post));
    let other = Feed::new();
    let ended = Arc::clone(&subscription);
    let _closure = other.subscribe_fn(move |_: &u32| ended.unsubscribe());
    let looker = thread::spawn(move || subscription.stats());
    other.send(1);
    looker.join().unwrap();
    post_box.assert_ended();
}

#[test]
fn a_carrier_gets_nothing_afterwards() {
    Model::bound(30).holds(a_carrier);
}

#[test]
fn a_carrier_gets_nothing_of_a_later_send() {
    Model::bound(3).holds(a_carrier_and_two_sends);
}

#[test]
fn a_close_ends_a_carrier_as_an_unsubscribe_does() {
    Model::bound(30).holds(a_carrier_and_a_close);
}

#[test]
fn an_unsubscribe_beside_another_waits_too() {
    Model::bound(2).holds(two_unsubscribes);
}

#[test]
fn an_own_channel_gets_nothing_afterwards() {
    Model::bound(30).holds(an_own_channel);
}

#[test]
fn an_only_own_channel_gets_nothing_afterwards() {
    Model::bound(5).holds(an_own_channel_and_two_sends);
}

#[test]
fn a_visit_to_an_only_own_channel_has_to_begin_in_order() {
    // The fence of the claim would order it as well.
    let claim = "sole_sender_looks_without_light_fence";
    Model::bound(5).holds_with(claim, an_own_channel_and_two_sends);
    for both in [
        "sole_delivery_begins_without_light_fence sole_sender_looks_without_light_fence",
        "deliveries_are_observed_without_heavy_fence sole_sender_looks_without_light_fence",
    ] {
        Model::bound(5)
            .because(Why::Race)
            .fails_with(both, an_own_channel_and_two_sends);
    }
}

#[test]
fn an_only_crossbeam_channel_gets_nothing_afterwards() {
    let models = [
        the_only_crossbeam_channel_and_two_sends,
        the_only_crossbeam_channel_and_a_second_sender,
    ];
    for model in models {
        Model::bound(5).holds(model);
        Model::bound(5).with_shared_feeds().holds(model);
        Model::bound(5).with_plain_fences().holds(model);
    }
}

#[test]
fn a_visit_to_an_only_crossbeam_channel_has_to_begin_in_order() {
    for mutant in [
        "sole_delivery_begins_without_light_fence",
        "deliveries_are_observed_without_heavy_fence",
        "delivery_ends_relaxed",
    ] {
        Model::bound(5)
            .because(Why::Race)
            .fails_with(mutant, the_only_crossbeam_channel_and_two_sends);
    }
    for mutant in [
        "light_visit_begins_without_light_fence",
        "light_visits_are_overlooked",
        "light_visits_are_not_marked",
        "record_is_marked_without_order",
    ] {
        Model::bound(5)
            .with_shared_feeds()
            .because(Why::Race)
            .fails_with(mutant, the_only_crossbeam_channel_and_two_sends);
    }
}

#[test]
fn a_send_inside_a_delivery_is_waited_for() {
    Model::bound(4).holds(a_send_inside_a_delivery);
}

#[test]
fn an_unsubscribe_inside_a_delivery_is_completed_when_deliveries_end() {
    Model::bound(3).holds(an_unsubscribe_inside_a_delivery);
}

#[test]
fn an_unsubscribe_inside_another_feeds_delivery_is_completed_by_the_next_send() {
    Model::bound(3).holds(|| an_unsubscribe_inside_another_feeds_delivery(true));
}

#[test]
fn an_unsubscribe_inside_another_feeds_delivery_may_not_be_completed_before() {
    Model::bound(2)
        .because(Why::Says("the carrier was not dropped"))
        .fails(|| an_unsubscribe_inside_another_feeds_delivery(false));
}

#[test]
fn a_send_has_to_see_that_a_visit_has_ended_for_which_something_was_left() {
    Model::bound(3)
        .because(Why::Says("the carrier was not dropped"))
        .fails_with("ended_visits_are_overlooked", || {
            an_unsubscribe_inside_another_feeds_delivery(true)
        });
}

#[test]
fn the_gate_keeps_a_carrier_in_place() {
    Model::bound(6).holds(a_look_at_the_stats);
}

#[test]
fn a_delivery_has_to_begin_in_order() {
    Model::bound(2)
        .with_plain_fences()
        .because(Why::Race)
        .fails_with("delivery_begins_without_order", a_carrier);
}

#[test]
fn a_delivery_of_the_only_sender_has_to_begin_in_order() {
    for mutant in [
        "sole_delivery_begins_without_light_fence",
        "deliveries_are_observed_without_heavy_fence",
    ] {
        Model::bound(3)
            .because(Why::Race)
            .fails_with(mutant, a_carrier_and_two_sends);
    }
}

#[test]
fn an_only_channel_gets_nothing_of_one_of_many_afterwards() {
    Model::bound(6)
        .with_shared_feeds()
        .holds(the_only_channel_and_two_sends);
    Model::bound(4).holds(the_only_channel_and_two_sends);
}

#[test]
fn a_light_visit_has_to_begin_and_to_be_marked_in_order() {
    for mutant in [
        "light_visit_begins_without_light_fence",
        "light_visits_are_overlooked",
        "light_visits_are_not_marked",
        "record_is_marked_without_order",
    ] {
        Model::bound(3)
            .with_shared_feeds()
            .because(Why::Race)
            .fails_with(mutant, the_only_channel_and_two_sends);
    }
}

#[test]
fn a_carrier_gets_nothing_of_one_of_many_afterwards() {
    Model::bound(6).with_plain_fences().holds(a_carrier);
}

#[test]
fn a_delivery_has_to_release_what_it_did() {
    Model::bound(2)
        .because(Why::Race)
        .fails_with("delivery_ends_relaxed", a_carrier);
}

#[test]
fn an_unsubscribe_and_a_close_have_to_observe_in_order() {
    let fails = |mutant, model: fn()| {
        Model::bound(2).because(Why::Race).fails_with(mutant, model);
    };
    fails("unsubscribe_observes_without_order", a_carrier);
    fails("close_observes_without_order", a_carrier_and_a_close);
}

#[test]
fn an_unsubscribe_inside_a_delivery_has_to_be_told_in_order() {
    // A fence that is there for senders that wait for room orders it too.
    Model::bound(3)
        .because(Why::Says("the carrier was not dropped"))
        .fails_with(
            "retiring_is_told_without_order end_looks_for_waiters_without_fence",
            an_unsubscribe_inside_a_delivery,
        );
}

#[test]
fn a_close_waits_for_an_unsubscribe() {
    Model::bound(30)
        .few("both take the feed's one lock: these are all the orders there are")
        .holds(an_unsubscribe_and_a_close);
}

#[test]
fn a_close_waits_for_subscriptions_that_other_threads_have_ended() {
    Model::bound(2).holds(a_close_after_an_unsubscribe_that_does_not_wait);
}

#[test]
fn a_close_must_wait_for_subscriptions_that_other_threads_have_ended() {
    Model::bound(2)
        .because(Why::Says("the carrier was not dropped"))
        .fails_with(
            "close_forgets_who_is_leaving",
            a_close_after_an_unsubscribe_that_does_not_wait,
        );
}

#[test]
fn an_unsubscribe_and_a_close_have_to_wait() {
    for model in [a_carrier, a_carrier_and_a_close] {
        Model::bound(2)
            .because(Why::Race)
            .fails_with("unsubscribe_skips_grace", model);
    }
}

#[test]
fn records_inside_deliveries_have_to_be_observed() {
    Model::bound(2)
        .because(Why::Race)
        .fails_with("extra_records_are_overlooked", a_send_inside_a_delivery);
}

#[test]
fn the_gate_has_to_be_entered_in_order_and_waited_for() {
    for mutant in ["gate_is_entered_without_order", "gate_is_not_waited_for"] {
        Model::bound(2)
            .because(Why::Race)
            .fails_with(mutant, a_look_at_the_stats);
    }
}

#[test]
fn the_last_thread_to_leave_the_gate_frees_what_it_kept() {
    Model::bound(3).holds(a_look_while_another_feeds_delivery_unsubscribes);
}

#[test]
fn leaving_the_gate_has_to_free_what_it_kept() {
    Model::bound(2)
        .because(Why::Says("the carrier was not dropped"))
        .fails_with(
            "gate_is_left_without_reaping",
            a_look_while_another_feeds_delivery_unsubscribes,
        );
}

#[test]
fn the_gate_has_to_be_left_in_order() {
    Model::bound(3)
        .because(Why::Says("the carrier was not dropped"))
        .fails_with(
            "gate_is_left_without_order",
            a_look_while_another_feeds_delivery_unsubscribes,
        );
}

#[test]
fn leaving_the_gate_has_to_release() {
    Model::bound(3)
        .because(Why::Race)
        .fails_with("gate_is_left_relaxed", a_look_at_the_stats);
}
