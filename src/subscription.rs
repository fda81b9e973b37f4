//! Floor 2: the handle of one subscription, whatever it is subscribed to.

mod closed;
mod source;
mod state;
mod stats;

use std::fmt;
use std::sync::Arc;

use crossbeam_channel::Receiver;

use crate::error::SubscriptionError;

pub use closed::Closed;
pub(crate) use source::Source;
pub(crate) use state::State;
pub use state::SubscriptionId;
pub use stats::Stats;

/// A live subscription. Dropping it unsubscribes; [`detach`](Self::detach) lets it run for as long as its source does.
///
/// A subscription ends once, for one of these reasons:
///
/// - it is unsubscribed (or its handle is dropped);
/// - its feed is closed, or the last handle of the feed is dropped;
/// - the far end of its channel is gone;
/// - it fails, and [`err`](Self::err) yields why.
///
/// ```
/// let feed = fanfeed::Feed::new();
/// let (tx, rx) = crossbeam_channel::bounded(8);
/// let subscription = feed.subscribe(tx);
/// feed.send(1);
/// subscription.unsubscribe();
/// feed.send(2);
/// assert_eq!(rx.iter().collect::<Vec<_>>(), [1]);
/// ```
#[must_use = "dropping a subscription unsubscribes it; keep it, or call `detach()` to let it run"]
pub struct Subscription {
    source: Option<Arc<dyn Source>>,
}

impl Subscription {
    pub(crate) fn new(source: Arc<dyn Source>) -> Self {
        Self {
            source: Some(source),
        }
    }

    /// Another handle of the same subscription. Dropping either ends it.
    pub(crate) fn share(&self) -> Self {
        Self {
            source: self.source.clone(),
        }
    }

    fn source(&self) -> &Arc<dyn Source> {
        // Only `detach` takes it, and that consumes the handle.
        self.source
            .as_ref()
            .expect("a subscription has its source until it is consumed")
    }

    /// Its number, unique in this process.
    pub fn id(&self) -> SubscriptionId {
        self.source().state().id()
    }

    /// The name it was given, if any.
    pub fn name(&self) -> Option<&str> {
        self.source().state().name().map(|name| &**name)
    }

    /// A channel that yields one error if the subscription fails, and is disconnected once it has ended.
    ///
    /// It can stand in a `select!`. All receivers that this returns share the one error: one of them gets it.
    ///
    /// ```
    /// use fanfeed::{Feed, Overflow};
    /// let feed = Feed::new();
    /// let receiver = feed.subscriber().capacity(1).overflow(Overflow::Disconnect).channel()?;
    /// let err = receiver.subscription().err();
    /// feed.send('a');
    /// feed.send('b');
    /// assert!(err.recv().unwrap().is_overflowed());
    /// assert!(err.recv().is_err());
    /// # Ok::<(), fanfeed::CapacityError>(())
    /// ```
    pub fn err(&self) -> Receiver<SubscriptionError> {
        self.source().state().err()
    }

    /// Ends the subscription. When this returns, nothing more is put on its channel by any thread, and its carrier has
    /// been dropped; a `send` that was blocked on it goes on at once.
    ///
    /// It waits only for deliveries to this subscription that are under way, which do not block. Called inside a
    /// delivery (from a closure carrier, or a `clone` or `drop` of a value) it does not wait: what has to be dropped is
    /// dropped when that delivery ends. Calling it again, from any thread, is harmless.
    pub fn unsubscribe(&self) {
        self.source().cancel();
    }

    /// Whether the subscription has ended. Once true, it stays true.
    pub fn is_closed(&self) -> bool {
        self.source().state().is_ended()
    }

    /// Waits for the end of the subscription: a future, and for threads [`Closed::wait`] and [`Closed::wait_timeout`].
    pub fn closed(&self) -> Closed {
        Closed::new(Arc::clone(self.source()))
    }

    /// What has been delivered, missed and waited for. Exact once senders are quiet; while they send, each figure is
    /// one that was true a moment ago.
    pub fn stats(&self) -> Stats {
        self.source().stats()
    }

    /// Lets the subscription run without its handle, until its feed or the far end of its channel ends it.
    pub fn detach(mut self) {
        self.source = None;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(source) = self.source.take() {
            source.cancel();
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("id", &self.id())
            .field("name", &self.name())
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
