//! Data that arrived and is not a message.

use std::fmt;
use std::sync::Arc;

/// The size and the beginning of data that arrived and could not be read. `Debug` shows only the
/// size, because the data may contain secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Arrived {
    size: usize,
    beginning: Arc<str>,
}

impl Arrived {
    /// The longest beginning that is kept, in bytes.
    pub const BEGINNING: usize = 256;

    /// Records the size and the beginning of these bytes.
    pub fn new(bytes: &[u8]) -> Self {
        let beginning = &bytes[..bytes.len().min(Self::BEGINNING)];
        let mut text = String::from_utf8_lossy(beginning).into_owned();
        while text.len() > Self::BEGINNING {
            text.pop();
        }
        Self {
            size: bytes.len(),
            beginning: text.into(),
        }
    }

    /// Its size in bytes. 0 if nothing arrived, or the driver did not get the bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Its first bytes, at most [`BEGINNING`](Self::BEGINNING). Invalid UTF-8 is replaced.
    pub fn beginning(&self) -> &str {
        &self.beginning
    }
}

impl fmt::Debug for Arrived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrived")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}
