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

/// Reads a message of NATS core, whose reply subject may begin with `marks` and say what headers would.
pub(crate) fn hear(
    origin: &Origin<'_>,
    marks: &str,
    message: &async_nats::Message,
) -> Result<Message, BadEntry> {
    if message.headers.is_none()
        && let Some(reply) = &message.reply
        && let Some(mark) = reply.strip_prefix(marks)
        && let Some(read) = entry::read_marked(origin, mark, &message.payload)
    {
        return read;
    }
    read(origin, message, MessageId::unique)
}
