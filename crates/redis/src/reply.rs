//! Parses the server's answers.

use redis::Value;

use crate::position::Position;

/// The entries of one stream.
#[derive(Debug, PartialEq)]
pub(crate) struct StreamEntries {
    pub(crate) stream: Vec<u8>,
    pub(crate) entries: Vec<RawEntry>,
}

/// An entry of a stream.
#[derive(Debug, PartialEq)]
pub(crate) struct RawEntry {
    pub(crate) position: Position,
    /// Empty for an entry that was deleted while it was pending.
    pub(crate) fields: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Parses the answer to XREAD or XREADGROUP: nothing, or the entries of each stream that had some.
/// Returns `None` if it is not such an answer.
pub(crate) fn streams(value: Value) -> Option<Vec<StreamEntries>> {
    match value {
        Value::Nil => Some(Vec::new()),
        Value::Array(streams) => streams.into_iter().map(stream).collect(),
        _ => None,
    }
}

fn stream(value: Value) -> Option<StreamEntries> {
    let [name, all] = pair(value)?;
    Some(StreamEntries {
        stream: bytes(name)?,
        entries: entries(all)?,
    })
}

/// Parses the answer to XRANGE or XCLAIM. Leaves out deleted entries.
pub(crate) fn entries(value: Value) -> Option<Vec<RawEntry>> {
    let Value::Array(entries) = value else {
        return None;
    };
    let present = entries.into_iter().filter(|entry| *entry != Value::Nil);
    present.map(entry).collect()
}

fn entry(value: Value) -> Option<RawEntry> {
    let [position, fields] = pair(value)?;
    Some(RawEntry {
        position: Position::parse(&bytes(position)?)?,
        fields: match fields {
            Value::Nil => Vec::new(),
            Value::Array(flat) => pairs(flat)?,
            _ => return None,
        },
    })
}

/// Parses alternating names and values.
fn pairs(flat: Vec<Value>) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    if !flat.len().is_multiple_of(2) {
        return None;
    }
    let mut parts = flat.into_iter();
    let mut pairs = Vec::with_capacity(parts.len() / 2);
    while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
        pairs.push((bytes(name)?, bytes(value)?));
    }
    Some(pairs)
}

fn pair(value: Value) -> Option<[Value; 2]> {
    match value {
        Value::Array(parts) => parts.try_into().ok(),
        _ => None,
    }
}

pub(crate) fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        _ => None,
    }
}

pub(crate) fn integer(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

/// Returns a value of an answer that alternates names and values, as those of XINFO and HELLO do.
pub(crate) fn field<'a>(answer: &'a Value, name: &str) -> Option<&'a Value> {
    let Value::Array(parts) = answer else {
        return None;
    };
    let named = parts.chunks_exact(2).find(|pair| match &pair[0] {
        Value::BulkString(bytes) => bytes == name.as_bytes(),
        Value::SimpleString(text) => text == name,
        _ => false,
    });
    named.map(|pair| &pair[1])
}

/// Returns the consumers in XPENDING's summary of a group, with the number of entries of each.
pub(crate) fn pending(value: &Value) -> Option<Vec<(Vec<u8>, u64)>> {
    let Value::Array(parts) = value else {
        return None;
    };
    let [_, _, _, consumers] = &parts[..] else {
        return None;
    };
    let Value::Array(consumers) = consumers else {
        return (*consumers == Value::Nil).then(Vec::new);
    };
    let one = |consumer: &Value| {
        let [name, count] = pair(consumer.clone())?;
        let count = String::from_utf8(bytes(count)?).ok()?.parse().ok()?;
        Some((bytes(name)?, count))
    };
    consumers.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::{RawEntry, StreamEntries, field, pending, streams};
    use crate::position::Position;
    use redis::{Value, parse_redis_value};

    fn parsed(text: &str) -> Value {
        parse_redis_value(text.replace(' ', "\r\n").as_bytes()).unwrap()
    }

    #[test]
    fn entries_are_read() {
        let value = parsed("*1 *2 $1 s *2 *2 $3 1-0 *2 $1 f $1 v *2 $3 2-0 *-1 ");
        let position = |milliseconds| Position {
            milliseconds,
            sequence: 0,
        };
        let expected = StreamEntries {
            stream: b"s".to_vec(),
            entries: vec![
                RawEntry {
                    position: position(1),
                    fields: vec![(b"f".to_vec(), b"v".to_vec())],
                },
                RawEntry {
                    position: position(2),
                    fields: Vec::new(),
                },
            ],
        };
        assert_eq!(streams(value), Some(vec![expected]));
        assert_eq!(streams(parsed("*-1 ")), Some(Vec::new()));
    }

    #[test]
    fn what_is_no_such_answer_is_refused() {
        for text in [
            "+OK ",
            ":1 ",
            "*1 $1 s ",
            "*1 *2 $1 s *1 *2 $1 x *0 ",
            "*1 *2 $1 s *1 *2 $3 1-0 *1 $1 f ",
        ] {
            assert_eq!(streams(parsed(text)), None, "{text}");
        }
    }

    #[test]
    fn named_parts_are_found() {
        let value = parsed("*4 $6 length :3 $5 other +x ");
        assert_eq!(field(&value, "length"), Some(&Value::Int(3)));
        assert_eq!(field(&value, "absent"), None);
    }

    #[test]
    fn consumers_with_pending_entries_are_read() {
        let value = parsed("*4 :3 $3 1-0 $3 3-0 *1 *2 $1 m $1 3 ");
        assert_eq!(pending(&value), Some(vec![(b"m".to_vec(), 3)]));
        assert_eq!(pending(&parsed("*4 :0 $-1 $-1 *-1 ")), Some(Vec::new()));
        assert_eq!(pending(&parsed("+OK ")), None);
    }
}
