//! The server: channels for WebSocket clients.
//!
//! From the bottom up: `close` and `limits` are settings, `mailbox` is a member's queue, `channel`
//! has members, `core` has channels, `session` is a connection's task, `upgrade` and `serve` make
//! sessions out of HTTP requests.

mod address;
mod authorize;
#[cfg(test)]
mod autobahn;
mod awaits;
mod broadcaster;
mod build_error;
mod builder;
mod channel;
mod close;
mod core;
mod event;
mod history;
mod hooks;
mod http_stream;
mod limits;
mod mailbox;
mod member;
#[cfg(feature = "nodes")]
mod nodes;
mod noted;
mod open_http;
mod origin;
mod rate;
mod reach;
mod report;
mod serve;
mod session;
mod settings;
mod slots;
mod socket;
mod stats;
mod upgrade;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::ws::WebSocket;
use axum::extract::{RawPathParams, Request};
use axum::routing::any;
use fanfeed::Receiver;
use tokio::net::TcpListener;

use crate::connection::{Connection, Identity};
use crate::observe::{Handshake, at_most};
use crate::wire::{Message, unique_id};
use core::Core;
use reach::{Entrance, frame_for};

pub use address::NetworkError;
pub use authorize::{JoinRequest, Refusal};
pub use awaits::AwaitError;
pub use broadcaster::{ChannelBroadcaster, DirectBroadcaster};
pub use build_error::BuildError;
pub use builder::ServerBuilder;
pub use event::{ConnectionEnd, ServerEvent};
pub use hooks::ChannelEnd;
pub use limits::{Limits, SlowMembers};
#[cfg(feature = "nodes")]
#[cfg_attr(docsrs, doc(cfg(feature = "nodes")))]
pub use nodes::{NodeEvent, NodeOptions, NodeStats, Presence};
pub use stats::ServerStats;

/// How long a shutdown waits after its deadline until what it has cut is gone.
const CUT_TIME: Duration = Duration::from_secs(1);

/// A server of WebSocket channels. Clones are handles of one server.
///
/// A client joins a channel by connecting to the path that has the channel's id; the channel exists
/// while it has members. Handlers get what clients send, and the server broadcasts to channels and
/// to single clients.
///
/// When the last handle is dropped, the routers made by [`router`](Self::router) among them, the
/// server disconnects its clients and ends its tasks. [`shutdown`](Self::shutdown) does so too, and
/// waits for it.
///
/// ```no_run
/// use fanfeed_sockets::{Request, Server};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Server::builder()
///     .channel_handler("chat", |request: Request| async move {
///         let mut message = request.reply("chat");
///         message.copy_body(request.message());
///         Ok(Some(message))
///     })
///     .build()?;
/// let app = axum::Router::new().nest("/ws", server.router());
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
/// server.serve_router(listener, app).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Server {
    core: Arc<Core>,
    /// `None` in the handles that handlers get: a server that is reachable only from its own
    /// connections ends.
    owner: Option<Arc<Owner>>,
}

/// Ends the server with the last handle.
struct Owner(Arc<Core>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.begin_shutdown();
    }
}

/// What a [`shutdown`](Server::shutdown) found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Connections that had not ended at the deadline, and were cut.
    pub cut: usize,
    /// Whether all hooks had been called at the deadline. Those that had not been are dropped.
    pub hooks_finished: bool,
}

/// Whether a server can take clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// Clients can join.
    Ready,
    /// As many clients are connected as the limits allow.
    Full,
    /// The server is shutting down, or has shut down.
    ShuttingDown,
}

impl Server {
    /// Settings of a server to be built.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }

    fn of(core: Core) -> Self {
        let core = Arc::new(core);
        Self {
            owner: Some(Arc::new(Owner(Arc::clone(&core)))),
            core,
        }
    }

    fn unowned(&self) -> Self {
        Self {
            core: Arc::clone(&self.core),
            owner: None,
        }
    }

    /// Routes for `/{channel}`, to be merged or nested into an application's router.
    ///
    /// The limit of connections for each address needs the addresses: with `axum::serve`, use
    /// `into_make_service_with_connect_info::<SocketAddr>()`. The application's server limits how
    /// long a client may take for its HTTP request; [`serve_router`](Self::serve_router) does all
    /// that by itself.
    pub fn router<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        let server = self.clone();
        let upgrade = move |params: Result<RawPathParams, RawPathParamsRejection>,
                            request: Request| {
            upgrade::upgrade(server.clone(), params, request)
        };
        Router::new().route(&format!("/{{{}}}", upgrade::CHANNEL), any(upgrade))
    }

    /// Serves channels at `/{channel}` until the server is shut down and its connections have
    /// ended.
    ///
    /// # Errors
    ///
    /// If the listener is of no use. A connection that cannot be accepted is no error: the next one
    /// may be.
    pub async fn serve(&self, listener: TcpListener) -> io::Result<()> {
        self.serve_router(listener, self.router()).await
    }

    /// Serves an application of which [`router`](Self::router) is a part, with this server's limits
    /// on handshakes and HTTP headers, until the server is shut down and its connections have
    /// ended.
    ///
    /// # Errors
    ///
    /// As for [`serve`](Self::serve).
    pub async fn serve_router(&self, listener: TcpListener, router: Router) -> io::Result<()> {
        serve::serve(self, listener, router).await
    }

    /// Makes a connection that the application has upgraded itself a member of a channel, and
    /// returns when it has ended. The future is the connection: dropping it ends the connection.
    ///
    /// The limits that concern a handshake are up to the application then,
    /// [`message_size`](Limits::message_size) among them: axum's `WebSocketUpgrade` has
    /// `max_message_size` and `max_frame_size`. Its buffers take 128 KiB each unless
    /// `read_buffer_size` and `write_buffer_size` say less; this crate's own have 4 KiB. A channel
    /// id that is refused, or a server that is full, closes the
    /// connection with a code.
    pub async fn serve_socket(&self, socket: WebSocket, channel: &str, identity: Identity) {
        let handshake = Handshake::begin(channel, None);
        match upgrade::check_late(&self.core, channel) {
            Ok(slot) => {
                let connection =
                    Connection::on_server(channel.into(), None, identity, self.unowned());
                let (core, entrance) = (Arc::clone(&self.core), Entrance::default());
                upgrade::run(core, slot, socket, connection, entrance, handshake).await;
            }
            Err(close) => {
                handshake.refused(close.code);
                self.core
                    .tell_refused(None, channel, close.code, close.reason);
                upgrade::refuse(&self.core, socket, close).await;
            }
        }
    }

    /// Sends a message to all members of a channel, and returns how many it was queued for: 0 if
    /// the channel has no members. It never waits.
    ///
    /// The message is serialized once. Without a channel id it gets that of the channel.
    pub fn broadcast(&self, channel: &str, message: Message) -> usize {
        self.core.broadcast(channel, message)
    }

    /// Sends a message to one client, and returns whether it was queued: not if there is no such
    /// client.
    pub fn broadcast_direct(&self, client_id: &str, message: Message) -> bool {
        self.core.send_direct(client_id, message) == Some(true)
    }

    /// Sends a message to all members of a channel, and returns the first answer: a message from a
    /// member of the channel with the same correlation id, which this sets. Its client id is that
    /// of the member.
    ///
    /// An answer passes by handlers and their queue, so a handler can ask the very client whose
    /// message it handles. Later answers are handled as other messages are, or else counted and
    /// dropped.
    ///
    /// # Errors
    ///
    /// If the channel has no members, or has none left before one answered; if no member answers
    /// within `timeout`; or if the first answer is an error message.
    pub async fn broadcast_await(
        &self,
        channel: &str,
        mut message: Message,
        timeout: Duration,
    ) -> Result<Message, AwaitError> {
        self.core.begin_question(channel, &mut message);
        #[cfg(feature = "nodes")]
        if let Some(nodes) = self.core.nodes() {
            return nodes.ask(&self.core, channel, message, timeout).await;
        }
        let channel = self
            .core
            .channel(channel)
            .ok_or(AwaitError::ChannelNotFound)?;
        let id = format!("{}{}", self.core.question_prefix, unique_id());
        message.set_correlation_id(&*id);
        let frame = frame_for(&channel.id, message);
        let answer = channel
            .unless_ended(|awaits| awaits.ask(id.clone()))
            .ok_or(AwaitError::ChannelNotFound)?;
        let _forget = Forget {
            channel: &channel,
            id: &id,
        };
        self.core.send(&channel, frame);
        match tokio::time::timeout(timeout, answer).await {
            Ok(Ok(answer)) => awaits::outcome(answer),
            Ok(Err(_)) => Err(AwaitError::ChannelEmptied),
            Err(_) => Err(AwaitError::Timeout),
        }
    }

    /// Ends a channel: its members get `channel.closed`, and are disconnected with the close code
    /// 1000. Returns whether there was such a channel. Clients may join it again at once, as a new
    /// channel.
    pub fn close_channel(&self, channel: &str) -> bool {
        let was_here = self.core.close_channel(channel);
        #[cfg(feature = "nodes")]
        if let Some(nodes) = self.core.nodes() {
            return nodes.close_channel(channel) || was_here;
        }
        was_here
    }

    /// Whether a channel has members.
    pub fn has_channel(&self, channel: &str) -> bool {
        self.core.channel(channel).is_some()
    }

    /// The ids of all channels that have members.
    pub fn channels(&self) -> Vec<Arc<str>> {
        self.core.channel_ids()
    }

    /// The members of a channel.
    pub fn members(&self, channel: &str) -> Vec<Connection> {
        let channel = self.core.channel(channel);
        let members = channel.map(|channel| channel.members()).unwrap_or_default();
        members
            .iter()
            .map(|member| member.connection.clone())
            .collect()
    }

    /// What the server has counted.
    pub fn stats(&self) -> ServerStats {
        self.core.stats()
    }

    /// Whether the server can take clients.
    pub fn health(&self) -> Health {
        if self.core.is_closing() {
            Health::ShuttingDown
        } else if self.stats().connections >= self.core.settings.limits.connections {
            Health::Full
        } else {
            Health::Ready
        }
    }

    /// What happens on the server from now on. A receiver that is 1,024 events behind misses the
    /// oldest, and learns how many: it holds up nothing.
    ///
    /// A program that only writes events down sets a [`logger`](ServerBuilder::logger) instead.
    pub fn events(&self) -> Receiver<ServerEvent> {
        self.core.observers.events()
    }

    /// Refuses new members, sends each member what is queued for it and a close frame with
    /// the code 1001, and waits until all connections have ended and all hooks have been called. At
    /// the deadline, what is left is cut. An application's HTTP responses that are under way on
    /// [`serve_router`](Self::serve_router) are connections, too.
    ///
    /// It measures the deadline by the timers of the tokio runtime that it is called in, which have
    /// to be enabled there, and outside of any runtime on a thread. Where that thread cannot be
    /// started, the deadline has come at once.
    ///
    /// After the deadline, this may take two seconds more: one until what was cut has ended and the
    /// other nodes have been told, and one for the [`logger`](ServerBuilder::logger).
    ///
    /// Go clients, and the client of this crate, connect again after 1001.
    ///
    /// `shutdown` waits for the routes and handlers that this server serves. One that awaits
    /// `shutdown` waits for itself, and is cut at the deadline. It should call
    /// [`begin_shutdown`](Self::begin_shutdown) instead.
    pub async fn shutdown(&self, deadline: Duration) -> ShutdownReport {
        self.core.begin_shutdown();
        let graceful = async {
            self.core.emptied().await;
            self.core.hooks.idle().await;
            self.left_nodes().await;
        };
        if at_most(deadline, graceful).await.is_some() {
            self.core.tell_shutdown(0).await;
            return ShutdownReport {
                cut: 0,
                hooks_finished: true,
            };
        }
        let cut = self.core.kill();
        let hooks_finished = at_most(Duration::ZERO, self.core.hooks.idle())
            .await
            .is_some();
        self.core.hooks.stop();
        // The program may exit when this returns. The events about cut connections and the goodbye
        // to the other nodes must be sent before.
        let gone = async {
            self.core.emptied().await;
            self.left_nodes().await;
        };
        let _ = at_most(CUT_TIME, gone).await;
        self.core.tell_shutdown(cut).await;
        ShutdownReport {
            cut,
            hooks_finished,
        }
    }

    /// Begins a [`shutdown`](Self::shutdown) and does not wait: no client can join from now on, and
    /// each member gets what is queued for it and a close frame. A second call does nothing. A
    /// handler sends its last message before this call: its reply would come after the close frame,
    /// and is dropped.
    ///
    /// It has no deadline, and cuts nothing. So the task that serves waits for
    /// [`shutdown_begun`](Self::shutdown_begun), and then calls `shutdown`:
    ///
    /// ```
    /// use std::time::Duration;
    /// use axum::http::StatusCode;
    /// use axum::routing::post;
    /// use fanfeed_sockets::Server;
    /// # use tokio::io::{AsyncReadExt, AsyncWriteExt};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Server::builder().build()?;
    /// let stopped = server.clone();
    /// let stop = move || async move {
    ///     stopped.begin_shutdown();
    ///     StatusCode::ACCEPTED
    /// };
    /// let app = server.router().route("/admin/stop", post(stop));
    /// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    /// # let address = listener.local_addr()?;
    /// let served = server.clone();
    /// let serving = tokio::spawn(async move { served.serve_router(listener, app).await });
    /// # let mut admin = tokio::net::TcpStream::connect(address).await?;
    /// # admin.write_all(b"POST /admin/stop HTTP/1.1\r\nhost: localhost\r\n\r\n").await?;
    ///
    /// server.shutdown_begun().await;
    /// let report = server.shutdown(Duration::from_secs(30)).await;
    /// serving.await??;
    /// # let mut response = String::new();
    /// # admin.read_to_string(&mut response).await?;
    /// # assert!(response.starts_with("HTTP/1.1 202") && report.cut == 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn begin_shutdown(&self) {
        self.core.begin_shutdown();
    }

    /// Waits until a shutdown has begun, on any handle.
    pub async fn shutdown_begun(&self) {
        self.core.closing.cancelled().await;
    }

    /// Waits until the good-bye to the other nodes is published.
    async fn left_nodes(&self) {
        #[cfg(feature = "nodes")]
        if let Some(nodes) = self.core.nodes() {
            nodes.closed.cancelled().await;
        }
    }
}

/// Forgets a question, whether or not it was answered, and also when the asker's future is dropped.
struct Forget<'a> {
    channel: &'a channel::Channel,
    id: &'a str,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.channel.awaits.forget(self.id);
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stats = self.stats();
        f.debug_struct("Server")
            .field("connections", &stats.connections)
            .field("channels", &stats.channels)
            .field("is_owner", &self.owner.is_some())
            .finish_non_exhaustive()
    }
}
