//! Senders of a shared ring that send in batches with a timeout, or as tasks, and readers that
//! skip.
//!
//! Programs: batches of which only some values find room, beside single sends; tasks that wait in
//! line beside threads, one of which gives up; readers that skip to the newest value. Rings of 1, 2
//! and 4 slots. The values that were sent, given back and dropped add up to all values, and what
//! was sent is received once and in order.
//!
//! ```text
//! RUSTFLAGS="--cfg fanfeed_shuttle" cargo test -p fanfeed-shuttle-tests --release --test ring_verbs
//! ```
#![cfg(fanfeed_shuttle)]

use std::future::Future;
use std::task::{Context, Waker};
use std::time::Duration;

use fanfeed::{RecvError, RingFeed, TryRecvError, TrySendError, ring};
use fanfeed_shuttle_tests::{Ledger, Schedules, Stream, Token, Why};
use shuttle::future::block_on;
use shuttle::thread::{self, JoinHandle};

const EACH: u32 = 2;

/// The values of that sender.
fn numbers(sender: u32) -> impl Iterator<Item = u32> {
    (0..EACH).map(move |index| 10 * sender + index)
}

fn spawn<R: Send + 'static>(
    ring: &RingFeed<Token>,
    ledger: &Ledger,
    f: impl FnOnce(RingFeed<Token>, Ledger) -> R + Send + 'static,
) -> JoinHandle<R> {
    let (ring, ledger) = (ring.clone(), ledger.clone());
    thread::spawn(move || f(ring, ledger))
}

/// How many values of a batch were sent: those that it gives back are its last.
fn sent(sender: u32, outcome: Result<u64, TrySendError<Vec<Token>>>) -> usize {
    let all: Vec<_> = numbers(sender).collect();
    let rest = match outcome {
        Ok(_) => Vec::new(),
        Err(TrySendError::Full(rest)) => rest,
        Err(TrySendError::Closed(_)) => panic!("nobody closes it"),
    };
    let rest: Vec<_> = rest.iter().map(Token::number).collect();
    assert!(all.ends_with(&rest), "of {all:?} came back {rest:?}");
    all.len() - rest.len()
}

/// Reads everything, and waits for it.
fn read_all(mut reader: ring::Receiver<Token>) -> JoinHandle<Stream> {
    thread::spawn(move || {
        let mut stream = Stream::new();
        assert_eq!(stream.drain_all(&mut reader), RecvError::Closed);
        stream
    })
}

/// Asserts that the first so many values of each sender came, in order.
fn assert_came(stream: &Stream, sent: &[usize]) {
    let values = stream.values();
    assert_eq!(values.len(), sent.iter().sum());
    for (sender, count) in (0..).zip(sent) {
        let of_sender = values.iter().copied().filter(|value| value / 10 == sender);
        assert!(of_sender.eq(numbers(sender).take(*count)), "{values:?}");
    }
}

/// Three threads send batches: one sends what there is room for, one waits until a timeout, and one
/// waits for all.
fn batches(capacity: usize, timeout: Duration) {
    let ledger = Ledger::new();
    let ring = RingFeed::new(capacity).unwrap();
    let strict = read_all(ring.subscribe());
    let lossy = ring.subscriber().overflow(ring::Overflow::DropOldest);
    let lossy = read_all(lossy.subscribe());
    let senders = [
        spawn(&ring, &ledger, |ring, ledger| {
            let batch = numbers(0).map(|number| ledger.token(number));
            sent(0, ring.try_send_batch(batch))
        }),
        spawn(&ring, &ledger, move |ring, ledger| {
            let batch = numbers(1).map(|number| ledger.token(number));
            sent(1, ring.send_batch_timeout(batch, timeout))
        }),
        spawn(&ring, &ledger, |ring, ledger| {
            for number in numbers(2) {
                ring.send(ledger.token(number));
            }
            EACH as usize
        }),
    ];
    let sent = senders.map(|sender| sender.join().unwrap());
    let total = sent.iter().sum::<usize>();
    assert_eq!(ring.position(), total as u64);
    drop(ring);
    assert_came(&strict.join().unwrap(), &sent);
    let lossy = lossy.join().unwrap();
    assert_eq!(lossy.values().len() as u64 + lossy.missed(), total as u64);
    ledger.assert_settled();
}

/// A full ring; nothing is left of what fills it when its reader goes on.
fn full(ledger: &Ledger, capacity: usize) -> (RingFeed<Token>, ring::Receiver<Token>) {
    let ring = RingFeed::new(capacity).unwrap();
    let reader = ring.subscribe();
    for _ in 0..ring.capacity() {
        ring.send(ledger.token(99));
    }
    (ring, reader)
}

/// Two tasks and a thread wait in line, behind a send that is polled once and dropped, in front or
/// in the middle.
fn tasks(capacity: usize) {
    let ledger = Ledger::new();
    let (ring, mut reader) = full(&ledger, capacity);
    let task = |sender| {
        spawn(&ring, &ledger, move |ring, ledger| {
            for number in numbers(sender) {
                block_on(ring.send_async(ledger.token(number)));
            }
        })
    };
    let tasks = [0, 1].map(task);
    let gives_up = spawn(&ring, &ledger, |ring, ledger| {
        let mut send = Box::pin(ring.send_async(ledger.token(20)));
        let polled = send.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        thread::yield_now();
        usize::from(polled.is_ready())
    });
    let sender = spawn(&ring, &ledger, |ring, ledger| {
        for number in numbers(3) {
            ring.send(ledger.token(number));
        }
    });
    drop(ring);
    for _ in 0..capacity {
        assert_eq!(reader.recv().unwrap().number(), 99);
    }
    let stream = read_all(reader).join().unwrap();
    for task in tasks {
        task.join().unwrap();
    }
    sender.join().unwrap();
    let each = EACH as usize;
    assert_came(&stream, &[each, each, gives_up.join().unwrap(), each]);
    ledger.assert_settled();
}

/// A task waits in front of a thread, and is dropped.
fn a_task_that_is_dropped() {
    let ledger = Ledger::new();
    let (ring, mut reader) = full(&ledger, 1);
    let dropped = spawn(&ring, &ledger, |ring, ledger| {
        let mut send = Box::pin(ring.send_async(ledger.token(7)));
        let polled = send.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        polled.is_ready()
    });
    let sender = spawn(&ring, &ledger, |ring, ledger| ring.send(ledger.token(1)));
    drop(ring);
    let mut values = Vec::new();
    while let Ok(value) = reader.recv() {
        values.push(value.number());
    }
    sender.join().unwrap();
    values.retain(|value| *value != 7);
    assert_eq!(values, [99, 1]);
    let _ = dropped.join().unwrap();
    drop(reader);
    ledger.assert_settled();
}

/// What a reader that skips each time has had: the values it read, and how many it skipped and
/// missed.
fn skip(reader: &mut ring::Receiver<Token>) -> (Vec<u32>, u64, u64) {
    let (mut read, mut skipped, mut missed) = (Vec::new(), 0, 0);
    while reader.wait().is_ok() {
        match reader.skip_to_newest() {
            Ok(count) => skipped += count,
            Err(TryRecvError::Lagged(count)) => missed += count,
            Err(TryRecvError::Empty) => continue,
            Err(_) => break,
        }
        match reader.try_recv() {
            Ok(value) => read.push(value.number()),
            Err(TryRecvError::Lagged(count)) => missed += count,
            Err(_) => {}
        }
    }
    assert_eq!((skipped, missed), (reader.skipped(), reader.missed()));
    (read, skipped, missed)
}

/// A strict reader and a lossy one skip, beside one that reads all, while two threads send.
fn skipping(capacity: usize) {
    let ledger = Ledger::new();
    let ring = RingFeed::new(capacity).unwrap();
    let all = read_all(ring.subscribe());
    let skippers = [ring::Overflow::Block, ring::Overflow::DropOldest].map(|overflow| {
        let mut reader = ring.subscriber().overflow(overflow).subscribe();
        thread::spawn(move || skip(&mut reader))
    });
    let senders = [0, 1].map(|sender| {
        spawn(&ring, &ledger, move |ring, ledger| {
            for number in numbers(sender) {
                ring.send(ledger.token(number));
            }
        })
    });
    drop(ring);
    for sender in senders {
        sender.join().unwrap();
    }
    let all = all.join().unwrap().values();
    for skipper in skippers {
        let (read, skipped, missed) = skipper.join().unwrap();
        assert_eq!(read.len() as u64 + skipped + missed, all.len() as u64);
        assert_eq!(read.last(), all.last(), "the newest is never skipped");
        let mut rest = all.iter();
        assert!(read.iter().all(|value| rest.any(|other| other == value)));
    }
    ledger.assert_settled();
}

#[test]
fn a_batch_that_does_not_wait_gives_back_what_it_did_not_send() {
    Schedules::new().hold(|| batches(2, Duration::ZERO));
}

#[test]
fn a_batch_with_a_limit_gives_back_what_it_did_not_send() {
    Schedules::new()
        .with_timers()
        .hold(|| batches(1, Duration::from_millis(1)));
}

#[test]
fn tasks_and_threads_all_get_their_turn() {
    Schedules::new().with_timers().hold(|| tasks(1));
}

#[test]
fn a_thread_goes_on_behind_a_task_that_is_dropped() {
    Schedules::new().hold(a_task_that_is_dropped);
}

#[test]
fn a_reader_that_skips_gets_the_newest() {
    Schedules::new().hold(|| skipping(4));
}

#[test]
fn mutants_of_tasks_are_found() {
    Schedules::new()
        .because(Why::Deadlock)
        .find("dropped_send_stays_in_line", a_task_that_is_dropped);
}
