//! What a handler gets.

use std::any::Any;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::connection::Connection;
use crate::error::InvalidBody;
use crate::wire::Message;

/// A message that came in, with the channel and the connection it came on.
#[derive(Debug, Clone)]
pub struct Request {
    /// Shared with the server, which needs it for the error message if the handler fails.
    message: Arc<Message>,
    channel: Arc<str>,
    connection: Option<Connection>,
    cancel: CancellationToken,
}

impl Request {
    /// Makes a request. Servers and clients do so for each message; an application does in the
    /// tests of a handler.
    pub fn new(message: Message, channel: impl Into<Arc<str>>) -> Self {
        Self::with_token(
            Arc::new(message),
            channel.into(),
            None,
            CancellationToken::new(),
        )
    }

    pub(crate) fn with_token(
        message: Arc<Message>,
        channel: Arc<str>,
        connection: Option<Connection>,
        cancel: CancellationToken,
    ) -> Self {
        Self {
            message,
            channel,
            connection,
            cancel,
        }
    }

    /// Sets the connection that the message came on, as a server does.
    #[must_use]
    pub fn with_connection(mut self, connection: Connection) -> Self {
        self.channel = Arc::clone(connection.shared_channel());
        self.connection = Some(connection);
        self
    }

    /// The message.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// The message, by value. It is copied if the server still needs it.
    pub fn into_message(self) -> Message {
        Arc::unwrap_or_clone(self.message)
    }

    /// The key of the message, which chose the handler.
    pub fn key(&self) -> &str {
        self.message.key()
    }

    /// The channel that the message came on.
    pub fn channel(&self) -> &str {
        &self.channel
    }

    /// The connection that the message came on. `None` on a client.
    pub fn connection(&self) -> Option<&Connection> {
        self.connection.as_ref()
    }

    /// The state of the connection, if `authorize` set one of this type.
    pub fn state<T: Any>(&self) -> Option<&T> {
        self.connection.as_ref()?.state()
    }

    /// The token that is cancelled when the connection has ended, or is being closed, and when a
    /// [`Timeout`](crate::middleware::Timeout) around the handler has run out.
    pub fn cancel_token(&self) -> &CancellationToken {
        &self.cancel
    }

    /// Gives the request a token of its own, which is cancelled with the one that it had.
    pub(crate) fn split_token(&mut self) -> CancellationToken {
        self.cancel = self.cancel.child_token();
        self.cancel.clone()
    }

    /// Decodes the body.
    ///
    /// # Errors
    ///
    /// If the body is not what `T` takes. A server tells the client so.
    pub fn bind<T: DeserializeOwned>(&self) -> Result<T, InvalidBody> {
        let bound = self.message.bind();
        bound.map_err(|error| InvalidBody::new(self.key(), error))
    }

    /// Makes a message that answers this one: it is addressed to the same client and channel, with
    /// the same correlation id.
    pub fn reply(&self, key: &str) -> Message {
        self.message.new_from(key)
    }
}
