//! What a server sends to the member whose message failed.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::body::{self, Body, BodyError};
use super::headers::Headers;
use super::known::MESSAGE_ERROR;
use super::message::push_headers;
use super::text::push_string;
#[cfg(feature = "client")]
use crate::observe::{LONGEST_TEXT, cut};

/// Says that a message failed, with the key and the body of that message.
///
/// It is made from the message, by [`Message::to_error`](crate::Message::to_error). Its `type` is
/// [`MESSAGE_ERROR`].
///
/// ```
/// use fanfeed_sockets::{ErrorDetail, Message};
///
/// let message = Message::new("chat", "member-1", "room1").with_body("hello")?;
/// let error = message.to_error(&ErrorDetail::new("Not now", "the room sleeps", "423"))?;
/// assert_eq!(error.origin_key(), "chat");
/// assert_eq!(error.bind_origin_body::<String>()?, "hello");
/// assert_eq!(error.bind::<ErrorDetail>()?.err_code, "423");
/// # Ok::<(), fanfeed_sockets::BodyError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ErrorMessage {
    pub(super) correlation_id: String,
    pub(super) app_id: String,
    pub(super) user_id: String,
    pub(super) origin_key: String,
    pub(super) origin_body: Option<Body>,
    pub(super) error_body: Option<Body>,
    pub(super) channel_id: String,
    pub(super) client_id: String,
    pub(super) headers: Option<Headers>,
}

impl ErrorMessage {
    /// Reads the detail of the error as a value: as [`ErrorDetail`], or as the type that the server
    /// uses.
    ///
    /// # Errors
    /// If the detail is not the JSON of such a value. An error without detail is read as `null`.
    pub fn bind<'a, T: Deserialize<'a>>(&'a self) -> Result<T, BodyError> {
        body::bind(self.error_body.as_ref())
    }

    /// Reads the body of the message that failed.
    ///
    /// # Errors
    /// If the body is not the JSON of such a value. A message without a body is read as `null`.
    pub fn bind_origin_body<'a, T: Deserialize<'a>>(&'a self) -> Result<T, BodyError> {
        body::bind(self.origin_body.as_ref())
    }

    /// The detail as JSON text.
    pub fn raw_body(&self) -> &str {
        body::json_of(self.error_body.as_ref())
    }

    /// The body of the message that failed, as JSON text.
    pub fn raw_origin_body(&self) -> &str {
        body::json_of(self.origin_body.as_ref())
    }

    /// Takes the body of the message that failed away, so that the error is not larger than the
    /// peer's limit.
    pub fn clear_origin_body(&mut self) {
        self.origin_body = None;
    }

    /// The key of the message that failed.
    pub fn origin_key(&self) -> &str {
        &self.origin_key
    }

    /// The correlation id of the message that failed.
    pub fn correlation_id(&self) -> &str {
        &self.correlation_id
    }

    /// The application that sent it.
    pub fn app_id(&self) -> &str {
        &self.app_id
    }

    /// The user for whom it was sent.
    pub fn user_id(&self) -> &str {
        &self.user_id
    }

    /// The channel on which it was sent.
    pub fn channel_id(&self) -> &str {
        &self.channel_id
    }

    /// The member that sent it.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// The headers of the message that failed.
    pub fn headers(&self) -> Option<&Headers> {
        self.headers.as_ref()
    }

    /// Writes in where the error comes from, over what its sender claims.
    #[cfg(feature = "server")]
    pub(crate) fn stamp(&mut self, client_id: &str, channel_id: &str, user_id: &str, app_id: &str) {
        for (field, value) in [
            (&mut self.client_id, client_id),
            (&mut self.channel_id, channel_id),
            (&mut self.user_id, user_id),
            (&mut self.app_id, app_id),
        ] {
            if *field != value {
                value.clone_into(field);
            }
        }
    }

    /// What an event shows of an error message that a peer sent: no bodies and headers, and the
    /// beginnings of the texts.
    #[cfg(feature = "client")]
    pub(crate) fn shown(mut self) -> Self {
        self.origin_body = None;
        self.error_body = None;
        self.headers = None;
        for text in [
            &mut self.correlation_id,
            &mut self.app_id,
            &mut self.user_id,
            &mut self.origin_key,
            &mut self.channel_id,
            &mut self.client_id,
        ] {
            text.truncate(cut(text, LONGEST_TEXT).len());
            text.shrink_to_fit();
        }
        self
    }

    /// The error message as it goes on the wire: a JSON object and a newline.
    pub fn encode(&self) -> String {
        const KEYS: usize = 256;
        let bodies = self.raw_body().len() + self.raw_origin_body().len();
        let headers = self.headers.as_ref().map_or(0, Headers::length);
        let mut out = String::with_capacity(KEYS + bodies + headers);
        out.push_str("{\"correlationId\":");
        push_string(&mut out, &self.correlation_id);
        out.push_str(",\"appId\":");
        push_string(&mut out, &self.app_id);
        out.push_str(",\"userId\":");
        push_string(&mut out, &self.user_id);
        out.push_str(",\"type\":");
        push_string(&mut out, MESSAGE_ERROR);
        out.push_str(",\"originType\":");
        push_string(&mut out, &self.origin_key);
        out.push_str(",\"originBody\":");
        body::push(self.origin_body.as_ref(), &mut out);
        out.push_str(",\"errorBody\":");
        body::push(self.error_body.as_ref(), &mut out);
        out.push_str(",\"channelId\":");
        push_string(&mut out, &self.channel_id);
        out.push_str(",\"clientId\":");
        push_string(&mut out, &self.client_id);
        out.push_str(",\"headers\":");
        push_headers(&mut out, self.headers.as_ref());
        out.push_str("}\n");
        out
    }
}

/// As for messages, `Debug` shows only the sizes of the bodies.
impl fmt::Debug for ErrorMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErrorMessage")
            .field("origin_key", &self.origin_key)
            .field("channel_id", &self.channel_id)
            .field("client_id", &self.client_id)
            .field("correlation_id", &self.correlation_id)
            .field("user_id", &self.user_id)
            .field("app_id", &self.app_id)
            .field("headers", &self.headers)
            .field("body_bytes", &self.raw_body().len())
            .field("origin_body_bytes", &self.raw_origin_body().len())
            .finish()
    }
}

/// The usual detail of an error. On the wire its keys begin with upper-case letters; they are read
/// in any case.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ErrorDetail {
    /// What went wrong, in a few words.
    pub title: String,
    /// What went wrong, in a sentence.
    pub description: String,
    /// A code that programs understand.
    pub err_code: String,
}

/// Missing keys, and null, give empty texts.
impl<'de> Deserialize<'de> for ErrorDetail {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut detail = Self::default();
        let fields = Option::<Map<String, Value>>::deserialize(deserializer)?;
        for (key, value) in fields.unwrap_or_default() {
            let field = match key.to_ascii_lowercase().as_str() {
                "title" => &mut detail.title,
                "description" => &mut detail.description,
                "errcode" => &mut detail.err_code,
                _ => continue,
            };
            *field = match value {
                Value::String(text) => text,
                Value::Null => String::new(),
                _ => return Err(D::Error::custom(format_args!("`{key}` has to be a string"))),
            };
        }
        Ok(detail)
    }
}

impl ErrorDetail {
    /// A detail with these texts.
    pub fn new(
        title: impl Into<String>,
        description: impl Into<String>,
        err_code: impl Into<String>,
    ) -> Self {
        Self {
            title: title.into(),
            description: description.into(),
            err_code: err_code.into(),
        }
    }
}
