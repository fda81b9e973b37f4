//! For the fuzz target: what parses bytes of other processes.

use std::time::SystemTime;

use serde_json::value::RawValue;

use crate::Arrived;
use crate::error::BusError;
use crate::remote::codec::{Codec, Outgoing};
use crate::remote::{EventRegistry, GoEvent};

/// Reads `bytes` as an envelope of this crate.
///
/// # Panics
/// If an event is not read back as it was written.
pub fn envelope(bytes: &[u8]) {
    round(&Codec::Json, bytes);
}

/// Reads `bytes` as an envelope of goevent.
///
/// # Panics
/// If an event is not read back as it was written.
pub fn goevent(bytes: &[u8]) {
    round(&Codec::GoEvent(GoEvent::new()), bytes);
}

/// Reads `bytes` as the payload of an event that `registry` knows under this name.
///
/// # Panics
/// If more than the beginning of it is kept.
pub fn payload(registry: &EventRegistry, name: &str, bytes: &[u8]) {
    if let Err(BusError::Undelivered { arrived, .. }) = registry.create(name, bytes) {
        assert!(arrived.beginning().len() <= Arrived::BEGINNING);
        assert_eq!(arrived.size(), bytes.len());
    }
}

fn round(codec: &Codec, bytes: &[u8]) {
    let arrived = Arrived::new(bytes);
    assert!(arrived.beginning().len() <= Arrived::BEGINNING);
    let Ok(event) = codec.read(bytes) else {
        return;
    };
    let payload = RawValue::from_string(event.payload.clone().into_owned());
    let payload = payload.expect("a payload is JSON");
    let outgoing = Outgoing {
        id: &event.id,
        name: &event.name,
        origin: "origin",
        bus: event.bus.as_deref().unwrap_or("bus"),
        time: SystemTime::UNIX_EPOCH,
        payload: &payload,
    };
    let written = codec.write(&outgoing).expect("it can be written");
    let again = codec.read(&written).expect("what was written can be read");
    assert_eq!(again.id, event.id);
    assert_eq!(again.name, event.name);
    assert_eq!(again.origin, "origin");
    assert_eq!(again.payload, payload.get());
}
