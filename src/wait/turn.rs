//! Tasks that give way to others.
//!
//! A task that awaits values, all of which are there already, never returns to its executor: other tasks of the thread, and
//! timers, do not run. So of the polls that complete on a thread, one after [`IN_A_ROW`] others gives way: it wakes its own task and
//! returns `Pending`. The count is the thread's and not a future's, because a loop makes a future for each value. tokio's channels
//! do the same by a budget that tokio resets with each poll of a task; this needs no runtime.

use std::cell::Cell;
use std::task::{Context, Poll};

use crate::sync::thread_local;

/// How many polls complete in a row on a thread before one gives way: as many as with tokio.
const IN_A_ROW: u32 = 128;

thread_local! {
    // Without a destructor, so it can be used while the thread's other locals are destroyed.
    static COMPLETED: Cell<u32> = const { Cell::new(0) };
}

/// Whether a poll may complete, for which it counts. If not, the task is woken, and is to return `Pending`.
#[inline]
pub(crate) fn poll_turn(context: &Context<'_>) -> Poll<()> {
    let completed = COMPLETED.with(Cell::get);
    if completed < IN_A_ROW {
        COMPLETED.with(|count| count.set(completed + 1));
        return Poll::Ready(());
    }
    end_turn();
    context.waker().wake_by_ref();
    Poll::Pending
}

/// The poll returns `Pending`: others get their turn.
pub(crate) fn end_turn() {
    COMPLETED.with(|count| count.set(0));
}
