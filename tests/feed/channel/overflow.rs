//! What the receiver of an own channel learns of missed values.

use std::thread;
use std::time::Duration;

use fanfeed::{Feed, Overflow, RecvError, RecvTimeoutError, SubscriptionError, TryRecvError};

use super::channel;
use crate::common::{PATIENCE, join, watchdog};

#[test]
fn drop_newest_tells_of_a_gap_where_it_is() {
    let feed = Feed::new();
    let mut receiver = channel(&feed, 2, Overflow::DropNewest);
    assert_eq!(feed.send(0), 1);
    assert_eq!(feed.send(1), 1);
    assert_eq!(feed.send(2), 0);
    assert_eq!(feed.try_send(3).unwrap(), 0);
    assert_eq!(receiver.recv(), Ok(0));
    assert_eq!(feed.send(4), 1);
    assert_eq!(feed.send(5), 0);
    // 2 and 3 were missed between 1 and 4, and 5 after 4.
    assert_eq!(receiver.recv(), Ok(1));
    assert_eq!(receiver.missed(), 0);
    assert_eq!(receiver.recv(), Err(RecvError::Lagged(2)));
    assert_eq!(receiver.recv(), Ok(4));
    assert_eq!(receiver.recv(), Err(RecvError::Lagged(1)));
    assert_eq!(receiver.missed(), 3);
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(feed.send(6), 1);
    assert_eq!(receiver.recv(), Ok(6));
    let stats = receiver.stats();
    assert_eq!((stats.delivered, stats.dropped), (4, 3));
}

#[test]
fn a_gap_of_one_value_between_two_values_is_reported() {
    let feed = Feed::new();
    let mut receiver = channel(&feed, 2, Overflow::DropNewest);
    for value in 0..3 {
        feed.send(value);
    }
    assert_eq!(receiver.recv(), Ok(0));
    feed.send(3);
    assert_eq!(receiver.recv(), Ok(1));
    assert_eq!(receiver.recv(), Err(RecvError::Lagged(1)));
    feed.send(4);
    feed.send(5);
    assert_eq!(receiver.recv(), Ok(3));
    feed.send(6);
    assert_eq!(receiver.recv(), Ok(4));
    // The second gap is told by itself.
    assert_eq!(receiver.recv(), Err(RecvError::Lagged(1)));
    assert_eq!(receiver.recv(), Ok(6));
    assert_eq!(receiver.missed(), 2);
}

#[test]
fn a_gap_at_the_end_is_reported_before_the_end() {
    let feed = Feed::new();
    let mut receiver = channel(&feed, 1, Overflow::DropNewest);
    feed.send(1);
    feed.send(2);
    feed.close();
    assert_eq!(receiver.recv(), Ok(1));
    assert_eq!(receiver.recv(), Err(RecvError::Lagged(1)));
    assert_eq!(receiver.recv(), Err(RecvError::Closed));
}

#[test]
fn drop_oldest_tells_how_many_were_missed() {
    let feed = Feed::new();
    let mut receiver = channel(&feed, 3, Overflow::DropOldest);
    for value in 0..10 {
        assert_eq!(feed.send(value), 1);
    }
    assert_eq!(receiver.stats().depth, Some(3));
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Lagged(7)));
    assert_eq!(receiver.recv(), Ok(7));
    // A gap of one between values that were already there.
    feed.send(10);
    feed.send(11);
    assert_eq!(
        receiver.recv_timeout(PATIENCE),
        Err(RecvTimeoutError::Lagged(1))
    );
    assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [9, 10, 11]);
    assert_eq!(receiver.missed(), 8);
    let stats = receiver.stats();
    assert_eq!((stats.delivered, stats.dropped), (4, 8));
}

#[test]
fn lossy_receivers_see_every_gap_at_its_place_while_senders_run() {
    const COUNT: u64 = 8_000;
    let _watchdog = watchdog();
    for overflow in [Overflow::DropNewest, Overflow::DropOldest] {
        for capacity in [1, 2, 5, 64] {
            let feed = Feed::new();
            let mut receiver = channel(&feed, capacity, overflow);
            let sender = thread::spawn(move || {
                for value in 0..COUNT {
                    feed.send(value);
                }
            });
            let mut expected = 0;
            loop {
                match receiver.recv() {
                    Ok(value) => {
                        // One sender: with the gaps told, there is nothing unaccounted for before
                        // any value.
                        assert_eq!(value, expected, "{overflow:?}, capacity {capacity}");
                        expected += 1;
                    }
                    Err(RecvError::Lagged(missed)) => expected += missed,
                    Err(RecvError::Closed) => break,
                    Err(RecvError::Overflowed) => unreachable!(),
                }
            }
            assert_eq!(expected, COUNT, "{overflow:?}, capacity {capacity}");
            join(sender);
        }
    }
}

#[test]
fn iterators_skip_gaps_and_missed_counts_them() {
    let feed = Feed::new();
    let mut oldest = channel(&feed, 2, Overflow::DropOldest);
    let mut newest = channel(&feed, 2, Overflow::DropNewest);
    feed.send_batch(0..6);
    drop(feed);
    assert_eq!(oldest.iter().collect::<Vec<_>>(), [4, 5]);
    assert_eq!(newest.try_iter().collect::<Vec<_>>(), [0, 1]);
    assert_eq!((oldest.missed(), newest.missed()), (4, 4));
}

#[test]
fn a_receiver_that_falls_behind_under_disconnect_drains_and_then_learns_why() {
    let feed = Feed::new();
    let mut receiver = channel(&feed, 3, Overflow::Disconnect);
    let mut other = feed.channel(8).unwrap();
    let errors = receiver.subscription().err();
    for value in 0..3 {
        assert_eq!(feed.send(value), 2);
    }
    assert!(errors.try_recv().is_err());
    assert_eq!(feed.send(3), 1);
    assert_eq!(feed.subscriber_count(), 1);
    assert_eq!(feed.send(4), 1);
    assert!(receiver.is_closed() && receiver.subscription().is_closed());
    assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [0, 1, 2]);
    for _ in 0..2 {
        assert_eq!(receiver.recv(), Err(RecvError::Overflowed));
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Overflowed));
        assert_eq!(
            receiver.recv_timeout(PATIENCE),
            Err(RecvTimeoutError::Overflowed)
        );
    }
    // The first call gets the error, later ones the end.
    assert!(matches!(errors.recv(), Ok(SubscriptionError::Overflowed)));
    assert!(errors.recv().is_err());
    assert!(receiver.subscription().err().recv().is_err());
    let stats = receiver.stats();
    assert_eq!((stats.delivered, stats.dropped), (3, 1));
    assert_eq!(other.try_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    // Its feed's end afterwards changes nothing about why it ended.
    feed.close();
    assert_eq!(receiver.recv(), Err(RecvError::Overflowed));
}

#[test]
fn an_error_is_kept_until_it_is_requested() {
    let feed = Feed::new();
    let receiver = channel(&feed, 1, Overflow::Disconnect);
    feed.send(1);
    feed.send(2);
    let errors = receiver.subscription().err();
    assert!(errors.recv().unwrap().is_overflowed());
    assert!(errors.recv().is_err());
}

#[test]
fn err_and_closed_can_be_waited_for() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let receiver = channel(&feed, 1, Overflow::Disconnect);
    let mut closed = receiver.subscription().closed();
    assert!(!closed.wait_timeout(Duration::from_millis(1)));
    let errors = receiver.subscription().err();
    let waiter = thread::spawn(move || {
        crossbeam_channel::select! {
            recv(errors) -> error => error.is_ok_and(|error| error.is_overflowed()),
            default(PATIENCE) => false,
        }
    });
    let closed_waiter = thread::spawn(move || closed.wait_timeout(PATIENCE));
    feed.send_batch([1, 2]);
    assert!(join(waiter));
    assert!(join(closed_waiter));
    receiver.subscription().closed().wait();
}
