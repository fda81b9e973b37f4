//! Options for building a ring.

use std::marker::PhantomData;
#[cfg(feature = "tracing")]
use std::time::Duration;

use crate::traits::debug_struct;

#[cfg(feature = "tracing")]
use super::core::Core;

/// Options for building a ring, from [`RingFeed::builder`](crate::RingFeed::builder).
///
/// ```
/// use fanfeed::RingFeed;
/// use std::sync::mpsc::{self, SyncSender};
///
/// // Requests. Each carries the sender of its answer.
/// let ring = RingFeed::<SyncSender<u32>>::builder(64).drop_when_read(true).build()?;
/// let mut server = ring.subscribe();
/// let (responder, answer) = mpsc::sync_channel(1);
/// ring.send(responder);
/// // The server reads the request and does not answer it: the client is not left waiting.
/// server.drain(|_responder| {})?;
/// assert!(answer.recv().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "options do nothing until `build` or `build_exclusive` is called"]
pub struct Builder<T> {
    pub(crate) capacity: usize,
    pub(crate) drop_when_read: bool,
    #[cfg(feature = "tracing")]
    pub(crate) warn_after: Option<Duration>,
    values: PhantomData<fn(T)>,
}

impl<T> Builder<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            drop_when_read: false,
            #[cfg(feature = "tracing")]
            warn_after: None,
            values: PhantomData,
        }
    }

    /// Sets whether each value is dropped as soon as the last reader has passed it: when that
    /// reader stops reading or leaves, on its thread. If no reader will read a value, the sender
    /// drops it after it has published it. A value that a reader has not read when it leaves or is
    /// unsubscribed is dropped then. By default a value stays until another value takes its slot.
    ///
    /// A value that no reader has read yet is kept for as long as a reader may read it:
    ///
    /// - Closing the ring drops nothing that a reader may still read. To drop it, drop or
    ///   unsubscribe the reader.
    /// - A reader that [drops the oldest](crate::ring::Overflow::DropOldest) counts until it has
    ///   read or missed a value. It misses values only when senders need their slots. So if it does
    ///   not read, it keeps up to a whole ring of values, for as long as fewer values than that are
    ///   sent.
    ///
    /// A reader that drops the oldest may still read a part of the ring that blocking readers and
    /// senders have left behind. What it reads there is dropped when it stops, and the rest of that
    /// eighth once blocking readers have passed it.
    ///
    /// Such a ring keeps no history: with [`history`](crate::ring::SubscriberBuilder::history), a
    /// later reader gets only what other readers have not read yet. Each read, and each send, makes
    /// one more full fence, and the reader that is furthest behind looks at all others. A panic in
    /// such a drop goes no further. The option makes no difference for values that need no drop.
    pub fn drop_when_read(mut self, drop_when_read: bool) -> Self {
        self.drop_when_read = drop_when_read;
        self
    }

    /// Sets how long a send must have been blocked by a reader before a `tracing` event reports it;
    /// the default is 1 s.
    ///
    /// The event has the level `WARN`, the id and the name of the reader's subscription, and
    /// `blocked_for`. While the send is blocked, further events follow at pauses that double, from
    /// the threshold (at least 1 s) up to 64 s. One more event says when the send goes on, and which
    /// reader was in its way last. The pauses are for all senders of the ring: `suppressed` counts
    /// the sends that reached the threshold since the last event, and that no event was about.
    ///
    /// A send that blocks its thread reports while it is blocked. A `send_async` reports when it is
    /// polled, and when it ends. A ring that is subscribed to a feed reports nothing: the feed does.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let ring = fanfeed::RingFeed::<u32>::builder(64).warn_after(Duration::from_millis(50)).build()?;
    /// # Ok::<(), fanfeed::CapacityError>(())
    /// ```
    #[cfg(feature = "tracing")]
    pub fn warn_after(mut self, threshold: Duration) -> Self {
        self.warn_after = Some(threshold);
        self
    }

    /// Applies the options that a ring can be given after it was made.
    #[cfg(feature = "tracing")]
    pub(crate) fn set_up(&self, core: &Core<T>) {
        if let Some(threshold) = self.warn_after {
            core.wakeups.senders.hold().set_threshold(threshold);
        }
    }
}

impl<T> Clone for Builder<T> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

debug_struct!([T] Builder<T>, |this| Builder {
    capacity: this.capacity,
    drop_when_read: this.drop_when_read,
});
