//! A feed as a sink of items.

use std::panic::{RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_sink::Sink;

use super::handle::Handle;
use super::send_async::SendAsync;
use crate::error::FeedClosed;
use crate::traits::debug_struct;

/// A [`Sink`] that sends its items on a feed. Made by [`Feed::sink`](crate::Feed::sink).
///
/// # Backpressure
///
/// The sink holds at most one item. An item that was started is sent while the sink is polled, as
/// [`Feed::send_async`](crate::Feed::send_async) sends it: the first poll serves all subscribers
/// that have room. The sink is ready for the next item, and flushed, when the item has reached all
/// subscribers that did not refuse it. A subscriber that blocks thus holds the sink, and no other
/// subscriber.
///
/// An item that is started and neither flushed nor followed by another stays in the sink, as with
/// any sink: call `send`, or `feed` and then `flush`.
///
/// # Closing
///
/// The sink is a handle of the feed, which lives at least as long. Closing the sink sends its item,
/// and then drops that handle. If it was the last one, the feed ends. To end the feed in any case,
/// call [`Feed::close`](crate::Feed::close).
///
/// # Errors
///
/// [`FeedClosed`] if the sink or the feed was closed before the item reached any subscriber. The
/// item is dropped. An item that finds no subscriber on a feed that is open is no error.
///
/// # Dropping it
///
/// A sink that is dropped with an item drops its [`SendAsync`], which says what that means.
#[must_use = "sinks do nothing unless polled"]
pub struct FeedSink<T> {
    /// The send of the item that was started. Dropped before the handle: a subscriber that misses
    /// the item is not told so after the feed has ended.
    send: Option<SendAsync<T>>,
    /// `None` once the sink is closed.
    handle: Option<Arc<Handle<T>>>,
}

// As for `Feed` and for `SendAsync`.
impl<T: UnwindSafe> UnwindSafe for FeedSink<T> {}
impl<T: RefUnwindSafe> RefUnwindSafe for FeedSink<T> {}

impl<T> FeedSink<T> {
    pub(crate) fn new(handle: Arc<Handle<T>>) -> Self {
        Self {
            send: None,
            handle: Some(handle),
        }
    }

    /// The handle, if items can be sent.
    fn open(&self) -> Result<&Arc<Handle<T>>, FeedClosed> {
        let handle = self.handle.as_ref();
        handle
            .filter(|handle| !handle.core().is_closed())
            .ok_or(FeedClosed(()))
    }
}

impl<T: Clone + Send + 'static> Sink<T> for FeedSink<T> {
    type Error = FeedClosed;

    fn poll_ready(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), FeedClosed>> {
        ready!(self.as_mut().poll_flush(context))?;
        Poll::Ready(self.open().map(drop))
    }

    /// # Panics
    ///
    /// If the sink holds an item, because [`poll_ready`](Self::poll_ready) has not returned that it
    /// is ready.
    fn start_send(self: Pin<&mut Self>, item: T) -> Result<(), FeedClosed> {
        let this = self.get_mut();
        assert!(
            this.send.is_none(),
            "an item was started before the sink was ready: wait for `poll_ready` first"
        );
        let core = Arc::clone(this.open()?.core());
        this.send = Some(SendAsync::new(core, item));
        Ok(())
    }

    /// # Panics
    ///
    /// As [`Feed::send`](crate::Feed::send). The item has then been sent, and the sink goes on.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), FeedClosed>> {
        let this = self.get_mut();
        // A value's panic propagates from the poll that completes the send.
        this.send.take_if(|send| send.is_completed());
        let Some(send) = &mut this.send else {
            return Poll::Ready(Ok(()));
        };
        let reached = ready!(Pin::new(send).poll(context));
        this.send = None;
        Poll::Ready(match reached {
            0 => this.open().map(drop),
            _ => Ok(()),
        })
    }

    fn poll_close(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), FeedClosed>> {
        let flushed = ready!(self.as_mut().poll_flush(context));
        self.handle = None;
        Poll::Ready(flushed)
    }
}

debug_struct!([T] FeedSink<T>, |this| FeedSink { closed: this.open().is_err(), send: this.send });
