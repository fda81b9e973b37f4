//! The names on the server.
//!
//! With the prefix `fanfeed:`, the key `chat.42` has these names:
//!
//! | name | meaning |
//! |---|---|
//! | `fanfeed:s:{chat.42}` | the stream of the key |
//! | `fanfeed:bell:{0}` .. `fanfeed:bell:{15}` | the doorbells |
//! | `fanfeed:handover` | rung when a member of a group gives back messages |
//! | `fanfeed:dead:{chat.42}` | messages that groups of the key gave up |
//! | `fanfeed:member:{name}` | a string that expires: the heartbeat of a member of groups |
//! | `fanfeed:chat.42` | in the mode of pub/sub: the channel of the key |
//! | `fanfeed:{name}` | in that mode: the channel with which a broker wakes its own listener |
//!
//! The part between braces is the hash tag, which decides where a cluster stores the name.

use std::fmt::Write as _;
use std::sync::Arc;

/// How many doorbell streams there are.
pub(crate) const BELLS: usize = 16;

/// The names under one prefix.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    prefix: Arc<str>,
    /// Whether channels have the unescaped names of their keys.
    bare: bool,
}

impl Names {
    pub(crate) fn new(prefix: impl Into<Arc<str>>) -> Self {
        Names {
            prefix: prefix.into(),
            bare: false,
        }
    }

    /// Sets whether channels have the unescaped names of their keys. If so, a key in braces could
    /// have the channel of [`wake`](Self::wake), if it contained the random name.
    pub(crate) fn bare(mut self, bare: bool) -> Self {
        self.bare = bare;
        self
    }

    /// The stream of a key.
    pub(crate) fn stream(&self, key: &str) -> String {
        let mut name = String::new();
        self.write_stream(&mut name, &escape(key));
        name
    }

    /// Writes the stream of an escaped key to `name`, replacing its contents.
    pub(crate) fn write_stream(&self, name: &mut String, escaped: &str) {
        name.clear();
        for part in [&*self.prefix, "s:{", escaped, "}"] {
            name.push_str(part);
        }
    }

    /// The escaped key of a stream.
    pub(crate) fn key_of<'a>(&self, stream: &'a [u8]) -> Option<&'a str> {
        let rest = std::str::from_utf8(stream)
            .ok()?
            .strip_prefix(&*self.prefix)?;
        rest.strip_prefix("s:{")?.strip_suffix('}')
    }

    /// The doorbell of this number, below [`BELLS`].
    pub(crate) fn bell(&self, number: usize) -> String {
        format!("{}bell:{{{number}}}", self.prefix)
    }

    /// The doorbell that a member of a group rings when it gives entries back.
    pub(crate) fn handover(&self) -> String {
        format!("{}handover", self.prefix)
    }

    /// The stream of the messages that the groups of a key gave up.
    pub(crate) fn dead(&self, escaped: &str) -> String {
        format!("{}dead:{{{escaped}}}", self.prefix)
    }

    /// The channel of a key.
    pub(crate) fn channel(&self, key: &str) -> String {
        match self.bare {
            true => format!("{}{key}", self.prefix),
            false => format!("{}{}", self.prefix, escape(key)),
        }
    }

    /// The channel with which a broker wakes its own listener. No key has this channel, because no
    /// escaped key has a brace. With bare channels, other programs may listen to all channels that
    /// begin with the prefix, so this channel does not begin with it.
    pub(crate) fn wake(&self, member: &str) -> String {
        match self.bare {
            true => format!("fanfeed-wake:{{{member}}}"),
            false => format!("{}{{{member}}}", self.prefix),
        }
    }

    /// The heartbeat of a member.
    pub(crate) fn member(&self, member: &str) -> String {
        format!("{}member:{{{member}}}", self.prefix)
    }
}

/// Escapes a key. ASCII letters, digits and `-_.:/@+=,~` stay. Every other byte becomes `%` and two
/// upper-case hexadecimal digits.
///
/// INVARIANT: two keys never share an escape, because each byte maps to one token, no token is the
/// beginning of another, and `%` itself is escaped. The result has no space, which separates the
/// keys that a doorbell lists, and no brace, which would end the hash tag.
pub(crate) fn escape(key: &str) -> String {
    let stays = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/@+=,~".contains(byte);
    if key.as_bytes().iter().all(stays) {
        return key.to_owned();
    }
    let mut text = String::with_capacity(key.len() + 8);
    for byte in key.bytes() {
        if stays(&byte) {
            text.push(char::from(byte));
        } else {
            write!(text, "%{byte:02X}").expect("a string takes everything");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Names, escape};
    use proptest::prelude::*;

    fn unescape(text: &str) -> String {
        let mut bytes = Vec::new();
        let mut rest = text.as_bytes();
        while let Some((&first, after)) = rest.split_first() {
            if first == b'%' {
                let digits = std::str::from_utf8(&after[..2]).unwrap();
                bytes.push(u8::from_str_radix(digits, 16).unwrap());
                rest = &after[2..];
            } else {
                bytes.push(first);
                rest = after;
            }
        }
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_common_key_is_readable() {
        let names = Names::new("fanfeed:");
        assert_eq!(names.stream("chat.42"), "fanfeed:s:{chat.42}");
        assert_eq!(names.bell(7), "fanfeed:bell:{7}");
    }

    #[test]
    fn a_bare_channel_is_the_prefix_and_the_key() {
        let names = Names::new("goevent:");
        assert_eq!(names.channel("Ünder way"), "goevent:%C3%9Cnder%20way");
        assert_eq!(names.wake("1-a"), "goevent:{1-a}");
        let names = names.bare(true);
        assert_eq!(names.channel("Ünder way"), "goevent:Ünder way");
        assert_eq!(names.wake("1-a"), "fanfeed-wake:{1-a}");
    }

    #[test]
    fn a_key_cannot_leave_its_prefix_or_its_tag() {
        let names = Names::new("fanfeed:");
        for key in ["}x", "{a}b", "a b", "a\r\nFLUSHALL", "%7D", "ü", "..", "\0"] {
            let stream = names.stream(key);
            let tag = stream
                .strip_prefix("fanfeed:s:{")
                .and_then(|rest| rest.strip_suffix('}'))
                .unwrap();
            assert_eq!(names.key_of(stream.as_bytes()), Some(tag));
            assert!(!tag.is_empty() && !tag.contains(['{', '}', ' ', '\r', '\n', '\0']));
            assert_eq!(unescape(tag), key);
        }
    }

    proptest! {
        #[test]
        fn two_keys_never_share_a_stream(one in any::<String>(), other in any::<String>()) {
            let names = Names::new("fanfeed:");
            prop_assert_eq!(unescape(&escape(&one)), one.clone());
            prop_assert_eq!(names.stream(&one) == names.stream(&other), one == other);
        }
    }
}
