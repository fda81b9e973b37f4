//! How a send waits for subscribers without room: for all of them together, for no subscriber that
//! has ended, and asleep.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as std_mpsc;
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{PATIENCE, blocked_send, blocked_sleeper, eventually, join, watchdog};
use fanfeed::{Carrier, Feed, Room, Subscription, TrySendError};

/// A carrier of one place that wakes.
#[derive(Clone, Default)]
struct Place(Arc<Mutex<(Option<u64>, Vec<Waker>)>>);

impl Place {
    fn take(&self) -> Option<u64> {
        let (value, wakers) = {
            let mut inner = self.0.lock().unwrap();
            (inner.0.take(), std::mem::take(&mut inner.1))
        };
        wakers.into_iter().for_each(Waker::wake);
        value
    }
}

impl Carrier<u64> for Place {
    fn try_send(&self, value: u64) -> Result<(), TrySendError<u64>> {
        let mut inner = self.0.lock().unwrap();
        if inner.0.is_some() {
            return Err(TrySendError::Full(value));
        }
        inner.0 = Some(value);
        Ok(())
    }

    fn poll_room(&self, waker: &Waker) -> Room {
        let wakers = &mut self.0.lock().unwrap().1;
        if !wakers.iter().any(|other| other.will_wake(waker)) {
            wakers.push(waker.clone());
        }
        Room::Waking
    }
}

/// A subscriber without room, and a way to take its next value, waiting for it.
type Full = (Subscription, Box<dyn FnMut() -> u64 + Send>);

/// One full subscriber of each kind. Each that has a place holds 0.
fn one_of_each(feed: &Feed<u64>) -> Vec<Full> {
    let (mut own, own_handle) = feed.channel(1).unwrap().split();
    let (tx, crossbeam) = crossbeam_channel::bounded(1);
    let crossbeam_handle = feed.subscribe(tx);
    let (tx, std_rx) = std_mpsc::sync_channel(1);
    let std_handle = feed.subscribe(tx);
    let place = Place::default();
    let place_handle = feed.subscribe(place.clone());
    assert_eq!(feed.send(0), 4);
    vec![
        (own_handle, Box::new(move || own.recv().unwrap())),
        (
            crossbeam_handle,
            Box::new(move || crossbeam.recv_timeout(PATIENCE).unwrap()),
        ),
        (
            std_handle,
            Box::new(move || std_rx.recv_timeout(PATIENCE).unwrap()),
        ),
        (
            place_handle,
            Box::new(move || {
                let mut value = None;
                eventually(|| {
                    value = place.take();
                    value.is_some()
                });
                value.unwrap()
            }),
        ),
    ]
}

#[test]
fn the_first_subscriber_to_make_room_is_served_first_whatever_its_kind() {
    let _watchdog = watchdog();
    // Each kind is the first, the second, the third, the last to make room.
    for turn in 0..4 {
        for step in [1, 3] {
            let feed = Feed::new();
            let mut all = one_of_each(&feed);
            let sender = blocked_send(&feed, &all[3].0, 1);
            for index in (0..4).map(|index| (turn + index * step) % 4) {
                assert!(!sender.is_finished());
                let (subscription, take) = &mut all[index];
                assert_eq!(take(), 0);
                // Served at once, while others are still full.
                eventually(|| subscription.stats().delivered == 2);
                assert_eq!(take(), 1);
            }
            assert_eq!(join(sender), 4);
            for (subscription, _) in &all {
                assert_eq!(subscription.stats().blocked, 1);
            }
        }
    }
}

/// A blocked send also looks again on a timer that slows down to a second; that must not be what it
/// lives on.
#[test]
fn a_send_that_has_waited_for_long_uses_room_as_soon_as_it_is_announced() {
    let _watchdog = watchdog();
    // Three of each kind; the quickest counts, so that a thread that was kept off its processor
    // does not. Each on a feed of its own: a carrier that cannot tell (the third kind) would have
    // all of them tried often.
    let feeds: Vec<_> = [0, 1, 3]
        .repeat(3)
        .into_iter()
        .map(|kind| {
            let feed = Feed::new();
            let full = one_of_each(&feed).swap_remove(kind);
            (kind, blocked_sleeper(&feed, &full.0, 1), full)
        })
        .collect();
    for (kind, (_, sleeper), _) in &feeds {
        if *kind == 1 {
            // It waits in a select, without a timer.
            sleeper.falls_asleep();
        } else {
            // It looks after 1, 3, 7, ... 511 milliseconds, and then sleeps for half a second.
            sleeper.sleeps_for_the(10, Duration::from_millis(600));
        }
    }
    let mut quickest = [Duration::MAX; 4];
    for (kind, (sender, _), (_subscription, mut take)) in feeds {
        assert_eq!(take(), 0);
        let start = Instant::now();
        assert_eq!(join(sender), 1);
        quickest[kind] = quickest[kind].min(start.elapsed());
    }
    for kind in [0, 1, 3] {
        assert!(
            quickest[kind] < Duration::from_millis(100),
            "kind {kind}: {:?}",
            quickest[kind]
        );
    }
}

#[test]
fn several_blocked_sends_all_come_through() {
    const SENDERS: usize = 12;
    let _watchdog = watchdog();
    let feed = Feed::new();
    let all = one_of_each(&feed);
    let senders: Vec<_> = (0..SENDERS)
        .map(|number| {
            let feed = feed.clone();
            thread::spawn(move || feed.send(1 + number as u64))
        })
        .collect();
    eventually(|| {
        all.iter()
            .all(|(full, _)| full.stats().blocked >= SENDERS as u64)
    });
    let takers: Vec<_> = all
        .into_iter()
        .map(|(subscription, mut take)| {
            thread::spawn(move || {
                let mut values: Vec<_> = (0..=SENDERS).map(|_| take()).collect();
                values.sort_unstable();
                assert_eq!(values, (0..=SENDERS as u64).collect::<Vec<_>>());
                subscription
            })
        })
        .collect();
    for sender in senders {
        assert_eq!(join(sender), 4);
    }
    takers.into_iter().for_each(|taker| drop(join(taker)));
}

#[test]
fn a_blocked_send_does_not_hold_up_other_sends() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let full = feed.channel(1).unwrap();
    let mut roomy = feed.channel(64).unwrap();
    feed.send(0);
    let blocked = blocked_send(&feed, full.subscription(), 1);
    for value in 2..10 {
        let undelivered = feed.try_send(value).unwrap_err();
        assert_eq!(undelivered.delivered(), 1);
    }
    let values: Vec<_> = roomy.try_iter().collect();
    assert_eq!(values, (0..10).collect::<Vec<_>>());
    assert!(!blocked.is_finished());
    drop(full);
    assert_eq!(join(blocked), 1);
}

#[test]
fn a_subscriber_that_comes_while_a_send_is_blocked_does_not_get_its_value() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let mut full = feed.channel(1).unwrap();
    feed.send(0);
    let sender = blocked_send(&feed, full.subscription(), 1);
    let mut late = feed.channel(4).unwrap();
    let (tx, late_crossbeam) = crossbeam_channel::unbounded();
    let _late_crossbeam = feed.subscribe(tx);
    assert_eq!(full.recv(), Ok(0));
    assert_eq!(join(sender), 1);
    assert!(late.is_empty() && late_crossbeam.is_empty());
    assert_eq!(full.recv(), Ok(1));
    assert_eq!(feed.send(2), 3);
    assert_eq!(late.recv(), Ok(2));
}

#[test]
fn the_same_full_channel_subscribed_twice_is_waited_for_twice() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let (tx, rx) = crossbeam_channel::bounded(0);
    let one = feed.subscribe(tx.clone());
    let two = feed.subscribe(tx);
    let sender = blocked_send(&feed, &two, 5);
    assert_eq!(rx.recv_timeout(PATIENCE), Ok(5));
    assert!(!sender.is_finished());
    assert_eq!(rx.recv_timeout(PATIENCE), Ok(5));
    assert_eq!(join(sender), 2);
    assert_eq!((one.stats().delivered, two.stats().delivered), (1, 1));
}

#[test]
fn one_that_polls_is_met_among_more_full_channels_than_are_selected_on_at_once() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let full: Vec<_> = (0..70)
        .map(|_| {
            let (tx, rx) = crossbeam_channel::bounded(1);
            tx.send(0).unwrap();
            (feed.subscribe(tx), rx)
        })
        .collect();
    let (tx, polled) = crossbeam_channel::bounded(0);
    let subscription = feed.subscribe(tx);
    let sender = blocked_send(&feed, &subscription, 1_u64);
    eventually(|| polled.try_recv() == Ok(1));
    drop(full);
    assert_eq!(join(sender), 1);
}

#[test]
fn a_send_soon_comes_to_each_of_very_many_full_channels() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    // Some forty turns. At the pace of the timer for own channels they would take half a minute.
    let (subscriptions, receivers): (Vec<_>, Vec<_>) = (0..2_500)
        .map(|_| {
            let (tx, rx) = crossbeam_channel::bounded(0);
            (feed.subscribe(tx), rx)
        })
        .unzip();
    let sender = blocked_send(&feed, subscriptions.last().unwrap(), 1_u64);
    let polled = receivers.last().unwrap();
    eventually(|| polled.try_recv() == Ok(1));
    feed.close();
    assert_eq!(join(sender), 1);
}

#[test]
fn a_chain_of_feeds_with_little_room_moves_everything() {
    const COUNT: u64 = 3_000;
    let _watchdog = watchdog();
    let first = Feed::new();
    let mut from = first.channel(1).unwrap();
    let mut stages = Vec::new();
    for _ in 0..3 {
        let next = Feed::new();
        let to = next.channel(1).unwrap();
        let mut source = std::mem::replace(&mut from, to);
        stages.push(thread::spawn(move || {
            for value in source.iter() {
                next.send(value + 1);
            }
        }));
    }
    let sender =
        thread::spawn(move || (0..COUNT).for_each(|value| assert_eq!(first.send(value), 1)));
    for value in 0..COUNT {
        assert_eq!(from.recv_timeout(PATIENCE), Ok(value + 3));
    }
    join(sender);
    stages.into_iter().for_each(join);
}

#[cfg(target_os = "linux")]
mod cpu {
    use super::*;
    use crate::common::processor::sleeps;

    #[test]
    fn a_send_blocked_on_one_of_each_kind_sleeps() {
        let _watchdog = watchdog();
        let feed = Feed::new();
        let all = one_of_each(&feed);
        let sending = feed.clone();
        let reached = sleeps(
            move || sending.send(1),
            || all[3].0.stats().blocked == 1,
            || feed.close(),
        );
        assert_eq!(reached, 0);
    }

    #[test]
    fn a_send_blocked_on_own_channels_sleeps() {
        let _watchdog = watchdog();
        let feed = Feed::new();
        let full: Vec<_> = (0..3).map(|_| feed.channel(1).unwrap()).collect();
        feed.send(0);
        let sending = feed.clone();
        sleeps(
            move || sending.send(1),
            || full[2].stats().blocked == 1,
            || feed.close(),
        );
    }

    #[test]
    fn a_send_blocked_on_many_crossbeam_channels_sleeps() {
        let _watchdog = watchdog();
        let feed = Feed::<u64>::new();
        let full: Vec<_> = (0..40)
            .map(|_| {
                let (tx, rx) = crossbeam_channel::bounded(0);
                (feed.subscribe(tx), rx)
            })
            .collect();
        let sending = feed.clone();
        sleeps(
            move || sending.send(1),
            || full[39].0.stats().blocked == 1,
            || feed.close(),
        );
    }

    #[test]
    fn a_receiver_that_waits_sleeps() {
        let _watchdog = watchdog();
        let feed = Feed::new();
        let mut receiver = feed.channel(1).unwrap();
        let waiting = Arc::new(AtomicBool::new(false));
        let here = Arc::clone(&waiting);
        let received = sleeps(
            move || {
                here.store(true, Ordering::Release);
                receiver.recv()
            },
            || waiting.load(Ordering::Acquire),
            || assert_eq!(feed.send(3), 1),
        );
        assert_eq!(received, Ok(3));
    }

    #[test]
    fn an_unsubscribe_that_waits_for_a_slow_closure_sleeps() {
        let _watchdog = watchdog();
        let feed = Feed::new();
        let (entered_tx, entered) = crossbeam_channel::unbounded();
        let (release, released) = crossbeam_channel::bounded::<()>(0);
        let slow = Arc::new(feed.subscribe_fn(move |_: &u64| {
            entered_tx.send(()).unwrap();
            let _ = released.recv_timeout(PATIENCE);
        }));
        let sender = thread::spawn({
            let feed = feed.clone();
            move || feed.send(1)
        });
        entered.recv_timeout(PATIENCE).unwrap();
        let unsubscribing = Arc::clone(&slow);
        sleeps(
            move || unsubscribing.unsubscribe(),
            || slow.is_closed(),
            || drop(release),
        );
        assert_eq!(join(sender), 1);
    }
}

/// A carrier whose far end is gone.
struct Gone(#[expect(dead_code, reason = "it is held")] Arc<()>);

impl Carrier<u64> for Gone {
    fn try_send(&self, value: u64) -> Result<(), TrySendError<u64>> {
        Err(TrySendError::Closed(value))
    }
}

/// Guards against a carrier that stays for as long as the send that found it dead is blocked on
/// another.
#[test]
fn a_carrier_that_a_send_finds_dead_is_dropped_while_the_send_waits() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let mut full = feed.channel(1).unwrap();
    feed.send(0);
    let held = Arc::new(());
    let gone = feed.subscribe(Gone(Arc::clone(&held)));
    let sender = blocked_send(&feed, full.subscription(), 1);
    eventually(|| Arc::strong_count(&held) == 1);
    assert!(gone.is_closed() && !sender.is_finished());
    assert_eq!([full.recv(), full.recv()], [Ok(0), Ok(1)]);
    assert_eq!(join(sender), 1);
}

/// Guards against a wait inside another wait of the same thread that takes the other's wake-up: the
/// outer send then sleeps beside an empty channel.
#[test]
fn a_destructor_that_waits_takes_no_wake_up_of_the_send_that_runs_it() {
    /// A carrier that is dead, and whose destructor sends.
    struct Farewell(Feed<u64>);
    impl Carrier<u64> for Farewell {
        fn try_send(&self, value: u64) -> Result<(), TrySendError<u64>> {
            Err(TrySendError::Closed(value))
        }
    }
    impl Drop for Farewell {
        fn drop(&mut self) {
            self.0.send(9);
        }
    }

    let _watchdog = watchdog();
    let (feed, farewells) = (Feed::new(), Feed::new());
    let mut full = feed.channel(1).unwrap();
    let mut farewell = farewells.channel(1).unwrap();
    feed.send(0);
    farewells.send(8);
    let first = blocked_send(&feed, full.subscription(), 1);
    feed.subscribe(Farewell(farewells.clone())).detach();
    // It waits behind the first send, and then inside the destructor.
    let second = thread::spawn({
        let feed = feed.clone();
        move || feed.send(2)
    });
    eventually(|| farewell.subscription().stats().blocked == 1);
    assert_eq!([full.recv(), full.recv()], [Ok(0), Ok(1)]);
    assert_eq!(join(first), 1);
    assert_eq!([farewell.recv(), farewell.recv()], [Ok(8), Ok(9)]);
    assert_eq!(full.recv(), Ok(2));
    assert_eq!(join(second), 1);
}
