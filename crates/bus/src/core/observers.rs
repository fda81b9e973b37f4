//! The receivers of a bus's events, and its logger.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use fanfeed::{Feed, Overflow, Receiver, RecvError};

use crate::core::visits::is_inside;
use crate::observer::{BusEvent, Logger};
use crate::quietly::quietly;
use crate::sync::thread::{self, ThreadId};

/// How many events a receiver holds.
const EVENTS: usize = 1024;
/// How many events wait for a logger that is slow.
const LOGGED: usize = 8192;
/// How long `close` waits until the logger has been called with all events.
const LOG_OUT: Duration = Duration::from_secs(1);

pub(crate) struct Observers {
    events: Feed<BusEvent>,
    /// The thread that calls the logger, and whether it has ended.
    logging: OnceLock<(ThreadId, crossbeam_channel::Receiver<()>)>,
}

impl Observers {
    pub(crate) fn new() -> Self {
        Self {
            events: Feed::new(),
            logging: OnceLock::new(),
        }
    }

    /// What reports that the pool has reached its limit.
    pub(crate) fn exhausted(&self, limit: usize) -> Box<dyn Fn() + Send + Sync> {
        let events = self.events.downgrade();
        Box::new(move || {
            if let Some(events) = events.upgrade() {
                events.send(BusEvent::PoolExhausted { limit });
            }
        })
    }

    pub(crate) fn receiver(&self) -> Receiver<BusEvent> {
        self.receiver_of(EVENTS)
    }

    fn receiver_of(&self, capacity: usize) -> Receiver<BusEvent> {
        self.events
            .subscriber()
            .capacity(capacity)
            .overflow(Overflow::DropOldest)
            .channel()
            .expect("it is a capacity that a channel can have")
    }

    pub(crate) fn emit(&self, event: BusEvent) {
        self.events.send(event);
    }

    /// Calls `logger` with every event on a thread of its own: the thread that reports an event may
    /// hold a user's lock, and must not wait. If the logger panics, it loses that event. If no
    /// thread can be started, there is no logger.
    pub(crate) fn log(&self, logger: Logger) {
        let mut events = self.receiver_of(LOGGED);
        let (ending, over) = bounded::<()>(0);
        let body = move || {
            let _ending = ending;
            loop {
                let event = match events.recv() {
                    Ok(event) => event,
                    Err(RecvError::Lagged(missed)) => BusEvent::EventsMissed { missed },
                    Err(_) => break,
                };
                quietly(|| logger(&event));
            }
        };
        let thread = thread::Builder::new().name("fanfeed-bus-log".into());
        if let Ok(handle) = thread.spawn(body) {
            let _ = self.logging.set((handle.thread().id(), over));
        }
    }

    pub(crate) fn close(&self) {
        self.emit(BusEvent::Closed);
        self.events.close();
    }

    /// Waits for a short time until the logger has been called with all events, so that a program
    /// that ends after `close` has its last lines.
    pub(crate) fn log_out(&self, deadline: Option<Instant>) {
        if let Some((thread, over)) = self.logging.get()
            && *thread != thread::current().id()
            && !is_inside()
        {
            let least = Instant::now() + LOG_OUT;
            let _ = over.recv_deadline(deadline.map_or(least, |deadline| deadline.max(least)));
        }
    }
}
