//! Keys, under which messages are published and subscribed to.

use std::fmt;
use std::sync::Arc;

use crate::error::BadKey;

/// The key of a message and of subscriptions to it, such as `chat.42`.
///
/// # Grammar
///
/// One grammar holds for all drivers. A key has from 1 to 255 bytes of UTF-8 and no control
/// characters. `*` and `>` are reserved for patterns and refused. Everything else is an ordinary
/// character; a period has a meaning only for the [`namespace`]. A driver escapes what its server
/// does not allow, such that two keys never share a name there
/// ([`driver::Escape`](crate::driver::Escape)). Names of groups follow the same grammar.
///
/// A `Key` is checked when it is made. An invalid key is kept, so that building a message needs no
/// `Result` at every step. The method that receives the key refuses it with [`BadKey`].
/// [`Key::checked`] refuses it at once.
///
/// ```
/// use fanfeed_broker::Key;
///
/// assert!(Key::checked("chat.42").is_ok());
/// assert_eq!(
///     Key::checked("chat.*").unwrap_err().to_string(),
///     "the key \"chat.*\" has the character '*' at byte 5, which is reserved for patterns: leave it out or replace it",
/// );
/// ```
#[derive(Clone)]
pub struct Key {
    text: Arc<str>,
    fault: Option<Fault>,
}

/// The fault of a key. Small, because each message has a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Empty,
    TooLong { bytes: u32 },
    Reserved { character: char, at: u8 },
    Control { character: char, at: u8 },
}

/// The longest key, in bytes.
pub(crate) const LONGEST: usize = 255;

impl Key {
    /// Makes a key, valid or not.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        let text = text.into();
        let fault = fault(&text);
        Self { text, fault }
    }

    /// Makes a key, if it is valid.
    ///
    /// # Errors
    ///
    /// [`BadKey`], which says what is wrong with it.
    pub fn checked(text: impl Into<Arc<str>>) -> Result<Self, BadKey> {
        let key = Self::new(text);
        key.check()?;
        Ok(key)
    }

    /// Checks the key.
    ///
    /// # Errors
    ///
    /// [`BadKey`], which says what is wrong with it.
    #[inline]
    pub fn check(&self) -> Result<(), BadKey> {
        match self.fault {
            None => Ok(()),
            Some(fault) => Err(BadKey::new("key", &self.text, fault)),
        }
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// Returns the part before the first period: see [`namespace`].
    pub fn namespace(&self) -> &str {
        namespace(&self.text)
    }
}

/// Returns the part of a key before its first period, or `""` if there is no period.
///
/// ```
/// use fanfeed_broker::namespace;
///
/// for key in ["", "Foo", ".Foo", "..Foo"] {
///     assert_eq!(namespace(key), "");
/// }
/// for key in ["Foo.", "Foo..", "Foo.Bar.Baz"] {
///     assert_eq!(namespace(key), "Foo");
/// }
/// ```
pub fn namespace(key: &str) -> &str {
    key.split_once('.').map_or("", |(namespace, _)| namespace)
}

/// Checks the name of a group, which follows the grammar of keys.
pub(crate) fn check_group(name: &str) -> Result<(), BadKey> {
    match fault(name) {
        None => Ok(()),
        Some(fault) => Err(BadKey::new("group", name, fault)),
    }
}

fn fault(text: &str) -> Option<Fault> {
    if text.is_empty() {
        return Some(Fault::Empty);
    }
    if text.len() > LONGEST {
        let bytes = u32::try_from(text.len()).unwrap_or(u32::MAX);
        return Some(Fault::TooLong { bytes });
    }
    text.char_indices().find_map(|(at, character)| {
        // A text of up to `LONGEST` bytes.
        let at = u8::try_from(at).unwrap_or(u8::MAX);
        if matches!(character, '*' | '>') {
            Some(Fault::Reserved { character, at })
        } else if character.is_control() {
            Some(Fault::Control { character, at })
        } else {
            None
        }
    })
}

impl<T: Into<Arc<str>>> From<T> for Key {
    fn from(text: T) -> Self {
        Self::new(text)
    }
}

impl From<&Key> for Key {
    fn from(key: &Key) -> Self {
        key.clone()
    }
}

impl AsRef<str> for Key {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Key {}

impl PartialEq<str> for Key {
    fn eq(&self, other: &str) -> bool {
        &*self.text == other
    }
}

impl PartialEq<&str> for Key {
    fn eq(&self, other: &&str) -> bool {
        &*self.text == *other
    }
}

impl std::hash::Hash for Key {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?})", self.text)
    }
}
