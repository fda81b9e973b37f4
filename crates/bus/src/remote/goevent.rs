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
/// against a Go service. It is assumed that a Go service takes any text as `handle_id`, and reads an `event_data` that is a value, as
/// a `json.RawMessage` or a `map[string]any` does. If its field is a `string` or a `[]byte`, choose that with [`data`](Self::data). Try
/// it with one event first.
///
/// # How it is read
///
/// It is read leniently: `event_data` is the event as JSON, or a text that contains the JSON of an object, as it is or in base64
/// (which is how Go writes a `[]byte`).
///
/// ```
/// use fanfeed_bus::{Codec, GoEvent};
///
/// let codec = Codec::GoEvent(GoEvent::new().event_type("order.placed", "orders.OrderPlaced"));
/// ```
#[derive(Debug, Clone, Default)]
pub struct GoEvent {
    types: BTreeMap<Arc<str>, Arc<str>>,
    data: GoData,
}

/// How [`GoEvent`] writes `event_data`. All are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum GoData {
    /// As a value: `{"order":42}`, for a `json.RawMessage` or a `map[string]any`.
    #[default]
    Value,
    /// As a text that contains the JSON: `"{\"order\":42}"`, for a `string`.
    Text,
    /// As such a text in base64: `"eyJvcmRlciI6NDJ9"`, for a `[]byte`.
    Base64,
}

impl GoData {
    /// Stands in `handle_id`, before the origin.
    fn mark(self) -> &'static str {
        match self {
            Self::Value => "",
            Self::Text => "text-",
            Self::Base64 => "base64-",
        }
    }

    /// Reads what was written in this form.
    fn read(self, data: &RawValue) -> Result<Cow<'_, str>, Undelivered> {
        let text = || serde_json::from_str::<String>(data.get()).ok();
        let inner = match self {
            Self::Value => return Ok(data.get().into()),
            Self::Text => text(),
            Self::Base64 => text()
                .and_then(|text| base64(&text))
                .and_then(|bytes| String::from_utf8(bytes).ok()),
        };
        let inner = inner.filter(|inner| serde_json::from_str::<&RawValue>(inner).is_ok());
        let inner = inner.ok_or(Undelivered::Malformed(
            "`event_data` has no JSON in it".into(),
        ))?;
        Ok(inner.into())
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Data<'a> {
    Value(&'a RawValue),
    Text(Cow<'a, str>),
}

#[derive(Serialize)]
struct Written<'a> {
    event_name: &'a str,
    event_type: &'a str,
    event_data: Data<'a>,
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

    /// Sets how `event_data` is written: as a value by default.
    #[must_use]
    pub fn data(mut self, data: GoData) -> Self {
        self.data = data;
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
            event_data: match self.data {
                GoData::Value => Data::Value(event.payload),
                GoData::Text => Data::Text(event.payload.get().into()),
                GoData::Base64 => Data::Text(to_base64(event.payload.get().as_bytes()).into()),
            },
            handle_id: &format!("{MARK}{}{}-{}", self.data.mark(), event.origin, event.id),
            timestamp: since.as_secs(),
        };
        serde_json::to_vec(&written).map_err(|error| reason(&error))
    }

    pub(crate) fn read<'a>(&self, bytes: &'a [u8]) -> Result<Incoming<'a>, Undelivered> {
        let read: Read<'a> = serde_json::from_slice(bytes)
            .map_err(|error| Undelivered::Malformed(reason(&error)))?;
        let handle = read.handle_id.unwrap_or_default();
        let ours = handle.strip_prefix(MARK).and_then(|ours| {
            let written = [GoData::Text, GoData::Base64].into_iter().find_map(|data| {
                let ours = ours.strip_prefix(data.mark())?;
                Some((ours, data))
            });
            let (ours, data) = written.unwrap_or((ours, GoData::Value));
            let (origin, id) = ours.split_once('-')?;
            Some((origin, id, data))
        });
        let (origin, id, payload) = match ours {
            // A bus of this crate, which says how it wrote the event: an event that is a text itself may look like another form.
            Some((origin, id, data)) => (
                origin.to_owned().into(),
                id.to_owned().into(),
                data.read(read.event_data)?,
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
fn to_base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| chunk.get(at).map_or(0, |byte| u32::from(*byte));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            text.push(match digit > chunk.len() {
                true => '=',
                false => char::from(DIGITS[(bits >> (18 - 6 * digit)) as usize & 63]),
            });
        }
    }
    text
}

/// Reads what [`to_base64`] writes.
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
    use std::time::UNIX_EPOCH;

    use serde_json::value::RawValue;

    use super::{GoData, GoEvent};
    use super::{base64, last_segment, to_base64};
    use crate::remote::codec::Outgoing;

    #[test]
    fn base64_is_read_as_go_writes_it() {
        assert_eq!(base64("eyJhIjoxfQ=="), Some(br#"{"a":1}"#.to_vec()));
        assert_eq!(base64("eyJhIjoxMn0="), Some(br#"{"a":12}"#.to_vec()));
        assert_eq!(base64(""), Some(Vec::new()));
        for text in ["{\"a\":1}", "{\"a\":12}", "{\"a\":\"ÿ?>\"}", ""] {
            assert_eq!(
                base64(&to_base64(text.as_bytes())).unwrap(),
                text.as_bytes()
            );
        }
        assert_eq!(to_base64(b"{\"a\":12}"), "eyJhIjoxMn0=");
        for bad in ["e", "eyJ", "eyJ!", "====", "a==="] {
            assert_eq!(base64(bad), None, "{bad}");
        }
    }

    #[test]
    fn all_forms_of_data_are_read_as_they_were_written() {
        // The last is an event that is a text, and looks like a form of the first.
        for payload in [r#"{"order":42}"#, "7", r#""{\"order\":42}""#] {
            let forms = [GoData::Value, GoData::Text, GoData::Base64].map(|data| {
                let payload = RawValue::from_string(payload.to_owned()).unwrap();
                let outgoing = Outgoing {
                    id: "5",
                    name: "order.placed",
                    origin: "9a",
                    bus: "",
                    type_name: "OrderPlaced",
                    time: UNIX_EPOCH,
                    payload: &payload,
                };
                GoEvent::new().data(data).write(&outgoing).unwrap()
            });
            for written in &forms {
                let read = GoEvent::new().read(written).unwrap();
                assert_eq!(
                    (&*read.origin, &*read.id, &*read.payload),
                    ("9a", "5", payload)
                );
            }
        }
        let bad = br#"{"event_name":"a","event_data":"e","handle_id":"fanfeed-text-9a-5"}"#;
        assert!(GoEvent::new().read(bad).is_err());
    }

    #[test]
    fn the_type_has_no_path() {
        assert_eq!(last_segment("shop::OrderPlaced"), "OrderPlaced");
        assert_eq!(last_segment("shop::Event<a::B>"), "Event");
    }
}
