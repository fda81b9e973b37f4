//! Several senders at the same time: one order for all readers.

use std::thread;

use fanfeed::{RingFeed, ring};

use crate::common::{Random, join, watchdog};
use crate::{Copies, WAITINGS};

/// Reads to the end, by all ways of reading in turn.
fn read_all(mut reader: ring::Receiver<Copies>, seed: u64) -> Vec<u64> {
    let mut random = Random::new(seed + 1);
    let mut numbers = Vec::new();
    while reader.wait().is_ok() {
        match random.below(4) {
            0 => {
                let _ = reader.drain(|value| numbers.push(value.number()));
            }
            1 => {
                let limit = random.below(9) as usize;
                let _ = reader.drain_up_to(limit, |value| numbers.push(value.number()));
            }
            2 => numbers.extend(reader.try_iter().take(5).map(|value| value.number())),
            _ => numbers.extend(reader.try_recv().map(|value| value.number())),
        }
    }
    numbers
}

/// Sends as so many threads at once, and checks what all readers have got.
fn race(senders: u64, each: u64, capacity: usize) {
    let ring = RingFeed::new(capacity).unwrap();
    let readers: Vec<_> = WAITINGS
        .into_iter()
        .zip(0..)
        .map(|(waiting, seed)| {
            let reader = ring.subscriber().wait_strategy(waiting).subscribe();
            thread::spawn(move || read_all(reader, seed))
        })
        .collect();
    let lossy: Vec<_> = (0..2)
        .map(|seed| {
            let builder = ring.subscriber().overflow(ring::Overflow::DropOldest);
            let (mut reader, stats) = builder.subscribe().split();
            thread::spawn(move || {
                let mut numbers = Vec::new();
                if seed == 0 {
                    while reader.wait().is_ok() {
                        let _ = reader.drain(|value| numbers.push(value.number()));
                    }
                } else {
                    numbers.extend(reader.iter().map(|value| value.number()));
                }
                let missed = reader.missed();
                assert_eq!(stats.stats().dropped, missed);
                (numbers, missed)
            })
        })
        .collect();
    let threads: Vec<_> = (0..senders)
        .map(|sender| {
            let ring = ring.clone();
            thread::spawn(move || {
                let number = |index| Copies::of(index * senders + sender);
                let mut positions = Vec::new();
                let mut index = 0;
                while index < each {
                    // By all verbs in turn.
                    match index % 5 {
                        0 => positions.push((index, ring.send(number(index)))),
                        1 => {
                            if let Ok(position) = ring.try_send(number(index)) {
                                positions.push((index, position));
                            } else {
                                positions.push((index, ring.send(number(index))));
                            }
                        }
                        2 => {
                            let end = each.min(index + 1 + index % 40);
                            ring.send_batch((index..end).map(number));
                            index = end;
                            continue;
                        }
                        3 => positions.push((index, ring.send_with(|slot| *slot = number(index)))),
                        _ => {
                            let sent = ring.send_timeout(number(index), std::time::Duration::MAX);
                            positions.push((index, sent.unwrap()));
                        }
                    }
                    index += 1;
                }
                positions
            })
        })
        .collect();
    let positions: Vec<_> = threads.into_iter().map(join).collect();
    assert_eq!(ring.position(), senders * each);
    drop(ring);

    let mut sequences: Vec<_> = readers.into_iter().map(join).collect();
    let sequence = sequences.pop().unwrap();
    assert_eq!(sequence.len() as u64, senders * each);
    assert!(sequences.iter().all(|other| *other == sequence));
    // Each sender's values in its order, and where it was told they are.
    for (sender, positions) in (0..).zip(&positions) {
        let of_sender = sequence
            .iter()
            .filter(|number| **number % senders == sender);
        assert!(of_sender.map(|number| number / senders).eq(0..each));
        for (index, position) in positions {
            assert_eq!(sequence[*position as usize], index * senders + sender);
        }
    }
    // Of the same sequence lossy readers have got a part.
    for (numbers, missed) in lossy.into_iter().map(join) {
        assert_eq!(numbers.len() as u64 + missed, senders * each);
        let mut rest = sequence.iter();
        assert!(
            numbers
                .iter()
                .all(|number| rest.any(|other| other == number))
        );
    }
}

impl Default for Copies {
    fn default() -> Self {
        Self::of(0)
    }
}

#[test]
fn two_senders_are_seen_in_one_order() {
    let _watchdog = watchdog();
    for (capacity, each) in [(1, 60), (2, 100), (8, 400), (64, 1_500), (1024, 5_000)] {
        race(2, each, capacity);
    }
}

#[test]
fn four_senders_are_seen_in_one_order() {
    let _watchdog = watchdog();
    for (capacity, each) in [(1, 30), (4, 100), (16, 400), (256, 1_500)] {
        race(4, each, capacity);
    }
}

#[test]
fn many_laps_of_several_senders_are_told_apart() {
    let _watchdog = watchdog();
    // More than 256 laps, after which what tells them apart comes again.
    let ring = RingFeed::new(2).unwrap();
    let mut reader = ring.subscribe();
    let senders = [0, 1].map(|_| {
        let ring = ring.clone();
        thread::spawn(move || {
            for _ in 0..2_000 {
                ring.send(1_u64);
            }
        })
    });
    let reader = thread::spawn(move || reader.iter().sum::<u64>());
    senders.into_iter().for_each(join);
    drop(ring);
    assert_eq!(join(reader), 4_000);
}
