//! What shows from inside alone.

use std::thread;
use std::time::Duration;

use crossbeam_channel::bounded;

use super::SEATS;
use crate::Feed;
use crate::sync::{Mutex, Ordering};

/// How many chunks of channels there are besides the first, and how many of closures.
fn chunks(feed: &Feed<u8>) -> [usize; 2] {
    let directory = feed.core.directory().load(Ordering::SeqCst);
    // SAFETY: nobody changes subscribers of this feed meanwhile.
    let directory = unsafe { directory.as_ref() };
    directory.map_or([0, 0], |directory| {
        [&directory.channels, &directory.closures].map(|chunks| chunks.len())
    })
}

#[test]
fn there_are_as_many_chunks_as_it_takes() {
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
    assert_eq!(chunks(&feed), [2, 0]);
    drop(channels);
    assert_eq!(chunks(&feed), [0, 0]);
}

#[test]
fn what_a_send_still_read_when_it_was_replaced_is_freed_at_its_end() {
    let feed = Feed::<u8>::new();
    let channels = Mutex::new(Vec::new());
    let _closure = feed.subscribe_fn({
        let feed = feed.downgrade();
        move |_| {
            let feed = feed.upgrade().unwrap();
            // One more than fit into the first chunk.
            let more = (0..=SEATS).map(|_| feed.channel(1).unwrap());
            channels.lock().extend(more);
            assert_eq!(feed.core.registry.lock().replaced.len(), 1);
        }
    });
    assert_eq!(feed.send(1), 1);
    assert!(feed.core.registry.lock().replaced.is_empty());
    assert_eq!(chunks(&feed), [1, 1]);
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
