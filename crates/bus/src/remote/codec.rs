//! How events are written for other processes, and read.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::value::RawValue;

use crate::error::Undelivered;
use crate::remote::envelope;
use crate::remote::goevent::{self, GoEvent};

/// How events are written for other processes.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Codec {
    /// The envelope of this crate: see [`docs::envelope`](crate::docs::envelope).
    #[default]
    Json,
    /// The envelope of goevent, for Go services.
    GoEvent(GoEvent),
}

/// An event on its way out.
pub(crate) struct Outgoing<'a> {
    pub(crate) id: &'a str,
    pub(crate) name: &'a str,
    pub(crate) origin: &'a str,
    pub(crate) bus: &'a str,
    pub(crate) time: SystemTime,
    pub(crate) payload: &'a RawValue,
}

/// An event that arrived.
#[derive(Debug)]
pub(crate) struct Incoming<'a> {
    pub(crate) id: Cow<'a, str>,
    pub(crate) name: Cow<'a, str>,
    /// Empty if it has none: then it is not deduplicated.
    pub(crate) origin: Cow<'a, str>,
    /// The prefix of its bus, if it says so.
    pub(crate) bus: Option<Cow<'a, str>>,
    pub(crate) payload: Cow<'a, str>,
}

impl Codec {
    /// The most that the envelope of an event is larger than what [`size`](Self::size) counts.
    pub(crate) fn overhead(&self) -> usize {
        match self {
            Self::Json => 0,
            Self::GoEvent(_) => goevent::OVERHEAD,
        }
    }

    /// The size that counts against the largest event: of the envelope, or of the event alone, as
    /// goevent counts.
    pub(crate) fn size(&self, envelope: usize, payload: usize) -> usize {
        match self {
            Self::Json => envelope,
            Self::GoEvent(_) => payload,
        }
    }

    pub(crate) fn write(&self, event: &Outgoing<'_>) -> Result<Vec<u8>, Arc<str>> {
        match self {
            Self::Json => envelope::write(event),
            Self::GoEvent(options) => options.write(event),
        }
    }

    pub(crate) fn read<'a>(&self, bytes: &'a [u8]) -> Result<Incoming<'a>, Undelivered> {
        match self {
            Self::Json => envelope::read(bytes),
            Self::GoEvent(options) => options.read(bytes),
        }
    }
}

/// What is wrong, without what the JSON contains.
pub(crate) fn reason(error: &serde_json::Error) -> Arc<str> {
    // Names of fields are those of the type.
    if let Some(text) = missing_field(error) {
        return text.into();
    }
    let what = match error.classify() {
        serde_json::error::Category::Syntax => "no JSON",
        serde_json::error::Category::Eof => "JSON that ends too soon",
        _ => "not the JSON that was expected",
    };
    format!("{what}, at line {} column {}", error.line(), error.column()).into()
}

/// The text of an error that serde makes itself for a field that is missing. An error of the type's
/// own code may have the value in its text.
fn missing_field(error: &serde_json::Error) -> Option<String> {
    let text = error.to_string();
    let place = format!("` at line {} column {}", error.line(), error.column());
    let field = text.strip_prefix("missing field `")?.strip_suffix(&place)?;
    let is_name = |each: char| each.is_alphanumeric() || "_-.$".contains(each);
    (field.len() < 100 && field.chars().all(is_name)).then_some(text)
}
