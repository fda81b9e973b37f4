//! What is accepted, and what is refused with which error.

use fanfeed_sockets::{DecodeError, ErrorMessage, Incoming, Message, decode, decode_first};

fn message(text: &str) -> Message {
    match decode(text.as_bytes()) {
        Ok(Incoming::Message(message)) => message,
        other => panic!("{text} was read as {other:?}"),
    }
}

fn error_message(text: &str) -> ErrorMessage {
    match decode(text.as_bytes()) {
        Ok(Incoming::Error(error)) => error,
        other => panic!("{text} was read as {other:?}"),
    }
}

#[test]
fn keys_are_read_in_any_case_and_the_last_one_counts() {
    let read = message(r#"{"clientID":"1","clientId":"2","CLIENTID":"3","correlationID":"c"}"#);
    assert_eq!(read.client_id(), "3");
    assert_eq!(read.correlation_id(), "c");
    let read = error_message(r#"{"type":"chat","TYPE":"error","clientID":"1","origintype":"x"}"#);
    assert_eq!(read.client_id(), "1");
    assert_eq!(read.origin_key(), "x");
    assert_eq!(message(r#"{"t\u0079pe":"escaped"}"#).key(), "escaped");
    assert_eq!(message(r#"{"\n\u0000":1,"type":"a"}"#).key(), "a");
}

/// JavaScript writes half a pair of surrogates as an escape; Go reads U+FFFD.
#[test]
fn a_lone_surrogate_becomes_the_replacement_character() {
    let read = message(
        r#"{"type":"a\ud800b","\udfffx":1,"userId":"\ud83d\ude00\udc00\udc00","headers":{"x\ud800":["1\ud800\ud800",null]}}"#,
    );
    assert_eq!(read.key(), "a\u{fffd}b");
    assert_eq!(read.user_id(), "\u{1f600}\u{fffd}\u{fffd}");
    let (name, values) = read.headers().iter().next().expect("a header");
    assert_eq!(
        (name, values),
        (
            "x\u{fffd}",
            &["1\u{fffd}\u{fffd}".to_owned(), String::new()][..]
        )
    );
    let read = error_message(r#"{"type":"error","originType":"\ud800"}"#);
    assert_eq!(read.origin_key(), "\u{fffd}");
    // What is no text of JSON is still refused.
    for bad in [
        r#"{"type":"\ud8"}"#,
        r#"{"type":"\x"}"#,
        r#"{"type":["a"]}"#,
        r#"{"headers":{"x":[[1]]}}"#,
    ] {
        assert!(decode(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn the_type_error_is_spelled_in_lower_case() {
    assert_eq!(message(r#"{"type":"Error"}"#).key(), "Error");
}

#[test]
fn a_field_that_the_other_kind_has_is_unknown_to_this_one() {
    assert_eq!(message(r#"{"type":"a","originType":5}"#).key(), "a");
    error_message(r#"{"type":"error","timestamp":"","messageId":[],"expiration":1}"#);
}

#[test]
fn what_is_no_object_is_named() {
    for (text, kind) in [
        ("", "nothing"),
        (" \n", "nothing"),
        ("null", "null"),
        ("null\n", "null"),
        ("[{}]", "an array"),
        ("\"{}\"", "a string"),
        ("true", "a boolean"),
        ("-1", "a number"),
    ] {
        for read in [decode, decode_first] {
            match read(text.as_bytes()) {
                Err(DecodeError::NotAnObject { found }) => assert_eq!(found, kind),
                other => panic!("{text:?} was read as {other:?}"),
            }
        }
    }
}

#[test]
fn what_is_not_utf_8_is_refused_with_the_place() {
    let error = decode(b"{\"type\":\"\xff\"}").expect_err("not UTF-8");
    assert!(matches!(error, DecodeError::NotText { at: 9 }), "{error:?}");
}

#[test]
fn broken_json_is_refused() {
    for text in [
        "{",
        "{]",
        "x",
        "{\"a\"}",
        "{\"a\":1,}",
        "{\"body\":tru}",
        "{'a':1}",
        "{\"body\":01}",
        "{\"a\":\"\n\"}",
        "{\"a\n\":1}",
        "{\"\u{1f}\\u0061\":1}",
        "{\"type\":\"a\",\"\0\":1}",
        "{\"body\":\"\\x\"}",
    ] {
        for read in [decode, decode_first] {
            let error = read(text.as_bytes()).expect_err(text);
            assert!(matches!(error, DecodeError::Syntax { .. }), "{error:?}");
        }
    }
}

#[test]
fn a_field_of_the_wrong_type_is_named_and_its_value_is_not_shown() {
    for (text, field) in [
        (r#"{"type":471}"#, "type"),
        (r#"{"correlationId":["471"]}"#, "correlationId"),
        (r#"{"userId":{"471":1}}"#, "userId"),
        (r#"{"timestamp":""}"#, "timestamp"),
        (r#"{"timestamp":471}"#, "timestamp"),
        (r#"{"timestamp":"2026-11-20T22:48:49.471"}"#, "timestamp"),
        (r#"{"expiration":"2471-13-01T00:00:00Z"}"#, "expiration"),
        (r#"{"headers":{"a":"471"}}"#, "headers"),
        (r#"{"headers":{"a":[471]}}"#, "headers"),
        (r#"{"headers":[471]}"#, "headers"),
        (r#"{"type":"error","originType":471}"#, "originType"),
    ] {
        let error = decode(text.as_bytes()).expect_err(text);
        assert!(
            matches!(error, DecodeError::Field { field: named, .. } if named == field),
            "{error:?}"
        );
        assert!(!format!("{error} {error:?}").contains("471"), "{error}");
    }
}

#[test]
fn what_comes_after_a_message_is_skipped_by_one_way_of_reading_only() {
    let text = br#"{"type":"a"} {"type":"b"} rest"#;
    let error = decode(text).expect_err("there is more than a message");
    assert!(matches!(error, DecodeError::Syntax { .. }), "{error:?}");
    let Ok(Incoming::Message(first)) = decode_first(text) else {
        panic!("it begins with a message");
    };
    assert_eq!(first.key(), "a");
}

#[test]
fn deep_nesting_is_no_danger() {
    let depth = 200_000;
    let text = format!("{{\"body\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    let read = message(&text);
    assert_eq!(read.raw_body().len(), 2 * depth);
    read.bind::<serde_json::Value>()
        .expect_err("deeper than what is read into a value");
}
