//! Dispatch gives the messages that arrived to the handlers. All drivers share it.
//!
//! A [`Lane`] is a bounded queue of deliveries with one [`Member`] (a plain subscription) or
//! several (a group). A [`Job`] takes deliveries from the lane for one member and calls its
//! handler. A member has at most as many jobs as its concurrency. Jobs run on the [`Pool`], which
//! grows when handlers block.
//!
//! In memory, plain subscriptions that keep up share a [`Log`] of their key and have no queue of
//! their own: `log.rs`.
//!
//! # Invariants
//!
//! 1. While a lane has deliveries, each of its members has as many jobs as its concurrency:
//!    `offer`, `join` and every hand-back create the missing jobs (`Lane::recruit`). A job ends
//!    only under the lane's lock, after it has seen the queue empty; this is called *giving up its
//!    place*. So a delivery never waits while a member is idle.
//! 2. A delivery is in one place: the queue of its lane, the log behind the lane's cursor, the
//!    batch of a job, held by a job that will try it again, or with a job that is parked while its
//!    handler continues as a future. A job whose member is cancelled hands back all deliveries that
//!    it has not begun, to the front and in order. So a leaving member of a group loses nothing,
//!    and the deliveries that it hands on come before those that arrived later.
//! 3. No user code runs, and no event is sent, under a lock.
//!
//! All shared state is under the lock of one log, one lane, one member or the pool. A thread holds
//! at most one of these locks, except that it may take the lock of a lane while it holds the lock
//! of the lane's log.

mod batch;
mod counters;
mod follower;
mod hub;
mod job;
mod lane;
mod lane_state;
#[cfg_attr(
    not(feature = "tokio"),
    allow(dead_code, reason = "only async handlers go on without their thread")
)]
mod later;
mod log;
mod member;
mod pool;
mod segment;
mod spent;
mod timers;

pub(crate) use counters::{Counters, Tally};
pub(crate) use hub::Hub;
pub(crate) use job::{Arrival, Job};
pub(crate) use lane::{Lane, LaneOptions, Offer, Owner, wake};
#[cfg(feature = "tokio")]
pub(crate) use later::{Completion, inside};
pub(crate) use later::{Parked, Parking, Suspended};
pub(crate) use later::{Started, Unfinished};
pub(crate) use log::{Given, Log, Rare};
pub(crate) use member::{Entry, Member};
pub use pool::PoolOptions;
pub(crate) use spent::Spent;

use std::any::Any;
use std::cell::Cell;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::Arc;

crate::sync::thread_local! {
    /// The number of nested handlers that this thread is running.
    static HANDLERS: Cell<usize> = const { Cell::new(0) };
    /// The lane of the delivery that the innermost of them handles.
    static OWN_LANE: Cell<*const Lane> = const { Cell::new(ptr::null()) };
}

/// Whether the calling thread is inside a handler of that lane. It must not wait for room there: it
/// may be the only thread that can make room.
pub(crate) fn is_handled_here(lane: &Arc<Lane>) -> bool {
    OWN_LANE
        .try_with(Cell::get)
        .is_ok_and(|own| ptr::eq(own, Arc::as_ptr(lane)))
}

/// Whether the calling thread is inside a handler. Such a thread never waits for handlers: it could
/// be waiting for itself.
pub(crate) fn in_handler() -> bool {
    HANDLERS.try_with(Cell::get).is_ok_and(|depth| depth > 0)
}

/// Marks the calling thread as being inside a handler.
struct InHandler {
    outer: *const Lane,
}

impl InHandler {
    fn enter(lane: &Arc<Lane>) -> Self {
        Self::enter_at(Arc::as_ptr(lane))
    }

    fn enter_at(lane: *const Lane) -> Self {
        let _ = HANDLERS.try_with(|depth| depth.set(depth.get() + 1));
        let outer = OWN_LANE.try_with(|own| own.replace(lane));
        Self {
            outer: outer.unwrap_or(ptr::null()),
        }
    }
}

impl Drop for InHandler {
    fn drop(&mut self) {
        let _ = HANDLERS.try_with(|depth| depth.set(depth.get() - 1));
        let _ = OWN_LANE.try_with(|own| own.set(self.outer));
    }
}

/// Whether a thread is inside a handler, and of which lane. Passed to another thread that works for
/// it.
#[cfg(feature = "tokio")]
#[derive(Clone, Copy)]
pub(crate) struct Caller {
    /// The address of the lane, which is only compared.
    own_lane: Option<usize>,
}

#[cfg(feature = "tokio")]
impl Caller {
    pub(crate) fn current() -> Self {
        let own = OWN_LANE.try_with(|own| own.get().addr()).ok();
        Self {
            own_lane: own.filter(|_| in_handler()),
        }
    }

    /// Calls `f` as if this thread were inside the same handler.
    pub(crate) fn inside<R>(self, f: impl FnOnce() -> R) -> R {
        let enter = |lane| InHandler::enter_at(ptr::without_provenance(lane));
        let _inside = self.own_lane.map(enter);
        f()
    }
}

/// The message of a panic.
pub(crate) fn panic_text(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a value that is not text")
}

/// Runs user code whose panics are ignored: a destructor, or the `Display` of an error.
pub(crate) fn quietly<R>(f: impl FnOnce() -> R) -> Option<R> {
    let payload = match catch_unwind(AssertUnwindSafe(f)) {
        Ok(result) => return Some(result),
        Err(payload) => payload,
    };
    // Dropping the panic's payload may panic too, and so may dropping that second payload. So the
    // second one is leaked.
    if let Err(worse) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        mem::forget(worse);
    }
    None
}
