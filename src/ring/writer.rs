//! Writing to a ring that one thread at a time sends on.
//!
//! The writer owns the gate. It may write the positions from `next` up to its limit, all in the
//! segment that it holds. It publishes them by one store of the tail: a reader that sees the new
//! tail sees the values.
//!
//! The fields that every send uses are apart from those that few sends use, which are reached only
//! by reference. So if a sender is a local variable, the compiler can keep its position in a
//! register.

use std::cell::LazyCell;
use std::iter::{self, Once};
use std::sync::Arc;
use std::time::Instant;

use crate::error::{CapacityError, TrySendError};

use super::blocked_senders::Look;
use super::core::Core;
use super::gate::{Gate, Held};
use super::room::{self, Refusal, Unsent};
use super::shape::Shape;
use super::storage::SegmentRef;

pub(crate) struct Writer<T> {
    /// The next position.
    next: u64,
    /// The writer need not stop before this position. At most the gate's limit.
    stop: u64,
    /// The segment of the positions up to the gate's limit.
    segment: SegmentRef<T>,
    offset_mask: u64,
    core: Arc<Core<T>>,
    seldom: Box<Seldom>,
}

#[derive(Default)]
struct Seldom {
    gate: Gate,
    closed: bool,
}

/// Room for a writer to go on.
struct Room<T> {
    stop: u64,
    segment: SegmentRef<T>,
}

impl<T> Writer<T> {
    pub(crate) fn new(capacity: usize, drop_when_read: bool) -> Result<Self, CapacityError> {
        let shape = Shape::new(capacity)?;
        let core = Core::new(shape, false, drop_when_read);
        Ok(Self {
            next: 0,
            stop: 0,
            segment: core.track.storage.segment(0),
            offset_mask: shape.segment_len() as u64 - 1,
            core,
            seldom: Box::default(),
        })
    }

    /// The writer of a ring whose first position is `start`.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn starting_at(capacity: usize, start: u64) -> Result<Self, CapacityError> {
        let mut writer = Self::new(capacity, false)?;
        writer.core = Core::starting_at(*writer.core.track.shape(), false, start);
        writer.segment = writer.core.track.storage.segment(start);
        writer.seldom.gate = Gate::starting_at(start);
        (writer.next, writer.stop) = (start, start);
        Ok(writer)
    }

    pub(crate) fn core(&self) -> &Arc<Core<T>> {
        &self.core
    }

    pub(crate) fn position(&self) -> u64 {
        self.next
    }

    #[inline]
    pub(crate) fn close(&mut self) {
        self.seldom.closed = true;
        // So that the next send finds the ring closed.
        self.stop = self.next;
        self.core.close(self.next);
        self.core.nobody_claims();
    }

    #[inline(always)]
    pub(crate) fn send(&mut self, value: T) -> u64 {
        if self.next == self.stop && self.make_room(|| None).is_err() {
            return self.next;
        }
        self.put(value)
    }

    #[inline(always)]
    pub(crate) fn try_send(&mut self, value: T) -> Result<u64, TrySendError<T>> {
        if self.next == self.stop
            && let Err(refusal) = self.look_for_room()
        {
            return Err(refusal.of(value));
        }
        Ok(self.put(value))
    }

    pub(crate) fn send_until(
        &mut self,
        value: T,
        deadline: impl FnOnce() -> Option<Instant>,
    ) -> Result<u64, TrySendError<T>> {
        if self.next == self.stop
            && let Err(refusal) = self.make_room(deadline)
        {
            return Err(refusal.of(value));
        }
        Ok(self.put(value))
    }

    pub(crate) fn send_batch(&mut self, values: impl IntoIterator<Item = T>) -> u64 {
        let sent = self.send_all(values.into_iter(), |writer| writer.make_room(|| None));
        sent.unwrap_or(self.next)
    }

    pub(crate) fn try_send_batch(
        &mut self,
        values: impl IntoIterator<Item = T>,
    ) -> Result<u64, TrySendError<Vec<T>>> {
        self.send_all(values.into_iter(), Self::look_for_room)
            .map_err(|unsent| unsent.collect())
    }

    pub(crate) fn send_batch_until(
        &mut self,
        values: impl IntoIterator<Item = T>,
        deadline: impl FnOnce() -> Option<Instant>,
    ) -> Result<u64, TrySendError<Vec<T>>> {
        let deadline = LazyCell::new(deadline);
        self.send_all(values.into_iter(), |writer| writer.make_room(|| *deadline))
            .map_err(|unsent| unsent.collect())
    }

    /// Sends the values, and gets room with `room`. Gives back the values for which there was none.
    #[inline(always)]
    fn send_all<I: Iterator<Item = T>>(
        &mut self,
        mut values: I,
        mut room: impl FnMut(&mut Self) -> Result<(), Refusal>,
    ) -> Result<u64, Unsent<Once<T>, I>> {
        loop {
            // Taken before looking for room, because there may be no more values.
            let Some(mut value) = values.next() else {
                return Ok(self.next);
            };
            if self.next == self.stop
                && let Err(refusal) = room(self)
            {
                return Err(Unsent {
                    refusal,
                    taken: iter::once(value),
                    rest: values,
                });
            }
            let mut stretch = Stretch {
                segment: self.segment,
                offset_mask: self.offset_mask,
                stop: self.stop,
                end: self.next,
                writer: self,
            };
            loop {
                stretch.put(value);
                if stretch.is_full() {
                    break;
                }
                match values.next() {
                    Some(next) => value = next,
                    None => break,
                }
            }
        }
    }

    /// Waits for room for `count` values, lets `write` write them in place, and publishes them
    /// together.
    pub(crate) fn send_batch_with(&mut self, count: usize, write: impl FnMut(usize, &mut T)) -> u64
    where
        T: Default,
    {
        if count != 0 && self.claim_or_wait(count).is_ok() {
            self.write(count, write);
        }
        self.next
    }

    /// Like `send_batch_with`, if there is room now.
    pub(crate) fn try_send_batch_with<W: FnMut(usize, &mut T)>(
        &mut self,
        count: usize,
        write: W,
    ) -> Result<u64, TrySendError<W>>
    where
        T: Default,
    {
        if count != 0 {
            if let Err(refusal) = self.claim_now(count) {
                return Err(refusal.of(write));
            }
            self.write(count, write);
        }
        Ok(self.next)
    }

    /// Lets `write` write `count` values in place from `next` on, where the limit allows it, and
    /// publishes them.
    fn write(&mut self, count: usize, mut write: impl FnMut(usize, &mut T))
    where
        T: Default,
    {
        // The limit may be in a later segment than `next`. The next send must find out, also after
        // a panic.
        self.stop = self.next;
        let track = &self.core.track;
        for index in 0..count {
            let position = self.next + index as u64;
            let segment = track.storage.segment(position);
            // SAFETY: as in `send_with`: the position is below the gate's limit, and none of these
            // positions is published before the last of them was written.
            write(index, unsafe {
                segment.old_or_default(self.offset(position))
            });
        }
        let end = self.next + count as u64;
        self.stop = end;
        self.publish(end);
    }

    pub(crate) fn send_with(&mut self, write: impl FnOnce(&mut T)) -> u64
    where
        T: Default,
    {
        if self.next == self.stop && self.make_room(|| None).is_err() {
            return self.next;
        }
        let offset = self.offset(self.next);
        // SAFETY: the position is below the gate's limit and unpublished, so the slot is this
        // writer's. It stays so until the position is published, which is after the last use of the
        // reference.
        write(unsafe { self.segment.old_or_default(offset) });
        let position = self.next;
        self.publish(position + 1);
        position
    }

    #[inline(always)]
    fn offset(&self, position: u64) -> usize {
        (position & self.offset_mask) as usize
    }

    /// Writes a value to the next position, for which there is room, and publishes it.
    #[inline(always)]
    fn put(&mut self, value: T) -> u64 {
        let position = self.next;
        // SAFETY: the position is below the gate's limit and unpublished, so the slot is this
        // writer's.
        let old = unsafe { self.segment.replace(self.offset(position), value) };
        self.publish(position + 1);
        // Only now, because the drop may panic.
        drop(old);
        position
    }

    #[inline(always)]
    fn publish(&mut self, end: u64) {
        self.core.track.publish(end);
        let is_drowsy = self.core.wakeups.is_any_drowsy();
        // Stored after the fence, so that a loop of sends keeps the position in a register: a
        // compiler loads it again after a fence. Stored before code of others may run and panic.
        self.next = end;
        // In a ring that drops values once they are read, the count of drowsy readers is never 0. A
        // reader that is not at `end` or beyond was not beyond the first of these values either, or
        // has joined since they were published and has looked itself.
        if is_drowsy {
            self.core.wakeups.rouse_readers();
            self.core.look_after_publishing(end);
        }
    }

    /// Checks for room at `next`, which has reached `stop`.
    #[inline(always)]
    fn look_for_room(&mut self) -> Result<(), Refusal> {
        self.seldom
            .look_for_room(&self.core, self.next)
            .map(|room| self.enter(room))
    }

    /// Waits for room at `next`, which has reached `stop`.
    #[inline(always)]
    fn make_room(&mut self, deadline: impl FnOnce() -> Option<Instant>) -> Result<(), Refusal> {
        self.seldom
            .make_room(&self.core, self.next, deadline)
            .map(|room| self.enter(room))
    }

    /// Makes room for `count` values, without waiting.
    fn claim_now(&mut self, count: usize) -> Result<(), Refusal> {
        if self.seldom.closed {
            return Err(Refusal::Closed);
        }
        self.seldom
            .claim(&self.core, self.next, count as u64)
            .map_err(|_| Refusal::Full)
    }

    /// Waits for room for `count` values.
    fn claim_or_wait(&mut self, count: usize) -> Result<(), Refusal> {
        match self.claim_now(count) {
            Err(Refusal::Full) => {}
            claimed => return claimed,
        }
        let (next, count) = (self.next, count as u64);
        let (core, seldom) = (&*self.core, &mut self.seldom);
        room::wait(core, count, None, || seldom.claim(core, next, count)).ok_or(Refusal::Full)
    }

    #[inline(always)]
    fn enter(&mut self, room: Room<T>) {
        self.stop = room.stop;
        self.segment = room.segment;
    }
}

impl Seldom {
    #[cold]
    #[inline(never)]
    fn look_for_room<T>(&mut self, core: &Core<T>, next: u64) -> Result<Room<T>, Refusal> {
        if self.closed {
            return Err(Refusal::Closed);
        }
        self.pass_gate(core, next).map_err(|_| Refusal::Full)
    }

    #[cold]
    #[inline(never)]
    fn make_room<T>(
        &mut self,
        core: &Core<T>,
        next: u64,
        deadline: impl FnOnce() -> Option<Instant>,
    ) -> Result<Room<T>, Refusal> {
        if self.closed {
            return Err(Refusal::Closed);
        }
        if let Ok(room) = self.pass_gate(core, next) {
            return Ok(room);
        }
        room::wait(core, 1, deadline(), || self.pass_gate(core, next)).ok_or(Refusal::Full)
    }

    /// Called when `next` has reached the stop: looks ahead, or moves the limit on.
    fn pass_gate<T>(&mut self, core: &Core<T>, next: u64) -> Result<Room<T>, Held> {
        let track = &core.track;
        let passed = if next < self.gate.limit() {
            self.gate.look_ahead(track);
            Ok(())
        } else {
            self.gate.extend(track)
        };
        self.tidy(core);
        passed?;
        // A claim that was given up may have left the limit in a later segment.
        let segment_end = track.shape().segment_end(next);
        Ok(Room {
            stop: self.gate.next_stop(track, next).min(segment_end),
            segment: track.storage.segment(next),
        })
    }

    /// Moves the limit on until there is room for `count` values at `next`, and no further than a
    /// capacity beyond `next`. So no strict reader joins beyond what was published.
    ///
    /// Looks at strict readers first, so that lossy readers are not overtaken for a claim that
    /// fails.
    #[cold]
    fn claim<T>(&mut self, core: &Core<T>, next: u64, count: u64) -> Result<(), Held> {
        let track = &core.track;
        // So the limit stays within a capacity of `next`, and no reader must begin beyond `next`.
        debug_assert!(count <= track.shape().max_claim());
        while self.gate.limit() < next + count {
            if let Look::Held(_, seat) = core.look_for_places(count) {
                return Err(Held::By(seat));
            }
            let extended = self.gate.extend(track);
            self.tidy(core);
            extended?;
        }
        Ok(())
    }

    /// Does the work that follows a move of the gate. Runs user code.
    fn tidy<T>(&mut self, core: &Core<T>) {
        if let Some(left) = self.gate.take_left(&core.track) {
            core.track.storage.exit(left);
        }
        core.overrun(self.gate.take_overrun(&core.track));
        core.drop_passed();
    }
}

/// Values that have been written, and are published together, even if writing more of them panics.
struct Stretch<'a, T> {
    writer: &'a mut Writer<T>,
    /// The position to write next.
    end: u64,
    // Copies of the writer's fields, which the compiler need not load again for each value.
    segment: SegmentRef<T>,
    offset_mask: u64,
    stop: u64,
}

impl<T> Stretch<'_, T> {
    #[inline(always)]
    fn put(&mut self, value: T) {
        let offset = (self.end & self.offset_mask) as usize;
        // SAFETY: as in `Writer::put`, because `end` is below `stop`.
        let old = unsafe { self.segment.replace(offset, value) };
        self.end += 1;
        drop(old);
    }

    #[inline(always)]
    fn is_full(&self) -> bool {
        self.end == self.stop
    }
}

impl<T> Drop for Stretch<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.end != self.writer.next {
            self.writer.publish(self.end);
        }
    }
}

impl<T> Drop for Writer<T> {
    #[inline]
    fn drop(&mut self) {
        self.close();
    }
}
