//! Writing values in place.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use fanfeed::{ExclusiveRingFeed, RingFeed, TryRecvError};

use crate::common::{join, message, watchdog};

#[test]
fn what_is_written_over_in_place_keeps_its_memory() {
    let mut ring = ExclusiveRingFeed::new(4).unwrap();
    let mut reader = ring.subscribe();
    for round in 0..20_u8 {
        let mut before = 0;
        ring.send_with(|bytes: &mut Vec<u8>| {
            before = bytes.capacity();
            bytes.clear();
            bytes.resize(100, round);
        });
        // The first lap starts from defaults.
        assert_eq!(before >= 100, round >= 4);
        let drained = reader.drain(|bytes| assert_eq!(*bytes, [round; 100]));
        assert_eq!(drained, Ok(1));
    }
}

#[test]
fn a_shared_sender_writes_to_a_new_default_each_time() {
    let ring = RingFeed::new(2).unwrap();
    let mut reader = ring.subscribe();
    for round in 0..9 {
        ring.send_with(|bytes: &mut Vec<u8>| {
            assert_eq!(*bytes, []);
            bytes.push(round);
        });
        assert_eq!(reader.try_recv(), Ok(vec![round]));
    }
}

#[test]
fn sends_by_value_and_in_place_mix() {
    with_each_sender!(4, |ring| {
        let mut reader = ring.subscribe();
        for round in 0..30 {
            let text = format!("number {round}");
            if round % 3 == 0 {
                ring.send(text.clone());
            } else {
                ring.send_with(|slot| slot.clone_from(&text));
            }
            assert_eq!(reader.try_recv(), Ok(text));
        }
    });
}

#[test]
fn a_page_is_written_in_place_by_another_thread() {
    struct Page([u8; 1 << 16]);
    impl Default for Page {
        fn default() -> Self {
            Self([0; 1 << 16])
        }
    }
    let _watchdog = watchdog();
    with_each_sender!(4, |ring| {
        let mut reader = ring.subscribe();
        let sender = std::thread::spawn(move || {
            for round in 0..40_u8 {
                ring.send_with(|page: &mut Page| page.0.fill(round));
            }
        });
        let mut next = 0;
        while reader.wait().is_ok() {
            let _ = reader.drain(|page| {
                assert!(page.0.iter().all(|byte| *byte == next));
                next += 1;
            });
        }
        assert_eq!(next, 40);
        join(sender);
    });
}

// ---- Panics ----

#[test]
fn a_sender_that_panics_while_it_writes_sends_nothing() {
    with_each_sender!(4, |ring| {
        let mut reader = ring.subscribe();
        for round in 0..10 {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                ring.send_with(|text: &mut String| {
                    text.push_str("half of");
                    panic!("no more words")
                })
            }));
            assert_eq!(message(&*caught.unwrap_err()), "no more words");
            assert_eq!(ring.position(), round);
            assert_eq!(reader.try_recv(), Err(TryRecvError::Empty));
            assert_eq!(ring.send(round.to_string()), round);
            assert_eq!(reader.try_recv(), Ok(round.to_string()));
        }
        assert_eq!((reader.stats().delivered, reader.stats().dropped), (10, 0));
    });
}

#[test]
fn a_default_that_panics_is_like_a_writer_that_does() {
    static FAILS: AtomicBool = AtomicBool::new(false);
    #[derive(Debug, PartialEq, Clone)]
    struct Moody(Box<u64>);
    impl Default for Moody {
        fn default() -> Self {
            assert!(!FAILS.load(Ordering::Relaxed), "not in the mood");
            Self(Box::default())
        }
    }
    with_each_sender!(8, |ring| {
        let mut reader = ring.subscribe();
        for round in 0..4 {
            FAILS.store(true, Ordering::Relaxed);
            let caught = catch_unwind(AssertUnwindSafe(|| {
                ring.send_with(|_: &mut Moody| unreachable!("there is nothing to write to"))
            }));
            assert_eq!(message(&*caught.unwrap_err()), "not in the mood");
            FAILS.store(false, Ordering::Relaxed);
            ring.send_with(|moody: &mut Moody| *moody.0 = round);
            assert_eq!(reader.try_recv(), Ok(Moody(Box::new(round))));
            assert_eq!(reader.try_recv(), Err(TryRecvError::Empty));
        }
        assert_eq!(reader.stats().delivered, 4);
    });
}

// ---- Sends inside ----

#[test]
fn a_send_inside_one_that_writes_comes_before_it() {
    let ring = RingFeed::new(4).unwrap();
    let mut reader = ring.subscribe();
    let outer = ring.send_with(|value| {
        assert_eq!(ring.send('a'), 0);
        assert_eq!(ring.try_send('b'), Ok(1));
        *value = 'c';
    });
    assert_eq!(outer, 2);
    assert_eq!(reader.try_iter().collect::<String>(), "abc");
}

#[test]
fn a_shared_sender_that_is_slow_to_write_delays_no_other_sender() {
    let _watchdog = watchdog();
    let ring = RingFeed::new(2).unwrap();
    let mut reader = ring.subscribe();
    let others = ring.clone();
    let sender = std::thread::spawn(move || {
        let mut late = None;
        ring.send_with(|value| {
            // Several laps, which end before the outer value is written.
            let sender = std::thread::spawn(move || {
                for number in 0..10 {
                    others.send(number);
                    assert_eq!(reader.recv(), Ok(number));
                }
                reader
            });
            late = Some(join(sender));
            *value = 10;
        });
        late
    });
    assert_eq!(join(sender).unwrap().try_recv(), Ok(10));
}

#[test]
fn a_send_on_another_ring_inside_one_that_writes_in_place_may_wait() {
    let _watchdog = watchdog();
    let ring = RingFeed::new(1).unwrap();
    let other = RingFeed::new(1).unwrap();
    let mut reader = ring.subscribe();
    let mut other_reader = other.subscribe();
    other.send(1);
    let sender = crate::blocked(other_reader.subscription(), move || {
        ring.send_with(|value| *value = other.send(2))
    });
    assert_eq!(reader.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(other_reader.recv(), Ok(1));
    assert_eq!(join(sender), 0);
    assert_eq!(reader.recv(), Ok(1));
    assert_eq!(other_reader.recv(), Ok(2));
}
