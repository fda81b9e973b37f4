//! The shared parts of all clients of librdkafka: their settings, their reports, and the first
//! contact.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfeed_broker::ConnectError;
use fanfeed_broker::driver::Secret;
use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};
use rdkafka::statistics::Statistics;

use crate::config::Config;
use crate::refusal;

/// The beginning of librdkafka's log line about each feature of a server.
const FEATURES: &str = "Enabling feature ";

/// More events than a client can have after its first contact.
const EVENTS: usize = 2048;

/// The settings of each client.
pub(crate) fn settings(config: &Config) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set_log_level(RDKafkaLogLevel::Emerg);
    let millis = |duration: Duration| duration.as_millis().to_string();
    let encrypted = config.tls.is_some();
    let protocol = match (encrypted, config.user.is_some()) {
        (false, false) => "plaintext",
        (false, true) => "sasl_plaintext",
        (true, false) => "ssl",
        (true, true) => "sasl_ssl",
    };
    client
        .set("bootstrap.servers", config.address())
        .set("client.id", "fanfeed")
        .set("security.protocol", protocol)
        .set(
            "socket.connection.setup.timeout.ms",
            millis(config.dial.max(Duration::from_secs(1))),
        )
        .set("socket.timeout.ms", "10000")
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        .set("topic.metadata.refresh.interval.ms", millis(config.refresh))
        .set("allow.auto.create.topics", "true");
    if let Some((user, password)) = &config.user {
        client
            .set("sasl.mechanisms", config.mechanism.name())
            .set("sasl.username", user)
            .set("sasl.password", password.reveal());
    }
    if let Some(tls) = &config.tls {
        if let Some(authority) = tls.authority_file() {
            client.set("ssl.ca.location", authority.display().to_string());
        }
        if let Some((certificate, key)) = tls.identity_files() {
            client
                .set(
                    "ssl.certificate.location",
                    certificate.display().to_string(),
                )
                .set("ssl.key.location", key.display().to_string());
        }
    }
    client
}

/// Applies the user's properties last, and makes the client.
pub(crate) fn create<C, T>(
    config: &Config,
    mut client: ClientConfig,
    context: C,
) -> Result<T, ConnectError>
where
    C: ClientContext,
    T: FromClientConfigAndContext<C>,
{
    // Without this, OpenSSL registers a function that frees its memory when the process ends.
    // librdkafka's threads may still use that memory, and then a signal kills the process. This is
    // done once.
    #[cfg(feature = "tls")]
    openssl_sys::init();
    for (name, value) in &config.properties {
        client.set(name, value.reveal());
    }
    client.create_with_context(context).map_err(|error| {
        let mut text = config.redact(&error.to_string());
        if let KafkaError::ClientConfig(_, description, name, value) = &error {
            // The value may be a secret.
            let what = Secret::new(value).redact(description);
            text = format!("librdkafka refuses its property `{name}`: {what}");
        }
        match &error {
            _ if text.contains("ssl.") || text.contains("SSL") => refusal::of_files(config, &text),
            KafkaError::ClientConfig(..) => ConnectError::BadConfig(text.into()),
            _ => ConnectError::Failed(text.into()),
        }
    })
}

/// The reports of a client.
#[derive(Debug, Default)]
pub(crate) struct Status {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// No server can be reached.
    lost: bool,
    last: Option<(RDKafkaErrorCode, String)>,
    /// Whether a server supports idempotent producers.
    idempotent: Option<bool>,
    /// Whether a server that accepted a connection has not answered the handshake of TLS.
    handshaking: bool,
}

impl Status {
    fn report(&self, code: RDKafkaErrorCode, reason: String) {
        let mut state = self.state.lock();
        if code == RDKafkaErrorCode::AllBrokersDown {
            state.lost = true;
        } else {
            state.last = Some((code, reason));
        }
    }

    /// Returns the reason if the client has reported since the last call that no server can be
    /// reached.
    pub(crate) fn take_lost(&self) -> Option<String> {
        let mut state = self.state.lock();
        if !std::mem::take(&mut state.lost) {
            return None;
        }
        let last = state.last.take();
        Some(last.map_or_else(
            || "no server can be reached".to_owned(),
            |(_, reason)| reason,
        ))
    }

    /// Whether no server can be reached, and what was reported last.
    fn last(&self) -> (bool, Option<(RDKafkaErrorCode, String)>) {
        let state = self.state.lock();
        (state.lost, state.last.clone())
    }
}

/// The receiver of a client's errors and logs.
#[derive(Clone)]
pub(crate) struct Reporter {
    pub(crate) status: Arc<Status>,
    config: Arc<Config>,
}

impl Reporter {
    pub(crate) fn new(config: &Config) -> Self {
        Reporter {
            status: Arc::default(),
            config: Arc::new(config.clone()),
        }
    }

    pub(crate) fn report(&self, error: &KafkaError, reason: &str) {
        if let Some(code) = error.rdkafka_error_code() {
            self.status.report(code, self.config.redact(reason));
        }
    }
}

impl ClientContext for Reporter {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, text: &str) {
        // Each line begins with the name of a thread.
        let text = text.split_once("]: ").map_or(text, |(_, text)| text);
        match facility {
            // Some failures of connections are only logged, and not reported as errors.
            "FAIL" => self.status.report(
                RDKafkaErrorCode::BrokerTransportFailure,
                self.config.redact(text),
            ),
            "STATE" if text.ends_with("-> SSL_HANDSHAKE") => {
                self.status.state.lock().handshaking = true;
            }
            // The first state after the handshake.
            "STATE" if text.ends_with("-> APIVERSION_QUERY") => {
                self.status.state.lock().handshaking = false;
            }
            _ if text.contains(FEATURES) => {
                let has = text.contains("IdempotentProducer");
                let idempotent = &mut self.status.state.lock().idempotent;
                *idempotent = Some(has || *idempotent == Some(true));
            }
            _ => {}
        }
    }

    fn stats(&self, _statistics: Statistics) {}

    fn error(&self, error: KafkaError, reason: &str) {
        self.report(&error, reason);
    }
}

impl ProducerContext for Reporter {
    type DeliveryOpaque = ();

    fn delivery(&self, _result: &DeliveryResult<'_>, _opaque: ()) {}
}

/// Whether the cluster can be used now.
pub(crate) fn probe(config: &Config) -> Result<(), ConnectError> {
    let reporter = Reporter::new(config);
    let status = Arc::clone(&reporter.status);
    let mut client = settings(config);
    client
        .set("debug", "feature,broker")
        .set_log_level(RDKafkaLogLevel::Debug);
    let producer: BaseProducer<Reporter> = create(config, client, reporter)?;
    let deadline = Instant::now() + config.dial;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let known = producer
            .client()
            .fetch_cluster_id(left.min(Duration::from_millis(20)));
        for _ in 0..EVENTS {
            producer.poll(Duration::ZERO);
        }
        let (lost, last) = status.last();
        if known.is_some() {
            return check_version(&status);
        }
        let late = left.is_zero();
        if let Some((code, reason)) = &last
            && let Some(error) = refusal::at_once(*code, reason)
        {
            return Err(error);
        }
        if lost || late {
            let handshaking = status.state.lock().handshaking;
            return Err(refusal::at_last(config, late, handshaking, last));
        }
    }
}

/// Servers before 0.11 have neither headers nor idempotent producers.
fn check_version(status: &Status) -> Result<(), ConnectError> {
    match status.state.lock().idempotent {
        Some(false) => Err(ConnectError::TooOld {
            found: "older than Kafka 0.11, or without idempotent producers".into(),
            needed: "Kafka 0.11".into(),
        }),
        Some(true) | None => Ok(()),
    }
}
