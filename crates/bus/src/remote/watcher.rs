//! Tells the bus what happens in its broker.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use fanfeed::{RecvError, Subscription};
use fanfeed_broker::{Event, Key};

use crate::core::Shared;
use crate::error::{BusError, EventError, Undelivered};
use crate::observer::BusEvent;
use crate::remote::outlet::Outlet;
use crate::remote::publish::RECENT;
use crate::sync::thread::{self, ThreadId};

/// How long the end of a bus waits at most for what the broker has reported already.
const REST: Duration = Duration::from_secs(1);

/// The thread that reads the events of the broker.
pub(crate) struct Watcher {
    /// Ends the thread, which first reads what was reported before.
    subscription: Subscription,
    thread: ThreadId,
    /// Disconnected when the thread ends.
    over: Receiver<()>,
}

impl Watcher {
    /// Waits until the bus knows what the broker has reported, and ends the thread.
    pub(crate) fn finish(&self) {
        self.subscription.unsubscribe();
        if thread::current().id() != self.thread {
            let _ = self.over.recv_deadline(Instant::now() + REST);
        }
    }
}

/// Starts the thread that reads the events of the broker. `None` if there are no threads left.
pub(crate) fn start(outlet: &Arc<Outlet>) -> Option<Watcher> {
    // A broker that gives its queue up reports all failures at once.
    let (mut events, subscription) = outlet.broker.events_with(RECENT).split();
    let shared = Weak::clone(&outlet.shared);
    let (ended, over) = bounded(0);
    let watch = move || {
        let _ended: Sender<()> = ended;
        loop {
            let event = match events.recv() {
                Ok(event) => event,
                Err(RecvError::Lagged(missed)) => Event::EventsMissed { missed },
                Err(_) => return,
            };
            let Some(shared) = shared.upgrade() else {
                return;
            };
            if let Some(outlet) = shared.outlet() {
                outlet.tell(&shared, event);
            }
        }
    };
    let thread = thread::Builder::new().name("fanfeed-bus-broker".into());
    let handle = thread.spawn(watch).ok()?;
    Some(Watcher {
        subscription,
        thread: handle.thread().id(),
        over,
    })
}

impl Outlet {
    fn tell(&self, shared: &Shared, event: Event) {
        match event {
            Event::PublishFailed { id, key, error } => {
                let known = self.recent.lock().take(&id);
                let Some((name, progress)) = known else {
                    // Forgotten, or of another publisher of the broker.
                    if key.as_str().starts_with(&*self.prefix) {
                        let event = Event::PublishFailed { id, key, error };
                        shared.observers.emit(BusEvent::Broker(event));
                    }
                    return;
                };
                let error = EventError::new(&name, None, BusError::NotPublished(error));
                shared.report(&error);
                if let Some(progress) = progress.upgrade() {
                    progress.fail(error);
                }
            }
            Event::Undecodable {
                key,
                error,
                arrived,
            } => {
                if let Some(name) = self.own(&key) {
                    let error = BusError::Undelivered {
                        reason: Undelivered::Unreadable(error),
                        arrived,
                    };
                    shared.report(&EventError::new(name, None, error));
                }
            }
            Event::SubscriptionFailed { key, group, error } => {
                if let Some(name) = self.own(&key) {
                    let reason = match group {
                        Some(group) => format!("group {group}: {error}").into(),
                        None => error,
                    };
                    let error = BusError::NotSubscribed(reason);
                    shared.report(&EventError::new(name, None, error));
                }
            }
            event => {
                if key_of(&event).is_none_or(|key| self.own(key).is_some()) {
                    shared.observers.emit(BusEvent::Broker(event));
                }
            }
        }
    }

    /// The name of the event, if this bus listens to it, or may have listened to it until it was
    /// closed.
    fn own<'a>(&self, key: &'a Key) -> Option<&'a str> {
        let name = key.as_str().strip_prefix(&*self.prefix)?;
        (self.is_closed() || self.listens_to(name)).then_some(name)
    }
}

fn key_of(event: &Event) -> Option<&Key> {
    match event {
        Event::Dropped { key, .. }
        | Event::Gap { key, .. }
        | Event::HandlerFailed { key, .. }
        | Event::HandlerOverran { key, .. }
        | Event::GaveUp { key, .. } => Some(key),
        _ => None,
    }
}
