//! Async variants of the blocking methods, and async handlers.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{self, Poll};
use std::time::Duration;

use crossbeam_channel::{bounded, select};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, spawn_blocking};

use crate::broker::Broker;
use crate::context::Context;
use crate::dispatch::{Caller, Lane, Started, Unfinished, inside, panic_text, quietly};
use crate::error::{CloseError, FlushError, PublishError, SubscribeError};
use crate::handler::{Handler, HandlerError, Outcome};
use crate::message::Message;
use crate::observe::{Trace, Watch};
use crate::publisher::Begun;
use crate::receipt::Receipt;
use crate::subscriber::Subscribe;
use crate::subscription::BrokerSubscription;

/// A handler that is a task of a tokio runtime.
///
/// A task on the handler's runtime handles each message. While the task runs, no thread waits for
/// it, so a hundred thousand handlers may be pending. (A handler that is wrapped in a
/// [middleware](crate::middleware) keeps a thread of the pool waiting, because the middleware needs
/// the outcome.)
///
/// The future is dropped when the handler's [`timeout`](crate::SubscribeOptions::timeout) has
/// passed. When [`unsubscribe`](fanfeed::Subscription::unsubscribe) returns, the future has been
/// dropped too: either the unsubscribing thread drops it, without a thread of the runtime, or the
/// thread that polls it does so after that poll. So the poll must not wait for the unsubscribing
/// thread. Inside the poll of a handler, `unsubscribe` and `close` do not wait for handlers. The
/// same holds inside a handler that is not async.
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
        Self { runtime, make }
    }
}

/// Runs the handler of a message on the runtime. `make` makes its future, on this thread.
fn spawn<R>(
    runtime: &Handle,
    context: &Context,
    make: impl FnOnce() -> R,
    finish: Finish,
) -> Arc<Task>
where
    R: Future<Output = Outcome> + Send + 'static,
{
    let task = Arc::new(Task {
        state: Mutex::new(State {
            future: Some(Box::pin(make())),
            finish: Some(finish),
            is_cancelled: false,
        }),
        lane: Arc::clone(context.lane()),
        trace: Trace::current(),
        abort: OnceLock::new(),
    });
    let handle = runtime.spawn(Polled(Arc::clone(&task)));
    let _ = task.abort.set(handle.abort_handle());
    task
}

/// Runs the handler of a message, and waits for its outcome. Used where an outer handler, such as a
/// middleware, needs the outcome.
pub(crate) fn run<R>(runtime: &Handle, context: &Context, make: impl FnOnce() -> R) -> Outcome
where
    R: Future<Output = Outcome> + Send + 'static,
{
    let token = context.token();
    let (sender, receiver) = bounded(1);
    let finish = move |outcome| {
        let _ = sender.send(outcome);
    };
    let task = spawn(runtime, context, make, Box::new(finish));
    let lost = || Err(HandlerError::failed("the handler was dropped"));
    select! {
        recv(receiver) -> outcome => outcome.unwrap_or_else(|_| lost()),
        recv(token.channel()) -> _ => {
            task.end();
            receiver.recv().unwrap_or_else(|_| lost())
        }
    }
}

/// Starts the handler of a message. The handler continues without this thread.
pub(crate) fn start<R>(runtime: &Handle, context: &Context, make: impl FnOnce() -> R) -> Started
where
    R: Future<Output = Outcome> + Send + 'static,
{
    let completion = context.completion();
    let (hub, watch) = (Arc::clone(context.lane().hub()), Watch::start());
    let finish = move |outcome| {
        hub.counters.meters.handled(watch);
        completion.finish(outcome);
    };
    Started::Later(spawn(runtime, context, make, Box::new(finish)))
}

impl<F, R> Handler for AsyncHandler<F>
where
    F: Fn(Message) -> R + Send + Sync,
    R: Future<Output = Outcome> + Send + 'static,
{
    /// Called by an outer handler that needs the outcome, such as a middleware. This thread waits
    /// for the outcome.
    fn handle(&self, message: &Message, context: &Context) -> Outcome {
        run(&self.runtime, context, || (self.make)(message.clone()))
    }

    fn start(&self, message: &Message, context: &Context) -> Started {
        start(&self.runtime, context, || (self.make)(message.clone()))
    }
}

type Finish = Box<dyn FnOnce(Outcome) + Send>;

/// A running handler.
///
/// The future is in `state`, and is taken out while a thread polls it. A thread of the runtime, or
/// the thread that unsubscribes, drops the future if it is there. Otherwise it leaves a mark, and
/// the polling thread drops the future. The thread that dropped the future then calls `finish`.
struct Task {
    state: Mutex<State>,
    lane: Arc<Lane>,
    trace: Trace,
    abort: OnceLock<AbortHandle>,
}

struct State {
    future: Option<Pin<Box<dyn Future<Output = Outcome> + Send>>>,
    finish: Option<Finish>,
    is_cancelled: bool,
}

/// The future that the runtime polls.
struct Polled(Arc<Task>);

impl Task {
    /// Drops the future, and then calls `finish`.
    fn conclude(&self, future: Pin<Box<dyn Future<Output = Outcome> + Send>>, outcome: Outcome) {
        inside(&self.lane, || {
            self.trace.inside(|| quietly(|| drop(future)))
        });
        let finish = self.state.lock().finish.take();
        if let Some(finish) = finish {
            finish(outcome);
        }
    }
}

impl Unfinished for Task {
    fn cancel(&self) {
        self.state.lock().is_cancelled = true;
        if let Some(abort) = self.abort.get() {
            abort.abort();
        }
    }

    fn end(&self) {
        let future = {
            let mut state = self.state.lock();
            state.is_cancelled = true;
            state.future.take()
        };
        if let Some(future) = future {
            self.conclude(future, cancelled());
        }
        if let Some(abort) = self.abort.get() {
            abort.abort();
        }
    }
}

fn cancelled() -> Outcome {
    Err(HandlerError::failed("the handler was cancelled"))
}

impl Future for Polled {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        let task = &*self.0;
        let Some(mut future) = task.state.lock().future.take() else {
            return Poll::Ready(());
        };
        let polled = catch_unwind(AssertUnwindSafe(|| {
            inside(&task.lane, || {
                task.trace.inside(|| future.as_mut().poll(cx))
            })
        }));
        let outcome = match polled {
            Ok(Poll::Ready(outcome)) => outcome,
            Ok(Poll::Pending) => {
                let mut state = task.state.lock();
                if !state.is_cancelled {
                    state.future = Some(future);
                    return Poll::Pending;
                }
                drop(state);
                cancelled()
            }
            Err(panic) => {
                let text = format!("the handler panicked: {}", panic_text(&*panic));
                quietly(|| drop(panic));
                Err(HandlerError::failed(text))
            }
        };
        task.conclude(future, outcome);
        Poll::Ready(())
    }
}

impl Drop for Polled {
    /// The runtime drops the task because the task was aborted, or the runtime is shutting down.
    fn drop(&mut self) {
        let (future, is_cancelled) = {
            let mut state = self.0.state.lock();
            (state.future.take(), state.is_cancelled)
        };
        if let Some(future) = future {
            let outcome = match is_cancelled {
                true => cancelled(),
                false => Err(HandlerError::failed(
                    "the runtime of the handler was shut down",
                )),
            };
            self.0.conclude(future, outcome);
        }
    }
}

impl<F> fmt::Debug for AsyncHandler<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncHandler").finish_non_exhaustive()
    }
}

/// The blocking methods as futures, for `Arc`s of brokers in a tokio runtime.
///
/// Two more are elsewhere: [`Drivers::connect_async`](crate::Drivers::connect_async) and
/// [`BrokerSubscription::ready_async`].
///
/// [`publish_async`](Self::publish_async) publishes at once where there is room, and waits for room
/// without a thread. If the future is dropped while it waits, the message is not published to the
/// buffers that had no room. The other methods wait on one of the runtime's threads for blocking
/// work; if the future is dropped, that wait still runs to its end.
pub trait AsyncBroker {
    /// The async variant of [`publish`](crate::Publisher::publish).
    ///
    /// # Errors
    ///
    /// The errors of [`publish`](crate::Publisher::publish).
    fn publish_async(
        &self,
        message: Message,
    ) -> impl Future<Output = Result<(), PublishError>> + Send;

    /// The async variant of [`publish_timeout`](crate::Publisher::publish_timeout).
    ///
    /// # Errors
    ///
    /// The errors of [`publish_timeout`](crate::Publisher::publish_timeout).
    fn publish_timeout_async(
        &self,
        message: Message,
        timeout: Duration,
    ) -> impl Future<Output = Result<(), PublishError>> + Send;

    /// The async variant of [`publish_confirmed`](crate::Publisher::publish_confirmed).
    ///
    /// # Errors
    ///
    /// The errors of [`publish_confirmed`](crate::Publisher::publish_confirmed).
    fn publish_confirmed_async(
        &self,
        message: Message,
        timeout: Duration,
    ) -> impl Future<Output = Result<Receipt, PublishError>> + Send;

    /// The async variant of [`flush`](crate::Publisher::flush).
    ///
    /// # Errors
    ///
    /// The errors of [`flush`](crate::Publisher::flush).
    fn flush_async(&self, timeout: Duration)
    -> impl Future<Output = Result<(), FlushError>> + Send;

    /// The async variant of [`subscribe_with`](crate::Subscriber::subscribe_with).
    ///
    /// # Errors
    ///
    /// The errors of [`subscribe_with`](crate::Subscriber::subscribe_with).
    fn subscribe_async(
        &self,
        request: Subscribe,
    ) -> impl Future<Output = Result<BrokerSubscription, SubscribeError>> + Send;

    /// The async variant of [`close`](Broker::close).
    ///
    /// # Errors
    ///
    /// The errors of [`close`](Broker::close).
    fn close_async(
        &self,
        deadline: Duration,
    ) -> impl Future<Output = Result<(), CloseError>> + Send;
}

/// Runs a blocking method on a thread for blocking work. If a handler calls this, that thread
/// counts as inside the handler. A panic there is resumed here.
pub(crate) async fn blocking<T: Send + 'static>(verb: impl FnOnce() -> T + Send + 'static) -> T {
    let (caller, trace) = (Caller::current(), Trace::current());
    let verb = move || caller.inside(|| trace.inside(verb));
    match spawn_blocking(verb).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The runtime is shutting down, and drops this future too.
            Err(_) => std::future::pending().await,
        },
    }
}

impl<B: Broker + ?Sized + 'static> AsyncBroker for Arc<B> {
    async fn publish_async(&self, message: Message) -> Result<(), PublishError> {
        match self.begin_publish(message) {
            Begun::Done(result) => result,
            Begun::Later(future) => future.await,
            Begun::Blocks(message) => {
                let broker = Arc::clone(self);
                blocking(move || broker.publish(message)).await
            }
        }
    }

    async fn publish_timeout_async(
        &self,
        message: Message,
        timeout: Duration,
    ) -> Result<(), PublishError> {
        let broker = Arc::clone(self);
        blocking(move || broker.publish_timeout(message, timeout)).await
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
