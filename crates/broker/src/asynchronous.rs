//! Async twins of the blocking verbs, and async handlers.

use std::fmt;
use std::future::Future;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{bounded, select};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use crate::broker::Broker;
use crate::context::Context;
use crate::error::{CloseError, FlushError, PublishError, SubscribeError};
use crate::handler::{Handler, HandlerError, Outcome};
use crate::message::Message;
use crate::receipt::Receipt;
use crate::subscriber::Subscribe;
use crate::subscription::BrokerSubscription;

/// A handler that is a task of a tokio runtime.
///
/// Each message is a task on the runtime of the handle. When the subscription ends, or the handler's
/// [`timeout`](crate::SubscribeOptions::timeout) is over, the future is dropped. While the task is under way it occupies a
/// thread of the broker's pool, which waits for it; so the pool's limit bounds how many there are at a time.
///
/// ```
/// # tokio::runtime::Builder::new_multi_thread().build()?.block_on(async {
/// use std::sync::Arc;
/// use fanfeed_broker::{AsyncBroker, AsyncHandler, Broker, MemoryBroker, Message, Subscribe};
///
/// let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new());
/// let (tx, mut rx) = tokio::sync::mpsc::channel(16);
/// let handler = AsyncHandler::new(move |message: Message| {
///     let tx = tx.clone();
///     async move {
///         tx.send(message).await?;
///         Ok(())
///     }
/// });
/// let subscription = broker.subscribe_async(Subscribe::new("chat", handler)).await?;
/// broker.publish_async(Message::new("chat", "hello")).await?;
/// assert_eq!(rx.recv().await.unwrap().payload(), &b"hello"[..]);
/// # drop(subscription);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct AsyncHandler<F> {
    runtime: Handle,
    make: F,
}

impl<F, R> AsyncHandler<F>
where
    F: Fn(Message) -> R + Send + Sync,
    R: Future<Output = Outcome> + Send + 'static,
{
    /// A handler on the runtime that this is called in.
    ///
    /// # Panics
    ///
    /// Outside of a runtime; see [`on`](Self::on).
    #[track_caller]
    pub fn new(make: F) -> Self {
        Self::on(Handle::current(), make)
    }

    /// A handler on the runtime of this handle.
    pub fn on(runtime: Handle, make: F) -> Self {
        Self { runtime, make }
    }
}

impl<F, R> Handler for AsyncHandler<F>
where
    F: Fn(Message) -> R + Send + Sync,
    R: Future<Output = Outcome> + Send + 'static,
{
    fn handle(&self, message: &Message, context: &Context) -> Outcome {
        let token = context.token();
        let future = (self.make)(message.clone());
        let (sender, receiver) = bounded(1);
        let task = self.runtime.spawn(async move {
            let outcome = future.await;
            let _ = sender.send(outcome);
        });
        select! {
            recv(receiver) -> outcome => match outcome {
                Ok(outcome) => outcome,
                // The task has ended without an outcome: it panicked, or its runtime was shut down.
                Err(_) => match self.runtime.block_on(task) {
                    Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
                    _ => Err(HandlerError::failed("the runtime of the handler was shut down")),
                },
            },
            recv(token.channel()) -> _ => {
                task.abort();
                Err(HandlerError::failed("the handler was cancelled"))
            }
        }
    }
}

impl<F> fmt::Debug for AsyncHandler<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncHandler").finish_non_exhaustive()
    }
}

/// The blocking verbs as futures, for `Arc`s of brokers in a tokio runtime.
///
/// A verb that can be done at once is; otherwise it waits on a thread of the runtime for blocking work. A future that is
/// dropped leaves that wait to end by itself: the message may yet be published.
pub trait AsyncBroker {
    /// As [`publish`](crate::Publisher::publish).
    ///
    /// # Errors
    ///
    /// As there.
    fn publish_async(
        &self,
        message: Message,
    ) -> impl Future<Output = Result<(), PublishError>> + Send;

    /// As [`publish_confirmed`](crate::Publisher::publish_confirmed).
    ///
    /// # Errors
    ///
    /// As there.
    fn publish_confirmed_async(
        &self,
        message: Message,
        timeout: Duration,
    ) -> impl Future<Output = Result<Receipt, PublishError>> + Send;

    /// As [`flush`](crate::Publisher::flush).
    ///
    /// # Errors
    ///
    /// As there.
    fn flush_async(&self, timeout: Duration)
    -> impl Future<Output = Result<(), FlushError>> + Send;

    /// As [`subscribe_with`](crate::Subscriber::subscribe_with).
    ///
    /// # Errors
    ///
    /// As there.
    fn subscribe_async(
        &self,
        request: Subscribe,
    ) -> impl Future<Output = Result<BrokerSubscription, SubscribeError>> + Send;

    /// As [`close`](Broker::close).
    ///
    /// # Errors
    ///
    /// As there.
    fn close_async(
        &self,
        deadline: Duration,
    ) -> impl Future<Output = Result<(), CloseError>> + Send;
}

/// Runs a blocking verb on a thread for such. A panic goes on here.
async fn blocking<T: Send + 'static>(verb: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(verb).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The runtime is being shut down, and this future with it.
            Err(_) => std::future::pending().await,
        },
    }
}

impl<B: Broker + ?Sized + 'static> AsyncBroker for Arc<B> {
    async fn publish_async(&self, message: Message) -> Result<(), PublishError> {
        let broker = Arc::clone(self);
        if broker.capabilities().remote {
            return match broker.try_publish(message) {
                Err(PublishError::Full(message)) => blocking(move || broker.publish(message)).await,
                other => other,
            };
        }
        // In memory, a `try_publish` that finds one subscription full has served the others.
        blocking(move || broker.publish(message)).await
    }

    async fn publish_confirmed_async(
        &self,
        message: Message,
        timeout: Duration,
    ) -> Result<Receipt, PublishError> {
        let broker = Arc::clone(self);
        blocking(move || broker.publish_confirmed(message, timeout)).await
    }

    async fn flush_async(&self, timeout: Duration) -> Result<(), FlushError> {
        let broker = Arc::clone(self);
        blocking(move || broker.flush(timeout)).await
    }

    async fn subscribe_async(
        &self,
        request: Subscribe,
    ) -> Result<BrokerSubscription, SubscribeError> {
        let broker = Arc::clone(self);
        blocking(move || broker.subscribe_with(request)).await
    }

    async fn close_async(&self, deadline: Duration) -> Result<(), CloseError> {
        let broker = Arc::clone(self);
        blocking(move || broker.close(deadline)).await
    }
}
