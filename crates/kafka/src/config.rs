//! The configuration of a broker.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fanfeed_broker::driver::{Secret, Tls, check_durations};
use fanfeed_broker::{ConnectError, Key, Message};

use crate::names;

/// The configuration of a broker: the cluster, the user, the topics, and the limits.
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

/// The property of librdkafka with the memory for messages that are not confirmed, in KiB.
pub(crate) const MEMORY: &str = "queue.buffering.max.kbytes";

/// Its default.
const DEFAULT_MEMORY: usize = 1 << 20;

pub(crate) type RecordKey = Arc<dyn Fn(&Message) -> Vec<u8> + Send + Sync>;

/// How a key maps to a topic.
#[derive(Clone)]
pub(crate) enum Topics {
    PerKey,
    /// One topic for several keys.
    Shared(Arc<dyn Fn(&Key) -> String + Send + Sync>),
}

/// The SASL mechanism, by which the server checks the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Mechanism {
    /// PLAIN: the password is sent unencrypted. Use it over TLS, or in a network that you trust.
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
    /// The defaults for a cluster, which is given by the addresses of some of its servers
    /// (`host:port`): no TLS, no password, no prefix, a topic for each key, messages of at most 1
    /// MiB, 5 s to connect, 30 s for a confirmation, sessions of 10 s, a commit every 500 ms, a
    /// check for new partitions every 30 s. Dead letters are kept.
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

    /// Sets the user and the password, for SASL.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.user = Some((user.into(), Secret::new(password)));
        self
    }

    /// Sets the SASL mechanism. The default is PLAIN.
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

    /// Sets the prefix of all topics and consumer groups. Brokers with different prefixes do not
    /// see each other's messages, unless one prefix begins with the other: the key `shop.orders`
    /// without a prefix has the topic of the key `orders` with the prefix `shop.`.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets a function that returns the topic of a key. The prefix is added to it. By default each
    /// key has a topic of its own. Several keys may share a topic: each record carries its key, and
    /// readers skip the records of other keys. A name that Kafka does not accept is refused when it
    /// is used.
    ///
    /// On such a topic, each pair of a group and a key has a consumer group and a client of its
    /// own.
    #[must_use]
    pub fn topics(mut self, topic: impl Fn(&Key) -> String + Send + Sync + 'static) -> Self {
        self.topics = Topics::Shared(Arc::new(topic));
        self
    }

    /// Sets a function that returns the key of a record, by which Kafka chooses the record's
    /// partition. By default it is the key of the message. Messages are in order within a
    /// partition, and the processes of a group share the work by partitions.
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

    /// Sets the largest size of a message in bytes: key, name, headers and payload. A broker
    /// refuses to publish a larger message, and skips and reports a larger message that it
    /// receives. The server has a limit of its own, `max.message.bytes`.
    #[must_use]
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.max_message = bytes;
        self
    }

    /// Sets the timeout for connecting, and for questions about a topic.
    #[must_use]
    pub fn dial_timeout(mut self, timeout: Duration) -> Self {
        self.dial = timeout;
        self
    }

    /// Sets the timeout for confirmations: if the cluster confirms none of the published messages
    /// for this long, the connection counts as lost. Messages that were not confirmed are not lost:
    /// they are published when the cluster is back.
    #[must_use]
    pub fn confirm_timeout(mut self, timeout: Duration) -> Self {
        self.confirm = timeout;
        self
    }

    /// Sets how long a member of a group may be silent before its partitions go to others. By
    /// default, servers accept from 6 s to 5 minutes.
    #[must_use]
    pub fn session_timeout(mut self, timeout: Duration) -> Self {
        self.session = timeout;
        self
    }

    /// Sets how often the offsets of handled messages are committed. If a process is killed, the
    /// messages that it handled since its last commit are handled again.
    #[must_use]
    pub fn commit_interval(mut self, interval: Duration) -> Self {
        self.commit = interval;
        self
    }

    /// Sets how often the driver checks for new partitions, and for topics that were deleted and
    /// made again.
    #[must_use]
    pub fn refresh(mut self, interval: Duration) -> Self {
        self.refresh = interval;
        self
    }

    /// Sets whether messages that a group gives up or cannot read are kept in the topic
    /// `dead.TOPIC`, after the prefix.
    #[must_use]
    pub fn dead_letters(mut self, kept: bool) -> Self {
        self.dead_letters = kept;
        self
    }

    /// Sets a property of librdkafka, such as `compression.type`. It replaces the value that this
    /// crate sets. Do not change properties on which delivery depends, such as
    /// `enable.idempotence`.
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.push((name.into(), Secret::new(value)));
        self
    }

    /// The largest message. A producer refuses a payload that is larger than all of its memory as
    /// if it were full, even when it is empty.
    pub(crate) fn largest_message(&self) -> usize {
        self.max_message.min(self.memory())
    }

    /// The bytes of payloads that a producer keeps until they are confirmed.
    pub(crate) fn memory(&self) -> usize {
        let set = self.properties.iter().rev();
        let set = set
            .filter(|(name, _)| name == MEMORY)
            // librdkafka refuses a value that is not a number when the client is made.
            .find_map(|(_, kbytes)| whole_number(kbytes.reveal()));
        set.unwrap_or(DEFAULT_MEMORY).saturating_mul(1024)
    }

    /// The addresses, as error messages show them.
    pub(crate) fn address(&self) -> String {
        self.servers.join(",")
    }

    /// Returns a text from a server or a library without secrets.
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

    /// Returns the topic of a key, and whether all its records belong to this key. The error says
    /// why Kafka does not allow such a topic.
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
            names::group(&self.prefix, group)
        } else {
            names::shared_group(&self.prefix, group, key.as_str())
        }
    }

    /// Checks the configuration.
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
        check_durations(&intervals, 1)?;
        self.check_build(cfg!(feature = "tls"))
    }

    /// Checks whether librdkafka, built with or without TLS, supports the configuration.
    fn check_build(&self, tls: bool) -> Result<(), ConnectError> {
        let scram = self.user.is_some() && self.mechanism != Mechanism::Plain;
        if !tls && (self.tls.is_some() || scram) {
            return Err(ConnectError::Tls(
                "this build has neither TLS nor SCRAM: build `fanfeed-kafka` with its feature `tls`".into(),
            ));
        }
        Ok(())
    }
}

/// Reads a number as librdkafka does: as in C, with the prefix `0x` or `0` for other bases.
fn whole_number(text: &str) -> Option<usize> {
    let text = text.trim_start();
    let (digits, base) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    usize::from_str_radix(digits, base).ok()
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

#[cfg(test)]
mod tests {
    use super::{Config, MEMORY, Mechanism};
    use fanfeed_broker::ConnectError;
    use fanfeed_broker::driver::Tls;
    use fanfeed_testkit::assert_is;
    use fanfeed_testkit::refusal::{SECRET, says};

    #[test]
    fn no_message_is_larger_than_the_memory_of_the_producer() {
        let largest = |kbytes: &str| {
            let config = Config::new(["localhost:9092"]).max_message(100_000);
            let config = config.property("queue.buffering.max.kbytes", "1");
            config.property(MEMORY, kbytes).largest_message()
        };
        for (kbytes, bytes) in [
            ("2", 2048),
            ("0x10", 16_384),
            ("010", 8192),
            ("1000", 100_000),
        ] {
            assert_eq!(largest(kbytes), bytes, "{kbytes}");
        }
        let unset = Config::new(["localhost:9092"]).max_message(900_000_000);
        assert_eq!(unset.largest_message(), 900_000_000);
    }

    #[test]
    fn what_was_not_built_is_refused() {
        let config = || Config::new(["localhost:9092"]);
        let with_password = || config().user("ann", SECRET);
        for wants in [
            config().tls(Tls::new()),
            with_password().mechanism(Mechanism::ScramSha256),
        ] {
            let error = wants.check_build(false).unwrap_err();
            assert_is!(error, ConnectError::Tls(_));
            says(&error, &["`tls`"]);
            wants.check_build(true).unwrap();
        }
        for open in [config(), with_password()] {
            open.check_build(false).unwrap();
        }
    }
}
