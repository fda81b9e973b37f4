//! Building a client.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::Client;
use super::blocking::BlockingClient;
use super::core::{Core, ErrorCallback, Program, ServerErrorCallback};
use super::error::ClientBuildError;
use super::event::{ClientEvent, Logger};
use super::settings::Settings;
use super::stats::Meters;
#[cfg(feature = "tls")]
use super::tls::Pem;
use super::tls::Tls;
use crate::handler::{Handler, HandlerError, Reply};
use crate::middleware::{Middleware, Next, chain};
use crate::observe::observed;
use crate::request::Request;
use crate::wire::{
    ErrorMessage, MESSAGE_CHANNEL_CLOSED, MESSAGE_CHANNEL_EXPIRED, MESSAGE_ERROR,
    MESSAGE_JOIN_SUCCESS, Message,
};

/// What a [`Client`] is built from.
#[derive(Clone)]
pub struct ClientBuilder {
    pub(super) settings: Settings,
    listeners: HashMap<String, Next>,
    middleware: Vec<Arc<dyn Middleware>>,
    on_error: Option<ErrorCallback>,
    on_server_error: Option<ServerErrorCallback>,
    logger: Option<Logger>,
    #[cfg(feature = "tls")]
    authorities: Option<Vec<u8>>,
    #[cfg(feature = "tls")]
    identity: Option<Pem>,
}

impl ClientBuilder {
    pub(super) fn new() -> Self {
        // The client itself does what these three ask for. They have listeners so that middleware
        // sees them.
        let own = [
            MESSAGE_JOIN_SUCCESS,
            MESSAGE_CHANNEL_EXPIRED,
            MESSAGE_CHANNEL_CLOSED,
        ];
        let nothing: Next = Arc::new(|_: Request| async { Ok(None) });
        let listeners = own.map(|key| (key.to_owned(), Arc::clone(&nothing)));
        Self {
            settings: Settings::default(),
            listeners: listeners.into_iter().collect(),
            middleware: Vec::new(),
            on_error: None,
            on_server_error: None,
            logger: None,
            #[cfg(feature = "tls")]
            authorities: None,
            #[cfg(feature = "tls")]
            identity: None,
        }
    }

    /// Calls `listener` with each message with this key, on whichever channel. A message that it
    /// returns is published. A later listener for the same key replaces it.
    ///
    /// The messages of a membership are handled one after the other, those of different memberships
    /// side by side. A listener for `join.success`, `channel.expired` or `channel.closed` comes in
    /// addition to what the client itself does then.
    ///
    /// The answer to a [request](super::ClientPublisher::request) of a listener is read only if the
    /// [`inbox`](Self::inbox) has room for the messages before it.
    ///
    /// A listener must not block its thread; see [`listen_blocking`](Self::listen_blocking).
    #[must_use]
    pub fn listen(mut self, key: impl Into<String>, listener: impl Handler) -> Self {
        self.listeners.insert(key.into(), Arc::new(listener));
        self
    }

    /// Calls `listener`, which may block, on a thread of tokio's blocking pool.
    #[must_use]
    pub fn listen_blocking(
        self,
        key: impl Into<String>,
        listener: impl Fn(Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        self.listen(key, blocking(listener))
    }

    /// Adds middleware around all listeners, inside of that which was added before.
    #[must_use]
    pub fn middleware(mut self, middleware: impl Middleware) -> Self {
        self.middleware.push(Arc::new(middleware));
        self
    }

    /// Calls `callback` when a listener failed, or its reply was not published.
    #[must_use]
    pub fn on_error(
        mut self,
        callback: impl Fn(&HandlerError, &Message) + Send + Sync + 'static,
    ) -> Self {
        self.on_error = Some(Arc::new(callback));
        self
    }

    /// Calls `callback` with each error message of a server that answers no request.
    #[must_use]
    pub fn on_server_error(
        mut self,
        callback: impl Fn(&ErrorMessage) + Send + Sync + 'static,
    ) -> Self {
        self.on_server_error = Some(Arc::new(callback));
        self
    }

    /// Calls `logger` with each [event](Client::events) of the client, on a thread of its own: a
    /// logger that is slow misses events, and is told how many. Without one, nothing is written
    /// anywhere.
    ///
    /// ```
    /// use fanfeed_sockets::Client;
    ///
    /// let _client = Client::builder().logger(|event| eprintln!("{event}"));
    /// ```
    #[must_use]
    pub fn logger(mut self, logger: impl Fn(&ClientEvent) + Send + Sync + 'static) -> Self {
        self.logger = Some(Arc::new(logger));
        self
    }

    /// Reconnects after waits that grow up to this one, as [`Backoff`](fanfeed::Backoff) draws
    /// them. 30 seconds by default.
    #[must_use]
    pub fn reconnect(mut self, max_wait: Duration) -> Self {
        self.settings.reconnect = Some(max_wait);
        self
    }

    /// Does not reconnect: a lost connection ends the membership.
    #[must_use]
    pub fn no_reconnect(mut self) -> Self {
        self.settings.reconnect = None;
        self
    }

    /// Gives a membership up after so many attempts to connect that failed in a row. Without limit
    /// by default.
    ///
    /// An attempt has also failed if the server upgrades the connection and ends it before it has
    /// sent anything but a close frame.
    #[must_use]
    pub fn reconnect_attempts(mut self, attempts: u32) -> Self {
        self.settings.attempts = Some(attempts);
        self
    }

    /// How long connecting may take, TLS and the upgrade included. 15 seconds by default.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connect_timeout = timeout;
        self
    }

    /// The longest time without any progress of a write. After it the connection is lost. 10
    /// seconds by default. A server that reads a large message slowly is not cut.
    #[must_use]
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.settings.write_timeout = timeout;
        self
    }

    /// How long leaving waits for the server to answer the close frame. 2 seconds by default.
    #[must_use]
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.settings.close_timeout = timeout;
        self
    }

    /// How often the client pings the server. 20 seconds by default.
    #[must_use]
    pub fn ping_interval(mut self, interval: Duration) -> Self {
        self.settings.ping_interval = interval;
        self
    }

    /// How long nothing at all may come from the server. Then the connection is lost. 50 seconds by
    /// default.
    #[must_use]
    pub fn silence_timeout(mut self, timeout: Duration) -> Self {
        self.settings.silence = timeout;
        self
    }

    /// How long a message of the server may take to arrive. Its parts are signs of life, so this is
    /// what ends a connection whose server sends a byte now and then. 2 minutes by default.
    ///
    /// The client looks at this once in each [`silence_timeout`](Self::silence_timeout), so that a
    /// message may take up to two of those longer. A ping or a pong of the server between two parts
    /// starts the time again: then the message is bounded by
    /// [`max_message_bytes`](Self::max_message_bytes) alone. The time also starts again when the
    /// [`inbox`](Self::inbox) was full.
    #[must_use]
    pub fn message_timeout(mut self, timeout: Duration) -> Self {
        self.settings.message_timeout = timeout;
        self
    }

    /// The largest message in bytes that the client takes. A larger one ends the membership with
    /// close code 1009. 1 MiB by default.
    #[must_use]
    pub fn max_message_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_message = bytes;
        self
    }

    /// The largest message in bytes that the client sends. 1 MiB by default. Servers of the Go
    /// library take 512 bytes by default, and close the connection over more.
    #[must_use]
    pub fn max_publish_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_publish = bytes;
        self
    }

    /// How many messages of a membership may wait for their listeners. Then no more are read. 256
    /// by default.
    ///
    /// Answers are then not read either: a listener that
    /// [requests](super::ClientPublisher::request) something on a channel that is busier than the
    /// listener waits until its timeout. Such a listener starts a task for that, or has an inbox
    /// with room for what comes meanwhile.
    #[must_use]
    pub fn inbox(mut self, messages: usize) -> Self {
        self.settings.inbox = messages;
        self
    }

    /// How many bytes of messages may wait for their listeners: the other bound of the
    /// [`inbox`](Self::inbox). 4 MiB by default, and 256 MiB at most. A message that is larger
    /// waits alone.
    #[must_use]
    pub fn inbox_bytes(mut self, bytes: u32) -> Self {
        self.settings.inbox_bytes = bytes;
        self
    }

    /// How many messages of a membership may wait to be written. 256 by default.
    #[must_use]
    pub fn outbox(mut self, messages: usize) -> Self {
        self.settings.outbox = messages;
        self
    }

    /// How many bytes of messages may wait to be written: the other bound of the
    /// [`outbox`](Self::outbox). 4 MiB by default, and 256 MiB at most. A message that is larger
    /// waits alone.
    #[must_use]
    pub fn outbox_bytes(mut self, bytes: u32) -> Self {
        self.settings.outbox_bytes = bytes;
        self
    }

    /// Trusts servers whose certificate one of these authorities has signed, in PEM, instead of
    /// those that the system trusts.
    #[cfg(feature = "tls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
    #[must_use]
    pub fn tls_authorities(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.authorities = Some(pem.into());
        self
    }

    /// Shows this certificate to servers that ask for one. Both are PEM.
    #[cfg(feature = "tls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
    #[must_use]
    pub fn tls_identity(
        mut self,
        certificate: impl Into<Vec<u8>>,
        key: impl Into<Vec<u8>>,
    ) -> Self {
        let (certificate, key) = (certificate.into(), key.into());
        self.identity = Some(Pem { certificate, key });
        self
    }

    /// Builds a client whose tasks run in the current tokio runtime.
    ///
    /// # Errors
    /// If there is no runtime, a setting cannot be used, or a listener can never be called.
    pub fn build(self) -> Result<Client, ClientBuildError> {
        let runtime = Handle::try_current().map_err(|_| ClientBuildError::NoRuntime)?;
        self.build_in(runtime)
    }

    /// Builds a client with a thread of its own, for programs without tokio.
    ///
    /// # Errors
    /// If the thread cannot be started, a setting cannot be used, or a listener can never be
    /// called.
    pub fn build_blocking(self) -> Result<BlockingClient, ClientBuildError> {
        BlockingClient::start(self)
    }

    pub(super) fn build_in(mut self, runtime: Handle) -> Result<Client, ClientBuildError> {
        self.settings.check()?;
        if self.listeners.contains_key(MESSAGE_ERROR) {
            return Err(ClientBuildError::Key(MESSAGE_ERROR.to_owned()));
        }
        if self.settings.attempts == Some(0) {
            self.settings.reconnect = None;
        }
        #[cfg(feature = "tls")]
        let tls = Tls::new(self.authorities.as_deref(), self.identity)?;
        #[cfg(not(feature = "tls"))]
        let tls = Tls::none();
        let wrapped = self.listeners.into_iter();
        let meters = Meters::registered();
        let wrapped = wrapped.map(|(key, listener)| {
            let listener = chain(&self.middleware, listener);
            (key, observed(listener, &meters.listener))
        });
        let program = Program {
            listeners: wrapped.collect(),
            middleware: self.middleware,
            on_error: self.on_error,
            on_server_error: self.on_server_error,
        };
        let core = Core::new(self.settings.bounded(), tls, runtime, program, meters);
        if let Some(logger) = self.logger {
            let started = core
                .observers
                .log(move |event| logger(event), ClientEvent::missed);
            started.map_err(ClientBuildError::NoThread)?;
        }
        Ok(Client::new(core))
    }
}

/// Certificates, keys and closures are not shown.
impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("settings", &self.settings)
            .field("listeners", &self.listeners.keys().collect::<Vec<_>>())
            .field("middleware", &self.middleware.len())
            .finish_non_exhaustive()
    }
}

/// Makes a handler that may block of a function: it runs on a thread of tokio's blocking pool.
pub(super) fn blocking(
    listener: impl Fn(Request) -> Reply + Send + Sync + 'static,
) -> impl Handler {
    let listener = Arc::new(listener);
    move |request: Request| {
        let listener = Arc::clone(&listener);
        async move {
            match tokio::task::spawn_blocking(move || listener(request)).await {
                Ok(reply) => reply,
                Err(error) => match error.try_into_panic() {
                    // As if the listener had run here: the panic becomes an error outside of all
                    // middleware.
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(error) => Err(error.into()),
                },
            }
        }
    }
}
