//! The names of keys and groups on the server.
//!
//! | name | meaning |
//! |---|---|
//! | `PREFIX.k.KEY` | the subject of a key |
//! | `PREFIX.d.GROUP.KEY` | the subject of a group's dead letters |
//! | `PREFIX.m.ID.TIME` | in core, the reply subject of a message without headers; no broker subscribes to it |
//! | `PREFIX` | the stream of all keys |
//! | `PREFIX=dead` | the stream of dead letters |
//! | `GROUP@KEY` | the durable consumer of a group |
//!
//! A prefix is one token, so that no subject of one prefix is below another prefix. The periods of
//! a key separate tokens of its subject. In the name of a consumer they are escaped.

use fanfeed_broker::driver::Escape;
use ring::digest::{SHA256, digest};

/// Tokens of a subject: all printable ASCII characters except periods, wildcards and the mark.
const TOKEN: Escape = Escape::new(b'=', |byte| {
    byte.is_ascii_graphic() && !matches!(byte, b'.' | b'*' | b'>')
});

/// Names of consumers, which are names of folders on the server.
const NAME: Escape = Escape::new(b'=', |byte| {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
});

/// The longest name of a consumer before it is shortened. Servers take 255 bytes.
const LONGEST: usize = 180;
/// The length of the part of a longer name that is kept, so that people can recognize the name.
const KEPT: usize = 100;

/// The names below one prefix.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    prefix: String,
}

impl Names {
    pub(crate) fn new(prefix: &str) -> Self {
        Names {
            prefix: prefix.to_owned(),
        }
    }

    /// The subject of a key.
    pub(crate) fn subject(&self, key: &str) -> String {
        format!("{}.k.{}", self.prefix, tokens(key))
    }

    /// The subject of the messages that a group gave up.
    pub(crate) fn dead(&self, group: &str, key: &str) -> String {
        format!("{}.d.{}.{}", self.prefix, TOKEN.encode(group), tokens(key))
    }

    /// The subjects of all keys.
    pub(crate) fn all(&self) -> String {
        format!("{}.k.>", self.prefix)
    }

    /// The subjects of all dead letters.
    pub(crate) fn all_dead(&self) -> String {
        format!("{}.d.>", self.prefix)
    }

    /// The beginning of the reply subjects that carry an identity and a time.
    pub(crate) fn marks(&self) -> String {
        format!("{}.m.", self.prefix)
    }

    /// The stream of all keys.
    pub(crate) fn stream(&self) -> &str {
        &self.prefix
    }

    /// The stream of dead letters. A prefix has no `=`.
    pub(crate) fn dead_stream(&self) -> String {
        format!("{}=dead", self.prefix)
    }
}

fn tokens(key: &str) -> String {
    TOKEN.join(key.split('.'), '.')
}

/// The name of a queue group of NATS core, which is one for each subject.
pub(crate) fn queue(group: &str) -> String {
    TOKEN.encode(group)
}

/// The durable consumer of a group. No other key and group have this name. A name that is too long
/// ends with a hash of the whole name, after a character that other names do not contain.
pub(crate) fn durable(group: &str, key: &str) -> String {
    let name = NAME.join([group, key], '@');
    if name.len() <= LONGEST {
        return name;
    }
    let mut short = format!("{}~", &name[..KEPT]);
    for byte in digest(&SHA256, name.as_bytes()).as_ref() {
        short.push_str(&format!("{byte:02x}"));
    }
    short
}

#[cfg(test)]
mod tests {
    use super::{Names, durable, queue};
    use proptest::prelude::*;

    #[test]
    fn names_can_be_read() {
        let names = Names::new("shop");
        assert_eq!(names.subject("chat.42"), "shop.k.chat.42");
        assert_eq!(names.subject("a b.*"), "shop.k.a=20b.=2A");
        assert_eq!(names.subject(".a..b."), "shop.k.=_.a.=_.b.=_");
        assert_eq!(names.dead("mail.out", "a.b"), "shop.d.mail=2Eout.a.b");
        assert_eq!(durable("billing", "chat.42"), "billing@chat=2E42");
        assert_eq!(queue("a b"), "a=20b");
    }

    #[test]
    fn long_names_are_short_enough_and_differ() {
        let (one, two) = ("\u{e9}".repeat(127), format!("{}e", "\u{e9}".repeat(127)));
        let names = [
            durable(&one, &two),
            durable(&two, &one),
            durable(&one, &one),
        ];
        assert!(names.iter().all(|name| name.len() < 255));
        assert!(names[0] != names[1] && names[1] != names[2] && names[0] != names[2]);
        assert!(Names::new("p").dead(&one, &two).len() < 2000);
    }

    /// Texts in which separators and escaped characters are common.
    fn text() -> impl Strategy<Value = String> {
        proptest::string::string_regex("[a.@=_~>* E0-9\u{e9}]{1,6}").unwrap()
    }

    proptest! {
        #[test]
        fn two_keys_share_no_subject(one in text(), two in text()) {
            let names = Names::new("p");
            prop_assert_eq!(one == two, names.subject(&one) == names.subject(&two));
            for token in names.subject(&one).split('.') {
                prop_assert!(!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()));
                prop_assert!(!token.contains(['*', '>']));
            }
        }

        #[test]
        fn a_key_and_a_group_share_no_name(one in (text(), text()), two in (text(), text())) {
            let names = Names::new("p");
            let same = one == two;
            prop_assert_eq!(same, durable(&one.0, &one.1) == durable(&two.0, &two.1));
            prop_assert_eq!(same, names.dead(&one.0, &one.1) == names.dead(&two.0, &two.1));
            prop_assert_eq!(one.0 == two.0, queue(&one.0) == queue(&two.0));
            prop_assert!(!durable(&one.0, &one.1).contains(['.', '*', '>', ' ', '/', '\\']));
        }

        #[test]
        fn shortened_names_differ_too(group in "[ab.]{80,90}", one in text(), two in text()) {
            let same = one == two;
            prop_assert_eq!(same, durable(&group.repeat(2), &one) == durable(&group.repeat(2), &two));
        }
    }
}
