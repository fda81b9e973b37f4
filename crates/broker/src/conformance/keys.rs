//! Cases about keys.

use super::tools::{Env, numbered};
use crate::error::PublishError;
use crate::message::Message;
use crate::subscriber::SubscriberExt;

pub(crate) fn keys_are_isolated(env: &Env<'_>) {
    let mark = env.key("");
    let keys: Vec<String> = [
        "a", "A", "a.", ".a", "a:b", "a.b", "a b", "a/b", "a_b", "a%b", "a=b", "a=2Eb", "\u{e9}",
        "e\u{301}", "{a}",
    ]
    .iter()
    .map(|name| format!("{name}{mark}"))
    .collect();
    let collectors: Vec<_> = keys
        .iter()
        .map(|key| env.collect(&*env.broker, key, None))
        .collect();
    for round in 0..2 {
        for (n, key) in keys.iter().enumerate() {
            env.publish(numbered(key, round * 100 + n));
        }
    }
    for (n, collector) in collectors.iter().enumerate() {
        assert_eq!(collector.numbers(2), [n, 100 + n], "{:?}", keys[n]);
        assert_eq!(collector.try_next(), None);
    }
}

pub(crate) fn keys_and_groups_share_no_name(env: &Env<'_>) {
    let mark = env.key("");
    // Joined without escaping, each pair would be one name.
    let pairs = [
        ("a", "b.c"),
        ("a.b", "c"),
        ("a:b", "c"),
        ("a", "b:c"),
        ("a|b", "c"),
        ("a", "b|c"),
    ];
    let pairs = pairs.map(|(key, group)| (format!("{key}{mark}"), format!("{group}{mark}")));
    let members = pairs
        .each_ref()
        .map(|(key, group)| env.collect(&*env.broker, key, Some(group)));
    for (n, key) in ["a", "a.b", "a:b", "a|b"].iter().enumerate() {
        env.publish(numbered(&format!("{key}{mark}"), n));
    }
    for (member, expected) in members.iter().zip([0, 1, 2, 0, 3, 0]) {
        assert_eq!(member.numbers(1), [expected]);
        assert_eq!(member.try_next(), None);
    }
}

pub(crate) fn bad_keys_are_refused(env: &Env<'_>) {
    let long = "k".repeat(256);
    for bad in ["", "a.*", ">", "a\0b", "a\nb", &long] {
        let published = env.broker.publish(Message::new(bad, "x"));
        assert!(matches!(published, Err(PublishError::BadKey(_))), "{bad:?}");
        let confirmed = env
            .broker
            .publish_confirmed(Message::new(bad, "x"), env.patience());
        assert!(confirmed.is_err_and(|error| error.is_bad_key()), "{bad:?}");
        let subscribed = env.broker.subscribe(bad, |_, _| Ok(()));
        assert!(subscribed.is_err_and(|error| error.is_bad_key()), "{bad:?}");
        let joined = env
            .broker
            .subscribe_group(env.key("good"), bad, |_, _| Ok(()));
        assert!(joined.is_err_and(|error| error.is_bad_key()), "{bad:?}");
    }
    env.publish(Message::new("k".repeat(255), "x"));
}

pub(crate) fn many_keys_work_at_once(env: &Env<'_>) {
    let count = env.server.many_keys();
    let keys: Vec<_> = (0..count).map(|n| env.key(&format!("many{n}"))).collect();
    let collectors: Vec<_> = keys
        .iter()
        .map(|key| env.collect(&*env.broker, key, None))
        .collect();
    for (n, key) in keys.iter().enumerate() {
        env.publish(numbered(key, n));
    }
    for (n, collector) in collectors.iter().enumerate() {
        assert_eq!(collector.numbers(1), [n]);
    }
    let threads = env.broker.health().threads;
    assert!(
        threads <= 64,
        "there is no thread for each of {count} subscriptions: {threads}"
    );
}
