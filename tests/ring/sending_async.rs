//! Sending without blocking a thread.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use fanfeed::{RingFeed, Stats, SubscriptionHandle, ring};
use futures_util::{FutureExt, StreamExt};

use crate::blocked;
use crate::common::tasks::{counting_waker, in_time};
use crate::common::{PATIENCE, eventually, join, watchdog};

/// A full ring of one, and its reader.
fn full() -> (RingFeed<u64>, ring::Receiver<u64>) {
    let ring = RingFeed::new(1).unwrap();
    let reader = ring.subscribe();
    ring.send(0);
    (ring, reader)
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    future.poll_unpin(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn where_there_is_room_it_completes_at_once_with_the_position() {
    let ring = RingFeed::new(4).unwrap();
    let mut reader = ring.subscribe();
    for value in 0..4 {
        let mut send = ring.send_async(value);
        assert_eq!(poll(&mut send), Poll::Ready(value));
    }
    assert!(poll(&mut ring.send_async(4)).is_pending());
    assert!(reader.try_iter().eq(0..4));
}

#[tokio::test]
async fn it_goes_on_when_the_reader_does() {
    let ring = RingFeed::new(2).unwrap();
    let mut reader = ring.subscribe();
    let send = async {
        for value in 0..1000 {
            assert_eq!(ring.send_async(value).await, value);
        }
    };
    let receive = async {
        for value in 0..1000 {
            assert_eq!(reader.recv_async().await, Ok(value));
        }
    };
    in_time(async { tokio::join!(send, receive) }).await;
}

#[test]
fn it_counts_as_blocked_by_the_reader_while_it_waits() {
    let (ring, mut reader) = full();
    let mut first = ring.send_async(1);
    let mut second = ring.send_async(2);
    let blocked = |reader: &ring::Receiver<u64>| {
        let stats = reader.stats();
        (stats.blocked, stats.blocked_now.is_some())
    };
    assert_eq!(blocked(&reader), (0, false));
    assert!(poll(&mut first).is_pending() && poll(&mut second).is_pending());
    assert_eq!(blocked(&reader), (2, true));
    assert!(poll(&mut first).is_pending());
    drop(second);
    assert_eq!(blocked(&reader), (2, true));
    assert_eq!(reader.try_recv(), Ok(0));
    assert_eq!(poll(&mut first), Poll::Ready(1));
    assert_eq!(blocked(&reader), (2, false));
    let total = reader.stats().blocked_for;
    assert!(!total.is_zero());
    assert_eq!(reader.stats().blocked_for, total);
}

#[test]
fn nothing_is_sent_by_a_future_that_is_dropped() {
    let (ring, mut reader) = full();
    let value = Arc::new(());
    let typed = RingFeed::new(1).unwrap();
    let _strict = typed.subscribe();
    typed.send(Arc::clone(&value));
    drop(typed.send_async(Arc::clone(&value)));
    let mut send = typed.send_async(Arc::clone(&value));
    assert!(
        send.poll_unpin(&mut Context::from_waker(Waker::noop()))
            .is_pending()
    );
    assert_eq!(Arc::strong_count(&value), 3);
    drop(send);
    assert_eq!(Arc::strong_count(&value), 2);
    assert_eq!(typed.position(), 1);

    drop(ring.send_async(7));
    let mut send = ring.send_async(8);
    assert!(poll(&mut send).is_pending());
    drop(send);
    assert_eq!(reader.recv(), Ok(0));
    assert_eq!(ring.send(1), 1);
    assert_eq!(reader.recv(), Ok(1));
}

#[test]
fn a_dropped_send_keeps_no_waker() {
    let (ring, _reader) = full();
    let (count, waker) = counting_waker();
    let held = Arc::strong_count(&count);
    let mut send = ring.send_async(1);
    for _ in 0..3 {
        assert!(
            send.poll_unpin(&mut Context::from_waker(&waker))
                .is_pending()
        );
        assert_eq!(Arc::strong_count(&count), held + 1);
    }
    drop(send);
    assert_eq!(Arc::strong_count(&count), held);
}

#[test]
fn it_is_woken_by_a_reader_its_leaving_and_the_end() {
    for ending in 0..4 {
        let (ring, mut reader) = full();
        let (count, waker) = counting_waker();
        let mut send = ring.send_async(1);
        let mut context = Context::from_waker(&waker);
        assert!(send.poll_unpin(&mut context).is_pending());
        assert_eq!(count.0.load(Ordering::SeqCst), 0);
        match ending {
            0 => assert_eq!(reader.try_recv(), Ok(0)),
            1 => drop(reader),
            2 => reader.subscription().unsubscribe(),
            _ => ring.close(),
        }
        assert_eq!(count.0.load(Ordering::SeqCst), 1, "{ending}");
        assert_eq!(send.poll_unpin(&mut context), Poll::Ready(1));
        assert_eq!(ring.position(), if ending == 3 { 1 } else { 2 });
    }
}

/// Asks a handle of a reader for figures when it is woken.
struct Asks(SubscriptionHandle, Mutex<Vec<Option<Stats>>>);

impl Wake for Asks {
    fn wake(self: Arc<Self>) {
        self.1.lock().unwrap().push(self.0.stats());
    }
}

#[test]
fn a_handle_has_the_figures_of_a_reader_that_is_leaving() {
    let (ring, reader) = full();
    let handle = reader.subscription().handle();
    let asks = Arc::new(Asks(handle.clone(), Mutex::default()));
    let mut send = ring.send_async(3);
    let waker = Waker::from(Arc::clone(&asks));
    assert!(
        send.poll_unpin(&mut Context::from_waker(&waker))
            .is_pending()
    );
    let before = handle.stats().unwrap();
    // The reader is gone when it wakes the send, and its figures are still asked for.
    drop(reader);
    let asked = asks.1.lock().unwrap();
    let asked: Vec<_> = asked.iter().map(|stats| stats.unwrap()).collect();
    assert!(!asked.is_empty());
    for stats in asked {
        assert_eq!((stats.delivered, stats.blocked), (before.delivered, 1));
    }
    assert_eq!(handle.stats(), None);
}

#[test]
fn on_a_closed_ring_the_value_is_dropped() {
    let ring = RingFeed::new(4).unwrap();
    let value = Arc::new(());
    ring.send(Arc::clone(&value));
    ring.close();
    let mut send = ring.send_async(Arc::clone(&value));
    let outcome = send.poll_unpin(&mut Context::from_waker(Waker::noop()));
    assert_eq!(outcome, Poll::Ready(1));
    drop(send);
    assert_eq!(Arc::strong_count(&value), 1);
}

#[test]
#[should_panic = "a send was polled after it had completed"]
fn it_is_not_polled_after_it_has_completed() {
    let ring = RingFeed::new(4).unwrap();
    let mut send = ring.send_async(1);
    assert!(poll(&mut send).is_ready());
    let _ = poll(&mut send);
}

#[test]
fn a_wake_up_is_handed_on_by_a_send_that_is_dropped_and_by_one_that_was_served() {
    let (ring, mut reader) = full();
    let wakers = [(); 3].map(|()| counting_waker());
    let mut sends = [1, 2, 3].map(|value| Some(ring.send_async(value)));
    for (send, (_, waker)) in sends.iter_mut().zip(&wakers) {
        let send = send.as_mut().unwrap();
        assert!(
            send.poll_unpin(&mut Context::from_waker(waker))
                .is_pending()
        );
    }
    let woken = || {
        wakers
            .each_ref()
            .map(|(count, _)| count.0.load(Ordering::SeqCst))
    };
    assert_eq!(reader.try_recv(), Ok(0));
    assert_eq!(woken()[0], 1, "first come, first woken");
    sends[0] = None;
    assert_eq!(woken()[1], 1);
    let second = sends[1].as_mut().unwrap();
    let outcome = second.poll_unpin(&mut Context::from_waker(&wakers[1].1));
    assert_eq!(outcome, Poll::Ready(1));
    assert_eq!(reader.try_recv(), Ok(2));
    assert!(woken()[2] >= 1);
    let third = sends[2].as_mut().unwrap();
    let outcome = third.poll_unpin(&mut Context::from_waker(&wakers[2].1));
    assert_eq!(outcome, Poll::Ready(2));
}

#[test]
fn a_thread_behind_a_send_that_is_kept_unpolled_goes_on() {
    let _watchdog = watchdog();
    let (ring, mut reader) = full();
    let mut kept = ring.send_async(7);
    assert!(poll(&mut kept).is_pending());
    let sender = {
        let ring = ring.clone();
        blocked(reader.subscription(), move || ring.send(1))
    };
    assert_eq!(reader.recv_timeout(PATIENCE), Ok(0));
    assert_eq!(reader.recv_timeout(PATIENCE), Ok(1));
    assert_eq!(join(sender), 1);
}

#[test]
fn a_thread_behind_a_send_that_was_forgotten_goes_on() {
    let _watchdog = watchdog();
    let (ring, mut reader) = full();
    let mut forgotten = ring.send_async(7);
    assert!(poll(&mut forgotten).is_pending());
    std::mem::forget(forgotten);
    for round in 1..4 {
        let sender = {
            let ring = ring.clone();
            blocked(reader.subscription(), move || ring.send(round))
        };
        assert_eq!(reader.recv_timeout(PATIENCE), Ok(round - 1));
        assert_eq!(join(sender), round);
    }
}

#[test]
fn in_a_handler_it_waits_for_the_handler_to_return() {
    let (ring, mut reader) = full();
    let mut send = pin!(ring.send_async(1));
    let read = reader.drain(|_| assert!(poll(&mut send).is_pending()));
    assert_eq!(read, Ok(1));
    assert_eq!(poll(&mut send), Poll::Ready(1));
    assert_eq!(reader.try_recv(), Ok(1));
}

#[test]
fn a_panic_of_an_old_value_propagates_and_the_value_was_sent() {
    struct Fragile(bool);
    impl Drop for Fragile {
        fn drop(&mut self) {
            assert!(!self.0 || thread::panicking(), "as planned");
        }
    }
    let ring = RingFeed::new(1).unwrap();
    let mut reader = ring.subscribe();
    ring.send(Fragile(true));
    let mut send = ring.send_async(Fragile(false));
    let mut context = Context::from_waker(Waker::noop());
    assert!(send.poll_unpin(&mut context).is_pending());
    assert_eq!(reader.drain(|_| {}), Ok(1));
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        send.poll_unpin(&mut context)
    }));
    assert!(outcome.is_err());
    drop(send);
    assert_eq!(ring.position(), 2);
    assert_eq!(reader.drain(|value| assert!(!value.0)), Ok(1));
    assert_eq!(ring.send(Fragile(false)), 2, "nobody is left in line");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_and_threads_share_the_room_of_slow_readers() {
    const EACH: u64 = 500;
    for capacity in [1, 2, 8] {
        let ring = RingFeed::new(capacity).unwrap();
        let mut readers = [ring::Overflow::Block, ring::Overflow::DropOldest]
            .map(|overflow| ring.subscriber().overflow(overflow).subscribe());
        let tasks: Vec<_> = (0..4_u64)
            .map(|sender| {
                let ring = ring.clone();
                tokio::spawn(async move {
                    for number in 0..EACH {
                        if number % 7 == 3 {
                            // Given up in line.
                            let _ = ring.send_async((9, 0)).now_or_never();
                        }
                        ring.send_async((sender, number)).await;
                    }
                })
            })
            .collect();
        let threads: Vec<_> = (4..6_u64)
            .map(|sender| {
                let ring = ring.clone();
                thread::spawn(move || {
                    for number in 0..EACH {
                        ring.send((sender, number));
                    }
                })
            })
            .collect();
        drop(ring);
        let lossy = thread::spawn({
            let mut lossy =
                std::mem::replace(&mut readers[1], RingFeed::new(1).unwrap().subscribe());
            move || {
                let received = lossy.iter().count() as u64;
                (received, lossy.missed(), lossy.position())
            }
        });
        let mut next = [0; 6];
        let [reader, _] = &mut readers;
        in_time(async {
            while let Some((sender, number)) = reader.next().await {
                if sender < 6 {
                    assert_eq!(number, next[sender as usize]);
                    next[sender as usize] += 1;
                }
            }
        })
        .await;
        assert_eq!(next, [EACH; 6]);
        for task in tasks {
            in_time(task).await.unwrap();
        }
        threads.into_iter().for_each(join);
        let (received, missed, position) = join(lossy);
        assert_eq!(received + missed, position);
    }
}

#[test]
fn two_tasks_on_a_ring_of_one_without_blocking_readers_wait_for_each_other_only() {
    let _watchdog = watchdog();
    let ring = RingFeed::<u64>::new(1).unwrap();
    let sent = Arc::new(AtomicUsize::new(0));
    let threads = [(); 2].map(|()| {
        let (ring, sent) = (ring.clone(), Arc::clone(&sent));
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap();
            runtime.block_on(async {
                for value in 0..5000 {
                    ring.send_async(value).await;
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            });
        })
    });
    eventually(|| sent.load(Ordering::Relaxed) == 10_000);
    threads.into_iter().for_each(join);
    assert_eq!(ring.position(), 10_000);
}
