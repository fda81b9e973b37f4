//! Parses a configuration from a URL.
//!
//! No error contains the URL, which may contain a password.

use std::str::FromStr;

use fanfeed_broker::ConnectError;
use fanfeed_broker::driver::{
    TlsParameters, bad_url, choice, decoded, duration, fragment, number, parameters,
    unknown_parameter, unknown_scheme,
};
use url::Url;

use crate::config::{Config, Mode};

const FORM: &str = "nats://user:password@host:4222";
const MODES: &[(&str, Mode)] = &[("core", Mode::Core), ("jetstream", Mode::JetStream)];
const HEADERS: &[(&str, bool)] = &[("full", false), ("lean", true)];
const STORAGE: &[(&str, bool)] = &[("file", false), ("memory", true)];
const PARAMETERS: &str = "mode, prefix, inbox, creds, nkey, max_message, dial_timeout, answer_timeout, heartbeat, client_buffer, \
                          max_per_key, max_age, replicas, storage, headers, ack_wait, max_ack_pending, ca, cert, key";

/// `nats://user:password@host:4222,other:4222?mode=core`, `nats://token@host`; `tls` for TLS. See
/// the crate's page for the parameters.
impl FromStr for Config {
    type Err = ConnectError;

    fn from_str(text: &str) -> Result<Self, ConnectError> {
        let (text, more) = first_host(text);
        let url = parse(&text)?;
        let encrypted = url.scheme() == "tls";
        let (host, port) = host(&url)?;
        let mut config = Config::new(host, port);
        for other in more {
            let url = parse(&format!("{}://{other}", url.scheme()))?;
            let (host, port) = self::host(&url)?;
            config = config.server(host, port);
        }
        let user = decoded(url.username(), "user")?;
        match (url.password(), user.is_empty()) {
            (Some(password), false) => {
                config = config.user(user, decoded(password, "password")?);
            }
            (Some(_), true) => {
                return Err(bad_url(
                    "it has a password and no user: write user:password@, or token@",
                ));
            }
            (None, false) => config = config.token(user),
            (None, true) => {}
        }
        if url.fragment().is_some() {
            return Err(fragment());
        }
        if !matches!(url.path(), "" | "/") {
            return Err(bad_url(format!(
                "it has a path, and NATS has none: {FORM} (write a `/` in a password or token as %2F)"
            )));
        }
        let mut files = TlsParameters::default();
        for (name, value) in parameters(url.query().unwrap_or_default())? {
            config = parameter(config, &mut files, &name, &value)?;
        }
        config.tls = files.finish(encrypted, "tls")?;
        config.check()?;
        Ok(config)
    }
}

/// Returns the URL with only its first host, and the other hosts.
fn first_host(text: &str) -> (String, Vec<String>) {
    let whole = || (text.to_owned(), Vec::new());
    let Some((scheme, rest)) = text.split_once("://") else {
        return whole();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let (login, hosts) = match authority.rsplit_once('@') {
        Some((login, hosts)) => (format!("{login}@"), hosts),
        None => (String::new(), authority),
    };
    let mut hosts = hosts.split(',').map(str::to_owned);
    let Some(first) = hosts.next() else {
        return whole();
    };
    (format!("{scheme}://{login}{first}{tail}"), hosts.collect())
}

fn parse(text: &str) -> Result<Url, ConnectError> {
    let url =
        Url::parse(text).map_err(|error| bad_url(format!("{error}; it has the form {FORM}")))?;
    match url.scheme() {
        "nats" | "tls" => Ok(url),
        _ => Err(unknown_scheme(text, "nats, tls")),
    }
}

fn host(url: &Url) -> Result<(String, u16), ConnectError> {
    match url.host_str() {
        Some(host) if !host.is_empty() => {
            let host = decoded(host.trim_matches(['[', ']']), "host")?;
            Ok((host, url.port().unwrap_or(4222)))
        }
        _ => Err(bad_url("it names no host: nats://localhost:4222")),
    }
}

fn parameter(
    config: Config,
    files: &mut TlsParameters,
    name: &str,
    value: &str,
) -> Result<Config, ConnectError> {
    Ok(match name {
        "mode" => config.mode(choice(name, value, MODES)?),
        "storage" => config.in_memory(choice(name, value, STORAGE)?),
        "headers" => config.lean(choice(name, value, HEADERS)?),
        "prefix" => config.prefix(value),
        "inbox" => config.inbox(value),
        "creds" => config.credentials(value),
        "nkey" => config.nkey(value),
        "max_message" => config.max_message(number(name, value)?),
        "client_buffer" => config.client_buffer(number(name, value)?),
        "max_per_key" if value == "all" => config.max_per_key(None),
        "max_per_key" => config.max_per_key(Some(number(name, value)?)),
        "replicas" => config.replicas(number(name, value)?),
        "max_ack_pending" => config.max_ack_pending(number(name, value)?),
        "dial_timeout" => config.dial_timeout(duration(name, value)?),
        "answer_timeout" => config.answer_timeout(duration(name, value)?),
        "heartbeat" => config.heartbeat(duration(name, value)?),
        "ack_wait" => config.ack_wait(duration(name, value)?),
        "max_age" => config.max_age(Some(duration(name, value)?)),
        _ if files.take(name, value) => config,
        _ => return Err(unknown_parameter(name, PARAMETERS)),
    })
}

#[cfg(test)]
mod tests {
    use super::Config;
    use crate::config::Mode;
    use fanfeed_broker::ConnectError;
    use fanfeed_broker::driver::Tls;
    use fanfeed_testkit::refusal::{self, says};
    use std::time::Duration;

    fn parse(url: &str) -> Result<Config, ConnectError> {
        url.parse()
    }

    #[test]
    fn a_short_url_has_the_defaults() {
        let config = parse("nats://localhost").unwrap();
        assert_eq!(config, Config::new("localhost", 4222));
        assert_eq!(parse("nats://localhost/").unwrap(), config);
        let config = parse("nats://t%40ken@localhost").unwrap();
        assert_eq!(config, Config::new("localhost", 4222).token("t@ken"));
    }

    #[test]
    fn a_long_url_is_read_whole() {
        let url = "tls://ann:p%40ss@[::1]:7000,b:7001,c?mode=core&prefix=shop&inbox=_I.x&max_message=10&dial_timeout=1s\
                   &answer_timeout=250ms&heartbeat=2m&client_buffer=9&max_per_key=all&max_age=2d&replicas=3&storage=memory&headers=lean\
                   &ack_wait=1h&max_ack_pending=1&ca=/a&cert=/b&key=/c";
        let expected = Config::new("::1", 7000)
            .server("b", 7001)
            .server("c", 4222)
            .user("ann", "p@ss")
            .mode(Mode::Core)
            .prefix("shop")
            .inbox("_I.x")
            .max_message(10)
            .dial_timeout(Duration::from_secs(1))
            .answer_timeout(Duration::from_millis(250))
            .heartbeat(Duration::from_secs(120))
            .client_buffer(9)
            .max_per_key(None)
            .max_age(Duration::from_secs(2 * 24 * 60 * 60))
            .replicas(3)
            .in_memory(true)
            .lean(true)
            .ack_wait(Duration::from_secs(3600))
            .max_ack_pending(1)
            .tls(Tls::new().authority("/a").identity("/b", "/c"));
        let config = parse(url).unwrap();
        assert_eq!(config, expected);
        assert_eq!(config.address(), "[::1]:7000, b:7001, c:4222");
        let config = parse("nats://h?creds=/a").unwrap();
        assert_eq!(config, Config::new("h", 4222).credentials("/a"));
        let config = parse("nats://h?nkey=/a").unwrap();
        assert_eq!(config, Config::new("h", 4222).nkey("/a"));
    }

    #[test]
    fn a_bad_url_is_told_with_what_would_be_right_and_without_its_secrets() {
        for (url, part) in [
            ("", "nats://user:password@host"),
            ("localhost:4222", "known schemes are nats"),
            ("http://u:hunter2@h", "known schemes are nats"),
            ("hunter2:foo@h", "known schemes are nats"),
            ("nats://tok?hunter2@h", "%3F"),
            ("nats://u:12?a=b&hunter2=c@h,other", "%3F"),
            ("nats://h?hunter2%40h=x", "there are mode"),
            (
                "nats://u:hunter2@h?ack_wait=1s&ack_wait=2s",
                "`ack_wait` twice",
            ),
            ("nats://u:hunter2@h?key=/a&key=/b", "`key` twice"),
            ("nats://u:12/hunter2@h", "%2F"),
            ("nats://", "no host"),
            ("nats://u:hunter2@h,", "no host"),
            ("nats://u:hunter2@h/x", "a path"),
            ("nats://u:hunter2@h:99999", "port"),
            ("nats://:hunter2@h", "no user"),
            ("nats://u:hunter2@h?pool=3", "there are mode"),
            (
                "nats://u:hunter2@h?mode=fast",
                "not one of `core`, `jetstream`",
            ),
            (
                "nats://u:hunter2@h?storage=tape",
                "not one of `file`, `memory`",
            ),
            ("nats://u:hunter2@h?headers=no", "not one of `full`, `lean`"),
            ("nats://u:hunter2@h?max_message=x", "not a number"),
            ("nats://u:hunter2@h?max_message=0", "at least 1"),
            ("nats://u:hunter2@h?max_per_key=0", "keep all"),
            ("nats://u:hunter2@h?replicas=6", "from 1 to 5"),
            ("nats://u:hunter2@h?max_ack_pending=0", "at least 1"),
            ("nats://u:hunter2@h?client_buffer=0", "at least 1"),
            ("nats://u:hunter2@h?dial_timeout=5", "250ms"),
            ("nats://u:hunter2@h?ack_wait=0s", "1 ms"),
            ("nats://u:hunter2@h?heartbeat=", "not a number"),
            ("nats://u:hunter2@h?max_age=99999999999999999d", "100 years"),
            ("nats://u:hunter2@h?prefix=a.b", "1 to 64 letters"),
            ("nats://u:hunter2@h?inbox=a..b", "separated by periods"),
            ("nats://u:hunter2@h?ca=/a", "tls://"),
            ("tls://u:hunter2@h?cert=/a", "together"),
            ("nats://u:hunter2@h#x", "%23"),
            ("nats://u:%ff@h", "UTF-8"),
        ] {
            let error = refusal::refused(Duration::from_secs(1), || parse(url));
            says(&error, &[part]);
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        for url in ["nats://ann:hunter2@h", "nats://hunter2@h"] {
            let config = parse(url).unwrap();
            let shown = format!("{config:?} {config:#?}");
            assert!(!shown.contains("hunter2") && shown.contains("redacted"));
            assert_eq!(config.redact("no hunter2 here"), "no <redacted> here");
        }
    }
}
