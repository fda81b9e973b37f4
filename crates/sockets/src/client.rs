//! The client: memberships of channels, each with a connection of its own.
//!
//! From the bottom up: `error`, `event` and `settings` have plain values, `join` and `address` what
//! is asked for, `tls` and `dial` make connections, `member` and `core` are what tasks share,
//! `drive` runs a connection, `farewell` ends it, `listen` calls listeners, `life` strings
//! connections together.

mod address;
#[cfg(test)]
mod autobahn;
mod blocking;
mod builder;
mod core;
mod dial;
mod drive;
mod error;
mod event;
mod farewell;
mod join;
mod life;
mod listen;
mod member;
mod membership;
mod publisher;
mod pulse;
mod queue;
mod settings;
mod stats;
mod tls;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use fanfeed::Receiver;
use tokio::task::JoinHandle;

use self::core::Core;
use self::dial::Dialer;
pub use blocking::{BlockingClient, BlockingError, BlockingMembership};
pub use builder::ClientBuilder;
pub use error::{ClientBuildError, JoinError, PublishError, PublishFault, RequestError};
pub use event::{ClientEvent, ClientEventKind, Ended, LeaveReason};
pub use join::JoinOptions;
pub use membership::{Membership, MembershipState};
pub use publisher::{ClientPublisher, PublishFuture, Publisher, RequestFuture};
pub use stats::{ClientHealth, ClientStats};

use crate::handler::{Handler, Reply};
use crate::middleware::chain;
use crate::observe::observed;
use crate::request::Request;
use crate::wire::Message;

/// Joins channels, at one host or several, and stays in them.
///
/// Each membership has a WebSocket connection, which is made again when it is lost: with the same
/// URL, headers and limits, and after waits that grow. The server takes each connection for a new
/// client, with a new client id, and nothing is sent again. From a server that keeps a
/// [history](crate::HEADER_CHANNEL_POSITION) the client gets the messages that it missed: it names
/// the epoch and the position of the last message that it took. If the server no longer has all of
/// them, a listener for `join.success` finds how many are lost in the header
/// [`HEADER_CHANNEL_GAP`](crate::HEADER_CHANNEL_GAP).
///
/// | the connection ended by | then the client |
/// |---|---|
/// | close code 1000, or a close frame without code | leaves the channel |
/// | any other close code | reconnects |
/// | end of the stream, TCP reset, silence of the server | reconnects |
/// | a server that takes nothing for long, or breaks the protocol | reconnects |
/// | a message over the limit of the client | sends close code 1009, and leaves |
/// | `channel.expired` or `channel.closed` | leaves |
///
/// Clones are the same client. When the last is dropped, all memberships end: with a close frame,
/// in the background. [`close`](Self::close) waits for that.
///
/// ```
/// use std::time::Duration;
/// use fanfeed_sockets::{Client, ClientPublisher, JoinOptions, Message, Request};
///
/// async fn chat(host: &str) -> Result<(), Box<dyn std::error::Error>> {
///     let client = Client::builder()
///         .listen("chat", |request: Request| async move {
///             println!("{}", request.bind::<String>()?);
///             Ok(None)
///         })
///         .reconnect(Duration::from_secs(10))
///         .build()?;
///     let room = client.join(host, "room1", JoinOptions::new().header("Authorization", "..")).await?;
///     room.publish(Message::new("chat", "", "room1").with_body("hello")?).await?;
///     let members = room.request(Message::new("who", "", "room1"), Duration::from_secs(5)).await?;
///     println!("{}", members.raw_body());
///     room.leave().await;
///     Ok(())
/// }
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
/// # runtime.block_on(async { chat("ws://127.0.0.1:1").await.expect_err("no server there") });
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Client {
    owner: Arc<Owner>,
}

/// What closes the client when the last clone is dropped.
struct Owner {
    core: Arc<Core>,
    publisher: Publisher,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.core.close();
    }
}

impl Client {
    /// A builder with the defaults.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::new()
    }

    fn new(core: Core) -> Self {
        let core = Arc::new(core);
        let publisher = Publisher::new(Arc::clone(&core));
        Self {
            owner: Arc::new(Owner { core, publisher }),
        }
    }

    fn core(&self) -> &Arc<Core> {
        &self.owner.core
    }

    /// Joins a channel at a host, a URL such as `ws://localhost:8080/ws`, to which a slash and the
    /// channel are added. Any channel but the empty one can be named: it is escaped.
    ///
    /// It returns when the upgrade is done. [`Membership::joined`] waits for the server's
    /// `join.success`. If this future is dropped, nothing is joined.
    ///
    /// # Errors
    /// If the server was not reached, or refused, with its HTTP status; if something about the
    /// arguments is wrong; if the channel is joined at this host already; if the client was closed.
    pub async fn join(
        &self,
        host: &str,
        channel: &str,
        options: JoinOptions,
    ) -> Result<Membership, JoinError> {
        let core = self.core();
        let dialer = Dialer::new(host, channel, &options, &core.settings, &core.tls)?;
        let dialer = Arc::new(dialer);
        let reservation = core.reserve(host, channel)?;
        // The connection belongs to the client's runtime, wherever this is called.
        let mut dialing = Abort(core.runtime.spawn(Arc::clone(&dialer).dial(None)));
        let socket = tokio::select! {
            made = &mut dialing => made?,
            () = core.closed.cancelled() => return Err(JoinError::Closed),
        };
        // Counted before it is looked whether the client was closed: a `close` on another thread
        // sees one or the other.
        let counted = core.count_task();
        if core.closed.is_cancelled() {
            return Err(JoinError::Closed);
        }
        let member = reservation.fill();
        // Before this returns, so that the program can publish at once.
        let connection = (socket, member.connect(core.settings.outbox));
        let over = life::Over::new(Arc::clone(core), Arc::clone(&member), counted);
        drop(core.runtime.spawn(life::live(over, dialer, connection)));
        Ok(Membership::new(Arc::clone(core), member))
    }

    /// Leaves a channel, at all hosts, as [`Membership::leave`] does. A channel that was not joined
    /// is no error.
    pub async fn leave(&self, channel: &str) {
        let members = self.core().members_of(channel).into_iter();
        let left = members.map(|member| {
            let membership = Membership::new(Arc::clone(self.core()), member);
            async move { membership.leave().await }
        });
        futures_util::future::join_all(left).await;
    }

    /// The memberships of a channel: one for each host.
    pub fn memberships(&self, channel: &str) -> Vec<Membership> {
        let members = self.core().members_of(channel).into_iter();
        let of_member = |member| Membership::new(Arc::clone(self.core()), member);
        members.map(of_member).collect()
    }

    /// Whether the channel is joined at some host: also while the client reconnects to it.
    pub fn has_channel(&self, channel: &str) -> bool {
        !self.core().members_of(channel).is_empty()
    }

    /// Calls `listener` with each message with this key from now on, in place of another listener
    /// for it. See [`ClientBuilder::listen`]. A closed client drops the listener.
    ///
    /// A listener for `error` is never called: error messages go to
    /// [`on_server_error`](ClientBuilder::on_server_error), which the builder sets.
    pub fn listen(&self, key: impl Into<String>, listener: impl Handler) {
        let core = self.core();
        let middleware = core.program.read().middleware.clone();
        let listener = chain(&middleware, Arc::new(listener));
        let listener = observed(listener, &core.meters.listener);
        let mut program = core.program.write();
        let unused = if core.closed.is_cancelled() {
            Some(listener)
        } else {
            program.listeners.insert(key.into(), listener)
        };
        // A program's value is dropped without the lock.
        drop(program);
        drop(unused);
    }

    /// Calls `listener`, which may block, on a thread of tokio's blocking pool. See
    /// [`ClientBuilder::listen_blocking`].
    pub fn listen_blocking(
        &self,
        key: impl Into<String>,
        listener: impl Fn(Request) -> Reply + Send + Sync + 'static,
    ) {
        self.listen(key, builder::blocking(listener));
    }

    /// What happens from now on to all memberships, until the client is closed. A receiver that is
    /// 1,024 events behind misses the oldest. A program that only writes events down sets a
    /// [`logger`](ClientBuilder::logger) instead.
    pub fn events(&self) -> Receiver<ClientEvent> {
        self.core().events()
    }

    /// What the client has counted.
    pub fn stats(&self) -> ClientStats {
        self.core().stats()
    }

    /// Whether the client is connected where it should be. A moment later that may have changed.
    pub fn health(&self) -> ClientHealth {
        let core = self.core();
        let ClientStats {
            memberships,
            connected,
            ..
        } = core.stats();
        match memberships - connected {
            _ if core.closed.is_cancelled() => ClientHealth::Closed,
            0 => ClientHealth::Connected,
            others => ClientHealth::Reconnecting(others),
        }
    }

    /// A publisher that does not keep this client open: for listeners, which the client itself owns
    /// until it is closed.
    pub fn publisher(&self) -> Publisher {
        self.owner.publisher.clone()
    }

    /// Ends all memberships, and waits until their connections are closed. Closing again does
    /// nothing more.
    ///
    /// Messages that wait for their listeners are not handled any more. A listener that runs ends
    /// where it next waits, but for one that [blocks a thread](Self::listen_blocking). The client
    /// drops its listeners, middleware and callbacks.
    pub async fn close(&self) {
        self.core().close();
        self.core().wait_for_tasks().await;
        self.core().end_events().await;
    }
}

impl ClientPublisher for Client {
    fn try_publish(&self, message: Message) -> Result<(), PublishError> {
        self.owner.publisher.try_publish(message)
    }

    fn publish(&self, message: Message) -> PublishFuture<'_> {
        self.owner.publisher.publish(message)
    }

    fn request(&self, message: Message, timeout: Duration) -> RequestFuture<'_> {
        self.owner.publisher.request(message, timeout)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("settings", &self.core().settings)
            .field("is_closed", &self.core().closed.is_cancelled())
            .finish_non_exhaustive()
    }
}

/// A task that is aborted when this is dropped.
struct Abort<T>(JoinHandle<Result<T, JoinError>>);

impl<T> Future for Abort<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // It does not panic and is not aborted, so the runtime has been shut down if it fails.
        let done = Pin::new(&mut self.0).poll(cx);
        done.map(|done| done.unwrap_or(Err(JoinError::Closed)))
    }
}

impl<T> Drop for Abort<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
