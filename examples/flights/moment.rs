//! A point in time as the records write it: a date and a time of day, without a time zone.

use std::fmt;

const DAY: i64 = 24 * 60 * 60;

/// Seconds since 1970-01-01 00:00 by the clock the records were written by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(i64);

impl Moment {
    /// Reads `YYYY/MM/DD HH:MM` or `YYYY-MM-DD HH:MM`, with a `T` in the place of the space if so
    /// written, and with `:SS`, a fraction of a second (which is cut off) and `Z` if they are
    /// there.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut rest = Digits(text.as_bytes());
        let year = rest.number(4)?;
        let dash = rest.one_of(b"-/")?;
        let month = rest.number(2)?;
        rest.one_of(&[dash])?;
        let day = rest.number(2)?;
        rest.one_of(b" T")?;
        let hour = rest.number(2)?;
        rest.one_of(b":")?;
        let minute = rest.number(2)?;
        let mut second = 0;
        if rest.one_of(b":").is_some() {
            second = rest.number(2)?;
            if rest.one_of(b".").is_some() {
                rest.number(1)?;
                while rest.number(1).is_some() {}
            }
        }
        let _ = rest.one_of(b"Z");
        let exists = rest.0.is_empty()
            && (1..=12).contains(&month)
            && (1..=days_in(year, month)).contains(&day)
            && hour < 24
            && minute < 60
            && second < 60;
        exists.then(|| Self(days_to(year, month, day) * DAY + hour * 3600 + minute * 60 + second))
    }

    /// The hour of the day, 0 to 23.
    pub(crate) fn hour(self) -> usize {
        (self.0.rem_euclid(DAY) / 3600) as usize
    }

    /// Seconds from `earlier` to this moment.
    pub(crate) fn seconds_since(self, earlier: Self) -> f64 {
        (self.0 - earlier.0) as f64
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date_of(self.0.div_euclid(DAY));
        let minutes = self.0.rem_euclid(DAY) / 60;
        let (hour, minute) = (minutes / 60, minutes % 60);
        write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}")
    }
}

/// What is left of a text of digits and separators.
struct Digits<'a>(&'a [u8]);

impl Digits<'_> {
    fn number(&mut self, width: usize) -> Option<i64> {
        let (digits, rest) = self.0.split_at_checked(width)?;
        let mut number = 0;
        for digit in digits {
            number = number * 10 + i64::from(char::from(*digit).to_digit(10)?);
        }
        self.0 = rest;
        Some(number)
    }

    fn one_of(&mut self, allowed: &[u8]) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        allowed.contains(first).then(|| {
            self.0 = rest;
            *first
        })
    }
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

// The two below count years from March, so that the day a leap year adds is the last of its year;
// 400 such years are always 146,097 days, and 719,468 of them lie between 0000-03-01 and
// 1970-01-01.

fn days_to(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    (era * 400 + year + i64::from(month <= 2), month, day)
}
