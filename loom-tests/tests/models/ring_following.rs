//! Readers of a ring that follow others: what they see, which thread wakes them, and the effect of
//! a leader's end.
//!
//! Modelled: one leader and one follower, with values that are there before, or a sender; an end by
//! dropping and by unsubscribing, and before a value is sent; a leader whose seat another reader
//! takes, or that begins ahead of the tail. Bounds: two or three threads, one or two values, two to
//! three preemptions.
//!
//! ```text
//! RUSTFLAGS="--cfg fanfeed_loom" cargo test -p fanfeed-loom-tests --release --test models ring_following::
//! ```
use std::sync::Arc;

use fanfeed::{ExclusiveRingFeed, RingFeed, TryRecvError, ring};
use fanfeed_loom_tests::{Model, Why, without_fences};
use loom::cell::UnsafeCell;
use loom::thread;

/// What a leader's handler leaves for the followers, without synchronizing.
struct Notes([UnsafeCell<u32>; 2]);

// SAFETY: that accesses are in order is what the models show.
unsafe impl Sync for Notes {}
// SAFETY: as above.
unsafe impl Send for Notes {}

impl Notes {
    fn new() -> Arc<Self> {
        Arc::new(Self([UnsafeCell::new(0), UnsafeCell::new(0)]))
    }

    fn write(&self, number: usize) {
        // SAFETY: as above.
        self.0[number].with_mut(|note| unsafe { *note += 1 });
    }

    fn read(&self, number: usize) -> u32 {
        // SAFETY: as above.
        self.0[number].with(|note| unsafe { *note })
    }
}

type Pair = (ring::Receiver<usize>, ring::Receiver<usize>);

/// A leader and its follower.
fn pair(ring: &ExclusiveRingFeed<usize>) -> Pair {
    let leader = ring.subscribe();
    let after = [leader.cursor()];
    let follower = ring.subscriber().after(&after).unwrap().subscribe();
    (leader, follower)
}

fn poll(follower: &mut ring::Receiver<usize>) -> usize {
    loop {
        match follower.try_recv() {
            Ok(number) => return number,
            Err(TryRecvError::Empty) => thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
}

/// What the leader's handler did is done when the follower sees the value.
fn passing(values: usize, parks: bool) {
    let mut ring = ExclusiveRingFeed::new(2).unwrap();
    let (mut leader, mut follower) = pair(&ring);
    ring.send_batch(0..values);
    let notes = Notes::new();
    let leading = {
        let notes = Arc::clone(&notes);
        thread::spawn(move || {
            for _ in 0..values {
                leader
                    .drain_up_to(1, |number| notes.write(*number))
                    .unwrap();
            }
            leader
        })
    };
    for number in 0..values {
        let seen = if parks {
            follower.recv().unwrap()
        } else {
            poll(&mut follower)
        };
        assert_eq!(seen, number);
        assert_eq!(notes.read(number), 1, "the leader has not passed it");
    }
    drop(leading.join().unwrap());
}

/// The leader ends and reads nothing.
fn ending(unsubscribes: bool) {
    let mut ring = ExclusiveRingFeed::new(2).unwrap();
    let (leader, mut follower) = pair(&ring);
    ring.send(0);
    let ending = thread::spawn(move || {
        if unsubscribes {
            leader.subscription().unsubscribe();
            return Some(leader);
        }
        drop(leader);
        None
    });
    assert_eq!(follower.recv(), Ok(0));
    drop(ending.join().unwrap());
}

/// The leader ends, and then a value is sent.
fn ending_before_a_value() {
    let mut ring = ExclusiveRingFeed::new(2).unwrap();
    let (leader, mut follower) = pair(&ring);
    let sending = thread::spawn(move || {
        drop(leader);
        ring.send(0);
        ring
    });
    assert_eq!(follower.recv(), Ok(0));
    drop(sending.join().unwrap());
}

/// A follower waits for a value that was claimed before its leader began.
fn parking_behind_the_tail() {
    let ring = RingFeed::new(4).unwrap();
    let handle = ring.handle();
    let following = thread::spawn(move || {
        let leader = handle.subscribe();
        let after = [leader.cursor()];
        let options = handle.subscriber().after(&after).unwrap();
        let mut follower = options.history(1).subscribe();
        if leader.position() == 1 {
            assert_eq!(follower.recv(), Ok(7));
        }
    });
    ring.send(7);
    following.join().unwrap();
}

/// The leader is unsubscribed when it may read.
fn ending_in_a_drain() {
    let mut ring = ExclusiveRingFeed::new(2).unwrap();
    let (leader, mut follower) = pair(&ring);
    let (mut leader, subscription) = leader.split();
    ring.send(0);
    let notes = Notes::new();
    let leading = {
        let notes = Arc::clone(&notes);
        thread::spawn(move || {
            let _ = leader.drain(|number| notes.write(*number));
            leader
        })
    };
    let unsubscribing = thread::spawn(move || subscription.unsubscribe());
    if follower.try_recv() == Ok(0) {
        assert!(notes.read(0) <= 1);
    }
    unsubscribing.join().unwrap();
    drop(leading.join().unwrap());
}

/// Another reader takes the leader's seat, at a position that is claimed and perhaps not stamped.
fn seat_of_another() {
    let ring = RingFeed::new(4).unwrap();
    let leader = ring.subscribe();
    let after = [leader.cursor()];
    let mut follower = ring.subscriber().after(&after).unwrap().subscribe();
    let handle = ring.handle();
    let following = thread::spawn(move || {
        let _ = follower.drain_up_to(1, |_| {});
    });
    let taking = thread::spawn(move || {
        drop(leader);
        let mut other = handle.subscribe();
        // Shows the checker that it matters whether the value is stamped.
        let _ = other.try_recv();
        other
    });
    ring.send(7);
    following.join().unwrap();
    drop(taking.join().unwrap());
}

/// A leader begins at a position that is claimed and perhaps not stamped, and its follower before
/// that.
fn leader_ahead_of_the_tail() {
    let ring = RingFeed::new(4).unwrap();
    let handle = ring.handle();
    let following = thread::spawn(move || {
        let leader = handle.subscribe();
        let after = [leader.cursor()];
        let options = handle.subscriber().after(&after).unwrap();
        let mut follower = options.history(1).subscribe();
        // Shows the checker that it matters whether the value is stamped.
        let _ = handle.subscriber().history(1).subscribe().try_recv();
        let _ = follower.drain_up_to(1, |_| {});
    });
    ring.send(7);
    following.join().unwrap();
}

#[test]
fn a_follower_sees_what_its_leader_has_passed() {
    Model::bound(3).holds(|| passing(2, false));
}

#[test]
fn a_follower_that_parks_is_woken() {
    Model::bound(3).holds(|| passing(1, true));
    Model::bound(2).holds(|| passing(2, true));
}

#[test]
fn following_needs_no_fences() {
    Model::bound(3).holds_with(without_fences!(), || passing(2, false));
}

#[test]
fn a_leader_has_to_be_followed_in_order() {
    Model::bound(3).because(Why::Race).fails_with(
        without_fences!("leader_is_followed_relaxed"),
        || {
            passing(1, false);
        },
    );
}

#[test]
fn a_leader_has_to_wake_its_followers() {
    Model::bound(2)
        .because(Why::Deadlock)
        .fails_with("followers_are_not_woken", || passing(1, true));
}

#[test]
fn a_leader_that_ends_releases_its_followers() {
    Model::bound(4).holds(|| ending(false));
    Model::bound(4).holds(|| ending(true));
}

#[test]
fn a_leader_that_ends_has_to_release_its_followers() {
    let holds = "ended_leader_holds_its_followers";
    for unsubscribes in [false, true] {
        Model::bound(2)
            .because(Why::Deadlock)
            .fails_with(holds, move || ending(unsubscribes));
    }
}

#[test]
fn a_leader_that_is_dropped_has_to_wake_its_followers() {
    Model::bound(2)
        .because(Why::Deadlock)
        .fails_with("followers_are_not_woken", || ending(false));
}

#[test]
fn a_follower_whose_leader_ends_waits_for_the_sender() {
    Model::bound(3).holds(ending_before_a_value);
}

#[test]
fn a_follower_whose_leader_ends_must_wait_for_the_sender() {
    Model::bound(2)
        .because(Why::Deadlock)
        .fails_with("reader_stays_in_its_list", ending_before_a_value);
}

#[test]
fn a_follower_behind_the_tail_waits_for_the_sender() {
    Model::bound(3).holds(parking_behind_the_tail);
}

#[test]
fn a_follower_behind_the_tail_has_to_wait_for_the_sender() {
    Model::bound(2)
        .because(Why::Deadlock)
        .fails_with("follower_waits_for_leaders_alone", parking_behind_the_tail);
}

#[test]
fn a_drain_under_way_is_waited_for() {
    Model::bound(2).holds(ending_in_a_drain);
}

#[test]
fn a_drain_under_way_has_to_be_looked_for_behind_the_end() {
    Model::bound(2)
        .because(Why::Race)
        .fails_with("ended_leader_is_looked_at_once", ending_in_a_drain);
}

#[test]
fn a_reader_in_the_leader_s_seat_is_not_followed() {
    Model::bound(2).holds(seat_of_another);
}

#[test]
fn a_leader_that_is_gone_has_to_be_found_behind_its_seat() {
    Model::bound(2)
        .because(Why::Race)
        .fails_with("leader_is_looked_for_before_its_seat", seat_of_another);
}

#[test]
fn a_leader_may_begin_ahead_of_the_tail() {
    Model::bound(2).holds(leader_ahead_of_the_tail);
}

#[test]
fn the_tail_must_be_loaded_where_a_leader_began() {
    Model::bound(2)
        .because(Why::Race)
        .fails_with("leader_is_trusted_where_it_began", leader_ahead_of_the_tail);
}
