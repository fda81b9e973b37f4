//! What happens at faults: every message is counted.

mod common;
mod letters;
mod members;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use common::{Cluster, LONG, connect, count, number, publish, quick};
use fanfeed_broker::{Context, Event, Message, Start, Subscribe, SubscribeOptions, SubscriberExt};
use fanfeed_testkit::numbers::{Census, under_load};
use fanfeed_testkit::refusal::says;
use fanfeed_testkit::{Tally, scenario, wait_until};
use rdkafka::mocking::MockCoordinator;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

/// The state of all subscriptions of the tests below: one plain, two members of a group in two
/// brokers.
///
/// The writer has one request on its way at a time. The mock cluster does not check the sequence
/// numbers of a producer without transactions: it appends a batch although the one before it
/// failed, where a server refuses it. librdkafka takes that for a sign that the earlier batch is
/// there too, and reports it delivered. For the same reason a batch whose confirmation was lost
/// with the connection is appended twice. So the plain subscription has to get as many messages as
/// the topic has records: it goes on where it was.
fn count_through(cluster: &Cluster, all: usize, disturb: impl FnMut(usize)) -> Census {
    let one_at_a_time = ("max.in.flight.requests.per.connection", "1");
    let writer = connect(cluster.config().property(one_at_a_time.0, one_at_a_time.1));
    let (reader, other) = (cluster.connect(), cluster.connect());
    let census = Census::start(&[&reader, &other], all);
    under_load(&writer, "k", all, disturb);
    writer.flush(LONG).unwrap();
    census.complete();
    let records = cluster.records("k", 4);
    wait_until("the plain subscription has read the topic", || {
        census.plain.arrivals() >= records
    });
    for broker in [writer, reader, other] {
        broker.close(LONG).unwrap();
    }
    assert_eq!(census.plain.arrivals(), records);
    census
}

#[test]
fn nothing_is_lost_when_servers_go_away_and_come_back() {
    const ALL: usize = 20_000;
    let cluster = Cluster::start(3);
    cluster.topic("k", 4);
    let mock = cluster.mock();
    count_through(&cluster, ALL, |part| {
        let server = part as i32;
        mock.broker_down(server).unwrap();
        thread::sleep(Duration::from_millis(300));
        mock.broker_up(server).unwrap();
    });
}

#[test]
fn nothing_is_lost_when_the_whole_cluster_goes_away_and_comes_back() {
    const ALL: usize = 20_000;
    let cluster = Cluster::start(2);
    cluster.topic("k", 4);
    let mock = cluster.mock();
    count_through(&cluster, ALL, |_| {
        mock.broker_down(1).unwrap();
        mock.broker_down(2).unwrap();
        thread::sleep(Duration::from_millis(300));
        mock.broker_up(1).unwrap();
        mock.broker_up(2).unwrap();
    });
}

#[test]
fn nothing_is_lost_when_leaders_move_and_requests_fail() {
    use RDKafkaApiKey as Api;
    use RDKafkaRespErr as Fault;
    const ALL: usize = 20_000;
    let cluster = Cluster::start(3);
    cluster.topic("k", 4);
    let mock = cluster.mock();
    let census = count_through(&cluster, ALL, |part| {
        let next = part as i32;
        cluster.lead("k", 0, Some(next));
        cluster.lead("k", 1, Some(1 + next % 3));
        mock.request_errors(
            Api::Produce,
            &[
                Fault::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
                Fault::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
                Fault::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
            ],
        );
        mock.request_errors(
            Api::Fetch,
            &[
                Fault::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
                Fault::RD_KAFKA_RESP_ERR_UNKNOWN,
            ],
        );
        mock.request_errors(
            Api::OffsetCommit,
            &[
                Fault::RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
                Fault::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
            ],
        );
    });
    // No connection was lost: the producer repeats nothing, and a plain reader goes on where it
    // was.
    census.plain.assert_exactly_once();
}

#[test]
fn nothing_is_lost_when_the_coordinator_moves() {
    const ALL: usize = 10_000;
    let cluster = Cluster::start(3);
    cluster.topic("k", 4);
    let (writer, reader) = (cluster.connect(), cluster.connect());
    let tally = Arc::new(Tally::new(ALL));
    // One member: the mock cluster fails an assertion of its own if its coordinator moves while
    // members join.
    let _member = reader.subscribe_group("k", "g", count(&tally)).unwrap();
    under_load(&writer, "k", ALL, |part| {
        tally.wait_for(part * ALL / 5, LONG);
        let next = MockCoordinator::Group("g".into());
        cluster.mock().coordinator(next, part as i32).unwrap();
    });
    tally.wait_complete(LONG);
    reader.close(LONG).unwrap();
    assert!(tally.report().is_complete());
}

#[test]
fn the_loss_of_the_cluster_is_reported_and_its_return_too() {
    let cluster = Cluster::start(1);
    let broker = cluster.connect();
    let tally = Arc::new(Tally::new(2));
    let _plain = broker.subscribe("k", count(&tally)).unwrap();
    publish(&broker, "k", 0..1);
    tally.wait_for(1, LONG);
    let mut events = broker.events();
    cluster.mock().broker_down(1).unwrap();
    scenario::disconnected(&mut events);
    assert!(!broker.health().is_up());
    let pending = broker.subscribe("late", |_, _| Ok(())).unwrap();
    publish(&broker, "k", 1..2);
    cluster.mock().broker_up(1).unwrap();
    scenario::event(&mut events, |event| {
        matches!(event, Event::Connected).then_some(())
    });
    pending.ready(LONG).unwrap();
    tally.wait_complete(LONG);
    tally.assert_exactly_once();
}

#[test]
fn a_slow_subscriber_holds_nobody_and_loses_nothing() {
    const ALL: usize = 20_000;
    let cluster = Cluster::start(1);
    let broker = cluster.connect();
    let (fast, slow, alone) = (
        Arc::new(Tally::new(ALL)),
        Arc::new(Tally::new(ALL)),
        Arc::new(Tally::new(ALL)),
    );
    let (go, gate) = crossbeam_channel::bounded::<()>(0);
    let hold = |tally: &Arc<Tally>| {
        let (counting, gate) = (count(tally), gate.clone());
        move |message: &Message, context: &Context| {
            let _ = gate.recv();
            counting(message, context)
        }
    };
    let _fast = broker.subscribe("k", count(&fast)).unwrap();
    let _slow: Vec<_> = (0..3)
        .map(|_| {
            broker
                .subscribe("k", hold(&Arc::new(Tally::new(ALL))))
                .unwrap()
        })
        .collect();
    let _counted = broker.subscribe("k", hold(&slow)).unwrap();
    let _alone = broker.subscribe("other", hold(&alone)).unwrap();
    for n in 0..ALL {
        broker.publish(Message::new("k", n.to_string())).unwrap();
        broker
            .publish(Message::new("other", n.to_string()))
            .unwrap();
    }
    fast.wait_complete(LONG);
    assert_eq!(slow.arrivals() + alone.arrivals(), 0);
    drop(go);
    slow.wait_complete(LONG);
    alone.wait_complete(LONG);
    for tally in [&fast, &slow, &alone] {
        tally.assert_exactly_once();
        assert!(tally.order().is_sorted());
    }
    assert_eq!(broker.stats().dropped, 0);
}

/// One subscription falls behind the other, which then stops for good.
#[test]
fn a_subscription_behind_goes_on_while_the_live_one_is_stuck() {
    const ALL: usize = 400;
    let cluster = Cluster::start(1);
    let broker = cluster.connect();
    let hold = |tally: &Arc<Tally>, gate: &crossbeam_channel::Receiver<()>| {
        let (counting, gate) = (count(tally), gate.clone());
        move |message: &Message, context: &Context| {
            let _ = gate.recv();
            counting(message, context)
        }
    };
    let (stuck, behind) = (Arc::new(Tally::new(ALL)), Arc::new(Tally::new(ALL)));
    let (release, gate) = crossbeam_channel::bounded::<()>(0);
    let options = SubscribeOptions::new().buffer(200);
    let request = Subscribe::new("k", hold(&stuck, &gate)).options(options);
    let _stuck = broker.subscribe_with(request).unwrap();
    let (go, gate) = crossbeam_channel::bounded::<()>(0);
    let options = SubscribeOptions::new().buffer(20);
    let request = Subscribe::new("k", hold(&behind, &gate)).options(options);
    let _behind = broker.subscribe_with(request).unwrap();
    publish(&broker, "k", 0..ALL);
    wait_until("both are almost full", || broker.health().pending >= 210);
    drop(go);
    behind.wait_complete(LONG);
    behind.assert_exactly_once();
    assert_eq!(stuck.arrivals(), 0);
    drop(release);
    stuck.wait_complete(LONG);
    stuck.assert_exactly_once();
}

#[test]
fn what_was_removed_before_it_was_read_is_reported_with_its_size() {
    const ALL: usize = 60;
    let cluster = Cluster::start(1);
    cluster.topic("k", 1);
    let (writer, reader) = (cluster.connect(), cluster.connect());
    let (go, gate) = crossbeam_channel::bounded::<()>(0);
    let seen = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&seen);
    let handler = move |_: &Message, _: &Context| {
        let _ = gate.recv();
        counting.fetch_add(1, Ordering::AcqRel);
        Ok(())
    };
    let request = Subscribe::new("k", handler).options(SubscribeOptions::new().buffer(2));
    let _plain = reader.subscribe_with(request).unwrap();
    let mut events = reader.events();
    // The mock cluster keeps 5 MiB of a partition.
    for _ in 0..ALL {
        writer.publish(Message::new("k", vec![0; 500_000])).unwrap();
    }
    writer.flush(LONG).unwrap();
    drop(go);
    let missed = scenario::gap(&mut events).1.unwrap() as usize;
    assert!(missed > 0);
    wait_until("what is left arrives", || {
        seen.load(Ordering::Acquire) + missed >= ALL
    });
    assert_eq!(seen.load(Ordering::Acquire) + missed, ALL);
}

#[test]
fn the_messages_of_a_killed_process_go_to_the_others() {
    scenario::be_killed_if_child(|url| connect(quick(url)));
    let cluster = Cluster::start(1);
    cluster.topic("k", 1);
    let test = "the_messages_of_a_killed_process_go_to_the_others";
    drop(scenario::killed_process(
        test,
        &cluster.connect(),
        &cluster.url(),
        2_000,
    ));
}

#[test]
fn keys_may_share_a_topic() {
    let cluster = Cluster::start(1);
    let config = cluster
        .config()
        .prefix("shop.")
        .topics(|_| "all".to_owned());
    let (writer, reader) = (connect(config.clone()), connect(config));
    let keys = ["a", "b", "a.b"];
    let tallies: Vec<_> = keys
        .iter()
        .map(|_| [(); 2].map(|()| Arc::new(Tally::new(300))))
        .collect();
    let _subscriptions: Vec<_> = keys
        .iter()
        .zip(&tallies)
        .map(|(key, [plain, group])| {
            (
                reader.subscribe(*key, count(plain)).unwrap(),
                reader.subscribe_group(*key, "g", count(group)).unwrap(),
            )
        })
        .collect();
    for n in 0..300 {
        writer
            .publish(Message::new(keys[n % 3], n.to_string()))
            .unwrap();
    }
    for (at, tallies) in tallies.iter().enumerate() {
        for tally in tallies {
            tally.wait_for(100, LONG);
            assert!(tally.order().iter().all(|n| n % 3 == at));
            assert!(tally.report().repeated.is_empty());
        }
    }
}

#[test]
fn a_thousand_subscriptions_are_live_when_they_are_returned() {
    const ALL: usize = 1000;
    let cluster = Cluster::start(1);
    cluster.topic("k", 1);
    let (writer, reader) = (cluster.connect(), cluster.connect());
    let (sender, receiver) = crossbeam_channel::unbounded();
    for n in 0..ALL {
        let sender = sender.clone();
        let subscription = reader
            .subscribe("k", move |message, _| Ok(sender.send(number(message))?))
            .unwrap();
        publish(&writer, "k", n..n + 1);
        assert_eq!(receiver.recv_timeout(LONG), Ok(n));
        drop(subscription);
    }
}

#[test]
fn a_partition_without_a_leader_stops_no_other_topic() {
    let cluster = Cluster::start(1);
    cluster.topic("stuck", 1);
    let leader = |server| cluster.lead("stuck", 0, server);
    let config = cluster.config().dial_timeout(Duration::from_millis(500));
    let (writer, reader) = (cluster.connect(), connect(config));
    let seen = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&seen);
    let _other = reader
        .subscribe("other", move |_, _| {
            counting.fetch_add(1, Ordering::AcqRel);
            Ok(())
        })
        .unwrap();
    let mut events = reader.events();
    leader(None);
    for group in [None, Some("g")] {
        let mut request = Subscribe::new("stuck", |_: &Message, _: &Context| Ok(()));
        if let Some(group) = group {
            request = request.group(group);
        }
        let error = reader.subscribe_with(request).unwrap_err();
        says(&error, &["stuck", "a partition without a leader"]);
    }
    publish(&writer, "other", 0..1);
    wait_until("the other goes on", || seen.load(Ordering::Acquire) == 1);
    let lost = events
        .try_iter()
        .any(|event| matches!(event, Event::Disconnected { .. }));
    assert!(!lost, "the connection was given up");
    leader(Some(1));
    let tally = Arc::new(Tally::new(1));
    let late = reader.subscribe_group("stuck", "g", count(&tally)).unwrap();
    late.ready(LONG).unwrap();
    publish(&writer, "stuck", 0..1);
    tally.wait_complete(LONG);
}

#[test]
fn a_partition_without_a_leader_holds_no_other_key_for_long_if_messages_have_a_timeout() {
    let cluster = Cluster::start(1);
    cluster.topic("stuck", 1);
    cluster.lead("stuck", 0, None);
    let config = cluster.config().property("message.timeout.ms", "1000");
    let broker = connect(config);
    let mut events = broker.events();
    let tally = Arc::new(Tally::new(1));
    let _other = broker.subscribe("other", count(&tally)).unwrap();
    publish(&broker, "stuck", 0..1);
    publish(&broker, "other", 0..1);
    tally.wait_complete(LONG);
    assert_eq!(scenario::publish_failed(&mut events).0, "stuck");
}

/// The producer holds one message, whose partition has no leader: it has no room for the next one.
#[test]
fn a_producer_that_stays_full_is_a_lost_connection_and_goes_on_later() {
    const ALL: usize = 5;
    let cluster = Cluster::start(1);
    cluster.topic("k", 1);
    let leader = |server| cluster.lead("k", 0, server);
    let one = ("queue.buffering.max.messages", "1");
    let config = cluster.config().property(one.0, one.1);
    let writer = connect(config.confirm_timeout(Duration::from_millis(500)));
    let mut events = writer.events();
    leader(None);
    publish(&writer, "k", 0..ALL);
    let lost = scenario::disconnected(&mut events);
    says(&lost, &["nothing was confirmed within 500ms"]);
    leader(Some(1));
    let tally = Arc::new(Tally::new(ALL));
    let request = Subscribe::new("k", count(&tally));
    let request = request.options(SubscribeOptions::new().start(Start::Earliest));
    let reader = cluster.connect();
    let _all = reader.subscribe_with(request).unwrap();
    tally.wait_complete(LONG);
    tally.assert_exactly_once();
}

/// Guards against a message for which no producer ever has room.
#[test]
fn a_message_larger_than_the_memory_of_the_producer_is_refused() {
    let cluster = Cluster::start(1);
    let config = cluster.config().property("queue.buffering.max.kbytes", "8");
    let broker = connect(config);
    let mut events = broker.events();
    let error = broker
        .publish(Message::new("k", vec![0; 9000]))
        .unwrap_err();
    assert!(error.is_too_large(), "{error}");
    says(&error, &["9001 bytes", "8192"]);
    let fits = Message::new("k", vec![0; 8000]);
    broker.publish_confirmed(fits, LONG).unwrap();
    let lost = events
        .try_iter()
        .any(|event| matches!(event, Event::Disconnected { .. }));
    assert!(!lost, "the connection was given up");
}
