//! Feeds as sinks.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use fanfeed::{Feed, FeedClosed, FeedSink, RecvError};
use futures_util::{FutureExt, Sink, SinkExt, StreamExt, stream};

use crate::common::tasks::{counting_waker, in_time};

fn ready(sink: &mut FeedSink<u8>) -> Poll<Result<(), FeedClosed>> {
    Pin::new(sink).poll_ready(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn a_stream_is_forwarded_through_feeds() {
    let (first, second) = (Feed::new(), Feed::new());
    let (stream, last) = (first.channel(1).unwrap(), second.channel(1).unwrap());
    let (into_first, into_second) = (first.sink(), second.sink());
    drop((first, second));
    let send = stream::iter(0..1_000).map(Ok).forward(into_first);
    let pass_on = stream.map(Ok).forward(into_second);
    let (sent, passed, values) =
        in_time(async { tokio::join!(send, pass_on, last.collect::<Vec<_>>()) }).await;
    assert_eq!((sent, passed), (Ok(()), Ok(())));
    assert!(values.into_iter().eq(0..1_000));
}

#[test]
fn a_sink_is_ready_once_its_item_has_reached_the_slowest_subscriber() {
    let feed = Feed::new();
    let (mut slow, mut fast) = (feed.channel(1).unwrap(), feed.channel(8).unwrap());
    let mut sink = feed.sink();
    let (count, waker) = counting_waker();
    let mut context = Context::from_waker(&waker);
    assert!(ready(&mut sink).is_ready());
    Pin::new(&mut sink).start_send(1).unwrap();
    assert!(ready(&mut sink).is_ready());
    Pin::new(&mut sink).start_send(2).unwrap();
    assert!(Pin::new(&mut sink).poll_ready(&mut context).is_pending());
    assert!(fast.try_iter().eq([1, 2]));
    assert_eq!(slow.try_recv(), Ok(1));
    // It may have been woken before, in vain: it was not polled since.
    assert!(count.0.load(Ordering::SeqCst) > 0);
    assert_eq!(
        Pin::new(&mut sink).poll_ready(&mut context),
        Poll::Ready(Ok(()))
    );
    assert_eq!(slow.try_recv(), Ok(2));
}

#[test]
fn an_item_without_subscribers_is_no_error_and_a_closed_feed_is() {
    let feed = Feed::new();
    let mut sink = feed.sink();
    assert_eq!(sink.send(1).now_or_never(), Some(Ok(())));
    let mut receiver = feed.channel(1).unwrap();
    assert_eq!(sink.feed(2).now_or_never(), Some(Ok(())));
    feed.close();
    // The item reached nobody, and no other item can.
    let closed = sink.flush().now_or_never().unwrap().unwrap_err();
    assert_eq!(ready(&mut sink), Poll::Ready(Err(closed)));
    assert_eq!(sink.send(3).now_or_never(), Some(Err(closed)));
    assert_eq!(receiver.recv(), Err(RecvError::Closed));
    assert_eq!(sink.close().now_or_never(), Some(Ok(())));
}

#[test]
fn an_item_that_reached_some_before_the_feed_closed_was_sent() {
    let feed = Feed::new();
    let (mut full, mut other) = (feed.channel(1).unwrap(), feed.channel(2).unwrap());
    feed.send(0);
    let mut sink = feed.sink();
    assert_eq!(sink.send(1).now_or_never(), None);
    feed.close();
    assert_eq!(sink.flush().now_or_never(), Some(Ok(())));
    assert!(other.iter().eq([0, 1]));
    assert!(full.iter().eq([0]));
}

#[test]
fn a_sink_keeps_the_feed_alive_until_it_is_closed() {
    let feed = Feed::new();
    let mut receiver = feed.channel(1).unwrap();
    let mut sink = feed.sink();
    drop(feed);
    assert_eq!(sink.send(1).now_or_never(), Some(Ok(())));
    assert_eq!(sink.feed(2).now_or_never(), Some(Ok(())));
    // It sends its item before it closes.
    assert_eq!(sink.close().now_or_never(), None);
    assert_eq!(receiver.recv(), Ok(1));
    assert_eq!(sink.close().now_or_never(), Some(Ok(())));
    assert_eq!(receiver.recv(), Ok(2));
    assert_eq!(receiver.recv(), Err(RecvError::Closed));
    assert!(sink.send(3).now_or_never().unwrap().is_err());
    assert_eq!(sink.close().now_or_never(), Some(Ok(())));
}

#[test]
fn a_sink_that_is_dropped_with_an_item_reports_it_as_missed() {
    for is_last_handle in [false, true] {
        let feed = Feed::new();
        let mut receiver = feed.channel(1).unwrap();
        let mut sink = feed.sink();
        let _feed = (!is_last_handle).then_some(feed);
        assert_eq!(sink.send(1).now_or_never(), Some(Ok(())));
        assert_eq!(sink.send(2).now_or_never(), None);
        drop(sink);
        assert_eq!(receiver.recv(), Ok(1));
        assert_eq!(receiver.recv(), Err(RecvError::Lagged(1)));
        assert_eq!(receiver.is_closed(), is_last_handle);
    }
}

#[test]
fn a_sink_goes_on_after_a_clone_has_panicked() {
    #[derive(Debug, PartialEq)]
    struct Item(bool);
    impl Clone for Item {
        fn clone(&self) -> Self {
            assert!(!self.0, "it cannot be cloned");
            Self(self.0)
        }
    }
    let feed = Feed::new();
    let (mut first, mut second) = (feed.channel(2).unwrap(), feed.channel(2).unwrap());
    let mut sink = feed.sink();
    let bad = AssertUnwindSafe(|| sink.send(Item(true)).now_or_never());
    assert!(catch_unwind(bad).is_err());
    assert_eq!(sink.send(Item(false)).now_or_never(), Some(Ok(())));
    assert_eq!(sink.close().now_or_never(), Some(Ok(())));
    assert_eq!(first.recv(), Err(RecvError::Lagged(1)));
    assert_eq!(first.recv(), Ok(Item(false)));
    assert!(second.try_iter().eq([Item(true), Item(false)]));
}

#[test]
#[should_panic = "before the sink was ready"]
fn an_item_that_is_started_too_early_panics() {
    let feed = Feed::new();
    let mut sink = feed.sink();
    Pin::new(&mut sink).start_send(1).unwrap();
    let _ = Pin::new(&mut sink).start_send(2);
}
