//! A message in the form in which it is published on a pub/sub channel.
//!
//! A head, an empty line, and the payload without encoding:
//!
//! ```text
//! fanfeed/1
//! id=2f0c..
//! time=1700000000000
//! name=MessagePosted
//! h.lang=en
//!
//! hello
//! ```
//!
//! The fields of the head are those of an [entry](crate::entry). In names and values, control
//! characters, `%` and all bytes beyond ASCII are percent-encoded, like `%20`. In names, `=` is
//! encoded too. Text that does not begin with the first line was published by another program, and
//! all of it is the payload.

use std::borrow::Cow;
use std::time::SystemTime;

use bytes::Bytes;
use fanfeed_broker::{Key, Message, MessageId};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode, percent_encode};

use crate::entry::{BadEntry, Parts, fields_of, milliseconds};

/// The beginning of a message of this crate.
const MARK: &[u8] = b"fanfeed/1\n";
const VALUE: &AsciiSet = &CONTROLS.add(b'%');
const NAME: &AsciiSet = &VALUE.add(b'=');

/// Writes a message to `text`, replacing its contents.
pub(crate) fn write(text: &mut Vec<u8>, message: &Message) {
    text.clear();
    text.extend_from_slice(MARK);
    fields_of(message, |field, value| {
        for (part, set, end) in [(field, NAME, b'='), (value, VALUE, b'\n')] {
            for piece in percent_encode(part, set) {
                text.extend_from_slice(piece.as_bytes());
            }
            text.push(end);
        }
    });
    text.push(b'\n');
    text.extend_from_slice(message.payload());
}

/// Reads a message that arrived under `key`, of at most `limit` bytes.
pub(crate) fn read(key: &Key, limit: usize, bytes: &Bytes) -> Result<Message, BadEntry> {
    let mut parts = Parts::new(limit);
    parts.key(key)?;
    let mut at = 0;
    if bytes.starts_with(MARK) {
        at = MARK.len();
        loop {
            let end = bytes[at..].iter().position(|byte| *byte == b'\n');
            let line = &bytes[at..at + end.ok_or(BadEntry::NoHead)?];
            at += line.len() + 1;
            if line.is_empty() {
                break;
            }
            let equals = line.iter().position(|byte| *byte == b'=');
            let equals = equals.ok_or(BadEntry::NoHead)?;
            let decoded = |part| Cow::from(percent_decode(part)).into_owned();
            parts.take(&decoded(&line[..equals]), &mut decoded(&line[equals + 1..]))?;
        }
    }
    parts.payload(bytes.slice(at..))?;
    parts.message(key, MessageId::unique, milliseconds(SystemTime::now()))
}

#[cfg(test)]
mod tests {
    use super::{MARK, read, write};
    use crate::entry::BadEntry;
    use bytes::Bytes;
    use fanfeed_broker::{Key, Message};
    use proptest::prelude::*;

    const LIMIT: usize = 1000;

    fn written(message: &Message) -> Vec<u8> {
        let mut text = b"the last one".to_vec();
        write(&mut text, message);
        text
    }

    fn reading(bytes: &[u8]) -> Result<Message, BadEntry> {
        read(&Key::new("k"), LIMIT, &Bytes::copy_from_slice(bytes))
    }

    #[test]
    fn the_head_can_be_read_by_people() {
        let message = Message::new("k", "hello").name("a\nb").header("=", "100 %");
        let text = String::from_utf8(written(&message)).unwrap();
        assert!(text.starts_with("fanfeed/1\nid="), "{text}");
        assert!(
            text.ends_with("\nname=a%0Ab\nh.%3D=100 %25\n\nhello"),
            "{text}"
        );
    }

    #[test]
    fn what_others_published_is_a_payload() {
        for text in [&b""[..], b"hello", b"\xff\0", b"fanfeed/1", b"{\"a\":1}"] {
            assert_eq!(reading(text).unwrap().payload(), text);
        }
    }

    #[test]
    fn a_head_that_is_not_understood_is_refused() {
        for rest in [
            "",
            "id=1",
            "id=1\n",
            "id\n\n",
            "payload=a\n\nb",
            "h.%FF=1\n\n",
        ] {
            let text = [MARK, rest.as_bytes()].concat();
            assert!(reading(&text).is_err(), "{rest:?}");
        }
        let error = reading(&[0; LIMIT]).unwrap_err();
        assert!(matches!(error, BadEntry::TooLarge { .. }));
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            payload in proptest::collection::vec(any::<u8>(), 0..99),
            name in proptest::option::of(".{0,9}"),
            header in (".{0,9}", ".{0,9}"),
        ) {
            let mut message = Message::new("k", payload).header(header.0, header.1);
            if let Some(name) = name {
                message = message.name(name);
            }
            let again = reading(&written(&message)).unwrap();
            prop_assert_eq!(again.id(), message.id());
            prop_assert_eq!(again.payload(), message.payload());
            prop_assert_eq!(again.event_name(), message.event_name());
            prop_assert_eq!(again.headers(), message.headers());
        }

        #[test]
        fn nothing_makes_it_panic(rest in proptest::collection::vec(any::<u8>(), 0..99)) {
            let _ = reading(&[MARK, &rest].concat());
        }
    }
}
