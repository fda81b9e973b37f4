//! How many values a ring holds.

use fanfeed::{ExclusiveRingFeed, RingFeed, TrySendError};

#[test]
fn a_capacity_is_rounded_up_to_a_power_of_two() {
    for (asked, had) in [
        (1, 1),
        (2, 2),
        (3, 4),
        (4, 4),
        (5, 8),
        (8, 8),
        (9, 16),
        (63, 64),
        (64, 64),
        (1000, 1024),
        (1024, 1024),
        (1025, 2048),
    ] {
        with_each_sender!(asked, |ring| {
            let reader = ring.subscribe();
            assert_eq!((ring.capacity(), reader.capacity()), (had, had));
            ring.send(0);
        });
    }
}

#[test]
fn a_capacity_that_cannot_be_had_is_an_error_that_says_so() {
    for asked in [0, (1 << 30) + 1, usize::MAX] {
        let errors = [
            ExclusiveRingFeed::<u64>::new(asked).unwrap_err(),
            RingFeed::<u64>::new(asked).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.requested(), asked);
            let text = error.to_string();
            assert!(text.contains(&asked.to_string()), "{text}");
            assert!(text.contains("from 1 to 1073741824"), "{text}");
        }
    }
}

#[test]
fn exactly_the_capacity_fits_where_many_readers_are_looked_at_ahead_of_need() {
    for (asked, count) in [(256, 20), (1024, 20), (1024, 100)] {
        with_each_sender!(asked, |ring| {
            let mut readers: Vec<_> = (0..count).map(|_| ring.subscribe()).collect();
            for round in 1..=3 {
                let fit = (0..).take_while(|_| ring.try_send(0_u8).is_ok()).count();
                assert_eq!(fit, asked, "in round {round}");
                for reader in &mut readers {
                    assert_eq!(reader.drain(|_| {}), Ok(asked));
                }
            }
        });
    }
}

#[test]
fn exactly_the_capacity_fits_and_then_as_many_as_the_reader_has_taken() {
    for asked in [1, 2, 3, 8, 64, 1024] {
        with_each_sender!(asked, |ring| {
            let capacity = ring.capacity() as u64;
            let mut reader = ring.subscribe();
            let (mut sent, mut taken) = (0, 0);
            // Several times round the ring, from each place in it.
            for take in (1..=capacity).rev().chain(1..=capacity).take(100) {
                while sent < taken + capacity {
                    assert_eq!(ring.try_send(sent), Ok(sent), "capacity {asked}");
                    sent += 1;
                }
                assert_eq!(ring.try_send(u64::MAX), Err(TrySendError::Full(u64::MAX)));
                assert_eq!(reader.lag(), capacity);
                let read = reader.drain_up_to(take as usize, |value| {
                    assert_eq!(*value, taken);
                    taken += 1;
                });
                assert_eq!(read, Ok(take as usize));
            }
        });
    }
}

#[test]
fn the_slowest_of_several_readers_says_how_much_fits() {
    for asked in [1, 4, 8, 64] {
        with_each_sender!(asked, |ring| {
            let capacity = ring.capacity();
            let mut fast = ring.subscribe();
            let mut slow = ring.subscribe();
            assert_eq!(ring.send_batch(0..capacity), capacity as u64);
            assert_eq!(fast.drain(|_| {}), Ok(capacity));
            assert!(ring.try_send(0).is_err_and(|error| error.is_full()));
            for value in 0..3 * capacity {
                assert_eq!(slow.try_recv(), Ok(value));
                assert_eq!(
                    ring.try_send(capacity + value),
                    Ok((capacity + value) as u64)
                );
                assert!(ring.try_send(0).is_err_and(|error| error.is_full()));
                assert_eq!(fast.try_recv(), Ok(capacity + value));
            }
        });
    }
}

#[test]
fn without_a_reader_a_ring_is_never_full() {
    for asked in [1, 2, 8, 64] {
        with_each_sender!(asked, |ring| {
            for value in 0..5 * asked as u64 {
                assert_eq!(ring.try_send(value), Ok(value));
            }
            assert_eq!(ring.send_batch(0..5 * asked as u64), 10 * asked as u64);
            assert_eq!(ring.position(), 10 * asked as u64);
        });
    }
}

#[test]
fn a_reader_that_joins_midway_has_the_whole_ring_ahead_of_it() {
    for asked in [1, 2, 8, 64] {
        for before in 0..2 * asked as u64 {
            with_each_sender!(asked, |ring| {
                ring.send_batch(0..before);
                let mut reader = ring.subscribe();
                for value in 0..asked as u64 {
                    assert_eq!(ring.try_send(value), Ok(before + value));
                }
                assert!(ring.try_send(0).is_err_and(|error| error.is_full()));
                assert_eq!(
                    reader.try_iter().collect::<Vec<_>>(),
                    (0..asked as u64).collect::<Vec<_>>()
                );
            });
        }
    }
}
