//! Readers that senders do not wait for.

use std::sync::Arc;
use std::thread;

use fanfeed::{
    ExclusiveRingFeed, RecvError, RecvTimeoutError, RingFeed, SubscriptionError, TryRecvError, ring,
};

use crate::common::{Counted, PATIENCE, Tally, join, watchdog};
use crate::{Copies, WAITINGS, account_for};

const LOSSY: [ring::Overflow; 2] = [ring::Overflow::DropOldest, ring::Overflow::Disconnect];

#[test]
fn a_reader_that_fell_behind_learns_how_many_it_missed_once_and_goes_on() {
    with_each_sender!(16, |ring| {
        let builder = || ring.subscriber().overflow(ring::Overflow::DropOldest);
        let mut readers = [(); 6].map(|()| builder().subscribe());
        assert_eq!(ring.send_batch(0..17), 17);
        // An eighth of the ring at a time.
        let [a, b, c, d, e, f] = &mut readers;
        assert_eq!(a.missed(), 0);
        assert_eq!(a.try_recv(), Err(TryRecvError::Lagged(2)));
        assert_eq!(b.recv(), Err(RecvError::Lagged(2)));
        assert_eq!(c.recv_timeout(PATIENCE), Err(RecvTimeoutError::Lagged(2)));
        assert_eq!(d.drain(|_| {}), Err(TryRecvError::Lagged(2)));
        assert_eq!(e.drain_up_to(0, |_| {}), Ok(0));
        assert_eq!(e.drain_up_to(1, |_| {}), Err(TryRecvError::Lagged(2)));
        // Neither an iterator nor the wait says it.
        assert_eq!((f.wait(), f.iter().next()), (Ok(()), Some(2)));
        for reader in &mut readers[..5] {
            assert_eq!(reader.missed(), 2);
            assert_eq!(reader.try_recv(), Ok(2));
        }
        for reader in &mut readers {
            assert!(reader.try_iter().eq(3..17));
            let stats = reader.stats();
            assert_eq!((stats.delivered, stats.dropped), (15, 2));
        }
    });
}

#[test]
fn an_unsubscribed_reader_reports_no_missed_values() {
    with_each_sender!(4, |ring| {
        let builder = ring.subscriber().overflow(ring::Overflow::DropOldest);
        let [mut told, mut untold] = [(); 2].map(|()| builder.clone().subscribe());
        ring.send_batch(0..10);
        assert_eq!(told.try_recv(), Err(TryRecvError::Lagged(6)));
        for reader in [&mut told, &mut untold] {
            reader.subscription().unsubscribe();
            ring.send_batch(10..20);
            assert_eq!(reader.wait(), Err(RecvError::Closed));
            assert_eq!(reader.try_recv(), Err(TryRecvError::Closed));
            assert_eq!(reader.drain(|_| {}), Err(TryRecvError::Closed));
        }
        assert_eq!((told.missed(), untold.missed()), (6, 0));
        assert_eq!((told.stats().delivered, told.stats().dropped), (4, 6));
    });
}

#[test]
fn missed_values_are_reported_before_the_end_and_in_stats_before_they_are_noticed() {
    with_each_sender!(4, |ring| {
        let builder = ring.subscriber().overflow(ring::Overflow::DropOldest);
        let mut reader = builder.subscribe();
        ring.send_batch(0..10);
        let stats = reader.stats();
        assert_eq!(
            (stats.delivered, stats.dropped, stats.depth),
            (4, 6, Some(4))
        );
        drop(ring);
        assert_eq!(reader.recv(), Err(RecvError::Lagged(6)));
        assert!(reader.iter().eq(6..10));
        assert_eq!(reader.recv(), Err(RecvError::Closed));
        assert_eq!(reader.missed(), 6);
    });
}

#[test]
fn received_and_missed_are_together_what_was_sent_wherever_the_reader_stood() {
    for capacity in [1, 2, 8, 16, 64] {
        for read in 0..capacity {
            for sent in [1, capacity - 1, capacity, capacity + 1, 3 * capacity + 1] {
                with_each_sender!(capacity as usize, |ring| {
                    let builder = ring.subscriber().overflow(ring::Overflow::DropOldest);
                    let mut reader = builder.subscribe();
                    ring.send_batch(0..read);
                    assert!(reader.try_iter().eq(0..read));
                    ring.send_batch(read..read + sent);
                    let mut next = read;
                    while next < read + sent {
                        match reader.try_recv() {
                            Ok(value) => assert_eq!(value, next),
                            Err(TryRecvError::Lagged(missed)) => {
                                next += missed;
                                continue;
                            }
                            Err(error) => panic!("{error:?} at {next} of {}", read + sent),
                        }
                        next += 1;
                    }
                    assert_eq!(reader.try_recv(), Err(TryRecvError::Empty));
                    // It keeps what fits but for an eighth.
                    assert!(
                        reader.missed() <= (sent + (capacity / 8).max(1)).saturating_sub(capacity)
                    );
                });
            }
        }
    }
}

// ---- Overtaken while reading ----

#[test]
fn a_sender_laps_a_reader_inside_its_own_callback_and_the_value_stays() {
    const LAPS: u64 = 10;
    let tally = Tally::new();
    for capacity in [1, 2, 8, 16, 64] {
        let mut ring = ExclusiveRingFeed::new(capacity as usize).unwrap();
        let builder = ring.subscriber().overflow(ring::Overflow::DropOldest);
        let mut reader = builder.subscribe();
        let value = |number| (Copies::of(number), Box::new(number), tally.value(number));
        let (mut sent, mut next) = (0, 0);
        for round in 0..20 {
            ring.send(value(sent));
            sent += 1;
            let drained = reader.drain(|(copies, boxed, counted)| {
                assert_eq!(copies.number(), next);
                for _ in 0..LAPS * capacity {
                    ring.try_send(value(sent))
                        .expect("a lossy reader holds nobody");
                    sent += 1;
                }
                assert_eq!((copies.number(), **boxed), (next, next));
                assert_eq!(counted.number, next);
                next += 1;
            });
            if next < sent {
                assert!(
                    drained.is_ok_and(|drained| drained > 0),
                    "{round}: {drained:?}"
                );
                loop {
                    match reader.drain(|(copies, ..)| {
                        assert_eq!(copies.number(), next);
                        next += 1;
                    }) {
                        Ok(_) => {}
                        Err(TryRecvError::Lagged(missed)) => next += missed,
                        Err(error) => break assert_eq!(error, TryRecvError::Empty),
                    }
                }
            }
            assert_eq!(next, sent, "capacity {capacity}");
            let stats = reader.stats();
            assert_eq!(stats.dropped, reader.missed());
            assert_eq!(stats.delivered + stats.dropped, sent);
        }
        drop((ring, reader));
        assert_eq!(tally.live(), 0);
    }
}

#[test]
fn several_senders_lap_a_reader_while_it_reads() {
    let _watchdog = watchdog();
    let ring = RingFeed::new(16).unwrap();
    let builder = ring.subscriber().overflow(ring::Overflow::DropOldest);
    let mut reader = builder.subscribe();
    ring.send(Copies::of(0));
    let drained = reader.drain(|value| {
        let senders = [1, 2].map(|sender| {
            let ring = ring.clone();
            thread::spawn(move || {
                for _ in 0..500 {
                    ring.send(Copies::of(sender));
                }
            })
        });
        senders.into_iter().for_each(join);
        assert_eq!(value.number(), 0);
    });
    assert_eq!(drained, Ok(1));
    let missed = match reader.try_recv() {
        Err(TryRecvError::Lagged(missed)) => missed,
        other => panic!("it gave {other:?}"),
    };
    let mut rest = 0;
    // A drain of a ring with several senders may stop at what somebody saw last.
    while reader
        .drain(|value| {
            assert_ne!(value.number(), 0);
            rest += 1;
        })
        .is_ok()
    {}
    assert_eq!(rest, 1000 - missed);
}

/// Has each reader in turn be in the midst of reading when the last one's callback sends.
fn read_all_at_once(readers: &mut [ring::Receiver<Arc<Copies>>], send_laps: &mut dyn FnMut()) {
    let Some((first, rest)) = readers.split_first_mut() else {
        return send_laps();
    };
    let drained = first.drain_up_to(1, |value| {
        let before = value.number();
        read_all_at_once(rest, send_laps);
        assert_eq!(value.number(), before);
    });
    if let Err(TryRecvError::Lagged(missed)) = drained {
        assert!((1..=first.missed()).contains(&missed), "{missed}");
        read_all_at_once(readers, send_laps);
    }
}

#[test]
fn many_readers_are_overtaken_at_once_in_the_midst_of_reading() {
    for count in [1, 2, 5, 20] {
        let mut ring = ExclusiveRingFeed::new(32).unwrap();
        let mut readers: Vec<_> = (0..count)
            .map(|_| {
                let builder = ring.subscriber().overflow(ring::Overflow::DropOldest);
                builder.subscribe()
            })
            .collect();
        let mut sent = 0;
        for round in 0..30 {
            for _ in 0..20 {
                ring.send(Arc::new(Copies::of(sent)));
                sent += 1;
            }
            // Each at a place of its own.
            for (index, reader) in readers.iter_mut().enumerate() {
                let _ = reader.drain_up_to((index * 7 + round) % 20, |_| {});
            }
            read_all_at_once(&mut readers, &mut || {
                for _ in 0..100 {
                    assert!(ring.try_send(Arc::new(Copies::of(sent))).is_ok());
                    sent += 1;
                }
            });
        }
        drop(ring);
        for reader in &mut readers {
            let mut received = 0;
            while let Some(value) = reader.iter().next() {
                assert!(value.number() < sent);
                received += 1;
            }
            let stats = reader.stats();
            assert!(received <= 32);
            assert_eq!(stats.delivered + stats.dropped, sent);
            assert_eq!(stats.dropped, reader.missed());
        }
    }
}

#[test]
fn readers_that_block_and_readers_that_drop_share_a_ring() {
    let _watchdog = watchdog();
    for (capacity, count) in [(1, 150), (4, 400), (8, 800), (64, 4_000)] {
        with_each_sender!(capacity, |ring| {
            let mut strict = ring.subscribe();
            let lossy = WAITINGS.map(|waiting| {
                let builder = ring.subscriber().overflow(ring::Overflow::DropOldest);
                let mut reader = builder.wait_strategy(waiting).subscribe();
                thread::spawn(move || account_for(&mut reader, Copies::number))
            });
            let strict = thread::spawn(move || account_for(&mut strict, Copies::number));
            for number in 0..count {
                ring.send(Copies::of(number));
            }
            drop(ring);
            let account = join(strict);
            assert_eq!((account.received, account.missed), (count, 0));
            for account in lossy.map(join) {
                assert_eq!(
                    account.received + account.missed,
                    count,
                    "capacity {capacity}"
                );
            }
        });
    }
}

#[test]
fn lossy_readers_account_for_every_value_while_a_sender_runs_at_full_speed() {
    let _watchdog = watchdog();
    let tally = Tally::new();
    for capacity in [1, 2, 8, 128] {
        with_each_sender!(capacity, |ring| {
            let readers = [0, 1, 2].map(|_| {
                let builder = ring.subscriber().overflow(ring::Overflow::DropOldest);
                let mut reader = builder.subscribe();
                thread::spawn(move || {
                    account_for(&mut reader, |(copies, counted): &(Copies, Arc<Counted>)| {
                        assert_eq!(counted.number, copies.number());
                        copies.number()
                    })
                })
            });
            for number in 0..10_000 {
                let value = (Copies::of(number), Arc::new(tally.value(number)));
                assert_eq!(ring.send(value), number);
            }
            drop(ring);
            for account in readers.map(join) {
                assert_eq!(
                    account.received + account.missed,
                    10_000,
                    "capacity {capacity}"
                );
            }
            assert_eq!(tally.live(), 0);
        });
    }
}

// ---- Disconnected ----

#[test]
fn a_reader_that_may_not_fall_behind_ends_with_an_error_when_it_does() {
    with_each_sender!(8, |ring| {
        let builder = ring.subscriber().overflow(ring::Overflow::Disconnect);
        let mut reader = builder.name("hasty").subscribe();
        let mut other = ring.subscriber().history(8).subscribe();
        let errors = reader.subscription().err();
        ring.send_batch(0..8);
        assert!(errors.try_recv().is_err() && !reader.is_closed());
        // A reader that keeps up stays.
        assert!(reader.try_iter().eq(0..8));
        assert!(other.try_iter().eq(0..8));
        ring.send_batch(8..16);
        assert!(other.try_iter().eq(8..16));
        assert_eq!(ring.subscriber_count(), 2);
        assert_eq!(ring.try_send(16), Ok(16));
        assert_eq!(ring.subscriber_count(), 1);
        assert!(reader.is_closed());
        for _ in 0..2 {
            assert_eq!(reader.try_recv(), Err(TryRecvError::Overflowed));
            assert_eq!(reader.recv(), Err(RecvError::Overflowed));
            assert_eq!(
                reader.recv_timeout(PATIENCE),
                Err(RecvTimeoutError::Overflowed)
            );
            assert_eq!(reader.wait(), Err(RecvError::Overflowed));
            assert_eq!(reader.drain(|_| {}), Err(TryRecvError::Overflowed));
            assert_eq!(reader.iter().next(), None);
        }
        assert!(matches!(errors.recv(), Ok(SubscriptionError::Overflowed)));
        assert!(errors.recv().is_err());
        // The end of the ring changes nothing about why it ended.
        ring.close();
        assert_eq!(reader.recv(), Err(RecvError::Overflowed));
        assert!(other.iter().eq(16..17));
        assert_eq!(other.recv(), Err(RecvError::Closed));
    });
}

#[test]
fn a_reader_that_may_not_fall_behind_reads_on_undisturbed_until_its_callback_returns() {
    let mut ring = ExclusiveRingFeed::new(8).unwrap();
    let builder = ring.subscriber().overflow(ring::Overflow::Disconnect);
    let mut reader = builder.subscribe();
    ring.send(Copies::of(0));
    let drained = reader.drain(|value| {
        for number in 1..100 {
            assert!(ring.try_send(Copies::of(number)).is_ok());
        }
        assert_eq!(value.number(), 0);
    });
    assert_eq!(drained, Ok(1));
    assert_eq!(reader.try_recv(), Err(TryRecvError::Overflowed));
    assert!(reader.subscription().err().recv().unwrap().is_overflowed());
    assert_eq!(ring.subscriber_count(), 0);
}

#[test]
fn no_lossy_reader_that_has_stopped_reading_holds_a_sender() {
    for overflow in LOSSY {
        with_each_sender!(8, |ring| {
            let idle: Vec<_> = (0..20)
                .map(|_| ring.subscriber().overflow(overflow).subscribe())
                .collect();
            for value in 0..1000 {
                assert_eq!(ring.try_send(value), Ok(value));
            }
            for reader in &idle {
                assert_eq!(reader.is_closed(), overflow == ring::Overflow::Disconnect);
                assert_eq!(reader.stats().blocked, 0);
            }
        });
    }
}

#[test]
fn a_waiting_reader_that_may_not_fall_behind_learns_what_it_can_read() {
    let _watchdog = watchdog();
    with_each_sender!(1, |ring| {
        let builder = ring.subscriber().overflow(ring::Overflow::Disconnect);
        let (mut reader, subscription) = builder.subscribe().split();
        let thread = thread::spawn(move || {
            let mut next = 0;
            loop {
                match reader.recv() {
                    Ok(value) => {
                        assert_eq!(value, next);
                        next += 1;
                    }
                    Err(error) => return error,
                }
            }
        });
        // It has to be quicker than the reader once.
        for number in 0.. {
            if subscription.is_closed() {
                break;
            }
            ring.send(number);
        }
        assert_eq!(join(thread), RecvError::Overflowed);
        assert_eq!(ring.subscriber_count(), 0);
    });
}

#[test]
fn a_lossy_reader_holds_no_sender_where_strict_readers_have_left_a_part_of_a_segment() {
    for (overflow, freed, stands) in LOSSY.into_iter().flat_map(|overflow| {
        (1..16).flat_map(move |freed| (0..12).map(move |stands| (overflow, freed, stands)))
    }) {
        with_each_sender!(64, |ring| {
            let mut strict = ring.subscribe();
            let mut lossy = ring.subscriber().overflow(overflow).subscribe();
            ring.send_batch(0..64);
            assert_eq!(strict.drain_up_to(freed, |_| {}), Ok(freed));
            let stood = lossy.drain_up_to(stands, |_| {});
            assert_eq!(stood, Ok(stands));
            let mut sent = 64;
            let read = lossy.drain_up_to(1, |value| {
                assert_eq!(*value, stands);
                // There is room for as many values as the strict reader has freed, and for no more.
                for _ in 0..freed {
                    assert_eq!(ring.send_timeout(sent, PATIENCE), Ok(sent as u64));
                    sent += 1;
                }
                assert!(ring.try_send(0).is_err_and(|error| error.is_full()));
                assert_eq!(*value, stands);
            });
            assert_eq!(read, Ok(1));
            // An eighth is lost once strict readers have passed the whole of it. Then the reader
            // goes on where no sender writes.
            let gone = freed / 8 * 8;
            let safe = freed.next_multiple_of(8);
            let next = stands + 1;
            match lossy.try_recv() {
                Ok(value) => assert_eq!((value, stands < gone && next < safe), (next, false)),
                Err(TryRecvError::Lagged(missed)) => {
                    assert_eq!((missed as usize, stands < gone), (safe - next, true))
                }
                Err(end) => assert_eq!((end, stands < gone), (TryRecvError::Overflowed, true)),
            }
            let rest: Vec<_> = strict.try_iter().collect();
            assert_eq!(rest, (freed..sent).collect::<Vec<_>>());
        });
    }
}
