//! A subscription with a channel of the mux's own.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::task::Poll;
use std::time::{Duration, Instant};

use super::channel::Receiver;
use super::event::Event;
use crate::error::{RecvError, RecvTimeoutError, TryRecvError};
use crate::subscription::{self, Stats};
#[cfg(feature = "async")]
use crate::wait::{not_completed, poll_turn};

/// A subscription to one or several types of events, and the channel on which they come. Dropping
/// it unsubscribes.
///
/// Events of all its types come in one order. Events that one thread posted come in the order
/// posted. No event is ever missed, so the only errors here are `Empty`, `Timeout` and `Closed`.
///
/// After it was unsubscribed, or the mux was stopped, a receive still takes the events that are in
/// the channel. After that every receive returns `Closed`.
///
/// ```
/// # #![allow(deprecated)]
/// use fanfeed::{RecvError, TypeMux};
///
/// let mux = TypeMux::new();
/// let mut words = mux.subscribe::<(String, &str)>();
/// mux.post("one").unwrap();
/// mux.post(2).unwrap();
/// mux.post(String::from("three")).unwrap();
/// mux.stop();
///
/// assert_eq!(words.recv()?.downcast_ref(), Some(&"one"));
/// assert!(words.recv()?.is::<String>());
/// assert_eq!(words.recv().unwrap_err(), RecvError::Closed);
/// # Ok::<(), RecvError>(())
/// ```
#[must_use = "dropping it unsubscribes"]
#[doc(alias = "TypeMuxSubscription")]
pub struct Subscription {
    // Dropped first, so that no event comes after the channel is emptied.
    subscription: subscription::Subscription,
    receiver: Receiver,
}

// An event has left the channel before user code sees it.
impl UnwindSafe for Subscription {}
impl RefUnwindSafe for Subscription {}

impl Subscription {
    pub(super) fn new(subscription: subscription::Subscription, receiver: Receiver) -> Self {
        Self {
            subscription,
            receiver,
        }
    }

    /// Takes the next event, and waits for it.
    ///
    /// # Errors
    ///
    /// [`RecvError::Closed`] once the subscription has ended and every event is taken.
    #[doc(alias = "Chan")]
    pub fn recv(&mut self) -> Result<Event, RecvError> {
        // Without a deadline there is no timeout.
        self.receiver.recv(None).map_err(|_| RecvError::Closed)
    }

    /// Takes the next event, if there is one now.
    ///
    /// # Errors
    ///
    /// [`TryRecvError::Empty`] if there is none, [`TryRecvError::Closed`] once the subscription has
    /// ended and every event is taken.
    pub fn try_recv(&mut self) -> Result<Event, TryRecvError> {
        match self.receiver.try_recv() {
            Poll::Ready(Some(event)) => Ok(event),
            Poll::Ready(None) => Err(TryRecvError::Closed),
            Poll::Pending => Err(TryRecvError::Empty),
        }
    }

    /// Takes the next event, and waits for it up to `timeout`.
    ///
    /// # Errors
    ///
    /// [`RecvTimeoutError::Timeout`] if no event came, [`RecvTimeoutError::Closed`] once the
    /// subscription has ended and every event is taken.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Event, RecvTimeoutError> {
        // A deadline beyond the range of the clock is no deadline.
        self.receiver.recv(Instant::now().checked_add(timeout))
    }

    /// Takes the next event, and waits for it until `deadline`.
    ///
    /// # Errors
    ///
    /// As for [`recv_timeout`](Self::recv_timeout).
    pub fn recv_deadline(&mut self, deadline: Instant) -> Result<Event, RecvTimeoutError> {
        self.receiver.recv(Some(deadline))
    }

    /// An iterator that waits for each event. It ends when the subscription has ended and every
    /// event is taken.
    pub fn iter(&mut self) -> impl Iterator<Item = Event> {
        std::iter::from_fn(|| self.recv().ok())
    }

    /// An iterator over the events that are there. It ends where there is none, without waiting.
    pub fn try_iter(&mut self) -> impl Iterator<Item = Event> {
        std::iter::from_fn(|| self.try_recv().ok())
    }

    /// How many events are in the channel. While other threads post, the number may grow at any
    /// time; it never falls.
    pub fn len(&self) -> usize {
        self.receiver.len()
    }

    /// Whether the channel is empty. While other threads post, this may change at any time.
    pub fn is_empty(&self) -> bool {
        self.receiver.is_empty()
    }

    /// The most events that the channel holds.
    pub fn capacity(&self) -> usize {
        self.receiver.capacity()
    }

    /// Ends the subscription: see [`Subscription::unsubscribe`](crate::Subscription::unsubscribe).
    /// A post that was blocked on it goes on at once.
    pub fn unsubscribe(&self) {
        self.subscription.unsubscribe();
    }

    /// Whether the subscription has ended. A receive still takes the events that are in the
    /// channel.
    pub fn is_closed(&self) -> bool {
        self.subscription.is_closed()
    }

    /// The subscription of this channel.
    pub fn subscription(&self) -> &subscription::Subscription {
        &self.subscription
    }

    /// The figures of the subscription, over all its types.
    pub fn stats(&self) -> Stats {
        self.subscription.stats()
    }

    /// Returns the receiver, and a handle of its subscription for a scope or another thread.
    /// Dropping either ends the subscription; the receiver can then still take what is in the
    /// channel.
    pub fn split(self) -> (Self, subscription::Subscription) {
        let subscription = self.subscription.share();
        (self, subscription)
    }
}

#[cfg(feature = "async")]
impl futures_core::Stream for Subscription {
    type Item = Event;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> Poll<Option<Event>> {
        if poll_turn(context, std::ptr::from_ref(&*self).cast()).is_pending() {
            return Poll::Pending;
        }
        let polled = self.get_mut().receiver.poll_recv(context);
        if polled.is_pending() {
            not_completed();
        }
        polled
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("subscription", &self.subscription)
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}
