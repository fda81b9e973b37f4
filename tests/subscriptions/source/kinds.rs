//! The sources of the subscriptions in these tests.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

use fanfeed::{Stats, Subscription, SubscriptionError, SubscriptionSource, SubscriptionState};

type Hook = Box<dyn Fn(&Plain) + Send + Sync>;

/// A source that does what it is told when it is cancelled, and counts.
pub(crate) struct Plain {
    state: SubscriptionState,
    on_cancel: Hook,
    on_cancel_soon: Hook,
    on_stats: fn() -> Stats,
    on_drop: fn(),
    cancelled: AtomicUsize,
    told: AtomicUsize,
    live: Option<Arc<AtomicI64>>,
}

/// What a [`Plain`] source does.
pub(crate) struct Doing(Plain);

impl Doing {
    /// Ends at once when it is cancelled.
    pub(crate) fn ends() -> Self {
        Self(Plain {
            state: SubscriptionState::new(None),
            on_cancel: Box::new(Plain::cancelled_now),
            on_cancel_soon: Box::new(Plain::cancelled_now),
            on_stats: Stats::default,
            on_drop: || {},
            cancelled: AtomicUsize::new(0),
            told: AtomicUsize::new(0),
            live: None,
        })
    }

    /// Ignores that it is cancelled.
    pub(crate) fn nothing() -> Self {
        Self::ends().on_cancel(|_| {}).on_cancel_soon(|_| {})
    }

    pub(crate) fn on_cancel(mut self, f: impl Fn(&Plain) + Send + Sync + 'static) -> Self {
        self.0.on_cancel = Box::new(f);
        self
    }

    pub(crate) fn on_cancel_soon(mut self, f: impl Fn(&Plain) + Send + Sync + 'static) -> Self {
        self.0.on_cancel_soon = Box::new(f);
        self
    }

    pub(crate) fn on_stats(mut self, f: fn() -> Stats) -> Self {
        self.0.on_stats = f;
        self
    }

    pub(crate) fn on_drop(mut self, f: fn()) -> Self {
        self.0.on_drop = f;
        self
    }

    pub(crate) fn counted(mut self, live: &Arc<AtomicI64>) -> Self {
        live.fetch_add(1, Ordering::SeqCst);
        self.0.live = Some(Arc::clone(live));
        self
    }

    pub(crate) fn named(mut self, name: &str) -> Self {
        self.0.state = SubscriptionState::new(Some(name.into()));
        self
    }

    pub(crate) fn source(self) -> Arc<Plain> {
        Arc::new(self.0)
    }
}

impl Plain {
    pub(crate) fn subscription(self: &Arc<Self>) -> Subscription {
        Subscription::from_source(self.clone())
    }

    fn cancelled_now(&self) {
        self.state.end(None);
    }

    pub(crate) fn end(&self) -> bool {
        self.state.end(None)
    }

    pub(crate) fn fail(&self, why: &str) -> bool {
        self.state.end(Some(SubscriptionError::failed(why)))
    }

    /// How often `cancel` was called.
    pub(crate) fn cancelled(&self) -> usize {
        self.cancelled.load(Ordering::SeqCst)
    }

    /// How often `cancel_soon` was called.
    pub(crate) fn told(&self) -> usize {
        self.told.load(Ordering::SeqCst)
    }
}

impl SubscriptionSource for Plain {
    fn state(&self) -> &SubscriptionState {
        &self.state
    }

    fn cancel(&self) {
        self.cancelled.fetch_add(1, Ordering::SeqCst);
        (self.on_cancel)(self);
    }

    fn cancel_soon(&self) {
        self.told.fetch_add(1, Ordering::SeqCst);
        (self.on_cancel_soon)(self);
    }

    fn stats(&self) -> Stats {
        (self.on_stats)()
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        if let Some(live) = &self.live {
            live.fetch_sub(1, Ordering::SeqCst);
        }
        (self.on_drop)();
    }
}

/// A source that only does what it must.
pub(crate) struct Least(pub(crate) SubscriptionState);

impl SubscriptionSource for Least {
    fn state(&self) -> &SubscriptionState {
        &self.0
    }

    fn cancel(&self) {
        self.cancel_soon();
    }

    fn cancel_soon(&self) {
        self.0.end(None);
    }
}

/// A source with a handler. `cancel` waits for the handler where it may.
pub(crate) struct Handled {
    state: SubscriptionState,
    handler: Mutex<Option<Box<dyn FnMut() + Send>>>,
}

impl Handled {
    pub(crate) fn new(handler: impl FnMut() + Send + 'static) -> Arc<Self> {
        Arc::new(Self {
            state: SubscriptionState::new(None),
            handler: Mutex::new(Some(Box::new(handler))),
        })
    }

    /// Runs the handler, unless the subscription has ended.
    pub(crate) fn deliver(&self) {
        let mut handler = self.handler.lock().unwrap();
        if let Some(handler) = &mut *handler
            && !self.state.is_ended()
        {
            handler();
        }
        if self.state.is_ended() {
            *handler = None;
        }
    }
}

impl SubscriptionSource for Handled {
    fn state(&self) -> &SubscriptionState {
        &self.state
    }

    fn cancel(&self) {
        self.state.end(None);
        if SubscriptionState::may_wait() {
            drop(self.handler.lock().unwrap().take());
        }
    }

    fn cancel_soon(&self) {
        self.state.end(None);
    }
}

/// Asserts that nothing refers to the source any more.
#[track_caller]
pub(crate) fn assert_gone<S>(source: Arc<S>) {
    let weak: Weak<S> = Arc::downgrade(&source);
    drop(source);
    assert!(weak.upgrade().is_none(), "the source is still referred to");
}
