//! Sending without blocking a thread.

use std::fmt;
use std::future::Future;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::ptr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use super::blocked::Timer;
use super::core::Core;
use super::delivery::Delivery;
use super::pending::Waiter;
use crate::wait::{Alarm, not_completed, poll_turn};

/// A send that waits without blocking a thread. Made by
/// [`Feed::send_async`](crate::Feed::send_async).
///
/// It does nothing until it is polled. The first poll serves all subscribers that have room. Later
/// polls serve the subscribers that make room. It completes with the number of subscribers that the
/// value reached.
///
/// # Dropping it
///
/// What it has delivered stays delivered. After the first poll, these are the subscribers that had
/// room then, and those that made room before the last poll ([`delivered`](Self::delivered) counts
/// them). No other subscriber gets the value, and the receiver of an own channel that misses it is
/// told so ([`Receiver`](crate::Receiver#lagging)). If the future is dropped before the first poll,
/// the value has reached no subscriber, and no subscriber has missed it.
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
pub struct SendAsync<T> {
    core: Arc<Core<T>>,
    /// `None` once it has completed.
    delivery: Option<Delivery<T>>,
    is_begun: bool,
    timer: Timer,
    /// Wakes the task to look again without a wake-up from a subscriber.
    alarm: Alarm,
}

// After a panic the feed is as its documentation says. The value is as unwind-safe as its type.
impl<T: UnwindSafe> UnwindSafe for SendAsync<T> {}
impl<T: RefUnwindSafe> RefUnwindSafe for SendAsync<T> {}

// The value is moved to its subscribers, and is never pinned.
impl<T> Unpin for SendAsync<T> {}

impl<T> SendAsync<T> {
    pub(crate) fn new(core: Arc<Core<T>>, value: T) -> Self {
        Self {
            core,
            delivery: Some(Delivery::new(value)),
            is_begun: false,
            timer: Timer::new(),
            alarm: Alarm::default(),
        }
    }

    /// How many subscribers the value has reached so far; 0 once the send has completed.
    pub fn delivered(&self) -> usize {
        self.delivery.as_ref().map_or(0, Delivery::delivered)
    }

    /// Whether it must not be polled any more.
    pub(crate) fn is_completed(&self) -> bool {
        self.delivery.is_none()
    }
}

impl<T: Clone + Send + 'static> Future for SendAsync<T> {
    type Output = usize;

    /// # Panics
    ///
    /// As [`Feed::send`](crate::Feed::send), and if it is polled after it has completed.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<usize> {
        let this = self.get_mut();
        let address = ptr::from_ref(&*this).cast();
        let delivery = this
            .delivery
            .as_mut()
            .expect("a send was polled after it had completed");
        let is_first = !this.is_begun;
        if is_first {
            if poll_turn(context, address).is_pending() {
                return Poll::Pending;
            }
            this.is_begun = true;
            delivery.serve(&this.core);
        } else {
            // After a wake-up there is usually room. To try first costs less than to join the line
            // first.
            delivery.retry(&this.core);
        }
        if delivery.has_pending() {
            let mut listening = delivery.listen(&this.core, context.waker(), Waiter::Task);
            // A task cannot block in a select.
            listening.timer |= listening.crossbeam > 0;
            delivery.retry(&this.core);
            if delivery.has_pending() {
                if let Some(range) = listening.timer_range() {
                    let now = Instant::now();
                    let next_try = this.alarm.at().filter(|at| *at > now);
                    let at = next_try.unwrap_or_else(|| now + this.timer.next_wait(range));
                    this.alarm.set(at, context.waker());
                } else {
                    this.alarm.cancel();
                }
                delivery.show_waits();
                #[cfg(feature = "tracing")]
                for pending in delivery.pending_mut() {
                    pending.report();
                }
                this.core.tidy();
                if is_first {
                    not_completed();
                }
                return Poll::Pending;
            }
        }
        this.alarm.cancel();
        this.core.tidy();
        let reached = this.delivery.take().map_or(0, Delivery::finish);
        Poll::Ready(reached)
    }
}

impl<T> fmt::Debug for SendAsync<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendAsync")
            .field("delivered", &self.delivered())
            .field("completed", &self.is_completed())
            .finish_non_exhaustive()
    }
}
