//! Reads what a peer sent.

use std::error::Error;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::body::Body;
use super::error_message::ErrorMessage;
use super::headers::Headers;
use super::known::MESSAGE_ERROR;
use super::lossy::Lossy;
use super::message::Message;
use super::time::Timestamp;

/// What a peer sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// A message of any type other than `error`.
    Message(Message),
    /// A message of the type `error`.
    Error(ErrorMessage),
}

/// Reads one message, which is all that the bytes have, but for whitespace.
///
/// Keys are read in any case, and the last of several counts. Unknown keys are skipped; a key that
/// is missing or `null` has the empty value.
///
/// # Errors
/// If the bytes are not a JSON object, or a field of it has the wrong type.
pub fn decode(bytes: &[u8]) -> Result<Incoming, DecodeError> {
    read(bytes, true)
}

/// Reads the message that the bytes begin with, and skips the rest.
///
/// # Errors
/// If the bytes do not begin with a JSON object, or a field of it has the wrong type.
pub fn decode_first(bytes: &[u8]) -> Result<Incoming, DecodeError> {
    read(bytes, false)
}

fn read(bytes: &[u8], whole: bool) -> Result<Incoming, DecodeError> {
    let text = std::str::from_utf8(bytes).map_err(|error| DecodeError::NotText {
        at: error.valid_up_to(),
    })?;
    if let Some(kind) = kind_of_other(text) {
        return Err(DecodeError::NotAnObject { found: kind });
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let fields = Fields::deserialize(&mut deserializer)?;
    if whole {
        deserializer.end()?;
    }
    fields.build()
}

/// What the text begins with, unless that is an object or no JSON at all.
fn kind_of_other(text: &str) -> Option<&'static str> {
    let text = text.trim_start_matches([' ', '\t', '\n', '\r']);
    match text.as_bytes().first() {
        None => Some("nothing"),
        Some(b'{') => None,
        Some(_) => kind(text),
    }
}

/// The kind of a JSON value by its first character.
fn kind(json: &str) -> Option<&'static str> {
    match json.as_bytes().first()? {
        b'{' => Some("an object"),
        b'[' => Some("an array"),
        b'"' => Some("a string"),
        b't' | b'f' => Some("a boolean"),
        b'n' => Some("null"),
        b'-' | b'0'..=b'9' => Some("a number"),
        _ => None,
    }
}

/// The values of the known keys. What they mean depends on the type, which may come last.
#[derive(Default)]
struct Fields<'a> {
    correlation_id: Option<&'a RawValue>,
    app_id: Option<&'a RawValue>,
    client_id: Option<&'a RawValue>,
    user_id: Option<&'a RawValue>,
    expiration: Option<&'a RawValue>,
    body: Option<&'a RawValue>,
    message_id: Option<&'a RawValue>,
    channel_id: Option<&'a RawValue>,
    timestamp: Option<&'a RawValue>,
    key: Option<&'a RawValue>,
    headers: Option<&'a RawValue>,
    origin_key: Option<&'a RawValue>,
    origin_body: Option<&'a RawValue>,
    error_body: Option<&'a RawValue>,
}

impl<'a> Fields<'a> {
    fn by_key(&mut self, key: &str) -> Option<&mut Option<&'a RawValue>> {
        // By their length first: no two keys are compared where one will do.
        let same = |known: &str| key.eq_ignore_ascii_case(known);
        Some(match key.len() {
            4 if same("body") => &mut self.body,
            4 if same("type") => &mut self.key,
            5 if same("appId") => &mut self.app_id,
            6 if same("userId") => &mut self.user_id,
            7 if same("headers") => &mut self.headers,
            8 if same("clientId") => &mut self.client_id,
            9 if same("messageId") => &mut self.message_id,
            9 if same("channelId") => &mut self.channel_id,
            9 if same("timestamp") => &mut self.timestamp,
            9 if same("errorBody") => &mut self.error_body,
            10 if same("expiration") => &mut self.expiration,
            10 if same("originType") => &mut self.origin_key,
            10 if same("originBody") => &mut self.origin_body,
            13 if same("correlationId") => &mut self.correlation_id,
            _ => return None,
        })
    }

    fn build(self) -> Result<Incoming, DecodeError> {
        let key = string("type", self.key)?;
        let correlation_id = string("correlationId", self.correlation_id)?;
        let app_id = string("appId", self.app_id)?;
        let client_id = string("clientId", self.client_id)?;
        let user_id = string("userId", self.user_id)?;
        let channel_id = string("channelId", self.channel_id)?;
        let headers = headers(self.headers)?;
        if key == MESSAGE_ERROR {
            return Ok(Incoming::Error(ErrorMessage {
                correlation_id,
                app_id,
                user_id,
                origin_key: string("originType", self.origin_key)?,
                origin_body: self.origin_body.and_then(Body::of_raw),
                error_body: self.error_body.and_then(Body::of_raw),
                channel_id,
                client_id,
                headers,
            }));
        }
        Ok(Incoming::Message(Message {
            correlation_id,
            app_id,
            client_id,
            user_id,
            expiration: time("expiration", self.expiration)?,
            body: self.body.and_then(Body::of_raw),
            id: string("messageId", self.message_id)?,
            channel_id,
            timestamp: time("timestamp", self.timestamp)?.unwrap_or_default(),
            key,
            headers,
        }))
    }
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Fields::default();
                // As raw values, keys are checked for control characters like the values.
                while let Some(key) = map.next_key::<&RawValue>()? {
                    let value = map.next_value::<&RawValue>()?;
                    let field = match plain(key.get()) {
                        Some(key) => fields.by_key(key),
                        None => {
                            let key: Lossy<'_> =
                                serde_json::from_str(key.get()).map_err(A::Error::custom)?;
                            fields.by_key(key.as_str())
                        }
                    };
                    if let Some(field) = field {
                        *field = Some(value);
                    }
                }
                Ok(fields)
            }
        }

        deserializer.deserialize_map(Object)
    }
}

/// The text of a JSON string that has no escapes.
fn plain(json: &str) -> Option<&str> {
    let text = json.strip_prefix('"')?.strip_suffix('"')?;
    (!text.contains('\\')).then_some(text)
}

fn string(field: &'static str, value: Option<&RawValue>) -> Result<String, DecodeError> {
    let json = value.map_or("null", RawValue::get);
    if json == "null" {
        return Ok(String::new());
    }
    match plain(json) {
        Some(plain) => Ok(plain.to_owned()),
        None => serde_json::from_str(json)
            .map(Lossy::into_string)
            .map_err(|_| DecodeError::field(field, json, "a string, or null")),
    }
}

fn time(field: &'static str, value: Option<&RawValue>) -> Result<Option<Timestamp>, DecodeError> {
    let json = value.map_or("null", RawValue::get);
    if json == "null" {
        return Ok(None);
    }
    let expected = "a time in RFC 3339 with a zone, such as \"2026-11-20T22:48:49Z\", or null";
    let wrong = || DecodeError::field(field, json, expected);
    let text = string(field, value).map_err(|_| wrong())?;
    text.parse().map(Some).map_err(|_| wrong())
}

fn headers(value: Option<&RawValue>) -> Result<Option<Headers>, DecodeError> {
    match value.map_or("null", RawValue::get) {
        "null" => Ok(None),
        "{}" => Ok(Some(Headers::new())),
        json => serde_json::from_str(json).map(Some).map_err(|_| {
            DecodeError::field("headers", json, "an object of arrays of strings, or null")
        }),
    }
}

/// Why bytes are not a message. It does not show what the peer wrote, which may be confidential.
#[non_exhaustive]
#[derive(Debug)]
pub enum DecodeError {
    /// The bytes are not UTF-8.
    NotText {
        /// The first byte that is not.
        at: usize,
    },
    /// The message is not a JSON object.
    NotAnObject {
        /// What it is instead.
        found: &'static str,
    },
    /// The message is not valid JSON, or something comes after its end.
    Syntax {
        /// What the parser says, with line and column.
        source: serde_json::Error,
    },
    /// A field has the wrong type.
    Field {
        /// The key.
        field: &'static str,
        /// What its value is.
        found: &'static str,
        /// What it has to be.
        expected: &'static str,
    },
}

impl DecodeError {
    fn field(field: &'static str, json: &str, expected: &'static str) -> Self {
        let found = kind(json).unwrap_or("something else");
        Self::Field {
            field,
            found,
            expected,
        }
    }
}

/// Every value is taken as it is, so that the parser itself has only the syntax to report.
impl From<serde_json::Error> for DecodeError {
    fn from(source: serde_json::Error) -> Self {
        Self::Syntax { source }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotText { at } => {
                write!(
                    f,
                    "the message is not UTF-8 at byte {at}: a message is JSON text"
                )
            }
            Self::NotAnObject { found } => {
                write!(f, "the message is {found}: it has to be a JSON object")
            }
            Self::Syntax { source } => write!(f, "the message is not one JSON object: {source}"),
            Self::Field {
                field,
                found,
                expected,
            } => write!(
                f,
                "the field `{field}` is {found} that cannot be used: it has to be {expected}"
            ),
        }
    }
}

impl Error for DecodeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Syntax { source } => Some(source),
            Self::NotText { .. } | Self::NotAnObject { .. } | Self::Field { .. } => None,
        }
    }
}
