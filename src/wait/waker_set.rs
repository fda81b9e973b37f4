//! Many waiters: senders that wait for room in one channel.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::task::Waker;

use super::quietly::{quietly, wake};
use crate::sync::{AtomicUsize, Mutex, Ordering, mutant, store_load_fence};

/// The senders that wait for room, first come, first woken.
///
/// A waiter joins, fences (in [`join`](Self::join)), and tries once more before it waits. Who makes room looks at the
/// count and wakes one waiter for each place made. A woken waiter is no longer in the set: it either uses the place,
/// joins again, or hands the wake-up on when it leaves. So a place is never forgotten while somebody waits for one.
#[derive(Debug)]
pub(crate) struct WakerSet {
    /// Written under the lock, read without it.
    count: AtomicUsize,
    waiters: Mutex<Waiters>,
}

#[derive(Debug)]
struct Waiters {
    queue: VecDeque<(NonZeroU64, Waker)>,
    next: NonZeroU64,
}

/// A waiter's place in a [`WakerSet`]. It has to be given back by [`WakerSet::leave`].
#[derive(Debug, Default)]
pub(crate) struct Ticket(Option<NonZeroU64>);

impl WakerSet {
    pub(crate) fn new() -> Self {
        Self {
            count: AtomicUsize::new(0),
            waiters: Mutex::new(Waiters {
                queue: VecDeque::new(),
                next: NonZeroU64::MIN,
            }),
        }
    }

    /// Stands in the queue, keeping the place if it still has one. It must try once more after this.
    pub(crate) fn join(&self, ticket: &mut Ticket, waker: &Waker) {
        // Cloned and dropped outside the lock: that runs code of others.
        let waker = waker.clone();
        let replaced = {
            let mut waiters = self.waiters.lock();
            let held = ticket
                .0
                .and_then(|id| waiters.queue.iter_mut().find(|(other, _)| *other == id));
            let replaced = match held {
                Some((_, held)) => Some(std::mem::replace(held, waker)),
                None => {
                    let id = waiters.next;
                    waiters.next = id.saturating_add(1);
                    waiters.queue.push_back((id, waker));
                    ticket.0 = Some(id);
                    None
                }
            };
            self.count.store(waiters.queue.len(), Ordering::Relaxed);
            replaced
        };
        drop(replaced);
        // ORDERING: pairs with the fence that a receiver makes before it looks at the count, when it finds its queue empty.
        // Who closes the queue needs none: `wake_all` takes the lock, so a waiter that joins after it sees the end.
        store_load_fence!("waiter_joins_without_fence");
    }

    /// Leaves the queue. `served` says whether the waiter got what it came for; if not, and a wake-up was spent on it,
    /// the next in the queue is woken instead.
    pub(crate) fn leave(&self, ticket: &mut Ticket, served: bool) {
        let Some(id) = ticket.0.take() else { return };
        let (own, heir) = {
            let mut waiters = self.waiters.lock();
            let held = waiters.queue.iter().position(|(other, _)| *other == id);
            let (own, heir) = match held {
                Some(index) => (waiters.queue.remove(index), None),
                None if served || mutant!("wake_up_is_not_handed_on") => (None, None),
                None => (None, waiters.queue.pop_front()),
            };
            self.count.store(waiters.queue.len(), Ordering::Relaxed);
            (own, heir)
        };
        // Who leaves may be unwinding, and has more to do than this.
        quietly(|| drop(own));
        if let Some((_, waker)) = heir {
            wake(waker);
        }
    }

    /// Whether anybody waits. May be out of date unless a fence orders it after what was done to make room.
    #[inline]
    pub(crate) fn is_waited_on(&self) -> bool {
        self.count.load(Ordering::Relaxed) != 0
    }

    /// Wakes the first in the queue.
    #[cold]
    pub(crate) fn wake_one(&self) {
        let first = {
            let mut waiters = self.waiters.lock();
            let first = waiters.queue.pop_front();
            self.count.store(waiters.queue.len(), Ordering::Relaxed);
            first
        };
        if let Some((_, waker)) = first {
            wake(waker);
        }
    }

    /// Wakes everybody.
    #[cold]
    pub(crate) fn wake_all(&self) {
        let all = {
            let mut waiters = self.waiters.lock();
            self.count.store(0, Ordering::Relaxed);
            std::mem::take(&mut waiters.queue)
        };
        for (_, waker) in all {
            wake(waker);
        }
    }
}
