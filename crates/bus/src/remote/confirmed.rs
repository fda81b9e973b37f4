//! A dispatch whose caller has to know that the server has the event.

use std::any::TypeId;
use std::sync::Arc;
use std::time::Duration;

use fanfeed_broker::Message;

use crate::core::{Progress, Shared, blocking, call};
use crate::dispatch::Dispatch;
use crate::error::{BusError, EventError};
use crate::event::{self, AnyEvent, Event};
use crate::observe;
use crate::quietly::quietly;
use crate::remote::outlet::Outlet;
use crate::remote::publish::published;
#[cfg(feature = "tokio")]
use crate::sync::Mutex;

/// A dispatch that has begun, and waits for the server before it calls listeners. If it is dropped,
/// it calls none.
///
/// It is counted in `progress`, so `close` waits for it, and lets it call its listeners.
struct Waiting {
    shared: Arc<Shared>,
    progress: Arc<Progress>,
    event: Option<Arc<dyn AnyEvent>>,
}

impl Waiting {
    fn begin<E: Event>(
        shared: &Arc<Shared>,
        outlet: &Outlet,
        event: E,
    ) -> Result<(Self, Message), BusError> {
        shared.meters.dispatched();
        if E::NAME.is_empty() {
            quietly(|| drop(event));
            shared.report(&EventError::new(E::NAME, None, BusError::BadName));
            return Err(BusError::BadName);
        }
        let registered = outlet.registry.of_type(TypeId::of::<E>());
        let name = registered
            .as_ref()
            .map_or_else(|| E::NAME.into(), |of| Arc::clone(&of.name));
        let event: Arc<dyn AnyEvent> = Arc::new(event::Shared {
            name,
            event: Arc::new(event),
        });
        let visit = shared.visits.enter(|| shared.epoch(), 0);
        let progress = call::admit(shared, &visit);
        visit.end(|| shared.left());
        let Some(progress) = progress else {
            let error = EventError::new(event.name(), None, BusError::Closed);
            shared.report(&error);
            quietly(|| drop(event));
            return Err(BusError::Closed);
        };
        let waiting = Self {
            shared: Arc::clone(shared),
            progress,
            event: Some(Arc::clone(&event)),
        };
        match outlet.message(registered.as_ref(), &*event) {
            Ok(message) => Ok((waiting, message)),
            Err(error) => Err(waiting.fail(error)),
        }
    }

    fn fail(&self, error: BusError) -> BusError {
        let name = self.event.as_ref().map_or("", |event| event.name());
        self.shared
            .report(&EventError::new(name, None, error.clone()));
        error
    }

    /// Calls the local listeners, if the server has the event.
    fn conclude(mut self, published: Result<(), BusError>) -> Result<Dispatch, BusError> {
        if let Err(error) = published {
            return Err(self.fail(error));
        }
        if let Some(event) = self.event.take() {
            let (shared, progress) = (&self.shared, &self.progress);
            let _span = observe::dispatching(event.name());
            let visit = shared.visits.enter_at(progress.epoch);
            if shared.is_closed() {
                // At the deadline of `close_timeout` the listeners ended.
                let error = EventError::new(event.name(), None, BusError::Cancelled);
                shared.report(&error);
                progress.fail(error);
            } else {
                let route = visit.table().route_of_name(event.name());
                call::deliver(shared, &visit, route, &event, progress);
            }
            visit.end(|| shared.left());
            quietly(|| drop(event));
        }
        Ok(Dispatch::under_way(Arc::clone(&self.progress)))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let event = self.event.take();
        quietly(|| drop(event));
        self.progress.finish_one();
    }
}

/// Publishes a message and waits until the server has it.
fn confirm(outlet: &Outlet, message: Message, timeout: Duration) -> Result<(), BusError> {
    published(|| outlet.broker.publish_confirmed(message, timeout).map(drop))
}

pub(crate) fn dispatch<E: Event>(
    shared: &Arc<Shared>,
    event: E,
    timeout: Duration,
) -> Result<Dispatch, BusError> {
    let Some(outlet) = shared.outlet() else {
        quietly(|| drop(event));
        return Err(BusError::NoBroker);
    };
    let (waiting, published) = {
        let _span = observe::dispatching(E::NAME);
        let (waiting, message) = Waiting::begin(shared, outlet, event)?;
        let published = blocking(|| confirm(outlet, message, timeout));
        (waiting, published)
    };
    waiting.conclude(published)
}

#[cfg(feature = "tokio")]
pub(crate) async fn dispatch_async<E: Event>(
    shared: Arc<Shared>,
    event: E,
    timeout: Duration,
) -> Result<Dispatch, BusError> {
    let Some(outlet) = shared.outlet() else {
        quietly(|| drop(event));
        return Err(BusError::NoBroker);
    };
    let (waiting, message) = Waiting::begin(&shared, outlet, event)?;
    let (outlet, trace) = (Arc::clone(outlet), observe::Trace::current());
    let waiting = Arc::new(Mutex::new(Some(waiting)));
    let _until_dropped = UntilDropped(Arc::clone(&waiting));
    // This thread calls the listeners, so that nothing waits for a future that is not polled.
    let confirm = move || {
        trace.inside(|| {
            let published = confirm(&outlet, message, timeout);
            let waiting = waiting.lock().take();
            waiting.map(|waiting| waiting.conclude(published))
        })
    };
    let concluded = crate::twins::aside("fanfeed-bus-publish", confirm).await;
    concluded.unwrap_or(Err(BusError::Cancelled))
}

/// Gives a dispatch up when it is dropped, unless it calls its listeners already.
#[cfg(feature = "tokio")]
struct UntilDropped(Arc<Mutex<Option<Waiting>>>);

#[cfg(feature = "tokio")]
impl Drop for UntilDropped {
    fn drop(&mut self) {
        let waiting = self.0.lock().take();
        drop(waiting);
    }
}
