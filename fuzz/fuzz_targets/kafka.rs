//! Headers of Kafka records that other programs write.
//!
//! The driver's own module is built here, without librdkafka, which takes long to build with a
//! sanitizer.

#![no_main]

use fanfeed_broker::Key;
use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../crates/kafka/src/record.rs"]
mod record;

use record::Raw;

const LIMIT: usize = 256;

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.split(|byte| *byte == 0);
    let (key, payload) = (parts.next(), parts.next());
    let names: Vec<String> = parts
        .clone()
        .step_by(2)
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect();
    let values = parts.skip(1).step_by(2);
    // The last name has no value: it is null.
    let values = values.map(Some).chain([None]);
    let raw = Raw {
        topic: "t",
        partition: 0,
        offset: 7,
        key,
        payload,
        milliseconds: Some(bytes.len() as i64 - 1),
        headers: names.iter().map(String::as_str).zip(values).collect(),
    };
    let key = Key::new("k");
    let _ = record::is_of(&key, &raw);
    let Ok(message) = record::read(&key, LIMIT, &raw) else {
        return;
    };
    assert!(
        message.size() <= LIMIT,
        "a message is larger than the limit"
    );
    let mut written = Vec::new();
    record::headers(&message, true, &mut String::new(), |name, value| {
        written.push((name.to_owned(), value.to_owned()))
    });
    let again = Raw {
        key: None,
        milliseconds: None,
        headers: written
            .iter()
            .map(|(name, value)| (name.as_str(), Some(value.as_bytes())))
            .collect(),
        ..raw.clone()
    };
    assert!(record::is_of(&key, &again), "the key is found again");
    let back = record::read(&key, LIMIT, &again).expect("what was written is read");
    assert_eq!(back.id(), message.id());
    assert_eq!(back.event_name(), message.event_name());
    assert_eq!(back.headers(), message.headers());
    assert_eq!(back.payload(), message.payload());
});
