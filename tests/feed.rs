//! What `Feed` promises, apart from what threads do to one another.

use fanfeed::{Feed, Overflow, RecvError, TryRecvError};

#[test]
fn a_value_reaches_every_subscriber() {
    let feed = Feed::new();
    let (tx, rx) = crossbeam_channel::bounded(4);
    let _a = feed.subscribe(tx);
    let mut own = feed.channel(4).unwrap();
    assert_eq!(feed.send(7u64), 2);
    assert_eq!(rx.try_recv(), Ok(7));
    assert_eq!(own.try_recv(), Ok(7));
    assert_eq!(own.try_recv(), Err(TryRecvError::Empty));
}

#[test]
fn a_blocked_send_goes_on_when_there_is_room() {
    let feed = Feed::new();
    let mut own = feed.channel(1).unwrap();
    let (tx, rx) = crossbeam_channel::bounded(0);
    let _a = feed.subscribe(tx);
    let sender = std::thread::spawn({
        let feed = feed.clone();
        move || (0..100u64).map(|value| feed.send(value)).sum::<usize>()
    });
    for value in 0..100u64 {
        assert_eq!(own.recv(), Ok(value));
        assert_eq!(rx.recv(), Ok(value));
    }
    assert_eq!(sender.join().unwrap(), 200);
    feed.close();
    assert_eq!(own.recv(), Err(RecvError::Closed));
    assert!(rx.recv().is_err());
}

#[test]
fn drop_oldest_tells_how_many_were_missed() {
    let feed = Feed::new();
    let mut own = feed.subscriber().capacity(3).overflow(Overflow::DropOldest).channel().unwrap();
    for value in 0..10 {
        assert_eq!(feed.send(value), 1);
    }
    assert_eq!(own.try_recv(), Err(TryRecvError::Lagged(7)));
    assert_eq!(own.try_iter().collect::<Vec<_>>(), [7, 8, 9]);
    assert_eq!(own.stats().delivered + own.stats().dropped, 10);
}
