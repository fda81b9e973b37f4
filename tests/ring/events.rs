//! Drains that report positions and the end of a batch, and that a handler can stop.

use std::ops::ControlFlow::{self, Break, Continue};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use fanfeed::{RingFeed, TryRecvError, ring};

use crate::common::{eventually, join, watchdog};
use crate::{OVERFLOWS, leader_and_follower, lossy_reader, send_numbers};

/// Drains one batch, and returns the values with their positions, and which of them were said to be
/// the last.
fn batch(reader: &mut ring::Receiver<u64>) -> Result<Vec<(u64, u64, bool)>, TryRecvError> {
    let mut events = Vec::new();
    let flow = reader.drain_with(|event| {
        events.push((event.position(), *event.value(), event.is_last()));
        Continue::<()>(())
    })?;
    assert_eq!(flow, Continue(events.len()));
    Ok(events)
}

#[test]
fn each_value_comes_with_the_position_that_the_sender_was_told() {
    for overflow in OVERFLOWS {
        with_each_sender!(64, |ring| {
            ring.send(7);
            let mut reader = ring.subscriber().overflow(overflow).subscribe();
            let sent: Vec<_> = (100..110).map(|value| (ring.send(value), value)).collect();
            let mut seen = Vec::new();
            while let Ok(events) = batch(&mut reader) {
                let (last, others) = events.split_last().unwrap();
                assert!(last.2 && others.iter().all(|event| !event.2), "{events:?}");
                seen.extend(
                    events
                        .iter()
                        .map(|(position, value, _)| (*position, *value)),
                );
            }
            assert_eq!(seen, sent);
            assert_eq!(reader.position(), 11);
        });
    }
}

#[test]
fn a_blocking_reader_gets_all_that_is_there_in_one_batch() {
    with_each_sender!(64, |ring| {
        let mut reader = ring.subscribe();
        ring.send_batch(0..64);
        let expected: Vec<_> = (0..64).map(|value| (value, value, value == 63)).collect();
        assert_eq!(batch(&mut reader), Ok(expected));
        assert_eq!(batch(&mut reader), Err(TryRecvError::Empty));
    });
}

#[test]
fn a_batch_of_a_reader_that_may_miss_values_ends_with_an_eighth_of_the_ring() {
    with_each_sender!(64, |ring| {
        let mut reader = lossy_reader(&ring.handle());
        ring.send_batch(0..20);
        let lengths = [(); 3].map(|()| batch(&mut reader).unwrap().len());
        assert_eq!(lengths, [8, 8, 4]);
    });
}

#[test]
fn a_handler_that_stops_leaves_the_values_that_it_was_not_given() {
    for overflow in OVERFLOWS {
        with_each_sender!(8, |ring| {
            let mut reader = ring.subscriber().overflow(overflow).subscribe();
            ring.send_batch(0..7);
            let mut next = 0;
            while next < 7 {
                let flow = reader.drain_with(|event| {
                    assert_eq!((event.position(), *event.value()), (next, next));
                    next += 1;
                    Break::<_, ()>(event.position())
                });
                assert_eq!(flow, Ok(Break(next - 1)));
                assert_eq!((reader.position(), reader.lag()), (next, 7 - next));
            }
            assert_eq!(reader.try_recv(), Err(TryRecvError::Empty));
        });
    }
}

#[test]
fn a_stop_frees_the_slots_of_what_was_read_and_no_others() {
    with_each_sender!(8, |ring| {
        let mut reader = ring.subscribe();
        ring.send_batch(0..8);
        let flow = reader.drain_with(|event| {
            if *event.value() == 2 {
                Break(())
            } else {
                Continue(())
            }
        });
        assert_eq!(flow, Ok(Break(())));
        for value in 8..11 {
            assert_eq!(ring.try_send(value), Ok(value));
        }
        assert!(ring.try_send(11).is_err_and(|error| error.is_full()));
        assert!(reader.try_iter().eq(3..11));
    });
}

#[test]
fn nothing_more_is_handed_out_once_the_handler_has_unsubscribed() {
    for overflow in OVERFLOWS {
        with_each_sender!(64, |ring| {
            let builder = ring.subscriber().overflow(overflow);
            let (mut reader, subscription) = builder.subscribe().split();
            ring.send_batch(0..64);
            let mut seen = Vec::new();
            let flow = reader.drain_with(|event| {
                seen.push(*event.value());
                if seen.len() == 3 {
                    subscription.unsubscribe();
                }
                Continue::<()>(())
            });
            assert_eq!(flow, Ok(Continue(3)));
            assert_eq!(seen, [0, 1, 2]);
            assert_eq!(batch(&mut reader), Err(TryRecvError::Closed));
            // All slots are free.
            for value in 64..200 {
                assert_eq!(ring.try_send(value), Ok(value));
            }
        });
    }
}

#[test]
fn a_plain_drain_hands_out_nothing_more_once_its_handler_has_unsubscribed() {
    for overflow in OVERFLOWS {
        // In the middle of an eighth, at its end, and at the last value.
        for stop in [3, 8, 11, 64] {
            with_each_sender!(64, |ring| {
                let builder = ring.subscriber().overflow(overflow);
                let (mut reader, subscription) = builder.subscribe().split();
                ring.send_batch(0..64);
                let mut count = 0;
                let read = reader.drain(|value| {
                    assert_eq!(*value, count);
                    count += 1;
                    if count == stop {
                        subscription.unsubscribe();
                    }
                });
                assert_eq!((read, count), (Ok(stop as usize), stop));
                assert_eq!(reader.drain(|_| {}), Err(TryRecvError::Closed));
                // All slots are free.
                for value in 64..200 {
                    assert_eq!(ring.try_send(value), Ok(value));
                }
            });
        }
    }
}

#[test]
fn a_plain_drain_goes_on_when_its_handler_unsubscribes_other_readers() {
    for overflow in OVERFLOWS {
        with_each_sender!(64, |ring| {
            let mut reader = ring.subscriber().overflow(overflow).subscribe();
            let mut others: Vec<_> = (0..3).map(|_| ring.subscribe().split()).collect();
            ring.send_batch(0..64);
            let mut seen = Vec::new();
            let read = reader.drain(|value| {
                seen.push(*value);
                if value % 20 == 3
                    && let Some((mut other, subscription)) = others.pop()
                {
                    // A drain inside a drain, of which only the inner one ends.
                    assert_eq!(other.drain(|_| subscription.unsubscribe()), Ok(1));
                }
            });
            assert_eq!((read, others.len()), (Ok(64), 0));
            assert!(seen.into_iter().eq(0..64));
        });
    }
}

#[test]
fn an_unsubscribe_on_another_thread_stops_a_drain_under_way() {
    let _watchdog = watchdog();
    for overflow in OVERFLOWS {
        with_each_sender!(64, |ring| {
            let builder = ring.subscriber().overflow(overflow);
            let (mut reader, subscription) = builder.subscribe().split();
            ring.send_batch(0..64);
            let begun = Arc::new(AtomicBool::new(false));
            let thread = thread::spawn({
                let begun = Arc::clone(&begun);
                move || {
                    let mut count = 0;
                    let flow = reader.drain_with(|_| {
                        count += 1;
                        begun.store(true, Ordering::Release);
                        eventually(|| subscription_is_closed(&begun));
                        Continue::<()>(())
                    });
                    assert_eq!((flow, count), (Ok(Continue(1)), 1));
                }
            });
            eventually(|| begun.load(Ordering::Acquire));
            subscription.unsubscribe();
            begun.store(false, Ordering::Release);
            join(thread);
        });
    }
}

/// The other thread says so by taking the flag back.
fn subscription_is_closed(begun: &AtomicBool) -> bool {
    !begun.load(Ordering::Acquire)
}

#[test]
fn a_handler_that_stops_wins_over_its_unsubscribing() {
    let ring = RingFeed::new(8).unwrap();
    let (mut reader, subscription) = ring.subscribe().split();
    ring.send_batch(0..8);
    let flow = reader.drain_with(|event| {
        subscription.unsubscribe();
        Break::<_, ()>(*event.value())
    });
    assert_eq!(flow, Ok(Break(0)));
    assert_eq!(reader.try_recv(), Err(TryRecvError::Closed));
}

#[test]
fn a_panic_of_the_handler_leaves_the_reader_behind_that_value() {
    for overflow in OVERFLOWS {
        with_each_sender!(8, |ring| {
            let mut reader = ring.subscriber().overflow(overflow).subscribe();
            ring.send_batch(0..7_u64);
            let mut given = 0;
            while given < 3 {
                let panicked = catch_unwind(AssertUnwindSafe(|| {
                    reader.drain_with(|event| -> ControlFlow<()> {
                        given += 1;
                        if event.position() == 2 {
                            panic!("as planned");
                        }
                        Continue(())
                    })
                }));
                assert_eq!(panicked.is_err(), given == 3, "{given}");
            }
            assert_eq!(reader.position(), 3);
            assert!(reader.try_iter().eq(3..7));
        });
    }
}

#[test]
fn missed_values_are_reported_instead_of_a_batch() {
    with_each_sender!(8, |ring| {
        let mut reader = lossy_reader(&ring.handle());
        ring.send_batch(0..20);
        assert_eq!(batch(&mut reader), Err(TryRecvError::Lagged(12)));
        assert_eq!(batch(&mut reader), Ok(vec![(12, 12, true)]));
        ring.close();
        let mut next = 13;
        while let Ok(events) = batch(&mut reader) {
            assert_eq!(events[0].0, next);
            next += events.len() as u64;
        }
        assert_eq!(next, 20);
        assert_eq!(batch(&mut reader), Err(TryRecvError::Closed));

        let fragile = RingFeed::new(8).unwrap();
        let builder = fragile.subscriber().overflow(ring::Overflow::Disconnect);
        let mut reader = builder.subscribe();
        fragile.send_batch(0..20);
        assert_eq!(batch(&mut reader), Err(TryRecvError::Overflowed));
    });
}

#[test]
fn a_reader_that_is_overtaken_in_its_handler_gets_its_batch_to_the_end() {
    let ring = RingFeed::new(64).unwrap();
    let mut reader = lossy_reader(&ring.handle());
    ring.send_batch(0..8);
    let mut seen = Vec::new();
    let flow = reader.drain_with(|event| {
        seen.push((event.position(), event.is_last()));
        ring.send_batch(0..32);
        Continue::<()>(())
    });
    assert_eq!(flow, Ok(Continue(8)));
    assert!(
        seen.into_iter()
            .eq((0..8).map(|position| (position, position == 7)))
    );
    assert_eq!(reader.position(), 8, "it was told of no miss yet");
    let missed = batch(&mut reader).unwrap_err();
    let oldest = 8 + 8 * 32 - 64;
    assert_eq!(missed, TryRecvError::Lagged(oldest - 8));
    assert_eq!((reader.position(), reader.missed()), (oldest, oldest - 8));
}

#[test]
fn values_are_borrowed_for_as_long_as_the_handler_runs() {
    let ring = RingFeed::new(8).unwrap();
    let mut reader = ring.subscribe();
    ring.send(String::from("text"));
    let flow = reader.drain_with(|event| {
        let copy = event;
        let text: &str = event.value();
        let printed = format!("{copy:?}");
        assert!(printed.contains("position: 0") && printed.contains("is_last: true"));
        Break::<_, ()>(text.len())
    });
    assert_eq!(flow, Ok(Break(4)));
}

#[test]
fn batches_are_accounted_for_while_a_sender_runs() {
    let _watchdog = watchdog();
    for overflow in [ring::Overflow::Block, ring::Overflow::DropOldest] {
        with_each_sender!(64, |ring| {
            let mut reader = ring.subscriber().overflow(overflow).subscribe();
            let sender = send_numbers(ring, 20_000);
            let (mut next, mut ends) = (0, 0);
            while reader.wait().is_ok() {
                let mut ended = false;
                let stop = next % 7 == 3;
                match reader.drain_with(|event| {
                    assert!(!ended, "a value came after the last");
                    assert_eq!((event.position(), *event.value()), (next, next));
                    next += 1;
                    ended = event.is_last();
                    if stop { Break(()) } else { Continue(()) }
                }) {
                    Ok(Continue(_)) => {
                        assert!(ended, "a batch without an end");
                        ends += 1;
                    }
                    Ok(Break(())) => assert!(stop),
                    Err(TryRecvError::Lagged(missed)) => next += missed,
                    Err(error) => panic!("{error:?}"),
                }
                assert_eq!(reader.position(), next);
            }
            assert_eq!(next, 20_000);
            assert!(ends > 0);
            join(sender);
        });
    }
}

#[test]
fn a_follower_gets_what_its_leader_was_given_before_it_stopped() {
    with_each_sender!(64, |ring| {
        let (mut leader, mut follower) = leader_and_follower(&ring.handle());
        ring.send_batch(0..10);
        let flow = leader.drain_with(|event| {
            if event.position() == 3 {
                Break(())
            } else {
                Continue(())
            }
        });
        assert_eq!(flow, Ok(Break(())));
        let seen = batch(&mut follower).unwrap();
        let expected = (0..4).map(|position| (position, position, position == 3));
        assert!(seen.into_iter().eq(expected));
    });
}
