//! The headers of a message.

use std::fmt;
use std::sync::Arc;

/// Named values besides the payload, in the order in which they were added.
///
/// Names are compared byte by byte. A name has one value: setting it again replaces the value. A
/// driver that carries a message to a server carries its headers too.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers {
    entries: Vec<(Arc<str>, Arc<str>)>,
}

impl Headers {
    /// No headers.
    pub const fn new() -> Self {
        Self {
            entries: Vec::new(),
        }
    }

    /// Sets a header, and returns the value that it replaced.
    pub fn insert(
        &mut self,
        name: impl Into<Arc<str>>,
        value: impl Into<Arc<str>>,
    ) -> Option<Arc<str>> {
        let (name, value) = (name.into(), value.into());
        match self.entries.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => Some(std::mem::replace(old, value)),
            None => {
                self.entries.push((name, value));
                None
            }
        }
    }

    /// Removes a header, and returns its value.
    pub fn remove(&mut self, name: &str) -> Option<Arc<str>> {
        let at = self
            .entries
            .iter()
            .position(|(known, _)| &**known == name)?;
        Some(self.entries.remove(at).1)
    }

    /// The value of a header.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.entries
            .iter()
            .find(|(known, _)| &**known == name)
            .map(|(_, value)| &**value)
    }

    /// The value of a header, to be shared.
    #[cfg(feature = "tracing")]
    pub(crate) fn shared(&self, name: &str) -> Option<&Arc<str>> {
        let mut each = self.entries.iter();
        let found = each.find(|(known, _)| &**known == name);
        found.map(|(_, value)| value)
    }

    /// All headers, in the order in which they were added.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.entries.iter().map(|(name, value)| (&**name, &**value))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The bytes of all names and values.
    pub fn bytes(&self) -> usize {
        self.iter()
            .map(|(name, value)| name.len() + value.len())
            .sum()
    }
}

/// Headers may carry credentials, so `Debug` shows only their names.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.iter().map(|(name, _)| name))
            .finish()
    }
}
