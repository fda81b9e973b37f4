//! Messages.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use crate::headers::Headers;
use crate::id::MessageId;
use crate::key::Key;

/// A message: a payload under a key, with a name, headers, an identity and a time.
///
/// A message is a cheap handle: a clone shares the content. The builder methods change the content,
/// and copy it first if it is shared.
///
/// ```
/// use fanfeed_broker::Message;
///
/// let message = Message::new("chat.42", "hello")
///     .name("MessagePosted")
///     .header("lang", "en");
/// assert_eq!(message.key(), &"chat.42");
/// assert_eq!(message.event_name(), Some("MessagePosted"));
/// assert_eq!(message.payload(), &b"hello"[..]);
/// ```
#[derive(Clone)]
pub struct Message {
    content: Arc<Content>,
}

/// Small, because allocators are fastest up to some hundred bytes, and each message that arrives
/// allocates one of these.
#[derive(Clone)]
struct Content {
    id: MessageId,
    key: Key,
    timestamp: SystemTime,
    payload: Bytes,
    /// The fields that most messages do not have.
    more: Option<Box<More>>,
}

#[derive(Clone, Default)]
struct More {
    name: Option<Arc<str>>,
    headers: Headers,
}

/// The headers of a message that has none.
static NO_HEADERS: Headers = Headers::new();

impl Message {
    /// Makes a message with a new identity and the current time. An invalid key is refused when the
    /// message is published.
    pub fn new(key: impl Into<Key>, payload: impl Into<Bytes>) -> Self {
        Self {
            content: Arc::new(Content {
                id: MessageId::unique(),
                key: key.into(),
                timestamp: SystemTime::now(),
                payload: payload.into(),
                more: None,
            }),
        }
    }

    /// Makes a message that came from a server, with its identity and its time. For drivers.
    pub fn received(
        key: impl Into<Key>,
        id: MessageId,
        timestamp: SystemTime,
        payload: impl Into<Bytes>,
    ) -> Self {
        Self {
            content: Arc::new(Content {
                id,
                key: key.into(),
                timestamp,
                payload: payload.into(),
                more: None,
            }),
        }
    }

    fn edit(&mut self) -> &mut Content {
        Arc::make_mut(&mut self.content)
    }

    fn edit_more(&mut self) -> &mut More {
        self.edit().more.get_or_insert_default()
    }

    /// Sets the name, which says what kind of event this is.
    #[must_use]
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.edit_more().name = Some(name.into());
        self
    }

    /// Sets a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<Arc<str>>, value: impl Into<Arc<str>>) -> Self {
        self.edit_more().headers.insert(name, value);
        self
    }

    /// Sets all headers.
    #[must_use]
    pub fn with_headers(mut self, headers: Headers) -> Self {
        self.edit_more().headers = headers;
        self
    }

    /// Sets the identity, for a message that comes from another system or is published again.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<MessageId>) -> Self {
        self.edit().id = id.into();
        self
    }

    /// Sets the time.
    #[must_use]
    pub fn with_timestamp(mut self, timestamp: SystemTime) -> Self {
        self.edit().timestamp = timestamp;
        self
    }

    /// Sets the key, for a message that is passed on under another key.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<Key>) -> Self {
        self.edit().key = key.into();
        self
    }

    /// The identity.
    pub fn id(&self) -> &MessageId {
        &self.content.id
    }

    /// The key under which it is published.
    pub fn key(&self) -> &Key {
        &self.content.key
    }

    /// The key's text. This is the name by which users of a `Broadcaster` know it.
    pub fn channel(&self) -> &str {
        self.content.key.as_str()
    }

    /// The name, which says what kind of event this is, if it has one.
    pub fn event_name(&self) -> Option<&str> {
        self.content.more.as_ref()?.name.as_deref()
    }

    /// When the message was made.
    pub fn timestamp(&self) -> SystemTime {
        self.content.timestamp
    }

    /// The headers.
    pub fn headers(&self) -> &Headers {
        let more = self.content.more.as_ref();
        more.map_or(&NO_HEADERS, |more| &more.headers)
    }

    /// The payload.
    pub fn payload(&self) -> &Bytes {
        &self.content.payload
    }

    /// The size that the limit of a broker applies to: key, name, headers and payload, in bytes.
    pub fn size(&self) -> usize {
        self.key().as_str().len()
            + self.event_name().map_or(0, str::len)
            + self.headers().bytes()
            + self.payload().len()
    }
}

/// A payload may contain secrets, so `Debug` shows only its length.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("id", self.id())
            .field("key", self.key())
            .field("name", &self.event_name())
            .field("headers", self.headers())
            .field("payload_bytes", &self.payload().len())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::Content;

    #[test]
    fn a_message_is_small_enough_to_be_freed_without_a_lock() {
        // glibc frees up to 120 bytes without the lock of the thread that allocated them. An `Arc`
        // adds two counts.
        assert!(size_of::<Content>() + 16 <= 120);
    }
}
