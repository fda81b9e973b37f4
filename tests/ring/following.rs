//! Readers that follow others.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
#[cfg(feature = "async")]
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use fanfeed::{ExclusiveRingFeed, FollowError, RecvError, RingFeed, TryRecvError, ring};
#[cfg(feature = "async")]
use futures_util::{FutureExt, StreamExt};

#[cfg(feature = "async")]
use crate::common::tasks::counting_waker;
use crate::common::{Random, Sleeper, Tally, eventually, join, watchdog};
use crate::{WAITINGS, leader_and_follower};

#[test]
fn a_follower_sees_a_value_when_all_its_leaders_have_passed_it() {
    with_each_sender!(8, |ring| {
        let mut leaders = [ring.subscribe(), ring.subscribe(), ring.subscribe()];
        let cursors = leaders.each_ref().map(ring::Receiver::cursor);
        let one_by_one = ring.subscriber().after(&cursors[..1]).unwrap();
        let mut follower = one_by_one.after(&cursors[1..]).unwrap().subscribe();
        for round in 0..30 {
            ring.send(round);
            let order = [round % 3, (round + 1) % 3, (round + 2) % 3];
            for leader in order {
                assert_eq!(follower.try_recv(), Err(TryRecvError::Empty));
                assert_eq!(leaders[leader as usize].try_recv(), Ok(round));
            }
            assert_eq!(follower.lag(), 1);
            assert_eq!(follower.try_recv(), Ok(round));
        }
        // As many as the slowest has passed.
        ring.send_batch(30..38);
        for (leader, count) in leaders.iter_mut().zip([5, 3, 8]) {
            assert_eq!(leader.drain_up_to(count, |_| {}), Ok(count));
        }
        assert_eq!(follower.drain(|_| {}), Ok(3));
        assert!(ring.try_send(38).is_ok());
    });
}

#[test]
fn a_follower_holds_the_sender_as_any_reader_does() {
    with_each_sender!(4, |ring| {
        let (mut leader, mut follower) = leader_and_follower(&ring.handle());
        ring.send_batch(0..4);
        assert_eq!(leader.drain(|_| {}), Ok(4));
        assert!(ring.try_send(4).is_err_and(|error| error.is_full()));
        assert_eq!(follower.try_recv(), Ok(0));
        assert!(ring.try_send(4).is_ok());
    });
}

#[test]
fn only_blocking_readers_of_the_same_ring_can_be_followed() {
    with_each_sender!(8, |ring| {
        let other = RingFeed::<u32>::new(8).unwrap().subscribe();
        let own = ring.subscribe();
        let lossy = [ring::Overflow::DropOldest, ring::Overflow::Disconnect]
            .map(|overflow| ring.subscriber().overflow(overflow).subscribe());
        let refused = |cursors: &[_]| ring.subscriber().after(cursors).unwrap_err();
        let error = refused(&[own.cursor(), other.cursor()]);
        assert_eq!(error, FollowError::OtherRing);
        assert!(error.to_string().contains("its own ring"));
        for lossy in &lossy {
            let error = refused(&[lossy.cursor()]);
            assert_eq!(error, FollowError::Lossy);
            assert!(error.to_string().contains("may miss values"));
        }
        ring.send(1_u32);
        // One that follows nobody is a reader like any other.
        let mut alone = ring.subscriber().after(&[]).unwrap().history(1).subscribe();
        assert_eq!(alone.try_recv(), Ok(1));
    });
}

#[test]
fn where_leaders_end_followers_go_on_behind_those_that_are_left() {
    for unsubscribes in [false, true] {
        with_each_sender!(8, |ring| {
            let end = |leader: ring::Receiver<u32>| {
                if unsubscribes {
                    leader.subscription().unsubscribe();
                }
                // It is dropped here, or it has been unsubscribed.
                drop(leader);
            };
            let [first, mut second] = [(); 2].map(|()| ring.subscribe());
            let after = [first.cursor(), second.cursor()];
            let mut follower = ring.subscriber().after(&after).unwrap().subscribe();
            ring.send_batch(0..3);
            assert_eq!(second.drain_up_to(2, |_| {}), Ok(2));
            assert_eq!(follower.drain(|_| {}), Err(TryRecvError::Empty));
            end(first);
            assert_eq!(follower.drain(|_| {}), Ok(2));
            assert_eq!(follower.drain(|_| {}), Err(TryRecvError::Empty));
            // A new reader takes the first one's seat, and holds nobody.
            let _seated = ring.subscriber().history(8).subscribe();
            assert_eq!(second.try_recv(), Ok(2));
            assert_eq!(follower.try_recv(), Ok(2));
            end(second);
            ring.send(3);
            assert_eq!(follower.try_recv(), Ok(3));
            // Those that have ended can be named, and hold nobody.
            let mut late = ring.subscriber().after(&after).unwrap().subscribe();
            ring.send(4);
            assert_eq!(late.try_recv(), Ok(4));
        });
    }
}

#[test]
fn what_an_unsubscribed_leader_has_in_hand_is_passed_when_its_drain_returns() {
    with_each_sender!(8, |ring| {
        let (mut leader, subscription) = ring.subscribe().split();
        let after = [leader.cursor()];
        let mut follower = ring.subscriber().after(&after).unwrap().subscribe();
        ring.send_batch(0..3);
        let drained = leader.drain(|value| {
            if *value == 1 {
                subscription.unsubscribe();
            }
            assert_eq!(follower.try_recv(), Err(TryRecvError::Empty));
        });
        assert_eq!(drained, Ok(2));
        assert_eq!(follower.drain(|_| {}), Ok(3));
        ring.send(3);
        assert_eq!(follower.try_recv(), Ok(3));
    });
}

#[test]
fn a_value_whose_handling_panics_has_been_passed() {
    with_each_sender!(8, |ring| {
        let (mut leader, mut follower) = leader_and_follower(&ring.handle());
        let watched = leader.cursor();
        ring.send_batch(0..3);
        let drained = catch_unwind(AssertUnwindSafe(|| {
            leader.drain(|value| assert_ne!(*value, 1, "as planned"))
        }));
        assert!(drained.is_err());
        // The follower gets the value at which its leader failed, and no later one.
        assert_eq!(watched.position(), Some(2));
        assert!(follower.try_iter().eq(0..2));
        assert_eq!(leader.try_recv(), Ok(2));
        assert_eq!(follower.try_recv(), Ok(2));
    });
}

#[test]
fn the_followers_of_a_leader_whose_thread_dies_go_on_and_can_see_that_it_is_gone() {
    let _watchdog = watchdog();
    with_each_sender!(8, |ring| {
        let (mut leader, mut follower) = leader_and_follower(&ring.handle());
        let watched = leader.cursor();
        let leading = thread::spawn(move || {
            while leader.wait().is_ok() {
                let _ = leader.drain(|value| assert_ne!(*value, 1, "as planned"));
            }
        });
        ring.send_batch(0..2);
        assert!(leading.join().is_err());
        assert_eq!(watched.position(), None);
        ring.send(2);
        assert!(follower.try_iter().eq(0..3));
    });
}

#[test]
fn what_a_leader_skips_has_been_passed() {
    with_each_sender!(8, |ring| {
        let (mut leader, mut follower) = leader_and_follower(&ring.handle());
        ring.send_batch(0..3);
        assert_eq!(leader.skip_to_newest(), Ok(2));
        assert!(follower.try_iter().eq(0..2));
    });
}

#[test]
fn followers_get_what_their_leaders_pass_of_a_ring_that_has_ended() {
    with_each_sender!(8, |ring| {
        let (mut leader, mut follower) = leader_and_follower(&ring.handle());
        let after = [leader.cursor()];
        ring.send_batch(0..3);
        ring.close();
        assert_eq!(follower.try_recv(), Err(TryRecvError::Empty));
        assert_eq!(leader.drain(|_| {}), Ok(3));
        assert_eq!(leader.try_recv(), Err(TryRecvError::Closed));
        assert!(follower.iter().eq(0..3));
        let mut late = ring.subscriber().after(&after).unwrap().subscribe();
        assert_eq!(late.try_recv(), Err(TryRecvError::Closed));
    });
}

#[test]
fn a_follower_may_drop_values_and_begin_earlier_than_its_leader() {
    with_each_sender!(8, |ring| {
        ring.send_batch(0..2);
        let mut leader = ring.subscribe();
        let after = [leader.cursor()];
        let options = ring.subscriber().after(&after).unwrap();
        let mut early = options.clone().history(2).subscribe();
        let lossy = options.clone().overflow(ring::Overflow::DropOldest);
        let mut lossy = lossy.subscribe();
        let mut second = options.from(1).subscribe().unwrap();
        // What was sent before the leader joined counts as passed.
        assert_eq!(second.try_recv(), Ok(1));
        assert_eq!(second.try_recv(), Err(TryRecvError::Empty));
        drop(second);
        assert_eq!(early.drain(|_| {}), Ok(2));
        for number in 2..22 {
            ring.send(number);
            assert_eq!(leader.try_recv(), Ok(number));
            assert_eq!(early.try_recv(), Ok(number));
        }
        let (mut last, mut received) = (None, 0);
        while lossy.try_recv() != Err(TryRecvError::Empty) {}
        for number in 22..42 {
            ring.send(number);
            assert_eq!(leader.try_recv(), Ok(number));
            assert_eq!(early.try_recv(), Ok(number));
        }
        let before = lossy.missed();
        loop {
            match lossy.try_recv() {
                Ok(number) => {
                    received += 1;
                    last = Some(number);
                }
                Err(TryRecvError::Lagged(_)) => {}
                Err(_) => break,
            }
        }
        assert_eq!(last, Some(41));
        assert_eq!(received + lossy.missed() - before, 20);
    });
}

#[test]
fn followers_sleep_until_their_leaders_have_passed_something_or_end() {
    let _watchdog = watchdog();
    for ends in [false, true] {
        with_each_sender!(8, |ring| {
            let (mut leader, mut follower) = leader_and_follower(&ring.handle());
            let (tx, rx) = std::sync::mpsc::channel();
            let waiter = thread::spawn(move || {
                tx.send(Sleeper::current()).unwrap();
                follower.recv()
            });
            let sleeper = rx.recv().unwrap();
            sleeper.falls_asleep();
            ring.send(7);
            sleeper.falls_asleep();
            assert!(!waiter.is_finished());
            if ends {
                drop(leader);
            } else {
                assert_eq!(leader.try_recv(), Ok(7));
            }
            assert_eq!(join(waiter), Ok(7));
        });
    }
}

#[cfg(feature = "async")]
#[test]
fn tasks_that_follow_are_woken_by_leaders_and_other_readers_by_senders() {
    for ends in [false, true] {
        with_each_sender!(8, |ring| {
            let (mut leader, mut follower) = leader_and_follower(&ring.handle());
            let mut reader = ring.subscribe();
            let [(of_follower, follows), (of_reader, reads)] = [(); 2].map(|()| counting_waker());
            let woken = || [&of_follower, &of_reader].map(|count| count.0.load(Ordering::SeqCst));
            let [mut follows, mut reads] = [&follows, &reads].map(Context::from_waker);
            assert!(follower.poll_next_unpin(&mut follows).is_pending());
            assert!(reader.poll_next_unpin(&mut reads).is_pending());
            ring.send(0);
            assert_eq!(woken(), [0, 1], "a sender wakes those that wait for it");
            assert!(follower.recv_async().poll_unpin(&mut follows).is_pending());
            assert!(follower.poll_next_unpin(&mut follows).is_pending());
            ring.send(1);
            assert_eq!(woken(), [0, 1]);
            assert!(reader.try_iter().eq(0..2));
            assert!(reader.poll_next_unpin(&mut reads).is_pending());
            assert_eq!(leader.try_recv(), Ok(0));
            assert_eq!(woken(), [1, 1], "a leader wakes its followers");
            let polled = follower.poll_next_unpin(&mut follows);
            assert_eq!(polled, Poll::Ready(Some(0)));
            assert!(follower.poll_next_unpin(&mut follows).is_pending());
            if ends {
                drop(leader);
                assert_eq!(woken(), [2, 1]);
                assert!(follower.try_iter().eq(1..2));
                // From now on it waits for the sender.
                assert!(follower.poll_next_unpin(&mut follows).is_pending());
                ring.send(2);
                assert_eq!(woken(), [3, 2]);
            } else {
                ring.close();
                assert_eq!(woken(), [2, 2], "the end wakes all");
            }
        });
    }
}

#[test]
fn a_leader_wakes_its_followers_half_a_ring_into_a_drain() {
    let _watchdog = watchdog();
    let mut ring = ExclusiveRingFeed::new(16).unwrap();
    let (mut leader, mut follower) = leader_and_follower(&ring.handle());
    ring.send_batch(0..16);
    let got = Arc::new(AtomicU64::new(0));
    let counts = Arc::clone(&got);
    let (tx, rx) = std::sync::mpsc::channel();
    let waiter = thread::spawn(move || {
        tx.send(Sleeper::current()).unwrap();
        while follower.recv().is_ok() {
            counts.fetch_add(1, Ordering::SeqCst);
        }
    });
    rx.recv().unwrap().falls_asleep();
    let drained = leader.drain(|value| {
        if *value == 15 {
            eventually(|| got.load(Ordering::SeqCst) == 8);
        }
    });
    assert_eq!(drained, Ok(16));
    drop((ring, leader));
    join(waiter);
    assert_eq!(got.load(Ordering::SeqCst), 16);
}

#[test]
fn values_that_are_dropped_once_read_are_dropped_behind_the_followers() {
    let tally = Tally::new();
    let mut ring = RingFeed::builder(8)
        .drop_when_read(true)
        .build_exclusive()
        .unwrap();
    let (mut leader, mut follower) = leader_and_follower(&ring.handle());
    ring.send_batch((0..4).map(|number| tally.value(number)));
    assert_eq!(leader.drain(|_| {}), Ok(4));
    assert_eq!(tally.live(), 4);
    assert_eq!(follower.drain_up_to(3, |_| {}), Ok(3));
    assert_eq!(tally.live(), 1);
}

#[test]
fn a_cursor_tells_where_its_reader_is_until_it_has_ended() {
    for unsubscribes in [false, true] {
        with_each_sender!(8, |ring| {
            let mut reader = ring.subscriber().name("first").subscribe();
            let cursor = reader.cursor();
            let told = || (cursor.position(), cursor.lag());
            ring.send_batch(0..5);
            assert_eq!(told(), (Some(0), Some(5)));
            assert_eq!(reader.drain_up_to(3, |_| {}), Ok(3));
            assert_eq!(told(), (Some(3), Some(2)));
            assert_eq!(cursor.name(), Some("first"));
            assert!(format!("{cursor:?}").contains("position: Some(3)"));
            if unsubscribes {
                reader.subscription().unsubscribe();
                assert_eq!(told(), (None, None), "it holds nobody any more");
            }
            drop(reader);
            assert_eq!(told(), (None, None));
        });
    }
}

/// Values that count the stages that have handled them: the stage in the upper bits must be the one
/// expected.
struct Handled([AtomicU64; 4]);

impl Handled {
    fn new() -> Self {
        Self([(); 4].map(|()| AtomicU64::new(0)))
    }

    /// The stage handles it: those in `after` have done so, as it sees without synchronizing.
    fn handle(&self, stage: usize, after: &[usize]) {
        for leader in after {
            let by_leader = self.0[*leader].load(Ordering::Relaxed);
            assert_eq!(by_leader, 1, "stage {stage} is ahead of {leader}");
        }
        self.0[stage].fetch_add(1, Ordering::Relaxed);
    }
}

/// Has stages of one ring read everything, each on its thread, while readers come and go.
fn under_load(stages: [&'static [usize]; 4], count: usize, capacity: usize, seed: u64) {
    let _watchdog = watchdog();
    let mut random = Random::new(seed);
    let ring = RingFeed::<Arc<Handled>>::new(capacity).unwrap();
    let mut readers: Vec<ring::Receiver<_>> = Vec::new();
    for after in &stages[..count] {
        let cursors: Vec<_> = after
            .iter()
            .map(|leader| readers[*leader].cursor())
            .collect();
        // Without those that spin: there are more threads than cores.
        let waiting = WAITINGS[1 + random.below(2) as usize];
        let options = ring.subscriber().wait_strategy(waiting).name("stage");
        readers.push(options.after(&cursors).unwrap().subscribe());
    }
    let cursors: Vec<_> = readers.iter().map(ring::Receiver::cursor).collect();
    let total = 500;
    let threads: Vec<_> = readers
        .into_iter()
        .enumerate()
        .map(|(stage, mut reader)| {
            thread::spawn(move || {
                let mut seen = 0;
                while reader.wait().is_ok() {
                    let limit = 1 + seen % 7;
                    let handle = |value: &Arc<Handled>| value.handle(stage, stages[stage]);
                    seen += reader.drain_up_to(limit, handle).unwrap_or(0);
                }
                seen
            })
        })
        .collect();
    let churn = {
        let handle = ring.handle();
        thread::spawn(move || {
            let mut random = Random::new(seed + 1);
            let mut last = 0;
            while !handle.is_closed() {
                let leader = random.below(cursors.len() as u64) as usize;
                let kind = [ring::Overflow::Block, ring::Overflow::DropOldest];
                let options = handle.subscriber().overflow(kind[random.below(2) as usize]);
                let after = [cursors[leader].clone()];
                let mut guest = options.after(&after).unwrap().subscribe();
                // Followed by another, and gone before it.
                let behind = (random.below(2) == 0).then(|| guest.cursor());
                let behind = behind.and_then(|cursor| handle.subscriber().after(&[cursor]).ok());
                let mut behind = behind.map(|options| options.subscribe());
                for _ in 0..random.below(20) {
                    let timeout = Duration::from_micros(50);
                    let check = |value: Arc<Handled>| {
                        let by_leader = value.0[leader].load(Ordering::Relaxed);
                        assert_eq!(by_leader, 1, "a guest is ahead of {leader}");
                        last += 1;
                    };
                    let _ = guest.recv_timeout(timeout).map(check);
                    if let Some(behind) = &mut behind {
                        let _ = behind.try_recv();
                    }
                }
                drop(guest);
                if let Some(behind) = &mut behind {
                    let _ = behind.drain(|_| {});
                }
            }
            last
        })
    };
    for _ in 0..total {
        ring.send(Arc::new(Handled::new()));
    }
    ring.close();
    for thread in threads {
        assert_eq!(join(thread), total);
    }
    join(churn);
}

#[test]
fn pipelines_and_diamonds_work_while_readers_come_and_go() {
    for (seed, capacity) in [(1, 1), (2, 4), (3, 64)] {
        under_load([&[], &[0], &[1], &[]], 3, capacity, seed);
        under_load([&[], &[0], &[0], &[1, 2]], 4, capacity, seed);
    }
}

#[test]
fn stages_that_leave_one_after_another_release_those_behind() {
    let _watchdog = watchdog();
    for waiting in WAITINGS {
        with_each_sender!(16, |ring| {
            let mut chain: Vec<ring::Receiver<u64>> = vec![ring.subscribe()];
            for _ in 0..3 {
                let after = [chain.last().unwrap().cursor()];
                let options = ring
                    .subscriber()
                    .wait_strategy(waiting)
                    .after(&after)
                    .unwrap();
                chain.push(options.subscribe());
            }
            let stays = if waiting == ring::WaitStrategy::Spin {
                50
            } else {
                400
            };
            let threads: Vec<_> = chain
                .into_iter()
                .enumerate()
                .map(|(stage, mut reader)| {
                    thread::spawn(move || {
                        for number in 0..stays * (stage as u64 + 1) {
                            match reader.recv() {
                                Ok(value) => assert_eq!(value, number),
                                Err(error) => return assert_eq!(error, RecvError::Closed),
                            }
                        }
                    })
                })
                .collect();
            for number in 0..stays * 4 {
                ring.send(number);
            }
            drop(ring);
            threads.into_iter().for_each(join);
        });
    }
}
