//! How to connect, and what to keep.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fanfeed_broker::ConnectError;
use fanfeed_broker::driver::{Secret, Tls};

/// What carries the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// NATS core: at most once. The server keeps nothing. Loss is reported, of unknown size.
    Core,
    /// JetStream: at least once. Messages and the places of groups are in a stream of the server.
    #[default]
    JetStream,
}

/// The servers, how to log in, what carries the messages, and the limits of what the server keeps.
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

/// How a client logs in.
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
    /// A server without TLS and without a login. JetStream, prefix `fanfeed`, inboxes below `_INBOX`, messages of at most
    /// 1 MiB, 5 s to connect and for an answer, a heartbeat of 5 s. A stream on disk, without replicas, that keeps 100,000
    /// messages of a key for ever; 30 s to acknowledge, at most 1,024 messages of a group at work.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Config {
            servers: vec![(host.into(), port)],
            login: Login::None,
            tls: None,
            mode: Mode::JetStream,
            prefix: "fanfeed".to_owned(),
            inbox: "_INBOX".to_owned(),
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

    /// Another server of the same cluster, which is tried when the others are away.
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

    /// Encrypts the connection. Without this, a connection is encrypted if the server asks for it, and trusts what the
    /// system trusts.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// What carries the messages.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// What all subjects begin with, and the name of the stream: letters, digits, `-` and `_`. Brokers with different
    /// prefixes do not see each other.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// What the subjects of answers begin with, for users that may not use `_INBOX`.
    #[must_use]
    pub fn inbox(mut self, prefix: impl Into<String>) -> Self {
        self.inbox = prefix.into();
        self
    }

    /// The largest message, in bytes of key, name, headers and payload together. A larger one is refused when it is
    /// published, and reported and skipped when it is received. The server has a limit of its own (`max_payload`, 1 MiB
    /// unless it is told otherwise), which counts what is sent.
    #[must_use]
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.max_message = bytes;
        self
    }

    /// How long a connection may take, with logging in.
    #[must_use]
    pub fn dial_timeout(mut self, timeout: Duration) -> Self {
        self.dial = timeout;
        self
    }

    /// How long the server may take to answer.
    #[must_use]
    pub fn answer_timeout(mut self, timeout: Duration) -> Self {
        self.answer = timeout;
        self
    }

    /// How often a connection without other answers is looked at.
    #[must_use]
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.heartbeat = interval;
        self
    }

    /// How many messages of one subscription the client library may hold before this driver takes them. What it drops
    /// beyond is reported as a gap of unknown size. With JetStream no more are asked for.
    #[must_use]
    pub fn client_buffer(mut self, messages: usize) -> Self {
        self.client_buffer = messages;
        self
    }

    /// How many messages of each key the stream keeps, when this broker makes the stream; `None` keeps all, until the disk
    /// is full. The oldest are removed, whether groups have acknowledged them or not.
    #[must_use]
    pub fn max_per_key(mut self, messages: impl Into<Option<u64>>) -> Self {
        self.max_per_key = messages.into();
        self
    }

    /// How long the stream keeps a message, when this broker makes the stream; `None` for ever.
    #[must_use]
    pub fn max_age(mut self, age: impl Into<Option<Duration>>) -> Self {
        self.max_age = age.into();
        self
    }

    /// On how many servers of a cluster the stream is, from 1 to 5, when this broker makes the stream.
    #[must_use]
    pub fn replicas(mut self, servers: u8) -> Self {
        self.replicas = servers;
        self
    }

    /// Whether the stream is in memory, when this broker makes the stream. A server that is restarted has lost it.
    #[must_use]
    pub fn in_memory(mut self, memory: bool) -> Self {
        self.memory = memory;
        self
    }

    /// How long a member of a group may be silent about a message before another one gets it. A member that lives says
    /// every third of this that it is still at work, however long its handler takes. It is set when a group is made;
    /// afterwards what the server has is kept.
    #[must_use]
    pub fn ack_wait(mut self, time: Duration) -> Self {
        self.ack_wait = time;
        self
    }

    /// How many messages a group may have at work, all members together. With 1, messages come
    /// for the first time in the order of the key, whatever happens: the next one is given out when the one before it was
    /// acknowledged. It is set when a group is made.
    #[must_use]
    pub fn max_ack_pending(mut self, messages: u32) -> Self {
        self.max_ack_pending = messages;
        self
    }

    /// Hosts and ports, as errors show them.
    pub(crate) fn address(&self) -> String {
        let one = |(host, port): &(String, u16)| match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        let all: Vec<String> = self.servers.iter().map(one).collect();
        all.join(", ")
    }

    /// What a server or a library said, without secrets.
    pub(crate) fn redact(&self, text: &str) -> String {
        match &self.login {
            Login::User(_, secret) | Login::Token(secret) => secret.redact(text),
            Login::None | Login::Nkey(_) | Login::Credentials(_) => text.to_owned(),
        }
    }

    /// Refuses what cannot work.
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
        for (name, interval) in intervals {
            if interval < Duration::from_millis(1) || interval > Duration::from_secs(24 * 60 * 60) {
                let text = format!("the {name} is {interval:?}: give from 1 ms to a day");
                return Err(ConnectError::BadConfig(text.into()));
            }
        }
        let ages = Duration::from_secs(1)..=Duration::from_secs(100 * 365 * 24 * 60 * 60);
        if self.max_age.is_some_and(|age| !ages.contains(&age)) {
            return bad("the stream keeps messages from 1 s to 100 years: give `None` for ever");
        }
        Ok(())
    }
}
