//! Floor 3: what a channel must offer to be subscribed to a feed.

use std::task::Waker;

use crate::error::TrySendError;

/// Whether a carrier that was full tells when it has room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// There may be room now: try again at once.
    Ready,
    /// The waker will be woken when there is room, or when the far end is gone.
    Waking,
    /// It cannot tell. It is tried again on a timer, after 50 µs at first, doubling to 1 ms.
    Unknown,
}

/// A channel that can be subscribed to a [`Feed`](crate::Feed): the sending half of it.
///
/// It is implemented for [`crossbeam_channel::Sender`], [`std::sync::mpsc::Sender`] and
/// [`SyncSender`](std::sync::mpsc::SyncSender), and with feature `async` for `tokio::sync::mpsc::Sender`. Implement it
/// to subscribe anything else. Only [`try_send`](Self::try_send) is required.
///
/// A channel of capacity 0 takes a value only while its receiver is there. On a crossbeam channel
/// of capacity 0, a blocked [`Feed::send`](crate::Feed::send) waits in the channel itself, so any
/// way of receiving meets it. `Feed::send_async`, and every send to `std`'s `sync_channel(0)`,
/// tries again on a timer. These meet a receiver that waits in `recv`, `recv_timeout` or `select!`,
/// but never one that only polls with `try_recv`.
///
/// A carrier's receiver is not told what it misses, because a carrier takes values only. Three
/// kinds of missed values are counted in [`Stats::dropped`](crate::Stats::dropped) alone: a value
/// refused under [`CarrierOverflow::DropNewest`](crate::CarrierOverflow::DropNewest), one that a
/// sender gave up, and one whose `clone` panicked. A receiver that has to know where values are
/// missing needs one of the feed's own channels ([`Feed::channel`](crate::Feed::channel)).
///
/// When the subscription has ended, the thread that ended it drops the carrier, outside any
/// delivery. The carrier's `drop` may take long, and may wait for a thread that closes the feed or
/// ends other subscriptions. Subscriptions that this `drop` itself unsubscribes are dropped at
/// once; others that end meanwhile are dropped after it has returned.
/// [`unsubscribe`](crate::Subscription::unsubscribe) says which thread drops the carrier, and when.
///
/// If a carrier, or a value's `clone`, ends another subscription during a send, that subscription
/// does not get the value, unless it has got it already.
///
/// A panic in any of these ends the subscription with
/// [`SubscriptionError::Panicked`](crate::SubscriptionError::Panicked), and goes no further. A carrier that unsubscribes
/// itself in [`try_send`](Self::try_send) is handed no other value after that, not even the rest of a batch; it is dropped
/// when the send has ended.
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use fanfeed::{Carrier, Feed, TrySendError};
///
/// #[derive(Clone, Default)]
/// struct Latest(Arc<Mutex<Option<u32>>>);
///
/// impl Carrier<u32> for Latest {
///     fn try_send(&self, value: u32) -> Result<(), TrySendError<u32>> {
///         *self.0.lock().unwrap() = Some(value);
///         Ok(())
///     }
/// }
///
/// let feed = Feed::new();
/// let latest = Latest::default();
/// let _subscription = feed.subscribe(latest.clone());
/// feed.send(1);
/// feed.send(2);
/// assert_eq!(*latest.0.lock().unwrap(), Some(2));
/// ```
pub trait Carrier<T>: Send + Sync {
    /// Hands over a value, or gives it back. Called by many threads at once; must not wait.
    ///
    /// # Errors
    ///
    /// [`TrySendError::Full`] if there is no room now, and [`TrySendError::Closed`] if there never will be: that ends
    /// the subscription.
    fn try_send(&self, value: T) -> Result<(), TrySendError<T>>;

    /// Arranges for `waker` to be woken when there is room, after [`try_send`](Self::try_send) found none. Several sends
    /// may wait at once, each with a waker of its own; a waker that comes again replaces itself.
    ///
    /// After [`Room::Waking`] the value is tried once more before anybody waits, so that room which came up in between
    /// is not overlooked.
    fn poll_room(&self, waker: &Waker) -> Room {
        let _ = waker;
        Room::Unknown
    }

    /// The send that gave this waker to [`poll_room`](Self::poll_room) waits no longer.
    fn forget_waker(&self, waker: &Waker) {
        let _ = waker;
    }

    /// How many values are in the channel now, if it can tell.
    fn depth(&self) -> Option<usize> {
        None
    }

    /// The crossbeam sender that this is or wraps, if it does nothing but send on it. A blocked
    /// send then waits by selecting on that sender, which meets receivers of zero-capacity channels
    /// that poll. `Feed::send_async` tries again on a timer.
    fn as_crossbeam(&self) -> Option<&crossbeam_channel::Sender<T>> {
        None
    }

    /// Whether dropping this may run user code. `false` only for senders of which this crate knows
    /// that it does not. No other crate can name the argument, and so override this.
    #[doc(hidden)]
    fn runs_code_when_dropped(&self, _: Sealed) -> bool {
        true
    }

    /// Disconnects the far end without running user code, for a carrier whose drop does run some.
    /// Called once, when the carrier is not used any more, before it is dropped. No other crate can
    /// override this.
    #[doc(hidden)]
    fn disconnect(&self, _: Sealed) {}
}

/// Keeps other crates from overriding or calling a method.
#[derive(Debug)]
pub struct Sealed;

impl<T: Send + 'static> Carrier<T> for crossbeam_channel::Sender<T> {
    fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        Self::try_send(self, value).map_err(|error| match error {
            crossbeam_channel::TrySendError::Full(value) => TrySendError::Full(value),
            crossbeam_channel::TrySendError::Disconnected(value) => TrySendError::Closed(value),
        })
    }

    fn depth(&self) -> Option<usize> {
        Some(self.len())
    }

    fn as_crossbeam(&self) -> Option<&crossbeam_channel::Sender<T>> {
        Some(self)
    }

    fn runs_code_when_dropped(&self, _: Sealed) -> bool {
        false
    }
}

impl<T: Send + 'static> Carrier<T> for std::sync::mpsc::Sender<T> {
    fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        self.send(value)
            .map_err(|error| TrySendError::Closed(error.0))
    }

    fn runs_code_when_dropped(&self, _: Sealed) -> bool {
        false
    }
}

impl<T: Send + 'static> Carrier<T> for std::sync::mpsc::SyncSender<T> {
    fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        Self::try_send(self, value).map_err(|error| match error {
            std::sync::mpsc::TrySendError::Full(value) => TrySendError::Full(value),
            std::sync::mpsc::TrySendError::Disconnected(value) => TrySendError::Closed(value),
        })
    }

    fn runs_code_when_dropped(&self, _: Sealed) -> bool {
        false
    }
}
