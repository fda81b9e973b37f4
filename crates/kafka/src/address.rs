//! Parses a configuration from a URL.
//!
//! No error contains the URL, which may contain a password.

use std::str::FromStr;

use fanfeed_broker::ConnectError;
use fanfeed_broker::driver::{
    TlsParameters, bad_url, choice, decoded, duration, fragment, number, parameters,
    unknown_parameter, unknown_scheme,
};

use crate::config::{Config, Mechanism};

const FORM: &str = "it has the form kafka://user:password@host:9092,host:9092";
const MECHANISMS: &[(&str, Mechanism)] = &[
    ("plain", Mechanism::Plain),
    ("scram-sha-256", Mechanism::ScramSha256),
    ("scram-sha-512", Mechanism::ScramSha512),
];
const PARAMETERS: &str = "prefix, topic, max_message, dial_timeout, confirm_timeout, session_timeout, commit_interval, \
                          refresh, dead_letters, mechanism, ca, cert, key, and rdkafka.NAME for a property of librdkafka";

/// `kafka://user:password@host:9092,host:9092?prefix=shop.`; `kafkas` for TLS. See the crate's page
/// for the parameters.
impl FromStr for Config {
    type Err = ConnectError;

    fn from_str(text: &str) -> Result<Self, ConnectError> {
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(bad_url(FORM));
        };
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "kafka" => false,
            "kafkas" => true,
            _ => return Err(unknown_scheme(text, "kafka, kafkas")),
        };
        let rest = rest.strip_prefix("//").ok_or_else(|| bad_url(FORM))?;
        if rest.contains('#') {
            return Err(fragment());
        }
        let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
        // First, so that the error of a `?` in a password names it, and not a bad port.
        let read = parameters(query)?;
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let (user, servers) = match authority.rsplit_once('@') {
            Some((user, servers)) => (Some(user), servers),
            None => (None, authority),
        };
        let servers = servers.split(',').map(server);
        let mut config = Config::new(servers.collect::<Result<Vec<_>, _>>()?);
        if let Some(user) = user {
            let (name, password) = user
                .split_once(':')
                .ok_or_else(|| bad_url("it has a user and no password: write user:password@"))?;
            config = config.user(decoded(name, "user")?, decoded(password, "password")?);
        }
        let mut files = TlsParameters::default();
        for (name, value) in read {
            config = parameter(config, &mut files, &name, &value)?;
        }
        config.tls = files.finish(tls, "kafkas")?;
        config.check()?;
        Ok(config)
    }
}

/// `host`, `host:9092` or `[::1]:9092`.
fn server(text: &str) -> Result<String, ConnectError> {
    let text = decoded(text, "host")?;
    if text.contains(['/', ' ', '@']) {
        return Err(bad_url(
            "its hosts have a path: write kafka://host:9092, and the prefix as ?prefix=shop.",
        ));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (text.as_str(), "9092"),
    };
    if host.is_empty() {
        return Err(bad_url("it names no host: kafka://localhost:9092"));
    }
    match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok(format!("{host}:{port}")),
        _ => Err(bad_url("one of its ports is not a number from 1 to 65535")),
    }
}

fn parameter(
    config: Config,
    files: &mut TlsParameters,
    name: &str,
    value: &str,
) -> Result<Config, ConnectError> {
    Ok(match name {
        "prefix" => config.prefix(value),
        "topic" => {
            let topic = value.to_owned();
            config.topics(move |_| topic.clone())
        }
        "max_message" => config.max_message(number(name, value)?),
        "dial_timeout" => config.dial_timeout(duration(name, value)?),
        "confirm_timeout" => config.confirm_timeout(duration(name, value)?),
        "session_timeout" => config.session_timeout(duration(name, value)?),
        "commit_interval" => config.commit_interval(duration(name, value)?),
        "refresh" => config.refresh(duration(name, value)?),
        "dead_letters" => {
            config.dead_letters(choice(name, value, &[("yes", true), ("no", false)])?)
        }
        "mechanism" => config.mechanism(choice(name, value, MECHANISMS)?),
        _ if files.take(name, value) => config,
        _ => match name.strip_prefix("rdkafka.") {
            Some(property) => config.property(property, value),
            None => return Err(unknown_parameter(name, PARAMETERS)),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::Config;
    use fanfeed_broker::{ConnectError, Key};
    use fanfeed_testkit::refusal::{self, says};
    use std::time::Duration;

    fn parse(url: &str) -> Result<Config, ConnectError> {
        url.parse()
    }

    #[test]
    fn a_short_url_has_the_defaults() {
        let config = parse("kafka://localhost").unwrap();
        assert_eq!(config.servers, ["localhost:9092"]);
        let default = Config::new(["localhost:9092"]);
        assert_eq!(format!("{config:?}"), format!("{default:?}"));
    }

    #[test]
    fn a_long_url_is_read_whole() {
        let url = "kafka://ann:p%40ss@[::1]:7000,b,c:1/?prefix=shop.&topic=all&max_message=10&dial_timeout=1s\
                   &session_timeout=250ms&commit_interval=2m&dead_letters=no&rdkafka.compression.type=gzip";
        let config = parse(url).unwrap();
        assert_eq!(config.servers, ["[::1]:7000", "b:9092", "c:1"]);
        let (user, password) = config.user.as_ref().unwrap();
        assert_eq!((user.as_str(), password.reveal()), ("ann", "p@ss"));
        assert_eq!(config.topic(&Key::new("k")), Ok(("shop.all".into(), false)));
        assert_eq!(config.max_message, 10);
        assert_eq!(config.commit, Duration::from_secs(120));
        assert!(!config.dead_letters);
        assert_eq!(config.properties[0].0, "compression.type");
    }

    #[test]
    fn a_bad_url_is_told_with_what_would_be_right_and_without_its_secrets() {
        for (url, part) in [
            ("", "kafka://user:password@host"),
            ("localhost", "kafka://user:password@host"),
            ("http://u:hunter2@h", "known schemes are kafka"),
            ("kafka:hunter2@h", "kafka://user:password@host"),
            ("hunter2:foo@h", "known schemes are kafka"),
            ("kafka://u:12?hunter2@h", "%3F"),
            ("kafka://u:x?a=b&hunter2=c@h", "%3F"),
            ("kafka://h?hunter2%40h=x", "there are prefix"),
            (
                "kafka://u:hunter2@h?refresh=1s&refresh=2s",
                "`refresh` twice",
            ),
            (
                "kafka://u:hunter2@h?rdkafka.acks=1&rdkafka.acks=all",
                "`rdkafka.acks` twice",
            ),
            ("kafka://", "no host"),
            ("kafka://u:hunter2@h,", "no host"),
            ("kafka://u:hunter2@h/topic", "?prefix="),
            ("kafka://u:hunter2@h:99999", "65535"),
            ("kafka://u:hunter2@h:0", "65535"),
            ("kafka://hunter2@h", "no password"),
            ("kafka://u:hunter2@h?pool=3", "there are prefix"),
            ("kafka://u:hunter2@h?max_message=x", "not a number"),
            ("kafka://u:hunter2@h?max_message=0", "from 1"),
            ("kafka://u:hunter2@h?dial_timeout=5", "250ms"),
            ("kafka://u:hunter2@h?dial_timeout=0s", "1 ms"),
            ("kafka://u:hunter2@h?dial_timeout=", "not a number"),
            ("kafka://u:hunter2@h?refresh=99999999999999999m", "to 1 h"),
            ("kafka://u:hunter2@h?prefix=a/b", "letters"),
            (
                "kafka://u:hunter2@h?dead_letters=maybe",
                "not one of `yes`, `no`",
            ),
            ("kafka://u:hunter2@h?mechanism=md5", "scram-sha-256"),
            ("kafka://u:hunter2@h?ca=/a", "kafkas"),
            ("kafkas://u:hunter2@h?cert=/a", "together"),
            ("kafka://u:hunter2@h#x", "%23"),
            ("kafka://u:%ff@h", "UTF-8"),
        ] {
            let error = refusal::refused(Duration::from_secs(1), || parse(url));
            says(&error, &[part]);
        }
        let config = parse("kafka://u:hunter2@h?rdkafka.ssl.key.password=hunter2").unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
        assert_eq!(config.redact("it was hunter2"), "it was <redacted>");
    }
}
