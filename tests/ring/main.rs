//! `RingFeed` and `ExclusiveRingFeed`, as their users see them.

#[path = "../common/mod.rs"]
mod common;

use std::thread::{self, JoinHandle};

use common::eventually;
use fanfeed::{Publish, RecvError, Subscription, ring};

/// Runs a test twice, with each kind of sender in turn: they share their verbs.
macro_rules! with_each_sender {
    ($capacity:expr, |$ring:ident| $body:block) => {{
        {
            #[allow(unused_mut)]
            let mut $ring = fanfeed::ExclusiveRingFeed::new($capacity).unwrap();
            $body
        }
        {
            #[allow(unused_mut)]
            let mut $ring = fanfeed::RingFeed::new($capacity).unwrap();
            $body
        }
    }};
}

mod batches;
mod capacity;
mod carrying;
mod claims;
#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    not(miri)
))]
mod denied;
mod ending;
mod events;
mod following;
mod handlers;
mod in_place;
mod joining;
mod lossy;
mod order;
mod panics;
mod positions;
mod reading;
#[cfg(feature = "async")]
mod receiving_many;
mod retention;
mod sending;
#[cfg(feature = "async")]
mod sending_async;
mod skipping;
#[cfg(feature = "async")]
mod streaming;
mod subscription;
mod values;
mod waiting;

const WAITINGS: [ring::WaitStrategy; 3] = [
    ring::WaitStrategy::Spin,
    ring::WaitStrategy::Batch,
    ring::WaitStrategy::Park,
];
const OVERFLOWS: [ring::Overflow; 3] = [
    ring::Overflow::Block,
    ring::Overflow::DropOldest,
    ring::Overflow::Disconnect,
];

/// A reader that senders do not wait for, and that goes on when it was overtaken.
fn lossy_reader<T: Send + Sync + 'static>(ring: &ring::Handle<T>) -> ring::Receiver<T> {
    let builder = ring.subscriber();
    builder.overflow(ring::Overflow::DropOldest).subscribe()
}

/// A reader, and one that follows it.
fn leader_and_follower<T: Send + Sync + 'static>(
    ring: &ring::Handle<T>,
) -> (ring::Receiver<T>, ring::Receiver<T>) {
    let leader = ring.subscribe();
    let after = [leader.cursor()];
    let follower = ring.subscriber().after(&after).unwrap().subscribe();
    (leader, follower)
}

/// Sends the numbers from 0 to before `count` on a thread of its own, which then drops the sender.
fn send_numbers(mut ring: impl Publish<u64> + Send + 'static, count: u64) -> JoinHandle<()> {
    thread::spawn(move || {
        for number in 0..count {
            ring.send(number);
        }
    })
}

/// Sends on a thread of its own, and returns once that waits for the reader.
#[track_caller]
fn blocked<R: Send + 'static>(
    on: &Subscription,
    send: impl FnOnce() -> R + Send + 'static,
) -> JoinHandle<R> {
    let before = on.stats().blocked;
    let sender = thread::spawn(send);
    eventually(|| on.stats().blocked > before);
    sender
}

/// A number in eight copies: a value that was written over while it was read does not agree with
/// itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Copies([u64; 8]);

impl Copies {
    fn of(number: u64) -> Self {
        Self([number; 8])
    }

    #[track_caller]
    fn number(&self) -> u64 {
        // Read one by one, for the compiler is not to know that nobody writes meanwhile.
        let numbers = std::hint::black_box(&self.0);
        assert!(
            numbers.iter().all(|number| *number == numbers[0]),
            "torn: {numbers:?}"
        );
        numbers[0]
    }
}

/// What a reader got of the numbers from 0 on.
#[derive(Debug, Default, PartialEq, Eq)]
struct Account {
    received: u64,
    missed: u64,
}

/// Reads numbers until the end, in batches, and holds each to be the next after those that were
/// received or missed.
#[track_caller]
fn account_for<T>(reader: &mut ring::Receiver<T>, number: impl Fn(&T) -> u64) -> Account {
    let mut account = Account::default();
    loop {
        match reader.wait() {
            Ok(()) => {}
            Err(RecvError::Closed) => return account,
            Err(error) => panic!("it ended with {error:?}"),
        }
        let drained = reader.drain(|value| {
            assert_eq!(number(value), account.received + account.missed);
            account.received += 1;
        });
        if let Err(fanfeed::TryRecvError::Lagged(missed)) = drained {
            account.missed += missed;
        }
        assert_eq!(reader.missed(), account.missed);
    }
}
