//! What a program says when it joins a channel.

use std::collections::BTreeMap;
use std::fmt;

use crate::wire::Headers;

/// The headers and the parameters of the upgrade. The client sends them again with each new
/// connection.
///
/// ```
/// use fanfeed_sockets::JoinOptions;
///
/// let options = JoinOptions::new().header("Authorization", "Bearer t0ken").param("since", "17");
/// assert!(!format!("{options:?}").contains("t0ken"));
/// ```
#[derive(Clone, Default)]
pub struct JoinOptions {
    pub(super) headers: Headers,
    pub(super) params: BTreeMap<String, String>,
}

impl JoinOptions {
    /// Neither headers nor parameters.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a header of the HTTP request. It is not a header of messages.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.add(name, value);
        self
    }

    /// Adds headers of the HTTP request.
    #[must_use]
    pub fn headers(mut self, headers: &Headers) -> Self {
        for (name, values) in headers.iter() {
            for value in values {
                self.headers.add(name, value.as_str());
            }
        }
        self
    }

    /// Sets a parameter of the URL's query.
    #[must_use]
    pub fn param(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.params.insert(name.into(), value.into());
        self
    }
}

/// Both may carry credentials, so `Debug` shows only their names.
impl fmt::Debug for JoinOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinOptions")
            .field("headers", &self.headers)
            .field("params", &self.params.keys().collect::<Vec<_>>())
            .finish()
    }
}
