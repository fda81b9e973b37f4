//! Floor 1: the errors. All types use one vocabulary: `Full`, `Empty`, `Lagged(n)`, `Closed`,
//! `Timeout`, `Overflowed`.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// A capacity that is 0 or too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CapacityError {
    requested: usize,
    largest: usize,
}

impl CapacityError {
    pub(crate) fn new(requested: usize, largest: usize) -> Self {
        Self { requested, largest }
    }

    /// The capacity that the caller asked for.
    pub fn requested(&self) -> usize {
        self.requested
    }
}

impl fmt::Display for CapacityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the capacity is {}, but it must be from 1 to {}",
            self.requested, self.largest
        )
    }
}

impl Error for CapacityError {}

/// Why a ring's reader cannot begin at a position
/// ([`ring::SubscriberBuilder::from`](crate::ring::SubscriberBuilder::from)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PositionError {
    /// The value at that position was overwritten, or is about to be.
    Gone {
        /// The oldest position where a reader could have begun.
        oldest: u64,
    },
    /// Values before that position have not been sent yet.
    Ahead {
        /// The position of the next value.
        next: u64,
    },
}

impl PositionError {
    /// Whether the ring no longer holds the value.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Gone { .. })
    }

    /// Whether the ring has not reached the position yet.
    pub fn is_ahead(&self) -> bool {
        matches!(self, Self::Ahead { .. })
    }
}

impl fmt::Display for PositionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone { oldest } => write!(
                f,
                "the ring no longer holds the value at this position; the oldest position to begin at is {oldest}"
            ),
            Self::Ahead { next } => write!(
                f,
                "no value has been sent at this position yet; the next position is {next}"
            ),
        }
    }
}

impl Error for PositionError {}

/// Why a reader of a ring cannot follow another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FollowError {
    /// The other reader belongs to another ring.
    OtherRing,
    /// The other reader may miss values.
    Lossy,
}

impl fmt::Display for FollowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherRing => "a reader can only follow readers of its own ring",
            Self::Lossy => "a reader that may miss values cannot be followed",
        })
    }
}

impl Error for FollowError {}

/// A [`FeedSink`](crate::FeedSink) or its feed was closed before the item reached a subscriber.
#[cfg(feature = "async")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedClosed(pub(crate) ());

#[cfg(feature = "async")]
impl fmt::Display for FeedClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the feed, or the sink on it, was closed before the item reached a subscriber")
    }
}

#[cfg(feature = "async")]
impl Error for FeedClosed {}

/// Why a carrier did not take a value; it gives the value back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TrySendError<T> {
    /// There is no room now. There may be room later.
    Full(T),
    /// The far end is gone for good.
    Closed(T),
}

impl<T> TrySendError<T> {
    /// The value that was not taken.
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(value) | Self::Closed(value) => value,
        }
    }

    /// Whether there was no room.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full(_))
    }

    /// Whether the far end is gone.
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed(_))
    }
}

impl<T> fmt::Debug for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(_) => f.write_str("Full(..)"),
            Self::Closed(_) => f.write_str("Closed(..)"),
        }
    }
}

impl<T> fmt::Display for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(_) => f.write_str("the channel is full"),
            Self::Closed(_) => f.write_str("the channel's receiver is gone"),
        }
    }
}

impl<T> Error for TrySendError<T> {}

/// The error of a receive that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecvError {
    /// The receiver missed this many values at this point of the stream. The next receive goes on
    /// after them.
    Lagged(u64),
    /// The subscription or its feed has ended, and everything received before that has been taken.
    Closed,
    /// The receiver fell behind under [`Overflow::Disconnect`](crate::Overflow::Disconnect), and
    /// everything that was received before that has been taken.
    Overflowed,
}

/// The error of a receive that does not wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TryRecvError {
    /// There is no value now. There may be one later.
    Empty,
    /// See [`RecvError::Lagged`].
    Lagged(u64),
    /// See [`RecvError::Closed`].
    Closed,
    /// See [`RecvError::Overflowed`].
    Overflowed,
}

/// The error of a receive with a timeout or a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecvTimeoutError {
    /// No value came in time.
    Timeout,
    /// See [`RecvError::Lagged`].
    Lagged(u64),
    /// See [`RecvError::Closed`].
    Closed,
    /// See [`RecvError::Overflowed`].
    Overflowed,
}

const CLOSED: &str = "the subscription has ended and everything it received has been taken";
const OVERFLOWED: &str = "the subscription was ended because the receiver fell behind";

/// What the three errors of receiving have in common, and the case that one of them has alone.
macro_rules! receive_error {
    ($error:ident $(, $(#[$doc:meta])* $is:ident, $case:ident, $text:literal)?) => {
        impl $error {
            $(
                $(#[$doc])*
                pub fn $is(&self) -> bool {
                    *self == Self::$case
                }
            )?

            /// How many values were missed, if this is `Lagged`.
            pub fn lagged(&self) -> Option<u64> {
                match *self {
                    Self::Lagged(missed) => Some(missed),
                    _ => None,
                }
            }

            /// Whether values were missed here; the stream goes on after this.
            pub fn is_lagged(&self) -> bool {
                self.lagged().is_some()
            }

            /// Whether the subscription or its feed has ended.
            pub fn is_closed(&self) -> bool {
                *self == Self::Closed
            }

            /// Whether the subscription was ended because the receiver fell behind.
            pub fn is_overflowed(&self) -> bool {
                *self == Self::Overflowed
            }
        }

        impl fmt::Display for $error {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$case => f.write_str($text),)?
                    Self::Lagged(1) => f.write_str("1 value was missed here"),
                    Self::Lagged(missed) => write!(f, "{missed} values were missed here"),
                    Self::Closed => f.write_str(CLOSED),
                    Self::Overflowed => f.write_str(OVERFLOWED),
                }
            }
        }

        impl Error for $error {}
    };
}

receive_error!(RecvError);
receive_error!(
    TryRecvError,
    /// Whether there was no value to receive.
    is_empty, Empty, "the channel is empty"
);
receive_error!(
    RecvTimeoutError,
    /// Whether no value came in time.
    is_timeout, Timeout, "no value came in time"
);

impl RecvTimeoutError {
    /// The error of a receive without a deadline.
    pub(crate) fn without_limit(self) -> RecvError {
        match self {
            Self::Lagged(missed) => RecvError::Lagged(missed),
            Self::Overflowed => RecvError::Overflowed,
            // Without a deadline there is no timeout.
            Self::Closed | Self::Timeout => RecvError::Closed,
        }
    }
}

impl TryRecvError {
    /// The error of a timed receive whose last try at its deadline failed with this error.
    pub(crate) fn at_limit(self) -> RecvTimeoutError {
        match self {
            Self::Empty => RecvTimeoutError::Timeout,
            Self::Lagged(missed) => RecvTimeoutError::Lagged(missed),
            Self::Closed => RecvTimeoutError::Closed,
            Self::Overflowed => RecvTimeoutError::Overflowed,
        }
    }
}

impl From<RecvError> for TryRecvError {
    fn from(error: RecvError) -> Self {
        match error {
            RecvError::Lagged(missed) => Self::Lagged(missed),
            RecvError::Closed => Self::Closed,
            RecvError::Overflowed => Self::Overflowed,
        }
    }
}

impl From<RecvError> for RecvTimeoutError {
    fn from(error: RecvError) -> Self {
        TryRecvError::from(error).at_limit()
    }
}

/// Why a subscription failed, as [`Subscription::err`](crate::Subscription::err) yields it.
///
/// A subscription has not failed if it was cancelled, its feed was closed, or its receiver was
/// dropped.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SubscriptionError {
    /// The receiver fell behind under [`Overflow::Disconnect`](crate::Overflow::Disconnect).
    Overflowed,
    /// The carrier, the producer or the [source](crate::SubscriptionSource) panicked with this
    /// message.
    Panicked(Arc<str>),
    /// The producer returned this error, or the [source](crate::SubscriptionSource) of the
    /// subscription failed with it.
    Failed(Arc<dyn Error + Send + Sync>),
}

impl SubscriptionError {
    /// The error of a producer or a source that failed.
    pub fn failed(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Failed(Arc::from(error.into()))
    }

    /// The error of a producer or carrier that panicked with this message.
    pub(crate) fn panicked(message: &str) -> Self {
        Self::Panicked(Arc::from(message))
    }

    /// Whether the receiver fell behind.
    pub fn is_overflowed(&self) -> bool {
        matches!(self, Self::Overflowed)
    }

    /// Whether a carrier, producer or source panicked.
    pub fn is_panicked(&self) -> bool {
        matches!(self, Self::Panicked(_))
    }

    /// Whether a producer or source failed.
    pub fn is_failed(&self) -> bool {
        matches!(self, Self::Failed(_))
    }
}

impl fmt::Display for SubscriptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overflowed => f.write_str(OVERFLOWED),
            Self::Panicked(message) => write!(
                f,
                "the subscription's carrier, producer or source panicked: {message}"
            ),
            Self::Failed(error) => write!(f, "the subscription's producer failed: {error}"),
        }
    }
}

impl Error for SubscriptionError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed(error) => Some(&**error),
            Self::Overflowed | Self::Panicked(_) => None,
        }
    }
}
