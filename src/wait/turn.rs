//! Tasks that yield to other tasks.
//!
//! A task that awaits values that are all there already never returns to its executor. Other tasks
//! of the thread, and timers, do not run. So of the polls that complete on a thread, one after
//! [`TURN`] others yields: it wakes its own task and returns `Pending`. The count belongs to the
//! thread and not to a future, because a loop makes a future for each value. tokio's channels do
//! the same by a budget that tokio resets with each poll of a task; this needs no runtime.
//!
//! A task that polls several futures in a `select!` returns to its executor only if all of them
//! return `Pending`. So a poll that finds nothing does not restart the count. Once one poll has
//! yielded, all others on the thread do so too, until the first of them is polled again. Then the
//! executor has had its turn.

use std::cell::Cell;
use std::ptr;
use std::task::{Context, Poll};

use crate::sync::{MODELLED, thread_local, yield_now};

/// How many polls complete on a thread before one yields; the same number as in tokio.
const TURN: u32 = 128;

/// The most other polls that yield. The first may be gone, and is then not polled again.
const OTHERS: u32 = 64;

#[derive(Clone, Copy)]
struct Turn {
    /// How many polls have completed, or how many have yielded.
    count: u32,
    /// The address of the first that yielded; null while polls may complete.
    first: *const (),
}

impl Turn {
    const NEW: Self = Self {
        count: 0,
        first: ptr::null(),
    };
}

thread_local! {
    // Without a destructor, so it can be used while the thread's other locals are destroyed.
    static NOW: Cell<Turn> = const { Cell::new(Turn::NEW) };
}

/// Whether a poll of the future or receiver at this address may complete. If so, it is counted. If
/// not, the task is woken, and the poll must return `Pending`.
#[inline]
pub(crate) fn poll_turn(context: &Context<'_>, polled: *const ()) -> Poll<()> {
    let mut turn = NOW.with(Cell::get);
    if !turn.first.is_null() && (turn.first == polled || turn.count == OTHERS) {
        turn = Turn::NEW;
    }
    if turn.first.is_null() && turn.count == TURN {
        turn = Turn {
            count: 0,
            first: polled,
        };
    } else {
        turn.count += 1;
    }
    NOW.with(|now| now.set(turn));
    if !turn.first.is_null() {
        poll_again(context);
        return Poll::Pending;
    }
    Poll::Ready(())
}

/// Wakes the task that is being polled, because another thread is about to do what the task waits
/// for, or other tasks must run first. The poll must return `Pending`.
pub(crate) fn poll_again(context: &Context<'_>) {
    // An executor runs other tasks and threads before it polls again. The `block_on` of a model
    // need not, and would poll without end.
    if MODELLED {
        yield_now();
    }
    context.waker().wake_by_ref();
}

/// Takes back the count of a poll that has not completed.
pub(crate) fn not_completed() {
    NOW.with(|turn| {
        let Turn { count, first } = turn.get();
        if first.is_null() {
            turn.set(Turn {
                count: count.saturating_sub(1),
                first,
            });
        }
    });
}
