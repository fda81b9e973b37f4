//! Batches that do not wait, or wait with a limit.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

use fanfeed::{RingFeed, TryRecvError, TrySendError};

use crate::common::{PATIENCE, join, watchdog};
use crate::{blocked, lossy_reader};

pub(crate) fn full<R, T>(outcome: Result<R, TrySendError<T>>) -> T {
    match outcome {
        Err(TrySendError::Full(rest)) => rest,
        Err(TrySendError::Closed(_)) => panic!("closed"),
        Ok(_) => panic!("sent"),
    }
}

// ---- Without waiting, or for a while ----

#[test]
fn what_finds_no_room_comes_back_in_order_and_the_rest_was_sent() {
    for count in [0, 1, 8, 9, 40, 200] {
        with_each_sender!(8, |ring| {
            let mut reader = ring.subscribe();
            ring.send(1000);
            let outcome = ring.try_send_batch(0..count);
            let sent = count.min(7);
            if count <= 7 {
                assert_eq!(outcome, Ok(count + 1));
            } else {
                assert!(full(outcome).into_iter().eq(sent..count));
            }
            assert_eq!(ring.position(), sent + 1);
            assert_eq!(reader.try_recv(), Ok(1000));
            assert!(reader.try_iter().eq(0..sent));
        });
    }
}

#[test]
fn what_came_back_can_be_sent_again() {
    with_each_sender!(4, |ring| {
        let mut reader = ring.subscribe();
        let (mut rest, mut next) = ((0..23_u64).collect::<Vec<_>>(), 0);
        while let Err(error) = ring.try_send_batch(rest) {
            assert!(error.is_full());
            rest = error.into_inner();
            for value in reader.try_iter() {
                assert_eq!(value, next);
                next += 1;
            }
        }
        assert!(reader.try_iter().eq(next..23));
    });
}

#[test]
fn without_blocking_readers_there_is_always_room() {
    with_each_sender!(4, |ring| {
        let mut lossy = lossy_reader(&ring.handle());
        assert_eq!(ring.try_send_batch(0..100), Ok(100));
        assert_eq!(lossy.try_recv(), Err(TryRecvError::Lagged(96)));
    });
}

#[test]
fn a_batch_on_a_closed_ring_comes_back_whole() {
    with_each_sender!(4, |ring| {
        ring.send(0);
        ring.close();
        let values = || (1..50).collect::<Vec<u64>>();
        let deadline = Instant::now() + PATIENCE;
        assert_eq!(
            ring.try_send_batch(1..50),
            Err(TrySendError::Closed(values()))
        );
        let outcome = ring.send_batch_timeout(1..50, PATIENCE);
        assert_eq!(outcome, Err(TrySendError::Closed(values())));
        let outcome = ring.send_batch_deadline(1..50, deadline);
        assert_eq!(outcome, Err(TrySendError::Closed(values())));
        assert_eq!(ring.try_send_batch([]), Ok(1), "there is nothing to send");
    });
}

#[test]
fn a_batch_with_a_limit_gives_back_what_was_not_sent_in_time() {
    let _watchdog = watchdog();
    with_each_sender!(8, |ring| {
        let mut reader = ring.subscribe();
        let limit = Duration::from_millis(2);
        let begun = Instant::now();
        let rest = full(ring.send_batch_timeout(0..20, limit));
        assert!(begun.elapsed() >= limit);
        assert!(rest.into_iter().eq(8..20));
        assert!(reader.try_iter().eq(0..8));
        let rest = full(ring.send_batch_deadline(0..50, Instant::now() + limit));
        assert!(rest.into_iter().eq(8..50));
        // No clock is needed where there is room.
        assert!(reader.try_iter().eq(0..8));
        assert_eq!(ring.send_batch_timeout(0..8, Duration::ZERO), Ok(24));
        assert!(ring.send_batch_deadline([1], Instant::now()).is_err());
    });
}

#[test]
fn a_batch_with_a_limit_goes_on_as_soon_as_there_is_room() {
    let _watchdog = watchdog();
    with_each_sender!(8, |ring| {
        let mut reader = ring.subscribe();
        let subscription = reader.subscription();
        let sender = blocked(subscription, move || {
            ring.send_batch_timeout(0..1000, PATIENCE)
        });
        let mut next = 0;
        while reader.wait().is_ok() {
            let _ = reader.drain(|value| {
                assert_eq!(*value, next);
                next += 1;
            });
        }
        assert_eq!(next, 1000);
        assert_eq!(join(sender), Ok(1000));
    });
}

#[test]
fn a_close_gives_a_waiting_batch_back() {
    let _watchdog = watchdog();
    let ring = RingFeed::new(8).unwrap();
    let mut reader = ring.subscribe();
    let sender = ring.clone();
    let sender = blocked(reader.subscription(), move || {
        sender.send_batch_timeout(0..40, PATIENCE)
    });
    ring.close();
    let Err(TrySendError::Closed(rest)) = join(sender) else {
        panic!("it was not closed");
    };
    assert!(rest.into_iter().eq(8..40));
    assert!(reader.try_iter().eq(0..8));
}

#[test]
fn an_iterator_that_panics_loses_what_it_yielded_last() {
    with_each_sender!(8, |ring| {
        let mut reader = ring.subscribe();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            ring.try_send_batch((0..50).inspect(|value| assert!(*value < 40, "as planned")))
        }));
        assert!(outcome.is_err());
        assert_eq!(ring.position(), 8);
        assert!(reader.try_iter().eq(0..8));
        assert_eq!(ring.try_send_batch(8..16), Ok(16));
    });
}

#[test]
fn batches_of_several_threads_share_the_room() {
    let _watchdog = watchdog();
    let ring = RingFeed::new(64).unwrap();
    let mut reader = ring.subscribe();
    let senders = [0_u64, 1].map(|sender| {
        let ring = ring.clone();
        thread::spawn(move || {
            let mut rest: Vec<_> = (0..2000).map(|number| (sender, number)).collect();
            let mut turn = 0;
            while !rest.is_empty() {
                turn += 1;
                let outcome = if turn % 2 == 0 {
                    ring.try_send_batch(rest)
                } else {
                    ring.send_batch_timeout(rest, Duration::from_micros(50))
                };
                rest = outcome.map_or_else(TrySendError::into_inner, |_| Vec::new());
            }
        })
    });
    drop(ring);
    let mut next = [0; 2];
    while reader.wait().is_ok() {
        let _ = reader.drain(|&(sender, number)| {
            assert_eq!(next[sender as usize], number);
            next[sender as usize] += 1;
        });
    }
    assert_eq!(next, [2000; 2]);
    senders.into_iter().for_each(join);
}
