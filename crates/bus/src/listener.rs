//! Listeners: the callbacks that get events.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, OnceLock};

use fanfeed::CancelToken;

use crate::bus::EventBus;
use crate::core::{Shared, Source};
use crate::event::{AnyEvent, Event};

/// What a listener returns. Any error converts into it by `?`, and a text by `.into()`.
///
/// A listener that panics has failed too.
pub type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

/// Listens to events of type `E`, or to events of any type as `dyn AnyEvent`. Closures of the same
/// signature are listeners.
///
/// Several threads may call a listener at the same time: each thread that dispatches calls the
/// synchronous ones, and the threads of the bus call the asynchronous ones.
///
/// ```
/// use fanfeed_bus::{AnyEvent, Context, EventBus, Listener, Outcome, Register};
///
/// struct Audit;
///
/// impl Listener<dyn AnyEvent> for Audit {
///     fn handle(&self, event: &dyn AnyEvent, _context: &Context<'_>) -> Outcome {
///         println!("{} {:?}", event.name(), event.payload());
///         Ok(())
///     }
/// }
///
/// let bus = EventBus::new();
/// let audit = bus.register_with(Register::all(Audit).name("audit"))?;
/// assert_eq!(audit.name(), Some("audit"));
/// # Ok::<(), fanfeed_bus::BusError>(())
/// ```
pub trait Listener<E: ?Sized>: Send + Sync {
    /// Handles one event. It may dispatch, register, unregister (itself too) and wait for other
    /// dispatches.
    ///
    /// # Errors
    ///
    /// The error is reported on the [`Dispatch`](crate::Dispatch) and on the bus. The other
    /// listeners run all the same.
    fn handle(&self, event: &E, context: &Context<'_>) -> Outcome;
}

impl<E, F> Listener<E> for F
where
    E: Event,
    F: Fn(&E, &Context<'_>) -> Outcome + Send + Sync,
{
    #[inline]
    fn handle(&self, event: &E, context: &Context<'_>) -> Outcome {
        self(event, context)
    }
}

impl<F> Listener<dyn AnyEvent> for F
where
    F: Fn(&dyn AnyEvent, &Context<'_>) -> Outcome + Send + Sync,
{
    #[inline]
    fn handle(&self, event: &dyn AnyEvent, context: &Context<'_>) -> Outcome {
        self(event, context)
    }
}

/// What a listener learns besides the event.
pub struct Context<'a> {
    shared: &'a Arc<Shared>,
    source: &'a Source,
    token: OnceLock<CancelToken>,
}

impl<'a> Context<'a> {
    #[inline]
    pub(crate) fn new(shared: &'a Arc<Shared>, source: &'a Source) -> Self {
        Self {
            shared,
            source,
            token: OnceLock::new(),
        }
    }

    /// Called when the listener has returned.
    #[inline]
    pub(crate) fn end(&mut self) {
        if let Some(token) = self.token.take() {
            self.source.drop_token(&token);
        }
    }

    /// The bus, so that a listener need not own it: a bus whose listeners own it lasts until it is
    /// closed.
    pub fn bus(&self) -> EventBus {
        EventBus::of(Arc::clone(self.shared))
    }

    /// The name of the listener, or of its type.
    pub fn listener(&self) -> &str {
        self.source.label()
    }

    /// Whether the listener should stop: it overran its timeout, it was unregistered, or the bus
    /// ends.
    pub fn is_cancelled(&self) -> bool {
        self.source.is_ended() || self.token.get().is_some_and(CancelToken::is_cancelled)
    }

    /// The token of this call, which can be handed to other threads and waited on. It is cancelled
    /// when the listener has returned, when it overran its timeout, when it was unregistered, and
    /// at the deadline of [`close_timeout`](EventBus::close_timeout).
    pub fn token(&self) -> CancelToken {
        self.token.get_or_init(|| self.source.make_token()).clone()
    }
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("listener", &self.listener())
            .finish_non_exhaustive()
    }
}
