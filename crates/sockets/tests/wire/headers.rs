//! Names of headers.

use std::time::{Duration, Instant};

use fanfeed_sockets::{Headers, Incoming, Message, decode};

#[test]
fn names_become_canonical() {
    for (name, canonical) in [
        ("x-my-key", "X-My-Key"),
        ("X-MY-KEY", "X-My-Key"),
        ("content-TYPE", "Content-Type"),
        ("a", "A"),
        ("-a--b-", "-A--B-"),
        ("x_y-z1a", "X_y-Z1a"),
        ("1abc", "1abc"),
        // HTTP takes these in no name.
        ("with space", "with space"),
        ("ünicode-a", "ünicode-a"),
        ("a:b", "a:b"),
        ("", ""),
    ] {
        let headers: Headers = [(name, "value")].into_iter().collect();
        assert_eq!(headers.iter().next().expect("it was added").0, canonical);
        assert_eq!(headers.get(name), Some("value"));
    }
}

#[test]
fn names_are_sorted_and_values_keep_their_order() {
    let headers: Headers = [("b", "1"), ("c", "2"), ("a", "3"), ("B", "4")]
        .into_iter()
        .collect();
    let all: Vec<(&str, Vec<&str>)> = headers
        .iter()
        .map(|(name, values)| (name, values.iter().map(String::as_str).collect()))
        .collect();
    assert_eq!(
        all,
        [("A", vec!["3"]), ("B", vec!["1", "4"]), ("C", vec!["2"])]
    );
    assert_eq!((headers.len(), headers.bytes()), (3, 7));
}

fn received() -> Message {
    let text = br#"{"headers":{"x-a":["1"],"X-B":["2"],"x-b":["3"]}}"#;
    match decode(text) {
        Ok(Incoming::Message(message)) => message,
        other => panic!("read as {other:?}"),
    }
}

#[test]
fn names_of_a_peer_keep_their_spelling_and_are_found_in_any() {
    let message = received();
    assert_eq!(message.header("X-A"), Some("1"));
    assert_eq!(message.header("x-A"), Some("1"));
    let all: Vec<&str> = message.headers().get_all("X-b").collect();
    assert_eq!(all, ["2", "3"]);
    assert!(
        message
            .encode()
            .ends_with("\"headers\":{\"X-B\":[\"2\"],\"x-a\":[\"1\"],\"x-b\":[\"3\"]}}\n")
    );
}

#[test]
fn setting_replaces_every_spelling_and_adding_extends_the_last() {
    let mut message = received();
    message.headers_mut().add("X-B", "4");
    let all: Vec<&str> = message.headers().get_all("x-b").collect();
    assert_eq!(all, ["2", "3", "4"]);
    message.set_header("x-b", "5");
    let all: Vec<&str> = message.headers().get_all("x-b").collect();
    assert_eq!(all, ["5"]);
    assert!(message.headers_mut().remove("X-a"));
    assert!(!message.headers_mut().remove("X-a"));
    assert_eq!(message.headers().len(), 1);
}

/// As many names as fit into the largest message, in the order that costs most where each is
/// inserted into its place.
#[test]
fn very_many_names_are_read_and_copied_fast() {
    let names: Vec<String> = (0..110_000).rev().map(|n| format!("{n:06}")).collect();
    let headers: Vec<String> = names.iter().map(|name| format!("\"{name}\":[]")).collect();
    let text = format!("{{\"headers\":{{{}}}}}", headers.join(","));
    let began = Instant::now();
    let Ok(Incoming::Message(message)) = decode(text.as_bytes()) else {
        panic!("it is a message");
    };
    let copied: Headers = names.iter().map(|name| (name, "v")).collect();
    let took = began.elapsed();
    assert_eq!((message.headers().len(), copied.len()), (110_000, 110_000));
    assert!(
        copied.iter().map(|(name, _)| name).is_sorted() && took < Duration::from_secs(5),
        "{took:?}"
    );
}
