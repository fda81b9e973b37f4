//! Floor 3: the trait that a channel implements to be subscribed to a feed.

use std::task::Waker;

use crate::error::TrySendError;

/// Whether a full carrier can tell when it has room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// There may be room now. The send tries again at once.
    Ready,
    /// The waker will be woken when there is room, or when the far end is gone.
    Waking,
    /// The carrier cannot tell. The send tries again on a timer, after 50 µs at first, doubling to
    /// 1 ms.
    Unknown,
}

/// The sending half of a channel that can be subscribed to a [`Feed`](crate::Feed).
///
/// It is implemented for [`crossbeam_channel::Sender`], [`std::sync::mpsc::Sender`] and
/// [`SyncSender`](std::sync::mpsc::SyncSender), and with feature `tokio` for the senders of tokio's
/// `mpsc`, `broadcast` and `watch` channels. Implement it to subscribe any other channel. Only
/// [`try_send`](Self::try_send) is required. [`docs::carriers`](crate::docs::carriers) has carriers
/// for flume and async-channel.
///
/// A channel of capacity 0 takes a value only while its receiver is there. On a crossbeam channel
/// of capacity 0, a blocked [`Feed::send`](crate::Feed::send) waits in the channel itself, so any
/// way of receiving meets it. `Feed::send_async`, and every send to `std`'s `sync_channel(0)`,
/// tries again on a timer. These meet a receiver that waits in `recv`, `recv_timeout` or `select!`,
/// but never one that only polls with `try_recv`.
///
/// A carrier's receiver is not told what it misses, because a carrier takes only values. Three
/// kinds of missed values are counted in [`Stats::dropped`](crate::Stats::dropped) alone: a value
/// refused under [`CarrierOverflow::DropNewest`](crate::CarrierOverflow::DropNewest), a value that
/// a sender gave up, and a value whose `clone` panicked. A receiver that must know where values are
/// missing needs one of the feed's own channels ([`Feed::channel`](crate::Feed::channel)).
///
/// When the subscription has ended, the thread that ended it drops the carrier, outside any
/// delivery. The carrier's `drop` may take long, and may wait for a thread that closes the feed or
/// ends other subscriptions. Subscriptions that this `drop` itself unsubscribes are dropped at
/// once; others that end meanwhile are dropped after it has returned.
/// [`unsubscribe`](crate::Subscription::unsubscribe) says which thread drops the carrier, and when.
///
/// If a carrier, or a value's `clone`, ends another subscription during a send, that subscription
/// does not get the value, unless it has already got it.
///
/// A panic in any of these methods ends the subscription with
/// [`SubscriptionError::Panicked`](crate::SubscriptionError::Panicked), and goes no further. A
/// carrier that unsubscribes itself in [`try_send`](Self::try_send) gets no other value after that,
/// not even the rest of a batch. It is dropped when the send has ended.
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
    /// Takes a value, or gives it back. Several threads may call it at the same time. It must not
    /// wait.
    ///
    /// # Errors
    ///
    /// [`TrySendError::Full`] if there is no room now. [`TrySendError::Closed`] if there never will
    /// be, which ends the subscription.
    fn try_send(&self, value: T) -> Result<(), TrySendError<T>>;

    /// Arranges for `waker` to be woken when there is room, after [`try_send`](Self::try_send)
    /// found none. Several sends may wait at the same time, each with its own waker. If a waker is
    /// passed again, it replaces its earlier registration.
    ///
    /// After [`Room::Waking`] the send tries the value once more before it waits, so that it does
    /// not miss room that appeared in between.
    fn poll_room(&self, waker: &Waker) -> Room {
        let _ = waker;
        Room::Unknown
    }

    /// The send that passed this waker to [`poll_room`](Self::poll_room) no longer waits.
    fn forget_waker(&self, waker: &Waker) {
        let _ = waker;
    }

    /// How many values are in the channel now, if the carrier can tell.
    fn depth(&self) -> Option<usize> {
        None
    }

    /// The most values that the channel holds, if it is bounded and the carrier can tell.
    fn capacity(&self) -> Option<usize> {
        None
    }

    /// The crossbeam sender that this carrier is or wraps, if it does nothing but send on it. A
    /// blocked send then waits in a select on that sender, which meets receivers of zero-capacity
    /// channels that poll. `Feed::send_async` tries again on a timer.
    fn as_crossbeam(&self) -> Option<&crossbeam_channel::Sender<T>> {
        None
    }

    /// Whether dropping this carrier may run user code. `false` only for senders that this crate
    /// knows not to. No other crate can name the argument, so no other crate can override this.
    #[doc(hidden)]
    fn runs_code_when_dropped(&self, _: Sealed) -> bool {
        true
    }

    /// Disconnects the far end without running user code, for a carrier whose drop runs some.
    /// Called once, when the carrier is no longer used, before it is dropped. No other crate can
    /// override this.
    #[doc(hidden)]
    fn disconnect(&self, _: Sealed) {}

    /// Whether every send that waits for this carrier must look again at intervals, and not only
    /// the first in line: the carrier may overlook a send that began to wait a moment ago. No other
    /// crate can override this.
    #[doc(hidden)]
    fn may_overlook(&self, _: Sealed) -> bool {
        false
    }
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

    fn capacity(&self) -> Option<usize> {
        Self::capacity(self)
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
