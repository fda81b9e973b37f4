//! Values published and received as JSON.

#[cfg(feature = "tokio")]
mod asynchronous;

#[cfg(feature = "tokio")]
pub use asynchronous::{AsyncBrokerExt, AsyncJsonHandler};

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::broker::Broker;
use crate::context::Context;
use crate::error::{PublishError, SubscribeError};
use crate::handler::{Handler, HandlerError, Outcome};
use crate::key::Key;
use crate::message::Message;
use crate::subscriber::Subscribe;
use crate::subscription::BrokerSubscription;

/// Typed ways to publish and subscribe.
///
/// A message that does not decode is reported as [`Event::Undecodable`](crate::Event::Undecodable)
/// and [rejected](HandlerError::Reject): it is given up at once. A dead letter of it is kept in two
/// cases:
///
/// - the handler is a [`JsonHandler`] (or an `AsyncJsonHandler`) inside the middleware
///   [`DeadLetter`](crate::middleware::DeadLetter), with any driver;
/// - the subscription is a member of a group over Redis Streams, NATS JetStream or Kafka (unless
///   the URL has `dead_letters=no`), where the server keeps the messages that groups give up (see
///   the READMEs).
///
/// In all other cases there is only the event: for groups in memory and with NATS core, and for
/// plain subscriptions with every driver.
///
/// With options or middleware, subscribe a [`JsonHandler`]. `AsyncBrokerExt` has async variants,
/// with the feature `tokio`.
///
/// ```
/// use fanfeed_broker::{BrokerExt, MemoryBroker};
///
/// let broker = MemoryBroker::new();
/// let (tx, rx) = crossbeam_channel::unbounded();
/// let _subscription = broker.subscribe_json("numbers", move |numbers: Vec<u32>, _context| {
///     Ok(tx.send(numbers)?)
/// })?;
/// broker.publish_json("numbers", &[1, 2, 3])?;
/// assert_eq!(rx.recv()?, [1, 2, 3]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait BrokerExt: Broker {
    /// Publishes a value as JSON.
    ///
    /// # Errors
    ///
    /// [`Encode`](PublishJsonError::Encode) if the value cannot be written as JSON; otherwise as
    /// [`publish`](crate::Publisher::publish).
    fn publish_json<T: Serialize + ?Sized>(
        &self,
        key: impl Into<Key>,
        value: &T,
    ) -> Result<(), PublishJsonError> {
        self.publish(encoded(key, value)?)
            .map_err(PublishJsonError::Publish)
    }

    /// Subscribes a closure that gets values.
    ///
    /// # Errors
    ///
    /// As [`subscribe_with`](crate::Subscriber::subscribe_with).
    fn subscribe_json<T, F>(
        &self,
        key: impl Into<Key>,
        handler: F,
    ) -> Result<BrokerSubscription, SubscribeError>
    where
        T: DeserializeOwned + 'static,
        F: Fn(T, &Context) -> Outcome + Send + Sync + 'static,
    {
        self.subscribe_with(Subscribe::new(key, JsonHandler::new(handler)))
    }

    /// Makes a closure that gets values a member of a group.
    ///
    /// # Errors
    ///
    /// As [`subscribe_with`](crate::Subscriber::subscribe_with).
    fn subscribe_group_json<T, F>(
        &self,
        key: impl Into<Key>,
        group: impl Into<Arc<str>>,
        handler: F,
    ) -> Result<BrokerSubscription, SubscribeError>
    where
        T: DeserializeOwned + 'static,
        F: Fn(T, &Context) -> Outcome + Send + Sync + 'static,
    {
        self.subscribe_with(Subscribe::new(key, JsonHandler::new(handler)).group(group))
    }
}

impl<B: Broker + ?Sized> BrokerExt for B {}

/// A [`Handler`] that gets values, for [`Subscribe`] with options and for
/// [middleware](crate::middleware).
///
/// A message that does not decode is reported and rejected: see [`BrokerExt`].
///
/// ```
/// use std::sync::Arc;
/// use fanfeed_broker::middleware::DeadLetter;
/// use fanfeed_broker::{
///     Context, JsonHandler, MemoryBroker, Message, Publisher, Subscribe, SubscribeOptions, Subscriber, SubscriberExt,
/// };
///
/// let broker = MemoryBroker::new();
/// let (tx, rx) = crossbeam_channel::unbounded();
/// let _dead = broker.subscribe("orders.dead", move |message, _| Ok(tx.send(message.clone())?))?;
///
/// let handler = JsonHandler::new(|order: Vec<u32>, _: &Context| {
///     println!("{order:?}");
///     Ok(())
/// });
/// let handler = DeadLetter::new(Arc::new(broker.clone()), "orders.dead", 3, handler);
/// let request = Subscribe::new("orders", handler).options(SubscribeOptions::new().buffer(1024));
/// let _orders = broker.subscribe_with(request)?;
///
/// broker.publish(Message::new("orders", "not JSON"))?;
/// assert_eq!(rx.recv()?.payload(), &b"not JSON"[..]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct JsonHandler<T, F> {
    handler: F,
    values: PhantomData<fn(T)>,
}

impl<T, F> JsonHandler<T, F>
where
    T: DeserializeOwned,
    F: Fn(T, &Context) -> Outcome + Send + Sync,
{
    /// Makes a handler from a closure that gets values.
    pub fn new(handler: F) -> Self {
        Self {
            handler,
            values: PhantomData,
        }
    }
}

impl<T, F> Handler for JsonHandler<T, F>
where
    T: DeserializeOwned,
    F: Fn(T, &Context) -> Outcome + Send + Sync,
{
    fn handle(&self, message: &Message, context: &Context) -> Outcome {
        (self.handler)(decoded(message, context)?, context)
    }
}

impl<T, F> fmt::Debug for JsonHandler<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonHandler").finish_non_exhaustive()
    }
}

/// Makes the message for a value.
pub(crate) fn encoded<T: Serialize + ?Sized>(
    key: impl Into<Key>,
    value: &T,
) -> Result<Message, PublishJsonError> {
    let payload = serde_json::to_vec(value).map_err(PublishJsonError::Encode)?;
    Ok(Message::new(key, payload).header("content-type", "application/json"))
}

/// Reads the value of a message. If that fails, reports the message and rejects it.
pub(crate) fn decoded<T: DeserializeOwned>(
    message: &Message,
    context: &Context,
) -> Result<T, HandlerError> {
    serde_json::from_slice(message.payload()).map_err(|error| {
        // The text says where the JSON is wrong, and not what it contains.
        let place = format!(
            "not the JSON that was expected, at line {} column {}",
            error.line(),
            error.column()
        );
        context.report_undecodable(place, message.payload());
        HandlerError::Reject
    })
}

/// Why a value was not published.
#[derive(Debug)]
#[non_exhaustive]
pub enum PublishJsonError {
    /// The value cannot be written as JSON.
    Encode(serde_json::Error),
    /// The message was not published.
    Publish(PublishError),
}

impl fmt::Display for PublishJsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Encode(error) => write!(f, "the value cannot be written as JSON: {error}"),
            Self::Publish(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for PublishJsonError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Encode(error) => Some(error),
            Self::Publish(error) => Some(error),
        }
    }
}
