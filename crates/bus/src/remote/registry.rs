//! The types of events that processes exchange.

use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock, Weak};

use arc_swap::ArcSwap;
use fanfeed_broker::Arrived;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::core::Shared;
use crate::error::{BusError, Undelivered};
use crate::event::{self, AnyEvent, Event};
use crate::quietly::catch;
use crate::remote::codec::reason;
use crate::sync::Mutex;

/// The types of events that a bus exchanges with other processes, by name. Clones are handles of
/// one registry.
///
/// Each bus has a registry of its own, unless
/// [`RemoteOptions::registry`](crate::RemoteOptions::registry) gives it one, such as the one of the
/// process: [`EventRegistry::global`].
///
/// ```
/// use fanfeed_bus::{Event, EventRegistry};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct OrderPlaced {
///     order: u64,
/// }
/// impl Event for OrderPlaced {
///     const NAME: &'static str = "order.placed";
/// }
///
/// let registry = EventRegistry::new();
/// registry.register_as::<OrderPlaced>("order.placed.v1")?;
/// assert!(registry.is_registered("order.placed.v1"));
/// let event = registry.create("order.placed.v1", br#"{"order":42}"#)?;
/// assert_eq!(event.downcast_ref::<OrderPlaced>().map(|event| event.order), Some(42));
/// # Ok::<(), fanfeed_bus::BusError>(())
/// ```
///
/// # The last registration counts
///
/// A type that is registered twice is dispatched under the last name; events of the first name are
/// still decoded into it. A name that is registered twice is decoded into the last type. A listener
/// for a type gets the name that the type has when the listener is registered, and keeps it: if the
/// type is then registered under another name, the bus reports that
/// ([`BusEvent::Renamed`](crate::BusEvent::Renamed)). So register all types first.
#[derive(Clone, Default)]
pub struct EventRegistry {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    types: ArcSwap<Types>,
    /// Locked while the types are replaced.
    watchers: Mutex<Vec<Weak<Shared>>>,
}

#[derive(Clone, Default)]
struct Types {
    by_name: HashMap<Arc<str>, Registered>,
    by_type: HashMap<TypeId, Registered>,
}

type Decoded = Result<Arc<dyn AnyEvent>, serde_json::Error>;

#[derive(Clone)]
pub(crate) struct Registered {
    pub(crate) name: Arc<str>,
    encode: fn(&dyn Any) -> Result<Box<RawValue>, serde_json::Error>,
    decode: fn(&Arc<str>, &str) -> Decoded,
    type_name: &'static str,
}

impl Registered {
    fn new<E: Event + Serialize + DeserializeOwned>(name: Arc<str>) -> Self {
        Self {
            name,
            encode: |event| {
                let event: &E = event.downcast_ref().expect("it is found by its type");
                serde_json::value::to_raw_value(event)
            },
            decode: |name, json| {
                let event: Arc<E> = Arc::new(serde_json::from_str(json)?);
                let name = Arc::clone(name);
                Ok(Arc::new(event::Shared { name, event }))
            },
            type_name: type_name::<E>(),
        }
    }

    /// Writes an event of this type as JSON.
    pub(crate) fn encode(&self, event: &dyn Any) -> Result<Box<RawValue>, BusError> {
        match catch(|| (self.encode)(event)) {
            Ok(Ok(json)) => Ok(json),
            Ok(Err(error)) => Err(BusError::Encode(reason(&error))),
            // The text of a panic may contain the value, which may be a secret.
            Err(_) => Err(BusError::Encode("it panicked".into())),
        }
    }

    /// Reads an event of this type.
    pub(crate) fn decode(&self, json: &str) -> Result<Arc<dyn AnyEvent>, Undelivered> {
        match catch(|| (self.decode)(&self.name, json)) {
            Ok(Ok(event)) => Ok(event),
            Ok(Err(error)) => Err(Undelivered::BadPayload(reason(&error))),
            Err(_) => Err(Undelivered::BadPayload("reading it panicked".into())),
        }
    }
}

impl EventRegistry {
    /// A registry without types.
    pub fn new() -> Self {
        Self::default()
    }

    /// The registry of the process, which buses can share.
    pub fn global() -> Self {
        static GLOBAL: OnceLock<EventRegistry> = OnceLock::new();
        GLOBAL.get_or_init(Self::new).clone()
    }

    /// Registers a type under its [name](Event::NAME).
    ///
    /// If a bus of this registry has listeners for all events, this waits until its broker has
    /// subscribed to the name. With feature `tokio`, `register_as_async` waits without the thread.
    ///
    /// # Errors
    ///
    /// As [`register_as`](Self::register_as).
    pub fn register<E: Event + Serialize + DeserializeOwned>(&self) -> Result<(), BusError> {
        self.register_as::<E>(E::NAME)
    }

    /// Registers a type under a name that is chosen at run time, such as one with a version. See
    /// [the last registration counts](Self#the-last-registration-counts).
    ///
    /// # Errors
    ///
    /// [`BadName`](BusError::BadName) if the name is empty.
    /// [`NotSubscribed`](BusError::NotSubscribed) if a bus of this registry has listeners for all
    /// events, and its broker cannot subscribe to the name: the type is registered all the same.
    pub fn register_as<E: Event + Serialize + DeserializeOwned>(
        &self,
        name: impl Into<Arc<str>>,
    ) -> Result<(), BusError> {
        let name = name.into();
        if name.is_empty() {
            return Err(BusError::BadName);
        }
        let registered = Registered::new::<E>(Arc::clone(&name));
        let of = TypeId::of::<E>();
        let (buses, before): (Vec<_>, _) = {
            let mut watchers = self.inner.watchers.lock();
            let mut types = Types::clone(&self.inner.types.load());
            types.by_name.insert(Arc::clone(&name), registered.clone());
            let before = types.by_type.insert(of, registered);
            self.inner.types.store(Arc::new(types));
            watchers.retain(|bus| bus.strong_count() > 0);
            let buses = watchers.iter().filter_map(Weak::upgrade);
            (buses.collect(), before)
        };
        let before = before.map_or_else(|| E::NAME.into(), |before| before.name);
        let mut result = Ok(());
        for bus in buses {
            if let Some(outlet) = bus.outlet() {
                if before != name {
                    outlet.renamed(&bus, of, &before, &name);
                }
                result = result.and(outlet.reconcile(&bus, &name));
            }
        }
        result
    }

    /// Whether a type is registered under this name.
    pub fn is_registered(&self, name: &str) -> bool {
        self.inner.types.load().by_name.contains_key(name)
    }

    /// The names that have types, sorted.
    pub fn names(&self) -> Vec<Arc<str>> {
        let mut names: Vec<_> = self.inner.types.load().by_name.keys().cloned().collect();
        names.sort_unstable();
        names
    }

    /// Makes an event of the type that is registered under a name, from its payload in JSON.
    ///
    /// # Errors
    ///
    /// [`Undelivered`](BusError::Undelivered) if no type is registered under the name, or if the
    /// payload is not what it takes.
    pub fn create(&self, name: &str, payload: &[u8]) -> Result<Arc<dyn AnyEvent>, BusError> {
        let create = || {
            let registered = self.of_name(name).ok_or(Undelivered::NotRegistered)?;
            let payload = std::str::from_utf8(payload)
                .map_err(|_| Undelivered::BadPayload("it is not UTF-8".into()))?;
            registered.decode(payload)
        };
        create().map_err(|reason| BusError::Undelivered {
            reason,
            arrived: Arrived::new(payload),
        })
    }

    pub(crate) fn of_name(&self, name: &str) -> Option<Registered> {
        self.inner.types.load().by_name.get(name).cloned()
    }

    pub(crate) fn of_type(&self, of: TypeId) -> Option<Registered> {
        self.inner.types.load().by_type.get(&of).cloned()
    }

    /// Tells this bus of types that are registered later.
    pub(crate) fn watch(&self, bus: &Arc<Shared>) {
        let mut watchers = self.inner.watchers.lock();
        watchers.retain(|bus| bus.strong_count() > 0);
        watchers.push(Arc::downgrade(bus));
    }
}

impl fmt::Debug for EventRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let types = self.inner.types.load();
        let names = types.by_name.iter();
        f.debug_map()
            .entries(names.map(|(name, registered)| (name, registered.type_name)))
            .finish()
    }
}
