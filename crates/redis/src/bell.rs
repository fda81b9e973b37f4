//! Doorbells: one entry for each batch of a publisher, which lists the keys that the batch touched.
//!
//! A reader of many keys blocks on the 16 doorbells alone, and then reads the streams of the keys that were rung for. Each
//! entry has one field, `keys`, whose value is the escaped keys with a space between them, so that it can be read with
//! `redis-cli` and written from any language.

use std::collections::HashSet;

/// The field that lists the keys.
pub(crate) const FIELD: &[u8] = b"keys";

/// About how many entries a doorbell keeps. A reader that asks for [`READ`] entries and gets fewer has missed none: the
/// server trims a doorbell only when more than this many are there.
pub(crate) const KEPT: usize = 4096;

/// How many entries of a doorbell are read at a time.
pub(crate) const READ: usize = 1024;

/// The keys that one batch touched, each once.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    text: String,
}

impl Ring {
    /// Lists these escaped keys.
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

/// The escaped keys that an entry lists. What is not UTF-8 rings for nobody.
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
