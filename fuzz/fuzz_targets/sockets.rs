//! Bytes that a peer sends over a WebSocket channel.

#![no_main]

use fanfeed_sockets::{Incoming, decode, decode_first};
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;

fuzz_target!(|bytes: &[u8]| {
    let whole = decode(bytes);
    let Ok(first) = decode_first(bytes) else {
        assert!(whole.is_err(), "only what comes after a message was wrong");
        return;
    };
    if let Ok(whole) = whole {
        assert_eq!(whole, first);
    }
    let text = written(&first);
    assert!(text.ends_with("}\n") && text.matches('\n').count() == 1);
    assert!(!text.contains(['<', '>', '&', '\u{2028}', '\u{2029}']));
    serde_json::from_str::<&RawValue>(&text).expect("what is written is JSON");
    let again = decode(text.as_bytes()).expect("what was written can be read");
    assert_eq!(written(&again), text);
    match (&first, &again) {
        (Incoming::Message(first), Incoming::Message(again)) => {
            assert_eq!(again.headers(), first.headers());
            assert_eq!(again.expiration(), first.expiration());
            assert_eq!(again.timestamp(), first.timestamp());
            assert_eq!(
                (again.key(), again.id(), again.user_id()),
                (first.key(), first.id(), first.user_id())
            );
        }
        (Incoming::Error(first), Incoming::Error(again)) => {
            assert_eq!(again.headers(), first.headers());
            assert_eq!(again.origin_key(), first.origin_key());
        }
        _ => panic!("a message became an error, or the other way round"),
    }
});

fn written(incoming: &Incoming) -> String {
    match incoming {
        Incoming::Message(message) => message.encode(),
        Incoming::Error(error) => error.encode(),
    }
}
