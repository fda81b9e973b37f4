//! A subscription whose source is its own thread.

use std::cell::RefCell;
use std::error::Error;
use std::sync::{Arc, Weak};

use super::cancel_token::CancelToken;
use super::source::SubscriptionSource;
use super::state::SubscriptionState;
use crate::error::SubscriptionError;
use crate::sync::{self, Mutex, mutant};
use crate::wait::{Parker, catch, in_delivery, quietly};

/// Runs a producer on its own thread: see [`Subscription::spawn`](crate::Subscription::spawn).
pub(super) fn spawn<F, E>(producer: F) -> Arc<Producer>
where
    F: FnOnce(CancelToken) -> Result<(), E> + Send + 'static,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    let spawned = Arc::new_cyclic(|this| Producer {
        state: SubscriptionState::new(None),
        token: CancelToken::new(),
        waits_for: Mutex::new(Weak::new()),
        this: Weak::clone(this),
    });
    let running = Arc::clone(&spawned);
    // Linux shows 15 bytes of a thread's name.
    if let Err(error) = sync::spawn_named("fanfeed-spawned", move || running.run(producer)) {
        spawned.state.end(Some(SubscriptionError::failed(error)));
    }
    spawned
}

sync::thread_local! {
    /// The producer that runs on this thread.
    static RUNNING: RefCell<Weak<Producer>> = const { RefCell::new(Weak::new()) };
}

pub(super) struct Producer {
    state: SubscriptionState,
    token: CancelToken,
    /// The producer whose end this producer's thread is waiting for.
    waits_for: Mutex<Weak<Producer>>,
    this: Weak<Producer>,
}

impl Producer {
    fn run<E>(&self, producer: impl FnOnce(CancelToken) -> Result<(), E>)
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        // The thread is new: its locals exist, and no code has borrowed them.
        let _ = RUNNING.try_with(|running| running.replace(Weak::clone(&self.this)));
        let token = self.token.clone();
        let outcome = catch(|| producer(token).map_err(SubscriptionError::failed));
        let error = match &outcome {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.clone()),
            Err(panic) => Some(SubscriptionError::panicked(panic.message())),
        };
        self.state.end(error.filter(|_| !self.token.is_cancelled()));
        self.token.cancel();
        // After the end, because this runs user code, whose panic must not keep any thread waiting.
        quietly(|| drop(outcome));
    }

    /// Waits for the end, unless that would wait for the calling thread itself.
    fn wait(&self) {
        if in_delivery() || mutant!("producer_is_not_waited_for") {
            return;
        }
        let Some(caller) = RUNNING
            .try_with(|running| running.borrow().upgrade())
            .ok()
            .flatten()
        else {
            return self.wait_for_end();
        };
        // The thread stores what it waits for, and then looks. Of the threads that would close a
        // cycle, the last to store finds what all the others have stored.
        let looked_first =
            mutant!("circle_is_looked_for_before_it_is_told").then(|| self.waits_on(&caller));
        *caller.waits_for.lock() = Weak::clone(&self.this);
        if !looked_first.unwrap_or_else(|| self.waits_on(&caller)) {
            self.wait_for_end();
        }
        *caller.waits_for.lock() = Weak::new();
    }

    /// Whether this is the caller, or waits directly or indirectly for the caller.
    fn waits_on(&self, caller: &Arc<Producer>) -> bool {
        let mut next = self.this.upgrade();
        while let Some(producer) = next {
            if Arc::ptr_eq(&producer, caller) {
                return true;
            }
            next = producer.waits_for.lock().upgrade();
        }
        false
    }

    fn wait_for_end(&self) {
        let parker = Parker::current();
        let mut key = None;
        while self.state.wake_at_end(&mut key, parker.waker()) {
            parker.park(None);
        }
    }
}

impl SubscriptionSource for Producer {
    fn state(&self) -> &SubscriptionState {
        &self.state
    }

    fn cancel(&self) {
        self.token.cancel();
        self.wait();
    }

    fn cancel_soon(&self) {
        self.token.cancel();
    }
}
