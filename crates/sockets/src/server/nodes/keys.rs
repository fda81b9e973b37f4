//! The keys under which nodes publish.

use std::fmt::Write as _;

use fanfeed_broker::{BadKey, Key};

/// The longest key of a broker, in bytes.
const LONGEST: usize = 255;
/// The longest prefix, in bytes: it leaves room for the identity of a node.
pub(super) const LONGEST_PREFIX: usize = 128;

/// The keys of the nodes that have a prefix in common.
#[derive(Debug)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Result<Self, BadKey> {
        Key::checked(format!("{prefix}presence"))?;
        Ok(Self {
            prefix: prefix.to_owned(),
        })
    }

    /// The key on which all nodes tell their members.
    pub(super) fn presence(&self) -> String {
        format!("{}presence", self.prefix)
    }

    /// The key of what is for one node.
    pub(super) fn node(&self, id: &str) -> String {
        format!("{}node.{id}", self.prefix)
    }

    /// Returns the key of the messages to a channel's members. An id with characters that a key
    /// cannot have is escaped, and an id that is too long for a key is hashed. Messages name their
    /// channel, so two channels may share a key.
    pub(super) fn channel(&self, id: &str) -> String {
        let mut key = format!("{}channel.", self.prefix);
        for letter in id.chars() {
            if letter.is_control() || matches!(letter, '%' | '*' | '>') {
                let mut bytes = [0; 4];
                for byte in letter.encode_utf8(&mut bytes).bytes() {
                    write!(key, "%{byte:02X}").expect("writing to a string does not fail");
                }
            } else {
                key.push(letter);
            }
        }
        if key.len() <= LONGEST {
            return key;
        }
        format!("{}long.{:016x}", self.prefix, hash(id.as_bytes()))
    }
}

/// FNV-1a: the same on all nodes.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::Keys;
    use fanfeed_broker::Key;

    #[test]
    fn every_channel_has_a_key() {
        let keys = Keys::new("sockets.").unwrap();
        for id in [
            "room",
            "a.b",
            "*",
            ">",
            "%2A",
            "\u{7f}\u{85}\n",
            &"é".repeat(500),
        ] {
            Key::checked(keys.channel(id)).unwrap();
        }
        assert_eq!(keys.channel("*"), "sockets.channel.%2A");
        assert_eq!(keys.channel("%2A"), "sockets.channel.%252A");
        assert!(Keys::new("sockets.*").is_err());
    }
}
