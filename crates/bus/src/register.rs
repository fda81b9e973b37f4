//! What to listen to, and how.

use std::any::{TypeId, type_name};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use crate::core::{Place, Run, Target};
use crate::error::BusError;
use crate::event::{AnyEvent, DynEvent, Event};
use crate::listener::{Context, Listener};

/// A listener, the events that it gets, and how it is called.
///
/// ```
/// use std::time::Duration;
/// use fanfeed_bus::{Context, Event, EventBus, Register};
///
/// struct OrderPlaced;
/// impl Event for OrderPlaced {
///     const NAME: &'static str = "order.placed";
/// }
///
/// let bus = EventBus::new();
/// let mail = Register::event(|_: &OrderPlaced, _: &Context| Ok(()))
///     .name("mail")
///     .asynchronous()
///     .timeout(Duration::from_secs(30));
/// bus.register_with(mail)?.detach();
/// bus.dispatch(OrderPlaced).wait()?;
/// # Ok::<(), fanfeed_bus::BusError>(())
/// ```
#[must_use = "it is registered by `EventBus::register_with`"]
pub struct Register {
    pub(crate) place: Place,
    pub(crate) typed: Option<TypeId>,
    pub(crate) run: Run,
    pub(crate) target: Box<dyn Target>,
    pub(crate) label: Arc<str>,
    pub(crate) name: Option<Arc<str>>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) is_once: bool,
    #[cfg(feature = "broker")]
    pub(crate) group: Option<(Arc<str>, crate::remote::GroupOptions)>,
}

impl Register {
    /// A listener for events of one type.
    pub fn event<E: Event>(listener: impl Listener<E> + 'static) -> Self {
        let label = label_of(&listener);
        let target = Typed {
            listener,
            event: PhantomData,
        };
        let place = Place::Name(E::NAME.into());
        Self::new(place, Some(TypeId::of::<E>()), Box::new(target), label)
    }

    /// A listener for the events of one name, which is chosen at run time.
    pub fn named(
        name: impl Into<Arc<str>>,
        listener: impl Listener<dyn AnyEvent> + 'static,
    ) -> Self {
        let label = label_of(&listener);
        let place = Place::Name(name.into());
        Self::new(place, None, Box::new(Generic(listener)), label)
    }

    /// A listener for all events.
    pub fn all(listener: impl Listener<dyn AnyEvent> + 'static) -> Self {
        let label = label_of(&listener);
        Self::new(Place::All, None, Box::new(Generic(listener)), label)
    }

    pub(crate) fn new(
        place: Place,
        typed: Option<TypeId>,
        target: Box<dyn Target>,
        label: Arc<str>,
    ) -> Self {
        Self {
            place,
            typed,
            run: Run::Here,
            target,
            label,
            name: None,
            timeout: None,
            is_once: false,
            #[cfg(feature = "broker")]
            group: None,
        }
    }

    /// Names the listener, for errors and for [`Subscription::name`](fanfeed::Subscription::name).
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Calls the listener on a thread of the bus instead of the dispatching thread. Such calls may
    /// overtake each other.
    ///
    /// An async listener is asynchronous without this.
    pub fn asynchronous(mut self) -> Self {
        if matches!(self.run, Run::Here) {
            self.run = Run::Pool;
        }
        self
    }

    /// How long a call may take. If the listener overruns it, the token of its [`Context`] is
    /// cancelled and [`Overran`](BusError::Overran) is reported; the call itself cannot be stopped.
    /// The future of an async listener is dropped, on a thread of the bus. No limit by default. A
    /// call with a timeout allocates and takes locks; if the system starts no thread for the
    /// timers, they do not fire.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Unregisters the listener when it gets its first event. It gets exactly one, even if several
    /// threads dispatch at once. An event of another type under the same name does not count: it is
    /// reported as [`WrongType`](BusError::WrongType), and the listener stays.
    pub fn once(mut self) -> Self {
        self.is_once = true;
        self
    }
}

impl fmt::Debug for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Register")
            .field("place", &self.place)
            .field("listener", self.name.as_ref().unwrap_or(&self.label))
            .field("timeout", &self.timeout)
            .field("once", &self.is_once)
            .finish_non_exhaustive()
    }
}

pub(crate) fn label_of<L>(_: &L) -> Arc<str> {
    type_name::<L>().into()
}

struct Typed<E, L> {
    listener: L,
    event: PhantomData<fn(E)>,
}

impl<E: Event, L: Listener<E>> Target for Typed<E, L> {
    #[inline]
    fn call(&self, event: &DynEvent, context: &Context<'_>) -> Result<(), BusError> {
        match event.as_any().downcast_ref() {
            Some(event) => self
                .listener
                .handle(event, context)
                .map_err(BusError::failed),
            None => Err(wrong_type::<E>(event)),
        }
    }

    fn takes(&self, event: &DynEvent) -> bool {
        event.as_any().is::<E>()
    }
}

#[cold]
pub(crate) fn wrong_type<E>(event: &DynEvent) -> BusError {
    BusError::WrongType {
        expected: type_name::<E>(),
        found: event.type_name(),
    }
}

struct Generic<L>(L);

impl<L: Listener<dyn AnyEvent>> Target for Generic<L> {
    #[inline]
    fn call(&self, event: &DynEvent, context: &Context<'_>) -> Result<(), BusError> {
        self.0.handle(event, context).map_err(BusError::failed)
    }
}
