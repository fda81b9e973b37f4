//! Parsing of the parameters of URLs.

use std::str::FromStr;
use std::time::Duration;

use crate::error::ConnectError;

/// Makes the error for a URL that is wrong. The text must not contain the URL, which may contain a password.
pub fn bad_url(what: impl Into<String>) -> ConnectError {
    ConnectError::BadUrl(what.into().into())
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
