//! Sending on a shared ring without blocking a thread.

use std::fmt;
use std::future::Future;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::ptr;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::wait::{Alarm, not_completed, poll_again, poll_turn};

use super::claimant::{Claimant, Standing, TaskPlace};

/// A send that waits for room without blocking a thread. Made by
/// [`RingFeed::send_async`](crate::RingFeed::send_async).
///
/// It does nothing until it is polled. It completes with the value's position, as
/// [`send`](crate::RingFeed::send) returns it.
///
/// # Dropping it
///
/// If the send has completed, the value was sent. Otherwise it was not sent, and is dropped with
/// the future. A send that is dropped leaves the line, and the next send in line is woken if there
/// is room.
///
/// # Keeping it without polling it
///
/// A send that was polled waits in line for room. If it is not polled when its turn comes, the next
/// send in line is woken after a millisecond. Behind many sends that are not polled, this takes
/// about a millisecond for each doubling of their number. The same holds for a future that is
/// forgotten ([`std::mem::forget`]).
///
/// # Giving way
///
/// After 128 sends and receives on this thread have completed at their first poll, the next first
/// poll yields to other tasks: it wakes its own task, and returns `Pending`.
#[must_use = "a future does nothing unless it is awaited"]
pub struct SendAsync<'a, T> {
    claimant: &'a Claimant<T>,
    /// `None` once the value was sent.
    value: Option<T>,
    place: TaskPlace,
    is_begun: bool,
    /// How often in a row the send waited for another sender.
    waits: u32,
    alarm: Alarm,
}

// As for `RingFeed`. The value is as unwind-safe as its type.
impl<T: UnwindSafe> UnwindSafe for SendAsync<'_, T> {}
impl<T: RefUnwindSafe> RefUnwindSafe for SendAsync<'_, T> {}

// The value is moved to its slot, and is never pinned.
impl<T> Unpin for SendAsync<'_, T> {}

impl<'a, T> SendAsync<'a, T> {
    pub(crate) fn new(claimant: &'a Claimant<T>, value: T) -> Self {
        Self {
            claimant,
            value: Some(value),
            place: TaskPlace::default(),
            is_begun: false,
            waits: 0,
            alarm: Alarm::default(),
        }
    }

    /// Another sender has claimed the slot a lap before, and must fill it first. No task is woken
    /// when it does. This usually takes nanoseconds, unless that thread was preempted.
    fn wait_for_another_sender(&mut self, context: &Context<'_>) {
        /// How often the task is woken at once, so that its executor runs other tasks meanwhile.
        const AT_ONCE: u32 = 16;
        const THEN: Duration = Duration::from_millis(1);
        self.waits += 1;
        if self.waits <= AT_ONCE {
            poll_again(context);
        } else {
            self.alarm.set(Instant::now() + THEN, context.waker());
        }
    }
}

impl<T: Send + Sync> Future for SendAsync<'_, T> {
    type Output = u64;

    /// # Panics
    ///
    /// As [`RingFeed::send`](crate::RingFeed::send), except that it does not panic in a handler. It
    /// also panics if it is polled after it has completed.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<u64> {
        let this = self.get_mut();
        let address = ptr::from_ref(&*this).cast();
        assert!(
            this.value.is_some(),
            "a send was polled after it had completed"
        );
        let is_first = !this.is_begun;
        if is_first {
            if poll_turn(context, address).is_pending() {
                return Poll::Pending;
            }
            this.is_begun = true;
        }
        let standing = this
            .claimant
            .poll_send(&mut this.value, &mut this.place, context.waker());
        match standing {
            Standing::Sent(position) => {
                this.alarm.cancel();
                return Poll::Ready(position);
            }
            Standing::InLine => {
                this.waits = 0;
                this.alarm.cancel();
            }
            Standing::BehindAnotherSender => this.wait_for_another_sender(context),
        }
        if is_first {
            not_completed();
        }
        Poll::Pending
    }
}

impl<T> Drop for SendAsync<'_, T> {
    fn drop(&mut self) {
        self.claimant.give_up(&mut self.place);
    }
}

impl<T> fmt::Debug for SendAsync<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendAsync")
            .field("completed", &self.value.is_none())
            .finish_non_exhaustive()
    }
}
