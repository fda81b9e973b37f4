//! The traits of subscribers.

use std::fmt;
use std::sync::Arc;

use crate::context::Context;
use crate::error::SubscribeError;
use crate::handler::{Handler, Outcome};
use crate::key::Key;
use crate::message::Message;
use crate::options::SubscribeOptions;
use crate::subscription::BrokerSubscription;

/// A request to subscribe: the key, the group, the handler and the options.
///
/// ```
/// use fanfeed_broker::{Context, Message, Subscribe, SubscribeOptions};
///
/// let request = Subscribe::new("orders", |_: &Message, _: &Context| Ok(()))
///     .group("billing")
///     .options(SubscribeOptions::new().buffer(1024));
/// ```
#[derive(Clone)]
pub struct Subscribe {
    pub(crate) key: Key,
    pub(crate) group: Option<Arc<str>>,
    pub(crate) options: SubscribeOptions,
    pub(crate) handler: Arc<dyn Handler>,
}

impl Subscribe {
    /// A plain subscription with the default options.
    pub fn new(key: impl Into<Key>, handler: impl Handler + 'static) -> Self {
        Self::shared(key, Arc::new(handler))
    }

    /// A plain subscription with a shared handler.
    pub fn shared(key: impl Into<Key>, handler: Arc<dyn Handler>) -> Self {
        Self {
            key: key.into(),
            group: None,
            options: SubscribeOptions::new(),
            handler,
        }
    }

    /// Makes the subscription a member of a group. Each message goes to one member.
    #[must_use]
    pub fn group(mut self, group: impl Into<Arc<str>>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// Sets the options.
    #[must_use]
    pub fn options(mut self, options: SubscribeOptions) -> Self {
        self.options = options;
        self
    }
}

impl fmt::Debug for Subscribe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscribe")
            .field("key", &self.key)
            .field("group", &self.group)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// Subscribes to messages.
pub trait Subscriber: Send + Sync {
    /// Subscribes. When this returns, the subscription is live: it gets every message that is
    /// published later, in any process. While the server is away, this returns a pending
    /// subscription. [`ready`](BrokerSubscription::ready) waits until it is live.
    ///
    /// # Errors
    ///
    /// See [`SubscribeError`].
    fn subscribe_with(&self, request: Subscribe) -> Result<BrokerSubscription, SubscribeError>;
}

/// Shorter methods to subscribe with closures.
///
/// ```
/// use fanfeed_broker::{MemoryBroker, Message, Publisher, SubscriberExt};
///
/// let broker = MemoryBroker::new();
/// let (tx, rx) = crossbeam_channel::unbounded();
/// let _subscription = broker.subscribe("chat.42", move |message, _context| {
///     tx.send(message.clone())?;
///     Ok(())
/// })?;
/// broker.publish(Message::new("chat.42", "hello"))?;
/// assert_eq!(rx.recv()?.payload(), &b"hello"[..]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait SubscriberExt: Subscriber {
    /// Subscribes a closure to a key with the default options.
    ///
    /// # Errors
    ///
    /// As [`subscribe_with`](Subscriber::subscribe_with).
    fn subscribe<F>(
        &self,
        key: impl Into<Key>,
        handler: F,
    ) -> Result<BrokerSubscription, SubscribeError>
    where
        F: Fn(&Message, &Context) -> Outcome + Send + Sync + 'static,
    {
        self.subscribe_with(Subscribe::new(key, handler))
    }

    /// Subscribes a closure as a member of a group. Each message of the key goes to one member.
    ///
    /// # Errors
    ///
    /// As [`subscribe_with`](Subscriber::subscribe_with).
    fn subscribe_group<F>(
        &self,
        key: impl Into<Key>,
        group: impl Into<Arc<str>>,
        handler: F,
    ) -> Result<BrokerSubscription, SubscribeError>
    where
        F: Fn(&Message, &Context) -> Outcome + Send + Sync + 'static,
    {
        self.subscribe_with(Subscribe::new(key, handler).group(group))
    }
}

impl<S: Subscriber + ?Sized> SubscriberExt for S {}
