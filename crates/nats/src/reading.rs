//! Turns a message of the client library into a message of the broker.

use fanfeed_broker::{Message, MessageId};

use crate::entry::{self, BadEntry, Origin};

/// Reads a message that arrived. `missing` gives its identity if the headers have none.
pub(crate) fn read(
    origin: &Origin<'_>,
    message: &async_nats::Message,
    missing: impl FnOnce() -> MessageId,
) -> Result<Message, BadEntry> {
    let headers = message.headers.iter().flat_map(|headers| headers.iter());
    let lines = headers.flat_map(|(name, values)| {
        let name: &str = name.as_ref();
        values.iter().map(move |value| (name, value.as_str()))
    });
    entry::read(origin, lines, message.payload.clone(), missing)
}

/// Reads a message of NATS core. If its reply subject begins with `marks`, it gives the identity
/// and the time that the headers lack: a program that passes a message on may add headers to it.
pub(crate) fn hear(
    origin: &Origin<'_>,
    marks: &str,
    message: &async_nats::Message,
) -> Result<Message, BadEntry> {
    let mark = message
        .reply
        .as_ref()
        .and_then(|reply| reply.strip_prefix(marks))
        .and_then(entry::read_mark);
    match mark {
        Some((id, time)) => {
            let time = Some(time);
            read(&Origin { time, ..*origin }, message, || id)
        }
        None => read(origin, message, MessageId::unique),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use async_nats::HeaderMap;
    use fanfeed_broker::{Key, Message};

    use super::hear;
    use crate::entry::{BadEntry, Origin};

    const LIMIT: usize = 10;

    fn heard(reply: &str, headers: &[(&str, &str)], bytes: usize) -> Result<Message, BadEntry> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, *value);
        }
        let message = async_nats::Message {
            subject: "p.k.k".into(),
            reply: Some(reply.into()),
            payload: vec![0; bytes].into(),
            headers: (!headers.is_empty()).then_some(map),
            status: None,
            description: None,
            length: 0,
        };
        let origin = Origin {
            key: &Key::new("k"),
            subject: "p.k.k",
            limit: LIMIT,
            time: None,
        };
        hear(&origin, "p.m.", &message)
    }

    #[test]
    fn a_mark_says_what_the_headers_do_not() {
        let five = UNIX_EPOCH + Duration::from_millis(5);
        for (headers, id, time) in [
            (&[][..], "order-7", 5),
            (&[("a", "b")], "order-7", 5),
            (&[("Nats-Msg-Id", "theirs@p.k.k")], "theirs", 5),
            (&[("Fanfeed-Time", "6")], "order-7", 6),
        ] {
            let message = heard("p.m.order-7.5", headers, 1).unwrap();
            assert_eq!(message.id().to_string(), id);
            let time = UNIX_EPOCH + Duration::from_millis(time);
            assert_eq!(message.timestamp(), time);
        }
        for no_mark in ["p.m.order-7", "p.m..5", "p.x.order-7.5", "order-7.5"] {
            let message = heard(no_mark, &[], 1).unwrap();
            assert!(message.id().is_generated(), "{no_mark}");
            assert_ne!(message.timestamp(), five);
        }
    }

    #[test]
    fn the_limit_holds_with_a_mark() {
        assert!(heard("p.m.order-7.5", &[], LIMIT - 1).is_ok());
        let error = heard("p.m.order-7.5", &[], LIMIT).unwrap_err();
        let (size, limit) = (LIMIT + 1, LIMIT);
        assert_eq!(error, BadEntry::TooLarge { size, limit });
    }
}
