//! What all handles of a feed share: its subscribers, and how they come and go.
//!
//! Where they sit is told by the [`Directory`]. Subscribing and unsubscribing take a lock; deliveries never take it.

use std::sync::{Arc, Weak};

use crossbeam_utils::CachePadded;

use super::chunk::{SEATS, Seat};
use super::directory::{Directory, FIRST, Vacancies};
use super::entry::{Entry, Port, Seating};
use super::lane;
use super::record::{Concern, Grace, Place, Records};
use super::refusal::End;
use crate::error::SubscriptionError;
use crate::overflow::CarrierOverflow;
use crate::sync::{AtomicBool, AtomicUsize, Mutex, Ordering, mutant, seq_cst_order};
use crate::wait::Patience;

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
    /// Whether there is something to reap.
    retiring: AtomicBool,
    directory: Directory<T>,
}

/// What the lock is for.
struct Registry<T> {
    closed: bool,
    vacancies: Vacancies<T>,
    retiring: Vec<Retiring>,
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
                retiring: AtomicBool::new(false),
                directory: Directory::new(),
            }),
            records: Records::new(),
            registry: Mutex::new(Registry {
                closed: false,
                vacancies: Vacancies::new(),
                retiring: Vec::new(),
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
    pub(crate) fn directory(&self) -> &Directory<T> {
        &self.hot.directory
    }

    /// Frees what has been unsubscribed and could not be freed then. Every send ends with this.
    #[inline]
    pub(crate) fn tidy(&self) {
        // ORDERING: SeqCst with the store in `tell_of_retiring`, as that says.
        if self.hot.retiring.load(Ordering::SeqCst) {
            self.reap();
        }
    }

    /// Has the next delivery that ends look at what is retiring.
    fn tell_of_retiring(&self) {
        // ORDERING: SeqCst with the load in `tidy`, the store in `At::begin` and the load in `At::observe`: a delivery either
        // sees this when it ends, or had begun its last visit before an observation that follows this.
        self.hot.retiring.store(true, Ordering::SeqCst);
        seq_cst_order!("retiring_is_told_without_order");
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
        let directory = &self.hot.directory;
        // SAFETY: the records are `self`'s.
        let seating = unsafe { directory.take_seat(&mut registry.vacancies, is_closure) };
        let entry = Arc::new(Entry::new(port, overflow, name, core, seating));
        // SAFETY: the seat was free, and no other thread knows of the entry yet.
        unsafe { directory.fill(&registry.vacancies, Arc::clone(&entry)) };
        self.count.fetch_add(1, Ordering::AcqRel);
        entry
    }

    fn ended_at_once(port: Port<T>, name: Option<Arc<str>>, core: Weak<Self>) -> Arc<Entry<T>> {
        let nowhere = Seating {
            chunk: FIRST,
            seat: SEATS,
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
        seq_cst_order!("unsubscribe_observes_without_order");
        let mut grace = self.records.observe(concern);
        // SAFETY: the records are `self`'s.
        if unsafe { grace.is_over() } && entry.is_gate_empty() {
            return (Ok(self.vacate(&mut registry, seating)), Some(ending));
        }
        registry.retiring.push(Retiring {
            seating,
            grace: grace.clone(),
        });
        self.tell_of_retiring();
        (Err(grace), Some(ending))
    }

    /// Takes an entry out of the live ones, which it is one of. The caller holds the lock.
    fn cut_live(&self, registry: &Registry<T>, entry: &Entry<T>) {
        if mutant!("entry_is_cut_while_it_is_live") {
            entry.cut();
        }
        let directory = &self.hot.directory;
        directory.cut(&registry.vacancies, entry.seating());
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
            let directory = &self.hot.directory;
            for Seating { chunk, seat } in directory.taken(&registry.vacancies) {
                let chunk = directory.chunk(&registry.vacancies, chunk);
                // SAFETY: the seat is taken, and the lock keeps it from being emptied.
                let entry = unsafe { chunk.seat(seat) }.entry();
                if entry.is_cut() {
                    leaving.push(Arc::clone(entry));
                } else {
                    self.cut_live(&registry, entry);
                    ended.push(Arc::clone(entry));
                }
            }
            self.count.fetch_sub(ended.len(), Ordering::AcqRel);
            seq_cst_order!("close_observes_without_order");
            let grace = self.records.observe(Concern::All);
            for entry in &ended {
                registry.retiring.push(Retiring {
                    seating: entry.seating(),
                    grace: grace.clone(),
                });
            }
            if !ended.is_empty() {
                self.tell_of_retiring();
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
            let Seating { chunk, seat } = retiring.seating;
            let chunk = self.hot.directory.chunk(&registry.vacancies, chunk);
            // SAFETY: the records are `self`'s; a retiring seat is taken, and the lock keeps it from being emptied.
            unsafe { retiring.grace.is_over() && chunk.seat(seat).entry().is_gate_empty() }
        });
        let emptied = ready.map(|index| {
            let seating = registry.retiring.swap_remove(index).seating;
            let ending = self.endings.begin();
            (self.vacate(registry, seating), ending)
        });
        if registry.retiring.is_empty() {
            self.hot.retiring.store(false, Ordering::Release);
        }
        emptied
    }

    fn concern(Seating { chunk, seat }: Seating) -> Concern {
        Concern::Seat {
            chunk: Place::chunk(chunk),
            seat: Place::seat(chunk, seat),
        }
    }

    /// Empties a seat. The caller holds the lock, the seat was cut, and the grace observed after that is over.
    fn vacate(&self, registry: &mut Registry<T>, seating: Seating) -> Seat<T> {
        let directory = &self.hot.directory;
        // SAFETY: as the caller warrants.
        unsafe { directory.vacate(&mut registry.vacancies, &self.records, seating) }
    }
}

impl<T> Drop for Core<T> {
    fn drop(&mut self) {
        // Nobody delivers any more: whoever does has the core. This is for what the deliverers have done before.
        drop(self.records.observe(Concern::All));
        let mut registry = self.registry.lock();
        for seating in self.hot.directory.taken(&registry.vacancies) {
            // SAFETY: the seat is taken, and nobody else has the core.
            let entry = self.vacate(&mut registry, seating).into_entry();
            entry.cut();
            // SAFETY: nobody is entitled to the port without the core; who holds the gate holds it too.
            unsafe { entry.reap() };
            entry.announce(End::Closed, None);
        }
    }
}

#[cfg(test)]
mod tests;
