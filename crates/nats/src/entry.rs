//! A message as a NATS message with headers.
//!
//! | header | meaning | without it |
//! |---|---|---|
//! | `Nats-Msg-Id` | the identity, `@`, and the subject | the caller's default |
//! | `Fanfeed-Time` | milliseconds since 1970 | the time at which the stream stored it; in core, the time of the mark, or now |
//! | `Fanfeed-Name` | the name | none |
//! | `Fanfeed-Order` | the names of the headers, in their order, separated by commas | sorted by name |
//! | `Fanfeed-Escaped` | that all texts are percent-encoded | |
//! | any other | a header of the message | |
//!
//! In core, a message that has neither a name nor headers of its own gets no headers at all,
//! because headers cost the client library more than the rest of a message. Instead, the end of its
//! reply subject is its *mark*, `ID.TIME`.
//!
//! The subject is part of `Nats-Msg-Id` because a stream drops a second message with the same text
//! there, even under another subject: a message that is passed on under another key would be lost.
//!
//! NATS headers are lines of text. If a line cannot contain a text of the message (line feeds,
//! spaces at an end), or the server gives a meaning to a name (`Nats-..`), all texts of the message
//! are percent-encoded, and `Fanfeed-Escaped` says so. Other writers need not know this.

use std::collections::HashMap;
use std::fmt::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use fanfeed_broker::{Headers, Key, Message, MessageId};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

pub(crate) const ID: &str = "Nats-Msg-Id";
pub(crate) const TIME: &str = "Fanfeed-Time";
const NAME: &str = "Fanfeed-Name";
const ORDER: &str = "Fanfeed-Order";
const ESCAPED: &str = "Fanfeed-Escaped";
/// Header names with these beginnings, in upper or lower case, belong to the server or to this
/// crate.
const RESERVED: [&str; 2] = ["nats-", "fanfeed-"];

const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'/')
    .remove(b':')
    .remove(b'@');
const ENCODED_NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// An identity of more bytes is sent in a header.
const LONGEST_MARK: usize = 128;

/// Why a NATS message cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BadEntry {
    /// The text of this header is not UTF-8 after it was decoded.
    NotText(String),
    /// `Fanfeed-Time` is not a number, or is a time that the clock cannot represent.
    NoTime,
    /// It has more bytes than the limit.
    TooLarge { size: usize, limit: usize },
}

impl fmt::Display for BadEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadEntry::NotText(name) => write!(f, "the header `{name}` is not UTF-8"),
            BadEntry::NoTime => {
                write!(f, "the header `{TIME}` is not a number of milliseconds")
            }
            BadEntry::TooLarge { size, limit } => write!(
                f,
                "the message has {size} bytes (key, name, headers and payload), and at most {limit} are taken"
            ),
        }
    }
}

/// Calls `put` with each header of the message under this subject.
pub(crate) fn write(message: &Message, subject: &str, mut put: impl FnMut(&str, String)) {
    let id = format!("{}@{subject}", message.id());
    let headers = message.headers();
    let plain = is_line(&id)
        && message.event_name().is_none_or(is_line)
        && headers
            .iter()
            .all(|(name, value)| is_name(name) && is_line(value));
    put(TIME, milliseconds(message.timestamp()).to_string());
    if plain {
        put(ID, id);
        if let Some(name) = message.event_name() {
            put(NAME, name.to_owned());
        }
        for (name, value) in headers.iter() {
            put(name, value.to_owned());
        }
    } else {
        put(ESCAPED, "1".to_owned());
        let id = encoded(&message.id().to_string());
        put(ID, format!("{id}@{subject}"));
        if let Some(name) = message.event_name() {
            put(NAME, encoded(name));
        }
        for (name, value) in headers.iter() {
            put(&encoded_name(name), encoded(value));
        }
    }
    if headers.len() > 1 {
        let names: Vec<_> = headers
            .iter()
            .map(|(name, _)| match plain {
                true => name.to_owned(),
                false => encoded_name(name),
            })
            .collect();
        put(ORDER, names.join(","));
    }
}

/// Whether the publisher set only the payload of a message.
pub(crate) fn is_bare(message: &Message) -> bool {
    message.event_name().is_none() && message.headers().is_empty() && message.id().is_generated()
}

/// Appends the mark of a message. Returns false if the message needs headers. In that case the end
/// of the text is not usable.
pub(crate) fn write_mark(message: &Message, text: &mut BytesMut) -> bool {
    if message.event_name().is_some() || !message.headers().is_empty() {
        return false;
    }
    let start = text.len();
    let written = write!(text, "{}", message.id());
    if !fits_mark(&text[start..]) {
        return false;
    }
    let time = milliseconds(message.timestamp());
    written.and_then(|()| write!(text, ".{time}")).is_ok()
}

/// Whether a mark can have this identity.
fn fits_mark(id: &[u8]) -> bool {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=LONGEST_MARK).contains(&id.len()) && id.iter().all(is_token)
}

/// Reads the identity and the time of a mark. Returns `None` if the text is not a mark.
pub(crate) fn read_mark(mark: &str) -> Option<(MessageId, SystemTime)> {
    let (id, time) = mark.split_once('.')?;
    if !fits_mark(id.as_bytes()) {
        return None;
    }
    let time = UNIX_EPOCH.checked_add(Duration::from_millis(time.parse().ok()?))?;
    Some((MessageId::parse(id), time))
}

/// Whether a line can contain the text without escaping.
fn is_line(text: &str) -> bool {
    // The common case, which is decided by bytes and not by characters.
    text.bytes().all(|byte| byte.is_ascii_graphic()) || is_odd_line(text)
}

fn is_odd_line(text: &str) -> bool {
    text.trim() == text && !text.contains(char::is_control)
}

/// Whether a NATS header can have this name without a special meaning.
fn is_name(name: &str) -> bool {
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !name.is_empty() && name.bytes().all(letters) && !is_reserved(name)
}

fn is_reserved(name: &str) -> bool {
    RESERVED.iter().any(|start| {
        let begin = name.as_bytes().get(..start.len());
        begin.is_some_and(|begin| begin.eq_ignore_ascii_case(start.as_bytes()))
    })
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// An empty name becomes a single `%`, which no other name becomes.
fn encoded_name(name: &str) -> String {
    let encoded = utf8_percent_encode(name, ENCODED_NAME).to_string();
    if encoded.is_empty() {
        return "%".to_owned();
    }
    match is_reserved(&encoded) {
        true => format!("%{:02X}{}", encoded.as_bytes()[0], &encoded[1..]),
        false => encoded,
    }
}

/// A time before 1970 counts as 1970.
fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The origin of a message, which supplies the values that its headers lack.
#[derive(Debug)]
pub(crate) struct Origin<'a> {
    pub(crate) key: &'a Key,
    pub(crate) subject: &'a str,
    /// The largest message, in bytes.
    pub(crate) limit: usize,
    /// The time at which the server stored it, or the time of its mark.
    pub(crate) time: Option<SystemTime>,
}

impl Origin<'_> {
    fn check(&self, size: usize) -> Result<(), BadEntry> {
        let limit = self.limit;
        match size > limit {
            true => Err(BadEntry::TooLarge { size, limit }),
            false => Ok(()),
        }
    }
}

/// Reads a message. `missing` gives its identity if the headers have none.
pub(crate) fn read<'a>(
    origin: &Origin<'_>,
    headers: impl Iterator<Item = (&'a str, &'a str)>,
    payload: Bytes,
    missing: impl FnOnce() -> MessageId,
) -> Result<Message, BadEntry> {
    let (mut id, mut name, mut time, mut order) = (None, None, None, "");
    let mut escaped = false;
    let mut others: Vec<(&str, &str)> = Vec::new();
    for (header, value) in headers {
        match header {
            ID => id = Some(value),
            NAME => name = Some(value),
            TIME => time = Some(value),
            ORDER => order = value,
            ESCAPED => escaped = true,
            _ if is_reserved(header) => {}
            _ => others.push((header, value)),
        }
    }
    let text = |header: &str, value: &str| match escaped {
        true => decoded(header, value),
        false => Ok(value.to_owned()),
    };
    let name = name.map(|name| text(NAME, name)).transpose()?;
    let headers = ordered(others, order, escaped)?;
    let size = origin.key.as_str().len()
        + name.as_ref().map_or(0, String::len)
        + headers.bytes()
        + payload.len();
    origin.check(size)?;
    let id = match id {
        Some(id) => {
            let own = id
                .strip_suffix(origin.subject)
                .and_then(|id| id.strip_suffix('@'));
            MessageId::parse(&text(ID, own.unwrap_or(id))?)
        }
        None => missing(),
    };
    let time = match time {
        Some(time) => {
            let milliseconds = time.parse().map_err(|_| BadEntry::NoTime)?;
            let time = UNIX_EPOCH.checked_add(Duration::from_millis(milliseconds));
            time.ok_or(BadEntry::NoTime)?
        }
        None => origin.time.unwrap_or_else(SystemTime::now),
    };
    let mut message = Message::received(origin.key, id, time, payload);
    if !headers.is_empty() {
        message = message.with_headers(headers);
    }
    if let Some(name) = name {
        message = message.name(name);
    }
    Ok(message)
}

/// Returns the headers in the order that the writer gave, followed by those that it did not list,
/// by name. If a name occurs twice, its values are joined, separated by a comma and a space.
fn ordered(mut others: Vec<(&str, &str)>, order: &str, escaped: bool) -> Result<Headers, BadEntry> {
    if others.len() > 1 {
        let places: HashMap<&str, usize> = order.split(',').zip(0..).collect();
        let place = |name: &str| places.get(name).copied().unwrap_or(usize::MAX);
        others.sort_by_key(|(name, _)| (place(name), *name));
    }
    let mut headers = Headers::new();
    for (name, value) in others {
        let (name, value) = match escaped {
            true if name == "%" => (String::new(), decoded(name, value)?),
            true => (decoded(name, name)?, decoded(name, value)?),
            false => (name.to_owned(), value.to_owned()),
        };
        match headers.get(&name) {
            Some(first) => {
                let both = format!("{first}, {value}");
                headers.insert(name, both);
            }
            None => {
                headers.insert(name, value);
            }
        }
    }
    Ok(headers)
}

fn decoded(header: &str, value: &str) -> Result<String, BadEntry> {
    match percent_decode_str(value).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        // A name in an error shows no more than its beginning.
        Err(_) => Err(BadEntry::NotText(header.chars().take(64).collect())),
    }
}

#[cfg(test)]
mod tests {
    use super::{BadEntry, Origin, read, read_mark, write, write_mark};
    use bytes::{Bytes, BytesMut};
    use fanfeed_broker::{Key, Message, MessageId};
    use proptest::prelude::*;
    use std::time::{Duration, UNIX_EPOCH};

    const SUBJECT: &str = "p.k.some.key";

    fn written(message: &Message) -> Vec<(String, String)> {
        let mut lines = Vec::new();
        write(message, SUBJECT, |name, value| {
            lines.push((name.to_owned(), value));
        });
        lines
    }

    fn read_back(
        key: &Key,
        limit: usize,
        lines: &[(String, String)],
        payload: Bytes,
    ) -> Result<Message, BadEntry> {
        let origin = Origin {
            key,
            subject: SUBJECT,
            limit,
            time: Some(UNIX_EPOCH),
        };
        let lines = lines.iter().map(|(name, value)| (&**name, &**value));
        read(&origin, lines, payload, || MessageId::parse("none"))
    }

    fn lines(lines: &[(&str, &str)]) -> Vec<(String, String)> {
        let own = lines
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        own.collect()
    }

    #[test]
    fn plain_texts_are_written_as_they_are() {
        let message = Message::new("k", "x")
            .with_id("order-7")
            .with_timestamp(UNIX_EPOCH + Duration::from_millis(5))
            .name("Placed")
            .header("b", "two words")
            .header("a", "");
        let expected = lines(&[
            ("Fanfeed-Time", "5"),
            ("Nats-Msg-Id", "order-7@p.k.some.key"),
            ("Fanfeed-Name", "Placed"),
            ("b", "two words"),
            ("a", ""),
            ("Fanfeed-Order", "b,a"),
        ]);
        assert_eq!(written(&message), expected);
    }

    #[test]
    fn names_that_mean_something_to_the_server_are_escaped() {
        let message = Message::new("k", "x").header("nats-Rollup", "all");
        let lines = written(&message);
        assert!(lines.iter().any(|(name, _)| name == "%6Eats-Rollup"));
        let back = read_back(message.key(), 100, &lines, Bytes::new()).unwrap();
        assert_eq!(back.headers(), message.headers());
    }

    #[test]
    fn what_other_writers_leave_out_is_made_up_for() {
        let key = Key::new("k");
        let headers = lines(&[("z", "1"), ("a", "%41"), ("z", "2"), ("Nats-Stream", "s")]);
        let message = read_back(&key, 100, &headers, Bytes::from_static(b"x")).unwrap();
        assert_eq!(message.id().to_string(), "none");
        let headers: Vec<_> = message.headers().iter().collect();
        assert_eq!(headers, [("a", "%41"), ("z", "1, 2")]);
        let headers = lines(&[("Nats-Msg-Id", "theirs@x")]);
        let message = read_back(&key, 100, &headers, Bytes::new()).unwrap();
        assert_eq!(message.id().to_string(), "theirs@x");
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let refused = |headers: &[(&str, &str)]| {
            read_back(&Key::new("k"), 100, &lines(headers), Bytes::new()).unwrap_err()
        };
        for time in ["x", "-1", "", "99999999999999999999"] {
            assert_eq!(refused(&[("Fanfeed-Time", time)]), BadEntry::NoTime);
        }
        let bad = refused(&[("Fanfeed-Escaped", "1"), ("a", "%ff")]);
        assert_eq!(bad, BadEntry::NotText("a".into()));
    }

    #[test]
    fn the_limit_counts_key_name_headers_and_payload() {
        let message = Message::new("key", vec![0; 10])
            .name("name")
            .header("a", "bc");
        assert_eq!(message.size(), 20);
        let read = |limit| {
            read_back(
                message.key(),
                limit,
                &written(&message),
                message.payload().clone(),
            )
        };
        assert!(read(20).is_ok());
        let error = read(19).unwrap_err();
        assert_eq!(
            error,
            BadEntry::TooLarge {
                size: 20,
                limit: 19
            }
        );
    }

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        for id in ["order-7", "0123456789abcdef0123456789abcdef"] {
            let time = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
            let message = Message::new("k", "x").with_id(id).with_timestamp(time);
            let mut mark = BytesMut::new();
            assert!(write_mark(&message, &mut mark));
            assert_eq!(mark, format!("{id}.1700000000123"));
            let mark = std::str::from_utf8(&mark).unwrap();
            assert_eq!(read_mark(mark), Some((message.id().clone(), time)));
        }
        for no_mark in ["", "a", "a.", "a.b", "a.-1", "a.99999999999999999999"] {
            assert_eq!(read_mark(no_mark), None, "{no_mark}");
        }
        // This crate never writes such an identity.
        for id in ["", "a b", "\u{e9}", &"a".repeat(129)] {
            assert_eq!(read_mark(&format!("{id}.5")), None, "{id}");
        }
    }

    #[test]
    fn what_a_mark_cannot_say_needs_headers() {
        let message = |id: &str| Message::new("k", "x").with_id(id);
        for message in [
            message("a").name("Named"),
            message("a").header("b", ""),
            message(""),
            message("a.b"),
            message("a b"),
            message("*"),
            message("\u{e9}"),
            message(&"a".repeat(129)),
        ] {
            assert!(!write_mark(&message, &mut BytesMut::new()), "{message:?}");
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            id in ".{0,9}",
            name in proptest::option::of(".{0,9}"),
            headers in proptest::collection::vec(("[ -~\u{e9}\n]{0,6}", ".{0,9}"), 0..5),
            time in 0..4_000_000_000_000_u64,
        ) {
            let mut message = Message::new("some.key", "x")
                .with_id(&*id)
                .with_timestamp(UNIX_EPOCH + Duration::from_millis(time));
            if let Some(name) = name {
                message = message.name(name);
            }
            for (name, value) in headers {
                message = message.header(name, value);
            }
            let mut lines = written(&message);
            for (name, value) in &lines {
                prop_assert!(!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':'));
                prop_assert!(value.trim() == value && !value.contains(['\r', '\n']));
            }
            // The server, or the client library, may change the order.
            lines.reverse();
            let back = read_back(message.key(), 1000, &lines, message.payload().clone()).unwrap();
            prop_assert_eq!(message.id(), back.id());
            prop_assert_eq!(message.event_name(), back.event_name());
            prop_assert_eq!(message.headers(), back.headers());
            prop_assert_eq!(message.timestamp(), back.timestamp());
        }
    }
}
