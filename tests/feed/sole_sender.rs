//! The sole sender of a feed, and what other threads wait for when they begin to send.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use fanfeed::{Carrier, Feed, Overflow, RecvError, TryRecvError, TrySendError};

use crate::common::{Counted, Random, Tally};

const LIMIT: Duration = Duration::from_secs(20);

/// Forwards each value to another feed, once: the mark says that it came from there. The first one
/// waits at a barrier.
struct Forward {
    to: Feed<u32>,
    gate: Arc<Barrier>,
    is_first: AtomicBool,
}

const FORWARDED: u32 = 1 << 31;

impl Carrier<u32> for Forward {
    fn try_send(&self, value: u32) -> Result<(), TrySendError<u32>> {
        if value & FORWARDED == 0 {
            if self.is_first.swap(false, Ordering::Relaxed) {
                self.gate.wait();
            }
            self.to.send(value | FORWARDED);
        }
        Ok(())
    }
}

/// Each thread is in a delivery of the feed on which it alone has sent, when the other one sends
/// there.
#[test]
fn two_feeds_that_forward_to_each_other_do_not_wait_for_each_other() {
    let feeds = [Feed::new(), Feed::new()];
    let gate = Arc::new(Barrier::new(2));
    let mut receivers = Vec::new();
    for (from, to) in [(0, 1), (1, 0)] {
        receivers.push(feeds[from].channel(8).unwrap());
        let forward = Forward {
            to: feeds[to].clone(),
            gate: Arc::clone(&gate),
            is_first: AtomicBool::new(true),
        };
        feeds[from].subscribe(forward).detach();
    }
    let (say, said) = mpsc::channel();
    for (number, feed) in feeds.iter().enumerate() {
        let (feed, say) = (feed.clone(), say.clone());
        thread::spawn(move || say.send(feed.send(number as u32)));
    }
    for _ in 0..2 {
        let delivered = said.recv_timeout(LIMIT).expect("both sends return");
        assert_eq!(delivered, 2);
    }
    for (number, receiver) in receivers.iter_mut().enumerate() {
        let mut values: Vec<_> = receiver.try_iter().collect();
        values.sort_unstable();
        assert_eq!(values, [number as u32, (1 - number as u32) | FORWARDED]);
    }
}

/// A value whose clone may wait at a barrier, and takes a lock.
struct Locked {
    lock: Arc<Mutex<()>>,
    gate: Option<Arc<Barrier>>,
}

impl Locked {
    fn new() -> Self {
        Self {
            lock: Arc::default(),
            gate: None,
        }
    }
}

impl Clone for Locked {
    fn clone(&self) -> Self {
        if let Some(gate) = &self.gate {
            gate.wait();
        }
        drop(self.lock.lock().unwrap());
        Self::new()
    }
}

/// A second thread begins to send while it holds the lock for which a clone of the first one waits.
#[test]
fn a_send_does_not_wait_for_a_clone_of_another_send() {
    let feed = Feed::new();
    let mut receivers = [(); 2].map(|()| feed.channel(8).unwrap());
    let value = Locked {
        lock: Arc::default(),
        gate: Some(Arc::new(Barrier::new(2))),
    };
    let (lock, gate) = (Arc::clone(&value.lock), value.gate.clone().unwrap());
    let held = lock.lock().unwrap();
    let (say, said) = mpsc::channel();
    let (first, second) = (feed.clone(), feed);
    let told = say.clone();
    thread::spawn(move || {
        // From here on it is the sole sender.
        first.send(Locked::new());
        told.send(first.send(value))
    });
    gate.wait();
    thread::spawn(move || say.send(second.send(Locked::new())));
    let next = || said.recv_timeout(LIMIT).expect("both sends return");
    assert_eq!(next(), 2, "the one that clones without waiting");
    drop(held);
    assert_eq!(next(), 2);
    for receiver in &mut receivers {
        assert_eq!(receiver.try_iter().count(), 3);
    }
}

/// Threads that come one after another, more than may take the right over, each beside a receiver.
#[test]
fn threads_that_send_one_after_another_lose_nothing() {
    const THREADS: u64 = 100;
    const VALUES: u64 = 200;
    let feed = Feed::new();
    let mut receivers: Vec<_> = [3, 64]
        .into_iter()
        .map(|capacity| feed.channel(capacity).unwrap())
        .collect();
    let mut missing = feed
        .subscriber()
        .capacity(2)
        .overflow(Overflow::DropNewest)
        .channel()
        .unwrap();
    thread::scope(|scope| {
        for receiver in &mut receivers {
            scope.spawn(move || {
                for number in 0..THREADS * VALUES {
                    assert_eq!(receiver.recv_timeout(LIMIT), Ok(number));
                }
            });
        }
        for first in (0..THREADS).map(|thread| thread * VALUES) {
            let feed = &feed;
            let sender = scope.spawn(move || {
                for number in first..first + VALUES {
                    feed.send(number);
                }
            });
            sender.join().unwrap();
        }
    });
    assert_eq!(missing.try_iter().collect::<Vec<_>>(), [0, 1]);
    assert_eq!(missing.missed(), THREADS * VALUES - 2);
}

/// The same threads all at once: the order of each is kept.
#[test]
fn threads_that_take_the_right_from_each_other_keep_their_order() {
    const THREADS: u64 = 6;
    const VALUES: u64 = 2_000;
    let feed = Feed::new();
    let mut receiver = feed.channel(16).unwrap();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let feed = &feed;
            scope.spawn(move || {
                for number in 0..VALUES {
                    if number % 3 == 0 {
                        feed.send_batch([thread << 32 | number]);
                    } else {
                        feed.send(thread << 32 | number);
                    }
                    if number % 32 == 0 {
                        thread::yield_now();
                    }
                }
            });
        }
        let mut next = [0; THREADS as usize];
        for _ in 0..THREADS * VALUES {
            let value = receiver.recv_timeout(LIMIT).expect("a value comes");
            let expected = &mut next[(value >> 32) as usize];
            assert_eq!(value & u64::from(u32::MAX), *expected);
            *expected += 1;
        }
    });
}

/// A number in a value of so many bytes, whose clone can panic.
struct Padded<const BYTES: usize> {
    counted: Counted,
    _rest: [u8; BYTES],
}

impl<const BYTES: usize> Clone for Padded<BYTES> {
    fn clone(&self) -> Self {
        Self {
            counted: self.counted.clone(),
            _rest: [0; BYTES],
        }
    }
}

/// Channels of all kinds on one feed, some of them full, and clones that panic: each receiver has
/// each value in its order, or is told that it missed it.
fn values_of_any_size_reach_channels_of_all_kinds<const BYTES: usize>() {
    let mut random = Random::new(BYTES as u64);
    for channels in (1..20).chain([63, 64, 65, 70]) {
        let tally = Tally::new();
        let feed = Feed::new();
        let mut receivers: Vec<_> = (0..channels)
            .map(|_| {
                let kinds = [
                    Overflow::DropNewest,
                    Overflow::DropNewest,
                    Overflow::DropOldest,
                ];
                let builder = feed
                    .subscriber()
                    .overflow(kinds[random.below(3) as usize])
                    .capacity(1 + random.below(5) as usize);
                (builder.channel().unwrap(), 0)
            })
            .collect();
        const VALUES: u64 = 100;
        for number in 0..VALUES {
            let value = Padded {
                counted: tally.value(number),
                _rest: [0; BYTES],
            };
            if random.below(4) == 0 {
                tally.panic_after(random.below(channels));
            }
            let _ = catch_unwind(AssertUnwindSafe(|| feed.send(value)));
            tally.panic_after(1 << 60);
            for (receiver, next) in &mut receivers {
                if random.below(3) != 0 {
                    continue;
                }
                let limit = random.below(4) as usize;
                let outcome = receiver.drain(limit, |value: Padded<BYTES>| {
                    assert_eq!(value.counted.number, *next);
                    *next += 1;
                });
                if let Err(TryRecvError::Lagged(missed)) = outcome {
                    *next += missed;
                }
            }
        }
        drop(feed);
        for (mut receiver, mut next) in receivers {
            loop {
                match receiver.recv() {
                    Ok(value) => {
                        assert_eq!(value.counted.number, next);
                        next += 1;
                    }
                    Err(RecvError::Lagged(missed)) => next += missed,
                    Err(_) => break,
                }
            }
            assert_eq!(next, VALUES);
        }
        assert_eq!(tally.live(), 0);
    }
}

#[test]
fn values_reach_channels_of_all_kinds() {
    // Eight of them are cloned for as many channels at once, two, and one.
    values_of_any_size_reach_channels_of_all_kinds::<1>();
    values_of_any_size_reach_channels_of_all_kinds::<100>();
    values_of_any_size_reach_channels_of_all_kinds::<300>();
}
