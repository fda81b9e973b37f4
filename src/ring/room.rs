//! How a sender waits for room, and why it did not get any.

use std::time::{Duration, Instant};

use crate::error::TrySendError;
use crate::sync::MODELLED;
use crate::wait::{Parker, Patience, Snooze, Ticket};

use super::blocked_senders::{BlockedSenders, Look};
use super::core::Core;
use super::gate::Held;
use super::hold::HeldSend;
use super::seat::Seat;

/// Why there is no room for a value. Returned to a sender that does not wait, or that waits no
/// longer.
pub(crate) enum Refusal {
    Full,
    Closed,
}

impl Refusal {
    /// Gives the value back.
    #[cold]
    pub(crate) fn of<T>(self, value: T) -> TrySendError<T> {
        match self {
            Self::Full => TrySendError::Full(value),
            Self::Closed => TrySendError::Closed(value),
        }
    }
}

/// Values that were not sent: those taken from an iterator, and the rest of it.
pub(crate) struct Unsent<V, I> {
    pub(crate) refusal: Refusal,
    pub(crate) taken: V,
    pub(crate) rest: I,
}

impl<V: IntoIterator<Item = I::Item>, I: Iterator> Unsent<V, I> {
    /// Gives the values back.
    #[cold]
    pub(crate) fn collect(self) -> TrySendError<Vec<I::Item>> {
        let values = self.taken.into_iter().chain(self.rest).collect();
        self.refusal.of(values)
    }
}

/// How long a sender looks for room in all before it waits in line, however often readers move on.
const LOOKS: Duration = Duration::from_micros(100);

/// Repeats `attempt` until it succeeds. In between, the sender looks at the reader in the way
/// ([`Looks`]), then waits in line, for `wanted` places at the same time. Returns `None` once the
/// deadline has passed.
#[cold]
pub(crate) fn wait<T, R>(
    core: &Core<T>,
    wanted: u64,
    deadline: Option<Instant>,
    mut attempt: impl FnMut() -> Result<R, Held>,
) -> Option<R> {
    // The sender may wait for the very reader that can move on only when the handler has returned.
    // This is not certain. But the reader in the way now may not be the one in the way next, and a
    // send that hangs now and then is worse than a send that never waits.
    assert!(
        deadline.is_some() || !core.is_read_on_this_thread(),
        "a send from inside a handler of the same ring has no room, and would never return if it waited for its own \
         reader: use `try_send` or `send_timeout` there, or send after the read has returned"
    );
    let senders = &core.wakeups.senders;
    let is_late = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
    let mut clock = Clock {
        core,
        send: HeldSend::default(),
    };
    let mut place = Place::new(core, wanted);
    let mut looks = Looks::new(senders, deadline);
    let mut patience = Patience::new();
    let mut gives_way = !senders.is_first_come();
    let done = loop {
        if std::mem::take(&mut gives_way) {
            if let Look::Held(_, seat) = core.look_for_places(wanted) {
                clock.meet(seat);
            }
        } else {
            let seat = match attempt() {
                Ok(done) => break Some(done),
                Err(held) if is_late() => {
                    if let Held::By(seat) = held {
                        clock.meet(seat);
                    }
                    break None;
                }
                Err(Held::Shortly) => {
                    patience.wait();
                    continue;
                }
                Err(Held::By(seat)) => seat,
            };
            clock.meet(seat);
            // If other senders already wait, spinning would only take the processor from the
            // threads that make progress.
            if senders.is_empty() && looks.look(core.track.seats.seat(seat)) {
                continue;
            }
        }
        if place.is_to_look() && !is_late() {
            continue;
        }
        #[cfg(feature = "tracing")]
        let next_report = core.report(&mut clock.send);
        #[cfg(not(feature = "tracing"))]
        let next_report = None;
        place.park(deadline, next_report);
    };
    drop(place);
    drop(clock);
    looks.end(done.is_some());
    done
}

/// The part of a sender's wait for room that is not in line.
///
/// It lasts for some microseconds, starts again whenever the reader in the way has moved on, and
/// ends after [`LOOKS`] in all. If the ring's last wait for room was shorter than that, it lasts
/// for all of `LOOKS`. A reader with a slow handler moves on twice a lap, and to park and be woken
/// for each half of the ring takes longer than the values of that half.
struct Looks<'a> {
    senders: &'a BlockedSenders,
    snooze: Snooze,
    /// When the sender must wait in line.
    until: Instant,
    deadline: Option<Instant>,
    /// Whether the last wait was short.
    is_brisk: bool,
}

impl<'a> Looks<'a> {
    fn new(senders: &'a BlockedSenders, deadline: Option<Instant>) -> Self {
        Self {
            senders,
            snooze: Snooze::default(),
            until: Instant::now() + LOOKS,
            deadline,
            is_brisk: !MODELLED && senders.is_brisk(),
        }
    }

    /// Ends the wait. `has_room` says whether there is room.
    fn end(&self, has_room: bool) {
        if !MODELLED {
            let is_brisk = has_room && Instant::now() < self.until;
            self.senders.set_brisk(is_brisk);
        }
    }

    /// Looks at the reader in the way until it moves on, or for some time. Returns whether to look
    /// for room again; if not, the sender must wait in line.
    ///
    /// The sender looks at that reader alone: each look takes a cache line from the core that the
    /// reader runs on, and the other readers are not in the way. If one thread runs many readers,
    /// they move on one after another, and the sender can go on when the last one has. If it parked
    /// meanwhile, the readers would run out of values before it has been woken.
    fn look(&mut self, seat: &Seat) -> bool {
        if MODELLED {
            return false;
        }
        let seen = seat.progress();
        while seat.progress() == seen {
            if self.snooze.is_completed() {
                let now = Instant::now();
                if self.deadline.is_some_and(|deadline| now >= deadline) {
                    break;
                }
                // If other senders wait in line, the wait is long.
                if !self.is_brisk || now >= self.until || !self.senders.is_empty() {
                    return false;
                }
            }
            // Once it is completed, this yields the processor.
            if !self.snooze.snooze() {
                return false;
            }
        }
        self.snooze.reset();
        Instant::now() < self.until
    }
}

/// Counts how long the sender waits, for the reader in its way.
struct Clock<'a, T> {
    core: &'a Core<T>,
    send: HeldSend,
}

impl<T> Clock<'_, T> {
    fn meet(&mut self, seat: usize) {
        let hold = self.core.wakeups.senders.hold();
        hold.meet(&mut self.send, seat);
    }
}

impl<T> Drop for Clock<'_, T> {
    fn drop(&mut self) {
        self.core.is_not_held(&mut self.send);
    }
}

/// A sender's place in the line of senders that wait for room.
struct Place<'a, T> {
    core: &'a Core<T>,
    wanted: u64,
    parker: Parker,
    ticket: Ticket,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Outside,
    InLine,
    /// The sender has been parked, and may have been woken.
    Woken,
}

impl<'a, T> Place<'a, T> {
    fn new(core: &'a Core<T>, wanted: u64) -> Self {
        Self {
            core,
            wanted,
            parker: Parker::current(),
            ticket: Ticket::of_thread(),
            state: State::Outside,
        }
    }

    /// Joins the line if the sender is not in it. Returns whether the sender must look once more
    /// before it parks.
    fn is_to_look(&mut self) -> bool {
        let core = self.core;
        let senders = &core.wakeups.senders;
        let look = || core.look_for_places(self.wanted);
        match std::mem::replace(&mut self.state, State::InLine) {
            State::Outside => {
                !senders.join(&mut self.ticket, self.parker.waker(), look) || core.is_closed()
            }
            State::Woken => {
                senders.starve();
                senders.rejoin(&mut self.ticket, self.parker.waker(), look);
                true
            }
            State::InLine => false,
        }
    }

    /// Parks until the sender is woken, or until the deadline or `interruption` has come.
    fn park(&mut self, deadline: Option<Instant>, interruption: Option<Instant>) {
        let Some(interruption) = interruption else {
            self.parker.park(deadline);
            self.state = State::Woken;
            return;
        };
        let until = deadline.map_or(interruption, |deadline| deadline.min(interruption));
        self.parker.park(Some(until));
        // A sender that was not woken keeps its place in line, and others need not give way to it.
        if self.core.wakeups.senders.was_woken(&self.ticket) {
            self.state = State::Woken;
        }
    }
}

impl<T> Drop for Place<'_, T> {
    fn drop(&mut self) {
        if self.state != State::Outside {
            let look = || self.core.look_for_places(self.wanted);
            self.core.wakeups.senders.leave(&mut self.ticket, look);
        }
    }
}
