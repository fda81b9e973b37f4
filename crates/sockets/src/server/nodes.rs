//! Many servers, the nodes, that serve the same channels over a broker.
//!
//! # Keys
//!
//! All begin with a prefix. `channel.<id>` carries the frames of one channel, `node.<id>` what is
//! for one node, `presence` the members of all nodes. A message is a line of JSON ([`envelope`])
//! and then the frame as it goes on the wire: no other node serializes it again.
//!
//! # Invariants
//!
//! 1. A broadcast goes to the members of this node at once, and then to the broker. The origin
//!    ignores its own copy; other nodes ignore a copy that comes again while it is in their window.
//!    So a member gets each broadcast at most once.
//! 2. A session holds the [`Link`] of its channel, by a [`Route`], from before it joins until after
//!    it left, and a history holds it as long as it is kept. The first holder subscribes, the last
//!    one unsubscribes, and a channel never has two subscriptions, unless a handler is stuck for
//!    5 s. `join.success` waits for the subscription to be live, so that a member misses nothing
//!    that another node publishes after it; it does not wait when the broker's server is away, nor
//!    longer than [`NodeOptions::patience`]. The broker decides how messages are lost later.
//! 3. Changes of presence happen under the lock of the server's channels, are numbered, and are
//!    published in order by one task. See [`remote`] for how the others keep up.
//! 4. Nothing here blocks: neither a session, nor a broadcast, nor a handler of the broker. Where
//!    the broker has no room, the message is not published, which is counted and told.
//!
//! What is promised, and what can race, stands on the page `docs::nodes`.

mod api;
mod arrive;
mod ask;
mod envelope;
mod events;
mod gate;
mod holes;
mod keys;
mod local;
mod options;
mod remote;
mod route;
mod seen;
mod task;

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak, mpsc};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fanfeed::Feed;
use fanfeed_broker::{Broker, Message as BrokerMessage, SubscribeOptions};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::channel::Expiry;
use super::core::Core;
use super::history::Hold;
use super::mailbox::Frame;
use crate::connection::Connection;
use crate::observe::shown_error;
use crate::wire::unique_id;
use ask::Questions;
use envelope::{Entry, Question, What};
use events::{Counters, count};
use keys::{Keys, LONGEST_PREFIX};
use local::Local;
use remote::{Effects, LONGEST, Remote, SHORTEST};
use route::{Link, Route};
use seen::Seen;

pub use events::{NodeEvent, NodeStats, Presence};
pub use options::NodeOptions;

/// What a server knows about the nodes, and does for them.
pub(super) struct Nodes {
    /// The identity of this node.
    pub(super) id: Arc<str>,
    options: NodeOptions,
    keys: Keys,
    core: OnceLock<Weak<Core>>,
    numbers: AtomicU64,
    seen: Mutex<Seen>,
    local: Local,
    remote: Mutex<Remote>,
    /// Held while changes are applied and told, so that they are told in order. Taken before
    /// `remote`.
    emitting: Mutex<()>,
    events: Feed<NodeEvent>,
    counters: Counters,
    questions: Questions,
    /// The subscriptions to the keys of channels.
    routes: Mutex<HashMap<Arc<str>, Arc<Link>>>,
    /// Of the keys of this node itself.
    own: OnceLock<[Arc<Link>; 2]>,
    runtime: OnceLock<Handle>,
    /// Wakes the task.
    wake: Notify,
    wants_snapshot: AtomicBool,
    /// Notified after presence changed.
    changed: Notify,
    /// The subscriptions of channels that have lost messages a moment ago.
    torn: Mutex<Vec<Arc<Link>>>,
    /// Whether the broker has a connection to its server.
    is_up: AtomicBool,
    pub(super) closing: CancellationToken,
    /// Cancelled when the other nodes have been told.
    pub(super) closed: CancellationToken,
}

impl Nodes {
    /// # Errors
    ///
    /// A text that says which option is wrong.
    pub(super) fn new(options: NodeOptions) -> Result<Self, String> {
        let keys = Keys::new(&options.prefix).map_err(|error| error.to_string())?;
        if options.prefix.len() > LONGEST_PREFIX {
            return Err(format!("the prefix is longer than {LONGEST_PREFIX} bytes"));
        }
        if !(SHORTEST..=LONGEST).contains(&options.interval) {
            return Err(format!(
                "the interval is {:?}, and it has to be from {SHORTEST:?} to {LONGEST:?}",
                options.interval
            ));
        }
        if options.window == 0 {
            return Err("the window is 0: it has to be at least 1".into());
        }
        if !(1..=SubscribeOptions::LARGEST_BUFFER).contains(&options.buffer) {
            return Err(format!(
                "the buffer is {}, and it has to be from 1 to {}",
                options.buffer,
                SubscribeOptions::LARGEST_BUFFER
            ));
        }
        let id: Arc<str> = unique_id().into();
        let remote = Remote::new(Arc::clone(&id), options.interval, Instant::now());
        Ok(Self {
            keys,
            core: OnceLock::new(),
            numbers: AtomicU64::new(0),
            seen: Mutex::new(Seen::new(options.window)),
            local: Local::default(),
            remote: Mutex::new(remote),
            emitting: Mutex::new(()),
            events: Feed::new(),
            counters: Counters::default(),
            questions: Questions::default(),
            routes: Mutex::default(),
            own: OnceLock::new(),
            runtime: OnceLock::new(),
            wake: Notify::new(),
            wants_snapshot: AtomicBool::new(false),
            changed: Notify::new(),
            torn: Mutex::default(),
            is_up: AtomicBool::new(true),
            closing: CancellationToken::new(),
            closed: CancellationToken::new(),
            id,
            options,
        })
    }

    /// Starts the thread of the nodes, which has a runtime of its own: the server may be built
    /// outside of any.
    pub(super) fn start(self: &Arc<Self>) -> io::Result<()> {
        let (started, handle) = mpsc::sync_channel(1);
        let nodes = Arc::clone(self);
        let body = move || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = match builder.enable_time().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(started.send(Err(error))),
            };
            let _ = nodes.runtime.set(runtime.handle().clone());
            let task = task::begin(nodes);
            let _ = started.send(Ok(()));
            runtime.block_on(task);
            // The broker may be busy with a subscription. The shutdown need not wait for it.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("fanfeed-nodes".into());
        thread.spawn(body)?;
        handle
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("the thread has ended")))
    }

    /// Gives the nodes the server, once.
    pub(super) fn serve(&self, core: &Arc<Core>) {
        let _ = self.core.set(Arc::downgrade(core));
    }

    fn core(&self) -> Option<Arc<Core>> {
        self.core.get()?.upgrade()
    }

    fn runtime(&self) -> &Handle {
        self.runtime
            .get()
            .expect("it is set before anything else runs")
    }

    fn broker(&self) -> &Arc<dyn Broker> {
        &self.options.broker
    }

    fn subscribe_options(&self) -> SubscribeOptions {
        SubscribeOptions::new()
            .buffer(self.options.buffer)
            .name("sockets")
    }

    /// Whether the subscriptions of the node itself are live.
    fn is_reached(&self) -> bool {
        let own = self.own.get();
        own.is_some_and(|own| own.iter().all(|link| link.is_live()))
    }

    /// Holds the subscription of a channel, and waits for it to be live within the bounds that the
    /// module names.
    pub(super) async fn enter(self: &Arc<Self>, channel: &Arc<str>) -> Hold {
        let route = Arc::new(self.route(channel));
        let own = self.own.get().into_iter().flatten();
        let links: Vec<_> = own.chain([&route.link]).collect();
        if links.iter().any(|link| !link.is_live()) && self.is_up.load(Ordering::Relaxed) {
            let live = async {
                for link in links {
                    link.live().await;
                }
            };
            tokio::select! {
                () = live => {}
                () = self.closing.cancelled() => {}
                () = tokio::time::sleep(self.options.patience) => {}
            }
        }
        if !route.link.is_live() {
            route.link.let_in_early();
        }
        route
    }

    fn route(self: &Arc<Self>, channel: &Arc<str>) -> Route {
        let mut routes = self.routes.lock();
        if let Some(link) = routes.get(channel) {
            return Route::hold(link);
        }
        let (key, id) = (self.keys.channel(channel), Arc::clone(channel));
        let route = Route::open(self, key, Some(id), self.closing.clone());
        routes.insert(Arc::clone(channel), Arc::clone(&route.link));
        route
    }

    /// The subscriptions that are in use, those of the node itself included.
    fn all_links(&self) -> Vec<Arc<Link>> {
        let routes = self.routes.lock();
        let held = routes.values().filter(|link| !link.is_left()).cloned();
        let own = self.own.get().into_iter().flatten().cloned();
        held.chain(own).collect()
    }

    /// The subscriptions to this key. Two channels with long ids may have one key.
    fn links(&self, key: &str) -> Vec<Arc<Link>> {
        let mut links = self.all_links();
        links.retain(|link| link.key == key);
        links
    }

    fn emit(&self, events: impl IntoIterator<Item = NodeEvent>) {
        for event in events {
            self.events.send(event);
        }
    }

    /// Changes what is known of the other nodes, and tells it. Returns whether a snapshot is to be
    /// asked for.
    fn apply(&self, act: impl FnOnce(&mut Remote) -> Effects) -> bool {
        let emitting = self.emitting.lock();
        let effects = act(&mut self.remote.lock());
        let has_changed = !effects.events.is_empty();
        self.emit(effects.events);
        drop(emitting);
        if has_changed {
            self.changed.notify_waiters();
        }
        effects.wants_snapshot
    }

    /// Publishes a message, if the broker has room. Returns whether it had.
    fn publish(&self, key: String, channel: Option<&str>, what: What<'_>, body: &str) -> bool {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let bytes = envelope::write(&self.id, number, what, body);
        let id = format!("{}.{number}", self.id);
        let published = self
            .broker()
            .try_publish(BrokerMessage::new(key, bytes).with_id(&*id));
        match published {
            Ok(()) => {
                count(&self.counters.published);
                true
            }
            Err(error) => {
                self.not_published(channel, error.to_string());
                false
            }
        }
    }

    fn not_published(&self, channel: Option<&str>, reason: String) {
        count(&self.counters.not_published);
        let (channel, reason) = (channel.map(Arc::from), shown_error(&reason));
        self.emit([NodeEvent::NotPublished { channel, reason }]);
    }

    /// Sends a frame to the members of a channel on the other nodes.
    pub(super) fn publish_frame(&self, channel: &str, frame: &Frame) {
        self.publish_to(channel, frame, None);
    }

    /// Sends a frame that may be a question. Returns whether the broker took it.
    fn publish_to(&self, channel: &str, frame: &Frame, question: Option<Question<'_>>) -> bool {
        let key = self.keys.channel(channel);
        let what = What::Frame {
            channel: channel.into(),
            question,
        };
        self.publish(key, Some(channel), what, frame)
    }

    /// Closes a channel on the other nodes. Returns whether one of them had it.
    pub(super) fn close_channel(&self, channel: &str) -> bool {
        let is_known = self.remote.lock().has_channel(channel);
        let what = What::Close {
            channel: channel.into(),
        };
        self.publish(self.keys.channel(channel), Some(channel), what, "") && is_known
    }

    /// Sends a frame to a client of another node. Returns whether there is one, and the broker took
    /// the frame.
    pub(super) fn send_direct(&self, client: &str, frame: &Frame) -> bool {
        let Some(node) = self.remote.lock().node_of(client) else {
            return false;
        };
        let what = What::Direct {
            client: client.into(),
        };
        self.publish(self.keys.node(&node), None, what, frame)
    }

    /// Notes a new member. The caller holds the lock of the server's channels.
    pub(super) fn joined(&self, connection: &Connection, expiry: Option<&Expiry>) {
        let expires = expiry.and_then(|expiry| expiry.time.to_system_time());
        let expires = expires.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        self.local.join(Entry {
            client: connection.id().into(),
            channel: connection.channel().into(),
            user: connection.identity().user_id().into(),
            app: connection.identity().app_id().into(),
            expires: expires.and_then(|since| since.as_millis().try_into().ok()),
        });
        self.wake.notify_one();
    }

    /// Notes that a member left. The caller holds the lock of the server's channels.
    pub(super) fn left(&self, connection: &Connection) {
        self.local.leave(connection.id());
        self.wake.notify_one();
    }

    /// In what time a channel expires on another node. `None` if none has it, or it does not
    /// expire, or should have already.
    pub(super) fn expires_in(&self, channel: &str) -> Option<Duration> {
        let expires = Duration::from_millis(self.remote.lock().expires(channel)?);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        expires.checked_sub(now).filter(|rest| !rest.is_zero())
    }

    /// Whether a correlation id is that of a question of another node.
    pub(super) fn is_question(&self, correlation_id: &str) -> bool {
        let node = correlation_id.split_once('.');
        node.is_some_and(|(node, _)| self.remote.lock().knows(node))
    }
}
