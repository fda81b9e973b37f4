//! The delivery of one value to all subscribers.
//!
//! A delivery first serves all subscribers that have room, and remembers the others ([`Pending`]).
//! It tries all of those again each time one of them may have made room. While it waits, it holds
//! nothing that an unsubscribe waits for.

use std::mem;
use std::sync::Arc;
use std::task::Waker;

use super::alone::Pass;
use super::chunk::Chunk;
use super::closures::each_closure;
use super::core::Core;
use super::directory::Kind;
use super::entry::{Entry, Seating};
use super::lane;
use super::pending::{Listening, Pending, PendingList, Waiter};
use super::record::{Place, Section};
use super::refusal::{End, Refusal};
use crate::error::SubscriptionError;
use crate::wait::{Caught, Moment, catch};

/// If there are only crossbeam senders, and all their seats are below this bit, they are so few
/// that a separate loop gains nothing.
const FEW: u64 = 1 << 3;

/// A value, and the subscribers that must still get it.
///
/// **At most n - 1 clones.** The values at hand are `original` and at times a `spare` or more:
/// clones that full subscribers gave back. A clone is made only if there is no spare and another
/// subscriber must still be served. So there are never more values at hand than subscribers to
/// serve, and the last of them gets the original.
pub(crate) struct Delivery<T> {
    pub(super) original: Option<T>,
    pub(super) spare: Option<T>,
    pub(super) delivered: usize,
    /// The subscribers that had no room.
    pending: PendingList<T>,
    /// Slow-path state, boxed to keep the common case small.
    late: Option<Box<Late<T>>>,
}

struct Late<T> {
    /// Values at hand besides the original and the spare: clones that were refused together.
    spares: Vec<T>,
    /// Set by the first panic of a clone, or of a value that was pushed out. It is resumed when all
    /// other subscribers are served.
    panic: Option<Caught>,
}

impl<T: Clone + Send + 'static> Delivery<T> {
    /// Serves all subscribers that have room.
    #[inline]
    pub(crate) fn serve(&mut self, core: &Core<T>) {
        if !self.serve_only_one_quickly(core) {
            self.serve_all(core);
        }
    }

    #[inline]
    fn serve_all(&mut self, core: &Core<T>) {
        let section = core.records().enter();
        let first = core.directory().first();
        section.begin(first.place());
        if core.directory().has_live_beyond() {
            section.turn_heavy();
            self.serve_directory(core, &section);
        } else if !self.serve_only_one(core, first, &section) {
            section.turn_heavy();
            self.serve_chunk(core, first, &section, false);
        }
    }

    #[inline(never)]
    fn serve_directory(&mut self, core: &Core<T>, section: &Section<'_>) {
        let directory = core.directory();
        self.serve_chunk(core, directory.first(), section, true);
        let more = directory.visit_each(Kind::Channels, section, |chunk, more| {
            self.serve_chunk(core, chunk, section, more);
        });
        // Without later subscribers, the original may be given away.
        if more {
            directory.visit_each(Kind::Closures, section, |chunk, _| {
                self.call_chunk(core, chunk, section);
            });
        }
    }

    /// Serves the live seats of a chunk of channels, in a visit to it. `more` says whether other
    /// subscribers come after it.
    #[inline]
    fn serve_chunk(&mut self, core: &Core<T>, chunk: &Chunk<T>, by: &Section<'_>, more: bool) {
        let mut pass = Pass::new();
        while let Err(panic) = catch(|| self.serve_seats(core, chunk, by, more, &mut pass)) {
            self.delivered += pass.find_current();
            // SAFETY: the visit goes on, and the seat was live in it.
            let seat = unsafe { chunk.seat(pass.current) };
            let entry = seat.entry();
            self.after_panic(core, entry, entry.place(), pass.cloning, panic);
        }
        if pass.rung != 0 {
            // SAFETY: the visit goes on, and the seats were live in it.
            unsafe { ring(chunk, pass.rung) };
        }
    }

    /// Serves the live seats that the pass wants. Crossbeam senders come first, if they are many or
    /// not the only kind, because a loop over one kind is faster than a loop over all kinds.
    #[inline]
    fn serve_seats(
        &mut self,
        core: &Core<T>,
        chunk: &Chunk<T>,
        by: &Section<'_>,
        more: bool,
        pass: &mut Pass<T>,
    ) {
        if pass.run.len() != 0 {
            // A clone for a later seat has panicked.
            self.give_run(core, chunk, by, pass);
        }
        let mut left = chunk.live().load() & pass.wanted;
        let crossbeam = left & chunk.crossbeam();
        if crossbeam >= FEW || crossbeam != 0 && crossbeam != left {
            left ^= crossbeam;
            self.serve_crossbeam(core, chunk, by.lane(), (crossbeam, left), more, pass);
        }
        if by.is_sole() {
            let plain = left & chunk.plain();
            left ^= plain;
            pass.wanted = plain | left;
            self.serve_alone(core, chunk, by, plain, more, pass);
        }
        while left != 0 {
            pass.current = left.trailing_zeros() as usize;
            // SAFETY: the visit to this chunk began before `live` was read, and the seats were
            // live.
            let seat = unsafe { chunk.seat(pass.current) };
            let bit = left & left.wrapping_neg();
            left &= left - 1;
            pass.wanted = left;
            if left != 0 {
                // SAFETY: as above.
                unsafe { chunk.seat(left.trailing_zeros() as usize) }.prefetch();
            }
            let value = self.value_for(pass, left != 0, more);
            let offered = match seat.own() {
                Some(queue) => queue.offer(value, by),
                None => {
                    if pass.rung != 0 {
                        // A carrier may take long. Receivers that already have a value must not
                        // wait for it.
                        // SAFETY: as above.
                        unsafe { ring(chunk, mem::take(&mut pass.rung)) };
                    }
                    // SAFETY: as above.
                    unsafe { seat.offer(value, by) }
                }
            };
            match offered {
                Ok(waits) => {
                    self.delivered += 1;
                    if waits {
                        pass.rung |= bit;
                    }
                }
                Err(refusal) => self.not_taken(core, seat.entry(), refusal),
            }
        }
    }

    /// Makes a value for the current seat of the pass. `others` says whether more seats of its
    /// chunk follow, `more` whether more seats of other chunks follow.
    #[inline(always)]
    pub(super) fn value_for(&mut self, pass: &mut Pass<T>, others: bool, more: bool) -> T {
        pass.cloning = true;
        let value = match (&self.original, &self.spare) {
            (Some(original), None) if others => original.clone(),
            _ => self.take_value(others || more || self.has_pending()),
        };
        pass.cloning = false;
        value
    }

    #[cold]
    #[inline(never)]
    pub(super) fn not_taken(&mut self, core: &Core<T>, entry: &Arc<Entry<T>>, refusal: Refusal<T>) {
        if self.refused(core, entry, refusal) {
            self.pending.push(Pending::new(Arc::clone(entry)));
        }
    }

    /// Calls the live closures of a chunk. The caller has begun a visit to the chunk.
    fn call_chunk(&mut self, core: &Core<T>, chunk: &Chunk<T>, section: &Section<'_>) {
        each_closure(core, chunk, section, |entry| {
            let Some(value) = &self.original else {
                return false;
            };
            // SAFETY: this is in a visit to the entry's seat, which was live in it.
            match catch(|| unsafe { entry.call(value, section.lane()) }) {
                Ok(()) => self.delivered += 1,
                Err(panic) => self.after_panic(core, entry, 0, false, panic),
            }
            true
        });
    }

    /// A value to hand over: the spare, or a clone if other subscribers must still be served, or
    /// the original.
    #[inline]
    pub(super) fn take_value(&mut self, others: bool) -> T {
        if let Some(spare) = self.spare.take() {
            self.spare = self.late.as_mut().and_then(|late| late.spares.pop());
            return spare;
        }
        if let (Some(original), true) = (&self.original, others) {
            return original.clone();
        }
        self.original
            .take()
            .expect("a value is at hand while a subscriber must still be served")
    }

    fn put_back(&mut self, value: T) {
        if self.original.is_none() {
            self.original = Some(value);
        } else if let Some(spare) = self.spare.replace(value) {
            self.late().spares.push(spare);
        }
    }

    /// Handles a value that was not taken. Returns true if the send must wait for the subscriber.
    #[cold]
    fn refused(&mut self, core: &Core<T>, entry: &Entry<T>, refusal: Refusal<T>) -> bool {
        match settle(core, entry, refusal) {
            Settled::Back(value, waits) => {
                self.put_back(value);
                waits
            }
            Settled::Delivered(panic) => {
                self.delivered += 1;
                self.late().panic.get_or_insert(panic);
                false
            }
        }
    }

    #[cold]
    fn after_panic(
        &mut self,
        core: &Core<T>,
        entry: &Entry<T>,
        place: u64,
        cloning: bool,
        panic: Caught,
    ) {
        if let Some(panic) = blame(core, entry, place, cloning, panic) {
            self.late().panic.get_or_insert(panic);
        }
    }

    // ---- Subscribers without room ----

    /// Registers `waker` to be woken when a subscriber makes room or ends.
    pub(crate) fn listen(&mut self, core: &Core<T>, waker: &Waker, waiter: Waiter) -> Listening {
        let mut listening = Listening::default();
        let moment = Moment::default();
        for pending in self.pending_mut() {
            if let Err(panic) = pending.listen(waker, waiter, &moment, &mut listening) {
                blame(core, pending.entry(), pending.place(), false, panic);
            }
        }
        listening
    }

    /// Tries all subscribers again that had no room.
    pub(crate) fn retry(&mut self, core: &Core<T>) {
        if self.pending().iter().all(Pending::is_full) {
            return;
        }
        let mut all = mem::take(&mut self.pending);
        let mut others = all.as_slice().len();
        let section = core.records().enter();
        let moment = Moment::default();
        all.retain_mut(|pending| {
            let Seating { chunk, seat } = pending.entry().seating();
            section.begin(Place::seat(chunk, seat));
            others -= 1;
            if pending.entry().is_cut() {
                return false;
            }
            let is_full = self.try_again(core, pending, others != 0, &section);
            if is_full {
                others += 1;
            } else {
                pending.served_at(&moment);
            }
            is_full
        });
        self.pending = all;
    }

    /// Tries one subscriber again, in a visit to its place in which it was not cut. Returns true if
    /// it still has no room.
    fn try_again(
        &mut self,
        core: &Core<T>,
        pending: &Pending<T>,
        others: bool,
        by: &Section<'_>,
    ) -> bool {
        let entry = pending.entry();
        let mut cloning = true;
        let outcome = catch(|| {
            let value = self.take_value(others);
            cloning = false;
            // SAFETY: the caller guarantees the visit.
            unsafe { entry.offer(value, by) }
        });
        match outcome {
            Ok(Ok(waits)) => {
                self.delivered += 1;
                if let (true, Some(queue)) = (waits, entry.queue()) {
                    queue.ring();
                }
                false
            }
            Ok(Err(refusal)) => self.refused(core, entry, refusal),
            Err(panic) => {
                self.after_panic(core, entry, pending.place(), cloning, panic);
                false
            }
        }
    }

    /// Makes a value for a subscriber that had no room, before there is room for it. Returns `None`
    /// if its clone panicked; the first of these subscribers has then missed it.
    pub(crate) fn prepare(&mut self, core: &Core<T>) -> Option<T> {
        let others = self.pending().len() > 1;
        match catch(|| self.take_value(others)) {
            Ok(value) => Some(value),
            Err(panic) => {
                let mut pending = self.pending.remove(0);
                pending.blamed();
                self.after_panic(core, pending.entry(), pending.place(), true, panic);
                None
            }
        }
    }

    /// Takes back a value from `prepare` that no subscriber took.
    pub(crate) fn give_back(&mut self, value: T) {
        self.put_back(value);
    }

    /// A subscriber that the send waits for took the value from `prepare`.
    pub(crate) fn taken_by(&mut self, index: usize) {
        let mut pending = self.pending.remove(index);
        pending.served();
        pending.entry().count_delivered(lane::current());
        self.delivered += 1;
    }
}

impl<T> Delivery<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            original: Some(value),
            spare: None,
            delivered: 0,
            pending: PendingList::default(),
            late: None,
        }
    }

    /// A delivery to these subscribers alone.
    pub(crate) fn to(value: T, pending: Vec<Pending<T>>) -> Self {
        Self {
            pending: pending.into(),
            ..Self::new(value)
        }
    }

    fn late(&mut self) -> &mut Late<T> {
        self.late.get_or_insert_with(|| {
            Box::new(Late {
                spares: Vec::new(),
                panic: None,
            })
        })
    }

    /// How many subscribers have got the value so far.
    pub(crate) fn delivered(&self) -> usize {
        self.delivered
    }

    /// Whether a subscriber must still be served.
    #[inline]
    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The subscribers that must still be served.
    #[inline]
    pub(crate) fn pending(&self) -> &[Pending<T>] {
        self.pending.as_slice()
    }

    /// Shows the waits in the figures of the subscribers. Called before the thread parks or the task
    /// returns.
    pub(crate) fn show_waits(&mut self) {
        self.pending_mut().iter_mut().for_each(Pending::show_wait);
    }

    pub(crate) fn pending_mut(&mut self) -> &mut [Pending<T>] {
        self.pending.as_mut_slice()
    }

    /// The value of a delivery that a subscriber has not got.
    pub(crate) fn value(&self) -> &T {
        self.original
            .as_ref()
            .expect("the value is at hand while a subscriber must still be served")
    }

    /// The value of a delivery that a subscriber has not got.
    pub(crate) fn into_value(mut self) -> T {
        self.original
            .take()
            .expect("the value is at hand while a subscriber must still be served")
    }

    /// Resumes the panic of a value, if there was one.
    pub(crate) fn raise(&mut self) {
        if let Some(panic) = self.take_panic() {
            panic.resume();
        }
    }

    /// The panic of a value, if there was one.
    pub(crate) fn take_panic(&mut self) -> Option<Caught> {
        self.late.as_mut()?.panic.take()
    }

    /// Ends a delivery with no subscriber left to serve. Returns the number delivered, or resumes
    /// the panic of a value.
    #[inline]
    pub(crate) fn finish(self) -> usize {
        // Destructured, because most deliveries have nothing left to drop, and dropping one is a
        // call.
        let Self {
            delivered,
            pending,
            late,
            ..
        } = self;
        debug_assert!(pending.is_empty());
        mem::forget(pending);
        if let Some(panic) = late.and_then(|late| late.panic) {
            panic.resume();
        }
        delivered
    }
}

/// Wakes the receivers of these seats, if they still wait.
///
/// # Safety
///
/// The seats have own channels, were live, and the visit to the chunk in which they were live goes
/// on.
#[cold]
pub(crate) unsafe fn ring<T>(chunk: &Chunk<T>, mut rung: u64) {
    while rung != 0 {
        // SAFETY: the caller guarantees this.
        let seat = unsafe { chunk.seat(rung.trailing_zeros() as usize) };
        if let Some(queue) = seat.queue() {
            queue.ring();
        }
        rung &= rung - 1;
    }
}

/// What happens to a value that was not simply taken.
pub(crate) enum Settled<T> {
    /// The value is at hand again; true if the send must wait for the subscriber.
    Back(T, bool),
    /// The value was taken, and the value that it pushed out panicked when it was dropped.
    Delivered(Caught),
}

/// Handles a subscriber's refusal of a value.
pub(crate) fn settle<T>(core: &Core<T>, entry: &Entry<T>, refusal: Refusal<T>) -> Settled<T> {
    match refusal {
        Refusal::Full(value) => Settled::Back(value, true),
        Refusal::Missed(value) => Settled::Back(value, false),
        Refusal::Overflowed(value) => {
            core.end(entry, End::Overflowed, Some(SubscriptionError::Overflowed));
            Settled::Back(value, false)
        }
        Refusal::Closed(value) => {
            core.end(entry, End::Closed, None);
            Settled::Back(value, false)
        }
        Refusal::Pushed(pushed) => {
            if let (true, Some(queue)) = (pushed.waits, entry.queue()) {
                queue.ring();
            }
            Settled::Delivered(pushed.panic)
        }
    }
}

/// Handles a panic for this entry. If a clone panicked, the entry has missed the value, at `place`,
/// and the panic is returned, to be resumed later. If the entry's carrier panicked, that ends the
/// subscription, and the panic goes no further.
pub(crate) fn blame<T>(
    core: &Core<T>,
    entry: &Entry<T>,
    place: u64,
    cloning: bool,
    panic: Caught,
) -> Option<Caught> {
    entry.miss(place, 1);
    if cloning {
        return Some(panic);
    }
    let error = SubscriptionError::panicked(panic.message());
    core.end(entry, End::Closed, Some(error));
    None
}
