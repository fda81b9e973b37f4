//! Messages as programs make and read them.

use std::collections::HashMap;

use fanfeed_sockets::{ErrorDetail, Headers, MESSAGE_ERROR, Message, Timestamp, decode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Chat {
    text: String,
    lines: Vec<u32>,
}

fn chat() -> Chat {
    Chat {
        text: "hello".into(),
        lines: vec![1, 2],
    }
}

#[test]
fn a_new_message_has_an_identity_and_a_time_and_nothing_else() {
    let before = Timestamp::now();
    let message = Message::new("chat", "member", "room1");
    assert_eq!(message.key(), "chat");
    assert_eq!(message.client_id(), "member");
    assert_eq!(message.channel_id(), "room1");
    assert_eq!(message.raw_body(), "null");
    assert!(!message.has_body() && message.headers().is_empty());
    assert_eq!(
        (
            message.correlation_id(),
            message.user_id(),
            message.app_id()
        ),
        ("", "", "")
    );
    assert_eq!(message.expiration(), None);
    assert!(before <= message.timestamp() && message.timestamp() <= Timestamp::now());
    let encoded = message.encode();
    assert!(
        encoded.ends_with("\"type\":\"chat\",\"headers\":{}}\n"),
        "{encoded}"
    );
}

#[test]
fn identities_are_version_4_uuids_and_differ() {
    let ids: Vec<String> = (0..1000)
        .map(|_| Message::new("a", "", "").id().to_owned())
        .collect();
    for id in &ids {
        let uuid = uuid::Uuid::parse_str(id).expect("it is a UUID");
        assert_eq!((uuid.get_version_num(), id.len()), (4, 36));
        assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122);
    }
    let distinct: std::collections::HashSet<&String> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len());
}

#[test]
fn an_answer_copies_what_belongs_to_the_conversation() {
    let mut message = Message::new("chat", "member", "room1")
        .with_body(&chat())
        .expect("it is JSON");
    message.set_correlation_id("c");
    message.set_user_id("u");
    message.set_app_id("a");
    message.set_expiration(Some(Timestamp::now()));
    message.set_header("x", "y");
    let answer = message.new_from("answer");
    assert_eq!(answer.key(), "answer");
    assert_eq!(
        (answer.client_id(), answer.channel_id()),
        ("member", "room1")
    );
    assert_eq!(
        (answer.correlation_id(), answer.user_id(), answer.app_id()),
        ("c", "u", "a")
    );
    assert_eq!(answer.expiration(), message.expiration());
    assert_ne!(answer.id(), message.id());
    assert!(!answer.has_body() && answer.headers().is_empty());
    assert!(answer.encode().contains("\"headers\":{}"));
}

#[test]
fn a_body_is_bound_to_the_type_that_it_was_made_from() {
    let mut message = Message::new("chat", "", "")
        .with_body(&chat())
        .expect("it is JSON");
    assert_eq!(message.raw_body(), r#"{"text":"hello","lines":[1,2]}"#);
    assert_eq!(message.bind::<Chat>().expect("it is a chat"), chat());
    message.bind::<u32>().expect_err("not a number");
    message.set_body(&None::<Chat>).expect("null is JSON");
    assert!(!message.has_body());
    assert_eq!(message.bind::<Option<Chat>>().expect("null"), None);
    message.bind::<Chat>().expect_err("there is no body");
    message
        .set_body(&[0_u8; 0])
        .expect("an empty array is JSON");
    assert_eq!(message.raw_body(), "[]");
}

#[test]
fn a_body_that_is_not_json_is_refused() {
    let mut message = Message::new("a", "", "")
        .with_body("kept")
        .expect("it is JSON");
    for text in ["", "{", "1 2", "nul", "{\"a\":}"] {
        message.set_raw_body(text).expect_err(text);
    }
    message
        .set_body(&HashMap::from([((1, 2), 3)]))
        .expect_err("a key of an object is a text");
    assert_eq!(message.raw_body(), "\"kept\"");
    message.set_raw_body(" [1.50, 2] ").expect("it is JSON");
    assert_eq!(message.raw_body(), "[1.50, 2]");
    assert!(message.encode().contains("\"body\":[1.50,2],"));
}

#[test]
fn values_raw_values_and_texts_are_escaped_alike() {
    let text = "<a> & \u{2028}\u{2029} \"q\" \\ \n\t\u{1} é";
    let escaped = "\"\\u003ca\\u003e \\u0026 \\u2028\\u2029 \\\"q\\\" \\\\ \\n\\t\\u0001 é\"";
    let of_value = Message::new("a", "", "")
        .with_body(text)
        .expect("it is JSON");
    let raw = RawValue::from_string(serde_json::to_string(text).expect("it is JSON")).expect("raw");
    let of_raw = Message::new("a", "", "")
        .with_body(&raw)
        .expect("it is JSON");
    let mut of_text = Message::new("a", "", "");
    of_text.set_raw_body(raw.get()).expect("it is JSON");
    for message in [of_value, of_raw, of_text] {
        assert!(
            message.encode().contains(&format!("\"body\":{escaped},")),
            "{}",
            message.encode()
        );
        assert_eq!(message.bind::<String>().expect("it is a text"), text);
    }
    let keyed = Message::new("a", "", "")
        .with_body(&json!({"<": ">"}))
        .expect("it is JSON");
    assert_eq!(keyed.raw_body(), r#"{"\u003c":"\u003e"}"#);
}

#[test]
fn bodies_are_handed_over_without_being_read() {
    let mut message = Message::new("a", "", "");
    message.set_raw_body("[1.50]").expect("it is JSON");
    let mut copy = message.new_from("b");
    copy.copy_body(&message);
    let mut taken = message.new_from("c");
    taken.take_body(&mut message);
    assert_eq!(
        (copy.raw_body(), taken.raw_body(), message.raw_body()),
        ("[1.50]", "[1.50]", "null")
    );
}

#[test]
fn an_error_has_the_message_that_failed() {
    let mut message = Message::new("chat", "member", "room1")
        .with_body(&chat())
        .expect("it is JSON");
    message.set_correlation_id("c");
    message.set_header("x-a", "1");
    let detail = ErrorDetail::new("no", "not now", "423");
    let mut error = message.to_error(&detail).expect("it is JSON");
    assert_eq!(error.bind::<ErrorDetail>().expect("a detail"), detail);
    assert_eq!(error.bind_origin_body::<Chat>().expect("a chat"), chat());
    assert_eq!(
        error.encode(),
        "{\"correlationId\":\"c\",\"appId\":\"\",\"userId\":\"\",\"type\":\"error\",\"originType\":\"chat\",\
         \"originBody\":{\"text\":\"hello\",\"lines\":[1,2]},\
         \"errorBody\":{\"Title\":\"no\",\"Description\":\"not now\",\"ErrCode\":\"423\"},\
         \"channelId\":\"room1\",\"clientId\":\"member\",\"headers\":{\"X-A\":[\"1\"]}}\n"
    );
    error.clear_origin_body();
    assert_eq!(error.raw_origin_body(), "null");
    let bare = message.to_error(&()).expect("it is JSON");
    assert_eq!(bare.raw_body(), "null");
    assert_eq!(
        bare.bind::<ErrorDetail>().expect("an empty detail"),
        ErrorDetail::default()
    );
    assert_eq!(MESSAGE_ERROR, "error");
}

#[test]
fn a_detail_is_read_in_any_case() {
    let message = Message::new("a", "", "");
    let error = message
        .to_error(&json!({"title": "t", "DESCRIPTION": null, "errCode": "1", "more": 2}))
        .expect("it is JSON");
    assert_eq!(
        error.bind::<ErrorDetail>().expect("a detail"),
        ErrorDetail::new("t", "", "1")
    );
    let error = message.to_error(&json!({"Title": 5})).expect("it is JSON");
    error.bind::<ErrorDetail>().expect_err("a title is a text");
    error.bind::<Value>().expect("any value");
}

#[test]
fn no_content_is_no_answer() {
    let answer: Result<Option<Message>, ()> = Message::new("a", "", "").no_content();
    assert_eq!(answer, Ok(None));
}

#[test]
fn a_message_expires_at_its_expiration() {
    let mut message = Message::new("a", "", "");
    let time: Timestamp = "2026-11-20T22:48:49Z".parse().expect("a time");
    assert!(!message.has_expired(time));
    message.set_expiration(Some(time));
    assert!(message.has_expired(time));
    let before: Timestamp = "2026-11-20T22:48:48.999999999Z".parse().expect("a time");
    assert!(!message.has_expired(before));
}

#[test]
fn headers_that_were_not_set_are_null() {
    let mut message = Message::new("a", "", "");
    message.set_headers(None);
    assert!(message.encode().ends_with("\"headers\":null}\n"));
    assert_eq!(message.header("x"), None);
    message.set_header("x", "1");
    assert!(message.encode().ends_with("\"headers\":{\"X\":[\"1\"]}}\n"));
    message.set_headers(Some(Headers::new()));
    assert!(message.encode().ends_with("\"headers\":{}}\n"));
}

#[test]
fn debug_shows_neither_bodies_nor_values_of_headers() {
    let mut message = Message::new("chat", "", "")
        .with_body("hush-body")
        .expect("it is JSON");
    message.set_header("authorization", "hush-header");
    let error = message.to_error("hush-detail").expect("it is JSON");
    let incoming = decode(message.encode().as_bytes()).expect("it is a message");
    for shown in [
        format!("{message:?}"),
        format!("{error:?}"),
        format!("{incoming:?}"),
    ] {
        assert!(
            shown.contains("Authorization") && !shown.contains("hush"),
            "{shown}"
        );
    }
}

#[test]
fn an_error_about_a_body_says_where_and_shows_nothing_of_it() {
    let mut message = Message::new("a", "", "")
        .with_body("hush")
        .expect("it is JSON");
    let bound = message.bind::<u32>().expect_err("not a number");
    let set = message
        .set_raw_body("[\"hush\",\nhush]")
        .expect_err("not JSON");
    let written = message
        .set_body(&HashMap::from([((1, 2), "hush")]))
        .expect_err("a key of an object is a text");
    for (error, text) in [
        (
            bound,
            "the body is not a value of the type that was asked for (line 1, column 6)",
        ),
        (set, "the body is not JSON (line 2, column 1)"),
        (written, "the value cannot be written as JSON"),
    ] {
        assert_eq!(error.to_string(), text);
        assert!(!format!("{error:?}").contains("hush"), "{error:?}");
        // A logger that prints the chain of an error shows nothing either.
        assert!(std::error::Error::source(&error).is_none());
        assert!(
            error.into_inner().to_string().len() > 3,
            "the parser's error is kept"
        );
    }
}

#[test]
fn control_characters_are_escaped_alike_in_all_fields() {
    let text = "\u{0}\u{7}\u{8}\u{b}\u{c}\u{1f}\u{7f}";
    let escaped = "\"\\u0000\\u0007\\u0008\\u000b\\u000c\\u001f\u{7f}\"";
    let mut message = Message::new(text, "", "")
        .with_body(text)
        .expect("it is JSON");
    message.set_header("x", text);
    let encoded = message.encode();
    assert_eq!(encoded.matches(escaped).count(), 3, "{encoded}");
}
