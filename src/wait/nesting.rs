//! What the calling thread is currently inside. This decides what the thread may wait for and which
//! destructors it may run.
//!
//! A *delivery* is what other threads wait for when they unsubscribe: a visit to a chunk, a gate,
//! the announcement of an end. A *callback* is user code that the crate runs while no thread waits
//! for it: the destructor of a carrier or closure, or the wakers of threads and tasks that wait for
//! an end. Two rules follow:
//!
//! - **Inside a delivery a thread does not wait, and drops no carriers or closures.** Otherwise an
//!   unsubscribe on another thread would wait for that destructor. It does run other user code for
//!   which an unsubscribe waits: it clones values, drops those that it pushes out, and wakes
//!   receivers. `Subscription::unsubscribe` says what that code must not do.
//! - **Inside a callback a thread drops only what the callback itself unsubscribes**, and that to a
//!   bounded depth. Otherwise ten thousand destructors that send would nest.
//!
//! A thread [postpones](postpone) what it may not free now: the outermost delivery or callback on
//! the thread frees it when that ends.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::mem::{self, ManuallyDrop};
use std::sync::Arc;

use crate::sync::thread_local;

/// How deep callbacks may nest before what they unsubscribe is postponed.
const DEEPEST: u64 = 16;

/// One callback. The bits below this one count deliveries.
const CALLBACK: u64 = 1 << 32;
/// Set while something is postponed.
const POSTPONED: u64 = 1 << 63;

/// An object that may have something to free.
pub(crate) trait Reap: Send + Sync {
    /// Frees what can be freed without waiting. Called inside a callback, and in no delivery.
    fn reap_now(&self);
}

thread_local! {
    // Without destructors, so they can be used while the thread's other locals are destroyed.
    static NESTING: Cell<u64> = const { Cell::new(0) };
    static QUEUE: ManuallyDrop<RefCell<VecDeque<Arc<dyn Reap>>>> =
        const { ManuallyDrop::new(RefCell::new(VecDeque::new())) };
}

#[inline]
fn nesting() -> u64 {
    NESTING.with(Cell::get) & !POSTPONED
}

#[inline]
fn enter(what: u64) {
    NESTING.with(|nesting| nesting.set(nesting.get() + what));
}

#[inline]
fn leave(what: u64) {
    let left = NESTING.with(|nesting| {
        let left = nesting.get() - what;
        nesting.set(left);
        left
    });
    if left == POSTPONED {
        catch_up();
    }
}

/// Whether the calling thread is inside a delivery, of any feed.
#[inline]
pub(crate) fn in_delivery() -> bool {
    nesting() & (CALLBACK - 1) != 0
}

/// Whether the calling thread may wait for deliveries of other threads, and drop what it then takes
/// out.
pub(crate) fn may_wait() -> bool {
    !in_delivery() && nesting() / CALLBACK < DEEPEST
}

/// Whether the calling thread may run the destructors of everything that can be freed.
pub(crate) fn may_reap() -> bool {
    nesting() == 0
}

/// Makes the outermost delivery or callback of this thread call `what` when it ends. Only valid
/// inside one.
pub(crate) fn postpone(what: Arc<dyn Reap>) {
    debug_assert!(nesting() != 0);
    QUEUE.with(|queue| {
        let mut queue = queue.borrow_mut();
        // Usually it is the same object again. A search of the whole queue would take quadratic
        // time.
        let mut latest = queue.iter().rev().take(8);
        if !latest.any(|queued| Arc::ptr_eq(queued, &what)) {
            queue.push_back(what);
        }
    });
    NESTING.with(|nesting| nesting.set(nesting.get() | POSTPONED));
}

/// Frees what was postponed, and what is postponed while doing so.
#[cold]
#[inline(never)]
fn catch_up() {
    let _inside = InCallback::enter();
    while let Some(next) = next_postponed() {
        next.reap_now();
    }
}

fn next_postponed() -> Option<Arc<dyn Reap>> {
    QUEUE.with(|queue| {
        let mut queue = queue.borrow_mut();
        let next = queue.pop_front();
        if queue.is_empty() {
            // No other code frees its memory when the thread ends.
            drop(mem::take(&mut *queue));
            NESTING.with(|nesting| nesting.set(nesting.get() & !POSTPONED));
        }
        next
    })
}

/// The calling thread is inside a delivery until this is dropped.
#[derive(Debug)]
pub(crate) struct InDelivery;

impl InDelivery {
    #[inline]
    pub(crate) fn enter() -> Self {
        enter(1);
        Self
    }
}

impl Drop for InDelivery {
    #[inline]
    fn drop(&mut self) {
        leave(1);
    }
}

/// The calling thread runs a user callback until this is dropped.
#[derive(Debug)]
pub(crate) struct InCallback;

impl InCallback {
    pub(crate) fn enter() -> Self {
        enter(CALLBACK);
        Self
    }
}

impl Drop for InCallback {
    fn drop(&mut self) {
        leave(CALLBACK);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::{InCallback, InDelivery, Reap, in_delivery, may_reap, may_wait, postpone};

    /// Counts how often it runs, and postpones itself that many more times.
    struct Again(AtomicUsize, usize);

    struct Handle(Arc<Again>);

    impl Reap for Handle {
        fn reap_now(&self) {
            assert!(!may_reap() && !in_delivery());
            let _inner = InCallback::enter();
            if self.0.0.fetch_add(1, Ordering::Relaxed) < self.0.1 {
                postpone(Arc::new(Handle(Arc::clone(&self.0))));
            }
        }
    }

    /// So many that they would overflow the stack of the test's thread if they ran inside one
    /// another.
    const TURNS: usize = 200_000;

    #[test]
    fn the_outermost_frees_postponed_objects() {
        let again = Arc::new(Again(AtomicUsize::new(0), TURNS));
        let turns = || again.0.load(Ordering::Relaxed);
        let handle: Arc<dyn Reap> = Arc::new(Handle(Arc::clone(&again)));
        for _ in 0..2 {
            let outer = InDelivery::enter();
            let inner = InCallback::enter();
            postpone(Arc::clone(&handle));
            postpone(Arc::clone(&handle));
            drop(inner);
            assert!(in_delivery() && !may_wait());
            assert_eq!(turns(), 0);
            drop(outer);
            assert_eq!(
                turns(),
                TURNS + 1,
                "once for both, and again for each that came up"
            );
            assert!(may_reap() && may_wait());
            again.0.store(0, Ordering::Relaxed);
        }
    }

    #[test]
    fn callbacks_may_wait_to_a_bounded_depth() {
        let nested: Vec<_> = (0..16).map(|_| (may_wait(), InCallback::enter())).collect();
        assert!(nested.iter().all(|(might, _)| *might));
        assert!(!may_wait() && !in_delivery() && !may_reap());
    }
}
