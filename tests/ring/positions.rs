//! The positions of readers, and readers that begin at a position.

use std::thread;

use fanfeed::{PositionError, RecvError, RingFeed, TryRecvError, ring};

use crate::common::{eventually, join, watchdog};
use crate::{OVERFLOWS, lossy_reader, send_numbers};

#[test]
fn a_receive_tells_the_position_of_its_value() {
    with_each_sender!(8, |ring| {
        ring.send_batch(0..5);
        let mut reader = ring.subscribe();
        assert_eq!(reader.position(), 5);
        assert_eq!(reader.try_recv_with_position(), Err(TryRecvError::Empty));
        let sent = [ring.send(10), ring.send(20), ring.send(30)];
        assert_eq!(reader.try_recv_with_position(), Ok((sent[0], 10)));
        assert_eq!(reader.recv_with_position(), Ok((sent[1], 20)));
        assert_eq!(reader.try_iter().next(), Some(30));
        assert_eq!(reader.position(), sent[2] + 1);
        drop(ring);
        assert_eq!(reader.recv_with_position(), Err(RecvError::Closed));
        assert_eq!(reader.try_recv_with_position(), Err(TryRecvError::Closed));
        assert_eq!(reader.position(), 8);
    });
}

#[test]
fn a_position_is_what_was_received_and_what_was_told_to_be_missed() {
    with_each_sender!(8, |ring| {
        let mut reader = lossy_reader(&ring.handle());
        ring.send_batch(0..20);
        assert_eq!(reader.position(), 0, "it has not been told");
        assert_eq!(reader.recv_with_position(), Err(RecvError::Lagged(12)));
        assert_eq!((reader.position(), reader.missed()), (12, 12));
        assert_eq!(reader.recv_with_position(), Ok((12, 12)));
    });
}

#[test]
fn a_reader_that_was_overtaken_while_it_read_is_behind_the_value_it_was_handed() {
    let ring = RingFeed::new(8).unwrap();
    let mut reader = lossy_reader(&ring.handle());
    ring.send(0);
    let read = reader.drain(|_| {
        ring.send_batch(1..20);
    });
    assert_eq!(read, Ok(1));
    assert_eq!(reader.position(), 1);
    assert_eq!(
        reader.try_recv_with_position(),
        Err(TryRecvError::Lagged(11))
    );
    assert_eq!(reader.try_recv_with_position(), Ok((12, 12)));
}

#[test]
fn a_reader_begins_at_the_position_that_was_asked_for() {
    for overflow in OVERFLOWS {
        with_each_sender!(64, |ring| {
            ring.send_batch(0..50);
            for position in [0, 1, 17, 49, 50] {
                let options = ring
                    .subscriber()
                    .from(position)
                    .overflow(overflow)
                    .name("replay");
                let mut reader = options.clone().subscribe().unwrap();
                assert_eq!(reader.position(), position);
                assert_eq!(reader.subscription().name(), Some("replay"));
                assert!(reader.try_iter().eq(position..50));
                let by_handle = ring.handle().subscriber().from(position).subscribe();
                assert_eq!(by_handle.unwrap().position(), position);
            }
        });
    }
}

#[test]
fn the_error_names_the_oldest_position_and_a_reader_can_begin_there() {
    for overflow in OVERFLOWS {
        with_each_sender!(64, |ring| {
            ring.send_batch(0..100);
            let from = |position| {
                ring.subscriber()
                    .overflow(overflow)
                    .from(position)
                    .subscribe()
            };
            let error = from(0).unwrap_err();
            assert!(error.is_gone() && !error.is_ahead());
            let PositionError::Gone { oldest } = error else {
                panic!("{error:?}");
            };
            assert!(error.to_string().contains(&oldest.to_string()));
            // Seven eighths of the ring at least.
            assert!((36..=44).contains(&oldest), "{oldest}");
            assert_eq!(from(oldest - 1).unwrap_err(), error);
            let mut reader = from(oldest).unwrap();
            assert!(reader.try_iter().eq(oldest..100));
            drop(reader);
            // A refused reader holds nobody, and is not there.
            assert_eq!(ring.subscriber_count(), 0);
            for value in 100..300 {
                assert_eq!(ring.try_send(value), Ok(value));
            }
        });
    }
}

#[test]
fn a_position_that_was_not_reached_is_refused_with_the_next_one() {
    with_each_sender!(8, |ring| {
        ring.send_batch(0..3);
        for position in [4, 1 << 60, u64::MAX] {
            let error = ring.subscriber().from(position).subscribe().unwrap_err();
            assert_eq!(error, PositionError::Ahead { next: 3 });
            assert!(error.is_ahead() && !error.is_gone());
            assert!(error.to_string().contains('3'));
        }
        assert_eq!(ring.subscriber_count(), 0);
        let mut reader = ring.subscriber().history(3).from(3).subscribe().unwrap();
        ring.send(3);
        assert_eq!(reader.recv_with_position(), Ok((3, 3)));
    });
}

#[test]
fn a_reader_of_a_ring_that_has_ended_has_ended_wherever_it_was_to_begin() {
    with_each_sender!(8, |ring| {
        ring.send_batch(0..3);
        ring.close();
        for position in [0, 3, 100] {
            let mut reader = ring.subscriber().from(position).subscribe().unwrap();
            assert!(reader.is_closed());
            assert_eq!(reader.try_recv(), Err(TryRecvError::Closed));
        }
    });
}

/// While the sender looks whether it may pass a reader that has just joined, another one may be
/// refused there.
#[track_caller]
fn succeed(
    subscribe: impl Fn() -> Result<ring::Receiver<u64>, PositionError>,
) -> ring::Receiver<u64> {
    let mut reader = None;
    eventually(|| {
        reader = subscribe().ok();
        reader.is_some()
    });
    reader.unwrap()
}

#[test]
fn a_value_that_a_blocking_reader_has_yet_to_read_is_not_gone() {
    with_each_sender!(64, |ring| {
        ring.send_batch(0..100);
        let PositionError::Gone { oldest } = ring.subscriber().from(0).subscribe().unwrap_err()
        else {
            panic!("it is not gone");
        };
        let first = ring.subscriber().from(oldest).subscribe().unwrap();
        while ring.try_send(0).is_ok() {}
        // The sender would have gone on, had it not found the first one there.
        let mut second = ring.subscriber().from(oldest).subscribe().unwrap();
        drop(first);
        assert_eq!(second.try_recv_with_position(), Ok((oldest, oldest)));
        let mut readers = vec![second];
        for position in [oldest + 1, oldest + 5, oldest + 8, oldest + 21, oldest + 64] {
            while ring.try_send(0).is_ok() {}
            let heir = ring.subscriber().from(readers[0].position()).subscribe();
            readers.push(heir.unwrap());
            assert!(ring.try_send(0).is_err());
            for reader in &mut readers {
                while reader.position() < position {
                    reader.recv().unwrap();
                }
            }
        }
    });
}

#[test]
fn readers_take_over_from_one_another_while_a_sender_runs() {
    let _watchdog = watchdog();
    with_each_sender!(256, |ring| {
        let handle = ring.handle();
        let mut reader = ring.subscribe();
        let sender = send_numbers(ring, 20_000);
        let mut next = 0;
        while reader.wait().is_ok() {
            let limit = 1 + (next % 50) as usize;
            let _ = reader.drain_up_to(limit, |value| {
                assert_eq!(*value, next);
                next += 1;
            });
            // The old reader is there until the new one is, so nothing is gone.
            let position = reader.position();
            let heir = succeed(|| handle.subscriber().from(position).subscribe());
            if !heir.is_closed() {
                assert_eq!(heir.position(), next);
                reader = heir;
            }
        }
        assert_eq!(next, 20_000);
        join(sender);
    });
}

#[test]
fn a_refused_reader_leaves_blocked_senders_to_the_others() {
    let _watchdog = watchdog();
    with_each_sender!(8, |ring| {
        let handle = ring.handle();
        let mut reader = ring.subscribe();
        let sender = send_numbers(ring, 5_000);
        let mut next = 0;
        while reader.wait().is_ok() {
            let refused = handle.subscriber().from(next + 1_000_000).subscribe();
            assert!(refused.is_err_and(|error| error.is_ahead()) || handle.is_closed());
            let gone = handle
                .subscriber()
                .from(next.saturating_sub(100))
                .subscribe();
            drop(gone);
            let _ = reader.drain(|value| {
                assert_eq!(*value, next);
                next += 1;
            });
        }
        assert_eq!(next, 5_000);
        join(sender);
    });
}

// ---- All readers at once ----

#[test]
fn the_ring_tells_where_its_readers_are() {
    with_each_sender!(8, |ring| {
        ring.send(0);
        assert!(ring.readers().is_empty());
        let mut named = ring.subscriber().name("one").subscribe();
        let lossy = lossy_reader(&ring.handle());
        ring.send_batch(1..6);
        assert_eq!(named.try_recv(), Ok(1));
        let readers = ring.readers();
        assert_eq!(
            readers
                .iter()
                .map(|reader| (reader.name(), reader.position(), reader.lag()))
                .collect::<Vec<_>>(),
            [(Some("one"), 2, 4), (None, 1, 5)]
        );
        assert_eq!(readers[0].id(), named.subscription().id());
        assert_eq!(readers[0].stats(), named.stats());
        assert_eq!(readers[1].stats(), lossy.stats());
        lossy.subscription().unsubscribe();
        assert_eq!(ring.handle().readers().len(), 1);
        ring.close();
        assert!(ring.readers().is_empty());
    });
}

#[test]
fn readers_tell_what_they_missed_and_what_they_do_when_they_fall_behind() {
    with_each_sender!(8, |ring| {
        let _readers = OVERFLOWS.map(|overflow| ring.subscriber().overflow(overflow).subscribe());
        let listed = |ring: &ring::Handle<u64>| {
            let readers = ring.readers();
            let figures = readers.iter().map(|one| (one.overflow(), one.missed()));
            figures.collect::<Vec<_>>()
        };
        let handle = ring.handle();
        assert_eq!(listed(&handle), OVERFLOWS.map(|overflow| (overflow, 0)));
        ring.send_batch(0..8);
        // The blocking reader leaves, and the ring goes on.
        let [strict, _lossy, _fragile] = _readers;
        drop(strict);
        ring.send_batch(8..16);
        let readers = listed(&handle);
        assert_eq!(readers.len(), 1, "{readers:?}");
        let (overflow, missed) = readers[0];
        assert!(
            overflow == ring::Overflow::DropOldest && (8..=9).contains(&missed),
            "{missed}"
        );
    });
}

#[test]
fn the_reader_that_holds_a_sender_shows_while_it_does() {
    let _watchdog = watchdog();
    with_each_sender!(8, |ring| {
        let handle = ring.handle();
        let mut first = handle.subscriber().name("first").subscribe();
        let mut second = handle.subscriber().name("second").subscribe();
        ring.send_batch(0..8);
        // The second is further behind.
        first.drain_up_to(4, |_| {}).unwrap();
        let holder = || {
            let readers = handle.readers().into_iter();
            let holding = readers.filter(|reader| reader.blocked_now().is_some());
            holding
                .map(|reader| reader.name().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(holder(), [""; 0]);
        let sender = thread::spawn(move || {
            ring.send_batch(8..20);
            ring
        });
        eventually(|| holder() == ["second"]);
        let before = second.stats();
        eventually(|| second.stats().blocked_for > before.blocked_for);
        assert_eq!(first.stats().blocked, 0);
        // Now the first is in the way, whether the sender was woken in between or not.
        second.drain(|_| {}).unwrap();
        eventually(|| holder() == ["first"]);
        let was_blocked_for = second.stats().blocked_for;
        let before = first.stats();
        eventually(|| first.stats().blocked_for > before.blocked_for);
        assert_eq!(second.stats().blocked_for, was_blocked_for);
        first.drain(|_| {}).unwrap();
        eventually(|| {
            let _ = (second.drain(|_| {}), first.drain(|_| {}));
            sender.is_finished()
        });
        drop(join(sender));
        assert_eq!(holder(), [""; 0]);
    });
}

#[test]
fn the_slowest_blocking_reader_can_be_asked_for() {
    with_each_sender!(4, |ring| {
        assert!(ring.slowest().is_none());
        let _lossy = lossy_reader(&ring.handle());
        assert!(ring.slowest().is_none());
        let mut one = ring.subscriber().name("one").subscribe();
        let mut other = ring.subscriber().name("other").subscribe();
        ring.send_batch(0..4);
        one.drain_up_to(1, |_| {}).unwrap();
        let handle = ring.handle();
        let slowest = || {
            let reader = handle.slowest().unwrap();
            (reader.name().unwrap().to_owned(), reader.lag())
        };
        assert_eq!(slowest(), ("other".to_owned(), 4));
        // Inside a read, it is in the way even if it was unsubscribed.
        let subscription = other.subscription().handle();
        let read = other.drain_up_to(1, |_| {
            subscription.unsubscribe();
            assert_eq!(slowest().0, "other");
        });
        assert!(read.is_ok());
        assert_eq!(slowest(), ("one".to_owned(), 3));
        drop(one);
        assert!(handle.slowest().is_none());
    });
}
