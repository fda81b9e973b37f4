//! Points in time, as RFC 3339 writes them.

use std::error::Error;
use std::fmt::{self, Write};
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// A point in time to the nanosecond, in UTC, from the year 0 to the year 9999.
///
/// It prints as RFC 3339 with up to nine digits of the fraction, and without the zeros that end it.
/// The default is the first moment of the year 1, which is what peers send for "not set".
///
/// ```
/// use std::time::{Duration, UNIX_EPOCH};
/// use fanfeed_sockets::Timestamp;
///
/// let time: Timestamp = "2026-11-20T23:48:49.120+01:00".parse()?;
/// assert_eq!(time.to_string(), "2026-11-20T22:48:49.12Z");
/// assert_eq!(Timestamp::default().to_string(), "0001-01-01T00:00:00Z");
/// assert_eq!(Timestamp::from(UNIX_EPOCH + Duration::from_millis(1500)).to_string(), "1970-01-01T00:00:01.5Z");
/// # Ok::<(), fanfeed_sockets::ParseTimestampError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp {
    /// Since 1970. From `FIRST` to `LAST`.
    seconds: i64,
    /// Less than a second.
    nanos: u32,
}

/// 0000-01-01T00:00:00Z.
const FIRST: i64 = days_of(0, 1, 1) * DAY;
/// 9999-12-31T23:59:59Z.
const LAST: i64 = days_of(10_000, 1, 1) * DAY - 1;

impl Timestamp {
    /// The time of the system's clock.
    pub fn now() -> Self {
        Self::from(SystemTime::now())
    }

    /// The same time without the fraction of its second.
    pub fn whole_seconds(self) -> Self {
        Self { nanos: 0, ..self }
    }

    /// The same time in the form of the standard library, or `None` if the platform cannot
    /// represent it.
    pub fn to_system_time(self) -> Option<SystemTime> {
        let part = Duration::from_nanos(u64::from(self.nanos));
        let whole = Duration::from_secs(self.seconds.unsigned_abs());
        let second = if self.seconds < 0 {
            UNIX_EPOCH.checked_sub(whole)
        } else {
            UNIX_EPOCH.checked_add(whole)
        };
        second?.checked_add(part)
    }

    pub(super) fn push(self, out: &mut String) {
        write!(out, "{self}").expect("writing to a string does not fail");
    }
}

impl Default for Timestamp {
    fn default() -> Self {
        const FIRST_YEAR: i64 = days_of(1, 1, 1) * DAY;
        Self {
            seconds: FIRST_YEAR,
            nanos: 0,
        }
    }
}

/// A time out of the range becomes the first or the last that is in it.
impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let (seconds, nanos) = match time.duration_since(UNIX_EPOCH) {
            Ok(since) => (
                i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
                since.subsec_nanos(),
            ),
            Err(error) => {
                let before = error.duration();
                let seconds = -i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
                match before.subsec_nanos() {
                    0 => (seconds, 0),
                    nanos => (seconds.saturating_sub(1), 1_000_000_000 - nanos),
                }
            }
        };
        match seconds {
            ..FIRST => Self {
                seconds: FIRST,
                nanos: 0,
            },
            FIRST..=LAST => Self { seconds, nanos },
            _ => Self {
                seconds: LAST,
                nanos: 999_999_999,
            },
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date_of(self.seconds.div_euclid(DAY));
        let second = self.seconds.rem_euclid(DAY);
        let (hour, minute, second) = (second / HOUR, second / MINUTE % 60, second % 60);
        // "0000-00-00T00:00:00.000000000Z", filled in from the left.
        let mut text = [0; 30];
        put(&mut text[0..4], year);
        put(&mut text[5..7], month);
        put(&mut text[8..10], day);
        put(&mut text[11..13], hour);
        put(&mut text[14..16], minute);
        put(&mut text[17..19], second);
        (text[4], text[7], text[10]) = (b'-', b'-', b'T');
        (text[13], text[16]) = (b':', b':');
        let mut end = 19;
        if self.nanos != 0 {
            text[19] = b'.';
            put(&mut text[20..29], i64::from(self.nanos));
            end = 29;
            while text[end - 1] == b'0' {
                end -= 1;
            }
        }
        text[end] = b'Z';
        let text = std::str::from_utf8(&text[..=end]).expect("digits and signs are ASCII");
        f.write_str(text)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timestamp({self})")
    }
}

/// A text is not a time in RFC 3339 with a zone, such as `2026-11-20T22:48:49Z`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseTimestampError(());

impl fmt::Display for ParseTimestampError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a time in RFC 3339 with a zone, such as 2026-11-20T22:48:49Z")
    }
}

impl Error for ParseTimestampError {}

impl FromStr for Timestamp {
    type Err = ParseTimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text.as_bytes()).ok_or(ParseTimestampError(()))
    }
}

fn parse(text: &[u8]) -> Option<Timestamp> {
    let (head, mut rest) = text.split_at_checked(19)?;
    let signs = (head[4], head[7], head[10], head[13], head[16]);
    let (b'-', b'-', b'T' | b't', b':', b':') = signs else {
        return None;
    };
    let (year, month, day) = (
        number(&head[0..4])?,
        number(&head[5..7])?,
        number(&head[8..10])?,
    );
    let (hour, minute, second) = (
        number(&head[11..13])?,
        number(&head[14..16])?,
        number(&head[17..19])?,
    );
    let valid = (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !valid {
        return None;
    }
    let mut nanos = 0;
    if let [b'.', fraction @ ..] = rest {
        let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit());
        let count = digits.count();
        if count == 0 {
            return None;
        }
        // Digits beyond the ninth are below a nanosecond.
        let kept = count.min(9);
        let scale = 10_i64.pow(9 - kept as u32);
        nanos = u32::try_from(number(&fraction[..kept])? * scale).ok()?;
        rest = &fraction[count..];
    }
    let ahead = match rest {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), zone @ ..] if zone.len() == 5 && zone[2] == b':' => {
            let (hours, minutes) = (number(&zone[..2])?, number(&zone[3..])?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let ahead = hours * HOUR + minutes * MINUTE;
            if *sign == b'+' { ahead } else { -ahead }
        }
        _ => return None,
    };
    let local = days_of(year, month, day) * DAY + hour * HOUR + minute * MINUTE + second;
    let seconds = local - ahead;
    (FIRST..=LAST)
        .contains(&seconds)
        .then_some(Timestamp { seconds, nanos })
}

/// The number that the decimal digits write.
fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |number, byte| {
        byte.is_ascii_digit()
            .then(|| number * 10 + i64::from(byte - b'0'))
    })
}

/// Writes the number as decimal digits over the whole place.
fn put(place: &mut [u8], mut number: i64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

const fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The days from 1970-01-01 to a date of the Gregorian calendar. The algorithms of this function
/// and of [`date_of`] are Howard Hinnant's `days_from_civil` and `civil_from_days`: years begin in
/// March, so that a leap day is the last day.
const fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month and day of the day that comes so many days after 1970-01-01.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400;
    (if month <= 2 { year + 1 } else { year }, month, day)
}
