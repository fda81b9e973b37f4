//! What a server knows about a connection.

use std::any::Any;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// The peer behind a connection, as `authorize` established it before the upgrade.
///
/// Each message of the connection carries these ids: what the peer writes into `userId` and `appId`
/// itself is overwritten, with the empty string where the identity has none.
///
/// ```
/// use fanfeed_sockets::Identity;
///
/// let identity = Identity::user("ada").app("editor").state(vec!["admin"]);
/// assert_eq!(identity.user_id(), "ada");
/// assert_eq!(identity.app_id(), "editor");
/// assert_eq!(identity.get_state::<Vec<&str>>(), Some(&vec!["admin"]));
/// assert_eq!(fanfeed_sockets::Identity::anonymous().user_id(), "");
/// ```
#[derive(Clone, Default)]
pub struct Identity {
    user_id: Arc<str>,
    app_id: Arc<str>,
    state: Option<Arc<dyn Any + Send + Sync>>,
}

impl Identity {
    /// An identity with neither a user nor an application.
    pub fn anonymous() -> Self {
        Self::default()
    }

    /// The identity of a user.
    pub fn user(user_id: impl Into<Arc<str>>) -> Self {
        Self {
            user_id: user_id.into(),
            ..Self::default()
        }
    }

    /// Sets the id of the application.
    #[must_use]
    pub fn app(mut self, app_id: impl Into<Arc<str>>) -> Self {
        self.app_id = app_id.into();
        self
    }

    /// Sets the state of the connection: any one value, which handlers and hooks can read.
    #[must_use]
    pub fn state<T: Any + Send + Sync>(mut self, state: T) -> Self {
        self.state = Some(Arc::new(state));
        self
    }

    /// The id of the user, or the empty string.
    pub fn user_id(&self) -> &str {
        &self.user_id
    }

    /// The id of the application, or the empty string.
    pub fn app_id(&self) -> &str {
        &self.app_id
    }

    /// The state of the connection, if one of this type was set.
    pub fn get_state<T: Any>(&self) -> Option<&T> {
        self.state.as_deref()?.downcast_ref()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("user_id", &self.user_id)
            .field("app_id", &self.app_id)
            .field("has_state", &self.state.is_some())
            .finish()
    }
}

/// A connection to a server: one membership of one channel.
#[derive(Debug, Clone)]
pub struct Connection {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    id: Arc<str>,
    channel: Arc<str>,
    address: Option<IpAddr>,
    identity: Identity,
    #[cfg(feature = "server")]
    server: Option<crate::server::Server>,
}

impl Connection {
    /// Makes a connection for the tests of a handler. A server makes its own.
    pub fn new(
        id: impl Into<Arc<str>>,
        channel: impl Into<Arc<str>>,
        address: Option<IpAddr>,
        identity: Identity,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                id: id.into(),
                channel: channel.into(),
                address,
                identity,
                #[cfg(feature = "server")]
                server: None,
            }),
        }
    }

    #[cfg(feature = "server")]
    pub(crate) fn on_server(
        channel: Arc<str>,
        address: Option<IpAddr>,
        identity: Identity,
        server: crate::server::Server,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                id: crate::wire::unique_id().into(),
                channel,
                address,
                identity,
                server: Some(server),
            }),
        }
    }

    /// The server that the connection is on, for handlers and hooks that broadcast. `None` for a
    /// connection that was made by [`new`](Self::new). This handle does not keep the server
    /// running.
    #[cfg(feature = "server")]
    pub fn server(&self) -> Option<&crate::server::Server> {
        self.inner.server.as_ref()
    }

    /// The client's id, a UUID v4 that the server assigned.
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    /// The channel that the client has joined.
    pub fn channel(&self) -> &str {
        &self.inner.channel
    }

    #[cfg(feature = "server")]
    pub(crate) fn shared_id(&self) -> &Arc<str> {
        &self.inner.id
    }

    pub(crate) fn shared_channel(&self) -> &Arc<str> {
        &self.inner.channel
    }

    /// The client's address: that of its TCP connection, or what a configured proxy forwarded.
    /// `None` if the server was not told.
    pub fn address(&self) -> Option<IpAddr> {
        self.inner.address
    }

    /// The identity that `authorize` established.
    pub fn identity(&self) -> &Identity {
        &self.inner.identity
    }

    /// The state of the connection, if `authorize` set one of this type.
    pub fn state<T: Any>(&self) -> Option<&T> {
        self.inner.identity.get_state()
    }
}
