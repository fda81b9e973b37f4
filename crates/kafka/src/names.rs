//! The names of topics and consumer groups.

use std::fmt::Write as _;

/// The longest name that Kafka allows for a topic.
pub(crate) const LONGEST: usize = 249;

/// Escapes a key or a group with the characters that topics may have: ASCII letters, digits, `-`,
/// `.`, and `_` as the mark of an escape, such as `_20` for a space. The mapping is injective. No
/// result is `.` or `..`, which Kafka refuses.
///
/// Kafka also refuses a topic whose name differs from another's only by a period in place of an
/// underscore, because both would have the same metrics. This happens only if one key has a period
/// before two hexadecimal digits, and another key has the character of that number at the same
/// place: `a.5Fb` and `a_b`.
pub(crate) fn escape(text: &str) -> String {
    let only_dots = text.bytes().all(|byte| byte == b'.');
    let mut name = String::with_capacity(text.len() + 8);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || (byte == b'.' && !only_dots) {
            name.push(char::from(byte));
        } else {
            write!(name, "_{byte:02X}").expect("a string takes everything");
        }
    }
    name
}

/// The topic of a key, and whether only this key has that topic.
///
/// A name that would be too long is shortened, and ends with `_h` and 32 hexadecimal digits of a
/// hash. Two keys may share such a name, so readers have to check the key of each record.
pub(crate) fn topic(prefix: &str, key: &str) -> (String, bool) {
    let name = format!("{prefix}{}", escape(key));
    if name.len() <= LONGEST {
        return (name, true);
    }
    (shortened(&name, key), false)
}

/// The topic of the dead letters of a topic, which begins with the prefix.
pub(crate) fn dead(prefix: &str, topic: &str) -> String {
    let rest = topic.strip_prefix(prefix).unwrap_or(topic);
    let name = format!("{prefix}dead.{rest}");
    match name.len() <= LONGEST {
        true => name,
        false => shortened(&name, topic),
    }
}

/// A name that is too long, with a hash of `whole` in place of its end.
fn shortened(name: &str, whole: &str) -> String {
    const TAIL: usize = 2 + 32;
    // All bytes are ASCII, so the cut is between characters.
    let mut cut = LONGEST - TAIL;
    // Do not cut an escape in two.
    while name.as_bytes()[cut - 2..cut].contains(&b'_') {
        cut -= 1;
    }
    format!("{}_h{:032x}", &name[..cut], hash(whole))
}

/// FNV-1a.
fn hash(text: &str) -> u128 {
    let basis = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    text.bytes().fold(basis, |hash: u128, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    })
}

/// Whether Kafka allows this name for a topic.
pub(crate) fn is_topic(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    (1..=LONGEST).contains(&name.len()) && name.bytes().all(plain) && !matches!(name, "." | "..")
}

/// The consumer group of one group on topics that belong to one key each. A slash marks the
/// consumer groups of [`shared_group`], so a name with a slash is escaped, and a slash at its end
/// marks it. This is unambiguous because no key is empty.
pub(crate) fn group(prefix: &str, group: &str) -> String {
    match group.contains('/') {
        true => format!("{prefix}{}/", escape(group)),
        false => format!("{prefix}{group}"),
    }
}

/// The consumer group of one group on a topic that several keys share: each key has its own
/// offsets.
pub(crate) fn shared_group(prefix: &str, group: &str, key: &str) -> String {
    format!("{prefix}{}/{}", escape(group), escape(key))
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, dead, escape, group, is_topic, shared_group, topic};
    use proptest::prelude::*;

    #[test]
    fn usual_keys_stay_readable() {
        assert_eq!(escape("chat.42"), "chat.42");
        assert_eq!(escape("chat.room-7"), "chat.room-7");
        assert_eq!(escape("order_created"), "order_5Fcreated");
        assert_eq!(escape("__consumer_offsets"), "_5F_5Fconsumer_5Foffsets");
        assert_eq!(escape("a b/\u{e9}"), "a_20b_2F_C3_A9");
        assert_eq!(escape(".."), "_2E_2E");
    }

    #[test]
    fn long_keys_have_topics_too() {
        for length in 200..=255 {
            for text in ["k", "\u{e9}", "_"] {
                let key = text.repeat(length / text.len());
                let (one, alone) = topic("prefix.", &key);
                assert!(is_topic(&one), "{one}");
                assert_eq!(alone, one.len() < 200 || !one.contains("_h"));
                let (other, _) = topic("prefix.", &format!("{}x", &key[text.len()..]));
                assert_ne!(one, other);
            }
        }
    }

    #[test]
    fn long_topics_have_dead_letters_of_their_own() {
        assert_eq!(dead("shop.", "shop.orders"), "shop.dead.orders");
        let topics = ["a", "b"].map(|end| format!("{}{end}", "k".repeat(LONGEST - 1)));
        let names = topics.each_ref().map(|topic| dead("", topic));
        assert!(names.iter().all(|name| is_topic(name)), "{names:?}");
        assert_ne!(names[0], names[1]);
    }

    proptest! {
        #[test]
        fn two_keys_never_share_a_topic(one in "[a.A5_E2 \u{e9}-]{1,9}", other in "[a.A5_E2 \u{e9}-]{1,9}") {
            let (first, second) = (topic("", &one).0, topic("", &other).0);
            prop_assert!(is_topic(&first), "{}", first);
            prop_assert_eq!(one == other, first == second, "{} {}", first, second);
        }

        #[test]
        fn any_key_has_a_topic(key in "[^\u{0}-\u{1f}]{1,80}") {
            let (name, _) = topic("x.", &key);
            prop_assert!(is_topic(&name) && name.len() <= LONGEST);
        }

        #[test]
        fn a_group_and_a_key_never_share_a_consumer_group(
            one in ("[a/.2F_]{1,5}", "[a/.2F_]{1,5}"),
            other in ("[a/.2F_]{1,5}", "[a/.2F_]{1,5}"),
        ) {
            let name = |pair: &(String, String)| shared_group("", &pair.0, &pair.1);
            prop_assert_eq!(one == other, name(&one) == name(&other));
            let alone = |pair: &(String, String)| group("", &pair.0);
            prop_assert_eq!(one.0 == other.0, alone(&one) == alone(&other));
            prop_assert_ne!(alone(&one), name(&other));
        }
    }
}
