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

const SCHEMES: &str = "redis, rediss, valkey, valkeys";
const MODES: &[(&str, Mode)] = &[("streams", Mode::Streams), ("pubsub", Mode::PubSub)];
const PARAMETERS: &str = "mode, prefix, max_message, max_entries, dial_timeout, read_timeout, write_timeout, heartbeat, sweep, \
                          ca, cert, key";

/// `redis://user:password@host:6379/0?prefix=shop:`; `rediss` for TLS. See the crate's page for the
/// parameters.
impl FromStr for Config {
    type Err = ConnectError;

    fn from_str(text: &str) -> Result<Self, ConnectError> {
        let url = Url::parse(text).map_err(|error| {
            bad_url(format!(
                "{error}; it has the form redis://user:password@host:6379/0"
            ))
        })?;
        let tls = match url.scheme() {
            "redis" | "valkey" => false,
            "rediss" | "valkeys" => true,
            _ => return Err(unknown_scheme(text, SCHEMES)),
        };
        let host = match url.host_str() {
            Some(host) if !host.is_empty() => host.trim_matches(['[', ']']),
            _ => return Err(bad_url("it names no host: redis://localhost:6379/0")),
        };
        let mut config = Config::new(decoded(host, "host")?, url.port().unwrap_or(6379));
        if !url.username().is_empty() {
            config = config.user(decoded(url.username(), "user")?);
        }
        if let Some(password) = url.password() {
            config = config.password(decoded(password, "password")?);
        } else if config.user.is_some() {
            return Err(bad_url(
                "it has a user and no password: write user:password@, or :password@ for the default user",
            ));
        }
        if url.fragment().is_some() {
            return Err(fragment());
        }
        config.database = database(url.path())?;
        let mut files = TlsParameters::default();
        for (name, value) in parameters(url.query().unwrap_or_default())? {
            config = parameter(config, &mut files, &name, &value)?;
        }
        config.tls = files.finish(tls, "rediss")?;
        config.check()?;
        Ok(config)
    }
}

fn database(path: &str) -> Result<u32, ConnectError> {
    match path.trim_start_matches('/') {
        "" => Ok(0),
        digits => digits
            .parse()
            .map_err(|_| bad_url(
                "its path is no database: write a number, such as /0 (and a `/` in a password as %2F)",
            )),
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
        "prefix" => config.prefix(value),
        "max_message" => config.max_message(number(name, value)?),
        "max_entries" if value == "all" => config.max_entries(None),
        "max_entries" => config.max_entries(Some(number(name, value)?)),
        "dial_timeout" => config.dial_timeout(duration(name, value)?),
        "read_timeout" => config.read_timeout(duration(name, value)?),
        "write_timeout" => config.write_timeout(duration(name, value)?),
        "heartbeat" => config.heartbeat(duration(name, value)?),
        "sweep" => config.sweep(duration(name, value)?),
        _ if files.take(name, value) => config,
        _ => return Err(unknown_parameter(name, PARAMETERS)),
    })
}

#[cfg(test)]
mod tests {
    use super::Config;
    use fanfeed_broker::ConnectError;
    use fanfeed_broker::driver::Tls;
    use fanfeed_testkit::refusal::{self, says};
    use std::time::Duration;

    fn parse(url: &str) -> Result<Config, ConnectError> {
        url.parse()
    }

    #[test]
    fn a_short_url_has_the_defaults() {
        let config = parse("redis://localhost").unwrap();
        assert_eq!(config, Config::new("localhost", 6379));
        assert_eq!(parse("valkey://localhost/").unwrap(), config);
    }

    #[test]
    fn a_long_url_is_read_whole() {
        let url = "rediss://ann:p%40ss@[::1]:7000/3?prefix=shop:&max_message=10&max_entries=all&dial_timeout=1s\
                   &read_timeout=250ms&write_timeout=2m&heartbeat=1s&sweep=2s&ca=/a&cert=/b&key=/c";
        let expected = Config::new("::1", 7000)
            .user("ann")
            .password("p@ss")
            .database(3)
            .prefix("shop:")
            .max_message(10)
            .max_entries(None)
            .dial_timeout(Duration::from_secs(1))
            .read_timeout(Duration::from_millis(250))
            .write_timeout(Duration::from_secs(120))
            .heartbeat(Duration::from_secs(1))
            .sweep(Duration::from_secs(2))
            .tls(Tls::new().authority("/a").identity("/b", "/c"));
        let config = parse(url).unwrap();
        assert_eq!(config, expected);
        assert_eq!(config.address(), "[::1]:7000");
    }

    #[test]
    fn a_bad_url_is_told_with_what_would_be_right_and_without_its_secrets() {
        for (url, part) in [
            ("", "redis://user:password@host"),
            ("localhost:6379", "known schemes are redis"),
            ("http://u:hunter2@h", "known schemes are redis"),
            ("hunter2:foo@h", "known schemes are redis"),
            ("redis://user:12?hunter2@h", "%3F"),
            ("redis://user:12?a=b&hunter2=c@h", "%3F"),
            ("redis://h/0?hunter2%40h=x", "there are mode, prefix"),
            ("redis://:hunter2@h/0?sweep=1s&sweep=2s", "`sweep` twice"),
            ("redis://:hunter2@h/0?ca=/a&ca=/b", "`ca` twice"),
            ("redis://:hunter2@h/0?%ff=x", "UTF-8"),
            ("redis://user:12/hunter2@h", "%2F"),
            ("redis://", "no host"),
            ("redis://:hunter2@h/x", "number, such as /0"),
            ("redis://:hunter2@h/-1", "number, such as /0"),
            ("redis://:hunter2@h/0/1", "number, such as /0"),
            ("redis://:hunter2@h:99999", "port"),
            ("redis://hunter2@h", "no password"),
            ("redis://:hunter2@h/0?pool=3", "there are mode, prefix"),
            (
                "redis://:hunter2@h/0?mode=x",
                "not one of `streams`, `pubsub`",
            ),
            ("redis://:hunter2@h/0?max_message=x", "not a number"),
            ("redis://:hunter2@h/0?max_message=0", "at least 1"),
            ("redis://:hunter2@h/0?max_entries=0", "keep all"),
            ("redis://:hunter2@h/0?dial_timeout=5", "250ms"),
            ("redis://:hunter2@h/0?dial_timeout=0s", "1 ms"),
            ("redis://:hunter2@h/0?dial_timeout=", "not a number"),
            (
                "redis://:hunter2@h/0?sweep=99999999999999999m",
                "1 ms to 24 h",
            ),
            ("redis://:hunter2@h/0?prefix={x}", "brace"),
            ("redis://:hunter2@h/0?ca=/a", "rediss"),
            ("rediss://:hunter2@h/0?cert=/a", "together"),
            ("redis://:hunter2@h/0#x", "%23"),
            ("redis://:%ff@h/0", "UTF-8"),
        ] {
            let error = refusal::refused(Duration::from_secs(1), || parse(url));
            says(&error, &[part]);
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        let config = parse("redis://ann:hunter2@h").unwrap();
        let shown = format!("{config:?} {config:#?}");
        assert!(!shown.contains("hunter2") && shown.contains("redacted"));
        assert_eq!(config.redact("no hunter2 here"), "no <redacted> here");
    }
}
