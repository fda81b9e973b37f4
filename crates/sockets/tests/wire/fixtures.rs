//! Byte by byte.

use fanfeed_sockets::{Incoming, decode, decode_first};

fn written(incoming: &Incoming) -> String {
    match incoming {
        Incoming::Message(message) => message.encode(),
        Incoming::Error(error) => error.encode(),
    }
}

/// What was read is written as the fixture says, and both ways of reading agree.
#[track_caller]
fn becomes(read: &str, fixture: &str) {
    let incoming = decode(read.as_bytes()).expect("it is a message");
    assert_eq!(written(&incoming), fixture);
    let first = decode_first(read.as_bytes()).expect("it begins with a message");
    assert_eq!(first, incoming);
}

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../fixtures/", $name, ".json"))
    };
}

#[test]
fn a_message_is_written_as_it_was_read() {
    for text in [
        fixture!("message_empty"),
        fixture!("message_full"),
        fixture!("join_success"),
        fixture!("channel_expired"),
        fixture!("error_full"),
        fixture!("error_empty"),
    ] {
        becomes(text, text);
        becomes(text.trim_end(), text);
    }
}

#[test]
fn an_empty_object_has_the_empty_value_of_each_key() {
    becomes("{}", fixture!("message_empty"));
    becomes(r#"{"type":"error"}"#, fixture!("error_empty"));
}

#[test]
fn null_is_accepted_for_each_field() {
    becomes(
        r#"{"correlationId":null,"appId":null,"clientID":null,"userId":null,"expiration":null,"body":null,
            "messageId":null,"channelId":null,"timestamp":null,"type":null,"headers":null}"#,
        fixture!("message_empty"),
    );
    becomes(
        r#"{"correlationId":null,"appId":null,"userId":null,"type":"error","originType":null,"originBody":null,
            "errorBody":null,"channelId":null,"clientId":null,"headers":null}"#,
        fixture!("error_empty"),
    );
}

#[test]
fn loose_spelling_is_read_and_strict_spelling_written() {
    becomes(fixture!("loose"), fixture!("loose_written"));
}

#[test]
fn a_join_success_says_when_the_channel_expires() {
    let Ok(Incoming::Message(joined)) = decode(fixture!("join_success").as_bytes()) else {
        panic!("a join.success is a message");
    };
    assert_eq!(joined.key(), fanfeed_sockets::MESSAGE_JOIN_SUCCESS);
    assert_eq!(
        joined.header(fanfeed_sockets::HEADER_CHANNEL_EXPIRES),
        Some("2026-11-20T22:48:49Z")
    );
}
