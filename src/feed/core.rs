//! The state that all handles of a feed share: its subscribers, and how they come and go.
//!
//! The [`Directory`] holds the subscribers' seats. Subscribing and unsubscribing take a lock.
//! Deliveries never take this lock.

use std::sync::{Arc, Weak};

use crossbeam_utils::CachePadded;

use super::chunk::{SEATS, Seat};
use super::directory::{Directory, FIRST, Vacancies};
use super::entry::{Ended, Entry, Port, Seating};
use super::record::{Concern, Grace, Place, Records};
use super::refusal::End;
use crate::error::SubscriptionError;
use crate::overflow::CarrierOverflow;
use crate::subscription::{Closed, FeedEnd};
use crate::sync::{AtomicU8, AtomicUsize, Mutex, OnceLock, Ordering, mutant, seq_cst_order};
use crate::wait::{InCallback, Patience, Reap, may_reap, may_wait, postpone, quietly};

pub(crate) struct Core<T> {
    hot: CachePadded<Hot<T>>,
    records: Records,
    registry: Mutex<Registry<T>>,
    /// Subscriptions that have not ended.
    count: AtomicUsize,
    /// This core, for a thread that must free something later. Set with the first subscription.
    reaper: OnceLock<Weak<dyn Reap>>,
    /// For those that wait for the end of the feed.
    end: FeedEnd,
}

/// The fields that every send reads and that are seldom written.
struct Hot<T> {
    /// `NOTHING`, `NEWS` or `WAITING`. Changed under the lock.
    retiring: AtomicU8,
    directory: Directory<T>,
}

/// Nothing is retiring.
const NOTHING: u8 = 0;
/// Something is retiring, and may be free by now.
const NEWS: u8 = 1;
/// Everything that is retiring was looked at. It waits for a gate, whose holder frees it, or for
/// visits that the records [know](Records::has_moved_on).
const WAITING: u8 = 2;

/// The state under the lock.
struct Registry<T> {
    closed: bool,
    vacancies: Vacancies<T>,
    retiring: Vec<Retiring<T>>,
}

/// An entry that was cut. The next thread that finds its port unused empties its seat.
struct Retiring<T> {
    entry: Arc<Entry<T>>,
    grace: Grace,
}

impl<T> Core<T> {
    pub(crate) fn new() -> Self {
        Self {
            hot: CachePadded::new(Hot {
                retiring: AtomicU8::new(NOTHING),
                directory: Directory::new(),
            }),
            records: Records::new(),
            registry: Mutex::new(Registry {
                closed: false,
                vacancies: Vacancies::new(),
                retiring: Vec::new(),
            }),
            count: AtomicUsize::new(0),
            reaper: OnceLock::new(),
            end: FeedEnd::default(),
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

    /// Frees subscriptions that have ended but could not be freed at that time. Every send,
    /// subscribe and unsubscribe ends with this call.
    #[inline]
    pub(crate) fn tidy(&self) {
        // ORDERING: SeqCst with the store in `tell_of_retiring`, for the reason given there.
        // Acquire pairs with the store of `WAITING`: the `awaited` words are visible.
        let retiring = self.hot.retiring.load(Ordering::SeqCst);
        if retiring != NOTHING {
            self.tidy_retiring(retiring);
        }
    }

    /// Does not take the lock if that would free nothing, because a closure may run for a long
    /// time.
    #[cold]
    fn tidy_retiring(&self, retiring: u8) {
        let has_moved_on = retiring == NEWS || self.records.has_moved_on();
        if has_moved_on && !(retiring == WAITING && mutant!("ended_visits_are_overlooked")) {
            self.reap();
        }
    }

    /// Makes the next delivery that ends look at the retiring entries.
    fn tell_of_retiring(&self) {
        // ORDERING: SeqCst with the load in `tidy`, the store in `At::begin` and the load in
        // `At::observe`: a delivery either sees this when it ends, or had begun its last visit
        // before an observation that follows this. These are the four accesses. Weaker accesses do
        // not matter: the retiring entries are read under the lock, and `awaited` only after a load
        // in `tidy` that found `WAITING`, with which it was released.
        self.hot.retiring.store(NEWS, Ordering::SeqCst);
        seq_cst_order!("retiring_is_told_without_order");
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.registry.lock().closed
    }

    /// The entries that have not been cut. The caller drops them outside of locks.
    pub(crate) fn entries(&self) -> Vec<Arc<Entry<T>>> {
        let registry = self.registry.lock();
        let directory = &self.hot.directory;
        let seatings = directory.taken(&registry.vacancies).into_iter();
        let entries = seatings.map(|Seating { chunk, seat }| {
            let chunk = directory.chunk(&registry.vacancies, chunk);
            // SAFETY: the seat is taken, and the lock keeps it from being emptied.
            unsafe { chunk.seat(seat) }.entry()
        });
        let live = entries.filter(|entry| !entry.is_cut());
        live.map(Arc::clone).collect()
    }

    /// Waits for the end of the feed.
    pub(crate) fn closed(&self) -> Closed {
        self.end.closed(|| self.is_closed())
    }

    /// Seats a new subscription. On a closed feed the subscription has ended already.
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        port: Port<T>,
        overflow: CarrierOverflow,
        name: Option<Arc<str>>,
    ) -> Arc<Entry<T>>
    where
        T: Send + 'static,
    {
        let is_closure = matches!(port, Port::Closure(_));
        let core = Arc::downgrade(self);
        self.reaper
            .get_or_init(|| Arc::downgrade(&(Arc::clone(self) as Arc<dyn Reap>)));
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
        drop(registry);
        self.tidy();
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
        entry.set_vacated();
        let ended = entry.end(End::Closed, None);
        // SAFETY: the entry was never in a seat, so no other thread has ever had its port.
        let port = unsafe { entry.take_port() };
        let _inside = InCallback::enter();
        quietly(|| drop(port));
        entry.announce(ended);
        entry
    }

    // ---- Ending ----

    /// Ends a subscription, waits until its port is unused, and drops the port: see
    /// [`Subscription::unsubscribe`](crate::Subscription::unsubscribe). If the thread must not
    /// wait, it frees the port later.
    pub(crate) fn cancel(&self, entry: &Entry<T>) {
        let waits = may_wait();
        let (ended, grace) = self.cut(entry, End::Closed, None, waits);
        if let Some(ended) = ended {
            entry.announce(ended);
        }
        if !waits {
            return self.postpone();
        }
        let mut patience = Patience::new();
        while !self.take(entry, &grace) {
            patience.wait();
        }
        self.tidy();
    }

    /// Ends a subscription, and announces the end. Does not wait, and drops no user values: a later
    /// `tidy` does that.
    pub(crate) fn end(&self, entry: &Entry<T>, end: End, error: Option<SubscriptionError>) {
        let (ended, _) = self.cut(entry, end, error, false);
        if let Some(ended) = ended {
            entry.announce(ended);
        }
    }

    /// Takes an entry out of the live ones, if it is live, and returns the end to announce. If
    /// `awaits` is set, the caller waits until the port is unused, and then takes the entry out of
    /// its seat. Otherwise any thread may do that.
    fn cut(
        &self,
        entry: &Entry<T>,
        end: End,
        error: Option<SubscriptionError>,
        awaits: bool,
    ) -> (Option<Ended>, Grace) {
        let Seating { chunk, seat } = entry.seating();
        let mut registry = self.registry.lock();
        if awaits {
            entry.set_awaited();
        }
        if entry.is_cut() {
            // The lock orders this after the observation that was made at the cut, so this
            // observation sees no less.
            return (None, self.records.observe(Self::concern(entry.seating())));
        }
        self.count.fetch_sub(1, Ordering::AcqRel);
        self.cut_live(&registry, entry);
        // The four accesses: `Live::clear` and `Entry::cut`, the load in `At::observe`; the store
        // in `At::begin`, and `Live::load` or `Entry::is_cut`. The directory's bits are cleared
        // with `Relaxed`: a delivery that sees them too late finds an empty live word, and a
        // delivery that sees them too early skips no live subscriber.
        seq_cst_order!("unsubscribe_observes_without_order");
        let grace = self.records.observe(Self::concern(entry.seating()));
        let ended = entry.end(end, error);
        if !awaits {
            let chunk = self.hot.directory.chunk(&registry.vacancies, chunk);
            // SAFETY: the seat is taken, and the lock keeps it from being emptied.
            let entry = Arc::clone(unsafe { chunk.seat(seat) }.entry());
            self.retire(&mut registry, entry, grace.clone());
        }
        (Some(ended), grace)
    }

    /// Takes a live entry out of the live ones. The caller holds the lock, and ends the entry after
    /// it has [observed](Records::observe) the deliveries.
    fn cut_live(&self, registry: &Registry<T>, entry: &Entry<T>) {
        if mutant!("entry_is_cut_while_it_is_live") {
            entry.cut();
        }
        self.hot.directory.cut(&registry.vacancies, entry.seating());
        entry.cut();
    }

    fn retire(&self, registry: &mut Registry<T>, entry: Arc<Entry<T>>, grace: Grace) {
        registry.retiring.push(Retiring { entry, grace });
        self.tell_of_retiring();
    }

    /// Ends all subscriptions and admits no new ones. Then waits, as [`cancel`](Self::cancel) does,
    /// for each of them, including those that other threads have ended.
    pub(crate) fn close(&self) {
        self.shut(may_wait());
    }

    /// Ends all subscriptions, admits no new ones, and announces the ends. Does not wait, and drops
    /// no user values.
    pub(crate) fn close_soon(&self) {
        self.shut(false);
    }

    fn shut(&self, waits: bool) {
        let mut all = Vec::new();
        let mut live = Vec::new();
        let was_closed;
        let (ended, grace) = {
            let mut registry = self.registry.lock();
            was_closed = std::mem::replace(&mut registry.closed, true);
            if was_closed && !waits {
                drop(registry);
                return self.postpone();
            }
            let directory = &self.hot.directory;
            for Seating { chunk, seat } in directory.taken(&registry.vacancies) {
                let chunk = directory.chunk(&registry.vacancies, chunk);
                // SAFETY: the seat is taken, and the lock keeps it from being emptied.
                let entry = unsafe { chunk.seat(seat) }.entry();
                let is_leaving = entry.is_cut();
                if !is_leaving {
                    self.cut_live(&registry, entry);
                    live.push(Arc::clone(entry));
                }
                if waits && !(is_leaving && mutant!("close_forgets_who_is_leaving")) {
                    entry.set_awaited();
                    all.push(Arc::clone(entry));
                }
            }
            self.count.fetch_sub(live.len(), Ordering::AcqRel);
            // As in `cut`, for all of them.
            seq_cst_order!("close_observes_without_order");
            let grace = self.records.observe(Concern::All);
            let end = |entry: Arc<Entry<T>>| {
                let ended = entry.end(End::Closed, None);
                (entry, ended)
            };
            let ended: Vec<_> = live.into_iter().map(end).collect();
            if !waits {
                for (entry, _) in &ended {
                    self.retire(&mut registry, Arc::clone(entry), grace.clone());
                }
            }
            (ended, grace)
        };
        #[cfg(feature = "tracing")]
        if !was_closed {
            crate::events::event!(debug, subscriptions = ended.len(), "feed closed");
        }
        for (entry, ended) in ended {
            entry.announce(ended);
        }
        self.end.announce();
        if !waits {
            return self.postpone();
        }
        let mut patience = Patience::new();
        loop {
            all.retain(|entry| !self.take(entry, &grace));
            if all.is_empty() {
                break;
            }
            patience.wait();
        }
        self.tidy();
    }

    /// Frees a cut entry, unless its port is in use. Returns whether the entry is free now, or
    /// another thread has taken it out of its seat. The caller observed the grace after the cut.
    fn take(&self, entry: &Entry<T>, grace: &Grace) -> bool {
        let seating = entry.seating();
        // SAFETY: the records are `self`'s.
        let is_over = unsafe { grace.is_over_at(Self::concern(seating)) };
        // Both conditions stay true: a thread that enters the gate after the cut leaves it without
        // using the port.
        if !(is_over && entry.is_gate_empty()) {
            return false;
        }
        let mut registry = self.registry.lock();
        if !entry.is_vacated() {
            entry.set_vacated();
            let seat = self.vacate(&mut registry, seating);
            drop(registry);
            discard(seat);
        }
        true
    }

    /// Frees every cut entry that no thread uses any more, without waiting. Inside a delivery or a
    /// callback, the outermost one does this when it ends.
    #[cold]
    #[inline(never)]
    pub(crate) fn reap(&self) {
        if may_reap() {
            let _inside = InCallback::enter();
            self.free();
        } else {
            self.postpone();
        }
    }

    /// Inside a delivery or a callback, makes the outermost one free the retiring entries.
    pub(crate) fn postpone(&self) {
        // If the core is gone, its own drop is in progress.
        if !may_reap()
            && let Some(reaper) = self.reaper.get().and_then(Weak::upgrade)
        {
            postpone(reaper);
        }
    }

    /// Frees the retiring entries that can be freed, one at a time: no other thread can free an
    /// entry that is taken out and not dropped yet.
    fn free(&self) {
        let mut index = 0;
        let mut has_found = false;
        loop {
            if let Some(seat) = self.take_reapable(&mut index) {
                has_found = true;
                discard(seat);
            } else if std::mem::take(&mut has_found) {
                // Entries that were skipped may be free by now.
                index = 0;
            } else {
                return;
            }
        }
    }

    /// The next entry that can be freed, from `index` on.
    fn take_reapable(&self, index: &mut usize) -> Option<Seat<T>> {
        // Dropped after the lock is released, because dropping the last handle of an entry runs
        // user code.
        let mut left_to_others = Vec::new();
        let mut registry = self.registry.lock();
        let registry = &mut *registry;
        let mut emptied = None;
        let looks_at_all = *index == 0;
        self.records.forget_ended();
        while let Some(retiring) = registry.retiring.get_mut(*index) {
            let entry = &retiring.entry;
            if entry.is_vacated() || entry.is_awaited() {
                left_to_others.push(registry.retiring.swap_remove(*index));
                continue;
            }
            // SAFETY: the records are `self`'s.
            if unsafe { retiring.grace.is_over() } && entry.is_gate_empty() {
                let entry = registry.retiring.swap_remove(*index).entry;
                entry.set_vacated();
                emptied = Some(self.vacate(registry, entry.seating()));
                // The seat holds another handle of the entry.
                drop(entry);
                break;
            }
            // SAFETY: the records are `self`'s.
            unsafe { retiring.grace.leave() };
            *index += 1;
        }
        let state = if registry.retiring.is_empty() {
            NOTHING
        } else if looks_at_all && emptied.is_none() {
            WAITING
        } else {
            NEWS
        };
        // ORDERING: Release pairs with the load in `tidy`.
        self.hot.retiring.store(state, Ordering::Release);
        emptied
    }

    fn concern(Seating { chunk, seat }: Seating) -> Concern {
        Concern::Seat {
            chunk: Place::chunk(chunk),
            seat: Place::seat(chunk, seat),
        }
    }

    /// Empties a seat. The caller holds the lock. The seat was cut, and the grace observed after
    /// that is over.
    fn vacate(&self, registry: &mut Registry<T>, seating: Seating) -> Seat<T> {
        let directory = &self.hot.directory;
        // SAFETY: the caller guarantees this.
        let mut seat = unsafe { directory.vacate(&mut registry.vacancies, &self.records, seating) };
        // Under the lock, so that a thread which finds the seat emptied by another thread finds the
        // channel disconnected.
        // SAFETY: a seat is emptied once, and no thread is entitled to the port.
        unsafe { seat.drop_plain_port() };
        seat
    }
}

/// Drops the port of an entry that was taken out of its seat, and everything else in the seat.
fn discard<T>(seat: Seat<T>) {
    let _inside = InCallback::enter();
    // SAFETY: a seat is emptied once, by a thread that found no other thread entitled to the port.
    let port = unsafe { seat.entry().take_port() };
    quietly(|| drop((port, seat)));
}

impl<T: Send + 'static> Reap for Core<T> {
    fn reap_now(&self) {
        self.free();
    }
}

impl<T> Drop for Core<T> {
    fn drop(&mut self) {
        // No thread delivers any more, because a delivery holds the core. This orders what
        // deliverers did before.
        self.records.join_all();
        let mut registry = self.registry.lock();
        for seating in self.hot.directory.taken(&registry.vacancies) {
            // The drop of the feed's last handle has ended the entry. Without the core no thread is
            // entitled to its port, because a thread that holds the gate holds the core too.
            discard(self.vacate(&mut registry, seating));
        }
    }
}

#[cfg(test)]
mod tests;
