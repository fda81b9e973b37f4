//! Callbacks for what happens to channels and members.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::event::ServerEvent;
use crate::connection::Connection;
use crate::middleware::{guard, within};
use crate::observe::{Observers, shown_error};

/// Why a channel ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChannelEnd {
    /// Its last member left.
    Emptied,
    /// Its lifetime was over.
    Expired,
    /// `close_channel` was called.
    Closed,
    /// The server is shutting down.
    Shutdown,
}

type HookFuture = Pin<Box<dyn Future<Output = ()> + Send>>;
type Hook<E> = Option<Box<dyn Fn(E) -> HookFuture + Send + Sync>>;

/// How long one call of a hook may take before it is dropped.
const HOOK_TIME: Duration = Duration::from_secs(30);

/// A channel with more events than these waits for its hooks before another client may join it.
const MOST_WAITING: usize = 1024;

/// The hooks that an application has set.
#[derive(Default)]
pub(super) struct Hooks {
    pub(super) join: Hook<Connection>,
    pub(super) leave: Hook<Connection>,
    pub(super) create: Hook<Arc<str>>,
    pub(super) close: Hook<(Arc<str>, ChannelEnd)>,
}

/// What happened.
pub(super) enum Event {
    Create(Arc<str>),
    Join(Connection),
    Leave(Connection),
    Close(Arc<str>, ChannelEnd),
}

pub(super) fn hook<E, F, R>(f: F) -> Hook<E>
where
    F: Fn(E) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    Some(Box::new(move |event| Box::pin(f(event))))
}

impl Event {
    fn channel(&self) -> &Arc<str> {
        match self {
            Self::Create(channel) | Self::Close(channel, _) => channel,
            Self::Join(connection) | Self::Leave(connection) => connection.shared_channel(),
        }
    }

    /// The method of the builder that sets the hook.
    fn hook(&self) -> &'static str {
        match self {
            Self::Create(_) => "on_channel_create",
            Self::Join(_) => "on_join",
            Self::Leave(_) => "on_leave",
            Self::Close(..) => "on_channel_close",
        }
    }
}

impl Hooks {
    fn call(&self, event: Event) -> Option<HookFuture> {
        match event {
            Event::Create(channel) => self.create.as_ref().map(|hook| hook(channel)),
            Event::Join(connection) => self.join.as_ref().map(|hook| hook(connection)),
            Event::Leave(connection) => self.leave.as_ref().map(|hook| hook(connection)),
            Event::Close(channel, end) => self.close.as_ref().map(|hook| hook((channel, end))),
        }
    }

    fn are_none(&self) -> bool {
        let Self {
            join,
            leave,
            create,
            close,
        } = self;
        join.is_none() && leave.is_none() && create.is_none() && close.is_none()
    }

    fn wants(&self, event: &Event) -> bool {
        match event {
            Event::Create(_) => self.create.is_some(),
            Event::Join(_) => self.join.is_some(),
            Event::Leave(_) => self.leave.is_some(),
            Event::Close(..) => self.close.is_some(),
        }
    }
}

/// Calls hooks on tasks of their own: those of one channel in order, those of different channels at
/// the same time.
pub(super) struct HookRunner {
    hooks: Hooks,
    observers: Arc<Observers<ServerEvent>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// By channel, while a task works on them.
    queues: Mutex<HashMap<Arc<str>, VecDeque<Event>>>,
    idle: Notify,
    stop: CancellationToken,
}

impl HookRunner {
    pub(super) fn new(hooks: Hooks, observers: Arc<Observers<ServerEvent>>) -> Self {
        Self {
            hooks,
            observers,
            shared: Arc::default(),
        }
    }

    /// The observers of the server.
    pub(super) fn observers(&self) -> &Arc<Observers<ServerEvent>> {
        &self.observers
    }

    /// Queues an event. The caller holds the lock under which it happened, so that the events of a
    /// channel are in order.
    pub(super) fn push(self: &Arc<Self>, runtime: &tokio::runtime::Handle, event: Event) {
        if !self.hooks.wants(&event) {
            return;
        }
        let channel = Arc::clone(event.channel());
        let mut queues = self.shared.queues.lock();
        if let Some(queue) = queues.get_mut(&channel) {
            queue.push_back(event);
            return;
        }
        queues.insert(Arc::clone(&channel), VecDeque::from([event]));
        drop(queues);
        let queue = Queue {
            shared: Arc::clone(&self.shared),
            channel,
            is_done: false,
        };
        runtime.spawn(Arc::clone(self).run(queue));
    }

    /// Whether the hooks of so many channels are late that no client should open another one now.
    /// Channels that have ended are among them, so a limit of those that have members does not
    /// bound these.
    pub(super) fn are_behind(&self, channels: usize) -> bool {
        self.shared.queues.lock().len() > channels
    }

    /// Whether the hooks of a channel are so late that no client should join it now.
    pub(super) fn is_behind(&self, channel: &str) -> bool {
        if self.hooks.are_none() {
            return false;
        }
        let queues = self.shared.queues.lock();
        let waiting = queues.get(channel).map_or(0, VecDeque::len);
        waiting > MOST_WAITING
    }

    async fn run(self: Arc<Self>, mut queue: Queue) {
        let stop = &self.shared.stop;
        let work = async {
            while let Some(event) = queue.next() {
                self.run_one(event).await;
            }
        };
        tokio::select! {
            () = work => {}
            () = stop.cancelled() => {}
        }
    }

    /// A panic of a hook, or a hook that takes too long, concerns only that call.
    async fn run_one(&self, event: Event) {
        let (channel, callback) = (Arc::clone(event.channel()), event.hook());
        let outcome = match guard(|| self.hooks.call(event)) {
            Ok(None) => return,
            Ok(Some(future)) => within(HOOK_TIME, future).await,
            Err(panic) => Err(panic),
        };
        let error: Arc<str> = match outcome {
            Ok(Some(())) => return,
            Ok(None) => format!("it took longer than {HOOK_TIME:?}, and was dropped").into(),
            Err(panic) => shown_error(&panic.text()),
        };
        self.observers.tell(|| ServerEvent::CallbackFailed {
            callback,
            channel,
            error,
        });
    }

    /// Waits until all queued events have been handled.
    pub(super) async fn idle(&self) {
        loop {
            let idle = self.shared.idle.notified();
            if self.shared.queues.lock().is_empty() {
                return;
            }
            idle.await;
        }
    }

    /// Drops the hooks that run, and what is queued.
    pub(super) fn stop(&self) {
        self.shared.stop.cancel();
    }
}

/// The events of a channel, for the task that works on them.
struct Queue {
    shared: Arc<Shared>,
    channel: Arc<str>,
    /// Once it is, the next event of the channel makes a new queue.
    is_done: bool,
}

impl Queue {
    fn next(&mut self) -> Option<Event> {
        let mut queues = self.shared.queues.lock();
        let event = queues.get_mut(&self.channel)?.pop_front();
        if event.is_none() {
            queues.remove(&self.channel);
            self.is_done = true;
        }
        event
    }
}

impl Drop for Queue {
    /// The task may be dropped at any time, also before it began: with its runtime, or when hooks
    /// are stopped.
    fn drop(&mut self) {
        let left = match self.is_done {
            true => None,
            false => self.shared.queues.lock().remove(&self.channel),
        };
        drop(left);
        self.shared.idle.notify_waiters();
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("join", &self.join.is_some())
            .field("leave", &self.leave.is_some())
            .field("create", &self.create.is_some())
            .field("close", &self.close.is_some())
            .finish()
    }
}
