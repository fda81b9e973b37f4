//! Floor 2: the handle of a subscription, whatever its source.

mod cancel_token;
mod closed;
mod handle;
mod join;
mod one_channel;
mod source;
mod spawn;
mod state;
mod stats;

use std::error::Error;
use std::sync::Arc;

use crossbeam_channel::Receiver;

use crate::error::SubscriptionError;
use crate::traits::{debug_struct, unwind_safe};

pub use cancel_token::CancelToken;
pub use closed::Closed;
pub(crate) use closed::FeedEnd;
pub use handle::SubscriptionHandle;
pub(crate) use one_channel::OneChannel;
pub(crate) use source::SourceRef;
pub use source::SubscriptionSource;
pub(crate) use state::Wakers;
pub use state::{SubscriptionId, SubscriptionState};
pub use stats::Stats;

/// A live subscription. Dropping it unsubscribes. [`detach`](Self::detach) lets it run as long as
/// its source does, and so does forgetting it ([`std::mem::forget`]).
///
/// A subscription ends once, for one of these reasons:
///
/// - it is unsubscribed (or its handle is dropped);
/// - its feed is closed, or the last handle of the feed is dropped;
/// - the far end of its channel is gone, or its [source](SubscriptionSource) has ended;
/// - it fails, and [`err`](Self::err) yields the error.
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
    /// Empty once the handle is consumed.
    source: SourceRef,
}

// A subscription ends once, even if user code panics on the way: each waiter is woken separately.
unwind_safe!(Subscription);

impl Subscription {
    /// Makes the handle of a subscription that another library, or an application, delivers to.
    ///
    /// [`SubscriptionSource`] says what a source must do, and what the handle, scopes and joined
    /// subscriptions do with it. Several handles of one source are handles of one subscription:
    /// dropping any of them cancels it.
    ///
    /// # Examples
    ///
    /// A source that is ended by a flag, and delivers nothing:
    ///
    /// ```
    /// use std::sync::Arc;
    /// use fanfeed::{Subscription, SubscriptionSource, SubscriptionState};
    ///
    /// struct Lease(SubscriptionState);
    ///
    /// impl SubscriptionSource for Lease {
    ///     fn state(&self) -> &SubscriptionState {
    ///         &self.0
    ///     }
    ///     fn cancel(&self) {
    ///         self.cancel_soon();
    ///     }
    ///     fn cancel_soon(&self) {
    ///         self.0.end(None);
    ///     }
    /// }
    ///
    /// let lease = Arc::new(Lease(SubscriptionState::new(Some("lease".into()))));
    /// let subscription = Subscription::from_source(lease.clone());
    /// assert_eq!(subscription.name(), Some("lease"));
    /// lease.state().end(None);
    /// assert!(subscription.is_closed());
    /// ```
    pub fn from_source(source: Arc<dyn SubscriptionSource>) -> Self {
        Self {
            source: SourceRef::new(source),
        }
    }

    /// Runs a producer on its own thread, as a subscription that lasts as long as the producer
    /// runs.
    ///
    /// [`unsubscribe`](Self::unsubscribe), and dropping the handle, cancel the token that the
    /// producer was given and wait for the producer to end. Any number of threads may do so. Where
    /// it cannot wait, the call cancels the token and returns at once: on the producer's own
    /// thread, on the thread of another producer whose end this producer is waiting for, or inside
    /// a delivery of a feed, which the producer may be waiting for.
    ///
    /// A producer that ends with `Ok` ends its subscription without an error. An error or a panic
    /// after the token was cancelled is the producer's response to that, and not a failure. If a
    /// producer does not check its token, the caller waits until the producer ends by itself.
    ///
    /// [`stats`](Self::stats) stays at zero, because this crate does not see what a producer
    /// delivers.
    ///
    /// # Errors
    ///
    /// This function returns no error, but the subscription fails with
    /// [`Failed`](SubscriptionError::Failed) if the producer returns an error or if no thread could
    /// be started for it, and with [`Panicked`](SubscriptionError::Panicked) if the producer
    /// panics. [`err`](Self::err) yields that failure.
    ///
    /// # Examples
    ///
    /// ```
    /// use fanfeed::Subscription;
    ///
    /// let (tx, rx) = crossbeam_channel::unbounded();
    /// let subscription = Subscription::spawn(move |_token| {
    ///     for line in ["12", "30", "x"] {
    ///         let _ = tx.send(line.parse::<u32>()?);
    ///     }
    ///     Ok::<(), std::num::ParseIntError>(())
    /// });
    /// assert_eq!(rx.iter().collect::<Vec<_>>(), [12, 30]);
    /// let error = subscription.err().recv().unwrap();
    /// assert_eq!(error.to_string(), "the subscription's producer failed: invalid digit found in string");
    /// ```
    #[doc(alias = "NewSubscription")]
    pub fn spawn<F, E>(producer: F) -> Self
    where
        F: FnOnce(CancelToken) -> Result<(), E> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        Self::from_source(spawn::spawn(producer))
    }

    /// Makes one subscription of many.
    ///
    /// Unsubscribing it unsubscribes all its members. The first member that fails ends all the
    /// others, and its error is the error of the joined subscription. If a member ends without an
    /// error, the others go on. The joined subscription has ended, and its error is available, when
    /// all members have ended. From then on no member gets a value whose send begins later. A
    /// delivery that was under way may still put its value on the channel of a member other than
    /// the one that failed; `unsubscribe`, also after the end, waits for it. A joined subscription
    /// without members lasts until it is unsubscribed.
    ///
    /// [`stats`](Self::stats) are the sums of the members' figures. `depth` is the sum over the
    /// members that can tell, and `None` if none can.
    ///
    /// It has no thread of its own: the thread that ended the first member tells the others to end,
    /// and does not wait for them.
    ///
    /// # Examples
    ///
    /// ```
    /// use fanfeed::Subscription;
    ///
    /// let patient = Subscription::spawn(|token| {
    ///     let _ = token.channel().recv();
    ///     Ok::<(), std::io::Error>(())
    /// });
    /// let hasty = Subscription::spawn(|_token| Err("no such host"));
    /// let both = Subscription::join([patient, hasty]);
    /// both.closed().wait();
    /// assert_eq!(both.err().recv().unwrap().to_string(), "the subscription's producer failed: no such host");
    /// ```
    #[doc(alias = "JoinSubscriptions")]
    pub fn join(subscriptions: impl IntoIterator<Item = Subscription>) -> Self {
        Self::from_source(join::join(None, Self::into_sources(subscriptions), None))
    }

    /// Makes one subscription of the subscriptions of one channel. The end of one is the end of all.
    /// Without members it has ended already. The channel begins when this returns.
    pub(crate) fn join_channel(
        name: Option<Arc<str>>,
        members: impl IntoIterator<Item = Subscription>,
        one_channel: Arc<OneChannel>,
    ) -> Self {
        let members = Self::into_sources(members);
        Self::from_source(join::join(name, members, Some(one_channel)))
    }

    /// Another handle of the same subscription. Dropping either ends it.
    pub(crate) fn share(&self) -> Self {
        Self {
            source: self.source.clone(),
        }
    }

    pub(crate) fn source(&self) -> &SourceRef {
        &self.source
    }

    /// Takes the source out of its handle, which then no longer unsubscribes.
    fn into_source(mut self) -> SourceRef {
        self.source.take()
    }

    /// The sources of these subscriptions. If the iterator panics, the subscriptions that it has
    /// yielded end: no handle of them would remain.
    fn into_sources(subscriptions: impl IntoIterator<Item = Self>) -> Vec<SourceRef> {
        let subscriptions: Vec<_> = subscriptions.into_iter().collect();
        subscriptions.into_iter().map(Self::into_source).collect()
    }

    /// The error with which the subscription failed, if it has failed, whether or not `err` has
    /// yielded it.
    pub(crate) fn error(&self) -> Option<SubscriptionError> {
        self.source().state().error()
    }

    /// The id of the subscription, unique in this process.
    pub fn id(&self) -> SubscriptionId {
        self.source().state().id()
    }

    /// The name of the subscription, if it has one.
    pub fn name(&self) -> Option<&str> {
        self.source().state().name()
    }

    /// A channel that yields one error if the subscription fails, and is disconnected once the
    /// subscription has ended.
    ///
    /// It can be used in a `select!`. All receivers that this returns share the one error: only one
    /// of them gets it.
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

    /// Ends the subscription. When this returns, no thread puts anything more on its channel. A
    /// `send` that was blocked on it goes on at once.
    /// The following is about subscriptions of this crate. For others, their library says what
    /// [`cancel`](SubscriptionSource::cancel) of its source waits for.
    ///
    /// # The carrier
    ///
    /// The thread that ends a subscription drops its carrier (or its closure) before this returns.
    /// Another thread may have ended the subscription, or may end it at the same time: by its own
    /// unsubscribe, by closing the feed, or by a send that found the far end gone. Then that thread
    /// may be the one that drops the carrier.
    ///
    /// - The sender of a crossbeam channel, or of a `std::sync::mpsc` channel, is dropped when this
    ///   returns, whichever thread dropped it: its far end is disconnected, unless there are other
    ///   senders. An own channel of a feed or of a `TypeMux` is closed.
    /// - For any other carrier, including a closure and a tokio sender, this call does not wait
    ///   while another thread runs the destructor. The carrier takes no value any more. But its
    ///   destructor is user code (that of a tokio sender wakes a task): it may take long, and may
    ///   itself wait for what the caller does next. A worker that a carrier joins in its `drop` may
    ///   close the feed, drop its last handle, or end any subscription.
    ///
    /// # Waiting
    ///
    /// This waits only for deliveries that are under way to this subscription and its neighbours
    /// (at most 64 in all), and for threads that query the carrier at that moment. These deliveries
    /// do not block, but they run user code: they clone values, drop values that are pushed out (of
    /// a channel under [`Overflow::DropOldest`](crate::Overflow::DropOldest), or of a ring that is
    /// subscribed to a feed), wake receivers, and report events with feature `tracing`. If that takes
    /// long, this call takes long too.
    /// That user code must not wait for the thread that unsubscribes: that is a deadlock. This may
    /// be called again, from any thread; it then waits in the same way.
    ///
    /// Inside a delivery (in a closure, a carrier, or a `clone` or `drop` of a value) this does not
    /// wait, and drops nothing. The carrier is dropped when the outermost delivery on this thread
    /// ends. If other threads still use the carrier then, the last of them drops it, or the next
    /// send, subscribe or unsubscribe on that feed. The same holds inside more than 16 nested
    /// destructors.
    pub fn unsubscribe(&self) {
        self.source().cancel();
    }

    /// Whether the subscription has ended. Once true, it stays true. [`err`](Self::err) yields the
    /// error at the same time or an instant later. To be sure to get it, wait for the end with
    /// [`closed`](Self::closed).
    pub fn is_closed(&self) -> bool {
        self.source().state().is_ended()
    }

    /// Waits for the end of the subscription. The result is a future; threads use [`Closed::wait`]
    /// and [`Closed::wait_timeout`].
    pub fn closed(&self) -> Closed {
        Closed::new(self.source.clone())
    }

    /// The subscription's figures. They are exact once senders are quiet. While senders run, each
    /// figure was exact a moment ago.
    pub fn stats(&self) -> Stats {
        self.source().stats()
    }

    /// A handle that does not own the subscription: it neither keeps the subscription alive nor
    /// ends it when it is dropped.
    ///
    /// ```
    /// let feed = fanfeed::Feed::new();
    /// let (tx, _rx) = crossbeam_channel::bounded(8);
    /// let subscription = feed.subscriber().name("audit").subscribe(tx);
    /// let handle = subscription.handle();
    /// subscription.detach();
    ///
    /// feed.send(1);
    /// assert_eq!(handle.name(), Some("audit"));
    /// assert_eq!(handle.stats().unwrap().delivered, 1);
    /// handle.unsubscribe();
    /// assert_eq!(feed.send(2), 0);
    /// ```
    pub fn handle(&self) -> SubscriptionHandle {
        SubscriptionHandle::new(&self.source)
    }

    /// Lets the subscription run without its handle, until its feed or the far end of its channel
    /// ends it.
    pub fn detach(self) {
        drop(self.into_source());
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if !self.source.is_empty() {
            self.source.cancel();
        }
    }
}

debug_struct!(Subscription, |this| Subscription {
    id: this.id(),
    name: this.name(),
    closed: this.is_closed(),
});
