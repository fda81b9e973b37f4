//! Tells the bus what happens in its broker.

use std::sync::{Arc, Weak};
use std::thread;

use fanfeed::{RecvError, Subscription};
use fanfeed_broker::{Event, Key};

use crate::core::Shared;
use crate::error::{Arrived, BusError, EventError, Undelivered};
use crate::observer::BusEvent;
use crate::remote::outlet::Outlet;

/// Starts the thread that reads the events of the broker. It ends with the subscription. `None` if there are no threads left:
/// then nothing is told.
pub(crate) fn start(outlet: &Arc<Outlet>) -> Option<Subscription> {
    let (mut events, subscription) = outlet.broker.events().split();
    let shared = Weak::clone(&outlet.shared);
    let watch = move || {
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
    thread.spawn(watch).ok().map(|_| subscription)
}

impl Outlet {
    fn tell(&self, shared: &Shared, event: Event) {
        match event {
            Event::PublishFailed { id, error, .. } => {
                let Some((name, progress)) = self.recent.lock().take(&id) else {
                    return;
                };
                let error = EventError::new(&name, None, BusError::NotPublished(error));
                shared.report(&error);
                if let Some(progress) = progress.upgrade() {
                    progress.fail(error);
                }
            }
            Event::Undecodable { key, error } => {
                if let Some(name) = self.own(&key) {
                    let error = BusError::Undelivered {
                        reason: Undelivered::Unreadable(error),
                        arrived: Arrived::new(b""),
                    };
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

    /// The name of the event, if this bus listens to it.
    fn own<'a>(&self, key: &'a Key) -> Option<&'a str> {
        let name = key.as_str().strip_prefix(&*self.prefix)?;
        self.listens_to(name).then_some(name)
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
