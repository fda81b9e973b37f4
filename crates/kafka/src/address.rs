//! Parsing of a configuration from a URL.
//!
//! No error contains the URL, which may contain a password.

use std::str::FromStr;

use fanfeed_broker::ConnectError;
use fanfeed_broker::driver::{TlsParameters, bad_url, duration, number};
use percent_encoding::percent_decode_str;

use crate::config::{Config, Mechanism};

const FORM: &str = "it has the form kafka://user:password@host:9092,host:9092";
const PARAMETERS: &str = "prefix, topic, max_message, dial_timeout, confirm_timeout, session_timeout, commit_interval, \
                          refresh, dead_letters, mechanism, ca, cert, key, and rdkafka.NAME for a property of librdkafka";

/// `kafka://user:password@host:9092,host:9092?prefix=shop.`; `kafkas` for TLS. See the crate's page for the parameters.
impl FromStr for Config {
    type Err = ConnectError;

    fn from_str(text: &str) -> Result<Self, ConnectError> {
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(bad_url(FORM));
        };
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "kafka" => false,
            "kafkas" => true,
            scheme => {
                return Err(ConnectError::UnknownScheme {
                    scheme: scheme.into(),
                    known: "kafka, kafkas".into(),
                });
            }
        };
        let rest = rest.strip_prefix("//").ok_or_else(|| bad_url(FORM))?;
        if rest.contains('#') {
            return Err(bad_url(
                "it has a fragment: write a `#` in a password as %23",
            ));
        }
        let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
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
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decoded(&value.replace('+', " "), "query")?;
            config = parameter(config, &mut files, name, &value)?;
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
        _ => Err(bad_url("one of its ports is no number from 1 to 65535")),
    }
}

fn decoded(text: &str, what: &str) -> Result<String, ConnectError> {
    let decoded = percent_decode_str(text).decode_utf8();
    let decoded =
        decoded.map_err(|_| bad_url(format!("its {what} is not UTF-8 when it is decoded")))?;
    Ok(decoded.into_owned())
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
        "dead_letters" => match value {
            "yes" => config.dead_letters(true),
            "no" => config.dead_letters(false),
            _ => {
                return Err(bad_url(
                    "its parameter `dead_letters` is neither yes nor no",
                ));
            }
        },
        "mechanism" => config.mechanism(match value {
            "plain" => Mechanism::Plain,
            "scram-sha-256" => Mechanism::ScramSha256,
            "scram-sha-512" => Mechanism::ScramSha512,
            _ => {
                return Err(bad_url(
                    "its parameter `mechanism` is none of plain, scram-sha-256 and scram-sha-512",
                ));
            }
        }),
        _ if files.take(name, value) => config,
        _ => match name.strip_prefix("rdkafka.") {
            Some(property) => config.property(property, value),
            // The value of an unknown parameter may be a secret.
            None => {
                return Err(bad_url(format!(
                    "it has the parameter `{name}`; there are {PARAMETERS}"
                )));
            }
        },
    })
}

#[cfg(test)]
mod tests {
    use super::Config;
    use fanfeed_broker::{ConnectError, Key};
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
        for (url, says) in [
            ("", "kafka://user:password@host"),
            ("localhost", "kafka://user:password@host"),
            ("http://u:hunter2@h", "known schemes are kafka"),
            ("kafka:hunter2@h", "kafka://user:password@host"),
            ("kafka://", "no host"),
            ("kafka://u:hunter2@h,", "no host"),
            ("kafka://u:hunter2@h/topic", "?prefix="),
            ("kafka://u:hunter2@h:99999", "65535"),
            ("kafka://u:hunter2@h:0", "65535"),
            ("kafka://hunter2@h", "no password"),
            ("kafka://u:hunter2@h?pool=3", "there are prefix"),
            ("kafka://u:hunter2@h?max_message=x", "no number"),
            ("kafka://u:hunter2@h?max_message=0", "from 1"),
            ("kafka://u:hunter2@h?dial_timeout=5", "250ms"),
            ("kafka://u:hunter2@h?dial_timeout=0s", "1 ms"),
            ("kafka://u:hunter2@h?dial_timeout=", "no number that fits"),
            (
                "kafka://u:hunter2@h?refresh=99999999999999999m",
                "to an hour",
            ),
            ("kafka://u:hunter2@h?prefix=a/b", "letters"),
            ("kafka://u:hunter2@h?dead_letters=maybe", "yes nor no"),
            ("kafka://u:hunter2@h?mechanism=md5", "scram-sha-256"),
            ("kafka://u:hunter2@h?ca=/a", "kafkas"),
            ("kafkas://u:hunter2@h?cert=/a", "together"),
            ("kafka://u:hunter2@h#x", "%23"),
            ("kafka://u:%ff@h", "UTF-8"),
        ] {
            let error = parse(url).unwrap_err();
            let (shown, debug) = (error.to_string(), format!("{error:?}"));
            assert!(shown.contains(says), "{url}: {shown}");
            assert!(
                !shown.contains("hunter2") && !debug.contains("hunter2"),
                "{shown}"
            );
        }
        let config = parse("kafka://u:hunter2@h?rdkafka.ssl.key.password=hunter2").unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
        assert_eq!(config.redact("it was hunter2"), "it was <redacted>");
    }
}
