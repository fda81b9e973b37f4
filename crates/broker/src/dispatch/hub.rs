//! What all parts of one broker share: the pool, the events, the counters.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fanfeed::{Feed, Overflow, Receiver};
use parking_lot::{Condvar, Mutex};

use crate::dispatch::pool::Pool;
use crate::dispatch::{Counters, PoolOptions, quietly};
use crate::event::{Event, Logger};

/// The pool, the events and the counters of one broker.
pub(crate) struct Hub {
    pub(crate) pool: Pool,
    pub(crate) counters: Counters,
    events: Feed<Event>,
    /// Set by the first `close`, and by dropping the broker.
    closing: AtomicBool,
    /// Deliveries that no handler had begun when their subscription was ended by `close`.
    left_over: AtomicUsize,
    quiet: Mutex<()>,
    changed: Condvar,
}

/// How many events a receiver holds.
const EVENTS: usize = 1024;

/// How long `wait_until` relies on being notified. What it waits for is always notified; looking again costs nothing.
const LOOK: Duration = Duration::from_millis(50);

impl Hub {
    pub(crate) fn new(pool: PoolOptions) -> Arc<Self> {
        let events = Feed::new();
        let observers = events.clone();
        let limit = pool.limit;
        let exhausted = move || {
            observers.send(Event::PoolExhausted { limit });
        };
        Arc::new(Self {
            pool: Pool::new(pool, Box::new(exhausted)),
            counters: Counters::default(),
            events,
            closing: AtomicBool::new(false),
            left_over: AtomicUsize::new(0),
            quiet: Mutex::new(()),
            changed: Condvar::new(),
        })
    }

    pub(crate) fn events(&self) -> Receiver<Event> {
        self.events
            .subscriber()
            .capacity(EVENTS)
            .overflow(Overflow::DropOldest)
            .channel()
            .expect("1,024 is a capacity that a channel can have")
    }

    /// Calls `logger` with every event, for as long as the broker lives. One at which it panics is lost to it.
    pub(crate) fn log(&self, logger: Logger) {
        let quiet = move |event: &Event| {
            quietly(|| logger(event));
        };
        self.events.subscribe_fn(quiet).detach();
    }

    pub(crate) fn emit(&self, event: Event) {
        self.events.send(event);
    }

    /// Reports a number of drops if it is a power of two.
    pub(crate) fn emit_dropped(&self, total: u64, event: impl FnOnce(u64) -> Event) {
        if total.is_power_of_two() {
            self.emit(event(total));
        }
    }

    /// Marks the broker as closed. True for the first call.
    pub(crate) fn begin_closing(&self) -> bool {
        // ORDERING: pairs with the Acquire in `is_closing`.
        !self.closing.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn is_closing(&self) -> bool {
        // ORDERING: pairs with `begin_closing`.
        self.closing.load(Ordering::Acquire)
    }

    /// Counts deliveries that no handler will get.
    pub(crate) fn left_over(&self, count: usize) {
        // ORDERING: a count that `close` reads after it ended the subscriptions, under their locks.
        self.left_over.fetch_add(count, Ordering::Relaxed);
    }

    /// What was counted since the last call.
    pub(crate) fn take_left_over(&self) -> usize {
        self.left_over.swap(0, Ordering::Relaxed)
    }

    /// Ends the pool and the events, once all subscriptions have ended.
    pub(crate) fn end(&self) {
        self.pool.close();
        self.emit(Event::Closed);
        self.events.close();
    }

    /// Called after each piece of work that a `close` may wait for.
    pub(crate) fn finished_something(&self) {
        if self.is_closing() {
            drop(self.quiet.lock());
            self.changed.notify_all();
        }
    }

    /// Waits until the condition holds or the deadline has passed. Returns whether it holds.
    pub(crate) fn wait_until(&self, deadline: Instant, mut done: impl FnMut() -> bool) -> bool {
        loop {
            if done() {
                return true;
            }
            let now = Instant::now();
            if now >= deadline {
                return false;
            }
            let mut quiet = self.quiet.lock();
            let _ = self.changed.wait_for(&mut quiet, LOOK.min(deadline - now));
        }
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}
