//! The configuration of a broker.

use std::time::Duration;

use fanfeed_broker::ConnectError;
use fanfeed_broker::driver::{Secret, Tls, check_durations};

/// The configuration of a broker: the server, the user, and how much the server keeps.
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
    pub(crate) bare: bool,
    pub(crate) prefix: String,
    pub(crate) max_message: usize,
    pub(crate) max_entries: Option<u64>,
    pub(crate) dial: Duration,
    pub(crate) read: Duration,
    pub(crate) write: Duration,
    pub(crate) heartbeat: Duration,
    pub(crate) sweep: Duration,
}

/// The feature of Redis that carries the messages. Brokers of different modes do not see each
/// other's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Mode {
    /// Streams: at least once, with groups. The server keeps the messages.
    #[default]
    Streams,
    /// Pub/sub channels: at most once, without groups. The server keeps nothing. Messages that are
    /// lost with a connection are reported as a gap of unknown size.
    PubSub,
}

impl Config {
    /// The defaults for a server: no TLS, no password, database 0, prefix `fanfeed:`, messages of
    /// at most 1 MiB, about 100,000 entries for each stream, 5 s to connect, 3 s to read and to
    /// write, a heartbeat and a sweep every 5 s.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Config {
            host: host.into(),
            port,
            user: None,
            password: None,
            database: 0,
            tls: None,
            mode: Mode::Streams,
            bare: false,
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

    /// Sets the user, of the server's access control list. The default is the server's user
    /// `default`.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Sets the password.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(Secret::new(password));
        self
    }

    /// Sets the number of the database, from 0. By default a server has 16.
    #[must_use]
    pub fn database(mut self, number: u32) -> Self {
        self.database = number;
        self
    }

    /// Encrypts the connections.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Sets the mode. The default is streams.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Publishes only payloads in the mode of pub/sub, for subscribers in other programs. The name
    /// of a channel is the prefix and the key, without escaping. Identity, name, time and headers
    /// of the messages are lost. The broker wakes its own listener on a channel
    /// `fanfeed-wake:{..}`, which its user must be allowed to use. Off by default. Streams are not
    /// affected.
    #[must_use]
    pub fn bare(mut self, bare: bool) -> Self {
        self.bare = bare;
        self
    }

    /// Sets the prefix of all names on the server. Brokers with different prefixes do not see each
    /// other's messages. In the mode of pub/sub this holds unless one prefix begins with the other:
    /// the key `b:x` under the prefix `a:` has the channel of the key `x` under the prefix `a:b:`.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets the largest size of a message in bytes: key, name, headers and payload. A broker
    /// refuses to publish a larger message, and skips and reports a larger message that it
    /// receives.
    #[must_use]
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.max_message = bytes;
        self
    }

    /// Sets about how many entries the stream of a key keeps. With `None` it keeps all entries,
    /// until the server has no memory left.
    ///
    /// The server removes whole blocks of entries, so a stream may have about a hundred entries
    /// more. It removes the oldest entries, whether they were acknowledged or not. A reader that
    /// had not read them reports a gap.
    #[must_use]
    pub fn max_entries(mut self, entries: impl Into<Option<u64>>) -> Self {
        self.max_entries = entries.into();
        self
    }

    /// Sets the timeout for connecting, which includes logging in but not the resolution of the
    /// host's name.
    #[must_use]
    pub fn dial_timeout(mut self, timeout: Duration) -> Self {
        self.dial = timeout;
        self
    }

    /// Sets the timeout for answers of the server. It does not apply to reads that wait for
    /// messages.
    #[must_use]
    pub fn read_timeout(mut self, timeout: Duration) -> Self {
        self.read = timeout;
        self
    }

    /// Sets the timeout for writes to the connection.
    #[must_use]
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.write = timeout;
        self
    }

    /// Sets how often a member of groups sends a heartbeat. A member that has sent none for three
    /// intervals counts as dead, and its messages go to other members. All members should have the
    /// same interval.
    #[must_use]
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.heartbeat = interval;
        self
    }

    /// Sets how often a broker reads all streams, even if no doorbell was rung. A message from a
    /// program that rings no doorbell can be late by this interval.
    #[must_use]
    pub fn sweep(mut self, interval: Duration) -> Self {
        self.sweep = interval;
        self
    }

    /// Host and port, as error messages show them.
    pub(crate) fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Returns a text from the server or a library without the password.
    pub(crate) fn redact(&self, text: &str) -> String {
        match &self.password {
            Some(password) => password.redact(text),
            None => text.to_owned(),
        }
    }

    /// Checks the configuration.
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
        // The server takes milliseconds, and the system does not allow a timeout of zero.
        let intervals = [
            ("dial timeout", self.dial),
            ("read timeout", self.read),
            ("write timeout", self.write),
            ("heartbeat", self.heartbeat),
            ("sweep", self.sweep),
        ];
        check_durations(&intervals, 24)
    }
}
