//! How to connect, and what to keep.

use std::time::Duration;

use fanfeed_broker::ConnectError;
use fanfeed_broker::driver::{Secret, Tls};

/// The address of a server, the user that connects, and the limits of what the server keeps.
///
/// ```
/// use std::time::Duration;
/// use fanfeed_redis::Config;
///
/// let config = Config::new("redis.example.org", 6379)
///     .password("s3cret")
///     .database(2)
///     .prefix("shop:")
///     .dial_timeout(Duration::from_secs(1));
/// // Secrets are never shown.
/// assert!(!format!("{config:?}").contains("s3cret"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) database: u32,
    pub(crate) tls: Option<Tls>,
    pub(crate) mode: Mode,
    pub(crate) prefix: String,
    pub(crate) max_message: usize,
    pub(crate) max_entries: Option<u64>,
    pub(crate) dial: Duration,
    pub(crate) read: Duration,
    pub(crate) write: Duration,
    pub(crate) heartbeat: Duration,
    pub(crate) sweep: Duration,
}

/// What messages are carried by. Brokers of different modes do not see each other's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Mode {
    /// Streams: at least once, with groups; the server keeps what was published.
    #[default]
    Streams,
    /// Channels of pub/sub: at most once, without groups; the server keeps nothing. What a loss of the connection
    /// costs is reported as a gap of unknown size.
    PubSub,
}

impl Config {
    /// A server without TLS and without a password. Database 0, prefix `fanfeed:`, messages of at most 1 MiB, about
    /// 100,000 entries to a stream, 5 s to connect, 3 s to read and to write, a heartbeat and a sweep each 5 s.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Config {
            host: host.into(),
            port,
            user: None,
            password: None,
            database: 0,
            tls: None,
            mode: Mode::Streams,
            prefix: "fanfeed:".to_owned(),
            max_message: 1 << 20,
            max_entries: Some(100_000),
            dial: Duration::from_secs(5),
            read: Duration::from_secs(3),
            write: Duration::from_secs(3),
            heartbeat: Duration::from_secs(5),
            sweep: Duration::from_secs(5),
        }
    }

    /// The user of an access control list. Without one the server's `default` user connects.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// The password.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(Secret::new(password));
        self
    }

    /// The database, from 0. Servers have 16 unless they are told otherwise.
    #[must_use]
    pub fn database(mut self, number: u32) -> Self {
        self.database = number;
        self
    }

    /// Encrypts the connection.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// What messages are carried by: streams, unless it says otherwise.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// What every name on the server begins with. Brokers with different prefixes do not see each other.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// The largest message, in bytes of key, name, headers and payload together. A larger one is refused when it is
    /// published, and reported and skipped when it is received.
    #[must_use]
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.max_message = bytes;
        self
    }

    /// About how many entries the stream of a key keeps; `None` keeps all, until memory ends.
    ///
    /// The server removes whole blocks of entries, so that a stream may be longer by a hundred entries or so. It removes
    /// the oldest, whether they were acknowledged or not: a reader that is further behind has a gap, which is
    /// reported.
    #[must_use]
    pub fn max_entries(mut self, entries: impl Into<Option<u64>>) -> Self {
        self.max_entries = entries.into();
        self
    }

    /// How long a connection may take, the name's resolution excepted.
    #[must_use]
    pub fn dial_timeout(mut self, timeout: Duration) -> Self {
        self.dial = timeout;
        self
    }

    /// How long the server may take to answer. Reads that wait for messages are exempt.
    #[must_use]
    pub fn read_timeout(mut self, timeout: Duration) -> Self {
        self.read = timeout;
        self
    }

    /// How long a write may find no room.
    #[must_use]
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.write = timeout;
        self
    }

    /// How often a member of groups says that it lives. One that has not said so for three intervals is dead, and its
    /// messages go to others. All members should have the same interval.
    #[must_use]
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.heartbeat = interval;
        self
    }

    /// How often all streams are looked at, whether they were rung for or not. This is how late a message of a writer
    /// that rings no doorbell can be.
    #[must_use]
    pub fn sweep(mut self, interval: Duration) -> Self {
        self.sweep = interval;
        self
    }

    /// Host and port, as errors show them.
    pub(crate) fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// What a server or a library said, without the password.
    pub(crate) fn redact(&self, text: &str) -> String {
        match &self.password {
            Some(password) => password.redact(text),
            None => text.to_owned(),
        }
    }

    /// Refuses what cannot work.
    pub(crate) fn check(&self) -> Result<(), ConnectError> {
        let bad = |what: &str| Err(ConnectError::BadConfig(what.into()));
        if self.host.is_empty() {
            return bad("the host is empty: name the server, such as `localhost`");
        }
        if self.prefix.contains(['{', '}']) {
            return bad("the prefix holds a brace, which marks the hash tag: leave it out");
        }
        if self.prefix.len() > 255 || self.prefix.chars().any(char::is_control) {
            return bad("the prefix has to have at most 255 bytes and no control characters");
        }
        if self.max_message == 0 {
            return bad("the largest message has 0 bytes: give at least 1");
        }
        if self.max_entries == Some(0) {
            return bad(
                "a stream that keeps 0 entries delivers nothing: give at least 1, or `None` to keep all",
            );
        }
        let intervals = [
            ("dial timeout", self.dial),
            ("read timeout", self.read),
            ("write timeout", self.write),
            ("heartbeat", self.heartbeat),
            ("sweep", self.sweep),
        ];
        for (name, interval) in intervals {
            // The server takes milliseconds, and the system no timeout of zero.
            if interval < Duration::from_millis(1) || interval > Duration::from_secs(24 * 60 * 60) {
                let text = format!("the {name} is {interval:?}: give from 1 ms to a day");
                return Err(ConnectError::BadConfig(text.into()));
            }
        }
        Ok(())
    }
}
