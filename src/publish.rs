//! The verbs that a feed and a ring share.

use std::time::{Duration, Instant};

/// Sending one stream of values to many receivers.
///
/// The verbs take `&mut self`, so that a sender that needs exclusive access can implement them.
/// Like [`std::io::Write`], the trait is also implemented for `&Feed`, so a shared feed is used
/// through `&mut &feed`.
///
/// ```
/// use fanfeed::{Feed, Publish};
///
/// fn count_to<P: Publish<u32>>(mut out: P, last: u32) {
///     for value in 1..=last {
///         out.send(value);
///     }
/// }
///
/// let feed = Feed::new();
/// let mut receiver = feed.channel(8)?;
/// count_to(&feed, 3);
/// assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [1, 2, 3]);
/// # Ok::<(), fanfeed::CapacityError>(())
/// ```
pub trait Publish<T> {
    /// What a send returns when the value was delivered.
    type Sent;
    /// What a send returns when it gave up waiting, or does not wait.
    type Unsent;

    /// Sends a value, and waits for subscribers that have no room.
    fn send(&mut self, value: T) -> Self::Sent;

    /// Sends a value without waiting.
    ///
    /// # Errors
    ///
    /// If a subscriber had no room.
    fn try_send(&mut self, value: T) -> Result<Self::Sent, Self::Unsent>;

    /// Sends a value, and waits until `deadline` for subscribers that have no room.
    ///
    /// # Errors
    ///
    /// If a subscriber had no room by `deadline`.
    fn send_deadline(&mut self, value: T, deadline: Instant) -> Result<Self::Sent, Self::Unsent>;

    /// Sends a value, and waits up to `timeout` for subscribers that have no room.
    ///
    /// # Errors
    ///
    /// If a subscriber had no room within `timeout`.
    fn send_timeout(&mut self, value: T, timeout: Duration) -> Result<Self::Sent, Self::Unsent>;

    /// Sends the values in order, and waits for subscribers that have no room.
    fn send_batch<I: IntoIterator<Item = T>>(&mut self, values: I) -> Self::Sent;
}

/// Implements [`Publish`] for a type by the methods of these names of `$feed`.
macro_rules! publish_by_methods {
    ($type:ty, $feed:ident, [$($bounds:tt)+] -> $sent:ty, $unsent:ty) => {
        impl<T: $($bounds)+> $crate::publish::Publish<T> for $type {
            type Sent = $sent;
            type Unsent = $unsent;

            fn send(&mut self, value: T) -> $sent {
                $feed::send(self, value)
            }

            fn try_send(&mut self, value: T) -> Result<$sent, $unsent> {
                $feed::try_send(self, value)
            }

            fn send_deadline(&mut self, value: T, deadline: Instant) -> Result<$sent, $unsent> {
                $feed::send_deadline(self, value, deadline)
            }

            fn send_timeout(&mut self, value: T, timeout: Duration) -> Result<$sent, $unsent> {
                $feed::send_timeout(self, value, timeout)
            }

            fn send_batch<I: IntoIterator<Item = T>>(&mut self, values: I) -> $sent {
                $feed::send_batch(self, values)
            }
        }
    };
}
pub(crate) use publish_by_methods;
