//! A send to subscribers with room allocates nothing, and everything that was allocated is freed.
//!
//! The allocator counts for each thread separately, so tests do not disturb each other.

// A test binary of its own, because the allocator is one for the whole program.
#[path = "../common/mod.rs"]
mod common;
mod ring;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::{Duration, Instant};

use common::watchdog;
use fanfeed::{CarrierOverflow, Feed, Overflow, TryRecvError};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<i64> = const { Cell::new(0) };
    /// All that was ever allocated, freed or not.
    static ALLOCATED: Cell<u64> = const { Cell::new(0) };
}

fn count(allocations: u64, bytes: i64) {
    ALLOCATIONS.with(|count| count.set(count.get() + allocations));
    BYTES.with(|held| held.set(held.get() + bytes));
    ALLOCATED.with(|allocated| allocated.set(allocated.get() + bytes.max(0) as u64));
}

// SAFETY: everything is passed on to the system's allocator; the counters are plain thread-locals
// that do not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as i64);
        // SAFETY: as the caller warrants.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, -(layout.size() as i64));
        // SAFETY: as the caller warrants.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(1, size as i64 - layout.size() as i64);
        // SAFETY: as the caller warrants.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often this thread allocates in `f`.
fn allocations(f: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.with(Cell::get);
    f();
    ALLOCATIONS.with(Cell::get) - before
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(Box::new(1))), 1);
    assert_eq!(allocations(|| {}), 0);
}

#[test]
fn a_send_to_subscribers_with_room_allocates_nothing() {
    for count in [1, 8, 64, 200] {
        let feed = Feed::new();
        let mut own: Vec<_> = (0..count).map(|_| feed.channel(4).unwrap()).collect();
        assert_eq!(feed.send(0), count, "warms up");
        let allocated = allocations(|| {
            for value in 1..50u64 {
                for receiver in &mut own {
                    receiver.try_recv().unwrap();
                }
                assert_eq!(feed.send(value), count);
            }
        });
        assert_eq!(allocated, 0, "{count} own channels");

        let feed = Feed::new();
        let crossbeam: Vec<_> = (0..count)
            .map(|_| {
                let (tx, rx) = crossbeam_channel::bounded(4);
                (feed.subscribe(tx), rx)
            })
            .collect();
        assert_eq!(feed.send(0), count, "warms up");
        let allocated = allocations(|| {
            for value in 1..50u64 {
                for (_, rx) in &crossbeam {
                    rx.try_recv().unwrap();
                }
                assert_eq!(feed.send(value), count);
            }
        });
        assert_eq!(allocated, 0, "{count} crossbeam channels");
    }
}

#[test]
fn no_verb_allocates_while_there_is_room_and_neither_do_closures_and_lossy_channels() {
    let feed = Feed::new();
    let mut own = feed.channel(4).unwrap();
    let (tx, std_rx) = std::sync::mpsc::sync_channel(4);
    let _std = feed.subscribe(tx);
    let _closures: Vec<_> = (0..70).map(|_| feed.subscribe_fn(|_: &u64| {})).collect();
    // These are full all the time.
    let lossy = |overflow| {
        let builder = feed.subscriber().capacity(1).overflow(overflow);
        builder.channel().unwrap()
    };
    let _newest = lossy(Overflow::DropNewest);
    let _oldest = lossy(Overflow::DropOldest);
    let (tx, _full) = crossbeam_channel::bounded(1);
    let builder = feed.subscriber().overflow(CarrierOverflow::DropNewest);
    let _foreign = builder.subscribe(tx);
    let deadline = Instant::now() + Duration::from_secs(60);
    feed.send(0);
    feed.send(0);
    let mut drain = || {
        own.try_iter().for_each(drop);
        std_rx.try_iter().for_each(drop);
    };
    drain();
    let allocated = allocations(|| {
        for value in 0..50 {
            assert_eq!(feed.send(value), 73);
            assert_eq!(feed.try_send(value).unwrap(), 73);
            assert_eq!(feed.send_timeout(value, Duration::MAX).unwrap(), 73);
            assert_eq!(feed.send_deadline(value, deadline).unwrap(), 73);
            drain();
        }
    });
    assert_eq!(allocated, 0);
}

#[test]
fn a_send_without_subscribers_allocates_nothing() {
    let feed = Feed::new();
    feed.send(0);
    assert_eq!(allocations(|| assert_eq!(feed.send(1), 0)), 0);
    feed.close();
    assert_eq!(allocations(|| assert_eq!(feed.send(1), 0)), 0);
}

#[test]
fn receiving_allocates_nothing() {
    let feed = Feed::new();
    let mut receiver = feed.channel(64).unwrap();
    // Its first wait makes what the thread needs for waiting.
    let _ = receiver.recv_timeout(Duration::from_millis(1));
    let allocated = allocations(|| {
        for _ in 0..10 {
            feed.send_batch([]);
            for value in 0..20u64 {
                feed.send(value);
            }
            assert_eq!(receiver.recv(), Ok(0));
            assert_eq!(receiver.try_recv(), Ok(1));
            assert_eq!(receiver.recv_timeout(Duration::MAX), Ok(2));
            assert_eq!(receiver.drain(7, drop), Ok(7));
            assert_eq!(receiver.try_iter().count(), 10);
            assert!(receiver.recv_timeout(Duration::from_micros(10)).is_err());
        }
    });
    // The first send of a thread on a feed sets up its record.
    assert!(allocated <= 1, "{allocated}");
}

#[test]
fn a_batch_allocates_no_more_for_many_values_than_for_a_block() {
    let feed = Feed::new();
    let mut receivers: Vec<_> = (0..3).map(|_| feed.channel(1024).unwrap()).collect();
    feed.send(0);
    let mut batch = |count: u64| {
        let allocated = allocations(|| assert_eq!(feed.send_batch(0..count), 3 * count as usize));
        for receiver in &mut receivers {
            receiver.try_iter().for_each(drop);
        }
        allocated
    };
    let one_block = batch(32);
    assert_eq!(batch(1000), one_block);
    assert!(one_block <= 8, "{one_block}");
}

#[test]
fn nothing_is_left_when_everything_was_dropped() {
    let _watchdog = watchdog();
    // What a thread sets up once and keeps.
    let mut warm = Feed::<u64>::new().channel(1).unwrap();
    let _ = warm.recv_timeout(Duration::from_millis(1));
    Feed::new().send(0);
    let run = || {
        let feed = Feed::new();
        let mut held = Vec::new();
        for round in 0..300u64 {
            let (tx, rx) = crossbeam_channel::bounded(2);
            held.push((feed.subscribe(tx), rx, feed.channel(2).unwrap()));
            let _closure = feed.subscriber().name("closure").subscribe_fn(|_| {});
            let _ = feed.send_timeout(vec![round], Duration::ZERO);
            for (_, rx, receiver) in &mut held {
                rx.try_iter().for_each(drop);
                while receiver.try_recv() != Err(TryRecvError::Empty) {}
            }
            let reached = feed.send_batch((0..2).map(|number| vec![round, number]));
            assert_eq!(reached, 2 * feed.subscriber_count());
            assert_eq!(reached, 2 * (2 * held.len() + 1));
            if round % 3 == 0 {
                drop(held.swap_remove(held.len() / 2));
            }
            for (_, rx, receiver) in &mut held {
                let _ = rx.try_recv();
                let _ = receiver.try_recv();
            }
        }
        drop(feed);
        held.len()
    };
    run();
    let before = BYTES.with(Cell::get);
    run();
    assert_eq!(BYTES.with(Cell::get) - before, 0);
}

#[test]
fn subscribers_that_come_and_go_leave_nothing_behind() {
    let feed = Feed::<u64>::new();
    let _kept: Vec<_> = (0..70).map(|_| feed.channel(1).unwrap()).collect();
    let _ = feed.send(0);
    let churn = || {
        let held: Vec<_> = (0..200)
            .map(|_| {
                let (tx, rx) = crossbeam_channel::unbounded();
                (feed.subscribe(tx), rx, feed.subscribe_fn(|_| {}))
            })
            .collect();
        let _ = feed.try_send(1);
        drop(held);
        let _ = feed.try_send(2);
    };
    churn();
    let before = BYTES.with(Cell::get);
    for _ in 0..20 {
        churn();
    }
    let grown = BYTES.with(Cell::get) - before;
    assert!(grown.abs() < 4096, "grew by {grown} bytes");
}

/// How many bytes more this thread has allocated after `f` than before, with what `f` returned
/// still alive.
fn bytes<R>(f: impl FnOnce() -> R) -> (i64, R) {
    let before = BYTES.with(Cell::get);
    let returned = f();
    (BYTES.with(Cell::get) - before, returned)
}

/// The most bytes that one subscriber that comes and goes allocates while, from `live` on, two
/// chunks fill up.
fn most_for_one_that_comes_and_goes<S>(live: usize, subscribe: impl Fn() -> S) -> u64 {
    let mut subscribers: Vec<_> = (0..live).map(|_| subscribe()).collect();
    (0..130)
        .map(|_| {
            // The first of a chunk makes it.
            drop(subscribe());
            let before = ALLOCATED.with(Cell::get);
            drop(subscribe());
            let allocated = ALLOCATED.with(Cell::get) - before;
            subscribers.push(subscribe());
            allocated
        })
        .max()
        .unwrap()
}

#[test]
fn what_a_subscriber_allocates_does_not_depend_on_how_many_there_are() {
    // One whose values nobody sends, and whose own memory is the same each time.
    let channel = |feed: Feed<u8>| move || feed.channel(1).unwrap();
    let closure = |feed: Feed<u8>| move || feed.subscribe_fn(|_| {});
    let channels =
        [0, 1_000, 10_000].map(|live| most_for_one_that_comes_and_goes(live, channel(Feed::new())));
    let closures =
        [0, 1_000, 10_000].map(|live| most_for_one_that_comes_and_goes(live, closure(Feed::new())));
    for most in [channels, closures] {
        assert_eq!(most, [most[0]; 3]);
        assert!(most[0] < 4096, "{most:?}");
    }
}

#[test]
fn the_slots_of_a_channel_go_with_its_receiver_whatever_handles_are_left() {
    const SLOTS: usize = 1 << 16;
    let feed = Feed::new();
    feed.send(Box::new(0_u64));
    let (bytes, (mut closed, subscription, undelivered)) = bytes(|| {
        let (receiver, subscription) = feed.channel(SLOTS).unwrap().split();
        feed.send_batch((0..SLOTS as u64).map(Box::new));
        let undelivered = feed.try_send(Box::new(1)).unwrap_err();
        let closed = subscription.closed();
        drop(receiver);
        (closed, subscription, undelivered)
    });
    assert!(bytes < 10_000, "{bytes} bytes are left of {SLOTS} slots");
    let stats = subscription.stats();
    assert_eq!((stats.delivered, stats.dropped), (SLOTS as u64, 0));
    assert_eq!(undelivered.retry().unwrap(), 0);
    assert!(closed.wait_timeout(Duration::ZERO));
}

#[test]
fn the_slots_of_a_channel_whose_receiver_is_dropped_in_a_delivery_go_after_it() {
    const SLOTS: usize = 1 << 16;
    let feed = Feed::new();
    feed.send(0);
    let (bytes, _subscription) = bytes(|| {
        let (receiver, subscription) = feed.channel(SLOTS).unwrap().split();
        let held = std::sync::Mutex::new(Some(receiver));
        // The send is in the midst of its deliveries.
        let closure = feed.subscribe_fn(move |_: &u64| drop(held.lock().unwrap().take()));
        feed.send(1);
        closure.unsubscribe();
        feed.send(2);
        subscription
    });
    assert!(bytes < 10_000, "{bytes} bytes are left of {SLOTS} slots");
}

#[cfg(feature = "tokio")]
#[test]
fn a_send_that_waits_for_one_subscriber_allocates_nothing() {
    // If this thread is held up for a millisecond, an alarm may be set in between.
    let least = (0..100).map(|_| allocations_of_two_that_wait()).min();
    assert_eq!(least, Some(0), "a send that waits is all in its future");
}

#[cfg(feature = "tokio")]
fn allocations_of_two_that_wait() -> u64 {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    let own = Feed::new();
    let mut receiver = own.channel(1).unwrap();
    let foreign = Feed::new();
    let (tokio, mut tokio_rx) = tokio::sync::mpsc::channel(1);
    let _tokio = foreign.subscribe(tokio);
    let context = &mut Context::from_waker(Waker::noop());
    for feed in [&own, &foreign] {
        feed.send(0_u64);
    }
    // The first of a line allocates the line, and a reservation in tokio's queue.
    let first = [&own, &foreign].map(|feed| {
        let mut first = Box::pin(feed.send_async(1));
        assert!(first.as_mut().poll(context).is_pending());
        first
    });
    let (mut to_own, mut to_foreign) = (pin!(own.send_async(2)), pin!(foreign.send_async(2)));
    let allocated = allocations(|| {
        for _ in 0..2 {
            assert!(to_own.as_mut().poll(context).is_pending());
            assert!(to_foreign.as_mut().poll(context).is_pending());
        }
    });
    drop(first);
    assert_eq!((receiver.try_recv(), tokio_rx.try_recv()), (Ok(0), Ok(0)));
    assert!(to_own.as_mut().poll(context).is_ready());
    assert!(to_foreign.as_mut().poll(context).is_ready());
    allocated
}

#[cfg(feature = "tokio")]
#[test]
fn a_pending_future_may_be_polled_for_ever() {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    let feed = Feed::new();
    let mut receiver = feed.channel(1).unwrap();
    let (timed, _timed) = std::sync::mpsc::sync_channel(1);
    let (tokio, _tokio) = tokio::sync::mpsc::channel(1);
    let foreign = [feed.subscribe(timed), feed.subscribe(tokio)];
    feed.send(0_u64);
    let mut context = Context::from_waker(Waker::noop());
    let mut send = pin!(feed.send_async(1));
    let mut closed = pin!(foreign[0].closed());
    let waiting: Feed<u64> = Feed::new();
    let mut waiting_receiver = waiting.channel(1).unwrap();
    let mut receive = pin!(waiting_receiver.recv_async());
    for _ in 0..2 {
        assert!(send.as_mut().poll(&mut context).is_pending());
        assert!(closed.as_mut().poll(&mut context).is_pending());
        assert!(receive.as_mut().poll(&mut context).is_pending());
    }
    let before = BYTES.with(Cell::get);
    let mut most = 0;
    for _ in 0..100_000 {
        assert!(send.as_mut().poll(&mut context).is_pending());
        assert!(closed.as_mut().poll(&mut context).is_pending());
        assert!(receive.as_mut().poll(&mut context).is_pending());
        most = most.max(BYTES.with(Cell::get) - before);
    }
    assert!(most < 10_000, "{most} bytes more");
    assert_eq!(receiver.try_recv(), Ok(0));
}
