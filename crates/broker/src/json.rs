//! Values published and received as JSON.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::broker::Broker;
use crate::context::Context;
use crate::error::{PublishError, SubscribeError};
use crate::handler::{HandlerError, Outcome};
use crate::key::Key;
use crate::message::Message;
use crate::subscriber::Subscribe;
use crate::subscription::BrokerSubscription;

/// Typed ways to publish and subscribe.
///
/// A message that does not decode is reported as [`Event::Undecodable`](crate::Event::Undecodable) and
/// [rejected](HandlerError::Reject): it is given up at once.
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
        let payload = serde_json::to_vec(value).map_err(PublishJsonError::Encode)?;
        let message = Message::new(key, payload).header("content-type", "application/json");
        self.publish(message).map_err(PublishJsonError::Publish)
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
        T: DeserializeOwned,
        F: Fn(T, &Context) -> Outcome + Send + Sync + 'static,
    {
        self.subscribe_with(Subscribe::new(key, decoding(handler)))
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
        T: DeserializeOwned,
        F: Fn(T, &Context) -> Outcome + Send + Sync + 'static,
    {
        self.subscribe_with(Subscribe::new(key, decoding(handler)).group(group))
    }
}

impl<B: Broker + ?Sized> BrokerExt for B {}

fn decoding<T, F>(handler: F) -> impl Fn(&Message, &Context) -> Outcome + Send + Sync + 'static
where
    T: DeserializeOwned,
    F: Fn(T, &Context) -> Outcome + Send + Sync + 'static,
{
    move |message, context| match serde_json::from_slice(message.payload()) {
        Ok(value) => handler(value, context),
        Err(error) => {
            // Says where the JSON is wrong, and not what it contains.
            let place = format!(
                "not the JSON that was expected, at line {} column {}",
                error.line(),
                error.column()
            );
            context.report_undecodable(place);
            Err(HandlerError::Reject)
        }
    }
}

/// Why a value was not published.
#[derive(Debug)]
#[non_exhaustive]
pub enum PublishJsonError {
    /// It cannot be written as JSON.
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
