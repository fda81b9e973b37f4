//! Parsing of the parameters of URLs.

use std::str::FromStr;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use crate::error::ConnectError;

/// Makes the error for a URL that is wrong. The text must not contain the URL, which may contain a password.
pub fn bad_url(what: impl Into<String>) -> ConnectError {
    ConnectError::BadUrl(what.into().into())
}

/// Makes the error for a URL with a parameter that is not among the `known` ones. It does not contain the value, which may be
/// a secret.
pub fn unknown_parameter(name: &str, known: &str) -> ConnectError {
    bad_url(format!("it has the parameter `{name}`; there are {known}"))
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

/// Parses the value of a parameter as one of several names, and returns what belongs to the name.
///
/// # Errors
///
/// [`ConnectError::BadUrl`] if the value is none of the names.
///
/// ```
/// use fanfeed_broker::driver::choice;
///
/// let storage = [("file", false), ("memory", true)];
/// assert_eq!(choice("storage", "memory", &storage)?, true);
/// let error = choice("storage", "tape", &storage).unwrap_err();
/// assert!(error.to_string().contains("its parameter `storage` is none of `file`, `memory`"));
/// # Ok::<(), fanfeed_broker::ConnectError>(())
/// ```
pub fn choice<T: Copy>(name: &str, value: &str, names: &[(&str, T)]) -> Result<T, ConnectError> {
    match names.iter().find(|(name, _)| *name == value) {
        Some((_, chosen)) => Ok(*chosen),
        None => {
            let names: Vec<_> = names.iter().map(|(name, _)| format!("`{name}`")).collect();
            let names = names.join(", ");
            Err(bad_url(format!(
                "its parameter `{name}` is none of {names}"
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
    number.map_err(|_| bad_url(format!("its parameter `{name}` is no number that fits")))
}

/// Parses the value of a parameter as a duration: `250ms`, `5s`, `2m`, `12h` or `30d`.
///
/// # Errors
///
/// [`ConnectError::BadUrl`] if the value is not a duration. A duration that is too long to count becomes the longest
/// one.
///
/// ```
/// use std::time::Duration;
/// use fanfeed_broker::driver::duration;
///
/// assert_eq!(duration("heartbeat", "250ms")?, Duration::from_millis(250));
/// let error = duration("heartbeat", "250").unwrap_err();
/// assert!(error.to_string().contains("its parameter `heartbeat` is no time: write 250ms, 5s, 2m, 12h or 30d"));
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
            "its parameter `{name}` is no time: write 250ms, 5s, 2m, 12h or 30d"
        ))),
    }
}

/// Checks durations of a configuration, each of which has a name: they have to be from a millisecond to `hours`.
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
