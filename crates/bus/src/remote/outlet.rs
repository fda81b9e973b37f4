//! The way of a bus to other processes.

use std::any::TypeId;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use fanfeed_broker::{Broker, BrokerSubscription, CloseError, FlushError, MessageId};
use fanfeed_broker::{Subscribe, SubscribeError, SubscribeOptions};

use crate::core::{Place, Shared, Source, Table};
use crate::error::{BusError, EventError};
use crate::observer::BusEvent;
use crate::quietly::catch;
use crate::remote::arrivals;
use crate::remote::codec::Codec;
use crate::remote::groups::Group;
use crate::remote::options::RemoteOptions;
use crate::remote::publish::Recent;
use crate::remote::registry::EventRegistry;
use crate::remote::seen::Seen;
use crate::remote::watcher::{self, Watcher};
use crate::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
    mutant,
};

/// How long `close` waits for the broker, unless it has a deadline.
const FLUSH: Duration = Duration::from_secs(5);
/// How long it waits at least: the listeners may have used up the time, and a server that is well
/// takes what is queued at once.
const LAST: Duration = Duration::from_millis(250);

/// The subscription of one name. Its lock is held while the broker subscribes. No thread waits for
/// a handler under it: the handler may need the lock.
type Opened = Arc<Mutex<Option<BrokerSubscription>>>;

/// # Invariants
///
/// 1. A name is subscribed to if it is wanted: it has listeners, or a type and a listener for all
///    events. (Unless the server has refused it: that is reported, and the next listener of the
///    name tries again.) A thread that changes whether it is wanted calls
///    [`reconcile`](Self::reconcile) afterwards, which looks again under the lock of the name. So
///    the last of these threads leaves it as is wanted.
/// 2. `is_closed` is set under the lock of `names`, and ends what the map has. The closing thread
///    does not wait for a thread that has the lock of a name, which waits for the server: that one
///    looks at `is_closed` under the lock of `names` when it has released the lock of the name, and
///    ends what it has subscribed to. So nothing stays subscribed to.
/// 3. Nothing waits for the end of a subscription: that waits for handlers, which may never return.
pub(crate) struct Outlet {
    pub(crate) broker: Arc<dyn Broker>,
    /// Whether the broker is closed with the bus.
    owns: bool,
    pub(crate) codec: Codec,
    pub(crate) registry: EventRegistry,
    /// Of the events of this bus.
    pub(crate) origin: Arc<str>,
    pub(crate) prefix: Arc<str>,
    pub(crate) bus: Arc<str>,
    pub(crate) max_event: usize,
    pub(crate) buffer: usize,
    pub(crate) patience: Duration,
    pub(crate) seen: Mutex<Seen>,
    pub(crate) recent: Mutex<Recent>,
    pub(crate) groups: Mutex<Vec<Group>>,
    pub(crate) shared: Weak<Shared>,
    names: Mutex<HashMap<Arc<str>, Opened>>,
    is_closed: AtomicBool,
    watcher: OnceLock<Watcher>,
    /// Held by the thread that flushes the broker.
    flushing: Mutex<()>,
}

impl Outlet {
    /// Gives a bus that is not in use yet its way to other processes.
    pub(crate) fn attach(
        shared: &Arc<Shared>,
        options: RemoteOptions,
        broker: Arc<dyn Broker>,
        bus: Arc<str>,
        owns: bool,
    ) {
        let registry = options.registry.unwrap_or_default();
        let outlet = Arc::new(Self {
            owns,
            codec: options.codec,
            registry: registry.clone(),
            origin: MessageId::unique().to_string().into(),
            prefix: options.prefix,
            bus,
            max_event: options.max_event,
            buffer: options.buffer,
            patience: options.patience,
            seen: Mutex::new(Seen::new(options.window)),
            recent: Mutex::default(),
            groups: Mutex::default(),
            shared: Arc::downgrade(shared),
            names: Mutex::default(),
            is_closed: AtomicBool::new(false),
            watcher: OnceLock::new(),
            flushing: Mutex::default(),
            broker,
        });
        // Before the watcher, which drops what it reads while there is no outlet.
        let _ = shared.outlet.set(Arc::clone(&outlet));
        match watcher::start(&outlet) {
            Some(watching) => {
                let _ = outlet.watcher.set(watching);
            }
            None => {
                let reason = "there is no thread for the events of the broker; what it gives up later is not reported";
                let error = BusError::NotConnected(reason.into());
                shared.report(&EventError::new("*", None, error));
            }
        }
        registry.watch(shared);
    }

    /// The key of an event in the broker.
    pub(crate) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The name under which events of this type are dispatched, if it is registered.
    pub(crate) fn name_of(&self, of: TypeId) -> Option<Arc<str>> {
        self.registry.of_type(of).map(|registered| registered.name)
    }

    /// Reports the listeners of `from`, though events of their type are dispatched under
    /// `to` from now on.
    pub(crate) fn renamed(&self, shared: &Shared, of: TypeId, from: &Arc<str>, to: &Arc<str>) {
        let table = shared.visits.table();
        let each = table.of_name(from);
        let typed = each.filter(|entry| entry.typed == Some(of));
        let sources = typed.map(|entry| Arc::clone(&entry.source));
        for source in sources.chain(self.typed_sources(from, of)) {
            if !source.is_ended() {
                shared.observers.emit(BusEvent::Renamed {
                    listener: Arc::clone(source.label()),
                    from: Arc::clone(from),
                    to: Arc::clone(to),
                });
            }
        }
    }

    /// Reports a listener whose type got another name while it was being registered. It is in the
    /// table by now: either this or [`renamed`](Self::renamed) finds it, and sometimes both do.
    pub(crate) fn look_for_new_name(
        &self,
        shared: &Shared,
        source: &Source,
        typed: Option<TypeId>,
    ) {
        if mutant!("bus::listener_is_renamed_unseen") {
            return;
        }
        if let Place::Name(from) = &source.place
            && let Some(to) = typed.and_then(|of| self.name_of(of))
            && to != *from
            && !source.is_ended()
        {
            shared.observers.emit(BusEvent::Renamed {
                listener: Arc::clone(source.label()),
                from: Arc::clone(from),
                to,
            });
        }
    }

    /// Whether this bus holds a subscription of this name.
    pub(crate) fn listens_to(&self, name: &str) -> bool {
        self.names.lock().contains_key(name)
            || self.groups.lock().iter().any(|group| group.is_of(name))
    }

    pub(crate) fn is_closed(&self) -> bool {
        // ORDERING: every reader that matters holds a lock that `end_subscriptions` takes when it
        // stores this, or later.
        self.is_closed.load(Ordering::Relaxed)
    }

    fn is_wanted(&self, table: &Table, name: &str) -> bool {
        let is_wanted = table.of_name(name).next().is_some()
            || (table.has_listeners_for_all() && self.registry.is_registered(name));
        is_wanted && !self.is_closed()
    }

    /// Subscribes to the names of a place, or ends their subscriptions, as they are wanted.
    pub(crate) fn reconcile_place(&self, shared: &Shared, place: &Place) -> Result<(), BusError> {
        self.reap();
        match place {
            Place::Name(name) => self.reconcile(shared, name),
            Place::All => {
                let mut names = self.registry.names();
                names.extend(self.names.lock().keys().cloned());
                let mut result = Ok(());
                for name in &names {
                    result = result.and(self.reconcile(shared, name));
                }
                result
            }
        }
    }

    /// Subscribes to a name, or ends its subscription, as it is wanted.
    pub(crate) fn reconcile(&self, shared: &Shared, name: &Arc<str>) -> Result<(), BusError> {
        let opened = Arc::clone(self.names.lock().entry(Arc::clone(name)).or_default());
        let mut result = Ok(());
        let looks_early = mutant!("bus::name_is_wanted_before_the_lock");
        let early = looks_early.then(|| self.is_wanted(&shared.visits.table(), name));
        let (ended, table) = {
            let mut opened = opened.lock();
            // One that the server has refused meanwhile has ended.
            let is_live = opened.as_ref().is_some_and(|open| !open.is_closed());
            let table = shared.visits.table();
            let is_wanted = early.unwrap_or_else(|| self.is_wanted(&table, name));
            let ended = match (is_wanted, is_live) {
                (true, false) => match self.subscribe(name) {
                    Ok(open) => opened.replace(open),
                    Err(error) => {
                        result = Err(error);
                        opened.take()
                    }
                },
                (true, true) => None,
                (false, _) => opened.take(),
            };
            (ended, table)
        };
        // Outside of the lock: it may be the last handle of a table that was replaced, and run
        // destructors of users.
        drop(table);
        end_soon(ended);
        let mut names = self.names.lock();
        if self.is_closed() {
            names.remove(name);
            drop(names);
            let late = opened.lock().take();
            end_soon(late);
            return result;
        }
        // Dropped before the lock of `names` is released, so that another thread that looks at the
        // count does not count it.
        let opened = opened;
        // The map and this thread have it: no other thread can be about to use it.
        let is_unused = Arc::strong_count(&opened) == 2 || mutant!("bus::name_is_forgotten_in_use");
        if is_unused && opened.lock().is_none() {
            names.remove(name);
        }
        result
    }

    fn subscribe(&self, name: &Arc<str>) -> Result<BrokerSubscription, BusError> {
        let options = SubscribeOptions::new().buffer(self.buffer).name("bus");
        let handler = arrivals::handler(Weak::clone(&self.shared), Arc::clone(name));
        let request = Subscribe::new(self.key(name), handler).options(options);
        self.ask(request)
    }

    /// Has the broker subscribe.
    pub(crate) fn ask(&self, request: Subscribe) -> Result<BrokerSubscription, BusError> {
        let reason = match catch(|| self.broker.subscribe_with(request)) {
            Ok(Ok(subscription)) => return Ok(subscription),
            Ok(Err(SubscribeError::Closed)) => "the broker is closed".into(),
            Ok(Err(error)) => error.to_string(),
            Err(text) => panicked(&text),
        };
        Err(BusError::NotSubscribed(reason.into()))
    }

    /// Ends all subscriptions, without waiting for their handlers. There will be no others.
    pub(crate) fn end_subscriptions(&self) {
        let names: Vec<_> = {
            let mut names = self.names.lock();
            // ORDERING: see `is_closed`.
            self.is_closed.store(true, Ordering::Relaxed);
            names.drain().collect()
        };
        // First: what a member refuses counts as an attempt.
        self.close_groups();
        for (_, opened) in names {
            // See invariant 2.
            let open = opened.try_lock().and_then(|mut open| open.take());
            end_soon(open);
        }
    }

    /// Waits until what was published is on the server. Once the listeners are done.
    pub(crate) fn flush(&self, shared: &Shared, deadline: Option<Instant>) -> Result<(), BusError> {
        let now = Instant::now();
        let deadline = deadline.map_or(now + FLUSH, |deadline| deadline.max(now + LAST));
        // A second caller finds the broker closed. It would end the observers before the first
        // one's failures are reported.
        let _flushing = self.flushing.try_lock_until(deadline);
        let rest = || deadline.saturating_duration_since(Instant::now());
        let flushed = match catch(|| self.broker.flush(rest())) {
            Ok(Ok(()) | Err(FlushError::Closed)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(text) => Err(panicked(&text)),
        };
        let closed = match catch(|| self.owns.then(|| self.broker.close(rest()))) {
            // What has arrived and is not handled belongs to subscriptions that have ended.
            Ok(Some(Err(error @ CloseError::Undelivered { outbound, .. }))) if outbound > 0 => {
                Err(error.to_string())
            }
            Ok(_) => Ok(()),
            Err(text) => Err(panicked(&text)),
        };
        if let Some(watcher) = self.watcher.get() {
            watcher.finish();
        }
        flushed.and(closed).map_err(|reason| {
            let error = BusError::NotPublished(reason.into());
            shared.report(&EventError::new("*", None, error.clone()));
            error
        })
    }
}

/// Ends subscriptions without waiting for their handlers. When this returns, the broker calls none
/// of the handlers again.
pub(crate) fn end_soon(subscriptions: impl IntoIterator<Item = BrokerSubscription>) {
    for subscription in subscriptions {
        subscription.cancel_soon();
        subscription.detach();
    }
}

/// The text of an error of a broker that panicked, as one that the user wrote may.
pub(crate) fn panicked(text: &str) -> String {
    format!("the broker panicked: {text}")
}
