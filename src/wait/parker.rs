//! A thread that can be woken through a [`Waker`].

#[cfg(not(fanfeed_loom))]
use std::cell::Cell;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use crate::sync::{self, AtomicBool, Ordering, Thread};

/// Parks the thread that made it; its [`Waker`] unparks that thread.
///
/// A wake-up that comes before the park is kept, so the park returns at once. A park may also
/// return without a wake-up, so the caller must check again what it waits for.
///
/// No two waits have the same parker at the same time. A wait may run user code after it has
/// registered its waker, and that code may wait as well, on the same thread. With a parker of its
/// own, the inner wait takes no wake-up of the outer one: at most it takes the thread's permit to
/// go on, and the outer wait checks its own flag before it parks.
#[derive(Debug)]
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
    /// A parker of the current thread for one wait. The thread keeps it for its next wait.
    pub(crate) fn current() -> Self {
        let signal = take_kept().unwrap_or_else(|| {
            Arc::new(Signal {
                woken: AtomicBool::new(false),
                thread: sync::current(),
            })
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

impl Drop for Parker {
    fn drop(&mut self) {
        keep(&self.signal);
    }
}

#[cfg(not(fanfeed_loom))]
sync::thread_local! {
    /// The signal for the thread's next wait, unless a wait has it.
    static KEPT: Cell<Option<Arc<Signal>>> = const { Cell::new(None) };
}

fn take_kept() -> Option<Arc<Signal>> {
    // A thread whose locals are gone (a destructor that sends) makes a new one each time.
    #[cfg(not(fanfeed_loom))]
    return KEPT.try_with(Cell::take).ok().flatten();
    #[cfg(fanfeed_loom)]
    None
}

fn keep(signal: &Arc<Signal>) {
    #[cfg(not(fanfeed_loom))]
    let _ = KEPT.try_with(|kept| kept.set(Some(Arc::clone(signal))));
    #[cfg(fanfeed_loom)]
    let _ = signal;
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
