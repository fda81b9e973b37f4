//! When `unsubscribe` returns it is over: nothing more is put on the channel, and the carrier is gone.

mod common;

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc as std_mpsc;
use std::sync::{Arc, Barrier, Mutex, OnceLock};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use common::{
    PATIENCE, Random, Sleeper, Tally, blocked_send, blocked_sleeper, eventually, join, watchdog,
};
use crossbeam_channel::TryRecvError;
use fanfeed::{Carrier, CarrierOverflow, Feed, Overflow, Subscription, TrySendError};

/// A carrier that takes everything, and says when it was used last and when it was dropped.
struct Witness {
    taken: Arc<AtomicUsize>,
    dropped: Arc<AtomicUsize>,
}

impl Carrier<u64> for Witness {
    fn try_send(&self, _: u64) -> Result<(), TrySendError<u64>> {
        self.taken.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

fn witness() -> (Witness, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let (taken, dropped) = (Arc::default(), Arc::default());
    let carrier = Witness {
        taken: Arc::clone(&taken),
        dropped: Arc::clone(&dropped),
    };
    (carrier, taken, dropped)
}

/// Threads that send without pause until this is dropped.
struct Senders {
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Senders {
    fn start(feed: &Feed<u64>, count: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..count).map(|_| {
            let (feed, stop) = (feed.clone(), Arc::clone(&stop));
            thread::spawn(move || {
                let mut value = 0;
                while !stop.load(Ordering::Relaxed) {
                    feed.send(value);
                    value += 1;
                }
            })
        });
        Self {
            threads: threads.collect(),
            stop,
        }
    }
}

impl Drop for Senders {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            join(thread);
        }
    }
}

// ---- Nothing after it ----

#[test]
fn nothing_is_put_on_a_channel_once_unsubscribe_has_returned() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let senders = Senders::start(&feed, 2);
    for round in 0..100 {
        let (carrier, taken, dropped) = witness();
        let user = feed.subscribe(carrier);
        let (tx, crossbeam_rx) = crossbeam_channel::unbounded();
        let crossbeam = feed.subscribe(tx);
        let (tx, std_rx) = std_mpsc::channel();
        let std_subscription = feed.subscribe(tx);
        let builder = feed.subscriber().capacity(1 << 12);
        let own = builder.overflow(Overflow::DropNewest).channel().unwrap();
        let calls = Arc::new(AtomicUsize::new(0));
        let closure = feed.subscribe_fn({
            let calls = Arc::clone(&calls);
            move |_| {
                calls.fetch_add(1, Ordering::SeqCst);
            }
        });
        if round % 4 != 0 {
            // Every fourth round the subscriptions end while senders may not have seen them yet.
            eventually(|| calls.load(Ordering::SeqCst) > 3);
        }

        user.unsubscribe();
        assert_eq!(dropped.load(Ordering::SeqCst), 1, "the carrier was dropped");
        let taken_then = taken.load(Ordering::SeqCst);
        crossbeam.unsubscribe();
        let crossbeam_then = crossbeam_rx.len();
        std_subscription.unsubscribe();
        let std_then = std_rx.try_iter().count();
        own.subscription().unsubscribe();
        let own_then = own.len();
        closure.unsubscribe();
        assert_eq!(Arc::strong_count(&calls), 1, "the closure was dropped");
        let calls_then = calls.load(Ordering::SeqCst);

        for _ in 0..3 {
            thread::yield_now();
        }
        assert_eq!(taken.load(Ordering::SeqCst), taken_then);
        assert_eq!(user.stats().delivered, taken_then as u64);
        assert_eq!(crossbeam_rx.len(), crossbeam_then);
        assert_eq!(crossbeam_rx.iter().count(), crossbeam_then, "disconnected");
        assert_eq!(std_rx.try_recv(), Err(std_mpsc::TryRecvError::Disconnected));
        assert_eq!(std_subscription.stats().delivered, std_then as u64);
        assert_eq!(own.len(), own_then);
        assert_eq!(calls.load(Ordering::SeqCst), calls_then);
        assert_eq!(closure.stats().delivered, calls_then as u64);
    }
    drop(senders);
    assert_eq!(feed.subscriber_count(), 0);
}

#[test]
fn a_rendezvous_takes_nothing_once_unsubscribe_has_returned() {
    let _watchdog = watchdog();
    for _ in 0..60 {
        let feed = Feed::new();
        let (tx, rx) = crossbeam_channel::bounded(0);
        let subscription = feed.subscribe(tx);
        let (over, received) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let reader = thread::spawn({
            let (over, received) = (Arc::clone(&over), Arc::clone(&received));
            move || {
                for _ in rx.iter() {
                    // The value was handed over before this, so this does not tell when; the count does.
                    received.fetch_add(1, Ordering::SeqCst);
                }
                over.load(Ordering::SeqCst)
            }
        });
        let senders = Senders::start(&feed, 2);
        eventually(|| received.load(Ordering::SeqCst) > 5);
        subscription.unsubscribe();
        let delivered = subscription.stats().delivered;
        over.store(true, Ordering::SeqCst);
        join(reader);
        drop(senders);
        assert_eq!(subscription.stats().delivered, delivered);
        assert_eq!(received.load(Ordering::SeqCst) as u64, delivered);
    }
}

#[test]
fn subscribers_come_and_go_under_senders_without_losing_or_gaining_a_value() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let (tx, all) = crossbeam_channel::unbounded();
    let constant = feed.subscribe(tx);
    let stop = Arc::new(AtomicBool::new(false));
    let churners: Vec<_> = (0..2)
        .map(|seed| {
            let (feed, stop) = (feed.clone(), Arc::clone(&stop));
            thread::spawn(move || {
                let mut random = Random::new(seed + 1);
                // More than a chunk holds, so that chunks come and go too.
                let mut held = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    if held.len() < 100 && random.below(100) < 52 {
                        let (tx, rx) = crossbeam_channel::unbounded();
                        held.push((feed.subscribe(tx), rx));
                    } else if !held.is_empty() {
                        let index = random.below(held.len() as u64) as usize;
                        let (subscription, rx) = held.swap_remove(index);
                        subscription.unsubscribe();
                        let values: Vec<u64> = rx.iter().collect();
                        // From the first it saw to the last, none is missing.
                        for pair in values.windows(2) {
                            assert_eq!(pair[1], pair[0] + 1);
                        }
                        assert_eq!(subscription.stats().delivered, values.len() as u64);
                    }
                }
            })
        })
        .collect();
    let start = Instant::now();
    let mut sent = 0;
    while start.elapsed() < Duration::from_millis(800) {
        assert!(feed.send(sent) >= 1);
        sent += 1;
    }
    stop.store(true, Ordering::Relaxed);
    churners.into_iter().for_each(join);
    assert_eq!(constant.stats().delivered, sent);
    assert_eq!(
        all.try_iter().collect::<Vec<_>>(),
        (0..sent).collect::<Vec<_>>()
    );
}

// ---- Again, and at once ----

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

/// Guards against a close that found everything cut by another thread already, and returned while that was not over.
#[test]
fn of_two_threads_that_close_at_once_neither_returns_too_early() {
    /// Holds up whoever wakes it.
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
    // The one is held up after it has ended both, and before it tells the send that is blocked on the last.
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

// ---- While a send is blocked ----

#[test]
fn a_send_that_was_blocked_on_it_goes_on() {
    let _watchdog = watchdog();
    for case in 0..4 {
        let feed = Feed::new();
        let mut far_ends: Vec<Box<dyn std::any::Any>> = Vec::new();
        let subscription = match case {
            0 => {
                let (receiver, handle) = feed.channel(1).unwrap().split();
                feed.send(0);
                far_ends.push(Box::new(receiver));
                handle
            }
            1 => {
                let (tx, rx) = crossbeam_channel::bounded(0);
                far_ends.push(Box::new(rx));
                feed.subscribe(tx)
            }
            2 => {
                let (tx, rx) = crossbeam_channel::bounded(1);
                tx.send(0).unwrap();
                far_ends.push(Box::new(rx));
                feed.subscribe(tx)
            }
            _ => {
                let (tx, rx) = std_mpsc::sync_channel(0);
                far_ends.push(Box::new(rx));
                feed.subscribe(tx)
            }
        };
        let roomy = feed.channel(4).unwrap();
        let senders = [
            blocked_send(&feed, &subscription, 1),
            blocked_send(&feed, &subscription, 2),
        ];
        subscription.unsubscribe();
        for sender in senders {
            assert_eq!(join(sender), 1, "case {case}");
        }
        assert_eq!(roomy.len(), 2);
    }
}

#[test]
fn another_full_subscriber_does_not_hold_the_unsubscribe() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let mut own = feed.channel(1).unwrap();
    feed.send(0);
    let (tx, zero) = crossbeam_channel::bounded(0);
    let zero_subscription = feed.subscribe(tx);
    let (tx, std_rx) = std_mpsc::sync_channel(0);
    let std_subscription = feed.subscribe(tx);
    let (tx, other_zero) = crossbeam_channel::bounded(0);
    let other_subscription = feed.subscribe(tx);
    let sender = blocked_send(&feed, &other_subscription, 1);

    zero_subscription.unsubscribe();
    assert_eq!(zero.try_recv(), Err(TryRecvError::Disconnected));
    std_subscription.unsubscribe();
    assert_eq!(std_rx.try_recv(), Err(std_mpsc::TryRecvError::Disconnected));
    assert!(!sender.is_finished());
    own.subscription().unsubscribe();
    assert_eq!(own.try_iter().collect::<Vec<_>>(), [0]);
    assert!(!sender.is_finished());
    // The send is still there for the last of them.
    assert_eq!(other_zero.recv_timeout(PATIENCE), Ok(1));
    assert_eq!(join(sender), 1);
}

#[test]
fn a_subscriber_already_served_can_go_while_the_send_waits_for_another() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let (tx, served) = crossbeam_channel::bounded(1);
    let served_subscription = feed.subscribe(tx);
    let (tx, waited_for) = crossbeam_channel::bounded(0);
    let waited_for_subscription = feed.subscribe(tx);
    let sender = blocked_send(&feed, &waited_for_subscription, 1);
    assert_eq!(served.recv_timeout(PATIENCE), Ok(1));
    served_subscription.unsubscribe();
    assert_eq!(served.try_recv(), Err(TryRecvError::Disconnected));
    assert_eq!(waited_for.recv_timeout(PATIENCE), Ok(1));
    // It had been reached, and is counted.
    assert_eq!(join(sender), 2);
}

#[test]
fn a_subscription_cancelled_before_its_turn_does_not_get_the_value() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let full = feed.channel(1).unwrap();
    let (tx, zero) = crossbeam_channel::bounded(0);
    let zero_subscription = feed.subscribe(tx);
    let filler = blocked_send(&feed, &zero_subscription, 0);
    assert_eq!(zero.recv_timeout(PATIENCE), Ok(0));
    assert_eq!(join(filler), 2);
    let sender = blocked_send(&feed, full.subscription(), 1);
    full.subscription().unsubscribe();
    assert_eq!(zero.recv_timeout(PATIENCE), Ok(1));
    assert_eq!(join(sender), 1);
    assert_eq!(full.into_iter().collect::<Vec<_>>(), [0]);
}

// ---- From where it is called ----

#[test]
fn a_closure_can_unsubscribe_itself() {
    let feed = Feed::new();
    let own: Arc<OnceLock<Subscription>> = Arc::default();
    let calls = Arc::new(AtomicUsize::new(0));
    let subscription = feed.subscribe_fn({
        let (own, calls) = (Arc::clone(&own), Arc::clone(&calls));
        move |_: &u64| {
            calls.fetch_add(1, Ordering::SeqCst);
            own.get().expect("it was set").unsubscribe();
        }
    });
    own.set(subscription).unwrap();
    assert_eq!(feed.send(1), 1);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    // Dropped when the delivery ended, and with it its hold on these.
    assert_eq!(Arc::strong_count(&calls), 1);
    assert_eq!(feed.send(2), 0);
    assert!(own.get().unwrap().is_closed());
}

#[test]
fn a_closure_can_unsubscribe_others() {
    let feed = Feed::new();
    let others: Arc<Mutex<Vec<Subscription>>> = Arc::default();
    let _closure = feed.subscribe_fn({
        let others = Arc::clone(&others);
        move |_: &u64| {
            others
                .lock()
                .unwrap()
                .iter()
                .for_each(Subscription::unsubscribe)
        }
    });
    let late_calls = Arc::new(AtomicUsize::new(0));
    let (tx, crossbeam) = crossbeam_channel::unbounded();
    let (carrier, taken, dropped) = witness();
    *others.lock().unwrap() = vec![
        feed.subscribe(tx),
        feed.subscribe(carrier),
        feed.subscribe_fn({
            let calls = Arc::clone(&late_calls);
            move |_| {
                calls.fetch_add(1, Ordering::SeqCst);
            }
        }),
    ];
    // The channels come before closures, so they had the value; the other closure's turn never came.
    assert_eq!(feed.send(1), 3);
    assert_eq!(late_calls.load(Ordering::SeqCst), 0);
    assert_eq!(Arc::strong_count(&late_calls), 1);
    assert_eq!(taken.load(Ordering::SeqCst), 1);
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    assert_eq!(crossbeam.iter().collect::<Vec<_>>(), [1]);
    assert_eq!(feed.send(2), 1);
}

#[test]
fn a_closure_of_one_feed_can_unsubscribe_from_another() {
    let (feed, other) = (Feed::new(), Feed::new());
    let (carrier, taken, dropped) = witness();
    let subscription = other.subscribe(carrier);
    other.send(1);
    let _closure = feed.subscribe_fn(move |_: &u64| subscription.unsubscribe());
    feed.send(1);
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    assert_eq!(other.send(2), 0);
    assert_eq!(taken.load(Ordering::SeqCst), 1);
}

/// What a subscription unsubscribed inside a delivery holds is dropped when that delivery ends, also when it ends by
/// waiting for somebody else.
#[test]
fn a_carrier_unsubscribed_in_a_closure_is_dropped_though_the_send_waits_for_another() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let (tx, going) = crossbeam_channel::bounded(0);
    let going_subscription = feed.subscribe(tx);
    let (tx, staying) = crossbeam_channel::bounded(0);
    let staying_subscription = feed.subscribe(tx);
    let first = blocked_send(&feed, &going_subscription, 1);
    eventually(|| staying_subscription.stats().blocked == 1);
    let _closure = feed.subscribe_fn(move |_| going_subscription.unsubscribe());
    let second = blocked_send(&feed, &staying_subscription, 2);
    assert_eq!(
        going.recv_timeout(PATIENCE),
        Err(crossbeam_channel::RecvTimeoutError::Disconnected)
    );
    assert!(!first.is_finished() && !second.is_finished());
    feed.close();
    join(first);
    join(second);
    drop(staying);
}

#[test]
fn the_thread_that_sends_can_unsubscribe() {
    let feed = Feed::new();
    for _ in 0..100 {
        let (carrier, taken, dropped) = witness();
        let subscription = feed.subscribe(carrier);
        assert_eq!(feed.send(1), 1);
        subscription.unsubscribe();
        assert_eq!(dropped.load(Ordering::SeqCst), 1);
        assert_eq!(feed.send(2), 0);
        assert_eq!(taken.load(Ordering::SeqCst), 1);
    }
}

#[test]
fn the_clone_or_the_drop_of_a_value_can_unsubscribe() {
    #[derive(Default)]
    struct Trap(Mutex<Vec<Subscription>>);
    impl Trap {
        fn spring(&self) {
            let all = std::mem::take(&mut *self.0.lock().unwrap());
            all.iter().for_each(Subscription::unsubscribe);
        }
    }
    struct Value(Arc<Trap>, bool);
    impl Clone for Value {
        fn clone(&self) -> Self {
            if self.1 {
                self.0.spring();
            }
            Self(Arc::clone(&self.0), self.1)
        }
    }
    impl Drop for Value {
        fn drop(&mut self) {
            if !self.1 {
                self.0.spring();
            }
        }
    }
    let _watchdog = watchdog();
    for in_clone in [true, false] {
        let feed = Feed::new();
        let trap = Arc::new(Trap::default());
        let builder = feed.subscriber().capacity(1);
        let oldest = builder.overflow(Overflow::DropOldest).channel().unwrap();
        let (tx, rx) = crossbeam_channel::bounded(4);
        let (receiver, handle) = feed.channel(4).unwrap().split();
        *trap.0.lock().unwrap() = vec![feed.subscribe(tx), handle];
        feed.send(Value(Arc::clone(&trap), in_clone));
        // Pushes the first value out of the first channel, whose drop springs the trap in the other case.
        feed.send(Value(Arc::clone(&trap), in_clone));
        assert!(trap.0.lock().unwrap().is_empty(), "it was sprung");
        assert_eq!(feed.subscriber_count(), 1);
        let left = rx.try_iter().count();
        assert!(left <= 2);
        assert_eq!(rx.try_recv().err(), Some(TryRecvError::Disconnected));
        assert!(receiver.is_closed());
        drop(oldest);
    }
}

#[test]
fn it_waits_for_a_call_of_its_own_closure_and_for_no_other() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let (entered_tx, entered) = crossbeam_channel::unbounded();
    let (release, released) = crossbeam_channel::bounded::<()>(0);
    let slow = Arc::new(feed.subscribe_fn(move |_: &u64| {
        entered_tx.send(()).unwrap();
        let _ = released.recv_timeout(PATIENCE);
    }));
    let quick = feed.subscribe_fn(|_| {});
    let (carrier, _, dropped) = witness();
    let channel = feed.subscribe(carrier);
    let sender = thread::spawn({
        let feed = feed.clone();
        move || feed.send(1)
    });
    entered.recv_timeout(PATIENCE).unwrap();

    // The slow closure is running, and holds up neither of these.
    quick.unsubscribe();
    channel.unsubscribe();
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    assert!(!sender.is_finished());

    let (sleeper_tx, sleeper) = crossbeam_channel::bounded(1);
    let unsubscriber = thread::spawn({
        let slow = Arc::clone(&slow);
        move || {
            sleeper_tx.send(Sleeper::current()).unwrap();
            slow.unsubscribe();
        }
    });
    let sleeper = sleeper.recv_timeout(PATIENCE).unwrap();
    eventually(|| slow.is_closed());
    sleeper.falls_asleep();
    assert!(!unsubscriber.is_finished(), "the closure is still running");
    drop(release);
    join(unsubscriber);
    // The channel had it, and the slow closure; the other was gone before its turn.
    assert_eq!(join(sender), 2);
}

// ---- Handles ----

#[test]
fn dropping_the_handle_unsubscribes_and_detaching_it_does_not() {
    let feed = Feed::new();
    let (carrier, taken, dropped) = witness();
    drop(feed.subscribe(carrier));
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    assert_eq!(feed.send(1), 0);
    assert_eq!(taken.load(Ordering::SeqCst), 0);

    let (carrier, taken, dropped) = witness();
    feed.subscribe(carrier).detach();
    assert_eq!(feed.send(1), 1);
    assert_eq!(feed.subscriber_count(), 1);
    assert_eq!(taken.load(Ordering::SeqCst), 1);
    drop(feed);
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
}

#[test]
fn the_end_of_a_subscription_can_be_waited_for() {
    let _watchdog = watchdog();
    let feed = Feed::<u64>::new();
    let (carrier, _, _) = witness();
    let subscription = feed.subscribe(carrier);
    let mut closed = subscription.closed();
    assert!(!closed.wait_timeout(Duration::from_millis(5)));
    let waiter = thread::spawn({
        let closed = subscription.closed();
        move || closed.wait()
    });
    let errors = subscription.err();
    assert_eq!(errors.try_recv().unwrap_err(), TryRecvError::Empty);
    subscription.unsubscribe();
    join(waiter);
    assert!(closed.wait_timeout(Duration::MAX));
    assert_eq!(errors.try_recv().unwrap_err(), TryRecvError::Disconnected);
}

#[test]
fn everything_can_be_dropped_in_any_order() {
    fn permutations(count: usize) -> Vec<Vec<usize>> {
        if count == 0 {
            return vec![vec![]];
        }
        let shorter = permutations(count - 1);
        let insert = |order: &Vec<usize>, at: usize| {
            let mut order = order.clone();
            order.insert(at, count - 1);
            order
        };
        shorter
            .iter()
            .flat_map(|order| (0..count).map(move |at| insert(order, at)))
            .collect()
    }
    let all = permutations(6);
    assert_eq!(all.len(), 720);
    for order in all {
        let tally = Tally::new();
        let feed = Feed::new();
        let (tx, rx) = crossbeam_channel::bounded(2);
        let subscription = feed.subscribe(tx);
        let (receiver, handle) = feed.channel(2).unwrap().split();
        let _closed = subscription.closed();
        for number in 0..2 {
            assert_eq!(feed.send(tally.value(number)), 2);
        }
        let undelivered = feed.try_send(tally.value(2)).unwrap_err();
        assert_eq!(undelivered.missed().len(), 2);
        let mut parts: Vec<Option<Box<dyn std::any::Any>>> = vec![
            Some(Box::new(feed)),
            Some(Box::new(subscription)),
            Some(Box::new(rx)),
            Some(Box::new(receiver)),
            Some(Box::new(handle)),
            Some(Box::new(undelivered)),
        ];
        for part in &order {
            parts[*part] = None;
        }
        assert_eq!(tally.live(), 0, "in order {order:?}");
    }
}

// ---- Cancelled before its turn ----

/// Takes everything, and ends what it was given at the first value.
#[derive(Clone, Default)]
struct Ends(Arc<Mutex<Vec<Subscription>>>);

impl Ends {
    fn end(&self) {
        self.0.lock().unwrap().clear();
    }
}

impl Carrier<u64> for Ends {
    fn try_send(&self, _: u64) -> Result<(), TrySendError<u64>> {
        self.end();
        Ok(())
    }
}

/// A carrier of its own kind, that counts what it is handed.
struct Counts(Arc<AtomicUsize>);

impl Carrier<u64> for Counts {
    fn try_send(&self, _: u64) -> Result<(), TrySendError<u64>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// Guards against a send that hands a value to one that a carrier, or a closure, before it has ended.
#[test]
fn who_is_ended_before_its_turn_gets_nothing() {
    for by_closure in [false, true] {
        for batch in [false, true] {
            let feed = Feed::new();
            let ends = Ends::default();
            let first = if by_closure {
                let ends = ends.clone();
                feed.subscribe_fn(move |_| ends.end())
            } else {
                feed.subscribe(ends.clone())
            };
            let counted = Arc::new(AtomicUsize::new(0));
            // Some in the same chunk, some in the next.
            for index in 0..100 {
                let (count, counts) = (Arc::clone(&counted), Counts(Arc::clone(&counted)));
                let call = move |_: &u64| {
                    count.fetch_add(1, Ordering::SeqCst);
                };
                let ended = match index % 3 {
                    // Closures are served after channels.
                    _ if by_closure => feed.subscribe_fn(call),
                    0 => feed.subscribe_fn(call),
                    1 => feed.subscribe(counts),
                    _ => feed.channel(4).unwrap().split().1,
                };
                ends.0.lock().unwrap().push(ended);
            }
            let mut last = feed.channel(4).unwrap();
            let reached = if batch {
                feed.send_batch([1, 2])
            } else {
                feed.send(1) + feed.send(2)
            };
            assert_eq!(reached, 4, "by closure: {by_closure}, batch: {batch}");
            assert_eq!(counted.load(Ordering::SeqCst), 0);
            assert_eq!(last.try_iter().collect::<Vec<_>>(), [1, 2]);
            first.unsubscribe();
        }
    }
}

/// A value whose clone ends a subscription.
struct EndsOne(Arc<Mutex<Option<Subscription>>>);

impl Clone for EndsOne {
    fn clone(&self) -> Self {
        drop(self.0.lock().unwrap().take());
        Self(Arc::clone(&self.0))
    }
}

#[test]
fn who_is_ended_by_the_clone_of_a_value_does_not_get_it() {
    for batch in [false, true] {
        for ended in 0..3 {
            let feed = Feed::new();
            let channels: Vec<_> = (0..3).map(|_| crossbeam_channel::unbounded()).collect();
            let mut subscriptions: Vec<_> = channels
                .iter()
                .map(|(sender, _)| feed.subscribe(sender.clone()))
                .collect();
            let own = feed.channel(4).unwrap();
            let slot = Arc::new(Mutex::new(Some(subscriptions.remove(ended))));
            let value = EndsOne(slot);
            let reached = if batch {
                feed.send_batch([value])
            } else {
                feed.send(value)
            };
            assert_eq!(reached, 3, "{ended}, batch: {batch}");
            let lens: Vec<_> = channels.iter().map(|(_, rx)| rx.len()).collect();
            let expected: Vec<_> = (0..3).map(|index| usize::from(index != ended)).collect();
            assert_eq!(lens, expected);
            assert_eq!(own.len(), 1);
        }
    }
}

#[test]
fn a_receiver_is_woken_before_a_carrier_that_takes_its_time() {
    struct Waits(crossbeam_channel::Receiver<u64>);
    impl Carrier<u64> for Waits {
        fn try_send(&self, value: u64) -> Result<(), TrySendError<u64>> {
            assert_eq!(self.0.recv_timeout(PATIENCE), Ok(value), "it was woken");
            Ok(())
        }
    }
    let _watchdog = watchdog();
    for batch in [false, true] {
        let feed = Feed::new();
        let mut receiver = feed.channel(4).unwrap();
        let (pass_on, passed_on) = crossbeam_channel::unbounded();
        let carrier = feed.subscribe(Waits(passed_on));
        let (sleeper_tx, sleeper) = crossbeam_channel::bounded(1);
        let waiting = thread::spawn(move || {
            sleeper_tx.send(Sleeper::current()).unwrap();
            pass_on.send(receiver.recv().unwrap()).unwrap();
        });
        // If it has not parked yet, it needs no waking.
        sleeper.recv_timeout(PATIENCE).unwrap().falls_asleep();
        if batch {
            assert_eq!(feed.send_batch([1]), 2);
        } else {
            assert_eq!(feed.send(1), 2);
        }
        join(waiting);
        assert!(!carrier.is_closed());
    }
}
