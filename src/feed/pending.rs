//! A subscriber that had no room, and how it is waited for.

use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use super::entry::{Entry, Port};
use crate::carrier::{Carrier, Room};
use crate::wait::{Again, Caught, Ticket, catch, quietly};

/// A subscriber that had no room.
pub(crate) struct Pending<T> {
    entry: Arc<Entry<T>>,
    /// The position that the value would have had in the subscriber's stream.
    place: u64,
    /// Since when the send waits for it, if it does.
    since: Option<Instant>,
    ticket: Ticket,
    /// The waker that its carrier was given.
    carrier_has: Option<Waker>,
    served: bool,
    /// Whether it is counted already that it has not got the value.
    blamed: bool,
}

impl<T> Pending<T> {
    pub(crate) fn new(entry: Arc<Entry<T>>) -> Self {
        Self {
            place: entry.place(),
            entry,
            since: None,
            ticket: Ticket::default(),
            carrier_has: None,
            served: false,
            blamed: false,
        }
    }

    pub(crate) fn entry(&self) -> &Arc<Entry<T>> {
        &self.entry
    }

    /// The position that the value would have had in the subscriber's stream.
    pub(crate) fn place(&self) -> u64 {
        self.place
    }

    /// The send waits for it, and wants to be woken.
    fn join(&mut self, waker: &Waker, waiter: Waiter) -> Again {
        if self.since.is_none() {
            self.since = Some(Instant::now());
            self.entry.count_blocked();
            if waiter == Waiter::Thread {
                self.ticket = Ticket::of_thread();
            }
        }
        self.entry.blocked_sends().join(&mut self.ticket, waker)
    }

    /// It was served.
    pub(crate) fn served(&mut self) {
        self.served = true;
    }

    /// A panic has kept the value from it, and that is counted.
    pub(crate) fn blamed(&mut self) {
        self.blamed = true;
    }

    /// The send waits for it no longer.
    pub(crate) fn leave(&mut self) {
        let since = self.since.take();
        if let Some(since) = since {
            let blocked_for = since.elapsed();
            self.entry.count_blocked_for(blocked_for);
            #[cfg(feature = "tracing")]
            crate::events::event!(debug, subscription = %self.entry.id(),
                name = self.entry.name().map(|name| &**name),
                ?blocked_for,
                served = self.served,
                "a send was blocked by a full subscriber"
            );
        }
        // A sender that was served asks too: it may have been woken after it had found room.
        // `tests/waiting.rs` runs many sends that give up or are served in parallel; no model has
        // found the difference.
        let is_room_left = || {
            let queue = self.entry.queue();
            queue.is_some_and(|queue| queue.room_for(1) != 0)
        };
        self.entry
            .blocked_sends()
            .leave(&mut self.ticket, is_room_left);
        #[cfg(feature = "async")]
        if since.is_some()
            && self.entry.queue().is_none()
            && let Some(gate) = self.entry.enter_gate()
            && let Port::Tokio(carrier) = gate.port()
        {
            carrier.left(self.entry.blocked_sends());
        }
        self.forget();
    }

    /// Asks the carrier whether it wakes `waker` when it has room.
    fn poll_room(&mut self, carrier: &dyn Carrier<T>, waker: &Waker) -> Room {
        if self
            .carrier_has
            .as_ref()
            .is_some_and(|held| !held.will_wake(waker))
        {
            self.forget();
        }
        carrier.poll_room(waker)
    }

    /// Tells the carrier that nobody waits with its waker any more.
    fn forget(&mut self) {
        let Some(waker) = self.carrier_has.take() else {
            return;
        };
        let Some(gate) = self.entry.enter_gate() else {
            return;
        };
        let Port::Carrier(carrier) = gate.port() else {
            return;
        };
        let told = catch(|| carrier.forget_waker(&waker));
        drop(gate);
        quietly(|| drop(waker));
        if let Err(panic) = told {
            self.entry.fail(&panic);
        }
    }
}

impl<T: Send + 'static> Pending<T> {
    /// Registers `waker` to be woken when the subscriber has room or ends, and notes what waiting
    /// for it requires. `Err` if its carrier panicked.
    pub(crate) fn listen(
        &mut self,
        waker: &Waker,
        waiter: Waiter,
        listening: &mut Listening,
    ) -> Result<(), Caught> {
        let again = self.join(waker, waiter);
        let entry = Arc::clone(&self.entry);
        if waiter == Waiter::Thread || entry.queue().is_none() {
            listening.again = listening.again.max(again);
        }
        if entry.queue().is_some() {
            return Ok(());
        }
        let Some(gate) = entry.enter_gate() else {
            return Ok(());
        };
        let room = catch(|| match gate.port() {
            Port::Crossbeam(_) => {
                listening.crossbeam += 1;
                None
            }
            Port::Carrier(carrier) if carrier.as_crossbeam().is_some() => {
                listening.crossbeam += 1;
                None
            }
            #[cfg(feature = "async")]
            Port::Tokio(carrier) => match carrier.poll_room(entry.blocked_sends()) {
                // The subscription's line wakes it.
                Room::Waking => None,
                room => Some(room),
            },
            Port::Carrier(carrier) => Some(self.poll_room(&**carrier, waker)),
            Port::Own(_) | Port::Closure(_) => None,
        })?;
        // A panic from here on comes from the waker, and the carrier is not to blame for it.
        match room {
            Some(Room::Ready) => quietly(|| waker.wake_by_ref()),
            Some(Room::Unknown) => listening.timer = true,
            Some(Room::Waking) | None => {}
        }
        let is_kept = matches!(gate.port(), Port::Carrier(_));
        if is_kept && matches!(room, Some(Room::Ready | Room::Waking)) && self.carrier_has.is_none()
        {
            self.carrier_has = Some(waker.clone());
        }
        Ok(())
    }
}

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        self.leave();
        if !self.served && !self.blamed && !self.entry.is_cut() {
            // The value was given up for it.
            self.entry.miss(self.place, 1);
        }
    }
}

/// What kind of waiter waits for a subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiter {
    Thread,
    #[cfg(feature = "async")]
    Task,
}

/// How those who have no room tell when they have.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Listening {
    /// When it looks again without a wake-up.
    pub(crate) again: Again,
    /// So many are crossbeam senders: a select waits for them.
    pub(crate) crossbeam: usize,
    /// Some cannot tell: they are tried again on a timer.
    pub(crate) timer: bool,
}
