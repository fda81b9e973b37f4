//! Functions for the fuzz target, which parse bytes from a server or from another writer.

use bytes::Bytes;
use fanfeed_broker::{Key, Message};
use redis::parse_redis_value;

use crate::bell;
use crate::command::Commands;
use crate::entry;
use crate::frame;
use crate::inbound::fuzz_answers;
use crate::names::escape;
use crate::reply::{RawEntry, pending, streams};

const LIMIT: usize = 256;

/// Parses `bytes` as an answer of the server, and each entry in it as a message and as a ring.
///
/// # Panics
/// If a message is larger than the limit, or is not read back as it was written.
pub fn answer(bytes: &[u8]) {
    let Ok(value) = parse_redis_value(bytes) else {
        return;
    };
    let _ = pending(&value);
    fuzz_answers(&value);
    let key = Key::new("k");
    for stream in streams(value).unwrap_or_default() {
        for entry in stream.entries {
            for (_, field) in &entry.fields {
                bell::rung(field).for_each(|key| assert!(!key.contains(' ')));
            }
            let position = entry.position;
            let Ok(message) = entry::read(&key, LIMIT, entry) else {
                continue;
            };
            let mut commands = Commands::new();
            entry::append(&mut commands, b"s", None, &message);
            let again = RawEntry {
                position,
                fields: written(&commands),
            };
            let again = entry::read(&key, LIMIT, again).expect("what was written can be read");
            same(&message, &again);
        }
    }
}

/// Parses `bytes` as a message that was published on a channel.
///
/// # Panics
/// If the message is larger than the limit, or is not read back as it was written.
pub fn frame(bytes: &[u8]) {
    let key = Key::new("k");
    let Ok(message) = frame::read(&key, LIMIT, &Bytes::copy_from_slice(bytes)) else {
        return;
    };
    let mut text = Vec::new();
    frame::write(&mut text, &message);
    let again = frame::read(&key, LIMIT, &text.into());
    same(&message, &again.expect("what was written can be read"));
}

fn same(message: &Message, again: &Message) {
    assert!(
        message.size() <= LIMIT,
        "a message is larger than the limit"
    );
    assert_eq!(again.id(), message.id());
    assert_eq!(again.payload(), message.payload());
    assert_eq!(again.headers(), message.headers());
    assert_eq!(again.event_name(), message.event_name());
}

/// Writes a ring for the keys in `bytes`, one on each line, and parses it.
///
/// # Panics
/// If the ring lists other keys.
pub fn ring(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut escaped: Vec<String> = text
        .split('\n')
        .filter(|key| !key.is_empty())
        .map(escape)
        .collect();
    let ring = bell::Ring::of(escaped.iter().map(String::as_str));
    let mut rung: Vec<String> = bell::rung(ring.as_bytes()).map(str::to_owned).collect();
    rung.sort_unstable();
    escaped.sort_unstable();
    escaped.dedup();
    assert_eq!(rung, escaped);
    bell::rung(bytes).for_each(|key| assert!(!key.is_empty()));
}

/// The fields of an XADD without MAXLEN: the parts after its name, the stream and `*`.
fn written(commands: &Commands) -> Vec<(Vec<u8>, Vec<u8>)> {
    let Ok(redis::Value::Array(parts)) = parse_redis_value(commands.bytes()) else {
        panic!("no command was written");
    };
    let mut parts = parts.into_iter().skip(3).filter_map(crate::reply::bytes);
    let mut fields = Vec::new();
    while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
        fields.push((name, value));
    }
    fields
}
