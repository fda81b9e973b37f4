//! The envelope of this crate, in JSON. `docs/envelope.md` describes it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::error::Undelivered;
use crate::remote::codec::{Incoming, Outgoing, reason};

/// The version of the envelope.
const VERSION: u64 = 1;

#[derive(Serialize)]
struct Written<'a> {
    fanfeed: u64,
    id: &'a str,
    name: &'a str,
    time: u64,
    origin: &'a str,
    bus: &'a str,
    payload: &'a RawValue,
}

#[derive(Deserialize)]
struct Read<'a> {
    fanfeed: u64,
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    name: Cow<'a, str>,
    /// Only checked: nothing depends on it.
    #[serde(rename = "time")]
    _time: u64,
    #[serde(borrow)]
    origin: Cow<'a, str>,
    #[serde(borrow)]
    bus: Option<Cow<'a, str>>,
    #[serde(borrow)]
    payload: &'a RawValue,
}

/// What all versions have.
#[derive(Deserialize)]
struct Version {
    fanfeed: u64,
}

pub(crate) fn write(event: &Outgoing<'_>) -> Result<Vec<u8>, Arc<str>> {
    let written = Written {
        fanfeed: VERSION,
        id: event.id,
        name: event.name,
        time: milliseconds(event.time),
        origin: event.origin,
        bus: event.bus,
        payload: event.payload,
    };
    serde_json::to_vec(&written).map_err(|error| reason(&error))
}

pub(crate) fn read(bytes: &[u8]) -> Result<Incoming<'_>, Undelivered> {
    let future = |found| Undelivered::FutureVersion {
        found,
        known: VERSION,
    };
    let read: Read<'_> = match serde_json::from_slice(bytes) {
        Ok(read) => read,
        // A later version may have other fields.
        Err(error) => {
            return Err(match serde_json::from_slice(bytes) {
                Ok(Version { fanfeed }) if fanfeed > VERSION => future(fanfeed),
                _ => Undelivered::Malformed(reason(&error)),
            });
        }
    };
    match read.fanfeed {
        VERSION => {}
        0 => return Err(Undelivered::Malformed("there is no version 0".into())),
        later => return Err(future(later)),
    }
    Ok(Incoming {
        id: read.id,
        name: read.name,
        origin: read.origin,
        bus: read.bus,
        payload: read.payload.get().into(),
    })
}

fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
