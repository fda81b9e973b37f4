//! Events: what is dispatched.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::payload::Map;

/// An event: something that happened in one part of a program, and to which others react.
///
/// In memory any type can be one; it needs no serde.
///
/// ```
/// use fanfeed_bus::{Event, Map};
///
/// struct OrderPlaced {
///     order: u64,
/// }
///
/// impl Event for OrderPlaced {
///     const NAME: &'static str = "order.placed";
///
///     // For listeners that do not know the type.
///     fn payload(&self) -> Map {
///         Map::from([("order".to_owned(), self.order.into())])
///     }
/// }
/// ```
pub trait Event: Send + Sync + Sized + 'static {
    /// The name of the event. Not empty.
    const NAME: &'static str;

    /// The contents, for listeners that do not know the type. It is called only when such a
    /// listener asks for it. Empty by default.
    fn payload(&self) -> Map {
        Map::new()
    }
}

/// An event of a type that the listener does not know.
///
/// ```
/// use fanfeed_bus::{AnyEvent, Event, EventBus};
///
/// struct Ping(u32);
/// impl Event for Ping {
///     const NAME: &'static str = "ping";
/// }
///
/// let bus = EventBus::new();
/// let (tx, rx) = crossbeam_channel::unbounded();
/// let _all = bus.register_all(move |event: &dyn AnyEvent, _| {
///     let number = event.downcast_ref::<Ping>().map(|ping| ping.0);
///     Ok(tx.send((event.name().to_owned(), number))?)
/// })?;
/// bus.dispatch(Ping(7));
/// assert_eq!(rx.recv()?, ("ping".to_owned(), Some(7)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait AnyEvent: Send + Sync {
    /// The name under which the event was dispatched.
    fn name(&self) -> &str;

    /// The contents: [`Event::payload`], which this calls.
    fn payload(&self) -> Map;

    /// The event itself, to be downcast.
    fn as_any(&self) -> &dyn Any;

    /// The name of the event's type, for people.
    fn type_name(&self) -> &'static str;

    /// The event itself, shared. `None` if it is on the stack of the dispatching thread.
    #[doc(hidden)]
    fn shared(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        None
    }
}

/// An event that borrows nothing, as all are that a bus dispatches. Behind a reference the plain
/// type would mean one that may.
pub(crate) type DynEvent = dyn AnyEvent;

impl dyn AnyEvent + '_ {
    /// The event, if it is of this type.
    pub fn downcast_ref<E: 'static>(&self) -> Option<&E> {
        self.as_any().downcast_ref()
    }

    /// Whether the event is of this type.
    pub fn is<E: 'static>(&self) -> bool {
        self.as_any().is::<E>()
    }
}

impl fmt::Debug for dyn AnyEvent + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyEvent")
            .field("name", &self.name())
            .field("type", &self.type_name())
            .finish_non_exhaustive()
    }
}

/// An event that only synchronous listeners get: it stays on the stack of the dispatching thread.
pub(crate) struct OnStack<E>(pub(crate) E);

impl<E: Event> AnyEvent for OnStack<E> {
    fn name(&self) -> &str {
        E::NAME
    }

    fn payload(&self) -> Map {
        self.0.payload()
    }

    #[inline]
    fn as_any(&self) -> &dyn Any {
        &self.0
    }

    fn type_name(&self) -> &'static str {
        std::any::type_name::<E>()
    }
}

/// An event that outlives the call that dispatches it, for listeners that run later.
pub(crate) struct Shared<E> {
    pub(crate) name: Arc<str>,
    pub(crate) event: Arc<E>,
}

impl<E: Event> AnyEvent for Shared<E> {
    fn name(&self) -> &str {
        &self.name
    }

    fn payload(&self) -> Map {
        self.event.payload()
    }

    fn as_any(&self) -> &dyn Any {
        &*self.event
    }

    fn type_name(&self) -> &'static str {
        std::any::type_name::<E>()
    }

    fn shared(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        Some(Arc::clone(&self.event) as _)
    }
}
