//! What a send that does not wait gives back: the subscribers that missed the value, and a way to
//! serve only these.

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{PATIENCE, Tally, eventually, join, watchdog};
use fanfeed::{CarrierOverflow, Cause, Feed, Overflow, Undelivered};

/// A type that prints nothing.
#[derive(Clone)]
struct Mute;

#[test]
fn it_names_the_subscribers_that_missed_the_value_and_counts_the_others() {
    let feed = Feed::new();
    let (tx, rx) = crossbeam_channel::bounded(1);
    let named = feed.subscriber().name("slow").subscribe(tx);
    let nameless = feed.channel(1).unwrap();
    let _roomy = feed.channel(8).unwrap();
    let (tx, _std_rx) = std::sync::mpsc::sync_channel(1);
    let std_named = feed.subscriber().name(String::from("std")).subscribe(tx);
    let _closure = feed.subscribe_fn(|_| {});
    assert_eq!(feed.try_send(1).unwrap(), 5);

    let undelivered = feed.try_send(2).unwrap_err();
    assert_eq!(undelivered.delivered(), 2);
    assert_eq!(*undelivered.value(), 2);
    assert_eq!(undelivered.cause(), Cause::Full);
    let missed: Vec<_> = undelivered
        .missed()
        .iter()
        .map(|missed| (missed.id, missed.name.as_deref()))
        .collect();
    assert_eq!(
        missed,
        [
            (named.id(), Some("slow")),
            (nameless.subscription().id(), None),
            (std_named.id(), Some("std")),
        ]
    );
    assert_eq!(undelivered.into_inner(), 2);
    // Given up: nobody gets it any more.
    assert_eq!(rx.recv(), Ok(1));
    assert!(rx.is_empty());
}

#[test]
fn of_many_crossbeam_channels_it_names_the_full_ones_in_the_order_of_subscribing() {
    let feed = Feed::new();
    let (subscriptions, receivers): (Vec<_>, Vec<_>) = (0..6)
        .map(|_| crossbeam_channel::bounded(1))
        .map(|(tx, rx)| (feed.subscribe(tx), rx))
        .unzip();
    for full in [&[1, 4][..], &[0, 5], &[0, 1, 2, 3, 4, 5]] {
        assert_eq!(feed.send(String::from("first")), 6);
        for (index, rx) in receivers.iter().enumerate() {
            assert!(full.contains(&index) || rx.try_recv().is_ok());
        }
        let undelivered = feed.try_send(String::from("second")).unwrap_err();
        assert_eq!(undelivered.delivered(), 6 - full.len());
        let missed: Vec<_> = undelivered
            .missed()
            .iter()
            .map(|missed| missed.id)
            .collect();
        let expected: Vec<_> = full
            .iter()
            .map(|index| subscriptions[*index].id())
            .collect();
        assert_eq!(missed, expected);
        for index in full {
            assert_eq!(receivers[*index].try_recv().unwrap(), "first");
        }
        assert_eq!(undelivered.retry().unwrap(), 6);
        for rx in &receivers {
            assert_eq!(rx.try_iter().collect::<Vec<_>>(), ["second"]);
        }
    }
}

#[test]
fn its_cause_says_whether_the_send_waited() {
    let feed = Feed::new();
    let _full = feed.channel(1).unwrap();
    feed.send(1);
    let soon = Duration::from_millis(1);
    assert_eq!(feed.try_send(2).unwrap_err().cause(), Cause::Full);
    let timed_out = feed.send_timeout(2, soon).unwrap_err();
    assert_eq!(timed_out.cause(), Cause::Timeout);
    let past_deadline = feed.send_deadline(2, Instant::now() + soon).unwrap_err();
    assert_eq!(past_deadline.cause(), Cause::Timeout);
    assert_eq!(timed_out.retry().unwrap_err().cause(), Cause::Full);
    let again = past_deadline.retry_timeout(soon).unwrap_err();
    assert_eq!(again.cause(), Cause::Timeout);
}

#[test]
fn it_prints_without_asking_the_value_to() {
    let feed = Feed::new();
    let _full = feed
        .subscriber()
        .name("slow")
        .capacity(1)
        .channel()
        .unwrap();
    let _roomy = feed.channel(8).unwrap();
    feed.send(Mute);
    let undelivered = feed.try_send(Mute).unwrap_err();
    let debug = format!("{undelivered:?}");
    assert!(debug.contains("slow") && debug.contains("Full"), "{debug}");
    let error: Box<dyn Error + Send> = Box::new(undelivered);
    let text = error.to_string();
    assert_eq!(
        text,
        "1 subscriber was full and did not get the value; 1 got it"
    );
    let _other = feed.channel(1).unwrap();
    assert_eq!(feed.try_send(Mute).unwrap_err().delivered(), 2);
    let timed_out = feed.send_timeout(Mute, Duration::ZERO).unwrap_err();
    assert_eq!(
        timed_out.to_string(),
        "2 subscribers were full until the time was up and did not get the value; 1 got it"
    );
}

// ---- Retrying ----

#[test]
fn a_retry_serves_only_the_subscribers_that_missed_the_value() {
    let feed = Feed::new();
    let mut first = feed.channel(1).unwrap();
    let mut second = feed.channel(1).unwrap();
    let (tx, third) = crossbeam_channel::bounded(1);
    let third_subscription = feed.subscribe(tx);
    let mut roomy = feed.channel(8).unwrap();
    feed.send(1);
    let undelivered = feed.try_send(2).unwrap_err();
    assert_eq!(
        (undelivered.delivered(), undelivered.missed().len()),
        (1, 3)
    );
    let late = feed.channel(8).unwrap();

    let undelivered = undelivered.retry().unwrap_err();
    assert_eq!(
        (undelivered.delivered(), undelivered.missed().len()),
        (1, 3)
    );
    assert_eq!(second.recv(), Ok(1));
    let undelivered = undelivered.retry().unwrap_err();
    assert_eq!(undelivered.delivered(), 2);
    let mut missed: Vec<_> = undelivered
        .missed()
        .iter()
        .map(|missed| missed.id)
        .collect();
    missed.sort_unstable();
    assert_eq!(missed, [first.subscription().id(), third_subscription.id()]);
    assert_eq!(first.recv(), Ok(1));
    assert_eq!(third.recv(), Ok(1));
    assert_eq!(undelivered.retry().unwrap(), 4);

    assert_eq!(first.try_iter().collect::<Vec<_>>(), [2]);
    assert_eq!(second.try_iter().collect::<Vec<_>>(), [2]);
    assert_eq!(third.try_iter().collect::<Vec<_>>(), [2]);
    assert_eq!(roomy.try_iter().collect::<Vec<_>>(), [1, 2]);
    assert!(late.is_empty(), "it came after the send");
}

#[test]
fn a_value_sent_in_the_meantime_comes_before_the_one_that_is_retried() {
    let feed = Feed::new();
    let mut receiver = feed.channel(1).unwrap();
    feed.send(1);
    let undelivered = feed.try_send(2).unwrap_err();
    assert_eq!(receiver.recv(), Ok(1));
    feed.send(3);
    assert_eq!(receiver.recv(), Ok(3));
    assert_eq!(undelivered.retry().unwrap(), 1);
    assert_eq!(receiver.recv(), Ok(2));
}

#[test]
fn a_timed_retry_waits_for_room() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let mut own = feed.channel(1).unwrap();
    let (tx, crossbeam) = crossbeam_channel::bounded(0);
    let crossbeam_subscription = feed.subscribe(tx);
    let (tx, std_rx) = std::sync::mpsc::sync_channel(0);
    let _std = feed.subscribe(tx);
    assert_eq!(feed.try_send(1).unwrap_err().delivered(), 1);

    let undelivered = feed.try_send(2).unwrap_err();
    assert_eq!(undelivered.missed().len(), 3);
    let limit = Duration::from_millis(30);
    let start = Instant::now();
    let undelivered = undelivered.retry_timeout(limit).unwrap_err();
    assert!(start.elapsed() >= limit);
    let start = Instant::now();
    let undelivered = undelivered.retry_deadline(start + limit).unwrap_err();
    assert!(start.elapsed() >= limit);

    let before = crossbeam_subscription.stats().blocked;
    let retrier = thread::spawn(move || undelivered.retry_timeout(Duration::MAX).unwrap());
    eventually(|| crossbeam_subscription.stats().blocked > before);
    assert_eq!(crossbeam.recv_timeout(PATIENCE), Ok(2));
    assert_eq!(std_rx.recv_timeout(PATIENCE), Ok(2));
    assert!(!retrier.is_finished());
    assert_eq!(own.recv(), Ok(1));
    assert_eq!(join(retrier), 3);
    assert_eq!(own.recv(), Ok(2));
}

#[test]
fn subscriptions_that_ended_in_between_are_not_waited_for() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let unsubscribed = feed.channel(1).unwrap();
    let dropped = feed.channel(1).unwrap();
    let (tx, gone) = crossbeam_channel::bounded(1);
    let _gone = feed.subscribe(tx);
    let mut stays = feed.channel(1).unwrap();
    feed.send(1);
    let undelivered = feed.try_send(2).unwrap_err();
    assert_eq!(undelivered.missed().len(), 4);
    unsubscribed.subscription().unsubscribe();
    drop(dropped);
    drop(gone);
    let undelivered = undelivered.retry().unwrap_err();
    assert_eq!(undelivered.missed().len(), 1);
    assert_eq!(undelivered.missed()[0].id, stays.subscription().id());
    assert_eq!(stays.recv(), Ok(1));
    assert_eq!(undelivered.retry_timeout(Duration::MAX).unwrap(), 1);
    assert_eq!(unsubscribed.len(), 1);
}

#[test]
fn nothing_is_left_to_retry_once_the_feed_has_ended() {
    let _watchdog = watchdog();
    for close in [true, false] {
        let feed = Feed::new();
        let full = feed.channel(1).unwrap();
        feed.send(1);
        let [one, two, three] = [2, 3, 4].map(|value| feed.try_send(value).unwrap_err());
        if close {
            feed.close();
        } else {
            drop(feed);
        }
        assert_eq!(one.retry().unwrap(), 0);
        assert_eq!(two.retry_timeout(Duration::MAX).unwrap(), 0);
        assert_eq!(*three.value(), 4);
        assert_eq!(three.into_inner(), 4);
        assert_eq!(full.into_iter().collect::<Vec<_>>(), [1]);
    }
}

#[test]
fn it_keeps_no_feed_alive() {
    let feed = Feed::new();
    let weak = feed.downgrade();
    let full = feed.channel(1).unwrap();
    feed.send(1);
    let undelivered = feed.try_send(2).unwrap_err();
    drop(feed);
    assert!(weak.upgrade().is_none());
    assert!(full.is_closed());
    drop(undelivered);
}

#[test]
fn it_can_be_retried_on_another_thread() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let mut receiver = feed.channel(1).unwrap();
    feed.send(1);
    let undelivered: Undelivered<_> = feed.try_send(2).unwrap_err();
    let blocked = receiver.stats().blocked;
    let retrier = thread::spawn(move || undelivered.retry_timeout(PATIENCE));
    eventually(|| receiver.stats().blocked > blocked);
    assert_eq!(receiver.recv(), Ok(1));
    assert_eq!(join(retrier).unwrap(), 1);
    assert_eq!(receiver.recv(), Ok(2));
}

#[test]
fn subscribers_whose_policy_drops_the_value_are_not_listed_as_missed() {
    let feed = Feed::new();
    let own = |overflow| {
        let builder = feed.subscriber().capacity(1).overflow(overflow);
        builder.channel().unwrap()
    };
    let (newest, oldest, disconnect) = (
        own(Overflow::DropNewest),
        own(Overflow::DropOldest),
        own(Overflow::Disconnect),
    );
    let (tx, _rx) = crossbeam_channel::bounded(1);
    let builder = feed.subscriber().overflow(CarrierOverflow::DropNewest);
    let foreign = builder.subscribe(tx);
    assert_eq!(feed.try_send(1).unwrap(), 4);
    assert_eq!(feed.try_send(2).unwrap(), 1, "only the oldest made way");
    assert_eq!(feed.send_timeout(3, Duration::MAX).unwrap(), 1);
    assert!(disconnect.is_closed());
    assert_eq!(newest.stats().dropped, 2);
    assert_eq!(oldest.stats().dropped, 2);
    assert_eq!(foreign.stats().dropped, 2);
}

// ---- Clones and drops ----

#[test]
fn serving_late_takes_no_more_clones_than_serving_at_once() {
    let tally = Tally::new();
    let feed = Feed::new();
    let mut full: Vec<_> = (0..4).map(|_| feed.channel(1).unwrap()).collect();
    let _roomy: Vec<_> = (0..3).map(|_| feed.channel(8).unwrap()).collect();
    feed.send(tally.value(0));
    assert_eq!(tally.clones(), 6);
    let mut undelivered = feed.try_send(tally.value(1)).unwrap_err();
    for receiver in full.iter_mut().take(3) {
        receiver.recv().unwrap();
        undelivered = undelivered.retry().unwrap_err();
        // Trying in vain costs nothing.
        undelivered = undelivered.retry().unwrap_err();
    }
    full[3].recv().unwrap();
    assert_eq!(undelivered.retry().unwrap(), 7);
    assert!(tally.clones() <= 6);
}

#[test]
fn a_value_given_up_is_dropped_once() {
    let tally = Tally::new();
    let feed = Feed::new();
    let full: Vec<_> = (0..3).map(|_| feed.channel(1).unwrap()).collect();
    feed.send(tally.value(0));
    assert_eq!(tally.live(), 3);
    drop(feed.try_send(tally.value(1)));
    assert_eq!(tally.live(), 3);
    let undelivered = feed.try_send(tally.value(2)).unwrap_err();
    let value = undelivered.retry().unwrap_err().into_inner();
    assert_eq!(value.number, 2);
    assert_eq!(tally.live(), 4);
    drop(value);
    drop(full);
    assert_eq!(tally.live(), 0);
    drop(feed);
}

#[test]
fn a_clone_that_panics_in_a_retry_is_missed_by_the_one_it_was_for() {
    let tally = Tally::new();
    let feed = Feed::new();
    let mut full: Vec<_> = (0..3).map(|_| feed.channel(1).unwrap()).collect();
    feed.send(tally.value(0));
    let undelivered = feed.try_send(tally.value(1)).unwrap_err();
    full.iter_mut().for_each(|receiver| drop(receiver.recv()));
    // The original and a clone that was refused are at hand for two of them, so one is still to be
    // cloned.
    tally.panic_after(0);
    let caught = catch_unwind(AssertUnwindSafe(|| undelivered.retry()));
    assert!(caught.is_err());
    let got: Vec<_> = full.iter().map(|receiver| receiver.len()).collect();
    assert_eq!(got.iter().sum::<usize>(), 2, "everybody else was served");
    let lost: u64 = full.iter().map(|receiver| receiver.stats().dropped).sum();
    assert_eq!(lost, 1);
    drop(full);
    assert_eq!(tally.live(), 0);
}

#[test]
fn it_shares_names_instead_of_copying_them() {
    let feed = Feed::new();
    let name: Arc<str> = Arc::from("a name");
    let builder = feed.subscriber().capacity(1);
    let _full = builder.name(Arc::clone(&name)).channel().unwrap();
    feed.send(1);
    let undelivered = feed.try_send(2).unwrap_err();
    let told = undelivered.missed()[0].name.as_ref().unwrap();
    assert!(Arc::ptr_eq(told, &name));
}
