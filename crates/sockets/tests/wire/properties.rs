//! What holds for any message, and for any bytes.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use fanfeed_sockets::{Incoming, Message, Timestamp, decode, decode_first};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;
use serde_json::value::RawValue;

/// What is never written as it is.
const ESCAPED: [char; 5] = ['<', '>', '&', '\u{2028}', '\u{2029}'];

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            vec((".*", inner), 0..6).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

prop_compose! {
    fn message()(
        texts in vec(".*", 6),
        body in value(),
        headers in proptest::option::of(vec((".*", ".*"), 0..4)),
        expiration in proptest::option::of(0_u64..250_000_000_000),
        nanos in 0_u32..1_000_000_000,
    ) -> Message {
        let mut message = Message::new(&*texts[0], &*texts[1], &*texts[2]);
        message.set_correlation_id(&*texts[3]);
        message.set_user_id(&*texts[4]);
        message.set_app_id(&*texts[5]);
        message.set_body(&body).expect("a value is JSON");
        message.set_expiration(expiration.map(|seconds| {
            Timestamp::from(UNIX_EPOCH + Duration::new(seconds, nanos))
        }));
        message.set_headers(headers.map(|pairs| pairs.into_iter().collect()));
        message
    }
}

proptest! {
    #[test]
    fn a_message_is_read_as_it_was_written(message in message()) {
        let text = message.encode();
        prop_assert!(text.ends_with('\n'));
        prop_assert!(!text.contains(ESCAPED));
        prop_assert_eq!(text.matches('\n').count(), 1);
        let Ok(Incoming::Message(read)) = decode(text.as_bytes()) else {
            // The one key that makes an error of it.
            prop_assert_eq!(message.key(), "error");
            return Ok(());
        };
        prop_assert_eq!(read.encode(), &*text);
        prop_assert_eq!(read.headers(), message.headers());
        prop_assert_eq!(read.timestamp(), message.timestamp());
        prop_assert_eq!(read.expiration(), message.expiration());
        prop_assert_eq!(read.bind::<Value>().expect("a value"), message.bind::<Value>().expect("a value"));
        prop_assert_eq!((read.key(), read.client_id(), read.channel_id()),
            (message.key(), message.client_id(), message.channel_id()));
        let other: Value = serde_json::from_str(&text).expect("it is JSON for any parser");
        prop_assert_eq!(other["userId"].as_str(), Some(message.user_id()));
    }

    #[test]
    fn an_error_is_read_as_it_was_written(message in message(), detail in value()) {
        let error = message.to_error(&detail).expect("a value is JSON");
        let text = error.encode();
        prop_assert!(!text.contains(ESCAPED));
        let Ok(Incoming::Error(read)) = decode(text.as_bytes()) else {
            panic!("an error is read as something else");
        };
        prop_assert_eq!(read.encode(), text);
        prop_assert_eq!(read.bind::<Value>().expect("a value"), detail);
        prop_assert_eq!(read.headers(), error.headers());
    }

    #[test]
    fn whitespace_in_a_body_is_all_that_is_lost(body in value()) {
        let mut message = Message::new("a", "", "");
        message.set_raw_body(&serde_json::to_string_pretty(&body).expect("JSON")).expect("JSON");
        // Escapes keep their spelling.
        let compact = RawValue::from_string(serde_json::to_string(&body).expect("JSON"));
        let compact = compact.expect("it is JSON");
        let expected = Message::new("a", "", "").with_body(&compact).expect("JSON");
        let Ok(Incoming::Message(read)) = decode(message.encode().as_bytes()) else {
            panic!("a message is read as something else");
        };
        prop_assert_eq!(read.raw_body(), expected.raw_body());
    }

    #[test]
    fn any_bytes_are_a_message_or_an_error(bytes in vec(any::<u8>(), 0..200)) {
        let _ = (decode(&bytes).is_ok(), decode_first(&bytes).is_ok());
    }

    #[test]
    fn any_change_of_a_message_is_a_message_or_an_error(
        message in message(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(),
    ) {
        let mut bytes = message.encode().into_bytes();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        if let Ok(Incoming::Message(read)) = decode_first(&bytes) {
            let written = read.encode();
            let Ok(Incoming::Message(again)) = decode(written.as_bytes()) else {
                panic!("a message is read as something else");
            };
            // The changed body may be spelled in another way than ours: with `&`, which is written
            // as `\u0026`.
            prop_assert_eq!(again.encode(), written);
            prop_assert_eq!(again.headers(), read.headers());
        }
    }

    #[test]
    fn of_equal_names_of_headers_the_last_is_kept(pairs in vec(("[abAB]{0,2}", vec("[a-z]{0,2}", 0..3)), 0..20)) {
        let shown: Vec<String> = pairs
            .iter()
            .map(|(name, values)| format!("{name:?}:{values:?}"))
            .collect();
        let text = format!("{{\"headers\":{{{}}}}}", shown.join(","));
        let Ok(Incoming::Message(read)) = decode(text.as_bytes()) else {
            panic!("{text} is no message");
        };
        let expected: BTreeMap<String, Vec<String>> = pairs.into_iter().collect();
        let expected: Vec<_> = expected.iter().map(|(name, values)| (&**name, &**values)).collect();
        prop_assert_eq!(read.headers().iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn headers_are_collected_as_they_are_added(
        first in vec(("[ab:AB]{0,2}", "[a-z]"), 0..6), then in vec(("[ab:AB]{0,2}", "[a-z]"), 0..12),
    ) {
        let list: Vec<String> = first.iter().map(|(name, value)| format!("{name:?}:[{value:?}]")).collect();
        let text = format!("{{\"headers\":{{{}}}}}", list.join(","));
        let Ok(Incoming::Message(read)) = decode(text.as_bytes()) else {
            panic!("{text} is no message");
        };
        let (mut collected, mut added) = (read.headers().clone(), read.headers().clone());
        collected.extend(then.clone());
        for (name, value) in then {
            added.add(&name, value);
        }
        prop_assert_eq!(collected.iter().collect::<Vec<_>>(), added.iter().collect::<Vec<_>>());
    }
}
