//! Publishing, as a trait that tests of a program can mock.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::core::Core;
use super::error::{PublishError, PublishFault, RequestError};
use super::member::Member;
use crate::wire::{Message, unique_id};

/// The future of [`ClientPublisher::publish`].
pub type PublishFuture<'a> = Pin<Box<dyn Future<Output = Result<(), PublishError>> + Send + 'a>>;

/// The future of [`ClientPublisher::request`].
pub type RequestFuture<'a> =
    Pin<Box<dyn Future<Output = Result<Message, RequestError>> + Send + 'a>>;

/// Sends messages on channels that were joined.
///
/// A [`Client`](crate::Client), its [`Publisher`] and a [`Membership`](crate::Membership) are
/// publishers; a test of a program can bring its own:
///
/// ```
/// use std::sync::Mutex;
/// use std::time::Duration;
/// use fanfeed_sockets::{ClientPublisher, Message, PublishError, PublishFuture, RequestError, RequestFuture};
///
/// #[derive(Default)]
/// struct Recorder(Mutex<Vec<Message>>);
///
/// impl ClientPublisher for Recorder {
///     fn try_publish(&self, message: Message) -> Result<(), PublishError> {
///         self.0.lock().unwrap().push(message);
///         Ok(())
///     }
///     fn publish(&self, message: Message) -> PublishFuture<'_> {
///         Box::pin(async { self.try_publish(message) })
///     }
///     fn request(&self, _: Message, timeout: Duration) -> RequestFuture<'_> {
///         Box::pin(async move { Err(RequestError::Timeout(timeout)) })
///     }
/// }
///
/// fn greet(publisher: &dyn ClientPublisher) -> Result<(), PublishError> {
///     publisher.try_publish(Message::new("greeting", "", "room1"))
/// }
///
/// let recorder = Recorder::default();
/// greet(&recorder)?;
/// assert_eq!(recorder.0.lock().unwrap()[0].key(), "greeting");
/// # Ok::<(), PublishError>(())
/// ```
pub trait ClientPublisher: Send + Sync {
    /// Puts a message into the queue to the server of its channel, and does not wait until it is
    /// written.
    ///
    /// # Errors
    /// If the channel is not joined, or not connected at the moment; if the queue is full, or the
    /// message too large.
    fn try_publish(&self, message: Message) -> Result<(), PublishError>;

    /// Sends a message on its channel, and waits until it is written. The server does not
    /// acknowledge it.
    ///
    /// It does not wait for a lost connection to come back: it fails at once.
    fn publish(&self, message: Message) -> PublishFuture<'_>;

    /// Sends a message, and waits for the first message on the same channel that has its
    /// correlation id. It gets a new correlation id unless it has one.
    ///
    /// In a listener, mind that the answer comes behind all messages that the server sent before
    /// it: it is not read while the [`inbox`](crate::ClientBuilder::inbox) of the membership is
    /// full.
    fn request(&self, message: Message, timeout: Duration) -> RequestFuture<'_>;
}

/// Publishes on the channels of a client, and does not keep the client open. Clones publish for the
/// same client.
#[derive(Clone)]
pub struct Publisher {
    core: Arc<Core>,
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").finish_non_exhaustive()
    }
}

impl Publisher {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    fn find(&self, message: Message) -> Result<(Arc<Member>, Message), PublishError> {
        let found = match message.key() {
            "" => Err(PublishFault::NoKey),
            _ => self.core.member_of(message.channel_id()),
        };
        match found {
            Ok(member) => Ok((member, message)),
            Err(fault) => Err(PublishError::new(fault, message)),
        }
    }
}

impl ClientPublisher for Publisher {
    fn try_publish(&self, message: Message) -> Result<(), PublishError> {
        let (member, message) = self.find(message)?;
        member.try_publish(message, self.core.settings.max_publish)
    }

    fn publish(&self, message: Message) -> PublishFuture<'_> {
        Box::pin(async {
            let (member, message) = self.find(message)?;
            member
                .publish(message, self.core.settings.max_publish)
                .await
        })
    }

    fn request(&self, message: Message, timeout: Duration) -> RequestFuture<'_> {
        Box::pin(async move {
            let (member, message) = self.find(message)?;
            request(&self.core, &member, message, timeout).await
        })
    }
}

pub(super) async fn request(
    core: &Core,
    member: &Arc<Member>,
    mut message: Message,
    timeout: Duration,
) -> Result<Message, RequestError> {
    if message.correlation_id().is_empty() {
        message.set_correlation_id(unique_id());
    }
    let expected = member.expect_answer(message.correlation_id());
    let mut expected = expected.ok_or(RequestError::DuplicateCorrelationId)?;
    // The clock is that of the client's runtime: the caller may have none.
    let clock = {
        let _entered = core.runtime.enter();
        tokio::time::sleep(timeout)
    };
    let answered = async {
        member.publish(message, core.settings.max_publish).await?;
        match expected.answer().await {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(error)) => Err(RequestError::Refused(error)),
            None => Err(RequestError::Lost),
        }
    };
    tokio::select! {
        biased;
        answered = answered => answered,
        () = clock => Err(RequestError::Timeout(timeout)),
    }
}
