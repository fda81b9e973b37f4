//! A thread that can be woken through a [`Waker`].

use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use crate::sync::{self, AtomicBool, Ordering, Thread};

/// Parks the thread that made it; its [`Waker`] unparks that thread.
///
/// A wake-up that comes before the park is kept, so the park returns at once. A park may also
/// return without a wake-up, so the caller must check again what it waits for.
#[derive(Debug, Clone)]
pub(crate) struct Parker {
    signal: Arc<Signal>,
    waker: Waker,
}

#[derive(Debug)]
struct Signal {
    woken: AtomicBool,
    thread: Thread,
}

impl Parker {
    /// The parker of the current thread, made once per thread.
    pub(crate) fn current() -> Self {
        #[cfg(not(fanfeed_loom))]
        {
            sync::thread_local! {
                static CURRENT: Parker = Parker::new();
            }
            // A thread whose locals are gone (a destructor that sends) makes a new parker each
            // time.
            CURRENT
                .try_with(Clone::clone)
                .unwrap_or_else(|_| Self::new())
        }
        #[cfg(fanfeed_loom)]
        Self::new()
    }

    fn new() -> Self {
        let signal = Arc::new(Signal {
            woken: AtomicBool::new(false),
            thread: sync::current(),
        });
        Self {
            waker: Waker::from(Arc::clone(&signal)),
            signal,
        }
    }

    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Parks until woken, or until `deadline` if there is one.
    pub(crate) fn park(&self, deadline: Option<Instant>) {
        // ORDERING: pairs with the Release in `wake_by_ref`: what the waker did before is visible
        // to the woken thread.
        if self.signal.woken.swap(false, Ordering::Acquire) {
            return;
        }
        match deadline {
            None => sync::park(),
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                // A model must not depend on the clock.
                if left > Duration::ZERO || sync::MODELLED {
                    sync::park_timeout(left);
                }
            }
        }
        self.signal.woken.swap(false, Ordering::Acquire);
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // ORDERING: pairs with the Acquire in `park`.
        self.woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}
