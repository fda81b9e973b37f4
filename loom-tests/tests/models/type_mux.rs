//! A post and a subscribe against the stop of a mux: when `stop` has returned, nothing arrives any
//! more, and every subscription has ended. A post against an unsubscribe: when that has returned,
//! the channel has ended.
//!
//! Modelled: one thread that posts or subscribes, and one that stops or unsubscribes; one or two
//! posts that are blocked. Bounds: two or three threads, one to three events, one to ten
//! preemptions.
//!
//! ```text
//! RUSTFLAGS="--cfg fanfeed_loom" cargo test -p fanfeed-loom-tests --release --test models type_mux::
//! ```
#![allow(deprecated)]

use std::sync::Arc;

use fanfeed::{RecvError, TryRecvError, TypeMux};
use fanfeed_loom_tests::{Model, Why};
use loom::thread;

fn a_post() {
    let mux = Arc::new(TypeMux::new());
    let mut subscription = mux.subscriber::<(u32,)>().capacity(1).channel().unwrap();
    let poster = {
        let mux = Arc::clone(&mux);
        thread::spawn(move || mux.post(1_u32).unwrap_or(0))
    };
    mux.stop();
    assert!(mux.post(2_u32).is_err());
    let arrived = subscription.iter().count();
    assert_eq!(poster.join().unwrap(), arrived);
    assert_eq!(subscription.recv().unwrap_err(), RecvError::Closed);
}

fn a_blocked_post() {
    let mux = Arc::new(TypeMux::new());
    let subscription = mux.subscriber::<(u32,)>().capacity(1).channel().unwrap();
    mux.post(0_u32).unwrap();
    let poster = {
        let mux = Arc::clone(&mux);
        thread::spawn(move || mux.post(1_u32).unwrap_or(0))
    };
    mux.stop();
    assert_eq!(poster.join().unwrap(), 0);
    assert_eq!(subscription.len(), 1);
}

/// Both wait for room, and each event that is taken wakes one of them.
fn two_blocked_posts() {
    let mux = Arc::new(TypeMux::new());
    let mut subscription = mux.subscriber::<(u32,)>().capacity(1).channel().unwrap();
    mux.post(0_u32).unwrap();
    let posters = [1_u32, 2].map(|number| {
        let mux = Arc::clone(&mux);
        thread::spawn(move || mux.post(number).unwrap())
    });
    let received: u32 = subscription
        .iter()
        .take(3)
        .map(|event| *event.downcast_ref::<u32>().unwrap())
        .sum();
    assert_eq!(received, 3);
    for poster in posters {
        assert_eq!(poster.join().unwrap(), 1);
    }
}

fn a_subscribe() {
    let mux = Arc::new(TypeMux::new());
    let subscriber = {
        let mux = Arc::clone(&mux);
        thread::spawn(move || mux.subscriber::<(u32,)>().capacity(1).channel().unwrap())
    };
    mux.stop();
    let mut subscription = subscriber.join().unwrap();
    assert!(subscription.is_closed());
    assert_eq!(subscription.recv().unwrap_err(), RecvError::Closed);
}

/// The post frees what has ended when it ends itself, and may be doing so when `unsubscribe`
/// returns.
fn a_post_beside_an_unsubscribe() {
    let mux = Arc::new(TypeMux::new());
    let mut subscription = mux.subscriber::<(u32,)>().capacity(1).channel().unwrap();
    let poster = {
        let mux = Arc::clone(&mux);
        thread::spawn(move || mux.post(1_u32).unwrap())
    };
    subscription.unsubscribe();
    let arrived = subscription.try_iter().count();
    assert_eq!(subscription.try_recv().unwrap_err(), TryRecvError::Closed);
    assert_eq!(poster.join().unwrap(), arrived);
}

/// What arrives of the two has no gap: not the second without the first.
fn posts_of_two_types_beside_an_unsubscribe() {
    let mux = Arc::new(TypeMux::new());
    let subscriber = mux.subscriber::<(u32, u64)>().capacity(2);
    let mut subscription = subscriber.channel().unwrap();
    let poster = {
        let mux = Arc::clone(&mux);
        thread::spawn(move || mux.post(1_u32).unwrap() + mux.post(2_u64).unwrap())
    };
    subscription.unsubscribe();
    let arrived: Vec<_> = subscription.try_iter().collect();
    let first = arrived.first();
    assert!(first.is_none_or(|event| event.is::<u32>()), "a gap");
    assert_eq!(poster.join().unwrap(), arrived.len());
}

#[test]
fn nothing_arrives_after_a_stop() {
    Model::bound(4).holds(a_post);
}

#[test]
fn a_stop_releases_a_blocked_post() {
    Model::bound(2).holds(a_blocked_post);
}

#[test]
fn room_releases_two_blocked_posts() {
    Model::bound(1).holds(two_blocked_posts);
}

#[test]
fn a_post_has_to_join_the_line_for_room() {
    Model::bound(1)
        .because(Why::Deadlock)
        .fails_with("blocked_send_joins_no_line", two_blocked_posts);
}

#[test]
fn a_stopped_mux_has_no_live_subscription() {
    Model::bound(10).holds(a_subscribe);
}

#[test]
fn a_stop_has_to_wait() {
    Model::bound(2)
        .because(Why::Race)
        .fails_with("unsubscribe_skips_grace", a_post);
}

#[test]
fn a_mux_has_to_be_stopped_before_its_feeds_are_taken() {
    Model::bound(2)
        .because(Why::Says("subscription.is_closed()"))
        .fails_with("feeds_are_taken_before_the_mux_is_stopped", a_subscribe);
}

#[test]
fn a_channel_has_ended_when_an_unsubscribe_returns() {
    Model::bound(2).holds(a_post_beside_an_unsubscribe);
}

#[test]
fn a_channel_has_to_end_before_its_senders_are_dropped() {
    Model::bound(2).because(Why::Says("Empty")).fails_with(
        "joint_channel_ends_with_its_drop",
        a_post_beside_an_unsubscribe,
    );
}

#[test]
fn a_channel_ends_for_all_types_at_once() {
    Model::bound(2).holds(posts_of_two_types_beside_an_unsubscribe);
}

#[test]
fn a_channel_has_to_end_before_its_members() {
    Model::bound(2).because(Why::Says("a gap")).fails_with(
        "one_channel_ends_with_its_members",
        posts_of_two_types_beside_an_unsubscribe,
    );
}
