//! Strings of JSON as Go reads them.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Visitor};

/// A string in which escapes of lone surrogates, such as `\ud800`, have become U+FFFD. JavaScript
/// writes them, and no Rust text can have them.
#[derive(Default)]
pub(super) struct Lossy<'a>(pub(super) Text<'a>);

/// A text, borrowed where it has no escapes.
pub(super) enum Text<'a> {
    Borrowed(&'a str),
    Owned(String),
}

impl Default for Text<'_> {
    fn default() -> Self {
        Self::Borrowed("")
    }
}

impl Lossy<'_> {
    pub(super) fn as_str(&self) -> &str {
        match &self.0 {
            Text::Borrowed(text) => text,
            Text::Owned(text) => text,
        }
    }

    pub(super) fn into_string(self) -> String {
        match self.0 {
            Text::Borrowed(text) => text.to_owned(),
            Text::Owned(text) => text,
        }
    }
}

impl<'de> Deserialize<'de> for Lossy<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;

        impl<'de> Visitor<'de> for Bytes {
            type Value = Lossy<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Lossy<'de>, E> {
                let borrowed = std::str::from_utf8(bytes).ok().map(Text::Borrowed);
                Ok(Lossy(
                    borrowed.unwrap_or_else(|| Text::Owned(replaced(bytes))),
                ))
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Lossy<'de>, E> {
                let text = std::str::from_utf8(bytes).map(str::to_owned);
                Ok(Lossy(Text::Owned(text.unwrap_or_else(|_| replaced(bytes)))))
            }
        }

        // As bytes, `serde_json` gives a lone surrogate in three bytes that are like UTF-8.
        deserializer.deserialize_bytes(Bytes)
    }
}

/// The text with one U+FFFD for each lone surrogate.
fn replaced(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        // A surrogate begins with this byte, and each of the two after it is an invalid chunk of
        // its own.
        if chunk.invalid().first() == Some(&0xED) {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    text
}
