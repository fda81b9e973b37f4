//! The configuration of a broker.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fanfeed_broker::ConnectError;
use fanfeed_broker::driver::{Secret, Tls, check_durations};

/// The part of NATS that carries the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// NATS core: at most once. The server keeps nothing. Losses are reported as gaps of unknown
    /// size.
    Core,
    /// JetStream: at least once. A stream on the server keeps the messages and the position of each
    /// group.
    #[default]
    JetStream,
}

/// The configuration of a broker: the servers, the login, the mode, and how much the server keeps.
///
/// ```
/// use std::time::Duration;
/// use fanfeed_nats::{Config, Mode};
///
/// let config = Config::new("nats.example.org", 4222)
///     .user("worker", "s3cret")
///     .mode(Mode::JetStream)
///     .prefix("shop")
///     .dial_timeout(Duration::from_secs(1));
/// // Secrets are never shown.
/// assert!(!format!("{config:?}").contains("s3cret"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub(crate) servers: Vec<(String, u16)>,
    pub(crate) login: Login,
    pub(crate) tls: Option<Tls>,
    pub(crate) mode: Mode,
    pub(crate) prefix: String,
    pub(crate) inbox: String,
    pub(crate) lean: bool,
    pub(crate) max_message: usize,
    pub(crate) dial: Duration,
    pub(crate) answer: Duration,
    pub(crate) heartbeat: Duration,
    pub(crate) client_buffer: usize,
    pub(crate) max_per_key: Option<u64>,
    pub(crate) max_age: Option<Duration>,
    pub(crate) replicas: u8,
    pub(crate) memory: bool,
    pub(crate) ack_wait: Duration,
    pub(crate) max_ack_pending: u32,
}

/// How a broker logs in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Login {
    #[default]
    None,
    User(String, Secret),
    Token(Secret),
    /// A file with the seed of an nkey.
    Nkey(PathBuf),
    /// A file with a JWT and the seed of its nkey.
    Credentials(PathBuf),
}

impl Config {
    /// The defaults for a server: no TLS, no login, JetStream, prefix `fanfeed`, inboxes below
    /// `_INBOX`, messages of at most 1 MiB, 5 s to connect, 5 s for an answer, a heartbeat every 5
    /// s. The stream is on disk, has no further replica, and keeps 100,000 messages of each key
    /// without a limit of time. A member of a group has 30 s to acknowledge a message, and a group
    /// may have 1,024 unacknowledged messages.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Config {
            servers: vec![(host.into(), port)],
            login: Login::None,
            tls: None,
            mode: Mode::JetStream,
            prefix: "fanfeed".to_owned(),
            inbox: "_INBOX".to_owned(),
            lean: false,
            max_message: 1 << 20,
            dial: Duration::from_secs(5),
            answer: Duration::from_secs(5),
            heartbeat: Duration::from_secs(5),
            client_buffer: 1 << 16,
            max_per_key: Some(100_000),
            max_age: None,
            replicas: 1,
            memory: false,
            ack_wait: Duration::from_secs(30),
            max_ack_pending: 1024,
        }
    }

    /// Adds another server of the same cluster. The broker tries it when the others cannot be
    /// reached.
    #[must_use]
    pub fn server(mut self, host: impl Into<String>, port: u16) -> Self {
        self.servers.push((host.into(), port));
        self
    }

    /// Logs in with a user and a password.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.login = Login::User(user.into(), Secret::new(password));
        self
    }

    /// Logs in with a token.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.login = Login::Token(Secret::new(token));
        self
    }

    /// Logs in with the nkey whose seed (`SU..`) is in this file.
    #[must_use]
    pub fn nkey(mut self, file: impl AsRef<Path>) -> Self {
        self.login = Login::Nkey(file.as_ref().to_owned());
        self
    }

    /// Logs in with a file of credentials: a JWT and the seed of its nkey, as `nsc` writes it.
    #[must_use]
    pub fn credentials(mut self, file: impl AsRef<Path>) -> Self {
        self.login = Login::Credentials(file.as_ref().to_owned());
        self
    }

    /// Encrypts the connections. Without this, a connection is encrypted only if the server
    /// requires it, and trusts the authorities that the system trusts.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Sets the mode.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Sets the prefix of all subjects, which is also the name of the stream: letters, digits, `-`
    /// and `_`. Brokers with different prefixes do not see each other's messages.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets the prefix of the subjects on which the server answers, for users that may not use
    /// `_INBOX`.
    #[must_use]
    pub fn inbox(mut self, prefix: impl Into<String>) -> Self {
        self.inbox = prefix.into();
        self
    }

    /// With `true`, a message that has neither a name nor headers, and whose identity was generated
    /// ([`MessageId::is_generated`](fanfeed_broker::MessageId::is_generated): 32 lower-case
    /// hexadecimal digits count as generated), is sent without its identity and its time, which is
    /// faster. Receivers then see, instead of these,
    ///
    /// - in core, an identity of their own and the time of receipt;
    /// - with JetStream, the stream, the position and the time at which it was stored as its
    ///   identity, and that time. A batch that is sent again may be stored twice, because the
    ///   stream cannot detect duplicates without an identity. A batch is sent again if the
    ///   connection was lost, or if the server did not answer in time or was busy. The copies come
    ///   after later messages.
    #[must_use]
    pub fn lean(mut self, lean: bool) -> Self {
        self.lean = lean;
        self
    }

    /// Sets the largest size of a message in bytes: key, name, headers and payload. A broker
    /// refuses to publish a larger message, and skips and reports a larger message that it
    /// receives. The server has its own limit for messages with their headers (`max_payload`, 1 MiB
    /// by default).
    #[must_use]
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.max_message = bytes;
        self
    }

    /// Sets the timeout for connecting and logging in.
    #[must_use]
    pub fn dial_timeout(mut self, timeout: Duration) -> Self {
        self.dial = timeout;
        self
    }

    /// Sets the timeout for answers of the server. For a batch of messages, this timeout is added
    /// for each MiB.
    #[must_use]
    pub fn answer_timeout(mut self, timeout: Duration) -> Self {
        self.answer = timeout;
        self
    }

    /// Sets how often a broker checks a connection over which no other answers come.
    #[must_use]
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.heartbeat = interval;
        self
    }

    /// Sets how many messages of one subscription the client library may hold before this driver
    /// takes them. With NATS core the library drops further messages, which are reported as a gap
    /// of unknown size. With JetStream the driver does not request more. The connection that
    /// publishes is not affected by smaller values than the default of 65,536.
    #[must_use]
    pub fn client_buffer(mut self, messages: usize) -> Self {
        self.client_buffer = messages;
        self
    }

    /// Sets how many messages of each key the stream keeps. With `None` it keeps all messages,
    /// until the disk is full. The server removes the oldest messages, whether groups have
    /// acknowledged them or not. This takes effect when the broker makes the stream.
    #[must_use]
    pub fn max_per_key(mut self, messages: impl Into<Option<u64>>) -> Self {
        self.max_per_key = messages.into();
        self
    }

    /// Sets how long the stream keeps a message. `None` means without limit. This takes effect when
    /// the broker makes the stream.
    #[must_use]
    pub fn max_age(mut self, age: impl Into<Option<Duration>>) -> Self {
        self.max_age = age.into();
        self
    }

    /// Sets how many servers of a cluster keep the stream, from 1 to 5. This takes effect when the
    /// broker makes the stream.
    #[must_use]
    pub fn replicas(mut self, servers: u8) -> Self {
        self.replicas = servers;
        self
    }

    /// Sets whether the stream is in memory. If so, a server that restarts loses it. This takes
    /// effect when the broker makes the stream.
    #[must_use]
    pub fn in_memory(mut self, memory: bool) -> Self {
        self.memory = memory;
        self
    }

    /// Sets how long a member of a group may be silent about a message before another member gets
    /// it. While its handler runs, a member reports after every third of this time that it is still
    /// working. This takes effect when a group is made; later the server keeps the value that it
    /// has.
    #[must_use]
    pub fn ack_wait(mut self, time: Duration) -> Self {
        self.ack_wait = time;
        self
    }

    /// Sets how many messages of a group may be unacknowledged, for all members together. With 1,
    /// the first deliveries are always in the order of the key: the server delivers a message when
    /// the one before it was acknowledged. This takes effect when a group is made.
    #[must_use]
    pub fn max_ack_pending(mut self, messages: u32) -> Self {
        self.max_ack_pending = messages;
        self
    }

    /// Hosts and ports, as error messages show them.
    pub(crate) fn address(&self) -> String {
        let one = |(host, port): &(String, u16)| match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        let all: Vec<String> = self.servers.iter().map(one).collect();
        all.join(", ")
    }

    /// Returns a text from a server or a library without secrets.
    pub(crate) fn redact(&self, text: &str) -> String {
        match &self.login {
            Login::User(_, secret) | Login::Token(secret) => secret.redact(text),
            Login::None | Login::Nkey(_) | Login::Credentials(_) => text.to_owned(),
        }
    }

    /// Checks the configuration.
    pub(crate) fn check(&self) -> Result<(), ConnectError> {
        let bad = |what: &str| Err(ConnectError::BadConfig(what.into()));
        if self.servers.iter().any(|(host, _)| host.is_empty()) {
            return bad("the host is empty: name the server, such as `localhost`");
        }
        let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if !(1..=64).contains(&self.prefix.len()) || !self.prefix.chars().all(letters) {
            return bad("the prefix has to have 1 to 64 letters, digits, `-` and `_`");
        }
        let token = |token: &str| !token.is_empty() && token.chars().all(letters);
        if self.inbox.len() > 255 || !self.inbox.split('.').all(token) {
            return bad(
                "the prefix of inboxes has to have letters, digits, `-` and `_`, in parts separated by periods",
            );
        }
        if self.max_message == 0 {
            return bad("the largest message has 0 bytes: give at least 1");
        }
        if self.client_buffer == 0 {
            return bad("the client's buffer has no room: give at least 1");
        }
        if self.max_per_key == Some(0) {
            return bad(
                "a stream that keeps 0 messages of a key delivers nothing: give at least 1, or `None` to keep all",
            );
        }
        if self.max_per_key.is_some_and(|most| most > 1 << 62) {
            return bad(
                "that many messages of a key are more than a server counts: give `None` to keep all",
            );
        }
        if !(1..=5).contains(&self.replicas) {
            return bad("a stream has from 1 to 5 replicas");
        }
        if self.max_ack_pending == 0 {
            return bad("a group that may have no message at work gets none: give at least 1");
        }
        let intervals = [
            ("dial timeout", self.dial),
            ("answer timeout", self.answer),
            ("heartbeat", self.heartbeat),
            ("time to acknowledge", self.ack_wait),
        ];
        check_durations(&intervals, 24)?;
        let ages = Duration::from_secs(1)..=Duration::from_secs(100 * 365 * 24 * 60 * 60);
        if self.max_age.is_some_and(|age| !ages.contains(&age)) {
            return bad("the stream keeps messages from 1 s to 100 years: give `None` for ever");
        }
        Ok(())
    }
}
