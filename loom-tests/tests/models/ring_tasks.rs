//! Sends on a ring that wait as tasks.
//!
//! Modelled: a shared ring of capacity 1 or 2; one or two tasks that send on it, each on its own
//! thread, beside a blocking thread, a strict reader, and a close; a send that is dropped while it
//! is in line; two threads that wait with one waker. Timers do not fire, so that nothing makes up
//! for a lost wake-up. Bounds: two or three threads, one to three values, one to three preemptions.
//!
//! ```text
//! RUSTFLAGS="--cfg fanfeed_loom" cargo test -p fanfeed-loom-tests --release --test models ring_tasks::
//! ```
use std::future::Future;
use std::task::{Context, Waker};

use fanfeed::{Carrier, RingFeed, Room, ring};
use fanfeed_loom_tests::{Ledger, Model, Token, Why, block_on};
use loom::thread::{self, JoinHandle};

/// A task that sends this.
fn task(ring: &RingFeed<Token>, ledger: &Ledger, number: u32) -> JoinHandle<u64> {
    let (ring, ledger) = (ring.clone(), ledger.clone());
    thread::spawn(move || block_on(ring.send_async(ledger.token(number))))
}

/// A full ring, whose value has the number 0.
fn full(ledger: &Ledger) -> (RingFeed<Token>, ring::Receiver<Token>) {
    let ring = RingFeed::new(1).unwrap();
    let reader = ring.subscribe();
    ring.send(ledger.token(0));
    (ring, reader)
}

fn recv(reader: &mut ring::Receiver<Token>, count: usize) -> Vec<u32> {
    let values = reader.iter().take(count);
    values.map(|value| value.number()).collect()
}

/// A task waits for a reader.
fn a_task_behind_a_reader() {
    let ledger = Ledger::new();
    let (ring, mut reader) = full(&ledger);
    let sender = task(&ring, &ledger, 1);
    assert_eq!(recv(&mut reader, 2), [0, 1]);
    assert_eq!(sender.join().unwrap(), 1);
    drop((ring, reader));
    ledger.assert_settled();
}

/// A task and a thread wait for a reader, which makes room for both in one go.
fn a_task_beside_a_thread() {
    let ledger = Ledger::new();
    let ring = RingFeed::new(2).unwrap();
    let mut reader = ring.subscribe();
    ring.send_batch([ledger.token(0), ledger.token(1)]);
    // Senders stamp, and readers move the tail: so that both values are taken in one go.
    assert!(ring.subscribe().try_recv().is_err());
    let task = task(&ring, &ledger, 2);
    let thread = {
        let (ring, ledger) = (ring.clone(), ledger.clone());
        thread::spawn(move || ring.send(ledger.token(3)))
    };
    assert_eq!(reader.drain_up_to(2, |_| {}), Ok(2));
    assert_eq!(task.join().unwrap() + thread.join().unwrap(), 5);
    drop((ring, reader));
    ledger.assert_settled();
}

/// The ring ends while a task waits.
fn a_close() {
    let ledger = Ledger::new();
    let (ring, mut reader) = full(&ledger);
    let sender = task(&ring, &ledger, 1);
    ring.close();
    assert_eq!(sender.join().unwrap(), 1);
    assert_eq!(recv(&mut reader, 2), [0]);
    drop((ring, reader));
    ledger.assert_settled();
}

/// The ring ends while two tasks join the line: one of them may join behind the other after all
/// were woken for the end.
fn a_close_beside_two_tasks() {
    let ledger = Ledger::new();
    let (ring, mut reader) = full(&ledger);
    let senders = [1, 2].map(|number| task(&ring, &ledger, number));
    ring.close();
    assert_eq!(senders.map(|sender| sender.join().unwrap()), [1, 1]);
    assert_eq!(recv(&mut reader, 2), [0]);
    drop((ring, reader));
    ledger.assert_settled();
}

/// A send is dropped that was in line, or woken, in front of a thread.
fn a_dropped_send_in_front() {
    let ledger = Ledger::new();
    let (ring, mut reader) = full(&ledger);
    let mut dropped = Box::pin(ring.send_async(ledger.token(7)));
    let mut context = Context::from_waker(Waker::noop());
    assert!(dropped.as_mut().poll(&mut context).is_pending());
    let thread = {
        let (ring, ledger) = (ring.clone(), ledger.clone());
        thread::spawn(move || ring.send(ledger.token(1)))
    };
    let receiver = thread::spawn(move || {
        assert_eq!(reader.try_recv().unwrap().number(), 0);
        reader
    });
    drop(dropped);
    assert_eq!(thread.join().unwrap(), 1);
    assert_eq!(recv(&mut receiver.join().unwrap(), 1), [1]);
    drop(ring);
    ledger.assert_settled();
}

/// Two threads wait for room with one waker, as the sends of a feed that the ring is subscribed to
/// may, and give up. A sender that comes later is then the first in line.
fn two_threads_with_one_waker() {
    let ledger = Ledger::new();
    let (ring, mut reader) = full(&ledger);
    let waiters = [(); 2].map(|()| {
        let ring = ring.clone();
        thread::spawn(move || {
            let ring: &dyn Carrier<Token> = &ring;
            assert_eq!(ring.poll_room(Waker::noop()), Room::Waking);
            ring.forget_waker(Waker::noop());
        })
    });
    for waiter in waiters {
        waiter.join().unwrap();
    }
    let receiver = thread::spawn(move || recv(&mut reader, 2));
    assert_eq!(ring.send(ledger.token(1)), 1);
    assert_eq!(receiver.join().unwrap(), [0, 1]);
    drop(ring);
    ledger.assert_settled();
}

#[test]
fn threads_that_share_a_waker_leave_nothing_in_line() {
    Model::bound(2).holds(two_threads_with_one_waker);
    Model::bound(2)
        .because(Why::Deadlock)
        .fails_with("replaced_ticket_stays_in_line", two_threads_with_one_waker);
}

#[test]
fn a_task_is_woken_for_room() {
    Model::bound(3).holds(a_task_behind_a_reader);
}

#[test]
fn a_task_and_a_thread_share_the_line() {
    Model::bound(1).holds(a_task_beside_a_thread);
}

#[test]
fn a_close_releases_a_task() {
    Model::bound(3).holds(a_close);
}

#[test]
fn a_close_releases_tasks_that_join_behind_one_another() {
    Model::bound(2).holds(a_close_beside_two_tasks);
    Model::bound(2)
        .because(Why::Deadlock)
        .fails_with("task_in_line_overlooks_the_end", a_close_beside_two_tasks);
}

#[test]
fn a_dropped_send_blocks_no_other_send() {
    Model::bound(1).holds(a_dropped_send_in_front);
}

#[test]
fn a_task_has_to_look_once_it_is_in_line() {
    Model::bound(2)
        .because(Why::Deadlock)
        .fails_with("task_does_not_look_in_line", a_close);
}

#[test]
fn a_dropped_send_has_to_leave_the_line() {
    Model::bound(2)
        .because(Why::Deadlock)
        .fails_with("dropped_send_stays_in_line", a_dropped_send_in_front);
}

#[test]
fn a_dropped_send_has_to_hand_on_its_wake_up() {
    Model::bound(2)
        .because(Why::Deadlock)
        .fails_with("watch_is_not_handed_on", a_dropped_send_in_front);
}
