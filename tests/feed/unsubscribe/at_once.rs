//! Unsubscribing repeatedly, from several threads at the same time, and while the feed is closed.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc as std_mpsc;
use std::sync::{Arc, Barrier, Mutex};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::TryRecvError;
use fanfeed::{CarrierOverflow, Feed, Overflow, Subscription};

use super::{Senders, witness};
use crate::common::{PATIENCE, blocked_sleeper, eventually, join, watchdog};

#[test]
fn unsubscribing_again_is_harmless() {
    let feed = Feed::new();
    let (carrier, _, dropped) = witness();
    let subscription = feed.subscribe(carrier);
    assert!(!subscription.is_closed());
    for _ in 0..3 {
        subscription.unsubscribe();
        assert!(subscription.is_closed());
        assert_eq!(feed.subscriber_count(), 0);
    }
    // Its seat may belong to another by now.
    let (tx, rx) = crossbeam_channel::unbounded();
    let _other = feed.subscribe(tx);
    subscription.unsubscribe();
    drop(subscription);
    assert_eq!(feed.send(1), 1);
    assert_eq!(rx.len(), 1);
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
}

/// A carrier that was subscribed, as its far end sees it.
struct FarEnd {
    /// Whether no more values can come. Asked once.
    is_disconnected: Box<dyn FnOnce() -> bool + Send>,
    /// Whether that holds as soon as any thread has unsubscribed it. Nobody waits for a destructor
    /// that may be user code.
    at_once: bool,
}

impl FarEnd {
    fn subscribe(feed: &Feed<u64>, kind: usize) -> (Subscription, Self) {
        let (subscription, is_disconnected): (_, Box<dyn FnOnce() -> bool + Send>) = match kind {
            0 => {
                let (tx, rx) = crossbeam_channel::unbounded();
                (feed.subscribe(tx), Box::new(move || ends_crossbeam(&rx)))
            }
            1 => {
                let (tx, rx) = crossbeam_channel::bounded(1);
                let builder = feed.subscriber().overflow(CarrierOverflow::DropNewest);
                (builder.subscribe(tx), Box::new(move || ends_crossbeam(&rx)))
            }
            2 => {
                let (tx, rx) = std_mpsc::channel();
                (feed.subscribe(tx), Box::new(move || ends_std(&rx)))
            }
            3 => {
                let (tx, rx) = std_mpsc::sync_channel(1);
                let builder = feed.subscriber().overflow(CarrierOverflow::DropNewest);
                (builder.subscribe(tx), Box::new(move || ends_std(&rx)))
            }
            4 => {
                let builder = feed.subscriber().capacity(1);
                let own = builder.overflow(Overflow::DropNewest).channel().unwrap();
                let (mut receiver, subscription) = own.split();
                let is_disconnected = Box::new(move || {
                    loop {
                        match receiver.try_recv() {
                            Err(fanfeed::TryRecvError::Empty) => return false,
                            Err(fanfeed::TryRecvError::Closed) => return true,
                            _ => {}
                        }
                    }
                });
                (subscription, is_disconnected)
            }
            _ => {
                let (carrier, _, dropped) = witness();
                let is_disconnected = Box::new(move || {
                    eventually(|| dropped.load(Ordering::SeqCst) == 1);
                    true
                });
                (feed.subscribe(carrier), is_disconnected)
            }
        };
        let far_end = Self {
            is_disconnected,
            at_once: kind < 5,
        };
        (subscription, far_end)
    }

    const KINDS: usize = 6;
}

fn ends_crossbeam(receiver: &crossbeam_channel::Receiver<u64>) -> bool {
    while receiver.try_recv().is_ok() {}
    receiver.try_recv() == Err(TryRecvError::Disconnected)
}

fn ends_std(receiver: &std_mpsc::Receiver<u64>) -> bool {
    while receiver.try_recv().is_ok() {}
    receiver.try_recv() == Err(std_mpsc::TryRecvError::Disconnected)
}

/// Two threads unsubscribe at one time, with a sender beside them or without.
fn race_to_unsubscribe(races: usize, senders: usize) {
    let feed = Feed::new();
    let _senders = Senders::start(&feed, senders);
    let (begin, end) = (Arc::new(AtomicUsize::new(0)), Arc::new(Barrier::new(2)));
    let slot: Arc<Mutex<Option<Arc<Subscription>>>> = Arc::default();
    let other = thread::spawn({
        let (begin, end, slot) = (Arc::clone(&begin), Arc::clone(&end), Arc::clone(&slot));
        move || {
            for race in 1..=races {
                end.wait();
                let subscription = slot.lock().unwrap().take().expect("it was put there");
                // Both begin within nanoseconds: threads that are woken are farther apart.
                begin.fetch_add(1, Ordering::SeqCst);
                eventually(|| begin.load(Ordering::SeqCst) == 2 * race);
                subscription.unsubscribe();
                end.wait();
            }
        }
    });
    for race in 1..=races {
        let (subscription, far_end) = FarEnd::subscribe(&feed, race % FarEnd::KINDS);
        let subscription = Arc::new(subscription);
        *slot.lock().unwrap() = Some(Arc::clone(&subscription));
        end.wait();
        begin.fetch_add(1, Ordering::SeqCst);
        eventually(|| begin.load(Ordering::SeqCst) == 2 * race);
        for _ in 0..race / FarEnd::KINDS % 20 {
            std::hint::spin_loop();
        }
        subscription.unsubscribe();
        let delivered = subscription.stats().delivered;
        if far_end.at_once {
            assert!((far_end.is_disconnected)(), "race {race}: too early");
            end.wait();
        } else {
            end.wait();
            assert!((far_end.is_disconnected)());
        }
        assert_eq!(subscription.stats().delivered, delivered);
    }
    join(other);
}

#[test]
fn of_two_threads_that_unsubscribe_at_once_neither_returns_too_early() {
    let _watchdog = watchdog();
    race_to_unsubscribe(1200, 1);
    race_to_unsubscribe(6_000, 0);
}

/// Guards against a close that found everything cut by another thread already, and returned while
/// that was not over.
#[test]
fn of_two_threads_that_close_at_once_neither_returns_too_early() {
    /// A waker that blocks the thread that wakes it.
    struct Slow {
        woken: crossbeam_channel::Sender<()>,
        released: crossbeam_channel::Receiver<()>,
    }
    impl Wake for Slow {
        fn wake(self: Arc<Self>) {
            self.woken.send(()).unwrap();
            let _ = self.released.recv_timeout(PATIENCE);
        }
    }
    let _watchdog = watchdog();
    let feed = Feed::new();
    let first = feed.channel(4).unwrap();
    let (tx, rx) = crossbeam_channel::bounded(0);
    let last = feed.subscribe(tx);
    let (sender, sleeper) = blocked_sleeper(&feed, &last, 1);
    let (woken, is_woken) = crossbeam_channel::unbounded();
    let (release, released) = crossbeam_channel::bounded::<()>(0);
    let waker = Waker::from(Arc::new(Slow { woken, released }));
    let mut closed = first.subscription().closed();
    let polled = Pin::new(&mut closed).poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());

    let close = || {
        let feed = feed.clone();
        thread::spawn(move || feed.close())
    };
    // It waits in a select, and does not look on its own.
    sleeper.falls_asleep();
    // The one is held up after it has ended both, and before it tells the send that is blocked on
    // the last.
    let one = close();
    is_woken.recv_timeout(PATIENCE).unwrap();
    let other = close();
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(50) {
        if other.is_finished() {
            // Then the send has found the end by itself. Else it would be there to meet this.
            assert!(rx.try_recv().is_err(), "a value after the close");
            break;
        }
        thread::yield_now();
    }
    drop(release);
    join(one);
    join(other);
    assert!(rx.try_recv().is_err());
    assert_eq!(join(sender), 1);
}

#[test]
fn all_ways_of_ending_can_meet() {
    let _watchdog = watchdog();
    for round in 0..200 {
        let feed = Feed::new();
        let (carrier, _, dropped) = witness();
        let subscription = Arc::new(feed.subscribe(carrier));
        let (receiver, handle) = feed.channel(2).unwrap().split();
        let (tx, rx) = crossbeam_channel::bounded(0);
        let rendezvous = Arc::new(feed.subscribe(tx));
        let go = Arc::new(Barrier::new(5));
        let run = |end: Box<dyn FnOnce() + Send>| {
            let go = Arc::clone(&go);
            thread::spawn(move || {
                go.wait();
                end();
            })
        };
        let threads = [
            run(Box::new({
                let feed = feed.clone();
                move || {
                    for value in 0..5 {
                        feed.send(value);
                    }
                }
            })),
            run(Box::new({
                let (one, two) = (Arc::clone(&subscription), Arc::clone(&rendezvous));
                move || {
                    one.unsubscribe();
                    two.unsubscribe();
                }
            })),
            run(Box::new({
                let feed = feed.clone();
                move || feed.close()
            })),
            run(Box::new(move || drop(receiver))),
            run(Box::new(move || {
                if round % 2 == 0 {
                    drop(handle);
                }
                drop(rx);
            })),
        ];
        threads.into_iter().for_each(join);
        assert_eq!(dropped.load(Ordering::SeqCst), 1);
        assert_eq!(feed.subscriber_count(), 0);
        assert!(subscription.is_closed() && rendezvous.is_closed());
    }
}
