//! Events that arrive from other processes.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use fanfeed_broker::{Arrived, Context, HandlerError, Message, Outcome};

use crate::core::{Progress, Shared, call};
use crate::error::{BusError, EventError, Undelivered};
use crate::event::AnyEvent;
use crate::quietly::quietly;
use crate::remote::outlet::Outlet;
use crate::sync::Mutex;

/// The latest events of one name that its asynchronous listeners may not have finished, the oldest
/// first. Weak, because a dispatch keeps the bus alive, and the bus these.
type Unfinished = Mutex<VecDeque<Weak<Progress>>>;

/// Handles the messages of a name for the listeners of the bus. The broker calls it for one message
/// after another.
pub(crate) fn handler(
    shared: Weak<Shared>,
    name: Arc<str>,
) -> impl Fn(&Message, &Context) -> Outcome + Send + Sync + 'static {
    let unfinished = Unfinished::default();
    move |message, _| {
        let Some(shared) = shared.upgrade() else {
            return Ok(());
        };
        if let Some(outlet) = shared.outlet() {
            let arrived = outlet.arrive(&shared, &name, message);
            if let Some(progress) = arrived {
                outlet.make_room(&unfinished, &progress);
            }
        }
        Ok(())
    }
}

/// What a message is to a bus.
pub(crate) enum Arrival {
    /// An event, and its mark in the window of events that were seen, if it is deduplicated.
    Event(Arc<dyn AnyEvent>, Option<[u64; 2]>),
    /// This bus ignores it: it has dispatched the event itself, or has seen it before.
    Known,
}

impl Outlet {
    /// Gives a message to the listeners of its name. The result is its dispatch, if that is not
    /// done.
    fn arrive(
        &self,
        shared: &Arc<Shared>,
        name: &Arc<str>,
        message: &Message,
    ) -> Option<Arc<Progress>> {
        match self.read(name, None, message) {
            Ok(Arrival::Event(event, mark)) => {
                if let Some(mark) = mark
                    && !self.seen.lock().insert(mark)
                {
                    return None;
                }
                let visit = shared.visits.enter(|| shared.epoch(), 0);
                // A bus that is being closed takes nothing more from other processes. That is no
                // error.
                let progress = call::admit(shared, &visit);
                if let Some(progress) = &progress {
                    let route = visit.table().route_of_name(name);
                    call::deliver(shared, &visit, route, &event, progress);
                    progress.finish_one();
                }
                visit.end(|| shared.left());
                quietly(|| drop(event));
                progress.filter(|progress| !progress.is_done())
            }
            Ok(Arrival::Known) => None,
            Err(reason) => {
                self.undelivered(shared, name, message, reason);
                None
            }
        }
    }

    /// Notes a dispatch that is under way. If there are too many, waits for the oldest of them:
    /// meanwhile the broker keeps the messages that arrive, or drops and reports them, as it does
    /// for a slow synchronous listener.
    fn make_room(&self, unfinished: &Unfinished, progress: &Arc<Progress>) {
        let oldest = {
            let mut unfinished = unfinished.lock();
            unfinished.push_back(Arc::downgrade(progress));
            if unfinished.len() >= self.buffer {
                unfinished.retain(|each| each.upgrade().is_some_and(|each| !each.is_done()));
            }
            match unfinished.len() >= self.buffer {
                true => unfinished.pop_front().and_then(|oldest| oldest.upgrade()),
                false => None,
            }
        };
        if let Some(oldest) = oldest {
            oldest.wait_until(None);
        }
    }

    /// Reads a message for the listeners of a group, or for all others.
    pub(crate) fn read(
        &self,
        name: &Arc<str>,
        group: Option<&str>,
        message: &Message,
    ) -> Result<Arrival, Undelivered> {
        let bytes = message.payload();
        let limit = self.max_event;
        // Before it is parsed.
        if bytes.len() > limit.saturating_add(self.codec.overhead()) {
            return Err(Undelivered::TooLarge { limit });
        }
        let incoming = self.codec.read(bytes)?;
        if self.codec.size(bytes.len(), incoming.payload.len()) > limit {
            return Err(Undelivered::TooLarge { limit });
        }
        if let Some(bus) = &incoming.bus
            && **bus != *self.bus
        {
            return Err(Undelivered::OtherBus {
                found: short(bus),
                expected: Arc::clone(&self.bus),
            });
        }
        if incoming.name != **name {
            return Err(Undelivered::OtherName {
                found: short(&incoming.name),
            });
        }
        if group.is_none() && incoming.origin == *self.origin {
            return Ok(Arrival::Known);
        }
        let mark = (!incoming.origin.is_empty()).then(|| {
            let seen = self.seen.lock();
            let mark = seen.mark(group, &incoming.origin, &incoming.id);
            (mark, seen.has(&mark))
        });
        if let Some((_, true)) = mark {
            return Ok(Arrival::Known);
        }
        let registered = self.registry.of_name(name);
        let registered = registered.ok_or(Undelivered::NotRegistered)?;
        let event = registered.decode(&incoming.payload)?;
        Ok(Arrival::Event(event, mark.map(|(mark, _)| mark)))
    }

    pub(crate) fn undelivered(
        &self,
        shared: &Shared,
        name: &str,
        message: &Message,
        reason: Undelivered,
    ) {
        let error = BusError::Undelivered {
            reason,
            arrived: Arrived::new(message.payload()),
        };
        shared.report(&EventError::new(name, None, error));
    }

    /// Handles a message for one member of a group. An error makes the broker deliver it again.
    pub(crate) fn arrive_at(
        &self,
        shared: &Arc<Shared>,
        name: &Arc<str>,
        group: &str,
        entry: &Arc<crate::core::Entry>,
        message: &Message,
    ) -> Outcome {
        let (event, mark) = match self.read(name, Some(group), message) {
            Ok(Arrival::Event(event, mark)) => (event, mark),
            Ok(Arrival::Known) => return Ok(()),
            Err(reason) => {
                self.undelivered(shared, name, message, reason);
                return Err(HandlerError::Reject);
            }
        };
        // A listener that has ended, or whose bus is closing, is not called. That is no attempt:
        // another member gets the event.
        let source = &entry.source;
        if source.is_ended() {
            return Err(HandlerError::HandBack);
        }
        let Some(progress) = call::one(shared, entry, &event) else {
            return Err(HandlerError::HandBack);
        };
        progress.wait_until(None);
        quietly(|| drop(event));
        if let Some(error) = progress.errors().into_iter().next() {
            // At the deadline of `close_timeout` the calls end before the listeners.
            let is_ended = source.is_ended() || shared.is_closed();
            return Err(
                match is_ended && matches!(error.error(), BusError::Cancelled) {
                    true => HandlerError::HandBack,
                    false => HandlerError::failed(error),
                },
            );
        }
        // The listener ended before its turn.
        if !progress.was_called() {
            return Err(HandlerError::HandBack);
        }
        if let Some(mark) = mark {
            self.seen.lock().insert(mark);
        }
        Ok(())
    }
}

/// Text from elsewhere, bounded.
fn short(text: &str) -> Arc<str> {
    text.chars().take(64).collect::<String>().into()
}
