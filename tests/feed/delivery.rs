//! Which subscribers get a value, and in what order; a full subscriber delays no other.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use fanfeed::{Carrier, Feed, Overflow, RecvError, TryRecvError, TrySendError};

use crate::common::{PATIENCE, blocked_send, eventually, join, watchdog};

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

/// Guards against a send that had given its value away to the last subscriber it knew of, and then
/// came upon a chunk of subscribers that had none when it looked: it panicked.
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
    /// A carrier that blocks the thread that asks for its depth.
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
    // Each value meets the reader of the channel of capacity 0, for which threads take turns some
    // four times. On one core with other work that is a slice of time each.
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
fn a_full_subscriber_blocks_the_send_and_no_other_subscriber() {
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
