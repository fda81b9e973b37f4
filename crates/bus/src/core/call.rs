//! One dispatch, and one call of a listener.

use std::any::TypeId;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use crate::core::job::Job;
use crate::core::overrun::Timer;
use crate::core::pool::Work;
use crate::core::slot::BETWEEN;
use crate::core::source::{Entry, Run, Source};
use crate::core::table::{Route, TypeHasher};
use crate::core::visits::Visit;
use crate::core::{Progress, Shared};
use crate::dispatch::Dispatch;
use crate::error::{BusError, EventError};
use crate::event::{self, AnyEvent, DynEvent, Event, OnStack};
use crate::listener::Context;
use crate::observe::{self, Trace, Watch};
use crate::quietly::{catch, quietly};
use crate::sync::mutant;

/// Dispatches a typed event.
#[inline]
pub(crate) fn dispatch<E: Event>(shared: &Arc<Shared>, event: E) -> Dispatch {
    let _span = observe::dispatching(E::NAME);
    shared.meters.dispatched();
    if E::NAME.is_empty() {
        quietly(|| drop(event));
        return refused(shared, E::NAME, BusError::BadName);
    }
    #[cfg(feature = "broker")]
    if let Some(outlet) = shared.outlet() {
        return crate::remote::dispatch(shared, outlet, event);
    }
    let of = TypeId::of::<E>();
    let kind = kind(&of);
    let visit = shared.visits.enter(|| shared.epoch(), kind);
    let route = visit.table().route(of, E::NAME);
    if route.is_asynchronous {
        let name = match route.name.is_empty() {
            true => E::NAME.into(),
            false => Arc::clone(&route.name),
        };
        let event = Arc::new(event);
        let event: Arc<dyn AnyEvent> = Arc::new(event::Shared { name, event });
        let dispatch = later(shared, &visit, route, &event);
        visit.end(|| shared.left());
        quietly(|| drop(event));
        return dispatch;
    }
    let event = OnStack(event);
    let dispatch = here(shared, &visit, route, &event, kind);
    visit.end(|| shared.left());
    if std::mem::needs_drop::<E>() {
        quietly(|| drop(event));
    }
    dispatch
}

/// Tells types apart, mostly.
#[inline]
fn kind(of: &TypeId) -> u64 {
    let mut hasher = TypeHasher::default();
    of.hash(&mut hasher);
    hasher.finish()
}

/// Calls listeners that are all synchronous.
#[inline]
fn here(
    shared: &Arc<Shared>,
    visit: &Visit<'_>,
    route: &Route,
    event: &DynEvent,
    kind: u64,
) -> Dispatch {
    let first = route.listeners.first();
    let first = first.map_or(BETWEEN, |first| first.source.word());
    if visit.begin(first, kind) {
        shared.bell.ring();
    }
    if shared.refuses(visit) {
        return refused(shared, event.name(), BusError::Closed);
    }
    let mut errors = Vec::new();
    for (at, entry) in route.listeners.iter().enumerate() {
        if at > 0 {
            visit.set(entry.source.word());
            shared.bell.ring();
        }
        call(shared, entry, event, &mut Sink::List(&mut errors));
    }
    Dispatch::finished(errors)
}

/// Calls the synchronous listeners, and sends the others on their way, in order.
pub(crate) fn later(
    shared: &Arc<Shared>,
    visit: &Visit<'_>,
    route: &Route,
    event: &Arc<dyn AnyEvent>,
) -> Dispatch {
    between(shared, visit, route, event, |_| (), |_, ()| ())
}

/// The same between two steps, which run unless the dispatch is refused.
pub(crate) fn between<T>(
    shared: &Arc<Shared>,
    visit: &Visit<'_>,
    route: &Route,
    event: &Arc<dyn AnyEvent>,
    before: impl FnOnce(&Arc<Progress>) -> T,
    after: impl FnOnce(&Arc<Progress>, T),
) -> Dispatch {
    let Some(progress) = admit(shared, visit) else {
        return refused(shared, event.name(), BusError::Closed);
    };
    let begun = before(&progress);
    deliver(shared, visit, route, event, &progress);
    after(&progress, begun);
    progress.finish_one();
    Dispatch::under_way(progress)
}

/// Begins a dispatch, which counts the caller. `None` if the bus refuses it.
pub(crate) fn admit(shared: &Arc<Shared>, visit: &Visit<'_>) -> Option<Arc<Progress>> {
    visit.set(BETWEEN);
    shared.bell.ring();
    let is_refused = shared.refuses(visit);
    (!is_refused).then(|| Progress::begin(shared, visit.epoch()))
}

/// Gives the event of a dispatch that has begun to its listeners.
pub(crate) fn deliver(
    shared: &Arc<Shared>,
    visit: &Visit<'_>,
    route: &Route,
    event: &Arc<dyn AnyEvent>,
    progress: &Arc<Progress>,
) {
    for entry in &route.listeners {
        send(shared, visit, entry, event, progress);
    }
}

/// Gives an event to one listener, which is not in the table. `None` if the bus takes no events.
#[cfg(feature = "broker")]
pub(crate) fn one(
    shared: &Arc<Shared>,
    entry: &Arc<Entry>,
    event: &Arc<dyn AnyEvent>,
) -> Option<Arc<Progress>> {
    let visit = shared.visits.enter(|| shared.epoch(), 0);
    let progress = admit(shared, &visit);
    if let Some(progress) = &progress {
        send(shared, &visit, entry, event, progress);
        progress.finish_one();
    }
    visit.end(|| shared.left());
    progress
}

fn send(
    shared: &Arc<Shared>,
    visit: &Visit<'_>,
    entry: &Arc<Entry>,
    event: &Arc<dyn AnyEvent>,
    progress: &Arc<Progress>,
) {
    match &entry.run {
        Run::Here => {
            visit.set(entry.source.word());
            call(shared, entry, &**event, &mut Sink::Progress(progress));
            visit.set(BETWEEN);
            shared.bell.ring();
        }
        Run::Pool => {
            progress.add_one();
            shared.pool.submit(Work::Call(Job {
                entry: Arc::clone(entry),
                event: Arc::clone(event),
                progress: Arc::clone(progress),
                trace: Trace::current(),
            }));
        }
        #[cfg(feature = "tokio")]
        Run::Task { make, runtime } => {
            visit.set(entry.source.word());
            if let Some(runtime) = runtime {
                if may_call(entry, &**event) {
                    #[cfg(feature = "broker")]
                    progress.set_called();
                    progress.add_one();
                    crate::asynchronous::start(entry, &**make, runtime, event, progress);
                } else if let Some(error) = given_up(shared, entry, &**event) {
                    progress.fail(error);
                }
            }
            visit.set(BETWEEN);
            shared.bell.ring();
        }
    }
}

#[cold]
pub(crate) fn refused(shared: &Shared, event: &str, error: BusError) -> Dispatch {
    let error = EventError::new(event, None, error);
    shared.report(&error);
    Dispatch::finished(vec![error])
}

/// Whether the listener gets this event. The caller's visit has its word.
#[inline]
fn may_call(entry: &Entry, event: &DynEvent) -> bool {
    let source = &entry.source;
    if source.is_ended() && !mutant!("bus::calls_without_a_look") {
        return false;
    }
    !entry.is_only(event) || source.claim()
}

/// Where the errors of a call go, besides the bus.
pub(crate) enum Sink<'a> {
    List(&'a mut Vec<EventError>),
    Progress(&'a Arc<Progress>),
}

impl Sink<'_> {
    #[cold]
    fn push(&mut self, error: EventError) {
        match self {
            Self::List(errors) => errors.push(error),
            Self::Progress(progress) => progress.fail(error),
        }
    }
}

/// Calls a listener on this thread, whose visit has the listener's word.
#[inline]
pub(crate) fn call(shared: &Arc<Shared>, entry: &Entry, event: &DynEvent, sink: &mut Sink<'_>) {
    let source = &*entry.source;
    if !may_call(entry, event) {
        if let Some(error) = given_up(shared, entry, event) {
            sink.push(error);
        }
        return;
    }
    #[cfg(feature = "broker")]
    if let Sink::Progress(progress) = sink {
        progress.set_called();
    }
    let mut context = Context::new(shared, source);
    let timer = source
        .timeout
        .map(|timeout| begin_timeout(shared, &context, source, timeout, event, sink));
    let called = {
        let call = || entry.target().call(event, &context);
        let watch = Watch::start();
        let called = catch(|| observe::handling(event, source.label(), call));
        shared.meters.handled(watch);
        called
    };
    if let Some(timer) = timer
        && let Some(error) = timer.end(shared)
        // On a dispatch under way it stands already.
        && let Sink::List(errors) = sink
    {
        errors.push(error);
    }
    context.end();
    match called {
        Ok(Ok(())) => {}
        Ok(Err(error)) => sink.push(failed(shared, entry, event, error)),
        Err(text) => sink.push(failed(shared, entry, event, BusError::Panicked(text))),
    }
    if entry.is_only(event) {
        shared.unregister(source);
    }
}

#[cold]
fn begin_timeout(
    shared: &Arc<Shared>,
    context: &Context<'_>,
    source: &Source,
    timeout: Duration,
    event: &DynEvent,
    sink: &Sink<'_>,
) -> Timer {
    let progress = match sink {
        Sink::List(_) => None,
        Sink::Progress(progress) => Some(*progress),
    };
    let token = context.token();
    Timer::set(shared, source, timeout, token, event.name(), progress, None)
}

/// The error of a listener that is not called. It is one only if the listener ended at the deadline
/// of `close_timeout`.
#[cold]
fn given_up(shared: &Shared, entry: &Entry, event: &DynEvent) -> Option<EventError> {
    let is_error = shared.is_closed() && !entry.source.is_claimed();
    is_error.then(|| failed(shared, entry, event, BusError::Cancelled))
}

#[cold]
pub(crate) fn failed(
    shared: &Shared,
    entry: &Entry,
    event: &DynEvent,
    error: BusError,
) -> EventError {
    let label = Some(Arc::clone(entry.source.label()));
    let error = EventError::new(event.name(), label, error);
    shared.report(&error);
    error
}
