//! Every channel that can be subscribed keeps the same promises, whichever way its far end
//! receives.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc as std_mpsc;
use std::sync::{Arc, Condvar, Mutex};
use std::task::Waker;
use std::thread;

use fanfeed::{Carrier, Feed, Room, Subscription, TrySendError};

use crate::common::{PATIENCE, blocked_send, eventually, join, watchdog};

mod asked;
mod far_end;

/// A subscribed channel: its subscription, and its far end, which gives the next value, or `None`
/// at the end.
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
