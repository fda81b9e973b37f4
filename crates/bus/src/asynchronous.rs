//! Async listeners, and dispatches that are awaited.

use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{self, Poll};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::core::{Entry, Place, Progress, Run, Target, Timer, Unfinished, Wait, enter_task};
use crate::dispatch::Dispatch;
use crate::error::{BusError, EventError};
use crate::event::{AnyEvent, DynEvent, Event};
use crate::listener::{Context, Outcome};
use crate::observe::{Trace, Watch};
use crate::quietly::{catch, quietly};
use crate::register::{Register, label_of, wrong_type};
use crate::sync::Mutex;

type Listening = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// Makes the future of a call.
pub(crate) trait Make: Send + Sync {
    fn make(&self, event: &Arc<dyn AnyEvent>) -> Result<Listening, BusError>;

    /// Whether the event is of the listener's type.
    fn takes(&self, _event: &DynEvent) -> bool {
        true
    }
}

struct Typed<E, F> {
    make: F,
    event: PhantomData<fn(E)>,
}

impl<E, F, R> Make for Typed<E, F>
where
    E: Event,
    F: Fn(Arc<E>) -> R + Send + Sync,
    R: Future<Output = Outcome> + Send + 'static,
{
    fn make(&self, event: &Arc<dyn AnyEvent>) -> Result<Listening, BusError> {
        let shared = event.shared().and_then(|shared| shared.downcast().ok());
        match shared {
            Some(event) => Ok(Box::pin((self.make)(event))),
            None => Err(wrong_type::<E>(&**event)),
        }
    }

    fn takes(&self, event: &DynEvent) -> bool {
        event.as_any().is::<E>()
    }
}

struct Generic<F>(F);

impl<F, R> Make for Generic<F>
where
    F: Fn(Arc<dyn AnyEvent>) -> R + Send + Sync,
    R: Future<Output = Outcome> + Send + 'static,
{
    fn make(&self, event: &Arc<dyn AnyEvent>) -> Result<Listening, BusError> {
        Ok(Box::pin((self.0)(Arc::clone(event))))
    }
}

/// What an async listener has instead of code that is called.
struct Nothing;

impl Target for Nothing {
    fn call(&self, _event: &DynEvent, _context: &Context<'_>) -> Result<(), BusError> {
        Ok(())
    }
}

/// Async listeners, with the feature `tokio`. Each call is a task of a runtime: that of the caller
/// of these functions, unless [`on`](Self::on) names another. While it is pending no thread waits
/// for it.
///
/// When [`unsubscribe`](fanfeed::Subscription::unsubscribe) returns, the futures under way have
/// been dropped, by the unsubscribing thread or by the thread that polls one at that moment. A
/// future that was dropped before it was done is reported as [`Cancelled`](BusError::Cancelled).
impl Register {
    /// An async listener for events of one type.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_multi_thread().build()?.block_on(async {
    /// use std::sync::Arc;
    /// use fanfeed_bus::{Event, EventBus, Register};
    ///
    /// struct Ping(u32);
    /// impl Event for Ping {
    ///     const NAME: &'static str = "ping";
    /// }
    ///
    /// let bus = EventBus::new();
    /// let (tx, mut rx) = tokio::sync::mpsc::channel(16);
    /// let listener = Register::async_event(move |event: Arc<Ping>| {
    ///     let tx = tx.clone();
    ///     async move { Ok(tx.send(event.0).await?) }
    /// });
    /// bus.register_with(listener)?.detach();
    /// bus.dispatch(Ping(7)).await?;
    /// assert_eq!(rx.recv().await, Some(7));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn async_event<E, F, R>(listener: F) -> Self
    where
        E: Event,
        F: Fn(Arc<E>) -> R + Send + Sync + 'static,
        R: Future<Output = Outcome> + Send + 'static,
    {
        let label = label_of(&listener);
        let typed = Typed {
            make: listener,
            event: PhantomData,
        };
        let mut register = Self::new(Place::Name(E::NAME.into()), None, Box::new(Nothing), label);
        register.typed = Some(std::any::TypeId::of::<E>());
        register.with_tasks(Arc::new(typed))
    }

    /// An async listener for the events of one name, which is chosen at run time.
    pub fn async_named<F, R>(name: impl Into<Arc<str>>, listener: F) -> Self
    where
        F: Fn(Arc<dyn AnyEvent>) -> R + Send + Sync + 'static,
        R: Future<Output = Outcome> + Send + 'static,
    {
        let label = label_of(&listener);
        let register = Self::new(Place::Name(name.into()), None, Box::new(Nothing), label);
        register.with_tasks(Arc::new(Generic(listener)))
    }

    /// An async listener for all events.
    pub fn async_all<F, R>(listener: F) -> Self
    where
        F: Fn(Arc<dyn AnyEvent>) -> R + Send + Sync + 'static,
        R: Future<Output = Outcome> + Send + 'static,
    {
        let label = label_of(&listener);
        let register = Self::new(Place::All, None, Box::new(Nothing), label);
        register.with_tasks(Arc::new(Generic(listener)))
    }

    fn with_tasks(mut self, make: Arc<dyn Make>) -> Self {
        let runtime = Handle::try_current().ok();
        self.run = Run::Task { make, runtime };
        self
    }

    /// Runs an async listener on the runtime of this handle. Has no effect on other listeners.
    pub fn on(mut self, handle: Handle) -> Self {
        if let Run::Task { runtime, .. } = &mut self.run {
            *runtime = Some(handle);
        }
        self
    }
}

/// A call under way.
///
/// The future is in `state`, and is taken out while a thread polls it. A thread of the runtime, or
/// the thread that unregisters, drops the future if it is there. Otherwise it leaves a mark, and
/// the polling thread drops the future. The thread that dropped the future ends the call, once: it
/// takes `end`.
struct Task {
    state: Mutex<State>,
    entry: Arc<Entry>,
    name: Arc<str>,
    progress: Arc<Progress>,
    trace: Trace,
    abort: OnceLock<AbortHandle>,
}

struct State {
    future: Option<Listening>,
    is_cancelled: bool,
    timer: Option<Timer>,
    watch: Option<Watch>,
}

/// Starts a call. The caller has counted it in `progress`, and its visit has the listener's word.
pub(crate) fn start(
    entry: &Arc<Entry>,
    make: &dyn Make,
    runtime: &Handle,
    event: &Arc<dyn AnyEvent>,
    progress: &Arc<Progress>,
) {
    let made = catch(|| make.make(event));
    let future = match made.unwrap_or_else(|text| Err(BusError::Panicked(text))) {
        Ok(future) => future,
        Err(error) => {
            fail(entry, event.name(), progress, error);
            if entry.is_only(&**event) {
                progress.shared.unregister(&entry.source);
            }
            return progress.finish_one();
        }
    };
    let task = Arc::new(Task {
        state: Mutex::new(State {
            future: Some(future),
            is_cancelled: false,
            timer: None,
            watch: Some(Watch::start()),
        }),
        entry: Arc::clone(entry),
        name: event.name().into(),
        progress: Arc::clone(progress),
        trace: Trace::listening(event.name(), entry.source.label()),
        abort: OnceLock::new(),
    });
    let unfinished: Arc<dyn Unfinished> = Arc::clone(&task) as _;
    if !entry.source.add_unfinished(&unfinished) {
        return task.end();
    }
    if let Some(timeout) = entry.source.timeout {
        task.set_timer(timeout, unfinished);
    }
    let handle = runtime.spawn(Polled(Arc::clone(&task)));
    let _ = task.abort.set(handle.abort_handle());
    if task.state.lock().is_cancelled {
        handle.abort();
    }
}

fn fail(entry: &Entry, event: &str, progress: &Progress, error: BusError) {
    let label = Some(Arc::clone(entry.source.label()));
    let error = EventError::new(event, label, error);
    progress.shared.report(&error);
    progress.fail(error);
}

impl Task {
    fn set_timer(&self, timeout: Duration, unfinished: Arc<dyn Unfinished>) {
        // Under the lock, or a timer that fires at once would end the call before the call knows
        // that it overran.
        let mut state = self.state.lock();
        // If it was unregistered meanwhile, the call is over or about to be.
        if !state.is_cancelled {
            state.timer = Some(Timer::set(
                &self.progress.shared,
                &self.entry.source,
                timeout,
                fanfeed::CancelToken::new(),
                &self.name,
                Some(&self.progress),
                Some(unfinished),
            ));
        }
    }

    /// Drops the future, and ends the call.
    fn conclude(self: &Arc<Self>, future: Listening, outcome: Result<(), BusError>) {
        let shared = &self.progress.shared;
        let _inside = enter_task(&self.progress);
        self.trace.inside(|| quietly(|| drop(future)));
        let (timer, watch) = {
            let mut state = self.state.lock();
            state.is_cancelled = true;
            (state.timer.take(), state.watch.take())
        };
        if let Some(watch) = watch {
            shared.meters.handled(watch);
        }
        let has_overrun = timer.is_some_and(|timer| timer.end(shared).is_some());
        match outcome {
            // The overrun is reported where the timer fires.
            Err(BusError::Cancelled) if has_overrun => {}
            Err(error) => fail(&self.entry, &self.name, &self.progress, error),
            Ok(()) => {}
        }
        if self.entry.source.is_once {
            shared.unregister(&self.entry.source);
        }
        self.progress.finish_one();
        let unfinished: Arc<dyn Unfinished> = Arc::clone(self) as _;
        self.entry.source.remove_unfinished(&unfinished);
        shared.bell.ring();
    }
}

impl Unfinished for Task {
    fn cancel(&self) {
        self.state.lock().is_cancelled = true;
        if let Some(abort) = self.abort.get() {
            abort.abort();
        }
    }

    fn end(self: Arc<Self>) {
        let future = {
            let mut state = self.state.lock();
            state.is_cancelled = true;
            state.future.take()
        };
        if let Some(future) = future {
            self.conclude(future, Err(BusError::Cancelled));
        }
        if let Some(abort) = self.abort.get() {
            abort.abort();
        }
    }
}

/// The future that the runtime polls.
struct Polled(Arc<Task>);

impl Future for Polled {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        let task = &self.0;
        let Some(mut future) = task.state.lock().future.take() else {
            return Poll::Ready(());
        };
        let polled = {
            let _inside = enter_task(&task.progress);
            catch(|| task.trace.inside(|| future.as_mut().poll(cx)))
        };
        let outcome = match polled {
            Ok(Poll::Ready(outcome)) => outcome.map_err(BusError::failed),
            Ok(Poll::Pending) => {
                let mut state = task.state.lock();
                if !state.is_cancelled {
                    state.future = Some(future);
                    return Poll::Pending;
                }
                drop(state);
                Err(BusError::Cancelled)
            }
            Err(text) => Err(BusError::Panicked(text)),
        };
        task.conclude(future, outcome);
        Poll::Ready(())
    }
}

impl Drop for Polled {
    /// The runtime drops the task: it was aborted, or is being shut down.
    fn drop(&mut self) {
        let future = self.0.state.lock().future.take();
        if let Some(future) = future {
            self.0.conclude(future, Err(BusError::Cancelled));
        }
    }
}

/// What [`Dispatch`] becomes when it is awaited.
#[derive(Debug)]
pub struct DispatchFuture {
    dispatch: Dispatch,
    /// The wait under way, in the first poll of which it was checked.
    wait: Option<Wait>,
}

impl Drop for DispatchFuture {
    fn drop(&mut self) {
        if let Some(progress) = self.dispatch.progress() {
            progress.wake_nobody();
        }
    }
}

impl Future for DispatchFuture {
    type Output = Result<(), BusError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let Some(progress) = self.dispatch.progress().cloned() else {
            return Poll::Ready(Ok(()));
        };
        if progress.is_done() {
            return Poll::Ready(Ok(()));
        }
        if self.wait.is_none() {
            match Wait::begin(progress.number()) {
                Ok(wait) => self.wait = Some(wait),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        match progress.wake_when_done(cx.waker()) {
            true => Poll::Pending,
            false => Poll::Ready(Ok(())),
        }
    }
}

/// Waits until all listeners have returned, without a thread. Returns
/// [`WouldDeadlock`](BusError::WouldDeadlock) inside a listener that the dispatch waits for.
impl IntoFuture for Dispatch {
    type Output = Result<(), BusError>;
    type IntoFuture = DispatchFuture;

    fn into_future(self) -> DispatchFuture {
        DispatchFuture {
            dispatch: self,
            wait: None,
        }
    }
}
