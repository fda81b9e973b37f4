//! Handles that do not own their subscription.

use crate::deadline::{DEADLINE, in_time};
use fanfeed::{Feed, RingFeed, Subscription};
use std::convert::Infallible;

#[test]
fn a_handle_neither_keeps_a_subscription_nor_ends_it() {
    let feed = Feed::new();
    let (tx, rx) = crossbeam_channel::unbounded();
    let subscription = feed.subscriber().name("audit").subscribe(tx);
    let handle = subscription.handle();
    drop(handle.clone());
    feed.send(1);
    assert_eq!(
        (handle.id(), handle.name()),
        (subscription.id(), Some("audit"))
    );
    assert_eq!(handle.stats(), Some(subscription.stats()));
    assert!(!handle.is_closed());
    drop(subscription);
    assert!(handle.is_closed() && rx.recv().is_ok() && rx.recv().is_err());
    // What is left of it is freed, and asking is harmless.
    assert_eq!(handle.stats(), None);
    handle.unsubscribe();
    assert_eq!(handle.name(), Some("audit"));
}

#[test]
fn a_handle_ends_what_was_detached() {
    let feed = Feed::new();
    let detached = feed.subscribe_fn(|_| {});
    let handle = detached.handle();
    detached.detach();
    assert_eq!(feed.send(1), 1);
    assert_eq!(handle.stats().unwrap().delivered, 1);
    handle.unsubscribe();
    assert_eq!(feed.send(2), 0);
    assert!(handle.is_closed());
}

#[test]
fn receivers_producers_and_joined_subscriptions_have_handles() {
    let feed = Feed::new();
    let mut own = feed.channel(2).unwrap();
    let ring = RingFeed::new(2).unwrap();
    let mut reader = ring.subscribe();
    let handles = [own.subscription().handle(), reader.subscription().handle()];
    feed.send(1);
    ring.send(1);
    for handle in &handles {
        assert_eq!(handle.stats().unwrap().depth, Some(1));
        handle.unsubscribe();
    }
    assert_eq!(own.recv(), Ok(1));
    assert!(own.recv().is_err() && reader.recv().is_err());

    let producer = Subscription::spawn(|token| {
        assert!(token.wait_timeout(DEADLINE), "not cancelled");
        Ok::<(), Infallible>(())
    });
    let member = producer.handle();
    let joined = Subscription::join([producer, feed.subscribe_fn(|_| {})]);
    let handle = joined.handle();
    joined.detach();
    assert!(!member.is_closed() && !handle.is_closed());
    in_time(move || {
        handle.unsubscribe();
        assert!(member.is_closed() && handle.is_closed());
    });
}

#[test]
fn a_chain_of_joined_subscriptions_with_handles_may_be_of_any_length() {
    let feed = Feed::<u8>::new();
    let mut chain = Subscription::join([feed.subscribe_fn(|_| {})]);
    let mut handles = vec![chain.handle()];
    for _ in 0..20_000 {
        chain = Subscription::join([chain]);
        handles.push(chain.handle());
    }
    drop(chain);
    assert_eq!(feed.subscriber_count(), 0);
    assert!(handles.iter().all(|handle| handle.is_closed()));
    drop(feed);
    assert!(handles.iter().all(|handle| handle.stats().is_none()));
}
