//! A message.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::body::{self, Body, BodyError};
use super::error_message::ErrorMessage;
use super::headers::Headers;
use super::id::unique_id;
use super::text::push_string;
use super::time::Timestamp;

/// A message: a key that says what it is, a body, and for whom and from whom it is.
///
/// The key is the `type` of the JSON; listeners and handlers are chosen by it. The body is JSON,
/// which is passed on as it came: numbers keep their spelling, and objects their duplicate keys.
///
/// ```
/// use fanfeed_sockets::Message;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Chat { text: String }
///
/// let mut message = Message::new("chat", "", "room1").with_body(&Chat { text: "hello".into() })?;
/// message.set_correlation_id("question-7");
/// let chat: Chat = message.bind()?;
/// assert_eq!(chat.text, "hello");
///
/// let answer = message.new_from("chat.answer");
/// assert_eq!(answer.correlation_id(), "question-7");
/// # Ok::<(), fanfeed_sockets::BodyError>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Message {
    pub(super) correlation_id: String,
    pub(super) app_id: String,
    pub(super) client_id: String,
    pub(super) user_id: String,
    pub(super) expiration: Option<Timestamp>,
    pub(super) body: Option<Body>,
    pub(super) id: String,
    pub(super) channel_id: String,
    pub(super) timestamp: Timestamp,
    pub(super) key: String,
    /// `None` is `null` on the wire, which is not the same as no headers.
    pub(super) headers: Option<Headers>,
}

/// What [`Message::headers`] shows where there are none.
static NO_HEADERS: Headers = Headers::new();

impl Message {
    /// A message with an identity of its own and the time of now, without a body.
    pub fn new(
        key: impl Into<String>,
        client_id: impl Into<String>,
        channel_id: impl Into<String>,
    ) -> Self {
        Self {
            client_id: client_id.into(),
            id: unique_id(),
            channel_id: channel_id.into(),
            timestamp: Timestamp::now(),
            key: key.into(),
            headers: Some(Headers::new()),
            ..Self::default()
        }
    }

    /// A message that answers this one: with its client, channel, user, app, expiration and
    /// correlation id; without its body and its headers.
    pub fn new_from(&self, key: impl Into<String>) -> Self {
        Self {
            correlation_id: self.correlation_id.clone(),
            app_id: self.app_id.clone(),
            user_id: self.user_id.clone(),
            expiration: self.expiration,
            ..Self::new(key, self.client_id.as_str(), self.channel_id.as_str())
        }
    }

    /// What a handler returns that has no answer: `Ok(None)`.
    ///
    /// # Errors
    /// None.
    pub fn no_content<E>(&self) -> Result<Option<Message>, E> {
        Ok(None)
    }

    /// The error message that says that this message failed.
    ///
    /// `detail` is its body: an [`ErrorDetail`](crate::ErrorDetail), any other value, or `&()` for
    /// none.
    ///
    /// # Errors
    /// If the detail cannot be written as JSON.
    pub fn to_error(&self, detail: &(impl Serialize + ?Sized)) -> Result<ErrorMessage, BodyError> {
        Ok(ErrorMessage {
            correlation_id: self.correlation_id.clone(),
            app_id: self.app_id.clone(),
            user_id: self.user_id.clone(),
            origin_key: self.key.clone(),
            origin_body: self.body.clone(),
            error_body: Body::of(detail)?,
            channel_id: self.channel_id.clone(),
            client_id: self.client_id.clone(),
            headers: self.headers.clone(),
        })
    }

    /// Reads the body as a value. A message without a body is read as `null`, which is a value for
    /// `Option<T>` and for `()`.
    ///
    /// # Errors
    /// If the body is not the JSON of such a value.
    pub fn bind<'a, T: Deserialize<'a>>(&'a self) -> Result<T, BodyError> {
        body::bind(self.body.as_ref())
    }

    /// The same message with this value as its body. A value that is `null` in JSON takes the body
    /// away.
    ///
    /// # Errors
    /// If the value cannot be written as JSON.
    pub fn with_body(mut self, value: &(impl Serialize + ?Sized)) -> Result<Self, BodyError> {
        self.set_body(value)?;
        Ok(self)
    }

    /// Sets the body to this value. A value that is `null` in JSON takes the body away.
    ///
    /// # Errors
    /// If the value cannot be written as JSON; the body stays as it was.
    pub fn set_body(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), BodyError> {
        self.body = Body::of(value)?;
        Ok(())
    }

    /// Sets the body to this JSON text.
    ///
    /// # Errors
    /// If the text is not one JSON value; the body stays as it was.
    pub fn set_raw_body(&mut self, json: &str) -> Result<(), BodyError> {
        self.body = Body::of_json(json)?;
        Ok(())
    }

    /// Gives this message the body of another, without reading it.
    pub fn copy_body(&mut self, other: &Message) {
        self.body.clone_from(&other.body);
    }

    /// Moves the body of another message into this one, without reading it.
    pub fn take_body(&mut self, other: &mut Message) {
        self.body = other.body.take();
    }

    /// The body as JSON text: as the peer spelled it, or `null` without one.
    pub fn raw_body(&self) -> &str {
        body::json_of(self.body.as_ref())
    }

    /// Whether there is a body.
    pub fn has_body(&self) -> bool {
        self.body.is_some()
    }

    /// The identity of this message.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What the message is: its `type` on the wire.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// When the message was made.
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// The channel that it belongs to.
    pub fn channel_id(&self) -> &str {
        &self.channel_id
    }

    /// Sets the channel.
    pub fn set_channel_id(&mut self, id: impl Into<String>) {
        self.channel_id = id.into();
    }

    /// The member that sent it, or to which it goes.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Sets the member.
    pub fn set_client_id(&mut self, id: impl Into<String>) {
        self.client_id = id.into();
    }

    /// What a question and its answers have in common.
    pub fn correlation_id(&self) -> &str {
        &self.correlation_id
    }

    /// Sets the correlation id.
    pub fn set_correlation_id(&mut self, id: impl Into<String>) {
        self.correlation_id = id.into();
    }

    /// The user for whom it was sent.
    pub fn user_id(&self) -> &str {
        &self.user_id
    }

    /// Sets the user.
    pub fn set_user_id(&mut self, id: impl Into<String>) {
        self.user_id = id.into();
    }

    /// The application that sent it.
    pub fn app_id(&self) -> &str {
        &self.app_id
    }

    /// Sets the application.
    pub fn set_app_id(&mut self, id: impl Into<String>) {
        self.app_id = id.into();
    }

    /// When it expires. A message that has expired is not handled.
    pub fn expiration(&self) -> Option<Timestamp> {
        self.expiration
    }

    /// Sets when it expires.
    pub fn set_expiration(&mut self, expiration: Option<Timestamp>) {
        self.expiration = expiration;
    }

    /// Whether it has expired at this time.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expiration.is_some_and(|expiration| expiration <= now)
    }

    /// The headers.
    pub fn headers(&self) -> &Headers {
        self.headers.as_ref().unwrap_or(&NO_HEADERS)
    }

    /// The headers, to be changed.
    pub fn headers_mut(&mut self) -> &mut Headers {
        self.headers.get_or_insert_default()
    }

    /// Sets all headers. `None` is written as `null`.
    pub fn set_headers(&mut self, headers: Option<Headers>) {
        self.headers = headers;
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().get(name)
    }

    /// Sets a header to one value.
    pub fn set_header(&mut self, name: &str, value: impl Into<String>) {
        self.headers_mut().set(name, value);
    }

    /// About how long [`encode`](Self::encode) makes it.
    pub(crate) fn encoded_size(&self) -> usize {
        const KEYS: usize = 256;
        let texts = [
            &self.correlation_id,
            &self.app_id,
            &self.client_id,
            &self.user_id,
            &self.id,
            &self.channel_id,
            &self.key,
        ];
        let texts: usize = texts.into_iter().map(String::len).sum();
        let headers = self.headers().length();
        KEYS + texts + self.raw_body().len() + headers
    }

    /// The message as it goes on the wire: a JSON object and a newline.
    ///
    /// The WebSocket libraries turn a `String` into the payload of a text frame without copying it.
    pub fn encode(&self) -> String {
        let mut out = String::with_capacity(self.encoded_size());
        out.push_str("{\"correlationId\":");
        push_string(&mut out, &self.correlation_id);
        out.push_str(",\"appId\":");
        push_string(&mut out, &self.app_id);
        out.push_str(",\"clientID\":");
        push_string(&mut out, &self.client_id);
        out.push_str(",\"userId\":");
        push_string(&mut out, &self.user_id);
        out.push_str(",\"expiration\":");
        match self.expiration {
            Some(expiration) => push_time(&mut out, expiration),
            None => out.push_str("null"),
        }
        out.push_str(",\"body\":");
        body::push(self.body.as_ref(), &mut out);
        out.push_str(",\"messageId\":");
        push_string(&mut out, &self.id);
        out.push_str(",\"channelId\":");
        push_string(&mut out, &self.channel_id);
        out.push_str(",\"timestamp\":");
        push_time(&mut out, self.timestamp);
        out.push_str(",\"type\":");
        push_string(&mut out, &self.key);
        out.push_str(",\"headers\":");
        push_headers(&mut out, self.headers.as_ref());
        out.push_str("}\n");
        out
    }
}

fn push_time(out: &mut String, time: Timestamp) {
    out.push('"');
    time.push(out);
    out.push('"');
}

pub(super) fn push_headers(out: &mut String, headers: Option<&Headers>) {
    match headers {
        Some(headers) => headers.push(out),
        None => out.push_str("null"),
    }
}

/// A body may be long and is what is confidential, so `Debug` shows only its size.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("key", &self.key)
            .field("id", &self.id)
            .field("channel_id", &self.channel_id)
            .field("client_id", &self.client_id)
            .field("correlation_id", &self.correlation_id)
            .field("user_id", &self.user_id)
            .field("app_id", &self.app_id)
            .field("timestamp", &self.timestamp)
            .field("expiration", &self.expiration)
            .field("headers", &self.headers)
            .field("body_bytes", &self.raw_body().len())
            .finish()
    }
}
