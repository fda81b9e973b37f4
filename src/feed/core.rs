//! What all handles of a feed share: its subscribers, and how they come and go.
//!
//! Subscribers sit in chunks of 64. The first chunk lies here; when there are more, or closures, a directory lists the
//! others, and is replaced as a whole when chunks come or go. Subscribing and unsubscribing otherwise touch one seat and
//! one bit. The lock is for those who change subscribers; who delivers does not take it.

use std::ptr;
use std::sync::{Arc, Weak};

use crossbeam_utils::CachePadded;

use super::chunk::{Chunk, SEATS, Seat};
use super::entry::{Entry, Port, Seating};
use super::lane;
use super::record::{Concern, Grace, Place, Records};
use super::refusal::End;
use crate::error::SubscriptionError;
use crate::overflow::CarrierOverflow;
use crate::sync::{Alive, AtomicBool, AtomicPtr, AtomicUsize, Mutex, Ordering, mutant, order};
use crate::wait::Patience;

/// The key of the chunk that lies in the core.
const FIRST: u32 = 0;

/// The chunks besides the first. Never changed once deliverers can see it.
pub(crate) struct Directory<T> {
    alive: Alive,
    pub(crate) channels: Box<[Arc<Chunk<T>>]>,
    pub(crate) closures: Box<[Arc<Chunk<T>>]>,
}

impl<T> Directory<T> {
    /// Whether somebody is live behind the chunk with this number: 0 is the first, which lies in the core.
    #[inline]
    pub(crate) fn has_live_after(&self, number: usize) -> bool {
        self.alive.used();
        let mut rest = self.channels[number..].iter().chain(&self.closures);
        rest.any(|chunk| chunk.live().load() != 0)
    }
}

pub(crate) struct Core<T> {
    hot: CachePadded<Hot<T>>,
    records: Records,
    registry: Mutex<Registry<T>>,
    /// Subscriptions that have not ended.
    count: AtomicUsize,
    endings: Endings,
}

/// Counts the threads that have taken subscriptions out of the live ones, or one out of its seat, and have not told of the
/// end, or not dropped the port.
///
/// Who closes the feed waits until there is none: of what another thread has in hand, nothing else shows.
#[derive(Default)]
struct Endings {
    /// Changed under the lock, so that it takes no read-modify-write.
    begun: AtomicUsize,
    over: AtomicUsize,
}

/// One of them.
struct Ending<'a>(&'a Endings);

impl Endings {
    /// The caller holds the lock.
    fn begin(&self) -> Ending<'_> {
        let begun = self.begun.load(Ordering::Relaxed);
        self.begun.store(begun.wrapping_add(1), Ordering::Relaxed);
        Ending(self)
    }

    /// For a thread that has held the lock since those began that it asks about.
    fn are_over(&self) -> bool {
        // ORDERING: Acquire pairs with the Release in `Ending::drop`: who sees that it is over sees what it did. And this
        // one first: those that are over by now have begun, so none is under way if as many as that have begun later.
        let over = self.over.load(Ordering::Acquire);
        over == self.begun.load(Ordering::Relaxed) || mutant!("close_overlooks_who_is_at_it")
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        // ORDERING: pairs with the Acquire in `are_over`.
        self.0.over.fetch_add(1, Ordering::Release);
    }
}

/// What every send reads and seldom anybody writes.
struct Hot<T> {
    directory: AtomicPtr<Directory<T>>,
    /// Whether there is something to reap.
    retiring: AtomicBool,
    first: Chunk<T>,
}

/// Who sits where. Only under the lock.
struct Registry<T> {
    closed: bool,
    /// The chunks by key, but for the first, which has none here.
    chunks: Vec<Option<Held<T>>>,
    /// Seats of the first chunk that are taken.
    first_taken: u64,
    free_keys: Vec<u32>,
    /// Keys of chunks of channels that have free seats, and of closures.
    open: [Vec<u32>; 2],
    retiring: Vec<Retiring>,
    /// Directories that have been replaced but may still be read.
    replaced: Vec<*mut Directory<T>>,
}

// SAFETY: the pointers are to directories, which are `Send` and owned by the registry.
unsafe impl<T: Send> Send for Registry<T> {}

struct Held<T> {
    chunk: Arc<Chunk<T>>,
    is_closures: bool,
    taken: u64,
}

/// A seat that was cut and is not empty yet.
struct Retiring {
    seating: Seating,
    grace: Grace,
}

impl<T> Core<T> {
    pub(crate) fn new() -> Self {
        Self {
            hot: CachePadded::new(Hot {
                directory: AtomicPtr::new(ptr::null_mut()),
                retiring: AtomicBool::new(false),
                first: Chunk::new(FIRST),
            }),
            records: Records::new(),
            registry: Mutex::new(Registry {
                closed: false,
                chunks: Vec::new(),
                first_taken: 0,
                free_keys: Vec::new(),
                open: [Vec::new(), Vec::new()],
                retiring: Vec::new(),
                replaced: Vec::new(),
            }),
            count: AtomicUsize::new(0),
            endings: Endings::default(),
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    pub(crate) fn records(&self) -> &Records {
        &self.records
    }

    #[inline]
    pub(crate) fn first(&self) -> &Chunk<T> {
        &self.hot.first
    }

    #[inline]
    pub(crate) fn directory(&self) -> &AtomicPtr<Directory<T>> {
        &self.hot.directory
    }

    /// Frees what has been unsubscribed and could not be freed then. Every send ends with this.
    #[inline]
    pub(crate) fn tidy(&self) {
        if self.hot.retiring.load(Ordering::Relaxed) {
            self.reap();
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.registry.lock().closed
    }

    /// Seats a new subscription. On a closed feed it has ended already.
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        port: Port<T>,
        overflow: CarrierOverflow,
        name: Option<Arc<str>>,
    ) -> Arc<Entry<T>> {
        let is_closure = matches!(port, Port::Closure(_));
        let core = Arc::downgrade(self);
        let mut registry = self.registry.lock();
        if registry.closed {
            drop(registry);
            return Self::ended_at_once(port, name, core);
        }
        let seating = self.take_seat(&mut registry, is_closure);
        let entry = Arc::new(Entry::new(port, overflow, name, core, seating));
        // SAFETY: the lock is held, and the seat was free.
        unsafe {
            self.chunk(&registry, seating.chunk)
                .fill(seating.seat, Arc::clone(&entry))
        };
        self.count.fetch_add(1, Ordering::AcqRel);
        entry
    }

    fn ended_at_once(port: Port<T>, name: Option<Arc<str>>, core: Weak<Self>) -> Arc<Entry<T>> {
        let nowhere = Seating {
            chunk: FIRST,
            seat: SEATS,
            is_closure: false,
        };
        let overflow = CarrierOverflow::default();
        let entry = Arc::new(Entry::new(port, overflow, name, core, nowhere));
        entry.cut();
        // SAFETY: it was never in a seat, so nobody else has ever had its port.
        unsafe { entry.reap() };
        entry.announce(End::Closed, None);
        entry
    }

    /// Ends a subscription, and waits until nothing of it is under way: see
    /// [`Subscription::unsubscribe`](crate::Subscription::unsubscribe).
    pub(crate) fn cancel(&self, entry: &Entry<T>, end: End, error: Option<SubscriptionError>) {
        let Some(mut grace) = self.end(entry, end, error) else {
            return;
        };
        if lane::in_delivery() {
            // What is still under way here is that delivery itself, or another thread's: who ends it tidies up.
            return self.reap();
        }
        // SAFETY: the records are `self`'s.
        unsafe { grace.wait() };
        let mut patience = Patience::new();
        loop {
            self.reap();
            if entry.is_reaped() {
                return;
            }
            patience.wait();
        }
    }

    /// Ends a subscription without waiting. `None` if nothing of it was under way, and it is gone.
    pub(crate) fn end(
        &self,
        entry: &Entry<T>,
        end: End,
        error: Option<SubscriptionError>,
    ) -> Option<Grace> {
        let (cut, _ending) = self.cut(entry);
        entry.announce(end, error);
        match cut {
            Ok(seat) => {
                // SAFETY: `cut` found nobody entitled to the port.
                unsafe { seat.into_entry().reap() };
                None
            }
            Err(grace) => (!entry.is_reaped()).then_some(grace),
        }
    }

    /// Takes an entry out of the live ones, of which the caller is to tell. If no delivery to it is under way, it is taken
    /// out of its seat too, and given back to be reaped.
    fn cut(&self, entry: &Entry<T>) -> (Result<Seat<T>, Grace>, Option<Ending<'_>>) {
        let seating = entry.seating();
        let concern = Self::concern(seating);
        let mut registry = self.registry.lock();
        if entry.is_cut() {
            return (Err(self.records.observe(concern)), None);
        }
        self.cut_live(&registry, entry);
        let ending = self.endings.begin();
        self.count.fetch_sub(1, Ordering::AcqRel);
        let mut grace = self.records.observe(concern);
        // SAFETY: the records are `self`'s.
        if unsafe { grace.is_over() } && entry.is_gate_empty() {
            return (Ok(self.vacate(&mut registry, seating)), Some(ending));
        }
        registry.retiring.push(Retiring {
            seating,
            grace: grace.clone(),
        });
        self.hot.retiring.store(true, Ordering::Release);
        (Err(grace), Some(ending))
    }

    /// Takes an entry out of the live ones, which it is one of. The caller holds the lock.
    fn cut_live(&self, registry: &Registry<T>, entry: &Entry<T>) {
        let Seating { chunk, seat, .. } = entry.seating();
        if mutant!("entry_is_cut_while_it_is_live") {
            entry.cut();
        }
        self.chunk(registry, chunk).cut(seat);
        entry.cut();
    }

    /// Ends all subscriptions, and lets no new ones begin.
    pub(crate) fn close(&self) {
        let (ended, leaving, mut grace, ending) = {
            let mut registry = self.registry.lock();
            registry.closed = true;
            let ending = self.endings.begin();
            let mut ended = Vec::new();
            // What others have cut, and is not gone yet: to be waited for all the same.
            let mut leaving = Vec::new();
            for seating in Self::taken(&registry) {
                // SAFETY: the seat is taken, and the lock keeps it from being emptied.
                let entry =
                    unsafe { self.chunk(&registry, seating.chunk).seat(seating.seat) }.entry();
                if entry.is_cut() {
                    leaving.push(Arc::clone(entry));
                } else {
                    self.cut_live(&registry, entry);
                    ended.push(Arc::clone(entry));
                }
            }
            self.count.fetch_sub(ended.len(), Ordering::AcqRel);
            let grace = self.records.observe(Concern::All);
            for entry in &ended {
                registry.retiring.push(Retiring {
                    seating: entry.seating(),
                    grace: grace.clone(),
                });
            }
            if !ended.is_empty() {
                self.hot.retiring.store(true, Ordering::Release);
            }
            (ended, leaving, grace, ending)
        };
        #[cfg(feature = "tracing")]
        tracing::debug!(subscriptions = ended.len(), "feed closed");
        for entry in &ended {
            entry.announce(End::Closed, None);
        }
        drop(ending);
        if lane::in_delivery() {
            return self.reap();
        }
        // SAFETY: the records are `self`'s.
        unsafe { grace.wait() };
        let mut patience = Patience::new();
        loop {
            self.reap();
            let mut all = ended.iter().chain(&leaving);
            if all.all(|entry| entry.is_reaped()) && self.endings.are_over() {
                return;
            }
            patience.wait();
        }
    }

    /// Frees what was cut and is out of everybody's hands by now. Does not wait.
    #[cold]
    #[inline(never)]
    pub(crate) fn reap(&self) {
        while let Some((seat, _ending)) = self.take_reapable() {
            // SAFETY: it was cut, the grace observed after that is over, and its gate is empty.
            unsafe { seat.into_entry().reap() };
        }
    }

    fn take_reapable(&self) -> Option<(Seat<T>, Ending<'_>)> {
        let mut registry = self.registry.lock();
        let registry = &mut *registry;
        let ready = registry.retiring.iter_mut().position(|retiring| {
            let Seating { chunk, seat, .. } = retiring.seating;
            let chunk = if chunk == FIRST {
                &self.hot.first
            } else {
                held(&registry.chunks, chunk)
            };
            // SAFETY: the records are `self`'s; a retiring seat is taken, and the lock keeps it from being emptied.
            unsafe { retiring.grace.is_over() && chunk.seat(seat).entry().is_gate_empty() }
        });
        let emptied = ready.map(|index| {
            let seating = registry.retiring.swap_remove(index).seating;
            let ending = self.endings.begin();
            (self.vacate(registry, seating), ending)
        });
        if registry.retiring.is_empty() && self.free_replaced(registry) {
            self.hot.retiring.store(false, Ordering::Release);
        }
        emptied
    }

    // ---- Seats. The lock is held. ----

    fn concern(seating: Seating) -> Concern {
        let chunk = Place::chunk(seating.chunk);
        if seating.is_closure {
            Concern::Seat {
                chunk,
                seat: Place::seat(seating.chunk, seating.seat),
            }
        } else {
            Concern::Chunk(chunk)
        }
    }

    fn chunk<'a>(&'a self, registry: &'a Registry<T>, key: u32) -> &'a Chunk<T> {
        if key == FIRST {
            &self.hot.first
        } else {
            held(&registry.chunks, key)
        }
    }

    /// All seats that are taken, live or not.
    fn taken(registry: &Registry<T>) -> Vec<Seating> {
        let others = registry
            .chunks
            .iter()
            .flatten()
            .map(|held| (held.chunk.key(), held.taken, held.is_closures));
        std::iter::once((FIRST, registry.first_taken, false))
            .chain(others)
            .flat_map(|(chunk, taken, is_closure)| {
                let seats = (0..SEATS).filter(move |seat| taken & (1 << seat) != 0);
                seats.map(move |seat| Seating {
                    chunk,
                    seat,
                    is_closure,
                })
            })
            .collect()
    }

    fn take_seat(&self, registry: &mut Registry<T>, is_closure: bool) -> Seating {
        if !is_closure && registry.first_taken != u64::MAX {
            let seat = registry.first_taken.trailing_ones() as usize;
            registry.first_taken |= 1 << seat;
            return Seating {
                chunk: FIRST,
                seat,
                is_closure,
            };
        }
        let kind = usize::from(is_closure);
        let key = match registry.open[kind].last() {
            Some(&key) => key,
            None => self.add_chunk(registry, is_closure),
        };
        let held = registry.chunks[key as usize - 1]
            .as_mut()
            .expect("an open chunk is held");
        let seat = held.taken.trailing_ones() as usize;
        held.taken |= 1 << seat;
        if held.taken == u64::MAX {
            registry.open[kind].pop();
        }
        Seating {
            chunk: key,
            seat,
            is_closure,
        }
    }

    fn add_chunk(&self, registry: &mut Registry<T>, is_closures: bool) -> u32 {
        let key = registry.free_keys.pop().unwrap_or_else(|| {
            registry.chunks.push(None);
            registry.chunks.len() as u32
        });
        let chunk = Arc::new(Chunk::new(key));
        registry.chunks[key as usize - 1] = Some(Held {
            chunk,
            is_closures,
            taken: 0,
        });
        registry.open[usize::from(is_closures)].push(key);
        self.replace_directory(registry);
        key
    }

    /// Empties a seat, and drops its chunk if that was the last.
    fn vacate(&self, registry: &mut Registry<T>, seating: Seating) -> Seat<T> {
        let Seating {
            chunk: key,
            seat,
            is_closure,
        } = seating;
        // SAFETY: the caller holds the lock, the seat was cut, and the grace observed after that is over.
        let emptied = unsafe { self.chunk(registry, key).empty(seat) };
        if key == FIRST {
            registry.first_taken &= !(1 << seat);
            return emptied;
        }
        let held = registry.chunks[key as usize - 1]
            .as_mut()
            .expect("a chunk with a taken seat is held");
        let open = &mut registry.open[usize::from(is_closure)];
        if held.taken == u64::MAX {
            open.push(key);
        }
        held.taken &= !(1 << seat);
        if held.taken == 0 {
            open.retain(|other| *other != key);
            registry.chunks[key as usize - 1] = None;
            registry.free_keys.push(key);
            self.replace_directory(registry);
        }
        emptied
    }

    // ---- The directory. The lock is held. ----

    fn replace_directory(&self, registry: &mut Registry<T>) {
        let list = |closures: bool| -> Box<[Arc<Chunk<T>>]> {
            let held = registry
                .chunks
                .iter()
                .flatten()
                .filter(|held| held.is_closures == closures);
            held.map(|held| Arc::clone(&held.chunk)).collect()
        };
        let directory = Directory {
            alive: Alive::new(),
            channels: list(false),
            closures: list(true),
        };
        let is_empty = directory.channels.is_empty() && directory.closures.is_empty();
        let new = if is_empty {
            ptr::null_mut()
        } else {
            Box::into_raw(Box::new(directory))
        };
        // ORDERING: Release pairs with the Acquire in `Section::protect`: who sees the pointer sees the directory. SeqCst
        // with the store and the load there, and the load in `Records::reads`.
        let order = order!(SeqCst, "directory_is_published_relaxed");
        let old = self.hot.directory.swap(new, order);
        if !old.is_null() {
            registry.replaced.push(old);
            if !self.free_replaced(registry) {
                self.hot.retiring.store(true, Ordering::Release);
            }
        }
    }

    /// Frees the replaced directories that nobody reads. True if none is left.
    fn free_replaced(&self, registry: &mut Registry<T>) -> bool {
        if registry.replaced.is_empty() {
            return true;
        }
        registry.replaced.retain(|&directory| {
            let is_read =
                self.records.reads(directory.cast()) && !mutant!("directory_is_freed_while_read");
            if !is_read {
                // SAFETY: made by `Box::into_raw`, no longer current, and nobody reads it: freed here, once.
                unsafe { Box::from_raw(directory) }.alive.end();
            }
            is_read
        });
        registry.replaced.is_empty()
    }
}

fn held<T>(chunks: &[Option<Held<T>>], key: u32) -> &Chunk<T> {
    &chunks[key as usize - 1]
        .as_ref()
        .expect("a chunk with a taken seat is held")
        .chunk
}

impl<T> Drop for Core<T> {
    fn drop(&mut self) {
        // Nobody delivers any more: whoever does has the core. This is for what the deliverers have done before.
        drop(self.records.observe(Concern::All));
        let mut registry = self.registry.lock();
        for seating in Self::taken(&registry) {
            // SAFETY: the seat is taken, and nobody else has the core.
            let seat = unsafe { self.chunk(&registry, seating.chunk).empty(seating.seat) };
            let entry = seat.into_entry();
            entry.cut();
            // SAFETY: nobody is entitled to the port without the core; who holds the gate holds it too.
            unsafe { entry.reap() };
            entry.announce(End::Closed, None);
        }
        let current = self.hot.directory.swap(ptr::null_mut(), Ordering::AcqRel);
        for directory in registry
            .replaced
            .drain(..)
            .chain((!current.is_null()).then_some(current))
        {
            // SAFETY: made by `Box::into_raw`, each is in one of the two places, and nobody else has the core.
            drop(unsafe { Box::from_raw(directory) });
        }
    }
}

#[cfg(test)]
mod tests;
