//! The identity of a message.

use std::cell::Cell;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

/// The identity of a message: 128 bits that no other message has, or a text that another program
/// chose.
///
/// It prints as text, and [`parse`](Self::parse) reads what it prints.
///
/// ```
/// use fanfeed_broker::MessageId;
///
/// let id = MessageId::unique();
/// assert_eq!(MessageId::parse(&id.to_string()), id);
/// assert_eq!(MessageId::parse("order-7").to_string(), "order-7");
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(Inner);

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Inner {
    /// The random half, and the count. Two halves and not a `u128`, whose alignment would make each
    /// message larger.
    Unique(u64, u64),
    Text(Arc<str>),
}

const HEX: &[u8; 16] = b"0123456789abcdef";

impl MessageId {
    /// Makes a new identity. Its first 64 bits are random, and are generated once for each thread.
    /// The other 64 bits are a count.
    pub fn unique() -> Self {
        thread_local! {
            /// The random half, and the next count.
            static NEXT: Cell<(u64, u64)> = {
                let random = RandomState::new();
                Cell::new((random.hash_one(0_u8), random.hash_one(1_u8)))
            };
        }
        let (random, count) = NEXT
            .try_with(|next| {
                let (random, count) = next.get();
                next.set((random, count.wrapping_add(1)));
                (random, count)
            })
            // The thread is ending and its thread-local values have been dropped, so all 128 bits
            // are random.
            .unwrap_or_else(|_| {
                let random = RandomState::new();
                (random.hash_one(0_u8), random.hash_one(1_u8))
            });
        Self(Inner::Unique(random, count))
    }

    /// Whether it has the form of a [`unique`](Self::unique) one, 32 lower-case hexadecimal digits.
    /// A text of this form that a program chose also counts as one.
    pub fn is_generated(&self) -> bool {
        matches!(self.0, Inner::Unique(..))
    }

    /// The identity that prints as this text.
    pub fn parse(text: &str) -> Self {
        match halves(text.as_bytes()) {
            Some((high, low)) => Self(Inner::Unique(high, low)),
            None => Self(Inner::Text(Arc::from(text))),
        }
    }

    /// As [`parse`](Self::parse), for a text that arrived. `None` if it is not UTF-8.
    pub fn read(text: &[u8]) -> Option<Self> {
        match halves(text) {
            Some((high, low)) => Some(Self(Inner::Unique(high, low))),
            None => std::str::from_utf8(text).ok().map(Self::parse),
        }
    }
}

/// The value of a byte that is no lower-case hexadecimal digit.
const NO_DIGIT: u8 = 0x10;

/// The value of each lower-case hexadecimal digit.
static DIGITS: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut value = 0;
    while value < HEX.len() {
        values[HEX[value] as usize] = value as u8;
        value += 1;
    }
    values
};

/// The two halves that `Display` writes as these digits.
fn halves(digits: &[u8]) -> Option<(u64, u64)> {
    let digits: &[u8; 32] = digits.try_into().ok()?;
    // Each message that arrives is read here, so there is no branch for each digit.
    let mut seen = 0;
    let mut half = |digits: &[u8]| {
        digits.iter().fold(0_u64, |number, digit| {
            let value = DIGITS[usize::from(*digit)];
            seen |= value;
            number << 4 | u64::from(value)
        })
    };
    let (high, low) = digits.split_at(16);
    let halves = (half(high), half(low));
    (seen & NO_DIGIT == 0).then_some(halves)
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Inner::Unique(high, low) => {
                let number = u128::from(*high) << 64 | u128::from(*low);
                let mut digits = [0; 32];
                for (pair, byte) in digits.chunks_exact_mut(2).zip(number.to_be_bytes()) {
                    pair[0] = HEX[usize::from(byte >> 4)];
                    pair[1] = HEX[usize::from(byte & 15)];
                }
                f.write_str(std::str::from_utf8(&digits).expect("hexadecimal digits are ASCII"))
            }
            Inner::Text(text) => f.write_str(text),
        }
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageId({self})")
    }
}

impl From<&str> for MessageId {
    fn from(text: &str) -> Self {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::{Inner, MessageId};

    #[test]
    fn numbers_are_written_as_32_digits_and_read_back() {
        for number in [
            0,
            1,
            0xf0,
            u128::MAX,
            u128::MAX >> 4,
            1 << 64,
            (1 << 64) - 1,
        ] {
            let id = MessageId(Inner::Unique((number >> 64) as u64, number as u64));
            assert_eq!(id.to_string(), format!("{number:032x}"));
            assert_eq!(MessageId::parse(&id.to_string()), id);
            assert_eq!(MessageId::read(id.to_string().as_bytes()), Some(id.clone()));
            assert!(id.is_generated());
        }
    }

    #[test]
    fn other_texts_are_kept_as_they_are() {
        let digits = "0123456789abcdef";
        for text in [
            "",
            "0",
            &format!("{digits}{digits}0"),
            &format!("{digits}0123456789ABCDEF"),
            &format!("+{}", &digits.repeat(2)[1..]),
            &"\u{e9}".repeat(16),
        ] {
            let id = MessageId::parse(text);
            assert!(!id.is_generated(), "{text}");
            assert_eq!(id.to_string(), text);
            assert_eq!(MessageId::read(text.as_bytes()), Some(id));
        }
        assert_eq!(MessageId::read(&[0xff; 32]), None);
    }
}
