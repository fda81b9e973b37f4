//! Sending on a ring from many threads.
//!
//! A sender *claims* positions by moving `next` on, never beyond what the gate allows, writes them,
//! and *stamps* each. A thread that checks how far the ring was published follows the stamps. So a
//! sender that is preempted between claiming and stamping delays readers, and senders a lap further
//! on, but no other sender before that.

use std::cell::LazyCell;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use crate::carrier::Room;
use crate::error::{CapacityError, TrySendError};
use crate::sync::{Mutex, Ordering, mutant, order};
use crate::wait::{Patience, Ticket, Tickets};

#[cfg(feature = "async")]
use super::blocked_senders::Look;
use super::core::Core;
use super::gate::{Gate, Held};
#[cfg(feature = "async")]
use super::hold::HeldSend;
use super::room::{self, Refusal, Unsent};
use super::shape::Shape;
use super::track::CLOSED;

/// Shared by all sending handles of a ring. The ring ends when it is dropped.
pub(crate) struct Claimant<T> {
    core: Arc<Core<T>>,
    gate: Mutex<Gate>,
    /// Sends on a feed that this ring is subscribed to, which wait for room here.
    waiters: Tickets,
}

/// Why no position was claimed.
enum Unclaimed {
    Held(Held),
    Closed,
}

/// Positions that were claimed and not stamped yet.
struct Claim {
    begin: u64,
    end: u64,
}

impl<T> Claimant<T> {
    pub(crate) fn new(capacity: usize, drop_when_read: bool) -> Result<Self, CapacityError> {
        let core = Core::new(Shape::new(capacity)?, true, drop_when_read);
        Ok(Self {
            core,
            gate: Mutex::new(Gate::default()),
            waiters: Tickets::new(),
        })
    }

    /// The shared state of a ring whose first position is `start`.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn starting_at(capacity: usize, start: u64) -> Result<Self, CapacityError> {
        Ok(Self {
            core: Core::starting_at(Shape::new(capacity)?, true, start),
            gate: Mutex::new(Gate::starting_at(start)),
            waiters: Tickets::new(),
        })
    }

    pub(crate) fn core(&self) -> &Arc<Core<T>> {
        &self.core
    }

    pub(crate) fn close(&self) {
        if self.end() {
            // A thread that takes the gate later finds the ring closed.
            drop(self.gate.lock());
            // Senders that are still writing to claimed positions must check for the close
            // afterwards.
            self.core.wakeups.grow_drowsy();
            self.core.nobody_claims();
        }
    }

    /// Ends the ring at the position that claims have reached. Returns whether it had not ended
    /// before.
    fn end(&self) -> bool {
        let next = &self.core.track.claims().next;
        let next = next.fetch_or(CLOSED, Ordering::AcqRel);
        self.core.close(next & !CLOSED);
        next & CLOSED == 0
    }

    #[inline(always)]
    pub(crate) fn send(&self, value: T) -> u64 {
        match self.claim_or_wait(1, || None) {
            Ok(claim) => self.fill_one(&claim, value),
            Err(_) => self.core.track.next(),
        }
    }

    #[inline(always)]
    pub(crate) fn try_send(&self, value: T) -> Result<u64, TrySendError<T>> {
        match self.claim::<false>(1) {
            Ok(claim) => Ok(self.fill_one(&claim, value)),
            Err(Unclaimed::Held(_)) => Err(Refusal::Full.of(value)),
            Err(Unclaimed::Closed) => Err(Refusal::Closed.of(value)),
        }
    }

    pub(crate) fn send_until(
        &self,
        value: T,
        deadline: impl FnOnce() -> Option<Instant>,
    ) -> Result<u64, TrySendError<T>> {
        match self.claim_or_wait(1, deadline) {
            Ok(claim) => Ok(self.fill_one(&claim, value)),
            Err(refusal) => Err(refusal.of(value)),
        }
    }

    pub(crate) fn send_batch(&self, values: impl IntoIterator<Item = T>) -> u64 {
        let sent = self.send_all(values.into_iter(), |wanted| {
            self.claim_or_wait(wanted, || None)
        });
        sent.unwrap_or_else(|_| self.core.track.next())
    }

    pub(crate) fn try_send_batch(
        &self,
        values: impl IntoIterator<Item = T>,
    ) -> Result<u64, TrySendError<Vec<T>>> {
        let sent = self.send_all(values.into_iter(), |wanted| {
            self.claim::<false>(wanted)
                .map_err(|unclaimed| match unclaimed {
                    Unclaimed::Held(_) => Refusal::Full,
                    Unclaimed::Closed => Refusal::Closed,
                })
        });
        sent.map_err(|unsent| unsent.collect())
    }

    pub(crate) fn send_batch_until(
        &self,
        values: impl IntoIterator<Item = T>,
        deadline: impl FnOnce() -> Option<Instant>,
    ) -> Result<u64, TrySendError<Vec<T>>> {
        let deadline = LazyCell::new(deadline);
        let sent = self.send_all(values.into_iter(), |wanted| {
            self.claim_or_wait(wanted, || *deadline)
        });
        sent.map_err(|unsent| unsent.collect())
    }

    /// Sends the values, claiming positions with `claim`, and returns the position after the last.
    /// Gives back the values for which there were none.
    fn send_all<I: Iterator<Item = T>>(
        &self,
        mut values: I,
        mut claim: impl FnMut(u64) -> Result<Claim, Refusal>,
    ) -> Result<u64, Unsent<Vec<T>, I>> {
        /// Values taken from the iterator before any of them is sent, because no user code runs
        /// between claiming and stamping.
        const AT_ONCE: usize = 32;
        let mut buffer = Vec::with_capacity(values.size_hint().0.clamp(1, AT_ONCE));
        let mut end = None;
        loop {
            buffer.extend(values.by_ref().take(AT_ONCE));
            if buffer.is_empty() {
                return Ok(end.unwrap_or_else(|| self.core.track.next()));
            }
            let mut taken = buffer.drain(..);
            while taken.len() != 0 {
                match claim(taken.len() as u64) {
                    Ok(claim) => {
                        // Dropped after all of them have been published, because a drop may panic.
                        drop(self.fill(&claim, &mut taken));
                        end = Some(claim.end);
                    }
                    Err(refusal) => {
                        return Err(Unsent {
                            refusal,
                            taken: taken.collect(),
                            rest: values,
                        });
                    }
                }
            }
        }
    }

    // ---- Claiming ----

    /// Claims up to `wanted` positions, in one segment. `NEWCOMER` says that the sender must give
    /// way to senders in line if the limit has to be moved.
    #[inline(always)]
    fn claim<const NEWCOMER: bool>(&self, wanted: u64) -> Result<Claim, Unclaimed> {
        let claims = self.core.track.claims();
        let mut begin = claims.next.load(Ordering::Relaxed);
        loop {
            // ORDERING: Acquire pairs with the Release in `open`: the readers that the gate looked
            // at no longer use the slots.
            let stop = claims.stop.load(Ordering::Acquire);
            let stop = if begin < stop {
                stop
            } else {
                if NEWCOMER && !self.core.wakeups.senders.is_first_come() {
                    return Err(Unclaimed::Held(Held::Shortly));
                }
                let limit = self.open(begin)?;
                begin = claims.next.load(Ordering::Relaxed);
                if begin >= limit {
                    continue;
                }
                limit
            };
            let end = stop.min(begin + wanted);
            // ORDERING: only a reader that joins reads anything through this (Release).
            match claims.next.compare_exchange_weak(
                begin,
                end,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(Claim { begin, end }),
                Err(now) => begin = now,
            }
        }
    }

    fn claim_or_wait(
        &self,
        wanted: u64,
        deadline: impl FnOnce() -> Option<Instant>,
    ) -> Result<Claim, Refusal> {
        match self.claim::<true>(wanted) {
            Ok(claim) => Ok(claim),
            Err(Unclaimed::Closed) => Err(Refusal::Closed),
            Err(Unclaimed::Held(_)) => self.wait_and_claim(wanted, deadline()),
        }
    }

    #[cold]
    fn wait_and_claim(&self, wanted: u64, deadline: Option<Instant>) -> Result<Claim, Refusal> {
        let claimed = room::wait(&self.core, 1, deadline, || {
            match self.claim::<false>(wanted) {
                Ok(claim) => Ok(Ok(claim)),
                Err(Unclaimed::Closed) => Ok(Err(Refusal::Closed)),
                Err(Unclaimed::Held(held)) => Err(held),
            }
        });
        claimed.unwrap_or(Err(Refusal::Full))
    }

    /// Called when `begin` has reached the stop: looks ahead, or moves the limit on. Returns the
    /// limit.
    #[cold]
    fn open(&self, begin: u64) -> Result<u64, Unclaimed> {
        if begin & CLOSED != 0 {
            return Err(Unclaimed::Closed);
        }
        let track = &self.core.track;
        let claims = track.claims();
        let mut patience = Patience::new();
        let mut gate = loop {
            if let Some(gate) = self.gate.try_lock() {
                break gate;
            }
            // Another sender has the gate. This sender need not wait while there is room.
            let limit = claims.limit.load(Ordering::Acquire);
            if begin < limit {
                return Ok(limit);
            }
            patience.wait();
        };
        if claims.next.load(Ordering::Relaxed) & CLOSED != 0 && !mutant!("gate_opens_after_the_end")
        {
            return Err(Unclaimed::Closed);
        }
        let outcome = if begin < gate.limit() {
            gate.look_ahead(track);
            Ok(())
        } else {
            gate.extend(track)
        };
        let (limit, overrun) = (gate.limit(), gate.take_overrun(track));
        let left = gate.take_left(track);
        if outcome.is_ok() {
            // ORDERING: Release pairs with the Acquire loads of both: a sender that claims these
            // positions knows that readers no longer use their slots.
            let release = order!(Release, "limit_is_moved_relaxed");
            claims.limit.store(limit, release);
            claims.stop.store(gate.next_stop(track, begin), release);
        }
        drop(gate);
        // Outside the lock, because this is user code.
        if let Some(left) = left {
            track.storage.exit(left);
        }
        self.core.overrun(overrun);
        self.core.drop_passed();
        outcome.map_err(Unclaimed::Held)?;
        Ok(limit)
    }

    // ---- Waiting for room without blocking a thread ----

    /// Sends the value if there is room, else joins the line of senders with `waker`.
    ///
    /// As [`room::wait`] does for a thread, a newcomer gives way to senders in line that were
    /// passed over. A sender that joins the line looks once more, unless the sender before it in
    /// line ensures that it is woken.
    ///
    /// If another sender is in the way and no reader, the task neither joins the line nor tends it.
    /// As far as the line knows there is room, so tending it would wake the first in line, which
    /// may be this task. If the task was in line, it keeps its place, or keeps the wake-up until it
    /// has sent or left.
    #[cfg(feature = "async")]
    pub(crate) fn poll_send(
        &self,
        value: &mut Option<T>,
        place: &mut TaskPlace,
        waker: &Waker,
    ) -> Standing {
        let senders = &self.core.wakeups.senders;
        let is_newcomer = !place.is_in_line;
        let sent = if is_newcomer {
            self.send_from::<true>(value, place)
        } else {
            self.send_from::<false>(value, place)
        };
        match sent {
            Ok(position) => return Standing::Sent(position),
            Err(Held::By(seat)) => senders.hold().meet(&mut place.held, seat),
            // A newcomer that must give way also gets `Held::Shortly`.
            Err(Held::Shortly) if !is_newcomer || senders.is_first_come() => {
                return Standing::BehindAnotherSender;
            }
            Err(Held::Shortly) => {
                if let Look::Held(_, seat) = self.core.look_for_places(1) {
                    senders.hold().meet(&mut place.held, seat);
                }
            }
        }
        place.is_in_line = true;
        if is_newcomer {
            let is_cared_for =
                senders.join(&mut place.ticket, waker, || self.core.look_for_places(1));
            let is_over = self.core.is_closed() && !mutant!("task_in_line_overlooks_the_end");
            if is_cared_for && !is_over {
                return Standing::InLine;
            }
        } else {
            if senders.was_woken(&place.ticket) {
                senders.starve();
            }
            senders.rejoin(&mut place.ticket, waker, || self.core.look_for_places(1));
        }
        if mutant!("task_does_not_look_in_line") {
            return Standing::InLine;
        }
        match self.send_from::<false>(value, place) {
            Ok(position) => Standing::Sent(position),
            Err(Held::By(seat)) => {
                senders.hold().meet(&mut place.held, seat);
                #[cfg(feature = "tracing")]
                self.core.report(&mut place.held);
                Standing::InLine
            }
            Err(Held::Shortly) => Standing::BehindAnotherSender,
        }
    }

    /// Sends the value if there is room, and leaves the line. On a closed ring it drops the value,
    /// and returns the position where the ring ended.
    #[cfg(feature = "async")]
    fn send_from<const NEWCOMER: bool>(
        &self,
        value: &mut Option<T>,
        place: &mut TaskPlace,
    ) -> Result<u64, Held> {
        let position = match self.claim::<NEWCOMER>(1) {
            Ok(claim) => {
                let value = value.take().expect("a send in line has its value");
                self.fill_one(&claim, value)
            }
            Err(Unclaimed::Closed) => {
                drop(value.take());
                self.core.track.next()
            }
            Err(Unclaimed::Held(held)) => return Err(held),
        };
        // Only now, because wakers are user code, and no user code runs between claim and stamp.
        self.give_up(place);
        Ok(position)
    }

    /// Leaves the line.
    #[cfg(feature = "async")]
    pub(crate) fn give_up(&self, place: &mut TaskPlace) {
        self.core.is_not_held(&mut place.held);
        if std::mem::take(&mut place.is_in_line) && !mutant!("dropped_send_stays_in_line") {
            self.leave(&mut place.ticket);
        }
    }

    /// For a feed that this ring is subscribed to: registers the waker to be woken when there is
    /// room. The feed tries the value once more after this. That try is the look that must follow.
    pub(crate) fn poll_room(&self, waker: &Waker) -> Room {
        match self.look_for_room() {
            Ok(()) => Room::Ready,
            Err(Held::Shortly) => Room::Unknown,
            Err(Held::By(_)) => {
                self.wake_for_room(waker);
                Room::Waking
            }
        }
    }

    /// Whether there is room. If not, returns which reader to wait for.
    pub(crate) fn look_for_room(&self) -> Result<(), Held> {
        let claims = self.core.track.claims();
        let next = claims.next.load(Ordering::Acquire);
        if next & CLOSED != 0 || next < claims.limit.load(Ordering::Acquire) {
            return Ok(());
        }
        match self.open(next) {
            Ok(_) | Err(Unclaimed::Closed) => Ok(()),
            Err(Unclaimed::Held(held)) => Err(held),
        }
    }

    /// Registers the waker to be woken when there is room. The caller then looks once more.
    pub(crate) fn wake_for_room(&self, waker: &Waker) {
        let senders = &self.core.wakeups.senders;
        let leave = |ticket: &mut Ticket| self.leave(ticket);
        self.waiters
            .with(waker, Ticket::default(), leave, |ticket| {
                senders.rejoin(ticket, waker, || self.core.look_for_places(1));
            });
    }

    /// Removes what `wake_for_room` registered.
    pub(crate) fn forget_waker(&self, waker: &Waker) {
        if let Some(mut ticket) = self.waiters.take(waker) {
            self.leave(&mut ticket);
        }
    }

    fn leave(&self, ticket: &mut Ticket) {
        let senders = &self.core.wakeups.senders;
        senders.leave(ticket, || self.core.look_for_places(1));
    }

    // ---- Filling ----

    #[inline(always)]
    fn fill_one(&self, claim: &Claim, value: T) -> u64 {
        let track = &self.core.track;
        let segment = track.storage.segment(claim.begin);
        let offset = track.shape().offset(claim.begin);
        // SAFETY: this thread has claimed the position and not stamped it, so the slot is its own.
        let old = unsafe { segment.replace(offset, value) };
        track.stamp(claim.begin);
        if self.core.wakeups.published() {
            self.core.look_after_publishing(claim.begin + 1);
        }
        // Only now, because the drop may panic.
        drop(old);
        claim.begin
    }

    /// Writes and stamps a value at each claimed position, and returns the values that they
    /// replaced.
    fn fill(&self, claim: &Claim, values: &mut impl Iterator<Item = T>) -> Vec<T> {
        let track = &self.core.track;
        let segment = track.storage.segment(claim.begin);
        let mut old = Vec::new();
        // The claim is at most as long as the buffer.
        for (position, value) in (claim.begin..claim.end).zip(values) {
            // SAFETY: as in `fill_one`. A claim lies in one segment.
            let replaced = unsafe { segment.replace(track.shape().offset(position), value) };
            if let Some(replaced) = replaced {
                if old.is_empty() {
                    old.reserve_exact((claim.end - position) as usize);
                }
                old.push(replaced);
            }
        }
        // Backwards: a reader that sees the first stamp sees all of them, so the values appear
        // together.
        for nth in 1..=claim.end - claim.begin {
            track.stamp(if mutant!("batch_is_stamped_forwards") {
                claim.begin + nth - 1
            } else {
                claim.end - nth
            });
        }
        if self.core.wakeups.published() {
            self.core.look_after_publishing(claim.begin + 1);
        }
        old
    }
}

/// A task's place in the line of senders.
#[cfg(feature = "async")]
#[derive(Debug, Default)]
pub(crate) struct TaskPlace {
    ticket: Ticket,
    is_in_line: bool,
    held: HeldSend,
}

/// The result of polling a send.
#[cfg(feature = "async")]
pub(crate) enum Standing {
    /// The value was sent, at this position.
    Sent(u64),
    /// The task is woken when there is room.
    InLine,
    /// Another sender must fill its slot first, which wakes no task. The task must look again by
    /// itself.
    BehindAnotherSender,
}

impl<T> Drop for Claimant<T> {
    fn drop(&mut self) {
        self.end();
        self.core.nobody_claims();
    }
}

#[cfg(test)]
mod tests;
