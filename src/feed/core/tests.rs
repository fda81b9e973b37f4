//! What shows from inside alone.

use std::thread;
use std::time::Duration;

use crossbeam_channel::bounded;

use super::SEATS;
use crate::Feed;
use crate::feed::record::Place;

/// How many chunks of channels there are besides the first, and how many of closures.
fn chunks(feed: &Feed<u8>) -> [u32; 2] {
    let registry = feed.core.registry.lock();
    feed.core.directory().sizes(&registry.vacancies).0
}

/// How many chunks and buckets wait to be freed.
fn retired(feed: &Feed<u8>) -> usize {
    let registry = feed.core.registry.lock();
    feed.core.directory().sizes(&registry.vacancies).1
}

#[test]
fn there_are_as_many_chunks_as_it_takes_and_a_spare_one_of_each_kind() {
    let feed = Feed::new();
    let mut channels = Vec::new();
    for further in [0, 1, 2] {
        for _ in 0..SEATS {
            channels.push(feed.channel(1).unwrap());
            assert_eq!(chunks(&feed), [further, 0]);
        }
    }
    let mut closures = Vec::new();
    for further in [1, 2] {
        for _ in 0..SEATS {
            closures.push(feed.subscribe_fn(|_| {}));
            assert_eq!(chunks(&feed), [2, further]);
        }
    }
    // A free seat is taken before a chunk is added.
    for seat in [0, SEATS, 2 * SEATS - 1] {
        drop(channels.swap_remove(seat));
        channels.push(feed.channel(1).unwrap());
        drop(closures.swap_remove(seat % closures.len()));
        closures.push(feed.subscribe_fn(|_| {}));
        assert_eq!(chunks(&feed), [2, 2]);
    }
    drop(closures);
    assert_eq!(chunks(&feed), [2, 1]);
    drop(channels);
    assert_eq!(chunks(&feed), [1, 1]);
    assert_eq!(retired(&feed), 0);
}

#[test]
fn chunks_run_empty_while_subscribers_come_and_go() {
    let feed = Feed::new();
    let channels: Vec<_> = (0..40 * SEATS).map(|_| feed.channel(1).unwrap()).collect();
    let mut channels: Vec<_> = channels.into_iter().step_by(SEATS).collect();
    assert_eq!(chunks(&feed), [39, 0]);
    for channel in &mut channels {
        *channel = feed.channel(1).unwrap();
    }
    assert_eq!(chunks(&feed), [1, 0]);
    assert_eq!(feed.send(1), 40);
}

#[test]
fn a_chunk_is_freed_when_no_delivery_visits_it_any_more() {
    let feed = Feed::<u8>::new();
    let mut channels: Vec<_> = (0..3 * SEATS).map(|_| feed.channel(1).unwrap()).collect();
    channels.truncate(2 * SEATS);
    assert_eq!(chunks(&feed), [2, 0], "the last is spare");
    let section = feed.core.records().enter();
    // As a sender that is preempted before it looks at the spare chunk, whose key is 2.
    section.begin(Place::chunk(2));
    // On another thread: this one is in a delivery, in which it frees nothing.
    thread::scope(|scope| {
        scope.spawn(|| channels.truncate(SEATS));
    });
    assert_eq!((chunks(&feed), retired(&feed)), ([1, 0], 1));
    channels.push(feed.channel(1).unwrap());
    assert_eq!(retired(&feed), 1);
    section.begin(Place::chunk(0));
    channels.push(feed.channel(1).unwrap());
    assert_eq!(retired(&feed), 0);
}

#[test]
fn a_send_to_those_with_room_takes_no_lock_of_the_feed() {
    let feed = Feed::new();
    let mut own = feed.channel(2).unwrap();
    let (sender, carried) = bounded(2);
    let _carrier = feed.subscribe(sender);
    let _closure = feed.subscribe_fn(|_: &u32| {});
    let (sent, has_sent) = bounded(0);
    let (go, may_go) = bounded(0);
    let clone = feed.clone();
    let sender = thread::spawn(move || {
        // The first send of a thread makes its record.
        sent.send(clone.send(1)).unwrap();
        may_go.recv().unwrap();
        sent.send(clone.send(2)).unwrap();
    });
    assert_eq!(has_sent.recv(), Ok(3));
    let lock = feed.core.registry.lock();
    go.send(()).unwrap();
    assert_eq!(has_sent.recv_timeout(Duration::from_secs(20)), Ok(3));
    drop(lock);
    sender.join().unwrap();
    assert!(own.try_iter().eq([1, 2]) && carried.try_iter().eq([1, 2]));
}
