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

/// The envelope of goevent: JSON with `event_name`, `event_type`, `event_data`, `handle_id` and `timestamp` (seconds since
/// 1970), published as it is on the channel that is the prefix and the name.
///
/// # What is assumed
///
/// The names of the fields, and the seconds, are as goevent is described to users. Its source was not at hand: it was not tested
/// against a Go service. It is assumed that a Go service reads an `event_data` that is a value, such as a `json.RawMessage`, and
/// takes any text as `handle_id`. If its field is a `[]byte` or a `string`, it cannot read the events of this bus, though this bus
/// reads its events. Try it with one event first.
///
/// # How it is read
///
/// It is read leniently: `event_data` is the event as JSON, or a text that contains the JSON of an object, as it is or in base64
/// (which is how Go writes a `[]byte`). It is written as JSON.
///
/// ```
/// use fanfeed_bus::{Codec, GoEvent};
///
/// let codec = Codec::GoEvent(GoEvent::new().event_type("order.placed", "orders.OrderPlaced"));
/// ```
#[derive(Debug, Clone, Default)]
pub struct GoEvent {
    types: BTreeMap<Arc<str>, Arc<str>>,
}

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
    /// Absent in events that nobody waits for.
    #[serde(borrow, default)]
    handle_id: Option<Cow<'a, str>>,
}

impl GoEvent {
    /// The name of an event's type is that of the Rust type without its path.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the `event_type` of the events of a name, such as `orders.OrderPlaced`.
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
        let event_type = match self.types.get(event.name) {
            Some(event_type) => event_type,
            None => last_segment(event.type_name),
        };
        let since = event.time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let written = Written {
            event_name: event.name,
            event_type,
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
        let (origin, id, payload) = match ours {
            // A bus of this crate, which writes the event as a value.
            Some((origin, id)) => (
                origin.to_owned().into(),
                id.to_owned().into(),
                read.event_data.get().into(),
            ),
            // It is not known what makes a handle of a Go service unique. Pub/sub delivers once anyway.
            None => (Cow::Borrowed(""), handle, payload(read.event_data)),
        };
        Ok(Incoming {
            id,
            name: read.event_name,
            origin,
            bus: None,
            payload,
        })
    }
}

/// The JSON of the event, which may be inside a text.
fn payload(data: &RawValue) -> Cow<'_, str> {
    let Ok(text) = serde_json::from_str::<String>(data.get()) else {
        return data.get().into();
    };
    // Go's events are structs.
    let is_object = |text: &str| {
        text.trim_start().starts_with('{') && serde_json::from_str::<&RawValue>(text).is_ok()
    };
    if is_object(&text) {
        return text.into();
    }
    match base64(&text).and_then(|bytes| String::from_utf8(bytes).ok()) {
        Some(inner) if is_object(&inner) => inner.into(),
        // The event is a text.
        _ => data.get().into(),
    }
}

/// The standard alphabet, with padding, as Go writes it.
fn base64(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let digits = text.trim_end_matches('=');
    if text.len() - digits.len() > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xff_ffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    Some(bytes)
}

fn last_segment(type_name: &str) -> &str {
    let path = type_name
        .split_once('<')
        .map_or(type_name, |(path, _)| path);
    path.rsplit("::").next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::{base64, last_segment};

    #[test]
    fn base64_is_read_as_go_writes_it() {
        assert_eq!(base64("eyJhIjoxfQ=="), Some(br#"{"a":1}"#.to_vec()));
        assert_eq!(base64("eyJhIjoxMn0="), Some(br#"{"a":12}"#.to_vec()));
        assert_eq!(base64(""), Some(Vec::new()));
        for bad in ["e", "eyJ", "eyJ!", "====", "a==="] {
            assert_eq!(base64(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_type_has_no_path() {
        assert_eq!(last_segment("shop::OrderPlaced"), "OrderPlaced");
        assert_eq!(last_segment("shop::Event<a::B>"), "Event");
    }
}
