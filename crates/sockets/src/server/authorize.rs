//! The decision before the upgrade: whether a client may join.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

/// A client's request to join a channel, before its connection is a WebSocket.
///
/// `Debug` shows the path and the names of the headers, and neither their values nor the query:
/// credentials can be there.
pub struct JoinRequest {
    pub(super) channel: String,
    pub(super) address: Option<IpAddr>,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
}

impl JoinRequest {
    /// The channel.
    pub fn channel(&self) -> &str {
        &self.channel
    }

    /// The client's address: that of its TCP connection, or what a configured proxy forwarded.
    /// `None` if the server was not told.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// The HTTP headers, in which credentials can be.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The first value of an HTTP header, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The requested URI.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The first parameter of this name in the query of the URI, decoded.
    pub fn param(&self, name: &str) -> Option<String> {
        let query = self.uri.query()?;
        query.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key) == name).then(|| decode(value).into_owned())
        })
    }
}

impl fmt::Debug for JoinRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<_> = self.headers.keys().collect();
        f.debug_struct("JoinRequest")
            .field("channel", &self.channel)
            .field("address", &self.address)
            .field("path", &self.uri.path())
            .field("headers", &headers)
            .finish_non_exhaustive()
    }
}

/// Decodes `+` and `%xx`. What is not valid stays as it is.
fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains(['+', '%']) {
        return Cow::Borrowed(text);
    }
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
    let (bytes, mut out, mut at) = (text.as_bytes(), Vec::with_capacity(text.len()), 0);
    while at < bytes.len() {
        let (byte, width) = match bytes[at] {
            b'+' => (b' ', 1),
            b'%' => match (digit(bytes.get(at + 1)), digit(bytes.get(at + 2))) {
                (Some(high), Some(low)) => ((high * 16 + low) as u8, 3),
                _ => (b'%', 1),
            },
            byte => (byte, 1),
        };
        out.push(byte);
        at += width;
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

/// Why a client may not join: an HTTP status and a text, which the client gets.
///
/// ```
/// use axum::http::StatusCode;
/// use fanfeed_sockets::Refusal;
///
/// let refusal = Refusal::new(StatusCode::UNAUTHORIZED, "the token has expired");
/// assert_eq!(refusal.status(), 401);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    status: StatusCode,
    text: Cow<'static, str>,
}

impl Refusal {
    /// Refuses with this status and text. A status below 400 would not refuse, so it becomes 403.
    pub fn new(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Self {
        let is_error = status.is_client_error() || status.is_server_error();
        Self {
            status: if is_error {
                status
            } else {
                StatusCode::FORBIDDEN
            },
            text: text.into(),
        }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl From<StatusCode> for Refusal {
    fn from(status: StatusCode) -> Self {
        Self::new(status, status.canonical_reason().unwrap_or("refused"))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status, self.text)
    }
}

impl std::error::Error for Refusal {}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, self.text).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_credentials() {
        let mut headers = HeaderMap::new();
        for name in ["authorization", "cookie"] {
            headers.insert(name, "secret".parse().unwrap());
        }
        let request = JoinRequest {
            channel: "room".to_owned(),
            address: None,
            uri: "http://ada:secret@host/ws/room?token=secret"
                .parse()
                .unwrap(),
            headers,
        };
        let debug = format!("{request:?}");
        assert!(!debug.contains("secret"), "{debug}");
        for shown in ["room", "/ws/room", "authorization", "cookie"] {
            assert!(debug.contains(shown), "{debug}");
        }
    }

    #[test]
    fn parameters_are_decoded() {
        let request = JoinRequest {
            channel: String::new(),
            address: None,
            uri: "/room?a=1&a=2&b=x+y%20z&%63=%C3%A9&d&e=%zz%4"
                .parse()
                .unwrap(),
            headers: HeaderMap::new(),
        };
        for (name, value) in [
            ("a", Some("1")),
            ("b", Some("x y z")),
            ("c", Some("é")),
            ("d", Some("")),
            ("e", Some("%zz%4")),
            ("f", None),
        ] {
            assert_eq!(request.param(name).as_deref(), value, "{name}");
        }
    }
}
