//! Every channel that can be subscribed keeps the same promises, whichever way its far end receives.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc as std_mpsc;
use std::sync::{Arc, Condvar, Mutex};
use std::task::Waker;
use std::thread;

use crate::common::{PATIENCE, blocked_send, eventually, join, watchdog};
use fanfeed::{Carrier, CarrierOverflow, Feed, Room, Subscription, TrySendError};

/// A subscribed channel: its subscription, and its far end, which gives the next value, or `None` at the end.
struct Wired {
    name: String,
    subscription: Subscription,
    read: Box<dyn FnMut() -> Option<u64> + Send>,
}

/// How a far end receives.
#[derive(Debug, Clone, Copy)]
enum Way {
    Blocks,
    Polls,
    Selects,
}

const WAYS: [Way; 3] = [Way::Blocks, Way::Polls, Way::Selects];

fn crossbeam_reader(
    rx: crossbeam_channel::Receiver<u64>,
    way: Way,
) -> Box<dyn FnMut() -> Option<u64> + Send> {
    use crossbeam_channel::TryRecvError;
    // Never ready: so the select is one of several channels.
    let (other_tx, other) = crossbeam_channel::bounded::<()>(0);
    Box::new(move || {
        let _ = &other_tx;
        match way {
            Way::Blocks => rx.recv().ok(),
            Way::Polls => loop {
                match rx.try_recv() {
                    Ok(value) => return Some(value),
                    Err(TryRecvError::Empty) => thread::yield_now(),
                    Err(TryRecvError::Disconnected) => return None,
                }
            },
            Way::Selects => crossbeam_channel::select! {
                recv(rx) -> value => value.ok(),
                recv(other) -> _ => unreachable!(),
            },
        }
    })
}

/// The standard library's receivers cannot stand in a select; a timed receive takes its place.
fn std_reader(rx: std_mpsc::Receiver<u64>, way: Way) -> Box<dyn FnMut() -> Option<u64> + Send> {
    Box::new(move || match way {
        Way::Blocks => rx.recv().ok(),
        Way::Polls => loop {
            match rx.try_recv() {
                Ok(value) => return Some(value),
                Err(std_mpsc::TryRecvError::Empty) => thread::yield_now(),
                Err(std_mpsc::TryRecvError::Disconnected) => return None,
            }
        },
        Way::Selects => rx.recv_timeout(PATIENCE).ok(),
    })
}

/// A user's own channel: a queue behind a lock.
struct Shelf {
    values: Mutex<VecDeque<u64>>,
    filled: Condvar,
    wakers: Mutex<Vec<Waker>>,
    capacity: usize,
    sender_is_gone: AtomicBool,
    receiver_is_gone: AtomicBool,
    tries: AtomicUsize,
}

/// The sending half of a [`Shelf`], and what it says when it is asked for room.
struct ShelfSender(Arc<Shelf>, Room);

struct ShelfReceiver(Arc<Shelf>);

fn shelf(capacity: usize, room: Room) -> (ShelfSender, ShelfReceiver) {
    let shelf = Arc::new(Shelf {
        values: Mutex::default(),
        filled: Condvar::new(),
        wakers: Mutex::default(),
        capacity,
        sender_is_gone: AtomicBool::new(false),
        receiver_is_gone: AtomicBool::new(false),
        tries: AtomicUsize::new(0),
    });
    (ShelfSender(Arc::clone(&shelf), room), ShelfReceiver(shelf))
}

impl Shelf {
    fn wake(&self) {
        let wakers = std::mem::take(&mut *self.wakers.lock().unwrap());
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Carrier<u64> for ShelfSender {
    fn try_send(&self, value: u64) -> Result<(), TrySendError<u64>> {
        self.0.tries.fetch_add(1, Ordering::Relaxed);
        if self.0.receiver_is_gone.load(Ordering::SeqCst) {
            return Err(TrySendError::Closed(value));
        }
        let mut values = self.0.values.lock().unwrap();
        if values.len() == self.0.capacity {
            return Err(TrySendError::Full(value));
        }
        values.push_back(value);
        self.0.filled.notify_one();
        Ok(())
    }

    fn poll_room(&self, waker: &Waker) -> Room {
        if self.1 == Room::Waking {
            let mut wakers = self.0.wakers.lock().unwrap();
            if !wakers.iter().any(|other| other.will_wake(waker)) {
                wakers.push(waker.clone());
            }
        }
        self.1
    }

    fn forget_waker(&self, waker: &Waker) {
        let mut wakers = self.0.wakers.lock().unwrap();
        wakers.retain(|other| !other.will_wake(waker));
    }

    fn depth(&self) -> Option<usize> {
        Some(self.0.values.lock().unwrap().len())
    }
}

impl Drop for ShelfSender {
    fn drop(&mut self) {
        let _values = self.0.values.lock().unwrap();
        self.0.sender_is_gone.store(true, Ordering::SeqCst);
        self.0.filled.notify_all();
    }
}

impl ShelfReceiver {
    fn recv(&self) -> Option<u64> {
        let mut values = self.0.values.lock().unwrap();
        loop {
            if let Some(value) = values.pop_front() {
                drop(values);
                self.0.wake();
                return Some(value);
            }
            if self.0.sender_is_gone.load(Ordering::SeqCst) {
                return None;
            }
            values = self.0.filled.wait(values).unwrap();
        }
    }
}

impl Drop for ShelfReceiver {
    fn drop(&mut self) {
        self.0.receiver_is_gone.store(true, Ordering::SeqCst);
        self.0.wake();
    }
}

/// A user's carrier around a crossbeam sender, which says so.
struct Wrapped(crossbeam_channel::Sender<u64>);

impl Carrier<u64> for Wrapped {
    fn try_send(&self, value: u64) -> Result<(), TrySendError<u64>> {
        Carrier::try_send(&self.0, value)
    }

    fn as_crossbeam(&self) -> Option<&crossbeam_channel::Sender<u64>> {
        Some(&self.0)
    }
}

/// One of everything, subscribed to the feed.
fn all_carriers(feed: &Feed<u64>) -> Vec<Wired> {
    let mut all = Vec::new();
    let mut add = |name: String, subscription, read| {
        all.push(Wired {
            name,
            subscription,
            read,
        })
    };
    for way in WAYS {
        for capacity in [0, 1, 5] {
            let (tx, rx) = crossbeam_channel::bounded(capacity);
            let name = format!("crossbeam bounded({capacity}), {way:?}");
            add(name, feed.subscribe(tx), crossbeam_reader(rx, way));
            let (tx, rx) = crossbeam_channel::bounded(capacity);
            let name = format!("wrapped crossbeam bounded({capacity}), {way:?}");
            add(name, feed.subscribe(Wrapped(tx)), crossbeam_reader(rx, way));
        }
        let (tx, rx) = crossbeam_channel::unbounded();
        let name = format!("crossbeam unbounded, {way:?}");
        add(name, feed.subscribe(tx), crossbeam_reader(rx, way));

        for capacity in [0, 1, 5] {
            // A rendezvous of the standard library takes no value for a receiver that only polls.
            if capacity == 0 && matches!(way, Way::Polls) {
                continue;
            }
            let (tx, rx) = std_mpsc::sync_channel(capacity);
            let name = format!("sync_channel({capacity}), {way:?}");
            add(name, feed.subscribe(tx), std_reader(rx, way));
        }
        let (tx, rx) = std_mpsc::channel();
        let name = format!("std channel, {way:?}");
        add(name, feed.subscribe(tx), std_reader(rx, way));
    }
    for room in [Room::Unknown, Room::Waking, Room::Ready] {
        let (tx, rx) = shelf(2, room);
        let name = format!("user's carrier, {room:?}");
        add(name, feed.subscribe(tx), Box::new(move || rx.recv()));
    }
    for capacity in [1, 5] {
        let (mut own, handle) = feed.channel(capacity).unwrap().split();
        let name = format!("own channel({capacity})");
        add(name, handle, Box::new(move || own.recv().ok()));
    }
    all
}

#[test]
fn each_carrier_alone_gets_every_value_in_order_and_then_its_end() {
    const COUNT: u64 = 60;
    let _watchdog = watchdog();
    let names = all_carriers(&Feed::new()).len();
    for index in 0..names {
        let feed = Feed::new();
        let Wired {
            name,
            subscription,
            mut read,
        } = all_carriers(&feed).swap_remove(index);
        assert_eq!(feed.subscriber_count(), 1, "the others were dropped");
        let sender = thread::spawn({
            let feed = feed.clone();
            move || (0..COUNT).map(|value| feed.send(value)).sum::<usize>()
        });
        for value in 0..COUNT {
            assert_eq!(read(), Some(value), "{name}");
        }
        assert_eq!(join(sender), COUNT as usize, "{name}");
        let stats = subscription.stats();
        assert_eq!((stats.delivered, stats.dropped), (COUNT, 0), "{name}");
        subscription.unsubscribe();
        // The carrier is gone by now, so the far end is disconnected.
        assert_eq!(read(), None, "{name}");
        assert_eq!(feed.send(0), 0);
    }
}

#[test]
fn all_carriers_together_each_get_every_value_in_order() {
    const COUNT: u64 = 60;
    let _watchdog = watchdog();
    let feed = Feed::new();
    let all = all_carriers(&feed);
    let count = all.len();
    let mut subscriptions = Vec::new();
    let mut readers = Vec::new();
    for wired in all {
        let Wired {
            name,
            subscription,
            mut read,
        } = wired;
        subscriptions.push(subscription);
        readers.push(thread::spawn(move || {
            for value in 0..COUNT {
                assert_eq!(read(), Some(value), "{name}");
            }
            assert_eq!(read(), None, "{name}");
        }));
    }
    for value in 0..COUNT {
        assert_eq!(feed.send(value), count);
    }
    feed.close();
    readers.into_iter().for_each(join);
    for subscription in subscriptions {
        assert_eq!(subscription.stats().delivered, COUNT);
    }
}

#[test]
fn several_senders_meet_receivers_of_zero_capacity() {
    const SENDERS: usize = 4;
    const EACH: usize = 100;
    let _watchdog = watchdog();
    for way in WAYS {
        let feed = Feed::new();
        let (tx, rx) = crossbeam_channel::bounded(0);
        let subscription = feed.subscribe(tx.clone());
        let again = feed.subscribe(Wrapped(tx));
        let senders: Vec<_> = (0..SENDERS)
            .map(|_| {
                let feed = feed.clone();
                thread::spawn(move || (0..EACH).map(|_| feed.send(1)).sum::<usize>())
            })
            .collect();
        let mut read = crossbeam_reader(rx, way);
        for _ in 0..2 * SENDERS * EACH {
            assert_eq!(read(), Some(1), "{way:?}");
        }
        let sent: usize = senders.into_iter().map(join).sum();
        assert_eq!(sent, 2 * SENDERS * EACH, "{way:?}");
        assert_eq!(subscription.stats().delivered, (SENDERS * EACH) as u64);
        assert_eq!(again.stats().delivered, (SENDERS * EACH) as u64);
    }
}

#[test]
fn a_send_that_does_not_wait_meets_a_receiver_that_does() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let (tx, rx) = crossbeam_channel::bounded(0);
    let _subscription = feed.subscribe(tx);
    assert!(feed.try_send(1).is_err(), "nobody is there to take it");
    let reader = thread::spawn(move || rx.recv());
    eventually(|| feed.try_send(2).is_ok());
    assert_eq!(join(reader), Ok(2));
}

#[test]
fn a_send_serves_more_full_crossbeam_channels_than_it_selects_on_at_once() {
    const COUNT: usize = 150;
    let _watchdog = watchdog();
    let feed = Feed::new();
    let mut subscriptions = Vec::new();
    let mut receivers = Vec::new();
    for _ in 0..COUNT {
        let (tx, rx) = crossbeam_channel::bounded(0);
        subscriptions.push(feed.subscribe(tx));
        receivers.push(rx);
    }
    let sender = blocked_send(&feed, &subscriptions[COUNT - 1], 7);
    // From the last to the first, each only when the one before has its value.
    for (index, rx) in receivers.iter().enumerate().rev() {
        if index % 2 == 0 {
            assert_eq!(rx.recv_timeout(PATIENCE), Ok(7));
        } else {
            // One that polls is met only by a send that selects on its channel.
            eventually(|| rx.try_recv() == Ok(7));
        }
    }
    assert_eq!(join(sender), COUNT);
}

// ---- The far end goes ----

#[test]
fn a_subscription_whose_receivers_are_gone_ends_without_an_error() {
    let feed = Feed::new();
    let (crossbeam, crossbeam_rx) = crossbeam_channel::bounded(4);
    let (zero, zero_rx) = crossbeam_channel::bounded(0);
    let (std_tx, std_rx) = std_mpsc::channel();
    let (sync, sync_rx) = std_mpsc::sync_channel(4);
    let (user, user_rx) = shelf(4, Room::Unknown);
    let (wrapped, wrapped_rx) = crossbeam_channel::unbounded();
    let second_rx = crossbeam_rx.clone();
    let subscriptions = [
        feed.subscribe(crossbeam),
        feed.subscribe(zero),
        feed.subscribe(std_tx),
        feed.subscribe(sync),
        feed.subscribe(user),
        feed.subscribe(Wrapped(wrapped)),
    ];
    let errors: Vec<_> = subscriptions.iter().map(Subscription::err).collect();
    drop((crossbeam_rx, zero_rx, std_rx, sync_rx, user_rx, wrapped_rx));
    // One of two receivers of the first is left.
    assert_eq!(feed.send(1), 1);
    assert_eq!(feed.subscriber_count(), 1);
    assert_eq!(second_rx.recv(), Ok(1));
    drop(second_rx);
    assert_eq!(feed.send(2), 0);
    assert_eq!(feed.subscriber_count(), 0);
    for (subscription, errors) in subscriptions.iter().zip(errors) {
        assert!(subscription.is_closed());
        assert!(errors.recv().is_err());
    }
}

#[test]
fn a_blocked_send_goes_on_when_the_receivers_go() {
    let _watchdog = watchdog();
    for case in 0..6 {
        let feed = Feed::new();
        let far_end: Box<dyn Send>;
        let subscription = match case {
            0 => {
                let (tx, rx) = crossbeam_channel::bounded(0);
                far_end = Box::new(rx);
                feed.subscribe(tx)
            }
            1 => {
                let (tx, rx) = crossbeam_channel::bounded(0);
                far_end = Box::new(rx);
                feed.subscribe(Wrapped(tx))
            }
            2 => {
                let (tx, rx) = std_mpsc::sync_channel(0);
                far_end = Box::new(rx);
                feed.subscribe(tx)
            }
            3 => {
                let (tx, rx) = shelf(0, Room::Unknown);
                far_end = Box::new(rx);
                feed.subscribe(tx)
            }
            4 => {
                let (tx, rx) = shelf(0, Room::Waking);
                far_end = Box::new(rx);
                feed.subscribe(tx)
            }
            _ => {
                let (rx, handle) = feed.channel(1).unwrap().split();
                feed.send(0);
                far_end = Box::new(rx);
                handle
            }
        };
        let sender = blocked_send(&feed, &subscription, 1);
        assert!(!sender.is_finished(), "case {case}");
        drop(far_end);
        assert_eq!(join(sender), 0, "case {case}");
        assert!(subscription.is_closed(), "case {case}");
    }
}

// ---- Overflow ----

#[test]
fn a_foreign_carrier_that_drops_the_newest_counts_what_it_missed() {
    let feed = Feed::new();
    let subscriber = || feed.subscriber().overflow(CarrierOverflow::DropNewest);
    let (tx, crossbeam_rx) = crossbeam_channel::bounded(3);
    let crossbeam = subscriber().subscribe(tx);
    let (tx, std_rx) = std_mpsc::sync_channel(3);
    let std_sync = subscriber().subscribe(tx);
    let (tx, user_rx) = shelf(3, Room::Waking);
    let user = subscriber().subscribe(tx);
    let (tx, _zero_rx) = crossbeam_channel::bounded(0);
    let zero = subscriber().subscribe(tx);
    for value in 0..10 {
        assert_eq!(feed.send(value), if value < 3 { 3 } else { 0 });
    }
    for subscription in [&crossbeam, &std_sync, &user] {
        let stats = subscription.stats();
        assert_eq!((stats.delivered, stats.dropped), (3, 7));
        assert_eq!(stats.blocked, 0);
    }
    assert_eq!((zero.stats().delivered, zero.stats().dropped), (0, 10));
    assert_eq!(crossbeam.stats().depth, Some(3));
    assert_eq!(user.stats().depth, Some(3));
    assert_eq!(std_sync.stats().depth, None, "it cannot tell");
    assert_eq!(crossbeam_rx.try_iter().collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(std_rx.try_iter().collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(user_rx.recv(), Some(0));
    assert_eq!(feed.send(10), 3);
    assert_eq!(crossbeam_rx.recv(), Ok(10));
}

#[test]
fn a_foreign_carrier_that_overflows_under_disconnect_ends_with_an_error() {
    let feed = Feed::new();
    let subscriber = || feed.subscriber().overflow(CarrierOverflow::Disconnect);
    let (tx, crossbeam_rx) = crossbeam_channel::bounded(2);
    let crossbeam = subscriber().subscribe(tx);
    let (tx, std_rx) = std_mpsc::sync_channel(2);
    let std_sync = subscriber().subscribe(tx);
    let (tx, user_rx) = shelf(2, Room::Waking);
    let user = subscriber().subscribe(tx);
    assert_eq!(feed.send(0), 3);
    assert_eq!(feed.send(1), 3);
    assert_eq!(feed.send(2), 0);
    assert_eq!(feed.send(3), 0);
    assert_eq!(feed.subscriber_count(), 0);
    for subscription in [&crossbeam, &std_sync, &user] {
        assert!(subscription.is_closed());
        assert!(subscription.err().recv().unwrap().is_overflowed());
        assert!(subscription.err().recv().is_err());
        let stats = subscription.stats();
        assert_eq!((stats.delivered, stats.dropped), (2, 1));
    }
    // What was in the channels is still there, and they have ended.
    assert_eq!(crossbeam_rx.iter().collect::<Vec<_>>(), [0, 1]);
    assert_eq!(std_rx.iter().collect::<Vec<_>>(), [0, 1]);
    assert_eq!(
        [user_rx.recv(), user_rx.recv(), user_rx.recv()],
        [Some(0), Some(1), None]
    );
}

// ---- What a user's carrier is asked ----

#[test]
fn a_carrier_that_wakes_is_not_tried_on_a_fast_timer() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let (tx, rx) = shelf(1, Room::Waking);
    let (other_tx, other_rx) = shelf(1, Room::Unknown);
    let (shelf, other_shelf) = (Arc::clone(&rx.0), Arc::clone(&other_rx.0));
    let subscription = feed.subscribe(tx);
    feed.send(0);
    let other_feed = Feed::new();
    let other = other_feed.subscribe(other_tx);
    other_feed.send(0);
    let other_sender = blocked_send(&other_feed, &other, 1);
    let sender = blocked_send(&feed, &subscription, 1);
    let before = [&shelf, &other_shelf].map(|shelf| shelf.tries.load(Ordering::Relaxed));
    let tries = |index: usize, shelf: &Shelf| shelf.tries.load(Ordering::Relaxed) - before[index];
    // The timer of carriers that cannot tell has tried the other one so often since.
    eventually(|| tries(1, &other_shelf) >= 200);
    let tries = tries(0, &shelf);
    assert!(tries < 50, "tried {tries} times");
    assert_eq!((other_rx.recv(), other_rx.recv()), (Some(0), Some(1)));
    assert_eq!(join(other_sender), 1);
    assert_eq!(rx.recv(), Some(0));
    assert_eq!(rx.recv(), Some(1));
    assert_eq!(join(sender), 1);
}

#[test]
fn a_carrier_is_told_when_a_send_waits_for_it_no_longer() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let (tx, rx) = shelf(1, Room::Waking);
    let shelf = Arc::clone(&rx.0);
    let subscription = feed.subscribe(tx);
    let waiting = || shelf.wakers.lock().unwrap().len();
    feed.send(0);
    // One gives up, one is served, one is released.
    for _ in 0..3 {
        let limit = std::time::Duration::from_millis(5);
        assert!(feed.send_timeout(9, limit).is_err());
        assert_eq!(waiting(), 0);
    }
    let sender = blocked_send(&feed, &subscription, 1);
    eventually(|| waiting() == 1);
    // Makes room without waking anybody: the send finds it by itself.
    assert_eq!(shelf.values.lock().unwrap().pop_front(), Some(0));
    assert_eq!(join(sender), 1);
    assert_eq!(waiting(), 0);
    let sender = blocked_send(&feed, &subscription, 2);
    eventually(|| waiting() == 1);
    subscription.unsubscribe();
    assert_eq!(join(sender), 0);
    drop(rx);
}

#[test]
fn a_carrier_that_cannot_tell_is_tried_until_it_has_room() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let (tx, rx) = shelf(1, Room::Unknown);
    let shelf = Arc::clone(&rx.0);
    let subscription = feed.subscribe(tx);
    feed.send(0);
    let sender = blocked_send(&feed, &subscription, 1);
    let before = shelf.tries.load(Ordering::Relaxed);
    // At the pace of the timer for own channels so many would take more than half a minute.
    eventually(|| shelf.tries.load(Ordering::Relaxed) > before + 100);
    // Room that nobody announces.
    assert_eq!(shelf.values.lock().unwrap().pop_front(), Some(0));
    assert_eq!(join(sender), 1);
}

#[test]
fn the_closure_is_called_with_every_value_on_the_sending_thread() {
    let feed = Feed::new();
    let calls = Arc::new(Mutex::new(Vec::new()));
    let subscription = feed.subscriber().name("closure").subscribe_fn({
        let calls = Arc::clone(&calls);
        move |value: &u64| calls.lock().unwrap().push((*value, thread::current().id()))
    });
    assert_eq!(feed.send(1), 1);
    let other = thread::spawn({
        let feed = feed.clone();
        move || {
            feed.send(2);
            thread::current().id()
        }
    });
    let other = join(other);
    assert_eq!(
        *calls.lock().unwrap(),
        [(1, thread::current().id()), (2, other)]
    );
    assert_eq!(subscription.stats().delivered, 2);
    assert_eq!(subscription.stats().depth, None);
    subscription.unsubscribe();
    assert_eq!(Arc::strong_count(&calls), 1, "the closure was dropped");
    assert_eq!(feed.send(3), 0);
}

#[test]
fn closures_are_served_after_channels() {
    let feed = Feed::new();
    let (tx, rx) = crossbeam_channel::bounded(1);
    let saw_it_first = Arc::new(AtomicBool::new(true));
    let _closure = feed.subscribe_fn({
        let (rx, first) = (rx.clone(), Arc::clone(&saw_it_first));
        move |_: &u64| first.store(rx.is_empty(), Ordering::Relaxed)
    });
    let _channel = feed.subscribe(tx);
    feed.send(1);
    assert!(!saw_it_first.load(Ordering::Relaxed));
}
