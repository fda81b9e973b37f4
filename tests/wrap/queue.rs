//! The positions of a feed's own channel at the end of a byte, of 32 bits, and of their range.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Cursor;
use crate::error::TryRecvError;
use crate::feed::record::{Place, Records, Section};
use crate::feed::refusal::{End, Refusal};
use crate::feed::slots::Share;
use crate::overflow::Overflow;
use crate::sync::Ordering;

impl<T> Share<T> {
    /// A queue that has been gone round so often, and where its receiver is.
    fn starting_at(capacity: usize, overflow: Overflow, laps: u64) -> (Self, Cursor) {
        let queue = Self::new(capacity, overflow, Arc::default());
        let shape = queue.senders.shape;
        let start = laps * shape.one_lap();
        queue.senders.tail.store(start, Ordering::Relaxed);
        queue.receiver.head.store(start, Ordering::Relaxed);
        queue.senders.limit.store(start, Ordering::Relaxed);
        for index in 0..capacity as u64 {
            // SAFETY: the share keeps the slots.
            let slot = unsafe { shape.slot(index) };
            slot.stamp.store(start + index, Ordering::Relaxed);
        }
        let mut cursor = Cursor {
            head: start,
            ..Cursor::default()
        };
        if overflow == Overflow::DropOldest {
            cursor.expected = shape.number(start);
        }
        (queue, cursor)
    }
}

/// Whether the sending thread is alone. Where light fences are not free, no thread sends alone.
const SENDERS: &[bool] = if cfg!(fanfeed_plain_fences) {
    &[false]
} else {
    &[true, false]
};

/// Miri takes a hundred times as long.
const CAPACITIES: &[usize] = if cfg!(miri) {
    &[2]
} else {
    &[1, 2, 3, 5, 8, 100]
};

/// The sending thread: alone, or one of many.
fn sender(records: &Records, is_sole: bool) -> Section<'_> {
    if !is_sole {
        records.sole().share();
    }
    let section = records.enter();
    section.begin(Place::chunk(0));
    assert_eq!(section.is_sole(), is_sole);
    section
}

/// How often a queue of that capacity can be gone round: see the table of positions.
fn laps(capacity: usize) -> u64 {
    let one_lap = 2 * (capacity as u64 + 1).next_power_of_two();
    u64::MAX / one_lap
}

/// A little before each power of two, and before the last.
fn starts(capacity: usize) -> impl Iterator<Item = u64> {
    let last = laps(capacity);
    let powers = [0, 8, 16, 31, 32, 33, 48].map(|bits| 1_u64 << bits);
    powers
        .into_iter()
        .chain([last])
        .flat_map(|lap| [4, 3, 2, 1].map(|before| lap.saturating_sub(before)))
        .filter(move |lap| *lap <= last - 4)
        .chain([last - 4])
}

fn take(queue: &Share<u64>, cursor: &mut Cursor, expected: std::ops::Range<u64>) {
    for number in expected {
        assert_eq!(queue.pop(cursor, false), Ok(number));
    }
    assert_eq!(queue.pop(cursor, false), Err(TryRecvError::Empty));
}

#[test]
fn there_are_as_many_positions_as_is_said() {
    for capacity in (1..=5000).chain([1 << 20, (1 << 30) - 1, 1 << 30]) {
        let positions = u128::from(laps(capacity)) * capacity as u128;
        // But for the lap that is cut off at the end.
        assert!(positions + capacity as u128 >= 1 << 62, "{capacity}");
    }
}

#[test]
fn a_queue_is_filled_and_emptied_across_each_power_of_two() {
    let cases = CAPACITIES
        .iter()
        .flat_map(|&capacity| SENDERS.iter().map(move |&is_sole| (capacity, is_sole)));
    for (capacity, is_sole) in cases {
        let records = Records::new();
        let by = &sender(&records, is_sole);
        for lap in starts(capacity) {
            for overflow in [Overflow::Block, Overflow::DropNewest, Overflow::Disconnect] {
                let (queue, mut cursor) = Share::starting_at(capacity, overflow, lap);
                let before = queue.delivered();
                let mut at = 0;
                for round in 0..3 {
                    let end = at + capacity as u64;
                    if round % 2 == 0 {
                        for number in at..end {
                            assert!(queue.offer(number, by).is_ok(), "lap {lap} of {capacity}");
                        }
                    } else {
                        let mut numbers = at..end;
                        let pushed = queue.push_many(by, capacity + 3, || numbers.next().unwrap());
                        assert_eq!(pushed, Ok(capacity));
                    }
                    assert_eq!((queue.len(), queue.room_for(9)), (capacity, 0));
                    match (queue.offer(0, by), overflow) {
                        (Err(Refusal::Full(0)), Overflow::Block)
                        | (Err(Refusal::Missed(0)), Overflow::DropNewest)
                        | (Err(Refusal::Overflowed(0)), Overflow::Disconnect) => {}
                        (other, _) => panic!("{other:?}"),
                    }
                    if overflow == Overflow::DropNewest {
                        for number in at..end {
                            assert_eq!(queue.pop(&mut cursor, false), Ok(number));
                        }
                        assert_eq!(queue.pop(&mut cursor, false), Err(TryRecvError::Lagged(1)));
                    } else {
                        take(&queue, &mut cursor, at..end);
                    }
                    at = end;
                    assert_eq!(queue.delivered() - before, at);
                }
            }
        }
    }
}

#[test]
fn the_oldest_are_pushed_out_across_each_power_of_two() {
    let records = Records::new();
    let by = &sender(&records, false);
    for &capacity in CAPACITIES {
        for lap in starts(capacity) {
            let (queue, mut cursor) = Share::starting_at(capacity, Overflow::DropOldest, lap);
            let (before, length) = (queue.delivered(), capacity as u64);
            for number in 0..2 * length {
                assert!(queue.offer(number, by).is_ok());
            }
            assert_eq!(
                queue.pop(&mut cursor, false),
                Err(TryRecvError::Lagged(length))
            );
            take(&queue, &mut cursor, length..2 * length);
            assert_eq!(queue.dropped(), length);
            assert_eq!(queue.delivered() - before, length);
        }
    }
}

/// What `f` returns, if it returns in time.
fn in_time<R: Send + 'static>(f: impl FnOnce() -> R + Send + 'static) -> R {
    let (say, said) = std::sync::mpsc::channel();
    std::thread::spawn(move || say.send(f()));
    let limit = std::time::Duration::from_secs(20);
    said.recv_timeout(limit).expect("it returns in time")
}

#[test]
fn a_receive_waits_for_a_delayed_senders_value_at_the_end_and_not_before() {
    let records = Records::new();
    let by = &sender(&records, false);
    for overflow in [Overflow::Block, Overflow::DropNewest, Overflow::DropOldest] {
        let (queue, mut cursor) = Share::starting_at(3, overflow, 3);
        let queue = std::sync::Arc::new(queue);
        assert!(matches!(queue.offer(7, by), Ok(false)));
        // A sender that has claimed its place, and not filled it.
        let place = queue.senders.tail.load(Ordering::SeqCst);
        let next = queue.senders.shape.next(place);
        queue.senders.tail.store(next, Ordering::SeqCst);
        let taker = std::sync::Arc::clone(&queue);
        let (taken, mut cursor) = in_time(move || {
            let taken = [(); 2].map(|()| taker.pop(&mut cursor, false));
            (taken, cursor)
        });
        assert_eq!(taken, [Ok(7), Err(TryRecvError::Empty)]);
        assert!(!queue.is_unclaimed());
        let quickest = (0..5).map(|_| {
            let start = Instant::now();
            assert_eq!(queue.pop(&mut cursor, false), Err(TryRecvError::Empty));
            start.elapsed()
        });
        assert!(
            quickest.min() < Some(Duration::from_millis(50)),
            "it waited"
        );
        let start = Instant::now();
        let nothing_behind = queue.pop(&mut cursor, true);
        assert_eq!(nothing_behind, Err(TryRecvError::Empty));
        let waited = start.elapsed() > Duration::from_millis(90);
        // Where senders evict, the tail alone tells what is there.
        assert_eq!(waited, overflow == Overflow::DropOldest);
        // One that waits for it, because a value behind it is complete, gives up in the end.
        assert!(queue.offer(9, by).is_ok());
        let start = Instant::now();
        let taker = std::sync::Arc::clone(&queue);
        let (taken, mut cursor) = in_time(move || {
            let taken = taker.pop(&mut cursor, true);
            (taken, cursor)
        });
        assert_eq!((taken, queue.len()), (Err(TryRecvError::Empty), 2));
        assert!(
            start.elapsed() > Duration::from_millis(90),
            "it did not wait"
        );
        queue.begin_to_close();
        queue.close(End::Closed);
        let taker = std::sync::Arc::clone(&queue);
        let (begin, begun) = std::sync::mpsc::channel();
        let last = std::thread::spawn(move || {
            begin.send(()).unwrap();
            [(); 3].map(|()| taker.pop(&mut cursor, false))
        });
        begun.recv().unwrap();
        queue.fill(place, 8);
        let last = in_time(|| last.join().unwrap());
        assert_eq!(last, [Ok(8), Ok(9), Err(TryRecvError::Closed)]);
    }
}

#[test]
#[cfg(not(fanfeed_plain_fences))]
fn a_sole_sender_that_finds_the_queue_closing_leaves_the_tail_closed() {
    let (queue, _) = Share::starting_at(2, Overflow::Block, 3);
    queue.begin_to_close();
    for &is_sole in SENDERS {
        let records = Records::new();
        let by = &sender(&records, is_sole);
        assert!(matches!(queue.offer(7, by), Err(Refusal::Closed(7))));
        assert_eq!(queue.len(), 0);
    }
    // Another thread may have stored a limit for the tail before it was put back.
    queue.senders.limit.store(u64::MAX >> 1, Ordering::Relaxed);
    for &is_sole in SENDERS {
        let records = Records::new();
        let by = &sender(&records, is_sole);
        assert!(matches!(queue.offer(7, by), Err(Refusal::Closed(7))));
        assert_eq!(queue.len(), 0);
    }
}
