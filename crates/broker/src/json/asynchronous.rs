//! Async variants of the typed helpers.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;

use super::{PublishJsonError, decoded, encoded};
use crate::asynchronous::{self, AsyncBroker};
use crate::broker::Broker;
use crate::context::Context;
use crate::dispatch::Started;
use crate::error::SubscribeError;
use crate::handler::{Handler, Outcome};
use crate::key::Key;
use crate::message::Message;
use crate::subscriber::Subscribe;
use crate::subscription::BrokerSubscription;

/// An [`AsyncHandler`](crate::AsyncHandler) that gets values, for [`Subscribe`] with options and
/// for [middleware](crate::middleware).
///
/// A message is decoded before its task begins. A message that does not decode is reported and
/// rejected: see [`BrokerExt`](crate::BrokerExt).
pub struct AsyncJsonHandler<T, F> {
    runtime: Handle,
    make: F,
    values: PhantomData<fn(T)>,
}

impl<T, F, R> AsyncJsonHandler<T, F>
where
    T: DeserializeOwned,
    F: Fn(T) -> R + Send + Sync,
    R: Future<Output = Outcome> + Send + 'static,
{
    /// Makes a handler that runs on the runtime of the caller.
    ///
    /// # Panics
    ///
    /// If the caller is not inside a runtime; see [`on`](Self::on).
    #[track_caller]
    pub fn new(make: F) -> Self {
        Self::on(Handle::current(), make)
    }

    /// Makes a handler that runs on the runtime of this handle.
    pub fn on(runtime: Handle, make: F) -> Self {
        Self {
            runtime,
            make,
            values: PhantomData,
        }
    }
}

impl<T, F, R> Handler for AsyncJsonHandler<T, F>
where
    T: DeserializeOwned,
    F: Fn(T) -> R + Send + Sync,
    R: Future<Output = Outcome> + Send + 'static,
{
    /// Called by an outer handler that needs the outcome, such as a middleware. This thread waits
    /// for the outcome.
    fn handle(&self, message: &Message, context: &Context) -> Outcome {
        let value = decoded(message, context)?;
        asynchronous::run(&self.runtime, context, || (self.make)(value))
    }

    fn start(&self, message: &Message, context: &Context) -> Started {
        match decoded(message, context) {
            Ok(value) => asynchronous::start(&self.runtime, context, || (self.make)(value)),
            Err(error) => Started::Done(Err(error)),
        }
    }
}

impl<T, F> fmt::Debug for AsyncJsonHandler<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncJsonHandler").finish_non_exhaustive()
    }
}

/// The async variants of [`BrokerExt`](crate::BrokerExt), for `Arc`s of brokers in a tokio runtime.
///
/// They wait in the same way as the methods of [`AsyncBroker`].
///
/// ```
/// # tokio::runtime::Builder::new_multi_thread().build()?.block_on(async {
/// use std::sync::Arc;
/// use fanfeed_broker::{AsyncBrokerExt, Broker, MemoryBroker};
///
/// let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new());
/// let (tx, mut rx) = tokio::sync::mpsc::channel(16);
/// let subscription = broker.subscribe_json_async("numbers", move |numbers: Vec<u32>| {
///     let tx = tx.clone();
///     async move { Ok(tx.send(numbers).await?) }
/// }).await?;
/// broker.publish_json_async("numbers", &[1, 2, 3]).await?;
/// assert_eq!(rx.recv().await.unwrap(), [1, 2, 3]);
/// # drop(subscription);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait AsyncBrokerExt {
    /// The async variant of [`publish_json`](crate::BrokerExt::publish_json). The value is encoded
    /// at once.
    ///
    /// # Errors
    ///
    /// The errors of [`publish_json`](crate::BrokerExt::publish_json).
    fn publish_json_async<T: Serialize + ?Sized>(
        &self,
        key: impl Into<Key>,
        value: &T,
    ) -> impl Future<Output = Result<(), PublishJsonError>> + Send;

    /// Subscribes an async closure that gets values, as [`AsyncJsonHandler::new`] does.
    ///
    /// # Errors
    ///
    /// The errors of [`subscribe_with`](crate::Subscriber::subscribe_with).
    ///
    /// # Panics
    ///
    /// If the caller is not inside a runtime.
    fn subscribe_json_async<T, F, R>(
        &self,
        key: impl Into<Key>,
        handler: F,
    ) -> impl Future<Output = Result<BrokerSubscription, SubscribeError>> + Send
    where
        T: DeserializeOwned + 'static,
        F: Fn(T) -> R + Send + Sync + 'static,
        R: Future<Output = Outcome> + Send + 'static;

    /// Makes an async closure that gets values a member of a group.
    ///
    /// # Errors
    ///
    /// The errors of [`subscribe_with`](crate::Subscriber::subscribe_with).
    ///
    /// # Panics
    ///
    /// If the caller is not inside a runtime.
    fn subscribe_group_json_async<T, F, R>(
        &self,
        key: impl Into<Key>,
        group: impl Into<Arc<str>>,
        handler: F,
    ) -> impl Future<Output = Result<BrokerSubscription, SubscribeError>> + Send
    where
        T: DeserializeOwned + 'static,
        F: Fn(T) -> R + Send + Sync + 'static,
        R: Future<Output = Outcome> + Send + 'static;
}

impl<B: Broker + ?Sized + 'static> AsyncBrokerExt for Arc<B> {
    fn publish_json_async<T: Serialize + ?Sized>(
        &self,
        key: impl Into<Key>,
        value: &T,
    ) -> impl Future<Output = Result<(), PublishJsonError>> + Send {
        let message = encoded(key, value);
        async move {
            let published = self.publish_async(message?).await;
            published.map_err(PublishJsonError::Publish)
        }
    }

    fn subscribe_json_async<T, F, R>(
        &self,
        key: impl Into<Key>,
        handler: F,
    ) -> impl Future<Output = Result<BrokerSubscription, SubscribeError>> + Send
    where
        T: DeserializeOwned + 'static,
        F: Fn(T) -> R + Send + Sync + 'static,
        R: Future<Output = Outcome> + Send + 'static,
    {
        self.subscribe_async(Subscribe::new(key, AsyncJsonHandler::new(handler)))
    }

    fn subscribe_group_json_async<T, F, R>(
        &self,
        key: impl Into<Key>,
        group: impl Into<Arc<str>>,
        handler: F,
    ) -> impl Future<Output = Result<BrokerSubscription, SubscribeError>> + Send
    where
        T: DeserializeOwned + 'static,
        F: Fn(T) -> R + Send + Sync + 'static,
        R: Future<Output = Outcome> + Send + 'static,
    {
        self.subscribe_async(Subscribe::new(key, AsyncJsonHandler::new(handler)).group(group))
    }
}
