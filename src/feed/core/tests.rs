//! Tests of what is visible only from inside the feed.

use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use crossbeam_channel::bounded;

use super::{SEATS, discard};
use crate::feed::entry::Port;
use crate::feed::record::Place;
use crate::feed::refusal::End;
use crate::{Carrier, CarrierOverflow, Feed, Receiver, TrySendError};

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
fn chunks_become_empty_while_subscribers_come_and_go() {
    const CHUNKS: usize = if cfg!(miri) { 4 } else { 40 };
    let feed = Feed::new();
    let channels: Vec<_> = (0..CHUNKS * SEATS)
        .map(|_| feed.channel(1).unwrap())
        .collect();
    let mut channels: Vec<_> = channels.into_iter().step_by(SEATS).collect();
    assert_eq!(chunks(&feed), [CHUNKS as u32 - 1, 0]);
    for channel in &mut channels {
        *channel = feed.channel(1).unwrap();
    }
    assert_eq!(chunks(&feed), [1, 0]);
    assert_eq!(feed.send(1), CHUNKS);
}

#[test]
fn a_chunk_is_freed_when_no_delivery_visits_it_any_more() {
    let feed = Feed::<u8>::new();
    let mut channels: Vec<_> = (0..3 * SEATS).map(|_| feed.channel(1).unwrap()).collect();
    channels.truncate(2 * SEATS);
    assert_eq!(chunks(&feed), [2, 0], "the last is spare");
    let section = feed.core.records().enter();
    // Acts as a sender that is preempted before it looks at the spare chunk, whose key is 2.
    section.begin(Place::chunk(2));
    // Runs on another thread: this one is in a delivery, in which it frees nothing.
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
fn a_send_to_subscribers_with_room_takes_no_lock_of_the_feed() {
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

/// A closure that reports when it is called with 1, and then waits for a signal to return.
fn slow(
    calls: crossbeam_channel::Sender<()>,
    may_return: crossbeam_channel::Receiver<()>,
) -> impl Fn(&u32) + Send + Sync {
    move |value| {
        if *value == 1 {
            calls.send(()).unwrap();
            may_return.recv().unwrap();
        }
    }
}

#[test]
fn sends_take_no_lock_while_a_closure_that_was_ended_still_runs() {
    let feed = Feed::new();
    let mut own = feed.channel(8).unwrap();
    let token = Arc::new(());
    let ((calls, called), (go, may_return)) = (bounded(0), bounded(0));
    let call = slow(calls, may_return);
    let held = Arc::clone(&token);
    let ended = feed.subscribe_fn(move |value| {
        let _held = &held;
        call(value);
    });
    let slot = Mutex::new(Some(ended));
    // Inside a delivery: the end is announced, and the thread does not wait for the port.
    let _ender = feed.subscribe_fn(move |value| {
        if *value == 2 {
            drop(slot.lock().unwrap().take());
        }
    });
    let sender = feed.clone();
    let first = thread::spawn(move || sender.send(1));
    called.recv().unwrap();
    let sender = feed.clone();
    let (sent, has_sent) = bounded(0);
    let (next, may_send) = bounded(0);
    let second = thread::spawn(move || {
        // It finds that nothing can be freed yet.
        sent.send(sender.send(2)).unwrap();
        while let Ok(value) = may_send.recv() {
            sent.send(sender.send(value)).unwrap();
        }
    });
    assert!(has_sent.recv_timeout(Duration::from_secs(20)).is_ok());
    let lock = feed.core.registry.lock();
    for value in 3..6 {
        next.send(value).unwrap();
        assert_eq!(has_sent.recv_timeout(Duration::from_secs(20)), Ok(2));
    }
    drop(lock);
    assert_eq!(Arc::strong_count(&token), 2, "it still runs");
    go.send(()).unwrap();
    first.join().unwrap();
    assert_eq!(
        Arc::strong_count(&token),
        1,
        "the send that ran it frees it"
    );
    drop(next);
    second.join().unwrap();
    assert!(own.try_iter().eq([1, 2, 3, 4, 5]));
    assert_eq!(
        feed.core.hot.retiring.load(super::Ordering::SeqCst),
        super::NOTHING
    );
}

#[test]
fn many_subscriptions_that_end_inside_one_delivery_cost_other_sends_nothing() {
    const MANY: usize = if cfg!(miri) { 200 } else { 20_000 };
    let feed = Feed::new();
    let ((calls, called), (go, may_return)) = (bounded(0), bounded(0));
    let channels: Vec<_> = (0..MANY).map(|_| feed.channel(1).unwrap()).collect();
    let call = slow(calls, may_return);
    let closing = feed.clone();
    let _closer = feed.subscribe_fn(move |value| {
        closing.close();
        call(value);
    });
    let sender = feed.clone();
    let first = thread::spawn(move || sender.send(1));
    called.recv().unwrap();
    let (sent, has_sent) = bounded(1);
    let sender = feed.clone();
    let second = thread::spawn(move || {
        for _ in 0..MANY {
            sender.send(2);
        }
        sent.send(()).unwrap();
    });
    let outcome = has_sent.recv_timeout(Duration::from_secs(10));
    go.send(()).unwrap();
    assert_eq!(outcome, Ok(()), "each send looked at all that wait");
    assert_eq!(first.join().unwrap(), MANY + 1);
    second.join().unwrap();
    drop(channels);
    assert_eq!(
        feed.core
            .directory()
            .taken(&feed.core.registry.lock().vacancies)
            .len(),
        0
    );
}

/// Another thread that unsubscribes finds the seat empty, and does not wait for what is in it.
#[test]
fn an_entry_taken_out_of_its_seat_holds_no_sender_of_a_crossbeam_or_std_channel() {
    let feed: Feed<u8> = Feed::new();
    let check = |port: Port<u8>, is_disconnected: &dyn Fn() -> bool| {
        let entry = feed.core.subscribe(port, CarrierOverflow::Block, None);
        let (ended, grace) = feed.core.cut(&entry, End::Closed, None, true);
        entry.announce(ended.expect("it was live"));
        assert!(!is_disconnected());
        // As in `take`, up to where another thread may look.
        let seat = {
            let mut registry = feed.core.registry.lock();
            entry.set_vacated();
            feed.core.vacate(&mut registry, entry.seating())
        };
        assert!(is_disconnected());
        assert!(feed.core.take(&entry, &grace), "it waits for nothing");
        discard(seat);
    };
    let (sender, receiver) = bounded(1);
    let is_disconnected = || {
        receiver
            .try_recv()
            .is_err_and(|error| error.is_disconnected())
    };
    check(Port::Crossbeam(sender), &is_disconnected);
    let (sender, receiver) = mpsc::channel();
    let is_disconnected = || receiver.try_recv() == Err(mpsc::TryRecvError::Disconnected);
    check(Port::Carrier(Box::new(sender)), &is_disconnected);
    let (sender, receiver) = mpsc::sync_channel(1);
    let is_disconnected = || receiver.try_recv() == Err(mpsc::TryRecvError::Disconnected);
    check(Port::Carrier(Box::new(sender)), &is_disconnected);
}

/// A thread that waits for a port drops it, and does not return while another thread does. So the
/// others leave it alone.
#[test]
fn a_port_that_a_thread_waits_for_is_left_to_that_thread() {
    let feed: Feed<u8> = Feed::new();
    let token = Arc::new(());
    let held = Arc::clone(&token);
    let port = Port::Closure(Box::new(move |_| drop(Arc::clone(&held))));
    let entry = feed.core.subscribe(port, CarrierOverflow::Block, None);
    // A delivery ends it, and after that a thread unsubscribes it.
    let (ended, _) = feed.core.cut(&entry, End::Closed, None, false);
    entry.announce(ended.expect("it was live"));
    let (ended, grace) = feed.core.cut(&entry, End::Closed, None, true);
    assert!(ended.is_none(), "it has ended already");
    feed.core.tidy();
    assert_eq!(
        Arc::strong_count(&token),
        2,
        "another thread has dropped it"
    );
    assert!(feed.core.take(&entry, &grace), "it is not in use");
    assert_eq!(Arc::strong_count(&token), 1);
}

/// A carrier that holds a token.
struct Holding {
    _token: Arc<()>,
}

impl Carrier<u8> for Holding {
    fn try_send(&self, _: u8) -> Result<(), TrySendError<u8>> {
        Ok(())
    }
}

#[test]
fn subscribe_unsubscribe_and_close_free_what_a_visit_has_left() {
    type Call = fn(&Feed<u8>, &mut Vec<Receiver<u8>>);
    let calls: [(&str, Call); 3] = [
        ("subscribe", |feed, all| all.push(feed.channel(1).unwrap())),
        ("unsubscribe", |_, all| all[0].subscription().unsubscribe()),
        ("close", |feed, _| feed.close()),
    ];
    for (name, call) in calls {
        let feed = Feed::new();
        let mut all = vec![feed.channel(1).unwrap()];
        let token = Arc::new(());
        let carrier = Holding {
            _token: Arc::clone(&token),
        };
        let port = Port::Carrier(Box::new(carrier));
        let entry = feed.core.subscribe(port, CarrierOverflow::Block, None);
        let section = feed.core.records().enter();
        section.begin(Place::chunk(0));
        // Runs on another thread: this one is in a delivery, in which it frees nothing.
        thread::scope(|scope| {
            scope.spawn(|| {
                feed.core.end(&entry, End::Closed, None);
                feed.core.tidy();
            });
        });
        let retiring = || feed.core.registry.lock().retiring.len();
        assert_eq!((Arc::strong_count(&token), retiring()), (2, 1));
        drop(section);
        call(&feed, &mut all);
        assert_eq!((Arc::strong_count(&token), retiring()), (1, 0), "{name}");
    }
}
