//! Builds servers.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::Server;
use super::address::Proxies;
use super::authorize::{JoinRequest, Refusal};
use super::build_error::BuildError;
use super::core::Core;
use super::event::{Logger, ServerEvent};
use super::history::Histories;
use super::hooks::{ChannelEnd, HookRunner, Hooks, hook};
use super::limits::Limits;
#[cfg(feature = "nodes")]
use super::nodes::{NodeOptions, Nodes};
use super::origin::Origins;
use super::reach::Reach;
use super::settings::{Audience, Authorize, ErrorBody, Lifetime, Route, Settings};
use super::stats::Meters;
use crate::connection::{Connection, Identity};
use crate::handler::{Handler, HandlerError};
use crate::middleware::{Middleware, Next, chain};
use crate::observe::{Observers, observed};
use crate::wire::{MESSAGE_ERROR, Message};

/// Settings of a server to be built, from [`Server::builder`].
#[must_use = "settings do nothing until `build` is called"]
pub struct ServerBuilder {
    limits: Limits,
    handlers: Vec<(String, Next, Audience)>,
    middleware: Vec<Arc<dyn Middleware>>,
    hooks: Hooks,
    authorize: Option<Authorize>,
    origins: Vec<String>,
    proxies: Vec<String>,
    lifetime: Option<Lifetime>,
    error_body: Option<ErrorBody>,
    exposes_errors: bool,
    reports_unknown: bool,
    answers_info: bool,
    history: usize,
    history_retention: Duration,
    logger: Option<Logger>,
    #[cfg(feature = "nodes")]
    nodes: Option<NodeOptions>,
}

impl Default for ServerBuilder {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            handlers: Vec::new(),
            middleware: Vec::new(),
            hooks: Hooks::default(),
            authorize: None,
            origins: Vec::new(),
            proxies: Vec::new(),
            lifetime: None,
            error_body: None,
            exposes_errors: false,
            reports_unknown: true,
            answers_info: true,
            history: 0,
            history_retention: Duration::from_secs(120),
            logger: None,
            #[cfg(feature = "nodes")]
            nodes: None,
        }
    }
}

impl ServerBuilder {
    /// Handles messages with this key; the reply goes to the client that sent the message.
    ///
    /// A reply whose client id is that of another client goes to that client instead.
    pub fn direct_handler(self, key: impl Into<String>, handler: impl Handler) -> Self {
        self.handler(key.into(), Arc::new(handler), Audience::Sender)
    }

    /// Handles messages with this key; the reply goes to all members of the channel, the sender
    /// among them.
    ///
    /// A reply whose channel id is that of another channel goes to that channel instead.
    pub fn channel_handler(self, key: impl Into<String>, handler: impl Handler) -> Self {
        self.handler(key.into(), Arc::new(handler), Audience::Channel)
    }

    fn handler(mut self, key: String, handler: Next, audience: Audience) -> Self {
        self.handlers.push((key, handler, audience));
        self
    }

    /// Adds middleware around all handlers, inside of what was added before.
    pub fn middleware(mut self, middleware: impl Middleware) -> Self {
        self.middleware.push(Arc::new(middleware));
        self
    }

    /// Sets the limits.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Asks this before each upgrade. It establishes the identity of the client, or refuses it with
    /// an HTTP status.
    ///
    /// Without it, all clients are [anonymous](Identity::anonymous).
    pub fn authorize<F, R>(mut self, authorize: F) -> Self
    where
        F: Fn(JoinRequest) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Identity, Refusal>> + Send + 'static,
    {
        self.authorize = Some(Box::new(move |request| Box::pin(authorize(request))));
        self
    }

    /// Lets pages of these origins connect, such as `https://example.com`, besides those of the
    /// server's own host. `*` allows every origin, and `null` pages that have none, such as those
    /// of files.
    pub fn allowed_origins<I>(mut self, origins: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.origins.extend(origins.into_iter().map(Into::into));
        self
    }

    /// Believes the `X-Forwarded-For` header of these proxies: addresses, or networks such as
    /// `10.0.0.0/8`.
    pub fn trusted_proxies<I>(mut self, proxies: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.proxies.extend(proxies.into_iter().map(Into::into));
        self
    }

    /// Lets each channel expire this time after its first member joined, whatever happens in it.
    pub fn channel_lifetime(self, lifetime: Duration) -> Self {
        self.channel_lifetime_with(move |_| Some(lifetime))
    }

    /// As [`channel_lifetime`](Self::channel_lifetime), by the id of the channel. `None` lets a
    /// channel live on.
    ///
    /// It is called for each client that joins, and counts for the one that opens the channel. If
    /// it panics, that client is disconnected with the close code 1011.
    pub fn channel_lifetime_with<F>(mut self, lifetime: F) -> Self
    where
        F: Fn(&str) -> Option<Duration> + Send + Sync + 'static,
    {
        self.lifetime = Some(Box::new(lifetime));
        self
    }

    /// Is called after a client joined.
    ///
    /// Hooks run on tasks of their own, so that they delay no message. Those of one channel run one
    /// after the other, in the order in which things happened. One that takes longer than 30 s is
    /// dropped. While more than 1,024 calls of a channel wait, clients that want to join it are
    /// refused with the status 503.
    pub fn on_join<F, R>(mut self, f: F) -> Self
    where
        F: Fn(Connection) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        self.hooks.join = hook(f);
        self
    }

    /// Is called after a client left its channel, for whatever reason: exactly once for each call
    /// of [`on_join`](Self::on_join).
    pub fn on_leave<F, R>(mut self, f: F) -> Self
    where
        F: Fn(Connection) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        self.hooks.leave = hook(f);
        self
    }

    /// Is called with the id of a channel that came to be because a client joined it, before
    /// [`on_join`](Self::on_join).
    pub fn on_channel_create<F, R>(mut self, f: F) -> Self
    where
        F: Fn(Arc<str>) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        self.hooks.create = hook(f);
        self
    }

    /// Is called with the id of a channel that ended, and why, after [`on_leave`](Self::on_leave)
    /// of its members.
    pub fn on_channel_close<F, R>(mut self, f: F) -> Self
    where
        F: Fn(Arc<str>, ChannelEnd) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        self.hooks.close = hook(move |(channel, end)| f(channel, end));
        self
    }

    /// Decides what a client is told about a message whose handler failed: any JSON, or `None` for
    /// nothing.
    ///
    /// Without it, the client gets an [`ErrorDetail`](crate::ErrorDetail): the one that the handler
    /// returned as its error, or what was wrong with the body, or else that the server could not
    /// handle the message.
    pub fn on_error<F>(mut self, f: F) -> Self
    where
        F: Fn(&Message, &HandlerError) -> Option<serde_json::Value> + Send + Sync + 'static,
    {
        self.error_body = Some(Box::new(f));
        self
    }

    /// Whether clients get the text of handlers' errors. `false` by default, because such a text
    /// can have internals in it.
    pub fn expose_errors(mut self, expose: bool) -> Self {
        self.exposes_errors = expose;
        self
    }

    /// Whether a client gets an error message for a message without a handler. `true` by default.
    pub fn report_unknown(mut self, report: bool) -> Self {
        self.reports_unknown = report;
        self
    }

    /// Whether `get.info` is answered with the numbers of connections and channels. `true` by
    /// default. A handler for it comes before that.
    pub fn answer_info(mut self, answer: bool) -> Self {
        self.answers_info = answer;
        self
    }

    /// Keeps the last `frames` messages of each channel, so that a client that comes back gets
    /// exactly what it missed, or is told that it cannot. 0, the default, is no history.
    ///
    /// Each message that is broadcast then has the headers `X-Channel-Epoch` and
    /// `X-Channel-Position`. A client remembers the last ones that it saw, those of `join.success`
    /// included, and sends them when it connects again: in HTTP headers of these names, or as the
    /// parameters `channelEpoch` and `channelPosition` of the query. Its new `join.success` has the
    /// header `X-Channel-Gap`: `0` if the messages that it missed follow, all of them; a number if
    /// so many are gone for good, and the rest follow; or `unknown` if the epoch is another one,
    /// and only new messages follow.
    ///
    /// The positions of an epoch have no holes. An epoch ends with its channel, unless a client
    /// comes back within [`history_retention`](Self::history_retention) after the last one left. It
    /// is of one server: a client that comes back to another one of many nodes is told `unknown`.
    /// Direct messages, and questions of `broadcast_await`, have no positions.
    ///
    /// A channel keeps at most half of [`queue_bytes`](Limits::queue_bytes), so that what a client
    /// missed fits into its queue.
    pub fn history(mut self, frames: usize) -> Self {
        self.history = frames;
        self
    }

    /// How long the history of a channel is kept after its last member left: 2 minutes by default.
    pub fn history_retention(mut self, time: Duration) -> Self {
        self.history_retention = time;
        self
    }

    /// Calls `logger` with each [event](Server::events) of the server, on a thread of its own: a
    /// logger that is slow misses events, and is told how many. Without one, nothing is written
    /// anywhere.
    ///
    /// ```
    /// use fanfeed_sockets::Server;
    ///
    /// let _server = Server::builder().logger(|event| eprintln!("{event}"));
    /// ```
    pub fn logger(mut self, logger: impl Fn(&ServerEvent) + Send + Sync + 'static) -> Self {
        self.logger = Some(Box::new(logger));
        self
    }

    /// Makes the server one of many nodes that serve the same channels.
    ///
    /// - A broadcast, and a reply of a channel handler, goes to the members of the channel on all
    ///   nodes, once to each. [`broadcast`](Server::broadcast) returns how many members of this
    ///   node it was queued for.
    /// - [`broadcast_direct`](Server::broadcast_direct),
    ///   [`broadcast_await`](Server::broadcast_await) and [`close_channel`](Server::close_channel)
    ///   concern the clients of all nodes.
    /// - [`Server::presence`], [`Server::has_channel_anywhere`] and [`Server::node_events`] tell
    ///   the members of all nodes. The methods without "anywhere", the hooks and `get.info` are
    ///   about this node.
    /// - While the broker is away, the members of one node go on among themselves.
    ///
    /// A program that can publish to the broker under the [prefix](NodeOptions::prefix) can send
    /// anything to all clients: give the broker credentials.
    #[cfg(feature = "nodes")]
    #[cfg_attr(docsrs, doc(cfg(feature = "nodes")))]
    pub fn nodes(mut self, options: NodeOptions) -> Self {
        self.nodes = Some(options);
        self
    }

    /// Builds the server.
    ///
    /// # Errors
    ///
    /// If a handler can never be called, an origin can never connect, a proxy is no address or
    /// network, or a limit is 0.
    pub fn build(mut self) -> Result<Server, BuildError> {
        check(&self.limits)?;
        self.limits.clamp_times();
        let proxies = self.proxies.iter().map(|text| text.parse());
        let proxies = Proxies(
            proxies
                .collect::<Result<_, _>>()
                .map_err(BuildError::Proxy)?,
        );
        let origins = Origins::new(&self.origins).map_err(BuildError::Origin)?;
        let meters = Meters::registered();
        let mut routes = HashMap::new();
        for (key, handler, audience) in self.handlers {
            if key.is_empty() || key == MESSAGE_ERROR {
                return Err(BuildError::Key(key));
            }
            let handler = observed(chain(&self.middleware, handler), &meters.handler);
            let route = Route { handler, audience };
            if routes.insert(key.clone(), route).is_some() {
                return Err(BuildError::Twice(key));
            }
        }
        let most = self.limits.queue_frames / 2;
        if self.history > most {
            return Err(BuildError::History {
                frames: self.history,
                most,
            });
        }
        let history = (self.history > 0).then(|| {
            let retention = self.history_retention;
            Arc::new(Histories::new(self.history, retention, &self.limits))
        });
        #[cfg(feature = "nodes")]
        let reach = {
            let nodes = self.nodes.map(Nodes::new).transpose();
            let nodes = nodes.map_err(BuildError::Nodes)?.map(Arc::new);
            (history.is_some() || nodes.is_some()).then_some(Reach { history, nodes })
        };
        #[cfg(not(feature = "nodes"))]
        let reach = history.map(|history| Reach {
            history: Some(history),
        });
        let settings = Settings {
            limits: self.limits,
            routes,
            authorize: self.authorize,
            origins,
            proxies,
            lifetime: self.lifetime,
            error_body: self.error_body,
            exposes_errors: self.exposes_errors,
            reports_unknown: self.reports_unknown,
            answers_info: self.answers_info,
            runtime: Mutex::default(),
        };
        let observers = Arc::new(Observers::new());
        if let Some(logger) = self.logger {
            let missed = |missed| ServerEvent::EventsMissed { missed };
            let started = observers.log(logger, missed);
            started.map_err(|error| BuildError::Logger(error.to_string()))?;
        }
        let hooks = HookRunner::new(self.hooks, observers);
        let server = Server::of(Core::new(settings, meters, hooks, reach));
        #[cfg(feature = "nodes")]
        if let Some(nodes) = server.core.nodes() {
            nodes.serve(&server.core);
            let started = nodes.start();
            started.map_err(|error| BuildError::Nodes(format!("no thread: {error}")))?;
        }
        Ok(server)
    }
}

/// Refuses limits with which nothing could work.
fn check(limits: &Limits) -> Result<(), BuildError> {
    let sizes = [
        ("message_size", limits.message_size),
        ("header_count", limits.header_count),
        ("header_size", limits.header_size),
        ("handshakes", limits.handshakes),
        ("connections", limits.connections),
        ("connections_per_address", limits.connections_per_address),
        ("channels", limits.channels),
        ("channel_id_size", limits.channel_id_size),
        ("message_rate", limits.message_rate as usize),
        ("message_burst", limits.message_burst as usize),
        ("queue_frames", limits.queue_frames),
        ("queue_bytes", limits.queue_bytes),
        ("inbox", limits.inbox),
        ("concurrency", limits.concurrency),
        ("error_size", limits.error_size),
    ];
    let times = [
        ("handshake_time", limits.handshake_time),
        ("write_time", limits.write_time),
        ("idle_time", limits.idle_time),
        ("message_time", limits.message_time),
        ("ping_interval", limits.ping_interval),
        ("close_time", limits.close_time),
    ];
    let sizes = sizes.into_iter().filter(|(_, size)| *size == 0);
    let times = times.into_iter().filter(|(_, time)| time.is_zero());
    let zero = sizes
        .map(|(name, _)| name)
        .chain(times.map(|(name, _)| name))
        .next();
    zero.map_or(Ok(()), |name| Err(BuildError::ZeroLimit(name)))
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<_> = self.handlers.iter().map(|(key, ..)| key).collect();
        f.debug_struct("ServerBuilder")
            .field("handlers", &keys)
            .field("limits", &self.limits)
            .field("hooks", &self.hooks)
            .finish_non_exhaustive()
    }
}
