//! What `Feed` promises: who gets a value, in what order, what the verbs return, and what it costs.

mod common;

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use common::{Counted, PATIENCE, Tally, blocked_send, eventually, join, watchdog};
use fanfeed::{
    Carrier, CarrierOverflow, Feed, Overflow, Publish, RecvError, RecvTimeoutError, Subscription,
    TryRecvError, TrySendError,
};

// ---- 1: who gets a value ----

#[test]
fn a_value_reaches_every_kind_of_subscriber() {
    let feed = Feed::new();
    let called = Arc::new(AtomicU64::new(0));
    let (tx, crossbeam) = crossbeam_channel::bounded(4);
    let _a = feed.subscribe(tx);
    let (tx, std_rx) = std::sync::mpsc::channel();
    let _b = feed.subscribe(tx);
    let (tx, std_sync) = std::sync::mpsc::sync_channel(4);
    let _c = feed.subscribe(tx);
    let _d = feed.subscribe_fn({
        let called = Arc::clone(&called);
        move |value| called.store(*value, Ordering::Relaxed)
    });
    let mut own = feed.channel(4).unwrap();

    assert_eq!(feed.send(7u64), 5);
    assert_eq!(crossbeam.try_recv(), Ok(7));
    assert_eq!(std_rx.try_recv(), Ok(7));
    assert_eq!(std_sync.try_recv(), Ok(7));
    assert_eq!(called.load(Ordering::Relaxed), 7);
    assert_eq!(own.try_recv(), Ok(7));
    assert_eq!(own.try_recv(), Err(TryRecvError::Empty));
    assert!(crossbeam.is_empty());
}

#[test]
fn a_subscription_sees_what_is_sent_while_it_lasts_and_nothing_else() {
    let feed = Feed::new();
    assert_eq!(feed.send(0), 0);
    let mut one = feed.channel(8).unwrap();
    assert_eq!(feed.send(1), 1);
    let mut two = feed.channel(8).unwrap();
    assert_eq!(feed.send(2), 2);
    one.subscription().unsubscribe();
    assert_eq!(feed.send(3), 1);
    two.subscription().unsubscribe();
    assert_eq!(feed.send(4), 0);
    assert_eq!(one.iter().collect::<Vec<_>>(), [1, 2]);
    assert_eq!(two.iter().collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn every_one_of_many_subscribers_gets_each_value_once() {
    // Around the sizes at which a feed goes from one chunk of subscribers to the next.
    for count in [1, 2, 4, 5, 63, 64, 65, 128, 129, 200] {
        let feed = Feed::new();
        let mut receivers: Vec<_> = (0..count).map(|_| feed.channel(4).unwrap()).collect();
        assert_eq!(feed.subscriber_count(), count);
        assert_eq!(feed.send(1), count);
        assert_eq!(feed.send(2), count);
        for (index, receiver) in receivers.iter_mut().enumerate() {
            let got: Vec<_> = receiver.try_iter().collect();
            assert_eq!(got, [1, 2], "subscriber {index} of {count}");
        }
        // Every other one goes, and the seats are taken again.
        let mut index = 0;
        receivers.retain(|_| {
            index += 1;
            index % 2 == 0
        });
        let kept = receivers.len();
        assert_eq!(feed.subscriber_count(), kept);
        assert_eq!(feed.send(3), kept);
        receivers.extend((kept..count).map(|_| feed.channel(4).unwrap()));
        assert_eq!(feed.send(4), count);
        for (index, receiver) in receivers.iter_mut().enumerate() {
            let got: Vec<_> = receiver.try_iter().collect();
            let expected: &[i32] = if index < kept { &[3, 4] } else { &[4] };
            assert_eq!(got, expected, "subscriber {index} of {count}");
        }
    }
}

#[test]
fn the_same_channel_subscribed_several_times_gets_several_copies() {
    let feed = Feed::new();
    let (tx, rx) = crossbeam_channel::unbounded();
    let one = feed.subscribe(tx.clone());
    let two = feed.subscribe(tx.clone());
    let three = feed.subscribe(tx);
    assert_ne!(one.id(), two.id());
    assert_eq!(feed.send(1), 3);
    two.unsubscribe();
    assert_eq!(feed.send(2), 2);
    one.unsubscribe();
    assert_eq!(feed.send(3), 1);
    assert!(!three.is_closed());
    three.unsubscribe();
    assert_eq!(feed.send(4), 0);
    assert_eq!(rx.iter().collect::<Vec<_>>(), [1, 1, 1, 2, 2, 3]);
}

/// Guards against a send that had given its value away to the last subscriber it knew of, and then came upon a chunk of
/// subscribers that had none when it looked: it panicked.
#[test]
fn who_subscribes_during_a_send_into_a_chunk_that_was_empty_does_not_disturb_it() {
    /// Runs something of the test's when it is cloned.
    struct Hooked(Arc<dyn Fn() + Send + Sync>);
    impl Clone for Hooked {
        fn clone(&self) -> Self {
            (self.0)();
            Self(Arc::clone(&self.0))
        }
    }
    /// Holds up whoever asks for its depth.
    struct Slow {
        asked: crossbeam_channel::Sender<()>,
        released: crossbeam_channel::Receiver<()>,
    }
    impl Carrier<Hooked> for Slow {
        fn try_send(&self, _: Hooked) -> Result<(), TrySendError<Hooked>> {
            Ok(())
        }
        fn depth(&self) -> Option<usize> {
            self.asked.send(()).unwrap();
            let _ = self.released.recv_timeout(PATIENCE);
            None
        }
    }
    let _watchdog = watchdog();
    let feed = Feed::new();
    let _full_chunk: Vec<_> = (0..64).map(|_| feed.channel(4).unwrap()).collect();
    // The only one of the second chunk has ended, and cannot go while somebody asks for its depth.
    let (asked, is_asked) = crossbeam_channel::unbounded();
    let (release, released) = crossbeam_channel::bounded::<()>(0);
    let slow = Arc::new(feed.subscribe(Slow { asked, released }));
    let asking = Arc::clone(&slow);
    let asker = thread::spawn(move || asking.stats());
    is_asked.recv_timeout(PATIENCE).unwrap();
    let ending = Arc::clone(&slow);
    let ender = thread::spawn(move || ending.unsubscribe());
    eventually(|| slow.is_closed());

    let late = Arc::new(OnceLock::new());
    let hook = {
        let (feed, late) = (feed.clone(), Arc::clone(&late));
        move || {
            late.get_or_init(|| feed.channel(4).unwrap());
        }
    };
    assert_eq!(feed.send(Hooked(Arc::new(hook))), 64);
    assert!(late.get().expect("it was cloned").is_empty());
    assert_eq!(feed.send_batch([Hooked(Arc::new(|| {}))]), 65);
    assert_eq!(feed.send(Hooked(Arc::new(|| {}))), 65);
    assert_eq!(late.get().unwrap().len(), 2);
    drop(release);
    join(asker);
    join(ender);
    feed.close();
}

#[test]
fn subscribers_that_open_and_empty_a_chunk_do_not_disturb_a_send_under_way() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let full_chunk: Vec<_> = (0..64)
        .map(|_| {
            let builder = feed.subscriber().capacity(1);
            builder.overflow(Overflow::DropOldest).channel().unwrap()
        })
        .collect();
    let done = Arc::new(AtomicBool::new(false));
    let churners: Vec<_> = (0..3)
        .map(|_| {
            let (feed, done) = (feed.clone(), Arc::clone(&done));
            thread::spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let (tx, _rx) = crossbeam_channel::unbounded();
                    drop(feed.subscribe(tx));
                }
            })
        })
        .collect();
    let start = Instant::now();
    let mut value = 0u64;
    while start.elapsed() < Duration::from_millis(500) {
        let reached = feed.send(value);
        assert!((64..=67).contains(&reached), "reached {reached}");
        value += 1;
    }
    done.store(true, Ordering::Relaxed);
    churners.into_iter().for_each(join);
    for receiver in full_chunk {
        assert_eq!(receiver.stats().delivered + receiver.stats().dropped, value);
    }
}

// ---- 2: order ----

#[test]
fn values_of_one_thread_reach_each_subscriber_in_order() {
    const SENDERS: u64 = 4;
    // Each value meets the reader of the channel of capacity 0, for which threads take turns some four times. On one core with
    // other work that is a slice of time each.
    const EACH: u64 = 400;
    let _watchdog = watchdog();
    let feed = Feed::new();
    let mut own = feed.channel(3).unwrap();
    let mut roomy = feed.channel(1024).unwrap();
    let (tx, bounded) = crossbeam_channel::bounded(5);
    let _bounded = feed.subscribe(tx);
    let (tx, zero) = crossbeam_channel::bounded(0);
    let _zero = feed.subscribe(tx);
    let (tx, unbounded) = crossbeam_channel::unbounded();
    let _unbounded = feed.subscribe(tx);

    fn check(values: impl Iterator<Item = (u64, u64)>) {
        let mut next = HashMap::new();
        for (sender, number) in values {
            let next = next.entry(sender).or_insert(0);
            assert_eq!(number, *next, "of sender {sender}");
            *next += 1;
        }
        assert_eq!(next, (0..SENDERS).map(|sender| (sender, EACH)).collect());
    }
    let readers = [
        thread::spawn(move || check(own.iter())),
        thread::spawn(move || check(roomy.iter())),
        thread::spawn(move || check(bounded.iter())),
        thread::spawn(move || check(zero.iter())),
    ];
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let feed = feed.clone();
            thread::spawn(move || {
                (0..EACH)
                    .map(|number| feed.send((sender, number)))
                    .sum::<usize>()
            })
        })
        .collect();
    let sent: usize = senders.into_iter().map(join).sum();
    assert_eq!(sent as u64, 5 * SENDERS * EACH);
    feed.close();
    readers.into_iter().for_each(join);
    check(unbounded.try_iter());
}

// ---- 3: delivery is simultaneous ----

#[test]
fn a_full_subscriber_holds_the_send_and_nobody_else() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let mut first = feed.channel(1).unwrap();
    let mut second = feed.channel(8).unwrap();
    let (tx, third) = crossbeam_channel::bounded(0);
    let third_subscription = feed.subscribe(tx);
    let (tx, fourth) = crossbeam_channel::bounded(8);
    let _fourth = feed.subscribe(tx);

    let filler = blocked_send(&feed, &third_subscription, 1);
    assert_eq!(third.recv_timeout(PATIENCE), Ok(1));
    assert_eq!(join(filler), 4);

    // The first is full, and so is the third; the others get the value all the same.
    let sender = blocked_send(&feed, first.subscription(), 2);
    assert_eq!(second.recv(), Ok(1));
    assert_eq!(second.recv_timeout(PATIENCE), Ok(2));
    assert_eq!(fourth.recv_timeout(PATIENCE), Ok(1));
    assert_eq!(fourth.recv_timeout(PATIENCE), Ok(2));
    assert!(!sender.is_finished());
    // Whichever of the full ones makes room first is served first.
    assert_eq!(third.recv_timeout(PATIENCE), Ok(2));
    assert!(!sender.is_finished());
    assert_eq!(first.recv(), Ok(1));
    assert_eq!(first.recv_timeout(PATIENCE), Ok(2));
    assert_eq!(join(sender), 4);
}

#[test]
fn a_blocked_send_goes_on_when_there_is_room() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let mut own = feed.channel(1).unwrap();
    let (tx, rx) = crossbeam_channel::bounded(0);
    let _a = feed.subscribe(tx);
    let sender = thread::spawn({
        let feed = feed.clone();
        move || (0..100u64).map(|value| feed.send(value)).sum::<usize>()
    });
    for value in 0..100u64 {
        assert_eq!(own.recv(), Ok(value));
        assert_eq!(rx.recv(), Ok(value));
    }
    assert_eq!(join(sender), 200);
    feed.close();
    assert_eq!(own.recv(), Err(RecvError::Closed));
    assert!(rx.recv().is_err());
}

// ---- The verbs ----

#[test]
fn nobody_subscribed_means_nobody_reached() {
    let feed = Feed::new();
    let soon = Instant::now() + Duration::from_secs(1);
    assert_eq!(feed.send('a'), 0);
    assert_eq!(feed.try_send('a').unwrap(), 0);
    assert_eq!(feed.send_timeout('a', Duration::MAX).unwrap(), 0);
    assert_eq!(feed.send_timeout('a', Duration::ZERO).unwrap(), 0);
    assert_eq!(feed.send_deadline('a', soon).unwrap(), 0);
    assert_eq!(feed.send_batch(['a', 'b']), 0);
}

#[test]
fn a_closed_feed_reaches_nobody_and_does_not_wait() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let mut full = feed.channel(1).unwrap();
    feed.send('a');
    feed.close();
    assert!(feed.is_closed());
    assert_eq!(feed.send('b'), 0);
    assert_eq!(feed.try_send('b').unwrap(), 0);
    assert_eq!(feed.send_timeout('b', Duration::MAX).unwrap(), 0);
    let later = Instant::now() + PATIENCE;
    assert_eq!(feed.send_deadline('b', later).unwrap(), 0);
    assert_eq!(feed.send_batch(['b', 'c']), 0);
    assert_eq!(full.iter().collect::<String>(), "a");
}

#[test]
fn a_limit_beyond_the_clock_is_no_limit() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let mut receiver = feed.channel(1).unwrap();
    assert_eq!(feed.send_timeout(1, Duration::MAX).unwrap(), 1);
    let sender = thread::spawn({
        let feed = feed.clone();
        move || feed.send_timeout(2, Duration::MAX).unwrap()
    });
    eventually(|| receiver.stats().blocked == 1);
    assert!(!sender.is_finished());
    assert_eq!(receiver.recv(), Ok(1));
    assert_eq!(join(sender), 1);
    assert_eq!(receiver.recv_timeout(Duration::MAX), Ok(2));
}

#[test]
fn a_timed_send_waits_as_long_as_it_was_told_and_no_longer() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let mut receiver = feed.channel(1).unwrap();
    feed.send(1);
    let limit = Duration::from_millis(60);
    let start = Instant::now();
    assert!(feed.send_timeout(2, limit).is_err());
    assert!(start.elapsed() >= limit, "{:?}", start.elapsed());
    assert!(start.elapsed() < PATIENCE);
    let start = Instant::now();
    assert!(feed.send_deadline(3, start + limit).is_err());
    assert!(start.elapsed() >= limit, "{:?}", start.elapsed());

    // Room that comes in time is used.
    let sender = thread::spawn({
        let feed = feed.clone();
        move || feed.send_timeout(4, PATIENCE).unwrap()
    });
    eventually(|| receiver.stats().blocked == 3);
    assert_eq!(receiver.recv(), Ok(1));
    assert_eq!(join(sender), 1);
    // The two that were given up.
    assert_eq!(receiver.recv(), Err(RecvError::Lagged(2)));
    assert_eq!(receiver.recv(), Ok(4));
}

#[test]
fn a_deadline_in_the_past_serves_those_who_have_room() {
    let feed = Feed::new();
    let full = feed.channel(1).unwrap();
    let roomy = feed.channel(2).unwrap();
    feed.send(1);
    let past = Instant::now()
        .checked_sub(Duration::from_millis(1))
        .unwrap_or_else(Instant::now);
    let undelivered = feed.send_deadline(2, past).unwrap_err();
    assert_eq!(undelivered.delivered(), 1);
    assert_eq!(undelivered.missed()[0].id, full.subscription().id());
    assert_eq!(roomy.len(), 2);
    let undelivered = feed.send_timeout(3, Duration::ZERO).unwrap_err();
    assert_eq!(undelivered.missed().len(), 2);
}

#[test]
fn the_verbs_of_publish_are_those_of_the_feed() {
    fn run<P>(mut out: P)
    where
        P: Publish<u32, Sent = usize, Unsent = fanfeed::Undelivered<u32>>,
    {
        assert_eq!(out.send(1), 1);
        assert_eq!(out.try_send(2).unwrap(), 1);
        assert_eq!(out.send_batch([3, 4]), 2);
        assert_eq!(out.try_send(5).unwrap_err().into_inner(), 5);
        let soon = Duration::from_millis(1);
        assert_eq!(out.send_timeout(6, soon).unwrap_err().into_inner(), 6);
        let deadline = Instant::now() + soon;
        assert_eq!(out.send_deadline(7, deadline).unwrap_err().into_inner(), 7);
    }
    let feed = Feed::new();
    let mut receiver = feed.channel(4).unwrap();
    run(&feed);
    assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [1, 2, 3, 4]);
    run(feed);
    assert_eq!(receiver.iter().collect::<Vec<_>>(), [1, 2, 3, 4]);
}

// ---- Handles ----

#[test]
fn clones_of_a_feed_share_its_subscribers() {
    let feed = Feed::new();
    let other = feed.clone();
    let mut receiver = other.channel(4).unwrap();
    assert_eq!(feed.send(1), 1);
    drop(other);
    assert_eq!(feed.send(2), 1);
    assert!(!receiver.is_closed());
    drop(feed);
    assert!(receiver.is_closed());
    assert_eq!(receiver.iter().collect::<Vec<_>>(), [1, 2]);
    assert_eq!(receiver.recv(), Err(RecvError::Closed));
}

#[test]
fn a_weak_handle_does_not_keep_the_feed_alive() {
    let feed = Feed::new();
    let weak = feed.downgrade();
    let mut receiver = feed.channel(4).unwrap();
    let upgraded = weak.clone().upgrade().expect("the feed is alive");
    assert_eq!(upgraded.send(1), 1);
    drop(feed);
    assert_eq!(weak.upgrade().expect("a handle is left").send(2), 1);
    assert!(!receiver.is_closed());
    drop(upgraded);
    assert!(weak.upgrade().is_none());
    assert!(receiver.is_closed());
    assert_eq!(receiver.iter().collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn a_closed_feed_can_be_upgraded_to_and_stays_closed() {
    let feed = Feed::<u8>::new();
    let weak = feed.downgrade();
    assert!(!feed.is_closed());
    feed.close();
    assert!(weak.upgrade().expect("the handle is there").is_closed());
}

#[test]
fn receivers_and_subscriptions_keep_no_feed_alive() {
    let feed = Feed::<u8>::new();
    let weak = feed.downgrade();
    let receiver = feed.channel(1).unwrap();
    let (tx, _rx) = crossbeam_channel::unbounded();
    let subscription = feed.subscribe(tx);
    let closed = subscription.closed();
    drop(feed);
    assert!(weak.upgrade().is_none());
    assert!(receiver.is_closed() && subscription.is_closed());
    closed.wait();
}

#[test]
fn a_feed_can_live_in_a_static() {
    static FEED: LazyLock<Feed<u32>> = LazyLock::new(Feed::default);
    let _watchdog = watchdog();
    let mut receiver = FEED.channel(1).unwrap();
    let sender = thread::spawn(|| (0..50).map(|value| FEED.send(value)).sum::<usize>());
    for value in 0..50 {
        assert_eq!(receiver.recv_timeout(PATIENCE), Ok(value));
    }
    assert_eq!(join(sender), 50);
}

#[test]
fn names_and_numbers_tell_subscriptions_apart() {
    let feed = Feed::<u8>::new();
    let (tx, _rx) = crossbeam_channel::unbounded();
    let named = feed.subscriber().name("crossbeam").subscribe(tx);
    let closure = feed
        .subscriber()
        .name(String::from("closure"))
        .subscribe_fn(|_| {});
    let own = feed.subscriber().name("own").capacity(1).channel().unwrap();
    let nameless = feed.channel(1).unwrap();
    assert_eq!(named.name(), Some("crossbeam"));
    assert_eq!(closure.name(), Some("closure"));
    assert_eq!(own.subscription().name(), Some("own"));
    assert_eq!(nameless.subscription().name(), None);
    let ids = [
        named.id(),
        closure.id(),
        own.subscription().id(),
        nameless.subscription().id(),
    ];
    let unique: std::collections::HashSet<_> = ids.iter().collect();
    assert_eq!(unique.len(), ids.len());
}

// ---- close ----

#[test]
fn closing_releases_blocked_sends_and_lets_receivers_drain() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let mut own = feed.channel(1).unwrap();
    let (tx, crossbeam) = crossbeam_channel::bounded(1);
    let crossbeam_subscription = feed.subscribe(tx);
    let (tx, std_rx) = std::sync::mpsc::sync_channel(1);
    let std_subscription = feed.subscribe(tx);
    let errors = [
        own.subscription().err(),
        crossbeam_subscription.err(),
        std_subscription.err(),
    ];
    assert_eq!(feed.send(1), 3);
    let senders = [
        blocked_send(&feed, own.subscription(), 2),
        blocked_send(&feed, own.subscription(), 3),
    ];
    feed.close();
    for sender in senders {
        assert_eq!(join(sender), 0);
    }
    assert_eq!(feed.subscriber_count(), 0);
    assert!(own.is_closed() && crossbeam_subscription.is_closed() && std_subscription.is_closed());
    // What was in the channels is still there, and then they end.
    assert_eq!(own.iter().collect::<Vec<_>>(), [1]);
    assert_eq!(own.try_recv(), Err(TryRecvError::Closed));
    assert_eq!(own.recv_timeout(PATIENCE), Err(RecvTimeoutError::Closed));
    assert_eq!(crossbeam.iter().collect::<Vec<_>>(), [1]);
    assert_eq!(std_rx.iter().collect::<Vec<_>>(), [1]);
    for errors in errors {
        assert_eq!(
            errors.try_recv().unwrap_err(),
            crossbeam_channel::TryRecvError::Disconnected
        );
    }
    feed.close();
}

#[test]
fn dropping_the_last_handle_releases_a_receiver_that_waits() {
    let _watchdog = watchdog();
    let feed = Feed::<u8>::new();
    let mut receiver = feed.channel(1).unwrap();
    let waiting = Arc::new(AtomicBool::new(false));
    let reader = thread::spawn({
        let waiting = Arc::clone(&waiting);
        move || {
            waiting.store(true, Ordering::Release);
            receiver.recv()
        }
    });
    eventually(|| waiting.load(Ordering::Acquire));
    drop(feed);
    assert_eq!(join(reader), Err(RecvError::Closed));
}

#[test]
fn a_subscription_to_a_closed_feed_has_ended_at_once() {
    let feed = Feed::<u8>::new();
    feed.close();
    let (tx, rx) = crossbeam_channel::unbounded::<u8>();
    let subscription = feed.subscribe(tx);
    assert!(subscription.is_closed());
    assert_eq!(
        rx.try_recv(),
        Err(crossbeam_channel::TryRecvError::Disconnected)
    );
    assert!(subscription.err().recv().is_err());
    subscription.closed().wait();
    subscription.unsubscribe();
    let mut receiver = feed.channel(3).unwrap();
    assert_eq!(receiver.recv(), Err(RecvError::Closed));
    assert!(feed.subscribe_fn(|_| unreachable!()).is_closed());
    assert_eq!(feed.subscriber_count(), 0);
    assert_eq!(feed.send(1), 0);
}

#[test]
fn nothing_is_put_on_any_channel_once_close_has_returned() {
    let _watchdog = watchdog();
    for round in 0..60 {
        let feed = Feed::new();
        let (tx, rx) = crossbeam_channel::unbounded();
        let _subscription = feed.subscribe(tx);
        let own = feed.channel(4096).unwrap();
        let after_close = Arc::new(AtomicBool::new(false));
        let called_late = Arc::new(AtomicBool::new(false));
        let _closure = feed.subscribe_fn({
            let (after_close, called_late) = (Arc::clone(&after_close), Arc::clone(&called_late));
            move |_| called_late.store(after_close.load(Ordering::SeqCst), Ordering::SeqCst)
        });
        let senders: Vec<_> = (0..3)
            .map(|_| {
                let feed = feed.clone();
                thread::spawn(move || while feed.try_send(1).is_ok_and(|reached| reached != 0) {})
            })
            .collect();
        eventually(|| own.stats().delivered > round * 3);
        feed.close();
        after_close.store(true, Ordering::SeqCst);
        let counts = (rx.len(), own.len());
        senders.into_iter().for_each(join);
        assert_eq!((rx.len(), own.len()), counts);
        assert!(!called_late.load(Ordering::SeqCst));
    }
}

// ---- Figures ----

#[test]
fn delivered_and_dropped_add_up_to_what_was_sent_under_every_policy() {
    const SENDERS: u64 = 4;
    const EACH: u64 = 5_000;
    let _watchdog = watchdog();
    let feed = Feed::new();
    let own = |overflow| {
        let builder = feed.subscriber().capacity(7).overflow(overflow);
        builder.channel().unwrap()
    };
    let (block, newest, oldest) = (
        own(Overflow::Block),
        own(Overflow::DropNewest),
        own(Overflow::DropOldest),
    );
    let (tx, foreign_block) = crossbeam_channel::bounded(7);
    let foreign_block_subscription = feed.subscribe(tx);
    let (tx, foreign_newest) = crossbeam_channel::bounded(7);
    let foreign_newest_subscription = feed
        .subscriber()
        .overflow(CarrierOverflow::DropNewest)
        .subscribe(tx);
    let called = Arc::new(AtomicU64::new(0));
    let closure = feed.subscribe_fn({
        let called = Arc::clone(&called);
        move |_| {
            called.fetch_add(1, Ordering::Relaxed);
        }
    });

    let readers: Vec<_> = [block, newest, oldest]
        .map(|mut receiver| {
            thread::spawn(move || {
                let mut received = 0;
                let mut lagged = 0;
                loop {
                    match receiver.recv() {
                        Ok(_) => received += 1,
                        Err(RecvError::Lagged(missed)) => lagged += missed,
                        Err(_) => break,
                    }
                }
                assert_eq!(receiver.missed(), lagged);
                (received, lagged, receiver.stats())
            })
        })
        .into();
    let foreign: Vec<_> = [foreign_block, foreign_newest]
        .map(|rx| thread::spawn(move || rx.iter().count() as u64))
        .into();
    let senders: Vec<_> = (0..SENDERS)
        .map(|_| {
            let feed = feed.clone();
            thread::spawn(move || (0..EACH).map(|value| feed.send(value)).sum::<usize>() as u64)
        })
        .collect();
    let reached: u64 = senders.into_iter().map(join).sum();
    feed.close();

    let total = SENDERS * EACH;
    let mut delivered = 0;
    for (index, reader) in readers.into_iter().enumerate() {
        let (received, lagged, stats) = join(reader);
        assert_eq!(received + lagged, total, "policy {index}");
        assert_eq!(
            (stats.delivered, stats.dropped),
            (received, lagged),
            "policy {index}"
        );
        assert_eq!(stats.depth, Some(0));
        if index == 0 {
            assert_eq!(lagged, 0, "Block loses nothing");
        }
        // Under DropOldest a value counts as reached when it was put there, also if it is pushed out later.
        delivered += if index == 2 { total } else { received };
    }
    for (reader, subscription) in foreign
        .into_iter()
        .zip([foreign_block_subscription, foreign_newest_subscription])
    {
        let received = join(reader);
        let stats = subscription.stats();
        assert_eq!(stats.delivered, received);
        assert_eq!(stats.delivered + stats.dropped, total);
        delivered += received;
    }
    assert_eq!(closure.stats().delivered, total);
    assert_eq!(called.load(Ordering::Relaxed), total);
    assert_eq!(reached, delivered + total);
}

#[test]
fn figures_are_exact_with_more_sending_threads_than_lanes() {
    const SENDERS: usize = 40;
    const EACH: usize = 250;
    let _watchdog = watchdog();
    let feed = Feed::new();
    let (tx, rx) = crossbeam_channel::unbounded();
    let crossbeam = feed.subscribe(tx);
    let (tx, std_rx) = std::sync::mpsc::channel();
    let std_subscription = feed.subscribe(tx);
    let called = Arc::new(AtomicUsize::new(0));
    let closure = feed.subscribe_fn({
        let called = Arc::clone(&called);
        move |_: &usize| {
            called.fetch_add(1, Ordering::Relaxed);
        }
    });
    // All of them live at the same time, so that the lanes do run out.
    let together = Arc::new(std::sync::Barrier::new(SENDERS));
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let (feed, together) = (feed.clone(), Arc::clone(&together));
            thread::spawn(move || {
                feed.send(sender);
                together.wait();
                for _ in 1..EACH {
                    assert_eq!(feed.send(sender), 3);
                }
                together.wait();
            })
        })
        .collect();
    senders.into_iter().for_each(join);
    let total = SENDERS * EACH;
    for subscription in [&crossbeam, &std_subscription, &closure] {
        assert_eq!(subscription.stats().delivered, total as u64);
        assert_eq!(subscription.stats().dropped, 0);
    }
    assert_eq!(rx.len(), total);
    assert_eq!(std_rx.try_iter().count(), total);
    assert_eq!(called.load(Ordering::Relaxed), total);
    // The lanes are given back: threads that come later count as exactly.
    for _ in 0..40 {
        let feed = feed.clone();
        join(thread::spawn(move || feed.send(0)));
    }
    assert_eq!(crossbeam.stats().delivered, total as u64 + 40);
}

#[test]
fn stats_say_how_often_and_how_long_sends_were_blocked() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let mut own = feed.channel(2).unwrap();
    let (tx, rx) = crossbeam_channel::bounded(2);
    let crossbeam = feed.subscribe(tx);
    feed.send(1);
    feed.send(2);
    for stats in [own.stats(), crossbeam.stats()] {
        assert_eq!((stats.delivered, stats.dropped), (2, 0));
        assert_eq!(stats.depth, Some(2));
        assert_eq!((stats.blocked, stats.blocked_for), (0, Duration::ZERO));
    }
    let start = Instant::now();
    let sender = blocked_send(&feed, own.subscription(), 3);
    eventually(|| start.elapsed() > Duration::from_millis(30));
    assert_eq!(own.recv(), Ok(1));
    assert_eq!(rx.recv(), Ok(1));
    assert_eq!(join(sender), 2);
    let most = start.elapsed();
    for stats in [own.stats(), crossbeam.stats()] {
        assert_eq!(stats.delivered, 3);
        assert_eq!(stats.blocked, 1);
        assert!(
            stats.blocked_for > Duration::from_millis(10) && stats.blocked_for <= most,
            "{:?} of {most:?}",
            stats.blocked_for
        );
    }
    // A send that does not wait has not been blocked.
    assert!(feed.try_send(4).is_err());
    assert_eq!(own.stats().blocked, 1);
}

// ---- 9: clones; and what becomes of values ----

/// Sends one value to subscribers made by `subscribe`, and returns how many clones that took.
fn clones_for(subscribe: impl FnOnce(&Feed<Counted>) -> Vec<Subscription>) -> usize {
    let tally = Tally::new();
    let feed = Feed::new();
    let subscriptions = subscribe(&feed);
    feed.send(tally.value(1));
    drop(subscriptions);
    tally.clones()
}

#[test]
fn the_last_subscriber_gets_the_original() {
    for count in [1, 2, 5, 64, 65, 130] {
        let clones = clones_for(|feed| {
            (0..count)
                .map(|_| {
                    let (tx, rx) = crossbeam_channel::unbounded();
                    std::mem::forget(rx);
                    feed.subscribe(tx)
                })
                .collect()
        });
        assert_eq!(clones, count - 1, "for {count} subscribers");
    }
}

#[test]
fn closures_take_no_clones() {
    for count in [1, 3, 70] {
        let clones = clones_for(|feed| (0..count).map(|_| feed.subscribe_fn(|_| {})).collect());
        assert_eq!(clones, 0);
    }
    // A channel beside a closure needs one of its own: the closure is called with the original afterwards.
    let clones = clones_for(|feed| {
        let (tx, rx) = crossbeam_channel::unbounded();
        std::mem::forget(rx);
        vec![feed.subscribe_fn(|_| {}), feed.subscribe(tx)]
    });
    assert_eq!(clones, 1);
}

#[test]
fn a_value_that_one_refuses_is_offered_to_the_next() {
    let tally = Tally::new();
    let feed = Feed::new();
    let mut kept = Vec::new();
    for _ in 0..10 {
        let builder = feed.subscriber().capacity(1);
        kept.push(builder.overflow(Overflow::DropNewest).channel().unwrap());
    }
    let (tx, gone) = crossbeam_channel::unbounded();
    let _gone = feed.subscribe(tx);
    let last = feed.channel(2).unwrap();
    assert_eq!(feed.send(tally.value(0)), 12);
    assert_eq!(tally.clones(), 11);
    drop(gone);
    // Ten refuse it, one is gone, one takes it: one clone is made for those, and passed along.
    assert_eq!(feed.send(tally.value(1)), 1);
    assert!(tally.clones() <= 1);
    assert_eq!(last.len(), 2);
}

#[test]
fn subscribers_that_make_room_later_cost_no_more_clones() {
    let _watchdog = watchdog();
    let tally = Tally::new();
    let feed = Feed::new();
    let mut full: Vec<_> = (0..5).map(|_| feed.channel(1).unwrap()).collect();
    let (tx, crossbeam) = crossbeam_channel::bounded(1);
    let crossbeam_subscription = feed.subscribe(tx);
    let (tx, std_rx) = std::sync::mpsc::sync_channel(1);
    let _std = feed.subscribe(tx);
    let _roomy: Vec<_> = (0..3).map(|_| feed.channel(4).unwrap()).collect();
    assert_eq!(feed.send(tally.value(0)), 10);
    assert_eq!(tally.clones(), 9);
    let sender = blocked_send(&feed, &crossbeam_subscription, tally.value(1));
    // They are tried again and again meanwhile, one by one.
    for receiver in &mut full {
        assert_eq!(receiver.recv().unwrap().number, 0);
        eventually(|| receiver.len() == 1);
    }
    assert_eq!(crossbeam.recv_timeout(PATIENCE).unwrap().number, 0);
    assert_eq!(std_rx.recv_timeout(PATIENCE).unwrap().number, 0);
    assert_eq!(join(sender), 10);
    assert!(tally.clones() <= 9);
}

#[test]
fn values_are_dropped_exactly_once() {
    let _watchdog = watchdog();
    let tally = Tally::new();
    let feed = Feed::new();
    let mut own = feed.channel(4).unwrap();
    let policies = [
        Overflow::DropNewest,
        Overflow::DropOldest,
        Overflow::Disconnect,
    ];
    let others = policies.map(|overflow| {
        let builder = feed.subscriber().capacity(3).overflow(overflow);
        builder.channel().unwrap()
    });
    let (tx, rx) = crossbeam_channel::unbounded();
    let subscription = feed.subscribe(tx);
    let _closure = feed.subscribe_fn(|_| {});
    let senders: Vec<_> = (0..4)
        .map(|_| {
            let (feed, tally) = (feed.clone(), Arc::clone(&tally));
            thread::spawn(move || {
                for number in 0..300 {
                    feed.send(tally.value(number));
                    let _ = feed.try_send(tally.value(number));
                    feed.send_batch((0..5).map(|number| tally.value(number)));
                }
            })
        })
        .collect();
    eventually(|| {
        let _ = own.drain(10, drop);
        senders.iter().all(|sender| sender.is_finished())
    });
    senders.into_iter().for_each(join);
    // What is left lies in the channels.
    let lying = own.len() + others.iter().map(|other| other.len()).sum::<usize>() + rx.len();
    assert_eq!(tally.live(), lying as i64);
    drop(own);
    drop(others);
    subscription.unsubscribe();
    drop(rx);
    drop(feed);
    assert_eq!(tally.live(), 0);
}

#[test]
fn values_of_every_shape_arrive_whole() {
    #[repr(align(128))]
    #[derive(Clone, Debug, PartialEq)]
    struct Aligned(u8);
    #[derive(Clone, Debug, PartialEq)]
    struct Large([u64; 512]);

    fn pass<T: Clone + Send + PartialEq + std::fmt::Debug + 'static>(make: impl Fn(u64) -> T) {
        let feed = Feed::new();
        let mut own = feed.channel(3).unwrap();
        let mut latest = feed
            .subscriber()
            .capacity(2)
            .overflow(Overflow::DropOldest)
            .channel()
            .unwrap();
        let (tx, rx) = crossbeam_channel::bounded(3);
        let _subscription = feed.subscribe(tx);
        for number in 0..30 {
            assert_eq!(feed.send(make(number)), 3);
            let value = own.try_recv().unwrap();
            assert_eq!(std::ptr::from_ref(&value) as usize % align_of::<T>(), 0);
            assert_eq!(value, make(number));
            assert_eq!(rx.try_recv().unwrap(), make(number));
        }
        assert_eq!(latest.missed(), 0);
        let last: Vec<_> = latest.try_iter().collect();
        assert_eq!(last, [make(28), make(29)]);
        assert_eq!(latest.missed(), 28);
    }
    pass(|_| ());
    pass(|number| Aligned(number as u8));
    pass(|number| Large([number; 512]));
    pass(|number| vec![number; 10]);
    // Can be sent to another thread, but not shared with one.
    pass(Cell::new);
}

#[test]
fn a_value_that_cannot_be_shared_can_be_sent_between_threads() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let mut receiver = feed.channel(1).unwrap();
    let _closure = feed.subscribe_fn(|value: &Cell<u32>| value.set(value.get() + 1));
    let sender = thread::spawn({
        let feed = feed.clone();
        move || {
            (0..20)
                .map(|value| feed.send(Cell::new(value)))
                .sum::<usize>()
        }
    });
    for value in 0..20 {
        assert_eq!(receiver.recv(), Ok(Cell::new(value)));
    }
    assert_eq!(join(sender), 40);
}
