//! A sender's waiting for room.

use std::time::Instant;

use crossbeam_utils::Backoff;

use crate::sync::MODELLED;
use crate::wait::{Parker, Patience, Ticket};

use super::core::Core;
use super::gate::Held;

/// Tries until it works, and waits in between: backs off for some microseconds, then parks. `None` once the deadline has
/// passed.
#[cold]
pub(crate) fn wait<T, R>(
    core: &Core<T>,
    deadline: Option<Instant>,
    mut attempt: impl FnMut() -> Result<R, Held>,
) -> Option<R> {
    let mut held = match attempt() {
        Ok(done) => return Some(done),
        Err(held) => held,
    };
    let is_late = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
    let mut clock = Clock::default();
    let backoff = Backoff::new();
    let mut patience = Patience::new();
    let mut sleeper = Sleeper::new(core);
    let done = loop {
        match held {
            Held::Shortly => {
                if is_late() {
                    break None;
                }
                patience.wait();
            }
            Held::By(seat) => {
                clock.start(core, seat);
                if !backoff.is_completed() && !MODELLED {
                    backoff.snooze();
                } else if !sleeper.is_in_line_for(seat) {
                    sleeper.get_in_line(seat);
                } else if is_late() {
                    break None;
                } else {
                    sleeper.park(deadline);
                }
            }
        }
        match attempt() {
            Ok(done) => break Some(done),
            Err(now) => held = now,
        }
    };
    clock.stop(core);
    done
}

/// How long a sender has waited for the reader it came upon first.
#[derive(Default)]
struct Clock(Option<(usize, Instant)>);

impl Clock {
    fn start<T>(&mut self, core: &Core<T>, seat: usize) {
        if self.0.is_none() {
            core.track.seats.seat(seat).count_blocked();
            self.0 = Some((seat, Instant::now()));
            #[cfg(feature = "tracing")]
            crate::events::event!(debug, seat, "ring sender waits for a reader");
        }
    }

    fn stop<T>(&self, core: &Core<T>) {
        if let Some((seat, since)) = self.0 {
            let nanoseconds = since.elapsed().as_nanos().min(u128::from(u64::MAX)) as u64;
            core.track.seats.seat(seat).count_blocked_for(nanoseconds);
        }
    }
}

/// A sender in the line of those who wait for a reader.
struct Sleeper<'a, T> {
    core: &'a Core<T>,
    parker: Parker,
    ticket: Ticket,
    seat: Option<usize>,
}

impl<'a, T> Sleeper<'a, T> {
    fn new(core: &'a Core<T>) -> Self {
        Self {
            core,
            parker: Parker::current(),
            ticket: Ticket::default(),
            seat: None,
        }
    }

    fn is_in_line_for(&self, seat: usize) -> bool {
        self.seat == Some(seat)
    }

    /// Another look has to follow before it parks.
    fn get_in_line(&mut self, seat: usize) {
        self.core.wakeups.await_reader(
            self.core.track.seats.seat(seat),
            &mut self.ticket,
            self.parker.waker(),
        );
        self.seat = Some(seat);
    }

    fn park(&mut self, deadline: Option<Instant>) {
        self.parker.park(deadline);
        // Whoever woke it has taken it out of the line.
        self.seat = None;
    }
}

impl<T> Drop for Sleeper<'_, T> {
    fn drop(&mut self) {
        self.core.wakeups.leave_senders(&mut self.ticket);
    }
}
