//! The hub, which all parts of one broker share: the pool, the events, the counters.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use fanfeed::{Feed, Overflow, Receiver, RecvError};

use crate::dispatch::pool::Pool;
use crate::dispatch::{Counters, Member, PoolOptions, Spent, in_handler, quietly};
use crate::event::{Event, Logger};
use crate::sync::{
    Condvar, Mutex,
    atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering},
    thread::{self, ThreadId},
};

/// The pool, the events and the counters of one broker.
pub(crate) struct Hub {
    pub(crate) pool: Pool,
    pub(crate) counters: Counters,
    /// Handled messages, to be dropped by the thread that receives from a server. `None` without a
    /// server.
    pub(crate) spent: Option<Spent>,
    events: Feed<Event>,
    /// [`OPEN`], [`DRAINING`] from the first `close` on, then [`CLOSED`].
    phase: AtomicU8,
    /// Messages that handlers published while the broker drained.
    drained_into: AtomicU64,
    /// The thread that calls the logger, and whether it has ended.
    logging: OnceLock<Logging>,
    /// Whether the pool and the events have ended.
    ended: AtomicBool,
    /// Deliveries that no handler had begun when their subscription was ended by `close`.
    left_over: AtomicUsize,
    /// Subscriptions that have not ended, or whose handler has not been dropped.
    members: std::sync::atomic::AtomicUsize,
    /// Incremented each time that work ends while the broker closes.
    finished: Mutex<u64>,
    changed: Condvar,
}

struct Logging {
    thread: ThreadId,
    over: crossbeam_channel::Receiver<()>,
}

/// The broker accepts all messages.
const OPEN: u8 = 0;
/// `close` waits for the messages that were accepted. The broker accepts only messages that
/// handlers publish.
const DRAINING: u8 = 1;
/// The broker accepts no message.
const CLOSED: u8 = 2;

/// How many events a receiver holds.
const EVENTS: usize = 1024;
/// The most events that a receiver may hold.
const MOST_EVENTS: usize = 1 << 16;
/// How many events may wait for a slow logger.
const LOGGED: usize = 8192;
/// How long `close` waits for the logger to get all events.
const LOG_OUT: Duration = Duration::from_secs(1);

/// How often `wait_until` checks its condition without a notification, because a condition may
/// depend on more than finished work.
const LOOK: Duration = Duration::from_millis(50);

impl Hub {
    pub(crate) fn new(driver: &'static str, pool: PoolOptions, spent: Option<Spent>) -> Arc<Self> {
        let events = Feed::new();
        let observers = events.clone();
        let limit = pool.limit;
        let exhausted = move || {
            observers.send(Event::PoolExhausted { limit });
        };
        Arc::new(Self {
            pool: Pool::new(pool, Box::new(exhausted)),
            counters: Counters::new(driver),
            spent,
            events,
            phase: AtomicU8::new(OPEN),
            drained_into: AtomicU64::new(0),
            logging: OnceLock::new(),
            ended: AtomicBool::new(false),
            left_over: AtomicUsize::new(0),
            members: Default::default(),
            finished: Mutex::new(0),
            changed: Condvar::new(),
        })
    }

    pub(crate) fn events(&self) -> Receiver<Event> {
        self.events_with(EVENTS)
    }

    /// A capacity outside the limits is replaced by the nearest limit.
    pub(crate) fn events_with(&self, capacity: usize) -> Receiver<Event> {
        let capacity = capacity.clamp(1, MOST_EVENTS);
        self.events
            .subscriber()
            .capacity(capacity)
            .overflow(Overflow::DropOldest)
            .channel()
            .expect("it is a capacity that a channel can have")
    }

    /// Calls `logger` with every event, until the broker ends, on a thread of its own. (The thread
    /// that reports an event may hold a user's lock, so it must not wait.) If the logger panics, it
    /// loses that event. If no thread can be started, there is no logger.
    pub(crate) fn log(&self, logger: Logger) {
        let mut events = self.events_with(LOGGED);
        let (ending, over) = bounded(0);
        let body = move || {
            let _ending = ending;
            loop {
                let event = match events.recv() {
                    Ok(event) => event,
                    Err(RecvError::Lagged(missed)) => Event::EventsMissed { missed },
                    Err(_) => break,
                };
                quietly(|| logger(&event));
            }
        };
        let thread = thread::Builder::new().name("fanfeed-log".into());
        if let Ok(handle) = thread.spawn(body) {
            let thread = handle.thread().id();
            let _ = self.logging.set(Logging { thread, over });
        }
    }

    pub(crate) fn emit(&self, event: Event) {
        self.events.send(event);
    }

    /// Reports the number of drops, of which the last `count` are new, if these have reached a
    /// power of two.
    pub(crate) fn emit_dropped(&self, count: u64, total: u64, event: impl FnOnce(u64) -> Event) {
        if total.checked_ilog2() != (total - count).checked_ilog2() {
            self.emit(event(total));
        }
    }

    /// After this call, only handlers may publish.
    pub(crate) fn begin_draining(&self) {
        // ORDERING: pairs with the Acquire in `is_closing`.
        self.phase.fetch_max(DRAINING, Ordering::AcqRel);
    }

    /// After this call, no thread may publish.
    pub(crate) fn end_draining(&self) {
        // ORDERING: pairs with the Acquire in `is_closing`.
        self.phase.fetch_max(CLOSED, Ordering::AcqRel);
    }

    pub(crate) fn is_closing(&self) -> bool {
        // ORDERING: pairs with `begin_draining`.
        self.phase.load(Ordering::Acquire) != OPEN
    }

    /// Whether a message that this thread publishes is refused. While the broker drains, it takes
    /// messages from handlers: otherwise a handler that turns one message into another could not
    /// finish its work.
    #[inline]
    pub(crate) fn refuses_publish(&self) -> bool {
        // ORDERING: pairs with `begin_draining` and `end_draining`.
        match self.phase.load(Ordering::Acquire) {
            OPEN => false,
            DRAINING if in_handler() => {
                // ORDERING: counted before the message is put anywhere, so that `drain` either
                // finds this thread's handler running, or sees the number changed. It reads both
                // after the locks that the handler's end takes.
                self.drained_into.fetch_add(1, Ordering::AcqRel);
                false
            }
            _ => true,
        }
    }

    /// Waits until the condition has held in a pass during which no handler published. It looks at
    /// one queue after the other, and a handler may have put a message into one that it has passed.
    /// False at the deadline.
    pub(crate) fn drain(&self, deadline: Instant, mut is_idle: impl FnMut() -> bool) -> bool {
        self.wait_until(deadline, || {
            let before = self.drained_into.load(Ordering::Acquire);
            is_idle() && self.drained_into.load(Ordering::Acquire) == before
        })
    }

    /// Counts deliveries that no handler will get.
    pub(crate) fn left_over(&self, count: usize) {
        // ORDERING: a count that `close` reads after it ended the subscriptions, under their locks.
        self.left_over.fetch_add(count, Ordering::Relaxed);
    }

    /// Returns the number since the last call.
    pub(crate) fn take_left_over(&self) -> usize {
        self.left_over.swap(0, Ordering::Relaxed)
    }

    /// Counts a subscription, before another thread can see it.
    pub(crate) fn member_begins(&self) {
        self.members.fetch_add(1, Ordering::Relaxed);
    }

    /// Removes a subscription from the count after it has ended and its handler has been dropped.
    pub(crate) fn member_is_over(&self) {
        // ORDERING: pairs with the Acquire in `wait_members`, so that `close` returns after what
        // the destructors did.
        self.members.fetch_sub(1, Ordering::Release);
        self.finished_something();
    }

    /// Waits until all subscriptions have ended and their handlers have been dropped, or until the
    /// deadline. A call inside a handler, or inside the destructor of a handler, does not wait,
    /// because it could be waiting for itself.
    pub(crate) fn wait_members(&self, deadline: Instant) {
        if !in_handler() && !Member::is_finishing_here() {
            self.wait_until(deadline, || self.members.load(Ordering::Acquire) == 0);
        }
    }

    /// Ends the pool and the events, once all subscriptions have ended.
    pub(crate) fn end(&self) {
        // ORDERING: makes one caller do this, and pairs with the load in `has_ended`.
        if self.ended.swap(true, Ordering::AcqRel) {
            return;
        }
        self.pool.close();
        self.counters.meters.set_connected(false);
        self.emit(Event::Closed);
        self.events.close();
    }

    /// Whether observers get no more events.
    pub(crate) fn has_ended(&self) -> bool {
        // ORDERING: pairs with the swap in `end`.
        self.ended.load(Ordering::Acquire)
    }

    /// Waits for a short time until the logger has got all events, so that a program that exits
    /// after `close` logs the last ones.
    pub(crate) fn log_out(&self, deadline: Instant) {
        if let Some(logging) = self.logging.get()
            && logging.thread != thread::current().id()
            && !in_handler()
        {
            let deadline = deadline.max(Instant::now() + LOG_OUT);
            let _ = logging.over.recv_deadline(deadline);
        }
    }

    /// Called when work has ended that a `close` may wait for.
    pub(crate) fn finished_something(&self) {
        if self.is_closing() {
            *self.finished.lock() += 1;
            self.changed.notify_all();
        }
    }

    /// Waits until the condition holds, or until the deadline. Returns whether it holds.
    pub(crate) fn wait_until(&self, deadline: Instant, mut done: impl FnMut() -> bool) -> bool {
        loop {
            let seen = *self.finished.lock();
            if done() {
                return true;
            }
            let now = Instant::now();
            if now >= deadline {
                return false;
            }
            let mut finished = self.finished.lock();
            // Work that ended after the check may have made the condition true.
            if *finished == seen {
                let _ = self
                    .changed
                    .wait_for(&mut finished, LOOK.min(deadline - now));
            }
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
