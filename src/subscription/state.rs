//! What every subscription has: an identity, and one end.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::task::Waker;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::error::SubscriptionError;
use crate::sync::{AtomicBool, AtomicU64, Mutex, Ordering, global, mutant, order, thread_local};
use crate::traits::{debug_struct, unwind_safe};
use crate::wait::{InCallback, Key, Line, may_wait, quietly, wake};

/// The number of a subscription, unique in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SubscriptionId(u64);

global! {
    /// The number of the next subscription.
    static NEXT: AtomicU64 = AtomicU64::new(1);
}

impl SubscriptionId {
    fn next() -> Self {
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// The number itself.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// The identity and the end of a subscription. A [`SubscriptionSource`](crate::SubscriptionSource)
/// owns one.
///
/// It has 40 bytes. It allocates only for a name, and if the end has a waiter, an
/// [`err`](crate::Subscription::err) channel or an error.
///
/// Dropping a state that has not ended wakes no waiter, because nothing can wait for it by then.
/// Receivers from `err` are disconnected.
pub struct SubscriptionState {
    id: SubscriptionId,
    /// Boxed, because most states have no name, and there may be thousands of them.
    name: Option<Box<Arc<str>>>,
    /// Set once, under the lock of `end`; read without it.
    ended: AtomicBool,
    /// Made when first needed: most subscriptions end without a waiter.
    end: Mutex<Option<Box<End>>>,
}

/// The waiters for the end, and its error.
#[derive(Debug)]
struct End {
    error: Option<SubscriptionError>,
    channel: Option<(
        Option<Sender<SubscriptionError>>,
        Receiver<SubscriptionError>,
    )>,
    /// Wakers are added before the end. At the end they are taken out and woken.
    wakers: Line<Waker>,
}

impl End {
    fn new() -> Self {
        Self {
            error: None,
            channel: None,
            wakers: Line::new(),
        }
    }
}

impl SubscriptionState {
    /// Makes the state of a new subscription, with the next [`SubscriptionId`] of this process.
    pub fn new(name: Option<Arc<str>>) -> Self {
        Self {
            id: SubscriptionId::next(),
            name: name.map(Box::new),
            ended: AtomicBool::new(false),
            end: Mutex::new(None),
        }
    }

    /// The id of the subscription, unique in this process.
    pub fn id(&self) -> SubscriptionId {
        self.id
    }

    /// The name of the subscription, if it has one.
    pub fn name(&self) -> Option<&str> {
        self.shared_name().map(|name| &**name)
    }

    pub(crate) fn shared_name(&self) -> Option<&Arc<str>> {
        self.name.as_deref()
    }

    /// Whether the subscription has ended. Once true, it stays true. A thread that gets `true` sees
    /// what the thread that ended the subscription did before.
    pub fn is_ended(&self) -> bool {
        // ORDERING: pairs with the Release in `mark_ended`: a thread that sees the end sees what
        // led to it.
        self.ended.load(Ordering::Acquire)
    }

    /// Ends the subscription, and wakes the threads and tasks that wait for its end. Returns
    /// whether this call ended it. Only the first call does; a later call, and its error, have no
    /// effect.
    ///
    /// With an error the subscription has failed, and [`err`](crate::Subscription::err) yields that
    /// error. A subscription that was cancelled has not failed, whatever its cancellation caused,
    /// so its source ends it with `None`.
    ///
    /// Wakers run on this thread before `end` returns, and may call the source. So the caller must
    /// hold no lock that [`SubscriptionSource`](crate::SubscriptionSource)'s methods take. A panic
    /// of a waker is caught. `end` does not wait for other threads.
    ///
    /// ```
    /// use fanfeed::{SubscriptionError, SubscriptionState};
    ///
    /// let state = SubscriptionState::new(None);
    /// assert!(state.end(Some(SubscriptionError::failed("line lost"))));
    /// assert!(!state.end(None));
    /// ```
    pub fn end(&self, error: Option<SubscriptionError>) -> bool {
        let ended = self.mark_ended(error);
        ended.map(Wakers::wake_all).is_some()
    }

    /// Whether the calling thread may wait for other threads in
    /// [`cancel`](crate::SubscriptionSource::cancel).
    ///
    /// False inside a delivery of a feed: in a closure or a carrier that is subscribed to one, and
    /// in a `clone` or `drop` of a value there. Another thread may be waiting for that delivery to
    /// end, and a `cancel` that waited for that thread would deadlock. Also false inside more than
    /// 16 nested callbacks: destructors of carriers, and wakers that the end of a subscription
    /// woke.
    ///
    /// It knows nothing of the handlers that other sources run. A source that waits for its own
    /// handlers must itself detect that one of them is its caller.
    ///
    /// ```
    /// use fanfeed::{Feed, SubscriptionState};
    ///
    /// assert!(SubscriptionState::may_wait());
    /// let feed = Feed::new();
    /// let _subscription = feed.subscribe_fn(|()| assert!(!SubscriptionState::may_wait()));
    /// feed.send(());
    /// ```
    pub fn may_wait() -> bool {
        may_wait()
    }

    /// Ends the subscription, and returns the wakers of the waiters for the end. The caller wakes
    /// them, outside of locks. Returns `None` if the subscription had already ended.
    pub(crate) fn mark_ended(&self, error: Option<SubscriptionError>) -> Option<Wakers> {
        let looked = mutant!("end_is_looked_for_before_the_lock").then(|| self.is_ended());
        let mut lock = self.end.lock();
        // ORDERING: pairs with the Acquire in `is_ended`.
        let order = order!(Release, "end_is_marked_relaxed");
        let had_ended = self.ended.swap(true, order);
        if looked.unwrap_or(had_ended) {
            drop(lock);
            quietly(|| drop(error));
            return None;
        }
        if lock.is_none() && error.is_none() {
            return Some(Wakers::default());
        }
        let end = lock.get_or_insert_with(|| Box::new(End::new()));
        let sender = end.channel.as_mut().and_then(|(sender, _)| sender.take());
        if let (Some(sender), Some(error)) = (&sender, &error) {
            // The channel has room for its one error.
            let _ = sender.try_send(error.clone());
        }
        end.error = error;
        // Under the lock, so that a thread that has waited for the end finds the channel
        // disconnected.
        drop(sender);
        Some(Wakers(Some(std::mem::replace(
            &mut end.wakers,
            Line::new(),
        ))))
    }

    /// The channel of the one error, made at the first call.
    pub(crate) fn err(&self) -> Receiver<SubscriptionError> {
        let mut lock = self.end.lock();
        let end = lock.get_or_insert_with(|| Box::new(End::new()));
        if let Some((_, receiver)) = &end.channel {
            return receiver.clone();
        }
        let (sender, receiver) = bounded(1);
        let kept = if self.ended.load(Ordering::Relaxed) {
            if let Some(error) = end.error.clone() {
                let _ = sender.try_send(error);
            }
            None
        } else {
            Some(sender)
        };
        end.channel = Some((kept, receiver.clone()));
        receiver
    }

    /// The error with which the subscription ended, if any.
    pub(crate) fn error(&self) -> Option<SubscriptionError> {
        self.end.lock().as_ref()?.error.clone()
    }

    /// Registers the waker to be woken at the end. Returns false if the subscription has already
    /// ended. `key` identifies the waker in later calls.
    pub(crate) fn wake_at_end(&self, key: &mut Option<Key>, waker: &Waker) -> bool {
        let is_held = |key: Key| {
            self.held(|wakers| wakers.get(key).will_wake(waker))
                .unwrap_or(false)
        };
        if key.is_some_and(is_held) {
            return true;
        }
        if self.is_ended() {
            // The thread that ended it may be about to disconnect the channel, under this lock.
            drop(self.end.lock());
            return false;
        }
        // Cloned and dropped outside the lock, because that runs user code.
        let waker = waker.clone();
        let outcome = {
            let mut lock = self.end.lock();
            let is_ended = self.ended.load(Ordering::Relaxed);
            if is_ended && !mutant!("waiter_does_not_look_under_the_lock") {
                Err(waker)
            } else {
                let end = lock.get_or_insert_with(|| Box::new(End::new()));
                Ok(match *key {
                    Some(key) => Some(std::mem::replace(end.wakers.get(key), waker)),
                    None => {
                        *key = Some(end.wakers.push(waker));
                        None
                    }
                })
            }
        };
        outcome.is_ok()
    }

    /// Removes what `wake_at_end` registered.
    pub(crate) fn forget_waker(&self, key: &mut Option<Key>) {
        let Some(key) = key.take() else { return };
        let forgotten = self.held(|wakers| wakers.remove(key));
        // Outside the lock, as above. The caller may be unwinding.
        quietly(|| drop(forgotten));
    }

    /// Calls `f` with the wakers, unless all have been woken.
    fn held<R>(&self, f: impl FnOnce(&mut Line<Waker>) -> R) -> Option<R> {
        let mut lock = self.end.lock();
        let is_ended = self.ended.load(Ordering::Relaxed);
        let end = lock.as_mut().filter(|_| !is_ended)?;
        Some(f(&mut end.wakers))
    }
}

// The end is recorded under one lock, and user code runs outside of it.
unwind_safe!(SubscriptionState);

debug_struct!(SubscriptionState, |this| SubscriptionState {
    id: this.id,
    name: this.name(),
    ended: this.is_ended(),
});

impl Drop for SubscriptionState {
    fn drop(&mut self) {
        // A user's error may panic when it is dropped.
        let end = self.end.lock().take();
        quietly(|| drop(end));
    }
}

/// The wakers of the threads and tasks that wait for an end that has come.
#[derive(Debug, Default)]
#[must_use = "the waiters for the end must be woken"]
pub(crate) struct Wakers(Option<Line<Waker>>);

/// How deep ends may wake one another before the outermost wakes the rest. An end that ends another
/// subscription ([`Subscription::join`](super::Subscription::join)) wakes the waiters of that one.
const DEEPEST: usize = 16;

thread_local! {
    // Without destructors, so they can be used while the thread's other locals are destroyed.
    static WAKING: Cell<usize> = const { Cell::new(0) };
    static UNWOKEN: ManuallyDrop<RefCell<Vec<Line<Waker>>>> =
        const { ManuallyDrop::new(RefCell::new(Vec::new())) };
}

impl Wakers {
    /// Wakes all of them. Subscriptions that end as a result are freed after that.
    pub(crate) fn wake_all(self) {
        let Some(line) = self.0 else { return };
        if mutant!("end_wakes_nobody") {
            return;
        }
        let depth = WAKING.with(Cell::get);
        if depth == DEEPEST {
            return UNWOKEN.with(|unwoken| unwoken.borrow_mut().push(line));
        }
        let _inside = InCallback::enter();
        WAKING.with(|waking| waking.set(depth + 1));
        let mut next = Some(line);
        while let Some(mut line) = next {
            while let Some(key) = line.take_first() {
                wake(line.remove(key));
            }
            next = if depth == 0 {
                Self::next_unwoken()
            } else {
                None
            };
        }
        WAKING.with(|waking| waking.set(depth));
    }

    fn next_unwoken() -> Option<Line<Waker>> {
        UNWOKEN.with(|unwoken| {
            let mut unwoken = unwoken.borrow_mut();
            let next = unwoken.pop();
            if unwoken.is_empty() {
                // No other code frees its memory when the thread ends.
                drop(std::mem::take(&mut *unwoken));
            }
            next
        })
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;
    use std::thread;
    use std::time::Duration;

    use crossbeam_channel::bounded;

    use super::{Ordering, SubscriptionState};

    #[test]
    fn a_waiter_for_the_end_waits_until_it_is_complete() {
        let state = SubscriptionState::new(None);
        let (seen, has_seen) = bounded(1);
        thread::scope(|scope| {
            // As in the middle of `end`: the end is visible, and the error's channel is still
            // connected.
            let under_way = state.end.lock();
            state.ended.store(true, Ordering::Release);
            scope.spawn(|| seen.send(state.wake_at_end(&mut None, Waker::noop())));
            let early = has_seen.recv_timeout(Duration::from_millis(50));
            drop(under_way);
            assert!(early.is_err(), "{early:?}");
            assert_eq!(has_seen.recv_timeout(Duration::from_secs(20)), Ok(false));
        });
    }
}
