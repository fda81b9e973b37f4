//! The identity of a message.

use std::cell::Cell;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

/// The identity of a message: 128 bits that no other message has, or the text that another program gave it.
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
    Unique(u128),
    Text(Arc<str>),
}

impl MessageId {
    /// A new identity. Its first 64 bits are random, drawn once for each thread; the others are a count.
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
            // The thread is ending and its locals are gone: draw all 128 bits.
            .unwrap_or_else(|_| {
                let random = RandomState::new();
                (random.hash_one(0_u8), random.hash_one(1_u8))
            });
        Self(Inner::Unique(
            (u128::from(random) << 64) | u128::from(count),
        ))
    }

    /// The identity that prints as this text.
    pub fn parse(text: &str) -> Self {
        let canonical = text.len() == 32
            && text
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        match u128::from_str_radix(text, 16) {
            Ok(number) if canonical => Self(Inner::Unique(number)),
            _ => Self(Inner::Text(Arc::from(text))),
        }
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Inner::Unique(number) => write!(f, "{number:032x}"),
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
