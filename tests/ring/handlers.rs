//! Sends from inside the handlers of readers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use fanfeed::{RingFeed, TryRecvError, TrySendError, ring};

use crate::common::{PATIENCE, eventually, join, message, watchdog};

/// A full ring of one, with a strict reader and one that drops the oldest.
fn full() -> (RingFeed<u32>, ring::Receiver<u32>, ring::Receiver<u32>) {
    let ring = RingFeed::new(1).unwrap();
    let strict = ring.subscribe();
    let lossy = ring.subscriber().overflow(ring::Overflow::DropOldest);
    let lossy = lossy.subscribe();
    ring.send(0);
    (ring, strict, lossy)
}

fn assert_panics<R>(send: impl FnOnce() -> R) {
    let send = || {
        let _ = send();
    };
    let payload = catch_unwind(AssertUnwindSafe(send)).expect_err("it is to panic, not to wait");
    let text = message(&*payload);
    assert!(
        text.contains("handler") && text.contains("try_send"),
        "{text}"
    );
}

fn assert_gives_up(ring: &RingFeed<u32>) {
    assert_eq!(ring.try_send(1), Err(TrySendError::Full(1)));
    let limit = Duration::from_millis(1);
    assert_eq!(ring.send_timeout(1, limit), Err(TrySendError::Full(1)));
}

#[test]
fn a_send_in_a_handler_of_the_reader_in_the_way_panics_where_it_would_wait() {
    let _watchdog = watchdog();
    let (ring, mut strict, _) = full();
    let read = strict.drain(|_| {
        assert_gives_up(&ring);
        assert_panics(|| ring.send(1));
        assert_panics(|| ring.send_batch([1, 2]));
        assert_panics(|| ring.send_with(|slot| *slot = 1));
    });
    assert_eq!(read, Ok(1));
    // Nothing was sent, and nobody is in line.
    assert_eq!(ring.position(), 1);
    assert_eq!(ring.send(5), 1);
    assert_eq!(strict.recv(), Ok(5));
}

#[test]
fn a_send_in_a_lossy_handler_panics_where_a_blocking_reader_keeps_the_ring_full() {
    let _watchdog = watchdog();
    let (ring, mut strict, mut lossy) = full();
    let read = lossy.drain_up_to(1, |_| {
        assert_gives_up(&ring);
        assert_panics(|| ring.send(1));
    });
    assert_eq!(read, Ok(1));
    assert_eq!(strict.recv(), Ok(0));
    assert_eq!(ring.send(5), 1);
    assert_eq!([strict.recv(), lossy.recv()], [Ok(5), Ok(5)]);
}

#[test]
fn a_panic_that_is_not_caught_in_the_handler_leaves_all_in_order() {
    let _watchdog = watchdog();
    let (ring, mut strict, _) = full();
    assert_panics(|| strict.drain(|_| assert_eq!(ring.send(1), 1)));
    assert_eq!(strict.try_recv(), Err(TryRecvError::Empty), "it was read");
    assert_eq!(ring.send(5), 1);
    assert_eq!(strict.recv(), Ok(5));
}

#[test]
fn a_send_in_a_handler_goes_on_where_there_is_room() {
    let ring = RingFeed::new(8).unwrap();
    let mut reader = ring.subscribe();
    ring.send(1);
    assert_eq!(
        reader.drain(|value| assert_eq!(ring.send(value + 1), 1)),
        Ok(1)
    );
    assert_eq!(reader.try_recv(), Ok(2));
}

#[test]
fn a_handler_is_known_from_inside_another_and_after_it() {
    let _watchdog = watchdog();
    let (outer, mut reader, _) = full();
    let (inner, mut inner_reader, _) = full();
    let read = reader.drain(|_| {
        let read = inner_reader.drain(|_| {
            assert_panics(|| outer.send(1));
            assert_panics(|| inner.send(1));
        });
        assert_eq!(read, Ok(1));
        assert_panics(|| outer.send(1));
        // That handler is over.
        assert_eq!(inner.send(1), 1);
    });
    assert_eq!(read, Ok(1));
}

#[test]
fn a_send_in_a_handler_of_another_ring_waits() {
    let _watchdog = watchdog();
    let (ring, mut strict, _) = full();
    let (other, mut other_reader, _) = full();
    let (told, begun) = mpsc::channel();
    let sender = thread::spawn(move || {
        let read = other_reader.drain(|_| {
            told.send(()).unwrap();
            ring.send(1);
        });
        assert_eq!(read, Ok(1));
        drop(other);
    });
    begun.recv_timeout(PATIENCE).unwrap();
    eventually(|| strict.stats().blocked == 1);
    assert_eq!(strict.recv(), Ok(0));
    assert_eq!(strict.recv_timeout(PATIENCE), Ok(1));
    join(sender);
}

#[test]
fn a_reader_that_another_thread_reads_keeps_no_sender_from_waiting() {
    let _watchdog = watchdog();
    let (ring, mut strict, _) = full();
    let (told, begun) = mpsc::channel();
    let (go_on, is_to_go_on) = mpsc::channel::<()>();
    let reader = thread::spawn(move || {
        let read = strict.drain(|_| {
            told.send(()).unwrap();
            is_to_go_on.recv_timeout(PATIENCE).unwrap();
        });
        assert_eq!(read, Ok(1));
        strict
    });
    begun.recv_timeout(PATIENCE).unwrap();
    let sender = thread::spawn(move || ring.send(1));
    go_on.send(()).unwrap();
    assert_eq!(join(sender), 1);
    assert_eq!(join(reader).recv(), Ok(1));
}
