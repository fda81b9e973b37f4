//! How a ring ends.

use std::thread;
use std::time::{Duration, Instant};

use fanfeed::{
    ExclusiveRingFeed, RecvError, RecvTimeoutError, RingFeed, TryRecvError, TrySendError, ring,
};

use crate::common::{PATIENCE, join, watchdog};
use crate::{OVERFLOWS, WAITINGS, blocked};

#[test]
fn readers_take_what_is_there_and_then_learn_that_it_ended() {
    for overflow in OVERFLOWS {
        for waiting in WAITINGS {
            with_each_sender!(4, |ring| {
                let builder = ring.subscriber().overflow(overflow).wait_strategy(waiting);
                let mut reader = builder.subscribe();
                let errors = reader.subscription().err();
                ring.send_batch(0..4);
                drop(ring);
                assert!(reader.is_closed());
                assert!(errors.recv().is_err());
                assert_eq!(reader.wait(), Ok(()));
                assert_eq!(reader.recv(), Ok(0));
                assert_eq!(reader.drain_up_to(1, |_| {}), Ok(1));
                assert_eq!(reader.iter().collect::<Vec<_>>(), [2, 3]);
                for _ in 0..2 {
                    assert_eq!(reader.recv(), Err(RecvError::Closed));
                    assert_eq!(reader.try_recv(), Err(TryRecvError::Closed));
                    assert_eq!(reader.drain(|_| {}), Err(TryRecvError::Closed));
                    assert_eq!(reader.wait(), Err(RecvError::Closed));
                    let closed = Err(RecvTimeoutError::Closed);
                    assert_eq!(reader.recv_timeout(PATIENCE), closed);
                    assert_eq!(reader.wait_timeout(PATIENCE), Err(RecvTimeoutError::Closed));
                }
            });
        }
    }
}

#[test]
fn nothing_can_be_sent_on_a_closed_ring() {
    with_each_sender!(4, |ring| {
        let mut reader = ring.subscribe();
        let handle = ring.handle();
        ring.send_batch(0..3);
        assert!(!ring.is_closed() && !handle.is_closed());
        ring.close();
        ring.close();
        assert!(ring.is_closed() && handle.is_closed());
        assert_eq!(ring.subscriber_count(), 0);
        for _ in 0..10 {
            let later = Instant::now() + PATIENCE;
            assert_eq!(ring.send(9), 3);
            assert_eq!(ring.try_send(9), Err(TrySendError::Closed(9)));
            assert_eq!(ring.send_timeout(9, PATIENCE), Err(TrySendError::Closed(9)));
            assert_eq!(ring.send_deadline(9, later), Err(TrySendError::Closed(9)));
            assert_eq!(ring.send_batch([9, 9]), 3);
            assert_eq!(ring.send_slice(&[9]), 3);
            assert_eq!(ring.send_with(|_| unreachable!("there is no slot")), 3);
        }
        assert_eq!(ring.position(), 3);
        assert_eq!(reader.iter().collect::<Vec<_>>(), [0, 1, 2]);
    });
}

#[test]
fn what_subscribes_to_a_ring_that_has_ended_has_ended() {
    with_each_sender!(8, |ring| {
        let handle = ring.handle();
        ring.send_batch(0..5);
        let old = ring.subscribe();
        ring.close();
        for mut reader in [
            ring.subscribe(),
            handle.subscribe(),
            handle.subscriber().history(3).name("late").subscribe(),
            handle
                .clone()
                .subscriber()
                .overflow(ring::Overflow::DropOldest)
                .subscribe(),
        ] {
            assert!(reader.is_closed());
            assert_eq!(reader.try_recv(), Err(TryRecvError::Closed));
            assert_eq!(reader.recv(), Err(RecvError::Closed));
            assert_eq!((reader.lag(), reader.stats().delivered), (0, 0));
            assert!(reader.subscription().err().recv().is_err());
            reader.subscription().closed().wait();
            reader.subscription().unsubscribe();
        }
        drop(ring);
        assert_eq!(handle.subscribe().try_recv(), Err(TryRecvError::Closed));
        assert_eq!((handle.subscriber_count(), old.lag()), (0, 0));
    });
}

#[test]
fn closing_releases_all_senders_that_wait() {
    let _watchdog = watchdog();
    type Send = fn(&RingFeed<u64>) -> Result<u64, TrySendError<u64>>;
    let verbs: [Send; 5] = [
        |ring| Ok(ring.send(9)),
        |ring| Ok(ring.send_batch([9, 9, 9])),
        |ring| Ok(ring.send_with(|value| *value = 9)),
        |ring| ring.send_timeout(9, Duration::MAX),
        |ring| ring.send_deadline(9, Instant::now() + PATIENCE),
    ];
    let ring = RingFeed::new(2).unwrap();
    let mut reader = ring.subscribe();
    ring.send_batch([0, 1]);
    let senders = verbs.map(|send| {
        let ring = ring.clone();
        blocked(reader.subscription(), move || send(&ring))
    });
    ring.clone().close();
    let closed = Err(TrySendError::Closed(9));
    assert_eq!(senders.map(join), [Ok(2), Ok(2), Ok(2), closed, closed]);
    assert_eq!(reader.iter().collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn a_batch_that_is_cut_short_by_the_end_has_sent_its_beginning() {
    let _watchdog = watchdog();
    let ring = RingFeed::new(4).unwrap();
    let mut reader = ring.subscribe();
    let sender = blocked(reader.subscription(), {
        let ring = ring.clone();
        move || ring.send_batch(0..100)
    });
    ring.close();
    assert_eq!(join(sender), 4);
    assert!(reader.iter().eq(0..4));
}

#[test]
fn closing_while_senders_run_leaves_readers_an_end_without_gaps() {
    let _watchdog = watchdog();
    for _ in 0..50 {
        let ring = RingFeed::new(8).unwrap();
        let readers = WAITINGS.map(|waiting| {
            let mut reader = ring.subscriber().wait_strategy(waiting).subscribe();
            thread::spawn(move || reader.iter().collect::<Vec<(u64, u64)>>())
        });
        let senders = [0, 1].map(|sender| {
            let ring = ring.clone();
            thread::spawn(move || {
                (0..)
                    .take_while(|number| ring.send_timeout((sender, *number), PATIENCE).is_ok())
                    .count()
            })
        });
        while ring.position() < 30 {
            thread::yield_now();
        }
        ring.close();
        let sent: usize = senders.map(join).into_iter().sum();
        assert_eq!(ring.position(), sent as u64);
        let received = readers.map(join);
        assert_eq!(received[0].len(), sent);
        assert!(received.iter().all(|other| *other == received[0]));
        for sender in [0, 1] {
            let of_sender = received[0].iter().filter(|(from, _)| *from == sender);
            assert!(
                of_sender
                    .zip(0..)
                    .all(|((_, number), expected)| *number == expected)
            );
        }
    }
}

#[test]
fn a_shared_ring_ends_with_its_last_handle() {
    let ring = RingFeed::new(4).unwrap();
    let weak = ring.downgrade();
    let mut reader = ring.subscribe();
    let other = ring.clone();
    drop(ring);
    assert!(!reader.is_closed());
    let again = weak.upgrade().unwrap();
    drop(other);
    assert_eq!(again.send(1), 0);
    assert!(!reader.is_closed());
    drop(again);
    assert!(reader.is_closed());
    assert!(weak.upgrade().is_none() && weak.clone().upgrade().is_none());
    assert_eq!(reader.iter().collect::<Vec<_>>(), [1]);
}

#[test]
fn a_handle_subscribes_and_does_not_keep_the_ring_from_ending() {
    let _watchdog = watchdog();
    with_each_sender!(4, |ring| {
        let handle = ring.handle();
        let thread = thread::spawn({
            let handle = handle.clone();
            move || handle.subscribe()
        });
        let mut reader = join(thread);
        assert_eq!((handle.subscriber_count(), ring.subscriber_count()), (1, 1));
        ring.send('a');
        let mut late = handle.subscriber().history(1).subscribe();
        drop(ring);
        assert!(handle.is_closed());
        assert_eq!(
            (reader.recv(), reader.recv()),
            (Ok('a'), Err(RecvError::Closed))
        );
        assert_eq!(
            (late.recv(), late.recv()),
            (Ok('a'), Err(RecvError::Closed))
        );
    });
}

#[test]
fn a_ring_that_is_lent_out_to_threads_can_be_an_exclusive_one() {
    let mut ring = ExclusiveRingFeed::new(8).unwrap();
    let mut reader = ring.subscribe();
    thread::scope(|scope| {
        scope.spawn(|| ring.send_batch(0..100));
        let mut next = 0;
        while next < 100 {
            assert_eq!(reader.recv(), Ok(next));
            next += 1;
        }
    });
    assert_eq!(ring.send(100), 100);
    assert_eq!(reader.recv(), Ok(100));
}

#[test]
fn the_end_of_a_ring_can_be_waited_for() {
    let _watchdog = watchdog();
    with_each_sender!(4, |ring| {
        let handle = ring.handle();
        let closed = handle.closed();
        let waiter = thread::spawn(move || closed.wait());
        ring.send(1);
        assert!(!handle.closed().wait_timeout(Duration::from_millis(1)));
        drop(ring);
        join(waiter);
        handle.closed().wait();
    });
    for _ in 0..500 {
        let ring = RingFeed::<u8>::new(1).unwrap();
        let closing = ring.clone();
        let closer = thread::spawn(move || closing.close());
        ring.closed().wait();
        join(closer);
    }
}
