//! Keys, and the names that drivers make of them.

use std::collections::HashMap;

use fanfeed_broker::driver::Escape;
use fanfeed_broker::{Key, MessageId};
use proptest::prelude::*;

/// As a NATS token has it: nothing but letters, digits and two more.
const TOKEN: Escape = Escape::new(b'=', |byte| {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
});
/// As a server has it that takes almost everything.
const WIDE: Escape = Escape::new(b'%', |byte| byte.is_ascii_graphic());

/// Short texts of few characters, which collide if any do.
fn text() -> impl Strategy<Value = String> {
    proptest::collection::vec(
        prop_oneof![
            Just('.'),
            Just('='),
            Just('%'),
            Just('_'),
            Just('2'),
            Just('E'),
            Just(':'),
            Just('\u{e9}')
        ],
        0..4,
    )
    .prop_map(String::from_iter)
}

proptest! {
    #[test]
    fn a_name_gives_its_part_back(part in ".{0,20}", few in text()) {
        for escape in [TOKEN, WIDE] {
            for part in [&part, &few] {
                let name = escape.encode(part);
                prop_assert!(!name.is_empty());
                prop_assert_eq!(escape.decode(&name), Some(part.clone()));
            }
        }
    }

    #[test]
    fn what_decodes_is_the_name_of_one_part(name in "[=%_.2E0-9a-zA-F]{0,8}") {
        for escape in [TOKEN, WIDE] {
            if let Some(part) = escape.decode(&name) {
                prop_assert_eq!(escape.encode(&part), name.clone());
            }
        }
    }

    #[test]
    fn two_lists_of_parts_never_share_a_name(lists in proptest::collection::vec(proptest::collection::vec(text(), 1..4), 1..40)) {
        for (escape, separator) in [(TOKEN, '.'), (WIDE, ':'), (WIDE, '.')] {
            let mut names = HashMap::new();
            for list in &lists {
                let name = escape.join(list.iter().map(String::as_str), separator);
                let other = names.entry(name).or_insert_with(|| list.clone());
                prop_assert_eq!(&*other, list);
            }
        }
    }

    #[test]
    fn an_identity_is_what_it_prints(text in "[0-9a-fA-F]{0,33}") {
        prop_assert_eq!(MessageId::parse(&text).to_string(), text);
    }
}

#[test]
fn identities_are_distinct_across_threads() {
    let draw = || Vec::from_iter((0..10_000).map(|_| MessageId::unique()));
    let mut all: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(draw)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 40_000);
    for id in all {
        assert_eq!(MessageId::parse(&id.to_string()), id);
    }
}

#[test]
fn a_bad_key_says_what_is_wrong_and_what_would_be_right() {
    let said = |key: &str| Key::checked(key).unwrap_err().to_string();
    assert_eq!(
        said(""),
        "the key is empty: it has to have from 1 to 255 bytes"
    );
    assert_eq!(
        said(&"x".repeat(256)),
        "the key has 256 bytes: it has to have from 1 to 255"
    );
    assert!(said("a.>").contains("'>' at byte 2, which is reserved for patterns"));
    assert!(said("a\tb").contains("the control character '\\t' at byte 1"));
    for good in ["a", "Foo..", ".", "\u{e9} x/y:{z}", &"x".repeat(255)] {
        assert!(Key::checked(good).is_ok(), "{good}");
    }
}
