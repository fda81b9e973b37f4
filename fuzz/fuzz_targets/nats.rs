//! Headers and reply subjects of NATS messages that other programs write.
//!
//! The driver's own module is built here, without the client library, which takes long to build
//! with a sanitizer.

#![no_main]

use bytes::{Bytes, BytesMut};
use fanfeed_broker::{Key, Message, MessageId};
use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../crates/nats/src/entry.rs"]
mod entry;

const SUBJECT: &str = "p.k.k";
const LIMIT: usize = 256;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Some((id, time)) = entry::read_mark(text) {
        let message = Message::new("k", "").with_id(id).with_timestamp(time);
        let mut mark = BytesMut::new();
        assert!(
            entry::write_mark(&message, &mut mark),
            "what a mark said needs headers"
        );
        let mark = std::str::from_utf8(&mark).expect("a mark is text");
        let again = entry::read_mark(mark).expect("what was written can be read");
        assert_eq!(again, (message.id().clone(), time));
    }
    let (head, payload) = text.split_once("\n\n").unwrap_or((text, ""));
    let lines: Vec<(&str, &str)> = head
        .split('\n')
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name, value.trim()))
        .collect();
    let payload = Bytes::copy_from_slice(payload.as_bytes());
    let Some(message) = read(&lines, payload) else {
        return;
    };
    assert!(
        message.size() <= LIMIT,
        "a message is larger than the limit"
    );
    let mut written = Vec::new();
    entry::write(&message, SUBJECT, |name, value| {
        written.push((name.to_owned(), value))
    });
    for (name, value) in &written {
        assert!(
            name.bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b':')
        );
        assert!(!name.is_empty() && value.trim() == value && !value.contains(['\r', '\n']));
    }
    let own: Vec<(&str, &str)> = written
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    let again = read(&own, message.payload().clone()).expect("what was written can be read");
    assert_eq!(again.id(), message.id());
    assert_eq!(again.payload(), message.payload());
    assert_eq!(again.headers(), message.headers());
    assert_eq!(again.event_name(), message.event_name());
});

fn read(lines: &[(&str, &str)], payload: Bytes) -> Option<Message> {
    let key = Key::new("k");
    let origin = entry::Origin {
        key: &key,
        subject: SUBJECT,
        limit: LIMIT,
        time: None,
    };
    let missing = || MessageId::parse("none");
    entry::read(&origin, lines.iter().copied(), payload, missing).ok()
}
