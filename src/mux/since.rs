//! What keeps a subscription from seeing events older than itself.

use std::cell::Cell;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use super::event::TypeMuxEvent;
use crate::carrier::{Carrier, Room};
use crate::error::TrySendError;
use crate::sync::{AtomicU64, Ordering, thread_local};

thread_local! {
    /// How many carriers have passed over the event that the thread is posting. Without a destructor, so it can be used
    /// while the thread's other locals are destroyed.
    static PASSED_OVER: Cell<usize> = const { Cell::new(0) };
}

/// Runs a send, which returns how many it reached, and leaves out those who passed over the event.
///
/// All of a send happens on the thread that calls it. A send inside a send, by a carrier, leaves the count as it was.
pub(super) fn count_reached(send: impl FnOnce() -> usize) -> usize {
    /// Also where the send panics, which a send that this one is inside of may catch.
    struct PutBack(usize);
    impl Drop for PutBack {
        fn drop(&mut self) {
            PASSED_OVER.with(|passed| passed.set(self.0));
        }
    }
    let _outer = PutBack(PASSED_OVER.with(|passed| passed.replace(0)));
    let reached = send();
    reached - PASSED_OVER.with(Cell::get)
}

/// A carrier that passes over events older than its subscription.
///
/// An event gets its time before it is sent, and a subscription that is made between the two is in time to be served.
/// To its feed such an event counts as delivered, because the feed knows no other way to have a value neither taken nor
/// waited for; so those are counted here, to be taken off.
pub(super) struct Since<C> {
    carrier: C,
    since: Instant,
    /// Shared by all types of the subscription.
    passed_over: Arc<AtomicU64>,
}

impl<C> Since<C> {
    pub(super) fn new(carrier: C, since: Instant, passed_over: Arc<AtomicU64>) -> Self {
        Self {
            carrier,
            since,
            passed_over,
        }
    }
}

impl<C: Carrier<TypeMuxEvent>> Carrier<TypeMuxEvent> for Since<C> {
    fn try_send(&self, event: TypeMuxEvent) -> Result<(), TrySendError<TypeMuxEvent>> {
        if event.time() < self.since {
            self.passed_over.fetch_add(1, Ordering::Relaxed);
            PASSED_OVER.with(|passed| passed.set(passed.get() + 1));
            return Ok(());
        }
        self.carrier.try_send(event)
    }

    fn poll_room(&self, waker: &Waker) -> Room {
        self.carrier.poll_room(waker)
    }

    fn forget_waker(&self, waker: &Waker) {
        self.carrier.forget_waker(waker);
    }

    fn depth(&self) -> Option<usize> {
        self.carrier.depth()
    }

    /// Only an event that was found full is sent there directly, and that one is not too old.
    fn as_crossbeam(&self) -> Option<&crossbeam_channel::Sender<TypeMuxEvent>> {
        self.carrier.as_crossbeam()
    }
}
