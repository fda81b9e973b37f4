//! One listener: the source of its subscription, and what calls it.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use fanfeed::{CancelToken, SubscriptionSource, SubscriptionState};

use crate::core::slot::BETWEEN;
use crate::core::visits::is_inside;
use crate::core::{Shared, Unfinished, blocking};
use crate::error::BusError;
use crate::event::DynEvent;
use crate::listener::Context;
use crate::quietly::quietly;
use crate::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
    mutant,
};

/// Which events a listener gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    All,
    Name(Arc<str>),
}

#[cfg(feature = "broker")]
impl Place {
    /// The name, for errors.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::All => "*",
            Self::Name(name) => name,
        }
    }
}

/// Where a listener runs.
#[derive(Clone)]
pub(crate) enum Run {
    /// On the dispatching thread.
    Here,
    /// On a thread of the pool.
    Pool,
    /// As a task of a runtime. `None` is no runtime, which is refused when it is registered.
    #[cfg(feature = "tokio")]
    Task {
        make: Arc<dyn crate::asynchronous::Make>,
        runtime: Option<tokio::runtime::Handle>,
    },
}

/// What calls the user's code.
pub(crate) trait Target: Send + Sync {
    fn call(&self, event: &DynEvent, context: &Context<'_>) -> Result<(), BusError>;

    /// Whether the event is of the listener's type.
    fn takes(&self, _event: &DynEvent) -> bool {
        true
    }
}

/// A listener in the table. The table owns it, and so do dispatches under way; so the user's code
/// is dropped, by the last of them, soon after the listener was taken out of the table.
pub(crate) struct Entry {
    pub(crate) source: Arc<Source>,
    pub(crate) run: Run,
    /// The type of the events, if the listener was registered by type.
    #[cfg(feature = "broker")]
    pub(crate) typed: Option<std::any::TypeId>,
    target: Option<Box<dyn Target>>,
}

impl Entry {
    pub(crate) fn new(source: Arc<Source>, run: Run, target: Box<dyn Target>) -> Self {
        Self {
            source,
            run,
            #[cfg(feature = "broker")]
            typed: None,
            target: Some(target),
        }
    }

    #[inline]
    pub(crate) fn target(&self) -> &dyn Target {
        let target = self.target.as_deref();
        target.expect("it is taken only when this is dropped")
    }

    /// Whether this event would be the only one that the listener gets.
    #[inline]
    pub(crate) fn is_only(&self, event: &DynEvent) -> bool {
        self.source.is_once && self.takes(event)
    }

    fn takes(&self, event: &DynEvent) -> bool {
        match &self.run {
            #[cfg(feature = "tokio")]
            Run::Task { make, .. } => make.takes(event),
            _ => self.target().takes(event),
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let target = self.target.take();
        quietly(|| drop(target));
        #[cfg(feature = "tokio")]
        {
            let run = std::mem::replace(&mut self.run, Run::Here);
            quietly(|| drop(run));
        }
    }
}

/// The subscription of a listener.
///
/// It ends once: `ended` is set, the tokens of its calls are cancelled, the state ends, the table
/// forgets the listener. See [`visits`](crate::core::visits) for how `cancel` knows that no call is
/// under way.
pub(crate) struct Source {
    state: SubscriptionState,
    shared: Weak<Shared>,
    pub(crate) place: Place,
    label: Arc<str>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) is_once: bool,
    ended: AtomicBool,
    /// Whether a listener that is called once has been given its event.
    claimed: AtomicBool,
    calls: Mutex<Calls>,
}

#[derive(Default)]
struct Calls {
    tokens: Vec<CancelToken>,
    /// The calls that go on without a thread.
    unfinished: Vec<Arc<dyn Unfinished>>,
}

impl Source {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        place: Place,
        name: Option<Arc<str>>,
        label: Arc<str>,
        timeout: Option<Duration>,
        is_once: bool,
    ) -> Self {
        Self {
            label: name.clone().unwrap_or(label),
            state: SubscriptionState::new(name),
            shared: Arc::downgrade(shared),
            place,
            timeout,
            is_once,
            ended: AtomicBool::new(false),
            claimed: AtomicBool::new(false),
            calls: Mutex::default(),
        }
    }

    /// The word of its visits.
    #[inline]
    pub(crate) fn word(&self) -> u64 {
        self.state.id().get() + BETWEEN
    }

    pub(crate) fn label(&self) -> &Arc<str> {
        &self.label
    }

    #[inline]
    pub(crate) fn is_ended(&self) -> bool {
        // ORDERING: see `visits`.
        self.ended.load(Ordering::SeqCst)
    }

    /// Claims a listener that is called once. One caller may call it.
    pub(crate) fn claim(&self) -> bool {
        // ORDERING: only one caller gets `true`; nothing else depends on it.
        !self.claimed.swap(true, Ordering::Relaxed)
    }

    /// Whether a listener that is called once has its event.
    pub(crate) fn is_claimed(&self) -> bool {
        // ORDERING: as `claim`.
        self.claimed.load(Ordering::Relaxed)
    }

    pub(crate) fn make_token(&self) -> CancelToken {
        let token = CancelToken::new();
        self.calls.lock().tokens.push(token.clone());
        // After the token was stored, so that either this thread sees the end, or the ending thread
        // the token.
        if self.is_ended() {
            token.cancel();
        }
        token
    }

    pub(crate) fn drop_token(&self, token: &CancelToken) {
        token.cancel();
        let mut calls = self.calls.lock();
        calls.tokens.retain(|each| !each.is_same(token));
    }

    /// Adds a call that goes on without a thread. False if the source has ended: then the call is
    /// not to begin.
    #[cfg(feature = "tokio")]
    pub(crate) fn add_unfinished(&self, call: &Arc<dyn Unfinished>) -> bool {
        let mut calls = self.calls.lock();
        calls.unfinished.push(Arc::clone(call));
        // Under the lock under which the ending thread looks for calls.
        if !self.is_ended() {
            return true;
        }
        calls.unfinished.retain(|each| !Arc::ptr_eq(each, call));
        false
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn remove_unfinished(&self, call: &Arc<dyn Unfinished>) {
        self.calls
            .lock()
            .unfinished
            .retain(|each| !Arc::ptr_eq(each, call));
    }

    /// Cancels the tokens of the calls under way, and tells those without a thread to end. No user
    /// code runs here.
    pub(crate) fn cancel_calls(&self) {
        let (tokens, unfinished) = {
            let calls = self.calls.lock();
            (calls.tokens.clone(), calls.unfinished.clone())
        };
        tokens.iter().for_each(CancelToken::cancel);
        unfinished.iter().for_each(|call| call.cancel());
    }

    /// Ends the calls that have no thread, on this one.
    pub(crate) fn end_unfinished(&self) {
        let unfinished = self.calls.lock().unfinished.clone();
        unfinished.into_iter().for_each(|call| call.end());
    }

    /// Begins the end. True for the one caller that has to take the listener out of the table.
    pub(crate) fn begin_end(&self) -> bool {
        // ORDERING: see `visits`.
        if self.ended.swap(true, Ordering::SeqCst) {
            return false;
        }
        self.cancel_calls();
        true
    }

    /// Completes the end. Again: harmless.
    pub(crate) fn complete_end(&self) {
        self.state.end(None);
    }

    /// Waits until no thread is inside the listener.
    fn wait_for_calls(&self, shared: &Shared) {
        if mutant!("bus::unsubscribe_does_not_wait") {
            return;
        }
        let is_over = || !shared.visits.has(self.word()) && self.calls.lock().unfinished.is_empty();
        blocking(|| shared.bell.wait_until(is_over));
    }
}

impl SubscriptionSource for Source {
    fn state(&self) -> &SubscriptionState {
        &self.state
    }

    fn cancel(&self) {
        let shared = self.shared.upgrade();
        let is_first = self.begin_end();
        // Also where another thread began it, and before the table forgets it: what is not in the
        // table has ended.
        self.complete_end();
        if is_first && let Some(shared) = &shared {
            shared.forget(&self.place);
        }
        let Some(shared) = shared else { return };
        self.end_unfinished();
        if SubscriptionState::may_wait() && !is_inside() {
            self.wait_for_calls(&shared);
        }
    }

    fn cancel_soon(&self) {
        if self.begin_end() {
            self.complete_end();
            if let Some(shared) = self.shared.upgrade() {
                shared.forget_soon(&self.place);
            }
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("place", &self.place)
            .field("listener", &self.label)
            .finish_non_exhaustive()
    }
}
