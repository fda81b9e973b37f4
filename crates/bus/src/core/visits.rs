//! Which listeners are being called, by thread.
//!
//! # Invariants
//!
//! Each thread that dispatches on a bus owns a [`ThreadSlot`] of that bus. A *visit* is one
//! dispatch, or one call of an asynchronous listener, on a thread; nested visits of one bus use the
//! slot's frames one after the other. While a visit lasts, the `word` of its frame is not [`IDLE`].
//! It is the number of a source from before the thread looks whether that source has ended until
//! its listener has returned.
//!
//! So three waits are decided by looking at the words, after a store that the visiting thread looks
//! at:
//!
//! | the waiter stores | then waits until no frame | the visitor, after its word, reads |
//! |---|---|---|
//! | `Source::ended` (unsubscribe) | has the word of this source | `ended`: it does not call the listener |
//! | `Shared::phase` (close) | is in use | `phase`: it calls no listener |
//! | `Bell::waiting` (to be woken) | as above | `waiting`, after the word changed: it wakes the waiters |
//! | `version` (a new table) | (does not wait) | `version`, after its last word: it drops the old table |
//!
//! ORDERING: all these accesses are `SeqCst`. Each line is a store and then a load on either side,
//! so in the single order of the `SeqCst` accesses one side sees the other's store: the waiter sees
//! the word, or the visitor sees what the waiter stored. No thread writes to a cache line of
//! another thread's slot, so dispatching threads do not contend.
//!
//! A visit that finds no frame (more than [`DEPTH`](crate::core::slot::DEPTH) nested dispatches, or
//! a thread whose locals are destroyed) is entered in `crowd`, under a lock.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;

use crate::core::slot::{BETWEEN, Cached, Frame, IDLE, LOCKED, ThreadSlot};
use crate::core::table::Table;
use crate::quietly::quietly;
use crate::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
    mutant, thread_local,
};

struct Crowded {
    key: u64,
    word: u64,
    epoch: u64,
}

type Slots = Arc<Mutex<Vec<Arc<ThreadSlot>>>>;

/// The table of one bus, and the visits of its dispatches.
pub(crate) struct Visits {
    bus: u64,
    table: ArcSwap<Table>,
    /// How often the table was replaced. Written after the table.
    version: AtomicU64,
    slots: Slots,
    crowd: Mutex<Vec<Crowded>>,
}

/// The table of a visit, if it is not the one in the slot; and the one that was in the slot before,
/// if it was replaced.
type Tables = (Option<Arc<Table>>, Option<Arc<Table>>);

/// How many first words a thread remembers.
const HINTS: usize = 8;

/// What a thread knows of its visits to one bus.
struct Local {
    bus: u64,
    slot: Arc<ThreadSlot>,
    /// Gone with the bus.
    slots: Weak<Mutex<Vec<Arc<ThreadSlot>>>>,
    depth: Cell<usize>,
    /// The epoch of the innermost visit.
    epoch: Cell<u64>,
    /// The words that the last visits began with, by the type of the event. A visit must have a
    /// word before it may look at the table: if it begins with the right one, it need not write
    /// another.
    hints: [Cell<u64>; HINTS],
    /// The version of the table in the slot, unless another thread took it out.
    version: Cell<u64>,
}

impl Local {
    /// The first frame after the first one that no visit uses; or one that there is not. It is not
    /// always that of the depth: coroutines on one thread may end out of order.
    fn free_frame(&self) -> usize {
        let mut frames = self.slot.frames.iter().enumerate().skip(1);
        // ORDERING: only this thread writes to these words.
        let free = frames.find(|(_, frame)| frame.word.load(Ordering::Relaxed) == IDLE);
        free.map_or(self.slot.frames.len(), |(at, _)| at)
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        let cached = self.slot.try_take(|_| true);
        quietly(|| drop(cached));
        // ORDERING: pairs with the Acquire in `Visits::join`: the next owner finds the frames idle.
        self.slot.is_owned.store(false, Ordering::Release);
    }
}

struct Locals {
    /// How many visits are under way on this thread, of all buses, and calls of asynchronous
    /// listeners ([`Inside`]).
    depth: Cell<usize>,
    each: RefCell<Vec<Rc<Local>>>,
}

thread_local! {
    static LOCALS: Locals = const {
        Locals { depth: Cell::new(0), each: RefCell::new(Vec::new()) }
    };
}

/// Whether the calling thread is inside a listener, of any bus. Such a thread never waits for
/// listeners in `unsubscribe`: it could be waiting for itself. True too when the thread's locals
/// are destroyed, since that cannot be known then.
pub(crate) fn is_inside() -> bool {
    LOCALS
        .try_with(|locals| locals.depth.get() > 0)
        .unwrap_or(true)
}

/// Makes [`is_inside`] true for the calling thread without a visit.
pub(crate) struct Inside(());

impl Inside {
    pub(crate) fn enter() -> Self {
        let _ = LOCALS.try_with(|locals| locals.depth.set(locals.depth.get() + 1));
        Self(())
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let _ = LOCALS.try_with(|locals| locals.depth.set(locals.depth.get() - 1));
    }
}

/// The buses of the visits that are under way on the calling thread.
pub(crate) fn visited_buses() -> Vec<u64> {
    LOCALS
        .try_with(|locals| {
            let each = locals.each.borrow();
            let visited = each.iter().filter(|local| local.depth.get() > 0);
            visited.map(|local| local.bus).collect()
        })
        .unwrap_or_default()
}

impl Visits {
    pub(crate) fn new(bus: u64) -> Self {
        Self {
            bus,
            table: ArcSwap::from_pointee(Table::new()),
            version: AtomicU64::new(1),
            slots: Arc::default(),
            crowd: Mutex::default(),
        }
    }

    /// The table now.
    pub(crate) fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// Replaces the table. One thread at a time does so. The caller drops the old one, outside of
    /// its locks, and then calls [`drop_stale`](Self::drop_stale).
    pub(crate) fn replace_table(&self, table: Table) -> Arc<Table> {
        let old = self.table.swap(Arc::new(table));
        // ORDERING: see the module. A thread that reads the new version finds the new table, or a
        // later one.
        self.version.fetch_add(1, Ordering::SeqCst);
        old
    }

    /// Drops the old tables that idle threads have. Called without locks, since it may run
    /// destructors of users.
    pub(crate) fn drop_stale(&self) {
        let stale: Vec<_> = {
            let slots = self.slots.lock();
            let each = slots.iter();
            each.filter_map(|slot| slot.try_take(|cached| self.is_stale(cached)))
                .collect()
        };
        drop(stale);
    }

    #[inline]
    fn is_stale(&self, cached: &Cached) -> bool {
        // ORDERING: see the module.
        cached.version != self.version.load(Ordering::SeqCst)
    }

    #[cold]
    fn read(&self) -> Cached {
        // ORDERING: Acquire comes with `SeqCst`: the table is the one of this version or a later
        // one.
        let version = self.version.load(Ordering::SeqCst);
        let table = self.table.load_full();
        Cached { version, table }
    }

    /// Begins a visit of the given epoch, or of the epoch of the visit that it is nested in. `kind`
    /// tells events of different types apart, mostly. The first word is the one that
    /// [`Visit::begin`] was given in the last visit of this kind.
    #[inline]
    pub(crate) fn enter(&self, epoch: impl FnOnce() -> u64, kind: u64) -> Visit<'_> {
        let Some(local) = self.step_in() else {
            let epoch = epoch();
            return self.crowd_in(None, epoch, epoch, BETWEEN);
        };
        let (at, outer) = (local.depth.get(), local.epoch.get());
        let is_new = at == 0 || mutant!("bus::what_follows_is_new");
        let epoch = if is_new { epoch() } else { outer };
        let word = local.hints[kind as usize % HINTS].get();
        self.begin(local, at, outer, epoch, word)
    }

    /// Begins a visit of exactly this epoch, between listeners.
    pub(crate) fn enter_at(&self, epoch: u64) -> Visit<'_> {
        let Some(local) = self.step_in() else {
            return self.crowd_in(None, epoch, epoch, BETWEEN);
        };
        let (at, outer) = (local.depth.get(), local.epoch.get());
        self.begin(local, at, outer, epoch, BETWEEN)
    }

    #[inline]
    fn step_in(&self) -> Option<Rc<Local>> {
        let step_in = |locals: &Locals| {
            let local = self.local(locals);
            locals.depth.set(locals.depth.get() + 1);
            local
        };
        LOCALS.try_with(step_in).ok()
    }

    #[inline]
    fn begin(&self, local: Rc<Local>, at: usize, outer: u64, epoch: u64, word: u64) -> Visit<'_> {
        local.depth.set(at + 1);
        local.epoch.set(epoch);
        let at = match at {
            0 => 0,
            _ => local.free_frame(),
        };
        let Some(frame) = local.slot.frames.get(at) else {
            return self.crowd_in(Some(local), outer, epoch, word);
        };
        // ORDERING: the word publishes it. Release pairs with the Acquire in `any`: a thread that
        // finds this epoch beside the word of the visit before it has seen all that happened in
        // that one.
        frame.epoch.store(epoch, Ordering::Release);
        match at {
            0 => local.slot.claim(word),
            // ORDERING: see the module.
            _ => {
                frame.word.swap(word, Ordering::SeqCst);
            }
        }
        let (own_table, old_table) = self.find_table(&local, at == 0);
        Visit {
            visits: self,
            local: Some(local),
            outer,
            epoch,
            word: Cell::new(word),
            own_table,
            _old_table: old_table,
            is_over: false,
            place: InFrame(at),
        }
    }

    /// Makes sure that the slot has the table now. An inner visit cannot do that: it gets the table
    /// instead. An outermost visit gets the old table of the slot, to be dropped when it has ended:
    /// inside the visit, whose word is only a guess yet, the destructors of listeners would seem to
    /// be that listener.
    #[inline]
    fn find_table(&self, local: &Local, is_outermost: bool) -> Tables {
        // SAFETY: the slot is this thread's, and its first frame is in use. The result is not kept.
        let cached = unsafe { local.slot.cached() };
        if cached.is_some_and(|cached| !self.is_stale(cached)) {
            return (None, None);
        }
        self.find_new_table(local, is_outermost)
    }

    #[cold]
    fn find_new_table(&self, local: &Local, is_outermost: bool) -> Tables {
        if !is_outermost {
            return (Some(self.table.load_full()), None);
        }
        let new = self.read();
        local.version.set(new.version);
        // SAFETY: the slot is this thread's, and its first frame was claimed a moment ago: no visit
        // has the table yet.
        let old = unsafe { local.slot.refresh(new) };
        (None, old.map(|old| old.table))
    }

    #[cold]
    fn crowd_in(&self, local: Option<Rc<Local>>, outer: u64, epoch: u64, word: u64) -> Visit<'_> {
        let mut crowd = self.crowd.lock();
        let key = crowd.last().map_or(0, |last| last.key + 1);
        crowd.push(Crowded { key, word, epoch });
        Visit {
            visits: self,
            local,
            outer,
            epoch,
            word: Cell::new(word),
            own_table: Some(self.table.load_full()),
            _old_table: None,
            is_over: false,
            place: InCrowd(key),
        }
    }

    #[inline]
    fn local(&self, locals: &Locals) -> Rc<Local> {
        let each = locals.each.borrow();
        if let Some(local) = each.iter().find(|local| local.bus == self.bus) {
            return Rc::clone(local);
        }
        drop(each);
        self.join(locals)
    }

    /// Takes a slot for the calling thread.
    #[cold]
    fn join(&self, locals: &Locals) -> Rc<Local> {
        let slot = {
            let mut slots = self.slots.lock();
            // ORDERING: pairs with the Release in `Local::drop`. Only holders of the lock take a
            // slot.
            let free = slots
                .iter()
                .find(|slot| !slot.is_owned.load(Ordering::Acquire));
            let slot = free.cloned().unwrap_or_else(|| {
                let slot = Arc::new(ThreadSlot::new());
                slots.push(Arc::clone(&slot));
                slot
            });
            slot.is_owned.store(true, Ordering::Relaxed);
            slot
        };
        let local = Rc::new(Local {
            bus: self.bus,
            slot,
            slots: Arc::downgrade(&self.slots),
            depth: Cell::new(0),
            epoch: Cell::new(0),
            version: Cell::new(0),
            hints: [const { Cell::new(BETWEEN) }; HINTS],
        });
        let gone: Vec<_> = {
            let mut each = locals.each.borrow_mut();
            let all = std::mem::take(&mut *each).into_iter();
            let (live, gone) = all.partition(|local| local.slots.strong_count() > 0);
            *each = live;
            each.push(Rc::clone(&local));
            gone
        };
        drop(gone);
        local
    }

    /// Whether a frame has this word.
    pub(crate) fn has(&self, word: u64) -> bool {
        self.any(|each, _| each == word)
    }

    /// Whether a visit of this epoch or an older one is under way.
    pub(crate) fn has_until(&self, epoch: u64) -> bool {
        self.any(|word, of| word != IDLE && word != LOCKED && of <= epoch)
    }

    /// How many threads are in a visit.
    pub(crate) fn count(&self) -> usize {
        let slots = self.slots.lock();
        let words = slots
            .iter()
            .map(|slot| slot.frames[0].word.load(Ordering::SeqCst));
        words
            .filter(|word| *word != IDLE && *word != LOCKED)
            .count()
    }

    fn any(&self, matches: impl Fn(u64, u64) -> bool) -> bool {
        let in_frame = |frame: &Frame| {
            // ORDERING: see the module. The epoch may be that of a later visit: then this one is
            // over, and that one will wake.
            let word = frame.word.load(Ordering::SeqCst);
            matches(word, frame.epoch.load(Ordering::Acquire))
        };
        let slots = self.slots.lock();
        slots.iter().any(|slot| slot.frames.iter().any(in_frame))
            || self
                .crowd
                .lock()
                .iter()
                .any(|each| matches(each.word, each.epoch))
    }
}

enum At {
    InFrame(usize),
    InCrowd(u64),
}
use At::{InCrowd, InFrame};

/// A visit under way. [`end`](Self::end) ends it.
pub(crate) struct Visit<'a> {
    visits: &'a Visits,
    /// `None` if the thread's locals are destroyed.
    local: Option<Rc<Local>>,
    /// The epoch of the visit that this one is nested in.
    outer: u64,
    epoch: u64,
    /// The word now.
    word: Cell<u64>,
    /// The table, if it is not the one in the slot.
    own_table: Option<Arc<Table>>,
    /// The table that was in the slot before. Dropped when the visit is over.
    _old_table: Option<Arc<Table>>,
    is_over: bool,
    place: At,
}

impl Visit<'_> {
    /// The table. It does not change during the visit.
    #[inline]
    pub(crate) fn table(&self) -> &Table {
        match (&self.own_table, &self.local) {
            (None, Some(local)) => {
                // SAFETY: the slot is this thread's. Its first frame is in use until no visit of
                // the thread is left; the result borrows this visit. A visit refreshes only where
                // there is no other, before it is made.
                let cached = unsafe { local.slot.cached() };
                &cached
                    .expect("a visit without a table of its own has found this")
                    .table
            }
            (own, _) => own.as_ref().expect("a visit without a slot has its own"),
        }
    }

    /// Whether it is nested in another visit of the same bus.
    #[inline]
    pub(crate) fn is_nested(&self) -> bool {
        self.local
            .as_ref()
            .is_some_and(|local| local.depth.get() > 1)
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Begins to call listeners, with the one that has this word. `kind` is that of
    /// [`Visits::enter`]. True if the visit had another word, for which a thread may wait.
    #[inline]
    pub(crate) fn begin(&self, word: u64, kind: u64) -> bool {
        if self.word.get() == word {
            return false;
        }
        if let Some(local) = &self.local {
            local.hints[kind as usize % HINTS].set(word);
        }
        self.set(word);
        true
    }

    /// Goes on to a source. The listener before it has returned.
    #[inline]
    pub(crate) fn set(&self, word: u64) {
        self.word.set(word);
        match (&self.place, &self.local) {
            (InFrame(at), Some(local)) => {
                // ORDERING: see the module.
                local.slot.frames[*at].word.swap(word, Ordering::SeqCst);
            }
            _ => self.set_in_crowd(word),
        }
    }

    #[cold]
    fn set_in_crowd(&self, word: u64) {
        let InCrowd(key) = self.place else { return };
        let mut crowd = self.visits.crowd.lock();
        if let Some(own) = crowd.iter_mut().find(|each| each.key == key) {
            own.word = word;
        }
    }

    /// Ends the visit, and calls `left`, which wakes the threads that wait. Then it drops old
    /// tables: that may run destructors of users, and such a destructor may wait in turn for a
    /// thread that waits for this visit.
    #[inline]
    pub(crate) fn end(mut self, left: impl FnOnce()) {
        let drops_first = mutant!("bus::visit_drops_before_it_wakes");
        self.leave();
        if drops_first {
            self.drop_stale();
        }
        left();
        self.drop_stale();
    }

    /// Drops the table of the slot, if another thread has replaced it meanwhile.
    #[inline]
    fn drop_stale(&self) {
        let Some(local) = &self.local else { return };
        // ORDERING: see the module.
        if local.version.get() != self.visits.version.load(Ordering::SeqCst)
            && !mutant!("bus::visit_does_not_look_at_the_version")
        {
            self.drop_stale_of(local);
        }
    }

    #[cold]
    fn drop_stale_of(&self, local: &Local) {
        let stale = local.slot.try_take(|cached| self.visits.is_stale(cached));
        drop(stale);
    }

    #[inline]
    fn leave(&mut self) {
        self.is_over = true;
        let depth = self.local.as_ref().map_or(0, |local| {
            local.depth.set(local.depth.get() - 1);
            local.epoch.set(self.outer);
            local.depth.get()
        });
        match self.place {
            InFrame(0) if depth > 0 => self.set(BETWEEN),
            InFrame(_) => self.set(IDLE),
            InCrowd(key) => self.visits.crowd.lock().retain(|each| each.key != key),
        }
        let Some(local) = &self.local else { return };
        // Visits end in the reverse order, unless two coroutines with stacks of their own share the
        // thread. Then the first frame stays in use until the last of them has ended, since they
        // share its table.
        if depth == 0 && !matches!(self.place, InFrame(0)) {
            local.slot.frames[0].word.swap(IDLE, Ordering::SeqCst);
        }
        let _ = LOCALS.try_with(|locals| locals.depth.set(locals.depth.get() - 1));
    }
}

impl Drop for Visit<'_> {
    #[inline]
    fn drop(&mut self) {
        if !self.is_over {
            self.leave();
            self.drop_stale();
        }
    }
}

#[cfg(all(test, not(fanfeed_shuttle)))]
mod tests {
    use std::sync::Arc;

    use super::Visits;
    use crate::core::table::Table;

    #[test]
    fn old_tables_are_dropped_after_the_visit_has_woken_those_that_wait() {
        let visits = Visits::new(0);
        visits.enter(|| 0, 0).end(|| {});
        let first = Arc::downgrade(&visits.table());
        drop(visits.replace_table(Table::new()));
        // The thread has the first table, and finds the second one.
        let visit = visits.enter(|| 0, 0);
        let second = Arc::downgrade(&visits.table());
        drop(visits.replace_table(Table::new()));
        assert!(first.upgrade().is_some(), "it is dropped in the visit");
        visit.end(|| {
            assert!(!visits.has_until(u64::MAX), "the visit is not over");
            assert!(first.upgrade().is_some() && second.upgrade().is_some());
        });
        assert!(first.upgrade().is_none() && second.upgrade().is_none());
    }

    #[test]
    fn visits_that_end_out_of_order_keep_their_words() {
        let visits = Visits::new(0);
        let first = visits.enter(|| 0, 0);
        let second = visits.enter(|| 0, 0);
        second.set(100);
        drop(first);
        let third = visits.enter(|| 0, 0);
        third.set(200);
        assert!(visits.has(100) && visits.has(200));
        drop(third);
        assert!(visits.has(100) && !visits.has(200));
        drop(second);
        assert!(!visits.has_until(u64::MAX));
    }

    #[test]
    fn a_table_stays_until_the_last_visit_has_ended_in_whatever_order() {
        let visits = Visits::new(0);
        let first = visits.enter(|| 0, 0);
        let second = visits.enter(|| 0, 0);
        let deep: Vec<_> = (0..10).map(|_| visits.enter(|| 0, 0)).collect();
        let table = Arc::downgrade(&visits.table());
        let now = std::ptr::from_ref(first.table());
        assert!(std::ptr::eq(now, second.table()));
        drop(first);
        drop(visits.replace_table(Table::new()));
        visits.drop_stale();
        assert!(std::ptr::eq(now, second.table()), "it is still held");
        drop(second);
        visits.drop_stale();
        assert!(table.upgrade().is_some(), "it is still held");
        drop(deep);
        assert!(table.upgrade().is_none(), "the last visit has dropped it");
        assert!(!visits.has_until(u64::MAX));
        let after = visits.enter(|| 0, 0);
        assert!(std::ptr::eq(after.table(), &*visits.table()));
    }
}
