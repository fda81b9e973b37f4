//! The places in a line of waiters that are known only by their wakers.

use std::collections::BTreeMap;
use std::task::Waker;

use super::waker_set::Ticket;
use crate::sync::{Mutex, mutant};

/// Distinguishes one waker from another, while both are alive.
type Identity = (usize, usize);

fn identity(waker: &Waker) -> Identity {
    (
        waker.data().addr(),
        std::ptr::from_ref(waker.vtable()).addr(),
    )
}

/// The tickets of the sends that wait for a carrier, each under its waker.
///
/// **The invariant.** While no ticket is [in use](Self::with), the list has every ticket of this
/// list that is in line. So [`take`](Self::take) leaves none behind. Two threads may use a ticket
/// for the same waker at once: the second finds none, and joins with a new one. The list has one
/// ticket for each waker, so the second to finish replaces the first one's ticket, and takes that
/// out of the line.
///
/// The lock of the list orders each take before the put that follows it, so no ticket is in two
/// hands. The line has a lock of its own, and neither is taken under the other: to leave the line
/// wakes the next sender. No user code runs under the lock.
pub(crate) struct Tickets {
    by_waker: Mutex<BTreeMap<Identity, Ticket>>,
}

impl Tickets {
    pub(crate) fn new() -> Self {
        Self {
            by_waker: Mutex::new(BTreeMap::new()),
        }
    }

    /// Passes the ticket of this waker to `join`, which joins the line with it. If there is none,
    /// the ticket is `new`. `leave` takes a replaced ticket out of the line.
    pub(crate) fn with(
        &self,
        waker: &Waker,
        new: Ticket,
        leave: impl Fn(&mut Ticket),
        join: impl FnOnce(&mut Ticket),
    ) {
        /// The ticket, outside of the list while the line is joined: joining clones wakers, which
        /// is user code.
        struct InUse<'a, L: Fn(&mut Ticket)> {
            list: &'a Tickets,
            identity: Identity,
            ticket: Ticket,
            leave: L,
        }
        impl<L: Fn(&mut Ticket)> Drop for InUse<'_, L> {
            fn drop(&mut self) {
                let ticket = std::mem::take(&mut self.ticket);
                let replaced = self.list.by_waker.lock().insert(self.identity, ticket);
                // Another thread has joined meanwhile with the same waker.
                if let Some(mut replaced) = replaced
                    && !mutant!("replaced_ticket_stays_in_line")
                {
                    (self.leave)(&mut replaced);
                }
            }
        }
        let identity = identity(waker);
        let held = self.by_waker.lock().remove(&identity);
        let mut in_use = InUse {
            list: self,
            identity,
            ticket: held.unwrap_or(new),
            leave,
        };
        join(&mut in_use.ticket);
    }

    /// Removes the ticket of this waker, for the caller to leave the line with it.
    pub(crate) fn take(&self, waker: &Waker) -> Option<Ticket> {
        self.by_waker.lock().remove(&identity(waker))
    }

    /// Whether the list is empty.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.by_waker.lock().is_empty()
    }
}
