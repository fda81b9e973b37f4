//! Positions in a stream.

use std::fmt;

/// The identity of a stream's entry: milliseconds of the server's clock, and a number within the
/// millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Position {
    pub(crate) milliseconds: u64,
    pub(crate) sequence: u64,
}

impl Position {
    /// Before every entry.
    pub(crate) const START: Position = Position {
        milliseconds: 0,
        sequence: 0,
    };

    /// Parses `1700000000000-0`. A missing sequence is 0.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let (milliseconds, sequence) = text.split_once('-').unwrap_or((text, "0"));
        Some(Position {
            milliseconds: number(milliseconds)?,
            sequence: number(sequence)?,
        })
    }

    /// Returns the next greater position, or the greatest position of all.
    pub(crate) fn next(self) -> Self {
        match self.sequence.checked_add(1) {
            Some(sequence) => Position { sequence, ..self },
            None => Position {
                milliseconds: self.milliseconds.saturating_add(1),
                sequence: 0,
            },
        }
    }
}

/// Parses digits only: `str::parse` would also accept a sign.
fn number(text: &str) -> Option<u64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.milliseconds, self.sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::Position;

    #[test]
    fn what_is_printed_is_read() {
        let position = Position {
            milliseconds: 1_700_000_000_000,
            sequence: 7,
        };
        assert_eq!(position.to_string(), "1700000000000-7");
        assert_eq!(Position::parse(b"1700000000000-7"), Some(position));
        assert_eq!(Position::parse(b"0"), Some(Position::START));
    }

    #[test]
    fn what_is_no_position_is_refused() {
        for text in [
            &b""[..],
            b"-",
            b"1-",
            b"-1",
            b"+1-0",
            b"a-0",
            b"$",
            b"\xff",
            b"1-2-3",
            b"99999999999999999999",
        ] {
            assert_eq!(Position::parse(text), None, "{text:?}");
        }
    }
}
