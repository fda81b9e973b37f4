//! What all parts of one bus share.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::core::bell::Bell;
use crate::core::log::ErrorLog;
use crate::core::observers::Observers;
use crate::core::pool::{Pool, Work};
#[cfg(feature = "tokio")]
use crate::core::source::Run;
use crate::core::source::{Entry, Place, Source};
use crate::core::table::Table;
use crate::core::visits::{Visit, Visits};
use crate::core::waits::{Wait, number};
use crate::core::{blocking, pending::Pending};
use crate::error::{BusError, EventError};
use crate::observe::Meters;
use crate::observer::BusEvent;
use crate::options::BusOptions;
use crate::register::Register;
use crate::sync::{
    Condvar, Mutex,
    atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering},
    mutant,
};

/// The bus takes events and listeners.
const OPEN: u8 = 0;
/// `close` waits. The bus takes only events that its listeners dispatch.
const DRAINING: u8 = 1;
/// The bus takes nothing.
const CLOSED: u8 = 2;

/// # Invariants
///
/// 1. The table changes only under `registry`; old tables are dropped after the lock was released,
///    because that may run destructors of users.
/// 2. A dispatch that is under way has a visit, or is counted in `pending`, or both: it is counted
///    before its visit ends. So a thread that finds no visits, and then nothing pending, has waited
///    for all dispatches but those that have begun since.
/// 3. A dispatch from inside a listener has the epoch of that listener's dispatch. `wait` begins a
///    new epoch and waits for those before it: so it waits for all that follows from what it waits
///    for, but not for other dispatches that begin later.
/// 4. No user code runs under a lock.
pub(crate) struct Shared {
    pub(crate) number: u64,
    /// Whether listeners can be registered.
    registry: Mutex<Registry>,
    /// The table, and the dispatches that use it.
    pub(crate) visits: Visits,
    /// Where threads wait for calls to end.
    pub(crate) bell: Bell,
    phase: AtomicU8,
    epoch: AtomicU64,
    pending: Mutex<Pending>,
    /// How many threads wait at `changed`.
    waiting: AtomicUsize,
    changed: Condvar,
    /// Of the futures that wait, by a number. They are counted in `waiting` too.
    #[cfg(feature = "tokio")]
    pub(crate) wakers: Mutex<Vec<(u64, std::task::Waker)>>,
    /// Whether what is left has been ended.
    is_ended: AtomicBool,
    pub(crate) pool: Pool,
    pub(crate) errors: ErrorLog,
    pub(crate) observers: Observers,
    pub(crate) meters: Meters,
    /// The way to other processes, set once, before the bus is used.
    #[cfg(feature = "broker")]
    pub(crate) outlet: std::sync::OnceLock<Arc<crate::remote::Outlet>>,
}

#[derive(Default)]
struct Registry {
    is_closed: bool,
}

impl Shared {
    pub(crate) fn new(options: BusOptions) -> Arc<Self> {
        let number = number();
        let observers = Observers::new();
        let exhausted = observers.exhausted(options.limit);
        let shared = Arc::new(Self {
            number,
            registry: Mutex::default(),
            visits: Visits::new(number),
            bell: Bell::default(),
            phase: AtomicU8::new(OPEN),
            epoch: AtomicU64::new(0),
            pending: Mutex::default(),
            waiting: AtomicUsize::new(0),
            changed: Condvar::new(),
            #[cfg(feature = "tokio")]
            wakers: Mutex::default(),
            is_ended: AtomicBool::new(false),
            pool: Pool::new(options.threads, options.limit, exhausted),
            errors: ErrorLog::new(options.errors),
            observers,
            meters: Meters::new(),
            #[cfg(feature = "broker")]
            outlet: std::sync::OnceLock::new(),
        });
        if let Some(logger) = options.logger {
            shared.observers.log(logger);
        }
        shared
    }

    // Phases and epochs.

    #[inline]
    pub(crate) fn epoch(&self) -> u64 {
        // ORDERING: a thread that waits for a dispatch knows of it from a thread that was inside
        // it; that orders this load too.
        self.epoch.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        // ORDERING: see `visits`.
        self.phase.load(Ordering::SeqCst) == OPEN
    }

    /// Whether `close` has returned or given up.
    #[cold]
    pub(crate) fn is_closed(&self) -> bool {
        // ORDERING: see `visits`.
        self.phase.load(Ordering::SeqCst) == CLOSED
    }

    /// Whether the dispatch that has this visit is refused. While the bus drains it takes what
    /// listeners dispatch: otherwise a listener that turns one event into another could not finish
    /// its work.
    #[inline]
    pub(crate) fn refuses(&self, visit: &Visit<'_>) -> bool {
        if mutant!("bus::dispatch_does_not_look_at_the_phase") {
            return false;
        }
        // ORDERING: see `visits`.
        match self.phase.load(Ordering::SeqCst) {
            OPEN => false,
            DRAINING => !visit.is_nested(),
            _ => true,
        }
    }

    #[cfg(feature = "broker")]
    #[inline]
    pub(crate) fn outlet(&self) -> Option<&Arc<crate::remote::Outlet>> {
        self.outlet.get()
    }

    /// Opens or closes the subscriptions of the broker that the listeners of this place need, or
    /// need no longer.
    #[cfg(feature = "broker")]
    fn reconcile(&self, place: &Place) -> Result<(), BusError> {
        match self.outlet() {
            Some(outlet) => outlet.reconcile_place(self, place),
            None => Ok(()),
        }
    }

    // Listeners.

    pub(crate) fn register(self: &Arc<Self>, register: Register) -> Result<Arc<Source>, BusError> {
        let Register {
            #[cfg_attr(not(feature = "broker"), allow(unused_mut))]
            mut place,
            typed,
            run,
            target,
            label,
            name,
            timeout,
            is_once,
            #[cfg(feature = "broker")]
            group,
        } = register;
        #[cfg(feature = "broker")]
        if let (Some(outlet), Some(typed)) = (self.outlet(), typed)
            && let Some(name) = outlet.name_of(typed)
        {
            place = Place::Name(name);
        }
        let is_named = match &place {
            Place::Name(name) => !name.is_empty(),
            Place::All => true,
        };
        let source = Source::new(self, place, name, label, timeout, is_once);
        let source = Arc::new(source);
        // Before it may be refused: an entry drops the listener quietly.
        #[cfg_attr(not(feature = "broker"), allow(unused_mut))]
        let mut entry = Entry::new(Arc::clone(&source), run, target);
        #[cfg(feature = "broker")]
        {
            entry.typed = typed;
        }
        let entry = Arc::new(entry);
        if !is_named {
            return Err(BusError::BadName);
        }
        #[cfg(feature = "tokio")]
        if matches!(&entry.run, Run::Task { runtime: None, .. }) {
            return Err(BusError::NoRuntime);
        }
        #[cfg(feature = "broker")]
        if let Some((group, options)) = group {
            let Some(outlet) = self.outlet() else {
                return Err(BusError::NoBroker);
            };
            outlet
                .listen_group(group, &options, entry)
                .map_err(|error| self.or_closed(error))?;
            outlet.look_for_new_name(self, &source, typed);
            return Ok(source);
        }
        let old = {
            let registry = self.registry.lock();
            if registry.is_closed {
                return Err(BusError::Closed);
            }
            let table = self.visits.table().with(&entry, typed);
            self.visits.replace_table(table)
        };
        self.drop_table(old);
        #[cfg(feature = "broker")]
        if let Err(error) = self.reconcile(&source.place) {
            self.unregister(&source);
            return Err(self.or_closed(error));
        }
        #[cfg(feature = "broker")]
        if let Some(outlet) = self.outlet() {
            outlet.look_for_new_name(self, &source, typed);
        }
        Ok(source)
    }

    /// Why a listener was not registered. A bus that is being closed may have closed its broker
    /// first.
    #[cfg(feature = "broker")]
    fn or_closed(&self, error: BusError) -> BusError {
        match self.registry.lock().is_closed {
            true => BusError::Closed,
            false => error,
        }
    }

    /// Takes ended listeners of a place out of the table.
    pub(crate) fn forget(&self, place: &Place) {
        let old = {
            let _registry = self.registry.lock();
            let table = self.visits.table();
            let table = table.without(place, |entry| entry.source.is_ended());
            self.visits.replace_table(table)
        };
        self.drop_table(old);
        #[cfg(feature = "broker")]
        if let Err(error) = self.reconcile(place) {
            self.report(&EventError::new(place.name(), None, error));
        }
    }

    /// Drops a table that was replaced, here and where idle threads have it.
    fn drop_table(&self, old: Arc<Table>) {
        drop(old);
        self.visits.drop_stale();
    }

    /// Does the same on a thread of the pool, because it may run destructors of users.
    pub(crate) fn forget_soon(self: &Arc<Self>, place: &Place) {
        let (shared, place) = (Arc::clone(self), place.clone());
        let forget = move || shared.forget(&place);
        self.pool.submit(Work::Run(Box::new(forget)));
    }

    /// Ends the listeners that were registered for a name. Returns how many.
    pub(crate) fn unregister_all(&self, name: &str) -> usize {
        let sources: Vec<_> = {
            let table = self.visits.table();
            let each = table.of_name(name);
            each.map(|entry| Arc::clone(&entry.source)).collect()
        };
        #[cfg(feature = "broker")]
        let sources = match self.outlet() {
            Some(outlet) => [sources, outlet.group_sources(name)].concat(),
            None => sources,
        };
        self.end_sources(&sources)
    }

    /// Ends listeners and waits for their calls, as `unsubscribe` does.
    pub(crate) fn end_sources(&self, sources: &[Arc<Source>]) -> usize {
        use fanfeed::SubscriptionSource;

        let begun: Vec<_> = sources.iter().filter(|source| source.begin_end()).collect();
        let mut places: Vec<_> = begun.iter().map(|source| &source.place).collect();
        places.dedup();
        for source in sources {
            source.complete_end();
        }
        for place in places {
            self.forget(place);
        }
        for source in sources {
            source.cancel();
        }
        begun.len()
    }

    /// Ends the listener that this thread is inside of.
    #[cold]
    pub(crate) fn unregister(&self, source: &Source) {
        if source.begin_end() {
            source.complete_end();
            self.forget(&source.place);
        }
    }

    /// Reports an error of a listener, or of a dispatch, on the bus.
    #[cold]
    pub(crate) fn report(&self, error: &EventError) {
        self.meters.failed();
        self.errors.push(error.clone());
        self.observers.emit(BusEvent::Error(error.clone()));
    }

    // Dispatches under way.

    /// Counts a dispatch that has asynchronous listeners.
    pub(crate) fn begin_dispatch(&self, epoch: u64) {
        self.meters.begun();
        self.pending.lock().add(epoch);
    }

    pub(crate) fn end_dispatch(&self, epoch: u64) {
        self.meters.ended();
        let is_over = self.pending.lock().remove(epoch);
        if is_over {
            self.left();
        }
    }

    /// How many dispatches with asynchronous listeners are under way.
    pub(crate) fn pending(&self) -> usize {
        self.pending.lock().total()
    }

    /// Wakes the threads that wait for the bus. Called after a visit has ended.
    #[inline]
    pub(crate) fn left(&self) {
        // ORDERING: see `visits`. For `pending`, its lock orders the two.
        if self.waiting.load(Ordering::SeqCst) > 0 && !mutant!("bus::visit_wakes_nobody") {
            self.wake();
        }
        self.bell.ring();
    }

    #[cold]
    fn wake(&self) {
        // With the lock, so that the waiter is not between its look and its wait.
        drop(self.pending.lock());
        self.changed.notify_all();
        #[cfg(feature = "tokio")]
        {
            let wakers = std::mem::take(&mut *self.wakers.lock());
            for (_, waker) in wakers {
                crate::quietly::quietly(|| waker.wake());
            }
        }
    }

    /// Waits until everything of this epoch and of older ones is over. False at the deadline.
    fn wait_for(&self, epoch: u64, deadline: Option<Instant>) -> bool {
        self.begin_waiting();
        let mut pending = self.pending.lock();
        let over = loop {
            if self.is_over(epoch, &pending) {
                break true;
            }
            match deadline {
                None => self.changed.wait(&mut pending),
                Some(deadline) if Instant::now() >= deadline => break false,
                Some(deadline) => {
                    let _ = self.changed.wait_until(&mut pending, deadline);
                }
            }
        };
        drop(pending);
        self.end_waiting();
        over
    }

    pub(crate) fn begin_waiting(&self) {
        // ORDERING: see `visits`.
        self.waiting.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn end_waiting(&self) {
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    fn is_over(&self, epoch: u64, pending: &Pending) -> bool {
        // Visits first: invariant 2.
        !self.visits.has_until(epoch) && !pending.has_until(epoch)
    }

    /// Whether everything of this epoch and of older ones is over. The caller has begun to wait.
    #[cfg(feature = "tokio")]
    pub(crate) fn is_over_until(&self, epoch: u64) -> bool {
        self.is_over(epoch, &self.pending.lock())
    }

    /// Begins a new epoch. Gives the one before it.
    pub(crate) fn next_epoch(&self) -> u64 {
        // ORDERING: a dispatch that reads the new epoch begins later than this. See `epoch`.
        self.epoch.fetch_add(1, Ordering::AcqRel)
    }

    pub(crate) fn wait(&self, deadline: Option<Instant>) -> Result<(), BusError> {
        let _wait = Wait::begin(self.number)?;
        let epoch = self.next_epoch();
        match blocking(|| self.wait_for(epoch, deadline)) {
            true => Ok(()),
            false => Err(BusError::Timeout),
        }
    }

    // The end.

    /// After this call only listeners may dispatch, no listener can be registered, and nothing
    /// arrives from other processes.
    pub(crate) fn begin_draining(&self) {
        self.registry.lock().is_closed = true;
        // First, since what arrives later is refused. Also if the caller cannot wait for the end.
        #[cfg(feature = "broker")]
        if let Some(outlet) = self.outlet() {
            outlet.end_subscriptions();
        }
        // ORDERING: see `visits`.
        self.phase.fetch_max(DRAINING, Ordering::SeqCst);
    }

    pub(crate) fn close(&self, deadline: Option<Instant>) -> Result<(), BusError> {
        self.begin_draining();
        let _wait = Wait::begin(self.number)?;
        let is_over =
            mutant!("bus::close_does_not_wait") || blocking(|| self.wait_for(u64::MAX, deadline));
        // ORDERING: see `visits`.
        self.phase.fetch_max(CLOSED, Ordering::SeqCst);
        let (pending, running) = (self.pending(), self.visits.count());
        #[cfg(feature = "broker")]
        let flushed = match self.outlet() {
            Some(outlet) => outlet.flush(self, deadline),
            None => Ok(()),
        };
        self.end();
        self.observers.log_out(deadline);
        match is_over {
            #[cfg(feature = "broker")]
            true => flushed,
            #[cfg(not(feature = "broker"))]
            true => Ok(()),
            false => Err(BusError::CloseTimeout { pending, running }),
        }
    }

    /// Ends what is left, without waiting for listeners that run.
    fn end(&self) {
        // Before the listeners end, or jobs that were not begun would be no failures.
        self.pool.abandon_jobs();
        // Each caller ends what it finds, so that all has ended when the first one returns. Before
        // the table is replaced: what is not in the table has ended.
        let table = self.visits.table();
        for entry in table.each() {
            entry.source.begin_end();
            entry.source.complete_end();
            entry.source.end_unfinished();
        }
        drop(table);
        let old = {
            let _registry = self.registry.lock();
            self.visits.replace_table(Table::new())
        };
        self.drop_table(old);
        #[cfg(feature = "broker")]
        if let Some(outlet) = self.outlet() {
            outlet.end_groups();
        }
        // ORDERING: only makes one caller do the rest; nothing else is read because of it.
        if self.is_ended.swap(true, Ordering::Relaxed) {
            return;
        }
        self.pool.close();
        self.observers.close();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let table = self.visits.replace_table(Table::new());
        for entry in table.each() {
            if entry.source.begin_end() {
                entry.source.complete_end();
            }
        }
        self.drop_table(table);
        #[cfg(feature = "broker")]
        if let Some(outlet) = self.outlet() {
            outlet.end_groups();
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("open", &self.is_open())
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}
