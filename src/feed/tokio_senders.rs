//! Tokio's senders as carriers.
//!
//! `mpsc` channels have one receiver. It is gone for ever once it is dropped or closed, and then
//! the subscription ends. New receivers of `broadcast` and `watch` channels can be made from a
//! sender, so a channel without receivers has ended only if the carrier is its last sender.

use tokio::sync::{broadcast, mpsc, watch};

use crate::carrier::Carrier;
use crate::error::TrySendError;

/// A [`Feed`](crate::Feed) waits for room in this channel as tokio's own senders do, in tokio's
/// queue.
impl<T: Send + 'static> Carrier<T> for mpsc::Sender<T> {
    fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        Self::try_send(self, value).map_err(|error| match error {
            mpsc::error::TrySendError::Full(value) => TrySendError::Full(value),
            mpsc::error::TrySendError::Closed(value) => TrySendError::Closed(value),
        })
    }

    fn depth(&self) -> Option<usize> {
        Some(self.max_capacity() - self.capacity())
    }

    fn capacity(&self) -> Option<usize> {
        Some(self.max_capacity())
    }
}

impl<T: Send + 'static> Carrier<T> for mpsc::UnboundedSender<T> {
    fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        self.send(value)
            .map_err(|error| TrySendError::Closed(error.0))
    }
}

/// This channel always has room: its receivers lose the oldest values, and tokio tells them so. A
/// value that finds no receiver counts as delivered, and is dropped. The subscription ends at the
/// first value that finds no receiver and no other [`Sender`](broadcast::Sender) that could make
/// one; a [`WeakSender`](broadcast::WeakSender) does not count.
///
/// A carrier cannot tell other carriers of its channel from senders that the program keeps. So two
/// subscriptions of one channel, on one feed or on two, keep each other alive after the last
/// receiver is gone. Subscribe the channel once, or [unsubscribe](crate::Subscription::unsubscribe)
/// one of them.
///
/// ```
/// use tokio::sync::broadcast;
///
/// let feed = fanfeed::Feed::new();
/// let (sender, mut receiver) = broadcast::channel(8);
/// let subscription = feed.subscribe(sender.clone());
/// let mut late = sender.subscribe();
/// drop(sender);
/// feed.send("a");
/// assert_eq!((receiver.try_recv(), late.try_recv()), (Ok("a"), Ok("a")));
///
/// drop((receiver, late));
/// feed.send("b");
/// assert!(subscription.is_closed());
/// ```
impl<T: Send + 'static> Carrier<T> for broadcast::Sender<T> {
    fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        match self.send(value) {
            // The senders are counted first. If this one is alone, only a receiver can make another
            // receiver.
            Err(broadcast::error::SendError(value))
                if self.strong_count() == 1 && self.receiver_count() == 0 =>
            {
                Err(TrySendError::Closed(value))
            }
            _ => Ok(()),
        }
    }

    fn depth(&self) -> Option<usize> {
        Some(self.len())
    }
}

/// This channel always has room: it keeps the latest value alone, also while it has no receiver.
/// The subscription ends at the first value that finds no receiver and no other
/// [`Sender`](watch::Sender) that could make one. Two subscriptions of one channel keep each other
/// alive, as those of a `broadcast` channel do.
///
/// A reference from [`borrow`](watch::Receiver::borrow) holds tokio's lock. While a receiver has
/// one, sends on the feed block their threads, `try_send` and `send_async` too, and it is a deadlock
/// if the thread that has it sends.
///
/// ```
/// use tokio::sync::watch;
///
/// let feed = fanfeed::Feed::new();
/// let (sender, mut receiver) = watch::channel(0);
/// let _subscription = feed.subscribe(sender);
/// feed.send(1);
/// feed.send(2);
/// assert_eq!(*receiver.borrow_and_update(), 2);
/// ```
impl<T: Send + Sync + 'static> Carrier<T> for watch::Sender<T> {
    fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        // The senders are counted first, as above.
        if self.sender_count() == 1 && self.is_closed() {
            return Err(TrySendError::Closed(value));
        }
        self.send_replace(value);
        Ok(())
    }
}
