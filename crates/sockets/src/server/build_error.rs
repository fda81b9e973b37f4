//! What is wrong with the settings of a server.

use std::error::Error;
use std::fmt;

use super::address::NetworkError;

/// Why a server could not be built.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// Two handlers have this key. A key has one handler.
    Twice(String),
    /// A handler has a key that no message to a handler has: the empty one, or `error`.
    Key(String),
    /// A trusted proxy is not an address or a network.
    Proxy(NetworkError),
    /// No page can come from this origin that was to be allowed.
    Origin(String),
    /// This limit is 0, so that nothing could work. It has to be at least 1.
    ZeroLimit(&'static str),
    /// An option of the nodes is wrong, or their thread cannot be started. The text says which and
    /// why.
    #[cfg(feature = "nodes")]
    Nodes(String),
    /// The thread of the logger cannot be started. The text says why.
    Logger(String),
    /// The history has more frames than half of the limit `queue_frames`, so that a client could
    /// not be given all of them.
    History {
        /// What was asked for.
        frames: usize,
        /// What the limit allows.
        most: usize,
    },
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Twice(key) => write!(
                f,
                "two handlers have the key {key:?}: a key has one handler"
            ),
            Self::Key(key) => write!(
                f,
                "a handler has the key {key:?}, which no message to a handler has: name another one"
            ),
            Self::Proxy(error) => write!(f, "a trusted proxy is not valid: {error}"),
            Self::Origin(origin) => write!(
                f,
                "no page comes from the origin {origin:?}: write one as browsers do, with a scheme and without a path, such as \"https://example.com\" or \"http://localhost:8080\""
            ),
            Self::ZeroLimit(name) => write!(f, "the limit {name} is 0: it has to be at least 1"),
            #[cfg(feature = "nodes")]
            Self::Nodes(text) => write!(f, "the server cannot be a node: {text}"),
            Self::Logger(text) => write!(f, "the logger has no thread: {text}"),
            Self::History { frames, most } => write!(
                f,
                "the history has {frames} frames, and the limit queue_frames allows {most}: it has to be at least twice the history"
            ),
        }
    }
}

impl Error for BuildError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Proxy(error) => Some(error),
            _ => None,
        }
    }
}
