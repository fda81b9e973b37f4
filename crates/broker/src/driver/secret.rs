//! Text that is never shown.

use std::fmt;

/// A password or a token, for the configuration of a driver. `Debug` shows only that there is one.
///
/// ```
/// use fanfeed_broker::driver::Secret;
///
/// let secret = Secret::new("hunter2");
/// assert_eq!(format!("{secret:?}"), "<redacted>");
/// assert_eq!(secret.redact("no user has the password hunter2"), "no user has the password <redacted>");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps this text.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The text itself, only to be sent to the server.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// `text` with the secret replaced, for texts from a server or a library.
    pub fn redact(&self, text: &str) -> String {
        if self.0.is_empty() {
            text.to_owned()
        } else {
            text.replace(&self.0, "<redacted>")
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}
