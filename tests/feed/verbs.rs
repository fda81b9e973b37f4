//! The verbs by which a value is sent.

use std::thread;
use std::time::{Duration, Instant};

use fanfeed::{Feed, Publish, RecvError};

use crate::common::{PATIENCE, eventually, join, watchdog};

#[test]
fn nobody_subscribed_means_nobody_reached() {
    let feed = Feed::new();
    let soon = Instant::now() + Duration::from_secs(1);
    assert_eq!(feed.send('a'), 0);
    assert_eq!(feed.try_send('a').unwrap(), 0);
    assert_eq!(feed.send_timeout('a', Duration::MAX).unwrap(), 0);
    assert_eq!(feed.send_timeout('a', Duration::ZERO).unwrap(), 0);
    assert_eq!(feed.send_deadline('a', soon).unwrap(), 0);
    assert_eq!(feed.send_batch(['a', 'b']), 0);
}

#[test]
fn a_closed_feed_reaches_no_subscriber_and_does_not_wait() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let mut full = feed.channel(1).unwrap();
    feed.send('a');
    feed.close();
    assert!(feed.is_closed());
    assert_eq!(feed.send('b'), 0);
    assert_eq!(feed.try_send('b').unwrap(), 0);
    assert_eq!(feed.send_timeout('b', Duration::MAX).unwrap(), 0);
    let later = Instant::now() + PATIENCE;
    assert_eq!(feed.send_deadline('b', later).unwrap(), 0);
    assert_eq!(feed.send_batch(['b', 'c']), 0);
    assert_eq!(full.iter().collect::<String>(), "a");
}

#[test]
fn a_limit_beyond_the_clock_is_no_limit() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let mut receiver = feed.channel(1).unwrap();
    assert_eq!(feed.send_timeout(1, Duration::MAX).unwrap(), 1);
    let sender = thread::spawn({
        let feed = feed.clone();
        move || feed.send_timeout(2, Duration::MAX).unwrap()
    });
    eventually(|| receiver.stats().blocked == 1);
    assert!(!sender.is_finished());
    assert_eq!(receiver.recv(), Ok(1));
    assert_eq!(join(sender), 1);
    assert_eq!(receiver.recv_timeout(Duration::MAX), Ok(2));
}

#[test]
fn a_timed_send_waits_as_long_as_it_was_told_and_no_longer() {
    let _watchdog = watchdog();
    let feed = Feed::new();
    let mut receiver = feed.channel(1).unwrap();
    feed.send(1);
    let limit = Duration::from_millis(60);
    let start = Instant::now();
    assert!(feed.send_timeout(2, limit).is_err());
    assert!(start.elapsed() >= limit, "{:?}", start.elapsed());
    assert!(start.elapsed() < PATIENCE);
    let start = Instant::now();
    assert!(feed.send_deadline(3, start + limit).is_err());
    assert!(start.elapsed() >= limit, "{:?}", start.elapsed());

    // Room that comes in time is used.
    let sender = thread::spawn({
        let feed = feed.clone();
        move || feed.send_timeout(4, PATIENCE).unwrap()
    });
    eventually(|| receiver.stats().blocked == 3);
    assert_eq!(receiver.recv(), Ok(1));
    assert_eq!(join(sender), 1);
    // The two that were given up.
    assert_eq!(receiver.recv(), Err(RecvError::Lagged(2)));
    assert_eq!(receiver.recv(), Ok(4));
}

#[test]
fn a_deadline_in_the_past_serves_subscribers_with_room() {
    let feed = Feed::new();
    let full = feed.channel(1).unwrap();
    let roomy = feed.channel(2).unwrap();
    feed.send(1);
    let past = Instant::now()
        .checked_sub(Duration::from_millis(1))
        .unwrap_or_else(Instant::now);
    let undelivered = feed.send_deadline(2, past).unwrap_err();
    assert_eq!(undelivered.delivered(), 1);
    assert_eq!(undelivered.missed()[0].id, full.subscription().id());
    assert_eq!(roomy.len(), 2);
    let undelivered = feed.send_timeout(3, Duration::ZERO).unwrap_err();
    assert_eq!(undelivered.missed().len(), 2);
}

#[test]
fn the_verbs_of_publish_are_those_of_the_feed() {
    fn run<P>(mut out: P)
    where
        P: Publish<u32, Sent = usize, Unsent = fanfeed::Undelivered<u32>>,
    {
        assert_eq!(out.send(1), 1);
        assert_eq!(out.try_send(2).unwrap(), 1);
        assert_eq!(out.send_batch([3, 4]), 2);
        assert_eq!(out.try_send(5).unwrap_err().into_inner(), 5);
        let soon = Duration::from_millis(1);
        assert_eq!(out.send_timeout(6, soon).unwrap_err().into_inner(), 6);
        let deadline = Instant::now() + soon;
        assert_eq!(out.send_deadline(7, deadline).unwrap_err().into_inner(), 7);
    }
    let feed = Feed::new();
    let mut receiver = feed.channel(4).unwrap();
    run(&feed);
    assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [1, 2, 3, 4]);
    run(feed);
    assert_eq!(receiver.iter().collect::<Vec<_>>(), [1, 2, 3, 4]);
}
