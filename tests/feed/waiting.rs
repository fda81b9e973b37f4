//! Which senders wait for room, which of them are woken, and what waiting costs.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use crate::common::tasks::{counting_waker, in_time};
use crate::common::{blocked_send, eventually, join, watchdog};
use fanfeed::{Carrier, Feed, Room, SendAsync, Subscription, TrySendError};
use tokio::sync::mpsc as tokio_mpsc;

/// A carrier without room that keeps the wakers it is given.
#[derive(Clone, Default)]
struct Keeper(Arc<Mutex<Vec<Waker>>>);

impl Keeper {
    fn keeps(&self, waker: &Waker) -> bool {
        self.0
            .lock()
            .unwrap()
            .iter()
            .any(|kept| kept.will_wake(waker))
    }
}

impl Carrier<usize> for Keeper {
    fn try_send(&self, value: usize) -> Result<(), TrySendError<usize>> {
        Err(TrySendError::Full(value))
    }

    fn poll_room(&self, waker: &Waker) -> Room {
        if !self.keeps(waker) {
            self.0.lock().unwrap().push(waker.clone());
        }
        Room::Waking
    }

    fn forget_waker(&self, waker: &Waker) {
        self.0.lock().unwrap().retain(|kept| !kept.will_wake(waker));
    }
}

#[test]
fn a_carrier_keeps_no_waker_that_was_replaced_or_dropped() {
    let feed = Feed::new();
    let keeper = Keeper::default();
    let _subscription = feed.subscribe(keeper.clone());
    let tasks = [counting_waker(), counting_waker()];
    let mut send = Box::pin(feed.send_async(7));
    for polled in [0, 1, 0, 0] {
        let mut context = Context::from_waker(&tasks[polled].1);
        assert!(send.as_mut().poll(&mut context).is_pending());
        assert_eq!(keeper.0.lock().unwrap().len(), 1);
        for (number, (woken, _)) in tasks.iter().enumerate() {
            let before = woken.0.load(Ordering::SeqCst);
            keeper.0.lock().unwrap()[0].wake_by_ref();
            let is_woken = woken.0.load(Ordering::SeqCst) != before;
            assert!(is_woken || number != polled);
        }
    }
    drop(send);
    assert!(keeper.0.lock().unwrap().is_empty());
}

/// One task may wait in several sends at once, as with `join!`.
#[test]
fn a_send_that_leaves_takes_no_other_send_of_its_task_along() {
    let keeper = Keeper::default();
    let feeds = [Feed::new(), Feed::new()];
    let _subscriptions = feeds.each_ref().map(|feed| feed.subscribe(keeper.clone()));
    let (woken, waker) = counting_waker();
    let mut context = Context::from_waker(&waker);
    let [mut one, mut other] = feeds.each_ref().map(|feed| Box::pin(feed.send_async(7)));
    for send in [&mut one, &mut other] {
        assert!(send.as_mut().poll(&mut context).is_pending());
    }
    drop(other);
    let kept = std::mem::take(&mut *keeper.0.lock().unwrap());
    assert_eq!(kept.len(), 1, "that of the send that waits");
    let before = woken.0.load(Ordering::SeqCst);
    kept.into_iter().for_each(Waker::wake);
    assert!(woken.0.load(Ordering::SeqCst) > before);
}

/// Sends that were polled once, and are not polled again.
fn idle(feed: &Feed<usize>, count: usize) -> Vec<SendAsync<usize>> {
    let mut context = Context::from_waker(Waker::noop());
    let mut sends: Vec<_> = (0..count).map(|_| feed.send_async(0)).collect();
    for send in &mut sends {
        assert!(pin!(send).poll(&mut context).is_pending());
    }
    sends
}

/// A channel of capacity 1, and how its receiver takes a value.
struct Channel {
    subscription: Subscription,
    take: Box<dyn FnMut() -> Option<usize>>,
}

fn own(feed: &Feed<usize>) -> Channel {
    let (mut receiver, subscription) = feed.channel(1).unwrap().split();
    Channel {
        subscription,
        take: Box::new(move || receiver.try_recv().ok()),
    }
}

fn of_tokio(feed: &Feed<usize>) -> Channel {
    let (sender, mut receiver) = tokio_mpsc::channel(1);
    Channel {
        subscription: feed.subscribe(sender),
        take: Box::new(move || receiver.try_recv().ok()),
    }
}

const CHANNELS: [fn(&Feed<usize>) -> Channel; 2] = [own, of_tokio];

#[test]
fn sends_that_are_kept_and_not_polled_hold_up_no_thread() {
    let _watchdog = watchdog();
    for channel in CHANNELS {
        for count in [1, 2000] {
            let feed = Feed::new();
            let mut channel = channel(&feed);
            feed.send(7);
            let idle = idle(&feed, count);
            let blocked = [1, 2, 3].map(|value| blocked_send(&feed, &channel.subscription, value));
            assert_eq!((channel.take)(), Some(7));
            let mut got = Vec::new();
            eventually(|| {
                got.extend((channel.take)());
                got.len() == 3
            });
            got.sort_unstable();
            assert_eq!(got, [1, 2, 3]);
            assert_eq!(blocked.map(join), [1; 3]);
            drop(idle);
        }
    }
}

#[test]
fn sends_that_are_kept_and_not_polled_hold_up_no_task() {
    let _watchdog = watchdog();
    for channel in CHANNELS {
        for count in [1, 2000] {
            let feed = Feed::new();
            let mut channel = channel(&feed);
            feed.send(7);
            let idle = idle(&feed, count);
            let (woken, waker) = counting_waker();
            let mut send = pin!(feed.send_async(1));
            let mut context = Context::from_waker(&waker);
            assert!(send.as_mut().poll(&mut context).is_pending());
            assert_eq!((channel.take)(), Some(7));
            // It is polled only when it is woken.
            let mut seen = 0;
            eventually(|| {
                let now = woken.0.load(Ordering::SeqCst);
                now > std::mem::replace(&mut seen, now)
                    && send.as_mut().poll(&mut context) == Poll::Ready(1)
            });
            assert_eq!((channel.take)(), Some(1));
            drop(idle);
        }
    }
}

#[test]
fn room_that_was_given_to_a_send_that_is_not_polled_serves_one_that_does_not_wait() {
    for channel in CHANNELS {
        let feed = Feed::new();
        let mut channel = channel(&feed);
        feed.send(7);
        let idle = idle(&feed, 1);
        assert_eq!((channel.take)(), Some(7));
        assert_eq!(feed.try_send(1).map_err(|_| "full"), Ok(1));
        assert_eq!((channel.take)(), Some(1));
        drop(idle);
    }
}

#[tokio::test]
async fn a_tokio_channel_gets_its_room_back_when_no_send_of_the_feed_waits_any_more() {
    let feed = Feed::new();
    let (sender, mut receiver) = tokio_mpsc::channel(1);
    let _subscription = feed.subscribe(sender.clone());
    feed.send(7);
    let idle = idle(&feed, 3);
    assert_eq!(receiver.recv().await, Some(7));
    drop(idle);
    in_time(sender.send(1)).await.unwrap();
    assert_eq!(receiver.recv().await, Some(1));
}

#[test]
fn many_sends_share_a_tokio_channel_with_senders_of_its_own() {
    const EACH: usize = 200;
    let _watchdog = watchdog();
    let feed = Feed::new();
    let (sender, mut receiver) = tokio_mpsc::channel(2);
    let _subscription = feed.subscribe(sender.clone());
    let mut threads = Vec::new();
    for _ in 0..3 {
        let feed = feed.clone();
        threads.push(thread::spawn(move || {
            (0..EACH).for_each(|_| assert_eq!(feed.send(1), 1));
        }));
        let sender = sender.clone();
        threads.push(thread::spawn(move || {
            (0..EACH).for_each(|_| sender.blocking_send(2).unwrap());
        }));
    }
    let tasks = {
        let feed = feed.clone();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap();
            runtime.block_on(async {
                let sends = (0..EACH).map(|_| feed.send_async(3));
                assert!(
                    futures_util::future::join_all(sends)
                        .await
                        .iter()
                        .all(|n| *n == 1)
                );
            });
        })
    };
    let mut counts = [0; 4];
    for _ in 0..7 * EACH {
        counts[receiver.blocking_recv().unwrap()] += 1;
    }
    assert_eq!(counts, [0, 3 * EACH, 3 * EACH, EACH]);
    threads.into_iter().for_each(join);
    join(tasks);
}

/// Notes its number in a log when it is woken.
struct Logs(usize, Arc<Mutex<Vec<usize>>>);

impl Wake for Logs {
    fn wake(self: Arc<Self>) {
        self.1.lock().unwrap().push(self.0);
    }
}

/// The line is first come, first woken: which task is woken for a place depends on nothing but the
/// order in which they joined. A task that has been woken and not polled loses its place to nobody.
#[test]
fn sends_are_woken_and_served_in_the_order_in_which_they_came() {
    const SENDS: usize = 40;
    let _watchdog = watchdog();
    for channel in CHANNELS {
        let feed = Feed::new();
        let mut channel = channel(&feed);
        feed.send(usize::MAX);
        let log = Arc::new(Mutex::new(Vec::new()));
        let wakers: Vec<_> = (0..SENDS)
            .map(|number| Waker::from(Arc::new(Logs(number, Arc::clone(&log)))))
            .collect();
        let mut sends: Vec<_> = (0..SENDS)
            .map(|number| Box::pin(feed.send_async(number)))
            .collect();
        let mut poll = |number: usize| {
            let mut context = Context::from_waker(&wakers[number]);
            sends[number].as_mut().poll(&mut context)
        };
        for number in 0..SENDS {
            // Those before it are polled again, which does not cost them their place.
            for again in [number / 2, number] {
                assert!(poll(again).is_pending());
            }
        }
        let mut expected = usize::MAX;
        for number in 0..SENDS {
            assert_eq!((channel.take)(), Some(expected));
            if number % 3 == 0 {
                // A send that does not wait is quicker than the task that was woken.
                assert_eq!(feed.try_send(usize::MAX).map_err(|_| "full"), Ok(1));
                assert!(poll(number).is_pending());
                assert_eq!((channel.take)(), Some(usize::MAX));
            }
            // The next ones may have been woken too, by another thread, because this one has taken
            // its time. None of them is left out.
            eventually(|| {
                let woken: BTreeSet<_> = log.lock().unwrap().iter().copied().collect();
                woken.len() > number && woken.iter().copied().eq(0..woken.len())
            });
            assert_eq!(poll(number), Poll::Ready(1));
            expected = number;
        }
    }
}

/// How many values a thread sends is up to the scheduler as well: a thread that runs beside the
/// receiver finds room while the thread that was woken for it is not running yet, and one that was
/// preempted is not in line. So this counts turns, and how often a thread waits for many of others.
/// On a busy machine, threads are preempted so often that one attempt in eighty fails.
#[test]
fn no_blocked_thread_waits_while_others_get_turn_after_turn() {
    const ATTEMPTS: usize = 3;
    let _watchdog = watchdog();
    let mut seen = Vec::new();
    while seen.len() < ATTEMPTS {
        let (turns, waits) = turns_and_long_waits();
        if turns
            .iter()
            .zip(&waits)
            .all(|(turns, long)| 20 * long < *turns)
        {
            return;
        }
        seen.push((turns, waits));
    }
    panic!("turns and long waits: {seen:?}");
}

/// How many turns each of some threads got that all send to one place, until each had a number of
/// them, and how many of its turns came long after the one before.
fn turns_and_long_waits() -> ([usize; 8], [usize; 8]) {
    const THREADS: usize = 8;
    const TURNS: usize = 150;
    let feed = Feed::new();
    let mut receiver = feed.channel(1).unwrap();
    let threads: Vec<_> = (0..THREADS)
        .map(|number| {
            let feed = feed.clone();
            thread::spawn(move || while feed.send(number) == 1 {})
        })
        .collect();
    let (mut turns, mut waits) = ([0; THREADS], [0; THREADS]);
    let mut latest = [None; THREADS];
    let (mut now, mut before) = (0, THREADS);
    while turns.iter().any(|turns| *turns < TURNS) {
        let number = receiver.recv().unwrap();
        if number == std::mem::replace(&mut before, number) {
            continue;
        }
        now += 1;
        turns[number] += 1;
        // A thread is in line once it has sent its first value.
        let turn = latest[number].replace(now).unwrap_or(now);
        waits[number] += usize::from(now - turn > 4 * THREADS);
    }
    feed.close();
    threads.into_iter().for_each(join);
    (turns, waits)
}

#[cfg(target_os = "linux")]
fn where_no_thread_can_be_made() {
    let feed = Feed::new();
    let mut context = Context::from_waker(Waker::noop());
    // A channel that cannot tell when it has room.
    let (sender, far_end) = std::sync::mpsc::sync_channel(1);
    let subscription = feed.subscribe(sender);
    feed.send(0);
    let (woken, waker) = counting_waker();
    let mut send = pin!(feed.send_async(1));
    let begun = std::time::Instant::now();
    for polled in 1..=20 {
        let mut context = Context::from_waker(&waker);
        assert!(send.as_mut().poll(&mut context).is_pending());
        assert!(woken.0.load(Ordering::SeqCst) >= polled, "not woken");
    }
    // 50, 100, 200, 400, 800, 1000, 1000 microseconds, and so on.
    assert!(
        begun.elapsed().as_millis() >= 15,
        "it is polled without a pause"
    );
    assert_eq!(far_end.recv(), Ok(0));
    assert_eq!(send.as_mut().poll(&mut context), Poll::Ready(1));
    assert_eq!(far_end.recv(), Ok(1));
    subscription.unsubscribe();
    // An own channel with sends in front that are not polled.
    let mut receiver = feed.channel(1).unwrap();
    feed.send(0);
    let idle = idle(&feed, 10);
    let mut send = pin!(feed.send_async(1));
    let (woken, waker) = counting_waker();
    assert!(
        send.as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    assert_eq!(receiver.try_recv(), Ok(0));
    assert!(woken.0.load(Ordering::SeqCst) > 0);
    assert_eq!(send.as_mut().poll(&mut context), Poll::Ready(1));
    drop(idle);
}

#[cfg(target_os = "linux")]
#[test]
fn without_a_thread_nothing_is_lost() {
    use crate::common::child::{WITHOUT_THREADS, in_child};
    in_child(
        "waiting::without_a_thread_nothing_is_lost",
        &[WITHOUT_THREADS],
        where_no_thread_can_be_made,
    );
}
