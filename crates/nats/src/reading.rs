//! Turns a message of the client library into a message of the broker.

use fanfeed_broker::{Key, Message, MessageId};

use crate::entry::{self, BadEntry, Origin};

/// Reads a message that arrived for `key` under `subject`, of at most `limit` bytes.
pub(crate) fn read(
    key: &Key,
    subject: &str,
    limit: usize,
    message: &async_nats::Message,
    missing: impl FnOnce() -> MessageId,
) -> Result<Message, BadEntry> {
    let origin = Origin {
        key,
        subject,
        limit,
    };
    let headers = message.headers.iter().flat_map(|headers| headers.iter());
    let lines = headers.flat_map(|(name, values)| {
        let name: &str = name.as_ref();
        values.iter().map(move |value| (name, value.as_str()))
    });
    entry::read(&origin, lines, message.payload.clone(), missing)
}
