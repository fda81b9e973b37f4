//! The client for programs without tokio.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, ThreadId};
use std::time::Duration;

use fanfeed::Receiver;
use tokio::runtime::{self, Handle};
use tokio::sync::oneshot;

use super::Client;
use super::builder::ClientBuilder;
use super::error::{ClientBuildError, JoinError, PublishError, RequestError};
use super::event::{ClientEvent, LeaveReason};
use super::join::JoinOptions;
use super::membership::{Membership, MembershipState};
use super::publisher::{ClientPublisher, PublishFuture, Publisher, RequestFuture};
use crate::handler::Reply;
use crate::request::Request;
use crate::wire::Message;

/// A [`Client`] whose methods block their caller. Its connections run on a thread of its own.
///
/// Its listeners are best registered with [`listen_blocking`](ClientBuilder::listen_blocking): they
/// run on other threads, may block, and may call this client. An async listener runs on the
/// client's own thread, where the methods that block return [`BlockingError::WouldDeadlock`].
///
/// It can be dropped anywhere, inside async code too: dropping ends all memberships in the
/// background.
///
/// ```
/// use fanfeed_sockets::{BlockingError, Client, JoinError, JoinOptions};
///
/// let client = Client::builder()
///     .listen_blocking("chat", |request| {
///         println!("{}", request.bind::<String>()?);
///         Ok(None)
///     })
///     .build_blocking()?;
/// let refused = client.join("ws://127.0.0.1:1", "room1", JoinOptions::new());
/// assert!(matches!(refused, Err(BlockingError::Failed(JoinError::Io(_)))));
/// # Ok::<(), fanfeed_sockets::ClientBuildError>(())
/// ```
#[derive(Debug, Clone)]
pub struct BlockingClient {
    client: Client,
    thread: Arc<Thread>,
}

/// The client's thread. It ends when this is dropped and the memberships are over.
#[derive(Debug)]
struct Thread {
    runtime: Handle,
    id: ThreadId,
    _until: oneshot::Sender<()>,
}

/// Why a method of a [`BlockingClient`] did not do its work.
#[derive(Debug)]
#[non_exhaustive]
pub enum BlockingError<E> {
    /// The work failed.
    Failed(E),
    /// The method was called on the client's own thread, which would have to do the work: in an
    /// async listener. Use a listener of [`listen_blocking`](ClientBuilder::listen_blocking), or
    /// the async methods of a [`Publisher`].
    WouldDeadlock,
    /// The client's thread has ended.
    Ended,
}

impl<E> BlockingError<E> {
    /// Why the work failed, if it was done.
    pub fn into_failure(self) -> Option<E> {
        match self {
            Self::Failed(error) => Some(error),
            Self::WouldDeadlock | Self::Ended => None,
        }
    }
}

impl<E: fmt::Display> fmt::Display for BlockingError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(f),
            Self::WouldDeadlock => f.write_str(
                "a method that blocks was called on the client's own thread: call it in a listener of `listen_blocking`",
            ),
            Self::Ended => f.write_str("the client's thread has ended"),
        }
    }
}

impl<E: Error + 'static> Error for BlockingError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed(error) => Some(error),
            Self::WouldDeadlock | Self::Ended => None,
        }
    }
}

impl BlockingClient {
    pub(super) fn start(builder: ClientBuilder) -> Result<Self, ClientBuildError> {
        let (until, ending) = oneshot::channel::<()>();
        let (built, result) = mpsc::sync_channel(1);
        let body = move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => {
                    let _ = built.send(Err(ClientBuildError::NoThread(error)));
                    return;
                }
            };
            let handle = runtime.handle().clone();
            let client = builder.build_in(handle.clone());
            let core = client.as_ref().ok().map(|client| Arc::clone(client.core()));
            let sent = client.map(|client| (client, handle, thread::current().id()));
            // The caller waits for it.
            let _ = built.send(sent);
            if let Some(core) = core {
                runtime.block_on(async {
                    // It fails, when the sender is dropped.
                    let _ = ending.await;
                    core.close();
                    core.wait_for_tasks().await;
                    core.end_events().await;
                });
            }
            // A listener that blocks a thread of the pool is not waited for.
            runtime.shutdown_background();
        };
        thread::Builder::new()
            .name("fanfeed-sockets".to_owned())
            .spawn(body)
            .map_err(ClientBuildError::NoThread)?;
        let lost = || ClientBuildError::NoThread(std::io::Error::other("it ended at once"));
        let (client, runtime, id) = result.recv().map_err(|_| lost())??;
        let _until = until;
        Ok(Self {
            client,
            thread: Arc::new(Thread {
                runtime,
                id,
                _until,
            }),
        })
    }

    /// Joins a channel, as [`Client::join`] does.
    ///
    /// # Errors
    /// As [`Client::join`], and if it is called on the client's own thread.
    pub fn join(
        &self,
        host: &str,
        channel: &str,
        options: JoinOptions,
    ) -> Result<BlockingMembership, BlockingError<JoinError>> {
        let (client, host, channel) = (self.client.clone(), host.to_owned(), channel.to_owned());
        let joined = async move { client.join(&host, &channel, options).await };
        let membership = self.thread.wait(joined)?.map_err(BlockingError::Failed)?;
        Ok(self.with(membership))
    }

    /// Leaves a channel, as [`Client::leave`] does.
    ///
    /// # Errors
    /// If it is called on the client's own thread.
    pub fn leave(&self, channel: &str) -> Result<(), BlockingError<JoinError>> {
        let (client, channel) = (self.client.clone(), channel.to_owned());
        self.thread
            .wait(async move { client.leave(&channel).await })
    }

    /// The memberships of a channel: one for each host.
    pub fn memberships(&self, channel: &str) -> Vec<BlockingMembership> {
        let memberships = self.client.memberships(channel).into_iter();
        memberships
            .map(|membership| self.with(membership))
            .collect()
    }

    /// Whether the channel is joined at some host.
    pub fn has_channel(&self, channel: &str) -> bool {
        self.client.has_channel(channel)
    }

    /// Calls `listener` with each message with this key from now on, as [`Client::listen_blocking`]
    /// does.
    pub fn listen(
        &self,
        key: impl Into<String>,
        listener: impl Fn(Request) -> Reply + Send + Sync + 'static,
    ) {
        self.client.listen_blocking(key, listener);
    }

    /// Sends a message on its channel, and waits until it is written.
    ///
    /// # Errors
    /// If it was not published, and if it is called on the client's own thread.
    pub fn publish(&self, message: Message) -> Result<(), BlockingError<PublishError>> {
        self.thread.publish(self.client.publisher(), message)
    }

    /// Sends a message, and waits for its answer.
    ///
    /// # Errors
    /// If no answer came, and if it is called on the client's own thread.
    pub fn request(
        &self,
        message: Message,
        timeout: Duration,
    ) -> Result<Message, BlockingError<RequestError>> {
        self.thread
            .request(self.client.publisher(), message, timeout)
    }

    /// What happens from now on to all memberships.
    pub fn events(&self) -> Receiver<ClientEvent> {
        self.client.events()
    }

    /// A publisher that does not keep this client open.
    pub fn publisher(&self) -> Publisher {
        self.client.publisher()
    }

    /// Ends all memberships, and waits until their connections are closed. Closing again does
    /// nothing more.
    ///
    /// # Errors
    /// If it is called on the client's own thread; the memberships then end in the background.
    pub fn close(&self) -> Result<(), BlockingError<JoinError>> {
        let client = self.client.clone();
        client.core().close();
        self.thread.wait(async move { client.close().await })
    }

    fn with(&self, membership: Membership) -> BlockingMembership {
        BlockingMembership {
            membership,
            thread: Arc::clone(&self.thread),
        }
    }
}

impl Thread {
    /// Has the thread do the work, and waits for it.
    fn wait<T: Send + 'static, E>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, BlockingError<E>> {
        if thread::current().id() == self.id {
            return Err(BlockingError::WouldDeadlock);
        }
        let (sender, done) = mpsc::sync_channel(1);
        drop(self.runtime.spawn(async move {
            // The caller waits for it.
            let _ = sender.send(work.await);
        }));
        // The sender is dropped with its task if the runtime shuts down.
        done.recv().map_err(|_| BlockingError::Ended)
    }

    fn publish<P: ClientPublisher + 'static>(
        &self,
        publisher: P,
        message: Message,
    ) -> Result<(), BlockingError<PublishError>> {
        self.wait(async move { publisher.publish(message).await })?
            .map_err(BlockingError::Failed)
    }

    fn request<P: ClientPublisher + 'static>(
        &self,
        publisher: P,
        message: Message,
        timeout: Duration,
    ) -> Result<Message, BlockingError<RequestError>> {
        self.wait(async move { publisher.request(message, timeout).await })?
            .map_err(BlockingError::Failed)
    }
}

/// A channel at a host that a [`BlockingClient`] has joined.
///
/// It does not keep the client's memberships, but the client's thread: dropping the client while
/// one is left ends the memberships all the same.
#[derive(Debug, Clone)]
pub struct BlockingMembership {
    membership: Membership,
    thread: Arc<Thread>,
}

impl BlockingMembership {
    /// The host, as it was given when the channel was joined.
    pub fn host(&self) -> &str {
        self.membership.host()
    }

    /// The channel.
    pub fn channel(&self) -> &str {
        self.membership.channel()
    }

    /// The id that the server gave to this connection, once its `join.success` has come.
    pub fn client_id(&self) -> Option<Arc<str>> {
        self.membership.client_id()
    }

    /// Where it stands.
    pub fn state(&self) -> MembershipState {
        self.membership.state()
    }

    /// Waits until the server's `join.success` has come, and returns the client id.
    ///
    /// # Errors
    /// If the membership is over before that, and if it is called on the client's own thread.
    pub fn joined(&self) -> Result<Arc<str>, BlockingError<LeaveReason>> {
        let membership = self.membership.clone();
        self.thread
            .wait(async move { membership.joined().await })?
            .map_err(BlockingError::Failed)
    }

    /// Waits until the membership is over, and says why.
    ///
    /// # Errors
    /// If it is called on the client's own thread.
    pub fn over(&self) -> Result<LeaveReason, BlockingError<JoinError>> {
        let membership = self.membership.clone();
        self.thread.wait(async move { membership.over().await })
    }

    /// Leaves the channel, as [`Membership::leave`] does.
    ///
    /// # Errors
    /// If it is called on the client's own thread.
    pub fn leave(&self) -> Result<(), BlockingError<JoinError>> {
        let membership = self.membership.clone();
        self.thread.wait(async move { membership.leave().await })
    }

    /// Sends a message on this channel, and waits until it is written.
    ///
    /// # Errors
    /// If it was not published, and if it is called on the client's own thread.
    pub fn publish(&self, message: Message) -> Result<(), BlockingError<PublishError>> {
        self.thread.publish(self.membership.clone(), message)
    }

    /// Sends a message on this channel, and waits for its answer.
    ///
    /// # Errors
    /// If no answer came, and if it is called on the client's own thread.
    pub fn request(
        &self,
        message: Message,
        timeout: Duration,
    ) -> Result<Message, BlockingError<RequestError>> {
        self.thread
            .request(self.membership.clone(), message, timeout)
    }
}

/// Its futures can be polled anywhere.
impl ClientPublisher for BlockingClient {
    fn try_publish(&self, message: Message) -> Result<(), PublishError> {
        self.client.try_publish(message)
    }

    fn publish(&self, message: Message) -> PublishFuture<'_> {
        ClientPublisher::publish(&self.client, message)
    }

    fn request(&self, message: Message, timeout: Duration) -> RequestFuture<'_> {
        ClientPublisher::request(&self.client, message, timeout)
    }
}
