//! Which listeners are being called, by thread.
//!
//! # Invariants
//!
//! Each thread that dispatches on a bus owns a [`ThreadSlot`] of that bus. A *visit* is one dispatch, or one call of an
//! asynchronous listener, on a thread; nested visits of one bus use the slot's frames one after the other. While a visit
//! lasts, the `word` of its frame is not [`IDLE`]. It is the number of a source from before the thread looks whether
//! that source has ended until its listener has returned.
//!
//! So three waits are decided by looking at the words, after a store that the visiting thread looks at:
//!
//! | the waiter stores | then waits until no frame | the visitor, after its word, reads |
//! |---|---|---|
//! | `Source::ended` (unsubscribe) | has the word of this source | `ended`: it does not call the listener |
//! | `Shared::phase` (close) | is in use | `phase`: it calls nobody |
//! | `Source::waited`, `Shared::waiting` (to be woken) | as above | `waited`, `waiting`, after the word changed: it wakes the waiter |
//!
//! ORDERING: all these accesses are `SeqCst`. Each line is a store and then a load on either side, so in the single order of
//! the `SeqCst` accesses one side sees the other's store: the waiter sees the word, or the visitor sees what the waiter
//! stored. No thread writes to a cache line of another thread's slot, so dispatching threads do not contend.
//!
//! A visit that finds no frame (more than [`DEPTH`] nested dispatches, or a thread whose locals are destroyed) is entered in
//! `crowd`, under a lock.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, Weak};

use crossbeam_utils::CachePadded;

use crate::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering},
    thread_local,
};

/// No visit uses the frame.
const IDLE: u64 = 0;
/// A visit is between two listeners. Sources have numbers above this.
pub(crate) const BETWEEN: u64 = 1;
/// How many visits of one bus may be nested on a thread before they are entered in the crowd.
const DEPTH: usize = 8;

#[derive(Default)]
struct Frame {
    word: AtomicU64,
    /// The epoch of the visit. Written before the word.
    epoch: AtomicU64,
}

struct ThreadSlot {
    frames: CachePadded<[Frame; DEPTH]>,
    /// Whether a thread owns the slot. Taken under the lock of `slots`, given back without it.
    is_owned: AtomicBool,
}

struct Crowded {
    key: u64,
    word: u64,
    epoch: u64,
}

/// The visits of one bus.
pub(crate) struct Visits {
    bus: u64,
    slots: Arc<Mutex<Vec<Arc<ThreadSlot>>>>,
    crowd: Mutex<Vec<Crowded>>,
}

/// What a thread knows of its visits to one bus.
struct Local {
    bus: u64,
    slot: Arc<ThreadSlot>,
    /// Gone with the bus.
    slots: Weak<Mutex<Vec<Arc<ThreadSlot>>>>,
    depth: Cell<usize>,
    /// The epoch of the innermost visit.
    epoch: Cell<u64>,
}

impl Drop for Local {
    fn drop(&mut self) {
        // ORDERING: pairs with the Acquire in `Visits::join`: the next owner finds the frames idle.
        self.slot.is_owned.store(false, Ordering::Release);
    }
}

struct Locals {
    /// How many visits are under way on this thread, of all buses.
    depth: Cell<usize>,
    each: RefCell<Vec<Rc<Local>>>,
}

thread_local! {
    static LOCALS: Locals = const {
        Locals { depth: Cell::new(0), each: RefCell::new(Vec::new()) }
    };
}

/// Whether the calling thread is inside a listener, of any bus. Such a thread never waits for listeners in `unsubscribe`: it
/// could be waiting for itself. True too when the thread's locals are destroyed, since that cannot be known then.
pub(crate) fn is_inside() -> bool {
    LOCALS
        .try_with(|locals| locals.depth.get() > 0)
        .unwrap_or(true)
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
            slots: Arc::default(),
            crowd: Mutex::default(),
        }
    }

    /// Begins a visit of the given epoch, or of the epoch of the visit that it is nested in. `word` is the first one.
    #[inline]
    pub(crate) fn enter(&self, epoch: impl FnOnce() -> u64, word: u64) -> Visit<'_> {
        let local = LOCALS.try_with(|locals| {
            let local = self.local(locals);
            locals.depth.set(locals.depth.get() + 1);
            local
        });
        let Ok(local) = local else {
            let epoch = epoch();
            return self.crowd_in(None, epoch, epoch, word);
        };
        let at = local.depth.get();
        let outer = local.epoch.get();
        let epoch = if at == 0 { epoch() } else { outer };
        self.begin(local, at, outer, epoch, word)
    }

    /// Begins a visit of exactly this epoch.
    pub(crate) fn enter_at(&self, epoch: u64) -> Visit<'_> {
        let local = LOCALS.try_with(|locals| {
            let local = self.local(locals);
            locals.depth.set(locals.depth.get() + 1);
            local
        });
        let Ok(local) = local else {
            return self.crowd_in(None, epoch, epoch, BETWEEN);
        };
        let (at, outer) = (local.depth.get(), local.epoch.get());
        self.begin(local, at, outer, epoch, BETWEEN)
    }

    #[inline]
    fn begin(&self, local: Rc<Local>, at: usize, outer: u64, epoch: u64, word: u64) -> Visit<'_> {
        local.depth.set(at + 1);
        local.epoch.set(epoch);
        let Some(frame) = local.slot.frames.get(at) else {
            return self.crowd_in(Some(local), outer, epoch, word);
        };
        // ORDERING: the word publishes it.
        frame.epoch.store(epoch, Ordering::Relaxed);
        // ORDERING: see the module.
        frame.word.swap(word, Ordering::SeqCst);
        Visit {
            visits: self,
            local: Some(local),
            outer,
            epoch,
            place: InFrame(at),
        }
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
            // ORDERING: pairs with the Release in `Local::drop`. Only holders of the lock take a slot.
            let free = slots
                .iter()
                .find(|slot| !slot.is_owned.load(Ordering::Acquire));
            let slot = free.cloned().unwrap_or_else(|| {
                let slot = Arc::new(ThreadSlot {
                    frames: CachePadded::default(),
                    is_owned: AtomicBool::new(false),
                });
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
        });
        let mut each = locals.each.borrow_mut();
        // The buses that are gone.
        each.retain(|local| local.slots.strong_count() > 0);
        each.push(Rc::clone(&local));
        local
    }

    /// Whether a frame has this word.
    pub(crate) fn has(&self, word: u64) -> bool {
        self.any(|each, _| each == word)
    }

    /// Whether a visit of this epoch or an older one is under way.
    pub(crate) fn has_until(&self, epoch: u64) -> bool {
        self.any(|word, of| word != IDLE && of <= epoch)
    }

    fn any(&self, matches: impl Fn(u64, u64) -> bool) -> bool {
        let in_frame = |frame: &Frame| {
            // ORDERING: see the module. The epoch may be that of a later visit: then this one is over, and that one will wake.
            let word = frame.word.load(Ordering::SeqCst);
            matches(word, frame.epoch.load(Ordering::Relaxed))
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

/// A visit under way. It ends when this is dropped.
pub(crate) struct Visit<'a> {
    visits: &'a Visits,
    /// `None` if the thread's locals are destroyed.
    local: Option<Rc<Local>>,
    /// The epoch of the visit that this one is nested in.
    outer: u64,
    epoch: u64,
    place: At,
}

impl Visit<'_> {
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

    /// Goes on to a source. The listener before it has returned.
    #[inline]
    pub(crate) fn set(&self, word: u64) {
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
}

impl Drop for Visit<'_> {
    #[inline]
    fn drop(&mut self) {
        match self.place {
            InFrame(_) => self.set(IDLE),
            InCrowd(key) => self.visits.crowd.lock().retain(|each| each.key != key),
        }
        if let Some(local) = &self.local {
            local.depth.set(local.depth.get() - 1);
            local.epoch.set(self.outer);
            let _ = LOCALS.try_with(|locals| locals.depth.set(locals.depth.get() - 1));
        }
    }
}
