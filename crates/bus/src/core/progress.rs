//! How far a dispatch with asynchronous listeners has come.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::core::Shared;
use crate::core::waits::number;
use crate::error::EventError;
use crate::quietly::quietly;
use crate::sync::{
    Condvar, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
    mutant, thread,
};

/// How often a thread that waits looks and yields before it sleeps. An asynchronous listener that
/// returns at once is then waited for without a system call on either side.
const LOOKS: usize = if cfg!(fanfeed_shuttle) { 0 } else { 32 };

/// A dispatch whose listeners have not all returned when `dispatch` does.
///
/// `remaining` counts the asynchronous listeners that have not returned, and the call of `dispatch`
/// itself. The thread that takes it to zero ends the dispatch: it marks the dispatch done under the
/// lock, takes it off the bus, and then wakes those that wait, since their wakers may run code that
/// waits for the bus.
pub(crate) struct Progress {
    number: u64,
    pub(crate) shared: Arc<Shared>,
    pub(crate) epoch: u64,
    remaining: AtomicUsize,
    is_done: AtomicBool,
    /// Whether a listener was called. One that ended before its turn is not, and that is no error.
    #[cfg(feature = "broker")]
    was_called: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    errors: Vec<EventError>,
    is_done: bool,
    sender: Option<Sender<Infallible>>,
    receiver: Option<Receiver<Infallible>>,
    /// Of the future, if the dispatch is awaited. There is one at most.
    waker: Option<Waker>,
}

impl Progress {
    /// Begins a dispatch, which the bus then waits for. It counts the caller; `finish_one` ends
    /// that.
    pub(crate) fn begin(shared: &Arc<Shared>, epoch: u64) -> Arc<Self> {
        shared.begin_dispatch(epoch);
        Arc::new(Self {
            number: number(),
            shared: Arc::clone(shared),
            epoch,
            remaining: AtomicUsize::new(1),
            is_done: AtomicBool::new(false),
            #[cfg(feature = "broker")]
            was_called: AtomicBool::new(false),
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    /// Its number among the things that can be waited for.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Counts an asynchronous listener.
    pub(crate) fn add_one(&self) {
        // ORDERING: the caller is counted, so this cannot be the first; it is published with the
        // job.
        self.remaining.fetch_add(1, Ordering::Relaxed);
    }

    /// Says that a listener is being called.
    #[cfg(feature = "broker")]
    pub(crate) fn set_called(&self) {
        // ORDERING: a thread that reads it has waited for the end, which is published in
        // `finish_one`.
        self.was_called.store(true, Ordering::Relaxed);
    }

    /// Whether a listener was called, once it is done.
    #[cfg(feature = "broker")]
    pub(crate) fn was_called(&self) -> bool {
        // ORDERING: see `set_called`.
        self.was_called.load(Ordering::Relaxed)
    }

    /// Adds an error, also after the dispatch is done: the broker may give an event up later.
    pub(crate) fn fail(&self, error: EventError) {
        self.state.lock().errors.push(error);
    }

    /// Says that a listener, or the call of `dispatch`, has returned.
    pub(crate) fn finish_one(&self) {
        // ORDERING: Release, so that the last one has what all others did before; Acquire for the
        // last one.
        if self.remaining.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        let (sender, waker) = {
            let mut state = self.state.lock();
            state.is_done = true;
            // ORDERING: pairs with the Acquire in `is_done`.
            self.is_done.store(true, Ordering::Release);
            (state.sender.take(), state.waker.take())
        };
        self.shared.end_dispatch(self.epoch);
        if !mutant!("bus::last_listener_wakes_nobody") {
            self.changed.notify_all();
        }
        drop(sender);
        if let Some(waker) = waker {
            quietly(|| waker.wake());
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        // ORDERING: pairs with the Release in `finish_one`.
        self.is_done.load(Ordering::Acquire)
    }

    /// False at the deadline.
    pub(crate) fn wait_until(&self, deadline: Option<Instant>) -> bool {
        for () in std::iter::repeat_n((), LOOKS) {
            if self.is_done() {
                return true;
            }
            thread::yield_now();
        }
        let looked = mutant!("bus::waiter_looks_before_the_lock") && !self.is_done();
        let mut state = self.state.lock();
        while looked || !state.is_done {
            match deadline {
                None => self.changed.wait(&mut state),
                Some(deadline) => {
                    if Instant::now() >= deadline {
                        return false;
                    }
                    let _ = self.changed.wait_until(&mut state, deadline);
                }
            }
            if looked {
                break;
            }
        }
        true
    }

    pub(crate) fn done(&self) -> Receiver<Infallible> {
        let mut state = self.state.lock();
        if let Some(receiver) = &state.receiver {
            return receiver.clone();
        }
        let (sender, receiver) = bounded(0);
        state.receiver = Some(receiver.clone());
        if !state.is_done {
            state.sender = Some(sender);
        }
        receiver
    }

    pub(crate) fn errors(&self) -> Vec<EventError> {
        self.state.lock().errors.clone()
    }

    /// Has the waker woken when it is done. False if it is done already.
    #[cfg(feature = "tokio")]
    pub(crate) fn wake_when_done(&self, waker: &Waker) -> bool {
        // Cloned and dropped outside the lock: that runs code of others.
        let waker = waker.clone();
        let mut state = self.state.lock();
        if state.is_done {
            drop(state);
            quietly(|| drop(waker));
            return false;
        }
        let old = state.waker.replace(waker);
        drop(state);
        quietly(|| drop(old));
        true
    }

    /// Forgets the waker.
    #[cfg(feature = "tokio")]
    pub(crate) fn wake_nobody(&self) {
        let waker = self.state.lock().waker.take();
        quietly(|| drop(waker));
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress")
            .field("done", &self.is_done())
            .finish_non_exhaustive()
    }
}
