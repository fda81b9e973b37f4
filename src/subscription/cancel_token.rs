//! How a producer is told to end.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::sync::{AtomicBool, Mutex, Ordering, mutant};
use crate::traits::{debug_struct, unwind_safe};
use crate::wait::{Parker, Ticket, WakerSet};

/// Tells a producer that its subscription has been unsubscribed.
///
/// Clones are one token. A producer's token is cancelled when the subscription is unsubscribed or
/// its handle is dropped, and at the latest when the producer has ended. So the holder of a clone
/// never waits for it for ever. Once cancelled, a token stays cancelled.
///
/// # Examples
///
/// A producer that waits until its value is taken or it must end:
///
/// ```
/// use std::convert::Infallible;
/// use crossbeam_channel::{bounded, select};
/// use fanfeed::Subscription;
///
/// let (tx, rx) = bounded(0);
/// let subscription = Subscription::spawn(move |token| {
///     for i in 0.. {
///         select! {
///             send(tx, i) -> sent => if sent.is_err() { break },
///             recv(token.channel()) -> _ => break,
///         }
///     }
///     Ok::<(), Infallible>(())
/// });
/// assert_eq!(rx.recv(), Ok(0));
/// assert_eq!(rx.recv(), Ok(1));
/// subscription.unsubscribe();
/// assert!(rx.recv().is_err(), "the producer has ended");
/// ```
#[derive(Clone)]
pub struct CancelToken {
    shared: Arc<Shared>,
}

// No user code runs between two steps that belong together.
unwind_safe!(CancelToken);

struct Shared {
    /// Decides the state. `select!` waits on the channel, but no model sees into a foreign channel.
    cancelled: AtomicBool,
    waiting: WakerSet,
    /// Taken when the token is cancelled, which disconnects `receiver`.
    sender: Mutex<Option<Sender<Infallible>>>,
    receiver: Receiver<Infallible>,
}

impl Default for CancelToken {
    fn default() -> Self {
        Self::new()
    }
}

impl CancelToken {
    /// A token that has not been cancelled, for a library that tells its own producers or handlers
    /// to end.
    ///
    /// ```
    /// let token = fanfeed::CancelToken::new();
    /// let worker = {
    ///     let token = token.clone();
    ///     std::thread::spawn(move || token.channel().recv())
    /// };
    /// token.cancel();
    /// assert!(worker.join().unwrap().is_err());
    /// ```
    pub fn new() -> Self {
        let (sender, receiver) = bounded(0);
        Self {
            shared: Arc::new(Shared {
                cancelled: AtomicBool::new(false),
                waiting: WakerSet::new(),
                sender: Mutex::new(Some(sender)),
                receiver,
            }),
        }
    }

    /// Whether the token has been cancelled.
    pub fn is_cancelled(&self) -> bool {
        // ORDERING: pairs with the Release in `cancel`: a thread that sees the cancellation sees
        // what led to it.
        self.shared.cancelled.load(Ordering::Acquire)
    }

    /// A channel that yields nothing and is disconnected once the token has been cancelled, for use
    /// in a `select!`.
    pub fn channel(&self) -> &Receiver<Infallible> {
        &self.shared.receiver
    }

    /// Waits up to `timeout` until the token is cancelled. Returns whether it has been cancelled.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        // A deadline beyond the range of the clock is no deadline.
        self.wait_until(Instant::now().checked_add(timeout), |_| false)
    }

    /// Waits until the token is cancelled, until `deadline`, or until `over` returns true. `over`
    /// keeps the waker, to wake this thread when its result may have changed. Returns whether the
    /// token has been cancelled.
    pub(crate) fn wait_until(
        &self,
        deadline: Option<Instant>,
        mut over: impl FnMut(&Waker) -> bool,
    ) -> bool {
        let parker = Parker::current();
        let mut ticket = Ticket::of_thread();
        let cancelled = loop {
            self.shared.waiting.join(&mut ticket, parker.waker());
            if self.is_cancelled() {
                break true;
            }
            if over(parker.waker()) || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                break false;
            }
            parker.park(deadline);
        };
        // All waiters are woken together, so there is no wake-up to pass on.
        self.shared.waiting.leave(&mut ticket, || false);
        cancelled
    }

    /// Whether the two are clones of one token.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Cancels the token, and wakes all threads and tasks that wait for it. Cancelling it again
    /// does nothing.
    pub fn cancel(&self) {
        // ORDERING: pairs with the Acquire in `is_cancelled`. `wake_all` makes a fence, as `join`
        // does: it wakes a waiter that joins and still sees `false`.
        self.shared.cancelled.store(true, Ordering::Release);
        if !mutant!("cancel_wakes_nobody") {
            self.shared.waiting.wake_all();
        }
        let sender = self.shared.sender.lock().take();
        // Outside the lock, because this wakes the threads that select on the channel.
        drop(sender);
    }
}

debug_struct!(CancelToken, |this| CancelToken {
    cancelled: this.is_cancelled()
});
