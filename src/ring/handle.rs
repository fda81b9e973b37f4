//! Subscribing to a ring, also without sending.

use std::sync::Arc;

use crate::subscription::Closed;
use crate::traits::{clone_handle, debug_struct, unwind_safe};

use super::builder::SubscriberBuilder;
use super::core::Core;
use super::monitor::ReaderStats;
use super::receiver::Receiver;

/// Implements what all handles of a ring offer: to subscribe, and to watch the readers.
macro_rules! subscribing_methods {
    ($handle:ident) => {
        impl<T> $handle<T> {
            /// The most values that the ring holds.
            pub fn capacity(&self) -> usize {
                self.core().track.shape().capacity() as usize
            }

            /// The number of subscriptions that have not ended. It may change at any time while
            /// other threads subscribe and unsubscribe.
            pub fn subscriber_count(&self) -> usize {
                self.core().count()
            }

            /// The position and the lag of each reader whose subscription has not ended, for
            /// monitoring. Readers are listed in the order of their slots, which later readers take
            /// over from earlier ones. A close ends all subscriptions, so after it the list is
            /// empty, even while readers still take what was sent. Their
            /// [cursors](Receiver::cursor) then say where they are.
            ///
            /// This takes the lock of subscribing and unsubscribing, for some nanoseconds for each
            /// reader. It stops neither senders nor readers: while they run, the figures of two
            /// readers are from different moments.
            ///
            /// ```
            /// let ring = fanfeed::RingFeed::new(8)?;
            /// let mut audit = ring.subscriber().name("audit").subscribe();
            /// let _screen = ring.subscriber().name("screen").subscribe();
            /// ring.send_batch(0..5);
            /// audit.drain(|_| {})?;
            ///
            /// let lags: Vec<_> = ring.readers().iter().map(|reader| (reader.name().unwrap().to_owned(), reader.lag())).collect();
            /// assert_eq!(lags, [("audit".to_owned(), 0), ("screen".to_owned(), 5)]);
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn readers(&self) -> Vec<ReaderStats> {
                self.core().readers()
            }

            /// The blocking reader that is furthest behind: the one that keeps the ring full when a
            /// send finds no room. `None` if there is no blocking reader, or if that reader leaves
            /// at this moment.
            ///
            /// A send that fails does not name the reader by itself, because that takes a lock and
            /// a count, and programs repeat such sends. This looks at all readers.
            ///
            /// ```
            /// use fanfeed::{RingFeed, TrySendError};
            ///
            /// let ring = RingFeed::new(2)?;
            /// let mut screen = ring.subscriber().name("screen").subscribe();
            /// let _audit = ring.subscriber().name("audit").subscribe();
            /// ring.send_batch([1, 2]);
            /// assert_eq!(screen.recv()?, 1);
            ///
            /// let refused = ring.try_send(3);
            /// assert_eq!(refused, Err(TrySendError::Full(3)));
            /// let reader = ring.slowest().unwrap();
            /// assert_eq!((reader.name(), reader.lag()), (Some("audit"), 2));
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn slowest(&self) -> Option<ReaderStats> {
                self.core().slowest_reader()
            }

            /// Waits for the end of the ring: until it is closed or its last sending handle is
            /// dropped. The result is a future; threads use [`Closed::wait`] and
            /// [`Closed::wait_timeout`]. It is no handle of the ring, and does not keep it alive.
            ///
            /// ```
            /// let ring = fanfeed::RingFeed::<u32>::new(4)?;
            /// let closed = ring.closed();
            /// let sender = std::thread::spawn(move || ring.send(1));
            /// closed.wait();
            /// # sender.join().unwrap();
            /// # Ok::<(), fanfeed::CapacityError>(())
            /// ```
            pub fn closed(&self) -> Closed {
                self.core().closed()
            }

            /// Whether the ring was closed. Once true, it stays true.
            pub fn is_closed(&self) -> bool {
                self.core().is_closed()
            }
        }

        impl<T: Send + Sync + 'static> $handle<T> {
            /// Subscribes a reader that gets every value sent from now on. Senders wait for it when
            /// the ring is full.
            #[must_use = "dropping it unsubscribes"]
            pub fn subscribe(&self) -> Receiver<T> {
                self.subscriber().subscribe()
            }

            /// Subscribes with options: a name, what happens when the reader falls behind, how it
            /// waits, where it begins.
            pub fn subscriber(&self) -> SubscriberBuilder<'_, T> {
                SubscriberBuilder::new(self.core())
            }
        }
    };
}
pub(crate) use subscribing_methods;

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

    fn core(&self) -> &Arc<Core<T>> {
        &self.core
    }
}

subscribing_methods!(Handle);

clone_handle!(Handle<T> { core });

debug_struct!([T] Handle<T>, |this| Handle {
    subscribers: this.subscriber_count(),
    closed: this.is_closed(),
});
