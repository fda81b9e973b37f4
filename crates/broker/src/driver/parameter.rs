//! Parses the parameters of URLs.

use std::str::FromStr;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use crate::error::ConnectError;

/// Makes the error for an invalid URL. The text must not contain the URL, which may contain a
/// password.
pub fn bad_url(what: impl Into<String>) -> ConnectError {
    ConnectError::BadUrl(what.into().into())
}

/// Makes the error for a URL with a parameter that is not among the `known` ones. The error does
/// not contain the value, which may be a secret. It contains the name only if that looks like the
/// name of a parameter.
pub fn unknown_parameter(name: &str, known: &str) -> ConnectError {
    match is_name(name) {
        true => bad_url(format!("it has the parameter `{name}`; there are {known}")),
        false => bad_url(format!("it has an unknown parameter; there are {known}")),
    }
}

/// Whether a text may be shown as the name of a parameter.
fn is_name(text: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    (1..=64).contains(&text.len()) && text.chars().all(letter)
}

/// Makes the error for a URL whose scheme is not among the `known` ones. The error contains the
/// scheme only if `//` follows it: in a URL without a scheme, the text before the first colon may
/// be a user or a token.
///
/// ```
/// use fanfeed_broker::driver::unknown_scheme;
///
/// let error = unknown_scheme("http://host", "redis, rediss").to_string();
/// assert!(error.contains("no driver is known for `http:`"));
/// let error = unknown_scheme("token:x@host", "redis, rediss").to_string();
/// assert!(error.contains("it has to begin with a scheme and `://`") && !error.contains("token"));
/// ```
pub fn unknown_scheme(url: &str, known: &str) -> ConnectError {
    match url.split_once(':') {
        Some((scheme, rest)) if rest.starts_with("//") => ConnectError::UnknownScheme {
            scheme: scheme.to_ascii_lowercase().into(),
            known: known.into(),
        },
        _ => bad_url(format!(
            "it has to begin with a scheme and `://`: the known schemes are {known}"
        )),
    }
}

/// Splits the query of a URL into names and values, and decodes them. A `+` stands for a space.
///
/// # Errors
///
/// [`ConnectError::BadUrl`] if a parameter is given twice, if one is not UTF-8 when it is decoded,
/// or if the query has an `@`. An `@` there usually means that a password contains an unescaped
/// `?`, so that the query begins inside the password. So the error contains no part of the query.
///
/// ```
/// use fanfeed_broker::driver::parameters;
///
/// let read = parameters("prefix=my+shop%3A&sweep=5s")?;
/// assert_eq!(read[0], ("prefix".to_owned(), "my shop:".to_owned()));
/// let error = parameters("topsecret@host").unwrap_err().to_string();
/// assert!(error.contains("%3F") && !error.contains("topsecret"));
/// let error = parameters("sweep=5s&sweep=6s").unwrap_err().to_string();
/// assert!(error.contains("it has the parameter `sweep` twice: give it once"));
/// # Ok::<(), fanfeed_broker::ConnectError>(())
/// ```
pub fn parameters(query: &str) -> Result<Vec<(String, String)>, ConnectError> {
    if query.contains('@') {
        return Err(bad_url(
            "it has an `@` after a `?`: write a `?` in a user, password or token as %3F, and an `@` in a parameter as %40",
        ));
    }
    let mut read: Vec<(String, String)> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decoded(&name.replace('+', " "), "query")?;
        let value = decoded(&value.replace('+', " "), "query")?;
        if read.iter().any(|(earlier, _)| *earlier == name) {
            return Err(match is_name(&name) {
                true => bad_url(format!("it has the parameter `{name}` twice: give it once")),
                false => bad_url("it has a parameter twice: give it once"),
            });
        }
        read.push((name, value));
    }
    Ok(read)
}

/// Makes the error for a URL with a fragment.
pub fn fragment() -> ConnectError {
    bad_url("it has a fragment: write a `#` in a password as %23")
}

/// Percent-decodes a part of a URL, such as the user or the password; `what` names the part.
///
/// # Errors
///
/// [`ConnectError::BadUrl`] if the decoded text is not UTF-8.
pub fn decoded(text: &str, what: &str) -> Result<String, ConnectError> {
    match percent_decode_str(text).decode_utf8() {
        Ok(decoded) => Ok(decoded.into_owned()),
        Err(_) => Err(bad_url(format!(
            "its {what} is not UTF-8 when it is decoded"
        ))),
    }
}

/// Parses the value of a parameter as one of several names, and returns the value of that name.
///
/// # Errors
///
/// [`ConnectError::BadUrl`] if the value is not one of the names.
///
/// ```
/// use fanfeed_broker::driver::choice;
///
/// let storage = [("file", false), ("memory", true)];
/// assert_eq!(choice("storage", "memory", &storage)?, true);
/// let error = choice("storage", "tape", &storage).unwrap_err();
/// assert!(error.to_string().contains("its parameter `storage` is not one of `file`, `memory`"));
/// # Ok::<(), fanfeed_broker::ConnectError>(())
/// ```
pub fn choice<T: Copy>(name: &str, value: &str, names: &[(&str, T)]) -> Result<T, ConnectError> {
    match names.iter().find(|(name, _)| *name == value) {
        Some((_, chosen)) => Ok(*chosen),
        None => {
            let names: Vec<_> = names.iter().map(|(name, _)| format!("`{name}`")).collect();
            let names = names.join(", ");
            Err(bad_url(format!(
                "its parameter `{name}` is not one of {names}"
            )))
        }
    }
}

/// Parses the value of a parameter as a number.
///
/// # Errors
///
/// [`ConnectError::BadUrl`] if the value is not a number, or is too large.
pub fn number<N: FromStr>(name: &str, value: &str) -> Result<N, ConnectError> {
    let number = value.parse();
    number.map_err(|_| {
        bad_url(format!(
            "its parameter `{name}` is not a number, or is out of range"
        ))
    })
}

/// Parses the value of a parameter as a duration: `250ms`, `5s`, `2m`, `12h` or `30d`.
///
/// # Errors
///
/// [`ConnectError::BadUrl`] if the value is not a duration. A duration that is too long to count
/// becomes the longest one.
///
/// ```
/// use std::time::Duration;
/// use fanfeed_broker::driver::duration;
///
/// assert_eq!(duration("heartbeat", "250ms")?, Duration::from_millis(250));
/// let error = duration("heartbeat", "250").unwrap_err();
/// assert!(error.to_string().contains("its parameter `heartbeat` is not a duration: write 250ms, 5s, 2m, 12h or 30d"));
/// # Ok::<(), fanfeed_broker::ConnectError>(())
/// ```
pub fn duration(name: &str, value: &str) -> Result<Duration, ConnectError> {
    let digits = value.trim_end_matches(|c: char| !c.is_ascii_digit());
    let number: u64 = number(name, digits)?;
    let seconds = |each: u64| Ok(Duration::from_secs(number.saturating_mul(each)));
    match &value[digits.len()..] {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => seconds(1),
        "m" => seconds(60),
        "h" => seconds(60 * 60),
        "d" => seconds(24 * 60 * 60),
        _ => Err(bad_url(format!(
            "its parameter `{name}` is not a duration: write 250ms, 5s, 2m, 12h or 30d"
        ))),
    }
}

/// Checks the durations of a configuration, each with its name. Each has to be from a millisecond
/// to `hours`.
///
/// # Errors
///
/// [`ConnectError::BadConfig`] for the first duration that is shorter or longer.
pub fn check_durations(durations: &[(&str, Duration)], hours: u64) -> Result<(), ConnectError> {
    for (name, duration) in durations {
        let longest = Duration::from_secs(hours * 60 * 60);
        if *duration < Duration::from_millis(1) || *duration > longest {
            let text = format!("the {name} is {duration:?}: give from 1 ms to {hours} h");
            return Err(ConnectError::BadConfig(text.into()));
        }
    }
    Ok(())
}
