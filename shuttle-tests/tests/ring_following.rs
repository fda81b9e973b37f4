//! Readers of a ring that follow others, in pipelines and diamonds whose readers come and go.
//!
//! Programs: a pipeline of three; a diamond of four, of whose middle readers one leaves; a leader
//! that is unsubscribed while it reads; a follower that joins beside readers that leave. One or two
//! threads send, to rings of 1 and 2 slots over several laps. No timer fires, so a follower that is
//! forgotten waits for ever, and so do the senders.
//!
//! ```text
//! RUSTFLAGS="--cfg fanfeed_shuttle" cargo test -p fanfeed-shuttle-tests --release --test ring_following
//! ```
#![cfg(fanfeed_shuttle)]

use std::sync::{Arc, Mutex};

use fanfeed::{RingFeed, ring};
use fanfeed_shuttle_tests::{Ledger, Schedules, Token, Why};
use shuttle::thread::{self, JoinHandle};

/// What a reader has read. It is no part of the program: its lock is `std`'s, and no thread of a
/// program waits for it.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// The value that its handler has in hand.
    current: Option<u32>,
    read: Vec<u32>,
    /// Set before the reader ends.
    is_ending: bool,
}

impl Log {
    fn begin(&self, number: u32) {
        self.0.lock().unwrap().current = Some(number);
    }

    fn finish(&self) {
        let mut state = self.0.lock().unwrap();
        let number = state.current.take().expect("it has begun");
        state.read.push(number);
    }

    fn set_ending(&self) {
        self.0.lock().unwrap().is_ending = true;
    }

    /// A follower sees this value now.
    fn assert_has_passed(&self, number: u32) {
        let state = self.0.lock().unwrap();
        assert_ne!(state.current, Some(number), "the leader has it in hand");
        assert!(
            state.is_ending || state.read.contains(&number),
            "the leader has not passed it"
        );
    }

    fn read(&self) -> Vec<u32> {
        self.0.lock().unwrap().read.clone()
    }
}

/// A reader, and what it has read.
struct Stage {
    reader: ring::Receiver<Token>,
    log: Log,
    leaders: Vec<Log>,
}

impl Stage {
    fn after(ring: &RingFeed<Token>, leaders: &[&Self]) -> Self {
        let cursors: Vec<_> = leaders.iter().map(|stage| stage.reader.cursor()).collect();
        Self {
            reader: ring.subscriber().after(&cursors).unwrap().subscribe(),
            log: Log::default(),
            leaders: leaders.iter().map(|stage| stage.log.clone()).collect(),
        }
    }

    /// Hands one value out if there is one.
    fn read_one(&mut self) -> bool {
        let read = self.reader.drain_up_to(1, |value| {
            let number = value.number();
            for leader in &self.leaders {
                leader.assert_has_passed(number);
            }
            self.log.begin(number);
            thread::yield_now();
            self.log.finish();
        });
        read.is_ok()
    }

    /// Reads up to so many values, waits for each, and leaves.
    fn run(mut self, count: usize) -> JoinHandle<Vec<u32>> {
        thread::spawn(move || {
            let mut read = 0;
            while read < count && self.reader.wait().is_ok() {
                read += usize::from(self.read_one());
            }
            self.log.set_ending();
            drop(self.reader);
            self.log.read()
        })
    }
}

const ALL: usize = usize::MAX;

fn send(ring: &RingFeed<Token>, ledger: &Ledger, numbers: [u32; 2]) -> JoinHandle<()> {
    let (ring, ledger) = (ring.clone(), ledger.clone());
    thread::spawn(move || {
        for number in numbers {
            ring.send(ledger.token(number));
        }
    })
}

/// One behind the other. The first reads so many.
fn pipeline(capacity: usize, first_reads: usize) {
    let ledger = Ledger::new();
    let ring = RingFeed::new(capacity).unwrap();
    let first = Stage::after(&ring, &[]);
    let second = Stage::after(&ring, &[&first]);
    let third = Stage::after(&ring, &[&second]);
    let stages = [third.run(ALL), second.run(ALL), first.run(first_reads)];
    let senders = [[0, 1], [10, 11]].map(|numbers| send(&ring, &ledger, numbers));
    drop(ring);
    for sender in senders {
        sender.join().unwrap();
    }
    let [third, second, first] = stages.map(|stage| stage.join().unwrap());
    assert_eq!(third.len(), 4);
    assert_eq!(second, third);
    assert_eq!(first, third[..first_reads.min(4)]);
    ledger.assert_settled();
}

/// Two behind the first, and the last behind both, of which one leaves after one value.
fn diamond(capacity: usize) {
    let ledger = Ledger::new();
    let ring = RingFeed::new(capacity).unwrap();
    let first = Stage::after(&ring, &[]);
    let stays = Stage::after(&ring, &[&first]);
    let leaves = Stage::after(&ring, &[&first]);
    let last = Stage::after(&ring, &[&stays, &leaves]);
    let stages = [last.run(ALL), leaves.run(1), stays.run(ALL), first.run(ALL)];
    for number in 0..3 {
        ring.send(ledger.token(number));
    }
    drop(ring);
    let read = stages.map(|stage| stage.join().unwrap());
    assert_eq!(read, [vec![0, 1, 2], vec![0], vec![0, 1, 2], vec![0, 1, 2]]);
    ledger.assert_settled();
}

/// A leader is unsubscribed while it may read. What it has in hand counts as passed when it is done
/// with that.
fn a_leader_is_unsubscribed() {
    let ledger = Ledger::new();
    let ring = RingFeed::new(2).unwrap();
    let mut leader = Stage::after(&ring, &[]);
    let follower = Stage::after(&ring, &[&leader]);
    let (reader, subscription) = leader.reader.split();
    leader.reader = reader;
    let log = leader.log.clone();
    let stages = [follower.run(ALL), leader.run(ALL)];
    let unsubscribing = thread::spawn(move || {
        log.set_ending();
        subscription.unsubscribe();
    });
    for number in 0..3 {
        ring.send(ledger.token(number));
    }
    drop(ring);
    unsubscribing.join().unwrap();
    let [follower, leader] = stages.map(|stage| stage.join().unwrap());
    assert_eq!(follower, [0, 1, 2]);
    assert_eq!(leader, follower[..leader.len()]);
    ledger.assert_settled();
}

/// A follower joins behind two leaders of which one leaves, while others read and a thread sends.
fn a_follower_joins(capacity: usize) {
    let ledger = Ledger::new();
    let ring = RingFeed::new(capacity).unwrap();
    let [one, other] = [(); 2].map(|()| Stage::after(&ring, &[]));
    let cursors = [&one, &other].map(|stage| stage.reader.cursor());
    let leaders = vec![one.log.clone(), other.log.clone()];
    let joining = {
        let ring = ring.clone();
        thread::spawn(move || {
            let options = ring.subscriber().after(&cursors).unwrap();
            let late = Stage {
                reader: options.subscribe(),
                log: Log::default(),
                leaders,
            };
            drop(ring);
            late.run(ALL).join().unwrap()
        })
    };
    let stages = [one.run(1), other.run(ALL)];
    let sender = send(&ring, &ledger, [0, 1]);
    sender.join().unwrap();
    ring.send(ledger.token(2));
    drop(ring);
    let late = joining.join().unwrap();
    assert!([0, 1, 2].ends_with(&late), "{late:?}");
    assert_eq!(
        stages.map(|stage| stage.join().unwrap()),
        [vec![0], vec![0, 1, 2]]
    );
    ledger.assert_settled();
}

#[test]
fn a_pipeline_passes_every_value_on() {
    Schedules::new().hold(|| pipeline(1, ALL));
}

#[test]
fn a_pipeline_goes_on_without_its_first_reader() {
    Schedules::new().hold(|| pipeline(2, 1));
}

#[test]
fn a_diamond_waits_for_both_sides_that_are_left() {
    Schedules::new().hold(|| diamond(1));
}

#[test]
fn what_an_unsubscribed_leader_has_in_hand_is_waited_for() {
    Schedules::new().hold(a_leader_is_unsubscribed);
}

#[test]
fn a_follower_joins_beside_leaders_that_leave() {
    Schedules::new().hold(|| a_follower_joins(2));
}

#[test]
fn mutants_of_following_are_found() {
    Schedules::new()
        .because(Why::Deadlock)
        .find("followers_are_not_woken", || pipeline(1, ALL));
    Schedules::new()
        .because(Why::Deadlock)
        .find("ended_leader_holds_its_followers", || diamond(1));
    Schedules::new()
        .because(Why::Says("the leader has it in hand"))
        .find("ended_leader_is_looked_at_once", a_leader_is_unsubscribed);
}
