//! Text that is never shown.

use std::fmt;

/// A password or a token, for the configuration of a driver. `Debug` does not show it.
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
    /// Makes a secret of this text.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The text itself. Use it only to send it to the server.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Returns `text` with the secret replaced, for texts from a server or a library. A secret of
    /// fewer than 6 characters is replaced only where it is not part of a longer word. Otherwise
    /// the text could become unreadable, and the places of the replacements would show the secret.
    ///
    /// ```
    /// use fanfeed_broker::driver::Secret;
    ///
    /// let secret = Secret::new("p");
    /// assert_eq!(secret.redact("sasl_plaintext: p, `p`"), "sasl_plaintext: <redacted>, `<redacted>`");
    /// ```
    pub fn redact(&self, text: &str) -> String {
        let secret = &*self.0;
        if secret.is_empty() {
            return text.to_owned();
        }
        if secret.chars().count() >= LONG {
            return text.replace(secret, REDACTED);
        }
        let mut redacted = String::with_capacity(text.len());
        let mut done = 0;
        for (at, _) in text.match_indices(secret) {
            let end = at + secret.len();
            if goes_on(&text[..at], &text[at..]) || goes_on(&text[..end], &text[end..]) {
                continue;
            }
            redacted.push_str(&text[done..at]);
            redacted.push_str(REDACTED);
            done = end;
        }
        redacted.push_str(&text[done..]);
        redacted
    }
}

const REDACTED: &str = "<redacted>";

/// A secret of at least this many characters is also replaced inside words.
const LONG: usize = 6;

/// Whether a word continues from the first text to the second.
fn goes_on(before: &str, after: &str) -> bool {
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    is_word(before.chars().next_back()) && is_word(after.chars().next())
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}
