//! The values that a receiver was due and did not get, as they are reported to it.
//!
//! Modelled: a sender that gives values up, under `Block` and `DropNewest`, beside the receiver and
//! beside another sender; gaps at the end, and gaps that come while the receiver waits. Timers do
//! not fire. Bounds: two or three threads, two to five values, two to four preemptions.
//!
//! ```text
//! RUSTFLAGS="--cfg fanfeed_loom" cargo test -p fanfeed-loom-tests --release --test models gaps::
//! ```
use fanfeed::{Feed, Overflow, Receiver, RecvError, TryRecvError};
use fanfeed_loom_tests::{Ledger, Model, Token, Why};
use loom::thread;

fn channel<T: Send + 'static>(feed: &Feed<T>, capacity: usize, overflow: Overflow) -> Receiver<T> {
    let options = feed.subscriber().capacity(capacity).overflow(overflow);
    options.channel().unwrap()
}

/// Receives to the end; by `drain` what is there when a receive returns. Asserts that values and
/// misses are in order: counted together they give each value its number.
fn receive_in_order(receiver: &mut Receiver<Token>, drains: bool) -> (u32, u64) {
    let (mut received, mut missed) = (0, 0);
    let mut take = |value: Token, missed: u64| {
        let before = u64::from(received) + missed;
        assert_eq!(u64::from(value.number()), before, "a miss is out of order");
        received += 1;
    };
    loop {
        match receiver.recv() {
            Ok(value) => take(value, missed),
            Err(RecvError::Lagged(count)) => missed += count,
            Err(_) => return (received, missed),
        }
        if drains
            && let Err(TryRecvError::Lagged(count)) = receiver.drain(1, |value| take(value, missed))
        {
            missed += count;
        }
    }
}

/// A sender gives up what finds no room, and goes on.
fn values_given_up(overflow: Overflow, numbers: u32, drains: bool) {
    let ledger = Ledger::new();
    let feed = Feed::new();
    let mut receiver = channel(&feed, 1, overflow);
    let sender = {
        let ledger = ledger.clone();
        thread::spawn(move || {
            for number in 0..numbers {
                drop(feed.try_send(ledger.token(number)));
            }
        })
    };
    let (received, missed) = receive_in_order(&mut receiver, drains);
    sender.join().unwrap();
    assert_eq!(u64::from(received) + missed, u64::from(numbers));
    assert_eq!(receiver.missed(), missed);
    let stats = receiver.stats();
    assert_eq!(
        (stats.delivered, stats.dropped),
        (u64::from(received), missed)
    );
    drop(receiver);
    ledger.assert_settled();
}

fn given_up_under_block() {
    values_given_up(Overflow::Block, 3, false);
}

fn given_up_beside_a_drain() {
    values_given_up(Overflow::Block, 3, true);
}

/// The second value refused is added to the gap of the first, which the receiver may be taking;
/// another value follows.
fn a_gap_that_grows() {
    values_given_up(Overflow::DropNewest, 4, false);
}

/// The receiver has taken what there was, and waits. A gap wakes it, though no value follows.
fn a_gap_while_it_waits() {
    let feed = Feed::new();
    let mut receiver = channel(&feed, 1, Overflow::Block);
    feed.send(0);
    let undelivered = feed.try_send(1).unwrap_err();
    assert_eq!(receiver.recv(), Ok(0));
    let sender = thread::spawn(move || drop(undelivered));
    assert_eq!(receiver.recv(), Err(RecvError::Lagged(1)));
    sender.join().unwrap();
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
}

/// A value was refused because of another value, which comes first, whichever thread has written it
/// when the gap is seen.
fn a_gap_beside_a_value() {
    let feed = Feed::new();
    let mut receiver = channel(&feed, 1, Overflow::Block);
    let other = {
        let feed = feed.clone();
        thread::spawn(move || feed.try_send(1).is_ok())
    };
    let is_sent = feed.try_send(2).is_ok();
    assert_ne!(other.join().unwrap(), is_sent);
    assert!(receiver.try_recv().is_ok());
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Lagged(1)));
}

/// A receiver that was told the end is told of no gap after it, and its figures do not change.
fn a_gap_beside_the_end() {
    let feed = Feed::new();
    let mut receiver = channel(&feed, 1, Overflow::Block);
    feed.send(0);
    let undelivered = [1, 2].map(|value| feed.try_send(value).unwrap_err());
    let giver = thread::spawn(move || drop(undelivered));
    receiver.subscription().unsubscribe();
    assert_eq!(receiver.recv(), Ok(0));
    let mut missed = 0;
    while let Err(RecvError::Lagged(count)) = receiver.recv() {
        missed += count;
    }
    giver.join().unwrap();
    let end = receiver.recv();
    assert_eq!(end, Err(RecvError::Closed), "a gap after the end");
    assert_eq!(
        (receiver.missed(), receiver.stats().dropped),
        (missed, missed)
    );
}

/// The last values before the end are given up.
fn a_gap_before_the_end() {
    let feed = Feed::new();
    let mut receiver = channel(&feed, 1, Overflow::Block);
    feed.send(0);
    let sender = thread::spawn(move || {
        drop(feed.try_send(1));
        drop(feed);
    });
    let mut got = vec![receiver.recv()];
    while got.last() != Some(&Err(RecvError::Closed)) {
        got.push(receiver.recv());
    }
    sender.join().unwrap();
    let all = [Ok(0), Err(RecvError::Lagged(1)), Err(RecvError::Closed)];
    let sent = [Ok(0), Ok(1), Err(RecvError::Closed)];
    assert!(got == all || got == sent, "{got:?}");
}

/// Two senders add to one gap, and one of them sends another value: before that the gap is told,
/// whichever of them made it.
fn a_gap_of_two_senders() {
    let feed = Feed::new();
    let mut receiver = channel(&feed, 1, Overflow::DropNewest);
    feed.send(0);
    let other = {
        let feed = feed.clone();
        thread::spawn(move || feed.send(1))
    };
    assert_eq!(feed.send(2), 0);
    assert_eq!(receiver.recv(), Ok(0));
    let mut sent = 1 + feed.send(3);
    drop(feed);
    let (mut received, mut missed) = (vec![0], 0);
    loop {
        match receiver.recv() {
            Ok(value) => {
                assert!(
                    value != 3 || missed > 0,
                    "3 comes before the gap in front of it"
                );
                received.push(value);
            }
            Err(RecvError::Lagged(count)) => missed += count,
            Err(_) => break,
        }
    }
    sent += other.join().unwrap();
    assert_eq!((received.len(), missed), (sent, 4 - sent as u64));
}

#[test]
fn values_given_up_are_reported_at_their_place() {
    Model::bound(2).holds(given_up_under_block);
}

#[test]
fn values_given_up_are_reported_at_their_place_to_a_drain() {
    Model::bound(2).holds(given_up_beside_a_drain);
}

#[test]
fn a_drain_has_to_look_for_gaps() {
    Model::bound(2)
        .because(Why::Says("a miss is out of order"))
        .fails_with("drain_overlooks_gaps", given_up_beside_a_drain);
}

#[test]
fn a_gap_grows_while_it_is_reported() {
    Model::bound(2).holds(a_gap_that_grows);
}

#[test]
fn a_gap_wakes_the_receiver() {
    Model::bound(4).holds(a_gap_while_it_waits);
}

#[test]
fn a_gap_comes_after_the_value_that_took_its_room() {
    Model::bound(3).holds(a_gap_beside_a_value);
}

#[test]
fn no_gap_is_reported_after_the_end() {
    Model::bound(3).holds(a_gap_beside_the_end);
}

#[test]
fn a_last_gap_is_reported_before_the_end() {
    Model::bound(3).holds(a_gap_before_the_end);
}

#[test]
fn two_senders_share_a_gap() {
    Model::bound(2).holds(a_gap_of_two_senders);
}

#[test]
fn a_gap_has_to_wait_for_its_place() {
    Model::bound(3)
        .because(Why::Says("receiver.try_recv().is_ok()"))
        .fails_with("gap_is_told_before_its_place", a_gap_beside_a_value);
}

#[test]
fn a_gap_has_to_wake_the_receiver() {
    Model::bound(3)
        .because(Why::Deadlock)
        .fails_with("gap_wakes_nobody", a_gap_while_it_waits);
}

#[test]
fn a_sender_of_a_gap_has_to_look_in_order() {
    Model::bound(3)
        .because(Why::Deadlock)
        .fails_with("sender_of_a_gap_looks_without_order", a_gap_while_it_waits);
}

#[test]
fn gaps_have_to_be_looked_for_after_the_stamp() {
    Model::bound(2)
        .because(Why::Says("a miss is out of order"))
        .fails_with("gaps_are_looked_for_before_the_stamp", given_up_under_block);
}

#[test]
fn gaps_have_to_be_looked_for_after_the_end() {
    Model::bound(3)
        .with_plain_fences()
        .because(Why::Says("[Ok(0), Err(Closed)]"))
        .fails_with("gaps_are_looked_for_before_the_end", a_gap_before_the_end);
}

#[test]
fn a_gap_must_not_follow_the_end() {
    Model::bound(3)
        .because(Why::Says("a gap after the end"))
        .fails_with("gap_is_recorded_after_the_end", a_gap_beside_the_end);
}

#[test]
fn the_last_gap_must_be_read_again() {
    Model::bound(2)
        .because(Why::Says("a miss is out of order"))
        .fails_with("last_gap_is_looked_at_once", a_gap_that_grows);
}
