//! The source of a subscription: the trait, and the counted reference that contains its panics.

use std::any::Any;
use std::sync::{Arc, Weak};

use super::state::SubscriptionState;
use super::stats::Stats;
use crate::error::SubscriptionError;
use crate::sync::MODELLED;
use crate::wait::{catch, quietly};

/// The source of a [`Subscription`](crate::Subscription). With it, a library that delivers values
/// makes its own subscriptions, without a thread for each.
///
/// [`Subscription::from_source`](crate::Subscription::from_source) makes the handle. Feeds, rings,
/// muxes, [`spawn`](crate::Subscription::spawn) and [`join`](crate::Subscription::join) make theirs
/// the same way, so scopes, `join`, [`resubscribe`](crate::resubscribe),
/// [`closed`](crate::Subscription::closed) and [`err`](crate::Subscription::err) work with any
/// source.
///
/// # Contract
///
/// - **The source ends its state**, by [`SubscriptionState::end`], when it begins no more
///   deliveries: because it was cancelled, because what it delivers has ended, or because it
///   failed. It does so on every exit path. A delivery that is under way then may still complete;
///   `cancel` waits for it. No other code ends the state, except that a panic of `cancel` or
///   `cancel_soon` ends it as failed ([`Panicked`](SubscriptionError::Panicked)).
/// - **`state` returns the same state each time**, and that state belongs to this source alone.
/// - **All methods may be called at any time**, from any thread, any number of times, also several
///   at the same time: before the end, during it and after it. `end` wakes waiters on the calling
///   thread, and these may call any method of the same source. So a source must hold no lock of its
///   own while it calls `end`.
///
/// # Effects of a source's faults
///
/// | a source that | has this effect |
/// |---|---|
/// | never ends | [`closed`](crate::Subscription::closed) waits forever, a subscription that it was joined into never ends, and [`SubscriptionScope::count`](crate::SubscriptionScope::count) counts it. `unsubscribe`, dropping the handle and [`SubscriptionScope::close`](crate::SubscriptionScope::close) return nevertheless: they wait for `cancel`, not for the end |
/// | ends twice, or on several threads at the same time | the first end counts. The others have no effect, and `end` returns `false` to them |
/// | blocks in `cancel` | blocks its `unsubscribe`, and the drop of its handle. A scope, or a joined subscription, tells all others to end before it calls the first `cancel`, but then waits for this one |
/// | blocks in `cancel_soon` | blocks the scope, the joined subscription, or the thread whose subscription failed. Other subscriptions may not be told to end |
/// | panics in `cancel` or `cancel_soon` | ends as failed with [`Panicked`](SubscriptionError::Panicked), unless it had ended. The panic goes no further |
/// | panics in `stats` | panics the caller of [`Subscription::stats`](crate::Subscription::stats), and has no other effect |
/// | panics in its destructor | nothing: the panic is caught wherever this crate drops the last reference |
/// | is dropped without having ended | no waiter is lost: whatever waits for the end of a source keeps it in memory. Receivers from `err` are disconnected |
///
/// Dropping a [`Subscription`](crate::Subscription) calls `cancel`, and then drops its reference to
/// the source. [`detach`](crate::Subscription::detach) only drops the reference. A scope that
/// tracks a subscription, a subscription that it was joined into, and a [`Closed`](crate::Closed)
/// hold references too, until the source has ended. So the library that delivers must end the state
/// before it forgets the source; otherwise a detached joined subscription leaks. Because a handle
/// keeps an ended source in memory, a source that owns objects of the subscriber (a handler, a
/// sender) should drop them in `cancel`, and not in its destructor.
///
/// # Examples
///
/// A switchboard that calls a closure for each message. It has no thread: `publish` runs the
/// closures.
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use std::thread::{self, ThreadId};
/// use fanfeed::{Subscription, SubscriptionError, SubscriptionSource, SubscriptionState};
///
/// type Handler = Box<dyn FnMut(&str) + Send>;
///
/// struct Listener {
///     state: SubscriptionState,
///     /// Locked while the handler runs. Empty once the listener was cancelled.
///     handler: Mutex<Option<Handler>>,
///     /// The thread that runs the handler.
///     runs_on: Mutex<Option<ThreadId>>,
/// }
///
/// impl Listener {
///     fn deliver(&self, message: &str) {
///         let mut handler = self.handler.lock().unwrap();
///         if let Some(handler) = &mut *handler && !self.state.is_ended() {
///             *self.runs_on.lock().unwrap() = Some(thread::current().id());
///             handler(message);
///             *self.runs_on.lock().unwrap() = None;
///         }
///         if self.state.is_ended() {
///             // It was cancelled by a thread that could not wait: perhaps by the handler itself.
///             *handler = None;
///         }
///     }
///
///     fn is_running_here(&self) -> bool {
///         *self.runs_on.lock().unwrap() == Some(thread::current().id())
///     }
/// }
///
/// impl SubscriptionSource for Listener {
///     fn state(&self) -> &SubscriptionState {
///         &self.state
///     }
///
///     fn cancel(&self) {
///         self.state.end(None);
///         if SubscriptionState::may_wait() && !self.is_running_here() {
///             // This lock waits for a delivery on another thread.
///             drop(self.handler.lock().unwrap().take());
///         }
///     }
///
///     fn cancel_soon(&self) {
///         self.state.end(None);
///     }
/// }
///
/// #[derive(Default)]
/// struct Switchboard(Mutex<Vec<Arc<Listener>>>);
///
/// impl Switchboard {
///     fn subscribe(&self, handler: impl FnMut(&str) + Send + 'static) -> Subscription {
///         let listener = Arc::new(Listener {
///             state: SubscriptionState::new(None),
///             handler: Mutex::new(Some(Box::new(handler))),
///             runs_on: Mutex::new(None),
///         });
///         self.0.lock().unwrap().push(listener.clone());
///         Subscription::from_source(listener)
///     }
///
///     fn publish(&self, message: &str) {
///         let listeners = {
///             let mut listeners = self.0.lock().unwrap();
///             listeners.retain(|listener| !listener.state.is_ended());
///             listeners.clone()
///         };
///         listeners.iter().for_each(|listener| listener.deliver(message));
///     }
///
///     fn fail(&self, why: &str) {
///         let listeners = std::mem::take(&mut *self.0.lock().unwrap());
///         for listener in listeners {
///             listener.state.end(Some(SubscriptionError::failed(why)));
///         }
///     }
/// }
///
/// let board = Switchboard::default();
/// let (tx, rx) = crossbeam_channel::unbounded();
/// let first = board.subscribe({
///     let tx = tx.clone();
///     move |message| drop(tx.send(format!("first {message}")))
/// });
/// let second = board.subscribe(move |message| drop(tx.send(format!("second {message}"))));
/// board.publish("a");
/// first.unsubscribe();
/// board.publish("b");
/// board.fail("line lost");
/// assert!(first.err().recv().is_err(), "it was unsubscribed");
/// assert!(second.err().recv().unwrap().is_failed());
/// second.unsubscribe();
/// assert_eq!(rx.iter().collect::<Vec<_>>(), ["first a", "second a", "second b"]);
/// ```
pub trait SubscriptionSource: Any + Send + Sync {
    /// The identity and the end of the subscription. Does not block, and does not panic.
    fn state(&self) -> &SubscriptionState;

    /// Ends the subscription if it has not ended, and returns when no delivery is under way any
    /// more. Called again, or after the end, it waits in the same way.
    ///
    /// This is [`unsubscribe`](crate::Subscription::unsubscribe), and also runs when the handle is
    /// dropped. It may wait for deliveries that are under way, and drop the subscriber's objects,
    /// but only if [`SubscriptionState::may_wait`] is true and if it would not wait for its caller:
    /// a handler that the source runs may call this. Otherwise it does what
    /// [`cancel_soon`](Self::cancel_soon) does. The state has ended when this returns, unless the
    /// source could not wait: then it ends a moment later, without further calls.
    ///
    /// It should not wait for a destructor that another thread runs. That is user code, and may
    /// itself wait for what this thread does next. Sources that wait for the handlers of one
    /// another can deadlock, which this crate cannot detect: for example a handler that
    /// unsubscribes a producer ([`spawn`](crate::Subscription::spawn)) while that producer
    /// unsubscribes the handler.
    fn cancel(&self);

    /// Tells the source to end, without waiting.
    ///
    /// Scopes and joined subscriptions call this for all members before they
    /// [`cancel`](Self::cancel) the first. When one member of a joined subscription ends, the
    /// thread that ended it calls this for the others. That thread may be in a delivery, and hold
    /// locks of its own. So this must take no lock that is held while a handler runs, and must run
    /// no user destructor. The state ends now, or later without further calls: `cancel` may never
    /// be called.
    fn cancel_soon(&self);

    /// The figures of the source. All zero by default.
    fn stats(&self) -> Stats {
        Stats::default()
    }
}

/// A counted reference to a source. A panic of the source's `cancel`, `cancel_soon` or destructor
/// goes no further.
///
/// Empty only after [`take`](Self::take). An empty reference can only be dropped.
#[derive(Clone)]
pub(crate) struct SourceRef(Option<Arc<dyn SubscriptionSource>>);

const USED_ONCE_TAKEN: &str = "a reference is not used once it was taken";

impl SourceRef {
    pub(crate) fn new(source: Arc<dyn SubscriptionSource>) -> Self {
        Self(Some(source))
    }

    fn source(&self) -> &dyn SubscriptionSource {
        self.0.as_deref().expect(USED_ONCE_TAKEN)
    }

    pub(crate) fn state(&self) -> &SubscriptionState {
        self.source().state()
    }

    pub(crate) fn stats(&self) -> Stats {
        self.source().stats()
    }

    pub(crate) fn cancel(&self) {
        self.contain(|source| source.cancel());
    }

    pub(crate) fn cancel_soon(&self) {
        self.contain(|source| source.cancel_soon());
    }

    fn contain(&self, f: impl FnOnce(&dyn SubscriptionSource)) {
        let source = self.source();
        if MODELLED {
            // A failing model reports the failure by a panic.
            return f(source);
        }
        if let Err(panic) = catch(|| f(source)) {
            let error = SubscriptionError::panicked(panic.message());
            source.state().end(Some(error));
        }
    }

    /// A reference that does not keep the source alive.
    pub(crate) fn downgrade(&self) -> Weak<dyn SubscriptionSource> {
        self.0.as_ref().map(Arc::downgrade).expect(USED_ONCE_TAKEN)
    }

    /// Moves the reference out, and leaves this one empty.
    pub(crate) fn take(&mut self) -> Self {
        Self(self.0.take())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The source, if it is an `S`.
    pub(crate) fn downcast_ref<S: SubscriptionSource>(&self) -> Option<&S> {
        let source: &dyn Any = self.source();
        source.downcast_ref()
    }
}

impl Drop for SourceRef {
    fn drop(&mut self) {
        let source = self.0.take();
        quietly(|| drop(source));
    }
}
