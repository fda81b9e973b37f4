//! The feature `serde`.

use fanfeed::{
    CarrierOverflow, Feed, Overflow, RingFeed, Stats, SubscriberStats, SubscriptionId, ring,
};

#[test]
fn stats_and_options_survive_a_round_trip_through_json() {
    let feed = Feed::new();
    let receiver = feed
        .subscriber()
        .capacity(1)
        .overflow(Overflow::DropOldest)
        .channel()
        .unwrap();
    feed.send(1);
    feed.send(2);
    let stats = receiver.stats();
    let json = serde_json::to_string(&stats).unwrap();
    assert!(
        json.contains(r#""delivered":1,"dropped":1,"depth":1"#),
        "{json}"
    );
    assert_eq!(serde_json::from_str::<Stats>(&json).unwrap(), stats);

    let id = receiver.subscription().id();
    let json = serde_json::to_string(&id).unwrap();
    assert_eq!(serde_json::from_str::<SubscriptionId>(&json).unwrap(), id);

    assert_eq!(
        serde_json::to_string(&Overflow::DropOldest).unwrap(),
        r#""DropOldest""#
    );
    assert_eq!(
        serde_json::from_str::<CarrierOverflow>(r#""Disconnect""#).unwrap(),
        CarrierOverflow::Disconnect
    );
}

#[test]
fn the_figures_of_each_subscriber_survive_a_round_trip_through_json() {
    let feed = Feed::new();
    let _receiver = feed.subscriber().capacity(3).name("log").channel().unwrap();
    feed.send(1);
    let all = feed.subscriptions();
    let json = serde_json::to_string(&all).unwrap();
    assert!(json.contains(r#""name":"log","overflow":"Block","capacity":3"#));
    let back = serde_json::from_str::<Vec<SubscriberStats>>(&json).unwrap();
    assert_eq!(back, all);

    let ring = RingFeed::new(4).unwrap();
    let _reader = ring.subscriber().name("log").subscribe();
    ring.send(1);
    let json = serde_json::to_string(&ring.readers()).unwrap();
    let back = serde_json::from_str::<Vec<ring::ReaderStats>>(&json).unwrap();
    assert_eq!((back[0].name(), back[0].lag()), (Some("log"), 1));
    assert_eq!(serde_json::to_string(&back).unwrap(), json);
}

#[test]
fn the_options_of_a_ring_survive_a_round_trip_through_json() {
    for (overflow, json) in [
        (ring::Overflow::Block, r#""Block""#),
        (ring::Overflow::DropOldest, r#""DropOldest""#),
        (ring::Overflow::Disconnect, r#""Disconnect""#),
    ] {
        assert_eq!(serde_json::to_string(&overflow).unwrap(), json);
        let back = serde_json::from_str::<ring::Overflow>(json).unwrap();
        assert_eq!(back, overflow);
    }
    for (waiting, json) in [
        (ring::WaitStrategy::Spin, r#""Spin""#),
        (ring::WaitStrategy::Batch, r#""Batch""#),
        (ring::WaitStrategy::Park, r#""Park""#),
    ] {
        assert_eq!(serde_json::to_string(&waiting).unwrap(), json);
        assert_eq!(
            serde_json::from_str::<ring::WaitStrategy>(json).unwrap(),
            waiting
        );
    }
}
