//! Sending without blocking a thread.

use std::fmt;
use std::future::Future;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use super::blocked::{CARRIER_TIMER, ROOM_TIMER, Timer};
use super::core::Core;
use super::courier::{self, Promise, State};
use super::delivery::Delivery;
use super::pending::Pending;
use crate::wait::wake_at;

/// A send that waits without blocking a thread. Made by [`Feed::send_async`](crate::Feed::send_async).
///
/// Nothing happens until it is polled. The first poll serves everybody who has room; later ones serve those who make
/// room. It completes with the number of subscribers that the value reached.
///
/// # Dropping it
///
/// What it has delivered stays delivered: after the first poll, that is everybody who had room then, and everybody who
/// made room until the last poll ([`delivered`](Self::delivered) says how many). Nobody else gets the value. Dropped
/// before the first poll, it has reached nobody.
///
/// One that is forgotten after a poll ([`std::mem::forget`]) keeps its place in the queues for room: another send that waits
/// there may be woken up to a second late. At channels of capacity 0 its value can still be received.
#[must_use = "a future does nothing unless it is awaited"]
pub struct SendAsync<T> {
    core: Arc<Core<T>>,
    /// `None` once it has completed.
    delivery: Option<Delivery<T>>,
    is_begun: bool,
    timer: Timer,
    /// Values that wait for a receiver at channels that hold nothing.
    meetings: Vec<(Pending<T>, Arc<Promise>)>,
    /// When the task will be woken though nobody made room.
    alarm: Option<Instant>,
}

// The feed survives whatever panics, as it says; the value as far as its type does.
impl<T: UnwindSafe> UnwindSafe for SendAsync<T> {}
impl<T: RefUnwindSafe> RefUnwindSafe for SendAsync<T> {}

// The value is moved to its subscribers, and never pinned.
impl<T> Unpin for SendAsync<T> {}

impl<T> SendAsync<T> {
    pub(crate) fn new(core: Arc<Core<T>>, value: T) -> Self {
        Self {
            core,
            delivery: Some(Delivery::new(value)),
            is_begun: false,
            timer: Timer::new(),
            meetings: Vec::new(),
            alarm: None,
        }
    }

    /// How many subscribers the value has reached so far; 0 once this has completed.
    pub fn delivered(&self) -> usize {
        self.delivery.as_ref().map_or(0, Delivery::delivered)
    }
}

impl<T: Clone + Send + 'static> Future for SendAsync<T> {
    type Output = usize;

    /// # Panics
    ///
    /// As [`Feed::send`](crate::Feed::send), and if it is polled after it has completed.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<usize> {
        let this = self.get_mut();
        let delivery = this
            .delivery
            .as_mut()
            .expect("a send is not polled after it has completed");
        if !this.is_begun {
            this.is_begun = true;
            delivery.serve(&this.core);
        }
        if delivery.has_pending() {
            let listening = delivery.listen(&this.core, context.waker());
            delivery.retry(&this.core);
            while let Some(meeting) = delivery.take_rendezvous(&this.core) {
                let promise = courier::send(meeting.hold, meeting.sender, meeting.value);
                this.meetings.push((meeting.pending, promise));
            }
            if delivery.has_pending() {
                let now = Instant::now();
                let on_timer = listening.timer || listening.crossbeam > 0;
                let range = if on_timer { CARRIER_TIMER } else { ROOM_TIMER };
                let timer = &mut this.timer;
                let alarm = this.alarm.filter(|alarm| *alarm > now);
                let alarm = alarm.unwrap_or_else(|| now + timer.next_wait(range));
                this.alarm = Some(alarm);
                wake_at(alarm, context.waker());
            }
        }
        this.meetings.retain_mut(|(pending, promise)| {
            let state = promise.poll(context.waker());
            if state == State::Delivered {
                pending.served();
                delivery.count_delivered();
            }
            state == State::Waiting
        });
        if delivery.has_pending() || !this.meetings.is_empty() {
            this.core.tidy();
            return Poll::Pending;
        }
        this.core.tidy();
        let reached = this.delivery.take().map_or(0, Delivery::finish);
        Poll::Ready(reached)
    }
}

impl<T> Drop for SendAsync<T> {
    fn drop(&mut self) {
        for (pending, promise) in &mut self.meetings {
            if promise.cancel() == State::Delivered {
                pending.served();
            }
        }
    }
}

impl<T> fmt::Debug for SendAsync<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendAsync")
            .field("delivered", &self.delivered())
            .field("completed", &self.delivery.is_none())
            .finish_non_exhaustive()
    }
}
