//! A subscriber that had no room, and how a send waits for it.

use std::mem;
use std::slice;
use std::sync::Arc;
use std::task::{Wake, Waker};
#[cfg(feature = "tracing")]
use std::time::Instant;

use super::entry::{Entry, Port};
use crate::carrier::{Room, Sealed};
use crate::sync::MODELLED;
use crate::wait::{Again, Caught, EndedWait, Moment, Ticket, Wait, catch, quietly};

/// A subscriber that had no room.
pub(crate) struct Pending<T> {
    entry: Arc<Entry<T>>,
    /// The position that the value would have had in the subscriber's stream.
    place: u64,
    /// The send's wait for the subscriber, if it waits and was counted.
    wait: Option<Wait>,
    /// Whether the send has begun to wait for the subscriber.
    waits: bool,
    ticket: Ticket,
    /// This send's waker for the carrier. `carrier_has` says whether the carrier has it.
    own: Option<Box<Own>>,
    carrier_has: bool,
    served: bool,
    /// Whether the missed value is counted already.
    blamed: bool,
}

/// The subscribers that had no room, in the order in which they were tried. Usually there is only
/// one, which takes no allocation.
#[derive(Default)]
pub(crate) enum PendingList<T> {
    #[default]
    Empty,
    One(Pending<T>),
    /// Not empty.
    Many(Vec<Pending<T>>),
}

impl<T> PendingList<T> {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    #[inline]
    pub(crate) fn as_slice(&self) -> &[Pending<T>] {
        match self {
            Self::Empty => &[],
            Self::One(pending) => slice::from_ref(pending),
            Self::Many(all) => all,
        }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [Pending<T>] {
        match self {
            Self::Empty => &mut [],
            Self::One(pending) => slice::from_mut(pending),
            Self::Many(all) => all,
        }
    }

    pub(crate) fn push(&mut self, pending: Pending<T>) {
        *self = match mem::take(self) {
            Self::Empty => Self::One(pending),
            Self::One(first) => Self::Many(vec![first, pending]),
            Self::Many(mut all) => {
                all.push(pending);
                Self::Many(all)
            }
        };
    }

    pub(crate) fn remove(&mut self, index: usize) -> Pending<T> {
        match mem::take(self) {
            Self::Empty => panic!("no subscriber is pending"),
            Self::One(pending) => pending,
            Self::Many(mut all) => {
                let pending = all.remove(index);
                *self = all.into();
                pending
            }
        }
    }

    pub(crate) fn retain_mut(&mut self, mut keeps: impl FnMut(&mut Pending<T>) -> bool) {
        match self {
            Self::Empty => {}
            Self::One(pending) => {
                if !keeps(pending) {
                    *self = Self::Empty;
                }
            }
            Self::Many(all) => {
                all.retain_mut(keeps);
                *self = mem::take(all).into();
            }
        }
    }
}

impl<T> From<Vec<Pending<T>>> for PendingList<T> {
    fn from(all: Vec<Pending<T>>) -> Self {
        if all.is_empty() {
            return Self::Empty;
        }
        Self::Many(all)
    }
}

/// A waker for a carrier that belongs to this send alone. Carriers tell wakers apart, and one task
/// may wait in several sends. With a shared waker, the first of these sends to leave would take the
/// others out of line.
struct Own {
    task: Waker,
    waker: Waker,
}

struct Forward(Waker);

impl Wake for Forward {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.wake_by_ref();
    }
}

impl<T> Pending<T> {
    pub(crate) fn new(entry: Arc<Entry<T>>) -> Self {
        Self {
            place: entry.place(),
            entry,
            wait: None,
            waits: false,
            ticket: Ticket::default(),
            own: None,
            carrier_has: false,
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

    /// Whether a try now would find no room. A carrier can only be tried.
    pub(crate) fn is_full(&self) -> bool {
        let is_full = self.entry.queue().is_some_and(|queue| queue.is_full());
        is_full && !self.entry.is_cut()
    }

    /// Notes that the send begins to wait for the subscriber, unless that is noted already.
    pub(crate) fn blocks(&mut self, waiter: Waiter, moment: &Moment) {
        if !mem::replace(&mut self.waits, true) {
            // A model reads no clock, and no protocol depends on these figures.
            self.wait = (!MODELLED).then(|| Wait::new(moment.get()));
            if waiter == Waiter::Thread {
                self.ticket = Ticket::of_thread();
            }
        }
    }

    /// Shows the wait in the subscriber's figures. Called before the thread parks or the task
    /// returns.
    pub(crate) fn show_wait(&mut self) {
        if let Some(wait) = &mut self.wait {
            self.entry.blockage().show(wait);
        }
    }

    /// Reports that the send is blocked, if a report is due. Returns when to look again.
    #[cfg(feature = "tracing")]
    pub(crate) fn report(&mut self) -> Option<Instant> {
        let wait = self.wait.as_mut()?;
        if let Some(report) = self.entry.blockage().look(wait, Instant::now()) {
            crate::events::event!(
                warn,
                subscription = %self.entry.id(),
                name = self.entry.name().map(|name| &**name),
                blocked_for = ?report.blocked_for,
                suppressed = report.suppressed,
                "a send is blocked by a full subscriber"
            );
        }
        wait.due()
    }

    /// Puts the send in line for the subscriber's room.
    fn join(&mut self, waker: &Waker, waiter: Waiter, moment: &Moment) -> Again {
        self.blocks(waiter, moment);
        self.entry.blocked_sends().join(&mut self.ticket, waker)
    }

    /// Notes that the subscriber was served.
    pub(crate) fn served(&mut self) {
        self.served = true;
    }

    /// Notes that the subscriber was served in a look that began at about this moment.
    pub(crate) fn served_at(&mut self, moment: &Moment) {
        self.served();
        self.leave_at(moment);
    }

    /// Notes that a panic has kept the value from the subscriber, and that this is counted.
    pub(crate) fn blamed(&mut self) {
        self.blamed = true;
    }

    /// Notes that the send no longer waits for the subscriber.
    pub(crate) fn leave(&mut self) {
        self.leave_at(&Moment::default());
    }

    fn leave_at(&mut self, moment: &Moment) {
        // A send that does not wait is in no line, and no carrier has its waker.
        if !mem::take(&mut self.waits) {
            return;
        }
        if let Some(wait) = self.wait.take() {
            let EndedWait {
                #[cfg(feature = "tracing")]
                report,
            } = self.entry.blockage().end(wait, moment.get());
            #[cfg(feature = "tracing")]
            if let Some(report) = report {
                crate::events::event!(
                    warn,
                    subscription = %self.entry.id(),
                    name = self.entry.name().map(|name| &**name),
                    blocked_for = ?report.blocked_for,
                    served = self.served,
                    suppressed = report.suppressed,
                    "a send was blocked by a full subscriber"
                );
            }
        }
        // A sender that was served asks too, because it may have been woken after it had found
        // room. `tests/feed/waiting.rs` runs many sends in parallel that give up or are served; no
        // model has found the difference.
        let is_room_left = || {
            let queue = self.entry.queue();
            queue.is_some_and(|queue| queue.room_for(1) != 0)
        };
        self.entry
            .blocked_sends()
            .leave(&mut self.ticket, is_room_left);
        #[cfg(feature = "tokio")]
        if self.entry.queue().is_none()
            && let Some(gate) = self.entry.enter_gate()
            && let Port::Tokio(carrier) = gate.port()
        {
            carrier.left(self.entry.blocked_sends());
        }
        self.forget();
    }

    /// This send's waker for the carrier, which wakes `task`. If it replaces another waker, the
    /// carrier forgets that one.
    fn own_waker(&mut self, task: &Waker) -> Waker {
        if let Some(own) = &self.own
            && own.task.will_wake(task)
        {
            return own.waker.clone();
        }
        self.forget();
        let waker = Waker::from(Arc::new(Forward(task.clone())));
        let own = Own {
            task: task.clone(),
            waker: waker.clone(),
        };
        self.own = Some(Box::new(own));
        waker
    }

    /// Tells the carrier that no send waits with this waker any more.
    fn forget(&mut self) {
        let Some(own) = self.own.take() else {
            return;
        };
        if !mem::take(&mut self.carrier_has) {
            return quietly(|| drop(own));
        }
        let Some(gate) = self.entry.enter_gate() else {
            return;
        };
        let Port::Carrier(carrier) = gate.port() else {
            return;
        };
        let told = catch(|| carrier.forget_waker(&own.waker));
        drop(gate);
        quietly(|| drop(own));
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
        moment: &Moment,
        listening: &mut Listening,
    ) -> Result<(), Caught> {
        let again = self.join(waker, waiter, moment);
        let is_own = self.entry.queue().is_some();
        // A task that joins a new line needs no alarm: the line's watch wakes it.
        if waiter == Waiter::Thread || !is_own && again == Again::Repeatedly {
            listening.again = listening.again.max(again);
        }
        if is_own {
            return Ok(());
        }
        let entry = Arc::clone(&self.entry);
        let Some(gate) = entry.enter_gate() else {
            return Ok(());
        };
        // A panic of the task's waker is not the carrier's.
        let own = matches!(gate.port(), Port::Carrier(_)).then(|| self.own_waker(waker));
        let room = catch(|| match (gate.port(), &own) {
            (Port::Crossbeam(_), _) => {
                listening.crossbeam += 1;
                None
            }
            (Port::Carrier(carrier), _) if carrier.as_crossbeam().is_some() => {
                listening.crossbeam += 1;
                None
            }
            #[cfg(feature = "tokio")]
            (Port::Tokio(carrier), _) => match carrier.poll_room(entry.blocked_sends()) {
                // The subscription's line wakes it.
                Room::Waking => None,
                room => Some(room),
            },
            (Port::Carrier(carrier), Some(own)) => {
                let again = if carrier.may_overlook(Sealed) {
                    Again::Repeatedly
                } else {
                    again
                };
                listening.again = listening.again.max(again);
                Some(carrier.poll_room(own))
            }
            (Port::Own(_) | Port::Carrier(_) | Port::Closure(_), _) => None,
        })?;
        // A panic from here on comes from the waker, and the carrier is not to blame for it.
        match room {
            Some(Room::Ready) => quietly(|| waker.wake_by_ref()),
            Some(Room::Unknown) => listening.timer = true,
            Some(Room::Waking) | None => {}
        }
        self.carrier_has |= own.is_some() && matches!(room, Some(Room::Ready | Room::Waking));
        Ok(())
    }
}

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        self.leave();
        if !self.served && !self.blamed && !self.entry.is_cut() {
            // The sender gave the value up for this subscriber.
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

/// How subscribers without room report that they have room.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Listening {
    /// When the send looks again without a wake-up.
    pub(crate) again: Again,
    /// How many of the subscribers are crossbeam senders. The send waits for these in a select.
    pub(crate) crossbeam: usize,
    /// Whether some subscribers cannot tell when they have room. The send tries these again on a
    /// timer.
    pub(crate) timer: bool,
}
