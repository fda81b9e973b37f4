//! The envelope of goevent, so that Go services can stay.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::error::Undelivered;
use crate::remote::codec::{Incoming, Outgoing, reason};

/// Stands before our origin in `handle_id`.
const MARK: &str = "fanfeed-";

/// The most that an envelope of goevent is larger than its event. goevent limits the event alone.
pub(crate) const OVERHEAD: usize = 1024;

/// The envelope of goevent (`github.com/openframebox/goevent`): JSON with `event_name`,
/// `event_type`, `event_data`, `handle_id` and `timestamp` (seconds since 1970), published as it is
/// on the channel that is the prefix and the name.
///
/// # What a Go service reads
///
/// goevent looks the type of an event up by `event_type` alone: that is the name of the event,
/// under which `RegisterEventType` registers. Its first release with Redis took the name of the Go
/// type instead, such as `*main.OrderPlaced`. For such a service, and for a name that it gave to
/// `RegisterEventTypeAs`, set [`event_type`](Self::event_type).
///
/// `event_data` is the event as `json.Marshal` writes the struct, not its `Payload()`. goevent logs
/// an event that it cannot read, and drops it.
///
/// # What this crate reads
///
/// The channel and `event_name` decide the type; `event_type` and `timestamp` are ignored.
///
/// ```
/// use fanfeed_bus::{Codec, GoEvent};
///
/// // For Go services of goevent's first release with Redis.
/// let codec = Codec::GoEvent(GoEvent::new().event_type("order.placed", "*orders.OrderPlaced"));
/// ```
#[derive(Debug, Clone, Default)]
pub struct GoEvent {
    types: BTreeMap<Arc<str>, Arc<str>>,
}

/// The order of the fields is that of goevent.
#[derive(Serialize)]
struct Written<'a> {
    event_name: &'a str,
    event_type: &'a str,
    event_data: &'a RawValue,
    handle_id: &'a str,
    timestamp: u64,
}

#[derive(Deserialize)]
struct Read<'a> {
    #[serde(borrow)]
    event_name: Cow<'a, str>,
    #[serde(borrow)]
    event_data: &'a RawValue,
    /// A program that takes part may leave it out.
    #[serde(borrow, default)]
    handle_id: Option<Cow<'a, str>>,
}

impl GoEvent {
    /// The type of an event is its name.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the `event_type` of the events of a name, by which Go services find their type.
    #[must_use]
    pub fn event_type(
        mut self,
        name: impl Into<Arc<str>>,
        event_type: impl Into<Arc<str>>,
    ) -> Self {
        self.types.insert(name.into(), event_type.into());
        self
    }

    pub(crate) fn write(&self, event: &Outgoing<'_>) -> Result<Vec<u8>, Arc<str>> {
        let event_type = self.types.get(event.name);
        let since = event.time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let written = Written {
            event_name: event.name,
            event_type: event_type.map_or(event.name, |set| set),
            event_data: event.payload,
            handle_id: &format!("{MARK}{}-{}", event.origin, event.id),
            timestamp: since.as_secs(),
        };
        serde_json::to_vec(&written).map_err(|error| reason(&error))
    }

    pub(crate) fn read<'a>(&self, bytes: &'a [u8]) -> Result<Incoming<'a>, Undelivered> {
        let read: Read<'a> = serde_json::from_slice(bytes)
            .map_err(|error| Undelivered::Malformed(reason(&error)))?;
        let handle = read.handle_id.unwrap_or_default();
        let ours = handle
            .strip_prefix(MARK)
            .and_then(|ours| ours.split_once('-'));
        let (origin, id) = match ours {
            Some((origin, id)) => (origin.to_owned().into(), id.to_owned().into()),
            // A Go service draws eight random bytes for each dispatch. Pub/sub delivers once
            // anyway.
            None => (Cow::Borrowed(""), handle),
        };
        Ok(Incoming {
            id,
            name: read.event_name,
            origin,
            bus: None,
            payload: read.event_data.get().into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use serde_json::value::RawValue;

    use super::GoEvent;
    use crate::remote::codec::Outgoing;

    fn written(codec: &GoEvent) -> String {
        let payload = RawValue::from_string(r#"{"order":42}"#.to_owned()).unwrap();
        let outgoing = Outgoing {
            id: "5",
            name: "order.placed",
            origin: "9a",
            bus: "goevent:",
            time: UNIX_EPOCH + Duration::from_millis(1_700_000_000_999),
            payload: &payload,
        };
        String::from_utf8(codec.write(&outgoing).unwrap()).unwrap()
    }

    #[test]
    fn an_event_is_written_byte_by_byte_as_goevent_does() {
        assert_eq!(
            written(&GoEvent::new()),
            concat!(
                r#"{"event_name":"order.placed","event_type":"order.placed","#,
                r#""event_data":{"order":42},"handle_id":"fanfeed-9a-5","timestamp":1700000000}"#
            )
        );
        let old = GoEvent::new().event_type("order.placed", "*main.OrderPlaced");
        assert!(written(&old).contains(r#""event_type":"*main.OrderPlaced","#));
        let bytes = written(&old);
        let read = old.read(bytes.as_bytes()).unwrap();
        assert_eq!((&*read.origin, &*read.id), ("9a", "5"));
        assert_eq!(read.payload, r#"{"order":42}"#);
    }

    /// What goevent published on `goevent:order.paid`, and what its first release with Redis did.
    #[test]
    fn what_goevent_writes_is_read() {
        for (event_type, data) in [
            (
                "order.paid",
                r#"{"order":7,"note":"\u003cthanks \u0026 \u2028 café\u003e"}"#,
            ),
            ("*main.OrderPaid", r#"{"order":7,"note":""}"#),
            ("order.paid", "null"),
            // A struct with an embedded text that contains JSON is a value like others.
            ("order.paid", r#""{\"order\":7}""#),
        ] {
            let bytes = format!(
                concat!(
                    r#"{{"event_name":"order.paid","event_type":"{}","event_data":{},"#,
                    r#""handle_id":"8f3a61c09d2be774","timestamp":1700000000}}"#
                ),
                event_type, data
            );
            let read = GoEvent::new().read(bytes.as_bytes()).unwrap();
            assert_eq!((&*read.name, &*read.origin), ("order.paid", ""));
            assert_eq!((&*read.id, &*read.payload), ("8f3a61c09d2be774", data));
        }
    }
}
