//! Subscribing without sending.

use std::sync::Arc;

use crate::subscription::Closed;
use crate::traits::{clone_handle, debug_struct, unwind_safe};

use super::builder::SubscriberBuilder;
use super::core::Core;
use super::monitor::ReaderStats;
use super::receiver::Receiver;

/// A handle of a ring that can only subscribe. Made by
/// [`RingFeed::handle`](crate::RingFeed::handle) and
/// [`ExclusiveRingFeed::handle`](crate::ExclusiveRingFeed::handle).
///
/// It does not keep the ring alive. A subscription to a ring that has ended has ended too.
pub struct Handle<T> {
    core: Arc<Core<T>>,
}

// As for `RingFeed`.
unwind_safe!([T] Handle<T>);

impl<T> Handle<T> {
    pub(crate) fn new(core: Arc<Core<T>>) -> Self {
        Self { core }
    }

    /// The most values that the ring holds.
    pub fn capacity(&self) -> usize {
        self.core.track.shape().capacity() as usize
    }

    /// The number of subscriptions that have not ended.
    pub fn subscriber_count(&self) -> usize {
        self.core.count()
    }

    /// The position and the lag of each reader whose subscription has not ended: see
    /// [`RingFeed::readers`](crate::RingFeed::readers).
    pub fn readers(&self) -> Vec<ReaderStats> {
        self.core.readers()
    }

    /// Waits for the end of the ring: until it is closed or its last sending handle is dropped. The
    /// result is a future; threads use [`Closed::wait`] and [`Closed::wait_timeout`]. It is no
    /// handle of the ring, and does not keep it alive.
    ///
    /// ```
    /// let ring = fanfeed::RingFeed::<u32>::new(4)?;
    /// let closed = ring.handle().closed();
    /// let sender = std::thread::spawn(move || ring.send(1));
    /// closed.wait();
    /// # sender.join().unwrap();
    /// # Ok::<(), fanfeed::CapacityError>(())
    /// ```
    pub fn closed(&self) -> Closed {
        self.core.closed()
    }

    /// The blocking reader that is furthest behind: see
    /// [`RingFeed::slowest`](crate::RingFeed::slowest).
    pub fn slowest(&self) -> Option<ReaderStats> {
        self.core.slowest_reader()
    }

    /// Whether the ring has ended.
    pub fn is_closed(&self) -> bool {
        self.core.is_closed()
    }
}

impl<T: Send + Sync + 'static> Handle<T> {
    /// Subscribes a reader that gets every value sent from now on. The sender waits for it when the
    /// ring is full.
    #[must_use = "dropping it unsubscribes"]
    pub fn subscribe(&self) -> Receiver<T> {
        self.subscriber().subscribe()
    }

    /// Subscribes with options: a name, what happens when the reader falls behind, how it waits,
    /// where it begins.
    pub fn subscriber(&self) -> SubscriberBuilder<'_, T> {
        SubscriberBuilder::new(&self.core)
    }
}

clone_handle!(Handle<T> { core });

debug_struct!([T] Handle<T>, |this| Handle {
    subscribers: this.subscriber_count(),
    closed: this.is_closed(),
});
