//! A dispatch that also goes to other processes.

use std::any::TypeId;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use fanfeed_broker::{Message, MessageId, PublishError};

use crate::core::{Progress, Shared, call};
use crate::dispatch::Dispatch;
use crate::error::{BusError, EventError};
use crate::event::{self, AnyEvent, Event};
use crate::quietly::{catch, quietly};
use crate::remote::codec::Outgoing;
use crate::remote::outlet::{Outlet, panicked};
use crate::remote::registry::Registered;

/// How many published events are remembered, for failures that are reported later: twice the queue
/// of a broker by default.
pub(crate) const RECENT: usize = 16_384;

/// The latest events that were published, and their dispatches.
#[derive(Default)]
pub(crate) struct Recent {
    events: HashMap<MessageId, (Arc<str>, Weak<Progress>)>,
    order: VecDeque<MessageId>,
}

impl Recent {
    fn insert(&mut self, id: &MessageId, name: Arc<str>, progress: Weak<Progress>) {
        self.events.insert(id.clone(), (name, progress));
        self.order.push_back(id.clone());
        if self.order.len() > RECENT
            && let Some(oldest) = self.order.pop_front()
        {
            self.events.remove(&oldest);
        }
    }

    /// The event, if this bus published it.
    pub(crate) fn take(&mut self, id: &MessageId) -> Option<(Arc<str>, Weak<Progress>)> {
        self.events.remove(id)
    }
}

/// Dispatches a typed event: publishes it, and calls the local listeners.
///
/// It is published first, so that what a listener dispatches in turn is published after it. If the
/// broker has no room, the listeners do not wait: the event is published after them, and what they
/// dispatched may overtake it.
#[cold]
pub(crate) fn dispatch<E: Event>(shared: &Arc<Shared>, outlet: &Arc<Outlet>, event: E) -> Dispatch {
    let registered = outlet.registry.of_type(TypeId::of::<E>());
    let name = match &registered {
        Some(registered) => Arc::clone(&registered.name),
        None => E::NAME.into(),
    };
    let event: Arc<dyn AnyEvent> = Arc::new(event::Shared {
        name: Arc::clone(&name),
        event: Arc::new(event),
    });
    let visit = shared.visits.enter(|| shared.epoch(), 0);
    let route = visit.table().route_of_name(&name);
    let fail = |progress: &Progress, error| {
        let error = EventError::new(&name, None, error);
        shared.report(&error);
        progress.fail(error);
    };
    let before = |progress: &Arc<Progress>| {
        let message = outlet
            .message(registered.as_ref(), &*event)
            .and_then(|message| {
                let remembered = Arc::downgrade(progress);
                let mut recent = outlet.recent.lock();
                recent.insert(message.id(), Arc::clone(&name), remembered);
                drop(recent);
                outlet.try_publish(message)
            });
        message.unwrap_or_else(|error| {
            fail(progress, error);
            None
        })
    };
    let after = |progress: &Arc<Progress>, message: Option<Message>| {
        if let Some(message) = message {
            let publish = || outlet.broker.publish_timeout(message, outlet.patience);
            if let Err(error) = published(publish) {
                fail(progress, error);
            }
        }
    };
    let dispatch = call::between(shared, &visit, route, &event, before, after);
    visit.end(|| shared.left());
    quietly(|| drop(event));
    dispatch
}

impl Outlet {
    pub(crate) fn message(
        &self,
        registered: Option<&Registered>,
        event: &dyn AnyEvent,
    ) -> Result<Message, BusError> {
        let Some(registered) = registered else {
            return Err(BusError::NotRegistered {
                type_name: event.type_name(),
            });
        };
        let payload = registered.encode(event.as_any())?;
        let (id, time) = (MessageId::unique(), SystemTime::now());
        let outgoing = Outgoing {
            id: &id.to_string(),
            name: event.name(),
            origin: &self.origin,
            bus: &self.bus,
            time,
            payload: &payload,
        };
        let bytes = self.codec.write(&outgoing).map_err(BusError::Encode)?;
        let size = self.codec.size(bytes.len(), payload.get().len());
        if size > self.max_event {
            return Err(BusError::TooLarge {
                size,
                limit: self.max_event,
            });
        }
        let message = Message::new(self.key(event.name()), bytes);
        Ok(message
            .with_id(id.clone())
            .with_timestamp(time)
            .name(event.name()))
    }

    /// Publishes a message, or gives it back if there is no room.
    fn try_publish(&self, message: Message) -> Result<Option<Message>, BusError> {
        let mut full = None;
        published(|| match self.broker.try_publish(message) {
            Err(PublishError::Full(message)) => {
                full = Some(message);
                Ok(())
            }
            result => result,
        })?;
        Ok(full)
    }
}

/// Calls the broker. If it panics, as a broker that the user wrote may, the dispatch is done all
/// the same.
pub(crate) fn published(
    publish: impl FnOnce() -> Result<(), PublishError>,
) -> Result<(), BusError> {
    match catch(publish) {
        Ok(result) => result.map_err(not_published),
        Err(text) => Err(BusError::NotPublished(panicked(&text).into())),
    }
}

fn not_published(error: PublishError) -> BusError {
    match error {
        PublishError::TooLarge { size, limit } => BusError::TooLarge { size, limit },
        error => BusError::NotPublished(error.to_string().into()),
    }
}
