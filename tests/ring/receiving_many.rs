//! Reads of several values at a time, and waits, without blocking a thread.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::thread;

use fanfeed::{ExclusiveRingFeed, RecvError, RingFeed, ring};
use futures_util::FutureExt;

use crate::WAITINGS;
use crate::common::tasks::{counting_waker, in_time};

#[test]
fn a_receive_takes_what_is_there_up_to_its_limit() {
    for overflow in [ring::Overflow::Block, ring::Overflow::DropOldest] {
        let ring = RingFeed::new(8).unwrap();
        let mut reader = ring.subscriber().overflow(overflow).subscribe();
        ring.send_batch(0..5);
        let mut values = vec![9];
        let mut many = |limit| reader.recv_many(&mut values, limit).now_or_never();
        assert_eq!(many(0), Some(Ok(0)));
        assert_eq!(many(3), Some(Ok(3)));
        assert_eq!(many(usize::MAX), Some(Ok(2)));
        assert_eq!(many(1), None);
        assert_eq!(reader.position(), 5);
        assert_eq!(values, [9, 0, 1, 2, 3, 4]);
        reader.unsubscribe();
        let closed = reader.recv_many(&mut values, 1).now_or_never();
        assert_eq!(closed, Some(Err(RecvError::Closed)));
    }
}

#[test]
fn a_lossy_receive_reports_what_it_missed() {
    let ring = RingFeed::new(8).unwrap();
    let mut reader = ring
        .subscriber()
        .overflow(ring::Overflow::DropOldest)
        .subscribe();
    ring.send_batch(0..20);
    let mut values = Vec::new();
    let first = reader.recv_many(&mut values, 99).now_or_never().unwrap();
    let Err(RecvError::Lagged(missed)) = first else {
        panic!("{first:?}");
    };
    while let Some(received) = reader.recv_many(&mut values, 99).now_or_never() {
        assert!(received.unwrap() > 0);
    }
    assert!(values.into_iter().eq(missed..20));
}

#[test]
fn a_wait_that_is_dropped_leaves_no_waker_and_reads_nothing() {
    /// Not `Clone`.
    #[derive(Debug, PartialEq)]
    struct Value(u32);

    let mut ring = ExclusiveRingFeed::new(4).unwrap();
    let mut reader = ring.subscribe();
    let (count, waker) = counting_waker();
    let mut context = Context::from_waker(&waker);
    let held = Arc::strong_count(&count);
    {
        let mut wait = pin!(reader.wait_async());
        assert!(wait.as_mut().poll(&mut context).is_pending());
        assert!(Arc::strong_count(&count) > held);
    }
    assert_eq!(Arc::strong_count(&count), held);
    {
        let mut wait = pin!(reader.wait_async());
        assert!(wait.as_mut().poll(&mut context).is_pending());
        ring.send(Value(7));
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert_eq!(wait.as_mut().poll(&mut context), Poll::Ready(Ok(())));
    }
    let mut values = 0;
    assert_eq!(reader.drain(|value| values += value.0), Ok(1));
    assert_eq!(values, 7);
    drop(ring);
    assert_eq!(
        reader.wait_async().now_or_never(),
        Some(Err(RecvError::Closed))
    );
}

#[tokio::test]
async fn a_task_reads_a_stream_by_reference_in_batches() {
    const COUNT: u64 = 20_000;
    for waiting in WAITINGS {
        let mut ring = ExclusiveRingFeed::new(16).unwrap();
        let mut reader = ring.subscriber().wait_strategy(waiting).subscribe();
        let mut other = ring.subscribe();
        let sender = thread::spawn(move || ring.send_batch(0..COUNT));
        let mut next = 0;
        let by_reference = async {
            loop {
                match in_time(reader.wait_async()).await {
                    Ok(()) => {}
                    Err(RecvError::Closed) => return next,
                    Err(error) => panic!("{waiting:?}: {error}"),
                }
                let _ = reader.drain(|value| {
                    assert_eq!(*value, next);
                    next += 1;
                });
            }
        };
        let many = async {
            let mut values = Vec::new();
            while in_time(other.recv_many(&mut values, 8)).await.is_ok() {}
            values
        };
        let (read, values) = tokio::join!(by_reference, many);
        assert_eq!(read, COUNT, "{waiting:?}");
        assert!(values.into_iter().eq(0..COUNT), "{waiting:?}");
        sender.join().unwrap();
    }
}
