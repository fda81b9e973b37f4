//! Doorbells: streams that wake readers. Each batch of a publisher appends one entry, which lists
//! the batch's keys.
//!
//! A reader of many keys blocks only on the 16 doorbells, and then reads the streams of the keys
//! that their entries list. Each entry has one field, `keys`, whose value is the escaped keys with
//! a space between them, so that it can be read with `redis-cli` and written from any language.

use std::collections::HashSet;

/// The field that lists the keys.
pub(crate) const FIELD: &[u8] = b"keys";

/// About how many entries a doorbell keeps. If a reader asks for [`READ`] entries and gets fewer,
/// it has missed none, because the server trims a doorbell only when it has more than this many.
pub(crate) const KEPT: usize = 4096;

/// How many entries of a doorbell are read at a time.
pub(crate) const READ: usize = 1024;

/// The keys of one batch, each once.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    text: String,
}

impl Ring {
    /// Makes a ring that lists these escaped keys.
    pub(crate) fn of<'a>(keys: impl Iterator<Item = &'a str>) -> Self {
        let mut seen = HashSet::new();
        let mut text = String::new();
        for key in keys {
            if seen.insert(key) {
                if !text.is_empty() {
                    text.push(' ');
                }
                text.push_str(key);
            }
        }
        Ring { text }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

/// Returns the escaped keys that an entry lists. A value that is not UTF-8 lists none.
pub(crate) fn rung(value: &[u8]) -> impl Iterator<Item = &str> {
    let text = std::str::from_utf8(value).unwrap_or_default();
    text.split(' ').filter(|key| !key.is_empty())
}

#[cfg(test)]
mod tests {
    use super::{Ring, rung};
    use crate::names::escape;
    use proptest::prelude::*;

    #[test]
    fn each_key_is_listed_once() {
        let ring = Ring::of(["a", "b", "a"].into_iter());
        assert_eq!(ring.as_bytes(), b"a b");
    }

    #[test]
    fn what_is_foreign_rings_for_nobody() {
        assert_eq!(rung(b"\xff\xfe a").count(), 0);
        assert_eq!(rung(b"").count(), 0);
        assert_eq!(rung(b"  a  b ").collect::<Vec<_>>(), ["a", "b"]);
    }

    proptest! {
        #[test]
        fn what_was_listed_is_rung(keys in proptest::collection::hash_set(".{1,9}", 0..9)) {
            let escaped: Vec<_> = keys.iter().map(|key| escape(key)).collect();
            let ring = Ring::of(escaped.iter().map(String::as_str));
            let read: Vec<_> = rung(ring.as_bytes()).map(str::to_owned).collect();
            prop_assert_eq!(read, escaped);
        }
    }
}
