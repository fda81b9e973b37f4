//! The types around `TypeMux`, which delivers events by their type. The mux is deprecated in favour
//! of [`Feed`](crate::Feed).

// The mux is implemented here. The deprecation is for its users.
#![allow(deprecated)]

mod builder;
mod closed;
mod event;
mod registry;
mod since;
mod types;

use std::any::{Any, TypeId};
use std::fmt;

pub use builder::SubscriberBuilder;
pub use closed::Closed;
pub use event::Event;
pub use types::EventTypes;

use crate::feed::Receiver;
use crate::traits::unwind_safe;
use registry::Registry;
use types::TypeSet;

/// A subscription to one or several types of events, and the channel on which they come: the
/// [receiver](crate::Receiver) of an own channel, of events.
///
/// Events of all its types come in one order. Events that one thread posted come in the order
/// posted. No event is ever missed, so a receive returns an event, `Empty`, `Timeout` or `Closed`.
///
/// ```
/// # #![allow(deprecated)]
/// use fanfeed::{RecvError, TypeMux, mux};
///
/// let mux = TypeMux::new();
/// let mut words: mux::Subscription = mux.subscribe::<(String, &str)>();
/// mux.post("one").unwrap();
/// mux.post(2).unwrap();
/// mux.post(String::from("three")).unwrap();
/// mux.stop();
///
/// assert_eq!(words.recv()?.downcast_ref(), Some(&"one"));
/// assert!(words.recv()?.is::<String>());
/// assert_eq!(words.recv().unwrap_err(), RecvError::Closed);
/// # Ok::<(), RecvError>(())
/// ```
#[doc(alias = "TypeMuxSubscription")]
pub type Subscription = Receiver<Event>;

/// Delivers each event to the subscribers of its type.
///
/// It is for users of go-ethereum's `event.TypeMux`. That one is deprecated in favour of
/// go-ethereum's `Feed`, and so is this one. A [`Feed`](crate::Feed) knows its type at compile
/// time: receivers need no downcast, a send allocates nothing, and each subscriber has its own
/// capacity and [`Overflow`](crate::Overflow). For events of several types, use an `enum`.
///
/// # What it promises
///
/// - [`post`](Self::post) delivers the event to every subscription to its type that was made before
///   and has not ended. It waits for subscriptions that have no room, and returns how many it
///   reached. An event without subscribers is dropped.
/// - Subscribers share the event; it is not copied.
/// - Events that one thread posts reach each subscription in the order posted, whatever their
///   types.
/// - A subscription sees no event whose [time](Event::time) is before the subscription was
///   made. It begins, and is unsubscribed, for all its types at once: of the events that one thread
///   posts, it gets a run without gaps.
/// - When [`unsubscribe`](crate::Receiver::unsubscribe) or [`stop`](Self::stop) returns, no
///   thread puts anything more on the channel; it ends once every event in it is taken. A post that
///   was blocked on it goes on at once, as it does when the receiver is dropped. A channel that the
///   caller brought along ends as [`Subscription::unsubscribe`](crate::Subscription::unsubscribe)
///   says of its kind.
/// - After `stop`, a post gives the event back in [`Closed`], and a new subscription has ended
///   already. Dropping the mux stops it.
///
/// # Differences from go-ethereum
///
/// A channel of the mux's own holds 1,024 events, as a feed's does, and a post returns once the
/// event is in it. In go-ethereum, a post returns once every subscriber has received the event, one
/// after the other. For that behaviour, bring a crossbeam channel of capacity 0 along
/// ([`subscribe`](SubscriberBuilder::subscribe)). Here a full channel delays no other
/// subscriber.
///
/// # How it is built
///
/// Each type has its own feed, made when the type is first subscribed to. A post looks the feed up
/// under a read lock, releases the lock, and sends. It makes one allocation, for the event. For a
/// type without subscribers it makes none, and leaves nothing behind. A subscription to several
/// types has one channel, to which the feed of each type sends.
///
/// # Examples
///
/// ```
/// # #![allow(deprecated)]
/// use fanfeed::TypeMux;
///
/// struct Mined(u64);
/// struct Reorganised { depth: u64 }
///
/// let mux = TypeMux::new();
/// let mut blocks = mux.subscribe::<(Mined, Reorganised)>();
/// assert_eq!(mux.post(Mined(7)).unwrap(), 1);
/// assert_eq!(mux.post(Reorganised { depth: 2 }).unwrap(), 1);
/// assert_eq!(mux.post("not to them").unwrap(), 0);
/// mux.stop();
///
/// for event in blocks.iter() {
///     if let Some(Mined(number)) = event.downcast_ref() {
///         assert_eq!(*number, 7);
///     } else if let Some(Reorganised { depth }) = event.downcast_ref() {
///         assert_eq!(*depth, 2);
///     }
/// }
/// assert_eq!(mux.post(Mined(8)).unwrap_err().into_inner().0, 8);
/// ```
#[deprecated(note = "use a `Feed` of an enum, which needs no downcast")]
pub struct TypeMux {
    /// The only handles of the feeds, which end with them.
    registry: Registry,
}

// As for the feeds that it is made of.
unwind_safe!(TypeMux);

impl TypeMux {
    /// Creates a mux without subscribers.
    pub fn new() -> Self {
        Self {
            registry: Registry::new(),
        }
    }

    /// Subscribes to events of these types, given as a tuple, with a channel of the mux's own that
    /// holds 1,024 events.
    ///
    /// For another capacity, a name, or a channel that the caller brings along, see
    /// [`subscriber`](Self::subscriber). If the mux was stopped, the subscription has ended
    /// already.
    ///
    /// # Panics
    ///
    /// If a type is listed twice. The message names it.
    ///
    /// ```should_panic
    /// # #![allow(deprecated)]
    /// let mux = fanfeed::TypeMux::new();
    /// let _ = mux.subscribe::<(u8, char, u8)>();
    /// ```
    #[must_use = "dropping it unsubscribes"]
    #[track_caller]
    pub fn subscribe<Types: EventTypes>(&self) -> Subscription {
        self.subscriber::<Types>()
            .channel()
            .expect("the default capacity is valid")
    }

    /// Subscribes with options: more types, a name, a capacity, or a channel that the caller brings
    /// along.
    ///
    /// # Panics
    ///
    /// If a type is listed twice. The message names it.
    #[track_caller]
    pub fn subscriber<Types: EventTypes>(&self) -> SubscriberBuilder<'_> {
        SubscriberBuilder::new(&self.registry, TypeSet::of::<Types>())
    }

    /// Delivers an event to all subscribers of its type, waits for those that have no room, and
    /// returns how many subscribers it reached.
    ///
    /// A post that is under way when the mux is stopped returns at once with the number of
    /// subscribers that it had reached.
    ///
    /// # Errors
    ///
    /// [`Closed`], with the event, if the mux was stopped.
    #[doc(alias = "Post")]
    pub fn post<E: Any + Send + Sync>(&self, event: E) -> Result<usize, Closed<E>> {
        let Ok(feed) = self.registry.feed(TypeId::of::<E>()) else {
            return Err(Closed::new(event));
        };
        // Not under the lock here either: if the event has no subscribers, its drop runs user code.
        let Some(feed) = feed.filter(|feed| feed.subscriber_count() > 0) else {
            return Ok(0);
        };
        Ok(since::count_reached(|| feed.send(Event::new(event))))
    }

    /// Ends all subscriptions and admits no new ones. Blocked posts go on at once.
    ///
    /// When this returns, no thread puts anything more on any channel. It waits for deliveries
    /// under way, which do not block, except for a delivery that it is called from. It may be
    /// called again, from any thread; it then waits in the same way.
    pub fn stop(&self) {
        self.registry.stop();
    }

    /// Whether the mux was stopped. Once true, it stays true.
    pub fn is_stopped(&self) -> bool {
        self.registry.is_stopped()
    }
}

impl Default for TypeMux {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for TypeMux {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (types, subscriptions) = self.registry.counts();
        f.debug_struct("TypeMux")
            .field("types", &types)
            .field("subscriptions", &subscriptions)
            .field("stopped", &self.is_stopped())
            .finish_non_exhaustive()
    }
}
