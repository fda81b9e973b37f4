//! The parts of a bus.
//!
//! [`Shared`] is what the handles of one bus share. [`call`] dispatches: it reads the [`table`],
//! makes a [visit](visits), and calls listeners or sends [`Job`]s to the [`pool`]. A [`Source`] is
//! the subscription of one listener. [`Progress`] is a dispatch that is not done when `dispatch`
//! returns. [`waits`] refuses waits that would never end.

mod bell;
pub(crate) mod call;
mod job;
mod log;
mod names;
mod observers;
mod overrun;
mod pending;
pub(crate) mod pool;
mod progress;
mod shared;
#[allow(
    unsafe_code,
    reason = "the word of a visit protects the table in its slot"
)]
mod slot;
mod source;
mod table;
#[allow(unsafe_code, reason = "as `slot`")]
pub(crate) mod visits;
mod waits;

pub(crate) use job::Job;
pub(crate) use overrun::Overrun;
#[cfg(feature = "tokio")]
pub(crate) use overrun::Timer;
pub(crate) use pool::blocking;
pub(crate) use progress::Progress;
pub(crate) use shared::Shared;
#[cfg(any(feature = "tokio", feature = "broker"))]
pub(crate) use source::Entry;
pub(crate) use source::{Place, Run, Source, Target};
#[cfg(feature = "broker")]
pub(crate) use table::Table;
pub(crate) use waits::Wait;
#[cfg(feature = "tokio")]
pub(crate) use waits::number;

use std::sync::Arc;

/// A call that goes on without a thread.
pub(crate) trait Unfinished: Send + Sync {
    /// Tells it to end. No user code runs here.
    fn cancel(&self);

    /// Ends it, on this thread unless another is in it.
    fn end(self: Arc<Self>);
}

/// Marks the calling thread as being inside an asynchronous listener of a dispatch.
#[cfg(feature = "tokio")]
pub(crate) struct InTask<'a> {
    visit: Option<visits::Visit<'a>>,
    _running: waits::Running,
    shared: &'a Shared,
}

#[cfg(feature = "tokio")]
pub(crate) fn enter_task(progress: &Progress) -> InTask<'_> {
    InTask {
        visit: Some(progress.shared.visits.enter_at(progress.epoch)),
        _running: waits::Running::enter(progress),
        shared: &progress.shared,
    }
}

#[cfg(feature = "tokio")]
impl Drop for InTask<'_> {
    fn drop(&mut self) {
        if let Some(visit) = self.visit.take() {
            visit.end(|| self.shared.left());
        }
    }
}
