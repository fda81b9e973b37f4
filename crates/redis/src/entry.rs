//! A message as the entry of a stream.
//!
//! | field | meaning | without it |
//! |---|---|---|
//! | `payload` | the payload | the entry is not a message |
//! | `id` | the identity | the entry's own position |
//! | `name` | the name | none |
//! | `time` | milliseconds since 1970 | the time in the entry's position |
//! | `h.NAME` | the header `NAME` | |
//!
//! Other fields are ignored, so that later releases and other languages can add fields.

use std::fmt;
use std::mem;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use fanfeed_broker::{Headers, Key, Message, MessageId};

use crate::command::Commands;
use crate::reply::RawEntry;

const PAYLOAD: &[u8] = b"payload";
const ID: &[u8] = b"id";
const NAME: &[u8] = b"name";
const TIME: &[u8] = b"time";
const HEADER: &[u8] = b"h.";

/// Why an entry is not a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BadEntry {
    /// It has no field `payload`, or the entry was deleted.
    NoPayload,
    /// It has this field twice.
    Twice(String),
    /// This field is not UTF-8, or its name is not.
    NotText(String),
    /// The field `time` is not a number, or is a time that the clock cannot represent.
    NoTime,
    /// It begins like a message of this crate, but its head is not terminated.
    NoHead,
    /// It has more bytes than the limit.
    TooLarge { size: usize, limit: usize },
}

impl fmt::Display for BadEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadEntry::NoPayload => f.write_str("the entry has no field `payload`"),
            BadEntry::Twice(field) => write!(f, "the entry has the field `{field}` twice"),
            BadEntry::NotText(field) => write!(f, "the entry's field `{field}` is not UTF-8"),
            BadEntry::NoTime => {
                f.write_str("the entry's field `time` is not a number of milliseconds")
            }
            BadEntry::NoHead => f.write_str("the message's head is not understood"),
            BadEntry::TooLarge { size, limit } => write!(
                f,
                "the message has {size} bytes (key, name, headers and payload), and at most {limit} are taken"
            ),
        }
    }
}

/// Adds the command that appends the message to this stream, which keeps about `kept` entries.
pub(crate) fn append(
    commands: &mut Commands,
    stream: &[u8],
    kept: Option<&[u8]>,
    message: &Message,
) {
    let fields = 3 + usize::from(message.event_name().is_some()) + message.headers().len();
    commands.begin(3 + kept.map_or(0, |_| 3) + 2 * fields);
    commands.part(b"XADD");
    commands.part(stream);
    if let Some(kept) = kept {
        commands.part(b"MAXLEN");
        commands.part(b"~");
        commands.part(kept);
    }
    commands.part(b"*");
    fields_of(message, |field, value| {
        commands.part(field);
        commands.part(value);
    });
    commands.part(PAYLOAD);
    commands.part(message.payload());
}

/// Calls `take` with each field of a message except its payload.
pub(crate) fn fields_of(message: &Message, mut take: impl FnMut(&[u8], &[u8])) {
    take(ID, message.id().to_string().as_bytes());
    take(
        TIME,
        milliseconds(message.timestamp()).to_string().as_bytes(),
    );
    if let Some(name) = message.event_name() {
        take(NAME, name.as_bytes());
    }
    let mut field = HEADER.to_vec();
    for (name, value) in message.headers().iter() {
        field.truncate(HEADER.len());
        field.extend_from_slice(name.as_bytes());
        take(&field, value.as_bytes());
    }
}

/// A time before 1970 counts as 1970.
pub(crate) fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn time(milliseconds: u64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_millis(milliseconds))
}

/// Reads a message that arrived under `key`, of at most `limit` bytes. If the entry is not a
/// message, returns the reason and its payload.
pub(crate) fn read(
    key: &Key,
    limit: usize,
    mut entry: RawEntry,
) -> Result<Message, (BadEntry, Bytes)> {
    let position = entry.position;
    let id = || MessageId::parse(&position.to_string());
    let mut parts = Parts::new(limit);
    let taken = parts.take_all(key, &mut entry.fields);
    let read = taken.and_then(|()| parts.message(key, id, position.milliseconds));
    read.map_err(|bad| {
        let payload = parts.payload.unwrap_or_else(|| rest(entry.fields));
        (bad, payload)
    })
}

/// Returns the payload that was not taken from these fields. If there is none, returns the values
/// that were not taken.
fn rest(mut fields: Vec<(Vec<u8>, Vec<u8>)>) -> Bytes {
    let payload = fields.iter_mut().find(|(field, _)| field == PAYLOAD);
    match payload {
        Some((_, payload)) => std::mem::take(payload).into(),
        None => {
            let values: Vec<_> = fields.into_iter().map(|(_, value)| value).collect();
            values.join(&b' ').into()
        }
    }
}

/// A message that is being assembled from its fields.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    payload: Option<Bytes>,
    id: Option<String>,
    name: Option<String>,
    time: Option<String>,
    headers: Headers,
    size: usize,
    limit: usize,
}

impl Parts {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            ..Self::default()
        }
    }

    /// Takes the key, and then all fields. The values of unknown fields, and of fields that it
    /// cannot take, stay in place.
    fn take_all(&mut self, key: &Key, fields: &mut [(Vec<u8>, Vec<u8>)]) -> Result<(), BadEntry> {
        self.key(key)?;
        fields
            .iter_mut()
            .try_for_each(|(field, value)| self.take(field, value))
    }

    /// Counts the key.
    pub(crate) fn key(&mut self, key: &Key) -> Result<(), BadEntry> {
        self.grow(key.as_str().len())
    }

    /// Counts bytes before they are stored, so that the limit is never exceeded.
    fn grow(&mut self, bytes: usize) -> Result<(), BadEntry> {
        self.size += bytes;
        let (size, limit) = (self.size, self.limit);
        match size > limit {
            true => Err(BadEntry::TooLarge { size, limit }),
            false => Ok(()),
        }
    }

    /// Takes a field. Unknown fields are ignored.
    pub(crate) fn take(&mut self, field: &[u8], value: &mut Vec<u8>) -> Result<(), BadEntry> {
        let place = match field {
            PAYLOAD => {
                self.grow(value.len())?;
                return self.keep(Bytes::from(mem::take(value)));
            }
            _ if field.starts_with(HEADER) => {
                self.grow(field.len() - HEADER.len() + value.len())?;
                return self.header(field, mem::take(value));
            }
            NAME => {
                self.grow(value.len())?;
                &mut self.name
            }
            ID => &mut self.id,
            TIME => &mut self.time,
            _ => return Ok(()),
        };
        match place.replace(text(field, mem::take(value))?) {
            None => Ok(()),
            Some(_) => Err(BadEntry::Twice(shown(field))),
        }
    }

    pub(crate) fn payload(&mut self, payload: Bytes) -> Result<(), BadEntry> {
        self.grow(payload.len())?;
        self.keep(payload)
    }

    fn keep(&mut self, payload: Bytes) -> Result<(), BadEntry> {
        match self.payload.replace(payload) {
            None => Ok(()),
            Some(_) => Err(BadEntry::Twice(shown(PAYLOAD))),
        }
    }

    /// Returns the message. Without a field `id` or `time`, it gets the given values. If there is
    /// no message, the payload stays in place.
    pub(crate) fn message(
        &mut self,
        key: &Key,
        id: impl FnOnce() -> MessageId,
        milliseconds: u64,
    ) -> Result<Message, BadEntry> {
        if self.payload.is_none() {
            return Err(BadEntry::NoPayload);
        }
        let milliseconds = match &self.time {
            Some(text) => text.parse().map_err(|_| BadEntry::NoTime)?,
            None => milliseconds,
        };
        let time = time(milliseconds).ok_or(BadEntry::NoTime)?;
        let payload = self.payload.take().ok_or(BadEntry::NoPayload)?;
        let id = self.id.take().map_or_else(id, |id| MessageId::parse(&id));
        let mut message = Message::received(key, id, time, payload);
        if !self.headers.is_empty() {
            message = message.with_headers(mem::take(&mut self.headers));
        }
        if let Some(name) = self.name.take() {
            message = message.name(name);
        }
        Ok(message)
    }

    fn header(&mut self, field: &[u8], value: Vec<u8>) -> Result<(), BadEntry> {
        let name = std::str::from_utf8(&field[HEADER.len()..])
            .map_err(|_| BadEntry::NotText(shown(field)))?;
        match self.headers.insert(name, text(field, value)?) {
            None => Ok(()),
            Some(_) => Err(BadEntry::Twice(shown(field))),
        }
    }
}

fn text(field: &[u8], value: Vec<u8>) -> Result<String, BadEntry> {
    String::from_utf8(value).map_err(|_| BadEntry::NotText(shown(field)))
}

/// The name of a field in an error, which shows only its beginning.
fn shown(field: &[u8]) -> String {
    String::from_utf8_lossy(&field[..field.len().min(64)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::{BadEntry, append, read};
    use crate::command::Commands;
    use crate::position::Position;
    use crate::reply::{RawEntry, bytes};
    use fanfeed_broker::{Key, Message};
    use proptest::prelude::*;
    use redis::{Value, parse_redis_value};
    use std::time::{Duration, UNIX_EPOCH};

    const LIMIT: usize = 1000;
    const POSITION: Position = Position {
        milliseconds: 1234,
        sequence: 5,
    };

    /// The fields that the command writes, after its name, the stream, MAXLEN and `*`.
    fn written(message: &Message) -> RawEntry {
        let mut commands = Commands::new();
        append(&mut commands, b"s", Some(b"100"), message);
        let Value::Array(parts) = parse_redis_value(commands.bytes()).unwrap() else {
            panic!("no command");
        };
        let parts: Vec<_> = parts.into_iter().map(|part| bytes(part).unwrap()).collect();
        assert_eq!(
            parts[..6],
            [&b"XADD"[..], b"s", b"MAXLEN", b"~", b"100", b"*"]
        );
        let fields = parts[6..].chunks_exact(2);
        RawEntry {
            position: POSITION,
            fields: fields
                .map(|pair| (pair[0].clone(), pair[1].clone()))
                .collect(),
        }
    }

    fn raw(fields: &[(&[u8], &[u8])]) -> RawEntry {
        let fields = fields
            .iter()
            .map(|(name, value)| (name.to_vec(), value.to_vec()));
        RawEntry {
            position: POSITION,
            fields: fields.collect(),
        }
    }

    fn same(one: &Message, other: &Message) -> bool {
        let whole = |message: &Message| {
            (
                message.id().clone(),
                message.key().clone(),
                message.event_name().map(str::to_owned),
                message.headers().clone(),
                message.payload().clone(),
                message
                    .timestamp()
                    .duration_since(UNIX_EPOCH)
                    .unwrap()
                    .as_millis(),
            )
        };
        whole(one) == whole(other)
    }

    #[test]
    fn what_other_writers_leave_out_comes_from_the_position() {
        let message = read(
            &Key::new("k"),
            LIMIT,
            raw(&[(b"payload", b"x"), (b"more", b"\xff")]),
        )
        .unwrap();
        assert_eq!(message.id().to_string(), "1234-5");
        assert_eq!(
            message.timestamp(),
            UNIX_EPOCH + Duration::from_millis(1234)
        );
        assert_eq!(message.event_name(), None);
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let refused =
            |fields: &[(&[u8], &[u8])]| read(&Key::new("k"), LIMIT, raw(fields)).unwrap_err().0;
        assert_eq!(refused(&[]), BadEntry::NoPayload);
        assert_eq!(refused(&[(b"id", b"7")]), BadEntry::NoPayload);
        let twice = refused(&[(b"payload", b"x"), (b"payload", b"x")]);
        assert_eq!(twice, BadEntry::Twice("payload".into()));
        let twice = refused(&[(b"h.a", b"x"), (b"h.a", b"x")]);
        assert_eq!(twice, BadEntry::Twice("h.a".into()));
        let text = refused(&[(b"payload", b"x"), (b"name", b"\xff")]);
        assert_eq!(text, BadEntry::NotText("name".into()));
        assert!(matches!(
            refused(&[(b"h.\xff", b"x")]),
            BadEntry::NotText(_)
        ));
        for time in [&b"x"[..], b"-1", b"", b"99999999999999999999"] {
            assert_eq!(
                refused(&[(b"payload", b"x"), (b"time", time)]),
                BadEntry::NoTime
            );
        }
    }

    #[test]
    fn the_limit_counts_key_name_headers_and_payload() {
        let message = Message::new("key", vec![0; 10])
            .name("name")
            .header("a", "bc");
        assert_eq!(message.size(), 20);
        assert!(read(message.key(), 20, written(&message)).is_ok());
        let (error, payload) = read(message.key(), 19, written(&message)).unwrap_err();
        assert_eq!(payload, message.payload());
        assert_eq!(
            error,
            BadEntry::TooLarge {
                size: 20,
                limit: 19
            }
        );
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            payload in proptest::collection::vec(any::<u8>(), 0..64),
            name in proptest::option::of(".{0,9}"),
            headers in proptest::collection::hash_map(".{0,9}", ".{0,9}", 0..5),
            time in 0..4_000_000_000_000_u64,
        ) {
            let mut message = Message::new("some.key", payload)
                .with_timestamp(UNIX_EPOCH + Duration::from_millis(time));
            if let Some(name) = name {
                message = message.name(name);
            }
            for (name, value) in headers {
                message = message.header(name, value);
            }
            let back = read(message.key(), LIMIT, written(&message)).unwrap();
            prop_assert!(same(&message, &back), "{:?} {:?}", message, back);
        }
    }
}
