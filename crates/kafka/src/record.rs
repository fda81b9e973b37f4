//! A message as a record of Kafka.
//!
//! | part | meaning | without it |
//! |---|---|---|
//! | value | the payload | empty |
//! | key | the key, unless the configuration says otherwise; it chooses the partition | |
//! | timestamp | milliseconds since 1970 | |
//! | header `ff-id` | the identity | topic, partition and offset |
//! | header `ff-name` | the name | none |
//! | header `ff-time` | milliseconds since 1970, for topics that set the time themselves | the record's timestamp |
//! | header `ff-key` | the key, if the record's key differs | |
//! | header `ff-h.NAME` | the header `NAME`, which begins with `ff-` | |
//! | any other header | a header | |
//!
//! Records of other programs need none of these. A header that is not UTF-8 is left out; if several
//! have the same name, the last one counts.

use std::fmt::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use fanfeed_broker::{Headers, Key, Message, MessageId};

const OURS: &str = "ff-";
const ID: &str = "ff-id";
const NAME: &str = "ff-name";
const TIME: &str = "ff-time";
pub(crate) const KEY: &str = "ff-key";
const HEADER: &str = "ff-h.";

/// The record is too large. All other records can be read as a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TooLarge {
    size: usize,
    limit: usize,
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TooLarge { size, limit } = self;
        write!(
            f,
            "the record has {size} bytes (key, name, headers and payload), and at most {limit} are taken"
        )
    }
}

/// A received record, before it is copied.
#[derive(Debug, Clone)]
pub(crate) struct Raw<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) payload: Option<&'a [u8]>,
    pub(crate) milliseconds: Option<i64>,
    pub(crate) headers: Fields<'a>,
}

/// The name and the value of a header.
type Field<'a> = (&'a str, Option<&'a [u8]>);

/// How many headers of a record need no memory of their own.
const FEW: usize = 4;

/// The headers of a record, in their order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fields<'a> {
    first: [Field<'a>; FEW],
    /// How many of the first there are.
    count: usize,
    rest: Vec<Field<'a>>,
}

impl<'a> Fields<'a> {
    fn iter(&self) -> impl DoubleEndedIterator<Item = &Field<'a>> {
        self.first[..self.count].iter().chain(&self.rest)
    }
}

impl<'a> FromIterator<Field<'a>> for Fields<'a> {
    fn from_iter<I: IntoIterator<Item = Field<'a>>>(fields: I) -> Self {
        let mut all = Fields::default();
        for field in fields {
            if let Some(place) = all.first.get_mut(all.count) {
                *place = field;
                all.count += 1;
            } else {
                all.rest.push(field);
            }
        }
        all
    }
}

/// The time of a message in Kafka's form. A time before 1970 counts as 1970.
pub(crate) fn milliseconds(message: &Message) -> i64 {
    let since = message.timestamp().duration_since(UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}

/// Appends a number. Each message that is sent needs one, and the formatter takes several times as
/// long.
fn write_number(text: &mut String, mut number: u64) {
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    text.extend(digits[first..].iter().copied().map(char::from));
}

/// Calls `add` with each header of the record. The caller keeps `text`, so that the values of most
/// messages need no memory of their own.
pub(crate) fn headers(
    message: &Message,
    own_key: bool,
    text: &mut String,
    mut add: impl FnMut(&str, &str),
) {
    text.clear();
    write!(text, "{}", message.id()).expect("a string takes everything");
    add(ID, text);
    text.clear();
    write_number(text, milliseconds(message).unsigned_abs());
    add(TIME, text);
    if let Some(name) = message.event_name() {
        add(NAME, name);
    }
    if own_key {
        add(KEY, message.key().as_str());
    }
    for (name, value) in message.headers().iter() {
        if name.starts_with(OURS) {
            add(&format!("{HEADER}{name}"), value);
        } else {
            add(name, value);
        }
    }
}

/// Whether a record on a topic that several keys share belongs to this key.
pub(crate) fn is_of(key: &Key, raw: &Raw<'_>) -> bool {
    let named = raw.headers.iter().rev().find(|(name, _)| *name == KEY);
    let named = named.map_or(raw.key, |(_, value)| *value);
    named == Some(key.as_str().as_bytes())
}

/// Reads a message that arrived under `key`, of at most `limit` bytes.
pub(crate) fn read(key: &Key, limit: usize, raw: &Raw<'_>) -> Result<Message, TooLarge> {
    let payload = raw.payload.unwrap_or_default();
    let mut size = key.as_str().len() + payload.len();
    let (mut id, mut name, mut time) = (None, None, None);
    let mut headers = Headers::new();
    for (header, value) in raw.headers.iter() {
        let value = value.unwrap_or_default();
        size += match *header {
            ID | TIME | KEY => 0,
            NAME => value.len(),
            header => header.strip_prefix(HEADER).unwrap_or(header).len() + value.len(),
        };
        if size > limit {
            break;
        }
        if *header == ID {
            id = MessageId::read(value);
            continue;
        }
        let Ok(value) = std::str::from_utf8(value) else {
            continue;
        };
        match *header {
            NAME => name = Some(value),
            TIME => time = value.parse().ok(),
            KEY => {}
            header => {
                headers.insert(header.strip_prefix(HEADER).unwrap_or(header), value);
            }
        }
    }
    if size > limit {
        return Err(TooLarge { size, limit });
    }
    let missing = || MessageId::parse(&format!("{}/{}@{}", raw.topic, raw.partition, raw.offset));
    let id = id.unwrap_or_else(missing);
    let time = time.or(raw.milliseconds).and_then(system_time);
    let time = time.unwrap_or_else(SystemTime::now);
    let mut message = Message::received(key, id, time, Bytes::copy_from_slice(payload));
    if !headers.is_empty() {
        message = message.with_headers(headers);
    }
    if let Some(name) = name {
        message = message.name(name);
    }
    Ok(message)
}

fn system_time(milliseconds: i64) -> Option<SystemTime> {
    let since = Duration::from_millis(u64::try_from(milliseconds).ok()?);
    UNIX_EPOCH.checked_add(since)
}

#[cfg(test)]
mod tests {
    use super::{Fields, Raw, TooLarge, headers, is_of, milliseconds, read, write_number};
    use fanfeed_broker::{Key, Message};
    use proptest::prelude::*;
    use std::time::{Duration, UNIX_EPOCH};

    const LIMIT: usize = 1000;

    fn raw<'a>(message: &'a Message, written: &'a [(String, String)]) -> Raw<'a> {
        Raw {
            topic: "t",
            partition: 1,
            offset: 7,
            key: Some(b"other"),
            payload: Some(message.payload()),
            milliseconds: Some(milliseconds(message)),
            headers: written
                .iter()
                .map(|(name, value)| (name.as_str(), Some(value.as_bytes())))
                .collect(),
        }
    }

    fn written(message: &Message, own_key: bool) -> Vec<(String, String)> {
        let mut list = Vec::new();
        headers(message, own_key, &mut String::new(), |name, value| {
            list.push((name.to_owned(), value.to_owned()))
        });
        list
    }

    #[test]
    fn numbers_are_written_as_the_formatter_writes_them() {
        for number in [0, 9, 10, 1_700_000_000_000, u64::MAX] {
            let mut text = String::new();
            write_number(&mut text, number);
            assert_eq!(text, number.to_string());
        }
    }

    #[test]
    fn a_record_of_another_program_is_a_message() {
        let raw = Raw {
            topic: "t",
            partition: 1,
            offset: 7,
            key: None,
            payload: None,
            milliseconds: Some(1234),
            headers: Fields::from_iter([
                ("binary", Some(&b"\xff"[..])),
                ("null", None),
                ("twice", Some(b"1")),
                ("twice", Some(b"2")),
                ("ff-time", Some(b"soon")),
            ]),
        };
        let message = read(&Key::new("k"), LIMIT, &raw).unwrap();
        assert_eq!(message.id().to_string(), "t/1@7");
        assert_eq!(
            message.timestamp(),
            UNIX_EPOCH + Duration::from_millis(1234)
        );
        let headers: Vec<_> = message.headers().iter().collect();
        assert_eq!(headers, [("null", ""), ("twice", "2")]);
        assert!(message.payload().is_empty());
    }

    #[test]
    fn the_limit_counts_key_name_headers_and_payload() {
        let message = Message::new("key", vec![0; 10])
            .name("name")
            .header("a", "bc");
        let written = written(&message, true);
        assert!(read(message.key(), 20, &raw(&message, &written)).is_ok());
        let error = read(message.key(), 19, &raw(&message, &written)).unwrap_err();
        assert_eq!(
            error,
            TooLarge {
                size: 20,
                limit: 19
            }
        );
    }

    #[test]
    fn the_key_of_a_shared_topic_is_found() {
        let message = Message::new("key", "x");
        let (with, without) = (written(&message, true), written(&message, false));
        assert!(is_of(message.key(), &raw(&message, &with)));
        assert!(!is_of(message.key(), &raw(&message, &without)));
        assert!(is_of(&Key::new("other"), &raw(&message, &without)));
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            payload in proptest::collection::vec(any::<u8>(), 0..64),
            name in proptest::option::of(".{0,9}"),
            entries in proptest::collection::hash_map("(ff-)?(id|h.|)[a-c]{0,2}", ".{0,9}", 0..5),
            time in 0..4_000_000_000_000_u64,
        ) {
            let mut message = Message::new("some.key", payload)
                .with_timestamp(UNIX_EPOCH + Duration::from_millis(time));
            if let Some(name) = name {
                message = message.name(name);
            }
            for (name, value) in entries {
                message = message.header(name, value);
            }
            let written = written(&message, true);
            let back = read(message.key(), LIMIT, &raw(&message, &written)).unwrap();
            prop_assert_eq!(message.id(), back.id());
            prop_assert_eq!(message.event_name(), back.event_name());
            prop_assert_eq!(message.headers(), back.headers());
            prop_assert_eq!(message.payload(), back.payload());
            prop_assert_eq!(message.timestamp(), back.timestamp());
        }
    }
}
