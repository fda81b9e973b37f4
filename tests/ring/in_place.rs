//! Writing values in place.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fanfeed::{
    ExclusiveRingFeed, RecvError, RecvTimeoutError, RingFeed, RingOverflow, TryRecvError, Waiting,
};

use crate::common::{join, message, watchdog};

#[test]
fn what_is_written_over_in_place_keeps_its_memory() {
    with_each_sender!(4, |ring| {
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
    });
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
fn a_page_is_sent_without_passing_over_the_stack() {
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
fn an_exclusive_sender_that_panics_while_it_writes_sends_nothing() {
    let mut ring = ExclusiveRingFeed::new(4).unwrap();
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
}

/// Sends each number by one verb or the other, but for those divisible by 3, which become holes.
fn send_with_holes<T: Default + Send + Sync>(
    ring: &RingFeed<T>,
    numbers: std::ops::Range<u64>,
    value: impl Fn(u64) -> T,
) {
    for number in numbers {
        if number % 3 == 0 {
            let caught = catch_unwind(AssertUnwindSafe(|| ring.send_with(|_| panic!("a hole"))));
            assert_eq!(message(&*caught.unwrap_err()), "a hole");
        } else if number % 2 == 0 {
            assert_eq!(ring.send_with(|slot| *slot = value(number)), number);
        } else {
            assert_eq!(ring.send(value(number)), number);
        }
    }
    assert_eq!(ring.position() % 3, 0);
}

fn but_for_holes(numbers: std::ops::Range<u64>) -> Vec<u64> {
    numbers.filter(|number| number % 3 != 0).collect()
}

#[test]
fn readers_pass_over_what_a_shared_sender_has_not_finished_writing() {
    for capacity in [1, 2, 8, 16, 64] {
        let ring = RingFeed::<u64>::new(capacity).unwrap();
        let texts = RingFeed::<String>::new(capacity).unwrap();
        let mut reader = ring.subscribe();
        let mut text_reader = texts.subscribe();
        let (mut sent, mut received) = (0, 0);
        let step = capacity as u64;
        for _ in 0..7 {
            let end = sent + step;
            for number in sent..end {
                if number % 3 == 0 {
                    let panics = || ring.send_with(|_| panic!("a hole"));
                    assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
                    let panics = || texts.send_with(|_| panic!("a hole"));
                    assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
                } else {
                    assert_eq!(ring.send(number), number);
                    assert_eq!(texts.send(number.to_string()), number);
                }
            }
            let expected = but_for_holes(sent..end);
            assert_eq!(reader.lag(), step);
            assert_eq!(reader.try_iter().collect::<Vec<_>>(), expected);
            let mut texts_read = Vec::<u64>::new();
            let drained = text_reader.drain(|text| texts_read.push(text.parse().unwrap()));
            assert_eq!(texts_read, expected);
            if expected.is_empty() {
                assert_eq!(drained, Err(TryRecvError::Empty));
            } else {
                assert_eq!(drained, Ok(expected.len()));
            }
            received += expected.len() as u64;
            sent = end;
            let stats = reader.stats();
            assert_eq!(
                (stats.delivered, stats.dropped, stats.depth),
                (received, 0, Some(0)),
                "capacity {capacity}"
            );
            assert_eq!(text_reader.stats().delivered, received);
        }
    }
}

#[test]
fn holes_count_for_no_limit_and_are_in_no_history() {
    let ring = RingFeed::new(16).unwrap();
    let mut reader = ring.subscribe();
    send_with_holes(&ring, 0..12, |number| number);
    let mut values = Vec::new();
    assert_eq!(reader.drain_up_to(3, |value| values.push(*value)), Ok(3));
    assert_eq!(values, [1, 2, 4]);
    assert_eq!(reader.try_recv(), Ok(5));
    let mut late = ring.subscriber().history(6).subscribe();
    assert_eq!(late.try_iter().collect::<Vec<_>>(), [7, 8, 10, 11]);
    assert_eq!(late.stats().delivered, 4);
}

#[test]
fn lossy_readers_pass_over_holes_too() {
    let ring = RingFeed::<u64>::new(16).unwrap();
    let builder = ring.subscriber().overflow(RingOverflow::DropOldest);
    let mut lossy = builder.subscribe();
    send_with_holes(&ring, 0..30, |number| number);
    let mut received = Vec::new();
    let missed = match lossy.drain(|_| {}) {
        Err(TryRecvError::Lagged(missed)) => missed,
        other => panic!("it gave {other:?}"),
    };
    let drained = lossy.drain(|value| received.push(*value));
    assert_eq!(received, but_for_holes(missed..30));
    assert_eq!(drained, Ok(received.len()));
    assert_eq!(lossy.missed(), missed);
}

#[test]
fn a_wait_does_not_end_for_holes_alone() {
    let kinds = [
        RingOverflow::Block,
        RingOverflow::DropOldest,
        RingOverflow::Disconnect,
    ];
    for (overflow, waiting) in kinds.into_iter().flat_map(|kind| {
        [Waiting::Spin, Waiting::Batch, Waiting::Park].map(|waiting| (kind, waiting))
    }) {
        let ring = RingFeed::<u64>::new(16).unwrap();
        let options = ring.subscriber().overflow(overflow).waiting(waiting);
        let mut reader = options.subscribe();
        // Three holes, over the end of a segment.
        for _ in 0..3 {
            let panics = || ring.send_with(|_| panic!("a hole"));
            assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
        }
        let nothing = Err(RecvTimeoutError::Timeout);
        // What this one has seen the others take for the end, at first.
        let mut ahead = ring.subscribe();
        assert_eq!(reader.wait_timeout(Duration::ZERO), nothing, "{overflow:?}");
        assert_eq!(reader.try_recv(), Err(TryRecvError::Empty));
        let panics = || ring.send_with(|_| panic!("a hole"));
        assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
        assert_eq!(ahead.try_recv(), Err(TryRecvError::Empty));
        ring.send(4);
        ring.send(5);
        assert_eq!(reader.wait_timeout(Duration::ZERO), Ok(()));
        assert_eq!(reader.try_recv(), Ok(4));
        assert_eq!(reader.try_recv(), Ok(5));
        let panics = || ring.send_with(|_| panic!("a hole"));
        assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
        assert_eq!(reader.wait_timeout(Duration::ZERO), nothing, "{overflow:?}");
        assert_eq!((reader.lag(), reader.stats().delivered), (0, 2));
        ring.close();
        assert_eq!(reader.wait(), Err(RecvError::Closed));
    }
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
fn a_send_inside_one_that_writes_in_place_comes_after_it() {
    let ring = RingFeed::new(4).unwrap();
    let mut reader = ring.subscribe();
    let outer = ring.send_with(|value| {
        assert_eq!(ring.send('b'), 1);
        assert_eq!(ring.try_send('c'), Ok(2));
        *value = 'a';
    });
    assert_eq!(outer, 0);
    assert_eq!(reader.try_iter().collect::<String>(), "abc");
}

#[test]
fn a_send_inside_one_that_writes_in_place_panics_rather_than_wait_for_itself() {
    let _watchdog = watchdog();
    for (capacity, with_reader) in [(1, false), (4, false), (4, true), (64, true)] {
        let ring = RingFeed::new(capacity).unwrap();
        let reader = with_reader.then(|| ring.subscribe());
        let caught = catch_unwind(AssertUnwindSafe(|| {
            ring.send_with(|value| {
                *value = 1;
                // The others fit.
                for _ in 1..capacity {
                    ring.send(2);
                }
                assert!(ring.try_send(3).is_err_and(|error| error.is_full()));
                ring.send(4);
            })
        }));
        let payload = caught.unwrap_err();
        let text = message(&*payload);
        assert!(
            text.contains("send_with") && text.contains("for ever"),
            "{text}"
        );
        // The ring is sound, with a hole.
        let mut late = ring.subscribe();
        if let Some(mut reader) = reader {
            assert_eq!(
                reader.drain(|value| assert_eq!(*value, 2)),
                Ok(capacity - 1)
            );
        }
        assert_eq!(ring.send(5), capacity as u64);
        assert_eq!(late.try_recv(), Ok(5));
    }
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
