//! How to connect, and how keys map onto topics.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fanfeed_broker::driver::{Secret, Tls};
use fanfeed_broker::{ConnectError, Key, Message};

use crate::names;

/// The addresses of a cluster, the user that connects, the topics, and the limits.
///
/// ```
/// use std::time::Duration;
/// use fanfeed_kafka::Config;
///
/// let config = Config::new(["kafka-1:9092", "kafka-2:9092"])
///     .user("ann", "s3cret")
///     .prefix("shop.")
///     .dial_timeout(Duration::from_secs(1));
/// // Secrets are never shown.
/// assert!(!format!("{config:?}").contains("s3cret"));
/// ```
#[derive(Clone)]
pub struct Config {
    pub(crate) servers: Vec<String>,
    pub(crate) user: Option<(String, Secret)>,
    pub(crate) mechanism: Mechanism,
    pub(crate) tls: Option<Tls>,
    pub(crate) prefix: String,
    pub(crate) topics: Topics,
    pub(crate) record_key: Option<RecordKey>,
    pub(crate) max_message: usize,
    pub(crate) dial: Duration,
    pub(crate) confirm: Duration,
    pub(crate) session: Duration,
    pub(crate) commit: Duration,
    pub(crate) refresh: Duration,
    pub(crate) dead_letters: bool,
    pub(crate) properties: Vec<(String, Secret)>,
}

pub(crate) type RecordKey = Arc<dyn Fn(&Message) -> Vec<u8> + Send + Sync>;

/// What the topic of a key is.
#[derive(Clone)]
pub(crate) enum Topics {
    PerKey,
    /// One topic for several keys.
    Shared(Arc<dyn Fn(&Key) -> String + Send + Sync>),
}

/// How a password is shown to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Mechanism {
    /// As it is: over TLS, or in networks that are trusted.
    #[default]
    Plain,
    /// SCRAM with SHA-256. It needs the feature `tls` of this crate.
    ScramSha256,
    /// SCRAM with SHA-512. It needs the feature `tls` of this crate.
    ScramSha512,
}

impl Mechanism {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl Config {
    /// A cluster, by the addresses of some of its servers (`host:port`), without TLS and without a password. No prefix, a
    /// topic for each key, messages of at most 1 MiB, 5 s to connect, 30 s for a confirmation, sessions of 10 s, commits
    /// each 500 ms, a look for new partitions each 30 s, dead letters kept.
    pub fn new<S: Into<String>>(servers: impl IntoIterator<Item = S>) -> Self {
        Config {
            servers: servers.into_iter().map(Into::into).collect(),
            user: None,
            mechanism: Mechanism::Plain,
            tls: None,
            prefix: String::new(),
            topics: Topics::PerKey,
            record_key: None,
            max_message: 1 << 20,
            dial: Duration::from_secs(5),
            confirm: Duration::from_secs(30),
            session: Duration::from_secs(10),
            commit: Duration::from_millis(500),
            refresh: Duration::from_secs(30),
            dead_letters: true,
            properties: Vec::new(),
        }
    }

    /// The user and the password, for SASL.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.user = Some((user.into(), Secret::new(password)));
        self
    }

    /// How the password is shown to the server.
    #[must_use]
    pub fn mechanism(mut self, mechanism: Mechanism) -> Self {
        self.mechanism = mechanism;
        self
    }

    /// Encrypts the connections.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// What the name of each topic and of each consumer group begins with. Brokers with different prefixes do not see each
    /// other.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// The topic of a key, instead of a topic for each key. The prefix is put before it. Several keys may share a topic:
    /// each record has its key, and readers leave out the records of other keys. A name that Kafka does not take is refused
    /// when it is used.
    ///
    /// On such a topic each key of a group has a consumer group, and a connection, of its own.
    #[must_use]
    pub fn topics(mut self, topic: impl Fn(&Key) -> String + Send + Sync + 'static) -> Self {
        self.topics = Topics::Shared(Arc::new(topic));
        self
    }

    /// The key of a record, which chooses its partition, instead of the key of the message. The order of messages is that
    /// of their partition, and members of a group in different processes share the work by partitions.
    ///
    /// ```
    /// use fanfeed_kafka::Config;
    ///
    /// // The messages of one customer stay in order; those of others may be handled elsewhere at the same time.
    /// let config = Config::new(["localhost:9092"])
    ///     .record_key(|message| message.headers().get("customer").unwrap_or_default().into());
    /// # drop(config);
    /// ```
    #[must_use]
    pub fn record_key(mut self, key: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static) -> Self {
        self.record_key = Some(Arc::new(key));
        self
    }

    /// The largest message, in bytes of key, name, headers and payload together. A larger one is refused when it is
    /// published, and reported and skipped when it is received. The server has a limit of its own, `max.message.bytes`.
    #[must_use]
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.max_message = bytes;
        self
    }

    /// How long it may take to connect, and to learn of a topic.
    #[must_use]
    pub fn dial_timeout(mut self, timeout: Duration) -> Self {
        self.dial = timeout;
        self
    }

    /// How long the server may confirm nothing of what is published before the connection counts as lost. What was not
    /// confirmed is not lost: it is published as soon as the server is back.
    #[must_use]
    pub fn confirm_timeout(mut self, timeout: Duration) -> Self {
        self.confirm = timeout;
        self
    }

    /// How long a member of a group may be silent before its partitions go to others. Servers take from 6 s to 5 minutes
    /// unless they are told otherwise.
    #[must_use]
    pub fn session_timeout(mut self, timeout: Duration) -> Self {
        self.session = timeout;
        self
    }

    /// How often the offsets of handled messages are committed. A process that is killed leaves what it handled since the
    /// last commit to be handled again.
    #[must_use]
    pub fn commit_interval(mut self, interval: Duration) -> Self {
        self.commit = interval;
        self
    }

    /// How often the driver looks for new partitions, and for topics that were deleted and made again.
    #[must_use]
    pub fn refresh(mut self, interval: Duration) -> Self {
        self.refresh = interval;
        self
    }

    /// Whether messages that a group gives up, or cannot read, are kept in the topic `dead.TOPIC`, behind the prefix.
    #[must_use]
    pub fn dead_letters(mut self, kept: bool) -> Self {
        self.dead_letters = kept;
        self
    }

    /// Sets a property of librdkafka, such as `compression.type`, over what this crate sets. Properties on which delivery
    /// depends, such as `enable.idempotence`, should be left alone.
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.push((name.into(), Secret::new(value)));
        self
    }

    /// The addresses, as errors show them.
    pub(crate) fn address(&self) -> String {
        self.servers.join(",")
    }

    /// What a server or a library said, without secrets.
    pub(crate) fn redact(&self, text: &str) -> String {
        let password = self.user.iter().map(|(_, password)| password);
        let sensitive = |name: &str| name.contains("password") || name.contains("secret");
        let properties = self.properties.iter();
        let properties = properties
            .filter(|(name, _)| sensitive(name))
            .map(|(_, value)| value);
        password
            .chain(properties)
            .fold(text.to_owned(), |text, secret| secret.redact(&text))
    }

    /// The topic of a key, and whether its records are all of this key; or why Kafka cannot have it.
    pub(crate) fn topic(&self, key: &Key) -> Result<(String, bool), String> {
        match &self.topics {
            Topics::PerKey => Ok(names::topic(&self.prefix, key.as_str())),
            Topics::Shared(topic) => {
                let name = format!("{}{}", self.prefix, topic(key));
                if names::is_topic(&name) {
                    return Ok((name, false));
                }
                Err(format!(
                    "the topic of the key {key} would be `{name}`, and has to have from 1 to {} letters, digits, `-`, `.` \
                     and `_`",
                    names::LONGEST
                ))
            }
        }
    }

    /// The consumer group of a group.
    pub(crate) fn consumer_group(&self, group: &str, key: &Key, alone: bool) -> String {
        if alone {
            format!("{}{group}", self.prefix)
        } else {
            names::shared_group(&self.prefix, group, key.as_str())
        }
    }

    /// Refuses what cannot work.
    pub(crate) fn check(&self) -> Result<(), ConnectError> {
        let bad = |what: &str| Err(ConnectError::BadConfig(what.into()));
        if self.servers.is_empty() || self.servers.iter().any(String::is_empty) {
            return bad("a server has no address: name some, such as `localhost:9092`");
        }
        if !self.prefix.is_empty() && (!names::is_topic(&self.prefix) || self.prefix.len() > 128) {
            return bad(
                "the prefix has to have at most 128 letters, digits, `-`, `.` and `_`, and is not `.` or `..`",
            );
        }
        if self.max_message == 0 || self.max_message > 900_000_000 {
            return bad("the largest message has to have from 1 to 900,000,000 bytes");
        }
        let intervals = [
            ("dial timeout", self.dial),
            ("confirm timeout", self.confirm),
            ("session timeout", self.session),
            ("commit interval", self.commit),
            ("refresh interval", self.refresh),
        ];
        for (name, interval) in intervals {
            if interval < Duration::from_millis(1) || interval > Duration::from_secs(60 * 60) {
                let text = format!("the {name} is {interval:?}: give from 1 ms to an hour");
                return Err(ConnectError::BadConfig(text.into()));
            }
        }
        let scram = self.user.is_some() && self.mechanism != Mechanism::Plain;
        if cfg!(not(feature = "tls")) && (self.tls.is_some() || scram) {
            return Err(ConnectError::Tls(
                "this build has neither TLS nor SCRAM: build `fanfeed-kafka` with its feature `tls`".into(),
            ));
        }
        Ok(())
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("servers", &self.servers)
            .field("user", &self.user)
            .field("mechanism", &self.mechanism)
            .field("tls", &self.tls)
            .field("prefix", &self.prefix)
            .field("topic_per_key", &matches!(self.topics, Topics::PerKey))
            .field("max_message", &self.max_message)
            .field("dial", &self.dial)
            .field("confirm", &self.confirm)
            .field("session", &self.session)
            .field("commit", &self.commit)
            .field("refresh", &self.refresh)
            .field("dead_letters", &self.dead_letters)
            .field("properties", &self.properties)
            .finish_non_exhaustive()
    }
}
